-- A message by select, over one queue and over a hundred, against a plain get. Put and taken in one
-- state, so that nothing is waited for: what selecting itself costs. No floor: the ratio tells.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local message = ("x"):rep(16)

-- Seconds of one put and one take(list).
local function pair(queues, count, take)
  local list = {}
  for i = 1, queues do list[i] = mf.Queue() end
  local target = list[(queues + 1) // 2]
  for _ = 1, 100 do
    target:put(message)
    take(list)
  end
  local started = mf.time()
  for _ = 1, count do
    target:put(message)
    take(list)
  end
  return (mf.time() - started) / count
end

local function get(list) return list[1]:get() end

local one, hundred, plain = bench.by_turns {
  function() return pair(1, bench.count(300000), mf.select) end,
  function() return pair(100, bench.count(100000), mf.select) end,
  function() return pair(1, bench.count(300000), get) end,
}
for _, row in ipairs { { "1 queue", one }, { "100 queues", hundred } } do
  bench.line("put and select over " .. row[1] .. ", put and get", bench.show_seconds(row[2]),
    bench.show_seconds(plain), ("%.2f x"):format(row[2] / plain), "", "")
end
