-- Cases of codec_test.c: a list of names and functions. They run in the sender's state; `v.trip`
-- takes values to the worker's state and back, `v.remote(fn, ...)` calls fn there.
local v = ...
local cases = {}

local function case(name, fn)
  cases[#cases + 1] = name
  cases[#cases + 1] = fn
end

local function equal(got, expected)
  if got ~= expected and not (got ~= got and expected ~= expected) then
    error(("got %s, expected %s"):format(got, expected), 2)
  end
  if math.type(got) ~= math.type(expected) then error("another type of number", 2) end
end

local function same(a, b, seen)
  if type(a) ~= "table" or type(b) ~= "table" then return equal(a, b) end
  seen = seen or {}
  if seen[a] then return assert(seen[a] == b, "sharing differs") end
  seen[a] = b
  for k, x in pairs(a) do same(x, b[k], seen) end
  for k in pairs(b) do assert(a[k] ~= nil, "a key too many") end
end

local function fails(message, fn, ...)
  local ok, e = pcall(fn, ...)
  if ok then error("no error, expected " .. message, 2) end
  if not tostring(e):find(message, 1, true) then
    error(("error is %q, expected %q"):format(tostring(e), message), 2)
  end
  return e
end

---------------------------------------------------------------------------------------------------

case("scalars arrive bit for bit", function()
  local list = { true, false, 0, -1, 1, 95, 96, -32, -33, 127, 128, -128, -129, 32767, 32768,
    -32768, -32769,
    2^31 | 0, (2^31 | 0) - 1, -(2^31 | 0), -(2^31 | 0) - 1, math.maxinteger, math.mininteger,
      0.0, 1.5, -1e300,
    math.huge, -math.huge, 2^53, 5e-324 }
  for _, x in ipairs(list) do
    equal(v.trip(x), x)
    equal(v.trip({ x })[1], x)
    equal(v.trip({ [x] = 1 })[x], 1)
  end
  equal(1 / v.trip(-0.0), -math.huge)
  local nan = string.unpack("d", string.pack("I8", 0x7ff80000deadbeef))
  equal(string.pack("d", v.trip(nan)), string.pack("d", nan))
end)

case("many values arrive, nils among them", function()
  local t = table.pack(v.trip(nil, 1, nil, "x", nil))
  equal(t.n, 5)
  equal(t[2], 1)
  equal(t[4], "x")
  equal(select("#", v.trip()), 0)
  equal(select("#", v.trip(table.unpack({}, 1, 1000))), 1000)
end)

case("strings of all lengths arrive", function()
  for _, n in ipairs { 0, 1, 40, 63, 64, 255, 256, 4095, 4096, 4097, 65536, 3000000 } do
    local s = ("x\0y\255z"):rep(n // 5 + 1):sub(1, n)
    assert(v.trip(s) == s)
    local t = v.trip { s, a = s, [s] = { s } }
    assert(t[1] == s and t.a == s and t[s][1] == s)
  end
  assert(select(3, v.trip(("a"):rep(5000), 1, ("b"):rep(6000))) == ("b"):rep(6000))
end)

case("tables of all shapes arrive", function()
  local holes = { 1, nil, 3, nil, 5 }
  local backwards = {}
  for i = 20, 1, -1 do backwards[i] = i * i end
  local big = {}
  for i = 1, 1000 do big["k" .. i] = { i } end
  for _, t in ipairs { {}, { 1 }, { 1, 2, 3 }, { a = 1 }, { 1, 2, x = 3, [-1] = 4, [0] = 5, [1.5]
    = 6, [true] = 7 },
    holes, backwards, big, { {}, {}, { {} } }, { 1, "a", 2.5, true, {}, 1, 2, 3, 4, 5, 300, 1.5,
      2.5, 3.5, 4.5 },
    { [2^53] = 1, [math.mininteger] = 2, [math.maxinteger] = 3 } } do
    same(t, v.trip(t))
  end
  equal(#v.trip(holes), 5)
end)

case("sparse tables cost what they hold", function()
  local t = {}
  for i = 0, 62 do t[1 << i] = i end
  same(t, v.trip(t))
  assert(#v.bytes(t) < 1000)
end)

case("rows of numbers arrive", function()
  for _, max in ipairs { 10, 200, 70000, 2^40 | 0 } do
    local t = {}
    for i = 1, 1000 do t[i] = (i % 2 == 0 and 1 or -1) * (max * i // 1000) end
    t[500] = "gap"
    t[501] = { 1, 2, 3, 4, 5, 6.5, 7.5, 8.5, 9.5, 1, 2.5 }
    same(t, v.trip(t))
  end
  local t = { math.mininteger, math.maxinteger, 0, -1, 127, -128, 128, -129 }
  same(t, v.trip(t))
  t = {}
  for i = 1, 100 do t[i] = i + 0.5 end
  t[101] = 1
  same(t, v.trip(t))
  assert(not PEEK or #v.bytes(t) < 850)
end)

case("sharing and cycles are kept", function()
  local a = { name = "a" }
  a.self = a
  local b = { a, a, { a } }
  b[a] = b
  local r = v.trip(b)
  assert(r[1] == r[2] and r[3][1] == r[1] and r[1].self == r[1] and r[r[1]] == r)
  local x, y = v.trip(a, a)
  assert(x == y and x.self == x)
  local many = {}
  for i = 1, 500 do many[i] = { i } end
  for i = 1, 500 do many[500 + i] = many[i] end
  r = v.trip(many)
  for i = 1, 500 do assert(r[i] == r[500 + i] and r[i][1] == i) end
end)

case("tables as keys arrive", function()
  local k, k2 = { "key" }, { { "deep" } }
  local r = v.trip { [k] = { "value", k }, [k2] = k2 }
  local n = 0
  for key, value in pairs(r) do
    n = n + 1
    if key[1] == "key" then assert(value[1] == "value" and value[2] == key)
    else assert(key[1][1] == "deep" and value == key) end
  end
  equal(n, 2)
end)

case("depth is no limit", function()
  local t = {}
  local u = t
  for _ = 1, 100000 do
    u[1] = {}
    u = u[1]
  end
  u.last = true
  local r, n = v.trip(t), 0
  while r[1] do r, n = r[1], n + 1 end
  assert(n == 100000 and r.last)
  t = {}
  u = t
  for _ = 1, 100000 do
    u.next = setmetatable({}, { __name = "x" })
    u = u.next
  end
  r, n = v.trip(t), 0
  while r.next do r, n = r.next, n + 1 end
  equal(n, 100000)
  t = {}
  for _ = 1, 100000 do t = { [t] = 1 } end
  r, n = v.trip(t), 0
  while next(r) do r, n = next(r), n + 1 end
  equal(n, 100000)
  for _ = 1, 520000 do t = { x = t } end
  fails("cannot send tables nested so deeply", v.trip, t)
end)

case("deep chains of functions arrive", function()
  local f = function() return 0 end
  for _ = 1, 20000 do
    local g = f
    f = function() return g end
  end
  equal(v.remote(function(f)
    local n = 0
    while type(f) == "function" do f, n = f(), n + 1 end
    return n
  end, f), 20001)
end)

---------------------------------------------------------------------------------------------------

case("metatables travel by value, shared and cyclic", function()
  local Point = {}
  Point.__index = Point
  function Point.__add(a, b) return setmetatable({ x = a.x + b.x }, Point) end
  function Point:double() return self.x * 2 end
  local a, b = setmetatable({ x = 1 }, Point), setmetatable({ x = 2 }, Point)
  equal(v.remote(function(a, b) return (a + b):double(), getmetatable(a) == getmetatable(b) end,
    a, b), 6)
  local r = v.trip(a)
  assert(getmetatable(r) ~= Point and r:double() == 2)
  local own = setmetatable({}, { __metatable = "locked", __name = "Own" })
  equal(getmetatable(v.trip(own)), "locked")
  local t = {}
  t.__index = t
  setmetatable(t, t)
  local r = v.trip(t)
  assert(debug.getmetatable(r) == r and r.__index == r)
end)

case("registered classes are the receiver's own", function()
  local Point = { __name = "Point" }
  Point.__index = Point
  v.register("Point", Point)
  fails("class 'Point' is not registered here", v.trip, setmetatable({}, Point))
  v.remote(function()
    Worker_point = { __index = { who = "worker's" } }
    debug.getregistry().verbs.register("Point", Worker_point)
  end)
  equal(v.remote(function(p) return p.who end, setmetatable({ x = 1 }, Point)), "worker's")
  local r = v.trip(setmetatable({ x = 1 }, Point))
  assert(getmetatable(r) == Point and r.x == 1)
  assert(v.trip(Point) == Point)
  local Late = { late = true }
  v.register("Late", Late)
  Late.__index = Late
  function Late:method() return self.x, getmetatable(self) == Late end
  local x, same_class = v.remote(function(x) return x:method() end, setmetatable({ x = 3 }, Late))
  assert(x == 3 and same_class)
  assert(v.remote(function(a, b) return getmetatable(a) == getmetatable(b) end, setmetatable({},
    Late),
    setmetatable({}, Late)))
  equal(getmetatable(v.trip(setmetatable({}, Late))), Late)
end)

---------------------------------------------------------------------------------------------------

case("upvalues travel by value", function()
  local n, t = 5, { 1 }
  equal(v.remote(function(x) n = n + x; t[1] = 7; return n + t[1] end, 10), 22)
  assert(n == 5 and t[1] == 1)
end)

case("upvalues are shared within one message", function()
  local n = 0
  local function inc() n = n + 1 return n end
  local function get() return n end
  equal(v.remote(function(inc, get) inc() inc() return get() end, inc, get), 2)
  equal(v.remote(function() inc() return get() end), 1)
  local i, g = v.trip(inc, get)
  i()
  assert(g() == 1 and get() == 0)
  local function counter()
    local c = 0
    return function() c = c + 1 return c end
  end
  local a, b = v.trip(counter(), counter())
  a() a()
  equal(b(), 1)
end)

case("recursion works", function()
  local function fact(n) return n <= 1 and 1 or n * fact(n - 1) end
  equal(v.remote(fact, 10), 3628800)
  local odd
  local function even(n) if n == 0 then return true end return odd(n - 1) end
  function odd(n) if n == 0 then return false end return even(n - 1) end
  equal(v.remote(even, 11), false)
  assert(v.trip(fact)(5) == 120)
end)

case("one function twice is one function", function()
  local f = function() end
  local a, b = v.trip(f, { f })
  assert(a == b[1])
end)

case("many closures of one prototype share its code", function()
  local list = {}
  for i = 1, 300 do list[i] = function(x) return x * i end end
  local r = v.trip(list)
  for i = 1, 300 do equal(r[i](2), 2 * i) end
  assert(#v.bytes(list) < 20000, #v.bytes(list))
end)

case("functions with many upvalues, parameters and constants", function()
  local src = { "local function make() " }
  for i = 1, 190 do src[#src + 1] = ("local u%d = %d "):format(i, i) end
  src[#src + 1] = "return function(...) local s = select('#', ...) "
  for i = 1, 190 do src[#src + 1] = ("s = s + u%d "):format(i) end
  src[#src + 1] = "return s end end return make()"
  local f = load(table.concat(src))()
  equal(v.remote(f, nil, nil), 190 * 191 // 2 + 2)
  src = { "local s = 0 " }
  for i = 1, 600 do src[#src + 1] = ("s = s + #'%s' "):format("constant " .. i) end
  src[#src + 1] = "return s + some_global_name"
  some_global_name = 1000
  equal(v.remote(load(table.concat(src))), 8092)
  some_global_name = nil
  -- 255 upvalues: more than the factory has registers
  local one, two = {}, {}
  for i = 1, 127 do
    one[i] = "a" .. i
    two[i] = "b" .. i
  end
  local text = "local " .. table.concat(one, ",") .. " = 1; return (function() local "
    .. table.concat(two, ",") ..
    " = 2; return function(x) if x then return type(print), a1, b1 end return #{ "
      .. table.concat(one, ",") .. "}, #{" ..
    table.concat(two, ",") .. "} end end)()"
  local g = load(text)()
  equal(debug.getinfo(g, "u").nups, 255)
  local kind, a1, b1 = v.remote(g, true)
  assert(kind == "function" and a1 == 1 and b1 == 2)
end)

case("debug information stays", function()
  local f = function() error("here") end
  local line = debug.getinfo(f, "S").linedefined
  fails("codec_test.lua:" .. line .. ": here", v.remote, f)
  equal(debug.getinfo(v.trip(f), "S").short_src, debug.getinfo(f, "S").short_src)
  equal(debug.getlocal(v.trip(function(abc) return abc end), 1), "abc")
  local name = debug.getupvalue(v.trip(function() return v end and function() return line end), 1)
  equal(name, "line")
end)

case("stripped code works", function()
  local f = load(string.dump(function(x) return x + 1 end, true), "=x", "b")
  equal(v.remote(f, 1), 2)
  stripped_global = 3
  local g = load(string.dump(function() return stripped_global end, true), "=x", "b")
  equal(v.remote(g), 3)
  stripped_global = nil
end)

---------------------------------------------------------------------------------------------------

case("globals are found and sent along, transitively", function()
  function helper_a(x) return helper_b(x) + helper_table.n end
  function helper_b(x) return x * 2 end
  helper_table = { n = 1 }
  equal(v.remote(function(x) return helper_a(x) end, 20), 41)
  v.remote(function() helper_a, helper_b, helper_table = nil end)
  helper_a, helper_b, helper_table = nil, nil, nil
end)

case("globals named in nested functions are found", function()
  deep_global = "deep"
  equal(v.remote(function() return (function() return (function() return deep_global end)()
    end)() end), "deep")
  deep_global = nil
  v.remote(function() deep_global = nil end)
end)

case("recursive globals work", function()
  function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
  equal(v.remote(fib, 15), 610)
  fib = nil
end)

case("_G.name and _ENV.name are found", function()
  seen_by_g, seen_by_env, seen_by_alias = "g", "env", "alias"
  equal(v.remote(function() return _G.seen_by_g end), "g")
  equal(v.remote(function() return _ENV.seen_by_env end), "env")
  local G = _G
  equal(v.remote(function() return G.seen_by_alias end), "alias")
  equal(v.remote(function() local h = _G; return (function() return h.seen_by_alias end)() end),
    "alias")
  seen_by_g, seen_by_env, seen_by_alias = nil, nil, nil
end)

case("names in code with many constants are found", function()
  local src = { "local s = 0 " }
  for i = 1, 300 do src[#src + 1] = ("s = s + %d.5 "):format(i) end
  src[#src + 1] = "far_away_global = far_away_global + 1 return far_away_global"
  far_away_global = 10
  equal(v.remote(load(table.concat(src))), 11)
  far_away_global = nil
  a_global_whose_name_is_longer_than_forty_bytes_is_found_too = 1
  equal(v.remote(function() return a_global_whose_name_is_longer_than_forty_bytes_is_found_too
    end), 1)
  a_global_whose_name_is_longer_than_forty_bytes_is_found_too = nil
end)

case("_G itself is the worker's", function()
  assert(v.remote(function(G) return G == _G and G.print == print end, _G))
  assert(v.trip(_G) == _G)
  assert(v.trip({ _G })[1] == _G)
end)

case("a nil global leaves the worker's alone", function()
  v.remote(function() _G["kept_" .. "there"] = 5 end)
  equal(v.remote(function() return kept_there end), 5)
  kept_there = 6
  equal(v.remote(function() return kept_there end), 6)
  kept_there = nil
end)

case("standard names mean the worker's own", function()
  local old = print
  print = function() error("must not be sent") end
  assert(v.remote(function() return type(print) == "function" and debug.getinfo(print, "S").what
    == "C" end))
  print = old
end)

case("a custom _ENV is a plain table", function()
  local f
  do
    local _ENV = { x = 5 }
    f = function() x = x + 1 return x end
  end
  equal(v.remote(f), 6)
  local env = setmetatable({ y = 1 }, { __index = _G })
  local g = load("return y, tostring(y)", "=g", "t", env)
  equal(select(2, v.remote(g)), "1")
end)

case("a global that cannot be sent raises where named, is left out where guessed", function()
  bad_global = coroutine.create(print)
  local e = fails('global "bad_global" of function <', v.remote, function() return bad_global end)
  assert(tostring(e):find("cannot send a coroutine (at target, global", 1, true), tostring(e))
  equal(e.kind, "not_sendable")
  good_global = 1
  equal(v.remote(function()
    local G = _G
    local names = { "bad_global", "good_global" }
    return G[names[1]], G[names[2]]
  end), nil)
  equal(select(2, v.remote(function() return _G.bad_global, _G.good_global end)), 1)
  bad_container = { {}, {}, coroutine.create(print) }
  after = { shared = {} }
  equal(v.remote(function() return _G.bad_container, _G.after.shared end), nil)
  bad_global, good_global, bad_container, after = nil, nil, nil, nil
end)

case("what a weak global began is taken back whole", function()
  local shared = { 1, 2, 3 }
  local function inner() return shared end
  weak_bad = { shared, inner, coroutine.create(print), ("x"):rep(5000) }
  local f = function() return _G.weak_bad, shared, inner end
  local a, b, c = v.remote(f)
  assert(a == nil and b[3] == 3 and c()[2] == 2)
  local list = {}
  for i = 1, 50 do list[i] = { i } end
  weak_bad = { list, coroutine.create(print) }
  f = function() return _G.weak_bad, list end
  local x, y = v.remote(function(f, a, b) local p, q = f() return p, q[50][1] == a[50][1] and a
    == b end, f, list, list)
  assert(x == nil and y == true)
  weak_bad = nil
end)

case("globals are not sent twice in one message", function()
  big_global = ("x"):rep(3000)
  local f = function() return big_global end
  local g = function() return #big_global end
  assert(#v.bytes(f, g, f) < 4000)
  big_global = nil
end)

---------------------------------------------------------------------------------------------------

case("C functions travel by name", function()
  local fmt, p, floor, g = string.format, print, math.floor, table.concat
  equal(v.remote(function(x) return fmt("%d", floor(x)) .. g({ 1, 2 }) .. type(p) end, 3.7),
    "312function")
  assert(v.trip(string.rep) == string.rep and v.trip(print) == print and v.trip(io.write) ==
    io.write)
  local old = print
  print = function() end
  assert(v.trip(old) == old or true)
  print = old
  local made = coroutine.wrap(function() end)
  fails("cannot send a C function", v.trip, made)
end)

case("standard modules travel by name", function()
  local s, m = string, math
  equal(v.remote(function() return s == string and m == math and s.rep("a", 3) end), "aaa")
  assert(v.trip(string) == string)
end)

case("modules travel by name where the worker finds them, else by value", function()
  local dir = os.tmpname()
  os.remove(dir)
  os.execute("mkdir " .. dir)
  local file = assert(io.open(dir .. "/codec_test_module.lua", "w"))
  file:write [[
    local M = { count = 0, sub = { inner = function() return "inner" end }, Class = {} }
    M.Class.__index = M.Class
    function M.add(a, b) M.count = M.count + 1 return a + b end
    function M.Class.new(x) return setmetatable({ x = x }, M.Class) end
    function M.Class:get() return self.x end
    return M
  ]]
  file:close()
  local path = package.path
  package.path = dir .. "/?.lua;" .. path
  v.remote(function(p) package.path = p end, package.path)
  local M = require "codec_test_module"
  M.count = 100
  equal(v.remote(function() return M.add(1, 2) + M.count end), 4)
  equal(v.remote(M.add, 1, 2), 3)
  assert(v.trip(M) == M and v.trip(M.sub.inner) == M.sub.inner and v.trip(M.sub) == M.sub)
  local o = v.trip(M.Class.new(5))
  assert(getmetatable(o) == M.Class and o:get() == 5)
  equal(v.remote(function(o) return o:get(), getmetatable(o) ==
    require("codec_test_module").Class end, M.Class.new(7)), 7)
  M.extra = function() return "added" end
  fails("'extra' of module 'codec_test_module' is not there", v.remote, function() return
    M.extra() end and M.extra)
  package.loaded.handmade = { f = function() return "by value" end, sub = { 1 } }
  local H = require "handmade"
  equal(v.remote(function() return H.f() end), "by value")
  assert(v.trip(H) ~= H)
  package.loaded.handmade = nil
  package.preload.preloaded = function() return { name = "preloaded" } end
  local P = require "preloaded"
  assert(v.bytes(P):find("preloaded", 1, true))
  package.preload.preloaded, package.loaded.preloaded = nil, nil
  package.path = path
  os.execute("rm -r " .. dir)
end)

case("additions to standard tables go along", function()
  string.trim = function(s) return (s:match("^%s*(.-)%s*$")) end
  string.helper_of_trim = 1
  equal(v.remote(function(s) return s:trim() .. "|" end, "  a b "), "a b|")
  equal(v.remote(function() return rawget(string, "helper_" .. "of_trim") end), nil)
  equal(v.start(function() return rawget(string, "helper_" .. "of_trim") end), 1)
  table.sum = function(t) local s = 0 for _, x in ipairs(t) do s = s + x end return s end
  equal(v.remote(function() return table.sum { 1, 2, 3 } end), 6)
  string.bad = coroutine.create(print)
  equal(v.remote(function(s) return s.bad end, "x"), nil)
  equal(v.start(function(s) return 2 end), 2)
  string.trim, string.helper_of_trim, string.bad, table.sum = nil, nil, nil, nil
end)

---------------------------------------------------------------------------------------------------

case("objects travel by reference", function()
  local a, b = v.thing(7), v.thing(8)
  local x, y, z = v.trip(a, { b }, a)
  assert(v.number_of(x) == 7 and v.number_of(y[1]) == 8 and x == z)
  equal(v.remote(function() return debug.getregistry().verbs.number_of(a) end), 7)
  fails("thing 666 is closed", v.trip, v.thing(666))
  equal(v.number_of(v.thaw(v.freeze({ a })) [1]), 7)
end)

case("userdata with __transfer are rebuilt", function()
  local fake = setmetatable({}, { __transfer = function(x) return function(n, t) return { n = n,
    t = t } end, x.n, x end })
  fake.n = 5
  fails("a value needs itself", v.trip, fake)
  local calls = 0
  local box = setmetatable({ n = 6 }, { __transfer = function(x)
    calls = calls + 1
    assert(v.trip({ 1, function() return 2 end })[1] == 1) -- encodes inside encoding
    return function(n) return { n = n, global = rebuilt_with } end, x.n
  end })
  rebuilt_with = "set before"
  local r, again = v.trip(box, { box })
  assert(r.n == 6 and again[1] == r and calls == 1)
  equal(r.global, "set before")
  local f = setmetatable({}, { __transfer = function() return function() return tr_global end end })
  tr_global = 9
  equal(v.remote(function(x) return x end, f), 9)
  fails("whose __transfer gives no function", v.trip, setmetatable({}, { __transfer = function()
    return 1 end }))
  fails("mine", v.trip, setmetatable({}, { __transfer = function() error("mine") end }))
  fails("a coroutine (at value, value 2 of its __transfer)", v.trip,
    setmetatable({}, { __transfer = function() return print, coroutine.create(print) end }))
  rebuilt_with, tr_global = nil, nil
end)

case("light userdata travel as far as they mean something", function()
  assert(v.trip(v.pointer(0)) == v.pointer(0))
  assert(v.trip({ v.pointer(12345) })[1] == v.pointer(12345))
  package.loaded.with_null = { null = v.pointer(77) }
  package.preload.with_null = function() end
  assert(v.thaw(v.freeze(v.pointer(77))) == v.pointer(77))
  package.loaded.with_null, package.preload.with_null = nil, nil
  fails("cannot send a light userdata", v.freeze, v.pointer(12345))
end)

case("what cannot be sent raises with its path", function()
  local co = coroutine.create(print)
  local handlers = { tick = function() return co end }
  local line = debug.getinfo(handlers.tick, "S").linedefined
  local src = debug.getinfo(1, "S").short_src
  local e = fails("cannot send a coroutine", v.remote, print, 1, { handlers = handlers })
  local where = ('args[2].handlers.tick, upvalue "co" of function <%s:%d>'):format(src, line)
  equal(e.message, ("cannot send a coroutine (at %s)"):format(where))
  equal(e.path, where)
  equal(tostring(e), e.message)
  fails("cannot send a file (at value)", v.bytes, io.stdout)
  fails("cannot send a coroutine (at value)", v.bytes, co)
  fails("(at value[2].x[3])", v.bytes, { 1, { x = { 1, 2, co } } })
  fails("(at value, as a key)", v.bytes, { [co] = 1 })
  fails('(at value["a b"][1.5][true])', v.bytes, { ["a b"] = { [1.5] = { [true] = co } } })
  fails("(at value, its metatable.x)", v.bytes, setmetatable({}, { x = co }))
  local cfg = { deep = { co } }
  fails('(at value, upvalue "cfg".deep[1] of function <', v.bytes, function() return cfg end)
  local deep = co
  for _ = 1, 1000 do deep = { deep } end
  local m = fails("[1] ... [1]", v.bytes, deep).message
  assert(#m < 400)
  fails("cannot send a function (at value.f)", v.data, { f = print })
  fails("cannot send a table with metatable (at value.f)", v.data, { f = setmetatable({}, {}) })
  fails("(at list[3][1])", v.list, { 1, 2, { co } }, 3)
end)

case("errors are sent and recognised", function()
  local ok, e = pcall(v.bytes, coroutine.create(print))
  assert(not ok and e.kind == "not_sendable")
  local r = v.trip(e)
  assert(getmetatable(r) == getmetatable(e) and tostring(r) == tostring(e) and r.path == e.path)
end)

case("failing leaves nothing behind", function()
  local co = coroutine.create(print)
  for _ = 1, 1000 do
    pcall(v.bytes, { ("x"):rep(5000), { function() return co end } })
    pcall(v.bytes, { co })
    pcall(v.bytes, setmetatable({}, { __transfer = function() error("x") end }))
  end
  same(v.trip { 1, function() end and 2 }, { 1, 2 })
end)

case("finalizers may encode while others do", function()
  local log = 0
  warn("@on")
  for i = 1, 200 do
    setmetatable({}, { __gc = function() log = log + #v.bytes({ i, print, function() return i end
      }) end })
    local t = {}
    for k = 1, 20 do
      local s = ("y"):rep(4200 + k)
      t[k] = function() return s, k, i end
    end
    local r = v.trip(t)
    for k = 1, 20 do assert(select(2, r[k]()) == k and #r[k]() == 4200 + k) end
    collectgarbage("step", 200)
  end
  assert(log > 0)
  warn("@off")
end)

---------------------------------------------------------------------------------------------------

case("lists are encoded each on its own", function()
  local shared = { 1 }
  local list = v.list({ shared, shared, ("x"):rep(5000), function() return shared end, v.thing(3)
    == nil, 5 }, 6)
  equal(#list, 6)
  assert(v.decode(list[1])[1] == 1 and v.decode(list[2])[1] == 1 and #v.decode(list[3]) == 5000)
  equal(v.decode(list[4], 7)()[1], 1)
  equal(v.decode(list[6]), 5)
  equal(#v.list({}, 0), 0)
end)

case("a kept message survives", function()
  local s = ("long"):rep(3000)
  local r = v.decode(v.kept({ s, 1, function() return s end, nil }), 7)
  assert(r[1] == s and r[2] == 1 and r[3]() == s)
end)

case("encoded strings come back", function()
  local a, b, c = v.thaw(v.freeze(1, nil, { "x", { y = 2.5 } }))
  assert(a == 1 and b == nil and c[2].y == 2.5)
  local s = v.freeze(function() return thaw_global end)
  fails("holds functions", v.thaw, s)
  thaw_global = 1
  s = v.freeze(function() return thaw_global end)
  thaw_global = 2
  equal(v.thaw(s, true)(), 2)
  thaw_global = nil
  equal(v.thaw(s, true)(), 1)
  thaw_global = nil
  for i = 1, #s do
    local bad = s:sub(1, i - 1) .. string.char(s:byte(i) ~ 1) .. s:sub(i + 1)
    local e = fails("cannot decode", v.thaw, bad, true)
    equal(e.kind, "decode")
    fails("cannot decode", v.thaw, s:sub(1, i - 1), true)
  end
  fails("was not made by mf.encode", v.thaw, "anything")
  fails("module 'nowhere_loaded' is not loaded here", v.decode, "\0\21\0\70nowhere_loaded" and
    "\0\21\0" .. string.char(0x40 + 14) .. "nowhere_loaded")
end)

case("damaged messages raise and never crash", function()
  local samples = { v.bytes(1, 2.5, "x", { 1, 2, 3, 4, 5, { a = { b = true } } }, ("s"):rep(300)),
    v.bytes(setmetatable({ { 1.5, 2.5, 3.5, 4.5 } }, { __index = {} }), print, string, _G),
    (function() local t = {} t[1] = t t.x = { t } return v.bytes(t, t) end)() }
  for _, s in ipairs(samples) do
    for i = 1, #s do
      pcall(v.decode, s:sub(1, i - 1))
      for _, b in ipairs { 0, 1, 11, 12, 13, 14, 15, 18, 19, 21, 23, 26, 30, 0x7f, 0x80, 0xff } do
        pcall(v.decode, s:sub(1, i - 1) .. string.char(b) .. s:sub(i + 1))
      end
    end
  end
  fails("too early", v.decode, "")
  fails("too early", v.decode, "\0\11\255\255\255\255\255\255\255\255\127\0")
  fails("damaged", v.decode, "\0\13\0")
end)

case("presizing is bounded by the message", function()
  collectgarbage()
  local before = collectgarbage("count")
  local nested = "\0" .. ("\11\255\31\255"):rep(2000) .. ("x"):rep(5000)
  pcall(v.decode, nested)
  assert(collectgarbage("count") - before < 2000)
end)

---------------------------------------------------------------------------------------------------

case("captures tell what would travel", function()
  local data, name = ("d"):rep(1000), "n"
  captured_helper = function() return 1 end
  local mod = string
  local c = v.captures(function() return data, name, captured_helper(), mod end)
  assert(c.upvalues.data > 1000 and c.upvalues.name < 10 and c.globals.captured_helper > 20)
  assert(c.upvalues.captured_helper == nil and c.size > 1000 and c.code > 50 and c.problem == nil)
  local text = tostring(c)
  assert(text:find("upvalue data: ", 1, true) and text:find("global captured_helper: ", 1, true),
    text)
  local co = coroutine.create(print)
  c = v.captures(function() return name, co end)
  assert(c.problem:find('upvalue "co"', 1, true) and
    tostring(c):find("problem: cannot send a coroutine", 1, true))
  captured_helper = nil
end)

case("functions are found by name", function()
  package.preload.named_module = function() return { f = function() return 1 end, c = { m =
    function() return 2 end } } end
  equal(v.resolve("named_module:f")(), 1)
  equal(v.resolve("named_module:c.m")(), 2)
  assert(v.resolve("string:format") == string.format)
  fails("names no function", v.resolve, "nothing")
  fails("has no function of that name", v.resolve, "named_module:missing")
  fails("module 'no_such_module' not found", v.resolve, "no_such_module:f")
  package.preload.named_module, package.loaded.named_module = nil, nil
end)

if os.getenv("CODEC_HUGE") and PEEK then -- takes 9 GiB
  case("strings above 2 GiB arrive", function()
    local s = ("huge!"):rep(225000000)
    s = s .. s
    local r = v.remote(function(t) return #t.s == 2250000000 and t.s:sub(-5) end, { s = s })
    equal(r, "huge!")
  end)
end

if os.getenv("CODEC_SPEED") and PEEK then
  case("speed", function()
    local big, floats, records = {}, {}, {}
    for i = 1, 1000000 do big[i] = i * 7 floats[i] = i / 3 end
    for i = 1, 1000 do records[i] = { id = i, name = "name" .. i, x = i / 3 } end
    local f = function(x) return x + 1 end
    local Point = {}
    v.register("Speed", Point)
    v.trip(function() end)
    for _, c in ipairs { { "integer", 5, 2e6 }, { "string16", "0123456789abcdef", 2e6 },
      { "table", { id = 1, name = "abc", x = 1.5, y = 2.5, flags = { true, false, true } }, 1e6 },
      { "class", setmetatable({ x = 1 }, Point), 1e6 },
      { "string 1MiB", ("x"):rep(1 << 20), 1000 }, { "1e6 integers", big, 5 }, { "1e6 floats",
        floats, 5 },
      { "1000 records", records, 100 }, { "function", f, 1e5 } } do
      local e, d = v.speed(c[2], c[3] | 0)
      io.stderr:write(("%-14s encode %12.1f ns  decode %12.1f ns\n"):format(c[1], e, d))
    end
  end)
end

return cases
