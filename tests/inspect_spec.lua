-- mf.inspect: the text that the prompt prints.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local _ENV = _G -- luacheck: ignore 211

local function shows(expected, value) assert.are.equal(expected, mf.inspect(value)) end

describe("inspect of simple values", function()
  it("shows nil, booleans and numbers as print does", function()
    shows("nil", nil)
    shows("nil")
    shows("true", true)
    shows("42", 42)
    shows("-9223372036854775808", math.mininteger)
    shows("3.0", 3.0)
    shows("-0.0", -0.0)
    shows("0.1", 0.1)
    shows("1e+100", 1e100)
    shows("inf", math.huge)
    shows("nan", 0 / 0)
    shows("nan", -(0 / 0))
  end)

  it("shows strings in quotes, with Lua's escapes", function()
    shows('"moon"', "moon")
    shows('""', "")
    shows([["say \"hi\" \\ \n\t\r\a\b\f\v"]], 'say "hi" \\ \n\t\r\a\b\f\v')
    shows([["\0\0001\27[1m\127"]], "\0\0" .. "1\27[1m\127")
    shows('"naïve — 月"', "naïve — 月")
  end)

  it("shows bytes that are no UTF-8, and its control characters, in hexadecimal", function()
    shows([["a\xFF\xFEb\xC3"]], "a\xFF\xFEb\xC3")
    shows([["\xC2\x85\xED\xA0\x80"]], "\u{85}\xED\xA0\x80")
  end)

  it("gives a string that load reads back", function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i, i // 2 + 40) end
    local text = table.concat(bytes)
    assert.are.equal(text, load("return " .. mf.inspect(text))())
  end)

  it("says how much of a very long string it leaves out", function()
    shows('"' .. ("x"):rep(10000) .. '"', ("x"):rep(10000))
    shows('"' .. ("x"):rep(10000) .. '"… (5 more bytes)', ("x"):rep(10005))
    local text = mf.inspect("x" .. ("月"):rep(4000)) -- not in the middle of a character
    assert.is_truthy(text:find('^"x[^\\]*月"… %(2001 more bytes%)$'))
  end)

  it("shows functions with their place or their name", function()
    local line = debug.getinfo(1, "l").currentline + 1
    shows(("function <tests/inspect_spec.lua:%d>"):format(line), function() end)
    shows("function <print>", print)
    shows("function <string.format>", string.format)
    shows("function <C>", string.gmatch("a", "a"))
  end)

  it("shows coroutines with their state", function()
    local co = coroutine.create(function() end)
    shows("thread (suspended)", co)
    coroutine.resume(co)
    shows("thread (dead)", co)
  end)

  it("shows files and Moonfleet objects by their tostring", function()
    local queue, lock = mf.Queue(10), mf.Lock()
    shows(tostring(io.stdout), io.stdout)
    shows(tostring(queue), queue)
    shows(("{%s, lock = %s}"):format(queue, lock), { queue, lock = lock })
    shows("Iterator(range)", (mf.range(3)))
  end)
end)

describe("inspect of tables", function()
  it("shows lists, fields and other keys: numbers, strings, the rest", function()
    shows("{}", {})
    shows('{1, "two", {3}}', { 1, "two", { 3 } })
    shows('{1, [-1] = "a", [1.5] = "b", [7] = "c"}', { 1, [7] = "c", [1.5] = "b", [-1] = "a" })
    shows('{[9] = 0, ["a b"] = 1, ["end"] = 2, x = 3, [false] = 0, [true] = 1}',
      { x = 3, ["a b"] = 1, ["end"] = 2, [true] = 1, [false] = 0, [9] = 0 })
    shows('{[{1}] = 1, [function <print>] = 2}', { [print] = 2, [{ 1 }] = 1 })
  end)

  it("shows lists without their n, holes included", function()
    shows("{1, 2, 3}", table.pack(1, 2, 3))
    shows("{1, nil, 3, nil}", table.pack(1, nil, 3, nil))
    shows("{nil, 2}", table.pack(nil, 2))
    shows("{}", table.pack())
    local pool <close> = mf.Pool { backend = "serial" }
    shows("{1, 4, 9}", pool:map(function(x) return x * x end, { 1, 2, 3 }))
  end)

  it("shows an n that says something else", function()
    shows("{n = 5}", { n = 5 })
    shows("{1, 2, n = 1}", { 1, 2, n = 1 })
    shows('{1, n = "x"}', { 1, n = "x" })
    shows("{1, 2, n = 2, x = 1}", { 1, 2, n = 2, x = 1 })
    shows("{1, n = 1.0}", { 1, n = 1.0 })
    shows("{n = -1}", { n = -1 })
  end)

  it("breaks what does not fit in 80 columns into lines", function()
    local text = ("x"):rep(71)
    shows('{key = "' .. text:sub(1, 70) .. '"}', { key = text:sub(1, 70) })
    shows('{\n  key = "' .. text .. '"\n}', { key = text })
    shows([[
{
  {
    deep = {
      text = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      y = {1, 2, 3}
    }
  },
  name = "moon"
}]], { { deep = { text = text, y = { 1, 2, 3 } } }, name = "moon" })
  end)

  it("puts several short elements of a long list on a line", function()
    local list = { last = true }
    for i = 1, 40 do list[i] = i * 100 end
    shows([[
{
  100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400,
  1500, 1600, 1700, 1800, 1900, 2000, 2100, 2200, 2300, 2400, 2500, 2600, 2700,
  2800, 2900, 3000, 3100, 3200, 3300, 3400, 3500, 3600, 3700, 3800, 3900, 4000,
  last = true
}]], list)
  end)

  it("marks what is shown twice, and cycles", function()
    local shared, cycle = { 1 }, { name = "me" }
    cycle.self = cycle
    shows("{&1 {1}, *1, {*1}}", { shared, shared, { shared } })
    shows('&1 {name = "me", self = *1}', cycle)
    shows("{[&1 {1}] = *1}", { [shared] = shared })
    local second = { cycle, shared, shared }
    cycle.up = second
    shows('&1 {&2 {name = "me", self = *2, up = *1}, &3 {1}, *3}', second)
  end)

  it("shows the name that a metatable has", function()
    shows("Point {x = 1}", setmetatable({ x = 1 }, { __name = "Point" }))
    shows("{Point {}}", { setmetatable({}, { __name = "Point", __metatable = "locked" }) })
    shows('"a\\nb" {}', setmetatable({}, { __name = "a\nb" }))
    shows("{}", setmetatable({}, { __name = 42 }))
  end)

  it("shows what __tostring gives, in lines where it has several", function()
    local Point = { __name = "Point" }
    function Point:__tostring() return ("(%d)"):format(self.x) end
    local Text = { __tostring = function() return "one\ntwo" end }
    shows("(7)", setmetatable({ x = 7 }, Point))
    shows("{at = (8)}", { at = setmetatable({ x = 8 }, Point) })
    shows("{\n  text = one\n  two\n}", { text = setmetatable({}, Text) })
    shows("Pool-1 failed", setmetatable({ kind = "x", message = "Pool-1 failed" }, mf.Error))
  end)

  it("lets __tostring ask for the parts of its own value", function()
    local meta = {}
    meta.__tostring = function(self) return "<" .. mf.inspect(self) .. ">" end
    shows("<{x = 1}>", setmetatable({ x = 1 }, meta))
    shows("{<{x = 1}>}", { setmetatable({ x = 1 }, meta) })
  end)
end)

