-- mf.with: modules like `moonfleet` whose constructors default to one backend.
--
-- Each is a module of its own (moonfleet.threads, moonfleet.processes, moonfleet.serial), so that
-- it travels by name; its names are all there from the start, for the same reason.

local backend = require "moonfleet.backend"

local with = {}

local modules = { process = "processes", thread = "threads", serial = "serial" }

--- The text of such a module.
---@param name "process"|"thread"|"serial"
function with.make(name)
  local mf = require "moonfleet"
  local bound = require("moonfleet.workers").bind(name)
  for key, value in pairs(require("moonfleet.pools").bind(name)) do bound[key] = value end
  return setmetatable(bound, { __index = mf })
end

--- A module table like mf whose constructors default to that backend.
---@param name "process"|"thread"|"serial"
---@usage local mf = require("moonfleet").with("thread")
function with.with(name)
  return (require("moonfleet." .. modules[backend.check(name, 1, "with")]))
end

return with
