-- All calls work inside coroutines, and from callbacks.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- Runs f in a coroutine to its end.
local function inside(f)
  local co = coroutine.create(f)
  local results = table.pack(coroutine.resume(co))
  assert.is_true(results[1], tostring(results[2]))
  assert.are.equal("dead", coroutine.status(co))
  return table.unpack(results, 2, results.n)
end

helper.for_each_backend(function(_, mf_b)
  describe("coroutine with workers by " .. mf_b.Process(print).backend, function()
    it("starts, joins and asks for results", function()
      assert.are.equal(42, inside(function()
        return mf_b.spawn(function() return 42 end):result(long)
      end))
    end)

    it("puts, gets and iterates", function()
      assert.are.same({ 1, 2 }, { inside(function()
        local queue = mf.Queue()
        mf_b.spawn(function()
          queue:put(1)
          queue:put(2)
          queue:close()
        end)
        local seen = {}
        for i, value in queue:iter() do seen[i] = value end
        return table.unpack(seen)
      end) })
    end)

    it("maps, and yields between the steps of imap", function()
      local pool <close> = mf_b.Pool(2)
      assert.are.equal(3, inside(function() return pool:map(math.abs, { -1, -2, -3 })[3] end))
      local step = coroutine.wrap(function()
        for i, value in pool:imap(math.abs, { -1, -2, -3 }) do coroutine.yield(i, value) end
      end)
      assert.are.same({ 1, 1 }, { step() })
      assert.are.same({ 2, 2 }, { step() })
      assert.are.same({ 3, 3 }, { step() })
      step()
    end)

    it("that is dropped in the middle of an imap leaves nothing", function()
      local pool <close> = mf_b.Pool(2)
      local step = coroutine.wrap(function()
        for i in pool:imap(math.abs, mf.range(1000)) do coroutine.yield(i) end
      end)
      assert.are.equal(1, step())
      step = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.are.equal(5, pool:apply(math.abs, { -5 }))
    end)

    it("holds a lock with a function that yields", function()
      local lock = mf.Lock()
      local step = coroutine.wrap(function()
        lock:acquire()
        coroutine.yield("held")
        lock:release()
        return "released"
      end)
      assert.are.equal("held", step())
      assert.is_true(lock:locked())
      assert.are.equal("released", step())
      assert.is_false(lock:locked())
    end)

    it("in a worker waits and is woken", function()
      local queue = mf.Queue()
      local worker = mf_b.spawn(function()
        return coroutine.wrap(function() return (queue:get(30)) end)()
      end)
      queue:put("woken")
      assert.are.equal("woken", worker:result(long))
    end)

    it("in a worker that is terminated ends", function()
      local queue, started = mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        coroutine.wrap(function()
          started:put(true)
          pcall(queue.get, queue)
          while true do pcall(queue.get, queue) end
        end)()
      end)
      started:get(long)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)
  end)

  describe("callback with workers by " .. mf_b.Process(print).backend, function()
    it("may wait itself", function()
      local pool <close> = mf_b.Pool(2)
      local second = pool:submit(function()
        mf.sleep(0.02)
        return "second"
      end)
      local seen
      local first = pool:submit(function() return "first" end)
      first:add_done_callback(function(f) seen = f:get() .. " " .. second:get(long) end)
      first:wait(long)
      for _ = 1, 500 do
        if seen then break end
        mf.poll()
        mf.sleep(0.005)
      end
      assert.are.equal("first second", seen)
    end)

    it("may submit", function()
      local pool <close> = mf_b.Pool(1)
      local chained
      pool:submit(function() return 20 end):add_done_callback(function(f)
        chained = pool:submit(function(x) return x + 1 end, f:get())
      end)
      for _ = 1, 500 do
        mf.poll()
        if chained then break end
        mf.sleep(0.005)
      end
      assert.are.equal(21, chained:get(long))
    end)

    it("may let the last handle of its future go", function()
      local pool <close> = mf_b.Pool(1)
      local count = 0
      for i = 1, 20 do
        pool:submit(math.abs, -i):add_done_callback(function(f) count = count + f:get(0) end)
      end
      for _ = 1, 500 do
        mf.poll()
        collectgarbage()
        if count == 210 then break end
        mf.sleep(0.005)
      end
      assert.are.equal(210, count)
    end)
  end)

  describe("input that waits, with workers by " .. mf_b.Process(print).backend, function()
    it("may ask the same pool", function()
      local pool <close> = mf_b.Pool(2)
      local i = 0
      local results = pool:map(math.abs, function()
        i = i + 1
        return i <= 20 and pool:apply(function(x) return -x end, { i }) or nil
      end)
      assert.are.equal(20, results.n)
      for k = 1, 20 do assert.are.equal(k, results[k]) end
    end)
  end)
end)
