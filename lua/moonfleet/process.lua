-- Workers of one target: Process and Thread.
--
-- A Process is a userdata of the C half, which knows its state, name and end. What is kept here is
-- what it is to run, until the start (its private table, `core.extra`):
--   launch  { f, args, kwargs }: dropped at the start
--   last    its fields as they were when it was closed
--   object  the instance of a subclass that it belongs to (class.lua), which then stands for it
--
--   new --[start]--> starting --> running --> ended --[close]--> (closed: `last` is set)

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local errors = require "moonfleet.errors"
local backend = require "moonfleet.backend"
local new_context = require "moonfleet.context"

local process = {}

---@class Process
---@field name string   default Process-1, Thread-1 ...; may be set before the start
---@field pid integer?   of a thread: its process's; nil before the start
---@field ident any   no other worker has it
---@field daemon boolean   may be set before the start
---@field backend "process"|"thread"
---@field sentinel integer   a descriptor that is readable once the worker has ended
---@field exitcode integer?   nil before the end; 0; 1 after an uncaught error; -signal
local methods = {}
process.methods = methods

-- Handles ----------------------------------------------------------------------------------------

local fields = {
  name = "name", pid = "pid", ident = "ident", daemon = "daemon", backend = "backend",
  exitcode = "exitcode", sentinel = true,
}
process.fields = fields

--- The handle of a Process or of an instance of a subclass; nil of all else.
function process.find(value)
  if core.type(value) == "Process" then return value end
  return type(value) == "table" and debug.getmetatable(value)
    and debug.getmetatable(value).moonfleet == "Process" and rawget(value, "_process") or nil
end

local deeds = { -- of methods whose name is no verb
  result = "take the result of", exception = "take the exception of", is_alive = "ask",
}

local function fail(name, who, why)
  check.fail(("cannot %s %s: %s"):format(deeds[name] or name, who, why))
end

-- The handle behind `self` and its private table; raises when it is none, or closed.
local function open(self, name)
  local p = process.find(self)
  if not p then check.bad_self(self, "Process", name) end
  local extra = core.extra(p)
  if extra.last then fail(name, extra.last.name, "it is closed") end
  return p, extra
end

local function state_of(p) return core.worker_get(p, "state") end

local function refuse(name, p, why)
  fail(name, core.worker_get(p, "name"), why)
end

-- A worker that has been started.
local function started(self, name)
  local p, extra = open(self, name)
  if state_of(p) == "new" then refuse(name, p, "it is not started (call start() first)") end
  return p, extra
end

-- Making -----------------------------------------------------------------------------------------

process.options = {
  target = "target", args = "table", kwargs = "table", name = "string", daemon = "boolean",
  backend = true, memory_limit = "count",
}

--- The backend of a worker: of its options, else of its class.
---@param option any   as the user gave it
---@param name string   "Process" or "Thread"
---@param default string|nil   of mf.with's module
function process.choose(option, name, default)
  if name == "Thread" then
    if option == nil or option == "thread" then return "thread" end
    check.bad_option(name, "backend", "'thread'", option)
  end
  if option ~= nil and option ~= "process" and option ~= "thread" then
    local got = type(option) == "string" and ("'%s'"):format(option) or check.what(option)
    check.bad(nil, name, ("option 'backend': 'process' or 'thread' expected, got %s%s"):format(got,
      option == "serial" and "; only pools run serially" or ""))
  end
  return backend.of_worker(option, default)
end

-- "jobs.lua:12", what mf.stats calls a target.
local function place_of(target)
  if type(target) == "string" then return target end
  local meta = type(target) ~= "function" and debug.getmetatable(target)
  local f = type(meta) == "table" and rawget(meta, "__call") or target
  if type(f) ~= "function" then return nil end
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return "C" end
  local place = ("%s:%d"):format(info.short_src, info.linedefined)
  return #place > 95 and "..." .. place:sub(-92) or place
end

-- Where the runtime keeps names there is room for so many bytes, the last of them a zero.
local LONGEST_NAME <const> = 63

local function fits(name) return #name <= LONGEST_NAME and not name:find("\0", 1, true) end

--- A worker that is not started. o: checked options, the backend among them.
---@param run? function   of a subclass, which has no target
function process.make(o, run)
  if o.name and not fits(o.name) then
    check.bad_option(o.backend == "thread" and "Thread" or "Process", "name",
      ("text of at most %d bytes, without zeros,"):format(LONGEST_NAME), o.name)
  end
  local place = place_of(run or o.target)
  local p = core.worker(o.backend, o.name, o.daemon or false, o.memory_limit, place)
  local args = o.args or { n = 0 }
  core.extra(p).launch = { f = o.target, args = args, kwargs = o.kwargs }
  return p
