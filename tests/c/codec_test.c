// The codec between two Lua states, sender and worker, without anything of the region. The cases
// are in codec_test.lua beside this file, which runs in the sender.
#include "check.h"
#include "script/codec.h"
#include "script/encoder.h"
#include "script/error.h"
#include "script/func.h"
#include "script/names.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

static lua_State *worker; // of the test program, not of the library

typedef struct carried { // a message on its way
  uint8_t *bytes;
  mfi_message m;
} carried;

// ---- A Moonfleet object of the test: a userdata with a number

static int thing_handle(lua_State *L, int idx, uint64_t *handle) {
  uint64_t *p = lua_touserdata(L, idx);
  if (p == NULL || lua_rawlen(L, idx) != 16 || p[1] != 0x7468696e67u)
    return 0;
  *handle = p[0];
  return 1;
}

static void thing_make(lua_State *L, uint64_t handle) {
  uint64_t *p = lua_newuserdatauv(L, 16, 0);
  p[0] = handle;
  p[1] = 0x7468696e67u;
}

static void thing_push(lua_State *L, uint64_t handle) {
  if (handle == 666)
    mfi_error_raise(L, "closed", "thing 666 is closed");
  thing_make(L, handle);
}

static int thing_new(lua_State *L) {
  thing_make(L, (uint64_t)luaL_checkinteger(L, 1));
  return 1;
}

static int thing_number(lua_State *L) {
  uint64_t handle;
  if (!thing_handle(L, 1, &handle))
    return luaL_error(L, "no thing");
  lua_pushinteger(L, (lua_Integer)handle);
  return 1;
}

static int find_class(lua_State *L, const char *name);

// Published classes, for both states: a Lua table in the registry of neither; here, one is enough.
static carried published;
static char published_name[40];

static void publish(lua_State *L, const char *name);

static const mfi_codec_hooks hooks = {.handle_of = thing_handle,
                                      .push_object = thing_push,
                                      .find_class = find_class,
                                      .publish_class = publish,
                                      .process = 42};

// ---- Verbs for the script

static carried carry(lua_State *L, int first, int n, const char *roots, unsigned flags) {
  mfi_codec *c = mfi_codec_of(L);
  mfi_encoded e;
  carried to;
  mfi_encode(c, L, first, n, roots, flags, &e);
  to.bytes = malloc(e.size);
  mfi_encoded_copy(&e, to.bytes);
  uint64_t *refs = malloc(e.nrefs * sizeof *refs + 1);
  if (e.nrefs != 0)
    memcpy(refs, e.refs, e.nrefs * sizeof *refs);
  to.m = (mfi_message){.bytes = to.bytes, .size = e.size, .refs = refs, .nrefs = e.nrefs};
  mfi_encoded_release(c, L, &e);
  return to;
}

static void drop(carried *c) {
  free(c->bytes);
  free((void *)(uintptr_t)c->m.refs);
}

static void publish(lua_State *L, const char *name) {
  drop(&published);
  published = carry(L, lua_gettop(L), 1, "class", MFI_ENCODE_DEFINE);
  snprintf(published_name, sizeof published_name, "%s", name);
}

static int find_class(lua_State *L, const char *name) {
  if (strcmp(name, "Late") != 0 || strcmp(published_name, name) != 0)
    return 0;
  mfi_decode(mfi_codec_of(L), L, &published.m, MFI_DECODE_WORKER);
  mfi_codec_adopt(mfi_codec_of(L), L, name, -1);
  return 1;
}

static int decode_here(lua_State *L) { // carried, flags -> values
  const carried *c = lua_touserdata(L, 1);
  unsigned flags = (unsigned)lua_tointeger(L, 2);
  lua_settop(L, 0);
  return mfi_decode(mfi_codec_of(L), L, &c->m, flags);
}

// Decodes *c in `to`, whose stack then holds the values, and drops it; raises in L what failed.
static int arrive(lua_State *L, lua_State *to, carried *c, unsigned flags) {
  int top = lua_gettop(to);
  luaL_checkstack(to, 10, NULL);
  lua_pushcfunction(to, decode_here);
  lua_pushlightuserdata(to, c);
  lua_pushinteger(to, flags);
  int status = lua_pcall(to, 2, LUA_MULTRET, 0);
  drop(c);
  if (status == LUA_OK)
    return lua_gettop(to) - top;
  if (to != L) {
    lua_pushstring(L, luaL_tolstring(to, -1, NULL));
    lua_settop(to, top);
  }
  return lua_error(L);
}

