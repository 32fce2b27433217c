// Walks every failure of Lua's allocator through typical calls: from the nth allocation on there is
// no memory, for n = 1, 2, 3 … until the call gets through. Each time it ends with an error that
// says so, nothing is left over in the region, and the next call works.
#include "base/fault.h"
#include "check.h"
#include "mem/region.h"
#include "script/context.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int luaopen_moonfleet(lua_State *L);

// ---- An allocator that fails from a given allocation on

static struct {
  bool armed, hit;
  long left; // allocations that succeed
} memory;

static mfi_fault_table *shared; // NULL: it is Lua's memory that is wanting

static void *alloc(void *ud, void *block, size_t old_size, size_t new_size) {
  (void)ud;
  if (new_size == 0) {
    free(block);
    return NULL;
  }
  bool grows = block == NULL || new_size > old_size;
  if (memory.armed && grows && memory.left-- <= 0) {
    memory.hit = true;
    return NULL;
  }
  return realloc(block, new_size);
}

// ---- The walk

static const char common[] = "mf = require 'moonfleet'\n"
                             "core = require 'moonfleet.core'\n"
                             "long = 30\n"
                             "threads, serial = mf.ThreadPool(1), mf.Pool{backend='serial'}\n"
                             "function left_over()\n"
                             "  mf.poll() for _ = 1, 4 do collectgarbage() end\n"
                             "  for _ = 1, 2 do threads:apply(collectgarbage) end\n"
                             "  local a = core.audit()\n"
                             "  return a.blocks, a.objects, a.slots\n"
                             "end\n";

typedef struct scenario {
  const char *name, *text;
} scenario;

