-- Barriers: nobody goes on before all have come.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function until_waiting(barrier, count)
  helper.wait_until(function() return barrier:waiting() == count end)
end

-- A worker that waits once and gives what it got; it waits when this returns.
local function waiter(spawn, barrier, timeout)
  local before = barrier:waiting()
  local worker = spawn(function() return barrier:wait(timeout) end)
  until_waiting(barrier, before + 1)
  return worker
end

local function assert_broken(worker)
  assert.are.same({ n = 2, nil, "broken" }, table.pack(worker:result(long)))
end

describe("Barrier", function()
  it("of one is passed at once, again and again", function()
    local barrier = mf.Barrier(1)
    for _ = 1, 3 do assert.are.same({ n = 1, 1 }, table.pack(barrier:wait())) end
    assert.are.equal(1, barrier:parties())
    assert.are.equal(0, barrier:waiting())
    assert.is_false(barrier:broken())
  end)

  it("is broken by a timeout, until it is reset", function()
    local barrier = mf.Barrier(2)
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(barrier:wait(0.01)))
    assert.is_true(barrier:broken())
    assert.are.same({ n = 2, nil, "broken" }, table.pack(barrier:wait()))
    assert.are.same({ n = 2, nil, "broken" }, table.pack(barrier:wait(0)))
    barrier:reset()
    assert.is_false(barrier:broken())
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(barrier:wait(0)))
  end)

  it("has a timeout of its own for a wait that names none", function()
    local barrier = mf.Barrier(2, { timeout = 0.01 })
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(barrier:wait()))
    barrier:reset()
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(barrier:wait(0)))
  end)

  it("is made of a number and options, or of options", function()
    assert.are.equal(3, mf.Barrier(3):parties())
    assert.are.equal(3, mf.Barrier(3, {}):parties())
    assert.are.equal(3, mf.Barrier(3, { timeout = math.huge }):parties())
    assert.are.equal(3, mf.Barrier { parties = 3, timeout = 1 }:parties())
    local function refuses(text, ...)
      local arguments = table.pack(...)
      helper.misuse(text, function() mf.Barrier(table.unpack(arguments, 1, arguments.n)) end)
    end
    refuses("bad argument #1 to 'Barrier' (integer of at least 1 expected, got 0)", 0)
    refuses("bad argument #1 to 'Barrier' (integer of at least 1 expected, got 1.5)", 1.5)
    refuses("bad argument #1 to 'Barrier' (integer of at least 1 expected, got nil)")
    refuses("bad argument to 'Barrier' (option 'parties': positive integer expected, got nil)", {})
    refuses("bad argument #2 to 'Barrier' (options table expected, got function; "
      .. "write { action = f })", 2, print)
    refuses("bad argument to 'Barrier' (option 'action': function expected, got 1)", 2,
      { action = 1 })
    refuses("bad argument to 'Barrier' (option 'timeout': timeout in seconds expected, got -1)", 2,
      { timeout = -1 })
    refuses("bad argument to 'Barrier' (unknown option 'actoin'; did you mean 'action'?)", 2,
      { actoin = print })
  end)

  it("takes a timeout in seconds", function()
    local barrier = mf.Barrier(2)
    helper.misuse_like("bad argument #2 to 'wait' %(timeout in seconds expected, got boolean; "
      .. "waiting%(%) tells", function() barrier:wait(true) end)
    assert.is_false(barrier:broken())
  end)

  it("says what it is", function()
    local barrier = mf.Barrier(3)
    assert.are.equal("Barrier", mf.type(barrier))
    assert.is_truthy(tostring(barrier):find("^Barrier%(#%d+, 0/3%)$"), tostring(barrier))
    barrier:abort()
    assert.is_truthy(tostring(barrier):find("^Barrier%(#%d+, 0/3, broken%)$"), tostring(barrier))
  end)

  it("refuses an action that cannot be sent", function()
    local co = coroutine.create(print)
    local err = helper.fails("not_sendable", mf.Barrier, 2, { action = function() return co end })
    assert.is_truthy(tostring(err):find("action", 1, true), tostring(err))
  end)

  it("calls a copy of its action, each time afresh", function()
    local calls, told = 0, mf.Queue()
    local barrier = mf.Barrier(1, { action = function()
      calls = calls + 1
      told:put(calls)
    end })
    for _ = 1, 3 do assert.are.equal(1, barrier:wait()) end
    assert.are.equal(0, calls)
    assert.are.same({ 1, 1, 1, n = 3 }, told:get_many(10, long))
  end)

  it("takes an action by its module's name", function()
    local barrier = mf.Barrier(1, { action = "os:time" })
    assert.are.equal(1, barrier:wait())
    helper.misuse_like("option 'action': function expected, got \"os\"", function()
      mf.Barrier(1, { action = "os" })
    end)
  end)

  it("raises its action's error in who ran it, and is broken", function()
    local barrier = mf.Barrier(1, { action = function() error({ "on purpose" }) end })
    assert.are.same({ "on purpose" }, helper.raised(barrier.wait, barrier))
    assert.is_true(barrier:broken())
  end)
