-- Ctrl-C: a script and its workers end with one message; a script may catch it.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore 211

local function count(text, part)
  local found, from = 0, 1
  while true do
    local first, last = text:find(part, from, true)
    if not first then return found end
    found, from = found + 1, last + 1
  end
end

helper.for_each_program(function(program, run)
  for _, backend in ipairs(helper.backends) do
    local function interrupted(text)
      return run("mf.set_backend '" .. backend .. "' " .. text, { signal = "INT", timeout = 30 })
    end

    describe("Ctrl-C under " .. program .. " with workers by " .. backend, function()
      it("ends a script that waits for a worker: one message, exit code 130", function()
        local result = interrupted [[
          local started = mf.Queue()
          local p = mf.spawn(function() started:put(1) while true do end end)
          started:get()
          ready()
          p:join()
          print "not reached"
        ]]
        assert.are.equal(130, result.code, result.err)
        assert.are.equal("", result.out)
        assert.are.equal(1, count(result.err, "interrupted!"), result.err)
        assert.are.equal(0, count(result.err, "stack traceback"), result.err)
      end)

      it("ends a script that maps", function()
        local result = interrupted [[
          local pool = mf.Pool(2)
          local started = mf.Queue()
          local one = pool:submit(function() started:put(1) while true do end end)
          started:get()
          ready()
          pool:map(function() while true do end end, {1, 2, 3})
        ]]
        assert.are.equal(130, result.code, result.err)
        assert.are.equal(1, count(result.err, "interrupted!"), result.err)
        assert.are.equal(0, count(result.err, "stack traceback"), result.err)
      end)

      for name, wait in pairs {
        select = "mf.select { queue, a }", wait_any = "mf.wait_any { queue, a }",
        recv = "a:recv()", recv_bytes = "a:recv_bytes()", poll = "a:poll(1000)",
        join = "done:join()",
      } do
        it("ends a wait in " .. name, function()
          local result = interrupted([[
            local queue, done, a, b = mf.Queue(), mf.Queue(), mf.Pipe()
            done:put(1)
            ready()
            local ok, err = pcall(function() ]] .. wait .. [[ end)
            print(ok, err.kind, b)
          ]])
          assert.are.same({ 0, "" }, { result.code, result.err })
          assert.is_truthy(result.out:find "^false\tinterrupted\t", result.out)
        end)
      end

      it("is raised in the main state as a mf.Error that a script may catch", function()
        local result = interrupted [[
          ready()
          local ok, err = pcall(mf.sleep, 1000)
          print(ok, mf.is_error(err, "interrupted"), err.kind, tostring(err))
          print(mf.spawn(function() return "workers still start" end):result())
        ]]
        assert.are.same({ code = 0, err = "",
          out = "false\ttrue\tinterrupted\tinterrupted!\nworkers still start\n" }, result)
      end)

      it("wakes whatever waits", function()
        local result = interrupted [[
          local q, lock = mf.Queue(), mf.Semaphore(0)
          ready()
          local ok, err = pcall(q.get, q)
          print(ok, err.kind)
        ]]
        assert.are.same({ code = 0, err = "", out = "false\tinterrupted\n" }, result)
      end)

      it("stops a loop that computes", function()
        local result = interrupted [[
          ready()
          while true do end
        ]]
        assert.are.equal(130, result.code, result.err)
        assert.are.equal(1, count(result.err, "interrupted!"), result.err)
      end)

      it("leaves a pool usable when the script catches it", function()
        local result = interrupted [[
          local pool <close> = mf.Pool(2)
          local started = mf.Queue()
          local other = pool:submit(function(x) started:put(1) return x end, "other")
          started:get()
          ready()
          local ok, err = pcall(pool.map, pool, function() while true do end end, {1, 2, 3})
          print(ok, err.kind, other:get())
          pool:restart()
          pool:terminate()
          pool:join()
          local second <close> = mf.Pool(1)
          print(second:apply(math.abs, {-7}))
        ]]
        assert.are.same({ code = 0, err = "", out = "false\tinterrupted\tother\n7\n" }, result)
      end)

      it("leaves workers alone when the script catches it", function()
        local result = interrupted [[
          local go = mf.Queue()
          local p = mf.spawn(function() return go:get() end)
          ready()
          print(pcall(mf.sleep, 1000))
          go:put "alive"
          print(p:result())
        ]]
        assert.are.same({ code = 0, err = "", out = "false\tinterrupted!\nalive\n" }, result)
      end)
    end)
  end
end)
