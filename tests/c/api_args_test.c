// moonfleet.h: NULL, and what is wrong, as arguments of every function: each call says so, names
// the reason in mf_error, and harms nothing.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <math.h>

static mf_runtime *rt, *other;
static mf_pool *pool;
static mf_queue *queue, *foreign;
static lua_State *L;

// The call was refused, and mf_error has the reason, not that of an earlier call.
#define REFUSES(call, status, reason)                                                              \
  do {                                                                                             \
    mf_on_worker_start(rt, NULL, NULL);                                                            \
    CHECK_EQ(call, status);                                                                        \
    const char *said = strstr(mf_error(rt), reason);                                               \
    if (said == NULL)                                                                              \
      printf("mf_error: %s\n", mf_error(rt));                                                      \
    CHECK(said != NULL);                                                                           \
  } while (0)

static int task(lua_State *state, const void *in, size_t size) {
  (void)state;
  (void)in;
  (void)size;
  return 0;
}

static int hook(lua_State *state, void *ud) {
  (void)state;
  (void)ud;
  return 0;
}

static int builder(lua_State *state) {
  (void)state;
  return 0;
}

// ---- NULL handles

static void answers_null_runtimes(void) {
  mf_value v = mf_nil();
  CHECK_EQ(mf_value_push(NULL, L, &v), MF_INVALID);
  CHECK_EQ(mf_value_read(NULL, L, 1, &v), MF_INVALID);
  mf_value_free(NULL);
  mf_close(NULL);
  CHECK(strcmp(mf_error(NULL), "") == 0);
  CHECK_EQ(mf_openlib(NULL, L), MF_INVALID);
  CHECK_EQ(mf_preload(NULL, "x", builder), MF_INVALID);
  CHECK_EQ(mf_register_cfunction(NULL, "x", builder), MF_INVALID);
  CHECK_EQ(mf_on_worker_start(NULL, hook, NULL), MF_INVALID);
  CHECK_EQ(mf_on_worker_stop(NULL, hook, NULL), MF_INVALID);
  CHECK_EQ(mf_fd(NULL), -1);
  CHECK_EQ(mf_dispatch(NULL, 0), 0);
  mf_interrupt(NULL, 1);
  CHECK_EQ(mf_dump_waits(NULL, NULL, 0), 0);
  CHECK(mf_pool_open(NULL, NULL) == NULL);
  CHECK(mf_queue_open(NULL, 0) == NULL);
  CHECK(mf_array_open(NULL, 'd', 1) == NULL);
}

static void answers_null_pools(void) {
  mf_stats s = {.size = sizeof s};
  mf_pool_close(NULL);
  mf_pool_terminate(NULL);
  CHECK_EQ(mf_pool_wait(NULL, 0), MF_INVALID);
  CHECK_EQ(mf_pool_resize(NULL, 1), MF_INVALID);
  CHECK_EQ(mf_pool_stats(NULL, &s), MF_INVALID);
  lua_pushinteger(L, 1);
  lua_pushinteger(L, 2);
  CHECK(mf_submit(NULL, L, 1) == NULL);
  CHECK_EQ(lua_gettop(L), 0);
  CHECK(mf_submit_source(NULL, "", 0, NULL, NULL, 0) == NULL);
  CHECK(mf_submit_name(NULL, "a:b", NULL, 0) == NULL);
  CHECK(mf_submit_c(NULL, task, NULL, 0) == NULL);
  CHECK_EQ(mf_cancelled(NULL), 0);
  CHECK_EQ(mf_cancelled(L), 0);
}

static void answers_null_futures(void) {
  mf_future *none[2] = {NULL, NULL};
  size_t index = 7;
  CHECK_EQ(mf_future_wait(NULL, 0), MF_INVALID);
  CHECK_EQ(mf_future_wait_any(none, 2, 0, &index), MF_INVALID);
  CHECK_EQ(mf_future_wait_any(none, 0, 0, &index), MF_INVALID);
  CHECK_EQ(mf_future_wait_any(NULL, 2, 0, &index), MF_INVALID);
  CHECK_EQ(index, 7);
  CHECK_EQ(mf_future_poll(NULL), MF_INVALID);
  CHECK_EQ(mf_future_cancel(NULL, 1), 0);
  CHECK_EQ(mf_future_fd(NULL), -1);
  CHECK_EQ(mf_future_on_done(NULL, NULL, NULL), MF_INVALID);
  CHECK(mf_future_value(NULL, 0) == NULL);
  CHECK_EQ(mf_future_push(NULL, L), -2);
  CHECK(strcmp(mf_future_error(NULL), "") == 0);
  mf_future_release(NULL);
}

