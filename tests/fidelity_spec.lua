-- A worker's Lua is Lua: what a function gives there is what it gives in stock Lua.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local long = helper.long
local _ENV = _G -- luacheck: ignore 211

-- Each gives the same values wherever it runs.
local samples = {
  ["pcall and error"] = function()
    local marker = {}
    local list = { pcall(error), pcall(error, nil), pcall(error, 5), pcall(error, "x", 0),
      select("#", pcall(function() return 1, nil, nil end)), pcall(pcall), pcall(pcall, error, 1),
      select(2, pcall(error, marker)) == marker }
    list[#list + 1] = select(2, pcall(function() error("level one") end)):match(": (.*)")
    list[#list + 1] = select(2, pcall(function() local x = nil; return x.y end)):match(": (.*)")
    list[#list + 1] = tostring(select(2, pcall(pcall)))
    return list
  end,
  ["xpcall and its handler"] = function()
    local list = {}
    list[1] = { xpcall(function(...) return ... end, print, 1, nil, 3) }
    list[2] = { xpcall(error, function(e) return e .. "!" end, "oops", 0) }
    list[3] = { xpcall(error, function(e) error(e) end, "twice", 0) }
    list[4] = { xpcall(function() local function f() return 1 + f() end return f() end,
      function(e) return e:match("stack overflow") end) }
    list[5] = { pcall(xpcall) }
    list[6] = select(2, xpcall(function() error("traced", 0) end,
    debug.traceback)):match("^traced\n")
    return list
  end,
  ["coroutines"] = function()
    local co = coroutine.create(function(...)
      local a = coroutine.yield(select("#", ...), ...)
      local b = coroutine.yield(a)
      error("end of " .. b, 0)
    end)
    local list = { coroutine.status(co), { coroutine.resume(co, 1, nil, 3) },
      { coroutine.resume(co, "a") }, coroutine.status(co), { coroutine.resume(co, "b") },
      { coroutine.resume(co) }, coroutine.status(co) }
    local wrapped = coroutine.wrap(function() for i = 1,
    3 do coroutine.yield(i) end return "last" end)
    for _ = 1, 4 do list[#list + 1] = wrapped() end
    list[#list + 1] = select(2, pcall(wrapped)):match("dead")
    list[#list + 1] = select(2, coroutine.running())
    list[#list + 1] = coroutine.isyieldable()
    list[#list + 1] = { pcall(coroutine.yield) }
    list[#list + 1] = coroutine.wrap(function() return coroutine.isyieldable() end)()
    return list
  end,
  ["yields across pcall, metamethods and iterators"] = function()
    local object = setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end,
      __add = function(_, b) return coroutine.yield(b) end,
      __lt = function() return coroutine.yield("lt") end,
      __call = function(_, x) return coroutine.yield(x) end,
      __close = function()
        if coroutine.isyieldable() then coroutine.yield("close") end -- not before Lua 5.4.3
      end })
    local list = {}
    local co = coroutine.wrap(function()
      local ok, value = pcall(function() return object.field end)
      list[#list + 1] = { ok, value }
      list[#list + 1] = object + 5
      list[#list + 1] = object < object
      list[#list + 1] = { xpcall(object, print, "called") }
      do local _ <close> = object end
      for k in function(_, k) return coroutine.yield(k or 0) end do list[#list + 1] = k end
      return "done"
    end)
    local answer = co()
    for i = 1, 30 do
      list[#list + 1] = answer
      if answer == "done" then break end
      answer = co(i < 12 and i or nil)
    end
    return list
  end,
  ["coroutine.close and to-be-closed variables"] = function()
    local log = {}
    local function closer(name, raise)
      return setmetatable({}, { __close = function(_, e)
        log[#log + 1] = name .. ":" .. tostring(e)
        if raise then error(name, 0) end
      end })
    end
    local co = coroutine.create(function()
      local _ <close> = closer("a")
      local _ <close> = closer("b", true)
      coroutine.yield()
    end)
    coroutine.resume(co)
    log[#log + 1] = { coroutine.close(co) }
    log[#log + 1] = { coroutine.close(coroutine.create(print)) }
    log[#log + 1] = { pcall(function()
      local _ <close> = closer("c")
      local _ <close> = closer("d", true)
      error("e", 0)
    end) }
    return log
  end,
  ["strings"] = function()
    return { ("%5.2f|%-5d|%05d|%x|%q|%s|%a"):format(3.14159, 7, 42, 255, "a\nb", nil, 0.5),
      ("hello world"):gsub("o", { o = "0" }), ("abc"):rep(3, "-"), ("x"):byte(),
      ("abc"):find("b", 1, true), ("key = value"):match("^(%w+)%s*=%s*(%w+)$"),
      string.pack("<i4z", 7, "x"), ("a,b,,c"):gsub(",", ";"), #("\u{10FFFF}"), ("%d"):format(3.0),
      tostring(1e15), tostring(2^53), 10 // 3, -7 // 2, -7 % 3, 7.5 // 2, 1 / 0 > 0, 3 | 4, ~0,
      "10" + 5, 10 .. "", math.tointeger("8"), tostring(-0.0) }
  end,
  ["tables"] = function()
    local t = { 5, 2, 8, 1 }
    table.sort(t)
    local r = { 5, 2, 8, 1 }
    table.sort(r, function(a, b) return a > b end)
    table.insert(t, 9)
    table.insert(t, 1, 0)
    local removed = table.remove(t, 2)
    return { t, r, removed, table.concat(t, ","), table.pack(table.unpack({ 1, nil, 3 }, 1, 3)),
      select("#", table.unpack({}, 1, 3)), next({}), rawlen({ 1, 2 }), rawequal(t, t), #t,
      table.move({ 1, 2, 3 }, 1, 3, 2), { pcall(table.concat, { {} }) } }
  end,
  ["the other libraries"] = function()
    return { utf8.char(228, 8364), utf8.len("\u{e4}x"), { utf8.codepoint("\u{e4}x", 1, -1) },
      math.type(1), math.type(1.0), math.ult(1, -1), math.maxinteger, math.fmod(-7, 3),
      math.max(1, 2.5), os.date("!%Y-%m-%d", 0),
      os.time({ year = 2020, month = 1, day = 1, hour = 12 }), type(os.clock()),
      os.getenv("no such thing"), type(os.tmpname), io.type(io.stdout), io.type(5),
      { io.open("/no/such/file") }, type(debug.getinfo(1).currentline), load("return 1 + 1")(),
      { load("x = = 1", "=chunk") }, load(string.dump(function() return 42 end))(),
      pcall(load, "x", "x", "b"), { pcall(require, "no.such.mod") },
      select("#", _G.assert(1, 2, 3)), { pcall(_G.assert, false, "m") }, { pcall(_G.assert, nil) },
      tostring(print):match("^function"), _VERSION, rawget(_G, "no_such_global"), tonumber("0x10"),
      tonumber("z", 36), tonumber("  12  "), tonumber("1e1"), tonumber(""),
      { pcall(setmetatable, 1, {}) }, collectgarbage("count") > 0, collectgarbage("isrunning"),
      collectgarbage("step") ~= nil, type(package.searchers), #package.config }
  end,
  ["files"] = function()
    local path = os.tmpname()
    local file = _G.assert(io.open(path, "w+"))
    local list = { io.type(file), file:write("one\n", 2, "\n", 3.5, "\nlast") == file,
    file:seek("set", 0),
      { file:read("l", "n", "n", "L", "a") }, { file:read("l") }, file:read(0), file:seek("cur"),
      file:close() }
    list[#list + 1] = io.type(file)
    list[#list + 1] = { pcall(file.read, file) }
    for line in io.lines(path) do list[#list + 1] = line end
    for a, b in io.lines(path, 1, "l") do list[#list + 1] = a .. "|" .. b end
    io.output(path)
    io.write("through io.output")
    list[#list + 1] = io.output() ~= io.stdout
    io.close()
    io.output(io.stdout)
    io.input(path)
    list[#list + 1] = io.read("a")
    io.close(io.input())
    io.input(io.stdin)
    list[#list + 1] = os.remove(path)
    list[#list + 1] = select("#", os.remove(path))
    local pipe = io.popen("echo popen; exit 3")
    list[#list + 1] = { pipe:read("a"), pipe:close() }
    list[#list + 1] = { os.execute("exit 4") }
    list[#list + 1] = os.execute()
    return list
  end,
  ["collection"] = function()
    local log, weak = {}, setmetatable({}, { __mode = "k" })
    weak[{}] = 1
    setmetatable({}, { __gc = function() log[#log + 1] = "finalized" end })
    collectgarbage()
    collectgarbage()
    local old = collectgarbage("generational")
    collectgarbage()
    collectgarbage(old)
    return { log, next(weak), old }
  end,
  ["debug hooks"] = function()
    local count = 0
    debug.sethook(function() count = count + 1 end, "", 100)
    for _ = 1, 1000 do end -- luacheck: ignore
    local counted = count > 0
    debug.sethook()
    local lines = {}
    debug.sethook(function(_, line) lines[#lines + 1] = line end, "l")
    local _ = 1
    debug.sethook()
    return { counted, #lines > 0, debug.gethook() == nil }
  end,
  ["where errors point to"] = function()
    local function where(f, ...)
      return (tostring(select(2, pcall(f, ...))):gsub("^.-(%w+_spec%.lua)", "%1"))
    end
    return { where(function() error("here") end), where(function() error("up", 2) end),
      where(function() return nil .. "x" end), where(string.rep), where(function() string.rep() end), -- luacheck: ignore
      where(setmetatable({}, { __call = function(_, x) error(x) end }), "called"),
      where(function() for _ = 1, "x" do end end), where(function() return #5 end) } -- luacheck: ignore
  end,
}

helper.for_each_backend(function(backend, mf_b)
  describe("Lua in a worker by " .. backend, function()
    for name, sample in pairs(samples) do
      it("does " .. name .. " as anywhere", function()
        assert.are.same({ sample() }, { mf_b.spawn(sample):result(long) })
      end)

      it("does " .. name .. " as anywhere, inside a coroutine", function()
        if name == "coroutines" then return end -- asks whether it is in one
        local function inside() return coroutine.wrap(sample)() end
        assert.are.same({ inside() }, { mf_b.spawn(inside):result(long) })
      end)

      it("does " .. name .. " as anywhere, in a pool's task", function()
        local pool <close> = mf_b.Pool(1)
        assert.are.same({ sample() }, { pool:apply(sample) })
      end)
    end
  end)
end)

describe("Lua in a serial pool", function()
  for name, sample in pairs(samples) do
    it("does " .. name .. " as anywhere", function()
      local pool <close> = mf.Pool { backend = "serial" }
      assert.are.same({ sample() }, { pool:apply(sample) })
    end)
  end
end)
