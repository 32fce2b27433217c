-- A loop that only computes: in one worker against plain lua5.4 (CPU seconds), and in two workers
-- at once against one (wall-clock seconds; twice the work on two cores).

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"
local work = require "cpu_work"

local STEPS <const> = bench.count(20000000)

-- CPU seconds that the loop takes inside a worker.
local function inside(kind)
  local worker = kind(function()
    local started = os.clock()
    work(STEPS)
    return os.clock() - started
  end)
  worker:start()
  local seconds = worker:result()
  worker:close()
  return seconds
end

-- Seconds until as many workers have run the loop once each.
local function together(kind, count)
  local workers, started = {}, mf.time()
  for i = 1, count do
    workers[i] = kind(work, STEPS)
    workers[i]:start()
  end
  for _, worker in ipairs(workers) do worker:join() end
  local seconds = mf.time() - started
  for _, worker in ipairs(workers) do worker:close() end
  return seconds
end

for _, kind in ipairs(bench.kinds) do
  local ours, plain, one, two = bench.by_turns {
    function() return inside(kind[2]) end,
    function() return bench.lua("cpu_work.lua", STEPS) end,
    function() return together(kind[2], 1) end,
    function() return together(kind[2], 2) end,
  }
  bench.cost_row("a computing loop against lua5.4, " .. kind[1], ours, plain, 1.03)
  bench.speed_up_row("two such loops at once, " .. kind[1], two, one, 1.9)
end
