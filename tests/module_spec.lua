-- The module itself: time, CPUs, backends by one line, the default pool.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local _ENV = _G -- luacheck: ignore 211

describe("module", function()
  it("has a version", function()
    assert.is_truthy(mf._VERSION:find("%d+%.%d+%.%d+"), mf._VERSION)
  end)

  it("is what require gives, every time", function()
    assert.is_true(rawequal(mf, require "moonfleet"))
  end)

  it("sets no globals", function()
    local result = helper.run_script [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      require "moonfleet"
      for name in pairs(_G) do if not before[name] then print(name) end end
    ]]
    assert.are.same({ code = 0, out = "", err = "" }, result)
  end)

  it("adds nothing to the standard libraries", function()
    local result = helper.run_script [[
      local before = {}
      for library, t in pairs(package.loaded) do
        for name in pairs(t) do before[library .. "." .. tostring(name)] = true end
      end
      require "moonfleet"
      for library, t in pairs(package.loaded) do
        if not library:find("^moonfleet") and library ~= "_G" then
          for name in pairs(t) do
            if not before[library .. "." .. tostring(name)] then
              if library ~= "package" then print(library .. "." .. tostring(name)) end
            end
          end
        end
      end
    ]]
    assert.are.same({ code = 0, out = "", err = "" }, result)
  end)

  it("tells the process's id", function()
    assert.are.equal(io.open("/proc/self/stat"):read("n"), mf.getpid())
  end)

  it("tells monotonic seconds", function()
    local before = mf.time()
    mf.sleep(0.01)
    local after = mf.time()
    assert.are.equal("float", math.type(after))
    assert.is_true(after - before >= 0.01)
  end)

  it("tells how many CPUs may be used", function()
    local count = mf.cpu_count()
    assert.are.equal("integer", math.type(count))
    assert.is_true(count >= 1)
    local pipe <close> = io.popen("nproc")
    assert.is_true(count <= pipe:read("n"))
  end)

  it("counts only the CPUs of its affinity", function()
    local result = helper.run_script("print(require'moonfleet'.cpu_count())",
      { program = "taskset -c 0 " .. helper.lua })
    assert.are.same({ code = 0, out = "1\n", err = "" }, result)
  end)

  it("polls for callbacks that are due without waiting", function()
    mf.poll()
  end)
end)

describe("with", function()
  it("gives a module like mf whose constructors default to that backend", function()
    for _, backend in ipairs(helper.backends) do
      local mf_b = mf.with(backend)
      assert.are.equal(backend, mf_b.Process(print).backend)
      local same = mf_b.spawn(mf.getpid):result(helper.long) == mf.getpid()
      assert.are.equal(backend == "thread", same)
      local pool <close> = mf_b.Pool(1)
      assert.are.equal(backend == "thread", pool:apply(mf.getpid) == mf.getpid())
      assert.are.equal("Queue", mf.type(mf_b.Queue()))
      assert.are.equal(mf._VERSION, mf_b._VERSION)
    end
  end)

  it("has threads that are threads anyhow", function()
    assert.are.equal("thread", mf.with("process").Thread(print).backend)
  end)

  it("yields to a nearer word: an option of the constructor", function()
    local worker = mf.with("thread").Process { target = print, backend = "process" }
    assert.are.equal("process", worker.backend)
  end)

  it("leaves mf alone", function()
    mf.with("thread")
    assert.are.equal("process", mf.Process(print).backend)
  end)

  it("has subclasses of that backend", function()
    local Worker = mf.with("thread").Process:extend { run = function() end }
    assert.are.equal("thread", Worker().backend)
  end)

  it("refuses backends that do not exist", function()
    helper.misuse_like("bad argument #1 to 'with'", function() mf.with("fibers") end)
    helper.misuse_like("bad argument #1 to 'with'", function() mf.with() end)
  end)
end)

