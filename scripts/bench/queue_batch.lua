-- 16-byte strings by put_many and get_many of 100, against multiprocessing.Queue one by one.

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function produce(queue, count)
  local list = {}
  for i = 1, 100 do list[i] = ("x"):rep(16) end
  for _ = 1, count // 100 do queue:put_many(list) end
end

local function consume(queue, count)
  local got = 0
  while got < count do got = got + queue:get_many(math.min(100, count - got)).n end
end

for _, kind in ipairs(bench.kinds) do
  local ours, peer = bench.by_turns {
    function()
      local count = math.max(200, bench.count(4000000) // 100 * 100)
      return bench.stream(kind[2], { maxsize = 10000 }, count, produce, consume)
    end,
    function() return bench.python("queue_small", bench.count(100000)) end,
  }
  bench.rate_row("queue, the same 100 at once, " .. kind[1], ours, peer, 80)
end
