-- Strings of 1 MiB, against multiprocessing.Pipe.

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function produce(queue, count)
  local message = ("x"):rep(1 << 20)
  for _ = 1, count do queue:put(message) end
end

local function consume(queue, count)
  for _ = 1, count do queue:get() end
end

for _, kind in ipairs(bench.kinds) do
  local ours, peer = bench.by_turns {
    function()
      return bench.stream(kind[2], { maxsize = 4 }, bench.count(5000), produce, consume)
    end,
    function() return bench.python("pipe_large", bench.count(500)) end,
  }
  bench.rate_row("queue, 1 MiB strings, " .. kind[1], ours * (1 << 20), peer * (1 << 20), 25, "B/s")
end
