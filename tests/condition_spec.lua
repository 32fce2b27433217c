-- Conditions: workers wait for a change that others tell them of.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function waiting(condition)
  return tonumber(tostring(condition):match(", (%d+) waiting%)$"))
end

local function until_waiting(condition, count)
  helper.wait_until(function() return waiting(condition) == count end)
end

-- A worker that waits once and gives what it got; it waits when this returns.
local function waiter(spawn, condition, timeout)
  local before = waiting(condition)
  local worker = spawn(function()
    return condition:with(function() return condition:wait(timeout) end)
  end)
  until_waiting(condition, before + 1)
  return worker
end

describe("Condition", function()
  it("is acquired, released, and held as its lock", function()
    local lock = mf.Lock()
    local condition = mf.Condition(lock)
    assert.are.same({ n = 1, true }, table.pack(condition:acquire()))
    assert.is_true(lock:locked())
    condition:release()
    assert.is_false(lock:locked())
    assert.are.same({ n = 3, true, nil, 3 }, table.pack(condition:with(function(...)
      return lock:locked(), ...
    end, nil, 3)))
    do
      local guard <close> = condition:hold()
      assert.is_true(lock:locked())
      assert.is_false(guard.abandoned)
    end
    assert.is_false(lock:locked())
    assert.is_true(lock:acquire())
    condition:release()
    assert.is_false(lock:locked())
  end)

  it("has an RLock of its own if none is given", function()
    local condition = mf.Condition()
    for _ = 1, 3 do assert.is_true(condition:acquire(0)) end
    for _ = 1, 3 do condition:release() end
    helper.misuse("cannot release a Condition that this worker does not hold", condition.release,
      condition)
  end)

  it("is used by its holder only", function()
    local condition = mf.Condition()
    for method, text in pairs {
      wait = "cannot wait on a Condition that this worker does not hold; acquire it first",
      wait_for = "cannot wait on a Condition that this worker does not hold; acquire it first",
      notify = "cannot notify a Condition that this worker does not hold; acquire it first",
      notify_all = "cannot notify a Condition that this worker does not hold; acquire it first",
    } do
      local argument
      if method == "wait_for" then argument = print end
      helper.misuse(text, function() condition[method](condition, argument) end)
    end
    helper.misuse("cannot release a Condition that this worker does not hold", condition.release,
      condition)
  end)

  it("takes a lock, a number, a function and a timeout", function()
    helper.misuse("bad argument #1 to 'Condition' (Lock or RLock expected, got Semaphore)",
      function() mf.Condition(mf.Semaphore(1)) end)
    helper.misuse("bad argument #1 to 'Condition' (Lock or RLock expected, got number)",
      function() mf.Condition(1) end)
    local condition = mf.Condition()
    local _ <close> = condition:hold()
    helper.misuse_like("bad argument #2 to 'wait' %(timeout in seconds", function()
      condition:wait("x")
    end)
    helper.misuse_like("bad argument #3 to 'wait_for' %(timeout in seconds", function()
      condition:wait_for(print, -1)
    end)
    helper.misuse("bad argument #2 to 'wait_for' (function expected, got boolean)", function()
      condition:wait_for(true)
    end)
    helper.misuse("bad argument #2 to 'wait_for' (function expected, got no value)", function()
      condition:wait_for()
    end)
    helper.misuse("bad argument #2 to 'notify' (number from 0 expected, got -1)", function()
      condition:notify(-1)
    end)
    helper.misuse_like("bad argument #1 to 'notify'", function() condition:notify("x") end)
  end)

  it("says what it is", function()
    local condition = mf.Condition()
    assert.are.equal("Condition", mf.type(condition))
    assert.is_truthy(tostring(condition):find("^Condition%(#%d+, 0 waiting%)$"))
  end)

  it("times out, and holds its lock again as often as before", function()
    local condition = mf.Condition()
    for _ = 1, 3 do condition:acquire() end
    assert.are.same({ n = 2, false, "timeout" }, table.pack(condition:wait(0)))
    assert.are.same({ n = 2, false, "timeout" }, table.pack(condition:wait(0.01)))
    for _ = 1, 3 do condition:release() end
    helper.misuse("cannot release a Condition that this worker does not hold", condition.release,
      condition)
  end)

  it("waits for a predicate, and gives its value", function()
    local condition = mf.Condition()
    local _ <close> = condition:hold()
    assert.are.same({ n = 1, 7 }, table.pack(condition:wait_for(function() return 7, 8 end)))
    local callable = setmetatable({}, { __call = function() return "called" end })
    assert.are.equal("called", condition:wait_for(callable))
    for _, timeout in ipairs { 0, 0.01 } do
      local calls = 0
      assert.are.same({ n = 2, nil, "timeout" }, table.pack(condition:wait_for(function()
        calls = calls + 1
        return nil
      end, timeout)))
      assert.are.equal(2, calls)
    end
  end)

  it("passes a predicate's error on, holding its lock", function()
    local condition = mf.Condition()
    condition:acquire()
    local err = { "the very table" }
    assert.is_true(rawequal(err, helper.raised(condition.wait_for, condition, function()
      error(err)
    end)))
    condition:release()
  end)

  it("is not waited for by a predicate that gives it away", function()
    local condition = mf.Condition()
    condition:acquire()
    helper.misuse_like("cannot wait on a Condition that this worker does not hold", function()
      condition:wait_for(function() condition:release() end)
    end)
    condition:acquire()
    helper.fails("closed", condition.wait_for, condition, function()
      local _ <close> = condition
    end)
  end)

  it("may be waited for in a callback that runs in another wait on it", function()
    local condition, inner = mf.Condition(), nil
    local pool <close> = mf.Pool { workers = 1, backend = "thread" }
    pool:submit(math.abs, -1):add_done_callback(function()
      inner = table.pack(condition:with(function() return condition:wait(0.01) end))
    end)
    condition:acquire()
    assert.are.same({ n = 2, false, "timeout" }, table.pack(condition:wait(0.2)))
    assert.are.same({ n = 2, false, "timeout" }, inner)
    condition:release()
    helper.misuse("cannot release a Condition that this worker does not hold", condition.release,
      condition)
  end)
end)

