-- The names of pools in the module `moonfleet`, and in those of mf.with.

local default_pool = require "moonfleet.default_pool"
local pool = require "moonfleet.pool"
require "moonfleet.exit" -- the C half calls it at the state's end if it is there

local pools = {}

--- Pool, ThreadPool, the default pool and its twins for pools of this backend.
---@param backend string|nil   nil: the one that is set for the program
function pools.bind(backend)
  local bound = {
    Pool = function(...) return pool.new("Pool", backend, ...) end,
    ThreadPool = function(...) return pool.new("ThreadPool", "thread", ...) end,
    pool = function() return default_pool.get(backend) end,
  }
  for _, name in ipairs(default_pool.names) do bound[name] = default_pool.twin(name, backend) end
  return bound
end

for name, value in pairs(pools.bind(nil)) do pools[name] = value end

return pools
