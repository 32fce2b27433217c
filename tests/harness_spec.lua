-- The repository and the build themselves: what is listed, exported and named alike everywhere.

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local list = {}
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  return list
end

local function make_word_set(text)
  local set = {}
  for word in text:gsub("#[^\n]*", ""):gmatch "[%w_./]+" do
    set[word:match "^[^.]*"] = true
  end
  return set
end

-- Files that `find` gives whose name, as `pattern` captures it, is not in the build file.
local function unlisted(find, pattern)
  local listed = make_word_set(read "CMakeLists.txt")
  local missing = {}
  for _, path in ipairs(lines_of(find .. " | LC_ALL=C sort")) do
    if not listed[path:match(pattern)] then
      missing[#missing + 1] = path
    end
  end
  return missing
end

describe("the build file", function()
  it("lists every C source of a room", function()
    assert.same({}, unlisted("find runtime -name '*.c'", "([^/]+)%.c$"))
  end)

  it("lists every C test", function()
    assert.same({}, unlisted("find tests/c -maxdepth 1 -name '*.c'", "([^/]+)%.c$"))
  end)

  it("lists every spec", function()
    assert.same({}, unlisted("find tests -maxdepth 1 -name '*_spec.lua'", "([^/]+)_spec%.lua$"))
  end)

  it("lists every module of the Lua half but the annotations for editors", function()
    local find = "find lua/moonfleet -name '*.lua' ! -name types.lua"
    assert.same({}, unlisted(find, "([^/]+)%.lua$"))
  end)

  it("gives the version of the header", function()
    local header = read "runtime/include/moonfleet.h"
    local version = read("CMakeLists.txt"):match "project%(moonfleet VERSION ([%d.]+)"
    assert.equal(header:match '#define MF_VERSION "([%d.]+)"', version)
  end)
end)

describe("the library", function()
  local build = os.getenv("MOONFLEET_PROGRAM"):match "^(.*)/bin/moonfleet$"

  local function symbols(file, kind)
    local names = {}
    for _, line in ipairs(lines_of(("nm -D --%s-only %s/%s"):format(kind, build, file))) do
      names[#names + 1] = line:match "([%w_]+)[%w_@.]*$"
    end
    return names
  end

  it("exports mf_* and luaopen_moonfleet alone", function()
    for _, name in ipairs(symbols("lib/libmoonfleet.so", "defined")) do
      assert.truthy(name:match "^mf_" or name:match "^luaopen_moonfleet", name)
    end
  end)

  it("brings no Lua of its own", function()
    for _, file in ipairs { "lib/libmoonfleet.so", "lib/lua/5.4/moonfleet.so" } do
      local needed = table.concat(lines_of(("readelf -d %s/%s"):format(build, file)), "\n")
      assert.falsy(needed:match "NEEDED[^\n]*liblua")
    end
  end)
end)

describe("the test run", function()
  local function results_of(text)
    local results = os.tmpname()
    local spec = results .. ".lua"
    local file <close> = assert(io.open(spec, "wb"))
    file:write(text)
    file:close()
    os.execute(("MOONFLEET_TEST_RESULTS=%s lua5.4 tests/run.lua %s >/dev/null 2>&1")
      :format(results, spec))
    local said = read(results)
    os.remove(spec)
    os.remove(results)
    return said
  end

  it("counts what passed, failed and is pending", function()
    local said = results_of [[
      describe("a queue", function()
        it("works", function() end)
        it("breaks", function() error({ 1 }) end)
        pending("waits")
      end)]]
    assert.truthy(said:match "^ok a queue works\nnot ok a queue breaks\n    /.*:3: {\n")
    assert.truthy(said:match "\n    }\nskip a queue waits\n$")
  end)

  it("hands an error of a body to what leaves its scope, and names its place", function()
    local said = results_of [[
      local helper = require "tests.helper"
      helper.it("breaks", function()
        local _ <close> = setmetatable({}, { __close = function(_, err)
          error("closed by a " .. type(err), 0)
        end })
        assert.are.equal(1, 2)
      end)
      helper.it("fails", function()
        assert.are.equal(1, 2)
      end)]]
    assert.truthy(said:find("closed by a table", 1, true), said)
    assert.truthy(said:match "\nnot ok fails\n    [^\n]*:9: Expected", said)
  end)

  it("counts a file that does not load as a failure", function()
    assert.truthy(results_of("local x = ="):match "^not ok ")
  end)

  it("keeps what passed before a crash", function()
    local said = results_of [[
      it("works", function() end)
      it("crashes", function() os.execute("kill -KILL $PPID") end)]]
    assert.equal("ok works\n", said)
  end)
end)