helper.for_each_mix(function(name, spawn)
  describe("Condition between workers by " .. name, function()
    for _, kind in ipairs { "Lock", "RLock" } do
      it("gives its " .. kind .. " back while it is waited for", function()
        local lock = mf[kind]()
        local condition = mf.Condition(lock)
        local worker = waiter(spawn, condition)
        assert.is_false(lock:locked())
        condition:acquire()
        condition:notify()
        assert.are.equal(0, waiting(condition))
        condition:release()
        assert.are.same({ n = 1, true }, table.pack(worker:result(long)))
      end)
    end

    it("wakes the oldest, as many as it is told", function()
      local condition, workers = mf.Condition(), {}
      for i = 1, 5 do workers[i] = waiter(spawn, condition) end
      condition:with(condition.notify, condition, 0)
      assert.are.equal(5, waiting(condition))
      condition:with(condition.notify, condition)
      assert.is_true(workers[1]:result(long))
      condition:with(condition.notify, condition, 2)
      assert.is_true(workers[2]:result(long))
      assert.is_true(workers[3]:result(long))
      assert.are.equal(2, waiting(condition))
      condition:with(condition.notify, condition, 100)
      for i = 4, 5 do assert.is_true(workers[i]:result(long)) end
    end)

    it("wakes all", function()
      local condition, workers = mf.Condition(), {}
      for i = 1, 4 do workers[i] = waiter(spawn, condition) end
      condition:with(condition.notify_all, condition)
      for i = 1, 4 do assert.are.same({ n = 1, true }, table.pack(workers[i]:result(long))) end
    end)

    it("forgets a notify that finds nobody", function()
      local condition = mf.Condition()
      condition:with(condition.notify_all, condition)
      local worker = waiter(spawn, condition, 0.01)
      assert.are.same({ n = 2, false, "timeout" }, table.pack(worker:result(long)))
    end)

    it("does not let a notify be taken by one who waits after it", function()
      local condition = mf.Condition()
      local worker = waiter(spawn, condition)
      condition:acquire()
      condition:notify()
      assert.are.same({ n = 2, false, "timeout" }, table.pack(condition:wait(0.05)))
      condition:release()
      assert.is_true(worker:result(long))
    end)

    for _, way in ipairs { "kill", "terminate" } do
      it("hands a notify on when the waiter that it was for ends by " .. way, function()
        local condition = mf.Condition()
        local first = waiter(spawn, condition)
        local second, third = waiter(spawn, condition), waiter(spawn, condition)
        condition:acquire()
        condition:notify()
        first[way](first) -- it can only wait for the lock yet
        assert.is_true(first:join(long))
        condition:release()
        assert.is_true(second:result(long))
        assert.are.equal(1, waiting(condition))
        condition:with(condition.notify_all, condition)
        assert.is_true(third:result(long))
      end)
    end

    it("does not hand a notify on to one who came after it", function()
      local condition = mf.Condition()
      local first = waiter(spawn, condition)
      condition:acquire()
      condition:notify()
      local late = spawn(function()
        return condition:with(function() return condition:wait() end)
      end)
      first:kill()
      first:join(long)
      condition:release()
      until_waiting(condition, 1)
      assert.is_false((late:join(0.05)))
      condition:with(condition.notify_all, condition)
      assert.is_true(late:result(long))
    end)

    it("stays usable when waiters are killed", function()
      local condition, workers = mf.Condition(), {}
      for i = 1, 4 do workers[i] = waiter(spawn, condition) end
      for i = 1, 3 do workers[i]:kill() end
      for i = 1, 3 do workers[i]:join(long) end
      until_waiting(condition, 1)
      condition:with(condition.notify, condition)
      assert.is_true(workers[4]:result(long))
    end)

    it("tells one who waited that the lock's last holder ended with it", function()
      local condition = mf.Condition()
      local called = waiter(spawn, condition)
      local by_predicate = spawn(function()
        local calls = 0
        return condition:with(function()
          return condition:wait_for(function()
            calls = calls + 1
            return calls == 2 and "value"
          end)
        end)
      end)
      until_waiting(condition, 2)
      spawn(function()
        condition:acquire()
        condition:notify_all()
      end):join(long)
      local a = table.pack(called:result(long))
      local b = table.pack(by_predicate:result(long))
      assert.is_true(a[1])
      assert.are.equal("value", b[1])
      if a.n == 2 then assert.are.equal("abandoned", a[2]) -- who has the lock first is told
      else assert.are.same({ n = 2, "value", "abandoned" }, b) end
      assert.are.equal(3, a.n + b.n)
    end)

    it("tells so one who timed out, too", function()
      local condition, go, held = mf.Condition(), mf.Queue(), mf.Queue()
      local holder = spawn(function()
        held:put(true)
        go:get()
        condition:acquire()
        held:put(true)
        mf.sleep(100)
      end)
      held:get(long) -- it has started, and has the lock before the others time out
      local late = waiter(spawn, condition, 0.6)
      local by_predicate = spawn(function()
        return condition:with(function()
          return condition:wait_for(function() return false end, 0.6)
        end)
      end)
      until_waiting(condition, 2)
      go:put(true)
      held:get(long)
      mf.sleep(0.7)
      holder:kill()
      local a = table.pack(late:result(long))
      local b = table.pack(by_predicate:result(long))
      holder:join(long)
      assert.are.same({ false, "timeout", a.n == 3 and "abandoned" or nil, n = a.n }, a)
      assert.are.same({ false, "timeout", b.n == 3 and "abandoned" or nil, n = b.n }, b)
      assert.are.equal(5, a.n + b.n)
    end)

    it("raises deadlock, and hands its notify on, when its lock cannot be had again", function()
      local condition, other, held = mf.Condition(), mf.Lock(), mf.Queue()
      local first = spawn(function()
        local _ <close> = other:hold()
        return condition:with(function()
          held:put(true)
          return condition:wait()
        end)
      end)
      held:get(long)
      until_waiting(condition, 1)
      local second = waiter(spawn, condition)
      local third = spawn(function()
        local _ <close> = condition:hold()
        condition:notify()
        held:put(true)
        return other:acquire()
      end)
      -- Whoever closes the cycle is told; the other one goes on.
      held:get(long)
      first:join(long)
      third:join(long)
      local failed = first:exception() and first or third
      local fine = failed == first and third or first
      assert.is_true(mf.is_error((failed:exception()), "deadlock"))
      assert.is_nil((fine:exception()))
      if failed == third then condition:with(condition.notify, condition) end
      assert.is_true(second:result(long))
    end)

    it("passes work between workers, each piece once", function()
      local condition, stock, taken = mf.Condition(), mf.Queue(), mf.Queue()
      local function consume()
        for _ = 1, 50 do
          local piece = condition:with(function()
            condition:wait_for(function() return not stock:empty() end)
            return stock:get()
          end)
          taken:put(piece)
        end
      end
      local workers = { spawn(consume), spawn(consume), spawn(consume) }
      for i = 1, 150 do
        condition:with(function()
          stock:put(i)
          condition:notify()
        end)
      end
      for _, worker in ipairs(workers) do assert.is_true(worker:join(long)) end
      local seen = {}
      for _, piece in ipairs(taken:get_many(1000, long)) do seen[piece] = (seen[piece] or 0) + 1 end
      assert.are.equal(150, #seen)
      for i = 1, 150 do assert.are.equal(1, seen[i]) end
    end)
  end)
end)

describe("Condition in a thread", function()
  it("does not keep a stopped waiter that cannot have its lock back", function()
    local condition, ended = mf.Condition(), mf.Queue()
    local worker = mf.with("thread").spawn(function()
      local _ <close> = setmetatable({}, { __close = function()
        ended:put((pcall(condition.release, condition)))
        ended:put((pcall(condition.release, condition)))
      end })
      local _ <close> = condition:hold()
      condition:acquire()
      condition:wait()
    end)
    until_waiting(condition, 1)
    condition:acquire()
    worker:terminate()
    assert.is_true(worker:join(long))
    condition:release()
    -- The guard gave back one of the two acquires that it had lost, by hand it is the other.
    assert.are.same({ true, false, n = 2 }, ended:get_many(2, long))
  end)

  it("has its lock back when it is stopped, where that is free", function()
    local lock, held = mf.Lock(), mf.Queue()
    local condition = mf.Condition(lock)
    local worker = mf.with("thread").spawn(function()
      local _ <close> = setmetatable({}, { __close = function() held:put(lock:locked()) end })
      condition:acquire()
      condition:wait()
    end)
    until_waiting(condition, 1)
    worker:terminate()
    assert.is_true(worker:join(long))
    assert.is_true(held:get(long))
    assert.are.same({ true, "abandoned" }, { lock:acquire(long) })
    lock:release()
  end)
end)

helper.for_each_program(function(name, run)
  describe("Condition under " .. name, function()
    it("stops waiting at Ctrl-C, without its lock where another one keeps that", function()
      local result = run([[
        local condition = mf.Condition()
        condition:acquire()
        condition:acquire()
        mf.Thread { daemon = true, target = function()
          condition:acquire()
          mf.sleep(100)
        end }:start()
        ready()
        local ok, err = pcall(condition.wait, condition)
        print(ok, err.kind)
        print(pcall(condition.release, condition)) -- as a handler would
        print(pcall(condition.release, condition))
        print((pcall(condition.release, condition)))
        print(condition:acquire(0))
      ]], { signal = "INT", timeout = 30 })
      assert.are.same({ code = 0, err = "",
        out = "false\tinterrupted\ntrue\ntrue\nfalse\nfalse\ttimeout\n" }, result)
    end)

    it("stops waiting at Ctrl-C, with its lock", function()
      local result = run([[
        local lock = mf.Lock()
        local condition = mf.Condition(lock)
        condition:acquire()
        ready()
        local ok, err = pcall(condition.wait, condition)
        print(ok, err.kind, lock:locked())
        condition:release()
        print(lock:locked(), condition:acquire(0), condition:wait(0))
      ]], { signal = "INT", timeout = 30 })
      assert.are.same({ code = 0, err = "",
        out = "false\tinterrupted\ttrue\nfalse\ttrue\tfalse\ttimeout\n" }, result)
    end)
  end)
end)
