-- Modules, C functions and classes: found by name in the worker, or sent by value.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local it_keeps = helper.it_keeps -- a registered name stays
local _ENV = _G -- luacheck: ignore 211

-- Runs f(folder) while modules are found in a new folder; files: name -> text.
local function with_modules(files, f)
  local folder, remove = helper.folder()
  for name, text in pairs(files) do helper.write_file(folder .. "/" .. name .. ".lua", text) end
  local saved = package.path
  package.path = folder .. "/?.lua;" .. saved
  local ok, err = pcall(f, folder)
  package.path = saved
  for name in pairs(files) do package.loaded[name] = nil end
  remove()
  if not ok then error(err, 0) end
end

local text = [[
local M = { Class = { __name = "Class" }, nested = {} }
M.count = 0
M.Class.__index = M.Class
function M.Class.new(x) return setmetatable({ x = x }, M.Class) end
function M.Class:double() return self.x * 2 end
function M.bump() M.count = M.count + 1 return M.count end
function M.nested.deep() return "deep" end
function M.is_instance(o) return getmetatable(o) == M.Class end
return M
]]

helper.for_each_pool(function(backend, new_pool)
  local function call(f, ...)
    local pool <close> = new_pool { workers = 1 }
    return pool:apply(f, table.pack(...))
  end

  describe("module by " .. backend, function()
    it("goes by name: the worker has its own", function()
      with_modules({ spec_module = text }, function()
        local M = require "spec_module"
        assert.is_true(call(function() return M == require "spec_module" end))
        assert.is_true(call(function(given) return given == require "spec_module" end, M))
      end)
    end)

    it("is a fresh require: the sender's changes do not travel", function()
      with_modules({ spec_module = text }, function()
        local M = require "spec_module"
        M.count = 100
        assert.are.equal(1, call(function() return M.bump() end))
        assert.are.equal(100, M.count)
      end)
    end)

    it("lends its functions, and those of its fields, by name", function()
      with_modules({ spec_module = text }, function()
        local M = require "spec_module"
        local bump, deep, nested = M.bump, M.nested.deep, M.nested
        assert.is_true(call(function()
          local own = require "spec_module"
          return bump == own.bump and deep == own.nested.deep and nested == own.nested
        end))
      end)
    end)

    it("lends its classes: instances are the receiver's own", function()
      with_modules({ spec_module = text }, function()
        local M = require "spec_module"
        local arrived, double, known = call(function(o)
          return o, o:double(), M.is_instance(o)
        end, M.Class.new(4))
        assert.are.equal(8, double)
        assert.is_true(known)
        assert.is_true(rawequal(M.Class, getmetatable(arrived)))
      end)
    end)

    it("as a global is found, too", function()
      with_modules({ spec_module = text }, function()
        _G.spec_global_module = require "spec_module"
        local ok, same = pcall(call, function()
          return _G.spec_global_module == require "spec_module"
        end)
        _G.spec_global_module = nil
        assert.is_true(ok, tostring(same))
        assert.is_true(same)
      end)
    end)

    it("that no worker can find goes by value", function()
      package.loaded["spec.unfindable"] = { answer = 42, get = function() return 43 end }
      local M = package.loaded["spec.unfindable"]
      local ok, a, b = pcall(call, function() return M.answer, M.get() end)
      package.loaded["spec.unfindable"] = nil
      assert.is_true(ok, tostring(a))
      assert.are.same({ 42, 43 }, { a, b })
    end)

    it("of package.preload is found", function()
      package.preload["spec.preload"] = function() return { answer = 44 } end
      local M = require "spec.preload"
      local ok, answer = pcall(call, function() return M.answer end)
      package.preload["spec.preload"], package.loaded["spec.preload"] = nil, nil
      assert.is_true(ok, tostring(answer))
      assert.are.equal(44, answer)
    end)

    it("that fails to load raises, naming it", function()
      with_modules({ spec_module = text }, function(folder)
        local M = require "spec_module"
        helper.write_file(folder .. "/spec_module.lua", "error 'broken module'")
        if backend == "serial" then return end
        local err = helper.raised(call, function() return M.count end)
        assert.is_truthy(tostring(err):find("spec_module", 1, true), tostring(err))
      end)
    end)

    it("given as module:name runs", function()
      with_modules({ spec_module = text }, function()
        assert.are.equal(1, call("spec_module:bump"))
        assert.is_nil(package.loaded.spec_module)
      end)
    end)

    it("moonfleet itself is the worker's own", function()
      assert.is_true(call(function() return mf == require "moonfleet" end))
    end)

    it("with C functions arrives by name", function()
      local ok, cjson = pcall(require, "cjson")
      if not ok then return end
      assert.are.equal('[1,2]', call(function(t) return cjson.encode(t) end, { 1, 2 }))
      local encode = cjson.encode
      assert.are.equal('[1,2]', call(function(t) return encode(t) end, { 1, 2 }))
    end)
  end)

  describe("C function by " .. backend, function()
    it("of the standard libraries goes by name", function()
      local format, concat, pack = string.format, table.concat, table.pack
      assert.are.equal("<1-2> 2", call(function()
        return format("<%s> %d", concat({ 1, 2 }, "-"), pack(1, 2).n)
      end))
      assert.is_true(call(function(given) return given == print end, print))
      assert.are.equal(print, call(function() return print end))
      assert.are.equal(string.rep, call(function() return string.rep end))
    end)

    it("of Moonfleet goes by name", function()
      local sleep, queue = mf.sleep, mf.Queue
      assert.are.equal("Queue", call(function()
        sleep(0)
        return mf.type(queue())
      end))
    end)

    it("may be the target itself", function()
      assert.are.equal("a,b", call(table.concat, { "a", "b" }, ","))
    end)

    it("that no module holds is not sendable", function()
      local step = string.gmatch("a b", "%a")
      local err = helper.fails("not_sendable", call, function() return step() end)
      assert.is_truthy(err.message:find('upvalue "step"', 1, true), err.message)
    end)
  end)

  describe("registered class by " .. backend, function()
    it_keeps("is the worker's own where the worker registered it too", function()
      local Mine = { __name = "Mine" }
      Mine.__index = Mine
      mf.register("spec.Mine." .. backend, Mine)
      local a, b = call(function(x, y) return x, rawequal(getmetatable(x), getmetatable(y)) end,
        setmetatable({}, Mine), setmetatable({}, Mine))
      assert.is_true(rawequal(Mine, getmetatable(a)))
      assert.is_true(b)
    end)

    it_keeps("brings its methods to the worker", function()
      local Counter = { __name = "Counter" }
      Counter.__index = Counter
      function Counter:next() self.n = self.n + 1 return self.n end
      mf.register("spec.Counter." .. backend, Counter)
      assert.are.equal(6, call(function(c) return c:next() end, setmetatable({ n = 5 }, Counter)))
    end)
  end)
end)

describe("register", function()
  it("takes a name and a table", function()
    helper.misuse_like("bad argument #1 to 'register'", function() mf.register({}, "x") end)
    helper.misuse_like("bad argument #2 to 'register'", function() mf.register("x") end)
  end)

  it_keeps("of a name that the receiver lacks: decoding raises, naming it", function()
    local Class = { __name = "Lacking" }
    mf.register("spec.Lacking", Class)
    local path = os.tmpname()
    helper.write_file(path, mf.encode(setmetatable({ 1 }, Class)))
    local result = helper.run_script([[
      local mf = require "moonfleet"
      local bytes = io.open(os.getenv "BYTES", "rb"):read("a")
      local ok, err = pcall(mf.decode, bytes)
      print(ok, err.kind, tostring(err):find("spec.Lacking", 1, true) ~= nil)
    ]], { env = { BYTES = path } })
    os.remove(path)
    assert.are.same({ code = 0, err = "", out = "false\tdecode\ttrue\n" }, result)
  end)
end)
