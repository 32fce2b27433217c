-- Where threads and processes differ: what runs when a worker is stopped, and what is shared.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- A worker in an endless loop within to-be-closed variables that say so when they are closed.
local function closing(constructor)
  local started, closed = mf.Queue(), mf.Queue()
  local worker = constructor {
    target = function()
      local function note(name)
        return setmetatable({}, { __close = function() closed:put(name) end })
      end
      local _ <close> = note("outer")
      pcall(function()
        local _ <close> = note("in pcall")
        coroutine.wrap(function()
          local _ <close> = note("in coroutine")
          started:put(true)
          while true do end
        end)()
      end)
      closed:put("never reached")
    end,
  }
  worker:start()
  assert.is_true(started:get(long))
  return worker, closed
end

local function drain(queue)
  local list = {}
  while true do
    local value, reason = queue:get_nowait()
    if reason then return list end
    list[#list + 1] = value
  end
end

describe("thread", function()
  it("terminated runs its to-be-closed variables, each once", function()
    local worker, closed = closing(mf.Thread)
    worker:terminate()
    assert.is_true(worker:join(long))
    assert.are.equal(-15, worker.exitcode)
    local names = drain(closed)
    table.sort(names)
    assert.are.same({ "in coroutine", "in pcall", "outer" }, names)
  end)

  it("killed runs no more Lua", function()
    local worker, closed = closing(mf.Thread)
    worker:kill()
    assert.is_true(worker:join(long))
    assert.are.equal(-9, worker.exitcode)
    assert.are.same({}, drain(closed))
  end)

  it("killed with a finalizer that does not return leaves it behind after a second", function()
    -- In a program of its own: nothing ends such a finalizer but the process's end.
    local result = helper.run_script [[
      local mf = require "moonfleet"
      local lock = mf.Lock()
      local function endless() while true do end end
      local t = mf.Thread(function()
        _G.kept = setmetatable({}, { __gc = endless })
        lock:acquire()
        while true do end
      end)
      t:start()
      while not lock:locked() do mf.sleep(0.001) end
      t:terminate()
      print(t:join(0.05))
      t:kill()
      print(t:join(20), t.exitcode, mf.is_error(t:exception(), "terminated"), t:is_alive())
      print(lock:acquire())

      print(mf.spawn(function() return "others go on" end):result(20))
      os.exit(0)
    ]]
    assert.are.same({ code = 0, err = "", out = "false\ttimeout\ntrue\t-9\ttrue\tfalse\n" ..
      "true\tabandoned\nothers go on\n" }, result)
  end)

  it("killed with a finalizer that takes long is ended by itself", function()
    local ended = mf.Queue()
    local worker = mf.Thread(function()
      _G.kept = setmetatable({}, { __gc = function()
        local until_then = mf.time() + 1.5
        while mf.time() < until_then do end
        ended:put("finalized")
      end })
      ended:put("begun")
      while true do end
    end)
    worker:start()
    ended:get(long)
    worker:kill()
    assert.is_true(worker:join(long))
    assert.are.equal(-9, worker.exitcode)
    assert.are.equal("finalized", ended:get(long)) -- by a thread that is nobody's any more
  end)

  it("terminated in a to-be-closed variable's method that loops is killed in the end", function()
    local started = mf.Queue()
    local worker = mf.Thread(function()
      local _ <close> = setmetatable({}, { __close = function()
        started:put(true)
        while true do end
      end })
    end)
    worker:start()
    started:get(long)
    worker:terminate()
    if not worker:join(5) then worker:kill() end
    assert.is_true(worker:join(long))
    assert.is_true(worker.exitcode < 0)
  end)

  it("stopped in any loop stops", function()
    local loops = {
      function() while true do end end,
      function() for _ = 1, math.huge do end end,
      function() ::again:: goto again end,
      function() local function f() return f() end return f() end,
      function() while true do pcall(error) end end,
      function() while true do xpcall(error, function() while true do end end) end end,
      function() while true do coroutine.wrap(function() coroutine.yield() end)() end end,
      function() local co = coroutine.wrap(function() while true do coroutine.yield() end end)
        while true do co() end end,
      function() while true do ("x"):rep(100):gsub("x", function() while true do end end) end end,
      function() while true do table.sort({ 3, 1, 2 }, function() while true do end end) end end,
      function() setmetatable({}, { __index = function() while true do end end }).x = nil
        return setmetatable({}, { __index = function() while true do end end }).x end,
      function() local function deep(n) if n > 0 then deep(n - 1) end while true do end end
        deep(10000) end,
    }
    for number, loop in ipairs(loops) do
      local started = mf.Queue()
      local worker = mf.Thread(function()
        started:put(true)
        loop()
      end)
      worker:start()
      started:get(long)
      worker:terminate()
      assert.is_true(worker:join(long), "loop " .. number)
      assert.are.equal(-15, worker.exitcode)
    end
  end)

  it("that terminates itself ends", function()
    local worker = mf.Thread(function()
      mf.current_process():terminate()
      while true do end
    end)
    worker:start()
    assert.is_true(worker:join(long))
    assert.are.equal(-15, worker.exitcode)
  end)

  it("shares the process: pid and threads", function()
    local worker = mf.Thread(mf.getpid)
    worker:start()
    assert.are.equal(mf.getpid(), worker:result(long))
  end)

  it("has a Lua state of its own", function()
    rawset(_G, "spec_shared", 1)
    local worker = mf.Thread(function() return rawget(_G, "spec_" .. "shared") end)
    worker:start()
    local seen = worker:result(long)
    rawset(_G, "spec_shared", nil)
    assert.is_nil(seen)
  end)

  it("may be one of 200 at once", function()
    local go, workers = mf.Semaphore(0), {}
    for i = 1, 200 do
      workers[i] = mf.Thread(function()
        go:acquire()
        return i
      end)
      workers[i]:start()
    end
    go:release(200)
    for i = 1, 200 do assert.are.equal(i, workers[i]:result(long)) end
  end)

  it("of a pool runs its to-be-closed variables once when its task is stopped", function()
    local closed = mf.Queue()
    local pool <close> = mf.ThreadPool(1)
    helper.fails("timeout", pool.map, pool, function()
      pcall(function()
        local _ <close> = setmetatable({}, { __close = function() closed:put("once") end })
        while true do end
      end)
      closed:put("never reached")
    end, { 1 }, { task_timeout = 0.1 })
    assert.are.equal("once", (closed:get(long)))
    assert.are.same({}, drain(closed))
  end)
end)

describe("process", function()
  it("terminated runs no Lua", function()
    local worker, closed = closing(mf.Process)
    worker:terminate()
    assert.is_true(worker:join(long))
    assert.are.equal(-15, worker.exitcode)
    assert.are.same({}, drain(closed))
  end)

  it("is stopped at once inside a C function", function()
    local started = mf.Queue()
    local worker = mf.spawn(function()
      started:put(true)
      return ("a"):rep(60):find(("a*"):rep(60) .. "b")
    end)
    started:get(long)
    worker:terminate()
    assert.is_true(worker:join(long))
    assert.are.equal(-15, worker.exitcode)
  end)

  it("may be started while threads run and allocate", function()
    local stop, threads = mf.Queue(), {}
    for i = 1, 2 do
      threads[i] = mf.Thread(function()
        while stop:empty() do
          local t = {} -- luacheck: ignore 241
          for k = 1, 100 do t[k] = ("x"):rep(k) end
        end
      end)
      threads[i]:start()
    end
    for i = 1, 20 do
      assert.are.equal(i, mf.spawn(function() return i end):result(long))
    end
    stop:put(true)
    for i = 1, 2 do threads[i]:join(long) end
  end)

  it("may start from a thread, and threads from it", function()
    local worker = mf.Thread(function()
      return mf.spawn(function()
        local inner = mf.Thread(function() return "innermost" end)
        inner:start()
        return inner:result(30)
      end):result(30)
    end)
    worker:start()
    assert.are.equal("innermost", worker:result(long))
  end)

  it("has the parent's CPU affinity at the moment of its start", function()
    local result = helper.run_script [[
      local mf = require "moonfleet"
      mf.spawn(function() end):join()
      local function cpus()
        for line in io.lines("/proc/self/status") do
          local list = line:match("^Cpus_allowed_list:%s*(%S+)")
          if list then return list end
        end
      end
      os.execute("taskset -pc 0 " .. mf.getpid() .. " >/dev/null")
      print(cpus(), mf.spawn(cpus):result())
    ]]
    assert.are.same({ code = 0, err = "", out = "0\t0\n" }, result)
  end)
end)
