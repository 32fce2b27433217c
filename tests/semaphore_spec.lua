-- Semaphores: permits, their limits, and what dead workers had.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

for _, kind in ipairs { "Semaphore", "BoundedSemaphore" } do
  describe(kind, function()
    it("has as many permits as it was given", function()
      local semaphore = mf[kind](2)
      assert.are.equal(2, semaphore:value())
      assert.is_true((semaphore:acquire()))
      assert.is_true((semaphore:acquire(0)))
      assert.are.equal(0, semaphore:value())
      assert.are.same({ false, "timeout" }, { semaphore:acquire(0) })
      assert.are.same({ false, "timeout" }, { semaphore:acquire(0.01) })
      semaphore:release()
      assert.are.equal(1, semaphore:value())
      assert.is_true((semaphore:acquire(long)))
      semaphore:release(2)
      assert.are.equal(2, semaphore:value())
    end)

    it("runs a function with a permit, and gives it back", function()
      local semaphore = mf[kind](1)
      assert.are.same({ 0, "x" }, { semaphore:with(function(x)
        return semaphore:value(), x
      end, "x") })
      assert.are.equal(1, semaphore:value())
      assert.are.equal("oops", helper.raised(semaphore.with, semaphore, error, "oops"))
      assert.are.equal(1, semaphore:value())
    end)

    it("holds a permit to the end of a scope", function()
      local semaphore = mf[kind](1)
      do
        local _ <close> = semaphore:hold()
        assert.are.equal(0, semaphore:value())
      end
      assert.are.equal(1, semaphore:value())
    end)

    it("says what it is", function()
      assert.are.equal(kind, mf.type(mf[kind](3)))
      assert.is_truthy(tostring(mf[kind](3)):find("^" .. kind .. "%(#%d+"))
    end)

    it("takes a whole number that is not negative", function()
      helper.misuse_like("bad argument #1 to '" .. kind .. "'", function() mf[kind](-1) end)
      helper.misuse_like("bad argument #1 to '" .. kind .. "'", function() mf[kind]("x") end)
      helper.misuse_like("bad argument #1 to '" .. kind .. "'", function() mf[kind](1.5) end)
      helper.misuse_like("bad argument #2 to 'release'", function() mf[kind](1):release(0) end)
    end)
  end)

  helper.for_each_backend(function(backend, mf_b)
    describe(kind .. " between workers by " .. backend, function()
      it("never lets in more than its permits", function()
        local semaphore, inside, peak = mf[kind](2), mf.Semaphore(0), mf.Queue()
        local workers = {}
        for i = 1, 4 do
          workers[i] = mf_b.spawn(function()
            for _ = 1, 50 do
              semaphore:acquire()
              inside:release()
              peak:put(inside:value())
              inside:acquire()
              semaphore:release()
            end
          end)
        end
        for i = 1, 4 do workers[i]:join(long) end
        assert.are.equal(200, #peak)
        peak:close()
        for _, value in peak:iter() do assert.is_true(value <= 2) end
        assert.are.equal(2, semaphore:value())
      end)

      it("wakes who waits", function()
        local semaphore, waiting = mf[kind](1), mf.Queue()
        semaphore:acquire()
        local worker = mf_b.spawn(function()
          waiting:put(true)
          local ok = semaphore:acquire(30)
          semaphore:release()
          return ok
        end)
        waiting:get(long)
        semaphore:release()
        assert.is_true(worker:result(long))
      end)

      it("stays usable when waiters are killed", function()
        local semaphore, waiting, waiters = mf[kind](1), mf.Queue(), {}
        semaphore:acquire()
        for i = 1, 3 do
          waiters[i] = mf_b.spawn(function()
            waiting:put(true)
            semaphore:acquire()
          end)
        end
        for _ = 1, 3 do waiting:get(long) end
        for i = 1, 3 do waiters[i]:kill() end
        for i = 1, 3 do waiters[i]:join(long) end
        semaphore:release()
        assert.is_true((semaphore:acquire(long)))
        semaphore:release()
        assert.are.equal(1, semaphore:value())
      end)
    end)
  end)
end

describe("Semaphore", function()
  it("may be released above what it began with, by anybody", function()
    local semaphore = mf.Semaphore(0)
    semaphore:release()
    semaphore:release(5)
    assert.are.equal(6, semaphore:value())
  end)

  it("has one permit if not told otherwise", function()
    assert.are.equal(1, mf.Semaphore():value())
  end)
end)

describe("BoundedSemaphore", function()
  it("raises on a release above its bound, and stays as it was", function()
    local semaphore = mf.BoundedSemaphore(2)
    helper.misuse_like("release", semaphore.release, semaphore)
    semaphore:acquire()
    helper.misuse_like("release", semaphore.release, semaphore, 2)
    assert.are.equal(1, semaphore:value())
    semaphore:release()
    assert.are.equal(2, semaphore:value())
  end)

  helper.for_each_backend(function(backend, mf_b)
    for _, way in ipairs { "kill", "return", "error" } do
      it("gets back the permits of a worker by " .. backend .. " that ended by " .. way, function()
        local semaphore, held = mf.BoundedSemaphore(3), mf.Queue()
        local worker = mf_b.spawn(function()
          semaphore:acquire()
          semaphore:acquire()
          held:put(true)
          if way == "kill" then while true do end end
          if way == "error" then error "holding, on purpose" end
        end)
        held:get(long)
        if way == "kill" then worker:kill() end
        worker:join(long)
        for _ = 1, 3 do assert.is_true((semaphore:acquire(long))) end
        semaphore:release(3)
        assert.are.equal(3, semaphore:value())
      end)
    end

    it("takes a release by a worker by " .. backend .. " for its own permit's first", function()
      local semaphore = mf.BoundedSemaphore(2)
      semaphore:acquire()
      mf_b.spawn(function()
        semaphore:acquire()
        semaphore:release()
      end):join(long)
      assert.are.equal(1, semaphore:value())
      semaphore:release()
      assert.are.equal(2, semaphore:value())
    end)

    it("lets another worker by " .. backend .. " release what this one acquired", function()
      local semaphore = mf.BoundedSemaphore(1)
      semaphore:acquire()
      mf_b.spawn(function() semaphore:release() end):join(long)
      assert.are.equal(1, semaphore:value())
      helper.misuse_like("release", semaphore.release, semaphore)
    end)
  end)
end)

describe("Semaphore without a bound", function()
  it("does not count beyond what an integer holds", function()
    local semaphore = mf.Semaphore(math.maxinteger - 1)
    semaphore:release()
    assert.are.equal(math.maxinteger, semaphore:value())
    helper.misuse("cannot release a Semaphore above math.maxinteger", semaphore.release, semaphore)
    assert.are.equal(math.maxinteger, semaphore:value())
  end)
end)
