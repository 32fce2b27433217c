-- Shared memory that is used up: a call that does not fit raises no_memory, had no effect, and all
-- goes on when there is room again.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore 211

-- Before each script: what scripts need.
local prelude = [[
local mf = require "moonfleet"
local core = require "moonfleet.core"
local m = mf.with(os.getenv "BACKEND")
local big = ("x"):rep(1 << 20)

-- What there is more of than before; nil: nothing. What ends by itself gets a second to do so.
local function more_than(before)
  local more
  for _ = 1, 100 do
    collectgarbage() collectgarbage()
    more = nil
    for key, count in pairs(core.audit()) do
      if count > before[key] then more = key end
    end
    if not more then return nil end
    mf.sleep(0.01)
  end
  return more
end

-- f(...) raises no_memory, naming `what`, and leaves nothing behind.
local function fails(what, f, ...)
  collectgarbage() collectgarbage()
  local before = core.audit()
  local ok, err = pcall(f, ...)
  assert(not ok, what .. " fits")
  assert(mf.is_error(err, "no_memory"), tostring(err))
  assert(tostring(err):find(what, 1, true), tostring(err))
  local more = more_than(before)
  assert(not more, what .. " leaves " .. tostring(more))
  return err
end

-- Fills the memory with messages of this size; gives the queue and how many they are.
local function fill(size)
  collectgarbage() collectgarbage() -- queues of before
  local q, n, text = mf.Queue(), 0, big:sub(1, size)
  while pcall(q.put, q, text) do n = n + 1 end
  assert(q:size() == n)
  return q, n
end

local function drain(q, n, size)
  local text = big:sub(1, size)
  for _ = 1, n do assert(q:get_nowait() == text) end
  assert(select(2, q:get_nowait()) == "empty")
end
]]

-- `said`: what standard error shows, a pattern; nil: nothing.
local function runs(text, backend, limit, said, more)
  local env = { MOONFLEET_SHARED_LIMIT = limit, BACKEND = backend }
  for key, value in pairs(more or {}) do env[key] = value end
  local result = helper.run_script(prelude .. text .. "\nprint 'fine'", { env = env })
  assert.is_truthy(result.err:find(said or "^$"), result.err)
  assert.are.equal("fine\n", result.out)
  assert.are.equal(0, result.code)
end

