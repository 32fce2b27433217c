// moonfleet.h: what a host gives to its runtime: an allocator, a signal, C functions.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdlib.h>

static mf_backend backend;

// ---- An allocator

typedef struct account {
  size_t bytes, calls; // atomic
} account;

static void *counting_alloc(void *ud, void *block, size_t old_size, size_t new_size) {
  account *a = ud;
  if (block != NULL)
    __atomic_fetch_sub(&a->bytes, old_size, __ATOMIC_RELAXED);
  __atomic_fetch_add(&a->bytes, new_size, __ATOMIC_RELAXED);
  __atomic_fetch_add(&a->calls, 1, __ATOMIC_RELAXED);
  if (new_size != 0)
    return realloc(block, new_size);
  free(block);
  return NULL;
}

static void takes_memory_from_the_hosts_allocator(void) {
  account a = {0};
  mf_config c = {.size = sizeof c,
                 .backend = backend,
                 .shared_limit = (size_t)256 << 20,
                 .alloc = counting_alloc,
                 .alloc_ud = &a};
  mf_runtime *rt = mf_open(&c, NULL, 0);
  mf_pool_config p = {.size = sizeof p, .backend = backend, .workers = 1};
  mf_pool *pool = mf_pool_open(rt, &p);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q);
  mf_future *f = submit(pool, "local q = ... q:put(#string.rep('x', 3000000))", &arg, 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  mf_value v;
  CHECK_EQ(mf_queue_get_value(q, LONG, &v), MF_OK);
  CHECK_EQ(integer_of(&v), 3000000);
  mf_value_free(&v);
  CHECK(a.calls > (backend == MF_THREAD ? 20 : 2));
  CHECK(a.bytes > 0);
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
  CHECK_EQ(a.bytes, 0);
}

// ---- A signal

static void stops_threads_by_the_hosts_signal(void) {
  mf_config c = {.size = sizeof c, .backend = MF_THREAD, .signal_number = SIGRTMIN + 7};
  mf_limits limits = {.size = sizeof limits, .task_timeout = 0.05};
  struct sigaction before, now;
  sigaction(SIGRTMIN + 4, NULL, &before);
  mf_runtime *rt = mf_open(&c, NULL, 0);
  mf_pool_config p = {.size = sizeof p, .workers = 1, .limits = &limits};
  mf_pool *pool = mf_pool_open(rt, &p);
  mf_future *f = submit(pool, FOR_EVER, NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_TASK_TIMEOUT);
  sigaction(SIGRTMIN + 4, NULL, &now);
  CHECK(now.sa_handler == before.sa_handler);
  sigaction(SIGRTMIN + 7, NULL, &now);
  CHECK(now.sa_handler != SIG_DFL);
  mf_future *g = submit(pool, FOR_EVER_CAUGHT, NULL, 0);
  mf_future_cancel(g, 1);
  CHECK_EQ(mf_future_wait(g, LONG), MF_CANCELLED);
  mf_future_release(f);
  mf_future_release(g);
  mf_close(rt);
  sigaction(SIGRTMIN + 7, NULL, &now);
  CHECK(now.sa_handler == SIG_DFL);
}

static void refuses_other_signals(void) {
  char err[200] = "";
  mf_config c = {.size = sizeof c, .signal_number = SIGUSR1};
  CHECK(mf_open(&c, err, sizeof err) == NULL);
  CHECK(strstr(err, "signal_number") != NULL);
}

// ---- C functions

static int add(lua_State *L) {
  lua_pushinteger(L, lua_tointeger(L, lua_upvalueindex(1)) + luaL_checkinteger(L, 1));
  return 1;
}

static int build_add(lua_State *L) {
  lua_pushinteger(L, 100);
  lua_pushcclosure(L, add, 1);
  return 1;
}

static int nameless(lua_State *L) {
  (void)L;
  return 0;
}

static int build_nothing(lua_State *L) {
  (void)L;
  return 0;
}

static const char *run(lua_State *L, const char *chunk) {
  if (luaL_dostring(L, chunk) == LUA_OK)
    return luaL_tolstring(L, -1, NULL);
  printf("%s\n", lua_tostring(L, -1));
  return "an error";
}

static void sends_registered_closures_by_name(void) {
  mf_runtime *rt = open_runtime(backend);
  CHECK_EQ(mf_register_cfunction(rt, "add", build_add), MF_OK);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  lua_pushinteger(L, 7);
  lua_pushcclosure(L, add, 1); // another closure of the same code
  lua_setglobal(L, "add");
  lua_pushcfunction(L, nameless);
  lua_setglobal(L, "nameless");
  CHECK(strcmp(run(L, "mf = require 'moonfleet' return add(1)"), "8") == 0);
  const char *pool = backend == MF_THREAD ? "pool = mf.Pool{workers = 2, backend = 'thread'}"
                                          : "pool = mf.Pool{workers = 2, backend = 'process'}";
  run(L, pool);
  CHECK(strcmp(run(L, "return pool:apply(function(x) return add(x) end, {5})"), "105") == 0);
  CHECK(strcmp(run(L, "local f = pool:apply(function() return add end) return f(1)"), "101") == 0);
  CHECK(strcmp(run(L, "return select(2, pcall(pool.apply, pool, nameless)).kind"),
               "not_sendable") == 0);
  lua_close(L);
  mf_close(rt);
}

static void refuses_names_that_are_taken(void) {
  mf_runtime *rt = open_runtime(backend);
  CHECK_EQ(mf_register_cfunction(rt, "add", build_add), MF_OK);
  CHECK_EQ(mf_register_cfunction(rt, "add", build_nothing), MF_INVALID);
  CHECK(strstr(mf_error(rt), "'add'") != NULL);
  CHECK_EQ(mf_register_cfunction(rt, "other", NULL), MF_INVALID);
  CHECK_EQ(mf_register_cfunction(rt, NULL, build_add), MF_INVALID);
  CHECK_EQ(mf_register_cfunction(NULL, "add", build_add), MF_INVALID);
  mf_close(rt);
}

static void reports_what_builds_nothing(void) {
  mf_runtime *rt = open_runtime(backend);
  CHECK_EQ(mf_register_cfunction(rt, "hollow", build_nothing), MF_OK);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  lua_pushcfunction(L, nameless);
  lua_setglobal(L, "nameless");
  const char *said = run(L, "return select(2, pcall(require 'moonfleet'.encode, nameless))");
  CHECK(strstr(said, "'hollow'") != NULL);
  lua_close(L);
  mf_close(rt);
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(takes_memory_from_the_hosts_allocator);
  RUN(sends_registered_closures_by_name);
  RUN(refuses_names_that_are_taken);
  RUN(reports_what_builds_nothing);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  RUN(stops_threads_by_the_hosts_signal);
  RUN(refuses_other_signals);
  return check_done();
}
