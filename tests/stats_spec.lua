-- mf.stats: what workers do and have done; and the program's --stats.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local _ENV = _G -- luacheck: ignore 211

local function named(name, list)
  for _, worker in ipairs(list) do
    if worker.name == name then return worker end
  end
end

local function row(name) return named(name, mf.stats().workers) end

-- The worker's row once it is in this state.
local function wait_for(name, state)
  local found
  for _ = 1, 1000 do
    found = row(name)
    if found and found.state == state then return found end
    mf.sleep(0.01)
  end
  error(("%s is %s, not %s"):format(name, found and found.state or "gone", state))
end

-- What is kept of a worker that has ended: its burial is a moment behind that.
local function gone(name)
  for _ = 1, 1000 do
    local found = named(name, mf.stats().ended)
    if found then return found end
    mf.sleep(0.01)
  end
end

-- The place that is `lines` below the caller's line.
local function below(lines)
  return ("tests/stats_spec.lua:%d"):format(debug.getinfo(2, "l").currentline + lines)
end

helper.for_each_backend(function(backend, local_mf)
  describe("stats of workers that are " .. backend .. "s", function()
    it("tell a target's place, its process and that it waits", function()
      local place, queue = below(1), mf.Queue()
      local p = local_mf.Process { name = "waiting", target = function() queue:get() end }
      p:start()
      local found = wait_for("waiting", "waiting")
      assert.are.equal(place, found.task)
      assert.are.equal(backend, found.backend)
      assert.are.equal(p.pid, found.pid)
      assert.are.equal(0, found.tasks)
      queue:put(1)
      p:join(helper.long)
      assert.is_nil(row "waiting")
    end)

    it("tell that a target runs, and count the seconds", function()
      local p <close> = local_mf.Process { name = "running",
        target = function() while true do end end } -- luacheck: ignore
      p:start()
      local first = wait_for("running", "running").busy
      assert.is_true(first >= 0 and first < helper.long)
      mf.sleep(0.05)
      local second = row("running").busy
      assert.is_true(second >= first + 0.04, second - first)
      p:terminate()
      p:join(helper.long)
    end)

    it("tell what a pool's workers do, and where that was asked for", function()
      local gate, opened = mf.Semaphore(0), mf.Semaphore(0)
      local pool <close> = local_mf.Pool { workers = 2, name = "stats" }
      assert.are.equal("idle", wait_for("stats:1", "idle").state)
      assert.is_nil(wait_for("stats:2", "idle").task)
      local line = debug.getinfo(1, "l").currentline + 1
      local futures = pool:map_async(function() opened:release() gate:acquire() end, { 1, 2 })
      opened:acquire()
      opened:acquire()
      local found = wait_for("stats:1", "waiting")
      assert.are.equal(("tests/stats_spec.lua:%d"):format(line), found.task)
      gate:release(2)
      futures:get(helper.long)
      found = wait_for("stats:1", "idle")
      assert.are.equal(1, found.tasks)
      assert.is_true(found.busy > 0)
    end)

    it("count tasks in chunks one by one, and time only while there is work", function()
      local pool <close> = local_mf.Pool { workers = 1, name = "count" }
      pool:map(math.abs, mf.range(1000))
      pool:submit(math.abs, 1):get(helper.long)
      local before = wait_for("count:1", "idle")
      assert.are.equal(1001, before.tasks)
      mf.sleep(0.05)
      assert.are.equal(before.busy, row("count:1").busy)
    end)

    it("keep what workers that are gone have done", function()
      local before = mf.stats()
      local p = local_mf.Process { name = "gone " .. backend, target = function() end }
      p:start()
      p:join(helper.long)
      local left = "left " .. backend .. ":1"
      local pool = local_mf.Pool { workers = 1, name = "left " .. backend }
      pool:map(math.abs, mf.range(10))
      pool:close()
      pool:join(helper.long)
      local past = gone(left)
      local after = mf.stats()
      assert.are.equal(10, past.tasks)
      assert.are.equal(backend, past.backend)
      assert.are.equal(1, named("gone " .. backend, after.ended).tasks)
      assert.are.equal(before.tasks + 11, after.tasks)
      assert.is_true(after.busy >= before.busy)
    end)

    it("are the same wherever they are asked for", function()
      local place = below(1)
      local p = local_mf.Process { name = "asker", target = function() return mf.stats() end }
      p:start()
      local found = named("asker", p:result(helper.long).workers)
      assert.are.equal("running", found.state)
      assert.are.equal(place, found.task)
    end)

    it("survive a worker that is killed in its task", function()
      local pool <close> = local_mf.Pool { workers = 1, backend = "process",
        name = "killed " .. backend }
      local future = pool:submit(function() os.execute("kill -9 " .. mf.getpid()) end)
      future:exception(helper.long)
      assert.are.equal(1, pool:submit(math.abs, -1):get(helper.long))
      local past = gone("killed " .. backend .. ":1")
      assert.are.equal(0, past.tasks)
      assert.is_true(past.busy > 0)
    end)
  end)
end)

