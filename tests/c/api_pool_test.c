// moonfleet.h: runtimes, pools, submits, futures, on both backends.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <pthread.h>

static mf_backend backend;

static mf_pool *pool_of(mf_runtime *rt, int workers) {
  mf_pool_config c = {.size = sizeof c, .backend = backend, .workers = workers};
  return mf_pool_open(rt, &c);
}

static void runs_a_chunk_and_gives_all_its_results(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  mf_value args[] = {mf_integer(6), mf_integer(7)};
  mf_future *f = submit(pool, "local a, b = ... return a * b, 'two', {x = {1, 2}}", args, 2);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(mf_future_poll(f), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), 42);
  CHECK(is_text(mf_future_value(f, 1), "two"));
  const mf_value *x = mf_field(mf_future_value(f, 2), "x");
  CHECK(x != NULL && x->kind == MF_TABLE && x->as.table->nitems == 2);
  CHECK(mf_future_value(f, 3) == NULL);
  CHECK(strcmp(mf_future_error(f), "") == 0);
  mf_future_release(f);
  mf_pool_close(pool);
  mf_close(rt);
}

static void says_what_a_task_raised_and_where(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_future *f = submit(pool, "error 'so bad'", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_FAILED);
  CHECK(strstr(mf_future_error(f), "so bad") != NULL);
  CHECK(strstr(mf_future_error(f), "traceback") != NULL);
  CHECK(strstr(mf_future_error(f), "Pool-1:1") != NULL);
  CHECK(mf_future_value(f, 0) == NULL);
  mf_future *g = submit(pool, "this is no Lua", NULL, 0);
  CHECK_EQ(mf_future_wait(g, LONG), MF_FAILED);
  CHECK(strstr(mf_future_error(g), "chunk:1:") != NULL);
  mf_future_release(f);
  mf_future_release(g);
  mf_close(rt);
}

static void takes_functions_by_name(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_value args[] = {mf_text("%d-%s"), mf_integer(3), mf_text("x")};
  mf_future *f = mf_submit_name(pool, "string:format", args, 3);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK(is_text(mf_future_value(f, 0), "3-x"));
  mf_future *g = mf_submit_name(pool, "nowhere:nothing", NULL, 0);
  CHECK_EQ(mf_future_wait(g, LONG), MF_FAILED);
  CHECK(strstr(mf_future_error(g), "nowhere") != NULL);
  mf_future_release(f);
  mf_future_release(g);
  mf_close(rt);
}

static void takes_functions_of_a_lua_state(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK(luaL_dostring(L, "factor = 10 function scale(x) return x * factor, print end") == 0);
  lua_getglobal(L, "scale");
  lua_pushinteger(L, 4);
  mf_future *f = mf_submit(pool, L, 1);
  CHECK_EQ(lua_gettop(L), 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), 40);
  CHECK_EQ(mf_future_push(f, L), 2);
  CHECK_EQ(lua_tointeger(L, 1), 40);
  lua_getglobal(L, "print");
  CHECK(lua_rawequal(L, 2, 3));
  lua_settop(L, 0);
  lua_getglobal(L, "scale");
  lua_newthread(L);
  mf_future *g = mf_submit(pool, L, 1);
  CHECK_EQ(mf_future_wait(g, LONG), MF_NOT_SENDABLE);
  CHECK(strstr(mf_future_error(g), "coroutine") != NULL);
  CHECK_EQ(mf_future_push(g, L), -1);
  mf_future_release(f);
  mf_future_release(g);
  lua_close(L);
  mf_close(rt);
}

static int add_bytes(lua_State *L, const void *in, size_t size) {
  const double *x = in;
  double sum = 0;
  for (size_t i = 0; i < size / sizeof *x; i++)
    sum += x[i];
  lua_pushnumber(L, sum);
  lua_pushboolean(L, (uintptr_t)in % 16 == 0);
  return 2;
}

