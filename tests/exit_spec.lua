-- How scripts and workers end: os.exit, uncaught errors, the end of a script, a parent's death.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore 211

-- A process's state, or nil when it is gone (a zombie counts as gone).
local function state_of(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local text = file and file:read("a")
  if file then file:close() end
  local state = text and text:match("^.*%) (%a)")
  return state ~= "Z" and state or nil
end

-- True when all the processes are gone within the two seconds that the contract gives (and a little
-- for a slow machine).
local function gone_soon(pids)
  for _ = 1, 250 do
    local alive = 0
    for _, pid in ipairs(pids) do alive = alive + (state_of(pid) and 1 or 0) end
    if alive == 0 then return true end
    helper.mf.sleep(0.02)
  end
  return false
end

local function numbers(text)
  local list = {}
  for number in text:gmatch("%d+") do list[#list + 1] = math.tointeger(number) end
  return list
end

helper.for_each_program(function(program, run)
  describe("script under " .. program, function()
    it("exits with 0 at its end", function()
      assert.are.same({ code = 0, out = "hello\n", err = "" }, run [[print "hello"]])
    end)

    it("exits with the code of os.exit", function()
      assert.are.equal(7, run("os.exit(7)").code)
      assert.are.equal(0, run("os.exit(true)").code)
      assert.are.equal(1, run("os.exit(false)").code)
      assert.are.equal(5, run("os.exit(5, true)").code)
    end)

    it("exits with 1 after an uncaught error, said once", function()
      local result = run [[error "on purpose"]]
      assert.are.equal(1, result.code)
      assert.are.equal("", result.out)
      local _, count = result.err:gsub("on purpose", "")
      assert.are.equal(1, count, result.err)
      assert.is_truthy(result.err:find("stack traceback:", 1, true), result.err)
    end)

    it("prints the message of an uncaught mf.Error", function()
      local result = run [[
        mf.spawn(function() os.exit(3) end):result()
      ]]
      assert.are.equal(1, result.code)
      assert.is_truthy(result.err:find("Process-1", 1, true), result.err)
    end)
  end)

  for _, backend in ipairs(helper.backends) do
    local function run_with(text, options)
      return run("mf.set_backend '" .. backend .. "' " .. text, options)
    end
    local name = backend == "process" and "Process%-1" or "Thread%-1" -- a pattern

    describe("end of a script with workers by " .. backend .. " under " .. program, function()
      it("joins workers that are no daemons", function()
        local result = run_with [[
          local go = mf.Queue()
          mf.spawn(function() go:get() mf.sleep(0.1) print "worker" end)
          print "main"
          go:put(1)
        ]]
        assert.are.same({ code = 0, out = "main\nworker\n", err = "" }, result)
      end)

      it("flushes standard output before it joins them", function()
        local result = run_with [[
          local go = mf.Queue()
          mf.spawn(function() go:get() mf.sleep(0.05) print "worker" end)
          go:put(1)
          io.write "main"
        ]]
        assert.are.equal(0, result.code, result.err)
        assert.is_truthy(result.out:find("^main\n?worker\n$"), result.out)
      end)

      it("terminates daemons", function()
        local result = run_with [[
          local started = mf.Queue()
          mf.Process{daemon=true, target=function() started:put(1) while true do end end}:start()
          started:get()
          print "end"
        ]]
        assert.are.same({ code = 0, out = "end\n", err = "" }, result)
      end)

      it("terminates daemons that have workers of their own", function()
        local result = run_with [[
          local started = mf.Queue()
          mf.Process{daemon=true, target=function()
            mf.spawn(function() started:put(mf.getpid()) while true do end end)
            while true do end
          end}:start()
          print(started:get())
        ]]
        assert.are.equal(0, result.code, result.err)
        assert.is_true(gone_soon(numbers(result.out)))
      end)

      it("of the main script by os.exit terminates all workers at once", function()
        local result = run_with [[
          local started = mf.Queue()
          for i = 1, 3 do
            mf.spawn(function() started:put(mf.getpid()) while true do end end)
          end
          for i = 1, 3 do print(started:get()) end
          os.exit(5)
        ]]
        assert.are.equal(5, result.code, result.err)
        assert.are.equal(3, #numbers(result.out), result.out)
        assert.is_true(gone_soon(numbers(result.out)))
      end)

      it("by an uncaught error joins workers too", function()
        local result = run_with [[
          mf.spawn(function() mf.sleep(0.05) print "worker" end)
          error "main failed"
        ]]
        assert.are.equal(1, result.code)
        assert.are.equal("worker\n", result.out)
        assert.is_truthy(result.err:find("main failed", 1, true), result.err)
      end)

      it("of a worker joins its own workers", function()
        local result = run_with [[
          mf.spawn(function()
            mf.spawn(function() mf.sleep(0.05) print "grandchild" end)
            print "child"
          end):join()
          print "main"
        ]]
        assert.are.same({ code = 0, out = "child\ngrandchild\nmain\n", err = "" }, result)
      end)
    end)

    describe("worker's os.exit by " .. backend .. " under " .. program, function()
      it("ends that worker alone", function()
        local result = run_with [[
          local p = mf.spawn(function() io.write "bye" os.exit(3) end)
          p:join()
          print(p.exitcode, p:is_alive())
        ]]
        assert.are.same({ code = 0, out = "bye\n3\tfalse\n", err = "" }, result)
      end)

      it("ends its own children as when it dies", function()
        local result = run_with [[
          local pids = mf.Queue()
          local p = mf.spawn(function()
            local child = mf.Process{backend="process", target=function()
              pids:put(mf.getpid()) while true do end
            end}
            child:start()
            print((pids:get()))
            os.exit(0)
          end)
          p:join()
          print(p.exitcode)
        ]]
        assert.are.equal(0, result.code, result.err)
        local pid, code = table.unpack(numbers(result.out))
        assert.are.equal(0, code)
        assert.is_true(gone_soon { pid })
      end)
    end)

    describe("worker's uncaught error by " .. backend .. " under " .. program, function()
      it("is written once, with the worker's name and traceback", function()
        local result = run_with [[
          local function deep() error "on purpose" end
          local p = mf.spawn(function() deep() end)
          p:join()
          print(p.exitcode)
        ]]
        assert.are.equal("1\n", result.out)
        assert.are.equal(0, result.code)
        assert.are.equal(1, select(2, result.err:gsub(name .. ": [^\n]*on purpose\n", "")),
          result.err)
        assert.are.equal(1, select(2, result.err:gsub("on purpose", "")), result.err)
        assert.is_truthy(result.err:find("stack traceback:", 1, true), result.err)
        assert.is_truthy(result.err:find("deep", 1, true), result.err)
      end)

      it("is written readably when it is a table", function()
        local result = run_with [[
          local Oops = { __tostring = function(self) return "oops " .. self.code end }
          mf.spawn(function() error(setmetatable({code = 7}, Oops)) end):join()
        ]]
        assert.is_truthy(result.err:find(name .. ": oops 7"), result.err)
        assert.are.equal(0, result.code)
      end)
    end)

    describe("death of a script with workers by " .. backend .. " under " .. program, function()
      for _, signal in ipairs { "KILL", "TERM", "HUP" } do
        it("by SIG" .. signal .. " ends all its workers and their workers", function()
          local result = run_with([[
            local pids = mf.Queue()
            for i = 1, 3 do
              mf.spawn(function()
                mf.Process{backend="process", target=function()
                  pids:put(mf.getpid()) while true do end
                end}:start()
                pids:put(mf.getpid()) while true do end
              end)
            end
            for i = 1, 6 do print(pids:get()) end
            io.stdout:flush()
            ready()
            while true do end
          ]], { signal = signal, alone = true })
          local pids = numbers(result.out)
          assert.are.equal(6, #pids, result.err)
          assert.are_not.equal(0, result.code)
          assert.is_true(gone_soon(pids))
        end)
      end
    end)
  end

  describe("death of a script under " .. program, function()
    it("is seen by its workers, which then end within 2 s", function()
      local path = os.tmpname()
      local result = run([[
        mf.spawn(function()
          local file = io.open(os.getenv "SEEN", "w")
          file:setvbuf "no"
          local main = mf.parent_process()
          file:write(mf.getpid(), " ", main.name, " ", tostring(main:is_alive()), "\n")
          file:write(tostring(main:join()), " ", tostring(main:is_alive()), "\n")
          while true do end
        end)
        local function begun() return io.open(os.getenv "SEEN"):read("l") end
        while not begun() do mf.sleep(0.01) end
        ready()
        while true do end
      ]], { signal = "KILL", alone = true, env = { SEEN = path } })
      assert.are.equal(137, result.code, result.err)
      local pid = helper.read_file(path):match "^%d+"
      assert.is_true(gone_soon { pid })
      assert.are.equal(pid .. " main true\ntrue false\n", helper.read_file(path))
      os.remove(path)
    end)
  end)

  describe("death of a worker under " .. program, function()
    it("ends its workers, while its parent goes on", function()
      local result = run [[
        local pids = mf.Queue()
        local p = mf.spawn(function()
          mf.spawn(function() pids:put(mf.getpid()) while true do end end)
          while true do end
        end)
        print((pids:get()))
        os.execute("kill -9 " .. p.pid)
        p:join()
        print(p.exitcode)
      ]]
      assert.are.equal(0, result.code, result.err)
      assert.is_truthy(result.out:find("\n%-9\n"), result.out)
      assert.is_true(gone_soon { numbers(result.out)[1] })
    end)

    it("is seen by its workers, which then end within 2 s", function()
      local result = run [[
        local seen = mf.Queue()
        local p = mf.spawn(function()
          mf.spawn(function()
            local parent = mf.parent_process()
            seen:put { mf.getpid(), parent:is_alive(), parent:join(0) }
            seen:put(table.pack(parent:join(30)))
            seen:put { parent:is_alive(), parent:join(), mf.parent_process():is_alive() }
            while true do end
          end)
          while true do mf.sleep(1) end
        end)
        local first = seen:get()
        os.execute("kill -9 " .. p.pid)
        local since = mf.time()
        local second, third = seen:get(30), seen:get(30)
        local grandchild = "/proc/" .. math.tointeger(first[1]) .. "/stat"
        while io.open(grandchild) and mf.time() < since + 10 do mf.sleep(0.01) end
        print(first[2], first[3], #second, second[1], table.unpack(third))
        print(p:join(), p.exitcode, mf.time() - since < 2.5)
      ]]
      assert.are.same({ code = 0, err = "",
        out = "true\tfalse\t1\ttrue\tfalse\ttrue\tfalse\ntrue\t-9\ttrue\n" }, result)
    end)

    it("by a signal raises worker_died naming it, where result is asked for", function()
      local result = run [[
        local p = mf.spawn(function() while true do end end)
        os.execute("kill -SEGV " .. p.pid)
        local ok, err = pcall(p.result, p)
        print(ok, err.kind, err.exitcode, err.worker, err.pid == p.pid, p.exitcode)
      ]]
      assert.are.same({ code = 0, out = "false\tworker_died\t-11\tProcess-1\ttrue\t-11\n",
        err = "" }, result)
    end)

    it("is none of a daemon's parent's business at the end", function()
      local result = run [[
        local p = mf.Process{daemon=true, target=function() while true do end end}
        p:start()
        os.execute("kill -9 " .. p.pid)
      ]]
      assert.are.same({ code = 0, out = "", err = "" }, result)
    end)
  end)

  describe("host's own children under " .. program, function()
    it("are not touched: os.execute and io.popen work beside workers", function()
      local result = run [[
        local p = mf.spawn(function() mf.sleep(0.05) end)
        print(os.execute("exit 3"))
        local pipe = io.popen("echo hi; exit 4")
        print(pipe:read("a"), pipe:close())
        p:join()
      ]]
      assert.are.same({ code = 0, out = "nil\texit\t3\nhi\n\tnil\texit\t4\n", err = "" }, result)
    end)

    it("may be ignored (SIGCHLD) without costing an exit code", function()
      local result = run([[
        local p = mf.spawn(function() os.exit(6) end)
        p:join()
        print(p.exitcode)
      ]], { program = "sh -c 'trap \"\" CHLD; exec " ..
        (program == "moonfleet" and (helper.program or "moonfleet") or helper.lua) ..
        " \"$@\"' sh" })
      assert.are.same({ code = 0, out = "6\n", err = "" }, result)
    end)
  end)
end)
