-- Five processes print at the same time. Lines stay whole, and each process has its own id.

local mf = require "moonfleet"

local function double(n)
  print(("%d doubled to %d by process id: %d"):format(n, n * 2, mf.getpid()))
end

local processes = {}
for i, n in ipairs { 5, 10, 15, 20, 25 } do
  processes[i] = mf.Process(double, n)
  processes[i]:start()
end
for _, p in ipairs(processes) do p:join() end