static int raise_in_c(lua_State *L, const void *in, size_t size) {
  (void)in;
  (void)size;
  return luaL_error(L, "from C");
}

static void takes_tasks_in_c(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  double x[] = {1, 2, 3.5};
  mf_future *f = mf_submit_c(pool, add_bytes, x, sizeof x);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK(mf_future_value(f, 0)->as.number == 6.5);
  CHECK(mf_future_value(f, 1)->as.boolean);
  mf_future *g = mf_submit_c(pool, raise_in_c, NULL, 0);
  CHECK_EQ(mf_future_wait(g, LONG), MF_FAILED);
  CHECK(strstr(mf_future_error(g), "from C") != NULL);
  mf_future_release(f);
  mf_future_release(g);
  mf_close(rt);
}

static void ends_a_wait_at_its_timeout_and_the_task_goes_on(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *gate = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(gate);
  mf_future *f = submit(pool, "return (...):get()", &arg, 1);
  CHECK_EQ(mf_future_wait(f, 0), MF_TIMEDOUT);
  CHECK_EQ(mf_future_wait(f, 0.05), MF_TIMEDOUT);
  CHECK(mf_future_poll(f) == MF_RUNNING || mf_future_poll(f) == MF_QUEUED);
  mf_value word = mf_text("go");
  CHECK_EQ(mf_queue_put_value(gate, &word, LONG), MF_OK);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK(is_text(mf_future_value(f, 0), "go"));
  mf_future_release(f);
  mf_queue_release(gate);
  mf_close(rt);
}

static void stops_a_running_task_when_forced_to(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q), up;
  mf_future *f = submit(pool, "(...):put(1) " FOR_EVER_CAUGHT, &arg, 1);
  mf_future *next = submit(pool, "return 'next'", NULL, 0);
  CHECK_EQ(mf_queue_get_value(q, LONG, &up), MF_OK);
  CHECK_EQ(mf_future_cancel(f, 0), 0);
  CHECK_EQ(mf_future_cancel(f, 1), 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_CANCELLED);
  CHECK_EQ(mf_future_wait(next, LONG), MF_OK);
  mf_future_release(f);
  mf_future_release(next);
  mf_queue_release(q);
  mf_close(rt);
}

static void takes_a_queued_task_out(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *gate = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(gate);
  mf_future *f = submit(pool, "return (...):get()", &arg, 1), *g = submit(pool, "", NULL, 0);
  CHECK_EQ(mf_future_cancel(g, 0), 1);
  CHECK_EQ(mf_future_wait(g, LONG), MF_CANCELLED);
  CHECK(strstr(mf_future_error(g), "cancelled") != NULL);
  mf_queue_close(gate);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  mf_future_release(f);
  mf_future_release(g);
  mf_queue_release(gate);
  mf_close(rt);
}

static void keeps_limits_of_time_and_memory(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_limits limits = {.size = sizeof limits, .task_timeout = 0.1, .memory = 4 << 20};
  mf_pool_config c = {.size = sizeof c, .backend = backend, .workers = 1, .limits = &limits};
  mf_pool *pool = mf_pool_open(rt, &c);
  mf_future *f = submit(pool, FOR_EVER, NULL, 0);
  mf_future *g = submit(pool, "return ('x'):rep(1 << 24)", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_TASK_TIMEOUT);
  CHECK_EQ(mf_future_wait(g, LONG), MF_MEMORY_LIMIT);
  mf_future_release(f);
  mf_future_release(g);
  mf_close(rt);
}

