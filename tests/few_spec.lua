-- A system that has no more threads and processes to give (ulimit -u, pids.max), or no addresses:
-- what cannot be started is an error of kind `system`, a pool goes on with fewer workers, nothing
-- crashes or hangs. A library before libc's refuses what is beyond MOST; sanitizers come first.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore 211

local shim = [[
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static int count;

static int is_too_many(void) {
  return __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) > atoi(getenv("MOST"));
}
pid_t fork(void) {
  pid_t (*next)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
  if (!is_too_many())
    return next();
  errno = EAGAIN;
  return -1;
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg) {
  int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
    (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))
      dlsym(RTLD_NEXT, "pthread_create");
  return is_too_many() ? EAGAIN : next(thread, attr, fn, arg);
}
]]

local text = [[
  local ok, mf = pcall(require, "moonfleet")
  if not ok then print "no library" return end
  local m = mf.with(os.getenv "BACKEND")
  local function try(f)
    local ok, result = pcall(f)
    assert(ok or mf.is_error(result, "system"), result)
    return ok and result or "system"
  end
  print(try(function()
    local pool <close> = m.Pool(4)
    local list = pool:map(function(x) return x end, mf.range(50))
    assert(#list == 50)
    return pool:stats().workers
  end), try(function() return m.spawn(function() return "ran" end):result(20) end))
]]

local it_preloads = helper.sanitizer and helper.pending or it

describe("a system with few threads and processes", function()
  for _, backend in ipairs(helper.backends) do
    it_preloads("lets a program by " .. backend .. " go on with what there is", function()
      local folder, remove = helper.folder()
      helper.write_file(folder .. "/shim.c", shim)
      assert.is_true(os.execute(("cd %s && cc -shared -fPIC -o shim.so shim.c"):format(folder)))
      local seen = {}
      for most = 0, 12 do
        local result = helper.run_script(text, { timeout = 30, env = {
          LD_PRELOAD = folder .. "/shim.so", MOST = tostring(most), BACKEND = backend } })
        assert.are.equal(0, result.code, result.err)
        assert.are.equal("", result.err)
        seen[result.out] = true
      end
      assert.is_true(seen["system\tsystem\n"])
      assert.is_true(seen["4\tran\n"])
      remove()
    end)
  end
end)

describe("small limits (ulimit -v, -f)", function()
  it_preloads("of addresses make the shared memory smaller, if nobody named its size", function()
    for _, backend in ipairs(helper.backends) do
      local result = helper.run_script([[
        local mf = require "moonfleet"
        local pool <close> = mf.Pool(2)
        print(#pool:map(function(x) return x end, mf.range(50)), mf.Array("f64", 1000000)[5])
      ]], { program = "prlimit --as=1000000000 " .. helper.lua, env = {
        MOONFLEET_BACKEND = backend } })
      assert.are.same({ code = 0, out = "50\t0.0\n", err = "" }, result)
    end
  end)

  it_preloads("are told of, where they are too small for that", function()
    for _, limit in ipairs { "--as=60000000", "--fsize=1000000" } do
      local result = helper.run_script("print(select(2, pcall(require, 'moonfleet')))",
        { program = "prlimit " .. limit .. " " .. helper.lua })
      assert.are.same({ code = 0, err = "", out = "moonfleet: no shared memory to be had\n" },
        result)
    end
  end)

  it_preloads("of files' sizes that are soft do no harm, and stay what they are", function()
    local result = helper.run_script([[
      local mf = require "moonfleet"
      local function limit()
        local pipe <close> = io.popen "ulimit -f"
        return pipe:read "l"
      end
      print(mf.spawn(limit):result() == limit(), mf.Array("f64", 2000000)[1], limit())
    ]], { program = "prlimit --fsize=1048576: " .. helper.lua })
    assert.are.equal("", result.err)
    assert.is_truthy(result.out:find("^true\t0.0\t%d+\n$"), result.out)
  end)
end)