describe("stats", function()
  it("count messages and their bytes", function()
    local queue = mf.Queue()
    local before = mf.stats()
    queue:put "12345"
    queue:put_many { 1, 2, 3 }
    queue:put(("x"):rep(10000))
    local after = mf.stats()
    assert.are.equal(before.messages + 5, after.messages)
    local bytes = after.bytes - before.bytes
    assert.is_true(bytes > 10000 and bytes < 10100, bytes)
    assert.is_true(after.shared_bytes >= before.shared_bytes and before.shared_bytes > 65536)
  end)

  it("count what a serial pool runs", function()
    local before = mf.stats()
    local pool <close> = mf.Pool { backend = "serial" }
    pool:map(math.abs, { 1, 2, 3 })
    local after = mf.stats()
    assert.are.equal(before.tasks + 3, after.tasks)
    assert.are.equal(before.messages + 6, after.messages) -- arguments and results
  end)

  it("name a target that is callable, a C function or a text", function()
    local function task_of(target, ...)
      local p = mf.Process { name = "named", target = target, args = { ... } }
      p:start()
      local found
      repeat
        found = assert(row "named")
      until found.state ~= "starting"
      p:terminate()
      p:join(helper.long)
      return found.task
    end
    local place = below(1)
    local Callable = { __call = function(_, seconds) mf.sleep(seconds) end }
    assert.are.equal(place, task_of(setmetatable({}, Callable), 10))
    assert.are.equal("C", task_of(require "moonfleet.core".sleep, 10))
    assert.are.equal("moonfleet.values:sleep", task_of("moonfleet.values:sleep", 10))
  end)
end)

describe("moonfleet --stats", function()
  local function moonfleet(text, options)
    return helper.run_script(text, { program = helper.program, plain = true,
      arguments = "--stats script.lua", env = options })
  end

  it("tells at the end, on standard error, what each worker did", function()
    local result = moonfleet [[
      local pool = mf.Pool { workers = 1, name = "crew" }
      pool:map(math.abs, mf.range(20))
      mf.spawn(function() end)
      print "done"
    ]]
    assert.are.equal(0, result.code)
    assert.are.equal("done\n", result.out)
    local head, titles = result.err:match "^([^\n]*)\n([^\n]*)\n"
    local pattern = "^%d workers?, 21 tasks, %d+%.%d+ s busy; %d+ messages, [%d.]+ KiB; "
    assert.is_truthy(head:find(pattern), result.err)
    assert.is_truthy(titles:find "^name +backend +pid +state +tasks +busy s +task$", titles)
    assert.is_truthy(result.err:find "\ncrew:1 +process +%d+ +%w+ +20 +%d+%.%d%d%d", result.err)
    assert.is_truthy(result.err:find "\nProcess%-1 +process +%d+ +ended +1 +%d+%.%d%d%d\n",
      result.err)
  end)

  it("tells it when the script calls os.exit, and when it fails", function()
    local result = moonfleet "mf.spawn(math.abs, 1):join() os.exit(3)"
    assert.are.equal(3, result.code)
    assert.is_truthy(result.err:find "^%d workers?, 1 task, ", result.err)
    result = moonfleet "error('on purpose', 0)"
    assert.are.equal(1, result.code)
    assert.is_truthy(result.err:find "on purpose", result.err)
    assert.is_truthy(result.err:find "\n0 workers, 0 tasks, 0.000 s busy; ", result.err)
  end)

  it("says nothing without the option", function()
    local result = helper.run_script("print(1)", { program = helper.program, plain = true })
    assert.are.same({ code = 0, out = "1\n", err = "" }, result)
  end)
end)