static const scenario scenarios[] = {
    {"queues", "local q, r = mf.Queue(), mf.Queue() q:put({ 1, 'two', r }) q:put(('x'):rep(5000))"
               "assert(q:get()[3] == r and #q:get() == 5000)"},
    {"many messages", "local q, r = mf.Queue(), mf.Queue()"
                      "q:put_many{ 1, ('x'):rep(3000), 2, r, { 3 } }"
                      "local all = q:get_many() assert(all.n == 5 and all[4] == r)"},
    {"iterating a queue", "local q = mf.Queue() q:put_many{ 1, 2 } q:close()"
                          "local n = 0 for i, v in q:iter() do n = n + v end assert(n == 3)"},
    {"pipes", "local a, b = mf.Pipe() a:send{ 1 } b:send_bytes 'two'"
              "assert(b:recv()[1] == 1 and a:recv_bytes() == 'two') a:close() b:close()"},
    {"encoding", "local Point = { __index = {} } local p = setmetatable({ x = 1 }, Point) p.p = p\n"
                 "local text = mf.encode(p, { 1, 2, 3 }, 'x')"
                 "local back = mf.decode(text) assert(back.x == 1 and back.p == back)"},
    {"functions", "local up = { 1 } local function f(x) return x + up[1] + offset end offset = 5\n"
                  "local g = mf.decode(mf.encode(f), { functions = true })"
                  "assert(g(1) == 7) assert(tostring(mf.captures(f)):find 'offset')"},
    {"serial tasks", "local f = serial:submit(function(x) return { x } end, 7)"
                     "assert(f:get()[1] == 7) assert(serial:apply(math.abs, { -1 }) == 1)"},
    {"serial maps", "local r = serial:map(function(x) return { x } end, { 1, 2, 3 })"
                    "assert(r.n == 3 and r[3][1] == 3)"
                    "r = serial:starmap(math.max, { { 1, 2 }, { 3, 4 } }, { on_error = 'collect' })"
                    "assert(r[2] == 4)"},
    {"serial iterators", "local sum = 0 for _, v in serial:imap(math.abs, mf.range(-3, -1)) do "
                         "sum = sum + v end assert(sum == 6)"
                         "assert(serial:reduce(math.max, { 1, 5, 2 }, 0) == 5)"},
    {"tasks of threads",
     "local f = threads:submit(function(x) return { x } end, 7)"
     "assert(f:get(long)[1] == 7)"
     "local ok, e = pcall(function() return threads:apply(error, { { 1 } }) end)"
     "assert(not ok and (type(e) == 'string' or e[1] == 1 or e.kind), e)"
     "if type(e) == 'string' then error(e, 0) end"},
    {"maps by threads",
     "local r = threads:map(function(x) return { x } end, { 1, 2, 3 })"
     "assert(r.n == 3 and r[3][1] == 3)"
     "local f = threads:map_async(math.abs, { -1, -2 }) assert(f:get(long)[2] == 2)"},
    {"callbacks", "local seen = 0\n"
                  "local f = threads:submit(math.abs, -3)\n"
                  "f:add_done_callback(function(g) seen = g:get(0) end)\n"
                  "local g = f:then_(function(x) return x + 1 end)\n"
                  "assert(g:get(long) == 4)\n"
                  "while seen ~= 3 do mf.sleep(0.0001) end"},
    {"workers", "local t = mf.Thread{ target = function(a, k) return a + k.b end, args = { 1 }, "
                "kwargs = { b = 2 } }\n"
                "t:start() assert(t:result(long) == 3) assert(t:exception() == nil) t:close()"},
    {"processes", "local p = mf.Process(function(x) return { x } end, 4) p:start()\n"
                  "assert(p:result(long)[1] == 4) assert(p.exitcode == 0)"},
    {"pools of threads", "local p <close> = mf.ThreadPool(2) assert(p:apply(math.abs, { -1 }) == 1)"
                         "p:resize(1) p:everywhere(math.abs, 1)"},
    {"pools of processes", "local p <close> = mf.Pool{ workers = 1, initializer = function() end }"
                           "assert(p:map(math.abs, { -1, -2 })[2] == 2)"},
    {"iterators of threads",
     "local sum = 0 for i, v in threads:imap_unordered(function(x) return { x } end, { 1, 2, 3 }, "
     "{ chunksize = 1 }) do sum = sum + v[1] end assert(sum == 6)"},
    {"classes", "local C = mf.Thread:extend{ run = function(self) return self.a end }\n"
                "local t = C{ a = { 5 } } t:start() assert(t:result(long)[1] == 5)"},
    {"calls in workers", "local f = threads:submit(function(n) local q = mf.Queue(n) q:put{ n }\n"
                         "return q, mf.current_process().name end, 5)\n"
                         "local q = f:get(long) assert(q:get(0)[1] == 5)"},
    {"locks", "local l, r, s, b = mf.Lock(), mf.RLock(), mf.Semaphore(1), mf.BoundedSemaphore(2)\n"
              "l:with(function() r:acquire() r:acquire() r:release() r:release() end)\n"
              "s:acquire() s:release() b:acquire() b:release()\n"
              "do local _ <close> = l:hold() assert(l:locked()) end assert(not l:locked())"},
    {"gates", "local c, e, b = mf.Condition(), mf.Event(), mf.Barrier(1)\n"
              "c:with(function() c:notify_all() assert(not c:wait(0)) end)\n"
              "e:set() assert(e:wait(0) and b:wait(0) == 1)"},
    {"numbers",
     "local v, a = mf.Value('i32', 4), mf.Array{ type = 'f64', shape = { 2, 3 } }\n"
     "v:add(1) a:fill(2) local t = a:view(1, 3):totable() assert(v.value == 5 and t[3] == 2)"},
    {"selecting", "local q, r = mf.Queue(), mf.Queue() r:put 'x'\n"
                  "local o, v = mf.select({ q, r }, 1) assert(o == r and v == 'x')\n"
                  "assert(#mf.wait_any({ q, r }, 0) == 0)"},
    {"looking", "mf.stats() mf.inspect{ { 1 }, x = 'y' } mf.dump_waits() mf.cpu_count()\n"
                "mf.current_process() mf.active_children() tostring(mf.Queue(3)) mf.poll()"},
};

static void run(lua_State *L, const char *text) {
  if (luaL_dostring(L, text) == LUA_OK)
    return;
  FAIL(lua_tostring(L, -1));
  lua_pop(L, 1);
}

typedef struct counts {
  lua_Integer blocks, objects, slots;
} counts;

