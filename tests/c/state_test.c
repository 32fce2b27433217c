// A worker's Lua state: libraries, restrictions, memory, random numbers.
#include "check.h"
#include "script/state.h"
#include "script/stop.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdlib.h>
#include <string.h>

// Runs text; its first result as a string, or its error. Valid until L's stack changes.
static const char *eval(lua_State *L, const char *text) {
  lua_settop(L, 0);
  int status = luaL_loadstring(L, text);
  if (status == LUA_OK)
    status = lua_pcall(L, 0, 1, 0);
  return luaL_tolstring(L, 1, NULL);
}

static void check_eval(lua_State *L, const char *text, const char *expected) {
  const char *got = eval(L, text);
  if (strcmp(got, expected) != 0)
    printf("%s\n  gives    %.500s\n  expected %.500s\n", text, got, expected);
  CHECK(strcmp(got, expected) == 0);
}

static lua_State *open_with(unsigned libs) {
  return mfi_state_open(&(mfi_state_config){.libs = libs, .seed = 1});
}

static lua_State *open_stock(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  return L;
}

// ---- Libraries
// -----------------------------------------------------------------------------------

static const char listing[] =
    "local out, seen = {}, {}\n"
    "local function list(t, path)\n"
    "  if seen[t] then return end seen[t] = true\n"
    "  local keys = {} for k in pairs(t) do keys[#keys + 1] = k end\n"
    "  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)\n"
    "  for _, k in ipairs(keys) do\n"
    "    out[#out + 1] = path .. '.' .. tostring(k) .. ' ' .. type(t[k])\n"
    "    if type(t[k]) == 'table' then list(t[k], path .. '.' .. tostring(k)) end end\n"
    "end\n"
    "list(_G, '_G') list(package.loaded, 'loaded') list(getmetatable('').__index, 'string')\n"
    "list(getmetatable(io.stdout), 'file') assert(getmetatable(_G) == nil)\n"
    "return table.concat(out, '\\n')\n";

static void lists_the_same_libraries_as_stock_lua(void) {
  lua_State *stock = open_stock(), *ours = open_with(0);
  const char *expected = eval(stock, listing);
  check_eval(ours, listing, expected);
  CHECK(strlen(expected) > 3000);
  lua_close(stock);
  mfi_state_close(ours);
}

static void leaves_libraries_out(void) {
  lua_State *L = open_with(MFI_LIB_SAFE);
  check_eval(L, "return tostring(io) .. tostring(os) .. tostring(debug) .. tostring(package)",
             "nilnilnilnil");
  check_eval(L, "return tostring(dofile) .. tostring(loadfile)", "nilnil");
  check_eval(L,
             "return type(math.random) .. type(utf8.char) .. type(coroutine.wrap) .. ('x'):rep(2)",
             "functionfunctionfunctionxx");
  check_eval(L, "return load('return 5')()", "5");
  check_eval(L, "return select(2, load(string.dump(function() end)))",
             "attempt to load a binary chunk (mode is 't')");
  check_eval(L, "return select(2, load(string.dump(function() end), 'x', 'b'))",
             "attempt to load a binary chunk (mode is '')");
  mfi_state_close(L);
}

static int open_host_module(lua_State *L) {
  lua_pushstring(L, "the host's");
  return 1;
}

static void requires_only_the_hosts_modules_without_package(void) {
  lua_State *L = open_with(MFI_LIB_SAFE);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open_host_module);
  lua_setfield(L, -2, "host");
  check_eval(L, "return require 'host'", "the host's");
  check_eval(L, "return (pcall(require, 'lfs'))", "false");
  check_eval(L, "return select(2, pcall(require, 'no.such')):match '^[^\\n]*'",
             "module 'no.such' not found:");
  mfi_state_close(L);
}

