-- Tasks that submit tasks: nothing deadlocks, however few the workers.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

helper.for_each_pool(function(backend, new_pool)
  describe("nested use by " .. backend, function()
    it("of the same pool by one worker does not deadlock", function()
      local pool <close> = new_pool { workers = 1 }
      assert.are.equal(43, pool:submit(function()
        return pool:submit(function() return 42 end):get() + 1
      end):get(long))
    end)

    it("of map in map gives the right results", function()
      local pool <close> = new_pool { workers = 2 }
      local results = pool:map(function(x)
        local sum = 0
        for _, y in ipairs(pool:map(function(z) return z * x end, { 1, 2, 3 })) do sum = sum + y end
        return sum
      end, { 1, 2, 3, 4 }, { chunksize = 1 })
      assert.are.same({ 6, 12, 18, 24, n = 4 }, results)
    end)

    it("of imap in a task gives the right results", function()
      local pool <close> = new_pool { workers = 1 }
      assert.are.equal(30, pool:apply(function()
        local sum = 0
        for _, value in pool:imap(function(x) return x * x end, { 1, 2, 3, 4 }) do
          sum = sum + value
        end
        return sum
      end))
    end)

    it("goes some tens deep", function()
      local pool <close> = new_pool { workers = 1 }
      local function descend(n)
        if n == 0 then return 0 end
        return 1 + pool:submit(descend, n - 1):get()
      end
      assert.are.equal(20, pool:submit(descend, 20):get(long))
    end)

    it("by a tree of tasks ends", function()
      local pool <close> = new_pool { workers = 2 }
      local function fibonacci(n)
        if n < 2 then return n end
        local a = pool:submit(fibonacci, n - 1)
        local b = pool:submit(fibonacci, n - 2)
        return a:get() + b:get()
      end
      assert.are.equal(21, pool:submit(fibonacci, 8):get(long))
    end)

    it("runs the awaited task in a state of its own: neither sees the other's globals", function()
      local pool <close> = new_pool { workers = 1 }
      local outer, inner = pool:submit(function()
        _G["spec_" .. "mark"] = "outer"
        local seen = pool:submit(function()
          local found = rawget(_G, "spec_" .. "mark")
          _G["spec_" .. "mark"] = "inner"
          return tostring(found)
        end):get()
        return rawget(_G, "spec_" .. "mark"), seen
      end):get(long)
      assert.are.equal("outer", outer)
      assert.are.equal("nil", inner)
    end)

    it("raises an inner error where it is asked for", function()
      local pool <close> = new_pool { workers = 1 }
      local err = helper.raised(function()
        return pool:submit(function()
          return pool:submit(function() error({ inner = true }) end):get()
        end):get(long)
      end)
      assert.are.same({ inner = true }, err)
    end)

    it("of a pool made inside a task works", function()
      local pool <close> = new_pool { workers = 1 }
      assert.are.same({ 1, 4, n = 2 }, pool:apply(function()
        local own <close> = mf.Pool(1)
        return own:map(function(x) return x * x end, { 1, 2 })
      end))
    end)

    it("of the worker's default pool works", function()
      local pool <close> = new_pool { workers = 1 }
      assert.are.same({ 2, 4, n = 2 }, pool:apply(function()
        return mf.map(function(x) return 2 * x end, { 1, 2 })
      end))
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("waiting inside a task by " .. backend, function()
    it("with a timeout does not deadlock: a spare worker comes", function()
      local pool <close> = mf_b.Pool(1)
      assert.are.equal(42, pool:submit(function()
        return pool:submit(function() return 42 end):get(30)
      end):get(long))
    end)

    it("while it holds a lock does not deadlock", function()
      local pool <close> = mf_b.Pool(1)
      local lock = mf.Lock()
      assert.are.equal(42, pool:submit(function()
        return lock:with(function() return pool:submit(function() return 42 end):get() end)
      end):get(long))
    end)

    it("of all workers at once does not deadlock", function()
      local pool <close> = mf_b.Pool(2)
      for count, timeout in pairs { [2] = 30, [8] = false } do
        local futures = {}
        for i = 1, count do
          futures[i] = pool:submit(function()
            return pool:submit(function() return i end):get(timeout or nil)
          end)
        end
        for i = 1, count do assert.are.equal(i, futures[i]:get(long)) end
      end
    end)

    it("for a task of another that has begun just sleeps", function()
      local pool <close> = mf_b.Pool(2)
      local started, go = mf.Queue(), mf.Queue()
      local first = pool:submit(function()
        started:put(true)
        return go:get(30)
      end)
      started:get(long)
      local second = pool:submit(function() return first:get() end)
      go:put("waited")
      assert.are.equal("waited", second:get(long))
    end)

    it("runs only the awaited task itself, never another", function()
      local pool <close> = mf_b.Pool(1)
      local order = mf.Queue()
      local go = mf.Queue()
      local outer = pool:submit(function()
        go:get(30)
        local other = pool:submit(function() order:put("other") end)
        local awaited = pool:submit(function() order:put("awaited") end)
        awaited:get()
        order:put("outer")
        return other
      end)
      go:put(true)
      outer:get(long):get(long)
      assert.are.same({ "awaited", "outer", "other" },
        { order:get(0), order:get(0), order:get(0) })
    end)

    it("runs callbacks in the state that registered them", function()
      local pool <close> = mf_b.Pool(1)
      local second <close> = mf_b.Pool(1)
      local first = mf.Queue()
      local results = pool:submit(function()
        local seen = {}
        local function note(f) seen[#seen + 1] = "outer " .. f:get(0) end
        second:submit(function() return first:get(30) end):add_done_callback(note)
        -- It runs right here, in a state of its own, and waits until what is watched has ended.
        local inner = pool:submit(function()
          local mine, told = {}, mf.Queue()
          first:put("a")
          second:submit(function() return "b" end):add_done_callback(function(f)
            mine[#mine + 1] = "inner " .. f:get(0)
            told:put(true)
          end)
          told:get(30)
          mf.sleep(0.01)
          return mine
        end):get()
        mf.sleep(0.001)
        return seen, inner
      end)
      local seen, inner = results:get(long)
      assert.are.same({ "outer a" }, seen)
      assert.are.same({ "inner b" }, inner)
    end)
  end)
end)
