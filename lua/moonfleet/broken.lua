-- Calls of the core that may be refused: what is wrong is said in the caller's words. Pools whose
-- initializer failed: the error that all their tasks end with.

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local errors = require "moonfleet.errors"

local broken = {}

local function without_workers(name, errno, why)
  local message = ("%s has no workers, none can be started: %s"):format(name, why)
  return core.error("system", message, { errno = errno })
end

--- What broke this pool: its initializer's error, mostly.
---@param pool userdata|nil   nil: nobody holds it any more
---@param label string   of the task that ends so
function broken.error(pool, label)
  local status, value, traceback
  if pool then status, value, traceback = core.pool_failure(pool) end
  if not status then return errors.outcome("initializer", label, "it failed before") end
  local make = status == "system" and without_workers or errors.initializer
  return make(core.pool_get(pool, "name"), value, traceback, status)
end

--- Calls a function of the core, which refuses a broken pool without saying what broke it.
---@param pool userdata
---@param label string
---@param f function
function broken.guard(pool, label, f, ...)
  local ok, result = pcall(f, ...)
  if ok then return result end
  if core.is_error(result, "initializer") then result = broken.error(pool, label) end
  local item, text = tostring(result):match("bad item #(%d+) %((table of.*)%)$")
  if item then check.bad(2, label:match("^[%w_]+"), ("item %s: %s"):format(item, text)) end
  error(result, 0)
end

return broken
