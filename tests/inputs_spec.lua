-- Everything that map, imap and their kin take for input.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function double(x) return x * 2 end

helper.for_each_pool(function(backend, new_pool)
  -- The results of map and of imap, which must be the same.
  local function both(make_input, f)
    local pool <close> = new_pool()
    local mapped = pool:map(f or double, make_input())
    local listed = { n = 0 }
    for i, value in pool:imap(f or double, make_input()) do
      assert.are.equal(listed.n + 1, i)
      listed[i], listed.n = value, i
    end
    assert.are.same(mapped, listed)
    return mapped
  end

  describe("input by " .. backend, function()
    it("may be a list", function()
      assert.are.same({ 2, 4, 6, n = 3 }, both(function() return { 1, 2, 3 } end))
    end)

    it("may be a range, its end included", function()
      assert.are.same({ 2, 4, 6, n = 3 }, both(function() return mf.range(3) end))
      assert.are.same({ 10, 12, 14, n = 3 }, both(function() return mf.range(5, 7) end))
      assert.are.same({ 2, 6, 10, n = 3 }, both(function() return mf.range(1, 6, 2) end))
      assert.are.same({ 6, 4, 2, n = 3 }, both(function() return mf.range(3, 1, -1) end))
      assert.are.same({ n = 0 }, both(function() return mf.range(0) end))
      assert.are.same({ 1.0, 2.0, n = 2 }, both(function() return mf.range(0.5, 1.0, 0.5) end))
    end)

    it("may be a queue: until it is closed and drained", function()
      assert.are.same({ 2, 4, 6, n = 3 }, both(function()
        local queue = mf.Queue()
        for i = 1, 3 do queue:put(i) end
        queue:close()
        return queue
      end))
    end)

    it("may be an iterator of this module: its value is the item", function()
      local pool <close> = new_pool()
      local first = pool:imap(double, { 1, 2, 3 })
      local second = pool:imap(double, first)
      local listed = {}
      for i, value in second do listed[i] = value end
      assert.are.same({ 4, 8, 12 }, listed)
    end)

    it("may be a queue's iterator", function()
      assert.are.same({ 2, 4, n = 2 }, both(function()
        local queue = mf.Queue()
        queue:put_many { 1, 2 }
        queue:close()
        return (queue:iter())
      end))
    end)

    it("may be any callable: its first value is the item, nil ends it", function()
      assert.are.same({ 2, 4, 6, n = 3 }, both(function()
        local i = 0
        return function()
          i = i + 1
          if i <= 3 then return i, "ignored" end
        end
      end))
      assert.are.same({ 2, 4, n = 2 }, both(function()
        return setmetatable({ i = 0 }, { __call = function(self)
          self.i = self.i + 1
          return self.i <= 2 and self.i or nil
        end })
      end))
    end)

    it("may be a coroutine's iterator", function()
      assert.are.same({ 2, 4, 6, n = 3 }, both(function()
        return coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
      end))
    end)

    it("may be the triple of a generic for, by mf.iter", function()
      assert.are.same({ 2, 4, 6, n = 3 }, both(function() return mf.iter(ipairs { 9, 9, 9 }) end))
      local pool <close> = new_pool()
      local keys = pool:map(tostring, mf.iter(pairs { a = 1, b = 2 }))
      table.sort(keys)
      assert.are.same({ "a", "b", n = 2 }, keys)
    end)

    it("may be the lines of a file: what follows the function is ignored", function()
      local path = os.tmpname()
      helper.write_file(path, "one\ntwo\nthree\n")
      local pool <close> = new_pool()
      assert.are.same({ "ONE", "TWO", "THREE", n = 3 }, pool:map("string:upper", io.lines(path)))
      os.remove(path)
    end)

    it("that raises delivers first what came before", function()
      local pool <close> = new_pool()
      local i = 0
      local function failing()
        i = i + 1
        if i == 4 then error("input broke", 0) end
        return i
      end
      local seen = {}
      local err = helper.raised(function()
        for index, value in pool:imap(double, failing, { chunksize = 1 }) do seen[index] = value end
      end)
      assert.are.same({ 2, 4, 6 }, seen)
      assert.are.equal("input broke", err)
      i = 0
      assert.are.equal("input broke", helper.raised(pool.map, pool, double, failing))
    end)

    it("is pulled in the caller's state", function()
      local here = 0
      both(function()
        here = 0
        return function()
          here = here + 1
          return here <= 5 and here or nil
        end
      end)
      assert.are.equal(6, here)
    end)

    it("that is a table with keys only raises and names mf.iter", function()
      local pool <close> = new_pool()
      helper.misuse_like("mf%.iter", function() pool:map(double, { a = 1 }) end)
      helper.misuse_like("mf%.iter", function() pool:imap(double, { a = 1 }) end)
    end)

    it("that is next, or comes as a triple, raises and names mf.iter", function()
      local pool <close> = new_pool()
      helper.misuse_like("mf%.iter", function() pool:map(double, pairs { 1, 2 }) end)
      helper.misuse_like("mf%.iter", function() pool:map(double, next) end)
      helper.misuse_like("mf%.iter", function() pool:map(double, ipairs { 1, 2 }) end)
    end)

    it("that is no input at all raises", function()
      local pool <close> = new_pool()
      for _, method in ipairs { "map", "imap", "imap_unordered", "starmap", "istarmap" } do
        helper.misuse_like("bad argument #2 to '" .. method .. "'",
          function() pool[method](pool, double, 5) end)
        helper.misuse_like("bad argument #2 to '" .. method .. "'",
          function() pool[method](pool, double) end)
      end
    end)
  end)
end)