helper.for_each_backend(function(backend)
  describe("shared memory by " .. backend, function()
    it("takes what fits, and not a message more", function()
      runs([[
        local q, n = fill(1 << 20)
        assert(n >= 4 and n <= 8)
        fails("put", q.put, q, big)
        fails("put", q.put, q, big, 100) -- does not wait
        fails("put", q.put_nowait, q, big)
        assert(q:put("small"))
        assert(q:get() == big)
        assert(q:put(big))
        for _ = 1, n - 1 do assert(q:get() == big) end
        assert(q:get() == "small")
        drain(q, 1, 1 << 20)
      ]], backend, "8M")
    end)

    it("is filled by small messages, too, and is whole again", function()
      runs([[
        for _ = 1, 3 do
          local q, n = fill(100)
          assert(n > 3000)
          fails("put", q.put, q, big:sub(1, 100))
          drain(q, n, 100)
        end
        assert(m.spawn(function() return 5 end):result() == 5)
      ]], backend, "1M")
    end)

    it("takes a list of messages from its begin, and tells how many", function()
      runs([[
        local q = mf.Queue()
        local list = {}
        for i = 1, 20 do list[i] = big end
        local ok, err = pcall(q.put_many, q, list)
        assert(not ok and mf.is_error(err, "no_memory"))
        assert(err.count == q:size() and err.count >= 4 and err.count <= 8)
        assert(tostring(err) == ("put_many: shared memory is used up; %d of 20 messages were put")
          :format(err.count))
        fails("put_many", q.put_many, q, { big, big })
        drain(q, err.count, 1 << 20)
        assert(q:put_many({ big, big }) == 2)
      ]], backend, "8M")
    end)

    it("may be used up when a worker is started: it can be started later", function()
      runs([[
        local q, n = fill(1 << 20)
        local p = m.Process(function(text) return #text end, big)
        fails("start", p.start, p)
        assert(not p:is_alive() and p.pid == nil)
        assert(#mf.active_children() == 0)
        drain(q, n, 1 << 20)
        p:start()
        assert(p:result() == 1 << 20)
      ]], backend, "8M")
    end)

    it("may be used up for tasks: the pool goes on", function()
      runs([[
        local pool <close> = m.Pool(2)
        local function length(text) return #text end
        assert(pool:apply(length, { "abc" }) == 3)
        local q, n = fill(1 << 20)
        local submitted = pool:stats().submitted
        fails("submit", pool.submit, pool, length, big)
        fails("apply", pool.apply, pool, length, { big })
        fails("apply_async", pool.apply_async, pool, length, { big })
        fails("map", pool.map, pool, length, { big, big })
        fails("starmap", pool.starmap, pool, length, { { big }, { big } })
        fails("imap", function() for _ in pool:imap(length, { big, big }) do end end)
        fails("map", pool.map, pool, function() return #big end, { 1, 2 }) -- its function
        fails("everywhere", pool.everywhere, pool, length, big)
        assert(pool:stats().submitted == submitted)
        assert(pool:map(length, { "a", "bc" })[2] == 2)
        drain(q, n, 1 << 20)
        assert(pool:submit(length, big):get() == 1 << 20)
        local lengths = pool:map(length, { big, "x", big })
        assert(lengths[1] == 1 << 20 and lengths[2] == 1 and lengths[3] == 1 << 20)
      ]], backend, "8M")
    end)

    it("may be used up for a result: that task alone fails", function()
      runs([[
        local pool <close> = m.Pool(2)
        local q, n = fill(1 << 20)
        local function texts(i) return i == 2 and ("y"):rep(1 << 20) or i end
        local results = pool:map(texts, { 1, 2, 3 }, { on_error = "collect" })
        assert(results[1] == 1 and results[3] == 3)
        assert(mf.is_error(results[2], "no_memory"), tostring(results[2]))
        local future = pool:submit(texts, 2)
        assert(mf.is_error(future:exception(), "no_memory"))
        local p = m.spawn(texts, 2)
        local ok, err = pcall(p.result, p)
        assert(not ok and tostring(err):find("no shared memory"), tostring(err))
        drain(q, n, 1 << 20)
        assert(#pool:apply(texts, { 2 }) == 1 << 20)
        assert(#m.spawn(texts, 2):result() == 1 << 20)
      ]], backend, "8M", "^%a+%-1: no shared memory for the result\nstack traceback:\n[^\n]*\n$")
    end)

    it("may be used up even for a worker's error", function()
      runs([[
        local q = mf.Queue()
        local p = m.spawn(function()
          for _, size in ipairs { 1 << 20, 60000, 5000, 1000, 100 } do
            while pcall(q.put, q, ("x"):rep(size)) do end
          end
          error(("y"):rep(3000))
        end)
        local err = p:exception()
        assert(mf.is_error(err, "no_memory"), tostring(err))
        assert(tostring(err):find("no shared memory for its error"), tostring(err))
        assert(p.exitcode == 1)
        while q:get_nowait() do end
        assert(m.spawn(function() return 5 end):result() == 5)
      ]], backend, "4M", "^%a+%-1: [^\n]*yyy")
    end)

    it("is used up for workers, too", function()
      runs([[
        local q, n = fill(1 << 20)
        local p = m.spawn(function()
          local ok, err = pcall(q.put, q, ("x"):rep(1 << 20))
          return ok, mf.is_error(err, "no_memory"), tostring(err)
        end)
        local ok, is, text = p:result()
        assert(not ok and is and text:find("put", 1, true), text)
        drain(q, n, 1 << 20)
      ]], backend, "8M")
    end)

    it("comes back from killed workers", function()
      runs([[
        for _ = 1, 5 do
          local q, ready = mf.Queue(), mf.Queue()
          local p = m.spawn(function()
            while pcall(q.put, q, ("x"):rep(100000)) do end
            ready:put(true)
            while true do end
          end)
          assert(ready:get(20))
          fails("put", q.put, q, big:sub(1, 100000))
          p:kill()
          p:join()
          local n = q:size()
          assert(n >= 5, n)
          drain(q, n, 100000)
        end
        local q, n = fill(1 << 20)
        assert(n >= 2)
        drain(q, n, 1 << 20)
      ]], backend, "4M")
    end)
  end)
end)

describe("shared memory", function()
  it("has room for so many objects", function()
    runs([[
      for _, kind in ipairs { "Lock", "Queue", "Event", "Semaphore" } do
        local objects, ok, object = {}, true, nil
        while ok do
          ok, object = pcall(mf[kind])
          objects[#objects + 1] = ok and object or nil
        end
        assert(#objects > 1000)
        assert(mf.is_error(object, "no_memory"), tostring(object))
        assert(tostring(object):find(kind, 1, true), tostring(object))
        objects = nil
        collectgarbage() collectgarbage()
        assert(mf.Lock():acquire())
      end
      fails("Array", mf.Array, "f64", 1 << 20)
      fails("Array", mf.Array, "u8", 1 << 40)
      assert(#mf.Array("u8", 1000) == 1000)
    ]], "process", "4M")
  end)

  it("has a limit that a person can set in KiB, MiB and GiB", function()
    for text, most in pairs { ["3000000"] = 2, ["4096K"] = 4, ["4M"] = 4, ["4m"] = 4 } do
      runs(("local q, n = fill(1 << 20) assert(n >= %d - 2 and n <= %d, n)"):format(most, most),
        "process", text)
    end
    runs("assert(mf.Queue():put(big))", "process", "1G")
    runs("assert(mf.Queue():put(big))", "process", "")
  end)

  it("refuses a limit that is none", function()
    for _, text in ipairs { "lots", "-1", "1000", "5X", "1MB", " 8M", "99999999999999999999G" } do
      local result = helper.run_script("print(select(2, pcall(require, 'moonfleet')))",
        { env = { MOONFLEET_SHARED_LIMIT = text } })
      assert.are.equal(("moonfleet: MOONFLEET_SHARED_LIMIT=%s (bytes expected, at least 1M, as " ..
        "500000000, 512M or 2G)\n"):format(text), result.out)
    end
  end)
end)

-- The system itself may have no more memory to give: fallocate fails. A library before libc's does
-- that here; sanitizers must come first themselves.
local preset = os.getenv "MOONFLEET_TEST_BUILD"

local shim = [[
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *region; // HOLES=guarded: what was not given cannot be touched

static void *map(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
  return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, offset);
}
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
  if (getenv("HOLES") == NULL || !(flags & MAP_SHARED) || !(flags & MAP_NORESERVE))
    return map(at, n, prot, flags, fd, offset);
  return region = map(at, n, PROT_NONE, flags, fd, offset);
}
int fallocate(int fd, int mode, off_t offset, off_t size) {
  static int calls;
  if (mode == 0 && ++calls > atoi(getenv("EXTENTS"))) {
    errno = ENOSPC;
    return -1;
  }
  if (mode == 0 && region != NULL)
    mprotect(region + offset / 4096 * 4096, size + offset % 4096, PROT_READ | PROT_WRITE);
  return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}
// The system counts what it promises.
int open(const char *path, int flags, ...) {
  const char *what = strstr(path, "overcommit_memory") != NULL ? "/dev/null" : path;
  return (int)syscall(SYS_openat, AT_FDCWD, what, flags, 0600);
}
]]

local function build_shim(folder)
  local path = folder .. "/shim"
  helper.write_file(path .. ".c", shim)
  assert.is_true(os.execute(("cc -shared -fPIC -o %s.so %s.c"):format(path, path)))
end

if preset ~= "asan" and preset ~= "tsan" then
  describe("a system without memory", function()
    it("is no_memory, not a crash", function()
      local folder, remove = helper.folder()
      build_shim(folder)
      for _, backend in ipairs(helper.backends) do
        runs([[
          local q, n = fill(1 << 20)
          assert(n < 40)
          fails("put", q.put, q, big)
          local p = m.Process(print, big)
          fails("start", p.start, p)
          drain(q, n, 1 << 20)
          p = m.Process(function(text) return #text end, big)
          p:start()
          assert(p:result() == 1 << 20)
        ]], backend, "1G", nil, { LD_PRELOAD = folder .. "/shim.so", EXTENTS = "20" })
      end
      remove()
    end)

    it("is not touched where it has given none", function() -- that would be a SIGBUS
      local folder, remove = helper.folder()
      build_shim(folder)
      local seen = {}
      for n = 0, 8 do
        local result = helper.run_script([[
          local ok, mf = pcall(require, "moonfleet")
          if not ok then print(mf) return end
          local ok, err = pcall(function()
            local a = mf.Array("f64", 3000000)
            a:fill(1)
            local pool <close> = mf.Pool(2)
            assert(#pool:map(function(x) return x, a end, mf.range(100)) == 100)
            local q = mf.Queue()
            for i = 1, 30 do q:put(("x"):rep(i * 100000)) end
          end)
          print(ok or mf.is_error(err, "no_memory") and "no_memory" or err)
        ]], { env = { LD_PRELOAD = folder .. "/shim.so", MOONFLEET_BACKEND = "thread",
          HOLES = "guarded", EXTENTS = tostring(n * n) } })
        assert.are.equal(0, result.code, result.err)
        seen[result.out] = true
      end
      assert.are.same({ ["moonfleet: no shared memory to be had\n"] = true, ["true\n"] = true,
        ["no_memory\n"] = true }, seen)
      remove()
    end)

    it("is an error wherever memory is asked for, from the first time on", function()
      local folder, remove = helper.folder()
      build_shim(folder)
      for _, backend in ipairs(helper.backends) do
        local seen = {}
        for n = 0, 6 do
          local result = helper.run_script([[
            local ok, mf = pcall(require, "moonfleet")
            if not ok then print(mf) return end
            local m = mf.with(os.getenv "BACKEND")
            local ok, err = pcall(function()
              assert(m.spawn(function() return 1 end):result() == 1)
              local pool <close> = m.Pool(2)
              assert(#pool:map(function(x) return x end, { 1, 2, 3 }) == 3)
            end)
            print(ok or mf.is_error(err, "no_memory") and "no_memory" or err)
          ]], { env = {
            LD_PRELOAD = folder .. "/shim.so", EXTENTS = tostring(n), BACKEND = backend } })
          local err = result.err -- an uncaught error is printed, too
          assert.is_true(err == "" or err:find("^%a+%-1: no shared memory") ~= nil, err)
          assert.are.equal(0, result.code)
          seen[result.out] = true
        end
        assert.are.same({ ["moonfleet: no shared memory to be had\n"] = true, ["true\n"] = true,
          ["no_memory\n"] = true }, seen)
      end
      remove()
    end)
  end)
end