static void answers_null_queues_and_arrays(void) {
  mf_value v = mf_nil();
  size_t size = 0;
  CHECK_EQ(mf_queue_put(NULL, L, 1, 0), MF_INVALID);
  CHECK_EQ(mf_queue_get(NULL, L, 0), MF_INVALID);
  CHECK_EQ(mf_queue_put_value(NULL, &v, 0), MF_INVALID);
  CHECK_EQ(mf_queue_get_value(NULL, 0, &v), MF_INVALID);
  CHECK_EQ(mf_queue_put_bytes(NULL, "", 0, 0), MF_INVALID);
  CHECK_EQ(mf_queue_get_bytes(NULL, 0, NULL, &size), MF_INVALID);
  CHECK_EQ(mf_queue_size(NULL), 0);
  CHECK_EQ(mf_queue_fd(NULL), -1);
  mf_queue_close(NULL);
  mf_queue_release(NULL);
  CHECK(mf_array_data(NULL, &size, NULL) == NULL);
  mf_array_release(NULL);
}

// ---- Configs

static void open_wrongly(const mf_config *c, const char *reason) {
  char err[100] = "";
  CHECK(mf_open(c, err, sizeof err) == NULL);
  if (strstr(err, reason) == NULL)
    FAIL(err);
  CHECK(mf_open(c, NULL, 0) == NULL);
  CHECK(mf_open(c, err, 1) == NULL);
  CHECK(err[0] == '\0');
}

static void refuses_wrong_configs(void) {
  mf_limits l = {.size = sizeof l};
  mf_config c = {.size = sizeof c - 1};
  open_wrongly(&c, "mf_config.size");
  c = (mf_config){.size = sizeof c, .backend = (mf_backend)77};
  open_wrongly(&c, "mf_config.backend");
  c = (mf_config){.size = sizeof c, .limits = &l};
  l.task_timeout = -1;
  open_wrongly(&c, "task_timeout");
  l.task_timeout = (double)NAN;
  open_wrongly(&c, "task_timeout");
  l = (mf_limits){.size = 3};
  open_wrongly(&c, "mf_limits.size");
  l = (mf_limits){.size = sizeof l, .libs = (unsigned)MF_LIB_ALL + 1};
  open_wrongly(&c, "libs");
}

static void refuses_wrong_pool_configs(void) {
  mf_limits l = {.size = sizeof l, .libs = 1u << 31};
  mf_pool_config c = {.size = 1};
  REFUSES(mf_pool_open(rt, &c) == NULL, 1, "mf_pool_config.size");
  c = (mf_pool_config){.size = sizeof c, .workers = -1};
  REFUSES(mf_pool_open(rt, &c) == NULL, 1, "workers");
  c.workers = 1 << 30;
  REFUSES(mf_pool_open(rt, &c) == NULL, 1, "workers");
  c = (mf_pool_config){.size = sizeof c, .max_tasks_per_worker = -1};
  REFUSES(mf_pool_open(rt, &c) == NULL, 1, "max_tasks_per_worker");
  c = (mf_pool_config){.size = sizeof c, .backend = (mf_backend)9};
  REFUSES(mf_pool_open(rt, &c) == NULL, 1, "backend");
  c = (mf_pool_config){.size = sizeof c, .limits = &l};
  REFUSES(mf_pool_open(rt, &c) == NULL, 1, "libs");
}

// ---- Values

static void put_wrongly(mf_value v, mf_status status, const char *reason) {
  REFUSES(mf_queue_put_value(queue, &v, 0), status, reason);
  REFUSES(mf_value_push(rt, L, &v), status, reason);
  CHECK_EQ(lua_gettop(L), 0);
  mf_future *f = submit(pool, "return 1", &v, 1);
  CHECK_EQ(mf_future_wait(f, LONG), status);
  if (strstr(mf_future_error(f), reason) == NULL)
    FAIL(mf_future_error(f));
  mf_future_release(f);
  CHECK_EQ(mf_queue_size(queue), 0);
}

