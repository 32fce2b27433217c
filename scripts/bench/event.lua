-- Two workers that wake each other by turns: through events (set, wait, clear), beside the same
-- through queues (put, get), both hot. A figure is the median of blocks of 100 round trips, in the
-- best of five runs: two sides that the system has put on one core are hot in neither way.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local BLOCK <const> = 100

local function echo_events(there, back, count)
  for _ = 1, count do
    there:wait()
    there:clear()
    back:set()
  end
end

local function echo_queues(there, back, count)
  for _ = 1, count do back:put(there:get()) end
end

local function round_trips_by_events(there, back)
  for _ = 1, BLOCK do
    there:set()
    back:wait()
    back:clear()
  end
end

local function round_trips_by_queues(there, back)
  for i = 1, BLOCK do
    there:put(i)
    back:get()
  end
end

-- Seconds of one round trip.
local function measure(kind, make, echo, round_trips)
  local there, back, times, count = make(), make(), {}, bench.count(1000)
  local worker = kind(echo, there, back, count * BLOCK)
  worker:start()
  for k = 1, count do
    local started = mf.time()
    round_trips(there, back)
    times[k] = (mf.time() - started) / BLOCK
  end
  worker:join()
  worker:close()
  return bench.median(times)
end

for _, kind in ipairs(bench.kinds) do
  local ours, peer = math.huge, math.huge
  for _ = 1, bench.rounds do
    ours = math.min(ours, measure(kind[2], mf.Event, echo_events, round_trips_by_events))
    peer = math.min(peer, measure(kind[2], mf.Queue, echo_queues, round_trips_by_queues))
  end
  bench.faster_row("round trip by events, by queues, " .. kind[1], ours, peer, 1)
end
