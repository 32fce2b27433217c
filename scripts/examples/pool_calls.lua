-- The ways to ask a pool for work: many calls, one call, one call whose result is fetched later.

local mf = require "moonfleet"

local function add(a, b) return a + b end

local function add_all(a, b, named)
  for _, n in pairs(named) do a = a + n end
  return a + b
end

local pool <close> = mf.Pool(2)

print(table.unpack(pool:starmap(add, { { 1, 2 }, { 3, 4 } })))

print(pool:apply(add_all, { 1, 2 }, { kwarg1 = 3, kwarg100 = 5 }))

local later = pool:apply_async(add_all, { 1, 2 }, { kwarg1 = 5, kwarg100 = 7 })
print(later:get(2)) -- waits two seconds at most

-- Any function will do, one without a name too.
print(table.unpack(pool:map(function(x) return x * x end, { 1, 2, 3 })))