static void refuses_values_that_are_none(void) {
  mf_value v = {.kind = (mf_kind)55}, pair[2] = {mf_nil(), mf_integer(1)};
  mf_table t = {.nitems = 3};
  put_wrongly(v, MF_INVALID, "unknown kind");
  put_wrongly(mf_string(NULL, 4), MF_INVALID, "a string without data");
  put_wrongly(mf_of_table(NULL), MF_INVALID, "a table without entries");
  put_wrongly(mf_of_table(&t), MF_INVALID, "a table without entries");
  t = (mf_table){.npairs = 1};
  put_wrongly(mf_of_table(&t), MF_INVALID, "a table without entries");
  t.pairs = pair;
  put_wrongly(mf_of_table(&t), MF_INVALID, "a key that is nil or NaN");
  pair[0] = mf_number((lua_Number)NAN);
  put_wrongly(mf_of_table(&t), MF_INVALID, "a key that is nil or NaN");
  pair[0] = mf_text("x");
  pair[1] = mf_string(NULL, 1);
  put_wrongly(mf_of_table(&t), MF_INVALID, ".x)");
  put_wrongly(mf_of_queue(NULL), MF_INVALID, "another runtime's");
  put_wrongly(mf_of_queue(foreign), MF_INVALID, "another runtime's");
  put_wrongly(mf_of_array(NULL), MF_INVALID, "another runtime's");
  v = (mf_value){.kind = MF_OTHER};
  put_wrongly(v, MF_NOT_SENDABLE, "cannot send a value");
  v = mf_string(NULL, 0);
  CHECK_EQ(mf_queue_put_value(queue, &v, 0), MF_OK);
  CHECK_EQ(mf_queue_get_value(queue, 0, &v), MF_OK);
  CHECK(v.kind == MF_STRING && v.as.string.size == 0);
  mf_value_free(&v);
  mf_value_free(&v);
}

// ---- Calls

static void says_why_a_queue_did_not(void) {
  mf_value v = mf_nil();
  char room[4];
  size_t size = sizeof room;
  REFUSES(mf_queue_put_bytes(queue, NULL, 1, 0), MF_INVALID, "mf_queue_put_bytes");
  REFUSES(mf_queue_put_bytes(queue, "x", 1, NAN), MF_INVALID, "mf_queue_put_bytes");
  REFUSES(mf_queue_get_bytes(queue, NAN, room, &size), MF_INVALID, "mf_queue_get_bytes");
  REFUSES(mf_queue_get_bytes(queue, 0, room, NULL), MF_INVALID, "mf_queue_get_bytes");
  REFUSES(mf_queue_get_bytes(queue, 0, NULL, &size), MF_INVALID, "mf_queue_get_bytes");
  REFUSES(mf_queue_put_value(queue, NULL, 0), MF_INVALID, "mf_queue_put_value");
  REFUSES(mf_queue_get_value(queue, 0, NULL), MF_INVALID, "mf_queue_get_value");
  REFUSES(mf_queue_get_value(queue, NAN, &v), MF_INVALID, "mf_queue_get_value");
  REFUSES(mf_queue_put(queue, NULL, 1, 0), MF_INVALID, "mf_queue_put");
  REFUSES(mf_queue_get(queue, NULL, 0), MF_INVALID, "mf_queue_get");
  REFUSES(mf_queue_get(queue, L, NAN), MF_INVALID, "mf_queue_get");
  REFUSES(mf_queue_get(queue, L, 0), MF_EMPTY, "empty");
  REFUSES(mf_queue_get_bytes(queue, 1e-9, room, &size), MF_TIMEDOUT, "timeout");
  CHECK_EQ(lua_gettop(L), 0);
  CHECK_EQ(mf_queue_put_bytes(queue, "12345", 5, 0), MF_OK);
  REFUSES(mf_queue_put_bytes(queue, "x", 1, 0), MF_FULL, "full");
  REFUSES(mf_queue_get_bytes(queue, 0, room, &size), MF_TOO_BIG, "too_big");
  CHECK_EQ(mf_queue_get(queue, L, 0), MF_OK);
  lua_settop(L, 0);
  mf_queue *closed = mf_queue_open(rt, 0);
  mf_queue_close(closed);
  REFUSES(mf_queue_get_value(closed, MF_FOREVER, &v), MF_CLOSED, "closed");
  mf_queue_release(closed);
}

static void says_why_a_lua_state_did_not(void) {
  mf_value v = mf_nil();
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  mf_on_worker_start(other, NULL, NULL);
  CHECK_EQ(mf_openlib(other, L), MF_INVALID);
  CHECK(strstr(mf_error(other), "another runtime") != NULL);
  REFUSES(mf_openlib(rt, NULL), MF_INVALID, "mf_openlib");
  REFUSES(mf_value_push(rt, NULL, &v), MF_INVALID, "mf_value_push");
  REFUSES(mf_value_push(rt, L, NULL), MF_INVALID, "mf_value_push");
  REFUSES(mf_value_read(rt, NULL, 1, &v), MF_INVALID, "mf_value_read");
  REFUSES(mf_value_read(rt, L, 1, NULL), MF_INVALID, "mf_value_read");
  lua_newthread(L);
  REFUSES(mf_value_read(rt, L, -1, &v), MF_NOT_SENDABLE, "coroutine");
  CHECK(v.kind == MF_NIL);
  lua_settop(L, 0);
}

