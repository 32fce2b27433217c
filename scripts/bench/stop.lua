-- Stops 10,000 thread workers in endless loops of several kinds: each must end, and each must have
-- run its to-be-closed variable exactly once.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local COUNT <const>, AT_ONCE <const> = bench.count(10000), 20

local loops = {}

function loops.plain()
  while true do end
end

function loops.guarded()
  while true do pcall(function() while true do end end) end
end

function loops.coroutine()
  while true do
    local co = coroutine.wrap(function() while true do coroutine.yield() end end)
    for _ = 1, 100 do co() end
  end
end

function loops.recursion()
  local function deep(n) return n == 0 and 0 or 1 + deep(n - 1) end
  while true do deep(10000) end
end

function loops.callback()
  while true do
    pcall(string.gsub, ("x"):rep(1000), ".", function() return nil end)
  end
end

local names = { "plain", "guarded", "coroutine", "recursion", "callback" }

local function run_loop(loop, number, begun, closed)
  local _ <close> = setmetatable({}, { __close = function() closed:put(number) end })
  begun:put(number)
  loop()
end

local begun, closed = mf.Queue(), mf.Queue()
local stopped, once, times, closes = 0, 0, {}, {}

-- Starts some, stops them together, and notes how long it took until all had ended.
local function stop_some(first, last)
  local workers = {}
  for i = first, last do
    local worker = mf.Thread(run_loop, loops[names[i % #names + 1]], i, begun, closed)
    worker:start()
    workers[#workers + 1] = worker
  end
  for _ = first, last do begun:get() end
  local started = mf.time()
  for _, worker in ipairs(workers) do worker:terminate() end
  for _, worker in ipairs(workers) do
    if worker:join(30) and worker.exitcode == -15 then stopped = stopped + 1 end
  end
  times[#times + 1] = (mf.time() - started) / #workers
  for _, worker in ipairs(workers) do worker:close() end
end

for first = 1, COUNT, AT_ONCE do stop_some(first, math.min(first + AT_ONCE - 1, COUNT)) end

while true do
  local number = closed:get_nowait()
  if not number then break end
  closes[number] = (closes[number] or 0) + 1
end
for i = 1, COUNT do if closes[i] == 1 then once = once + 1 end end

local function row(name, count)
  bench.line(name, tostring(count), tostring(COUNT), ("%.4f x"):format(count / COUNT), ">= 1 x",
    count == COUNT and "reached" or "BELOW")
end
row("endless loops in threads, stopped", stopped)
row("... and __close run exactly once", once)
bench.line("... time for each, " .. AT_ONCE .. " at once", bench.show_seconds(bench.median(times)),
  "", "", "", "")