end)

helper.for_each_mix(function(name, spawn)
  describe("Barrier between workers by " .. name, function()
    it("lets all through together, each with a number of its own", function()
      local barrier, workers = mf.Barrier(4), {}
      for i = 1, 3 do workers[i] = waiter(spawn, barrier) end
      assert.is_truthy(tostring(barrier):find(", 3/4)", 1, true))
      assert.are.same({ n = 1, 4 }, table.pack(barrier:wait(long)))
      for i = 1, 3 do assert.are.same({ n = 1, i }, table.pack(workers[i]:result(long))) end
      assert.are.equal(0, barrier:waiting())
    end)

    it("keeps workers in step, round after round", function()
      local barrier, order = mf.Barrier(3), mf.Queue()
      local function work()
        for round = 1, 100 do
          order:put(round)
          barrier:wait()
        end
      end
      local workers = { spawn(work), spawn(work), spawn(work) }
      for _, worker in ipairs(workers) do assert.is_true(worker:join(long)) end
      local list = order:get_many(1000, long)
      assert.are.equal(300, list.n)
      for i = 1, 300 do assert.are.equal((i + 2) // 3, list[i]) end
    end)

    it("runs its action once for each round, before anybody goes on", function()
      local order = mf.Queue()
      local barrier = mf.Barrier(3, { action = function() order:put("action") end })
      local function work()
        for _ = 1, 20 do
          barrier:wait()
          order:put("on")
          barrier:wait()
        end
      end
      local workers = { spawn(work), spawn(work), spawn(work) }
      for _, worker in ipairs(workers) do assert.is_true(worker:join(long)) end
      local list = order:get_many(1000, long)
      assert.are.equal(100, list.n)
      for i = 1, 100 do
        assert.are.equal((i % 5 == 1 or i % 5 == 0) and "action" or "on", list[i])
      end
    end)

    it("is broken for the others when its action raises in one", function()
      local barrier = mf.Barrier(3, { action = function() error("on purpose", 0) end })
      local workers = { waiter(spawn, barrier), waiter(spawn, barrier) }
      assert.are.equal("on purpose", helper.raised(barrier.wait, barrier))
      for _, worker in ipairs(workers) do assert_broken(worker) end
      assert.is_true(barrier:broken())
    end)

    it("is broken for all when one times out", function()
      local barrier = mf.Barrier(3)
      local worker = waiter(spawn, barrier)
      assert.are.same({ n = 2, nil, "timeout" }, table.pack(barrier:wait(0.01)))
      assert_broken(worker)
    end)

    for _, way in ipairs { "kill", "terminate" } do
      it("is broken for all when one who waits ends by " .. way, function()
        local barrier = mf.Barrier(4)
        local first, second = waiter(spawn, barrier), waiter(spawn, barrier)
        local third = waiter(spawn, barrier)
        second[way](second)
        second:join(long)
        assert_broken(first)
        assert_broken(third)
        assert.is_true(barrier:broken())
        barrier:reset()
        local again = waiter(spawn, barrier)
        barrier:abort()
        assert_broken(again)
      end)
    end

    it("is broken for all when the one that acts is killed", function()
      local acting = mf.Queue()
      local barrier = mf.Barrier(2, { action = function()
        acting:put(true)
        mf.sleep(100)
      end })
      local first = waiter(spawn, barrier)
      local second = spawn(function() return barrier:wait() end)
      acting:get(long)
      second:kill()
      second:join(long)
      assert_broken(first)
    end)

    it("is broken by abort, and stays so", function()
      local barrier = mf.Barrier(3)
      local workers = { waiter(spawn, barrier), waiter(spawn, barrier) }
      barrier:abort()
      for _, worker in ipairs(workers) do assert_broken(worker) end
      assert.is_true(barrier:broken())
      assert_broken(spawn(function() return barrier:wait() end))
    end)

    it("is usable at once after a reset, which breaks it for who waits", function()
      local barrier = mf.Barrier(2)
      local old = waiter(spawn, barrier)
      barrier:reset()
      local new = waiter(spawn, barrier)
      assert.are.equal(2, barrier:wait(long))
      assert_broken(old)
      assert.are.equal(1, new:result(long))
    end)

    it("is broken when its action takes longer than one who waits does", function()
      local barrier = mf.Barrier(2, { action = function() mf.sleep(0.3) end })
      local first = waiter(spawn, barrier, 0.1)
      assert.are.same({ n = 2, nil, "broken" }, table.pack(barrier:wait()))
      assert.are.same({ n = 2, nil, "timeout" }, table.pack(first:result(long)))
    end)

    for _, how in ipairs { "abort", "reset" } do
      it("is broken for the one that acts, too, by " .. how, function()
        local acting, go = mf.Queue(), mf.Queue()
        local barrier = mf.Barrier(2, { action = function()
          acting:put(true)
          go:get()
        end })
        local first = waiter(spawn, barrier)
        local second = spawn(function() return barrier:wait() end)
        acting:get(long)
        barrier[how](barrier)
        assert_broken(first)
        go:put(true)
        assert_broken(second)
        assert.are.equal(how == "abort", barrier:broken())
      end)
    end

    it("lets the next ones in when its action has ended", function()
      local acting, go = mf.Queue(), mf.Queue()
      local barrier = mf.Barrier(1, { action = function()
        acting:put(true)
        go:get()
      end })
      local first = spawn(function() return barrier:wait() end)
      acting:get(long)
      local second = spawn(function() return barrier:wait() end)
      assert.is_falsy(acting:get(0.02))
      go:put(true)
      assert.are.equal(1, first:result(long))
      acting:get(long)
      go:put(true)
      assert.are.equal(1, second:result(long))
    end)

    it("passes although one who waits for its turn gives up, and is broken then", function()
      local acting, go = mf.Queue(), mf.Queue()
      local barrier = mf.Barrier(1, { action = function()
        acting:put(true)
        go:get()
      end })
      local first = spawn(function() return barrier:wait() end)
      acting:get(long)
      assert.are.same({ n = 2, nil, "timeout" }, table.pack(barrier:wait(0.01)))
      go:put(true)
      assert.are.equal(1, first:result(long))
      assert.are.same({ n = 2, nil, "broken" }, table.pack(barrier:wait()))
    end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("Barrier in a pool over " .. backend, function()
    it("is broken when a task that waits reaches its limit", function()
      local barrier = mf.Barrier(2, { timeout = long })
      local pool <close> = mf_b.Pool(1)
      local future = pool:submit { target = function() return barrier:wait() end,
        task_timeout = 0.2 }
      until_waiting(barrier, 1)
      assert.is_true(helper.fails("timeout", future.get, future).stopped)
      helper.wait_until(function() return barrier:broken() end)
      assert.are.same({ n = 2, nil, "broken" }, table.pack(barrier:wait()))
    end)

    it("passes among the tasks of a pool", function()
      local barrier = mf.Barrier(3)
      local pool <close> = mf_b.Pool(3)
      local list = pool:map(function() return (barrier:wait(long)) end, { 1, 2, 3 },
        { chunksize = 1 })
      table.sort(list)
      assert.are.same({ 1, 2, 3, n = 3 }, list)
    end)
  end)
end)

helper.for_each_program(function(name, run)
  describe("Barrier under " .. name, function()
    it("is broken by Ctrl-C in one who waits", function()
      local result = run([[
        local barrier = mf.Barrier(3)
        local thread = mf.Thread(function() return barrier:wait() end)
        thread:start()
        while barrier:waiting() < 1 do mf.sleep(0.001) end
        ready()
        local ok, err = pcall(barrier.wait, barrier)
        print(ok, err.kind, barrier:broken(), thread:result())
      ]], { signal = "INT", timeout = 30 })
      assert.are.same({ code = 0, err = "",
        out = "false\tinterrupted\ttrue\tnil\tbroken\n" }, result)
    end)
  end)
end)
