-- Locks: one holder at a time, whoever dies.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- Some calls, tried while another worker holds the lock.
local function held_elsewhere(mf_b, lock, f)
  local held, go = mf.Queue(), mf.Queue()
  local worker = mf_b.spawn(function()
    lock:acquire()
    held:put(true)
    go:get(30)
    lock:release()
  end)
  assert.is_true(held:get(long))
  f(go)
  go:put(true)
  worker:join(long)
end

-- Another worker acquires the lock and ends in the given way.
local function abandon(mf_b, lock, way)
  local held = mf.Queue()
  local worker = mf_b.spawn(function()
    lock:acquire()
    held:put(true)
    if way == "error" then error("holding, on purpose")
    elseif way == "exit" then os.exit(0)
    elseif way == "kill" then while true do end end
  end)
  assert.is_true(held:get(long))
  if way == "kill" then worker:kill() end
  assert.is_true(worker:join(long))
end

for _, kind in ipairs { "Lock", "RLock" } do
  local function new() return mf[kind]() end

  describe(kind, function()
    it("is acquired and released", function()
      local lock = new()
      assert.is_false(lock:locked())
      assert.are.same({ n = 1, true }, table.pack(lock:acquire()))
      assert.is_true(lock:locked())
      lock:release()
      assert.is_false(lock:locked())
    end)

    it("raises on a release by who does not hold it", function()
      local lock = new()
      helper.misuse_like("release", lock.release, lock)
      lock:acquire()
      lock:release()
      helper.misuse_like("release", lock.release, lock)
    end)

    it("runs a function with it, gives its results and releases", function()
      local lock = new()
      assert.are.same({ n = 4, true, 2, nil, nil }, table.pack(lock:with(function(...)
        return lock:locked(), ...
      end, 2, nil, nil)))
      assert.is_false(lock:locked())
    end)

    it("passes a function's error on, unchanged, and releases", function()
      local lock, err = new(), { "the very table" }
      assert.is_true(rawequal(err, helper.raised(lock.with, lock, function() error(err) end)))
      assert.is_false(lock:locked())
      assert.are.equal("text", helper.raised(lock.with, lock, function() error("text", 0) end))
    end)

    it("is held to the end of a scope", function()
      local lock = new()
      do
        local guard <close> = lock:hold()
        assert.is_true(lock:locked())
        assert.is_falsy(guard.abandoned)
      end
      assert.is_false(lock:locked())
      pcall(function()
        local _ <close> = lock:hold()
        error "passing"
      end)
      assert.is_false(lock:locked())
    end)

    it("says what it is", function()
      assert.are.equal(kind, mf.type(new()))
      assert.is_truthy(tostring(new()):find("^" .. kind .. "%(#%d+"), tostring(new()))
    end)

    it("takes a timeout in seconds", function()
      local lock = new()
      helper.misuse_like("bad argument #2 to 'acquire'", function() lock:acquire(-1) end)
      helper.misuse_like("bad argument #2 to 'acquire'", function() lock:acquire(true) end)
      assert.is_true(lock:acquire(0))
      lock:release()
    end)
  end)

  helper.for_each_backend(function(backend, mf_b)
    describe(kind .. " between workers by " .. backend, function()
      it("has one holder: others time out", function()
        local lock = new()
        held_elsewhere(mf_b, lock, function()
          assert.is_true(lock:locked())
          assert.are.same({ false, "timeout" }, { lock:acquire(0) })
          assert.are.same({ false, "timeout" }, { lock:acquire(0.01) })
        end)
      end)

      it("is released by its holder only", function()
        local lock = new()
        held_elsewhere(mf_b, lock, function()
          helper.misuse_like("release", lock.release, lock)
          assert.is_true(lock:locked())
        end)
      end)

      it("wakes who waits when it is released", function()
        local lock = new()
        held_elsewhere(mf_b, lock, function(go)
          go:put(true)
          assert.is_true((lock:acquire(long)))
          lock:release()
        end)
      end)

      it("keeps a counter in a file right", function()
        local lock, path = new(), os.tmpname()
        helper.write_file(path, "0")
        local function count()
          for _ = 1, 100 do
            lock:with(function()
              local file <close> = io.open(path, "r+")
              local value = file:read("n")
              file:seek("set", 0)
              file:write(value + 1)
            end)
          end
        end
        local workers = {}
        for i = 1, 4 do workers[i] = mf_b.spawn(count) end
        count()
        for i = 1, 4 do workers[i]:join(long) end
        assert.are.equal("500", helper.read_file(path))
        os.remove(path)
      end)

      for _, way in ipairs { "kill", "error", "return", "exit" } do
        it("is abandoned when its holder ends by " .. way, function()
          local lock = new()
          abandon(mf_b, lock, way)
          assert.are.same({ true, "abandoned" }, { lock:acquire(long) })
          lock:release()
          assert.are.same({ n = 1, true }, table.pack(lock:acquire(long)))
          lock:release()
        end)
      end

      it("tells a guard that it was abandoned", function()
        local lock = new()
        abandon(mf_b, lock, "return")
        local guard <close> = lock:hold()
        assert.is_true(guard.abandoned)
      end)

      it("passes to who waits already when its holder is killed", function()
        local lock, held, waiting = new(), mf.Queue(), mf.Queue()
        local holder = mf_b.spawn(function()
          lock:acquire()
          held:put(true)
          while true do end
        end)
        held:get(long)
        local waiter = mf_b.spawn(function()
          waiting:put(true)
          return lock:acquire(30)
        end)
        waiting:get(long)
        holder:kill()
        assert.are.same({ true, "abandoned" }, { waiter:result(long) })
        holder:join(long)
      end)

      it("stays usable when a waiter is killed", function()
        local lock, waiting = new(), mf.Queue()
        lock:acquire()
        local waiters = {}
        for i = 1, 3 do
          waiters[i] = mf_b.spawn(function()
            waiting:put(true)
            lock:acquire()
          end)
        end
        for _ = 1, 3 do waiting:get(long) end
        for i = 1, 3 do waiters[i]:kill() end
        for i = 1, 3 do waiters[i]:join(long) end
        lock:release()
        assert.is_true((lock:acquire(long)))
        lock:release()
      end)

      it("held by a pool's task is released as abandoned at the task's end", function()
        local lock = new()
        local pool <close> = mf_b.Pool(1)
        pool:apply(function() lock:acquire() end)
        assert.are.same({ true, "abandoned" }, { lock:acquire(long) })
        lock:release()
      end)

      it("held by a pool's failed task is abandoned, too", function()
        local lock = new()
        local pool <close> = mf_b.Pool(1)
        pcall(pool.apply, pool, function()
          lock:acquire()
          error "holding, on purpose"
        end)
        assert.are.same({ true, "abandoned" }, { lock:acquire(long) })
        lock:release()
      end)
    end)
  end)
