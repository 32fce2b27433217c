-- What holds a worker: its fields before the start and after close(), handles that were sent,
-- instances of subclasses, oneself and one's parent.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function nothing() end

helper.for_each_backend(function(backend, mf_b)
  local Process = mf_b.Process

  local function finished(worker)
    worker:start()
    assert.is_true(worker:join(long))
    return worker
  end

  describe("field of a worker by " .. backend, function()
    it("may be set before the start: name and daemon", function()
      local worker = Process(function()
        local me = mf.current_process()
        return me.name, me.daemon
      end)
      worker.name, worker.daemon = "Renamed", true
      worker:start()
      assert.are.same({ "Renamed", true }, { worker:result(long) })
      assert.are.equal("Renamed", worker.name)
      assert.is_true(worker.daemon)
    end)

    it("cannot be set after the start", function()
      local worker = finished(Process(nothing))
      helper.misuse_like("cannot set field 'name'.*started", function() worker.name = "late" end)
      helper.misuse_like("cannot set field 'daemon'.*started", function() worker.daemon = true end)
    end)

    it("of a wrong type or of no such name cannot be set; the name is guessed", function()
      local worker = Process(nothing)
      helper.misuse_like("string expected, got number", function() worker.name = 5 end)
      helper.misuse_like("boolean expected, got string", function() worker.daemon = "yes" end)
      helper.misuse_like("did you mean 'daemon'", function() worker.deamon = true end)
      helper.misuse_like("cannot set field 'pid'", function() worker.pid = 1 end)
    end)

    it("stays readable after close", function()
      local worker = finished(Process { target = nothing, name = "Closed" })
      local pid, ident = worker.pid, worker.ident
      worker:close()
      assert.are.same({ "Closed", 0, backend }, { worker.name, worker.exitcode, worker.backend })
      assert.are.same({ pid, ident }, { worker.pid, worker.ident })
      assert.is_truthy(tostring(worker):find("Closed, closed", 1, true), tostring(worker))
    end)
  end)

  describe("text of a worker by " .. backend, function()
    it("tells its kind, name, state and exit code", function()
      local kind = backend == "thread" and "Thread" or "Process"
      local worker = Process { target = nothing, name = "Shown" }
      assert.are.equal(kind .. "(Shown, new)", tostring(worker))
      finished(worker)
      assert.are.equal(kind .. "(Shown, ended, 0)", tostring(worker))
      assert.are.equal(kind, mf.type(worker))
    end)
  end)

  describe("handle of a worker by " .. backend .. " that was sent", function()
    it("joins it and gives its result elsewhere", function()
      local go = mf.Queue()
      local worker = mf_b.spawn(function() return go:get(30) end)
      local other = mf_b.spawn(function()
        go:put("answer")
        local joined = worker:join(30)
        return joined, worker.exitcode, worker:result(30)
      end)
      assert.are.same({ true, 0, "answer" }, { other:result(long) })
      assert.are.equal("answer", worker:result(long))
    end)

    it("stops it elsewhere", function()
      local worker = mf_b.spawn(function() while true do end end)
      local other = mf_b.spawn(function() worker:terminate() end)
      assert.is_true(other:join(long))
      assert.is_true(worker:join(long))
      assert.are.equal(-15, worker.exitcode)
    end)

    it("before the start cannot start it: what it is to run is not there", function()
      local worker = Process(nothing)
      local other = mf_b.spawn(function() return select(2, pcall(worker.start, worker)) end)
      assert.is_truthy(other:result(long):find("cannot start", 1, true))
    end)
  end)

  describe("instance of a subclass by " .. backend, function()
    local Waiter = Process:extend { run = function(self) return self.go:get(30) end }

    it("is what active_children gives", function()
      local worker = Waiter { go = mf.Queue() }
      worker:start()
      local found = false
      for _, child in ipairs(mf.active_children()) do found = found or rawequal(child, worker) end
      worker.go:put(1)
      worker:join(long)
      assert.is_true(found)
    end)

    it("may be sent: a copy that holds the same worker", function()
      local worker, box = Waiter { go = mf.Queue(), mark = 5 }, mf.Queue()
      worker:start()
      box:put(worker)
      local copy = box:get(long)
      worker.go:put("x")
      assert.are.same({ 5, true, "x" }, { copy.mark, copy:join(long), (copy:result(long)) })
      assert.are.equal(worker.name, copy.name)
    end)

    it("is what current_process gives in its worker", function()
      local Own = Process:extend { run = function(self)
        return rawequal(self, mf.current_process())
      end }
      local worker = Own()
      worker:start()
      assert.is_true(worker:result(long))
    end)

    it("has defaults from its class, and its class may call itself", function()
      local Class
      Class = Process:extend {
        name = "Default", size = 3,
        run = function(self) return self.name, Class.double(self.size) end,
        double = function(x) return 2 * x end,
      }
      local worker = Class()
      worker:start()
      assert.are.same({ "Default", 6 }, { worker:result(long) })
    end)

    it("refuses names of its own workings", function()
      helper.misuse_like("__parent", function() Process:extend { __parent = 1 } end)
      helper.misuse_like("call it with a colon", function() Process.extend {} end)
      helper.misuse_like("table of fields", function() Waiter(5) end)
    end)
  end)

  describe("relative of a worker by " .. backend, function()
    it("that is itself cannot be joined", function()
      local worker = mf_b.spawn(function()
        local me = mf.current_process()
        return me == mf.current_process(), me:is_alive(), select(2, pcall(me.join, me))
      end)
      local same, alive, message = worker:result(long)
      assert.is_true(same and alive)
      assert.is_truthy(message:find("cannot join itself", 1, true), message)
    end)

    it("that is the main state cannot be terminated", function()
      local worker = mf_b.spawn(function()
        local parent = mf.parent_process()
        return tostring(parent), mf.type(parent), select(2, pcall(parent.terminate, parent))
      end)
      local text, kind, message = worker:result(long)
      assert.are.same({ "Process(main, running)", "Process" }, { text, kind })
      assert.is_truthy(message:find("cannot terminate main", 1, true), message)
    end)

    it("that is its parent is known by name, one level up", function()
      local worker = mf_b.spawn(function()
        local name = mf.current_process().name
        return name, mf.spawn(function() return mf.parent_process().name end):result(30)
      end)
      local own, seen = worker:result(long)
      assert.are.equal(own, seen)
    end)
  end)

  describe("module of a backend, " .. backend .. ", in a worker", function()
    it("is that backend's, its constructors and functions too", function()
      local worker = mf_b.spawn(function()
        return rawequal(mf_b, mf.with(backend)), rawequal(Process, mf_b.Process),
          mf_b.Process(print).backend
      end)
      assert.are.same({ true, true, backend }, { worker:result(long) })
    end)
  end)

  describe("package.preload of a worker by " .. backend, function()
    local function with_preload(functions, body)
      for name, fn in pairs(functions) do package.preload[name] = fn end
      local ok, err = pcall(body)
      for name in pairs(functions) do package.preload[name] = nil end
      assert.is_true(ok, err)
    end

    it("has functions that need each other", function()
      local factor = 7
      with_preload({
        ["spec.first"] = function(name) return { answer = 6 * factor, name = name } end,
        ["spec.second"] = function() return { twice = 2 * require("spec.first").answer } end,
      }, function()
        local worker = mf_b.spawn(function()
          return require("spec.second").twice, require("spec.first").name
        end)
        assert.are.same({ 84, "spec.first" }, { worker:result(long) })
      end)
    end)

    it("with one that cannot be loaded there stops no worker", function()
      local held = { value = 1 }
      package.loaded["spec.held"] = held
      with_preload({
        ["spec.held"] = function() return held end,
        ["spec.stuck"] = function() return coroutine.running, held end,
      }, function()
        local worker = mf_b.spawn(function() return select(2, pcall(require, "spec.held")) end)
        assert.is_truthy(tostring(worker:result(long)):find("spec.held", 1, true))
      end)
      package.loaded["spec.held"] = nil
    end)
  end)
end)

describe("Thread", function()
  it("of another backend raises", function()
    helper.misuse_like("bad argument to 'Thread' %(option 'backend'", function()
      mf.Thread { target = nothing, backend = "process" }
    end)
  end)
end)

describe("main state", function()
  it("is one that does not join itself", function()
    local me = mf.current_process()
    assert.are.equal(me, mf.current_process())
    assert.is_true(me:is_alive())
    helper.misuse_like("cannot join main", function() me:join() end)
    helper.misuse_like("cannot terminate main.*os.exit", function() me:terminate() end)
  end)
end)
