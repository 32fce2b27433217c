-- Arrays: elements against those of a table, whole ranges against memcpy, and a large one that a
-- task of a pool touches, against multiprocessing.Array.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local LARGE <const> = 20000000

-- Seconds from nothing to a large Array of which a task has changed an element.
local function touch_large()
  local started = mf.time()
  local large <close> = mf.Array("d", LARGE)
  local pool <close> = mf.Pool { workers = 2, backend = "process" }
  pool:apply(function() large[5] = large[5] + 1 end)
  assert(large[5] == 1)
  return mf.time() - started
end

if arg[1] == "touch" then
  print(touch_large())
  return
end

-- Elements ---------------------------------------------------------------------------------------

local STEPS <const> = bench.count(5000000)
local LIMIT <const> = 100e-9 -- seconds for an element, the loop around it included

local function reading(elements)
  return function()
    local sum, started = 0, os.clock()
    for i = 1, STEPS do sum = sum + elements[(i & 255) + 1] end
    assert(sum == STEPS)
    return (os.clock() - started) / STEPS
  end
end

local function writing(elements)
  return function()
    local started = os.clock()
    for i = 1, STEPS do elements[(i & 255) + 1] = 1.0 end
    return (os.clock() - started) / STEPS
  end
end

local plain = {}
for i = 1, 256 do plain[i] = 1.0 end
for _, name in ipairs { "f64", "i32" } do
  local shared = mf.Array(name, 256)
  shared:fill(1)
  local read, table_read, write, table_write = bench.by_turns {
    reading(shared), reading(plain), writing(shared), writing(plain),
  }
  bench.time_row(("a[i] read, %s, against a table's"):format(name), read, table_read, LIMIT)
  bench.time_row(("a[i] = x, %s, against a table's"):format(name), write, table_write, LIMIT)
end

-- Ranges -----------------------------------------------------------------------------------------

local BYTES <const> = 16 << 20
local ROUNDS <const> = bench.count(100)

local function rate(move)
  return function()
    collectgarbage() -- what others left
    local started = mf.time()
    for _ = 1, ROUNDS do move() end
    return ROUNDS * BYTES / (mf.time() - started)
  end
end

local memcpy = bench.c_program "memcpy"
local array = mf.Array("f64", BYTES // 8)
array:fill(1.5)
local text = array:bytes()
local view = mf.Array("f64", BYTES // 4):view(5, BYTES // 8 + 4)

local function warm() return memcpy(("%d warm"):format(ROUNDS)) end
local function fresh() return memcpy(("%d fresh"):format(ROUNDS)) end

local set, bytes, copy, view_copy, warm_rate, fresh_rate = bench.by_turns {
  rate(function() array:set(1, text) end),
  rate(function() array:bytes() end),
  rate(function() local _ <close> = array:copy() end),
  rate(function() local _ <close> = view:copy() end),
  warm, fresh,
}
bench.rate_row("a:set(1, bytes), 16 MiB, against memcpy", set, warm_rate, 0.8, "B/s")
bench.rate_row("a:bytes(), against malloc, memcpy, free", bytes, fresh_rate, 0.8, "B/s")
bench.rate_row("a:copy(), against memcpy", copy, warm_rate, 0.8, "B/s")
bench.rate_row("view:copy(), against memcpy", view_copy, warm_rate, 0.8, "B/s")

-- A large one ------------------------------------------------------------------------------------

local first = bench.itself("touch")
local new, again, peer = bench.by_turns {
  first, touch_large, function() return bench.python("array_touch", LARGE) end,
}
bench.faster_row("20,000,000 f64, touched by a task, first", new, peer, 10)
bench.faster_row("20,000,000 f64, touched by a task, later", again, peer, 10)
