-- What 100 idle thread workers, with all libraries usable, add to this process's memory (its
-- proportional set size). Each figure is taken in a process of its own, for memory that once was
-- used is used again.

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

local measures = {}

-- Workers that wait in a queue's get.
function measures.get()
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

-- Workers of a pool that have run a task each.
function measures.pool()
  local function nothing() end
  mf.ThreadPool(1):everywhere(nothing)
  local before = pss_kb()
  local pool <close> = mf.ThreadPool(WORKERS)
  pool:everywhere(nothing)
  return (pss_kb() - before) / WORKERS
end

local function show(name, kb)
  bench.line(name, ("%.1f KB"):format(kb), ("%d KB"):format(LIMIT), ("%.2f x"):format(kb / LIMIT),
    "<= 1 x", kb <= LIMIT and "reached" or "BELOW")
end

if arg[1] then
  print(measures[arg[1]]())
else
  show("an idle thread worker (PSS), in get", bench.by_turns { bench.itself "get" })
  show("an idle thread worker (PSS), of a pool", bench.by_turns { bench.itself "pool" })
end
