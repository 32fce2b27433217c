-- Arrows point down: checks every #include of runtime/ and every require of lua/moonfleet/.
-- Run from the repository: lua5.4 scripts/floors.lua. Prints what is wrong, one line each; exit 1.

local FLOORS <const> = {
  base = 0, os = 1, mem = 2, sync = 3, flow = 4, script = 5, api = 6, bind = 7, host = 8,
}
-- moonfleet.h shows lua_State and the values of C hosts: from where lua.h is known.
local LUA_FLOOR <const> = FLOORS.script
local LUA_HEADERS <const> = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true }
-- What C11 alone offers, and so all that base may know.
local C11 <const> = {}
for name in ("assert ctype errno float inttypes limits math signal stdalign stdarg stdatomic \z
  stdbool stddef stdint stdio stdlib stdnoreturn string time"):gmatch "%S+" do
  C11[name .. ".h"] = true
end

local problems = {}

local function problem(path, line, format, ...)
  problems[#problems + 1] = ("%s:%d: " .. format):format(path, line, ...)
end

local function files(command)
  local pipe <close> = assert(io.popen(command .. " | LC_ALL=C sort"))
  local list = {}
  for path in pipe:lines() do
    list[#list + 1] = path
  end
  return list
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

-- The same lines with comments blanked.
local function without_comments(text)
  text = text:gsub("/%*.-%*/", function(comment) return (comment:gsub("[^\n]+", " ")) end)
  return (text:gsub("//[^\n]*", ""))
end

local function check_include(path, room, number, quote, name)
  local floor = FLOORS[room]
  if quote == "<" then
    if LUA_HEADERS[name] and floor < LUA_FLOOR then
      problem(path, number, "%s is not known below script", name)
    elseif room == "base" and not C11[name] then
      problem(path, number, "base knows C11 only, not <%s>", name)
    end
    return
  end
  local target = name:match "^([%w_]+)/[%w_]+%.h$"
  local target_floor = name == "moonfleet.h" and LUA_FLOOR or FLOORS[target]
  if not target_floor then
    problem(path, number, "'%s' is in no room; write \"room/file.h\"", name)
  elseif target_floor > floor then
    problem(path, number, "an arrow points up: %s (floor %d) includes %s (floor %d)", room, floor,
      name, target_floor)
  elseif room == "bind" and target == "os" then
    problem(path, number, "bind does not go through os")
  end
end

local function check_atomics(path, room, number, line)
  local bare = line:match "%f[%w_]__atomic_[%w_]+" or line:match "%f[%w_]__sync_[%w_]+"
    or line:match "%f[%w_]atomic_[%w_]+%s*%(" or line:match "%f[%w_]_Atomic%f[^%w_]"
    or line:match "<stdatomic%.h>"
  if bare and room ~= "base" then
    problem(path, number, "'%s' outside base/; use the names of base/atomic.h", bare)
  end
end

local function check_c(path, arrows)
  local room = path:match "^runtime/([%w_]+)/"
  local number, conditions = 0, 0
  arrows[path] = {}
  for line in without_comments(read(path)):gmatch "([^\n]*)\n" do
    number = number + 1
    local quote, name = line:match '^%s*#%s*include%s*(["<])([^">]+)'
    if quote then
      check_include(path, room, number, quote, name)
      table.insert(arrows[path], "runtime/" .. name)
    end
    check_atomics(path, room, number, line)
    conditions = conditions + (line:match "^%s*#%s*if" and not line:match "_H%s*$" and 1 or 0)
  end
  return conditions
end

-- Requires at the head of a module; one inside a function is made later and closes no circle.
local function check_lua(path, arrows)
  arrows[path] = {}
  local number = 0
  for line in read(path):gmatch "([^\n]*)\n" do
    number = number + 1
    line = line:gsub("%-%-.*", "")
    local name = line:match "require%s*%(?%s*[\"']([%w_.]+)[\"']"
    if name == "moonfleet." then -- the rest is made at run time
      name = nil
    end
    local sibling = name and (name == "moonfleet" and "init" or name:match "^moonfleet%.([%w_]+)$")
    if name and not sibling then
      problem(path, number, "the Lua half requires nothing but its own modules, not '%s'", name)
    elseif sibling and not line:match "^%s" then
      table.insert(arrows[path], ("lua/moonfleet/%s.lua"):format(sibling))
    end
  end
end

local function find_circles(arrows)
  local state = {}
  local function visit(path, trail)
    if state[path] == "open" then
      problem(path, 1, "a circle: %s%s", trail, path)
    end
    if state[path] then
      return
    end
    state[path] = "open"
    for _, target in ipairs(arrows[path] or {}) do
      visit(target, trail .. path .. " > ")
    end
    state[path] = "done"
  end
  for path in pairs(arrows) do
    visit(path, "")
  end
end

local arrows, conditions = {}, 0
local sources = files "find runtime -mindepth 2 -name '*.[ch]' ! -path 'runtime/include/*'"
for _, path in ipairs(sources) do
  if FLOORS[path:match "^runtime/([%w_]+)/"] then
    conditions = conditions + check_c(path, arrows)
  else
    problem(path, 1, "a room that has no floor")
  end
end
if conditions >= 60 then
  problem("runtime", 1, "%d lines of #if; fewer than 60 keep it readable", conditions)
end
for _, path in ipairs(files "find lua/moonfleet -name '*.lua'") do
  check_lua(path, arrows)
end
find_circles(arrows)

for _, text in ipairs(problems) do
  print(text)
end
os.exit(#problems == 0)