static void keeps_scripts_to_their_libraries(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_limits limits = {.size = sizeof limits, .libs = MF_LIB_SAFE};
  mf_pool_config c = {.size = sizeof c, .backend = backend, .workers = 1, .limits = &limits};
  mf_pool *pool = mf_pool_open(rt, &c);
  mf_future *f = submit(pool,
                        "local ok = require and pcall(require, 'moonfleet.core')\n"
                        "return io, os, package, debug, dofile, not ok, string ~= nil",
                        NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  for (int i = 0; i < 5; i++)
    CHECK_EQ(mf_future_value(f, i)->kind, MF_NIL);
  CHECK(mf_future_value(f, 5)->as.boolean);
  CHECK(mf_future_value(f, 6)->as.boolean);
  mf_future_release(f);
  mf_close(rt);
}

static void runs_the_init_source_before_the_first_task(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool_config c = {
      .size = sizeof c, .backend = backend, .workers = 2, .init_source = "answer = 42"};
  mf_pool *pool = mf_pool_open(rt, &c);
  mf_future *f = submit(pool, "return answer", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), 42);
  mf_future_release(f);
  c.init_source = "error 'no way'";
  mf_pool *bad = mf_pool_open(rt, &c);
  f = submit(bad, "return 1", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_INITIALIZER);
  CHECK(strstr(mf_future_error(f), "no way") != NULL);
  mf_future_release(f);
  mf_close(rt);
}

static void counts_its_tasks(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  mf_future *f[10];
  for (int i = 0; i < 10; i++)
    f[i] = submit(pool, i < 7 ? "return 1" : "error()", NULL, 0);
  CHECK_EQ(mf_pool_wait(pool, LONG), MF_OK);
  mf_stats s = {.size = sizeof s};
  CHECK_EQ(mf_pool_stats(pool, &s), MF_OK);
  CHECK_EQ(s.submitted, 10);
  CHECK_EQ(s.done, 7);
  CHECK_EQ(s.failed, 3);
  CHECK_EQ(s.queued + s.running + s.cancelled + s.died, 0);
  CHECK_EQ(s.workers, 2);
  CHECK_EQ(mf_pool_resize(pool, 3), MF_OK);
  CHECK_EQ(mf_pool_resize(pool, 0), MF_INVALID);
  CHECK(strlen(mf_error(rt)) > 0);
  for (int i = 0; i < 10; i++)
    mf_future_release(f[i]);
  mf_close(rt);
}

static void terminates_what_is_not_done(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_future *f = submit(pool, FOR_EVER, NULL, 0), *g = submit(pool, "", NULL, 0);
  mf_pool_terminate(pool);
  CHECK_EQ(mf_future_wait(f, LONG), MF_TERMINATED);
  CHECK_EQ(mf_future_wait(g, LONG), MF_TERMINATED);
  mf_future_release(f);
  mf_future_release(g);
  mf_close(rt);
}

static void leaves_outcomes_when_the_runtime_closes(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_future *done = submit(pool, "return {1, 'kept'}", NULL, 0);
  CHECK_EQ(mf_future_wait(done, LONG), MF_OK);
  mf_future *f = submit(pool, FOR_EVER, NULL, 0), *g = submit(pool, "", NULL, 0);
  mf_close(rt);
  CHECK_EQ(mf_future_wait(done, LONG), MF_OK);
  CHECK(is_text(&mf_future_value(done, 0)->as.table->items[1], "kept"));
  CHECK_EQ(mf_future_wait(f, LONG), MF_TERMINATED);
  CHECK_EQ(mf_future_poll(g), MF_TERMINATED);
  mf_value v;
  CHECK_EQ(mf_queue_get_value(q, LONG, &v), MF_CLOSED);
  mf_future_release(done);
  mf_future_release(f);
  mf_future_release(g);
  mf_queue_release(q);
}

static void *wait_forever(void *future) {
  return (void *)(intptr_t)mf_future_wait(future, MF_FOREVER);
}

static void ends_the_waits_of_other_threads_when_it_closes(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q);
  mf_future *f = submit(pool, "return (...):get()", &arg, 1);
  pthread_t thread;
  void *got;
  pthread_create(&thread, NULL, wait_forever, f);
  usleep(20000);
  mf_close(rt);
  pthread_join(thread, &got);
  CHECK((intptr_t)got == MF_CLOSED || (intptr_t)got == MF_TERMINATED);
  mf_future_release(f);
  mf_queue_release(q);
}

