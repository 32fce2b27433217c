-- What `cmake --install BUILD --prefix P` leaves below P, and that strangers can use it.

local build = os.getenv("MOONFLEET_PROGRAM"):match "^(.*)/bin/moonfleet$"
local name = os.getenv "MOONFLEET_TEST_BUILD"
local sanitized = name == "asan" or name == "tsan"

-- Runs a shell command; what it printed, both streams, and whether it succeeded.
local function run(command, ...)
  local pipe <close> = assert(io.popen("(" .. command:format(...) .. ") 2>&1"))
  local said = pipe:read "a"
  return said, pipe:close() == true
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

local HOST <const> = [[
#include <moonfleet.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

static int times(mf_runtime *rt, mf_backend backend) {
  mf_pool_config c;
  mf_value args[2];
  mf_future *f;
  const char *chunk = "local a, b = ... return a * b";
  int product = -1;
  memset(&c, 0, sizeof c);
  c.size = sizeof c;
  c.backend = backend;
  args[0] = mf_integer(6);
  args[1] = mf_integer(7);
  f = mf_submit_source(mf_pool_open(rt, &c), chunk, strlen(chunk), "=demo", args, 2);
  if (mf_future_wait(f, MF_FOREVER) == MF_OK)
    product = (int)mf_future_value(f, 0)->as.integer;
  else
    fprintf(stderr, "%s\n", mf_future_error(f));
  mf_future_release(f);
  return product;
}

int main(void) {
  lua_State *L = luaL_newstate();
  mf_runtime *rt = mf_open(NULL, NULL, 0);
  printf("%d %d\n", times(rt, MF_THREAD), times(rt, MF_PROCESS));
  fflush(stdout);
  mf_close(rt);
  luaL_openlibs(L);
  luaL_requiref(L, "moonfleet", luaopen_moonfleet, 1);
  int failed = luaL_dostring(L, "print(moonfleet._VERSION)");
  lua_close(L);
  return failed;
}
]]

local PROJECT <const> = [[
cmake_minimum_required(VERSION 3.20)
project(host C)
find_package(moonfleet 0.1 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LUA REQUIRED IMPORTED_TARGET lua5.4)
add_executable(host host.c)
target_link_libraries(host moonfleet::moonfleet PkgConfig::LUA)
]]

describe("the installed tree", function()
  local prefix, version

  setup(function()
    prefix = run("mktemp -d"):gsub("\n$", "")
    local said, ok = run("cmake --install %s --prefix %s", build, prefix)
    assert.truthy(ok, said)
    write(prefix .. "/host.c", HOST)
    version = require("moonfleet")._VERSION
  end)

  teardown(function() run("rm -rf %s", prefix) end)

  -- Skips what links a plain program to a sanitized library.
  local function it_links(behaviour, test)
    if sanitized then
      return pending(behaviour)
    end
    it(behaviour, test)
  end

  it("has what the contract names", function()
    for file in ([[bin/moonfleet lib/libmoonfleet.a lib/libmoonfleet.so include/moonfleet.h
        lib/pkgconfig/moonfleet.pc lib/cmake/moonfleet/moonfleet-config.cmake
        lib/lua/5.4/moonfleet.so]]):gmatch "%S+" do
      local _, there = run("test -e %s/%s", prefix, file)
      assert.truthy(there, file)
    end
  end)

  it("serves stock Lua by LUA_CPATH alone, from any folder", function()
    local said = run("cd / && LUA_PATH=none LUA_CPATH='%s/lib/lua/5.4/?.so' lua5.4 -e "
      .. [["local mf = require 'moonfleet' print(mf._VERSION, mf.Process ~= nil)"]], prefix)
    assert.equal(version .. "\ttrue\n", said)
  end)

  it("has a program that needs nothing else", function()
    local said = run("cd / && env -i %s/bin/moonfleet -e 'print(mf._VERSION)'", prefix)
    assert.equal(version .. "\n", said)
  end)

  it("has a program in which C modules find Lua", function()
    local said = run([[%s/bin/moonfleet -e 'print(require("cjson").encode { 1, 2 })']], prefix)
    assert.equal("[1,2]\n", said)
  end)

  it_links("serves C hosts by pkg-config", function()
    local said = run([[cd %s && export PKG_CONFIG_PATH=lib/pkgconfig &&
      cc host.c $(pkg-config --cflags --libs moonfleet lua5.4) -Wl,-rpath,lib -o shared &&
      ./shared]], prefix)
    assert.equal("42 42\n" .. version .. "\n", said)
  end)

  it_links("serves the C program of README", function()
    local readme <close> = assert(io.open "README.md")
    write(prefix .. "/demo.c", readme:read("a"):match "\n```c\n(.-)```\n")
    local said = run([[cd %s && export PKG_CONFIG_PATH=lib/pkgconfig &&
      cc -Wall -Wextra -Werror demo.c $(pkg-config --cflags --libs moonfleet lua5.4) \
      -Wl,-rpath,lib -o demo && ./demo]], prefix)
    assert.equal("42\n", said)
  end)

  it_links("serves C hosts by the static library", function()
    local said = run([[cd %s && export PKG_CONFIG_PATH=lib/pkgconfig &&
      cc host.c $(pkg-config --cflags moonfleet lua5.4) lib/libmoonfleet.a -llua5.4 -lm -o static &&
      ./static]], prefix)
    assert.equal("42 42\n" .. version .. "\n", said)
  end)

  it_links("serves C hosts by find_package", function()
    write(prefix .. "/CMakeLists.txt", PROJECT)
    local said = run([[cd %s && cmake -G Ninja -B b -DCMAKE_PREFIX_PATH=%s . && cmake --build b &&
      echo && b/host]], prefix, prefix)
    assert.truthy(said:find("\n\n42 42\n" .. version .. "\n", 1, true), said)
  end)

  it_links("has a header that C11 and C++ accept without a warning", function()
    local flags = "-Wall -Wextra -pedantic -Werror -fsyntax-only"
    local said, ok = run([[cd %s && lua=$(pkg-config --cflags lua5.4) &&
      cc -std=c11 %s -Iinclude $lua host.c &&
      if command -v c++ >/dev/null; then c++ -xc++ %s -Iinclude $lua host.c; fi]], prefix, flags,
      flags)
    assert.truthy(ok, said)
  end)
end)
