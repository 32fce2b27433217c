// moonfleet.h: queues and values, between C, Lua and workers on both backends.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

static mf_backend backend;

static mf_pool *pool_of(mf_runtime *rt, int workers) {
  mf_pool_config c = {.size = sizeof c, .backend = backend, .workers = workers};
  return mf_pool_open(rt, &c);
}

static void says_at_once_what_it_cannot_do(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 2);
  mf_value v;
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_EMPTY);
  CHECK_EQ(mf_queue_get_value(q, 0.01, &v), MF_TIMEDOUT);
  CHECK_EQ(mf_queue_put_bytes(q, "a", 1, 0), MF_OK);
  CHECK_EQ(mf_queue_put_bytes(q, "b", 1, 0), MF_OK);
  CHECK_EQ(mf_queue_put_bytes(q, "c", 1, 0), MF_FULL);
  CHECK_EQ(mf_queue_put_bytes(q, "c", 1, 0.01), MF_TIMEDOUT);
  CHECK_EQ(mf_queue_size(q), 2);
  mf_queue_close(q);
  mf_queue_close(q);
  CHECK_EQ(mf_queue_put_bytes(q, "c", 1, 0), MF_CLOSED);
  char buffer[8];
  size_t size = sizeof buffer;
  CHECK_EQ(mf_queue_get_bytes(q, 0, buffer, &size), MF_OK);
  CHECK(size == 1 && buffer[0] == 'a');
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
  CHECK(is_text(&v, "b"));
  mf_value_free(&v);
  CHECK_EQ(v.kind, MF_NIL);
  CHECK_EQ(mf_queue_get_value(q, MF_FOREVER, &v), MF_CLOSED);
  mf_queue_release(q);
  mf_close(rt);
}

static void leaves_messages_that_do_not_fit(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value number = mf_integer(5);
  char buffer[4];
  size_t size = sizeof buffer;
  CHECK_EQ(mf_queue_put_bytes(q, "too long", 8, 0), MF_OK);
  CHECK_EQ(mf_queue_put_value(q, &number, 0), MF_OK);
  CHECK_EQ(mf_queue_get_bytes(q, 0, buffer, &size), MF_TOO_BIG);
  CHECK_EQ(size, 8);
  CHECK_EQ(mf_queue_size(q), 2);
  mf_value v;
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
  CHECK(is_text(&v, "too long"));
  mf_value_free(&v);
  size = sizeof buffer;
  CHECK_EQ(mf_queue_get_bytes(q, 0, buffer, &size), MF_TYPE);
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
  CHECK_EQ(integer_of(&v), 5);
  mf_queue_release(q);
  mf_close(rt);
}

static void carries_bytes_of_every_size(void) {
  static const size_t sizes[] = {0, 1, 63, 64, 200, 255, 256, 257, 70000, 5 << 20};
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  char *out = malloc(5 << 20), *in = malloc(5 << 20);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t size = 5 << 20;
    memset(out, (int)i + 1, sizes[i]);
    memset(in, 0, 5 << 20);
    CHECK_EQ(mf_queue_put_bytes(q, out, sizes[i], 0), MF_OK);
    CHECK_EQ(mf_queue_get_bytes(q, 0, in, &size), MF_OK);
    CHECK_EQ(size, sizes[i]);
    CHECK(memcmp(out, in, size) == 0);
  }
  free(out);
  free(in);
  mf_queue_release(q);
  mf_close(rt);
}

static mf_value round_trip(mf_queue *q, mf_value v) {
  mf_value got = mf_nil();
  CHECK_EQ(mf_queue_put_value(q, &v, 0), MF_OK);
  CHECK_EQ(mf_queue_get_value(q, 0, &got), MF_OK);
  return got;
}