static void reads_text_files_alone_without_debug(void) {
  char name[] = "/tmp/mf-state-XXXXXX", text[200];
  FILE *file = fdopen(mkstemp(name), "w");
  fputs("return 'text'", file);
  fclose(file);
  lua_State *L = open_with(MFI_LIB_ALL & ~MFI_LIB_DEBUG);
  snprintf(text, sizeof text, "return dofile('%s') .. loadfile('%s')()", name, name);
  check_eval(L, text, "texttext");
  snprintf(text, sizeof text,
           "local f = io.open('%s', 'wb') f:write(string.dump(function() end)) f:close()\n"
           "return tostring(loadfile('%s')) .. tostring(pcall(dofile, '%s'))",
           name, name, name);
  check_eval(L, text, "nilfalse");
  mfi_state_close(L);
  remove(name);
}

static void takes_the_senders_paths(void) {
  lua_State *L = mfi_state_open(&(mfi_state_config){.path = "p/?.lua", .cpath = "c/?.so"});
  check_eval(L, "return package.path .. ' ' .. package.cpath", "p/?.lua c/?.so");
  mfi_state_close(L);
}

static void knows_its_own_states(void) {
  lua_State *stock = open_stock(), *ours = mfi_state_open(&(mfi_state_config){.user = &ours});
  CHECK(!mfi_state_is(stock));
  CHECK(mfi_state_is(ours));
  CHECK(mfi_state_is(lua_newthread(ours)));
  CHECK(mfi_state_user(ours) == &ours);
  lua_close(stock);
  mfi_state_close(ours);
}

// ---- Memory
// --------------------------------------------------------------------------------------

static void refuses_what_is_over_the_limit(void) {
  lua_State *L = mfi_state_open(&(mfi_state_config){.memory_limit = 1 << 20});
  luaL_loadstring(L, "local t = {} for i = 1, 1e7 do t[i] = ('x'):rep(1000) .. i end");
  int status = lua_pcall(L, 0, 0, 0);
  CHECK_EQ(status, LUA_ERRMEM);
  CHECK(mfi_state_limit_hit(L, status, -1));
  CHECK(mfi_state_bytes(L) <= 1 << 20);
  check_eval(L, "return (pcall(string.rep, 'x', 1 << 21))", "false");
  check_eval(L, "local t = {} for i = 1, 100 do t[i] = {} end return #t", "100");
  mfi_state_set_limit(L, 0);
  check_eval(L, "return #string.rep('x', 1 << 21)", "2097152");
  mfi_state_close(L);
}

static void tells_the_limit_from_other_errors(void) {
  lua_State *L = mfi_state_open(&(mfi_state_config){.memory_limit = 1 << 20});
  lua_pushliteral(L, "not enough memory");
  CHECK(!mfi_state_limit_hit(L, LUA_ERRRUN, -1)); // a script may say so, too
  luaL_loadstring(L, "coroutine.wrap(function() local x = ('x'):rep(1 << 21) end)()");
  int status = lua_pcall(L, 0, 0, 0);
  CHECK(mfi_state_limit_hit(L, status, -1));
  lua_pushliteral(L, "another");
  CHECK(!mfi_state_limit_hit(L, LUA_ERRRUN, -1));
  mfi_state_close(L);
}

static void is_not_opened_in_too_little_memory(void) {
  CHECK(mfi_state_open(&(mfi_state_config){.memory_limit = 10000}) == NULL);
}

// A host's allocator: counts, checks the sizes it is told, and fails once.
typedef struct counter {
  size_t live, calls, fail_at;
  bool wrong;
} counter;

static void *count_alloc(void *ud, void *block, size_t old_size, size_t new_size) {
  counter *c = ud;
  size_t *real = block ? (size_t *)block - 2 : NULL;
  if (block && *real != old_size)
    c->wrong = true;
  if (new_size == 0) {
    c->live -= block != NULL;
    free(real);
    return NULL;
  }
  if (++c->calls == c->fail_at && (block == NULL || new_size > old_size))
    return NULL;
  c->live += block == NULL;
  real = realloc(real, new_size + 2 * sizeof *real);
  *real = new_size;
  return real + 2;
}