// values of `from` from index first on go to `to`.
static int send(lua_State *L, lua_State *from, int first, lua_State *to, const char *roots) {
  carried c = carry(from, first, lua_gettop(from) - first + 1, roots, 0);
  return arrive(L, to, &c, MFI_DECODE_WORKER);
}

static int send_back(lua_State *L) { // in the worker: values -> lightuserdata of what is carried
  static carried c;
  c = carry(L, 1, lua_gettop(L), "result", 0);
  lua_pushlightuserdata(L, &c);
  return 1;
}

// Sends the worker's top n values back into L.
static int receive(lua_State *L, int n) {
  lua_pushcfunction(worker, send_back);
  lua_insert(worker, -1 - n);
  if (lua_pcall(worker, n, 1, 0) != LUA_OK) {
    lua_pushstring(L, luaL_tolstring(worker, -1, NULL));
    lua_settop(worker, 0);
    return lua_error(L);
  }
  carried *c = lua_touserdata(worker, -1);
  lua_settop(worker, 0);
  return arrive(L, L, c, MFI_DECODE_WORKER);
}

static int script_trip(lua_State *L) { // values -> the values after a trip to the worker and back
  int n = send(L, L, 1, worker, "value;value#");
  return receive(L, n);
}

static int script_remote(lua_State *L) { // fn, args -> what fn(args) gives in the worker
  int n = send(L, L, 1, worker, "target;args[#]");
  if (lua_pcall(worker, n - 1, LUA_MULTRET, 0) != LUA_OK) {
    lua_pushstring(L, luaL_tolstring(worker, -1, NULL));
    lua_settop(worker, 0);
    return lua_error(L);
  }
  return receive(L, lua_gettop(worker));
}

static int script_start(lua_State *L) { // as remote, with all additions
  carried c = carry(L, 1, lua_gettop(L), "target", MFI_ENCODE_ADDITIONS);
  int n = arrive(L, worker, &c, MFI_DECODE_WORKER);
  if (lua_pcall(worker, n - 1, LUA_MULTRET, 0) != LUA_OK)
    return luaL_error(L, "failed");
  return receive(L, lua_gettop(worker));
}

static int script_bytes(lua_State *L) { // values -> the message
  carried c = carry(L, 1, lua_gettop(L), "value", 0);
  lua_pushlstring(L, (const char *)c.bytes, c.m.size);
  drop(&c);
  return 1;
}

static int script_decode(lua_State *L) { // bytes, flags -> values
  mfi_message m = {0};
  size_t size;
  m.bytes = (const uint8_t *)luaL_checklstring(L, 1, &size);
  m.size = size;
  return mfi_decode(mfi_codec_of(L), L, &m, (unsigned)luaL_optinteger(L, 2, 0));
}

static int script_data(lua_State *L) { // value: raises unless it is plain data
  mfi_encoded e;
  mfi_encode(mfi_codec_of(L), L, 1, 1, "value", MFI_ENCODE_DATA, &e);
  return 0;
}

