-- imap and its kin: results as they come, input pulled only as fast as results are taken.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function square(x) return x * x end

-- An endless input that counts how far it was pulled.
local function counting()
  local counter = { pulled = 0 }
  return counter, function()
    counter.pulled = counter.pulled + 1
    return counter.pulled
  end
end

helper.for_each_pool(function(backend, new_pool)
  describe("imap by " .. backend, function()
    it("yields (i, values...) in input order", function()
      local pool <close> = new_pool()
      local seen = {}
      for i, value, more in pool:imap(function(x) return x * x, "more" end, { 1, 2, 3 }) do
        seen[#seen + 1] = { i, value, more }
      end
      assert.are.same({ { 1, 1, "more" }, { 2, 4, "more" }, { 3, 9, "more" } }, seen)
    end)

    it("is not ended by a nil result", function()
      local pool <close> = new_pool()
      local count = 0
      for _, value in pool:imap(function() end, mf.range(10)) do
        assert.is_nil(value)
        count = count + 1
      end
      assert.are.equal(10, count)
    end)

    it("of nothing yields nothing", function()
      local pool <close> = new_pool()
      for _ in pool:imap(square, {}) do error "something" end
      for _ in pool:imap_unordered(square, {}) do error "something" end
      for _ in pool:istarmap(square, {}) do error "something" end
    end)

    it("takes every chunk size and window", function()
      local pool <close> = new_pool()
      for _, opts in ipairs { { chunksize = 1 }, { chunksize = 7 }, { window = 1 },
        { chunksize = 3, window = 3 }, { chunksize = 1000, window = 5 }, {} } do
        local last = 0
        for i, value in pool:imap(square, mf.range(60), opts) do
          assert.are.same({ last + 1, i * i }, { i, value })
          last = i
        end
        assert.are.equal(60, last)
      end
    end)

    it("pulls endless input only as fast as results are taken", function()
      local pool <close> = new_pool()
      local counter, input = counting()
      local iterator <close> = pool:imap(square, input, { chunksize = 1, window = 8 })
      for i = 1, 100 do
        assert.are.same({ i, i * i }, { iterator() })
        assert.is_true(counter.pulled <= i + 8, counter.pulled .. " pulled after " .. i)
      end
    end)

    it("pulls not too much in chunks that it chose itself", function()
      local pool <close> = new_pool()
      local counter, input = counting()
      local iterator <close> = pool:imap(square, input)
      assert.are.same({ 1, 1 }, { iterator() })
      assert.is_true(counter.pulled < 200000, counter.pulled .. " pulled")
    end)

    it("closes when its loop is left early", function()
      local pool <close> = new_pool()
      local counter, input = counting()
      for i in pool:imap(square, input, { window = 4 }) do
        if i == 3 then break end
      end
      local pulled = counter.pulled
      assert.are.equal(9, pool:apply(square, { 3 }))
      assert.are.equal(pulled, counter.pulled)
    end)

    it("is one callable object with close()", function()
      local pool <close> = new_pool()
      local iterator, state, control, closing = pool:imap(square, { 1, 2, 3 })
      assert.is_nil(state)
      assert.is_nil(control)
      assert.is_true(rawequal(iterator, closing))
      assert.are.same({ 1, 1 }, { iterator() })
      assert.are.same({ 2, 4 }, { iterator() })
      iterator:close()
      assert.is_nil((iterator()))
      iterator:close()
    end)

    it("goes on yielding nil at its end", function()
      local pool <close> = new_pool()
      local iterator = pool:imap(square, { 1 })
      iterator()
      assert.is_nil((iterator()))
      assert.is_nil((iterator()))
    end)

    it("raises an item's error in its turn", function()
      local pool <close> = new_pool()
      local seen = {}
      local err = helper.raised(function()
        for i, value in pool:imap(function(x)
          if x == 3 then error("item three", 0) end
          return x
        end, { 1, 2, 3, 4 }, { chunksize = 2 }) do seen[i] = value end
      end)
      assert.are.same({ 1, 2 }, seen)
      assert.is_truthy(tostring(err):find("item three", 1, true), tostring(err))
    end)

    it("collects errors where it is told to", function()
      local pool <close> = new_pool()
      local seen = {}
      for i, value in pool:imap(function(x)
        if x == 2 then error("two", 0) end
        return x
      end, { 1, 2, 3 }, { on_error = "collect" }) do
        seen[i] = mf.is_error(value) and { value.index, value.item } or value
      end
      assert.are.same({ 1, { 2, 2 }, 3 }, seen)
    end)

    it("raises an item that cannot be sent, after what came before", function()
      local pool <close> = new_pool()
      local seen = {}
      local err = helper.fails("not_sendable", function()
        local input = { 1, 2, coroutine.create(print) }
        for i, value in pool:imap(square, input, { chunksize = 1 }) do seen[i] = value end
      end)
      assert.are.same({ 1, 4 }, seen)
      assert.is_truthy(err.message:find("coroutine", 1, true), err.message)
    end)

    it("refuses unknown options", function()
      local pool <close> = new_pool()
      helper.misuse_like("unknown option 'chunk'", function()
        pool:imap(square, { 1 }, { chunk = 1 })
      end)
    end)

    it("chains into another", function()
      local pool <close> = new_pool()
      local seen = {}
      for i, value in pool:imap(square, pool:imap(square, mf.range(30))) do seen[i] = value end
      for i = 1, 30 do assert.are.equal(i ^ 4 // 1 | 0, seen[i]) end
    end)

    it("gives seeded items the same random numbers as map does", function()
      local pool <close> = new_pool()
      local function draw() return math.random(1 << 40) end
      local mapped = pool:map(draw, mf.range(10), { seed = 3 })
      for i, value in pool:imap(draw, mf.range(10), { seed = 3, chunksize = 3 }) do
        assert.are.equal(mapped[i], value)
      end
    end)

    it("that nobody reads to its end leaves nothing when it is collected", function()
      local pool <close> = new_pool()
      pool:imap(square, mf.range(100))()
      collectgarbage()
      collectgarbage()
      assert.are.equal(4, pool:apply(square, { 2 }))
    end)
  end)

  describe("imap_unordered by " .. backend, function()
    it("yields each result once, with its input's index", function()
      local pool <close> = new_pool()
      local seen, count = {}, 0
      for i, value in pool:imap_unordered(square, mf.range(200)) do
        assert.is_nil(seen[i])
        seen[i], count = value, count + 1
      end
      assert.are.equal(200, count)
      for i = 1, 200 do assert.are.equal(i * i, seen[i]) end
    end)

    it("bounds its input, too", function()
      local pool <close> = new_pool()
      local counter, input = counting()
      local taken = 0
      for _ in pool:imap_unordered(square, input, { chunksize = 1, window = 6 }) do
        taken = taken + 1
        assert.is_true(counter.pulled <= taken + 6)
        if taken == 50 then break end
      end
    end)
  end)

  describe("istarmap by " .. backend, function()
    it("calls with each item's elements and yields in order", function()
      local pool <close> = new_pool()
      local seen = {}
      for i, value in pool:istarmap(math.max, { { 1, 2 }, { 7, 3, 5 }, { 4 } }) do
        seen[i] = value
      end
      assert.are.same({ 2, 7, 4 }, seen)
    end)

    it("takes all values of a step of mf.iter", function()
      local pool <close> = new_pool()
      local seen = {}
      local input = mf.iter(ipairs { "a", "b" })
      for i, value in pool:istarmap(function(k, v) return k .. v end, input) do
        seen[i] = value
      end
      assert.are.same({ "1a", "2b" }, seen)
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("imap among workers by " .. backend, function()
    it("yields a result as soon as it and those before are there", function()
      local pool <close> = mf_b.Pool(2)
      local go = mf.Queue()
      local iterator <close> = pool:imap(function(i)
        if i == 2 then go:get(30) end
        return i
      end, { 1, 2, 3 }, { chunksize = 1 })
      assert.are.equal(1, (iterator()))
      go:put(true)
      assert.are.equal(2, (iterator()))
      assert.are.equal(3, (iterator()))
    end)

    it("unordered yields whatever is done first", function()
      local pool <close> = mf_b.Pool(2)
      local go = mf.Queue()
      local order = {}
      for i in pool:imap_unordered(function(i)
        if i == 1 then go:get(30) end
        return i
      end, { 1, 2, 3 }, { chunksize = 1 }) do
        order[#order + 1] = i
        if #order == 2 then go:put(true) end
      end
      assert.are.same({ 2, 3, 1 }, order)
    end)

    it("left early drops what has not begun, and lets go on what runs", function()
      local pool <close> = mf_b.Pool(1)
      local started, go = mf.Queue(), mf.Queue()
      local iterator = pool:imap(function(i)
        started:put(i)
        go:get(30)
        return i
      end, mf.range(10), { chunksize = 1, window = 10 })
      assert.are.equal(1, (started:get(long)))
      iterator:close()
      go:put(true)
      assert.are.equal("next", pool:apply(function() return "next" end))
      assert.is_true(started:empty())
    end)

    it("does not pile up results behind a slow head", function()
      local pool <close> = mf_b.Pool(2)
      local go, pulled = mf.Queue(), 0
      local iterator <close> = pool:imap(function(i)
        if i == 1 then go:get(30) end
        return i
      end, function()
        pulled = pulled + 1
        return pulled
      end, { chunksize = 1, window = 10 })
      local waiting = pool:submit(function() return "others run" end)
      assert.are.equal("others run", waiting:get(long))
      assert.is_true(pulled <= 10, pulled .. " pulled")
      go:put(true)
      assert.are.equal(1, (iterator()))
    end)

    -- Sanitizers keep freed memory for a while, and some for each block that ever was.
    local keeps_memory = helper.sanitizer and helper.pending or it
    keeps_memory("keeps memory flat, however long the input", function()
      local result = helper.run_script(([[
        local mf = require "moonfleet"
        local pool <close> = mf.Pool{workers = 2, backend = "%s"}
        local n, bytes = 0, 0
        local function blocks() n = n + 1 if n <= 3000 then return ("x"):rep(100000) end end
        for _, v in pool:imap(string.upper, blocks, {window = 16, chunksize = 1}) do
          bytes = bytes + #v
        end
        local peak
        for line in io.lines("/proc/self/status") do
          peak = tonumber(line:match("^VmHWM:%%s*(%%d+)")) or peak
        end
        print(bytes, peak < 100000 or peak)
      ]]):format(backend))
      assert.are.same({ code = 0, err = "", out = "300000000\ttrue\n" }, result)
    end)
  end)
end)
