-- Files, pipes and descriptors around workers: what they hold, what they keep, what they leave.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

helper.for_each_backend(function(backend, mf_b)
  describe("file of a worker by " .. backend, function()
    local function written(f)
      local path = os.tmpname()
      local worker = mf_b.spawn(f, path)
      assert.is_true(worker:join(long))
      local text = helper.read_file(path)
      os.remove(path)
      return text
    end

    it("that was left open is flushed at its end", function()
      assert.are.equal("kept", written(function(path)
        _G.spec_file = io.open(path, "w")
        _G.spec_file:write("kept")
      end))
    end)

    it("that was left open is flushed by os.exit", function()
      assert.are.equal("kept", written(function(path)
        _G.spec_file = io.open(path, "w")
        _G.spec_file:write("kept")
        os.exit(0)
      end))
    end)

    it("that was left open is flushed after an error", function()
      assert.are.equal("kept", written(function(path)
        _G.spec_file = io.open(path, "w")
        _G.spec_file:write("kept")
        error "on purpose"
      end))
    end)

    it("opened by the parent, with text in its buffer, is written once", function()
      local path = os.tmpname()
      local file <close> = io.open(path, "w")
      file:write("by the parent\n")
      mf_b.spawn(function() return 1 end):join(long)
      file:close()
      assert.are.equal("by the parent\n", helper.read_file(path))
      os.remove(path)
    end)
  end)

  describe("pipe of the parent of a worker by " .. backend, function()
    it("is not held open by the worker", function()
      local path = os.tmpname()
      local pipe = io.popen("cat >" .. path, "w")
      local go = mf.Queue()
      local worker = mf_b.spawn(function() return go:get(30) end)
      pipe:write("all of it")
      assert.is_true((pipe:close()))
      assert.are.equal("all of it", helper.read_file(path))
      os.remove(path)
      go:put("end")
      assert.are.equal("end", worker:result(long))
    end)
  end)

  describe("pool's initializer by " .. backend, function()
    it("takes Moonfleet objects", function()
      local queue, lock = mf.Queue(), mf.Lock()
      local pool <close> = mf_b.Pool { workers = 2, initargs = { queue, lock },
        initializer = function(q, l)
          _G.spec_queue, _G.spec_lock = q, l
        end }
      pool:map(function(x)
        _G["spec_" .. "lock"]:with(function() _G["spec_" .. "queue"]:put(x) end)
      end, { 1, 2, 3 })
      local sum = 0
      for _ = 1, 3 do sum = sum + queue:get(0) end
      assert.are.equal(6, sum)
    end)
  end)

  describe("worker object by " .. backend, function()
    it("may be sent, and joined by another worker", function()
      local go = mf.Queue()
      local first = mf_b.spawn(function() return go:get(30) end)
      local second = mf_b.spawn(function() return first:join(30), first.exitcode end)
      go:put("end")
      local joined, code = second:result(long)
      assert.is_true(joined)
      assert.are.equal(0, code)
      assert.are.equal("end", first:result(long))
    end)
  end)
end)

