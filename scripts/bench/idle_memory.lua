-- What 100 idle thread workers, with all libraries usable, add to this process's memory (its
-- proportional set size).

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local WORKERS <const>, LIMIT <const> = 100, 50 -- KB for each

local function pss_kb()
  collectgarbage()
  for line in io.lines("/proc/self/smaps_rollup") do
    local kb = line:match("^Pss:%s*(%d+)")
    if kb then return tonumber(kb) end
  end
end

local function show(name, kb)
  bench.line(name, ("%.1f KB"):format(kb), ("%d KB"):format(LIMIT), ("%.2f x"):format(kb / LIMIT),
    "<= 1 x", kb <= LIMIT and "reached" or "BELOW")
end

-- Workers that wait in a queue's get.
local function waiting_workers()
  local queue, ready, workers = mf.Queue(), mf.Queue(), {}
  local function wait()
    ready:put(true)
    queue:get()
  end
  mf.Thread(wait):start() -- whatever the first one brings is there before
  ready:get()
  local before = pss_kb()
  for i = 1, WORKERS do
    workers[i] = mf.Thread(wait)
    workers[i]:start()
  end
  for _ = 1, WORKERS do ready:get() end
  local grown = pss_kb() - before
  for _ = 0, WORKERS do queue:put(true) end
  for _, worker in ipairs(workers) do worker:join() end
  return grown / WORKERS
end

local function pool_workers()
  local before = pss_kb()
  local pool <close> = mf.Pool { workers = WORKERS, backend = "thread" }
  pool:everywhere(function() end)
  return (pss_kb() - before) / WORKERS
end

show("an idle thread worker (PSS), in get", waiting_workers())
show("an idle thread worker (PSS), of a pool", pool_workers())