static int script_list(lua_State *L) { // list, n -> list of messages
  mfi_codec *c = mfi_codec_of(L);
  size_t n = (size_t)luaL_checkinteger(L, 2);
  const mfi_encoded *e = mfi_encode_list(c, L, 1, n, "list[#]", 0);
  char **copies = malloc(n * sizeof *copies + 1);
  size_t *sizes = malloc(n * sizeof *sizes + 1);
  for (size_t i = 0; i < n; i++) {
    sizes[i] = e[i].size;
    copies[i] = malloc(e[i].size);
    mfi_encoded_copy(&e[i], copies[i]);
  }
  lua_newtable(L);
  for (size_t i = 0; i < n; i++) {
    lua_pushlstring(L, copies[i], sizes[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
    free(copies[i]);
  }
  free(copies);
  free(sizes);
  return 1;
}

static int script_kept(lua_State *L) { // values, ran: a message survives other encoding
  mfi_codec *c = mfi_codec_of(L);
  mfi_encoded e;
  mfi_encode(c, L, 1, lua_gettop(L), "value", 0, &e);
  mfi_encoded_keep(c, L, &e);
  lua_gc(L, LUA_GCCOLLECT);
  mfi_encoded other;
  lua_pushliteral(L, "something else");
  mfi_encode(c, L, lua_gettop(L), 1, "value", 0, &other);
  lua_pop(L, 1);
  lua_pushlstring(L, (const char *)e.bytes, e.size);
  mfi_encoded_release(c, L, &e);
  return 1;
}

static int script_freeze(lua_State *L) {
  mfi_codec_freeze(mfi_codec_of(L), L, 1, lua_gettop(L), "value");
  return 1;
}

static int script_thaw(lua_State *L) {
  size_t size;
  const char *s = luaL_checklstring(L, 1, &size);
  return mfi_codec_thaw(mfi_codec_of(L), L, s, size, lua_toboolean(L, 2));
}

static int script_captures(lua_State *L) {
  mfi_func_captures(mfi_codec_of(L), L, 1);
  return 1;
}

static int script_register(lua_State *L) {
  mfi_codec_register(mfi_codec_of(L), L, luaL_checkstring(L, 1), 2);
  return 0;
}

static int script_resolve(lua_State *L) {
  size_t size;
  const char *s = luaL_checklstring(L, 1, &size);
  mfi_func_resolve_name(L, s, size);
  return 1;
}

static int script_pointer(lua_State *L) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)luaL_checkinteger(L, 1));
  return 1;
}

static int script_clock(lua_State *L) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  lua_pushnumber(L, (double)t.tv_sec + 1e-9 * (double)t.tv_nsec);
  return 1;
}

static int script_speed(lua_State *L) { // value, times -> ns to encode, ns to decode
  mfi_codec *c = mfi_codec_of(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  mfi_encoded e;
  struct timespec t[3];
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[0]);
  for (lua_Integer i = 0; i < n; i++) {
    mfi_encode(c, L, 1, 1, "value", 0, &e);
    mfi_encoded_release(c, L, &e);
  }
  carried to = carry(L, 1, 1, "value", 0);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[1]);
  for (lua_Integer i = 0; i < n; i++) {
    mfi_decode(c, L, &to.m, MFI_DECODE_WORKER);
    lua_settop(L, 2);
  }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[2]);
  drop(&to);
  for (int i = 0; i < 2; i++) {
    double s = (double)(t[i + 1].tv_sec - t[i].tv_sec);
    lua_pushnumber(L, (s * 1e9 + (double)(t[i + 1].tv_nsec - t[i].tv_nsec)) / (double)n);
  }
  return 2;
}

static const luaL_Reg verbs[] = {{"trip", script_trip},
                                 {"remote", script_remote},
                                 {"start", script_start},
                                 {"bytes", script_bytes},
                                 {"decode", script_decode},
                                 {"data", script_data},
                                 {"list", script_list},
                                 {"kept", script_kept},
                                 {"freeze", script_freeze},
                                 {"thaw", script_thaw},
                                 {"captures", script_captures},
                                 {"register", script_register},
                                 {"resolve", script_resolve},
                                 {"pointer", script_pointer},
                                 {"thing", thing_new},
                                 {"number_of", thing_number},
                                 {"clock", script_clock},
                                 {"speed", script_speed},
                                 {NULL, NULL}};

static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  mfi_codec *c = mfi_codec_open(L, &hooks);
  mfi_names_snapshot(c, L);
  luaL_newlib(L, verbs);
  lua_setfield(L, LUA_REGISTRYINDEX, "verbs");
  return L;
}

static void run_case(lua_State *L, const char *name) {
  int status = lua_pcall(L, 0, 0, 2);
  if (status != LUA_OK)
    fprintf(stderr, "%s: %s\n", name, luaL_tolstring(L, -1, NULL));
  lua_getglobal(L, "PEEK");
  const char *how = lua_toboolean(L, -1) ? "" : " (by the API)";
  printf("%s %s%s\n", status == LUA_OK ? "ok" : "not ok", name, how);
  check_failed_tests += status != LUA_OK;
}