static counts left_over(lua_State *L) {
  lua_getglobal(L, "left_over");
  lua_call(L, 0, 3);
  counts c = {lua_tointeger(L, -3), lua_tointeger(L, -2), lua_tointeger(L, -1)};
  lua_pop(L, 3);
  return c;
}

static bool is_more(counts now, counts before) {
  return now.blocks > before.blocks || now.objects > before.objects || now.slots > before.slots;
}

// What ends by itself gets two seconds to do so.
static counts settled(lua_State *L, counts before) {
  counts now = left_over(L);
  for (int i = 0; i < 2000 && is_more(now, before); i++) {
    usleep(1000);
    now = left_over(L);
  }
  return now;
}

static void check_nothing_left(lua_State *L, counts before, const char *name, long n) {
  counts now = settled(L, before);
  if (!is_more(now, before))
    return;
  printf("%s, without memory from allocation %ld on: %lld blocks, %lld objects, %lld slots more\n",
         name, n, now.blocks - before.blocks, now.objects - before.objects,
         now.slots - before.slots);
  check_failed_here++;
}

static bool is_about_memory(lua_State *L) {
  const char *text = luaL_tolstring(L, -1, NULL);
  bool is = strstr(text, "memory") != NULL;
  lua_pop(L, 1);
  return is;
}

static void begin_want(long n) {
  memory.left = n;
  memory.hit = false;
  memory.armed = shared == NULL;
  if (shared != NULL)
    store_seqcst(&shared->allowed, (uint64_t)n + 1);
}

static void end_want(void) {
  memory.armed = false;
  if (shared == NULL)
    return;
  memory.hit = load_seqcst(&shared->allowed) == 1;
  store_seqcst(&shared->allowed, (uint64_t)0);
}

// Runs the function at the top; was there memory enough?
static bool try_with(lua_State *L, long n, const char *name) {
  lua_pushvalue(L, -1);
  begin_want(n);
  int status = lua_pcall(L, 0, 0, 0);
  end_want();
  if (status == LUA_OK)
    return !memory.hit;
  if (!is_about_memory(L)) {
    printf("%s, without memory from allocation %ld on: %s\n", name, n, luaL_tolstring(L, -1, NULL));
    check_failed_here++;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return false;
}

static void walk(lua_State *L, const scenario *s) {
  if (luaL_loadbuffer(L, s->text, strlen(s->text), s->name) != LUA_OK) {
    FAIL(lua_tostring(L, -1));
    return;
  }
  for (int i = 0; i < 2; i++) // what first use opens stays
    CHECK(try_with(L, 1000000, s->name));
  usleep(50000); // threads that have just ended go on for a moment
  counts before = left_over(L);
  for (long n = 0; n < 20000 && check_failed_here < 10; n++) {
    bool through = try_with(L, n, s->name);
    check_nothing_left(L, before, s->name, n);
    if (through)
      break;
    counts now = left_over(L);
    before = is_more(before, now) ? now : before;
  }
  lua_getglobal(L, "collectgarbage");
  lua_pushliteral(L, "isrunning");
  lua_call(L, 1, 1);
  CHECK(lua_toboolean(L, -1));
  lua_settop(L, 0);
}

static void walk_all(lua_State *L, const char *only, const char *what) {
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    if (only != NULL && strcmp(only, scenarios[i].name) != 0)
      continue;
    check_failed_here = 0;
    walk(L, &scenarios[i]);
    printf("%s %s without %s\n", check_failed_here ? "not ok" : "ok", scenarios[i].name, what);
    fflush(stdout);
    check_failed_tests += check_failed_here != 0;
  }
}

int main(int argc, char **argv) {
  const char *only = argc > 1 ? argv[1] : NULL;
  lua_State *L = lua_newstate(alloc, NULL);
  luaL_openlibs(L);
  luaL_requiref(L, "moonfleet", luaopen_moonfleet, 0);
  lua_pop(L, 1);
  run(L, common);
  walk_all(L, only, "memory");
#ifdef MFI_FAULTS
  shared = &mfi_context_of(L)->self->region->faults;
  walk_all(L, only, "shared memory");
#else
  printf("skip shared memory that is wanting\n");
#endif
  lua_close(L);
  return check_done();
}
