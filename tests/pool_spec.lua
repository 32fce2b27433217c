-- Pools: tasks one by one, workers, closing, counts.

-- luacheck: globals spec_state

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function add(a, b) return a + b end

helper.for_each_pool(function(backend, new_pool)
  describe("pool by " .. backend, function()
    it("applies a function to a list of arguments", function()
      local pool <close> = new_pool()
      assert.are.equal(3, pool:apply(add, { 1, 2 }))
      assert.are.same({ n = 0 }, table.pack(pool:apply(function() end)))
    end)

    it("gives all results of apply", function()
      local pool <close> = new_pool()
      assert.are.same({ n = 4, 1, nil, 3, nil }, table.pack(pool:apply(function(...) return ... end,
        table.pack(1, nil, 3, nil))))
    end)

    it("gives keyword arguments as one table behind the others", function()
      local pool <close> = new_pool()
      assert.are.equal(15, pool:apply(function(a, b, options) return a + b + options.c end,
        { 1, 2 }, { c = 12 }))
      assert.are.equal(12, pool:apply(function(options) return options.c end, nil, { c = 12 }))
    end)

    it("applies later: a future", function()
      local pool <close> = new_pool()
      local future = pool:apply_async(add, { 7, 8 })
      assert.are.equal("Future", mf.type(future))
      assert.are.equal(15, future:get(long))
    end)

    it("submits with arguments", function()
      local pool <close> = new_pool()
      local futures = {}
      for i = 1, 20 do futures[i] = pool:submit(add, i, 100) end
      for i = 1, 20 do assert.are.equal(i + 100, futures[i]:get(long)) end
    end)

    it("submits in the long form", function()
      local pool <close> = new_pool()
      local future = pool:submit {
        target = function(a, options) return a + options.b end,
        args = { 1 }, kwargs = { b = 2 }, task_timeout = 60, name = "sum",
      }
      assert.are.equal(3, future:get(long))
    end)

    it("refuses unknown options of a submit", function()
      local pool <close> = new_pool()
      helper.misuse("bad argument to 'submit' (unknown option 'arg'; did you mean 'args'?)",
        function() pool:submit { target = add, arg = { 1, 2 } } end)
      helper.misuse_like("target", function() pool:submit { args = { 1, 2 } } end)
    end)

    it("encodes arguments in the call: later changes stay here", function()
      local pool <close> = new_pool { workers = 1 }
      local box = { 1 }
      local first = pool:submit(function(b) return b[1] end, box)
      box[1] = 2
      assert.are.equal(1, first:get(long))
    end)

    it("raises in the call what cannot be sent", function()
      local pool <close> = new_pool()
      helper.fails("not_sendable", pool.submit, pool, print, coroutine.create(print))
      helper.fails("not_sendable", pool.apply_async, pool, print, { { io.stdout } })
      helper.fails("not_sendable", pool.map, pool, print, { 1, coroutine.create(print) })
      assert.are.equal(3, pool:apply(add, { 1, 2 }))
    end)

    it("keeps a state of its own for each worker, between tasks", function()
      local pool <close> = new_pool { workers = 1 }
      pool:apply(function() spec_state = 41 end)
      assert.are.equal(42, pool:apply(function() return _G["spec_" .. "state"] + 1 end))
      assert.is_nil(rawget(_G, "spec_state"))
    end)

    it("keeps its size and says what it is", function()
      local pool <close> = new_pool { workers = 3 }
      assert.are.equal("Pool", mf.type(pool))
      local kind = ({ process = "3 processes", thread = "3 threads", serial = "serial" })[backend]
      assert.is_truthy(tostring(pool):find("^Pool%(Pool%-%d+, " .. kind .. "%)$"), tostring(pool))
      if backend ~= "serial" then assert.are.equal(3, pool.size) end
    end)

    it("runs an initializer once on each worker, with its arguments", function()
      local function initialize(a, b)
        _G.spec_state = (rawget(_G, "spec_state") or 0) + a + b
      end
      local pool <close> = new_pool { initializer = initialize, initargs = { 20, 22 } }
      for _ = 1, 10 do
        assert.are.equal(42, pool:apply(function() return rawget(_G, "spec_" .. "state") end))
      end
    end)

    it("runs a function on every worker", function()
      local pool <close> = new_pool { workers = 2 }
      local results = pool:everywhere(function(a) return mf.current_process().name, a end, 1)
      local seen = {}
      for _, name in ipairs(results) do
        assert.is_nil(seen[name])
        seen[name] = true
      end
      assert.are.equal(backend == "serial" and 1 or 2, #results)
    end)

    it("raises the first error of everywhere", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.everywhere, pool, function() error("everywhere", 0) end)
      assert.is_truthy(tostring(err):find("everywhere", 1, true))
    end)

    it("counts its tasks", function()
      local pool <close> = new_pool()
      for i = 1, 5 do pool:apply(add, { i, i }) end
      pcall(pool.apply, pool, error, { "failing" })
      pool:map(math.abs, { 1, 2, 3 })
      local stats = pool:stats()
      assert.are.equal(9, stats.submitted)
      assert.are.equal(8, stats.done)
      assert.are.equal(1, stats.failed)
      for _, key in ipairs { "queued", "running", "cancelled", "died" } do
        assert.are.equal(0, stats[key], key)
      end
      if backend ~= "serial" then assert.are.equal(2, stats.workers) end
    end)

    it("joins only when it was closed", function()
      local pool = new_pool()
      helper.misuse_like("close", pool.join, pool)
      pool:close()
      assert.is_true(pool:join(long))
    end)

    it("once closed finishes what it has and takes no more", function()
      local pool = new_pool()
      local futures = {}
      for i = 1, 20 do futures[i] = pool:submit(add, i, i) end
      pool:close()
      helper.fails("closed", pool.submit, pool, add, 1, 2)
      helper.fails("closed", pool.map, pool, add, { 1 })
      helper.fails("closed", pool.apply, pool, add, { 1, 2 })
      assert.is_true(pool:join(long))
      for i = 1, 20 do assert.are.equal(2 * i, futures[i]:get(0)) end
      pool:close()
    end)

    it("finishes its work when its scope is left", function()
      local future
      do
        local pool <close> = new_pool()
        for i = 1, 10 do future = pool:submit(add, i, i) end
      end
      assert.is_true(future:done())
      assert.are.equal(20, future:get(0))
    end)

    it("may be terminated twice, and then takes no more", function()
      local pool = new_pool()
      pool:apply(add, { 1, 2 })
      pool:terminate()
      pool:terminate()
      assert.is_true(pool:join(long))
      helper.fails("closed", pool.submit, pool, add, 1, 2)
    end)

    it("stops its workers when it is collected", function()
      local pool = new_pool()
      pool:apply(add, { 1, 2 })
      pool = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    end)

    it("is kept alive by a future", function()
      local future = (function()
        local pool = new_pool()
        return pool:submit(function(x)
          mf.sleep(0.05)
          return x
        end, 5)
      end)()
      collectgarbage()
      collectgarbage()
      assert.are.equal(5, future:get(long))
    end)

    it("may be replaced by many others in turn", function()
      for i = 1, 15 do
        local pool <close> = new_pool { workers = 1 }
        assert.are.equal(i + 1, pool:apply(add, { i, 1 }))
      end
    end)

    it("refuses options that it does not know, and values that make no sense", function()
      helper.misuse_like("unknown option 'worker'; did you mean 'workers'%?",
        function() mf.Pool { worker = 3 } end)
      helper.misuse_like("workers", function() new_pool { workers = 0 } end)
      helper.misuse_like("workers", function() new_pool { workers = "two" } end)
      helper.misuse_like("initializer", function() new_pool { initializer = 5 } end)
      helper.misuse_like("task_timeout", function() new_pool { task_timeout = -1 } end)
      helper.misuse_like("max_tasks_per_worker", function()
        new_pool { max_tasks_per_worker = 0 }
      end)
      helper.misuse_like("backend", function() mf.Pool { backend = "threads" } end)
    end)

    it("refuses what is no function, and calls without the colon", function()
      local pool <close> = new_pool()
      helper.misuse("bad argument #1 to 'map' (function expected, got number; " ..
        "pass the function itself, not its result)", function() pool:map(5, { 1 }) end)
      helper.misuse("bad argument #0 to 'map' (Pool expected, got function; " ..
        "call it with a colon: pool:map(...))", function() pool.map(add, { 1 }) end)
      helper.misuse_like("bad argument #1 to 'submit'", function() pool:submit() end)
      helper.misuse_like("bad argument #1 to 'apply' %(function expected, got nil",
        function() pool:apply(nil, { 1 }) end)
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("pool of workers by " .. backend, function()
    it("has as many workers as it was given, in the short form too", function()
      local pool <close> = mf_b.Pool(3)
      assert.are.equal(3, pool.size)
      assert.are.equal(3, pool:stats().workers)
    end)

    it("has as many workers as there are CPUs if not told otherwise", function()
      local pool <close> = mf_b.Pool()
      assert.are.equal(mf.cpu_count(), pool.size)
    end)

    it("takes other names for its options", function()
      for _, option in ipairs { "processes", "max_workers", "workers" } do
        local pool <close> = mf_b.Pool { [option] = 3 }
        assert.are.equal(3, pool.size)
      end
    end)

    it("names its workers after itself", function()
      local pool <close> = mf_b.Pool { workers = 2, name = "Kitchen" }
      local names = pool:everywhere(function() return mf.current_process().name end)
      table.sort(names)
      assert.are.same({ "Kitchen:1", "Kitchen:2" }, { names[1], names[2] })
    end)

    it("works on several tasks at once", function()
      local pool <close> = mf_b.Pool(2)
      local a, b = mf.Queue(), mf.Queue()
      local first = pool:submit(function() a:put(1) return b:get(30) end)
      local second = pool:submit(function() b:put(2) return a:get(30) end)
      assert.are.same({ 2, 1 }, { first:get(long), second:get(long) })
    end)

    it("replaces a worker that has run its number of tasks", function()
      for _, option in ipairs { "max_tasks_per_worker", "maxtasksperchild" } do
        local pool <close> = mf_b.Pool { workers = 1, [option] = 2 }
        local seen, count = {}, 0
        for _ = 1, 8 do
          local ident = pool:apply(function() return mf.current_process().ident end)
          if not seen[ident] then count = count + 1 end
          seen[ident] = (seen[ident] or 0) + 1
          assert.is_true(seen[ident] <= 2)
        end
        assert.are.equal(4, count)
        assert.are.equal(0, pool:stats().died)
      end
    end)

    it("goes on with a backlog while it replaces workers", function()
      local pool <close> = mf_b.Pool { workers = 2, max_tasks_per_worker = 3 }
      local list = {}
      for i = 1, 100 do list[i] = i end
      local results = pool:map(function(x) return x * 2 end, list, { chunksize = 1 })
      for i = 1, 100 do assert.are.equal(2 * i, results[i]) end
    end)

    it("grows and shrinks", function()
      local pool <close> = mf_b.Pool(1)
      pool:resize(4)
      assert.are.equal(4, pool.size)
      assert.are.equal(4, #pool:everywhere(function() return 1 end))
      pool:resize(2)
      assert.are.equal(2, pool.size)
      for _ = 1, 500 do
        if pool:stats().workers == 2 then break end
        mf.sleep(0.01)
      end
      assert.are.equal(2, pool:stats().workers)
      assert.are.same({ 1, 4, 9, n = 3 }, pool:map(function(x) return x * x end, { 1, 2, 3 }))
      helper.misuse_like("bad argument #1 to 'resize'", function() pool:resize(0) end)
      helper.misuse_like("#1 to 'resize' %(number of workers from 1 to ", function()
        pool:resize(1 << 32 | 1)
      end)
    end)

    it("replaces each worker by restart, initializer included", function()
      local pool <close> = mf_b.Pool { workers = 2, initializer = function() _G.spec_state = 1 end }
      local function identify()
        return mf.current_process().ident .. ":" .. tostring(rawget(_G, "spec_" .. "state"))
      end
      local before = {}
      for _, who in ipairs(pool:everywhere(identify)) do before[who] = true end
      pool:restart()
      local fresh
      for _ = 1, 500 do
        fresh = pool:everywhere(identify)
        if not before[fresh[1]] and not before[fresh[2]] then break end
        mf.sleep(0.01)
      end
      for _, who in ipairs(fresh) do
        assert.is_nil(before[who])
        assert.is_truthy(who:find(":1$"))
      end
      assert.are.equal(2, #fresh)
      assert.are.equal(0, pool:stats().died)
    end)

    it("runs everywhere on workers that come later, too", function()
      local pool <close> = mf_b.Pool(1)
      pool:everywhere(function(x) _G.spec_state = x end, "everywhere")
      pool:resize(3)
      local function state_there() return rawget(_G, "spec_" .. "state") end
      for _, state in ipairs(pool:everywhere(state_there)) do
        assert.are.equal("everywhere", state)
      end
    end)

    it("terminated ends what runs: the tasks end as terminated", function()
      local pool = mf_b.Pool(1)
      local started = mf.Queue()
      local running = pool:submit(function()
        started:put(true)
        while true do end
      end)
      local queued = pool:submit(add, 1, 2)
      assert.is_true(started:get(long))
      pool:terminate()
      assert.is_true(pool:join(long))
      helper.fails("terminated", running.get, running, long)
      helper.fails("terminated", queued.get, queued, long)
    end)

    it("is terminated when an error leaves its scope", function()
      local started, future = mf.Queue(), nil
      local err = helper.raised(function()
        local pool <close> = mf_b.Pool(1)
        future = pool:submit(function()
          started:put(true)
          while true do end
        end)
        started:get(long)
        error("passing", 0)
      end)
      assert.are.equal("passing", err)
      helper.fails("terminated", future.get, future, long)
    end)

    it("says that a join's timeout is over", function()
      local pool, go = mf_b.Pool(1), mf.Queue()
      local future = pool:submit(function() return go:get(30) end)
      pool:close()
      assert.are.same({ false, "timeout" }, { pool:join(0.01) })
      go:put("end")
      assert.is_true(pool:join(long))
      assert.are.equal("end", future:get(0))
    end)

    it("with endless tasks is stopped when it is collected", function()
      local started = mf.Queue()
      do
        local pool = mf_b.Pool(2)
        for _ = 1, 2 do
          pool:submit(function()
            started:put(true)
            while true do end
          end)
        end
        for _ = 1, 2 do started:get(long) end
      end
      collectgarbage()
      collectgarbage()
    end)
  end)
end)

describe("ThreadPool", function()
  it("is a pool of threads", function()
    local pool <close> = mf.ThreadPool(2)
    assert.are.equal(2, pool.size)
    assert.are.equal(mf.getpid(), pool:apply(mf.getpid))
  end)

  it("takes the options of a pool", function()
    local pool <close> = mf.ThreadPool { workers = 1, name = "Threads" }
    assert.are.equal("Threads:1", pool:apply(function() return mf.current_process().name end))
  end)
end)

describe("Pool", function()
  it("is a pool of processes if not told otherwise", function()
    local pool <close> = mf.Pool(1)
    assert.are_not.equal(mf.getpid(), pool:apply(mf.getpid))
  end)

  it("by serial runs tasks in the caller's process, in a state of its own", function()
    local pool <close> = mf.Pool { backend = "serial" }
    rawset(_G, "spec_state", "the caller's")
    local pid, state = pool:apply(function() return mf.getpid(), rawget(_G, "spec_" .. "state") end)
    rawset(_G, "spec_state", nil)
    assert.are.equal(mf.getpid(), pid)
    assert.is_nil(state)
  end)
end)
