-- A small record per message, against multiprocessing.SimpleQueue.

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function produce(queue, count)
  local record = { id = 1, name = "abc", x = 1.5, y = 2.5, flags = { true, false, true } }
  for _ = 1, count do queue:put(record) end
end

local function consume(queue, count)
  for _ = 1, count do queue:get() end
end

for _, kind in ipairs(bench.kinds) do
  local ours, peer = bench.by_turns {
    function()
      return bench.stream(kind[2], { maxsize = 10000 }, bench.count(500000), produce, consume)
    end,
    function() return bench.python("queue_table", bench.count(100000)) end,
  }
  bench.rate_row("queue, five-field tables, " .. kind[1], ours, peer, 7)
end
