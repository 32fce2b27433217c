-- Events: flags that workers wait for.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

describe("Event", function()
  it("is clear at first, is set and cleared", function()
    local event = mf.Event()
    assert.is_false(event:is_set())
    event:set()
    assert.is_true(event:is_set())
    event:set()
    assert.is_true(event:is_set())
    event:clear()
    assert.is_false(event:is_set())
    event:clear()
    assert.is_false(event:is_set())
  end)

  it("is waited for: at once when it is set, else until the timeout", function()
    local event = mf.Event()
    assert.are.same({ n = 2, false, "timeout" }, table.pack(event:wait(0)))
    assert.are.same({ n = 2, false, "timeout" }, table.pack(event:wait(0.01)))
    event:set()
    for _, timeout in ipairs { 0, 0.01, math.huge } do
      assert.are.same({ n = 1, true }, table.pack(event:wait(timeout)))
    end
    assert.are.same({ n = 1, true }, table.pack(event:wait()))
  end)

  it("says what it is", function()
    local event = mf.Event()
    assert.are.equal("Event", mf.type(event))
    assert.is_truthy(tostring(event):find("^Event%(#%d+, clear%)$"), tostring(event))
    event:set()
    assert.is_truthy(tostring(event):find("^Event%(#%d+, set%)$"), tostring(event))
    do local _ <close> = event end
    assert.are.equal("Event(closed)", tostring(event))
    helper.fails("closed", event.set, event)
  end)

  it("takes a timeout in seconds, and is called with a colon", function()
    local event = mf.Event()
    helper.misuse_like("bad argument #2 to 'wait' %(timeout in seconds expected, got %-1%)",
      function() event:wait(-1) end)
    helper.misuse_like("got boolean; is_set%(%) does not wait", function() event:wait(false) end)
    helper.misuse_like("bad argument #0 to 'set' %(Event expected, got no value; call it with a",
      function() event.set() end)
  end)

  it("is set by a callback that runs while it is waited for", function()
    local event = mf.Event()
    local pool <close> = mf.Pool { workers = 1, backend = "thread" }
    pool:submit(math.abs, -1):add_done_callback(function() event:set() end)
    assert.is_true(event:wait(long))
  end)
end)

helper.for_each_mix(function(name, spawn)
  describe("Event between workers by " .. name, function()
    it("is the same object on every side", function()
      local event = mf.Event()
      local worker = spawn(function(t)
        t.event:set()
        return t.event, tostring(t.event)
      end, { event = event })
      local other, text = worker:result(long)
      assert.is_true(other == event)
      assert.are.equal(tostring(event), text)
      assert.is_true(event:is_set())
    end)

    it("frees all who wait", function()
      local event, coming, workers = mf.Event(), mf.Queue(), {}
      for i = 1, 4 do
        workers[i] = spawn(function()
          coming:put(i)
          return event:wait()
        end)
      end
      for _ = 1, 4 do coming:get(long) end
      event:set()
      for i = 1, 4 do assert.is_true(workers[i]:result(long)) end
    end)

    it("frees who waits when it is set, even if it is cleared at once", function()
      local event, coming, workers = mf.Event(), mf.Queue(), {}
      for i = 1, 3 do
        workers[i] = spawn(function()
          for _ = 1, 20 do
            coming:put(i)
            event:wait()
          end
        end)
      end
      -- Some may not wait yet when it is set: they are freed by the next time.
      local finished = 0
      helper.wait_until(function()
        event:set()
        event:clear()
        finished = 0
        for i = 1, 3 do finished = finished + (workers[i]:is_alive() and 0 or 1) end
        return finished == 3
      end)
      for i = 1, 3 do workers[i]:join(long) end
      assert.are.equal(60, #coming)
      assert.is_false(event:is_set())
    end)

    it("goes back and forth", function()
      local there, back = mf.Event(), mf.Event()
      local worker = spawn(function()
        for _ = 1, 500 do
          there:wait()
          there:clear()
          back:set()
        end
      end)
      for _ = 1, 500 do
        there:set()
        assert.is_true(back:wait(long))
        back:clear()
      end
      worker:join(long)
    end)

    it("frees the others when some who wait are killed", function()
      local event, coming, workers = mf.Event(), mf.Queue(), {}
      for i = 1, 4 do
        workers[i] = spawn(function()
          coming:put(i)
          return event:wait()
        end)
      end
      for _ = 1, 4 do coming:get(long) end
      for i = 1, 3 do workers[i]:kill() end
      for i = 1, 3 do workers[i]:join(long) end
      event:set()
      assert.is_true(workers[4]:result(long))
    end)

    it("is no obstacle to terminate", function()
      local event, coming = mf.Event(), mf.Queue()
      local worker = spawn(function()
        coming:put(true)
        event:wait()
      end)
      coming:get(long)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)
  end)
end)

helper.for_each_program(function(name, run)
  describe("Event under " .. name, function()
    it("stops waiting at Ctrl-C", function()
      local result = run([[
        local event = mf.Event()
        ready()
        local ok, err = pcall(event.wait, event)
        print(ok, err.kind, event:wait(0))
      ]], { signal = "INT", timeout = 30 })
      assert.are.same({ code = 0, err = "", out = "false\tinterrupted\tfalse\ttimeout\n" }, result)
    end)
  end)
end)