describe("range", function()
  it("is an iterator of (i, value)", function()
    local seen = {}
    for i, value in mf.range(5, 9, 2) do seen[i] = value end
    assert.are.same({ 5, 7, 9 }, seen)
  end)

  it("can be an input again and again", function()
    local range = mf.range(1, 3)
    local pool <close> = mf.Pool { workers = 1, backend = "thread" }
    local first, second = pool:imap(math.abs, range), pool:imap(math.abs, range)
    assert.are.same({ 1, 1, 2, 2 }, { select(2, first()), select(2, second()),
      select(2, first()), (select(2, second())) })
    for _ = 1, 2 do
      assert.are.same({ 1, 2, 3, n = 3 }, pool:map(math.abs, range))
      assert.are.equal(6, pool:reduce(function(a, b) return a + b end, range))
    end
    for _ in range do end
    assert.are.equal(3, pool:map(math.abs, range).n)
  end)

  it("refuses a step of zero and what is no number", function()
    helper.misuse_like("'range'", function() mf.range(1, 2, 0) end)
    helper.misuse_like("'range'", function() mf.range("x") end)
    helper.misuse_like("'range'", function() mf.range() end)
  end)

  it("does not overflow at the ends of the integers", function()
    local count = 0
    for _ in mf.range(math.maxinteger - 1, math.maxinteger) do count = count + 1 end
    assert.are.equal(2, count)
  end)
end)

describe("iter", function()
  it("is an iterator with all values of each step", function()
    local seen = {}
    for i, k, v in mf.iter(ipairs { "a", "b" }) do seen[i] = k .. v end
    assert.are.same({ "1a", "2b" }, seen)
  end)

  it("takes a function", function()
    helper.misuse_like("bad argument #1 to 'iter'", function() mf.iter({ 1, 2 }) end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("queue as input among workers by " .. backend, function()
    it("may be filled by another worker while it is read", function()
      local queue = mf.Queue(4)
      local feeder = mf_b.spawn(function()
        for i = 1, 100 do queue:put(i) end
        queue:close()
      end)
      local pool <close> = mf_b.Pool(2)
      local count = 0
      for i, value in pool:imap(double, queue) do
        count = count + 1
        assert.are.equal(2 * i, value)
      end
      assert.are.equal(100, count)
      feeder:join(long)
    end)
  end)
end)
