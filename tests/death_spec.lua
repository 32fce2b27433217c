-- A worker that dies fails the one item that it ran; the pool heals, nothing is lost or run twice.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- Ends the worker that runs it: by a signal where it is a process, by os.exit elsewhere.
local function die()
  if mf.current_process().backend == "process" then
    os.execute("kill -9 " .. mf.getpid())
    while true do end
  end
  os.exit(9)
end

helper.for_each_backend(function(backend, mf_b)
  describe("worker's death by " .. backend, function()
    it("fails the task that it ran, with worker_died; the pool goes on", function()
      local pool <close> = mf_b.Pool(1)
      local err = helper.fails("worker_died", pool.apply, pool, die)
      assert.are.equal(backend == "process" and -9 or 9, err.exitcode)
      assert.are.equal("string", type(err.worker))
      assert.are.equal("integer", math.type(err.pid))
      assert.are.equal(5, pool:apply(math.abs, { -5 }))
      assert.are.equal(1, pool:stats().died)
      assert.are.equal(1, pool:stats().failed)
    end)

    it("names the worker, the item, the call and the place", function()
      local pool <close> = mf_b.Pool { workers = 1, name = "Kitchen" }
      local err = helper.fails("worker_died", function()
        local results = pool:map(function(x)
          if x == 17 then die() end
          return x
        end, mf.range(30), { chunksize = 30 })
        return results
      end)
      local how = backend == "process" and "was killed by SIGKILL" or "os.exit%(9%)"
      assert.is_truthy(err.message:find("Kitchen:1 %(pid " .. err.pid .. "%)"), err.message)
      assert.is_truthy(err.message:find(how), err.message)
      assert.is_truthy(err.message:find("item 17 of map %(.*death_spec.lua:%d+%)"), err.message)
      assert.are.equal("Kitchen:1", err.worker)
      if backend == "process" then
        assert.is_truthy(err.message:find("; out of memory?", 1, true), err.message)
      end
    end)

    it("fails one item, not its chunk, and runs nothing twice", function()
      local pool <close> = mf_b.Pool(2)
      local ran = mf.Queue()
      local results = pool:map(function(x)
        ran:put(x)
        if x % 10 == 0 then die() end
        return x
      end, mf.range(40), { chunksize = 8, on_error = "collect" })
      for i = 1, 40 do
        if i % 10 == 0 then
          assert.is_true(mf.is_error(results[i], "worker_died"), tostring(results[i]))
          assert.are.equal(i, results[i].index)
        else
          assert.are.equal(i, results[i])
        end
      end
      local counts = {}
      while true do
        local x, reason = ran:get_nowait()
        if reason then break end
        counts[x] = (counts[x] or 0) + 1
      end
      for i = 1, 40 do assert.are.equal(1, counts[i], "runs of item " .. i) end
      assert.are.equal(4, pool:stats().died)
    end)

    it("by os.exit is reported with its code, in any pcall", function()
      local pool <close> = mf_b.Pool(1)
      local err = helper.fails("worker_died", pool.apply, pool, function()
        pcall(function() os.exit(3) end)
      end)
      assert.are.equal(3, err.exitcode)
      err = helper.fails("worker_died", pool.apply, pool, os.exit)
      assert.are.equal(0, err.exitcode)
      assert.are.equal(2, pool:stats().died)
    end)

    it("leaves the other tasks of submit alone", function()
      local pool <close> = mf_b.Pool(2)
      local futures = {}
      for i = 1, 30 do
        futures[i] = pool:submit(function(x)
          if x % 7 == 0 then die() end
          return x
        end, i)
      end
      for i = 1, 30 do
        local ok, value = pcall(futures[i].get, futures[i], long)
        assert.are.equal(i % 7 ~= 0, ok)
        if ok then assert.are.equal(i, value) end
      end
    end)

    it("in imap fails one step, and the others are delivered in order", function()
      local pool <close> = mf_b.Pool(2)
      local seen = {}
      for i, value in pool:imap(function(x)
        if x == 5 then die() end
        return x
      end, mf.range(10), { on_error = "collect", chunksize = 3 }) do
        seen[i] = mf.is_error(value, "worker_died") and "died" or value
      end
      assert.are.same({ 1, 2, 3, 4, "died", 6, 7, 8, 9, 10 }, seen)
    end)

    it("replaces the worker, initializer included", function()
      local pool <close> = mf_b.Pool { workers = 1, initializer = function()
        _G.spec_initialized = "yes"
      end }
      pcall(pool.apply, pool, die)
      assert.are.equal("yes", pool:apply(function() return rawget(_G, "spec_initialized") end))
      assert.are.equal(1, pool:stats().workers)
    end)

    it("is an exception, bare, of a single worker", function()
      local worker = mf_b.spawn(os.exit, 3)
      local err = worker:exception(long)
      assert.is_true(mf.is_error(err, "worker_died"))
      assert.are.equal(3, err.exitcode)
    end)

    it("has everywhere's function run on the replacement, too", function()
      local pool <close> = mf_b.Pool(1)
      pool:everywhere(function(x) _G.spec_state = x end, "everywhere")
      pcall(pool.apply, pool, die)
      local state = pool:apply(function() return rawget(_G, "spec_" .. "state") end)
      assert.are.equal("everywhere", state)
    end)

    it("does not hang a close, a join and a scope's end", function()
      local pool = mf_b.Pool(2)
      local futures = {}
      for i = 1, 6 do futures[i] = pool:submit(die) end
      pool:close()
      assert.is_true(pool:join(long))
      for i = 1, 6 do helper.fails("worker_died", futures[i].get, futures[i], 0) end
    end)

    it("fails those that waited in it for other tasks of theirs, and no more", function()
      local pool <close> = mf_b.Pool(1)
      local err = helper.fails("worker_died", pool.apply, pool, function()
        return pool:submit(die):get()
      end)
      assert.are.equal("string", type(err.worker))
      assert.are.equal(5, pool:apply(math.abs, { -5 }))
    end)
  end)
end)