helper.for_each_program(function(program, run)
  describe("backend under " .. program, function()
    local text = [[
      print(mf.Process(print).backend, mf.Thread(print).backend,
        mf.Process{target=print, backend="process"}.backend,
        mf.with("process").Process(print).backend)
      local pool <close> = mf.Pool(1)
      print(pool:apply(mf.getpid) == mf.getpid())
    ]]

    it("is process if nobody says otherwise", function()
      assert.are.same({ code = 0, err = "", out = "process\tthread\tprocess\tprocess\nfalse\n" },
        run(text))
    end)

    it("is set by set_backend", function()
      assert.are.same({ code = 0, err = "", out = "thread\tthread\tprocess\tprocess\ntrue\n" },
        run("mf.set_backend 'thread'" .. text))
    end)

    it("is set by MOONFLEET_BACKEND", function()
      assert.are.same({ code = 0, err = "", out = "thread\tthread\tprocess\tprocess\ntrue\n" },
        run(text, { env = { MOONFLEET_BACKEND = "thread" } }))
    end)

    it("is set by set_backend in spite of the variable", function()
      assert.are.same({ code = 0, err = "", out = "process\tthread\tprocess\tprocess\nfalse\n" },
        run("mf.set_backend 'process'" .. text, { env = { MOONFLEET_BACKEND = "thread" } }))
    end)

    it("may be serial by the variable: for pools", function()
      local result = run([[
        local pool <close> = mf.Pool(2)
        print(pool:apply(mf.getpid) == mf.getpid(), mf.map(math.abs, {-1, -2})[2])
      ]], { env = { MOONFLEET_BACKEND = "serial" } })
      assert.are.same({ code = 0, err = "", out = "true\t2\n" }, result)
    end)

    it("by a variable that names none raises, naming it", function()
      local result = run("mf.Pool(1)", { env = { MOONFLEET_BACKEND = "fibers" } })
      assert.are.equal(1, result.code)
      assert.is_truthy(result.err:find("MOONFLEET_BACKEND", 1, true), result.err)
    end)
  end)

  describe("program under " .. program, function()
    it("gives the same results on processes, on threads and in line", function()
      local first
      for _, backend in ipairs { "process", "thread", "serial" } do
        local result = run([[
          scale, box = 3, {0}
          local function work(x) box[1] = box[1] + 1 return x * scale + math.random(1000) end
          local pool <close> = mf.Pool(2)
          print(table.concat(pool:map(work, mf.range(20), {seed = 5}), " "))
          for i, v in pool:imap(function(x) return x, {x} end, {"a", "b"}) do print(i, v) end
          print(pool:reduce(function(a, b) return a .. b end, {"x", "y", "z"}, ">"))
          local function raise_at_8(x) return x == 7 or error({at = x}) end
          local ok, err = pcall(pool.map, pool, raise_at_8, {7, 8})
          local future = pool:submit(function() box[1] = 9 return scale end)
          print(ok, err.at, box[1], future:get(), box[1])
          local f = pool:submit(function() return print end)
          print(f:get() == print, f:done(), pool:stats().failed >= 1)
          print(mf.map(function(x) return x // 2 end, {4, 6})[2])
        ]], { env = { MOONFLEET_BACKEND = backend } })
        assert.are.equal("", result.err)
        first = first or result
        assert.are.same(first, result)
      end
    end)
  end)

  describe("default pool under " .. program, function()
    it("serves map and its kin of the module", function()
      local result = run [[
        local function double(x) return 2 * x end
        local function add(a, b) return a + b end
        print(mf.map(double, {1, 2, 3})[3])
        print(mf.starmap(add, {{1, 2}, {3, 4}})[2])
        for i, v in mf.imap(double, {5}) do print(i, v) end
        for i, v in mf.imap_unordered(double, {6}) do print(i, v) end
        for i, v in mf.istarmap(add, {{7, 1}}) do print(i, v) end
        print(mf.reduce(add, {1, 2, 3}, 0))
        print(mf.submit(double, 21):get())
        print(mf.apply(add, {1, 2}))
        print(mf.apply_async(add, {3, 4}):get())
        print(mf.map_async(double, {4}):get()[1])
        print(mf.starmap_async(add, {{5, 6}}):get()[1])
        print(#mf.everywhere(double, 1) == mf.cpu_count())
        print(mf.type(mf.pool()), mf.pool() == mf.pool(), mf.pool().size == mf.cpu_count())
      ]]
      assert.are.same({ code = 0, err = "",
        out = "6\n7\n1\t10\n1\t12\n1\t8\n6\n42\n3\n7\n8\n11\ntrue\nPool\ttrue\ttrue\n" }, result)
    end)

    it("is kept warm: the same workers serve again", function()
      local result = run [[
        local function who() return mf.current_process().ident end
        local seen, count = {}, 0
        for _ = 1, 20 do
          local ident = mf.apply(who)
          if not seen[ident] then count = count + 1 end
          seen[ident] = true
        end
        print(count <= mf.cpu_count())
      ]]
      assert.are.same({ code = 0, err = "", out = "true\n" }, result)
    end)
  end)
end)
