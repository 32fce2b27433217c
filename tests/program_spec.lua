-- The program `moonfleet`: scripts, their arguments, options, usage errors.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore 211

-- Runs the program with these words behind it; `text` is in script.lua.
local function moonfleet(words, text, options)
  if not helper.program then error("MOONFLEET_PROGRAM is not set", 0) end
  local all = { program = helper.program, arguments = words, plain = true }
  for key, value in pairs(options or {}) do all[key] = value end
  return helper.run_script(text or "", all)
end

describe("moonfleet", function()
  it("runs a script with its arguments", function()
    assert.are.same({ code = 0, err = "", out = "script.lua\ta\tb c\t2\n" },
      moonfleet("script.lua a 'b c'", "print(arg[0], arg[1], (select(2, ...)), #arg)"))
  end)

  it("passes arguments with dashes to the script, not to itself", function()
    assert.are.same({ code = 0, err = "", out = "-j\t--help\n" },
      moonfleet("script.lua -j --help", "print(...)"))
  end)

  it("has negative indices of arg, as lua has", function()
    local result = moonfleet("-e 'x = 1' script.lua a", "print(arg[-2], arg[-1], x)")
    assert.are.same({ code = 0, err = "", out = "-e\tx = 1\t1\n" }, result)
  end)

  it("has mf without require", function()
    assert.are.same({ code = 0, err = "", out = "true\t4\n" },
      moonfleet("script.lua", "print(mf == require 'moonfleet', mf.apply(math.max, {3, 4}))"))
  end)

  it("executes -e, several in turn", function()
    assert.are.same({ code = 0, err = "", out = "3\n" },
      moonfleet("-e 'a = 1' -e 'print(a + 2)'"))
    assert.are.same({ code = 0, err = "", out = "5\n" }, moonfleet("-e'print(5)'"))
  end)

  it("sends functions given by -e to workers", function()
    assert.are.same({ code = 0, err = "", out = "9\n" },
      moonfleet("-e 'k = 3 print(mf.map(function(x) return x * k end, {3})[1])'"))
  end)

  it("requires -l, under a name of its own where told", function()
    local folder, remove = helper.folder()
    helper.write_file(folder .. "/mod.lua", "return { answer = 42 }")
    local options = { env = { LUA_PATH = folder .. "/?.lua;;" } }
    local first = moonfleet("-l mod -e 'print(mod.answer)'", nil, options)
    local second = moonfleet("-l m=mod -e 'print(m.answer)'", nil, options)
    remove()
    assert.are.same({ code = 0, err = "", out = "42\n" }, first)
    assert.are.same(first, second)
  end)

  it("reads a script from standard input by -", function()
    local result = helper.run_script("", { plain = true,
      program = ("sh -c 'echo \"print(7, ...)\" | %s - a' sh"):format(helper.program) })
    assert.are.same({ code = 0, err = "", out = "7\ta\n" }, result)
  end)

  it("reads a script from standard input when that is no terminal", function()
    local result = helper.run_script("", { plain = true,
      program = ("sh -c 'echo \"print(8)\" | %s' sh"):format(helper.program) })
    assert.are.same({ code = 0, err = "", out = "8\n" }, result)
  end)

  it("tells its version by -v and --version", function()
    for _, option in ipairs { "-v", "--version" } do
      local result = moonfleet(option)
      assert.are.equal(0, result.code, result.err)
      assert.is_truthy(result.out:find("^[Mm]oonfleet %d+%.%d+%.%d+"), result.out)
      assert.is_truthy(result.out:find("Lua 5.4", 1, true), result.out)
    end
  end)

  it("tells its options by --help", function()
    local result = moonfleet("--help")
    assert.are.equal(0, result.code)
    assert.are.equal("", result.err)
    for _, word in ipairs { "-e", "-l", "-j", "--backend", "--version", "--help" } do
      assert.is_truthy(result.out:find(word, 1, true), word)
    end
  end)

  it("takes the size of the default pool by -j", function()
    for _, words in ipairs { "-j 3", "-j3" } do
      assert.are.same({ code = 0, err = "", out = "3\n" },
        moonfleet(words .. " -e 'print(mf.pool().size)'"))
    end
  end)

  it("takes the backend by --backend, which wins over the variable", function()
    for _, words in ipairs { "--backend thread", "--backend=thread" } do
      assert.are.same({ code = 0, err = "", out = "true\n" },
        moonfleet(words .. " -e 'print(mf.apply(mf.getpid) == mf.getpid())'", nil,
          { env = { MOONFLEET_BACKEND = "process" } }))
    end
    assert.are.same({ code = 0, err = "", out = "true\n" },
      moonfleet("--backend serial -e 'print(mf.apply(mf.getpid) == mf.getpid())'"))
  end)

  it("refuses what it does not know: exit code 1, naming the option", function()
    for _, words in ipairs { "--no-such-option", "-z", "--backend fibers", "-j zero", "-j 0",
      "-j", "--backend", "-e", "-l" } do
      local result = moonfleet(words)
      assert.are.equal(1, result.code, words)
      assert.are.equal("", result.out, words)
      local option = words:match("%S+")
      assert.is_truthy(result.err:find(option, 1, true), words .. ": " .. result.err)
      assert.is_falsy(result.err:find("stack traceback", 1, true), result.err)
    end
  end)

  it("says that a script is not there", function()
    local result = moonfleet("no_such_script.lua")
    assert.are.equal(1, result.code)
    assert.is_truthy(result.err:find("no_such_script.lua", 1, true), result.err)
  end)

  it("says where a script's syntax is wrong", function()
    local result = moonfleet("script.lua", "x = = 1")
    assert.are.equal(1, result.code)
    assert.is_truthy(result.err:find("script.lua:1:", 1, true), result.err)
  end)

  it("shows a script's error with its traceback", function()
    local result = moonfleet("script.lua", "local function f() error 'on purpose' end f()")
    assert.are.equal(1, result.code)
    assert.is_truthy(result.err:find("^[^\n]*script.lua:1: on purpose\nstack traceback:"),
      result.err)
  end)

  it("shows an error object by its __tostring", function()
    local result = moonfleet("script.lua",
      "error(setmetatable({}, {__tostring = function() return 'an object' end}))")
    assert.are.equal(1, result.code)
    assert.is_truthy(result.err:find("an object", 1, true), result.err)
  end)

  it("skips a script's first line that begins with #", function()
    assert.are.same({ code = 0, err = "", out = "2\n" },
      moonfleet("script.lua", "#!/usr/bin/env moonfleet\nprint(debug.getinfo(1).currentline)"))
  end)

  it("turns warnings on by -W", function()
    local result = moonfleet("-W -e 'warn(\"on purpose\")'")
    assert.are.equal(0, result.code)
    assert.is_truthy(result.err:find("on purpose", 1, true), result.err)
  end)

  it("ignores the environment by -E", function()
    local result = moonfleet("-E -e 'print(package.path:find(\"spec%.marker\"))'", nil,
      { env = { LUA_PATH = "/spec.marker/?.lua;;" } })
    assert.are.same({ code = 0, err = "", out = "nil\n" }, result)
  end)

  it("runs LUA_INIT, as lua does", function()
    local result = moonfleet("-e 'print(from_init)'", nil, { env = { LUA_INIT = "from_init = 6" } })
    assert.are.same({ code = 0, err = "", out = "6\n" }, result)
  end)
end)