describe("process worker's death", function()
  -- Kills an idle or a busy worker from outside.
  local function kill(pid) assert(os.execute("kill -9 " .. pid)) end

  it("while idle fails no task", function()
    local pool <close> = mf.Pool(1)
    local pid = pool:apply(mf.getpid)
    kill(pid)
    for i = 1, 20 do assert.are.equal(i, pool:apply(math.abs, { -i })) end
    assert.are_not.equal(pid, pool:apply(mf.getpid))
  end)

  it("by each signal is named", function()
    for signal, number in pairs { SEGV = 11, ABRT = 6, TERM = 15, BUS = 7 } do
      local pool <close> = mf.Pool(1)
      local err = helper.fails("worker_died", pool.apply, pool, function()
        os.execute("kill -" .. signal .. " " .. mf.getpid())
        while true do end
      end)
      assert.are.equal(-number, err.exitcode)
      assert.is_truthy(err.message:find("SIG" .. signal, 1, true), err.message)
    end
  end)

  it("at random under load loses nothing else", function()
    local pool <close> = mf.Pool(2)
    local pids, ran, stop = mf.Queue(), mf.Queue(), mf.Queue()
    local killer = mf.Thread(function()
      for _ = 1, 20 do
        local pid = pids:get(30)
        if not pid or not stop:empty() then return end
        while true do
          local more = pids:get_nowait()
          if not more then break end
          pid = more
        end
        os.execute("kill -9 " .. pid .. " 2>/dev/null")
      end
    end)
    killer:start()
    local results = pool:map(function(x)
      ran:put(x)
      if x % 5 == 0 then pids:put(mf.getpid()) end
      for _ = 1, 20000 do end -- luacheck: ignore
      return x
    end, mf.range(2000), { on_error = "collect", chunksize = 10 })
    stop:put(true)
    pids:put(false)
    killer:join(long)
    local died = 0
    for i = 1, 2000 do
      if mf.is_error(results[i], "worker_died") then died = died + 1
      else assert.are.equal(i, results[i]) end
    end
    assert.is_true(died <= 20)
    local counts = {}
    while true do
      local x, reason = ran:get_nowait()
      if reason then break end
      counts[x] = (counts[x] or 0) + 1
      assert.are.equal(1, counts[x], "runs of item " .. x)
    end
  end)

  it("does not shut out its own callbacks' state: futures tell it", function()
    local pool <close> = mf.Pool(1)
    local seen
    local future = pool:submit(die)
    future:add_done_callback(function(f) seen = f:exception(0) end)
    future:wait(long)
    mf.poll()
    assert.is_true(mf.is_error(seen, "worker_died"))
  end)
end)

