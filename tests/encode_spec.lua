-- mf.encode and mf.decode: values as bytes, and bytes that lie.

-- luacheck: globals spec_given spec_kept

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local _ENV = _G -- luacheck: ignore 211

describe("encode", function()
  it("gives a string, and decode the values", function()
    local bytes = mf.encode(1, nil, "three", { 4 }, nil)
    assert.are.equal("string", type(bytes))
    assert.are.same({ n = 5, 1, nil, "three", { 4 }, nil }, table.pack(mf.decode(bytes)))
  end)

  it("of nothing decodes to nothing", function()
    assert.are.equal(0, select("#", mf.decode(mf.encode())))
  end)

  it("gives the same bytes for the same value", function()
    assert.are.equal(mf.encode({ 1, 2, "x" }), mf.encode({ 1, 2, "x" }))
  end)

  it("is compact", function()
    assert.is_true(#mf.encode(1) <= 40)
    assert.is_true(#mf.encode(("x"):rep(1000)) <= 1040)
    local list = {}
    for i = 1, 1000 do list[i] = i % 100 end
    assert.is_true(#mf.encode(list) <= 2100)
  end)

  it("raises what cannot be sent, with its path", function()
    local err = helper.fails("not_sendable", mf.encode, { a = { coroutine.create(print) } })
    assert.is_truthy(err.message:find("a[1]", 1, true), err.message)
    assert.is_truthy(err.path:find("a[1]", 1, true), err.path)
  end)

  it("of a cycle keeps it", function()
    local t = {}
    t.t = t
    local arrived = mf.decode(mf.encode(t))
    assert.is_true(rawequal(arrived, arrived.t))
  end)
end)

describe("decode", function()
  it("takes strings only", function()
    helper.misuse_like("bad argument #1 to 'decode' %(string expected, got number",
      function() mf.decode(5) end)
    helper.misuse_like("bad argument #1 to 'decode' %(string expected, got n",
      function() mf.decode() end)
  end)

  it("refuses unknown options", function()
    helper.misuse_like("unknown option 'function'; did you mean 'functions'%?",
      function() mf.decode(mf.encode(1), { ["function"] = true }) end)
  end)

  it("loads no bytecode unless it is told to", function()
    local bytes = mf.encode(function() return 42 end)
    helper.fails("decode", mf.decode, bytes)
    assert.are.equal(42, mf.decode(bytes, { functions = true })())
  end)

  it("raises on damaged bytecode", function()
    local secret = 12345
    local bytes = mf.encode(function(a) return a + secret, "constant", print end)
    local raised = 0
    for i = 1, #bytes do
      local byte = bytes:byte(i)
      local damaged = bytes:sub(1, i - 1) .. string.char(byte ~ 0x10) .. bytes:sub(i + 1)
      local ok, err = pcall(mf.decode, damaged, { functions = true })
      if not ok then
        assert.is_true(mf.is_error(err, "decode"), tostring(err))
        raised = raised + 1
      end
    end
    assert.are.equal(#bytes, raised)
  end)

  it("sets a function's globals only where they are nil", function()
    rawset(_G, "spec_given", "sender's")
    local bytes = mf.encode(function() return spec_given, spec_kept end)
    rawset(_G, "spec_given", nil)
    local f = mf.decode(bytes, { functions = true })
    assert.are.same({ "sender's" }, { f() })
    rawset(_G, "spec_given", "receiver's")
    f = mf.decode(bytes, { functions = true })
    assert.are.same({ "receiver's" }, { f() })
    rawset(_G, "spec_given", nil)
  end)

  it("looks names up only in modules already loaded", function()
    package.preload["spec.not_loaded"] = function() return { f = function() end } end
    local M = require "spec.not_loaded"
    local bytes = mf.encode({ M, M.f })
    assert.are.equal(M, mf.decode(bytes)[1])
    package.loaded["spec.not_loaded"] = nil
    helper.fails("decode", mf.decode, bytes)
    assert.is_nil(package.loaded["spec.not_loaded"])
    mf.decode(bytes, { functions = true })
    assert.is_not_nil(package.loaded["spec.not_loaded"])
    package.loaded["spec.not_loaded"], package.preload["spec.not_loaded"] = nil, nil
  end)

  local samples = {
    { 1, 2, 3, x = { y = { z = true } } },
    ("long string "):rep(50),
    { 1.5, -2.5, "a", { nil, 2 }, setmetatable({}, { __name = "X" }) },
    { string.format, math, print },
  }

  it("of any piece of a message raises decode or returns", function()
    for _, sample in ipairs(samples) do
      local bytes = mf.encode(sample)
      for i = 0, #bytes - 1 do
        local ok, err = pcall(mf.decode, bytes:sub(1, i))
        assert.is_true(ok or mf.is_error(err, "decode"), tostring(err))
        ok, err = pcall(mf.decode, bytes .. bytes:sub(1, i + 1))
        assert.is_true(ok or mf.is_error(err, "decode"), tostring(err))
      end
    end
  end)

  it("of a message with one byte changed raises decode or returns", function()
    for _, sample in ipairs(samples) do
      local bytes = mf.encode(sample)
      for i = 1, #bytes do
        for _, byte in ipairs { 0, 1, 127, 128, 255, bytes:byte(i) ~ 1, bytes:byte(i) ~ 64 } do
          local changed = bytes:sub(1, i - 1) .. string.char(byte) .. bytes:sub(i + 1)
          local ok, err = pcall(mf.decode, changed)
          assert.is_true(ok or mf.is_error(err, "decode"), tostring(err))
        end
      end
    end
  end)

  it("of random bytes raises decode or returns", function()
    local state = 12345
    local function random(n)
      state = (state * 1103515245 + 12345) & 0x7fffffff
      return (state >> 8) % n
    end
    local head = mf.encode({}):sub(1, 4)
    for _ = 1, 5000 do
      local parts = { random(2) == 0 and head or "" }
      for i = 1, random(60) do parts[i + 1] = string.char(random(256)) end
      local ok, err = pcall(mf.decode, table.concat(parts))
      assert.is_true(ok or mf.is_error(err, "decode"), tostring(err))
    end
  end)

  it("allocates not much more than the bytes, whatever they claim", function()
    local bytes = mf.encode({ ("x"):rep(10), { 1, 2, 3 }, { a = 1 } })
    collectgarbage()
    for i = 1, #bytes do
      local changed = bytes:sub(1, i - 1) .. "\255\255\255\255\255\127" .. bytes:sub(i)
      local before = collectgarbage("count")
      collectgarbage("stop")
      pcall(mf.decode, changed)
      local grown = collectgarbage("count") - before
      collectgarbage("restart")
      assert.is_true(grown < 256, ("%d KiB for %d bytes"):format(grown // 1, #changed))
    end
  end)

  it("of a handle that no object has any more raises closed", function()
    local queue = mf.Queue()
    local bytes = mf.encode(queue)
    assert.are.equal(queue, (mf.decode(bytes)))
    queue = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    local ok, err = pcall(mf.decode, bytes)
    if ok then
      helper.fails("closed", err.get, err, 0)
    else
      assert.is_true(mf.is_error(err, "closed"), tostring(err))
    end
  end)

  it("of a handle works while some handle of it lives", function()
    local queue = mf.Queue()
    queue:put("x")
    assert.are.equal("x", (mf.decode(mf.encode({ queue }))[1]:get(0)))
  end)
end)