static void *submit_many(void *pool) {
  intptr_t sum = 0;
  for (int i = 0; i < 100; i++) {
    mf_value arg = mf_integer(i);
    mf_future *f = submit(pool, "return ...", &arg, 1);
    if (mf_future_wait(f, LONG) == MF_OK)
      sum += (intptr_t)integer_of(mf_future_value(f, 0));
    mf_future_release(f);
  }
  return (void *)sum;
}

static void serves_several_threads(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  pthread_t threads[4];
  void *sum;
  for (int i = 0; i < 4; i++)
    pthread_create(&threads[i], NULL, submit_many, pool);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], &sum);
    CHECK_EQ((intptr_t)sum, 4950);
  }
  mf_pool_close(pool);
  mf_close(rt);
}

static void serves_several_runtimes(void) {
  mf_runtime *a = open_runtime(backend), *b = open_runtime(backend);
  mf_pool *p = pool_of(a, 1), *q = pool_of(b, 1);
  mf_future *f = submit(p, "x = 'a' return x", NULL, 0), *g = submit(q, "return x", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(mf_future_wait(g, LONG), MF_OK);
  CHECK(is_text(mf_future_value(f, 0), "a"));
  CHECK_EQ(mf_future_value(g, 0)->kind, MF_NIL);
  mf_close(a);
  mf_future *h = submit(q, "return 2", NULL, 0);
  CHECK_EQ(mf_future_wait(h, LONG), MF_OK);
  mf_future_release(f);
  mf_future_release(g);
  mf_future_release(h);
  mf_close(b);
}

static int open_host(lua_State *L) {
  lua_newtable(L);
  lua_pushliteral(L, "host's own");
  lua_setfield(L, -2, "name");
  return 1;
}

static int start_hook(lua_State *L, void *ud) {
  lua_pushinteger(L, *(int *)ud);
  lua_setglobal(L, "hooked");
  return 0;
}

static int bad_hook(lua_State *L, void *ud) {
  (void)ud;
  lua_pushliteral(L, "hook says no");
  return 1;
}

static void gives_workers_modules_and_hooks(void) {
  mf_runtime *rt = open_runtime(backend);
  int number = 7;
  CHECK_EQ(mf_preload(rt, "host", open_host), MF_OK);
  CHECK_EQ(mf_on_worker_start(rt, start_hook, &number), MF_OK);
  mf_pool *pool = pool_of(rt, 1);
  mf_future *f = submit(pool, "return require('host').name, hooked", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK(is_text(mf_future_value(f, 0), "host's own"));
  CHECK_EQ(integer_of(mf_future_value(f, 1)), 7);
  mf_future_release(f);
  mf_pool_close(pool);
  CHECK_EQ(mf_on_worker_start(rt, bad_hook, NULL), MF_OK);
  pool = pool_of(rt, 1);
  f = submit(pool, "return 1", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_INITIALIZER);
  CHECK(strstr(mf_future_error(f), "hook says no") != NULL);
  mf_future_release(f);
  mf_close(rt);
}

// ---- Of serial pools alone

static int submit_inside(lua_State *L, const void *in, size_t size) {
  mf_pool *pool;
  memcpy(&pool, in, size);
  mf_future *f = submit(pool, "return 'inner'", NULL, 0);
  lua_pushinteger(L, mf_future_poll(f));
  mf_future_release(f);
  return 1;
}

static void runs_tasks_inside_the_submit(void) {
  mf_runtime *rt = open_runtime(MF_SERIAL);
  mf_limits limits = {.size = sizeof limits, .task_timeout = 0.05};
  mf_pool_config c = {.size = sizeof c, .init_source = "base = 40", .limits = &limits};
  mf_pool *pool = mf_pool_open(rt, &c);
  mf_value arg = mf_integer(2);
  mf_future *f = submit(pool, "n = (n or 0) + 1 return base + ..., n", &arg, 1);
  CHECK_EQ(mf_future_poll(f), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), 42);
  mf_future_release(f);
  f = submit(pool, "error 'serial'", NULL, 0);
  CHECK_EQ(mf_future_poll(f), MF_FAILED);
  CHECK(strstr(mf_future_error(f), "serial") != NULL);
  mf_future_release(f);
  f = submit(pool, FOR_EVER, NULL, 0);
  CHECK_EQ(mf_future_poll(f), MF_TASK_TIMEOUT);
  mf_future_release(f);
  f = mf_submit_c(pool, submit_inside, &pool, sizeof pool);
  CHECK_EQ(mf_future_poll(f), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), MF_OK);
  mf_future_release(f);
  mf_stats s = {.size = sizeof s};
  mf_pool_stats(pool, &s);
  CHECK(s.submitted == 5 && s.done == 3 && s.failed == 2 && s.workers == 0);
  mf_pool_close(pool);
  c.init_source = "error 'no'";
  pool = mf_pool_open(rt, &c);
  f = submit(pool, "return 1", NULL, 0);
  CHECK_EQ(mf_future_poll(f), MF_INITIALIZER);
  mf_future_release(f);
  mf_close(rt);
}

