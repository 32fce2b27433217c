-- Subclasses of Process and Thread.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function shared(backend, Base)
  describe("subclass of a " .. backend, function()
    it("runs its run method with a copy of the instance", function()
      local Worker = Base:extend { run = function(self) return self.a + self.b end }
      local worker = Worker { a = 1, b = 2 }
      worker:start()
      assert.are.equal(3, worker:result(long))
    end)

    it("has the instance's fields, name and options", function()
      local Worker = Base:extend { run = function() end }
      local worker = Worker { name = "Named", daemon = true, anything = "goes" }
      assert.are.equal("Named", worker.name)
      assert.is_true(worker.daemon)
      assert.are.equal("goes", worker.anything)
      assert.are.equal(backend, worker.backend)
      assert.is_false(worker:is_alive())
    end)

    it("sees its own name in run", function()
      local Worker = Base:extend { run = function(self)
        return self.name, mf.current_process().name
      end }
      local worker = Worker { name = "Inside" }
      worker:start()
      assert.are.same({ "Inside", "Inside" }, { worker:result(long) })
    end)

    it("has its methods on both sides", function()
      local Worker = Base:extend {
        run = function(self) return self:double(21) end,
        double = function(_, x) return 2 * x end,
      }
      local worker = Worker {}
      assert.are.equal(4, worker:double(2))
      worker:start()
      assert.are.equal(42, worker:result(long))
    end)

    it("may override tostring and other metamethods, in the worker too", function()
      local Worker = Base:extend {
        run = function(self) return tostring(self), self("x"), #self end,
        __tostring = function(self) return "Worker " .. self.name end,
        __call = function(_, x) return x .. x end,
        __len = function() return 7 end,
      }
      local worker = Worker { name = "Titled" }
      assert.are.equal("Worker Titled", tostring(worker))
      assert.are.equal("yy", worker("y"))
      assert.are.equal(7, #worker)
      worker:start()
      assert.are.same({ "Worker Titled", "xx", 7 }, { worker:result(long) })
    end)

    it("changes a copy: the instance here stays as it was", function()
      local Worker = Base:extend { run = function(self)
        self.value = "changed"
        return self.value
      end }
      local worker = Worker { value = "made" }
      worker:start()
      assert.are.equal("changed", worker:result(long))
      assert.are.equal("made", worker.value)
    end)

    it("takes along what the instance was given after it was made", function()
      local Worker = Base:extend { run = function(self) return self.later end }
      local worker = Worker {}
      worker.later = "given later"
      worker:start()
      assert.are.equal("given later", worker:result(long))
    end)

    it("leaves fields behind that cannot be sent", function()
      local Worker = Base:extend { run = function(self) return self.good, self.bad == nil end }
      local worker = Worker { good = 1, bad = coroutine.create(print) }
      worker:start()
      assert.are.same({ 1, true }, { worker:result(long) })
    end)

    it("may be extended again", function()
      local First = Base:extend {
        run = function(self) return self:who() .. self:where() end,
        who = function() return "first" end,
        where = function() return " here" end,
      }
      local Second = First:extend { who = function() return "second" end }
      local worker = Second {}
      worker:start()
      assert.are.equal("second here", worker:result(long))
    end)

    it("raises what run raised", function()
      local Worker = Base:extend { run = function() error({ code = 3 }) end }
      local worker = Worker {}
      worker:start()
      assert.are.same({ code = 3 }, (worker:exception(long)))
    end)

    it("carries Moonfleet objects in its fields", function()
      local Worker = Base:extend { run = function(self) self.queue:put(self.name) end }
      local queue, workers = mf.Queue(), {}
      for i = 1, 4 do
        workers[i] = Worker { queue = queue, name = "n" .. i }
        workers[i]:start()
      end
      local names = {}
      for i = 1, 4 do names[i] = queue:get(long) end
      table.sort(names)
      assert.are.same({ "n1", "n2", "n3", "n4" }, names)
      for i = 1, 4 do workers[i]:join(long) end
    end)

    it("without a run method raises", function()
      helper.misuse_like("run", function() Base:extend {} {}:start() end)
    end)
  end)
end

shared("process", mf.Process)
shared("thread", mf.Thread)
