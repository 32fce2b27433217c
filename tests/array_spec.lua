-- Arrays: numbers in shared memory, their shapes and views, between workers and on their own.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local number_types <const> = { "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64" }

local function text(array) return table.concat(array, " ") end

-- 1 .. n as a matrix of i32
local function matrix(rows, columns)
  local m = mf.Array { type = "i32", shape = { rows, columns } }
  for i = 1, #m do m[i] = i end
  return m
end

describe("Array", function()
  it("is zeros when no elements are given", function()
    for _, name in ipairs(number_types) do
      assert.are.same({ 0, 0, 0 }, mf.Array(name, 3):totable())
    end
    assert.are.same({ false, false }, mf.Array("bool", 2):totable())
    assert.are.equal(0, #mf.Array("d", 0))
  end)

  it("is zeros where freed memory is used again", function()
    for _, n in ipairs { 3, 1000, 20000, 300000 } do
      do
        local a <close> = mf.Array("u8", n)
        a:fill(255)
      end
      assert.are.equal(("\0"):rep(n), mf.Array("u8", n):bytes())
    end
  end)

  it("takes a list, with `n` honoured, a range, an Array, or bytes", function()
    assert.are.equal("1 2 3", text(mf.Array("i", { 1, 2, 3.0 })))
    assert.are.equal("1 2", text(mf.Array("i", { 1, 2, 3, n = 2 })))
    assert.are.equal("0 1 2", text(mf.Array("i", mf.range(0, 2))))
    assert.are.equal("1.0 2.0", text(mf.Array("d", mf.Array("i", { 1, 2 }))))
    assert.are.equal("1 513", text(mf.Array("H", "\1\0\1\2")))
    assert.are.same({ true, false }, mf.Array("?", { true, false }):totable())
    assert.are.equal(0, #mf.Array("i", {}))
  end)

  it("reads and writes its elements by index", function()
    for _, name in ipairs(number_types) do
      local a = mf.Array(name, 4)
      for i = 1, 4 do a[i] = i * 3 end
      a[2.0] = 7
      assert.are.same({ 3, 7, 9, 12 }, a:totable())
      assert.are.equal(12, a[4])
      assert.are.equal(7, a[2.0])
      assert.are.equal(4, #a)
    end
    local flags = mf.Array("?", 2)
    flags[2] = true
    assert.are.same({ false, true }, flags:totable())
  end)

  it("raises for an index out of range or that is no integer", function()
    local a = mf.Array("i8", 3)
    for _, i in ipairs { 0, -1, 5, 1.5, math.mininteger, 2 ^ 60, 0 / 0 } do
      local message = "bad index to Array%(#%d+, i8, 3%) %(integer from 1 to 3 expected, got "
      helper.misuse_like(message, function() return a[i] end)
      helper.misuse_like(message, function() a[i] = 1 end)
    end
    helper.misuse_like("%(integer from 1 to 3 expected, got 4%)", function() a[4] = 1 end)
    helper.misuse_like('%(integer from 1 to 3 or a method\'s name expected, got "fil"%)',
      function() a:fil(1) end)
    helper.misuse_like('a method\'s name expected, got "1"%)', function() a["1"] = 1 end)
    helper.misuse_like("expected, got nil%)", function() return a[nil] end)
    helper.misuse_like("%(it has no elements, got 2%)", function() return mf.Array("i", 0)[2] end)
  end)

  it("ends at its end for ipairs, pairs and table.unpack", function()
    local a = mf.Array("i", { 5, 6, 7 })
    assert.is_nil(a[4])
    local seen = {}
    for i, x in ipairs(a) do seen[#seen + 1] = i .. "=" .. x end
    for i, x in pairs(a) do seen[#seen + 1] = i .. "=" .. x end
    assert.are.equal("1=5 2=6 3=7 1=5 2=6 3=7", table.concat(seen, " "))
    assert.are.same({ 5, 6, 7 }, { table.unpack(a) })
    for _ in pairs(mf.Array("i", 0)) do error("an element") end
  end)

  it("can be sorted, joined and moved by the table library", function()
    local a = mf.Array("i", { 3, 1, 2 })
    table.sort(a)
    assert.are.equal("1 2 3", text(a))
    table.move(a, 1, 2, 2)
    assert.are.equal("1 1 2", text(a))
  end)

  it("raises for a value that does not fit, and changes nothing", function()
    local a = mf.Array("u8", { 1, 2, 3 })
    helper.misuse_like("bad value for element 2 of Array%(#%d+, u8, 3%) %(integer from 0 to 255 " ..
      "expected, got 256%)", function() a[2] = 256 end)
    helper.misuse("bad argument #2 to 'set' (element 2: integer from 0 to 255 expected, got -1)",
      a.set, a, 1, { 9, -1, 9 })
    helper.misuse("bad argument #1 to 'fill' (integer from 0 to 255 expected, got 1.5; " ..
      "math.floor(x) is one)", a.fill, a, 1.5)
    helper.misuse("bad argument #1 to 'fill' (integer from 0 to 255 expected, got no value)",
      a.fill, a)
    helper.misuse("bad argument #1 to 'put' (integer from 0 to 255 expected, got nil)", a.put, a,
      nil, 1)
    helper.misuse("bad argument #2 to 'Array' (element 3: integer from 0 to 255 expected, got nil)",
      mf.Array, "u8", { 1, 2, n = 3 })
    assert.are.equal("1 2 3", text(a))
  end)

  it("reads a u64 above math.maxinteger only as bytes", function()
    local a = mf.Array("u64", ("\255"):rep(8))
    helper.misuse("an element of type u64 is above math.maxinteger (by -9223372036854775808); " ..
      "read it with bytes()", function() return a[1] end)
    assert.are.equal(("\255"):rep(8), a:bytes())
    a[1] = math.maxinteger
    assert.are.equal(math.maxinteger, a[1])
    helper.misuse_like("integer from 0 to math.maxinteger expected, got %-1", function()
      a[1] = -1
    end)
  end)

  it("writes lists and bytes at any place", function()
    local a = mf.Array("i16", 5)
    a:set(2, { 7, 8 })
    a:set(5, { 1, 2, 3, n = 1 })
    a:set(4, string.pack("h", -9))
    a:set(6, {})
    a:set(6, "")
    assert.are.equal("0 7 8 -9 1", text(a))
    a:set(1, a:bytes())
    assert.are.equal("0 7 8 -9 1", text(a))
    helper.misuse("bad argument #1 to 'set' (integer from 1 to 6 expected, got 7)", a.set, a, 7, {})
    helper.misuse("bad argument #2 to 'set' (at most 1 expected from there on, got 2)", a.set, a, 5,
      { 1, 2 })
    helper.misuse("bad argument #2 to 'set' (bytes of whole elements of 2 bytes expected, " ..
      "got 3 bytes)", a.set, a, 1, "abc")
    local function wrong(got, value)
      helper.misuse_like("bad argument #2 to 'set' %(list, bytes or Array of i16 expected, got " ..
        got .. "%)", a.set, a, 1, value)
    end
    wrong("5", 5)
    wrong("nil", nil)
    wrong("Array%(#%d+, i8, 2%)", mf.Array("i8", 2))
  end)

  it("writes the elements of another Array or of its own", function()
    local a, other = mf.Array("i16", { 1, 2, 3, 4, 5 }), mf.Array("i16", { 7, 8 })
    a:set(4, other)
    assert.are.equal("1 2 3 7 8", text(a))
    a:set(2, a:view(1, 4))
    assert.are.equal("1 1 2 3 7", text(a))
    a:set(1, a:view(2))
    assert.are.equal("1 2 3 7 7", text(a))
    helper.misuse("bad argument #2 to 'set' (at most 1 expected from there on, got 2)", a.set, a, 5,
      other)
    do local _ <close> = other end
    helper.fails("closed", a.set, a, 1, other)
  end)

  it("fills every element", function()
    for _, name in ipairs(number_types) do
      for _, n in ipairs { 0, 1, 2, 7, 100000 } do
        local a = mf.Array(name, n)
        a:fill(3)
        for i = 1, n, n // 7 + 1 do assert.are.equal(3, a[i]) end
        if n > 0 then assert.are.equal(3, a[n]) end
      end
    end
  end)

  it("gives its elements as a list, a range of them, or by rows", function()
    local a, m = mf.Array("i", { 4, 5, 6 }), matrix(2, 3)
    assert.are.same({ 4, 5, 6 }, a:totable())
    assert.are.same({ 5, 6 }, a:totable(2))
    assert.are.same({ 4 }, a:totable(nil, 1))
    assert.are.same({}, a:totable(4))
    assert.are.same({}, a:totable(2, 1))
    assert.are.same({ { 1, 2, 3 }, { 4, 5, 6 } }, m:totable())
    assert.are.same({ 2, 3, 4 }, m:totable(2, 4))
    assert.are.same({ { { 1 }, { 2 } }, { { 3 }, { 4 } } }, matrix(1, 4):reshape(2, 2, 1):totable())
    helper.misuse("bad argument #1 to 'totable' (integer from 1 to 4 expected, got 5)", a.totable,
      a, 5)
    helper.misuse("bad argument #2 to 'totable' (integer from 1 to 3 expected, got 4)", a.totable,
      a, 2, 4)
  end)

  it("copies into memory of its own", function()
    local m = matrix(2, 3)
    local copy = m:view(2, 5):reshape(2, 2):copy()
    m:fill(0)
    assert.are.same({ { 2, 3 }, { 4, 5 } }, copy:totable())
    assert.is_false(copy == m)
    assert.is_false(copy:lock() == m:lock())
  end)

  it("says what it is", function()
    assert.are.equal("Array", mf.type(mf.Array("d", 1)))
    assert.is_truthy(tostring(mf.Array { type = "d", shape = { 20, 30 } })
      :find("^Array%(#%d+, f64, 20x30%)$"))
    assert.is_true(mf.RawArray == mf.Array)
  end)

  it("is closed when it has been let go; its views go on", function()
    local kept, view
    do
      local a <close> = mf.Array("i", { 1, 2, 3 })
      kept, view = a, a:view(2, 3)
    end
    assert.are.equal("Array(closed)", tostring(kept))
    helper.fails("closed", function() return kept[1] end)
    helper.fails("closed", function() kept[1] = 2 end)
    helper.fails("closed", function() return #kept end)
    helper.fails("closed", view.view, kept, 1, 1)
    assert.are.equal("2 3", text(view))
  end)

  it("raises for wrong arguments", function()
    local function wrong(message, ...) helper.misuse("bad argument " .. message, mf.Array, ...) end
    wrong("#2 to 'Array' (number of elements, list or bytes expected, got nil)", "d")
    wrong("#2 to 'Array' (integer of at least 0 expected, got -1)", "d", -1)
    wrong("#2 to 'Array' (integer of at least 0 expected, got 1.5)", "d", 1.5)
    wrong("#2 to 'Array' (list or bytes expected, got boolean)", "d", true)
    wrong("#2 to 'Array' (list or bytes expected, got function)", "d", print)
    wrong("#2 to 'Array' (bytes of whole elements of 8 bytes expected, got 7 bytes)", "d",
      "1234567")
    wrong("#2 to 'Array' (element 2: number expected, got \"x\"; tonumber(s) gives a number)", "d",
      { 1, "x" })
    wrong("to 'Array' (option 'shape' or 'init' expected)", { type = "d" })
    wrong("to 'Array' (option 'shape': list of sizes expected, got 5)", { type = "d", shape = 5 })
    wrong("to 'Array' (option 'shape': list of 1 to 16 sizes expected, got 0)",
      { type = "d", shape = {} })
    wrong("to 'Array' (option 'shape': list of non-negative integers expected, got -1)",
      { type = "d", shape = { 2, -1 } })
    wrong("to 'Array' (unknown option 'size')", { type = "d", size = 5 })
    wrong("to 'Array' (option 'init': element 1: number expected, got true; booleans are of " ..
      "type bool)", { type = "d", init = { true } })
    helper.misuse_like("option 'type': type expected, one of i8 .*, got nil", mf.Array, {})
    helper.misuse_like("bad argument #1 to 'Array' %(type expected, one of i8", mf.Array, 5, 1)
    helper.misuse_like("bad argument #0 to 'fill' %(Array expected, got number; call it with a " ..
      "colon: array:fill%(...%)%)", mf.Array("d", 1).fill, 5)
  end)

  it("raises no_memory for more than there is", function()
    helper.fails("no_memory", mf.Array, "d", 1 << 50)
    helper.fails("no_memory", mf.Array, "d", math.maxinteger)
    helper.fails("no_memory", mf.Array, { type = "d", shape = { 1 << 40, 1 << 40 } })
  end)

  it("names the call for which there is no memory; that had no effect", function()
    local result = helper.run_script([[
      local mf = require "moonfleet"
      local core = require "moonfleet.core"
      local function fails(what, f, ...)
        collectgarbage() collectgarbage()
        local before = core.audit()
        local ok, err = pcall(f, ...)
        assert(not ok and mf.is_error(err, "no_memory"), tostring(err))
        assert(tostring(err) == what .. ": shared memory is used up", tostring(err))
        collectgarbage() collectgarbage()
        for key, count in pairs(core.audit()) do assert(count <= before[key], what .. key) end
      end
      local a = mf.Array("u8", 5 << 20)
      fails("Array", mf.Array, "u8", 5 << 20)
      fails("Array", mf.Array, "u8", ("x"):rep(5 << 20))
      fails("copy", a.copy, a)
      local kept = {}
      while pcall(function() kept[#kept + 1] = a:view(1, 1) end) do end
      fails("split", a.split, a, 100)
      fails("reshape", a.reshape, a, 1, #a)
      fails("Value", mf.Value, "i")
      fails("lock", a.lock, a)
      kept = nil
      assert(#a:split(3) == 3 and a:lock() and mf.Value("i"):add(1) == 1)
      print "fine"
    ]], { env = { MOONFLEET_SHARED_LIMIT = "8M" } })
    assert.are.equal("fine\n", result.out, result.err)
  end)

  it("lets what is garbage make room for more", function()
    for _ = 1, 200 do mf.Array("d", 1 << 22) end -- 6.4 GB in all
  end)
end)

describe("Array of several dimensions", function()
  it("has a shape, and its elements row by row", function()
    local m = matrix(2, 3)
    assert.are.same({ 2, 3 }, { m:shape() })
    assert.are.same({ 4 }, { mf.Array("d", 4):shape() })
    assert.are.equal(6, #m)
    for i = 1, 2 do
      for j = 1, 3 do assert.are.equal((i - 1) * 3 + j, m:at(i, j)) end
    end
    m:put(-1, 2, 1)
    assert.are.equal(-1, m[4])
    local deep = mf.Array { type = "u8", shape = { 2, 3, 4, 5 } }
    deep:put(9, 2, 3, 4, 5)
    assert.are.equal(9, deep[120])
    assert.are.equal(7, mf.Array("i", { 7 }):at(1))
  end)

  it("raises for indices out of range, and for too few or too many", function()
    local m = matrix(2, 3)
    helper.misuse("bad argument #1 to 'at' (integer from 1 to 2 expected, got 3)", m.at, m, 3, 1)
    helper.misuse("bad argument #2 to 'at' (integer from 1 to 3 expected, got 0)", m.at, m, 1, 0)
    helper.misuse("bad argument #2 to 'at' (integer from 1 to 3 expected, got 1.5)", m.at, m, 1,
      1.5)
    helper.misuse("bad argument #1 to 'at' (2 indices expected for an Array of 2x3, got 1)", m.at,
      m, 1)
    helper.misuse("bad argument #1 to 'at' (1 index expected for an Array of 6, got 2)",
      m:reshape(6).at, m:reshape(6), 1, 1)
    helper.misuse("bad argument #3 to 'put' (integer from 1 to 3 expected, got 4)", m.put, m, 0, 1,
      4)
    helper.misuse("bad argument #2 to 'put' (2 indices expected for an Array of 2x3, got 0)", m.put,
      m, 0)
  end)

  it("is made of rows, or of a flat list with a shape", function()
    local m = mf.Array("d", { { 1, 2 }, { 3, 4 }, { 5, 6 } })
    assert.are.same({ 3, 2 }, { m:shape() })
    assert.are.equal("1.0 2.0 3.0 4.0 5.0 6.0", text(m))
    m = mf.Array { type = "i", shape = { 2, 3 }, init = { 1, 2, 3, 4, 5, 6 } }
    assert.are.same({ { 1, 2, 3 }, { 4, 5, 6 } }, m:totable())
    m = mf.Array { type = "i", shape = { 2, 1, 2 }, init = { { { 1, 2 } }, { { 3, 4 } } } }
    assert.are.equal("1 2 3 4", text(m))
    assert.are.same({ 2, 2 }, { mf.Array("d", mf.Array("i", { { 1, 2 }, { 3, 4 } })):shape() })
    assert.are.equal("5 6", text(mf.Array { type = "u8", shape = { 2, 1 }, init = "\5\6" }))
  end)

  it("raises for rows and shapes that do not agree", function()
    local function wrong(problem, options)
      helper.misuse("bad argument to 'Array' (option 'init': " .. problem .. ")", mf.Array, options)
    end
    wrong("2x3 elements expected, got 5",
      { type = "i", shape = { 2, 3 }, init = { 1, 2, 3, 4, 5 } })
    wrong("2x2 elements expected, got 4x1",
      { type = "i", shape = { 2, 2 }, init = { { 1 }, { 2 }, { 3 }, { 4 } } })
    wrong("rows of 2 elements expected, got one of 1", { type = "i", init = { { 1, 2 }, { 3 } } })
    wrong("rows expected, got number among them", { type = "i", init = { { 1, 2 }, 3 } })
    wrong("element 4: integer from -128 to 127 expected, got 999",
      { type = "i8", init = { { 1, 2 }, { 3, 999 } } })
    local cycle = {}
    cycle[1] = cycle
    wrong("at most 16 dimensions", { type = "i", init = cycle })
  end)

  it("takes another shape without a copy", function()
    local m = matrix(2, 3)
    local other = m:reshape(3, 2)
    other:put(-1, 3, 2)
    assert.are.equal(-1, m:at(2, 3))
    assert.are.same({ 3, 2 }, { other:shape() })
    helper.misuse("bad argument #1 to 'reshape' (sizes of 6 elements expected, got 4x2)", m.reshape,
      m, 4, 2)
    helper.misuse("bad argument #1 to 'reshape' (from 1 to 16 sizes expected, got 0)", m.reshape, m)
    helper.misuse_like("bad argument #2 to 'reshape' %(integer from 0 to", m.reshape, m, 6, -1)
  end)
end)

describe("Array's views", function()
  it("show a part of its memory", function()
    local a = mf.Array("i", { 1, 2, 3, 4, 5 })
    local view = a:view(2, 4)
    assert.are.equal("2 3 4", text(view))
    view[1] = 20
    a[4] = 40
    assert.are.equal("20 3 40", text(view))
    assert.are.equal("1 20 3 40 5", text(a))
    assert.are.equal("3 40", text(view:view(2)))
    assert.are.equal(5, #a:view())
    assert.are.equal(0, #a:view(6))
    assert.are.equal(0, #a:view(3, 2))
    assert.is_nil(view[4]) -- not its neighbour
    helper.misuse_like("integer from 1 to 3 expected, got 5", function() return view[5] end)
  end)

  it("raise for ranges that are not there", function()
    local a = mf.Array("i", 5)
    helper.misuse("bad argument #1 to 'view' (integer from 1 to 6 expected, got 0)", a.view, a, 0)
    local function wrong(problem, i, j)
      helper.misuse("bad argument #2 to 'view' (" .. problem .. ")", a.view, a, i, j)
    end
    wrong("integer from 1 to 5 expected, got 6", 2, 6)
    wrong("integer from 3 to 5 expected, got 2", 4, 2)
  end)

  it("split it into parts that differ by at most one", function()
    local function sizes(list)
      local found = {}
      for i, part in ipairs(list) do found[i] = #part end
      return found
    end
    local a = mf.Array("i", { 1, 2, 3, 4, 5, 6, 7 })
    local parts = a:split(3)
    assert.are.same({ 3, 2, 2 }, sizes(parts))
    assert.are.same({ "1 2 3", "4 5", "6 7" }, { text(parts[1]), text(parts[2]), text(parts[3]) })
    assert.are.same({ 7 }, sizes(a:split(1)))
    assert.are.same({ 1, 1, 1, 1, 1, 1, 1, 0, 0 }, sizes(a:split(9)))
    helper.misuse_like("bad argument #1 to 'split' %(integer from 1 to %d+ expected, got 0%)",
      a.split, a, 0)
    helper.misuse_like("bad argument #1 to 'split' %(integer from .*, got no value%)", a.split, a)
  end)

  it("split a matrix by rows", function()
    local parts = matrix(5, 2):split(2)
    assert.are.same({ 3, 2 }, { parts[1]:shape() })
    assert.are.same({ { 7, 8 }, { 9, 10 } }, parts[2]:totable())
    local many = matrix(2, 3):split(3)
    assert.are.same({ 0, 3 }, { many[3]:shape() })
  end)

  it("have the Lock of their Array", function()
    local a = mf.Array("i", 4)
    local lock = a:view(1, 2):lock()
    assert.is_true(lock == a:lock())
    assert.is_true(lock == a:view(2, 3):view(1, 1):reshape(1, 1):lock())
  end)

  it("keep the memory alive", function()
    local view = mf.Array("i", { 1, 2, 3 }):view(2, 3):view(2, 2)
    collectgarbage()
    local other = mf.Array("i", 3)
    other:fill(9)
    assert.are.equal(3, view[1])
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("Array between workers by " .. backend, function()
    it("is worked on in place", function()
      local a = mf.Array("d", { 5, 10, 15, 20, 25 })
      local workers = {}
      for i = 1, 5 do workers[i] = mf_b.spawn(function() a[i] = a[i] * 2 end) end
      for i = 1, 5 do workers[i]:join(long) end
      assert.are.same({ 10, 20, 30, 40, 50 }, a:totable())
    end)

    it("is sent by reference, its views too, and comes back as what it was", function()
      local m = matrix(4, 3)
      local view = m:view(2, 3)
      local same, back, again = mf_b.spawn(function(a, t)
        t.v:fill(0)
        a:put(99, 4, 3)
        return a:view(1, 1), t.v, a
      end, m, { v = view }):result(long)
      assert.are.equal("1 0 0 4 5 6 7 8 9 10 11 99", text(m))
      assert.is_true(rawequal(back, view) and rawequal(again, m))
      same[1] = -1
      assert.are.equal(-1, m[1])
    end)

    it("is split over a pool", function()
      local pool <close> = mf_b.Pool(2)
      local m = matrix(7, 10)
      local sums = pool:map(function(rows)
        local sum = 0
        for i = 1, #rows do
          sum = sum + rows[i]
          rows[i] = -rows[i]
        end
        return sum
      end, m:split(4))
      local total = 0
      for i = 1, 4 do total = total + sums[i] end
      assert.are.equal(70 * 71 // 2, total)
      assert.are.equal(-70, m:at(7, 10))
    end)

    it("is input of map, imap and reduce", function()
      local pool <close> = mf_b.Pool(2)
      local a = mf.Array("i", mf.range(1, 50))
      local squares = pool:map(function(x) return x * x end, a)
      assert.are.equal(50, squares.n)
      assert.are.equal(2500, squares[50])
      local count = 0
      for i, x in pool:imap(function(x) return -x end, a:view(11, 20)) do
        assert.are.equal(-(i + 10), x)
        count = count + 1
      end
      assert.are.equal(10, count)
      assert.are.equal(1275, pool:reduce(math.max, a, 0) * 51 // 2)
      local failed = pool:map(function(x) return x // 0 end, a:view(1, 2), { on_error = "collect" })
      assert.are.equal(2, failed[2].item)
    end)

    it("lives on with whoever has it, views and messages included", function()
      local q = mf.Queue()
      mf_b.spawn(function() q:put(mf.Array("i", { 7, 8, 9 }):view(2, 3)) end):join(long)
      collectgarbage()
      assert.are.equal("8 9", text(q:get(long)))
    end)

    it("gives one lock to all", function()
      local a = mf.Array("i", 1)
      local pool <close> = mf_b.Pool(3)
      pool:map(function(view)
        for _ = 1, 50 do view:lock():with(function() view[1] = view[1] + 1 end) end
      end, { a, a:view(), a:reshape(1, 1) }, { chunksize = 1 })
      assert.are.equal(150, a[1])
    end)

    it("has all methods in a worker that never asked for the module", function()
      local a = mf.Array("i", { 1, 2 })
      local p = mf_b.spawn(function(array, value)
        value:add(#array:view(2):copy():bytes())
        return tostring(array), value.value
      end, a, mf.Value("i"))
      assert.are.same({ tostring(a), 4 }, { p:result(long) })
    end)

    it("may be made in workers, a gigabyte of garbage in all", function()
      local pool <close> = mf_b.Pool(2)
      assert.are.equal(16, #pool:map(function(i)
        local a = mf.Array("u8", 64 << 20)
        a[i] = i
        return a[i]
      end, mf.range(16)))
    end)
  end)
end)

describe("Array and death", function()
  it("is left as it was by a process that is killed while it fills it", function()
    local a, ready = mf.Array("i64", 200000), mf.Queue()
    local p = mf.spawn(function()
      ready:put(true)
      while true do a:fill(0x101010101010101) a:fill(0) end
    end)
    ready:get(long)
    mf.sleep(0.01)
    p:kill()
    p:join(long)
    for i = 1, #a, 97 do assert.is_true(a[i] == 0 or a[i] == 0x101010101010101) end
    a:fill(5)
    assert.are.equal(5, a[200000])
  end)

  it("leaves nothing of processes that are killed while they make and split them", function()
    for round = 1, 12 do
      local ready = mf.Queue()
      local p = mf.spawn(function()
        ready:put(true)
        local kept = {}
        for i = 1, math.huge do
          local a = mf.Array("d", i * 997 % 20000)
          kept[i % 20] = { a, a:split(3), a:copy(), a:lock() }
          if #kept > 20 then break end
        end
      end)
      ready:get(long)
      mf.sleep(round / 2000)
      p:kill()
      p:join(long)
    end
  end)

  it("tells the next holder of its lock", function()
    local a = mf.Array("i", 1)
    mf.spawn(function() a:view():lock():acquire() end):join()
    assert.are.same({ true, "abandoned" }, { a:lock():acquire(long) })
    a:lock():release()
  end)
end)
