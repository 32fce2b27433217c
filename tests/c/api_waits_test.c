// moonfleet.h: who waits for what, and deadlocks, on both backends.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <pthread.h>

static mf_backend backend;

static mf_pool *pool_of(mf_runtime *rt, int workers) {
  mf_pool_config c = {.size = sizeof c, .backend = backend, .workers = workers, .name = "Waiting"};
  return mf_pool_open(rt, &c);
}

// Waits until the text says so.
static int comes_to_show(mf_runtime *rt, const char *what) {
  char text[8192] = "";
  for (int i = 0; i < 20000; i++) {
    CHECK(mf_dump_waits(rt, text, sizeof text) < sizeof text);
    if (strstr(text, what) != NULL)
      return 1;
    usleep(1000);
  }
  printf("  no \"%s\" in:\n%s", what, text);
  return 0;
}

static void shows_what_tasks_wait_for(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 3);
  mf_value args[] = {mf_of_queue(q)};
  CHECK(comes_to_show(rt, backend == MF_THREAD ? ", thread: has been idle"
                                               : ", process: has been idle"));
  mf_future *f = submit(pool, "local q = ...\n return q:get()", args, 1);
  CHECK(comes_to_show(rt, "Waiting:1 (pid "));
  CHECK(comes_to_show(rt, " s at chunk:2 to get from Queue(#1, 0/3)\n"));
  CHECK_EQ(mf_queue_put_bytes(q, "x", 1, LONG), MF_OK);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK(comes_to_show(rt, "has been idle"));
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
}

static void cuts_what_does_not_fit(void) {
  mf_runtime *rt = open_runtime(backend);
  pool_of(rt, 2);
  CHECK(comes_to_show(rt, "has been idle"));
  char text[8] = "xxxxxxx";
  size_t length = mf_dump_waits(rt, text, sizeof text);
  CHECK(length > sizeof text);
  CHECK_EQ(strlen(text), sizeof text - 1);
  CHECK(strncmp(text, "Waiting", 7) == 0);
  CHECK(mf_dump_waits(rt, NULL, 0) > sizeof text);
  CHECK(mf_dump_waits(rt, NULL, 100) > sizeof text);
  CHECK_EQ(mf_dump_waits(NULL, text, sizeof text), 0);
  CHECK_EQ(strlen(text), 0);
  mf_close(rt);
}

static void *wait_for_message(void *arg) {
  char room[8];
  size_t size = sizeof room;
  CHECK_EQ(mf_queue_get_bytes(arg, LONG, room, &size), MF_OK);
  return NULL;
}

static void shows_the_hosts_threads_while_they_wait(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  pthread_t thread;
  char text[100];
  CHECK_EQ(mf_dump_waits(rt, text, sizeof text), 0);
  pthread_create(&thread, NULL, wait_for_message, q);
  CHECK(comes_to_show(rt, "host (pid "));
  CHECK(comes_to_show(rt, " s to get from Queue(#1, 0)\n"));
  CHECK_EQ(mf_queue_put_bytes(q, "x", 1, LONG), MF_OK);
  pthread_join(thread, NULL);
  CHECK_EQ(mf_dump_waits(rt, text, sizeof text), 0);
  CHECK_EQ(strlen(text), 0);
  mf_queue_release(q);
  mf_close(rt);
}

// Two tasks, each with one of two locks, that want the other's.
static void says_that_a_task_closed_a_cycle(void) {
  static const char chunk[] = "mf = require 'moonfleet'\n"
                              "a, b, held, go = mf.Lock(), mf.Lock(), mf.Queue(), mf.Queue()\n"
                              "function task(first, second)\n"
                              "  first:acquire() held:put(1) go:get(60)\n"
                              "  second:acquire()\n"
                              "  return 1\n"
                              "end";
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  lua_State *L = luaL_newstate();
  mf_future *f[2];
  int closed = -1;
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  CHECK_EQ(luaL_dostring(L, chunk), LUA_OK);
  for (int i = 0; i < 2; i++) {
    lua_getglobal(L, "task");
    lua_getglobal(L, i == 0 ? "a" : "b");
    lua_getglobal(L, i == 0 ? "b" : "a");
    f[i] = mf_submit(pool, L, 2);
  }
  CHECK_EQ(luaL_dostring(L, "for _ = 1, 2 do held:get(20) end go:put_many { 1, 2 }"), LUA_OK);
  for (int i = 0; i < 2; i++) {
    mf_status st = mf_future_wait(f[i], LONG);
    CHECK(st == MF_OK || (st == MF_DEADLOCK && closed < 0));
    if (st == MF_DEADLOCK)
      closed = i;
  }
  CHECK(closed >= 0);
  if (closed >= 0) {
    const char *text = mf_future_error(f[closed]);
    CHECK(strstr(text, "deadlock: 2 workers wait for each other's locks") != NULL);
    CHECK(strstr(text, "Waiting:1 (pid") != NULL && strstr(text, "Waiting:2 (pid") != NULL);
    CHECK(strstr(text, ":5 for Lock(#") != NULL && strstr(text, "acquired at [string") != NULL);
  }
  for (int i = 0; i < 2; i++)
    mf_future_release(f[i]);
  lua_close(L);
  mf_close(rt);
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(shows_what_tasks_wait_for);
  RUN(cuts_what_does_not_fit);
  RUN(shows_the_hosts_threads_while_they_wait);
  RUN(says_that_a_task_closed_a_cycle);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  return check_done();
}
