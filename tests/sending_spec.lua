-- What can be sent, and how it arrives: values, tables, classes, Moonfleet objects.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local it_keeps = helper.it_keeps -- a registered name stays
local _ENV = _G -- luacheck: ignore 211

local function echo(...) return ... end

local function through_pool(backend)
  return function(...)
    local pool <close> = mf.Pool { workers = 1, backend = backend }
    return pool:apply(echo, table.pack(...))
  end
end

-- Every way that values take: there and back.
local ways = {
  { "a process", through_pool "process" },
  { "a thread", through_pool "thread" },
  { "a serial pool", through_pool "serial" },
  { "a queue", function(...)
    local queue <close> = mf.Queue()
    queue:put(table.pack(...))
    local packed = queue:get(helper.long)
    return table.unpack(packed, 1, packed.n)
  end },
  { "encode and decode", function(...)
    return mf.decode(mf.encode(...), { functions = true })
  end },
}

for _, entry in ipairs(ways) do
  local way, send = entry[1], entry[2]

  describe("value through " .. way, function()
    it("of a simple type arrives as it is", function()
      assert.are.same({ n = 6, nil, true, false, nil, "", nil },
        table.pack(send(nil, true, false, nil, "", nil)))
    end)

    it("that is an integer keeps every bit and its subtype", function()
      for _, value in ipairs { 0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, -32769, 65536,
        2147483647, -2147483649, 1 << 53, (1 << 53) + 1, math.maxinteger, math.mininteger } do
        local arrived = send(value)
        assert.are.equal("integer", math.type(arrived))
        assert.are.equal(value, arrived)
      end
    end)

    it("that is a float keeps every bit and its subtype", function()
      local nan = string.unpack("<d", string.pack("<I8", 0x7ff8000000abcdef))
      for _, value in ipairs { 0.0, -0.0, 1.0, 0.1, 1e308, 5e-324, 2.0 ^ 53, math.huge, -math.huge,
        nan, -nan } do
        local arrived = send(value)
        assert.are.equal("float", math.type(arrived))
        assert.are.equal(string.pack("<d", value), string.pack("<d", arrived))
      end
    end)

    it("that is a string keeps all bytes", function()
      local all = {}
      for i = 0, 255 do all[#all + 1] = string.char(i) end
      local bytes = table.concat(all)
      for _, value in ipairs { "", "\0", "a\0", "\0\0\0", bytes, bytes:rep(1000), "\u{1F31C}" } do
        assert.is_true(value == send(value))
      end
    end)

    it("that is a string may have any length", function()
      for _, length in ipairs { 1, 39, 40, 41, 255, 256, 257, 4095, 4096, 4097, 65535, 65536,
        1000003, 20000000 } do
        local value = ("x"):rep(length - 1) .. "y"
        assert.is_true(value == send(value))
      end
    end)

    it("may come with more than 250 others", function()
      local many = {}
      for i = 1, 1000 do many[i] = i * 3 end
      assert.are.same(many, { send(table.unpack(many)) })
    end)
  end)

  describe("table through " .. way, function()
    it("arrives as a deep copy", function()
      local value = { 1, "two", { 3, { four = 4 } }, key = "value", [10] = 10, [-1] = "minus",
        [1.5] = "float", [true] = false, [math.mininteger] = math.huge }
      local arrived = send(value)
      assert.are.same(value, arrived)
      assert.are_not.equal(value, arrived)
    end)

    it("keeps holes", function()
      local arrived = send({ 1, nil, 3, n = 4 })
      assert.are.equal(1, arrived[1])
      assert.is_nil(arrived[2])
      assert.are.equal(3, arrived[3])
      assert.are.equal(4, arrived.n)
    end)

    it("keeps float and integer elements apart", function()
      local arrived = send({ 1, 2.0, 3, 4.5 })
      assert.are.same({ "integer", "float", "integer", "float" }, { math.type(arrived[1]),
        math.type(arrived[2]), math.type(arrived[3]), math.type(arrived[4]) })
    end)

    it("keeps shared references within one message", function()
      local shared = { 1 }
      local arrived, other = send({ a = shared, b = shared, [shared] = "key" }, shared)
      assert.is_true(rawequal(arrived.a, arrived.b))
      assert.is_true(rawequal(arrived.a, other))
      assert.are.equal("key", arrived[other])
    end)

    it("keeps cycles", function()
      local value = { name = "loop" }
      value.self = value
      value.list = { value, { value } }
      value[value] = value
      local arrived = send(value)
      assert.is_true(rawequal(arrived, arrived.self))
      assert.is_true(rawequal(arrived, arrived.list[2][1]))
      assert.is_true(rawequal(arrived, arrived[arrived]))
      assert.are.equal("loop", arrived.name)
    end)

    it("may be 100,000 deep", function()
      local value = {}
      for i = 1, 100000 do value = { i, value } end
      local depth, arrived = 0, send(value)
      while arrived[2] do depth, arrived = depth + 1, arrived[2] end
      assert.are.equal(100000, depth)
    end)

    it("may be a chain by keys as well", function()
      local value = {}
      for _ = 1, 10000 do value = { [value] = true } end
      local depth, arrived = 0, send(value)
      while next(arrived) do depth, arrived = depth + 1, (next(arrived)) end
      assert.are.equal(10000, depth)
    end)

    it("of 100,000 elements arrives whole", function()
      local value = { integers = {}, floats = {}, strings = {}, mixed = {} }
      for i = 1, 100000 do
        value.integers[i], value.floats[i] = i * 37 - 5000, i / 7
        value.strings[i % 1000 + 1] = "key" .. i
        value.mixed["key" .. i] = i
      end
      local arrived = send(value)
      for i = 1, 100000 do
        if arrived.integers[i] ~= value.integers[i] or arrived.floats[i] ~= value.floats[i]
          or arrived.mixed["key" .. i] ~= i then
          assert.are.equal("element", i)
        end
      end
      assert.are.same(value.strings, arrived.strings)
    end)

    it("brings its metatable along", function()
      local Point = {}
      Point.__index = Point
      Point.__add = function(a, b) return setmetatable({ x = a.x + b.x }, Point) end
      function Point:double() return self.x * 2 end
      local a, b = send(setmetatable({ x = 1 }, Point), setmetatable({ x = 2 }, Point))
      assert.are.equal(4, b:double())
      assert.are.equal(3, (a + b).x)
      assert.is_true(rawequal(getmetatable(a), getmetatable(b)))
      assert.is_false(rawequal(getmetatable(a), Point))
    end)

    it("keeps a protected metatable, weak tables and finalizers", function()
      local arrived = send(setmetatable({ 1 }, { __metatable = "locked", __mode = "k",
        __gc = function() end }))
      assert.are.equal("locked", getmetatable(arrived))
      assert.are.equal(1, arrived[1])
      assert.are.equal("k", debug.getmetatable(arrived).__mode)
    end)

    it("is read raw: no metamethod runs to send it", function()
      local trap = function() error "a metamethod ran" end
      local value = setmetatable({ 1, 2 }, { __index = trap, __newindex = trap, __len = trap,
        __pairs = trap, __eq = trap })
      local arrived = send(value)
      assert.are.same({ 1, 2 }, { rawget(arrived, 1), rawget(arrived, 2) })
    end)
  end)

  describe("class through " .. way, function()
    it_keeps("that was registered is the receiver's own", function()
      local Registered = { __name = "Registered" }
      Registered.__index = Registered
      function Registered:value() return self.x end
      mf.register("spec.Registered." .. way, Registered)
      local arrived = send(setmetatable({ x = 5 }, Registered))
      assert.are.equal(5, arrived:value())
      assert.is_true(rawequal(Registered, getmetatable(arrived)))
    end)

    it("of a module is the receiver's own", function()
      package.loaded["spec.class"] = { Thing = { __name = "Thing" } }
      package.preload["spec.class"] = function() return { Thing = { __name = "Thing" } } end
      local Thing = package.loaded["spec.class"].Thing
      local ok, arrived = pcall(send, setmetatable({ 1 }, Thing))
      package.loaded["spec.class"], package.preload["spec.class"] = nil, nil
      assert.is_true(ok, tostring(arrived))
      assert.is_true(rawequal(Thing, getmetatable(arrived)))
    end)
  end)

  describe("value that cannot travel through " .. way, function()
    local function refused(pattern, ...)
      local err = helper.fails("not_sendable", send, ...)
      assert.are.equal("string", type(err.path))
      assert.is_truthy(err.message:find(pattern), err.message)
      return err
    end

    it("is a coroutine, named with its path", function()
      refused("cannot send a coroutine %(at .*%.handlers%.tick",
        { handlers = { tick = coroutine.create(print) } })
    end)

    it("is a coroutine in a function's upvalue, named with the upvalue and the function", function()
      local co = coroutine.create(print)
      local err = refused('upvalue "co" of function <.*sending_spec.lua:%d+>',
        { tick = function() return co end })
      assert.is_truthy(err.message:find("cannot send a coroutine %(at .*tick"), err.message)
    end)

    it("is a file", function()
      local file <close> = io.tmpfile()
      refused("cannot send a file", { file })
    end)

    it("is a closed file, too", function()
      local file = io.tmpfile()
      file:close()
      refused("file", file)
    end)

    it("is a C function that no module holds", function()
      refused("C function", { string.gmatch("a", "a") })
    end)

    it("is named with list indices and odd keys", function()
      refused("%[3%]", { 1, 2, coroutine.create(print) })
      refused('%["odd key"%]', { ["odd key"] = coroutine.create(print) })
      refused("%[true%]", { [true] = coroutine.create(print) })
    end)

    it("may be a key", function()
      refused("coroutine", { [coroutine.create(print)] = 1 })
    end)

    it("may be in a metatable", function()
      refused("coroutine", setmetatable({}, { co = coroutine.create(print) }))
    end)
  end)

  describe("Moonfleet object through " .. way, function()
    it("is the same object, nested in anything", function()
      local queue <close> = mf.Queue()
      local lock = mf.Lock()
      local arrived = send({ deep = { queue, lock, [queue] = "as key" } })
      assert.are.equal(queue, arrived.deep[1])
      assert.are.equal(lock, arrived.deep[2])
      assert.are.equal("Queue", mf.type(arrived.deep[1]))
      arrived.deep[1]:put("through the copy")
      assert.are.equal("through the copy", (queue:get(helper.long)))
    end)

    it("keeps sharing: one handle for one object of a message", function()
      local queue <close> = mf.Queue()
      local a, b = send(queue, queue)
      assert.is_true(rawequal(a, b) or a == b)
    end)
  end)

  describe("light userdata through " .. way, function()
    it("that is a field of a loaded module arrives", function()
      local ok, cjson = pcall(require, "cjson")
      if not ok then return end
      assert.are.equal(cjson.null, (send({ cjson.null }))[1])
    end)
  end)
end

helper.for_each_backend(function(backend, mf_b)
  describe("Moonfleet object to a running worker by " .. backend, function()
    it("arrives at any time, through a queue", function()
      local inbox, answers <close> = mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        for _ = 1, 3 do
          local message = inbox:get(30)
          message.reply_to:put(message.number * 2)
        end
      end)
      for i = 1, 3 do
        local private = mf.Queue()
        inbox:put({ reply_to = private, number = i })
        assert.are.equal(i * 2, (private:get(helper.long)))
      end
      worker:join(helper.long)
      assert.is_true(answers:empty())
    end)

    it("outlives the worker that made it", function()
      local results = mf.Queue()
      local worker = mf_b.spawn(function()
        local made = mf.Queue()
        made:put("from the dead")
        results:put(made)
      end)
      worker:join(helper.long)
      assert.are.equal("from the dead", (results:get(helper.long):get(helper.long)))
    end)
  end)

  describe("userdata with __transfer by " .. backend, function()
    it("is rebuilt by the receiver from a function and arguments", function()
      local file = io.tmpfile() -- any userdata whose metatable we may change for a moment
      local metatable = getmetatable(file)
      metatable.__transfer = function() return function(a, b) return { a, b } end, 1, "two" end
      local ok, arrived = pcall(function()
        return mf_b.spawn(function() return file end):result(helper.long)
      end)
      metatable.__transfer = nil
      file:close()
      assert.is_true(ok, tostring(arrived))
      assert.are.same({ 1, "two" }, arrived)
    end)
  end)

  describe("registered class by " .. backend, function()
    it_keeps("reaches workers that run already with the next message", function()
      local inbox, outbox = mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        local first = inbox:get(30)
        local second = inbox:get(30)
        outbox:put(rawequal(getmetatable(first), getmetatable(second)))
        outbox:put(second)
      end)
      local Late = { __name = "Late" }
      mf.register("spec.Late." .. backend, Late)
      inbox:put(setmetatable({}, Late))
      inbox:put(setmetatable({ 2 }, Late))
      assert.is_true(outbox:get(helper.long))
      assert.is_true(rawequal(Late, getmetatable((outbox:get(helper.long)))))
      worker:join(helper.long)
    end)
  end)
end)