static void says_why_a_pool_did_not(void) {
  mf_stats s = {.size = 4};
  REFUSES(mf_pool_resize(pool, 0), MF_INVALID, "mf_pool_resize");
  REFUSES(mf_pool_resize(pool, 1 << 30), MF_INVALID, "mf_pool_resize");
  REFUSES(mf_pool_stats(pool, NULL), MF_INVALID, "mf_pool_stats");
  REFUSES(mf_pool_stats(pool, &s), MF_INVALID, "mf_stats.size");
  REFUSES(mf_pool_wait(pool, NAN), MF_INVALID, "mf_pool_wait");
  REFUSES(mf_submit_source(pool, NULL, 0, NULL, NULL, 0) == NULL, 1, "mf_submit_source");
  REFUSES(mf_submit_source(pool, "", 0, NULL, NULL, 1) == NULL, 1, "mf_submit_source");
  REFUSES(mf_submit_source(pool, "", 0, NULL, NULL, -1) == NULL, 1, "mf_submit_source");
  REFUSES(mf_submit_name(pool, NULL, NULL, 0) == NULL, 1, "mf_submit_name");
  REFUSES(mf_submit_c(pool, NULL, NULL, 0) == NULL, 1, "mf_submit_c");
  REFUSES(mf_submit_c(pool, task, NULL, 5) == NULL, 1, "mf_submit_c");
  REFUSES(mf_submit(pool, NULL, 0) == NULL, 1, "mf_submit");
  REFUSES(mf_submit(pool, L, -1) == NULL, 1, "mf_submit");
  REFUSES(mf_preload(rt, NULL, builder), MF_INVALID, "mf_preload");
  REFUSES(mf_array_open(rt, 'z', 1) == NULL, 1, "'z'");
  REFUSES(mf_array_open(rt, 'd', SIZE_MAX / 8 + 2) == NULL, 1, "mf_array_open");
}

static void says_why_a_future_did_not(void) {
  mf_pool_config c = {.size = sizeof c, .backend = MF_THREAD, .workers = 1};
  mf_pool *theirs = mf_pool_open(other, &c);
  mf_future *both[3] = {submit(pool, FOR_EVER, NULL, 0), NULL, submit(theirs, "", NULL, 0)};
  size_t index = 7;
  REFUSES(mf_future_wait(both[0], NAN), MF_INVALID, "mf_future_wait");
  REFUSES(mf_future_wait(both[0], 0.001), MF_TIMEDOUT, "timeout");
  REFUSES(mf_future_on_done(both[0], NULL, NULL), MF_INVALID, "mf_future_on_done");
  REFUSES(mf_future_wait_any(both, 2, NAN, &index), MF_INVALID, "mf_future_wait_any");
  REFUSES(mf_future_wait_any(both, 2, 0, NULL), MF_INVALID, "mf_future_wait_any");
  REFUSES(mf_future_wait_any(both, 2, 0, &index), MF_TIMEDOUT, "timeout");
  REFUSES(mf_future_wait_any(both, 3, LONG, &index), MF_INVALID, "several runtimes");
  CHECK_EQ(index, 7);
  CHECK_EQ(mf_future_wait(both[2], INFINITY), MF_OK);
  CHECK(mf_future_value(both[2], 0) == NULL && mf_future_value(both[2], -1) == NULL);
  CHECK_EQ(mf_future_push(both[2], NULL), -2);
  CHECK_EQ(mf_future_cancel(both[0], 1), 1);
  mf_future_release(both[0]);
  mf_future_release(both[2]);
  mf_pool_close(theirs);
}

int main(void) {
  alarm(120);
  mf_pool_config c = {.size = sizeof c, .workers = 1};
  rt = open_runtime(MF_THREAD);
  other = open_runtime(MF_THREAD);
  pool = mf_pool_open(rt, &c);
  queue = mf_queue_open(rt, 1);
  foreign = mf_queue_open(other, 0);
  L = luaL_newstate();
  luaL_openlibs(L);
  RUN(answers_null_runtimes);
  RUN(answers_null_pools);
  RUN(answers_null_futures);
  RUN(answers_null_queues_and_arrays);
  RUN(refuses_wrong_configs);
  RUN(refuses_wrong_pool_configs);
  RUN(refuses_values_that_are_none);
  RUN(says_why_a_queue_did_not);
  RUN(says_why_a_lua_state_did_not);
  RUN(says_why_a_pool_did_not);
  RUN(says_why_a_future_did_not);
  mf_queue_release(queue);
  mf_queue_release(foreign);
  mf_close(rt);
  mf_close(other);
  lua_close(L);
  return check_done();
}
