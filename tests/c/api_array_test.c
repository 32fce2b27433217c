// moonfleet.h: arrays, between C, Lua and workers on both backends.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <pthread.h>

static mf_backend backend;

static mf_pool *pool_of(mf_runtime *rt, int workers) {
  mf_pool_config c = {.size = sizeof c, .backend = backend, .workers = workers};
  return mf_pool_open(rt, &c);
}

// Runs a chunk with these arguments; its first result, which must be an integer.
static long long run(mf_pool *pool, const char *chunk, const mf_value *args, int n) {
  mf_future *f = submit(pool, chunk, args, n);
  if (mf_future_wait(f, LONG) != MF_OK)
    printf("%s\n", mf_future_error(f));
  long long result = integer_of(mf_future_value(f, 0));
  mf_future_release(f);
  return result;
}

static void is_zeros_of_every_type(void) {
  static const char types[] = "bBhHiIlLqQfd?", same[] = "bBhHiIqQqQfd?";
  static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 4, 8, 1};
  mf_runtime *rt = open_runtime(backend);
  for (size_t t = 0; types[t] != '\0'; t++) {
    size_t count = 0;
    char type = 0;
    mf_array *a = mf_array_open(rt, types[t], 1000);
    unsigned char *p = mf_array_data(a, &count, &type);
    CHECK(p != NULL && count == 1000 && type == same[t]);
    CHECK((uintptr_t)p % sizes[t] == 0);
    for (size_t i = 0; i < 1000 * sizes[t]; i++)
      CHECK(p[i] == 0);
    memset(p, 255, 1000 * sizes[t]);
    mf_array_release(a);
  }
  mf_close(rt);
}

static void refuses_what_it_cannot_make(void) {
  mf_runtime *rt = open_runtime(backend);
  CHECK(mf_array_open(rt, 'x', 10) == NULL);
  CHECK(strstr(mf_error(rt), "there is no type 'x'") != NULL);
  CHECK(mf_array_open(rt, '\0', 10) == NULL);
  CHECK(mf_array_open(rt, 'd', SIZE_MAX) == NULL);
  CHECK(mf_array_open(rt, 'd', (size_t)1 << 40) == NULL);
  CHECK(strstr(mf_error(rt), "no memory") != NULL);
  CHECK(mf_array_open(NULL, 'd', 10) == NULL);
  CHECK(mf_array_data(NULL, NULL, NULL) == NULL);
  mf_array_release(NULL);
  mf_array *none = mf_array_open(rt, 'd', 0);
  size_t count = 1;
  CHECK(none != NULL);
  mf_array_data(none, &count, NULL);
  CHECK_EQ(count, 0);
  mf_array_release(none);
  mf_close(rt);
}

static void is_worked_on_in_place_by_tasks(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  mf_array *a = mf_array_open(rt, 'd', 100000);
  double *p = mf_array_data(a, NULL, NULL);
  mf_value args[] = {mf_of_array(a)};
  for (int i = 0; i < 100000; i++)
    p[i] = i;
  CHECK_EQ(run(pool, "local a = ... for i = 1, #a do a[i] = 2 * a[i] end return #a", args, 1),
           100000);
  CHECK(p[0] == 0 && p[99999] == 199998);
  CHECK_EQ(run(pool, "local a = ... a:view(3, 4):fill(-1) a:lock():acquire() return 1", args, 1),
           1);
  CHECK(p[1] == 2 && p[2] == -1 && p[3] == -1 && p[4] == 8);
  mf_array_release(a);
  mf_close(rt);
}

static void comes_back_as_a_view_of_the_same_memory(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_array *a = mf_array_open(rt, 'h', 12);
  mf_value args[] = {mf_of_array(a)};
  const char *chunk = "local a = ... return {rows = a:reshape(4, 3):split(2), all = a}";
  mf_future *f = submit(pool, chunk, args, 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  const mf_value *rows = mf_field(mf_future_value(f, 0), "rows");
  const mf_value *all = mf_field(mf_future_value(f, 0), "all");
  CHECK(rows != NULL && rows->kind == MF_TABLE && rows->as.table->nitems == 2);
  CHECK(all != NULL && all->kind == MF_ARRAY);
  const mf_value *second = &rows->as.table->items[1];
  size_t count = 0;
  char type = 0;
  int16_t *p = mf_array_data(a, NULL, NULL), *q = mf_array_data(second->as.array, &count, &type);
  CHECK(second->kind == MF_ARRAY && count == 6 && type == 'h' && q == p + 6);
  CHECK(mf_array_data(all->as.array, NULL, NULL) == p);
  q[0] = 77;
  CHECK_EQ(p[6], 77);
  mf_future_release(f);
  CHECK_EQ(p[6], 77);
  mf_array_release(a);
  mf_close(rt);
}

static void travels_through_queues_and_outlives_its_opener(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_array *a = mf_array_open(rt, 'q', 3);
  mf_value v = mf_of_array(a), pair[2] = {v, v};
  mf_table t = {2, pair, 0, NULL};
  mf_value both = mf_of_table(&t);
  ((int64_t *)mf_array_data(a, NULL, NULL))[2] = -5;
  CHECK_EQ(mf_queue_put_value(q, &v, 0), MF_OK);
  CHECK_EQ(mf_queue_put_value(q, &both, 0), MF_OK);
  mf_array_release(a);
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
    const mf_value *got = v.kind == MF_TABLE ? &v.as.table->items[1] : &v;
    CHECK(got->kind == MF_ARRAY && ((int64_t *)mf_array_data(got->as.array, NULL, NULL))[2] == -5);
    mf_value_free(&v);
    CHECK_EQ(v.kind, MF_NIL);
  }
  mf_queue_release(q);
  mf_close(rt);
}

