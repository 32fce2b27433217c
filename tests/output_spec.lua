-- What workers and the main state print: whole lines, in order, nothing lost.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore 211

local function lines_of(text)
  local list = {}
  for line in text:gmatch("([^\n]*)\n") do list[#list + 1] = line end
  return list
end

helper.for_each_program(function(program, run)
  for _, backend in ipairs(helper.backends) do
    local function printed(text, options)
      local result = run("mf.set_backend '" .. backend .. "' " .. text, options)
      assert.are.equal("", result.err)
      assert.are.equal(0, result.code)
      return result.out
    end

    describe("output under " .. program .. " with workers by " .. backend, function()
      it("never mixes inside a line", function()
        local out = printed [[
          local workers = {}
          local function chatter(letter)
            for i = 1, 300 do
              local word = letter:rep(i % 70 + 1)
              if i % 3 == 0 then print(word, word)
              elseif i % 3 == 1 then io.write(word, "\t", word, "\n")
              else io.stdout:write(word) io.stdout:write("\t", word) io.write("\n") end
            end
          end
          for i = 1, 4 do workers[i] = mf.spawn(chatter, ("abcd"):sub(i, i)) end
          chatter "m"
          for i = 1, 4 do workers[i]:join() end
        ]]
        local lines, counts = lines_of(out), {}
        assert.are.equal(1500, #lines)
        for _, line in ipairs(lines) do
          local letter = line:sub(1, 1)
          counts[letter] = (counts[letter] or 0) + 1
          assert.is_truthy(line:find("^(" .. letter .. "+)\t%1$") or
            line:match("^" .. letter .. "+\t" .. letter .. "+$"), line)
        end
        assert.are.same({ a = 300, b = 300, c = 300, d = 300, m = 300 }, counts)
      end)

      it("never mixes inside a line longer than a pipe's atom", function()
        local out = printed [[
          local function long(letter) for _ = 1, 20 do print(letter:rep(100000)) end end
          local a, b = mf.spawn(long, "a"), mf.spawn(long, "b")
          a:join() b:join()
        ]]
        local lines = lines_of(out)
        assert.are.equal(40, #lines)
        for _, line in ipairs(lines) do
          assert.are.equal(line:sub(1, 1):rep(100000), line)
        end
      end)

      it("of an unfinished line is written at the worker's end", function()
        local out = printed [[
          mf.spawn(function() io.write "one " io.write "two" end):join()
          print "main"
        ]]
        assert.is_truthy(out == "one two\nmain\n" or out == "one twomain\n", out)
      end)

      it("ends the torn line of a killed worker first", function()
        local out = printed [[
          local started = mf.Queue()
          local p = mf.spawn(function()
            print "whole"
            io.write "torn"
            started:put(1)
            while true do end
          end)
          started:get()
          p:kill()
          p:join()
          print "main"
        ]]
        assert.is_truthy(out == "whole\nmain\n" or out == "whole\ntorn\nmain\n", out)
      end)

      it("of the main state comes before what a worker prints that was started later", function()
        assert.are.equal("one\ntwo\nworker\nthree\n", printed [[
          print "one"
          io.write "two\n"
          mf.spawn(function() print "worker" end):join()
          io.stdout:write "three\n"
        ]])
      end)

      it("of the main state comes before what a task prints that was submitted later", function()
        assert.are.equal("before\ntask\nafter\n", printed [[
          local pool <close> = mf.Pool(1)
          pool:apply(function() end)
          print "before"
          pool:submit(function() print "task" end):get()
          print "after"
        ]])
      end)

      it("of a task is there when its result is", function()
        assert.are.equal("1\n2\n3\n4\n", printed [[
          local pool <close> = mf.Pool(2)
          for i = 1, 4 do pool:apply(print, { i }) end
        ]])
      end)

      it("of print goes through tostring and __name, as in stock Lua", function()
        assert.are.equal("1\tnil\ttrue\t1.0\tpoint\nx2\n", printed [[
          mf.spawn(function()
            print(1, nil, true, 1.0, setmetatable({}, {__tostring = function() return "point" end}))
            io.write("x", 2, "\n")
          end):join()
        ]])
      end)

      it("keeps what write, print and io.output give and take", function()
        assert.are.equal("a\nb\ntrue\ttrue\tfile\n", printed [[
          mf.spawn(function()
            local same = io.write("a\n") == io.stdout
            local chained = io.stdout:write("b"):write("\n") == io.stdout
            print(same, chained, io.type(io.stdout))
          end):join()
        ]])
      end)

      it("redirected by io.output goes to the file", function()
        assert.are.equal("back\nto the file\n", printed [[
          mf.spawn(function()
            io.output("here.txt")
            io.write("to the file\n")
            io.close()
            io.output(io.stdout)
            io.write("back\n")
          end):join()
          for line in io.lines("here.txt") do print(line) end
        ]])
      end)

      it("of any bytes arrives as it is", function()
        assert.are.equal("\0\255\r\n\n\tx\n", printed [[
          mf.spawn(function() io.write("\0\255\r\n\n\tx\n") end):join()
        ]])
      end)

      it("is flushed at the end of a script", function()
        assert.are.equal("last words\n", printed [[
          mf.spawn(function() end):join()
          io.write "last words\n"
        ]])
      end)

      it("is flushed by os.exit of the main script", function()
        assert.are.equal("last words\n", printed [[
          print "last words"
          os.exit(0)
        ]])
      end)

      it("comes in whole lines from nested workers too", function()
        local out = printed [[
          local function chatter() for _ = 1, 50 do print(("z"):rep(200)) end end
          local p = mf.spawn(function()
            local a, b = mf.spawn(chatter), mf.Thread(chatter)
            b:start()
            chatter()
            a:join() b:join()
          end)
          chatter()
          p:join()
        ]]
        local lines = lines_of(out)
        assert.are.equal(200, #lines)
        for _, line in ipairs(lines) do assert.are.equal(("z"):rep(200), line) end
      end)
    end)

    describe("standard error under " .. program .. " with workers by " .. backend, function()
      it("has whole lines too", function()
        local result = run("mf.set_backend '" .. backend .. "' " .. [[
          local function chatter(letter)
            for _ = 1, 100 do io.stderr:write(letter:rep(50)) io.stderr:write("\n") end
          end
          local a, b = mf.spawn(chatter, "a"), mf.spawn(chatter, "b")
          a:join() b:join()
        ]])
        local lines = lines_of(result.err)
        assert.are.equal(200, #lines)
        for _, line in ipairs(lines) do
          assert.are.equal(line:sub(1, 1):rep(50), line)
        end
      end)
    end)
  end
end)
