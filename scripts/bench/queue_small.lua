-- 16-byte strings, one put and one get each, against multiprocessing.Queue. Once through a bounded
-- queue (a stream), once through an unbounded one (the producer may be far ahead).

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function produce(queue, count)
  local message = ("x"):rep(16)
  for _ = 1, count do queue:put(message) end
end

local function consume(queue, count)
  for _ = 1, count do queue:get() end
end

for _, kind in ipairs(bench.kinds) do
  for _, bound in ipairs { 10000, 0 } do
    local ours, peer = bench.by_turns {
      function()
        return bench.stream(kind[2], { maxsize = bound }, bench.count(2000000), produce, consume)
      end,
      function() return bench.python("queue_small", bench.count(100000)) end,
    }
    local name = bound == 0 and "unbounded" or "bounded"
    bench.rate_row(("queue, 16-byte strings, %s, %s"):format(name, kind[1]), ours, peer, 35)
  end
end
