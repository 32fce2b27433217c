-- Queues whose messages are called done: task_done, join, what dead consumers had taken; and fd.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

describe("message of a queue", function()
  it("is joined once it was called done", function()
    local queue = mf.JoinableQueue()
    assert.is_true((queue:join()))
    queue:put("a")
    queue:put("b")
    assert.are.same({ false, "timeout" }, { queue:join(0) })
    queue:get()
    queue:task_done()
    queue:get()
    assert.are.same({ false, "timeout" }, { queue:join(0.01) })
    queue:task_done()
    assert.are.same({ n = 1, true }, table.pack(queue:join()))
    queue:put("c")
    assert.are.same({ false, "timeout" }, { queue:join(0) })
  end)

  it("cannot be called done more often than it was taken", function()
    local queue = mf.Queue()
    helper.misuse_like("^cannot call task_done on Queue%(#%d+%): all messages that were taken " ..
      "from it are done already$", function() queue:task_done() end)
    queue:put(1)
    helper.misuse_like("cannot call task_done", function() queue:task_done() end)
    queue:get()
    queue:task_done()
    helper.misuse_like("cannot call task_done", function() queue:task_done() end)
  end)

  it("counts however it was put and taken", function()
    local queue = mf.Queue { max_bytes = 100000 }
    queue:put_many { 1, ("x"):rep(1000), 3, 4, 5 }
    queue:put_nowait(6)
    queue:close()
    assert.are.equal(3, queue:get_many(3).n)
    assert.are.equal(4, (queue:get_nowait()))
    for _ in queue:iter() do queue:task_done() end
    assert.are.same({ false, "timeout" }, { queue:join(0) })
    for _ = 1, 4 do queue:task_done() end
    assert.is_true((queue:join(0)))
    helper.misuse_like("cannot call task_done", function() queue:task_done() end)
  end)

  it("is done when its taker lets go of the queue", function()
    local queue = mf.Queue()
    local other = mf.Queue()
    other:put(queue)
    queue:put(1)
    do
      local taker <close> = queue
      taker:get()
      assert.are.same({ false, "timeout" }, { taker:join(0) })
    end
    assert.is_true((other:get():join(0)))
  end)

  it("takes numbers for timeouts", function()
    local queue = mf.Queue()
    helper.misuse_like("bad argument #2 to 'join' %(timeout in seconds expected, got boolean",
      function() queue:join(true) end)
    helper.misuse_like("bad argument #0 to 'task_done' %(Queue expected",
      function() queue.task_done() end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("joining a queue with workers by " .. backend, function()
    it("waits until the last message is done", function()
      local queue, done = mf.Queue(), mf.Semaphore(0)
      for _ = 1, 3 do
        mf_b.spawn { target = function()
          for _, seconds in queue:iter() do
            mf.sleep(seconds)
            done:release()
            queue:task_done()
          end
        end, daemon = true }
      end
      for i = 1, 30 do queue:put(i % 3 == 0 and 0.01 or 0) end
      assert.is_true((queue:join(long)))
      assert.are.equal(30, done:value())
      queue:close()
      for _, worker in ipairs(mf.active_children()) do worker:join(long) end
    end)

    it("counts as done what a killed consumer had taken, and no more", function()
      local queue, taken = mf.Queue(), mf.Queue()
      for i = 1, 10 do queue:put(i) end
      local consumer = mf_b.spawn(function()
        for _ = 1, 3 do queue:get() end
        queue:task_done()
        taken:put(true)
        while true do end
      end)
      taken:get(long)
      assert.are.same({ false, "timeout" }, { queue:join(0) })
      consumer:kill()
      consumer:join(long)
      for _ = 1, 7 do
        assert.are.same({ false, "timeout" }, { queue:join(0) })
        queue:get(0)
        queue:task_done()
      end
      assert.is_true((queue:join(long)))
      helper.misuse_like("cannot call task_done", function() queue:task_done() end)
    end)

    it("wakes who waits when the consumer of the last one dies", function()
      local queue, taken = mf.Queue(), mf.Queue()
      queue:put_many { 1, 2, 3 }
      local consumer = mf_b.spawn(function()
        queue:get_many(3)
        taken:put(true)
        while true do end
      end)
      local joiner = mf_b.spawn(function() return queue:join() end)
      taken:get(long)
      consumer:kill()
      assert.is_true((joiner:result(long)))
      consumer:join(long)
    end)

    it("counts in pools, too", function()
      local queue = mf.Queue()
      local pool <close> = mf_b.Pool(2)
      for i = 1, 20 do queue:put(i) end
      local results = pool:map_async(function()
        local value = queue:get()
        queue:task_done()
        return value
      end, mf.range(20))
      assert.is_true(pool:apply(function() return (queue:join()) end))
      assert.are.equal(20, results:get(long).n)
      assert.is_true((queue:join(0)))
    end)

    it("loses no count when consumers are killed at any moment", function()
      local queue = mf.Queue()
      for _ = 1, 12 do
        local consumer = mf_b.spawn(function()
          while true do
            queue:get()
            queue:task_done()
          end
        end)
        for i = 1, 300 do queue:put(i % 7 == 0 and ("x"):rep(400) or i) end
        consumer:kill()
        consumer:join(long)
      end
      local left = #queue
      for _ = 1, left do queue:get(0) end
      for _ = 1, left do
        assert.are.same({ false, "timeout" }, { queue:join(0) })
        queue:task_done()
      end
      assert.is_true((queue:join(0)))
    end)
  end)
end)

describe("fd of a queue", function()
  it("is readable while a get would not wait", function()
    local queue = mf.Queue()
    assert.are.equal("integer", math.type(queue.fd))
    assert.are.equal(queue.fd, queue.fd)
    assert.is_false(helper.readable(queue.fd))
    queue:put(1)
    queue:put(2)
    assert.is_true(helper.readable(queue.fd, true))
    queue:get()
    assert.is_true(helper.readable(queue.fd))
    queue:get()
    assert.is_false(helper.readable(queue.fd))
    queue:close()
    assert.is_true(helper.readable(queue.fd, true))
  end)

  it("is there where the queue was sent, and gone where it was let go", function()
    local queue = mf.Queue()
    assert.are.equal("integer", mf.spawn(function()
      return math.type(queue.fd)
    end):result(long))
    do
      local closed <close> = queue
      assert.is_truthy(closed.fd)
    end
    local err = helper.fails("closed", function() return queue.fd end)
    assert.are.equal("this Queue is closed", err.message)
  end)

  it("leaves all other names as they are", function()
    local queue = mf.Queue()
    assert.is_nil(queue.no_such_name)
    assert.is_nil(queue[1])
    assert.are.equal(queue.put, queue.put)
    assert.are.equal(mf.Queue().put, queue.put)
    assert.is_false((pcall(function() queue.fd = 5 end)))
    debug.getmetatable(queue).__index = rawequal -- this queue's own
    assert.is_false(queue.get)
    assert.is_true(mf.Queue():empty())
  end)
end)
