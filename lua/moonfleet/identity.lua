-- Who runs here, and who started it.

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local process = require "moonfleet.process"

local identity = {}

local function misuse(name, who, text)
  check.fail(("cannot %s %s: %s"):format(name, who, text))
end

-- The main state, seen from itself: the fields of core.current(), and what a Process can do that
-- makes sense for it.
local main = { moonfleet = "Process", __name = "Process" }
main.__index = main
identity.main = main

local function same(a, b) return a.ident == b.ident end

main.__eq = same
function main:__tostring() return ("Process(%s, running)"):format(self.name) end
function main.is_alive() return true end
function main:join() misuse("join", self.name, "it is the caller itself") end
function main:terminate() misuse("terminate", self.name, "use os.exit") end
main.kill = main.terminate

--- The worker in which this is called, or the main state, whose name is "main".
---@return Process
---@usage print(mf.current_process().name)
function identity.current_process()
  local current = core.current()
  if current.process then return core.extra(current.process).object or current.process end
  return setmetatable(current, main)
end

-- The starter of this worker, which may be the main state: it has a name, a pid, an ident.
local parent = { moonfleet = "Process", __name = "Process" }
parent.__index = parent
parent.__eq = same
identity.parent = parent

--- Does it still run?
---@return boolean
function parent.is_alive() return not core.parent_wait(0) end

function parent:__tostring()
  return ("Process(%s, %s)"):format(self.name, parent.is_alive() and "running" or "ended")
end

--- Waits for its end.
---@param timeout? number   seconds; nil: for ever
---@return boolean ended   true, or false, "timeout"
---@return string? reason
function parent:join(timeout) -- luacheck: no self
  if core.parent_wait(check.timeout(timeout, "join")) then return true end
  return false, "timeout"
end

local function stop(self, name)
  if not self.process then misuse(name, self.name, "only its own end ends it") end
  process.methods[name](self.process)
end

function parent:terminate() stop(self, "terminate") end
function parent:kill() stop(self, "kill") end

--- Who started this worker; nil in the main state.
---@return Process|nil
---@usage if not mf.parent_process():is_alive() then return end
function identity.parent_process()
  local found = core.parent()
  return found and setmetatable(found, parent)
end

return identity
