-- What a caller gets to see of a failure: mf.Error values, made from what the runtime knows.

local core = require "moonfleet.core"

local errors = {}

local signals = {
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL",
  "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD",
  "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ",
  "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
}

--- "SIGKILL" of 9.
---@param number integer
---@return string
function errors.signal_name(number)
  return signals[number] or "signal " .. number
end

-- Calls of one task, which has no number.
local single <const> = { submit = true, apply = true, apply_async = true }

-- "item 17 of map (resize.lua:12)", "submit (resize.lua:12)".
local function place(label, item)
  if item and label and not single[label:match "^[%w_]+"] then
    return ("item %d of %s"):format(item, label)
  end
  return label or "a task"
end

--- A new mf.Error.
---@param kind string
---@param message string
---@param fields? table   more fields of the error
function errors.new(kind, message, fields)
  return core.error(kind, message, fields)
end

--- The error of a worker that died. `doing` says what it did: "while it ran submit (a.lua:3)".
--- Pool-1:2 (pid 4711) was killed by SIGKILL while it ran item 17 of map (a.lua:12); out of memory?
---@param death { worker: string, pid: integer, exitcode: integer, item?: integer }
---@param doing? string
function errors.died(death, doing)
  local code, more = death.exitcode, ""
  local how
  if not code then
    how = "died"
  elseif code < 0 then
    how = "was killed by " .. errors.signal_name(-code)
    if code == -9 then more = "; out of memory?" end
  else
    how = ("ended by os.exit(%d)"):format(code)
  end
  local who = death.pid and ("%s (pid %d)"):format(death.worker, death.pid) or death.worker
  local message = ("%s %s%s%s"):format(who or "a worker", how, doing and " " .. doing or "", more)
  return core.error("worker_died", message,
    { worker = death.worker, pid = death.pid, exitcode = code })
end

--- The same for the task called `label`; death.item is the item's number.
---@param death { worker: string, pid: integer, exitcode: integer, item?: integer }
---@param label string   "map (a.lua:3)"
function errors.death(death, label)
  return errors.died(death, "while it ran " .. place(label, death.item))
end

--- What is raised for an error that a worker's code raised: strings get the worker's part of the
--- traceback behind them, all else stays what it is.
---@param value any
---@param traceback? string
---@param worker? string   "Process-1 (pid 4711)", where the traceback does not say it
function errors.raised(value, traceback, worker)
  if type(value) ~= "string" or not traceback then return value end
  if worker and not traceback:find(worker, 1, true) then
    traceback = ("%s %s"):format(worker, traceback)
  end
  return value .. "\n" .. traceback
end

--- The error of a wait that took too long; what was waited for goes on.
---@param what string   "Process-1 to end"
---@param seconds number
function errors.timeout(what, seconds)
  return core.error("timeout", ("waited %.14g s for %s"):format(seconds, what), { stopped = false })
end

local outcomes = {}

function outcomes.failed(_, value, traceback) return errors.raised(value, traceback) end

function outcomes.worker_died(label, death)
  return errors.death(death or {}, label)
end

function outcomes.task_timeout(label, death, limit)
  local time = limit and ("its limit of %.14g s"):format(limit) or "its time limit"
  return core.error("timeout", ("%s was stopped at %s"):format(place(label, death and death.item),
    time), { stopped = true })
end

function outcomes.memory_limit(label, value)
  if core.is_error(value) then return value end
  local item = type(value) == "table" and value.item or nil
  return core.error("memory_limit", place(label, item) .. " needed more than its memory_limit")
end

-- A task whose own error found no room is told of by a death, too.
function outcomes.no_memory(label, value)
  if core.is_error(value) then return value end
  return core.error("no_memory", place(label, type(value) == "table" and value.item or nil) ..
    " failed, and there is no shared memory left for its error")
end

function outcomes.cancelled(label, death)
  return core.error("cancelled", place(label, death and death.item) .. " was cancelled")
end

function outcomes.terminated(label, death)
  return core.error("terminated",
    place(label, death and death.item) .. " was ended: its pool was terminated")
end

--- The error of a pool whose initializer failed or died; its fields `value` and `traceback` are
--- what the initializer raised.
---@param pool string   the pool's name
---@param value any   what was raised, or a death (see errors.died)
---@param traceback? string
---@param status? string   "worker_died" when `value` is a death
function errors.initializer(pool, value, traceback, status)
  if status == "worker_died" then
    value = errors.died(value or {}, "in the initializer")
  end
  local message = ("the initializer of %s failed: %s"):format(pool,
    core.error_text(errors.raised(value, traceback)))
  return core.error("initializer", message, { value = value, traceback = traceback })
end

function outcomes.initializer(label, value, traceback)
  if core.is_error(value, "initializer") then return value end
  return errors.initializer(label and "the pool of " .. label or "the pool", value, traceback)
end

--- The error value of a task that did not end well.
---@param status string   as core.future_status gives it
---@param label string|nil   "submit (a.lua:12)", "map (a.lua:3)"
---@param value any   of failed, not_sendable, decode ...: the error value; else the death
---@param extra any   of failed: the traceback; of task_timeout: the limit in seconds
function errors.outcome(status, label, value, extra)
  local make = outcomes[status]
  if make then return make(label, value, extra) end
  if core.is_error(value) then return value end
  local message = place(label) .. " failed"
  if value ~= nil then message = ("%s: %s"):format(message, core.error_text(value)) end
  return core.error(status, message)
end

return errors
