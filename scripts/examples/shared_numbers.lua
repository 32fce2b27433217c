-- A counter and a large array that the tasks of a pool change, without being passed to them.

local mf = require "moonfleet"

local COUNT <const> = tonumber(arg[1]) or 20000000

local counter = mf.Value("i", 1)
local started = mf.time()
local numbers = mf.Array("d", COUNT)

local pool <close> = mf.Pool(2)

pool:map(function() counter:add(1) end, mf.range(10)) -- at once, and none is lost
print("counted to " .. counter.value)

pool:apply(function() numbers[COUNT] = 1.5 end)
print(("the last of %d numbers is %g, after %.2f s"):format(#numbers, numbers[COUNT],
  mf.time() - started))

-- Parts of it for the tasks: views, which share its memory.
local sums = pool:map(function(part)
  part:set(1, { 1, 2, 3 })
  return part[1] + part[2] + part[3]
end, numbers:split(4))
print("sums of what they wrote: " .. table.concat(sums, " "))
