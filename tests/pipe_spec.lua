-- Pipes: what one end sends the other receives, and when an end is closed.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- { n =, ... } of what f(...) gives.
local function results(f, ...) return table.pack(f(...)) end

local closed = { n = 2, nil, "closed" }

describe("pipe", function()
  it("carries values both ways, in order, holes included", function()
    local a, b = mf.Pipe()
    assert.is_true(a:send({ 42, nil, "hello" }))
    a:send(nil)
    a:send(("x"):rep(100000))
    local list = b:recv()
    assert.are.same({ 42, nil, "hello" }, { list[1], list[2], list[3] })
    assert.are.same({ n = 1 }, results(b.recv, b))
    assert.are.equal(100000, #b:recv())
    assert.is_true(b:send("back"))
    assert.are.equal("back", a:recv(long))
  end)

  it("of one direction has an end that receives and one that sends", function()
    for _, ends in ipairs { { mf.Pipe(false) }, { mf.Pipe { duplex = false } } } do
      local a, b = ends[1], ends[2]
      b:send("only way")
      assert.are.equal("only way", a:recv())
      helper.misuse_like("^cannot send on Connection%(#%d+%): this end only receives, the other " ..
        "one sends", function() a:send(1) end)
      helper.misuse_like("^cannot send_bytes on", function() a:send_bytes("x") end)
      helper.misuse_like("^cannot recv on Connection%(#%d+%): this end only sends, the other " ..
        "one receives", function() b:recv() end)
      helper.misuse_like("^cannot recv_bytes on", function() b:recv_bytes() end)
      helper.misuse_like("^cannot poll on", function() b:poll() end)
      helper.misuse_like("this Connection has no fd %(it only sends", function() return b.fd end)
    end
  end)

  it("waits as long as it is told", function()
    local a, b = mf.Pipe()
    assert.are.same({ n = 2, nil, "timeout" }, results(a.recv, a, 0))
    assert.are.same({ n = 2, nil, "timeout" }, results(a.recv, a, 0.01))
    assert.are.same({ n = 2, nil, "timeout" }, results(a.recv_bytes, a, 0.01))
    assert.are.same({ n = 2, false, "timeout" }, results(a.poll, a))
    assert.are.same({ n = 2, false, "timeout" }, results(a.poll, a, 0.01))
    b:send(1)
    assert.are.same({ n = 1, true }, results(a.poll, a))
    assert.are.same({ n = 1, true }, results(a.poll, a, math.huge))
    assert.are.equal(1, a:recv(0))
    helper.misuse_like("bad argument #2 to 'recv' %(timeout in seconds expected, got boolean; " ..
      "poll%(%) tells without waiting%)", function() a:recv(false) end)
    helper.misuse_like("bad argument #2 to 'recv_bytes'", function() a:recv_bytes(-1) end)
    helper.misuse_like("bad argument #2 to 'poll'", function() a:poll("soon") end)
  end)

  it("keeps bytes and values apart", function()
    local a, b = mf.Pipe()
    for _, text in ipairs { "", "short", "\0\255", ("y"):rep(300), ("z"):rep(100000) } do
      a:send_bytes(text)
      assert.are.equal(text, b:recv_bytes(0))
      a:send_bytes(text)
      assert.are.equal(text, b:recv(0))
    end
    a:send("a value")
    helper.misuse_like("^cannot recv_bytes on Connection%(#%d+%): the next message was sent " ..
      "by send%(%); recv%(%) takes it$", function() b:recv_bytes() end)
    assert.are.equal("a value", b:recv(0))
    helper.misuse("bad argument #1 to 'send_bytes' (string expected, got number; send(v) " ..
      "takes any value)", function() a:send_bytes(12) end)
    helper.misuse_like("string expected, got no value", function() a:send_bytes() end)
  end)

  it("refuses what cannot be sent, and goes on", function()
    local a, b = mf.Pipe()
    local err = helper.fails("not_sendable", a.send, a, { coroutine.create(print) })
    assert.is_truthy(err.message:find("value[1]", 1, true), err.message)
    a:send(1)
    assert.are.equal(1, b:recv(0))
  end)

  it("says what it is, and what is misused", function()
    local a, b = mf.Pipe()
    assert.are.same({ "Connection", "Connection" }, { mf.type(a), mf.type(b) })
    assert.is_truthy(tostring(a):find "^Connection%(#%d+%)$")
    assert.are_not.equal(a, b)
    helper.misuse_like("bad argument #0 to 'recv' %(Connection expected, got number; call it " ..
      "with a colon: connection:recv", function() a.recv(5) end)
    helper.misuse_like("bad argument #0 to 'close' %(Connection expected", function() a.close() end)
    helper.misuse_like("bad argument #1 to 'Pipe' %(boolean expected, got string",
      function() mf.Pipe("duplex") end)
    helper.misuse_like("unknown option 'duplx'; did you mean 'duplex'",
      function() mf.Pipe { duplx = true } end)
  end)

  it("shows by its fd what can be received, the end too", function()
    local a, b = mf.Pipe()
    assert.are.equal(a.fd, a.fd)
    assert.is_false(helper.readable(a.fd))
    b:send(1)
    assert.is_true(helper.readable(a.fd, true))
    a:recv()
    assert.is_false(helper.readable(a.fd))
    b:close()
    assert.is_true(helper.readable(a.fd, true))
    a:close()
    assert.are.equal("this Connection is closed",
      helper.fails("closed", function() return a.fd end).message)
  end)
end)

describe("end of a pipe", function()
  it("is closed by its last handle: what was sent before is received, then closed", function()
    local a, b = mf.Pipe()
    b:send(1)
    b:send_bytes("2")
    b:close()
    assert.are.equal(1, a:recv())
    assert.is_true(a:poll())
    assert.are.equal("2", a:recv_bytes())
    assert.is_true(a:poll())
    assert.are.same(closed, results(a.recv, a))
    assert.are.same(closed, results(a.recv_bytes, a))
    assert.are.same(closed, results(a.send, a, 1))
    assert.are.same(closed, results(a.send_bytes, a, "1"))
  end)

  it("raises closed in all calls once this handle is closed; closing twice is harmless", function()
    local a = mf.Pipe()
    a:close()
    a:close()
    for _, name in ipairs { "send", "recv", "poll", "send_bytes", "recv_bytes" } do
      local err = helper.fails("closed", a[name], a, "x")
      assert.are.equal("this Connection is closed", err.message)
    end
    assert.are.equal("Connection(closed)", tostring(a))
  end)

  it("is closed when it is collected, or its scope is left", function()
    local a = mf.Pipe()
    collectgarbage()
    collectgarbage()
    assert.are.same(closed, results(a.recv, a, long))
    local c
    do
      local d, e <close> = mf.Pipe()
      c = d
      e:send("last words")
    end
    assert.are.equal("last words", c:recv(0))
    assert.are.same(closed, results(c.recv, c, 0))
  end)

  it("lives on in a message that is on its way", function()
    local a, b = mf.Pipe()
    local post = mf.Queue()
    post:put({ deep = { b } })
    b:close()
    assert.are.same({ n = 2, nil, "timeout" }, results(a.recv, a, 0))
    local other = post:get().deep[1]
    other:send("alive")
    assert.are.equal("alive", a:recv(0))
    post:put(other)
    other:close()
    assert.are.same({ n = 2, nil, "timeout" }, results(a.recv, a, 0))
    do local _ <close> = post end -- the message with the last reference goes with the queue
    assert.are.same(closed, results(a.recv, a, 0))
  end)

  it("lets what nobody can receive any more go at once", function()
    local a, b = mf.Pipe()
    local c, d = mf.Pipe()
    a:send({ d, ("x"):rep(1000) })
    d:close()
    assert.are.same({ n = 2, nil, "timeout" }, results(c.recv, c, 0))
    b:close()
    assert.are.same(closed, results(c.recv, c, 0))
  end)

  it("can be sent through its own pipe, by either end, and leaves nothing behind", function()
    local a, b = mf.Pipe()
    a:send(a)
    assert.are.equal(a, b:recv(0))
    a:send({ a, b, a })
    local again = b:recv(0)
    assert.are.same({ a, b, a }, again)
  end)

  it("that lies in its own queue alone is closed", function()
    local a, b = mf.Pipe()
    a:send("before")
    a:send({ b, b })
    a:send({ ("x"):rep(1000), b })
    a:send("behind")
    b:close()
    assert.are.same(closed, results(a.recv, a, 0))
    assert.are.same(closed, results(a.send, a, 1))
    local c, d = mf.Pipe()
    c:send(d)
    c:send(c)
    c:close()
    d:close()
  end)
end)

helper.for_each_backend(function(backend, mf_b)
  describe("pipe to a worker by " .. backend, function()
    it("carries values there and back", function()
      local here, there = mf.Pipe()
      local worker = mf_b.spawn(function(connection)
        while true do
          local value, reason = connection:recv()
          if reason then return reason end
          connection:send({ value, mf.current_process().name })
        end
      end, there)
      for i = 1, 200 do
        here:send(i)
        assert.are.equal(i, here:recv(long)[1])
      end
      here:close()
      assert.are.equal("closed", worker:result(long))
    end)

    it("is closed by the worker's end once the parent has let go", function()
      for _, how in ipairs { "return", "error", "kill" } do
        local here, there = mf.Pipe()
        local worker = mf_b.Process(function(connection, way)
          connection:send("started")
          if way == "error" then
            io.stderr = nil
            os.exit(1)
          end
          if way == "kill" then while true do end end
        end, there, how)
        worker:start()
        assert.are.equal("started", here:recv(long))
        if how == "kill" then worker:kill() end
        worker:join(long)
        assert.are.same({ n = 2, nil, "timeout" }, results(here.recv, here, 0))
        there:close()
        assert.are.same(closed, results(here.recv, here, long))
        assert.are.same(closed, results(here.send, here, 1))
      end
    end)

    it("is closed while the worker runs, if that lets go", function()
      local here, there = mf.Pipe()
      local go = mf.Queue()
      local worker = mf_b.spawn(function(connection)
        connection:close()
        go:get()
      end, there)
      there:close()
      assert.are.same(closed, results(here.recv, here, long))
      go:put(true)
      worker:join(long)
    end)

    it("wakes who waits when its holder is killed", function()
      local here, there = mf.Pipe()
      local waiting = mf.Queue()
      local holder = mf_b.spawn(function(connection)
        while true do connection:poll(0.001) end
      end, there)
      there:close()
      local receiver = mf_b.spawn(function(connection)
        waiting:put(true)
        local _, reason = connection:recv()
        return reason
      end, here)
      here:close()
      waiting:get(long)
      holder:kill()
      assert.are.equal("closed", receiver:result(long))
      holder:join(long)
    end)

    it("gives a whole message or none when its sender is killed at any moment", function()
      for _ = 1, 12 do
        local here, there = mf.Pipe()
        local sender = mf_b.spawn(function(connection)
          for i = 1, math.huge do connection:send({ i, ("x"):rep(i % 700) }) end
        end, there)
        there:close()
        here:recv(long)
        sender:kill()
        local last = 1
        while true do
          local message, reason = here:recv(long)
          if reason then
            assert.are.equal("closed", reason)
            break
          end
          assert.are.same({ last + 1, (last + 1) % 700 }, { message[1], #message[2] })
          last = message[1]
        end
        sender:join(long)
      end
    end)

    it("can be handed to a worker that already runs, and to a pool's task", function()
      local post = mf.Queue()
      local worker = mf_b.spawn(function()
        local connection <close> = post:get()
        connection:send("from the worker")
      end)
      local here, there = mf.Pipe(false)
      post:put(there)
      assert.are.equal("from the worker", here:recv(long))
      worker:join(long)
      local pool <close> = mf_b.Pool(1)
      local future = pool:submit(function(connection)
        connection:send("from a task")
        connection:close()
      end, there)
      there:close()
      assert.are.equal("from a task", here:recv(long))
      future:wait(long)
      assert.are.same(closed, results(here.recv, here, long))
    end)

    it("is interrupted when its worker is terminated", function()
      local here, there = mf.Pipe()
      local worker = mf_b.spawn(function(connection)
        connection:send(true)
        connection:recv()
      end, there)
      here:recv(long)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)
  end)
end)

describe("pipe between a process and a thread", function()
  it("is one pipe", function()
    local a, b = mf.Pipe()
    local process = mf.spawn(function(c)
      for i = 1, 300 do c:send(i) end
      c:close()
    end, a)
    local thread = mf.Thread(function(c)
      local sum = 0
      while true do
        local value, reason = c:recv()
        if reason then return sum end
        sum = sum + value
      end
    end, b)
    thread:start()
    a:close()
    b:close()
    assert.are.equal(300 * 301 // 2, thread:result(long))
    process:join(long)
  end)

  it("runs callbacks that are due while it waits", function()
    local a, b = mf.Pipe()
    local pool <close> = mf.Pool { workers = 1, backend = "thread" }
    local future = pool:submit(function() mf.sleep(0.02) end)
    future:add_done_callback(function() b:send("by the callback") end)
    assert.are.equal("by the callback", a:recv(long))
  end)
end)
