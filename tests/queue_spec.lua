-- Queues: order, limits, closing, many producers and consumers, and their deaths.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

describe("queue", function()
  it("gives messages in the order in which they were put", function()
    local queue = mf.Queue()
    for i = 1, 1000 do assert.is_true(queue:put(i)) end
    for i = 1, 1000 do assert.are.equal(i, (queue:get())) end
  end)

  it("takes nil for a message: success is reason == nil", function()
    local queue = mf.Queue()
    queue:put(nil)
    queue:put(false)
    assert.are.same({ n = 1, nil }, (function(...)
      local value, reason = ...
      return { n = reason == nil and 1 or 2, value }
    end)(queue:get()))
    assert.are.equal(false, (queue:get()))
  end)

  it("copies: later changes stay with the sender", function()
    local queue, box = mf.Queue(), { 1 }
    queue:put(box)
    box[1] = 2
    assert.are.same({ 1 }, (queue:get()))
  end)

  it("tells its size and whether it is empty", function()
    local queue = mf.Queue()
    assert.is_true(queue:empty())
    assert.are.equal(0, queue:size())
    queue:put(1)
    queue:put(2)
    assert.are.equal(2, queue:size())
    assert.are.equal(2, queue:qsize())
    assert.are.equal(2, #queue)
    assert.is_false(queue:empty())
    assert.is_false(queue:full())
    queue:get()
    queue:get()
    assert.is_true(queue:empty())
  end)

  it("is never empty right after a put", function()
    local queue = mf.Queue()
    for i = 1, 2000 do
      queue:put(i)
      assert.are.equal(i, (queue:get_nowait()))
    end
  end)

  it("says that it is empty when nothing may be waited for", function()
    local queue = mf.Queue()
    assert.are.same({ n = 2, nil, "empty" }, table.pack(queue:get_nowait()))
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(queue:get(0.01)))
    local value, reason = queue:get(0)
    assert.is_nil(value)
    assert.is_truthy(reason == "timeout" or reason == "empty")
  end)

  it("has room for maxsize messages", function()
    local queue = mf.Queue(2)
    assert.is_true(queue:put(1))
    assert.is_true(queue:put_nowait(2))
    assert.is_true(queue:full())
    assert.are.same({ n = 2, nil, "full" }, table.pack(queue:put_nowait(3)))
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(queue:put(3, 0.01)))
    assert.are.equal(1, (queue:get()))
    assert.is_true(queue:put(3, 0))
    assert.are.equal(2, #queue)
  end)

  it("has room without end when maxsize is 0 or nil", function()
    for _, queue in ipairs { mf.Queue(0), mf.Queue(), mf.Queue {}, mf.Queue { maxsize = 0 } } do
      for i = 1, 5000 do assert.is_true(queue:put_nowait(("m"):rep(i % 300))) end
      assert.is_false(queue:full())
      assert.are.equal(5000, #queue)
    end
  end)

  it("counts encoded bytes against max_bytes", function()
    local queue = mf.Queue { max_bytes = 1000 }
    assert.is_true(queue:put_nowait(("x"):rep(600)))
    assert.are.same({ n = 2, nil, "full" }, table.pack(queue:put_nowait(("x"):rep(600))))
    assert.is_true(queue:put_nowait(("x"):rep(100)))
    queue:get()
    assert.is_true(queue:put_nowait(("x"):rep(600)))
  end)

  it("lets one message larger than max_bytes into an empty queue", function()
    local queue = mf.Queue { max_bytes = 100 }
    assert.is_true(queue:put_nowait(("x"):rep(100000)))
    assert.are.same({ n = 2, nil, "full" }, table.pack(queue:put_nowait("y")))
    assert.are.equal(100000, #queue:get())
    assert.is_true(queue:put_nowait("y"))
  end)

  it("refuses what cannot be sent before anything else happens", function()
    local queue = mf.Queue(1)
    helper.fails("not_sendable", queue.put, queue, { coroutine.create(print) })
    assert.is_true(queue:empty())
    queue:put(1)
    helper.fails("not_sendable", queue.put, queue, io.stdout, 0)
    queue:get()
    queue:close()
    helper.fails("not_sendable", queue.put, queue, coroutine.create(print))
  end)

  it("once closed takes no more, gives what it has, then says closed", function()
    local queue = mf.Queue()
    queue:put(1)
    queue:put(2)
    queue:close()
    assert.are.same({ n = 2, nil, "closed" }, table.pack(queue:put(3)))
    assert.are.same({ n = 2, nil, "closed" }, table.pack(queue:put_nowait(3)))
    assert.are.equal(1, (queue:get()))
    assert.are.equal(2, (queue:get_nowait()))
    assert.are.same({ n = 2, nil, "closed" }, table.pack(queue:get()))
    assert.are.same({ n = 2, nil, "closed" }, table.pack(queue:get_nowait()))
    assert.are.same({ n = 2, nil, "closed" }, table.pack(queue:get(0)))
    queue:close()
  end)

  it("is iterated until it is closed and drained, holes and all", function()
    local queue = mf.Queue()
    queue:put("a")
    queue:put(nil)
    queue:put("c")
    queue:close()
    local seen = {}
    for i, value in queue:iter() do seen[i] = value or "nil" end
    assert.are.same({ "a", "nil", "c" }, seen)
  end)

  it("keeps what its iterator did not take", function()
    local queue = mf.Queue()
    queue:put_many { 1, 2, 3, 4 }
    for _, value in queue:iter() do
      if value == 2 then break end
    end
    assert.are.equal(3, (queue:get(0)))
    assert.are.equal(1, #queue)
  end)

  it("puts many at once and says how many", function()
    local queue = mf.Queue()
    assert.are.equal(3, (queue:put_many { 1, 2, 3 }))
    assert.are.equal(4, (queue:put_many { n = 4, nil, "x", nil, nil }))
    assert.are.equal(0, (queue:put_many {}))
    assert.are.equal(7, #queue)
    local list = queue:get_many(100)
    assert.are.same({ n = 7, 1, 2, 3, nil, "x", nil, nil }, list)
  end)

  it("gives the count and the reason where not all of many were put", function()
    local queue = mf.Queue(3)
    assert.are.same({ 3, "timeout" }, { queue:put_many({ 1, 2, 3, 4, 5 }, 0.01) })
    assert.are.equal(3, #queue)
    queue:close()
    assert.are.same({ 0, "closed" }, { queue:put_many { 1 } })
  end)

  it("encodes all of many before it puts the first", function()
    local queue = mf.Queue()
    helper.fails("not_sendable", queue.put_many, queue, { 1, 2, coroutine.create(print) })
    assert.is_true(queue:empty())
  end)

  it("gets many: what is there, at most max", function()
    local queue = mf.Queue()
    for i = 1, 5 do queue:put(i) end
    assert.are.same({ n = 3, 1, 2, 3 }, queue:get_many(3))
    assert.are.same({ n = 2, 4, 5 }, queue:get_many(3))
    local list, reason = queue:get_many(3, 0)
    assert.is_nil(list)
    assert.is_truthy(reason == "timeout" or reason == "empty")
    assert.are.same({ n = 2, nil, "timeout" }, table.pack(queue:get_many(3, 0.01)))
    queue:close()
    assert.are.same({ n = 2, nil, "closed" }, table.pack(queue:get_many(3)))
  end)

  it("carries small and large messages in turn, in order", function()
    local queue = mf.Queue()
    for round = 1, 3 do
      for i = 1, 300 do queue:put(("m"):rep(i * 7 * round)) end
      for i = 1, 300 do assert.are.equal(i * 7 * round, #queue:get()) end
    end
  end)

  it("is not disturbed by a collector that runs inside its calls", function()
    local queue = mf.Queue()
    local pause = collectgarbage("setpause", 0)
    local step = collectgarbage("setstepmul", 1000)
    for i = 1, 500 do
      queue:put({ mf.Queue(), mf.Lock(), ("x"):rep(i), { i } })
      queue:put(setmetatable({ i }, { __gc = function() return mf.Queue():put(i) end }))
      assert.are.equal(i, queue:get(0)[4][1])
      assert.are.equal(i, queue:get(0)[1])
    end
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", step)
  end)

  it("goes on when a message could not be decoded", function()
    local queue = mf.Queue()
    local child = mf.spawn(function()
      package.preload["spec.only_there"] = function() return { f = function() end } end
      queue:put((require "spec.only_there"))
      queue:put("readable")
    end)
    child:join(long)
    local err = helper.fails("decode", queue.get, queue, 0)
    assert.is_truthy(err.message:find("spec.only_there", 1, true), err.message)
    assert.are.equal("readable", (queue:get(0)))
  end)

  describe("many with one that cannot be decoded", function()
    -- Puts the list; `bad` is what no other state can read.
    local function put_all(queue, ...)
      local messages = table.pack(...)
      local child = mf.spawn(function()
        package.preload["spec.only_there"] = function() return { f = function() end } end
        for i = 1, messages.n do
          local message = messages[i]
          if message == "bad" then message = require "spec.only_there" end
          if message == "large" then message = ("x"):rep(10000) end
          if message == "large and bad" then
            message = { ("x"):rep(10000), (require "spec.only_there") }
          end
          queue:put(message)
        end
      end)
      child:join(long)
    end

    it("gives the others, and the error when something is asked for again", function()
      local queue = mf.Queue()
      put_all(queue, 1, "bad", 2, "bad", 3)
      assert.are.same({ 1, 2, 3, n = 3 }, queue:get_many())
      assert.are.equal(0, queue:size())
      queue:put(4)
      local err = helper.fails("decode", queue.get, queue, 0)
      assert.is_truthy(err.message:find("spec.only_there", 1, true), err.message)
      helper.fails("decode", queue.get_many, queue, 10, 0)
      assert.are.same({ 4, n = 1 }, queue:get_many(10, 0))
    end)

    it("raises at once when there is nothing else", function()
      local queue = mf.Queue()
      put_all(queue, "bad", "bad")
      helper.fails("decode", queue.get_many, queue, 10, 0)
      helper.fails("decode", queue.get_nowait, queue)
      assert.are.same({ n = 2, nil, "empty" }, table.pack(queue:get_nowait()))
    end)

    it("does so for large messages, and within its limit", function()
      local queue = mf.Queue()
      put_all(queue, "large", "large and bad", 1, "bad", "large", 2)
      local got = queue:get_many(3)
      assert.are.same({ 3, 10000, 1, 10000 }, { got.n, #got[1], got[2], #got[3] })
      helper.fails("decode", queue.get, queue, 0)
      helper.fails("decode", queue.get, queue, 0)
      assert.are.equal(2, queue:get(0))
    end)

    it("counts them as taken", function()
      local queue = mf.Queue()
      put_all(queue, 1, "bad")
      queue:get_many()
      queue:task_done()
      queue:task_done()
      assert.is_true(queue:join(0))
      helper.fails("decode", queue.get, queue, 0)
    end)
  end)

  it("leaves the collector as it was when it puts many", function()
    local queue = mf.Queue()
    collectgarbage "stop"
    queue:put_many { 1, ("x"):rep(1000) }
    local runs = collectgarbage "isrunning"
    collectgarbage "restart"
    assert.is_false(runs)
    queue:put_many { 1, ("x"):rep(1000) }
    assert.is_true(collectgarbage "isrunning")
    assert.are.equal(4, queue:get_many().n)
  end)

  if os.getenv "MOONFLEET_TEST_HUGE" then
    it("carries a message of more than 2 GiB", function()
      local queue = mf.Queue()
      local child = mf.spawn(function() queue:put(("x"):rep((1 << 31) + 5)) end)
      child:join()
      assert.are.equal((1 << 31) + 5, #queue:get(0))
    end)
  end

  it("is known by other names, too", function()
    for _, name in ipairs { "JoinableQueue", "SimpleQueue" } do
      local queue = mf[name]()
      queue:put(name)
      assert.are.equal(name, (queue:get()))
      assert.are.equal("Queue", mf.type(queue))
    end
  end)

  it("says what it is", function()
    local queue = mf.Queue(10)
    queue:put(1)
    queue:put(2)
    assert.is_truthy(tostring(queue):find("^Queue%(#%d+, 2/10%)$"), tostring(queue))
    assert.is_truthy(tostring(mf.Queue()):find("^Queue%(#%d+, 0"), tostring(mf.Queue()))
  end)

  it("releases its handle at the end of a scope, no other", function()
    local go = mf.Queue()
    local seen, worker
    do
      local queue <close> = mf.Queue()
      seen = queue
      worker = mf.spawn(function()
        go:get(30)
        return queue:put(1), queue:get(0)
      end)
    end
    go:put(true)
    assert.are.same({ true, 1 }, { worker:result(long) })
    assert.is_false((pcall(seen.get, seen, 0)))
  end)

  it("takes numbers for timeouts, and says what else to use", function()
    local queue = mf.Queue()
    helper.misuse("bad argument #2 to 'get' (timeout in seconds expected, got boolean; " ..
      "get_nowait() does not wait)", function() queue:get(false) end)
    helper.misuse_like("bad argument #2 to 'get'", function() queue:get(-1) end)
    helper.misuse_like("bad argument #2 to 'get'", function() queue:get(0 / 0) end)
    helper.misuse_like("bad argument #2 to 'get'", function() queue:get("soon") end)
    helper.misuse_like("bad argument #3 to 'put'", function() queue:put(1, true) end)
    queue:put(1)
    assert.are.equal(1, (queue:get(math.huge)))
  end)

  it("refuses sizes that are none, and unknown options", function()
    helper.misuse_like("bad argument #1 to 'Queue'", function() mf.Queue("many") end)
    helper.misuse_like("bad argument #1 to 'Queue'", function() mf.Queue(-1) end)
    helper.misuse("bad argument to 'Queue' (unknown option 'maxsze'; did you mean 'maxsize'?)",
      function() mf.Queue { maxsze = 3 } end)
    helper.misuse_like("maxsize", function() mf.Queue { maxsize = "x" } end)
    helper.misuse_like("max_bytes", function() mf.Queue { max_bytes = -5 } end)
  end)

  it("called without the colon says so", function()
    helper.misuse_like("bad argument #0 to 'put' %(Queue expected, got number; " ..
      "call it with a colon: queue:put", function() mf.Queue().put(5) end)
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("queue between workers by " .. backend, function()
    it("carries what a child puts, the hole included", function()
      local queue = mf.Queue()
      local child = mf_b.spawn(function() queue:put({ 42, nil, "hello" }) end)
      local list = queue:get(long)
      assert.are.same({ 42, nil, "hello" }, { list[1], list[2], list[3] })
      child:join(long)
    end)

    it("holds what was put after its producer has ended", function()
      local queue = mf.Queue()
      local child = mf_b.spawn(function()
        for i = 1, 100 do queue:put(("x"):rep(10000) .. i) end
      end)
      assert.is_true(child:join(long))
      for i = 1, 100 do assert.are.equal(("x"):rep(10000) .. i, (queue:get_nowait())) end
    end)

    it("holds what was put when its producer is killed at once", function()
      local queue, told = mf.Queue(), mf.Queue()
      local child = mf_b.spawn(function()
        queue:put({ "safe", ("x"):rep(1000) })
        told:put(true)
        while true do end
      end)
      told:get(long)
      child:kill()
      child:join(long)
      assert.are.equal("safe", queue:get_nowait()[1])
    end)

    it("holds what was put before os.exit", function()
      local queue = mf.Queue()
      mf_b.spawn(function()
        queue:put("before the exit")
        os.exit(0)
      end):join(long)
      assert.are.equal("before the exit", (queue:get_nowait()))
    end)

    it("does not deadlock a join, however much was put", function()
      local queue = mf.Queue()
      local child = mf_b.spawn(function() queue:put(("x"):rep(5000000)) end)
      assert.is_true(child:join(long))
      assert.are.equal(5000000, #queue:get(0))
    end)

    it("keeps each producer's order among four, loses and doubles nothing", function()
      local queue, workers = mf.Queue(100), {}
      for p = 1, 4 do
        workers[p] = mf_b.spawn(function()
          for i = 1, 2000 do
            queue:put(i % 50 == 0 and { p, i, ("pad"):rep(200) } or { p, i })
          end
        end)
      end
      local last = { 0, 0, 0, 0 }
      for _ = 1, 8000 do
        local message = queue:get(long)
        assert.are.equal(last[message[1]] + 1, message[2])
        last[message[1]] = message[2]
      end
      assert.is_true(queue:empty())
      for p = 1, 4 do assert.is_true(workers[p]:join(long)) end
    end)

    it("gives each message to one of four consumers", function()
      local queue, results, workers = mf.Queue(), mf.Queue(), {}
      for w = 1, 4 do
        workers[w] = mf_b.spawn(function()
          local sum, count = 0, 0
          for _, value in queue:iter() do sum, count = sum + value, count + 1 end
          results:put({ sum, count })
        end)
      end
      for i = 1, 4000 do queue:put(i) end
      queue:close()
      local sum, count = 0, 0
      for _ = 1, 4 do
        local part = results:get(long)
        sum, count = sum + part[1], count + part[2]
      end
      assert.are.same({ 4000 * 4001 // 2, 4000 }, { sum, count })
      for w = 1, 4 do workers[w]:join(long) end
    end)

    it("makes a put wait for room, and wakes it", function()
      local queue = mf.Queue(1)
      local child = mf_b.spawn(function()
        for i = 1, 50 do queue:put(i) end
        return "all put"
      end)
      for i = 1, 50 do assert.are.equal(i, (queue:get(long))) end
      assert.are.equal("all put", child:result(long))
    end)

    it("wakes all who wait when it is closed", function()
      local queue, started, workers = mf.Queue(), mf.Queue(), {}
      for w = 1, 3 do
        workers[w] = mf_b.spawn(function()
          started:put(true)
          return queue:get()
        end)
      end
      for _ = 1, 3 do started:get(long) end
      queue:close()
      for w = 1, 3 do
        assert.are.same({ n = 2, nil, "closed" }, table.pack(workers[w]:result(long)))
      end
    end)

    it("wakes putters who wait when it is closed", function()
      local queue, started = mf.Queue(1), mf.Queue()
      queue:put("fills it")
      local worker = mf_b.spawn(function()
        started:put(true)
        return queue:put("no room")
      end)
      started:get(long)
      queue:close()
      assert.are.same({ n = 2, nil, "closed" }, table.pack(worker:result(long)))
      assert.are.equal("fills it", (queue:get()))
    end)

    it("survives consumers killed while they wait", function()
      local queue, started = mf.Queue(), mf.Queue()
      local victims = {}
      for i = 1, 3 do
        victims[i] = mf_b.spawn(function()
          started:put(true)
          queue:get()
        end)
      end
      for _ = 1, 3 do started:get(long) end
      for i = 1, 3 do victims[i]:kill() end
      for i = 1, 3 do victims[i]:join(long) end
      queue:put("for the living")
      assert.are.equal("for the living", (queue:get(long)))
    end)

    it("loses nothing that was put while producers and consumers are killed", function()
      local queue, acknowledged = mf.Queue(), mf.Queue()
      for round = 1, 10 do
        local producer = mf_b.spawn(function()
          for i = 1, 100000 do
            queue:put({ round, i, ("x"):rep(i % 500) })
            acknowledged:put(i)
          end
        end)
        for _ = 1, round * 20 do acknowledged:get(long) end
        producer:kill()
        producer:join(long)
        local safe = 0
        while true do
          local i, reason = acknowledged:get_nowait()
          if reason then break end
          safe = i
        end
        safe = math.max(safe, round * 20)
        local last = 0
        while true do
          local message, reason = queue:get_nowait()
          if reason then break end
          assert.are.same({ round, last + 1 }, { message[1], message[2] })
          assert.are.equal(message[2] % 500, #message[3])
          last = message[2]
        end
        assert.is_true(last >= safe and last <= safe + 1, last .. " of " .. safe)
      end
    end)

    it("carries queues, to workers that already run", function()
      local queue = mf.Queue()
      local worker = mf_b.spawn(function()
        local reply = queue:get(30)
        reply:put("through a queue that came by a queue")
      end)
      local reply = mf.Queue()
      queue:put(reply)
      assert.are.equal("through a queue that came by a queue", (reply:get(long)))
      worker:join(long)
    end)
  end)
end)

describe("queue between a process and a thread", function()
  it("is one queue", function()
    local there, back = mf.Queue(), mf.Queue()
    local process = mf.spawn(function() for _, v in there:iter() do back:put(v * 2) end end)
    local thread = mf.Thread(function() for i = 1, 500 do there:put(i) end end)
    thread:start()
    for i = 1, 500 do assert.are.equal(i * 2, (back:get(long))) end
    there:close()
    thread:join(long)
    process:join(long)
  end)
end)
