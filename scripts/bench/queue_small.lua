-- 16-byte strings, one put and one get each, against multiprocessing.Queue. Once through a bounded
-- queue (a stream), once through an unbounded one (the producer may be far ahead). Beside it the
-- round trip of a bare cache line: where the host has put the two cores decides much.

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function produce(queue, count)
  local message = ("x"):rep(16)
  for _ = 1, count do queue:put(message) end
end

local function consume(queue, count)
  for _ = 1, count do queue:get() end
end

local cache_line = bench.c_program "cache_line"

for _, kind in ipairs(bench.kinds) do
  for _, bound in ipairs { 10000, 0 } do
    local ours, peer, line = bench.by_turns {
      function()
        return bench.stream(kind[2], { maxsize = bound }, bench.count(2000000), produce, consume)
      end,
      function() return bench.python("queue_small", bench.count(100000)) end,
      function() return cache_line(bench.count(1000000)) end,
    }
    local name = bound == 0 and "unbounded" or "bounded"
    bench.rate_row(("queue, 16-byte strings, %s, %s"):format(name, kind[1]), ours, peer, 35)
    bench.line("  a bare cache line, there and back", "", bench.show_seconds(line), "", "", "")
  end
end
