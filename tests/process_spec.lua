-- Workers of one target: starting, arguments, results, names, fields, stopping.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function nothing() end

-- A worker that has begun and runs until it is stopped.
local function endless(constructor)
  local started = mf.Queue()
  local worker = constructor(function()
    started:put(true)
    while true do end
  end)
  worker:start()
  assert.is_true(started:get(long))
  return worker
end

-- A worker that waits until the given queue gets a message.
local function waiting(constructor)
  local go = mf.Queue()
  local worker = constructor(function() return go:get(long) end)
  worker:start()
  return worker, go
end

helper.for_each_backend(function(backend, mf_b)
  local Process = mf_b.Process

  describe("worker by " .. backend, function()
    it("is not started by its constructor", function()
      local worker = Process(nothing)
      assert.is_false(worker:is_alive())
      assert.is_nil(worker.pid)
      assert.is_nil(worker.exitcode)
    end)

    it("runs its target with the arguments of the short form", function()
      local worker = Process(function(a, b) return a + b end, 3, 4)
      worker:start()
      assert.are.equal(7, worker:result(long))
    end)

    it("is alive between start and end", function()
      local worker, go = waiting(Process)
      assert.is_true(worker:is_alive())
      assert.is_nil(worker.exitcode)
      go:put("x")
      assert.is_true(worker:join(long))
      assert.is_false(worker:is_alive())
      assert.are.equal(0, worker.exitcode)
    end)

    it("takes args with holes, as table.pack makes them", function()
      local worker = Process {
        target = function(...) return select("#", ...), ... end,
        args = table.pack(nil, 2, nil),
      }
      worker:start()
      assert.are.same({ n = 4, 3, nil, 2, nil }, table.pack(worker:result(long)))
    end)

    it("gets kwargs as one table behind the arguments", function()
      local worker = Process {
        target = function(a, b, options) return a, b, options.kwarg1, options.kwarg100 end,
        args = { 1, 2 },
        kwargs = { kwarg1 = 5, kwarg100 = 10 },
      }
      worker:start()
      assert.are.same({ 1, 2, 5, 10 }, { worker:result(long) })
    end)

    it("keeps what args and kwargs and target share, as one message", function()
      local shared = {}
      local worker = Process {
        target = function(a, options) return rawequal(a, shared), rawequal(a, options.it) end,
        args = { shared },
        kwargs = { it = shared },
      }
      worker:start()
      assert.are.same({ true, true }, { worker:result(long) })
    end)

    it("encodes its message at start, not before and not after", function()
      local box, go = { "made" }, mf.Queue()
      local worker = Process(function(t)
        go:get(long)
        return t[1]
      end, box)
      box[1] = "started"
      worker:start()
      box[1] = "later"
      go:put(true)
      assert.are.equal("started", worker:result(long))
    end)

    it("is made and started by spawn", function()
      local worker = mf_b.spawn(function(x) return x * 2 end, 21)
      assert.are.equal(42, worker:result(long))
      assert.are.equal(backend, worker.backend)
    end)

    it("accepts a module's function by name", function()
      local worker = Process("string:upper", "shout")
      worker:start()
      assert.are.equal("SHOUT", worker:result(long))
    end)

    it("accepts a callable table, which is no options table", function()
      local twice = setmetatable({ factor = 2 }, {
        __call = function(self, x) return self.factor * x end,
      })
      local worker = Process(twice, 4)
      worker:start()
      assert.are.equal(8, worker:result(long))
    end)

    it("shares nothing by accident: its changes stay with it", function()
      local box = { 1 }
      local worker = mf_b.spawn(function() box[1] = 2 return box[1] end)
      assert.are.equal(2, worker:result(long))
      assert.are.equal(1, box[1])
    end)

    it("joins again and again once it has ended", function()
      local worker = mf_b.spawn(nothing)
      assert.is_true(worker:join(long))
      assert.is_true(worker:join())
      assert.is_true(worker:join(0))
    end)

    it("says that a join's timeout is over", function()
      local worker, go = waiting(Process)
      assert.are.same({ false, "timeout" }, { worker:join(0) })
      assert.are.same({ false, "timeout" }, { worker:join(0.01) })
      go:put(1)
      assert.is_true(worker:join(math.huge))
    end)

    it("raises when it is started twice", function()
      local worker = mf_b.spawn(nothing)
      helper.misuse_like("start", worker.start, worker)
      worker:join(long)
      helper.misuse_like("start", worker.start, worker)
    end)

    it("raises when it is joined before the start", function()
      helper.misuse_like("start", function() Process(nothing):join() end)
    end)

    it("raises when it is closed while it runs", function()
      local worker, go = waiting(Process)
      helper.misuse_like("run", worker.close, worker)
      go:put(1)
      worker:join(long)
    end)

    it("may be closed twice, and then does nothing else", function()
      local worker = mf_b.spawn(nothing)
      worker:join(long)
      worker:close()
      worker:close()
      for _, method in ipairs { "join", "is_alive", "terminate", "kill", "result", "exception" } do
        helper.misuse_like("closed", worker[method], worker)
      end
    end)

    it("joins at the end of its scope", function()
      local go, done = mf.Queue(), mf.Queue()
      do
        local _ <close> = mf_b.spawn(function() done:put(go:get(long)) end)
        go:put("done")
      end
      assert.are.equal("done", (done:get_nowait()))
    end)

    it("is terminated when an error leaves its scope", function()
      local started = mf.Queue()
      local err = helper.raised(function()
        local _ <close> = mf_b.spawn(function()
          started:put(true)
          while true do end
        end)
        started:get(long)
        error("passing", 0)
      end)
      assert.are.equal("passing", err)
    end)
  end)

  describe("result by " .. backend, function()
    it("is all that the target returned", function()
      local worker = mf_b.spawn(function() return 1, nil, "c", nil end)
      assert.are.same({ n = 4, 1, nil, "c", nil }, table.pack(worker:result(long)))
    end)

    it("is there again and again", function()
      local worker = mf_b.spawn(function() return { 1 } end)
      assert.are.same({ 1 }, worker:result(long))
      assert.are.same({ 1 }, worker:result(long))
    end)

    it("may be larger than any pipe", function()
      local worker = mf_b.spawn(function() return ("x"):rep(3000000) end)
      assert.is_true(worker:join(long))
      assert.are.equal(3000000, #worker:result())
    end)

    it("raises a string error with the worker's traceback behind it", function()
      local worker = mf_b.spawn(function()
        error("broken heart")
      end)
      local err = helper.raised(worker.result, worker, long)
      assert.are.equal("string", type(err))
      assert.is_truthy(err:find("process_spec.lua:%d+: broken heart"), err)
      assert.is_truthy(err:find("stack traceback:", 1, true), err)
    end)

    for _, value in ipairs { 42, 1.5, true } do
      it("raises an error " .. tostring(value) .. ", which is no string, unchanged",
        function()
          local worker = mf_b.spawn(function() error(value) end)
          assert.are.equal(value, helper.raised(worker.result, worker, long))
        end)
    end

    it("raises a table error as a copy with its metatable", function()
      local worker = mf_b.spawn(function()
        error(setmetatable({ code = 7 }, { __tostring = function() return "seven" end }))
      end)
      local err = helper.raised(worker.result, worker, long)
      assert.are.equal(7, err.code)
      assert.are.equal("seven", tostring(err))
    end)

    it("raises an error whose __tostring raises as it is", function()
      local result = helper.run_script(([[
        local p = require "moonfleet".with("%s").spawn(function()
          error(setmetatable({ at = 1 }, { __tostring = function() error "no text" end }))
        end)
        print(select(2, pcall(p.result, p)).at, p.exitcode)
      ]]):format(backend))
      assert.are.equal("1\t1\n", result.out)
      assert.is_truthy(result.err:find("^%a+%-1: %(error object is a table value%)\n"), result.err)
    end)

    it("raises nil when that was the error", function()
      local worker = mf_b.spawn(function() error(nil) end)
      assert.are.same({ n = 2, false, nil }, table.pack(pcall(worker.result, worker, long)))
    end)

    it("raises timeout while the worker runs on", function()
      local worker, go = waiting(Process)
      local err = helper.fails("timeout", worker.result, worker, 0.01)
      assert.is_false(err.stopped)
      assert.is_true(worker:is_alive())
      go:put("late")
      assert.are.equal("late", worker:result(long))
    end)

    it("is not sendable: raises so, naming the place", function()
      local worker = mf_b.spawn(function() return 1, { co = coroutine.create(print) } end)
      local err = helper.fails("not_sendable", worker.result, worker, long)
      assert.is_truthy(err.message:find("coroutine", 1, true), err.message)
      assert.is_truthy(err.message:find("co", 1, true), err.message)
    end)

    it("raises terminated after one's own terminate", function()
      local worker = endless(Process)
      worker:terminate()
      helper.fails("terminated", worker.result, worker, long)
    end)

    it("raises terminated after one's own kill", function()
      local worker = endless(Process)
      worker:kill()
      helper.fails("terminated", worker.result, worker, long)
    end)

    it("raises worker_died after os.exit, with the code", function()
      local worker = mf_b.spawn(function() os.exit(3) end)
      local err = helper.fails("worker_died", worker.result, worker, long)
      assert.are.equal(3, err.exitcode)
      assert.are.equal(worker.pid, err.pid)
      assert.are.equal(worker.name, err.worker)
    end)

    it("is an error for exception(): bare, and the traceback", function()
      local worker = mf_b.spawn(function() error("bare", 0) end)
      local err, traceback = worker:exception(long)
      assert.are.equal("bare", err)
      assert.is_truthy(traceback:find("stack traceback:", 1, true), traceback)
    end)

    it("has no exception when there was none", function()
      local worker = mf_b.spawn(nothing)
      assert.is_nil((worker:exception(long)))
    end)
  end)

  describe("stopping by " .. backend, function()
    it("terminates an endless loop", function()
      local worker = endless(Process)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)

    it("terminates an endless loop in a pcall in a coroutine in a pcall", function()
      local started = mf.Queue()
      local worker = mf_b.spawn(function()
        while true do
          pcall(function()
            coroutine.wrap(function()
              while true do
                pcall(function()
                  started:put(true)
                  while true do end
                end)
              end
            end)()
          end)
        end
      end)
      assert.is_true(started:get(long))
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
      assert.is_nil((started:get_nowait()))
    end)

    it("terminates a worker that waits", function()
      local queue, started = mf.Queue(), mf.Queue()
      local worker = mf_b.spawn(function()
        started:put(1)
        queue:get()
      end)
      started:get(long)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)

    it("terminates a worker that sleeps", function()
      local worker = mf_b.spawn(mf.sleep, 1000)
      worker:terminate()
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)

    it("kills", function()
      local worker = endless(Process)
      worker:kill()
      assert.is_true(worker:join(long))
      assert.are.equal(-9, worker.exitcode)
    end)

    it("does nothing to a worker that has ended", function()
      local worker = mf_b.spawn(nothing)
      worker:join(long)
      worker:terminate()
      worker:kill()
      assert.are.equal(0, worker.exitcode)
    end)

    it("reports the signal of each of 100 workers killed right after their start", function()
      local workers = {}
      for i = 1, 100 do
        workers[i] = Process(function() while true do end end)
        workers[i]:start()
      end
      mf.sleep(0.001)
      for i = 1, 100 do workers[i]:kill() end
      for i = 1, 100 do
        assert.is_true(workers[i]:join(long))
        assert.are.equal(-9, workers[i].exitcode)
      end
    end)
  end)

  describe("exit code by " .. backend, function()
    local function code_of(f)
      local worker = mf_b.spawn(f)
      assert.is_true(worker:join(long))
      return worker.exitcode
    end

    it("is 0 when the target returned", function()
      assert.are.equal(0, code_of(function() return 5 end))
    end)

    it("is 1 after an uncaught error", function()
      assert.are.equal(1, code_of(function()
        error("uncaught, on purpose")
      end))
    end)

    it("is what os.exit was given", function()
      assert.are.equal(0, code_of(function() os.exit() end))
      assert.are.equal(7, code_of(function() os.exit(7) end))
      assert.are.equal(0, code_of(function() os.exit(true) end))
      assert.are.equal(1, code_of(function() os.exit(false) end))
      assert.are.equal(9, code_of(function() pcall(os.exit, 9) end))
      assert.are.equal(4, code_of(function() coroutine.wrap(os.exit)(4, true) end))
    end)
  end)
end)