// ---- Of processes alone

static void outlives_the_death_of_a_worker(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q), pid;
  mf_future *f = submit(pool, "(...):put(require('moonfleet').getpid()) " FOR_EVER, &arg, 1);
  mf_future *next = submit(pool, "return 'healed'", NULL, 0);
  CHECK_EQ(mf_queue_get_value(q, LONG, &pid), MF_OK);
  CHECK(pid.kind == MF_INTEGER && pid.as.integer > 1 && pid.as.integer != getpid());
  if (pid.kind == MF_INTEGER && pid.as.integer > 1) // never 0: that is this process group
    kill((pid_t)pid.as.integer, SIGKILL);
  CHECK_EQ(mf_future_wait(f, LONG), MF_WORKER_DIED);
  CHECK(strstr(mf_future_error(f), "SIGKILL") != NULL);
  CHECK(strstr(mf_future_error(f), "Pool-1:1") != NULL);
  CHECK_EQ(mf_future_wait(next, LONG), MF_OK);
  CHECK(is_text(mf_future_value(next, 0), "healed"));
  mf_stats s = {.size = sizeof s};
  mf_pool_stats(pool, &s);
  CHECK_EQ(s.died, 1);
  mf_future_release(f);
  mf_future_release(next);
  mf_queue_release(q);
  mf_close(rt);
}

static void leaves_no_child_behind(void) { CHECK(waitpid(-1, NULL, WNOHANG) < 0); }

static void run_all(mf_backend which) {
  backend = which;
  RUN(runs_a_chunk_and_gives_all_its_results);
  RUN(says_what_a_task_raised_and_where);
  RUN(takes_functions_by_name);
  RUN(takes_functions_of_a_lua_state);
  RUN(takes_tasks_in_c);
  RUN(ends_a_wait_at_its_timeout_and_the_task_goes_on);
  RUN(stops_a_running_task_when_forced_to);
  RUN(takes_a_queued_task_out);
  RUN(keeps_limits_of_time_and_memory);
  RUN(keeps_scripts_to_their_libraries);
  RUN(runs_the_init_source_before_the_first_task);
  RUN(counts_its_tasks);
  RUN(terminates_what_is_not_done);
  RUN(leaves_outcomes_when_the_runtime_closes);
  RUN(ends_the_waits_of_other_threads_when_it_closes);
  RUN(serves_several_threads);
  RUN(serves_several_runtimes);
  RUN(gives_workers_modules_and_hooks);
  if (which == MF_PROCESS)
    RUN(outlives_the_death_of_a_worker);
  RUN(leaves_no_child_behind);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  RUN(runs_tasks_inside_the_submit);
  return check_done();
}