helper.for_each_program(function(program, run)
  local lua = program == "moonfleet" and (helper.program or "moonfleet") or helper.lua
  local function through(shell)
    return { program = ("sh -c '%s' sh %s"):format(shell, lua), timeout = 30 }
  end

  for _, backend in ipairs(helper.backends) do
    local function run_with(text, options)
      return run("mf.set_backend '" .. backend .. "' " .. text, options)
    end

    describe("closed descriptors under " .. program .. " by " .. backend, function()
      local text = [[
        local out = io.open("result.txt", "w")
        local q = mf.Queue()
        for i = 1, 100 do q:put({i, ("x"):rep(i)}) end
        local p = mf.spawn(function() print "lost" io.stderr:write "lost\n" return q:get(5)[1] end)
        print "lost, too"
        io.write "lost, too"
        local pool <close> = mf.Pool(2)
        out:write(p:result(), " ", pool:map(math.abs, {-1, -2})[2], "\n")
        out:close()
        os.exit(io.open("result.txt"):read("a") == "1 2\n" and 0 or 7)
      ]]

      for _, closed in ipairs { ">&-", "<&-", "2>&-", "<&- >&-", ">&- 2>&-" } do
        it(closed .. " do no harm", function()
          local result = run_with(text, through("exec \"$@\" " .. closed))
          assert.are.equal(0, result.code)
        end)
      end
    end)

    describe("reader that goes away under " .. program .. " by " .. backend, function()
      it("ends the script, or lets it end", function()
        local result = run_with([[
          local function chatter() for i = 1, 20000 do print(i, ("x"):rep(50)) end end
          local p = mf.spawn(chatter)
          chatter()
          p:join()
        ]], through("\"$@\" | head -n 1"))
        assert.are_not.equal(124, result.code)
        assert.is_truthy(result.out:find("^%d+\tx+\n$"), result.out)
      end)
    end)

    describe("standard input under " .. program .. " by " .. backend, function()
      it("stays the main state's", function()
        local result = run_with([[
          local p = mf.spawn(function() return io.read() end)
          print(p:result())
          print(io.read(), io.read())
        ]], through("printf \"one\\ntwo\\n\" | \"$@\""))
        assert.are.same({ code = 0, err = "", out = "nil\none\ttwo\n" }, result)
      end)
    end)

    describe("few descriptors under " .. program .. " by " .. backend, function()
      it("give a clear error or just work", function()
        local result = run_with([[
          local ok, err = pcall(function()
            local list = {}
            for i = 1, 100 do
              list[i] = mf.spawn(function() return i end)
              local _ = list[i].sentinel
            end
            for i = 1, 100 do assert(list[i]:result() == i) end
          end)
          print(ok or mf.is_error(err, "system") or err)
        ]], through("ulimit -n 40; exec \"$@\""))
        assert.are.same({ code = 0, err = "", out = "true\n" }, result)
      end)

      it("are enough for a pool with any number of tasks", function()
        local result = run_with([[
          local pool <close> = mf.Pool(2)
          local futures, sum = {}, 0
          for i = 1, 10000 do futures[i] = pool:submit(math.abs, -i) end
          for i = 1, 10000 do sum = sum + futures[i]:get() end
          print(sum)
          local queues = {}
          for i = 1, 2000 do queues[i] = mf.Queue() queues[i]:put(i) end
          print(pool:apply(function(q) return q:get() end, { queues[2000] }))
        ]], through("ulimit -n 24; exec \"$@\""))
        assert.are.same({ code = 0, err = "", out = "50005000\n2000\n" }, result)
      end)
    end)

    describe("very many workers at once under " .. program .. " by " .. backend, function()
      -- In the build of small sizes there is no room for so many: an error, and all goes on.
      it("just work, or are an error that says what is short", function()
        local result = run_with([[
          local list, go = {}, mf.Queue()
          local ok, err = pcall(function()
            for i = 1, 600 do list[i] = mf.spawn(function() return go:get() end) end
          end)
          assert(ok or mf.is_error(err, "no_memory") and #list > 100, err)
          local sum = 0
          for i = 1, #list do go:put(i) end
          for i = 1, #list do sum = sum + list[i]:result() end
          print(sum == #list * (#list + 1) // 2)
          list = nil
          print(mf.spawn(function() return "again" end):result())
        ]], { timeout = 110 })
        assert.are.same({ code = 0, err = "", out = "true\nagain\n" }, result)
      end)
    end)

    describe("surroundings of a worker under " .. program .. " by " .. backend, function()
      it("have the umask that its program was given", function()
        local result = run_with([[
          mf.spawn(function() io.open("made.txt", "w"):close() end):join()
          print(io.popen("stat -c %a made.txt"):read("a"))
        ]], through("umask 027; exec \"$@\""))
        assert.are.same({ code = 0, err = "", out = "640\n\n" }, result)
      end)

      it("are looked at without a moment in which a thread's new files are open to all", function()
        local result = run_with([[
          local stop = mf.Queue()
          local maker = mf.Thread(function()
            local modes = {}
            while stop:empty() do
              io.open("made.txt", "w"):close()
              local pipe <close> = io.popen("stat -c %a made.txt; rm made.txt")
              modes[pipe:read("l")] = true
            end
            return next(modes), next(modes, (next(modes)))
          end)
          maker:start()
          for _ = 1, 100 do mf.spawn(function() end):join() end
          stop:put(true)
          print(maker:result())
        ]], through("umask 027; exec \"$@\""))
        assert.are.same({ code = 0, err = "", out = "640\tnil\n" }, result)
      end)

      local limits = [[
        local function limits()
          local text = io.open("/proc/self/limits"):read("a")
          return (text:match("Max open files +(%d+ +%d+)"):gsub(" +", " ")) .. "/" ..
            text:match("Max cpu time +(%d+)")
        end
      ]]

      it("have the limits that its program was given", function()
        local result = run_with(limits .. [[
          print(limits(), mf.spawn(limits):result(), mf.Pool(1):apply(limits))
        ]], through("ulimit -t 1000; ulimit -S -n 200; ulimit -H -n 300; exec \"$@\""))
        local one = "200 300/1000"
        assert.are.same({ code = 0, err = "", out = ("%s\t%s\t%s\n"):format(one, one, one) },
          result)
      end)

      it("have the limits and the CPUs that its parent has when it starts it", function()
        local result = run_with(limits .. [[
          local function cpus()
            return io.open("/proc/self/status"):read("a"):match("Cpus_allowed_list:%s*(%S+)")
          end
          mf.spawn(limits):join()
          os.execute("prlimit --nofile=150:250 --pid " .. mf.getpid())
          os.execute("taskset -apc 0 " .. mf.getpid() .. " >cpus.txt")
          local function look() return limits(), cpus(), mf.cpu_count() end
          print(mf.spawn(look):result())
          print(mf.spawn(function() return mf.spawn(look):result() end):result())
        ]], through("ulimit -t 1000; ulimit -n 300; exec \"$@\""))
        local one = "150 250/1000\t0\t1\n"
        assert.are.same({ code = 0, err = "", out = one .. one }, result)
      end)
    end)

    describe("worker whose object was dropped under " .. program .. " by " .. backend, function()
      it("runs on and is joined at the end", function()
        local result = run_with [[
          local go = mf.Queue()
          mf.spawn(function() go:get() mf.sleep(0.05) print "still there" end)
          collectgarbage() collectgarbage()
          go:put(1)
        ]]
        assert.are.same({ code = 0, err = "", out = "still there\n" }, result)
      end)
    end)
  end
end)
