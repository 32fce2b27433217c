-- map, starmap and reduce: results in input order, whatever the chunks.

-- luacheck: globals spec_state

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function square(x) return x * x end

helper.for_each_pool(function(backend, new_pool)
  describe("map by " .. backend, function()
    it("gives results in input order", function()
      local pool <close> = new_pool()
      assert.are.same({ 1, 4, 9, 16, 25, n = 5 }, pool:map(square, { 1, 2, 3, 4, 5 }))
    end)

    it("of an empty list is empty", function()
      local pool <close> = new_pool()
      assert.are.same({ n = 0 }, pool:map(square, {}))
      assert.are.same({ n = 0 }, pool:map(square, { n = 0 }))
      assert.are.same({ n = 0 }, pool:starmap(square, {}))
      assert.are.same({ n = 0 }, pool:map_async(square, {}):get(long))
    end)

    it("honours n and keeps holes on both sides", function()
      local pool <close> = new_pool()
      local results = pool:map(function(x) return x and x * 2 end, { n = 4, 1, nil, 3, nil })
      assert.are.same({ n = 4, 2, nil, 6, nil }, results)
    end)

    it("lists the first result of each call", function()
      local pool <close> = new_pool()
      assert.are.same({ n = 2, 1, 2 }, pool:map(function(x) return x, "second" end, { 1, 2 }))
      assert.are.same({ n = 2 }, pool:map(function() end, { 1, 2 }))
    end)

    it("gives the same for every chunk size", function()
      local pool <close> = new_pool()
      local list, expected = {}, { n = 101 }
      for i = 1, 101 do list[i], expected[i] = i, i * i end
      for _, chunksize in ipairs { 1, 2, 7, 50, 100, 101, 102, 10000 } do
        assert.are.same(expected, pool:map(square, list, { chunksize = chunksize }))
      end
      assert.are.same(expected, pool:map(square, list))
    end)

    it("gives the same for every window", function()
      local pool <close> = new_pool()
      for _, window in ipairs { 1, 2, 1000 } do
        local results = pool:map(square, mf.range(50), { window = window, chunksize = 3 })
        assert.are.equal(50, results.n)
        for i = 1, 50 do assert.are.equal(i * i, results[i]) end
      end
    end)

    it("does 20,000 items", function()
      local pool <close> = new_pool()
      local results = pool:map(function(x) return -x end, mf.range(20000))
      assert.are.equal(20000, results.n)
      for i = 1, 20000 do
        if results[i] ~= -i then assert.are.equal(-i, results[i]) end
      end
    end)

    it("passes large items and results", function()
      local pool <close> = new_pool()
      local results = pool:map(function(s) return s .. s end, { ("a"):rep(300000), ("b"):rep(5) })
      assert.are.equal(600000, #results[1])
      assert.are.equal("bbbbbbbbbb", results[2])
    end)

    it("shares nothing by accident: what tasks change stays with them", function()
      local pool <close> = new_pool()
      local box, list = { 0 }, { { 1 }, { 2 } }
      pool:map(function(item)
        box[1] = box[1] + 1
        item[1] = "changed"
      end, list)
      assert.are.equal(0, box[1])
      assert.are.same({ { 1 }, { 2 } }, list)
    end)

    it("takes a module's function by name", function()
      local pool <close> = new_pool()
      assert.are.same({ "A", "B", n = 2 }, pool:map("string:upper", { "a", "b" }))
    end)

    it("raises the first failure by input order, of those that failed", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.map, pool, function(x)
        if x == 3 then error("item three", 0) end
        return x
      end, { 1, 2, 3, 4, 5 }, { chunksize = 1 })
      assert.is_truthy(tostring(err):find("item three", 1, true), tostring(err))
      assert.are.same({ 1, n = 1 }, pool:map(square, { 1 }))
    end)

    it("collects failures where it is told to", function()
      local pool <close> = new_pool()
      local results = pool:map(function(x)
        if x % 2 == 0 then error({ code = x }) end
        return x
      end, { 1, 2, 3, 4, 5 }, { on_error = "collect" })
      assert.are.equal(5, results.n)
      for i = 1, 5, 2 do assert.are.equal(i, results[i]) end
      for i = 2, 4, 2 do
        assert.is_true(mf.is_error(results[i]))
        assert.are.equal(i, results[i].index)
        assert.are.equal(i, results[i].item)
        assert.are.same({ code = i }, results[i].value)
        assert.are.equal("string", type(results[i].traceback))
      end
    end)

    it("raises where on_error says so, which is what it does anyhow", function()
      local pool <close> = new_pool()
      helper.raised(pool.map, pool, error, { "x" }, { on_error = "raise" })
      helper.misuse_like("on_error", function() pool:map(square, { 1 }, { on_error = "skip" }) end)
    end)

    it("gives each item its own random numbers, the same with any number of workers", function()
      local function draw() return math.random(1 << 40) end
      local first
      for _, workers in ipairs { 1, 2, 3 } do
        local pool <close> = new_pool { workers = workers }
        local results = pool:map(draw, mf.range(20), { seed = 7, chunksize = workers })
        first = first or results
        assert.are.same(first, results)
        assert.are_not.same(first, pool:map(draw, mf.range(20), { seed = 8 }))
      end
      local seen = {}
      for i = 1, 20 do
        assert.is_nil(seen[first[i]])
        seen[first[i]] = true
      end
    end)

    it("refuses unknown options and values that make no sense", function()
      local pool <close> = new_pool()
      helper.misuse_like("unknown option 'chunk_size'; did you mean 'chunksize'%?",
        function() pool:map(square, { 1 }, { chunk_size = 1 }) end)
      helper.misuse_like("chunksize", function() pool:map(square, { 1 }, { chunksize = 0 }) end)
      helper.misuse_like("window", function() pool:map(square, { 1 }, { window = 0 }) end)
      helper.misuse_like("timeout", function() pool:map(square, { 1 }, { timeout = -1 }) end)
      helper.misuse_like("task_timeout", function()
        pool:map(square, { 1 }, { task_timeout = "x" })
      end)
      helper.misuse_like("seed", function() pool:map(square, { 1 }, { seed = {} }) end)
      helper.misuse_like("#3", function() pool:map(square, { 1 }, 5) end)
    end)

    it("shows progress on standard error, and only there", function()
      local result = helper.run_script(([[
        local mf = require "moonfleet"
        local pool <close> = mf.Pool{workers = 2, backend = "%s"}
        print(#pool:map(math.abs, mf.range(50), {progress = "sums"}))
        print(#pool:map(math.abs, mf.range(50), {progress = true}))
        for _ in pool:imap(math.abs, mf.range(50), {progress = "steps"}) do end
      ]]):format(backend))
      assert.are.equal("50\n50\n", result.out)
      assert.are.equal(0, result.code)
      assert.is_truthy(result.err:find("sums", 1, true), result.err)
      assert.is_truthy(result.err:find("steps", 1, true), result.err)
      assert.is_truthy(result.err:find("50", 1, true), result.err)
    end)
  end)

  describe("starmap by " .. backend, function()
    it("calls with each item's elements", function()
      local pool <close> = new_pool()
      assert.are.same({ 3, 7, n = 2 }, pool:starmap(function(a, b) return a + b end,
        { { 1, 2 }, { 3, 4 } }))
    end)

    it("honours n of an item", function()
      local pool <close> = new_pool()
      assert.are.same({ 3, 0, n = 2 }, pool:starmap(function(...) return select("#", ...) end,
        { { n = 3, nil, 2, nil }, {} }))
    end)

    it("takes all values of a step of mf.iter", function()
      local pool <close> = new_pool()
      local results = pool:starmap(function(k, v) return k .. "=" .. v end,
        mf.iter(pairs { a = 1, b = 2 }))
      table.sort(results)
      assert.are.same({ "a=1", "b=2", n = 2 }, results)
    end)

    it("later gives a future", function()
      local pool <close> = new_pool()
      local future = pool:starmap_async(function(a, b) return a * b end, { { 2, 3 }, { 4, 5 } })
      assert.are.same({ 6, 20, n = 2 }, future:get(long))
    end)

    it("refuses items that are no lists", function()
      local pool <close> = new_pool()
      helper.raised(pool.starmap, pool, square, { 1, 2 })
    end)
  end)

  describe("map_async by " .. backend, function()
    it("gives a future of the list", function()
      local pool <close> = new_pool()
      local future = pool:map_async(square, { 1, 2, 3 })
      assert.are.equal("Future", mf.type(future))
      assert.are.same({ 1, 4, 9, n = 3 }, future:get(long))
      assert.are.same({ 1, 4, 9, n = 3 }, future:get(long))
    end)

    it("raises where its result is asked for", function()
      local pool <close> = new_pool()
      local future = pool:map_async(error, { "one", "one" })
      local err = helper.raised(future.get, future, long)
      assert.is_truthy(tostring(err):find("one", 1, true), tostring(err))
    end)

    it("takes the options of map", function()
      local pool <close> = new_pool()
      local results = pool:map_async(function(x)
        if x == 2 then error("two", 0) end
        return x
      end, { 1, 2, 3 }, { on_error = "collect", chunksize = 2 }):get(long)
      assert.are.equal(3, results[3])
      assert.is_true(mf.is_error(results[2]))
    end)
  end)

  describe("reduce by " .. backend, function()
    local function add(a, b) return a + b end

    it("folds an associative function", function()
      local pool <close> = new_pool()
      assert.are.equal(5050, pool:reduce(add, mf.range(100), 0))
      assert.are.equal(6, pool:reduce(add, { 1, 2, 3 }, 0))
    end)

    it("keeps the order, and lets init enter once, first", function()
      local pool <close> = new_pool()
      local letters = {}
      for i = 1, 26 do letters[i] = string.char(96 + i) end
      for _, chunksize in ipairs { 1, 4, 100 } do
        assert.are.equal("<abcdefghijklmnopqrstuvwxyz",
          pool:reduce(function(a, b) return a .. b end, letters, "<", { chunksize = chunksize }))
      end
    end)

    it("of nothing is init", function()
      local pool <close> = new_pool()
      assert.are.equal(7, pool:reduce(add, {}, 7))
      assert.are.equal(8, pool:reduce(add, { 1 }, 7))
    end)

    it("raises an error of the function", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.reduce, pool, function() error("reduced", 0) end, { 1, 2 }, 0)
      assert.is_truthy(tostring(err):find("reduced", 1, true))
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("map among workers by " .. backend, function()
    it("uses all of them", function()
      local pool <close> = mf_b.Pool(2)
      local a, b = mf.Queue(), mf.Queue()
      local results = pool:map(function(i)
        if i == 1 then a:put("from one") return b:get(30) end
        b:put("from two")
        return a:get(30)
      end, { 1, 2 }, { chunksize = 1 })
      assert.are.same({ "from two", "from one", n = 2 }, results)
    end)

    it("reports a failure at once, and drops what has not started", function()
      local pool <close> = mf_b.Pool(2)
      local go, ran = mf.Queue(), mf.Queue()
      local err = helper.raised(pool.map, pool, function(i)
        if i == 1 then go:get(30) end
        if i == 2 then error("early", 0) end
        ran:put(i)
      end, mf.range(1000), { chunksize = 1 })
      assert.is_truthy(tostring(err):find("early", 1, true))
      assert.is_true(#ran < 1000)
      go:put(true)
    end)

    it("of two functions at once interleaves", function()
      local pool <close> = mf_b.Pool(2)
      local a, b = mf.Queue(), mf.Queue()
      local first = pool:map_async(function(x) a:put(x) return b:get(30) end, { 1 })
      local second = pool:map_async(function(x) b:put(x) return a:get(30) end, { 2 })
      assert.are.same({ 2, n = 1 }, first:get(long))
      assert.are.same({ 1, n = 1 }, second:get(long))
    end)
  end)
end)
