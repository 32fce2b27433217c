-- select and wait_any: the first of several queues, connections, processes, futures.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function results(f, ...) return table.pack(f(...)) end

local function queues(count)
  local list = {}
  for i = 1, count do list[i] = mf.Queue() end
  return list
end

describe("select", function()
  it("gives the queue that has a message, and the message, which is taken", function()
    local list = queues(3)
    list[2]:put("second")
    list[2]:put(nil)
    assert.are.same({ n = 2, list[2], "second" }, results(mf.select, list))
    assert.are.same({ n = 2, list[2], nil }, results(mf.select, list, long))
    assert.is_true(list[2]:empty())
  end)

  it("ends at its timeout", function()
    local list = queues(2)
    assert.are.same({ n = 2, nil, "timeout" }, results(mf.select, list, 0))
    assert.are.same({ n = 2, nil, "timeout" }, results(mf.select, list, 0.01))
    list[1]:put(1)
    assert.are.same({ n = 2, list[1], 1 }, results(mf.select, list, 0))
    list[1]:put(2)
    assert.are.same({ n = 2, list[1], 2 }, results(mf.select, list, math.huge))
  end)

  it("gives closed for a queue that is closed and drained", function()
    local list = queues(2)
    list[1]:put("last")
    list[1]:close()
    assert.are.same({ n = 2, list[1], "last" }, results(mf.select, list))
    assert.are.same({ n = 3, list[1], nil, "closed" }, results(mf.select, list))
    assert.are.same({ n = 3, list[1], nil, "closed" }, results(mf.select, list))
  end)

  it("takes from connections, bytes too, to the end", function()
    local a, b = mf.Pipe()
    b:send({ 1 })
    b:send_bytes("bytes")
    assert.are.same({ n = 2, a, { 1 } }, results(mf.select, { mf.Queue(), a }))
    assert.are.same({ n = 2, a, "bytes" }, results(mf.select, { a }))
    b:close()
    assert.are.same({ n = 3, a, nil, "closed" }, results(mf.select, { a, mf.Queue() }))
  end)

  it("is fair when several are ready", function()
    local list, count = queues(4), {}
    for i, queue in ipairs(list) do
      count[queue] = 0
      for _ = 1, 400 do queue:put(i) end
    end
    for _ = 1, 400 do
      local queue = mf.select(list)
      count[queue] = count[queue] + 1
    end
    for _, queue in ipairs(list) do assert.is_true(count[queue] >= 90, count[queue]) end
  end)

  it("is fair also to a program that selects from two lists by turns", function()
    local list, other = queues(2), queues(2)
    for _ = 1, 100 do
      for _, queue in ipairs { list[1], list[2], other[1], other[2] } do queue:put(true) end
    end
    for _ = 1, 100 do
      mf.select(list)
      mf.select(other)
    end
    for _, queue in ipairs { list[1], list[2], other[1], other[2] } do
      assert.is_true(#queue >= 40 and #queue <= 60, #queue)
    end
  end)

  it("has no limit of 64 or 128", function()
    local list = queues(1000)
    local worker = mf.spawn(function(queue)
      mf.sleep(0.02)
      queue:put("far behind")
    end, list[777])
    assert.are.same({ n = 2, list[777], "far behind" }, results(mf.select, list, long))
    worker:join(long)
  end)

  it("raises the error of a message that cannot be decoded, and goes on", function()
    local queue = mf.Queue()
    local child = mf.spawn(function()
      package.preload["spec.only_here"] = function() return { f = function() end } end
      queue:put((require "spec.only_here"))
      queue:put("readable")
    end)
    child:join(long)
    helper.fails("decode", mf.select, { queue })
    assert.are.same({ n = 2, queue, "readable" }, results(mf.select, { queue }))
  end)

  it("runs callbacks that are due", function()
    local queue = mf.Queue()
    local pool <close> = mf.Pool { workers = 1, backend = "thread" }
    pool:submit(function() mf.sleep(0.02) end):add_done_callback(function() queue:put("called") end)
    assert.are.same({ n = 2, queue, "called" }, results(mf.select, { queue, mf.Queue() }, long))
  end)

  it("sees that a callback has closed an element", function()
    local a, b = mf.Pipe()
    local pool <close> = mf.Pool { workers = 1, backend = "thread" }
    pool:submit(function() mf.sleep(0.02) end):add_done_callback(function() a:close() end)
    local err = helper.fails("closed", mf.select, { mf.Queue(), a }, long)
    assert.are.equal("element 2 is a closed Connection", err.message)
    assert.are.same({ n = 2, nil, "closed" }, results(b.recv, b))
  end)

  it("takes lists of things that can become ready", function()
    local queue, a, b = mf.Queue(), mf.Pipe(false)
    for name, f in pairs { select = mf.select, wait_any = mf.wait_any } do
      local function refuse(text, ...)
        helper.misuse(("bad argument #1 to '%s' (%s)"):format(name, text), f, ...)
      end
      refuse("list is empty: nothing could become ready", {})
      refuse("list expected, got nil")
      refuse("list expected, got Queue", queue)
      refuse("element 2: Queue, Connection, Process, Future or Event expected, got number",
        { queue, 5 })
      refuse("element 1: Queue, Connection, Process, Future or Event expected, got table", { {} })
      refuse("element 2: Queue, Connection, Process, Future or Event expected, got Lock",
        { queue, mf.Lock() })
      refuse(("element 3: %s only sends"):format(b), { queue, a, b })
      helper.misuse_like("element 1: Process%-%d+ is not started", f, { mf.Process(print) })
      helper.misuse_like(("bad argument #2 to '%s' %%(timeout in seconds expected, got boolean")
        :format(name), f, { queue }, true)
      helper.misuse_like("bad argument #2", f, { queue }, -1)
    end
    a:close()
    helper.fails("closed", mf.wait_any, { queue, a })
  end)
end)

describe("wait_any", function()
  it("lists those that are ready, in the list's order, and takes nothing", function()
    local list = queues(4)
    list[4]:put(4)
    list[2]:close()
    assert.are.same({ list[2], list[4] }, mf.wait_any(list))
    assert.are.same({ list[2], list[4] }, mf.wait_any(list, 0))
    assert.are.equal(4, (list[4]:get(0)))
    assert.are.same({ list[2] }, mf.wait_any(list, long))
  end)

  it("gives an empty list at its timeout", function()
    assert.are.same({}, mf.wait_any(queues(2), 0))
    assert.are.same({}, mf.wait_any(queues(2), 0.01))
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("select with workers by " .. backend, function()
    it("waits for the first of them", function()
      local list = queues(3)
      local worker = mf_b.spawn(function()
        for i = 1, 300 do list[i % 3 + 1]:put(i) end
      end)
      for i = 1, 300 do
        local queue, value = mf.select(list, long)
        assert.are.equal(queue, list[value % 3 + 1])
        assert.is_true(value <= 300, i)
      end
      worker:join(long)
    end)

    it("gives a worker's exitcode", function()
      local queue = mf.Queue()
      local ends = mf_b.spawn(function() os.exit(7) end)
      assert.are.same({ n = 2, ends, 7 }, results(mf.select, { queue, ends }, long))
      local killed = mf_b.spawn(function() while true do end end)
      killed:kill()
      assert.are.same({ n = 2, killed, -9 }, results(mf.select, { queue, killed }, long))
      assert.are.same({ killed }, mf.wait_any({ queue, killed }))
    end)

    it("takes instances of subclasses", function()
      local Worker = mf_b.Process:extend { run = function() return 1 end }
      local instance = Worker {}
      helper.misuse_like("element 1: %a+%-%d+ is not started", mf.select, { instance })
      instance:start()
      assert.are.same({ n = 2, instance, 0 }, results(mf.select, { instance, mf.Queue() }, long))
      assert.are.same({ instance }, mf.wait_any({ mf.Queue(), instance }))
    end)

    it("gives a future's first result, or raises its error", function()
      local pool <close> = mf_b.Pool(2)
      local go = mf.Queue()
      local slow, fast = pool:submit(function() return (go:get()) end),
        pool:submit(function() return "first", 2 end)
      assert.are.same({ n = 2, fast, "first" }, results(mf.select, { slow, fast }, long))
      local fails = pool:submit(error, { "table" })
      assert.are.same({ fails }, mf.wait_any({ slow, fails }, long))
      assert.are.same({ "table" }, helper.raised(mf.select, { slow, fails }, long))
      go:put("at last")
      assert.are.same({ n = 2, slow, "at last" }, results(mf.select, { slow }, long))
    end)

    it("gives true for an event that is set, even if it is cleared at once", function()
      local event, queue, ready = mf.Event(), mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        local _, value, reason = mf.select { queue, event }
        ready:put(true)
        return value, reason, select("#", mf.select { event })
      end)
      while worker:is_alive() and ready:empty() do
        event:set()
        event:clear()
      end
      event:set()
      assert.are.same({ n = 3, true, nil, 2 }, results(worker.result, worker, long))
      assert.are.same({ event }, mf.wait_any({ queue, event }))
      event:clear()
      assert.are.same({ n = 2, nil, "timeout" }, results(mf.select, { queue, event }, 0))
    end)

    it("takes futures of several tasks, and of chains", function()
      local pool <close> = mf_b.Pool(2)
      local go, queue = mf.Queue(), mf.Queue()
      local list = pool:map_async(function(x) return x * 2 end, { 1, 2, 3 })
      local waits = pool:map_async(function(x) return x, go:get() end, { 1 })
      local chain = list:then_(function(l) return #l end)
      assert.are.same({ n = 2, list, { n = 3, 2, 4, 6 } },
        results(mf.select, { waits, list, queue }, long))
      assert.are.same({ n = 2, chain, 3 }, results(mf.select, { queue, chain, waits }, long))
      assert.are.same({ n = 2, nil, "timeout" }, results(mf.select, { queue, waits }, 0.01))
      assert.are.same({}, mf.wait_any({ queue, waits }, 0.01))
      assert.are.same({ list, chain }, mf.wait_any({ queue, list, waits, chain }))
      queue:put("there")
      assert.are.same({ n = 2, queue, "there" }, results(mf.select, { waits, queue }, long))
      queue:put("there")
      assert.are.same({ queue }, mf.wait_any({ waits, queue }, long))
      go:put(true)
      assert.are.same({ n = 2, waits, { n = 1, 1 } }, results(mf.select, { waits }, long))
      helper.misuse_like("element 2: Queue.* got string", mf.select, { waits, "no" })
      helper.misuse_like("element 2: Queue.* got Lock", mf.wait_any, { waits, mf.Lock() })
    end)

    it("sees that a callback has ended a future of its list", function()
      local pool <close> = mf_b.Pool(2)
      local go, queue = mf.Queue(), mf.Queue()
      for _, wait in ipairs { mf.select, mf.wait_any } do
        local list = pool:map_async(function() return (go:get()) end, { 1 })
        local other = pool:map_async(function() mf.sleep(0.05) end, { 1 })
        local chain = other:then_(function() go:put(true) list:wait() end)
        local found = wait({ list, queue }, long)
        assert.is_true(found == list or found[1] == list)
        assert.is_true(chain:wait(long))
      end
    end)

    it("gives each message to one of several who select", function()
      local list, got, workers = queues(3), mf.Queue(), {}
      for w = 1, 4 do
        workers[w] = mf_b.spawn(function()
          local open = { table.unpack(list) }
          while #open > 0 do
            local queue, value, reason = mf.select(open)
            if reason then
              for i = #open, 1, -1 do
                if open[i] == queue then table.remove(open, i) end
              end
            else
              got:put(value)
            end
          end
        end)
      end
      local seen = {}
      for i = 1, 1500 do list[i % 3 + 1]:put(i) end
      for _, queue in ipairs(list) do queue:close() end
      for _ = 1, 1500 do
        local value = got:get(long)
        assert.is_nil(seen[value])
        seen[value] = true
      end
      for w = 1, 4 do assert.is_true(workers[w]:join(long)) end
      assert.is_true(got:empty())
    end)

    it("shares a queue with who waits in get: no message lies beside a sleeper", function()
      local queue, other, got = mf.Queue(), mf.Queue(), mf.Queue()
      local selector = mf_b.spawn(function()
        while true do
          local from, value, reason = mf.select { other, queue }
          if reason then return end
          got:put({ from == queue, value })
        end
      end)
      local getter = mf_b.spawn(function()
        for _, value in queue:iter() do got:put({ true, value }) end
      end)
      for i = 1, 1000 do
        queue:put(i)
        if i % 3 == 0 then other:put(i) end
        if i % 50 == 0 then mf.sleep(0.001) end
      end
      for _ = 1, 1333 do assert.is_truthy(got:get(long)) end
      queue:close()
      other:close()
      selector:join(long)
      getter:join(long)
    end)

    it("loses nothing when those who select are killed at any moment", function()
      local list, got = queues(5), mf.Queue()
      local function serve()
        while true do
          local _, value = mf.select(list)
          got:put(value)
        end
      end
      local lives = mf_b.spawn(serve)
      local sent, count = 0, 0
      for _ = 1, 15 do
        local dies = mf_b.spawn(serve)
        for _ = 1, 60 do
          sent = sent + 1
          list[sent % 5 + 1]:put(sent)
        end
        got:get(long)
        count = count + 1
        dies:kill()
        dies:join(long)
      end
      -- A message may have gone with each of the dead, no other.
      while true do
        local _, reason = got:get(0.3)
        if reason then break end
        count = count + 1
      end
      assert.is_true(count >= sent - 15, count .. " of " .. sent)
      for _, queue in ipairs(list) do assert.is_true(queue:empty()) end
      lives:terminate()
      lives:join(long)
    end)

    it("is woken for by a producer that is killed at any moment", function()
      local list = queues(3)
      for round = 1, 12 do
        local producer = mf_b.spawn(function()
          for i = 1, math.huge do list[i % 3 + 1]:put(i) end
        end)
        mf.select(list, long)
        producer:kill()
        producer:join(long)
        repeat
          local left = 0
          for _, queue in ipairs(list) do left = left + #queue end
          if left > 0 then assert.is_truthy((mf.select(list, long)), round) end
        until left == 0
        assert.are.same({ n = 2, nil, "timeout" }, results(mf.select, list, 0))
      end
    end)

    it("ends when its worker is terminated", function()
      local started, never = mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        started:put(true)
        mf.select { never }
      end)
      started:get(long)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)
  end)

  describe("select in a task by " .. backend, function()
    it("runs the awaited tasks itself when there is nobody else", function()
      local pool <close> = mf_b.Pool(1)
      assert.are.equal("inner", pool:apply(function()
        local first, second = pool:submit(string.upper, "x"), pool:submit(function()
          return "inner"
        end)
        local _, upper = mf.select { first }
        assert(upper == "X")
        local ready = mf.wait_any { second }
        return ready[1]:get()
      end))
    end)

    it("leaves room for a spare worker while it sleeps", function()
      local pool <close> = mf_b.Pool(1)
      local queue = mf.Queue()
      local waits = pool:submit(function()
        local _, value = mf.select({ queue, mf.Queue() })
        return value
      end)
      pool:submit(function() queue:put("by the spare") end)
      assert.are.equal("by the spare", waits:get(long))
    end)
  end)
end)

describe("select over a process and a thread", function()
  it("is one select", function()
    local a, b = mf.Pipe()
    local queue = mf.Queue()
    local process = mf.Process(function(c) for i = 1, 100 do c:send(i) end end, b)
    local thread = mf.Thread(function() for i = 1, 100 do queue:put(i) end end)
    process:start()
    thread:start()
    b:close()
    local open, sum = { a, queue, process, thread }, 0
    while #open > 1 do
      local object, value, reason = mf.select(open, long)
      if object == process or object == thread or reason then
        for i = #open, 1, -1 do
          if rawequal(open[i], object) then table.remove(open, i) end
        end
      else
        sum = sum + value
      end
    end
    while not queue:empty() do sum = sum + queue:get() end
    assert.are.equal(2 * 5050, sum)
  end)
end)
