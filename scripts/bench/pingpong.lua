-- An integer to a worker and back, both sides hot, against multiprocessing.Pipe; beside it the
-- round trip of a bare cache line. A figure is the median of blocks of 100 round trips.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local BLOCK <const> = 100

local function echo(there, back, count)
  for _ = 1, count do back:put(there:get()) end
end

local function round_trip(kind, count)
  local there, back, times = mf.Queue(), mf.Queue(), {}
  local worker = kind(echo, there, back, count * BLOCK)
  worker:start()
  for k = 1, count do
    local started = mf.time()
    for i = 1, BLOCK do
      there:put(i)
      back:get()
    end
    times[k] = (mf.time() - started) / BLOCK
  end
  worker:join()
  worker:close()
  return bench.median(times)
end

local cache_line = bench.c_program "cache_line"

for _, kind in ipairs(bench.kinds) do
  local ours, peer, line = bench.by_turns {
    function() return round_trip(kind[2], bench.count(1000)) end,
    function() return bench.python("pingpong", bench.count(5000)) end,
    function() return cache_line(bench.count(1000000)) end,
  }
  bench.faster_row("ping-pong of an integer, " .. kind[1], ours, peer, 80)
  bench.line("  a bare cache line beside it", bench.show_seconds(ours), bench.show_seconds(line),
    ("%.2f x"):format(ours / line), "", "")
end
