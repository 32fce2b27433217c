-- Five processes work on one array in shared memory, an element each. Nothing is copied.

local mf = require "moonfleet"

local array = mf.Array("d", { 5, 10, 15, 20, 25 })

local function double(i) array[i] = array[i] * 2 end

local workers = {}
for i = 1, #array do workers[i] = mf.spawn(double, i) end
for _, worker in ipairs(workers) do worker:join() end

print(table.concat(array, " "))
