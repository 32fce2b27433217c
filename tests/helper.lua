-- What every spec needs: the module, busted's words, backends, the leak check, scripts that run as
-- programs of their own.
--
-- Busted gives the functions of a spec an environment of its own, which must not travel with the
-- functions that we send. So every spec takes `describe` and `it` from here (they hide the
-- function from busted) and says `local _ENV = _G` at its top.

local busted = require "busted"
local luassert = require "luassert"
local mf = require "moonfleet"

local helper = { mf = mf, assert = luassert }

--- Seconds after which a test that hangs gives up; nothing waits for it when all is well.
helper.long = tonumber(os.getenv "MOONFLEET_TEST_LONG") or 30

--- "asan" or "tsan" when that is how the runtime is built: what keeps freed memory for itself, and
--- is ten times slower.
helper.sanitizer = ({ asan = "asan", tsan = "tsan" })[os.getenv "MOONFLEET_TEST_BUILD"]

-- Leaks ------------------------------------------------------------------------------------------

local function stat_fields(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local text = file and file:read("a")
  if file then file:close() end
  local state, ppid, group = (text or ""):match("^.*%) (%a) (%d+) (%d+)")
  return state, tonumber(ppid), tonumber(group)
end

local own_pid = io.open("/proc/self/stat"):read("n")
local _, _, own_group = stat_fields(own_pid)

local function list_directory(path)
  local pipe = io.popen("ls -1 " .. path .. " 2>/dev/null")
  local names = {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

-- Descriptors of this process by what they lead to; the pipe of `ls` itself is not there any more.
local function count_descriptors()
  local count = 0
  for _, name in ipairs(list_directory("/proc/" .. own_pid .. "/fd")) do
    if tonumber(name) then count = count + 1 end
  end
  return count
end

-- Processes of our group (workers and the one that forks them stay in it), without `ls` and `sh`.
local function count_processes()
  local count = 0
  for _, name in ipairs(list_directory("/proc")) do
    if tonumber(name) then
      local state, _, group = stat_fields(name)
      if state and group == own_group then count = count + 1 end
    end
  end
  return count
end

local function count_threads()
  return #list_directory("/proc/" .. own_pid .. "/task")
end

--- Name, pid and state of each process of our group: the message of a leak.
function helper.processes()
  local lines = {}
  for _, name in ipairs(list_directory("/proc")) do
    local state, ppid, group = stat_fields(tonumber(name) and name or "none")
    if state and group == own_group then
      lines[#lines + 1] = ("%s (parent %d, %s)"):format(name, ppid, state)
    end
  end
  return table.concat(lines, ", ")
end

local function audit()
  local ok, core = pcall(require, "moonfleet.core")
  local call = ok and type(core) == "table" and core.audit
  return call and call() or {}
end

local function collect()
  collectgarbage()
  collectgarbage()
end

--- What is alive now: the runtime's own counts, and what the system says.
function helper.snapshot()
  collect()
  local counts = {}
  for _, key in ipairs { "blocks", "objects", "workers", "slots" } do counts[key] = audit()[key] end
  counts.descriptors = count_descriptors()
  counts.processes = count_processes()
  counts.threads = count_threads()
  return counts
end

local function more_than(before, now)
  local found = {}
  for key, count in pairs(now) do
    if before[key] and count > before[key] then
      found[#found + 1] = ("%s: %d, were %d"):format(key, count, before[key])
    end
  end
  table.sort(found)
  return found
end

-- What the descriptors of this process lead to.
local function describe_descriptors()
  local short = "sed 's/.* \\([0-9]* -> \\)/\\1/'"
  local pipe <close> = io.popen("ls -l /proc/" .. own_pid .. "/fd | " .. short)
  return (pipe:read("a"):gsub("\n", ", "))
end

--- Raises when more is alive than `before`; what ends by itself gets two seconds to do so.
function helper.check_leaks(before)
  local found
  for round = 1, 100 do
    found = more_than(before, helper.snapshot())
    if #found == 0 then return end
    mf.sleep(round < 5 and 0.001 or 0.02)
  end
  error(("leaked %s; processes %s; descriptors %s"):format(table.concat(found, "; "),
    helper.processes(), describe_descriptors()), 0)
end

-- The process that forks the workers, and what first use opens, are not leaks.
local function warm_up()
  pcall(function() mf.spawn(print):join(helper.long) end)
  pcall(function()
    local thread = mf.Thread(function() return io.read() end)
    thread:start()
    thread:join(helper.long)
  end)
  pcall(function()
    local worker = mf.spawn(function() end)
    local _ = worker.sentinel
    worker:join(helper.long)
  end)
  pcall(function() mf.fd() end) -- its thread stays
  pcall(function() require "moonfleet.core".lit_fd() end)
end

--- Is this descriptor (an eventfd) readable? With `wait` it is given some seconds to become so.
function helper.readable(fd, wait)
  for _ = 1, wait and 500 or 1 do
    local file <close> = assert(io.open(("/proc/self/fdinfo/%d"):format(fd)))
    local count = file:read("a"):match("eventfd%-count:%s*(%x+)")
    luassert.is_truthy(count, "no eventfd")
    if tonumber(count, 16) > 0 then return true end
    if wait then os.execute "sleep 0.01" end -- a waiting call of ours would run what is due
  end
  return false
end

-- Busted's words ---------------------------------------------------------------------------------

function helper.describe(name, body)
  busted.describe(name, function() return body() end)
end

-- Busted's own handler makes nil of every error, and a pool that leaves its scope with nil waits
-- for its tasks, those too that would wait for ever now.
local function run(body)
  local ok, err = pcall(body)
  if not ok then error(err, 0) end
end

--- A behaviour, and that nothing is left over when it has been shown.
function helper.it(name, body)
  busted.it(name, function()
    local before = helper.snapshot()
    run(body)
    helper.check_leaks(before)
  end)
end

--- For behaviours that leave something behind on purpose (the name of a registered class).
function helper.it_keeps(name, body)
  busted.it(name, function() run(body) end)
end

function helper.pending(name) busted.pending(name) end

-- Backends ---------------------------------------------------------------------------------------

helper.backends = { "process", "thread" }

--- One suite for both kinds of workers: body(backend, a module table of that backend).
function helper.for_each_backend(body)
  for _, backend in ipairs(helper.backends) do body(backend, mf.with(backend)) end
end

--- May a test have processes and threads that share things? TSan sees no order that another process
--- made, and complains.
helper.mixes = os.getenv "MOONFLEET_TEST_BUILD" ~= "tsan"

--- One suite for workers that meet each other, of one kind and of both at once: body(name, spawn).
function helper.for_each_mix(body)
  helper.for_each_backend(function(backend, mf_b) body(backend, mf_b.spawn) end)
  if not helper.mixes then return end
  local started = 0
  body("both at once", function(...)
    started = started + 1
    return mf.with(helper.backends[started % 2 + 1]).spawn(...)
  end)
end

--- Looks again and again until done() is true; raises when that takes too long.
function helper.wait_until(done)
  local give_up = mf.time() + helper.long
  while not done() do
    assert(mf.time() < give_up, "waited in vain")
    mf.sleep(0.001)
  end
end

--- One suite for the three kinds of pools: body(backend, a maker of pools of that backend).
function helper.for_each_pool(body)
  for _, backend in ipairs { "process", "thread", "serial" } do
    body(backend, function(options)
      local all = { backend = backend, workers = 2 }
      for key, value in pairs(options or {}) do all[key] = value end
      return mf.Pool(all)
    end)
  end
end

-- Errors -----------------------------------------------------------------------------------------

-- The call stands in a Lua function, so that there is a line to blame.
local function call(f, ...)
  local results = table.pack(f(...))
  return results
end

-- What f(...) raises: a string, which begins with a line of the spec (or of this file, where the
-- spec gave us the very function); gives the text behind that.
local function misused(expected, f, ...)
  local ok, err = pcall(call, f, ...)
  luassert.is_false(ok, "no error; expected: " .. expected)
  luassert.are.equal("string", type(err), tostring(err))
  local text = err:match("^%S-tests/[%w_]+%.lua:%d+: (.*)$")
  luassert.is_truthy(text, "blames no line of the tests: " .. err)
  return text
end

--- Calls f(...), which must raise the string `message` at its caller's level.
function helper.misuse(message, f, ...)
  luassert.are.equal(message, misused(message, f, ...))
end

--- The same where only a part of the message is known (a pattern).
function helper.misuse_like(pattern, f, ...)
  local text = misused(pattern, f, ...)
  luassert.is_truthy(text:find(pattern), text)
end

--- Calls f(...), which must raise a mf.Error of this kind; gives the error.
function helper.fails(kind, f, ...)
  local results = table.pack(pcall(f, ...))
  luassert.is_false(results[1], "no error; expected one of kind " .. kind)
  local err = results[2]
  luassert.is_true(mf.is_error(err), "no mf.Error: " .. tostring(err))
  luassert.are.equal(kind, err.kind, tostring(err))
  return err
end

--- Calls f(...), which must raise; gives what it raised.
function helper.raised(f, ...)
  local results = table.pack(pcall(f, ...))
  luassert.is_false(results[1], "no error")
  return results[2]
end

-- Scripts as programs ----------------------------------------------------------------------------

local function write_file(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local function read_file(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

helper.write_file, helper.read_file = write_file, read_file

--- A new empty folder and the function that removes it with all that it holds.
function helper.folder()
  local pipe <close> = assert(io.popen("mktemp -d"))
  local path = pipe:read("l")
  return path, function() os.execute("rm -rf '" .. path .. "'") end
end

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Runs the program in a session of its own, so that a signal to its group is what a terminal's
-- Ctrl-C is; when the script has called ready(), sends the signals in turn.
local runner = [[
cd FOLDER
ulimit -c 0
timeout -k 5 TIMEOUT setsid --wait env --default-signal=INT,QUIT READY=FOLDER/ready VARIABLES \
  PROGRAM SCRIPT >out 2>err </dev/null &
job=$!
if test -n "SIGNAL"; then
  n=0
  while ! test -s ready && kill -0 $job 2>/dev/null && test $n -lt 1500; do
    sleep 0.02; n=$((n + 1))
  done
  sleep 0.05
  kill -s SIGNAL -- "TARGET$(cat ready)"
fi
wait $job
]]

local ready = [[local function ready() local own = io.open("/proc/self/stat"):read("n") ]] ..
  [[local f = io.open(os.getenv("READY"), "w") f:write(own) f:close() end ]]

local function environment_text(variables)
  local words = {}
  for key, value in pairs(variables or {}) do words[#words + 1] = key .. "=" .. quote(value) end
  return table.concat(words, " ")
end

--- Runs `text` as a script of its own; gives { code=, out=, err= }.
--- options: program (default stock Lua), arguments (words behind the program, instead of the
--- script's name), env, timeout (seconds), signal ("INT", sent to its whole group once the script
--- has called ready()), alone (true: sent to the main process only).
function helper.run_script(text, options)
  options = options or {}
  local folder, remove = helper.folder()
  write_file(folder .. "/script.lua", (options.plain and "" or ready) .. text)
  local values = {
    FOLDER = folder,
    TIMEOUT = tostring(options.timeout or 60),
    VARIABLES = environment_text(options.env),
    PROGRAM = options.program or helper.lua,
    SCRIPT = options.arguments or "script.lua",
    SIGNAL = options.signal or "",
    TARGET = options.alone and "" or "-",
  }
  write_file(folder .. "/run.sh", (runner:gsub("%u%u%u%u+", function(word)
    return word ~= "READY" and values[word] or nil
  end)))
  local _, how, code = os.execute("sh " .. folder .. "/run.sh 2>/dev/null")
  local result = {
    code = how == "exit" and code or -code,
    out = read_file(folder .. "/out"),
    err = read_file(folder .. "/err"),
  }
  remove()
  return result
end

helper.lua = os.getenv("MOONFLEET_LUA") or "lua5.4"
helper.program = os.getenv("MOONFLEET_PROGRAM")

--- One suite for stock Lua and for our own program: body(name, runner of scripts).
function helper.for_each_program(body)
  local programs = { { "lua5.4", helper.lua }, { "moonfleet", helper.program } }
  for _, entry in ipairs(programs) do
    local name, program = entry[1], entry[2]
    body(name, function(text, options)
      assert(program, "MOONFLEET_PROGRAM is not set")
      local all = { program = program }
      for key, value in pairs(options or {}) do all[key] = value end
      return helper.run_script("local mf = require 'moonfleet' " .. text, all)
    end)
  end
end

warm_up()

return helper