static void survives_every_failing_allocation(void) {
  size_t n = 0;
  bool opened = false;
  while (!opened) {
    counter c = {.fail_at = ++n};
    lua_State *L = mfi_state_open(&(mfi_state_config){.alloc = count_alloc, .alloc_ud = &c});
    opened = L != NULL && c.calls < n;
    if (L != NULL)
      mfi_state_close(L);
    CHECK_EQ(c.live, 0);
    CHECK(!c.wrong);
  }
  CHECK(n > 5);
}

static void gives_all_memory_back(void) {
  counter c = {0};
  lua_State *L = mfi_state_open(&(mfi_state_config){.alloc = count_alloc, .alloc_ud = &c});
  check_eval(
      L,
      "local all = {}\n"
      "for i = 1, 20000 do all[i] = ('x'):rep(i % 700) .. i if i % 3 == 0 then all[i] = {} end\n"
      "  if i % 7 == 0 then all[i - 5] = nil end end\n"
      "local co = coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i) end end)\n"
      "for i = 1, 50 do co() end\n"
      "return #table.concat({(('y'):rep(1e6)), 'z'})",
      "1000001");
  mfi_state_close(L);
  CHECK_EQ(c.live, 0);
  CHECK(!c.wrong);
}

// ---- Random numbers
// ------------------------------------------------------------------------------

static void draws_as_stock_lua_from_the_same_seed(void) {
  static const char text[] =
      "local out = {table.concat({math.randomseed(42)}, ' ')}\n"
      "for i = 1, 200 do out[#out + 1] = string.format('%.17g %d %d %d', math.random(),\n"
      "  math.random(i), math.random(-i, i * i), math.random(0)) end\n"
      "math.randomseed(7, -9) out[#out + 1] = math.random(math.mininteger, math.maxinteger)\n"
      "out[#out + 1] = select(2, pcall(math.random, 2, 1))\n"
      "out[#out + 1] = select(2, pcall(math.random, -1))\n"
      "out[#out + 1] = select(2, pcall(math.random, 1, 2, 3))\n"
      "return table.concat(out, '\\n')";
  lua_State *stock = open_stock(), *ours = open_with(0);
  check_eval(ours, text, eval(stock, text));
  lua_close(stock);
  mfi_state_close(ours);
}

static lua_Integer draw(uint64_t seed, uint64_t stream) {
  lua_State *L = mfi_state_open(&(mfi_state_config){.seed = seed, .stream = stream});
  eval(L, "return math.random(0)");
  lua_Integer n = lua_tointeger(L, 1);
  mfi_state_close(L);
  return n;
}

static void seeds_workers_apart(void) {
  CHECK_EQ(draw(1, 2), draw(1, 2));
  CHECK(draw(1, 2) != draw(1, 3));
  CHECK(draw(1, 2) != draw(2, 1));
  CHECK(draw(0, 0) != draw(0, 1));
}

static void keeps_and_sets_its_stream(void) {
  lua_State *L = open_with(0);
  mfi_random kept = *mfi_random_of(L);
  eval(L, "return math.random(0)");
  lua_Integer first = lua_tointeger(L, 1);
  *mfi_random_of(L) = kept;
  eval(L, "return math.random(0)");
  CHECK_EQ(lua_tointeger(L, 1), first);
  mfi_state_close(L);
}

int main(void) {
  RUN(lists_the_same_libraries_as_stock_lua);
  RUN(leaves_libraries_out);
  RUN(requires_only_the_hosts_modules_without_package);
  RUN(reads_text_files_alone_without_debug);
  RUN(takes_the_senders_paths);
  RUN(knows_its_own_states);
  RUN(refuses_what_is_over_the_limit);
  RUN(tells_the_limit_from_other_errors);
  RUN(is_not_opened_in_too_little_memory);
  RUN(survives_every_failing_allocation);
  RUN(gives_all_memory_back);
  RUN(draws_as_stock_lua_from_the_same_seed);
  RUN(seeds_workers_apart);
  RUN(keeps_and_sets_its_stream);
  return check_done();
}