static void belongs_to_its_runtime(void) {
  mf_runtime *rt = open_runtime(backend), *other = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_array *strange = mf_array_open(other, 'd', 1);
  mf_value v = mf_of_array(strange), none = mf_of_array(NULL);
  CHECK_EQ(mf_queue_put_value(q, &v, 0), MF_INVALID);
  CHECK_EQ(mf_queue_put_value(q, &none, 0), MF_INVALID);
  mf_array_release(strange);
  mf_queue_release(q);
  mf_close(rt);
  mf_close(other);
}

static void crosses_between_c_and_a_lua_state(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_array *a = mf_array_open(rt, 'B', 4);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  mf_value v = mf_of_array(a);
  CHECK_EQ(mf_value_push(rt, L, &v), MF_OK);
  lua_setglobal(L, "a");
  CHECK(luaL_dostring(L,
                      "local mf = require 'moonfleet' assert(mf.type(a) == 'Array' and #a == 4)\n"
                      "a[4] = 200 return mf.Array('d', {1, 2.5}), mf.Value('i')") == 0);
  CHECK_EQ(((unsigned char *)mf_array_data(a, NULL, NULL))[3], 200);
  CHECK_EQ(mf_value_read(rt, L, 1, &v), MF_OK);
  CHECK_EQ(v.kind, MF_ARRAY);
  size_t count = 0;
  double *p = mf_array_data(v.as.array, &count, NULL);
  CHECK(count == 2 && p[1] == 2.5);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  CHECK(p[1] == 2.5);
  mf_value_free(&v);
  CHECK(luaL_dostring(L, "return require 'moonfleet'.Value('i')") == 0);
  CHECK_EQ(mf_value_read(rt, L, 1, &v), MF_OK);
  CHECK(v.kind == MF_OTHER && strcmp(v.as.other, "Value") == 0);
  mf_value_free(&v);
  lua_close(L);
  mf_array_release(a);
  mf_close(rt);
}

static void raises_in_lua_for_what_only_c_can_write(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_array *a = mf_array_open(rt, 'Q', 1);
  mf_value args[] = {mf_of_array(a)};
  *(uint64_t *)mf_array_data(a, NULL, NULL) = (uint64_t)1 << 63;
  mf_future *f = submit(pool, "local a = ... return a[1]", args, 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_FAILED);
  CHECK(strstr(mf_future_error(f), "above math.maxinteger") != NULL);
  mf_future_release(f);
  mf_array_release(a);
  mf_close(rt);
}

static void stays_readable_after_the_end_of_its_runtime(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_array *a = mf_array_open(rt, 'i', 1000);
  int32_t *p = mf_array_data(a, NULL, NULL);
  p[999] = 5;
  mf_close(rt);
  size_t count = 0;
  CHECK(mf_array_data(a, &count, NULL) == p && count == 1000);
  CHECK_EQ(p[999], 5);
  CHECK(mf_array_open(rt, 'i', 1) == NULL);
  mf_array_release(a);
}

static int double_in_task(lua_State *L, const void *in, size_t size) {
  mf_array *a;
  size_t count;
  memcpy(&a, in, size);
  double *p = mf_array_data(a, &count, NULL);
  for (size_t i = 0; i < count; i++)
    p[i] *= 2;
  lua_pushinteger(L, (lua_Integer)count);
  return 1;
}

static void serves_c_tasks_in_workers(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_array *a = mf_array_open(rt, 'd', 3);
  double *p = mf_array_data(a, NULL, NULL);
  p[2] = 1.5;
  mf_pool *pool = pool_of(rt, 1);
  mf_future *f = mf_submit_c(pool, double_in_task, &a, sizeof a);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), 3);
  CHECK(p[2] == 3.0);
  mf_future_release(f);
  mf_array_release(a);
  mf_close(rt);
}

static void *open_and_release(void *rt) {
  for (size_t i = 0; i < 300; i++) {
    mf_array *a = mf_array_open(rt, 'B', i * 977 % 150000);
    size_t count;
    unsigned char *p = mf_array_data(a, &count, NULL);
    CHECK(p != NULL && (count == 0 || (p[0] == 0 && p[count - 1] == 0)));
    memset(p, 7, count);
    mf_array_release(a);
  }
  return NULL;
}

static void is_opened_and_released_by_any_thread(void) {
  mf_runtime *rt = open_runtime(backend);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++)
    pthread_create(&threads[i], NULL, open_and_release, rt);
  for (int i = 0; i < 3; i++)
    pthread_join(threads[i], NULL);
  mf_close(rt);
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(is_zeros_of_every_type);
  RUN(refuses_what_it_cannot_make);
  RUN(is_worked_on_in_place_by_tasks);
  RUN(comes_back_as_a_view_of_the_same_memory);
  RUN(travels_through_queues_and_outlives_its_opener);
  RUN(belongs_to_its_runtime);
  RUN(crosses_between_c_and_a_lua_state);
  RUN(raises_in_lua_for_what_only_c_can_write);
  RUN(stays_readable_after_the_end_of_its_runtime);
  RUN(serves_c_tasks_in_workers);
  RUN(is_opened_and_released_by_any_thread);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  return check_done();
}