end

describe("Lock", function()
  it("acquired by its holder again raises instead of hanging, with any timeout", function()
    local lock = mf.Lock()
    lock:acquire()
    for _, timeout in ipairs { math.huge, 1, 0 } do
      local err = tostring(helper.raised(lock.acquire, lock, timeout))
      assert.is_truthy(err:find("already", 1, true), err)
      assert.is_truthy(err:find("RLock", 1, true), err)
    end
    helper.raised(lock.acquire, lock)
    helper.raised(lock.with, lock, print)
    lock:release()
    assert.is_false(lock:locked())
  end)
end)

describe("RLock", function()
  it("may be acquired again by its holder, and is released as often", function()
    local lock = mf.RLock()
    for _ = 1, 3 do assert.is_true((lock:acquire())) end
    for _ = 1, 3 do
      assert.is_true(lock:locked())
      lock:release()
    end
    assert.is_false(lock:locked())
    helper.misuse_like("release", lock.release, lock)
  end)

  it("is given up by a dead worker however often that held it", function()
    local lock = mf.RLock()
    local worker = mf.spawn(function()
      lock:acquire()
      lock:acquire()
    end)
    worker:join(long)
    assert.are.same({ true, "abandoned" }, { lock:acquire(long) })
    lock:release()
    assert.is_false(lock:locked())
  end)

  it("with inside with runs", function()
    local lock = mf.RLock()
    assert.are.equal(5, lock:with(function() return lock:with(function() return 5 end) end))
  end)
end)
