-- Every example runs as a program, and its output is what its reader is promised.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore

local function pwd()
  local pipe <close> = assert(io.popen("pwd"))
  return pipe:read("l")
end

local examples = pwd() .. "/scripts/examples/"

-- Runs an example with moonfleet; its output, when it ended well and had nothing to complain of.
local function run(words, options)
  options = options or {}
  options.program = assert(helper.program, "MOONFLEET_PROGRAM is not set")
  options.arguments = examples .. words
  local result = helper.run_script("", options)
  assert.are.equal(0, result.code, result.err)
  if not options.progress then assert.are.equal("", result.err) end
  return result.out, result.err
end

local function sorted_lines(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  table.sort(lines)
  return lines
end

describe("the example", function()
  it("loops times three ways to loop", function()
    local out = run("loops.lua 1000")
    assert.is_truthy(out:match("^processes +%d+%.%d%d s\nthreads +[%d.]+ s\nin line +[%d.]+ s\n$"),
      out)
  end)

  it("arguments prints positional, default and further named arguments", function()
    assert.are.equal("1\t2\n5\t4\nalso\tkwarg100\t10\nexit code\t0\n", run("arguments.lua"))
  end)

  it("pool_calls prints the result of each way to call", function()
    assert.are.equal("3\t7\n11\n15\n1\t4\t9\n", run("pool_calls.lua"))
  end)

  it("imap prints in input order, then in the order of completion", function()
    local out = run("imap.lua 0.2")
    local values = {}
    for item, square in out:gmatch("item (%d): +(%d+) after") do
      values[#values + 1] = item .. "=" .. square
    end
    assert.are.equal("1=1 2=25 3=9 1=1 3=9 2=25", table.concat(values, " "))
  end)

  it("double prints five whole lines with ids of their own", function()
    local lines, ids = sorted_lines(run("double.lua")), {}
    assert.are.equal(5, #lines)
    for _, line in ipairs(lines) do
      local n, m, pid = line:match("^(%d+) doubled to (%d+) by process id: (%d+)$")
      assert.are.equal(2 * tonumber(n), tonumber(m), line)
      assert.is_nil(ids[pid])
      ids[pid] = true
    end
  end)

  it("lowercase counts what it wrote and how much memory it had", function()
    local folder, remove = helper.folder()
    helper.write_file(folder .. "/text", ("Quick Brown\n"):rep(500000))
    local out = run("lowercase.lua " .. folder .. "/text")
    remove()
    assert.is_truthy(out:match("^6 MB in lower case; this program never had more than %d+ MB"), out)
  end)

  it("squares prints the same from processes and from threads", function()
    local out = run("squares.lua 0.05")
    assert.is_truthy(out:match("^1 4 9 16 25\tafter %d+ s\n1 4 9 16 25\tafter %d+ s\n$"), out)
  end)

  it("queue prints what the child has put", function()
    assert.are.equal("42\tnil\thello\nand any other value\n", run("queue.lua"))
  end)

  it("pipe prints what both ends have got, and the end", function()
    assert.are.equal("42\tnil\thello\nnil\tclosed\nthe child got\tan answer\n", run("pipe.lua"))
  end)

  it("doubled_in_place prints what five processes have doubled", function()
    assert.are.equal("10.0 20.0 30.0 40.0 50.0\n", run("doubled_in_place.lua"))
  end)

  it("shared_numbers prints what tasks have counted and written", function()
    local out = run("shared_numbers.lua 1000")
    local wanted = "^counted to 11\nthe last of 1000 numbers is 1.5, after [%d.]+ s\n" ..
      "sums of what they wrote: 6.0 6.0 6.0 6.0\n$"
    assert.is_truthy(out:match(wanted), out)
  end)

  it("named_threads lets each thread start and end", function()
    local out = run("named_threads.lua 0.05")
    assert.is_truthy(out:match("\nall done\n$"), out)
    for i = 1, 4 do
      local starts = out:find(("<sleeper-%d> starts\n"):format(i), 1, true)
      local ends = out:find(("<sleeper-%d> ends\n"):format(i), 1, true)
      assert.is_true(starts ~= nil and ends ~= nil and starts < ends, out)
    end
  end)
end)

describe("wordcount", function()
  local function folder_of(files)
    local folder, remove = helper.folder()
    for name, text in pairs(files) do helper.write_file(folder .. "/" .. name, text) end
    return folder, remove
  end

  for _, backend in ipairs { "process", "thread", "serial" } do
    it("counts the words of every text file over " .. backend, function()
      local folder, remove = folder_of {
        ["a.txt"] = "Moon and fleet, and moon.\n",
        ["it's b"] = "the MOON",
        ["c.bin"] = "moon\0moon",
        ["empty"] = "",
      }
      local out = run("wordcount.lua " .. folder,
        { progress = true, env = { MOONFLEET_BACKEND = backend } })
      remove()
      assert.are.equal("         3  moon\n         2  and\n         1  fleet\n         1  the\n",
        out:match("^(.-)%d+ files"))
      assert.is_truthy(out:find("4 files, 0.0 MB, 1 of them not text; 4 different words", 1, true),
        out)
    end)
  end

  it("shows how far it is", function()
    local folder, remove = folder_of { a = "one two three" }
    local _, err = run("wordcount.lua " .. folder, { progress = true })
    remove()
    assert.is_truthy(err:find("all cores: 100 %", 1, true), err)
  end)

  it("finds nothing in an empty folder", function()
    local folder, remove = folder_of {}
    local out = run("wordcount.lua " .. folder, { progress = true })
    remove()
    assert.is_truthy(out:find("^0 files"), out)
  end)
end)
