-- Values: one number for all workers, each access atomic.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local big <const> = math.maxinteger
local integer_types = {
  i8 = { -128, 127 }, u8 = { 0, 255 }, i16 = { -32768, 32767 }, u16 = { 0, 65535 },
  i32 = { -2147483648, 2147483647 }, u32 = { 0, 4294967295 },
  i64 = { math.mininteger, big }, u64 = { 0, big },
}
local letters = { b = "i8", B = "u8", h = "i16", H = "u16", i = "i32", I = "u32", l = "i64",
  L = "u64", q = "i64", Q = "u64", f = "f32", d = "f64", ["?"] = "bool" }

describe("Value", function()
  it("is 0 or false when nothing is said", function()
    for name in pairs(integer_types) do
      assert.are.equal(0, mf.Value(name).value)
      assert.are.equal("integer", math.type(mf.Value(name).value))
    end
    assert.are.equal("float", math.type(mf.Value("f64").value))
    assert.are.equal(0, mf.Value("f32").value)
    assert.is_false(mf.Value("bool").value)
  end)

  it("knows C's letters for its types", function()
    for letter, name in pairs(letters) do
      assert.is_truthy(tostring(mf.Value(letter)):find(", " .. name .. ", ", 1, true), letter)
    end
  end)

  it("holds every number of its type and raises for all others", function()
    for name, range in pairs(integer_types) do
      local v = mf.Value(name)
      for _, x in ipairs(range) do
        v.value = x
        assert.are.equal(x, v.value)
      end
      if range[2] < big then
        local text = "bad value for 'value' of Value%(#%d+, " .. name .. ", %-?%d+%) " ..
          "%(integer from %-?%d+ to %d+ expected, got " .. range[2] + 1 .. "%)"
        helper.misuse_like(text, function() v.value = range[2] + 1 end)
      end
      if range[1] > math.mininteger then
        helper.misuse_like("got " .. tostring(range[1] - 1):gsub("%-", "%%-"), function()
          v.value = range[1] - 1
        end)
      end
      assert.are.equal(range[2], v.value)
    end
  end)

  it("takes floats with an integer value as integers", function()
    local v = mf.Value("i32", 3.0)
    assert.are.equal("integer", math.type(v.value))
    v.value = -0.0
    assert.are.equal(0, v.value)
    helper.misuse_like("integer from .* expected, got 1.5; math.floor%(x%) is one", function()
      v.value = 1.5
    end)
    for _, x in ipairs { 0 / 0, math.huge, 2.0 ^ 63 } do
      helper.misuse_like("integer from", function() v.value = x end)
      helper.misuse_like("integer from", function() mf.Value("i64").value = x end)
    end
    mf.Value("i64").value = -2.0 ^ 63
  end)

  it("rounds for f32 to the nearest, and raises for what is too large", function()
    local v = mf.Value("f", 0.1)
    assert.are.equal(string.unpack("f", string.pack("f", 0.1)), v.value)
    for _, x in ipairs { math.huge, -math.huge, 3.4028234663852886e38, -0.0, 1e-46 } do
      v.value = x
      assert.are.equal(string.unpack("f", string.pack("f", x)), v.value)
    end
    v.value = 3.40282356e38 -- below half a step above the largest
    assert.are.equal(3.4028234663852886e38, v.value)
    helper.misuse_like("number from %-3.4028234e38 to 3.4028234e38 expected, got 3.5e%+38",
      function() v.value = 3.5e38 end)
    v.value = 0 / 0
    assert.is_true(v.value ~= v.value)
  end)

  it("keeps f64 bit for bit", function()
    local v = mf.Value("d")
    for _, x in ipairs { -0.0, math.huge, 5e-324, math.pi, (string.unpack("d",
      "\1\2\3\4\5\6\xf9\x7f")) } do
      v.value = x
      assert.are.equal(string.pack("d", x), string.pack("d", v.value))
    end
    v.value = 7
    assert.are.equal("float", math.type(v.value))
  end)

  it("takes only booleans as bool, and no booleans, strings or nil as numbers", function()
    local flag, number = mf.Value("?", true), mf.Value("d")
    assert.is_true(flag.value)
    flag.value = false
    assert.is_false(flag.value)
    helper.misuse_like("%(boolean expected, got 1; x ~= 0 is one%)", function() flag.value = 1 end)
    helper.misuse_like("%(number expected, got true; booleans are of type bool%)", function()
      number.value = true
    end)
    helper.misuse_like('%(number expected, got "5"; tonumber%(s%) gives a number%)', function()
      number.value = "5"
    end)
    helper.misuse_like("%(number expected, got nil%)", function() number.value = nil end)
    helper.misuse_like("%(number expected, got Value%)", function() number.value = number end)
  end)

  it("adds, and gives the sum", function()
    for _, name in ipairs { "i8", "u16", "i32", "i64", "u64", "f32", "f64" } do
      local v = mf.Value(name, 5)
      assert.are.equal(7, v:add(2))
      assert.are.equal(4, v:add(-3))
      assert.are.equal(4, v.value)
    end
    assert.are.equal(0.75, mf.Value("d", 0.5):add(0.25))
    assert.are.equal(math.huge, mf.Value("d", 1e308):add(1e308))
  end)

  it("raises for a sum that does not fit, and changes nothing", function()
    for name, range in pairs(integer_types) do
      local v = mf.Value(name, range[2])
      helper.misuse_like("bad argument #1 to 'add' %(the sum with 1 does not fit: integer", v.add,
        v, 1)
      assert.are.equal(range[2], v.value)
      v.value = range[1]
      helper.misuse_like("the sum with %-1 does not fit", v.add, v, -1)
      assert.are.equal(range[1], v.value)
    end
    local f = mf.Value("f", 3e38)
    helper.misuse_like("does not fit: number from", f.add, f, 3e38)
    assert.are.equal(math.huge, f:add(math.huge))
  end)

  it("says what cannot be added", function()
    local v, flag = mf.Value("i"), mf.Value("?")
    helper.misuse("bad argument #1 to 'add' (integer expected, got 0.5)", v.add, v, 0.5)
    helper.misuse("bad argument #1 to 'add' (integer expected, got no value)", v.add, v)
    helper.misuse('bad argument #1 to \'add\' (number expected, got "1")', mf.Value("d").add,
      mf.Value("d"), "1")
    helper.misuse("bad argument #0 to 'add' (Value of numbers expected, got one of bool)",
      flag.add, flag, true)
    helper.misuse("bad argument #0 to 'add' (Value expected, got number; call it with a colon: " ..
      "value:add(...))", v.add, 1)
  end)

  it("swaps", function()
    for _, name in ipairs { "i8", "u16", "i32", "f32", "f64" } do
      local v = mf.Value(name, 5)
      assert.are.equal(5, v:swap(6))
      assert.are.equal(6, v.value)
    end
    assert.is_false(mf.Value("bool"):swap(true))
    helper.misuse_like("bad argument #1 to 'swap' %(integer from 0 to 255 expected, got 256%)",
      function() mf.Value("B"):swap(256) end)
  end)

  it("compares and swaps as numbers compare", function()
    for _, name in ipairs { "i8", "u16", "i32", "u64", "f32", "f64" } do
      local v = mf.Value(name, 5)
      assert.is_false(v:cas(4, 6))
      assert.are.equal(5, v.value)
      assert.is_true(v:cas(5.0, 6))
      assert.are.equal(6, v.value)
    end
    local d, f = mf.Value("d", 0.0), mf.Value("f", 0.1)
    assert.is_true(d:cas(-0.0, 0 / 0))
    assert.is_false(d:cas(0 / 0, 1))
    assert.is_true(f:cas(0.1, 2))
    assert.is_true(mf.Value("?"):cas(false, true))
    helper.misuse_like("bad argument #2 to 'cas' %(integer from 0 to 255 expected, got %-1%)",
      function() mf.Value("B"):cas(0, -1) end)
    helper.misuse_like("bad argument #1 to 'cas'", function() mf.Value("B"):cas(nil, 1) end)
  end)

  it("has one Lock", function()
    local v = mf.Value("i")
    assert.are.equal("Lock", mf.type(v:lock()))
    assert.is_true(v:lock() == v:lock())
    assert.is_false(v:lock() == mf.Value("i"):lock())
  end)

  it("says what it is", function()
    local v = mf.Value { type = "i16", init = -3 }
    assert.are.equal("Value", mf.type(v))
    assert.is_truthy(tostring(v):find("^Value%(#%d+, i16, %-3%)$"))
    assert.is_true(mf.RawValue == mf.Value)
  end)

  it("raises for a field that it does not have", function()
    local v = mf.Value("i")
    local text = '^Value%(#%d+, i32, 0%) has no field "vlaue"; it has value, add, swap, cas and ' ..
      "lock$"
    helper.misuse_like(text, function() v.vlaue = 1 end)
    helper.misuse_like(text, function() return v.vlaue end)
    helper.misuse_like("has no field 1;", function() return v[1] end)
  end)

  it("raises for wrong arguments", function()
    helper.misuse_like("bad argument #1 to 'Value' %(type expected, one of i8 .* or a letter " ..
      'of b .* %?, got "i9"; did you mean \'i8\'%?%)', mf.Value, "i9")
    helper.misuse_like("%(type expected, .* got \"double\"; did you mean 'f64'%?%)", mf.Value,
      "double")
    helper.misuse_like("%(type expected, .* got nil%)", mf.Value)
    helper.misuse("bad argument #2 to 'Value' (integer from 0 to 255 expected, got 256)",
      mf.Value, "B", 256)
    helper.misuse("bad argument to 'Value' (option 'init': boolean expected, got 0; x ~= 0 is " ..
      "one)", mf.Value, { type = "?", init = 0 })
    helper.misuse_like("bad argument to 'Value' %(option 'type': type expected", mf.Value, {})
    helper.misuse("bad argument to 'Value' (unknown option 'initial')", mf.Value,
      { type = "i", initial = 1 })
  end)

  it("is closed when it has been let go", function()
    local kept
    do
      local v <close> = mf.Value("i")
      kept = v
    end
    helper.fails("closed", function() return kept.value end)
    helper.fails("closed", function() kept.value = 1 end)
    helper.fails("closed", kept.add, kept, 1)
    assert.are.equal("Value(closed)", tostring(kept))
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("Value between workers by " .. backend, function()
    it("is one number, passed or captured or in a table", function()
      local v, w = mf.Value("i", 1), mf.Value("d")
      local p = mf_b.spawn(function(a, t)
        a:add(1)
        t.deep.w.value = 0.5
        v:add(10)
        return t.deep.w
      end, v, { deep = { w = w } })
      assert.is_true(p:result(long) == w)
      assert.are.equal(12, v.value)
      assert.are.equal(0.5, w.value)
    end)

    it("is the same one when it comes back, with the same lock", function()
      local v = mf.Value("i")
      local lock = v:lock()
      local back, locks = mf_b.spawn(function(a) return a, { a:lock(), a:lock():locked() } end, v)
        :result(long)
      assert.is_true(back == v and rawequal(back, v))
      assert.is_true(locks[1] == lock)
      assert.is_false(locks[2])
    end)

    it("gives the same lock to all who ask first at once", function()
      local v = mf.Value("i")
      local locks = mf_b.Pool(2):map(function() return v:lock() end, mf.range(20))
      for i = 1, 20 do assert.is_true(locks[i] == v:lock()) end
    end)

    it("is guarded by its lock", function()
      local v = mf.Value("i")
      local pool <close> = mf_b.Pool(3)
      pool:map(function()
        for _ = 1, 50 do v:lock():with(function() v.value = v.value + 1 end) end
      end, mf.range(6), { chunksize = 1 })
      assert.are.equal(300, v.value)
    end)

    it("lives on with whoever has it", function()
      local q = mf.Queue()
      mf_b.spawn(function() q:put(mf.Value("i", 42)) end):join()
      assert.are.equal(42, q:get(long).value)
    end)
  end)
end)

describe("Value under contention", function()
  -- Two processes and two threads at once, for each width and both kinds of numbers.
  for _, name in ipairs { "i8", "u16", "i32", "i64", "f32", "f64" } do
    it("loses no addition to " .. name, function()
      local v, sum, each = mf.Value(name, 10), mf.Value("i64"), 4000
      local function add()
        for i = 1, each do
          v:add(i % 2 == 0 and 1 or -1)
          sum:add(i)
        end
      end
      local workers = { mf.Process(add), mf.Thread(add), mf.Process(add), mf.Thread(add) }
      for _, w in ipairs(workers) do w:start() end
      for _, w in ipairs(workers) do w:result(long) end
      assert.are.equal(10, v.value)
      assert.are.equal(4 * each * (each + 1) // 2, sum.value)
    end)
  end

  it("has one winner for each cas and swap", function()
    local v, wins, swapped = mf.Value("i32"), mf.Value("i32"), mf.Value("i64")
    local last = mf.Value("i64")
    local function race()
      for i = 1, 2000 do
        if v:cas(i - 1, i) then wins:add(1) end
        swapped:add(last:swap(1))
        while v.value < i do mf.sleep(0) end
      end
    end
    local workers = { mf.Process(race), mf.Thread(race) }
    for _, w in ipairs(workers) do w:start() end
    for _, w in ipairs(workers) do w:result(long) end
    assert.are.equal(2000, v.value)
    assert.are.equal(2000, wins.value)
    assert.are.equal(3999, swapped.value)
  end)
end)

describe("Value and death", function()
  it("keeps what a killed process has added, whole", function()
    local v, ready = mf.Value("i64"), mf.Queue()
    local p = mf.spawn(function()
      ready:put(true)
      while true do v:add(0x100000001) end
    end)
    ready:get(long)
    while v.value == 0 do mf.sleep(0.001) end
    p:kill()
    p:join(long)
    local stopped = v.value
    assert.are.equal(stopped >> 32, stopped & 0xffffffff)
    assert.are.equal(stopped + 1, v:add(1))
  end)

  it("tells the next holder of its lock", function()
    local v = mf.Value("i")
    mf.spawn(function() v:lock():acquire() end):join()
    assert.are.same({ true, "abandoned" }, { v:lock():acquire(long) })
    v:lock():release()
  end)
end)
