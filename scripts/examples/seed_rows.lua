-- The programs that this project was asked for, as far as processes, threads, pools, queues and
-- shared numbers carry them: one function for each, which runs the program and checks what it
-- gives.
--
-- `moonfleet scripts/examples/seeds.lua` runs them at full size and prints their times;
-- tests/seeds_spec.lua runs them small. A row gets `mf` (the module, or `mf.with(backend)`) and a
-- `size`: `size.unit` seconds for each second that the program sleeps, `size.n(full, small)` for
-- its counts, `size.within(seconds, limit)` and `size.faster(serial, parallel, workers)`, which
-- check times at full size only: a small run may share its cores with anybody.

local moonfleet = require "moonfleet" -- the one that workers use

local rows = {}

local function row(number, title)
  return function(run) rows[#rows + 1] = { number = number, title = title, run = run } end
end

local function expect(wanted, got, what)
  if wanted == got then return end
  error(("%s: wanted %s, got %s"):format(what, tostring(wanted), tostring(got)), 3)
end

local function expect_list(wanted, got)
  expect(#wanted, got.n or #got, "length")
  for i = 1, #wanted do expect(wanted[i], got[i], "element " .. i) end
end

local function timed(fn, ...)
  local started = moonfleet.time()
  local result = fn(...)
  return moonfleet.time() - started, result
end

local function start_all(workers)
  for _, worker in ipairs(workers) do worker:start() end
end

local function join_all(workers)
  for _, worker in ipairs(workers) do
    worker:join()
    expect(0, worker.exitcode, worker.name)
  end
end

local function run_workers(kind, count, target, ...)
  local workers = {}
  for i = 1, count do workers[i] = kind(target, ...) end
  start_all(workers)
  join_all(workers)
  return workers
end

local function loop(steps)
  local n = 0
  for _ = 1, steps do n = n + 1 end
  return n
end

-- Collects {values, seconds of arrival in units} of an iterator.
local function arrivals(unit, iterator, state, control, closing)
  local values, times, started = {}, {}, moonfleet.time()
  for _, value in iterator, state, control, closing do
    values[#values + 1] = value
    times[#times + 1] = (moonfleet.time() - started) / unit
  end
  return values, times
end

row(1, "8 loops in processes, in threads, in line")(function(mf, size)
  local steps = size.n(20000000, 1000)
  local serial = timed(function() for _ = 1, 8 do loop(steps) end end)
  local processes = timed(run_workers, mf.Process, 8, loop, steps)
  local threads = timed(run_workers, mf.Thread, 8, loop, steps)
  size.faster(serial, processes, 8)
  size.faster(serial, threads, 8)
end)

row(2, "positional and named arguments, defaults")(function(mf)
  local function show_args(a, b, options)
    local extra = {}
    for name, value in pairs(options) do
      if name ~= "kwarg1" and name ~= "kwarg2" then extra[#extra + 1] = name .. "=" .. value end
    end
    return a .. " " .. b, (options.kwarg1 or 3) .. " " .. (options.kwarg2 or 4), extra[1]
  end
  local named = { kwarg1 = 5, kwarg100 = 10 }
  local p = mf.Process { target = show_args, args = { 1, 2 }, kwargs = named }
  p:start()
  expect_list({ "1 2", "5 4", "kwarg100=10" }, { p:result() })
end)

row(3, "starmap, apply, apply_async")(function(mf)
  local function add_all(a, b, named)
    for _, n in pairs(named or {}) do a = a + n end
    return a + b
  end
  local pool <close> = mf.Pool(2)
  expect_list({ 3, 7 }, pool:starmap(add_all, { { 1, 2 }, { 3, 4 } }))
  expect(11, pool:apply(add_all, { 1, 2 }, { kwarg1 = 3, kwarg100 = 5 }), "apply")
  local future = pool:apply_async(add_all, { 1, 2 }, { kwarg1 = 5, kwarg100 = 7 })
  expect(15, future:get(60), "apply_async")
  expect_list({ 2, 4 }, pool:map(function(x) return x + x end, { 1, 2 }))
end)

row(4, "leaving a pool's scope finishes its work")(function(mf, size)
  local queue = mf.Queue()
  do
    local pool <close> = mf.Pool(2)
    for i = 1, 10 do
      pool:apply_async(function(n)
        moonfleet.sleep(size.unit / 10)
        queue:put(n)
      end, { i })
    end
  end
  expect(10, queue:size(), "tasks done")
end)

row(6, "serial waiting against Pool(3):map")(function(mf, size)
  local unit = size.unit
  local function wait(x)
    moonfleet.sleep(x * unit)
    return x * x
  end
  local pool <close> = mf.Pool(3)
  local seconds, squares = timed(pool.map, pool, wait, { 1, 5, 3 })
  expect_list({ 1, 25, 9 }, squares)
  size.within(seconds, 5 * unit)
end)

row(7, "imap with arrival times")(function(mf, size)
  local unit = size.unit
  local pool <close> = mf.Pool(3)
  local values, times = arrivals(unit, pool:imap(function(x)
    moonfleet.sleep(x * unit)
    return x * x
  end, { 1, 5, 3 }))
  expect_list({ 1, 25, 9 }, values)
  for i, at in ipairs { 1, 5, 5 } do size.within(times[i] * unit, at * unit) end
end)

row(9, "several arguments through imap and a wrapper")(function(mf)
  local function product(a, b, c) return a * b * c end
  local function wrapper(args) return product(table.unpack(args)) end
  local a, b, c, zipped = { 1, 3, 5, 2 }, { 2, 4, 6, 5 }, { 5, 5, 7, 8 }, {}
  for i = 1, 4 do zipped[i] = { a[i], b[i], c[i] } end
  local pool = mf.Pool(2)
  local values = arrivals(1, pool:imap(wrapper, zipped))
  pool:close()
  pool:join()
  expect_list({ 10, 60, 210, 80 }, values)
end)

row(10, "5 processes double a number")(function(mf)
  local seen, processes = {}, {}
  for i, n in ipairs { 5, 10, 15, 20, 25 } do
    processes[i] = mf.Process(function(x)
      return ("%d doubled to %d"):format(x, x * 2), moonfleet.current_process().ident
    end, n)
  end
  start_all(processes)
  for i, p in ipairs(processes) do
    local line, ident = p:result()
    expect(("%d doubled to %d"):format(i * 5, i * 10), line, "line")
    expect(nil, seen[ident], "the same worker twice")
    seen[ident] = true
  end
end)

row(11, "workers know their names")(function(mf)
  local function my_name() return moonfleet.current_process().name end
  local first, named, second = mf.Process(my_name), mf.Process { target = my_name, name = "Test" },
    mf.Process(my_name)
  start_all { first, named, second }
  expect("Test", named:result(), "name")
  local kind, number = first:result():match("^(%a+)%-(%d+)$")
  expect(("%s-%d"):format(kind, number + 1), second:result(), "name")
end)

row(12, "workers share nothing by accident")(function(mf)
  _G.seed_result = {}
  run_workers(mf.Process, 4, function()
    _G.seed_result[1] = "mine"
  end)
  local left = next(_G.seed_result)
  _G.seed_result = nil
  expect(nil, left, "the parent's table")
end)

row(14, "an Array doubled in place by 5 processes")(function(mf)
  local array = moonfleet.Array("d", { 5, 10, 15, 20, 25 })
  local workers = {}
  for i = 1, 5 do
    workers[i] = mf.Process(function() array[i] = array[i] * 2 end)
  end
  start_all(workers)
  join_all(workers)
  expect_list({ 10, 20, 30, 40, 50 }, array:totable())
end)

row(15, "sleeps through map, imap, imap_unordered")(function(mf, size)
  local unit = size.unit
  local function slow(x, seconds)
    moonfleet.sleep(seconds * unit)
    return 2 * x
  end
  local pool <close> = mf.Pool(3)
  pool:map(function() end, { 1, 2, 3 }) -- the workers are there
  local seconds, doubled = timed(pool.map, pool, function(x) return slow(x, 3) end, { 1, 2, 3 })
  expect_list({ 2, 4, 6 }, doubled)
  size.within(seconds, 3 * unit)
  local values, times = arrivals(unit, pool:imap(function(x) return slow(x, x) end, { 1, 2, 3 }))
  expect_list({ 2, 4, 6 }, values)
  for i = 1, 3 do size.within(times[i] * unit, i * unit) end
  values, times = arrivals(unit,
    pool:imap_unordered(function(x) return slow(x, 3 - x) end, { 1, 2, 3 }, { chunksize = 1 }))
  expect_list({ 6, 4, 2 }, values)
  for i = 1, 3 do size.within(times[i] * unit, (i - 1) * unit) end
end)

local function resident_mb()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmRSS:%s*(%d+)")
    if kb then return tonumber(kb) / 1024 end
  end
end

row(16, "a text larger than memory through imap")(function(mf, size)
  local block = ("The Quick Brown Fox "):rep(3276)
  local lowered, count, read = block:lower(), size.n(40000, 400), 0
  local function source()
    if read == count then return nil end
    read = read + 1
    return block
  end
  local pool <close> = mf.Pool(2)
  local ahead, first, most = 0, 0, 0 -- first: most MB in the first quarter
  for i, text in pool:imap(string.lower, source) do
    expect(lowered, text, "block")
    ahead = math.max(ahead, read - i)
    if i % 20 == 0 then most = math.max(most, resident_mb()) end
    if i == count // 4 then first = most end
  end
  expect(count, read, "blocks read")
  assert(ahead < count or count < 1000, "the whole input was read ahead")
  assert(most - first < 256, ("memory grew from %.0f to %.0f MB"):format(first, most))
end)

row(17, "squares and cubes side by side")(function(mf, size)
  local unit = size.unit
  local function powers(power)
    local list = {}
    for i = 1, 5 do
      moonfleet.sleep(unit / 5)
      list[i] = i ^ power
    end
    return list
  end
  for _, kind in ipairs { mf.Process, mf.Thread } do
    local seconds = timed(function()
      local squares, cubes = kind(powers, 2), kind(powers, 3)
      start_all { squares, cubes }
      expect_list({ 1, 4, 9, 16, 25 }, squares:result())
      expect_list({ 1, 8, 27, 64, 125 }, cubes:result())
    end)
    size.within(seconds, unit)
  end
end)

row(18, "Pool(5) and ThreadPool(5) of slow squares")(function(mf, size)
  local unit = size.unit
  for _, make_pool in ipairs { mf.Pool, mf.ThreadPool } do
    local pool <close> = make_pool(5)
    local seconds, squares = timed(pool.map, pool, function(x)
      moonfleet.sleep(2 * unit)
      return x * x
    end, { 1, 2, 3, 4, 5 })
    expect_list({ 1, 4, 9, 16, 25 }, squares)
    size.within(seconds, 2 * unit)
  end
end)

row(20, "a table of columns split, worked on, joined")(function(mf, size)
  local count, parts = size.n(1000000, 1000), 4
  local frame = { x = {}, y = {} }
  for i = 1, count do frame.x[i], frame.y[i] = i, i % 17 end

  local function split(from, to)
    return { x = table.move(frame.x, from, to, 1, {}), y = table.move(frame.y, from, to, 1, {}) }
  end
  local function work(part)
    local sums = {}
    for i = 1, #part.x do sums[i] = part.x[i] * part.y[i] + 1 end
    part.sum = sums
    return part
  end
  local pieces = {}
  for k = 1, parts do
    pieces[k] = split((k - 1) * count // parts + 1, k * count // parts)
  end
  local pool <close> = mf.Pool(2)
  local joined = {}
  for _, part in ipairs(pool:map(work, pieces)) do
    table.move(part.sum, 1, #part.sum, #joined + 1, joined)
  end
  expect_list(work(frame).sum, joined)
end)

local function expect_list_with_hole(list)
  expect(42, list[1], "first")
  expect(nil, list[2], "hole")
  expect("hello", list[3], "third")
end

row(21, "a queue and a pipe bring a list with a hole")(function(mf)
  local queue = mf.Queue()
  local putter = mf.Process(function(q) q:put { 42, nil, "hello" } end, queue)
  local here, there = moonfleet.Pipe()
  local sender = mf.Process(function(connection)
    connection:send { 42, nil, "hello" }
    connection:close()
  end, there)
  start_all { putter, sender }
  there:close() -- the child has its own
  expect_list_with_hole(queue:get(60))
  expect_list_with_hole(here:recv(60))
  expect("closed", select(2, here:recv(60)), "end of the pipe")
  join_all { putter, sender }
end)

row(22, "a Value and an Array that a child changes")(function(mf)
  local value, array = moonfleet.Value("d", 0.0), moonfleet.Array("i", moonfleet.range(0, 9))
  local child = mf.Process(function(v, a)
    v.value = 3.1415927
    for i, x in ipairs(a) do a[i] = -x end
  end, value, array)
  start_all { child }
  join_all { child }
  expect(3.1415927, value.value, "value")
  expect("0 -1 -2 -3 -4 -5 -6 -7 -8 -9", table.concat(array, " "), "array")
end)

row(24, "a Thread subclass with run and tostring")(function(mf, size)
  local Sleeper = mf.Thread:extend {
    run = function(self)
      moonfleet.sleep(math.random() * self.longest)
      return tostring(self)
    end,
    __tostring = function(self) return "<" .. self.name .. ">" end,
  }
  local threads = {}
  for i = 1, 4 do threads[i] = Sleeper { name = "sleeper-" .. i, longest = size.unit } end
  start_all(threads)
  for i, thread in ipairs(threads) do
    expect(("<sleeper-%d>"):format(i), thread:result(), "tostring in the thread")
  end
end)

row(25, "20 tasks, never more than 4 at a time")(function(mf, size)
  local unit, room = size.unit, mf.Semaphore(4)
  local function task(named)
    assert(room:acquire(0), "a fifth task runs")
    moonfleet.sleep(unit / 10)
    room:release()
    return named.number
  end
  local pool, futures = mf.ThreadPool { max_workers = 4 }, {}
  for i = 1, 20 do futures[i] = pool:submit { target = task, kwargs = { number = i } } end
  for i = 1, 20 do expect(i, futures[i]:get(60), "result") end
  pool:close()
  pool:join()
  expect(4, room:value(), "permits")
end)

row(26, "10 loops of 10,000,000 increments")(function(mf, size)
  local steps = size.n(10000000, 1000)
  local serial = timed(function() for _ = 1, 10 do loop(steps) end end)
  local parallel = timed(run_workers, mf.Process, 10, loop, steps)
  size.faster(serial, parallel, 10)
end)

-- All that can be started; the error, where the system has no room for so many.
local function start_many(kind, count)
  local workers, problem = {}, nil
  for i = 1, count do
    local worker = kind(function() return i end)
    local ok, err = pcall(worker.start, worker)
    if not ok then
      problem = err
      break
    end
    workers[i] = worker
  end
  for i, worker in ipairs(workers) do
    expect(i, worker:result(120), "result")
    worker:close()
  end
  return problem
end

row(27, "10,000 processes, threads and tasks at once")(function(mf, size)
  local count = size.n(10000, 50)
  for _, kind in ipairs { mf.Process, mf.Thread } do
    local problem = start_many(kind, count)
    assert(problem == nil or moonfleet.is_error(problem, "system")
      or moonfleet.is_error(problem, "no_memory"), problem)
  end
  local pool, futures = mf.Pool(2), {}
  for i = 1, count do futures[i] = pool:submit(loop, i % 10) end
  for i = 1, count do expect(i % 10, futures[i]:get(60), "task") end
  pool:close()
  pool:join()
end)

row(28, "1,000,000 light calls")(function(mf, size)
  local count, numbers = size.n(1000000, 2000), {}
  for i = 1, count do numbers[i] = i end
  local function light(x)
    for _ = 1, 100 do x = x + 1 end
    return x
  end
  local serial = timed(function()
    local results = {}
    for i, x in ipairs(numbers) do results[i] = light(x) end
    return results
  end)
  local pool <close> = mf.Pool(4)
  local parallel, results = timed(pool.map, pool, light, numbers)
  expect(count, results.n, "results")
  for i = 1, count do expect(i + 100, results[i], "result") end
  size.faster(serial, parallel, 2)
end)

row(29, "map_async of two functions at once")(function(mf, size)
  local unit = size.unit
  local function slow(x)
    moonfleet.sleep(unit / 5)
    return x
  end
  local pool <close> = mf.Pool(4)
  local seconds = timed(function()
    local same = pool:map_async(slow, { 1, 2 }, { chunksize = 1 })
    local double = pool:map_async(function(x) return 2 * slow(x) end, { 1, 2 }, { chunksize = 1 })
    expect_list({ 2, 4 }, double:get(60))
    expect_list({ 1, 2 }, same:get(60))
  end)
  size.within(seconds, unit / 5)
end)

row(31, "a counter and a large Array, changed by pool tasks")(function(mf, size)
  local counter, large = moonfleet.Value("i", 1), moonfleet.Array("d", size.n(20000000, 2000))
  local pool <close> = mf.Pool(2)
  pool:map(function() counter:add(1) end, moonfleet.range(10))
  expect(11, counter.value, "counter")
  pool:apply(function() large[#large] = large[1] + 2.5 end)
  expect(2.5, large[#large], "last element")
end)

row(32, "a matrix worked on by blocks of rows")(function(mf, size)
  local height, width = size.n(1000, 10), size.n(1000, 7)
  local matrix = moonfleet.Array { type = "f64", shape = { height, width } }
  local sums = moonfleet.Array("f64", height)
  local function fill(above, block, block_sums)
    local lines, columns = block:shape()
    for i = 1, lines do
      for j = 1, columns do
        block:put((above + i) * j, i, j)
        block_sums[i] = block_sums[i] + block:at(i, j)
      end
    end
  end
  local calls, above = {}, 0
  local blocks, block_sums = matrix:split(4), sums:split(4)
  for k = 1, 4 do
    calls[k] = { above, blocks[k], block_sums[k] }
    above = above + #block_sums[k]
  end
  local pool <close> = mf.Pool(2)
  pool:starmap(fill, calls)
  expect(height * width, matrix:at(height, width), "last element")
  expect(7 * width * (width + 1) // 2, sums[7], "sum of a row")
  expect(false, pcall(matrix.at, matrix, height + 1, 1), "bounds")
end)

row(33, "cpu_count for pool sizes")(function(mf)
  local count = mf.cpu_count()
  assert(math.type(count) == "integer" and count >= 1, count)
  local pool <close> = mf.Pool()
  expect(count, pool.size, "default pool size")
end)

row(35, "the same program on all three backends")(function(mf, size)
  local seed = size.n(100, 20)
  local function draw(x) return x * 1000 + math.random(0, 999) end
  local function program(backend)
    local pool <close> = mf.Pool { workers = 2, backend = backend }
    local list = pool:map(draw, mf.range(seed), { seed = 42 })
    return table.concat(list, " ")
  end
  local serial = program("serial")
  expect(serial, program("process"), "process")
  expect(serial, program("thread"), "thread")
end)

return rows
