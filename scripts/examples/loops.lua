-- Eight empty loops: in eight processes, in eight threads, and one after another.
-- Threads have no global lock here, so both parallel runs use every core.

local mf = require "moonfleet"

local STEPS <const> = tonumber(arg[1]) or 20000000

local function loop()
  for _ = 1, STEPS do end
end

local function in_workers(kind)
  local workers = {}
  for i = 1, 8 do
    workers[i] = kind(loop)
    workers[i]:start()
  end
  for _, worker in ipairs(workers) do worker:join() end
end

local function timed(label, fn, ...)
  local started = mf.time()
  fn(...)
  print(("%-10s %6.2f s"):format(label, mf.time() - started))
end

timed("processes", in_workers, mf.Process)
timed("threads", in_workers, mf.Thread)
timed("in line", function()
  for _ = 1, 8 do loop() end
end)
