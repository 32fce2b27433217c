-- A list of 1,000,000 integers to a worker, which says that it has it, against
-- multiprocessing.Pipe.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local LIMIT <const> = 0.033 -- seconds

local function acknowledge(there, back, count)
  for _ = 1, count do
    local list = there:get()
    back:put(#list)
  end
end

local function send_list(kind, count)
  local there, back, numbers = mf.Queue(), mf.Queue(), {}
  for i = 1, 1000000 do numbers[i] = i end
  local worker = kind(acknowledge, there, back, count)
  worker:start()
  local times = {}
  for k = 1, count do
    local started = mf.time()
    there:put(numbers)
    assert(back:get() == 1000000)
    times[k] = mf.time() - started
  end
  worker:join()
  worker:close()
  return bench.median(times)
end

for _, kind in ipairs(bench.kinds) do
  local ours, peer = bench.by_turns {
    function() return send_list(kind[2], 7) end,
    function() return bench.python("pipe_array", 5) end,
  }
  bench.faster_row("1,000,000 integers, " .. kind[1], ours, peer, 2)
  bench.cost_row("1,000,000 integers, against its limit, " .. kind[1], ours, LIMIT, 1)
end
