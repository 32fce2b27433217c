-- Conventions of all calls: options tables, timeouts, misuse that names its remedy.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function nothing() end

describe("options table", function()
  it("is accepted by each constructor", function()
    assert.are.equal("Process", mf.type(mf.Process { target = nothing }))
    assert.are.equal("Thread", mf.type(mf.Thread { target = nothing }))
    assert.are.equal("Queue", mf.type(mf.Queue { maxsize = 1 }))
    local pool <close> = mf.Pool { workers = 1 }
    assert.are.equal("Pool", mf.type(pool))
  end)

  local wrong = {
    Process = { { targett = nothing }, "targett", "target" },
    Thread = { { target = nothing, kwarg = {} }, "kwarg", "kwargs" },
    Queue = { { max_size = 3 }, "max_size", "maxsize" },
    Pool = { { worker = 3 }, "worker", "workers" },
    ThreadPool = { { initialiser = nothing }, "initialiser", "initializer" },
  }
  for constructor, entry in pairs(wrong) do
    it("of " .. constructor .. " with an unknown name raises and guesses", function()
      helper.misuse(("bad argument to '%s' (unknown option '%s'; did you mean '%s'?)")
        :format(constructor, entry[2], entry[3]), function() mf[constructor](entry[1]) end)
    end)
  end

  it("with a name that resembles none raises without a guess", function()
    helper.misuse("bad argument to 'Queue' (unknown option 'zzzzzz')",
      function() mf.Queue { zzzzzz = 3 } end)
  end)

  it("without a target raises", function()
    helper.misuse_like("'Process'.*target", function() mf.Process {} end)
    helper.misuse_like("bad argument #1 to 'Process' %(function expected, got no",
      function() mf.Process() end)
    helper.misuse_like("bad argument #1 to 'spawn'", function() mf.spawn(5) end)
  end)

  it("with values of wrong types names the option", function()
    helper.misuse_like("args", function() mf.Process { target = nothing, args = 5 } end)
    helper.misuse_like("kwargs", function() mf.Process { target = nothing, kwargs = 5 } end)
    helper.misuse_like("name", function() mf.Process { target = nothing, name = {} } end)
    helper.misuse_like("daemon", function() mf.Process { target = nothing, daemon = 1 } end)
    helper.misuse_like("backend", function() mf.Process { target = nothing, backend = "x" } end)
    helper.misuse_like("backend", function()
      mf.Process { target = nothing, backend = "serial" }
    end)
    helper.misuse_like("memory_limit", function()
      mf.Process { target = nothing, memory_limit = "x" }
    end)
  end)
end)

describe("list of arguments", function()
  local bad = "bad list of arguments %(its n is "

  it("has an n that is a count, wherever it is given", function()
    local pool <close> = mf.Pool { backend = "serial" }
    local function count(...) return select("#", ...) end
    for _, n in ipairs { -1, 2.5, (1 << 32) + 1, "two" } do
      local list = { 1, 2, n = n }
      helper.misuse_like(bad, pool.apply, pool, count, list)
      helper.misuse_like(bad, function() return pool:submit { target = count, args = list } end)
      for _, call in ipairs { function() pool:starmap(count, { list }) end,
        function() mf.Process { target = count, args = list }:start() end } do
        local err = helper.raised(call)
        assert.is_truthy(tostring(err):find(bad), tostring(err))
      end
    end
    assert.are.equal(3, pool:apply(count, { n = 3.0 }))
    assert.are.equal(3, pool:starmap(count, { { n = 3 } })[1])
  end)
end)

describe("name", function()
  it("of a worker fits, or is refused", function()
    local longest = ("x"):rep(63)
    assert.are.equal(longest, mf.Process { target = nothing, name = longest }.name)
    for _, name in ipairs { ("x"):rep(64), "a\0b" } do
      helper.misuse_like("^bad argument to 'Process' %(option 'name': text of at most 63 bytes, ",
        function() mf.Process { target = nothing, name = name } end)
      local thread = mf.Thread(nothing)
      helper.misuse_like("^cannot set field 'name' of a Process: text of at most 63 bytes, ",
        function() thread.name = name end)
    end
  end)
end)