describe("inspect", function()
  it("survives a __tostring that raises, and says so", function()
    local function with(tostring_of) return setmetatable({ 1 }, { __tostring = tostring_of }) end
    shows('{1} (__tostring raised "boom")', with(function() error("boom", 0) end))
    shows("{1} (__tostring raised a table)", with(function() error {} end))
    shows([[{1} (__tostring raised "'__tostring' must return a string")]], with(function() end))
    shows([[{1} (__tostring raised "attempt to call a number value")]], with(42))
    shows("{2, {1} (__tostring raised a nil)}", { 2, with(function() error() end) })
  end)

  it("calls nothing else of a value's own code", function()
    local function forbidden() error "called" end
    local meta = { __name = "Trap" }
    for name in ([[index newindex pairs len eq lt le call concat close gc mode unm]])
      :gmatch("%a+") do
      if name ~= "gc" and name ~= "mode" then meta["__" .. name] = forbidden end
    end
    shows("Trap {1, 2, x = Trap {}}",
      setmetatable({ 1, 2, x = setmetatable({}, meta) }, meta))
  end)

  it("says how many entries of a huge table it leaves out", function()
    local list, map = {}, {}
    for i = 1, 100000 do list[i], map["key" .. i] = i, i end
    local text = mf.inspect(list)
    assert.is_truthy(text:find("^{\n  1, 2, 3, "))
    assert.is_truthy(text:find("999,\n  1000,\n  … (99000 more)\n}", 1, true), text:sub(-100))
    text = mf.inspect(map)
    assert.is_truthy(text:find('^{\n  key1 = 1,\n  key10 = 10,\n  key100 = 100,\n'))
    assert.is_truthy(text:find("… (99000 more)\n}", 1, true))
    assert.is_truthy(mf.inspect({ 1, n = 5000 }):find("nil,\n  … (4000 more)\n}", 1, true))
  end)

  it("shows some levels of a deep table", function()
    local deep = {}
    for _ = 1, 100000 do deep = { deep } end
    shows(("{"):rep(33) .. "… (1 more)" .. ("}"):rep(33), deep)
  end)

  it("is bounded as a whole", function()
    local wide = {}
    for i = 1, 1000 do
      wide[i] = {}
      for k = 1, 1000 do wide[i][k] = ("x"):rep(1000) end
    end
    local text = mf.inspect(wide)
    assert.is_true(#text > 200000 and #text < 400000, #text)
    assert.is_truthy(text:find("… (800 more)\n  },\n  … (999 more)\n}", 1, true), text:sub(-60))
  end)

  it("changes no table, and lets go of all", function()
    local value = setmetatable({ {}, {} }, { __tostring = function() return "x" end })
    local weak = setmetatable({ value }, { __mode = "v" })
    shows("x", value)
    value = nil -- luacheck: ignore
    collectgarbage()
    assert.is_nil(weak[1])
  end)

  helper.for_each_backend(function(backend, local_mf)
    it("works in a worker that is a " .. backend, function()
      local p = local_mf.spawn(function() return mf.inspect { 1, { x = "y" } } end)
      assert.are.equal('{1, {x = "y"}}', p:result(helper.long))
    end)
  end)
end)
