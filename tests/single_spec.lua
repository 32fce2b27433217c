-- map with chunks of one item: many tasks share a job, and yet each is a task of its own.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local single <const> = { chunksize = 1 }
local COUNT <const> = 400 -- enough for several tasks in one job, in every build

-- Ends the worker that runs it: by a signal where it is a process, by os.exit elsewhere.
local function die()
  if mf.current_process().backend == "process" then
    os.execute("kill -9 " .. mf.getpid())
    while true do end
  end
  os.exit(9)
end

local function drain(queue)
  local times = {}
  while true do
    local value, reason = queue:get_nowait()
    if reason then return times end
    times[value] = (times[value] or 0) + 1
  end
end

helper.for_each_pool(function(backend, new_pool)
  describe("many single tasks by " .. backend, function()
    it("give their results in input order, whatever their size", function()
      local pool <close> = new_pool()
      local results = pool:map(function(x)
        if x % 7 == 0 then return nil end
        if x % 7 == 1 then return ("x"):rep(x * 20) end
        if x % 7 == 2 then return { x, name = "n" .. x } end
        return -x
      end, mf.range(COUNT), single)
      assert.are.equal(COUNT, results.n)
      for x = 1, COUNT do
        local kind = x % 7
        if kind == 0 then assert.is_nil(results[x])
        elseif kind == 1 then assert.are.equal(("x"):rep(x * 20), results[x])
        elseif kind == 2 then assert.are.same({ x, name = "n" .. x }, results[x])
        else assert.are.equal(-x, results[x]) end
      end
    end)

    it("take and give shared objects, and large items among small ones", function()
      local pool <close> = new_pool()
      local queue <close> = mf.Queue()
      local items = {}
      for i = 1, COUNT do items[i] = i end
      items[30], items[31], items[130] = queue, ("y"):rep(10000), ("z"):rep(200)
      items[1], items[33], items[200] = ("a"):rep(100000), ("b"):rep(100000), ("c"):rep(1100000)
      local results = pool:map(function(x)
        if x == 90 then return queue end
        return x
      end, items, single)
      items[90] = queue
      for i = 1, COUNT do assert.is_true(results[i] == items[i], i) end
    end)

    it("of several arguments give the first result of each call", function()
      local pool <close> = new_pool()
      local items = {}
      for i = 1, COUNT do items[i] = { i, nil, i, n = 3 } end
      local results = pool:starmap(function(a, b, c) return b or a + c, "second" end, items, single)
      for i = 1, COUNT do assert.are.equal(2 * i, results[i]) end
    end)

    it("raise the first failure by input order; those that have not begun are dropped", function()
      local pool <close> = new_pool()
      local queue <close> = mf.Queue()
      local err = helper.raised(pool.map, pool, function(x)
        queue:put(x)
        if x == 3 then error("bad " .. x, 0) end
        mf.sleep(0.001)
      end, mf.range(COUNT), single)
      assert.is_truthy(tostring(err):find("bad 3", 1, true), tostring(err))
      pool:close()
      pool:join(long)
      assert.is_true(queue:size() < COUNT, queue:size())
      local stats = pool:stats()
      assert.are.equal(1, stats.failed)
      assert.are.equal(queue:size() - 1, stats.done)
      assert.are.equal(COUNT, stats.done + stats.failed + stats.cancelled)
    end)

    it("are counted one by one", function()
      local pool <close> = new_pool()
      local results = pool:map(function(x)
        return x % 20 == 0 and pool:stats() or false
      end, mf.range(COUNT), single)
      local most = backend == "serial" and 1 or 2
      local least_done, most_done = COUNT, 0
      for x = 20, COUNT, 20 do
        local s = results[x]
        least_done, most_done = math.min(least_done, s.done), math.max(most_done, s.done)
        assert.are.equal(s.submitted, s.queued + s.running + s.done + s.failed + s.cancelled)
        assert.is_true(s.running >= 1 and s.running <= most, s.running)
      end
      assert.is_true(least_done < most_done)
      local s = pool:stats()
      assert.are.equal(COUNT, s.done)
      assert.are.equal(0, s.queued + s.running + s.failed + s.cancelled)
    end)

    it("inside a task are run, also by its only worker", function()
      local pool <close> = new_pool { workers = 1 }
      assert.are.equal(COUNT * (COUNT + 1), pool:apply(function()
        local sum = 0
        for _, x in ipairs(pool:map(function(y) return 2 * y end, mf.range(COUNT), single)) do
          sum = sum + x
        end
        return sum
      end))
    end)

    it("that map themselves end, however deep", function()
      local pool <close> = new_pool { workers = 2 }
      local results = pool:map(function(x)
        local inner = pool:map(function(y) return x * y end, mf.range(40), single)
        return inner[40]
      end, mf.range(40), single)
      for x = 1, 40 do assert.are.equal(40 * x, results[x]) end
    end)

    it("have each their own random numbers for a seed", function()
      local pool <close> = new_pool()
      local function draw() return math.random(1 << 40) end
      local ones = pool:map(draw, mf.range(COUNT), { chunksize = 1, seed = 5 })
      local chunks = pool:map(draw, mf.range(COUNT), { chunksize = 50, seed = 5 })
      assert.are.same(chunks, ones)
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("many single tasks by " .. backend, function()
    it("tell of a failure at once, while others still run", function()
      local pool <close> = mf_b.Pool(2)
      local go <close> = mf.Queue()
      local err = helper.raised(pool.map, pool, function(x)
        if x == 1 then go:get(long) end
        if x == 2 or x > 10 then error("bad " .. x, 0) end
      end, mf.range(COUNT), single)
      assert.is_truthy(tostring(err):find("bad", 1, true), tostring(err))
      go:put(true)
    end)

    it("lose one to a worker's death: the others run once", function()
      local pool <close> = mf_b.Pool { workers = 2, name = "A pool with a rather long name" }
      local queue <close> = mf.Queue()
      local err = helper.fails("worker_died", pool.map, pool, function(x)
        queue:put(x)
        if x == COUNT // 2 then die() end
      end, mf.range(COUNT), single)
      local named = ("item %d of map"):format(COUNT // 2)
      assert.is_truthy(err.message:find(named, 1, true), err.message)
      assert.is_truthy(err.message:find("A pool with a rather long name:%d "), err.message)
      pool:close()
      pool:join(long)
      for x, times in pairs(drain(queue)) do assert.are.equal(1, times, x) end
      local stats = pool:stats()
      assert.are.equal(1, stats.died)
      assert.are.equal(1, stats.failed)
      assert.are.equal(COUNT, stats.done + stats.failed + stats.cancelled)
    end)

    it("go on with new workers where each may run a few only", function()
      local pool <close> = mf_b.Pool { workers = 2, max_tasks_per_worker = 25 }
      local results = pool:map(function(x)
        return { x, mf.current_process().name }
      end, mf.range(COUNT // 4), single)
      local of_worker = {}
      for x = 1, COUNT // 4 do
        assert.are.equal(x, results[x][1])
        local name = results[x][2]
        of_worker[name] = (of_worker[name] or 0) + 1
      end
      for name, count in pairs(of_worker) do assert.is_true(count <= 25, name) end
    end)

    it("let a worker look up between two of them", function()
      local pool <close> = mf_b.Pool(1)
      local started <close> = mf.Queue()
      local names = pool:map(function(x)
        if x == 5 then pool:restart() end
        started:put(x)
        return mf.current_process().name
      end, mf.range(COUNT), single)
      assert.are.equal(names[1], names[5])
      assert.are_not.equal(names[5], names[6])
      assert.are.equal(names[6], names[COUNT])
    end)

    it("are shared by all workers, down to the last few", function()
      local pool <close> = mf_b.Pool(2)
      local both <close> = mf.Queue()
      -- The two wait for each other: each must have come to another worker.
      local results = pool:map(function(x)
        if x ~= COUNT and x ~= COUNT - 1 then return true end
        both:put(x)
        for _ = 1, 10000 do
          if both:size() == 2 then return true end
          mf.sleep(0.001)
        end
        return false
      end, mf.range(COUNT), single)
      assert.is_true(results[COUNT] and results[COUNT - 1])
    end)

    it("are stopped by the timeout of the call", function()
      local pool <close> = mf_b.Pool(2)
      local err = helper.fails("timeout", pool.map, pool, function(x)
        while x > 5 do tostring(x) end
      end, mf.range(COUNT), { chunksize = 1, timeout = 0.3 })
      assert.is_true(err.stopped)
      assert.are.equal(7, pool:apply(function() return 7 end))
      pool:close()
      pool:join(long)
      local stats = pool:stats()
      assert.are.equal(0, stats.queued + stats.running)
      assert.are.equal(0, stats.died)
      assert.are.equal(COUNT + 1, stats.done + stats.failed + stats.cancelled)
    end)

    it("are each stopped by their own time limit", function()
      local pool <close> = mf_b.Pool(2)
      local err = helper.fails("timeout", pool.map, pool, function(x)
        while x == 7 do tostring(x) end
      end, mf.range(COUNT), { chunksize = 1, task_timeout = 0.2 })
      assert.is_true(err.stopped)
      assert.are.equal(1, pool:stats().failed)
    end)

    it("are dropped when the pool is terminated under them", function()
      local pool = mf_b.Pool(2)
      local err = helper.fails("terminated", pool.map, pool, function(x)
        if x == 20 then pool:terminate() end
        mf.sleep(0.001)
      end, mf.range(COUNT), single)
      assert.is_truthy(err)
      pool:join(long)
      local stats = pool:stats()
      assert.are.equal(COUNT, stats.done + stats.failed + stats.cancelled)
      assert.is_true(stats.cancelled > 0)
    end)
  end)
end)