static void carries_every_kind_of_value(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value items[] = {mf_integer(1), mf_text("two"), mf_nil(), mf_number(4.5)};
  mf_value pairs[] = {mf_text("q"), mf_of_queue(q), mf_boolean(1), mf_of_pointer(&q)};
  mf_table t = {4, items, 2, pairs};
  mf_value v = round_trip(q, mf_of_table(&t));
  CHECK(v.kind == MF_TABLE && v.as.table->nitems == 4 && v.as.table->npairs == 2);
  CHECK(is_text(&v.as.table->items[1], "two"));
  CHECK_EQ(v.as.table->items[2].kind, MF_NIL);
  const mf_value *inner = mf_field(&v, "q");
  CHECK(inner != NULL && inner->kind == MF_QUEUE);
  CHECK_EQ(mf_queue_put_bytes(inner->as.queue, "x", 1, 0), MF_OK);
  CHECK_EQ(mf_queue_size(q), 1);
  mf_value_free(&v);
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
  mf_value_free(&v);
  v = round_trip(q, mf_of_queue(q));
  CHECK(v.kind == MF_QUEUE && v.as.queue != q);
  mf_value_free(&v);
  v = round_trip(q, mf_boolean(1));
  CHECK(v.kind == MF_BOOLEAN && v.as.boolean);
  v = round_trip(q, mf_nil());
  CHECK_EQ(v.kind, MF_NIL);
  mf_value_free(NULL);
  mf_queue_release(q);
  mf_close(rt);
}

static void refuses_what_c_cannot_send(void) {
  mf_runtime *rt = open_runtime(backend), *other = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0), *strange = mf_queue_open(other, 0);
  mf_value v = mf_nil(), queue = mf_of_queue(strange);
  v.kind = MF_OTHER;
  v.as.other = "function";
  CHECK_EQ(mf_queue_put_value(q, &v, 0), MF_NOT_SENDABLE);
  CHECK(strstr(mf_error(rt), "function") != NULL);
  CHECK_EQ(mf_queue_put_value(q, &queue, 0), MF_INVALID);
  CHECK_EQ(mf_queue_put_value(NULL, &v, 0), MF_INVALID);
  CHECK_EQ(mf_queue_put_value(q, &v, strtod("nan", NULL)), MF_NOT_SENDABLE);
  CHECK_EQ(mf_queue_put_bytes(q, "", 0, strtod("nan", NULL)), MF_INVALID);
  CHECK_EQ(mf_queue_size(q), 0);
  mf_queue_release(q);
  mf_queue_release(strange);
  mf_close(rt);
  mf_close(other);
}

static void crosses_between_c_and_a_lua_state(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  CHECK_EQ(lua_gettop(L), 0);
  mf_value v = mf_of_queue(q);
  CHECK_EQ(mf_value_push(rt, L, &v), MF_OK);
  lua_setglobal(L, "q");
  CHECK(luaL_dostring(L, "local mf = require 'moonfleet' assert(mf.type(q) == 'Queue')\n"
                         "q:put{1, x = 'y'} q:put(print) q:put('last')") == 0);
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
  CHECK(is_text(mf_field(&v, "x"), "y"));
  mf_value_free(&v);
  CHECK_EQ(mf_queue_get(q, L, 0), MF_OK);
  lua_getglobal(L, "print");
  CHECK(lua_rawequal(L, 1, 2));
  CHECK_EQ(mf_queue_put(q, L, -1, 0), MF_OK);
  CHECK_EQ(lua_gettop(L), 2);
  lua_newthread(L);
  CHECK_EQ(mf_queue_put(q, L, -1, 0), MF_NOT_SENDABLE);
  CHECK(strstr(mf_error(rt), "coroutine") != NULL);
  CHECK_EQ(mf_value_read(rt, L, 2, &v), MF_OK);
  CHECK_EQ(v.kind, MF_OTHER);
  mf_value_free(&v);
  CHECK_EQ(mf_value_read(rt, L, 3, &v), MF_NOT_SENDABLE);
  lua_pushliteral(L, "text");
  CHECK_EQ(mf_value_read(rt, L, -1, &v), MF_OK);
  CHECK(is_text(&v, "text"));
  mf_value_free(&v);
  lua_close(L);
  CHECK_EQ(mf_queue_size(q), 2);
  mf_queue_release(q);
  mf_close(rt);
}

static void lets_a_lua_state_close_behind_its_runtime(void) {
  mf_runtime *rt = open_runtime(backend);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  CHECK(luaL_dostring(L, "mf = require 'moonfleet' q = mf.Queue() q:put(1)") == 0);
  mf_close(rt);
  lua_close(L);
}

static void serves_one_runtime_with_a_lua_state(void) {
  mf_runtime *rt = open_runtime(backend), *other = open_runtime(backend);
  lua_State *L = luaL_newstate();
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  CHECK_EQ(mf_openlib(other, L), MF_INVALID);
  CHECK(strstr(mf_error(other), "another runtime") != NULL);
  lua_close(L);
  mf_close(rt);
  mf_close(other);
}