end

--- The constructor behind mf.Process(...) and mf.Thread(...).
---@param name string   "Process" or "Thread", for messages
---@param default string|nil   of mf.with's module
function process.construct(name, default, ...)
  local first = ...
  if check.is_options(first) and not process.find(first) then
    local o = check.options(first, process.options, name)
    if o.target == nil then check.bad(nil, name, "option 'target' is missing") end
    o.backend = process.choose(o.backend, name, default)
    return process.make(o)
  end
  check.func(first, 1, name, select("#", ...))
  return process.make {
    target = first, args = table.pack(select(2, ...)), backend = process.choose(nil, name, default),
  }
end

-- Running ----------------------------------------------------------------------------------------

--- Starts the worker. Its target, args and kwargs are encoded now, as one message.
--- Raises not_sendable, system, no_memory; a second start is misuse.
---@return Process self
---@usage local p = mf.Process(print, "hello"):start()
function methods:start()
  local p, extra = open(self, "start")
  local object = extra.object
  local launch = extra.launch
  if state_of(p) ~= "new" then
    refuse("start", p, "it was started already (a worker runs once)")
  elseif object then
    require("moonfleet.class").start(p, object)
  elseif launch then
    core.worker_start(p, new_context(), launch.f, launch.args, launch.kwargs)
  else
    refuse("start", p, "only the worker that made it can start it")
  end
  extra.launch = nil
  return self
end

--- Waits for the end.
---@param timeout? number   seconds; nil: for ever
---@return boolean ended   true, or false, "timeout"
---@return string? reason
---@usage if not p:join(5) then p:terminate() end
function methods:join(timeout)
  local p = started(self, "join")
  local seconds = check.timeout(timeout, "join")
  if core.is_worker and rawequal(p, core.current().process) then
    refuse("join", p, "a worker cannot join itself")
  end
  if core.worker_join(p, seconds) then return true end
  return false, "timeout"
end

--- Does it run?
---@return boolean
function methods:is_alive()
  local state = state_of((open(self, "is_alive")))
  return state == "starting" or state == "running"
end

--- Ends it, an endless loop included: a process by SIGTERM, a thread at its next VM instruction
--- (its to-be-closed variables run). Does nothing to one that has ended.
---@usage p:terminate() p:join()
function methods:terminate()
  core.worker_stop(started(self, "terminate"), 15)
end

--- Ends it without running any more of its code but finalizers.
function methods:kill()
  core.worker_stop(started(self, "kill"), 9)
end

--- Releases what is kept of an ended worker (or of one that was never started); its fields stay
--- readable, all else raises from then on. Twice is harmless; of a running worker it is misuse.
function methods:close()
  local p = process.find(self)
  if not p then check.bad_self(self, "Process", "close") end
  local extra = core.extra(p)
  if extra.last then return end
  if methods.is_alive(p) then refuse("close", p, "it still runs (join or terminate it first)") end
  local last = {}
  for key, field in pairs(fields) do
    if field ~= true then last[key] = core.worker_get(p, field) end
  end
  extra.last, extra.launch = last, nil
  core.worker_close(p)
end

-- Results ----------------------------------------------------------------------------------------

local function death_of(p)
  return {
    worker = core.worker_get(p, "name"),
    pid = core.worker_get(p, "pid"),
    exitcode = core.worker_get(p, "exitcode"),
  }
end

local failures = {}

function failures.failed(p, value, traceback)
  local who = ("%s (pid %d)"):format(core.worker_get(p, "name"), core.worker_get(p, "pid"))
  return value, traceback, errors.raised(value, traceback, who)
end

function failures.worker_died(p)
  local err = errors.died(death_of(p))
  return err, nil, err
end

function failures.terminated(p)
  local err = errors.new("terminated", core.worker_get(p, "name") .. " was terminated")
  return err, nil, err
end

function failures.memory_limit(p, value)
  local err = core.is_error(value) and value or errors.new("memory_limit",
    core.worker_get(p, "name") .. " needed more than its memory_limit")
  return err, nil, err
end

local without_value = { no_memory = "no shared memory for its error" } -- where no value came along

