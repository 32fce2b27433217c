-- The Future of one task: what its handles can do. (Futures of several jobs: later.lua.)

local core = require "moonfleet.core"
local broken = require "moonfleet.broken"
local callbacks = require "moonfleet.callbacks"
local check = require "moonfleet.check"
local errors = require "moonfleet.errors"
local later = require "moonfleet.later"

local future = {}

local methods = {}

-- Outcomes ---------------------------------------------------------------------------------------

-- The error value of a future that ended with this status, which is not "ok".
local function error_of(self, status, value, extra)
  local label = core.future_label(self)
  if status == "initializer" then return broken.error(core.future_pool(self), label) end
  return errors.outcome(status, label, value, extra)
end

local function give(status, self, ...)
  if status == "ok" then return ... end
  error(error_of(self, status, ...), 0)
end

local function wait_for(self, timeout, name)
  timeout = check.timeout(timeout, name)
  callbacks.poll()
  if not core.future_wait(self, timeout) then
    error(errors.timeout(core.future_label(self) .. " to end", timeout), 0)
  end
  callbacks.ended(self)
end

--- The results of an ended or running task, or its error: what get() does, unchecked.
function future.results(self)
  core.future_wait(self, nil)
  return give(core.future_status(self), self, core.future_values(self))
end

local function get_as(name)
  return function(self, timeout)
    check.self(self, "Future", name)
    wait_for(self, timeout, name)
    return give(core.future_status(self), self, core.future_values(self))
  end
end

--- Waits for the task and gives all its results, or raises its error; again and again.
---@param self userdata
---@param timeout? number   seconds; when they are over `timeout` is raised and the task goes on
---@return any ...
---@usage local a, b = future:get(2)
methods.get = get_as "get"

--- Another name of get.
methods.result = get_as "result"

--- Waits until the task has ended in any way.
---@param timeout? number   seconds
---@return boolean   true | false, "timeout"
function methods:wait(timeout)
  check.self(self, "Future", "wait")
  timeout = check.timeout(timeout, "wait")
  callbacks.poll()
  if not core.future_wait(self, timeout) then return false, "timeout" end
  callbacks.ended(self)
  return true
end

local function bare(self, status, value, traceback)
  if status == "ok" then return nil end
  if status == "failed" then return value, traceback end
  return error_of(self, status, value, traceback), type(traceback) == "string" and traceback or nil
end

--- Waits for the task and gives the value that it raised, bare, and its traceback.
---@param timeout? number   seconds
---@return any value, string|nil traceback   nil when it succeeded
function methods:exception(timeout)
  check.self(self, "Future", "exception")
  wait_for(self, timeout, "exception")
  local status = core.future_status(self)
  if status == "ok" then return nil end
  return bare(self, status, core.future_values(self))
end

--- The traceback of a task that has failed, else nil. Does not wait.
---@return string|nil
function methods:traceback()
  check.self(self, "Future", "traceback")
  local status = core.future_status(self)
  if not status or status == "ok" then return nil end
  local _, traceback = core.future_values(self)
  return type(traceback) == "string" and traceback or nil
end

-- States -----------------------------------------------------------------------------------------

--- Has it ended, in any way?
function methods:done()
  check.self(self, "Future", "done")
  return core.future_status(self) ~= nil
end

--- Does a worker run it now?
function methods:running()
  check.self(self, "Future", "running")
  return core.future_state(self) == "running"
end

--- Has it ended with results?
function methods:successful()
  check.self(self, "Future", "successful")
  return core.future_status(self) == "ok"
end

--- Was it cancelled?
function methods:cancelled()
  check.self(self, "Future", "cancelled")
  return core.future_status(self) == "cancelled"
end

--- Cancels a task that nobody has begun; with force one that runs, too: its worker is replaced.
---@param options? { force?: boolean }
---@return boolean   is it, or was it before, cancelled?
---@usage future:cancel{force = true}
function methods:cancel(options)
  check.self(self, "Future", "cancel")
  check.type(options, 1, "cancel", "table", true)
  local force = check.options(options or {}, { force = "boolean" }, "cancel").force
  return core.future_cancel(self, force or false) or core.future_status(self) == "cancelled"
end

-- Callbacks --------------------------------------------------------------------------------------

local function check_callback(fn, name)
  if not check.is_callable(fn) then
    check.bad(1, name, "function expected, got " .. check.what(fn))
  end
end

--- Has fn(future) called once the task has ended: in this state, inside its next waiting call or
--- mf.poll(); at once if it has ended. What fn raises is reported, the rest goes on.
---@param fn fun(future: any)
function methods:add_done_callback(fn)
  check.self(self, "Future", "add_done_callback")
  check_callback(fn, "add_done_callback")
  callbacks.watch(self, fn)
end

--- The future of fn(results...), which is called here as a callback is. If the task fails, fn is
--- not called and the new future fails with the same error.
---@param fn fun(...): ...
---@usage local length = future:then_(function(text) return #text end)
function methods:then_(fn)
  check.self(self, "Future", "then_")
  check_callback(fn, "then_")
  return later.chain(self, fn, core.future_label(self))
end

--- For apply_async: callback(results...) or error_callback(error value) once it has ended.
function future.call_back(self, callback, error_callback)
  callbacks.watch(self, function()
    local status = core.future_status(self)
    if status == "ok" then
      if callback then callback(core.future_values(self)) end
    elseif error_callback then
      error_callback((bare(self, status, core.future_values(self))))
    end
  end)
end

-- Errors that nobody asked for -------------------------------------------------------------------

local silent = { ok = true, cancelled = true, terminated = true }

-- Names of pools whose broken initializer was told of: all their tasks end with its error.
local told = {}

local function is_told(self, status)
  if status ~= "initializer" then return silent[status] or false end
  local pool = core.future_pool(self)
  local name = pool and core.pool_get(pool, "name") or ""
  local before = told[name]
  told[name] = true
  return before or false
end

core.on_unasked(function(self)
  local status = core.future_status(self)
  if not status or is_told(self, status) then return end
  local label = core.future_label(self)
  local err, traceback = bare(self, status, core.future_values(self))
  callbacks.report(label .. " failed, and nobody asked for it", err, traceback)
end)

-- The metatable ----------------------------------------------------------------------------------

local metatable = core.metatable "Future"

--- `fd`: a descriptor that is readable once the task has ended; poll it, do not read or close it.
function metatable:__index(key)
  if key == "fd" then return core.future_fd(self) end
  return methods[key]
end

function metatable:__tostring()
  local state = core.future_status(self) or core.future_state(self)
  return ("Future(%s, %s)"):format(core.future_label(self), state)
end

return future