static void *produce(void *queue) {
  for (int i = 1; i <= 1000; i++) {
    mf_value v = mf_integer(i);
    if (mf_queue_put_value(queue, &v, LONG) != MF_OK)
      break;
  }
  return NULL;
}

static void loses_nothing_between_threads_and_workers(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  mf_queue *in = mf_queue_open(rt, 10), *out = mf_queue_open(rt, 0);
  mf_value args[] = {mf_of_queue(in), mf_of_queue(out)}, v;
  mf_future *f[2];
  for (int i = 0; i < 2; i++)
    f[i] = submit(pool, "local i, o = ... for _, v in i:iter() do o:put(2 * v) end", args, 2);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    pthread_create(&threads[i], NULL, produce, in);
  long long sum = 0;
  for (int i = 0; i < 2000; i++)
    sum += mf_queue_get_value(out, LONG, &v) == MF_OK ? integer_of(&v) : 0;
  CHECK_EQ(sum, 2 * 1000 * 1001);
  for (int i = 0; i < 2; i++)
    pthread_join(threads[i], NULL);
  mf_queue_close(in);
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(mf_future_wait(f[i], LONG), MF_OK);
    mf_future_release(f[i]);
  }
  mf_queue_release(in);
  mf_queue_release(out);
  mf_close(rt);
}

static void *get_forever(void *queue) {
  mf_value v;
  return (void *)(intptr_t)mf_queue_get_value(queue, MF_FOREVER, &v);
}

static void wakes_who_waits_when_it_closes(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  pthread_t thread;
  void *got;
  pthread_create(&thread, NULL, get_forever, q);
  usleep(10000);
  mf_queue_close(q);
  pthread_join(thread, &got);
  CHECK_EQ((intptr_t)got, MF_CLOSED);
  mf_queue_release(q);
  mf_close(rt);
}

static int get_in_task(lua_State *L, const void *in, size_t size) {
  mf_queue *q;
  mf_value v = mf_nil();
  memcpy(&q, in, size);
  mf_status st = mf_queue_get_value(q, MF_FOREVER, &v);
  lua_pushinteger(L, st);
  lua_pushinteger(L, (lua_Integer)integer_of(&v));
  return 2;
}

static void serves_c_tasks_in_workers(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_pool *pool = pool_of(rt, 1);
  mf_value v = mf_integer(11);
  mf_future *f = mf_submit_c(pool, get_in_task, &q, sizeof q);
  CHECK_EQ(mf_queue_put_value(q, &v, 0), MF_OK);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 0)), MF_OK);
  CHECK_EQ(integer_of(mf_future_value(f, 1)), 11);
  mf_future_release(f);
  f = mf_submit_c(pool, get_in_task, &q, sizeof q);
  while (mf_future_poll(f) == MF_QUEUED)
    usleep(1000);
  CHECK_EQ(mf_future_cancel(f, 1), 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_CANCELLED);
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
}

static int is_readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, ms) == 1;
}

static void lights_a_descriptor_while_a_get_would_not_wait(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q), v;
  int fd = mf_queue_fd(q);
  CHECK_EQ(mf_queue_fd(q), fd);
  CHECK(!is_readable(fd, 10));
  mf_future *f = submit(pool, "(...):put(1)", &arg, 1);
  CHECK(is_readable(fd, (int)(LONG * 1000)));
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_OK);
  CHECK(!is_readable(fd, 0));
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  mf_queue_close(q);
  CHECK(is_readable(fd, (int)(LONG * 1000)));
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(says_at_once_what_it_cannot_do);
  RUN(leaves_messages_that_do_not_fit);
  RUN(carries_bytes_of_every_size);
  RUN(carries_every_kind_of_value);
  RUN(refuses_what_c_cannot_send);
  RUN(crosses_between_c_and_a_lua_state);
  RUN(lets_a_lua_state_close_behind_its_runtime);
  RUN(serves_one_runtime_with_a_lua_state);
  RUN(loses_nothing_between_threads_and_workers);
  RUN(wakes_who_waits_when_it_closes);
  RUN(serves_c_tasks_in_workers);
  RUN(lights_a_descriptor_while_a_get_would_not_wait);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  return check_done();
}
