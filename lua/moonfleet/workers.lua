-- The names of workers in the module `moonfleet`, and in those of mf.with.

local class = require "moonfleet.class"
local identity = require "moonfleet.identity"
local process = require "moonfleet.process"

local workers = {
  current_process = identity.current_process,
  parent_process = identity.parent_process,
  active_children = process.active_children,
}

--- Process, Thread and spawn for workers of this backend.
---@param backend string|nil   nil: the one that is set for the program
function workers.bind(backend)
  return {
    Process = class.base("Process", backend),
    Thread = class.base("Thread", "thread"),
    spawn = function(...)
      local p = process.construct("spawn", backend, ...)
      process.methods.start(p)
      return p
    end,
  }
end

local unbound = workers.bind(nil)

--- A worker that is not started yet; also Process{target=, args=, kwargs=, name=, daemon=,
--- backend=, memory_limit=}. Process:extend{...} makes a subclass.
---@param fn function|string   what it runs: a function, or "module:name"
---@param ... any   arguments of fn; encoded at the start
---@return Process
---@usage local p = mf.Process(print, "hello") p:start() p:join()
workers.Process = unbound.Process

--- A Process with backend = "thread".
---@usage local t = mf.Thread(print, "hello")
workers.Thread = unbound.Thread

--- Process(...), started.
---@return Process
---@usage local p = mf.spawn(print, "hello")
workers.spawn = unbound.spawn

return workers