helper.for_each_program(function(program, run)
  describe("process that forks the workers under " .. program, function()
    it("may be killed: its workers are worker_died, the next start makes a new one", function()
      local result = run([[
        local started = mf.Queue()
        local p = mf.spawn(function()
          local file = io.open("/proc/self/stat")
          started:put(tonumber(file:read("a"):match("^.*%) %a (%d+)")))
          while true do end
        end)
        local pool = mf.Pool(2)
        local begun = mf.Queue()
        local future = pool:submit(function() begun:put(true) while true do end end)
        begun:get(10) -- one that had not begun would be run by the next worker
        os.execute("kill -9 " .. started:get(10))
        print(p:join(10), mf.is_error((p:exception(10)), "worker_died"),
          mf.is_error((future:exception(10)), "worker_died"))
        print(mf.spawn(function() return "again" end):result(10))
        pool:terminate()
        print(pool:join(10))
      ]], { timeout = 40 })
      assert.are.same({ code = 0, err = "", out = "true\ttrue\ttrue\nagain\ntrue\n" }, result)
    end)

    it("may be killed at any moment: a start gives a worker, or one that has died", function()
      local result = run([[
        local function parent()
          local file <close> = io.open("/proc/self/stat")
          return tonumber(file:read("a"):match("^.*%) %a (%d+)"))
        end
        local function forker() -- the last kill may be late, and hit the worker that is asked
          local ok, pid = pcall(function() return mf.spawn(parent):result(10) end)
          assert(ok and pid > 1 or mf.is_error(pid, "worker_died"), pid)
          return ok and pid or forker()
        end
        for i = 1, 20 do
          os.execute("kill -9 " .. forker() .. (i % 2 == 0 and " &" or ""))
          for _ = 1, 3 do
            local ok, err = pcall(function() return mf.spawn(function() end):result(10) end)
            assert(ok or mf.is_error(err, "worker_died"), err)
          end
          while not pcall(function() mf.spawn(function() end):result(10) end) do mf.sleep(0.01) end
        end
        print "done"
      ]], { timeout = 40 })
      assert.are.same({ code = 0, err = "", out = "done\n" }, result)
    end)
  end)

  describe("child that is forked ahead of the next start under " .. program, function()
    local look = [[
      local function stat_of(pid)
        local file = io.open("/proc/" .. pid .. "/stat")
        local text = file and file:read("a") or ""
        if file then file:close() end
        local state, parent = text:match("^.*%) (%a) (%d+)")
        return state ~= "Z" and tonumber(parent)
      end
      local warden = mf.spawn(function() return stat_of("self") end):result(10)
      local function blank()
        for _ = 1, 500 do
          local list <close> = io.popen("ls /proc")
          for name in list:lines() do
            if name:find("^%d") and stat_of(name) == warden then return tonumber(name) end
          end
          mf.sleep(0.01)
        end
      end
    ]]

    it("becomes the next worker", function()
      local result = run(look .. [[
        local pid = blank()
        print(pid ~= nil, mf.spawn(mf.getpid):result(10) == pid)
      ]])
      assert.are.same({ code = 0, err = "", out = "true\ttrue\n" }, result)
    end)

    it("may be killed: the next worker is another", function()
      local result = run(look .. [[
        for _ = 1, 20 do
          local pid = blank()
          os.execute("kill -9 " .. pid)
          local next_pid = mf.spawn(mf.getpid):result(10)
          assert(math.type(next_pid) == "integer" and next_pid ~= pid)
        end
        os.execute("kill -9 " .. blank())
        local pool <close> = mf.Pool(2)
        print(#pool:map(mf.getpid, { 1, 2, 3 }))
      ]])
      assert.are.same({ code = 0, err = "", out = "3\n" }, result)
    end)

    it("has the memory limit, the name and the environment of its worker", function()
      local result = run(look .. [[
        blank()
        local p = mf.Process {
          target = function() return mf.current_process().name, ("x"):rep(1 << 24) end,
          name = "Small", memory_limit = 1 << 20,
        }
        p:start():join(10)
        print(mf.is_error((p:exception(10)), "memory_limit"))
        blank()
        print(mf.spawn(function()
          return mf.current_process().name, os.getenv "HOME"
        end):result(10))
      ]], { env = { HOME = "/nowhere" } })
      assert.are.same({ code = 0, err = "Small: not enough memory\n",
        out = "true\nProcess-2\t/nowhere\n" }, result)
    end)
  end)
end)
