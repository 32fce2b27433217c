-- Deadlock is an error, not a hang; and what is no deadlock is no error.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- Waits until the worker of this name sleeps for the object.
local function until_waits(name, object)
  local kind, number = tostring(object):match("^(%w+)%(#(%d+)")
  local pattern = ("\n%s %%(pid[^\n]*has waited[^\n]* for [^\n]-%s%%(#%s,"):format(
    name:gsub("%p", "%%%0"), kind, number)
  for _ = 1, long * 500 do
    if ("\n" .. mf.dump_waits()):find(pattern) then return end
    mf.sleep(0.002)
  end
  error(name .. " does not wait for " .. tostring(object) .. ":\n" .. mf.dump_waits(), 0)
end

-- Acquires one lock, waits for its turn, acquires the other, releases both. Gives the two lines,
-- whether it got the other one, the error's kind and text.
local function holds_and_wants(first, second, ready, go)
  local line = debug.getinfo(1, "l").currentline
  first:acquire() -- line + 1
  ready:put(true)
  go:get(60)
  local ok, err = pcall(second.acquire, second) -- line + 4
  if ok then second:release() end
  first:release()
  return line + 1, line + 4, ok, mf.is_error(err) and err.kind, tostring(err)
end

-- Workers, each holding locks[i] and told to acquire locks[i + 1] when go[i] gets a message.
local function ring(modules, locks)
  local ready, workers, go = mf.Queue(), {}, {}
  for i, module in ipairs(modules) do
    go[i] = mf.Queue()
    workers[i] = module.spawn(holds_and_wants, locks[i], locks[i % #modules + 1], ready, go[i])
    assert.is_true(ready:get(long))
  end
  return workers, go
end

local function new_locks(n, kind)
  local locks = {}
  for i = 1, n do locks[i] = mf[kind or i % 2 == 0 and "RLock" or "Lock"]() end
  return locks
end

local function are_free(locks)
  for _, lock in ipairs(locks) do
    assert.are.same({ n = 1, true }, table.pack(lock:acquire(long)))
    lock:release()
  end
end

-- All but the last wait; then the last closes the cycle.
local function close_ring(modules)
  local locks = new_locks(#modules)
  local workers, go = ring(modules, locks)
  for i = 1, #modules - 1 do
    go[i]:put(true)
    until_waits(workers[i].name, locks[i + 1])
  end
  go[#modules]:put(true)
  return workers, locks
end

local function shows(text, format, ...)
  local expected = format:format(...)
  assert.is_truthy(text:find(expected, 1, true), ("%q is not in:\n%s"):format(expected, text))
end

-- The message tells of each worker where it waits for what, and who acquired that where.
local function tells_all(workers, locks, results)
  local n = #workers
  local text = results[n][5]
  shows(text, "deadlock: %d workers wait for each other's locks", n)
  for i = 1, n do
    local next_one = i % n + 1
    local name = tostring(locks[next_one]):gsub("free", "held")
    shows(text, "%s (pid %d) waits at tests/deadlock_spec.lua:%d for %s, which %s (pid %d) " ..
      "acquired at tests/deadlock_spec.lua:%d", workers[i].name, workers[i].pid, results[i][2],
      name, workers[next_one].name, workers[next_one].pid, results[next_one][1])
  end
end

local function raises_in_the_last(modules)
  local workers, locks = close_ring(modules)
  local results = {}
  for i, worker in ipairs(workers) do results[i] = table.pack(worker:result(long)) end
  for i = 1, #workers - 1 do assert.is_true(results[i][3], results[i][5]) end
  assert.is_false(results[#workers][3])
  assert.are.equal("deadlock", results[#workers][4])
  tells_all(workers, locks, results)
  are_free(locks)
end

helper.for_each_backend(function(backend, mf_b)
  describe("deadlock between workers by " .. backend, function()
    it("of two raises in the one that closes it, and the other goes on", function()
      raises_in_the_last { mf_b, mf_b }
    end)

    it("of three names all three, with their lines", function()
      raises_in_the_last { mf_b, mf_b, mf_b }
    end)

    it("of eight is found", function()
      raises_in_the_last { mf_b, mf_b, mf_b, mf_b, mf_b, mf_b, mf_b, mf_b }
    end)

    it("that several close at the same moment raises in one of them", function()
      for _ = 1, 10 do
        local locks = new_locks(3)
        local workers, go = ring({ mf_b, mf_b, mf_b }, locks)
        for i = 1, 3 do go[i]:put(true) end
        local failed = 0
        for _, worker in ipairs(workers) do
          local _, _, ok, kind = worker:result(long)
          if not ok then
            assert.are.equal("deadlock", kind)
            failed = failed + 1
          end
        end
        assert.are.equal(1, failed)
        are_free(locks)
      end
    end)

    it("is raised in the main state, too, by acquire, with and hold", function()
      local locks, ready, go = new_locks(2, "Lock"), mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(holds_and_wants, locks[1], locks[2], ready, go)
      ready:get(long)
      locks[2]:acquire()
      go:put(true)
      until_waits(worker.name, locks[2])
      local err = helper.fails("deadlock", locks[1].acquire, locks[1])
      shows(tostring(err), "main (pid %d) waits at", mf.getpid())
      helper.fails("deadlock", locks[1].with, locks[1], print)
      helper.fails("deadlock", function() local _ <close> = locks[1]:hold() end)
      assert.are.same({ false, "timeout" }, { locks[1]:acquire(0.01) })
      locks[2]:release()
      assert.is_true((select(3, worker:result(long))))
      are_free(locks)
    end)

    it("between a pool's tasks fails the one that closed it", function()
      local locks, ready, go = new_locks(2), mf.Queue(), mf.Queue()
      local pool <close> = mf_b.Pool(2)
      local function task(i)
        locks[i]:acquire()
        ready:put(true)
        go:get(60)
        locks[3 - i]:acquire()
        return i
      end
      local futures = { pool:submit(task, 1), pool:submit(task, 2) }
      for _ = 1, 2 do ready:get(long) end
      for _ = 1, 2 do go:put(true) end
      local failed, done = 0, 0
      for i, future in ipairs(futures) do
        local ok, result = pcall(future.get, future, long)
        if ok then
          assert.are.equal(i, result)
          done = done + 1
        else
          assert.is_true(mf.is_error(result, "deadlock"), tostring(result))
          failed = failed + 1
        end
      end
      assert.are.same({ 1, 1 }, { failed, done })
      assert.are.equal(3, pool:apply(function() return 3 end))
    end)

    it("that a condition's wait closes when it wants its lock again raises there", function()
      local condition, lock, ready = mf.Condition(), mf.Lock(), mf.Queue()
      local waiter = mf_b.spawn(function()
        lock:acquire()
        local ok, err = pcall(condition.with, condition, function()
          ready:put(true)
          condition:wait(0.3)
        end)
        lock:release()
        return ok, mf.is_error(err, "deadlock"), tostring(err)
      end)
      ready:get(long)
      local holder = mf_b.spawn(function()
        condition:acquire()
        lock:acquire() -- the waiter's
        lock:release()
        condition:release()
        return true
      end)
      until_waits(holder.name, lock)
      local ok, deadlock, text = waiter:result(long)
      assert.is_false(ok)
      assert.is_true(deadlock, text)
      assert.is_truthy(text:find("for RLock%(#%d+, held%) of Condition%(#%d+, "), text)
      assert.is_true(holder:result(long))
      are_free { lock, condition }
    end)

    it("of who has the lock that a condition's wait wants again raises", function()
      local condition, lock, ready, go = mf.Condition(), mf.Lock(), mf.Queue(), mf.Queue()
      local waiter = mf_b.spawn(function()
        lock:acquire()
        condition:with(function()
          ready:put(true)
          condition:wait()
        end)
        lock:release()
        return true
      end)
      ready:get(long)
      local holder = mf_b.spawn(function()
        condition:acquire()
        condition:notify()
        go:get(60)
        local ok, err = pcall(lock.acquire, lock)
        condition:release()
        return ok, mf.is_error(err, "deadlock"), tostring(err)
      end)
      until_waits(waiter.name, condition)
      go:put(true)
      local ok, deadlock, text = holder:result(long)
      assert.is_false(ok)
      assert.is_true(deadlock, text)
      assert.is_true(waiter:result(long))
      are_free { lock, condition }
    end)

    it("is no matter of timed waits", function()
      local locks, held = new_locks(2), mf.Queue()
      locks[2]:acquire()
      local worker = mf_b.spawn(function()
        locks[1]:acquire()
        held:put(true)
        local ok, reason = locks[2]:acquire(0.2)
        locks[1]:release()
        return ok, reason
      end)
      held:get(long)
      until_waits(worker.name, locks[2])
      assert.is_true((locks[1]:acquire())) -- it gives up
      assert.are.same({ false, "timeout" }, { worker:result(long) })
      locks[1]:release()
      locks[2]:release()
    end)

    it("is none where the one that waits has a timeout", function()
      local locks, ready, go = new_locks(2), mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(holds_and_wants, locks[1], locks[2], ready, go)
      ready:get(long)
      locks[2]:acquire()
      go:put(true)
      until_waits(worker.name, locks[2])
      for _ = 1, 3 do assert.are.same({ false, "timeout" }, { locks[1]:acquire(0.01) }) end
      locks[2]:release()
      assert.is_true((select(3, worker:result(long))))
    end)

    for _, kind in ipairs { "Semaphore", "BoundedSemaphore" } do
      it("is none of a " .. kind, function()
        local a, b, ready, go = mf[kind](1), mf[kind](1), mf.Queue(), mf.Queue()
        local workers = {
          mf_b.spawn(holds_and_wants, a, b, ready, go),
          mf_b.spawn(holds_and_wants, b, a, ready, go) }
        for _ = 1, 2 do ready:get(long) end
        for _ = 1, 2 do go:put(true) end
        until_waits(workers[1].name, b)
        until_waits(workers[2].name, a)
        workers[1]:kill()
        if kind == "Semaphore" then a:release() end -- a bounded one gets back what the dead one had
        assert.is_true((select(3, workers[2]:result(long))))
        workers[1]:join(long)
      end)
    end

    it("is none when a member was killed: its locks come free", function()
      for _ = 1, 10 do
        local locks, ready, go = new_locks(2), mf.Queue(), mf.Queue()
        local worker = mf_b.spawn(holds_and_wants, locks[1], locks[2], ready, go)
        ready:get(long)
        locks[2]:acquire()
        go:put(true)
        until_waits(worker.name, locks[2])
        if backend == "process" then
          os.execute("kill -9 " .. worker.pid)
        else
          worker:kill()
        end
        assert.are.same({ true, "abandoned" }, { locks[1]:acquire() })
        locks[1]:release()
        locks[2]:release()
        worker:join(long)
      end
    end)

    it("ends for those who wait when a member is killed", function()
      local locks = new_locks(3)
      local workers, go = ring({ mf_b, mf_b, mf_b }, locks)
      for i = 1, 2 do
        go[i]:put(true)
        until_waits(workers[i].name, locks[i + 1])
      end
      workers[2]:kill() -- it waits for the third's, and the first waits for its
      workers[2]:join(long)
      assert.is_true((select(3, workers[1]:result(long))))
      go[3]:put(true)
      assert.is_true((select(3, workers[3]:result(long))))
      are_free(locks)
    end)

    it("is none when locks are acquired in one order, by many, for a while", function()
      local locks = new_locks(4)
      local function work(seed, seconds)
        local step, till = seed, mf.time() + seconds
        local rounds = 0
        while mf.time() < till do
          local taken = {}
          for i = 1, 4 do
            step = (step * 1103515245 + 12345) % 2147483648
            if step // 65536 % 2 == 0 then
              locks[i]:acquire()
              taken[#taken + 1] = i
              if i == 2 then locks[i]:acquire() end -- an RLock
            end
          end
          for k = #taken, 1, -1 do
            if taken[k] == 2 then locks[2]:release() end
            locks[taken[k]]:release()
          end
          rounds = rounds + 1
        end
        return rounds
      end
      local workers = {}
      for i = 1, 4 do workers[i] = mf_b.spawn(work, i, 1.5) end
      work(5, 1.5)
      for i = 1, 4 do assert.is_true(workers[i]:result(long) > 0) end
      are_free(locks)
    end)

    it("is always found when locks are acquired in any order", function()
      local locks = new_locks(4)
      local function work(seed, rounds)
        local step = seed
        local function draw(n)
          step = (step * 1103515245 + 12345) % 2147483648
          return step // 65536 % n + 1
        end
        local found = 0
        for _ = 1, rounds do
          local taken = {}
          for _ = 1, 3 do
            local lock = locks[draw(4)]
            local ok, err = pcall(lock.acquire, lock)
            if ok then
              taken[#taken + 1] = lock
            elseif mf.is_error(err, "deadlock") then
              found = found + 1
              break
            else
              error(err, 0)
            end
          end
          for k = #taken, 1, -1 do taken[k]:release() end
        end
        return found
      end
      local workers = {}
      for i = 1, 4 do workers[i] = mf_b.spawn(work, i * 7919, 400) end
      work(5, 400)
      for i = 1, 4 do assert.is_truthy(workers[i]:result(long)) end
      are_free(locks)
    end)
  end)
end)

describe("deadlock between processes and threads", function()
  it("raises in the one that closes it, naming all", function()
    local p, t = mf.with "process", mf.with "thread"
    raises_in_the_last { p, t }
    raises_in_the_last { t, p, t, p }
  end)
end)

describe("deadlock with oneself", function()
  it("names the line that acquired the lock first", function()
    local lock = mf.Lock()
    local line = debug.getinfo(1, "l").currentline + 1
    lock:acquire()
    for _, timeout in ipairs { math.huge, 1, 0 } do
      local err = helper.fails("deadlock", lock.acquire, lock, timeout)
      shows(tostring(err), "deadlock: main (pid %d) cannot acquire %s at ", mf.getpid(),
        tostring(lock))
      shows(tostring(err), "it holds it already, acquired at tests/deadlock_spec.lua:%d; " ..
        "an RLock may be acquired again", line)
    end
    lock:release()
  end)

  it("is none for an RLock, also while others wait for it", function()
    local lock, waiting = mf.RLock(), mf.Queue()
    lock:acquire()
    local worker = mf.spawn(function()
      waiting:put(true)
      lock:acquire()
      lock:release()
      return "got it"
    end)
    waiting:get(long)
    until_waits(worker.name, lock)
    for _ = 1, 5 do assert.is_true((lock:acquire())) end
    for _ = 1, 6 do lock:release() end
    assert.are.equal("got it", worker:result(long))
  end)
end)
