-- 100,000 tasks that do nothing, on two workers, against Pool.map of the same chunk size.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function nothing(x) return x end

local function rate(pool, count, options)
  local started = mf.time()
  assert(#pool:map(nothing, mf.range(count), options) == count)
  return count / (mf.time() - started)
end

for _, backend in ipairs { "process", "thread" } do
  local pool <close> = mf.Pool { workers = 2, backend = backend }
  pool:map(nothing, mf.range(1000))
  local count = bench.count(100000)
  local single, peer_single, default, peer_default = bench.by_turns {
    function() return rate(pool, count, { chunksize = 1 }) end,
    function() return bench.python("pool_single", count) end,
    function() return rate(pool, count) end,
    function() return bench.python("pool_default", count) end,
  }
  bench.rate_row(("pool, chunksize 1, %s workers"):format(backend), single, peer_single, 80)
  bench.rate_row(("pool, default chunks, %s workers"):format(backend), default, peer_default, 1.5)
end
