-- The default pool: made at first use, kept warm; one for each backend that is asked for. The
-- module's own map, submit and so on are its methods.

local core = require "moonfleet.core"
local backend = require "moonfleet.backend"
local pool = require "moonfleet.pool"

local default_pool = {}

--- The functions of the module that are methods of the default pool.
default_pool.names = {
  "map", "starmap", "imap", "imap_unordered", "istarmap", "reduce", "submit", "apply",
  "apply_async", "map_async", "starmap_async", "everywhere",
}

local pools = {}

--- mf.pool(). One that was closed, terminated or broken is replaced.
---@param default string|nil   backend of the module that it was called in
---@return userdata   Pool
function default_pool.get(default)
  local kind = backend.of_pool(nil, default)
  local own = pools[kind]
  if not own or core.pool_get(own, "state") ~= "open" then
    own = pool.new("Pool", kind)
    pools[kind] = own
  end
  return own
end

--- The function `name` of a module: a method of its default pool.
---@param name string
---@param default string|nil
function default_pool.twin(name, default)
  local method = pool.methods[name]
  return function(...) return method(default_pool.get(default), ...) end
end

return default_pool
