-- mf.dump_waits: who waits where for what, told from any state.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- The line about the worker of this name, and those about the locks that it holds.
local function lines_of(text, name)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    if line:sub(1, #name + 2) == name .. " (" then
      lines[1] = line
    elseif lines[1] and line:sub(1, 1) == " " then
      lines[#lines + 1] = line
    elseif lines[1] then
      break
    end
  end
  return lines
end

-- Waits until the line of this worker matches the pattern; gives it.
local function until_shown(name, pattern)
  for _ = 1, long * 500 do
    local line = lines_of(mf.dump_waits(), name)[1]
    if line and line:find(pattern) then return line end
    mf.sleep(0.002)
  end
  error(("%s: no %q in\n%s"):format(name, pattern, mf.dump_waits()), 0)
end

local function escaped(object) return (tostring(object):gsub("%p", "%%%0")) end

local here <const> = "tests/waits_spec%.lua:"

helper.for_each_backend(function(backend, mf_b)
  -- Runs `fn` in a worker and shows what the worker's line says; then `release` lets it end.
  local function shown(pattern, release, fn, ...)
    local worker = mf_b.spawn(fn, ...)
    local line = until_shown(worker.name, pattern)
    assert.is_truthy(line:find(("%s (pid %d), %s: "):format(worker.name, worker.pid, backend), 1,
      true), line)
    release()
    assert.is_true(worker:join(long))
    assert.are.equal(0, worker.exitcode)
  end

  describe("dump_waits of workers by " .. backend, function()
    it("shows who waits to get from a queue, since when and where", function()
      local q = mf.Queue(10)
      local line = debug.getinfo(1, "l").currentline + 2
      shown("has waited %d+%.%d s at " .. here .. line .. " to get from " .. escaped(q),
        function() q:put(1) end, function() q:get() end)
    end)

    it("shows who waits to put into a queue", function()
      local q = mf.Queue(1)
      q:put(1)
      shown("has waited %d+%.%d s at " .. here .. "%d+ to put into " .. escaped(q),
        function() q:get() end, function() q:put(2) end)
    end)

    it("shows who waits for a connection, for several things, until all is done", function()
      local a, b = mf.Pipe()
      shown("to get from " .. escaped(a), function() b:send(1) end, function() a:recv() end)
      shown("to get from " .. escaped(a), function() b:send(1) end, function() a:poll(long) end)
      local q = mf.Queue()
      shown("has waited %d+%.%d s at " .. here .. "%d+ for the first of several",
        function() q:put(1) end, function() mf.select { q, b } end)
      q:put(1)
      q:get()
      shown("until all is done of " .. escaped(q), function() q:task_done() end,
        function() q:join() end)
    end)

    it("shows who waits for a lock, and who holds it where", function()
      local lock = mf.Lock()
      local line = debug.getinfo(1, "l").currentline + 1
      lock:acquire()
      shown(("at %s%%d+ for %s, held by main %%(pid %d%%)$"):format(here, escaped(lock),
        mf.getpid()), function()
        local main = lines_of(mf.dump_waits(), "main")
        assert.are.equal(("  holds %s, acquired at tests/waits_spec.lua:%d"):format(tostring(lock),
          line), main[2])
        assert.is_nil(main[3])
        lock:release()
      end, function() lock:with(function() end) end)
    end)

    it("shows all locks that a worker holds, whatever it does", function()
      local a, b, q, go = mf.Lock(), mf.RLock(), mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        local _ <close> = a:hold()
        b:with(function()
          q:put(true)
          while go:empty() do mf.sleep(0) end -- it does not wait
        end)
      end)
      q:get(long)
      local lines = lines_of(mf.dump_waits(), worker.name)
      local runs = lines[1]:find("runs " .. here .. "%d+$") or lines[1]:find("has slept")
      assert.is_truthy(runs, lines[1])
      assert.are.equal(3, #lines)
      for _, lock in ipairs { a, b } do
        local line = ("  holds %s, acquired at %s%%d+\n"):format(escaped(lock), here)
        local text = table.concat(lines, "\n") .. "\n"
        assert.is_truthy(text:find(line), text)
      end
      go:put(true)
      worker:join(long)
      assert.are.same({}, { lines_of(mf.dump_waits(), "main")[2] })
    end)

    it("shows who waits for a semaphore", function()
      local s = mf.Semaphore(0)
      shown("has waited %d+%.%d s at " .. here .. "%d+ for a permit of " .. escaped(s),
        function() s:release() end, function() s:acquire() end)
    end)

    it("shows who waits at an event, a condition and a barrier", function()
      local event, condition, barrier = mf.Event(), mf.Condition(), mf.Barrier(2)
      shown("has waited %d+%.%d s at " .. here .. "%d+ for " .. escaped(event) .. " to be set",
        function() event:set() end, function() event:wait() end)
      shown("at " .. here .. "%d+ to be notified by Condition%(#%d+, 1 waiting%)", function()
        condition:with(condition.notify_all, condition)
      end, function() condition:with(condition.wait, condition) end)
      shown("has waited %d+%.%d s at " .. here .. "%d+ for the others at Barrier%(#%d+, 1/2%)",
        function() barrier:wait() end, function() barrier:wait() end)
      condition:acquire()
      shown("for RLock%(#%d+, held%) of Condition%(#%d+, 0 waiting%), held by main",
        function() condition:release() end, function() condition:with(print) end)
    end)

    it("shows who waits until all messages of a queue are done", function()
      local q = mf.Queue()
      q:put(1)
      q:get()
      shown("at " .. here .. "%d+ until all is done of " .. escaped(q),
        function() q:task_done() end, function() q:join() end)
    end)

    it("shows who selects from several", function()
      local a, b = mf.Queue(), mf.Queue()
      shown("at " .. here .. "%d+ for the first of several",
        function() b:put(1) end, function() mf.select { a, b } end)
    end)

    it("shows who waits for a pool to finish", function()
      local q = mf.Queue()
      shown("at " .. here .. "%d+ for Pool%(Slow%) to finish", function() q:put(1) end, function()
        local pool = mf_b.Pool { workers = 1, name = "Slow" }
        pool:submit(function() return q:get() end)
        pool:close()
        pool:join()
      end)
    end)

    it("shows who joins a worker", function()
      local q = mf.Queue()
      shown("has waited %d+%.%d s at " .. here .. "%d+ for %a+%([%w:-]+, running%) to end",
        function() q:put(1) end, function()
          local child = mf_b.spawn(function() q:get() end)
          child:join()
        end)
    end)

    it("shows who waits for its starter", function()
      local q = mf.Queue()
      shown("has waited %d+%.%d s at " .. here .. "%d+ for its starter to end",
        function() q:put(1) end, function()
          while not q:get_nowait() do mf.parent_process():join(0.05) end
        end)
    end)

    it("shows who sleeps", function()
      local q = mf.Queue()
      shown("has slept %d+%.%d s at " .. here .. "%d+$", function() q:put(1) end, function()
        while not q:get_nowait() do mf.sleep(0.05) end
      end)
    end)

    it("shows what a pool's worker runs, and that it is idle", function()
      local pool <close> = mf_b.Pool { workers = 1, name = "Shown" }
      local q = mf.Queue()
      until_shown("Shown:1", "has been idle %d+%.%d s$")
      local future = pool:submit(function() return q:get() end)
      until_shown("Shown:1", ": runs submit %(" .. here .. "%d+%), has waited %d+%.%d s at " ..
        here .. "%d+ to get from " .. escaped(q))
      q:put(true)
      future:get(long)
      until_shown("Shown:1", "has been idle %d+%.%d s$")
    end)

    it("shows who waits for a future and for a map", function()
      local q, texts = mf.Queue(), mf.Queue()
      local function watch(pattern)
        return mf_b.spawn(function()
          for _ = 1, 5000 do
            local text = mf.dump_waits()
            if ("\n" .. text):find("\nmain [^\n]*" .. pattern) then
              texts:put(true)
              break
            end
            mf.sleep(0.002)
          end
          q:put(true)
        end)
      end
      local pool <close> = mf_b.Pool(1)
      local future = pool:submit(function() return q:get() end)
      local watcher = watch("at " .. here .. "%d+ for Future%(submit %(" .. here ..
        "%d+%), running%)")
      assert.is_true(future:get(long))
      assert.is_true(texts:get_nowait())
      watcher:join(long)
      watcher = watch("at " .. here .. "%d+ for map %(" .. here .. "%d+%)")
      assert.are.same({ n = 1, true }, pool:map(function() return q:get() end, { 1 }))
      assert.is_true(texts:get_nowait())
      watcher:join(long)
    end)

    it("forgets a wait that is over", function()
      local lock = mf.Lock()
      lock:acquire()
      local q, go = mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        lock:acquire()
        lock:release()
        q:put(true)
        while go:empty() do local _ = 1 end
      end)
      until_shown(worker.name, "for Lock")
      lock:release()
      q:get(long)
      until_shown(worker.name, ": runs " .. here .. "%d+$")
      go:put(true)
      worker:join(long)
      assert.are.same({}, lines_of(mf.dump_waits(), worker.name))
    end)

    it("can be asked for while workers come, go and die", function()
      local lock, till, most = mf.Lock(), mf.time() + 1, 0
      local watcher = mf_b.spawn(function()
        local n = 0
        while mf.time() < till do
          n = n + #mf.dump_waits() // #mf.dump_waits()
        end
        return n
      end)
      while mf.time() < till do
        local workers = {}
        for i = 1, 4 do
          workers[i] = mf_b.spawn(function() lock:with(mf.sleep, 0.002) mf.Queue():get() end)
        end
        mf.sleep(0.005)
        for line in mf.dump_waits():gmatch "[^\n]+" do
          assert.is_truthy(line:find("^[%w:-]+ %(pid %d+%)") or line:find("^  holds Lock"), line)
          most = most + 1
        end
        for i = 1, 4 do workers[i]:kill() end
        for i = 1, 4 do workers[i]:join(long) end
      end
      assert.is_true(watcher:result(long) > 0)
      assert.is_true(most > 0)
    end)
  end)
end)

describe("dump_waits", function()
  it("shows a worker that is to stop and is not there yet", function()
    local began = mf.Queue()
    local thread = mf.Thread(function()
      began:put(true)
      os.execute "sleep 0.5" -- a thread ends when the call returns
    end)
    thread:start()
    began:get(long)
    thread:terminate()
    until_shown(thread.name, "; it is to stop$")
    assert.is_true(thread:join(long))
  end)

  it("names the script's line, not one of our own, also where ours lie in a folder", function()
    local pipe <close> = io.popen("pwd")
    for _, folder in ipairs { "", pipe:read("l") .. "/lua" } do
      local result = helper.run_script([[
        local mf = require "moonfleet"
        local pool <close> = mf.Pool(1)
        local function shown()
          local line
          repeat line = mf.dump_waits():match("^main[^\n]*") until line:find("waited")
          return line
        end
        print(pool:map(shown, { 1 })[1])
      ]], { env = { MOONFLEET_LUA_DIR = folder } })
      assert.are.equal("", result.err)
      local expected = " s at script.lua:8 for map %(script.lua:8%)\n$"
      assert.is_truthy(result.out:find(expected), result.out)
    end
  end)

  it("shows the main state, which asks", function()
    local main = ("main (pid %d): runs"):format(mf.getpid())
    assert.are.same({ main }, lines_of(mf.dump_waits(), "main"))
  end)

  it("shows as many workers as there are", function()
    local q, workers = mf.Queue(), {}
    for i = 1, 60 do
      workers[i] = mf.Thread { target = function() q:get() end, name = ("w"):rep(60) }
      workers[i]:start()
    end
    local _, count = mf.dump_waits():gsub("\nw+ %(pid", "")
    assert.are.equal(60, count)
    for _ = 1, 60 do q:put(1) end
    for i = 1, 60 do workers[i]:join(long) end
  end)
end)
