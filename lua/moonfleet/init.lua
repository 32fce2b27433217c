-- Moonfleet: parallel Lua. What `require "moonfleet"` gives.
--
-- Parts are loaded when one of their names is first used, so that requiring the module is cheap.
-- Every value here is a field of the module that makes it, too: it travels to workers by that name.

local core = require "moonfleet.core"

local mf = {
  _VERSION = "Moonfleet " .. core.version,
  Error = core.error_metatable(),
  is_error = core.is_error,
  time = core.time,
  getpid = core.getpid,
  cpu_count = core.cpu_count,
  dump_waits = core.dump_waits,
}

-- name = the module that has it, or "module:its name there"
local parts = {
  type = "check:kind",
  set_backend = "backend",
  with = "with:with",
}

local function part(module, names)
  for name in names:gmatch("%S+") do parts[name] = module end
end

part("workers", "Process Thread spawn current_process parent_process active_children")
part("select", "select wait_any")
part("sync", [[Queue JoinableQueue SimpleQueue Pipe Lock RLock Semaphore
  BoundedSemaphore Event Condition Barrier]])
part("shared", "Value RawValue Array RawArray")
part("values", "encode decode captures register sleep poll fd")
part("range", "range iter")
part("inspect", "inspect")
part("stats", "stats")
part("pools", [[Pool ThreadPool pool map starmap imap imap_unordered istarmap reduce submit apply
  apply_async map_async starmap_async everywhere]])

local loading = {}

function loading:__index(name)
  local place = parts[name]
  if not place then return nil end
  local module, other = place:match("^(.-):(.*)$")
  local loaded = require("moonfleet." .. (module or place))
  if module then
    rawset(self, name, loaded[other])
  else -- all names at once: what is sent is looked up in the modules as they are when one is loaded
    for key, from in next, parts do
      if from == place then rawset(self, key, loaded[key]) end
    end
  end
  return rawget(self, name)
end

return setmetatable(mf, loading)
