-- What a worker is called and what it knows of itself, its parent and its surroundings.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

local function nothing() end

local function finished(worker)
  worker:start()
  assert.is_true(worker:join(long))
  return worker
end

helper.for_each_backend(function(backend, mf_b)
  local Process = mf_b.Process

  describe("fields of a worker by " .. backend, function()
    it("tell its backend and that it is no daemon", function()
      local worker = Process(nothing)
      assert.are.equal(backend, worker.backend)
      assert.is_false(worker.daemon)
      assert.is_true(Process { target = nothing, daemon = true }.daemon)
    end)

    it("tell the name that it was given", function()
      local worker = Process { target = nothing, name = "Test" }
      assert.are.equal("Test", worker.name)
    end)

    it("tell its process, from the start on", function()
      local worker = Process(mf.getpid)
      assert.is_nil(worker.pid)
      worker:start()
      assert.are.equal(worker.pid, worker:result(long))
      assert.are.equal(backend == "thread", worker.pid == mf.getpid())
    end)

    it("tell an ident that no other worker has", function()
      local seen = {}
      for _ = 1, 10 do
        local worker = finished(Process(nothing))
        assert.is_not_nil(worker.ident)
        assert.is_nil(seen[worker.ident])
        seen[worker.ident] = true
      end
    end)

    it("tell a descriptor to poll", function()
      local go = mf.Queue()
      local worker = mf_b.spawn(function() return go:get(30) end)
      assert.are.equal("integer", math.type(worker.sentinel))
      assert.are.equal(worker.sentinel, worker.sentinel)
      assert.is_false(helper.readable(worker.sentinel))
      go:put(true)
      assert.is_true(helper.readable(worker.sentinel, true))
      assert.is_true(worker:join(long))
    end)
  end)

  describe("worker by " .. backend .. ", seen from inside", function()
    it("is its own current_process", function()
      local worker = Process { name = "Inner", target = function()
        local me = mf.current_process()
        return me.name, me.pid, me.ident, me.daemon, me.backend
      end }
      worker:start()
      assert.are.same({ "Inner", worker.pid, worker.ident, false, backend },
        { worker:result(long) })
    end)

    it("knows its parent, which is alive", function()
      local worker = mf_b.spawn(function()
        local parent = mf.parent_process()
        return parent.name, parent.pid, parent:is_alive()
      end)
      assert.are.same({ "main", mf.getpid(), true }, { worker:result(long) })
    end)

    it("can wait for its parent's end for a while", function()
      local worker = mf_b.spawn(function() return mf.parent_process():join(0) end)
      assert.are.same({ false, "timeout" }, { worker:result(long) })
    end)

    it("may have workers of its own, of both kinds", function()
      local worker = mf_b.spawn(function()
        local a = mf.spawn(function() return mf.parent_process().name end)
        local b = mf.Thread(function() return "thread" end)
        b:start()
        return mf.current_process().name, a:result(30), b:result(30)
      end)
      local own, seen, thread = worker:result(long)
      assert.are.equal(own, seen)
      assert.are.equal("thread", thread)
    end)

    it("has the sender's path, cpath and arg", function()
      local saved = package.path
      package.path = "/nowhere/?.lua;" .. saved
      local worker = mf_b.spawn(function() return package.path, package.cpath, arg and arg[0] end)
      local path, cpath, script = worker:result(long)
      package.path = saved
      assert.are.equal("/nowhere/?.lua;" .. saved, path)
      assert.are.equal(package.cpath, cpath)
      assert.are.equal(arg and arg[0], script)
    end)

    it("has the sender's Lua functions of package.preload", function()
      package.preload["spec.preloaded"] = function() return { answer = 42 } end
      local worker = mf_b.spawn(function() return require("spec.preloaded").answer end)
      local answer = worker:result(long)
      package.preload["spec.preloaded"] = nil
      assert.are.equal(42, answer)
    end)

    it("has the parent's environment, folder and umask", function()
      local function surroundings()
        local pipe <close> = io.popen("pwd; umask; ulimit -a")
        return pipe:read("a"), os.getenv("PATH"), os.getenv("HOME"), os.setlocale()
      end
      assert.are.same({ surroundings() }, { mf_b.spawn(surroundings):result(long) })
    end)

    it("finds nothing on standard input", function()
      local worker = mf_b.spawn(function() return io.read("l"), io.read(0), io.stdin:read("a") end)
      assert.are.same({ n = 3, nil, nil, "" }, table.pack(worker:result(long)))
    end)

    it("draws random numbers of its own", function()
      local seen = {}
      for _ = 1, 8 do
        local number = mf_b.spawn(function() return math.random(0) end):result(long)
        assert.is_nil(seen[number])
        seen[number] = true
      end
    end)

    it("draws the same random numbers after the same randomseed", function()
      local function draw()
        math.randomseed(42)
        return math.random(1000000), math.random(), math.random(5, 10)
      end
      local first = { mf_b.spawn(draw):result(long) }
      assert.are.same(first, { mf_b.spawn(draw):result(long) })
      assert.is_true(first[1] >= 1 and first[1] <= 1000000)
      assert.is_true(first[2] >= 0 and first[2] < 1)
      assert.is_true(first[3] >= 5 and first[3] <= 10)
    end)

    it("has all standard libraries", function()
      local names = mf_b.spawn(function()
        local list = {}
        for name in pairs(_G) do list[#list + 1] = name end
        for _, library in ipairs { io, os, math, table, utf8, coroutine, debug, string } do
          list[#list + 1] = type(library)
        end
        table.sort(list)
        return list, utf8.char(228), math.floor(2.5), os.time() > 0, table.concat({ 1, 2 }, "-")
      end)
      local list, a_umlaut, two, has_time, joined = names:result(long)
      assert.are.equal("\u{e4}", a_umlaut)
      assert.are.equal(2, two)
      assert.is_true(has_time)
      assert.are.equal("1-2", joined)
      for _, name in ipairs { "io", "os", "math", "utf8", "coroutine", "debug", "require" } do
        local found = false
        for _, other in ipairs(list) do found = found or other == name end
        assert.is_true(found, name)
      end
    end)
  end)
end)

describe("active_children", function()
  it("lists the workers that run", function()
    local go = mf.Queue()
    local a = mf.spawn(function() go:get(30) end)
    local b = mf.Thread(function() go:get(30) end)
    b:start()
    local names = {}
    for _, child in ipairs(mf.active_children()) do names[child.name] = child end
    assert.are.equal(a, names[a.name])
    assert.are.equal(b, names[b.name])
    go:put(1)
    go:put(1)
    a:join(long)
    b:join(long)
    for _, child in ipairs(mf.active_children()) do
      assert.are_not.equal(a.name, child.name)
      assert.are_not.equal(b.name, child.name)
    end
  end)
end)

describe("main state", function()
  it("is called main and has no parent", function()
    assert.are.equal("main", mf.current_process().name)
    assert.are.equal(mf.getpid(), mf.current_process().pid)
    assert.is_nil(mf.parent_process())
  end)
end)

helper.for_each_program(function(program, run)
  describe("names under " .. program, function()
    it("count for each kind and creator; a given name takes no number", function()
      local result = run([[
        local function names(f)
          print(mf.Process(f).name, mf.Process{target=f, name="Test"}.name, mf.Process(f).name)
          print(mf.Thread(f).name, mf.Thread(f).name, mf.Process{target=f, backend="thread"}.name)
        end
        names(print)
        print(mf.current_process().name)
      ]])
      assert.are.same({ code = 0, err = "", out = "Process-1\tTest\tProcess-2\n" ..
        "Thread-1\tThread-2\tThread-3\nmain\n" }, result)
    end)

    it("of nested workers extend the creator's", function()
      local result = run([[
        local p = mf.spawn(function()
          local child = mf.spawn(function() return mf.current_process().name end)
          local thread = mf.Thread(function() return mf.current_process().name end)
          thread:start()
          local second = mf.Process(print)
          return child:result(30), thread:result(30), second.name
        end)
        print(p:result(30))
      ]])
      assert.are.same({ code = 0, err = "",
        out = "Process-1:1\tThread-1:1\tProcess-1:2\n" }, result)
    end)
  end)
end)
