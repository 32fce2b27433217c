-- A counter that two workers count up at once, against multiprocessing.Value with its lock.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local FLOOR <const> = 4e6 -- additions a second, of both together

local function add(value, count, go)
  go:acquire()
  for _ = 1, count do value:add(1) end
end

local function rate(kinds, count)
  local value, go, workers = mf.Value("i64"), mf.Semaphore(0), {}
  for i, kind in ipairs(kinds) do
    workers[i] = kind(add, value, count, go)
    workers[i]:start()
  end
  local started = mf.time()
  go:release(#kinds)
  for _, worker in ipairs(workers) do worker:join() end
  local seconds = mf.time() - started
  for _, worker in ipairs(workers) do worker:close() end
  assert(value.value == #kinds * count, "additions were lost")
  return #kinds * count / seconds
end

local pairs_of_workers = {
  { "two processes", { mf.Process, mf.Process } },
  { "two threads", { mf.Thread, mf.Thread } },
  { "a process and a thread", { mf.Process, mf.Thread } },
}

for _, entry in ipairs(pairs_of_workers) do
  local ours, peer = bench.by_turns {
    function() return rate(entry[2], bench.count(2000000)) end,
    function() return bench.python("value_add", bench.count(100000)) end,
  }
  bench.least_row("Value:add, " .. entry[1], ours, peer, FLOOR)
end
