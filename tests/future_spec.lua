-- Futures: results, errors, cancelling, callbacks, travelling.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

helper.for_each_pool(function(backend, new_pool)
  describe("future by " .. backend, function()
    it("gives all results, again and again", function()
      local pool <close> = new_pool()
      local future = pool:submit(function() return 1, nil, "three", nil end)
      for _ = 1, 2 do
        assert.are.same({ n = 4, 1, nil, "three", nil }, table.pack(future:get(long)))
        assert.are.same({ n = 4, 1, nil, "three", nil }, table.pack(future:result(long)))
      end
    end)

    it("tells its state when it is done", function()
      local pool <close> = new_pool()
      local future = pool:submit(function() return 1 end)
      assert.is_true(future:wait(long))
      assert.is_true(future:done())
      assert.is_true(future:successful())
      assert.is_false(future:running())
      assert.is_false(future:cancelled())
      assert.is_false(future:cancel())
      assert.are.equal(1, future:get())
    end)

    it("tells that it failed", function()
      local pool <close> = new_pool()
      local future = pool:submit(error, { code = 5 })
      assert.is_true(future:wait(long))
      assert.is_true(future:done())
      assert.is_false(future:successful())
      assert.are.same({ code = 5 }, (future:exception(long)))
      assert.are.equal("string", type(future:traceback()))
      assert.are.same({ code = 5 }, helper.raised(future.get, future))
      assert.are.same({ code = 5 }, helper.raised(future.get, future))
    end)

    it("has an exception that is bare, with the traceback behind", function()
      local pool <close> = new_pool()
      local function deep_inside() error("bare", 0) end
      local future = pool:submit(function() deep_inside() end)
      local err, traceback = future:exception(long)
      assert.are.equal("bare", err)
      assert.is_truthy(traceback:find("deep_inside", 1, true), traceback)
      assert.are.equal(traceback, future:traceback())
    end)

    it("has no exception when there was none", function()
      local pool <close> = new_pool()
      local future = pool:submit(function() return 1 end)
      assert.is_nil((future:exception(long)))
      assert.is_nil(future:traceback())
    end)

    it("says what it is", function()
      local pool <close> = new_pool()
      local future = pool:submit(function() return 1 end)
      future:wait(long)
      assert.are.equal("Future", mf.type(future))
      assert.is_truthy(tostring(future):find("^Future%("), tostring(future))
    end)

    it("chains by then_", function()
      local pool <close> = new_pool()
      local future = pool:submit(function() return 20, 1 end)
      local chained = future:then_(function(a, b) return (a + b) * 2 end)
      assert.are.equal("Future", mf.type(chained))
      assert.are.equal(42, chained:get(long))
    end)

    it("that failed passes its error through then_, whose function is not called", function()
      local pool <close> = new_pool()
      local called = false
      local chained = pool:submit(error, { code = 1 }):then_(function() called = true end)
      assert.are.same({ code = 1 }, helper.raised(chained.get, chained, long))
      assert.is_false(called)
    end)

    it("passes an error of then_'s function on", function()
      local pool <close> = new_pool()
      local chained = pool:submit(math.abs, -1)
        :then_(function() error({ code = 2 }) end)
      assert.are.same({ code = 2 }, helper.raised(chained.get, chained, long))
    end)

    it("calls back in a waiting call or in poll, in this state", function()
      local pool <close> = new_pool()
      local seen = {}
      local future = pool:submit(function() return "value" end)
      future:add_done_callback(function(f) seen[#seen + 1] = f:get(0) end)
      for _ = 1, 1000 do
        mf.poll()
        if #seen > 0 then break end
        mf.sleep(0.005)
      end
      assert.are.same({ "value" }, seen)
      future:add_done_callback(function() seen[#seen + 1] = "late" end)
      mf.sleep(0.001)
      mf.poll()
      assert.are.same({ "value", "late" }, seen)
    end)

    it("calls the callback of apply_async with the result", function()
      local pool <close> = new_pool()
      local seen, failed = {}, {}
      pool:apply_async(function(a) return a, "more" end, { 1 }, nil,
        function(...) seen = { ... } end):wait(long)
      pool:apply_async(error, { { code = 3 } }, nil, function() seen = "wrong" end,
        function(err) failed = err end):wait(long)
      for _ = 1, 500 do
        if seen[1] and failed.code then break end
        mf.poll()
        mf.sleep(0.005)
      end
      assert.are.same({ 1, "more" }, seen)
      assert.are.same({ code = 3 }, failed)
    end)

    it("calls the callbacks of map_async with the list, or the first error", function()
      local pool <close> = new_pool()
      local seen, failed, wrong
      pool:map_async(function(x) return x * 2 end, { 1, 2, 3 }, nil, function(list) seen = list end,
        function() wrong = true end):wait(long)
      pool:starmap_async(function(a, b) error { code = a + b } end, { { 1, 2 } },
        { chunksize = 1 }, function() wrong = true end, function(err) failed = err end):wait(long)
      assert.are.same({ 2, 4, 6, n = 3 }, seen)
      assert.are.same({ code = 3 }, failed)
      assert.is_nil(wrong)
    end)

    it("takes callbacks of map_async behind its options, and nothing else", function()
      local pool <close> = new_pool()
      local path = os.tmpname()
      helper.write_file(path, "one\ntwo\n")
      -- io.lines gives four values, of which the last is a file.
      assert.are.same({ "ONE", "TWO", n = 2 },
        pool:map_async(string.upper, io.lines(path)):get(long))
      os.remove(path)
      helper.misuse_like("^bad argument #3 to 'map_async' %(.*mf.iter", pool.map_async, pool,
        math.abs, { 1 }, {}, "callback")
      helper.misuse_like("^bad argument #3 to 'map_async' %(.*mf.iter", pool.map_async, pool,
        math.abs, { 1 }, {}, print, print, print)
    end)

    it("goes on when a callback raises: that is reported", function()
      local result = helper.run_script(([[
        local mf = require "moonfleet"
        local pool <close> = mf.Pool{workers = 1, backend = "%s"}
        local future = pool:submit(function() return 1 end)
        future:add_done_callback(function() error "callback on purpose" end)
        future:add_done_callback(function() print "second" end)
        print(future:get())
        mf.poll()
        print(pool:apply(function() return "goes on" end))
      ]]):format(backend))
      assert.are.equal(0, result.code, result.err)
      assert.are.equal(1, select(2, result.err:gsub("callback on purpose", "")), result.err)
      for _, word in ipairs { "second\n", "1\n", "goes on\n" } do
        assert.is_truthy(result.out:find(word, 1, true), result.out)
      end
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  -- A pool of one worker that is busy until go() is called.
  local function busy()
    local pool, started, go = mf_b.Pool(1), mf.Queue(), mf.Queue()
    local running = pool:submit(function()
      started:put(true)
      return go:get(30)
    end)
    assert.is_true(started:get(long))
    return pool, running, function(value) go:put(value) end
  end

  describe("future of workers by " .. backend, function()
    it("raises timeout when the waiting ended; the task goes on", function()
      local pool, running, go = busy()
      local err = helper.fails("timeout", running.get, running, 0.01)
      assert.is_false(err.stopped)
      err = helper.fails("timeout", running.get, running, 0)
      assert.is_false(err.stopped)
      assert.are.same({ false, "timeout" }, { running:wait(0.01) })
      assert.is_false(running:done())
      assert.is_true(running:running())
      go("late")
      assert.are.equal("late", running:get(long))
      pool:close()
      pool:join(long)
    end)

    it("that waits in the queue is not running", function()
      local pool, running, go = busy()
      local queued = pool:submit(function() return "queued" end)
      assert.is_false(queued:running())
      assert.is_false(queued:done())
      go("x")
      assert.are.equal("queued", queued:get(long))
      assert.are.equal("x", running:get(long))
      pool:close()
      pool:join(long)
    end)

    it("is cancelled before it has begun", function()
      local pool, running, go = busy()
      local ran = mf.Queue()
      local queued = pool:submit(function() ran:put(true) end)
      assert.is_true(queued:cancel())
      assert.is_true(queued:cancel())
      assert.is_true(queued:cancelled())
      assert.is_true(queued:done())
      assert.is_false(queued:successful())
      helper.fails("cancelled", queued.get, queued, 0)
      go("x")
      running:wait(long)
      assert.are.equal(1, pool:stats().cancelled)
      pool:close()
      pool:join(long)
      assert.is_true(ran:empty())
    end)

    it("is cancelled among thousands, and the others run", function()
      local pool, running, go = busy()
      local futures, cancelled = {}, 0
      for i = 1, 3000 do futures[i] = pool:submit(math.abs, -i) end
      for i = 1, 3000, 3 do cancelled = cancelled + (futures[i]:cancel() and 1 or 0) end
      assert.are.equal(1000, cancelled)
      go("x")
      for i = 1, 3000 do
        if i % 3 == 1 then assert.is_true(futures[i]:cancelled())
        else assert.are.equal(i, futures[i]:get(long)) end
      end
      assert.are.equal("x", running:get(long))
      assert.are.equal(1000, pool:stats().cancelled)
      pool:close()
      pool:join(long)
    end)

    it("that runs is not cancelled without force", function()
      local pool, running, go = busy()
      assert.is_false(running:cancel())
      assert.is_false(running:cancelled())
      go("x")
      assert.are.equal("x", running:get(long))
      pool:close()
      pool:join(long)
    end)

    it("that runs is cancelled with force, an endless loop included", function()
      local pool <close> = mf_b.Pool(1)
      local started = mf.Queue()
      local future = pool:submit(function()
        while true do
          pcall(function()
            started:put(true)
            while true do end
          end)
        end
      end)
      started:get(long)
      assert.is_true(future:cancel { force = true })
      helper.fails("cancelled", future.get, future, long)
      assert.is_true(future:cancelled())
      assert.are.equal("after", pool:apply(function() return "after" end))
      assert.are.equal(0, pool:stats().died)
      assert.are.equal(1, pool:stats().cancelled)
    end)

    it("refuses unknown options of cancel", function()
      local pool, running, go = busy()
      helper.misuse_like("unknown option 'forced'; did you mean 'force'%?",
        function() running:cancel { forced = true } end)
      go("x")
      running:get(long)
      pool:close()
      pool:join(long)
    end)

    it("that is cancelled tells its callbacks", function()
      local pool, running, go = busy()
      local queued, seen = pool:submit(print), nil
      queued:add_done_callback(function(f) seen = f:cancelled() end)
      queued:cancel()
      go("x")
      running:wait(long)
      mf.poll()
      assert.is_true(seen)
      pool:close()
      pool:join(long)
    end)

    it("travels, and can be asked by any worker", function()
      local pool, running, go = busy()
      local asker = mf_b.spawn(function() return running:get(30), running:done() end)
      local again = mf.decode(mf.encode(running))
      assert.are.equal(running, again)
      go("everywhere")
      assert.are.same({ "everywhere", true }, { asker:result(long) })
      assert.are.equal("everywhere", again:get(long))
      pool:close()
      pool:join(long)
    end)

    describe("of many jobs", function()
      -- A waiting call that returns when `seen` is true, or that a callback has ended by `go`.
      local waits = {
        ["q:get"] = function(other) other.queue:get(long) end,
        ["lock:acquire"] = function(other) other.lock:acquire(long) end,
        ["mf.sleep"] = function(other)
          for _ = 1, 1000 do
            if other.seen then return end
            mf.sleep(0.01)
          end
        end,
        ["p:join"] = function(other) other.process:join(long) end,
        ["future:wait"] = function(other) other.future:wait(long) end,
        ["q:put"] = function(other) other.full:put(1, long) end,
        ["event:wait"] = function(other) other.event:wait(long) end,
      }

      -- What the callback ends, so that the call returns long before its time is over.
      local function others(pool)
        local other = { queue = mf.Queue(), lock = mf.Lock(), full = mf.Queue(1), go = mf.Queue(),
          event = mf.Event() }
        local held, done = mf.Queue(), mf.Queue()
        other.full:put(0)
        other.process = mf_b.spawn(function()
          other.lock:acquire()
          held:put(true)
          done:get(60)
          other.lock:release()
        end)
        other.future = pool:submit(function() return other.go:get(60) end)
        held:get(long)
        function other.release()
          other.seen = true
          other.queue:put(1)
          other.full:get_nowait()
          other.event:set()
          other.go:put(1)
          done:put(true)
        end
        return other
      end

      for name, wait in pairs(waits) do
        it("calls back within " .. name, function()
          local pool <close> = mf_b.Pool(2)
          local other = others(pool)
          local go = mf.Queue()
          local future = pool:map_async(function(x) return go:get(60) and x end, { 1, 2 },
            { chunksize = 2 })
          future:add_done_callback(function(f)
            assert.are.same({ 1, 2, n = 2 }, f:get(0))
            other.release()
          end)
          go:put(1)
          go:put(1)
          wait(other)
          assert.is_true(other.seen)
          other.process:join(long)
          if other.lock:locked() then other.lock:release() end
        end)
      end

      it("calls the error callback within q:get, at the first error", function()
        local pool <close> = mf_b.Pool(2)
        local queue, go = mf.Queue(), mf.Queue()
        pool:map_async(function(x)
          if x == 1 then error { code = 5 } end
          return go:get(60)
        end, { 1, 2 }, { chunksize = 1 }, nil, function(err) queue:put(err.code) end)
        assert.are.equal(5, queue:get(long))
        go:put(1)
      end)

      it("goes on with its window within q:get", function()
        local pool <close> = mf_b.Pool(2)
        local queue = mf.Queue()
        pool:map_async(function(x) return x end, mf.range(20), { chunksize = 1, window = 2 },
          function(list) queue:put(list.n) end)
        assert.are.equal(20, queue:get(long))
      end)

      it("calls back although the worker was killed that ended the last one", function()
        local pool <close> = mf_b.Pool { workers = 2, backend = "process" }
        local queue = mf.Queue()
        pool:map_async(function() os.execute("kill -9 " .. mf.getpid()) end, { 1, 2, 3 }, nil, nil,
          function(err) queue:put(err.kind) end)
        assert.are.equal("worker_died", queue:get(long))
      end)

      it("has a descriptor that stays readable once it is done", function()
        local pool <close> = mf_b.Pool(1)
        local go = mf.Queue()
        local future = pool:map_async(function() return go:get(60) end, { 1 })
        assert.is_false(helper.readable(future.fd))
        go:put(7)
        assert.is_true(helper.readable(future.fd, true))
        assert.are.same({ 7, n = 1 }, future:get(long))
        assert.is_true(helper.readable(future.fd))
        mf.poll()
        assert.is_true(helper.readable(future.fd))
      end)
    end)

    it("calls back in every state that asked for it, within q:get", function()
      local pool, running, go = busy()
      local ready, seen = mf.Queue(), mf.Queue()
      local askers = {}
      for i = 1, 3 do
        askers[i] = mf_b.spawn(function()
          local mine = mf.Queue()
          running:add_done_callback(function(f) mine:put(f:get(0)) end)
          ready:put(true)
          seen:put(mine:get(30))
        end)
      end
      for _ = 1, 3 do ready:get(long) end
      go("told")
      for i = 1, 3 do
        assert.are.equal("told", seen:get(long), i)
        askers[i]:join(long)
      end
      pool:close()
      pool:join(long)
    end)

    it("calls back in the order in which they ended", function()
      local pool <close> = mf_b.Pool(1)
      local seen, done, gate = {}, mf.Queue(), mf.Queue()
      pool:submit(function() gate:get() end) -- none ends before it has its callback
      for i = 1, 50 do
        pool:submit(math.abs, -i):add_done_callback(function(f) seen[#seen + 1] = f:get(0) end)
      end
      pool:submit(math.abs, -51):add_done_callback(function() done:put(true) end)
      gate:put(true)
      done:get(long)
      for i = 1, 50 do assert.are.equal(i, seen[i]) end
    end)

    it("has a descriptor", function()
      local pool <close> = mf_b.Pool(1)
      local go = mf.Queue()
      local future = pool:submit(function() return go:get(30) end)
      assert.are.equal("integer", math.type(future.fd))
      assert.are.equal(future.fd, future.fd)
      assert.is_false(helper.readable(future.fd))
      go:put(1)
      assert.is_true(helper.readable(future.fd, true))
      assert.are.equal(1, future:get(0))
      assert.is_true(helper.readable(future.fd))
    end)

    it("calls back while another is waited for", function()
      local pool, running, go = busy()
      local seen
      local queued = pool:submit(function() return "second" end)
      running:add_done_callback(function(f) seen = f:get(0) end)
      go("first")
      assert.are.equal("second", queued:get(long))
      mf.poll()
      assert.are.equal("first", seen)
      pool:close()
      pool:join(long)
    end)
  end)
end)

describe("fd", function()
  it("is a descriptor for event loops", function()
    assert.are.equal("integer", math.type(mf.fd()))
    assert.are.equal(mf.fd(), mf.fd())
    local pool <close> = mf.Pool(1)
    local seen
    local go = mf.Queue()
    pool:submit(function() return go:get(30) end):add_done_callback(function(f) seen = f:get(0) end)
    assert.is_false(helper.readable(mf.fd()))
    go:put(1)
    assert.is_true(helper.readable(mf.fd(), true))
    mf.poll()
    assert.are.equal(1, seen)
    assert.is_false(helper.readable(mf.fd()))
  end)
end)
