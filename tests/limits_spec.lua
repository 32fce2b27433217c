-- Limits: time of a task, time of a call, memory of a worker.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function endless() while true do end end

helper.for_each_backend(function(backend, mf_b)
  local function new_pool(options)
    options.workers = options.workers or 1
    return mf_b.Pool(options)
  end

  local function heals(pool)
    assert.are.equal(5, pool:apply(math.abs, { -5 }))
    assert.are.equal(0, pool:stats().died)
  end

  describe("task_timeout by " .. backend, function()
    it("of a pool stops an endless task", function()
      local pool <close> = new_pool { task_timeout = 0.1 }
      local future = pool:submit(endless)
      local err = helper.fails("timeout", future.get, future, long)
      assert.is_true(err.stopped)
      heals(pool)
    end)

    it("of a submit stops an endless task, through any pcall", function()
      local pool <close> = new_pool {}
      local future = pool:submit { task_timeout = 0.1, target = function()
        while true do pcall(coroutine.wrap(function() pcall(endless) end)) end
      end }
      assert.is_true(helper.fails("timeout", future.get, future, long).stopped)
      heals(pool)
    end)

    it("of a submit comes before the pool's", function()
      local pool <close> = new_pool { task_timeout = 0.05 }
      local future = pool:submit { task_timeout = 60, target = function()
        mf.sleep(0.2)
        return "long enough"
      end }
      assert.are.equal("long enough", future:get(long))
    end)

    it("of a map stops the item, not its neighbours", function()
      local pool <close> = new_pool {}
      local results = pool:map(function(x)
        if x == 2 then while true do end end
        return x
      end, { 1, 2, 3, 4 }, { task_timeout = 0.2, on_error = "collect", chunksize = 4 })
      assert.are.same({ 1, 3, 4 }, { results[1], results[3], results[4] })
      assert.is_true(mf.is_error(results[2], "timeout"))
      assert.is_true(results[2].stopped)
      assert.are.equal(2, results[2].index)
      heals(pool)
    end)

    it("of imap stops the item, and the others are delivered", function()
      local pool <close> = new_pool { workers = 2 }
      local seen = {}
      for i, value in pool:imap(function(x)
        if x == 3 then while true do end end
        return x
      end, mf.range(6), { task_timeout = 0.2, on_error = "collect" }) do
        seen[i] = mf.is_error(value, "timeout") and "stopped" or value
      end
      assert.are.same({ 1, 2, "stopped", 4, 5, 6 }, seen)
    end)

    it("counts from the task's own begin, not from its submit", function()
      local pool <close> = new_pool { task_timeout = 0.5 }
      local futures = {}
      for i = 1, 4 do
        futures[i] = pool:submit(function()
          mf.sleep(0.2)
          return i
        end)
      end
      for i = 1, 4 do assert.are.equal(i, futures[i]:get(long)) end
    end)

    it("stops a task that sleeps or waits", function()
      local pool <close> = new_pool { task_timeout = 0.1 }
      helper.fails("timeout", pool.apply, pool, mf.sleep, { 1000 })
      local queue = mf.Queue()
      helper.fails("timeout", pool.apply, pool, function() queue:get() end)
      heals(pool)
    end)

    it("leaves the pool's replaced worker initialized", function()
      local pool <close> = new_pool { task_timeout = 0.1, initializer = function()
        _G.spec_initialized = "yes"
      end }
      helper.fails("timeout", pool.apply, pool, endless)
      assert.are.equal("yes", pool:apply(function() return rawget(_G, "spec_initialized") end))
    end)

    it("that is not reached does nothing", function()
      local pool <close> = new_pool { task_timeout = 60 }
      local ident = pool:apply(function() return mf.current_process().ident end)
      assert.are.equal(ident, pool:apply(function() return mf.current_process().ident end))
    end)
  end)

  describe("timeout of a call by " .. backend, function()
    it("of map stops what runs and drops what has not begun", function()
      local pool <close> = new_pool {}
      local ran = mf.Queue()
      local err = helper.fails("timeout", pool.map, pool, function(x)
        ran:put(x)
        while true do end
      end, { 1, 2, 3 }, { timeout = 0.2, chunksize = 1 })
      assert.is_true(mf.is_error(err, "timeout"))
      heals(pool)
      assert.is_true(#ran <= 1)
    end)

    it("of imap is each step's", function()
      local pool <close> = new_pool {}
      local iterator = pool:imap(function(x)
        if x == 2 then while true do end end
        return x
      end, { 1, 2 }, { timeout = 0.5, chunksize = 1 })
      assert.are.same({ 1, 1 }, { iterator() })
      helper.fails("timeout", iterator)
      heals(pool)
    end)

    it("of reduce stops also what folds the parts", function()
      local pool <close> = new_pool { workers = 1 }
      local err = helper.fails("timeout", pool.reduce, pool, function(a, b)
        if a + b >= 3 then while true do end end
        return a + b
      end, { 1, 1, 1 }, nil, { timeout = 0.3, chunksize = 1 })
      assert.is_truthy(tostring(err):find("timeout of 0.3 s", 1, true), tostring(err))
      heals(pool)
    end)

    it("that is not reached does nothing", function()
      local pool <close> = new_pool { workers = 2 }
      assert.are.same({ 1, 2, n = 2 }, pool:map(math.abs, { -1, -2 }, { timeout = 60 }))
      assert.are.same({ 1, 2, n = 2 }, pool:map(math.abs, { -1, -2 }, { timeout = math.huge }))
      for i, value in pool:imap(math.abs, { -1, -2 }, { timeout = 60 }) do
        assert.are.equal(i, value)
      end
    end)
  end)

  describe("memory_limit by " .. backend, function()
    local function devour()
      local list = {}
      while true do list[#list + 1] = ("x"):rep(10000) .. #list end
    end

    it("of a worker raises memory_limit", function()
      local worker = mf_b.Process { target = devour, memory_limit = 20000000 }
      worker:start()
      helper.fails("memory_limit", worker.result, worker, long)
    end)

    it("of a pool fails the task, and the pool goes on", function()
      local pool <close> = new_pool { memory_limit = 20000000 }
      helper.fails("memory_limit", pool.apply, pool, devour)
      assert.are.equal(5, pool:apply(math.abs, { -5 }))
    end)

    it("lets through what is smaller", function()
      local pool <close> = new_pool { memory_limit = 50000000 }
      assert.are.equal(1000000, #pool:apply(string.rep, { "x", 1000000 }))
    end)

    it("takes a number of bytes", function()
      helper.misuse_like("memory_limit", function() new_pool { memory_limit = -1 } end)
      helper.misuse_like("memory_limit", function() new_pool { memory_limit = "1 GB" } end)
    end)
  end)
end)

describe("timeout of a call in line", function()
  local function loop_at_2(x)
    if x == 2 then while true do end end
    return x
  end

  it("stops what runs and drops what has not begun", function()
    local pool <close> = mf.Pool { backend = "serial" }
    local ran = mf.Queue()
    for _, options in ipairs {
      {}, { chunksize = 3 }, { on_error = "collect" }, { task_timeout = 9 },
    } do
      options.timeout = 0.1
      local err = helper.fails("timeout", pool.map, pool, function(x)
        ran:put(x)
        return loop_at_2(x)
      end, { 1, 2, 3 }, options)
      assert.is_true(err.stopped)
      assert.is_truthy(tostring(err):find("timeout of 0.1 s", 1, true), tostring(err))
      assert.are.equal(2, ran:size())
      ran:get_many(2)
    end
    assert.are.equal(5, pool:apply(function() return 5 end))
  end)

  it("lets a shorter task_timeout come first", function()
    local pool <close> = mf.Pool { backend = "serial" }
    local err = helper.fails("timeout", pool.map, pool, loop_at_2, { 1, 2, 3 },
      { timeout = 60, task_timeout = 0.05 })
    assert.is_truthy(tostring(err):find("item 2 of map", 1, true), tostring(err))
  end)

  it("of imap is each step's", function()
    local pool <close> = mf.Pool { backend = "serial" }
    local iterator = pool:imap(loop_at_2, { 1, 2 }, { timeout = 0.1 })
    assert.are.same({ 1, 1 }, { iterator() })
    helper.fails("timeout", iterator)
  end)

  it("of map_async and reduce, too", function()
    local pool <close> = mf.Pool { backend = "serial" }
    local ran = mf.Queue()
    local many = pool:map_async(function(x)
      ran:put(x)
      mf.sleep(0.01)
    end, mf.range(400), { timeout = 0.05 })
    helper.fails("timeout", many.get, many, 10)
    assert.is_true(ran:size() < 50, ran:size())
    local future = pool:map_async(loop_at_2, { 1, 2, 3 }, { timeout = 0.1 })
    helper.fails("timeout", future.get, future, 10)
    helper.fails("timeout", pool.reduce, pool, function(a, b) return loop_at_2(a + b) end,
      { 1, 1, 1 }, 0, { timeout = 0.1 })
  end)

  it("that is not reached does nothing", function()
    local pool <close> = mf.Pool { backend = "serial" }
    assert.are.same({ 1, 2, n = 2 }, pool:map(math.abs, { -1, -2 }, { timeout = 60 }))
    assert.are.same({ 1, 2, n = 2 }, pool:map_async(math.abs, { -1, -2 }, { timeout = 60 }):get())
    for i, value in pool:imap(math.abs, { -1, -2 }, { timeout = 60 }) do
      assert.are.equal(i, value)
    end
  end)
end)

describe("a process that was stopped (SIGSTOP) in its task", function()
  local function freeze() os.execute("kill -STOP " .. mf.getpid()) end

  it("is ended by limits, timeouts and cancel", function()
    local pool <close> = mf.Pool { workers = 1, backend = "process" }
    helper.fails("timeout", pool.map, pool, freeze, { 1 }, { task_timeout = 0.1 })
    helper.fails("timeout", pool.map, pool, freeze, { 1 }, { timeout = 0.1 })
    local future = pool:submit(freeze)
    while not future:running() do mf.sleep(0.001) end
    assert.is_true(future:cancel { force = true })
    assert.is_true(future:wait(helper.long))
    assert.are.equal(5, pool:submit(function() return 5 end):get(helper.long))
  end)

  it("does not outlive the pool's terminate", function()
    local pool = mf.Pool { workers = 1, backend = "process" }
    pool:submit(freeze)
    mf.sleep(0.1)
    pool:terminate()
    assert.is_true(pool:join(helper.long))
  end)
end)

helper.for_each_pool(function(backend, new_pool)
  it("a limit of " .. backend .. " that was not reached leaves those behind it alone", function()
    local pool <close> = new_pool { workers = 1 }
    local function read()
      local pipe <close> = io.popen("sleep 0.3; echo read")
      return pipe:read("l")
    end
    assert.are.equal(1, pool:submit { target = math.abs, args = { -1 }, task_timeout = 0.1 }:get())
    assert.are.equal("read", pool:submit(read):get())
    assert.are.same({ 1, n = 1 }, pool:map(math.abs, { -1 }, { task_timeout = 0.1 }))
    assert.are.equal("read", read())
  end)
end)