describe("timeout", function()
  local function waits()
    local worker = mf.Process(nothing)
    worker:start()
    worker:join(long)
    local pool = mf.Pool(1)
    local future = pool:submit(nothing)
    future:wait(long)
    pool:close()
    local queue = mf.Queue()
    queue:put(1)
    return {
      join = function(t) return worker:join(t) end,
      result = function(t) return worker:result(t) end,
      exception = function(t) return worker:exception(t) end,
      get = function(t) return queue:get(t) end,
      wait = function(t) return future:wait(t) end,
      acquire = function(t) return mf.Semaphore(1):acquire(t) end,
      ["join "] = function(t) return pool:join(t) end,
    }
  end

  it("that is negative, NaN, a boolean or a string raises, at every waiting call", function()
    for name, wait in pairs(waits()) do
      for _, value in ipairs { -1, -0.001, 0 / 0, -math.huge, true, "x", {} } do
        helper.misuse_like("bad argument #2 to '" .. name:gsub(" ", "") .. "' %(timeout in seconds",
          function() wait(value) end)
      end
    end
  end)

  it("may be nil, math.huge, an integer or a float", function()
    for _, wait in pairs(waits()) do
      wait(math.huge)
    end
    for _, wait in pairs(waits()) do wait(nil) end
    for _, wait in pairs(waits()) do wait(1) end
    for _, wait in pairs(waits()) do wait(1e300) end
  end)

  it("of sleep is checked, too", function()
    helper.misuse_like("bad argument #1 to 'sleep'", function() mf.sleep(-1) end)
    helper.misuse_like("bad argument #1 to 'sleep'", function() mf.sleep("x") end)
    helper.misuse_like("bad argument #1 to 'sleep'", function() mf.sleep(0 / 0) end)
    mf.sleep(0)
  end)
end)

describe("method", function()
  it("called without the colon says how to call it", function()
    helper.misuse_like("bad argument #0 to 'start' %(Process expected, got n.*" ..
      "call it with a colon: process:start", function() mf.Process(nothing).start() end)
    helper.misuse_like("bad argument #0 to 'acquire' %(Lock expected, got n.*" ..
      "call it with a colon: lock:acquire", function() mf.Lock().acquire() end)
    helper.misuse_like("bad argument #0 to 'release' %(Semaphore expected, got string",
      function() mf.Semaphore(1).release("x") end)
  end)

  it("given another class's object says so", function()
    local queue = mf.Queue()
    helper.misuse_like("bad argument #0 to 'put' %(Queue expected, got Lock",
      function() queue.put(mf.Lock(), 1) end)
  end)

  it("that does not exist is nil, as in any table", function()
    assert.is_nil(mf.Queue().no_such_method)
    assert.is_nil(mf.Lock().no_such_method)
  end)
end)

describe("object", function()
  it("is named by mf.type, and what is none has no name", function()
    assert.are.equal("Queue", mf.type(mf.Queue()))
    assert.are.equal("Lock", mf.type(mf.Lock()))
    for _, value in ipairs { 5, "x", {}, print, io.stdout } do assert.is_nil(mf.type(value)) end
    assert.is_nil(mf.type(nil))
  end)

  it("compares equal by all its handles", function()
    for _, object in ipairs { mf.Queue(), mf.Lock(), mf.RLock(), mf.Semaphore(1) } do
      local other = mf.decode(mf.encode(object))
      assert.are.equal(object, other)
    end
    assert.are_not.equal(mf.Queue(), mf.Queue())
  end)

  it("has a short text with its number", function()
    local first, second = tostring(mf.Queue()), tostring(mf.Queue())
    assert.are_not.equal(first, second)
    assert.is_true(#first < 40)
    assert.is_truthy(tostring(mf.Process { target = nothing, name = "Test" }):find("Test", 1, true))
  end)

  it("released twice does no harm", function()
    local queue = mf.Queue()
    do local _ <close> = queue end
    do local _ <close> = queue end
  end)
end)

describe("iterator", function()
  local makers = {
    ["of a queue"] = function()
      local queue = mf.Queue()
      queue:put_many { 1, 2, 3 }
      queue:close()
      return queue:iter()
    end,
    ["of a range"] = function() return mf.range(3) end,
    ["of a triple"] = function() return mf.iter(ipairs { "a", "b", "c" }) end,
  }
  for name, make in pairs(makers) do
    it(name .. " comes as one callable object, for a generic for that closes it", function()
      local iterator, state, control, closing = make()
      assert.is_nil(state)
      assert.is_nil(control)
      assert.is_true(rawequal(iterator, closing))
      assert.are.equal(1, (iterator()))
      assert.are.equal(2, (iterator()))
      iterator:close()
      assert.is_nil((iterator()))
      iterator:close()
      do local _ <close> = make() end
      local count = 0
      for i in make() do
        count = count + 1
        assert.are.equal(count, i)
      end
      assert.are.equal(3, count)
    end)
  end
end)
