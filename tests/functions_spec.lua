-- Functions that travel: code, upvalues, globals, names; what captures() tells of them.

-- luacheck: globals spec_double spec_add spec_helper spec_table spec_odd spec_even spec_value
-- luacheck: globals spec_counter spec_environment spec_late

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- Sets globals for the time of f.
local function with_globals(globals, f)
  for name, value in pairs(globals) do _G[name] = value end
  local ok, err = pcall(f)
  for name in pairs(globals) do _G[name] = nil end
  if not ok then error(err, 0) end
end

helper.for_each_pool(function(backend, new_pool)
  local function call(f, ...)
    local pool <close> = new_pool { workers = 1 }
    return pool:apply(f, table.pack(...))
  end

  describe("function by " .. backend, function()
    it("brings its upvalues by value", function()
      local a, b, c = 1, "two", { 3 }
      assert.are.same({ 1, "two", 3 }, { call(function() return a, b, c[1] end) })
    end)

    it("keeps an upvalue shared between functions of one message", function()
      local count = 0
      local function increment() count = count + 1 end
      local function get() return count end
      assert.are.equal(3, call(function(f, g)
        f() f() f()
        return g()
      end, increment, get))
      assert.are.equal(0, count)
    end)

    it("may call itself", function()
      local function factorial(n) return n == 0 and 1 or n * factorial(n - 1) end
      assert.are.equal(120, call(factorial, 5))
    end)

    it("may call others that call it", function()
      local even
      local function odd(n) return n ~= 0 and even(n - 1) end
      even = function(n) return n == 0 or odd(n - 1) end
      assert.is_true(call(even, 10))
    end)

    it("may come back, with upvalues that the worker changed", function()
      local f = call(function()
        local n = 40
        return function() n = n + 1 return n end
      end)
      assert.are.equal(41, f())
      assert.are.equal(42, f())
    end)

    it("is the same function where it occurs twice in a message", function()
      local function f() end
      assert.is_true(call(function(a, b) return rawequal(a, b) end, f, f))
    end)

    it("keeps its debug information", function()
      local function f() error "where" end
      local line = debug.getinfo(f, "S").linedefined
      local source, seen = call(function(g)
        local info = debug.getinfo(g, "S")
        return info.short_src, info.linedefined
      end, f)
      assert.are.equal(debug.getinfo(f, "S").short_src, source)
      assert.are.equal(line, seen)
    end)

    it("may be variadic, have many upvalues and many constants", function()
      local parts = { "return function(...) local t = {}" }
      for i = 1, 600 do parts[#parts + 1] = ("t[%d] = 'constant %d' .. (...)"):format(i, i) end
      parts[#parts + 1] = "return t end"
      local f = load(table.concat(parts, "\n"))()
      local t = call(f, "!")
      assert.are.equal("constant 600!", t[600])
      local source = { "local f" }
      for i = 1, 199 do source[#source + 1] = ("local v%d = %d"):format(i, i) end
      source[#source + 1] = "return function() return v1"
      for i = 2, 199 do source[#source + 1] = " + v" .. i end
      source[#source + 1] = " end"
      assert.are.equal(199 * 200 // 2, call(load(table.concat(source, "\n"))()))
    end)

    it("loaded from stripped code travels too", function()
      with_globals({ spec_value = 12 }, function()
        local f = load(string.dump(function() return spec_value, math.floor(2.5) end, true))
        assert.are.same({ 12, 2 }, { call(f) })
      end)
    end)

    it("may be given as module:name", function()
      assert.are.equal("HELLO", call("string:upper", "hello"))
      assert.are.equal(3, call("math:floor", 3.7))
    end)

    it("named wrongly raises, naming the module", function()
      local err = helper.raised(call, "no.such.module:name")
      assert.is_truthy(tostring(err):find("no.such.module", 1, true), tostring(err))
      err = helper.raised(call, "string:no_such_function")
      assert.is_truthy(tostring(err):find("no_such_function", 1, true), tostring(err))
    end)
  end)

  describe("globals of a function by " .. backend, function()
    it("are found and sent along", function()
      with_globals({ spec_double = function(x) return 2 * x end }, function()
        assert.are.equal(42, call(function(x) return spec_double(x) end, 21))
      end)
    end)

    it("are found transitively, and when they call each other", function()
      with_globals({
        spec_add = function(a, b) return a + spec_helper(b) end,
        spec_helper = function(x) return x * spec_table.factor end,
        spec_table = { factor = 10 },
        spec_odd = function(n) return n ~= 0 and spec_even(n - 1) end,
        spec_even = function(n) return n == 0 or spec_odd(n - 1) end,
      }, function()
        assert.are.equal(31, call(function() return spec_add(1, 3) end))
        assert.is_true(call(function() return spec_even(8) end))
      end)
    end)

    it("are found in functions within functions", function()
      with_globals({ spec_value = 5 }, function()
        assert.are.equal(5, call(function()
          local function inner() return (function() return spec_value end)() end
          return inner()
        end))
      end)
    end)

    it("are found in upvalues that are functions", function()
      with_globals({ spec_value = 6 }, function()
        local function outer() return spec_value end
        assert.are.equal(6, call(function() return outer() end))
      end)
    end)

    it("are found as _G.name and _ENV.name", function()
      with_globals({ spec_value = 7 }, function()
        assert.are.equal(7, call(function() return _G.spec_value end))
        assert.are.equal(7, call(function() return _ENV.spec_value end))
        local G = _G
        assert.are.equal(7, call(function() return G.spec_value end))
      end)
    end)

    it("are found behind more than 255 constants", function()
      local parts = { "return function() local t = {}" }
      for i = 1, 400 do parts[#parts + 1] = ("t[%d] = 'filler %d'"):format(i, i) end
      parts[#parts + 1] = "return spec_value, spec_helper(1), t end"
      local f = load(table.concat(parts, "\n"))()
      with_globals({ spec_value = 8, spec_helper = function(x) return x + 1 end }, function()
        local a, b = call(f)
        assert.are.same({ 8, 2 }, { a, b })
      end)
    end)

    it("are found with names longer than 40 bytes", function()
      local name = "spec_" .. ("long"):rep(20)
      with_globals({ [name] = 9 }, function()
        assert.are.equal(9, call(load("return function() return " .. name .. " end")()))
      end)
    end)

    it("are set where the function arrives, and stay the worker's", function()
      local pool <close> = new_pool { workers = 1 }
      with_globals({ spec_counter = 10 }, function()
        assert.are.equal(11, pool:apply(function()
          spec_counter = spec_counter + 1
          return spec_counter
        end))
        assert.are.equal(10, spec_counter)
      end)
    end)

    it("are set once per call, with the value of that moment", function()
      local pool <close> = new_pool { workers = 1 }
      local function read() return spec_value end
      with_globals({ spec_value = 1 }, function()
        assert.are.equal(1, pool:apply(read))
        spec_value = 2
        assert.are.equal(2, pool:apply(read))
      end)
    end)

    it("are set once per map, not for each item", function()
      local pool <close> = new_pool { workers = 1 }
      with_globals({ spec_counter = 0 }, function()
        local results = pool:map(function()
          spec_counter = spec_counter + 1
          return spec_counter
        end, { 1, 2, 3 }, { chunksize = 1 })
        assert.are.same({ 1, 2, 3, n = 3 }, results)
      end)
    end)

    it("leave the worker's alone where the sender's is nil", function()
      local pool <close> = new_pool { workers = 1 }
      pool:apply(function() rawset(_G, "spec_late", "the worker's") end)
      assert.are.equal("the worker's", pool:apply(function() return spec_late end))
    end)

    it("are read raw", function()
      local metatable = getmetatable(_G)
      setmetatable(_G, { __index = function(_, name) error("looked up " .. tostring(name)) end })
      local ok, result = pcall(call, function() return rawget(_G, "spec_late") == nil end)
      setmetatable(_G, metatable)
      assert.is_true(ok, tostring(result))
      assert.is_true(result)
    end)

    it("of standard names mean the worker's own", function()
      assert.is_true(call(function()
        return print == _G.print and string.upper == ("").upper and _G == _ENV
          and package.loaded._G == _G
      end))
    end)

    it("that cannot be sent raise with their place", function()
      with_globals({ spec_value = coroutine.create(print) }, function()
        local err = helper.fails("not_sendable", call, function() return spec_value end)
        assert.is_truthy(err.message:find("coroutine", 1, true), err.message)
        assert.is_truthy(err.message:find("spec_value", 1, true), err.message)
      end)
    end)

    it("computed at run time are not found: an initializer sets these", function()
      with_globals({ spec_value = 3 }, function()
        local function computed(name) return _G[name] end
        assert.is_nil(call(computed, "spec_" .. ("value"):lower()))
        local pool <close> = new_pool { workers = 1, initializer = function()
          _G.spec_value = 4
        end }
        assert.are.equal(4, pool:apply(computed, { "spec_" .. "value" }))
      end)
    end)

    it("that are assigned exist in the worker alone", function()
      assert.are.equal(1, call(function() spec_late = 1 return spec_late end))
      assert.is_nil(rawget(_G, "spec_late"))
    end)
  end)

  describe("_G by " .. backend, function()
    it("arrives as the worker's", function()
      local G = _G
      assert.is_true(call(function(given) return given == _G and G == _G end, _G))
    end)
  end)

  describe("environment of a function by " .. backend, function()
    it("that is no _G is a plain table", function()
      local function make(_ENV) return function() return spec_environment end end -- luacheck: ignore
      assert.are.equal("own", call(make { spec_environment = "own" }))
    end)
  end)

  describe("additions to standard tables by " .. backend, function()
    it("go along: s:trim() works", function()
      string.trim = function(s) return s:match("^%s*(.-)%s*$") end -- luacheck: ignore
      local ok, result = pcall(call, function(s) return s:trim() end, "  x  ")
      string.trim = nil -- luacheck: ignore
      assert.is_true(ok, tostring(result))
      assert.are.equal("x", result)
    end)

    it("made later go with the next function", function()
      local pool <close> = new_pool { workers = 1 }
      pool:apply(function() end)
      table.sum = function(t) local s = 0 for _, v in ipairs(t) do s = s + v end return s end -- luacheck: ignore
      local ok, result = pcall(pool.apply, pool, function(t) return table.sum(t) end, { { 1, 2, 3 } }) -- luacheck: ignore
      table.sum = nil -- luacheck: ignore
      assert.is_true(ok, tostring(result))
      assert.are.equal(6, result)
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("additions to standard tables of a worker by " .. backend, function()
    it("are there from its start, named or not", function()
      math.spec_tau = 6.28 -- luacheck: ignore
      local worker = mf_b.spawn(function() return _G["ma" .. "th"]["spec_" .. "tau"] end)
      math.spec_tau = nil -- luacheck: ignore
      assert.are.equal(6.28, worker:result(long))
    end)
  end)
end)

describe("captures", function()
  it("lists upvalues, globals and modules with their sizes", function()
    local upvalue, json = ("x"):rep(1000), require "luassert.util"
    with_globals({ spec_value = { 1, 2, 3 } }, function()
      local captured = mf.captures(function() return upvalue, spec_value, json, string.format end)
      assert.is_not_nil(captured.upvalues.upvalue)
      assert.is_not_nil(captured.globals.spec_value)
      local found = false
      for _, name in ipairs(captured.modules) do found = found or name == "luassert.util" end
      assert.is_true(found)
      assert.is_nil(captured.problem)
      local text = tostring(captured)
      for _, name in ipairs { "upvalue", "spec_value", "luassert.util" } do
        assert.is_truthy(text:find(name, 1, true), text)
      end
    end)
  end)

  it("gives what a table of sizes says in bytes", function()
    local big, small = ("x"):rep(10000), 1
    local captured = mf.captures(function() return big, small end)
    local function size(entry) return type(entry) == "table" and entry.size or entry end
    assert.is_true(size(captured.upvalues.big) >= 10000)
    assert.is_true(size(captured.upvalues.small) < 100)
  end)

  it("names the problem where something cannot be sent", function()
    local co = coroutine.create(print)
    local captured = mf.captures(function() return co end)
    assert.is_truthy(tostring(captured.problem):find("coroutine", 1, true))
    assert.is_truthy(tostring(captured.problem):find('upvalue "co"', 1, true))
    assert.is_truthy(tostring(captured):find("coroutine", 1, true))
  end)

  it("takes functions only", function()
    helper.misuse_like("bad argument #1 to 'captures'", function() mf.captures(5) end)
  end)
end)