local function other_failure(p, status, value, traceback)
  local err = value
  if not core.is_error(value) then
    local what = value ~= nil and core.error_text(value) or without_value[status] or status
    err = errors.new(status, ("%s failed: %s"):format(core.worker_get(p, "name"), what))
  end
  return err, traceback, err
end

-- Waits for the end; raises timeout.
local function wait(self, name, timeout)
  local p = started(self, name)
  local seconds = check.timeout(timeout, name)
  if not core.worker_join(p, seconds) then
    error(errors.timeout(core.worker_get(p, "name") .. " to end", seconds), 0)
  end
  return p
end

-- The error value, the traceback, and what result() raises.
local function failure(p, status, ...)
  local make = failures[status]
  if make then return make(p, ...) end
  return other_failure(p, status, ...)
end

local function give(p, status, ...)
  if status == "ok" then return ... end
  local _, _, raised = failure(p, status, ...)
  error(raised, 0)
end

--- Joins and returns what the target returned, or raises what it raised: strings with the worker's
--- traceback behind them; worker_died, terminated, memory_limit, timeout.
---@param timeout? number   seconds; nil: for ever
---@return any ...
---@usage local sum = mf.spawn(function(a, b) return a + b end, 1, 2):result()
function methods:result(timeout)
  local p = wait(self, "result", timeout)
  return give(p, core.worker_result(p))
end

local function bare(p, status, ...)
  if status == "ok" then return nil end
  local value, traceback = failure(p, status, ...)
  return value, traceback
end

--- Joins and returns the error value that the target raised, and the traceback; nil when there was
--- none. Raises timeout.
---@param timeout? number   seconds; nil: for ever
---@return any error
---@return string? traceback
function methods:exception(timeout)
  local p = wait(self, "exception", timeout)
  return bare(p, core.worker_result(p))
end

-- The metatable ----------------------------------------------------------------------------------

--- A field of the handle p.
function process.read(p, key)
  local last = core.extra(p).last
  if last then return last[key] end
  if key == "sentinel" then return core.worker_fd(p) end
  return core.worker_get(p, fields[key])
end

--- Sets name or daemon; raises for all other fields, and after the start.
function process.write(p, key, value)
  local kind = key == "name" and "string" or key == "daemon" and "boolean"
  if not kind then
    check.fail(("cannot set field '%s' of a Process%s"):format(tostring(key), fields[key] and "" or
      check.guess(key, { name = true, daemon = true })))
  end
  if type(value) ~= kind then
    check.fail(("cannot set field '%s' of a Process: %s expected, got %s"):format(key, kind,
      check.what(value)))
  end
  if kind == "string" and not fits(value) then
    check.fail(("cannot set field 'name' of a Process: text of at most %d bytes, without zeros, " ..
      "expected"):format(LONGEST_NAME))
  end
  if core.extra(p).last or state_of(p) ~= "new" then
    check.fail(("cannot set field '%s' of %s: it was started already"):format(key,
      process.read(p, "name")))
  end
  core.worker_set(p, key, value)
end

--- "Process(Process-1, running)", "Thread(Thread-2, ended, 0)".
function process.text(p)
  local last = core.extra(p).last
  local kind = process.read(p, "backend") == "thread" and "Thread" or "Process"
  local code = process.read(p, "exitcode")
  return ("%s(%s, %s%s)"):format(kind, process.read(p, "name"),
    last and "closed" or state_of(p), code and ", " .. code or "")
end

--- The end of a scope: joins it, or terminates it when an error is passing; releases it.
function process.leave(self, err)
  local p = process.find(self)
  if not p or core.extra(p).last then return end
  if methods.is_alive(p) then
    if err ~= nil then core.worker_stop(p, 15) end
    core.worker_join(p)
  end
  methods.close(p)
end

local function install(meta)
  function meta.__index(p, key)
    local method = methods[key]
    if method then return method end
    if fields[key] then return process.read(p, key) end
  end

  meta.__newindex = process.write
  meta.__tostring = process.text
  meta.__close = process.leave
end

install(core.metatable("Process"))

-- Who is who -------------------------------------------------------------------------------------

--- The workers that this one has started and that run (not those of pools).
---@return Process[]
function process.active_children()
  local alive = {}
  for _, p in ipairs(core.children()) do
    if state_of(p) ~= "ended" then alive[#alive + 1] = core.extra(p).object or p end
  end
  return alive
end

--- The end of the script or of a worker: see exit.lua.
function process.at_exit() require("moonfleet.exit").at_exit() end

return process
