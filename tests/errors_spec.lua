-- Errors: mf.Error, task errors with both tracebacks, errors that nobody asked for.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

describe("mf.Error", function()
  local function an_error()
    local _, err = pcall(mf.encode, coroutine.create(print))
    return err
  end

  it("has a kind and a message, which tostring gives", function()
    local err = an_error()
    assert.are.equal("not_sendable", err.kind)
    assert.are.equal("string", type(err.message))
    assert.are.equal(err.message, tostring(err))
  end)

  it("is known by is_error, with or without a kind", function()
    local err = an_error()
    assert.is_true(mf.is_error(err))
    assert.is_true(mf.is_error(err, "not_sendable"))
    assert.is_false(mf.is_error(err, "timeout"))
    for _, other in ipairs { "text", 5, {}, { kind = "timeout", message = "x" }, print } do
      assert.is_false(mf.is_error(other))
    end
    assert.is_false(mf.is_error(nil))
  end)

  it("keeps being one when it travels", function()
    local err = mf.decode(mf.encode(an_error()))
    assert.is_true(mf.is_error(err, "not_sendable"))
    assert.are.equal(err.message, tostring(err))
  end)
end)

helper.for_each_pool(function(backend, new_pool)
  describe("task's error by " .. backend, function()
    it("that is a string arrives as that string, worker and traceback behind it", function()
      local pool <close> = new_pool()
      local function deep_inside() error "broken" end
      local err = helper.raised(pool.apply, pool, function() deep_inside() end)
      assert.are.equal("string", type(err))
      assert.is_truthy(err:find("^%S*errors_spec.lua:%d+: broken\n"), err)
      assert.is_truthy(err:find("stack traceback:", 1, true), err)
      assert.is_truthy(err:find("deep_inside", 1, true), err)
      if backend ~= "serial" then
        assert.is_truthy(err:find("Pool%-%d+:%d+"), err)
      end
    end)

    it("that is a table arrives as that table, copied", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.apply, pool, function()
        error(setmetatable({ code = 7 }, { __tostring = function(e) return "code " .. e.code end }))
      end)
      assert.are.equal(7, err.code)
      assert.are.equal("code 7", tostring(err))
    end)

    it("whose __tostring raises arrives as it is", function()
      local pool <close> = new_pool()
      local function raise()
        error(setmetatable({ at = 1 }, { __tostring = function() error "no text" end }))
      end
      local ok, err = pcall(pool.apply, pool, raise)
      assert.is_false(ok)
      assert.are.equal(1, err.at)
      local failed = pool:map(raise, { 1 }, { on_error = "collect" })[1]
      assert.are.equal(1, failed.value.at)
      assert.is_truthy(tostring(failed):find("error object is a table value", 1, true))
    end)

    it("of any other type arrives unchanged", function()
      local pool <close> = new_pool()
      for _, value in ipairs { 5, 1.5, true, false } do
        assert.are.equal(value, helper.raised(pool.apply, pool, error, { value }))
      end
      assert.are.same({ n = 2, false, nil }, table.pack(pcall(pool.apply, pool, error, { nil })))
    end)

    it("that is a mf.Error stays one", function()
      local pool <close> = new_pool()
      local err = helper.fails("not_sendable", pool.apply, pool, function()
        mf.encode(coroutine.create(print))
      end)
      assert.is_truthy(err.message:find("coroutine", 1, true))
    end)

    it("by a runtime failure of Lua itself arrives, too", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.apply, pool, function() return nil + 1 end) -- luacheck: ignore
      assert.is_truthy(err:find("attempt to perform arithmetic on a nil value", 1, true), err)
      err = helper.raised(pool.apply, pool, function()
        local function overflow() return 1 + overflow() end
        return overflow()
      end)
      assert.is_truthy(err:find("stack overflow", 1, true), err)
    end)

    it("that cannot be sent fails its task alone, and says what it was", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.apply, pool, function()
        error({ co = coroutine.create(print) })
      end)
      assert.is_truthy(tostring(err):find("coroutine", 1, true), tostring(err))
      assert.are.equal(1, pool:apply(math.abs, { -1 }))
    end)

    it("that cannot be decoded fails its task alone, and says why", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.apply, pool, function()
        package.preload["spec.only_there"] = function() return { f = function() end } end
        error((require "spec.only_there"))
      end)
      assert.is_truthy(tostring(err):find("spec.only_there", 1, true), tostring(err))
      assert.are.equal(1, pool:apply(math.abs, { -1 }))
    end)

    it("in a result that cannot be sent is not_sendable, with its path", function()
      local pool <close> = new_pool()
      local err = helper.fails("not_sendable", pool.apply, pool, function()
        return 1, { list = { coroutine.create(print) } }
      end)
      assert.is_truthy(err.message:find("list[1]", 1, true), err.message)
      assert.are.equal(1, pool:apply(math.abs, { -1 }))
    end)

    it("does not stop the others", function()
      local pool <close> = new_pool()
      local futures = {}
      for i = 1, 20 do
        futures[i] = pool:submit(function(x) return x % 2 == 0 and error({ x }) or x end, i)
      end
      for i = 1, 20 do
        local ok, value = pcall(futures[i].get, futures[i], long)
        assert.are.equal(i % 2 == 1, ok)
        assert.are.equal(i, ok and value or value[1])
      end
      assert.are.equal(10, pool:stats().failed)
    end)

    it("in a to-be-closed variable counts", function()
      local pool <close> = new_pool()
      local err = helper.raised(pool.apply, pool, function()
        local _ <close> = setmetatable({}, { __close = function() error("closing", 0) end })
        return 1
      end)
      assert.is_truthy(tostring(err):find("closing", 1, true))
    end)
  end)

  describe("initializer that fails by " .. backend, function()
    it("closes the pool with its error: no endless respawning", function()
      local attempts = mf.Queue()
      local pool = new_pool { workers = 2, initializer = function()
        attempts:put(true)
        error("initializer on purpose", 0)
      end }
      local err = helper.fails("initializer", pool.apply, pool, math.abs, { -1 })
      assert.is_truthy(err.message:find("initializer on purpose", 1, true), err.message)
      local ok, again = pcall(pool.submit, pool, math.abs, -1)
      assert.is_false(ok and pcall(again.get, again, long))
      pool:terminate()
      pool:join(long)
      assert.is_true(#attempts <= 4, #attempts .. " attempts")
    end)

    if backend ~= "serial" then
      it("by dying closes the pool, too", function()
        local attempts = mf.Queue()
        local pool = new_pool { workers = 2, initializer = function()
          attempts:put(true)
          os.exit(3)
        end }
        helper.fails("initializer", pool.apply, pool, math.abs, { -1 })
        pool:terminate()
        pool:join(long)
        assert.is_true(#attempts <= 4, #attempts .. " attempts")
      end)
    end
  end)

  describe("error that nobody asked for by " .. backend, function()
    local function run(text)
      return helper.run_script(("local mf = require 'moonfleet' mf.set_backend '%s' ")
        :format(backend == "serial" and "process" or backend) ..
        (backend == "serial" and "mf.Pool = (function(P) return function(n) " ..
          "return P{backend='serial'} end end)(mf.Pool) " or "") .. text)
    end

    it("is written once, at the end of the script", function()
      local result = run [[
        local pool <close> = mf.Pool(1)
        pool:submit(function() error "unasked on purpose" end):wait()
      ]]
      assert.are.equal(0, result.code, result.err)
      assert.are.equal("", result.out)
      assert.are.equal(1, select(2, result.err:gsub("unasked on purpose", "")), result.err)
    end)

    it("is written once, when its future is collected", function()
      local result = run [[
        local pool <close> = mf.Pool(1)
        pool:submit(function() error "unasked on purpose" end):wait()
        collectgarbage() collectgarbage()
        mf.poll()
        io.stderr:write "behind\n"
      ]]
      assert.are.equal(0, result.code, result.err)
      local where = result.err:find("unasked on purpose", 1, true)
      assert.is_truthy(where, result.err)
      assert.is_true(where < result.err:find("behind", 1, true), result.err)
    end)

    it("is not written when somebody asked", function()
      local result = run [[
        local pool <close> = mf.Pool(1)
        local a = pool:submit(function() error "asked one" end)
        local b = pool:submit(function() error "asked two" end)
        pcall(a.get, a)
        b:exception()
        pcall(pool.map, pool, function() error "asked three" end, {1, 2, 3})
        pool:apply_async(function() error "asked four" end, {}, nil, nil, function() end):wait()
        mf.sleep(0.01) mf.poll()
      ]]
      assert.are.same({ code = 0, out = "", err = "" }, result)
    end)

    it("of a cancelled task is none", function()
      local result = run [[
        local pool <close> = mf.Pool(1)
        local f = pool:submit(function() return 1 end)
        f:cancel()
        f = nil
        collectgarbage()
      ]]
      assert.are.same({ code = 0, out = "", err = "" }, result)
    end)
  end)
end)

helper.for_each_program(function(program, run)
  describe("pool left with unfinished tasks under " .. program, function()
    for _, backend in ipairs(helper.backends) do
      it("by " .. backend .. " says so in one line, and stops its workers", function()
        local result = run(([[
          pool = mf.Pool{workers = 1, backend = "%s"}
          local started = mf.Queue()
          keep = pool:submit(function() started:put(1) while true do end end)
          started:get()
          print "end"
        ]]):format(backend), { timeout = 30 })
        assert.are.equal(0, result.code, result.err)
        assert.are.equal("end\n", result.out)
        assert.are.equal(1, select(2, result.err:gsub("\n", "")), result.err)
        assert.is_truthy(result.err:find("Pool", 1, true), result.err)
        assert.is_truthy(result.err:find("unfinished", 1, true), result.err)
      end)

      it("by " .. backend .. " says nothing when all was done", function()
        local result = run(([[
          pool = mf.Pool{workers = 2, backend = "%s"}
          print(pool:apply(math.abs, {-1}))
        ]]):format(backend), { timeout = 30 })
        assert.are.same({ code = 0, out = "1\n", err = "" }, result)
      end)
    end
  end)

  describe("task's error that ends the script under " .. program, function()
    it("shows the worker's part and the caller's part of the traceback", function()
      local result = run [[
        local function deep_inside() error "on purpose" end
        local function asks_for_it()
          local pool <close> = mf.Pool(1)
          local r = pool:apply(function() deep_inside() end)
          return r
        end
        asks_for_it()
      ]]
      assert.are.equal(1, result.code)
      for _, word in ipairs { "on purpose", "deep_inside", "asks_for_it", "Pool-1:1" } do
        assert.is_truthy(result.err:find(word, 1, true), word .. " not in " .. result.err)
      end
    end)
  end)
end)