// Each case is a function of its own in the table that the script returns: {name, fn, name, fn
// ...}.
static void run_cases(lua_State *L, const char *only) {
  lua_getfield(L, LUA_REGISTRYINDEX, "verbs");
  if (luaL_loadfile(L, MFI_TEST_DATA "/codec_test.lua") != LUA_OK) {
    printf("not ok %s\n", lua_tostring(L, -1));
    check_failed_tests++;
    return;
  }
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    printf("not ok %s\n", lua_tostring(L, -1));
    check_failed_tests++;
    return;
  }
  lua_getglobal(L, "debug");
  lua_getfield(L, -1, "traceback");
  lua_replace(L, -2);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i < n; i += 2) {
    lua_rawgeti(L, 1, i);
    const char *name = lua_tostring(L, -1);
    lua_rawgeti(L, 1, i + 1);
    if (only == NULL || strstr(name, only) != NULL)
      run_case(L, name);
    lua_settop(L, 2);
    lua_settop(worker, 0);
  }
}

// ---- Every allocation that can fail

static int allocations_left; // < 0: none fails

static void *failing(void *ud, void *p, size_t from, size_t to) {
  (void)ud;
  (void)from;
  if (to == 0) {
    free(p);
    return NULL;
  }
  if ((p == NULL || to > from) && allocations_left >= 0 && allocations_left-- == 0) {
    allocations_left = 0; // and so do all later ones
    return NULL;
  }
  return realloc(p, to);
}

static int there_and_back(lua_State *L) { // f, t -> what came back
  carried c = {0};
  mfi_encoded e;
  mfi_codec *codec = mfi_codec_of(L);
  mfi_encode(codec, L, 1, 2, "value", 0, &e);
  mfi_encoded_keep(codec, L, &e);
  c.m = (mfi_message){.bytes = e.bytes, .size = e.size, .refs = e.refs, .nrefs = e.nrefs};
  return mfi_decode(codec, L, &c.m, MFI_DECODE_WORKER);
}

static int prepare(lua_State *L) { // -> f, t
  static const char text[] =
      "local shared, m = {1, 2, 3, 4}, {__index = {}}\n"
      "helper = function(x) return x + 1 end\n"
      "string.twice = function(s) return s .. s end\n"
      "return function(x) shared[1] = x return helper(x), ('x'):twice() end,\n"
      "  setmetatable({shared, {shared}, ('y'):rep(5000), 'short', x = setmetatable({}, m)}, m)";
  luaL_openlibs(L);
  mfi_codec_open(L, &hooks);
  if (luaL_loadstring(L, text) != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 2);
  return 2;
}

static void every_allocation_may_fail(void) {
  int n = 0, status = LUA_ERRMEM;
  for (; n < 5000 && status != LUA_OK; n++) {
    allocations_left = -1;
    lua_State *L = lua_newstate(failing, NULL);
    lua_pushcfunction(L, prepare);
    CHECK(lua_pcall(L, 0, 2, 0) == LUA_OK);
    lua_pushcfunction(L, there_and_back);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    allocations_left = n;
    status = lua_pcall(L, 2, 2, 0);
    allocations_left = -1;
    CHECK(status == LUA_OK || strcmp(lua_tostring(L, -1), "not enough memory") == 0);
    lua_settop(L, 2);
    CHECK_EQ(mfi_codec_of(L)->depth, 0);
    lua_pushcfunction(L, there_and_back); // the state is as good as before
    lua_insert(L, 1);
    CHECK(lua_pcall(L, 2, 2, 0) == LUA_OK);
    lua_close(L);
  }
  CHECK(n > 30 && n < 5000);
}

// Without a look into tables (peek.h) everything goes through the API.
static void run_all(const char *only, int peek) {
  lua_State *L = open_state();
  worker = open_state();
  if (!peek)
    mfi_codec_of(L)->peek = mfi_codec_of(worker)->peek = 0;
  lua_pushboolean(L, mfi_codec_of(L)->peek);
  lua_setglobal(L, "PEEK");
  run_cases(L, only);
  lua_close(worker);
  lua_close(L);
  drop(&published);
  published = (carried){0};
}

int main(int argc, char **argv) {
  const char *only = argc > 1 ? argv[1] : NULL;
  run_all(only, 1);
  run_all(only, 0);
  if (only == NULL)
    RUN(every_allocation_may_fail);
  return check_done();
}
