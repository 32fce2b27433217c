// moonfleet.h: callbacks, descriptors, Ctrl-C, output and errors that nobody asked for.
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

static int is_readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, ms) == 1;
}

// Runs callbacks until `n` were.
static void dispatch(mf_runtime *rt, int n) {
  while (n > 0 && is_readable(mf_fd(rt), (int)(LONG * 1000)))
    n -= mf_dispatch(rt, 0);
  CHECK(n <= 0);
}

// ---- Callbacks

typedef struct notes {
  int calls;
  mf_status status;
  long long value;
} notes;

static void note(mf_future *f, void *ud) {
  notes *n = ud;
  n->calls++;
  n->status = mf_future_poll(f);
  n->value = integer_of(mf_future_value(f, 0));
}

static void calls_back_once_where_it_is_dispatched(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  notes n = {0}, late = {0};
  CHECK(!is_readable(mf_fd(rt), 0));
  mf_future *f = submit(pool, "return 5", NULL, 0);
  CHECK_EQ(mf_future_on_done(f, note, &n), MF_OK);
  CHECK_EQ(n.calls, 0);
  dispatch(rt, 1);
  CHECK(n.calls == 1 && n.status == MF_OK && n.value == 5);
  CHECK(!is_readable(mf_fd(rt), 0));
  CHECK_EQ(mf_future_on_done(f, note, &late), MF_OK);
  mf_future_release(f);
  CHECK(is_readable(mf_fd(rt), 0));
  CHECK_EQ(mf_dispatch(rt, 0), 1);
  CHECK(late.calls == 1 && late.value == 5);
  CHECK_EQ(mf_dispatch(rt, 0), 0);
  mf_close(rt);
}

static void calls_back_for_futures_that_were_released(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  notes n[20] = {{0}};
  for (int i = 0; i < 20; i++) {
    mf_value arg = mf_integer(i);
    mf_future *f = submit(pool, "return ...", &arg, 1);
    mf_future_on_done(f, note, &n[i]);
    mf_future_release(f);
  }
  dispatch(rt, 20);
  for (int i = 0; i < 20; i++)
    CHECK(n[i].calls == 1 && n[i].value == i);
  mf_close(rt);
}

static void calls_back_at_the_latest_when_it_closes(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  notes n = {0};
  mf_future *f = submit(pool, FOR_EVER, NULL, 0);
  mf_future_on_done(f, note, &n);
  mf_close(rt);
  CHECK(n.calls == 1 && n.status == MF_TERMINATED);
  mf_future_release(f);
}

typedef struct chain {
  mf_runtime *rt;
  mf_pool *pool, *closed;
  mf_queue *queue;
  int calls;
} chain;

// What a program that goes on with its tasks does, too late.
static void go_on(mf_future *f, void *ud) {
  chain *c = ud;
  mf_stats s = {.size = sizeof s};
  c->calls++;
  CHECK(mf_future_poll(f) == MF_OK || mf_future_poll(f) == MF_TERMINATED);
  CHECK(submit(c->pool, "return 2", NULL, 0) == NULL);
  CHECK(mf_pool_open(c->rt, NULL) == NULL && mf_queue_open(c->rt, 0) == NULL);
  CHECK(mf_array_open(c->rt, 'd', 1) == NULL);
  CHECK_EQ(mf_pool_wait(c->pool, LONG), MF_CLOSED);
  CHECK_EQ(mf_pool_resize(c->pool, 2), MF_CLOSED);
  mf_pool_stats(c->pool, &s);
  CHECK_EQ(mf_queue_put_bytes(c->queue, "x", 1, LONG), MF_CLOSED);
  CHECK_EQ(mf_future_on_done(f, go_on, c), MF_CLOSED);
  CHECK_EQ(mf_dispatch(c->rt, 0), 0);
  CHECK_EQ(mf_fd(c->rt), -1);
  mf_interrupt(c->rt, 1);
  CHECK_EQ(mf_dump_waits(c->rt, NULL, 0), 0);
  mf_pool_close(c->closed);
  c->closed = NULL;
}

static void lets_callbacks_call_while_it_closes(void) {
  chain c = {.rt = open_runtime(backend)};
  c.pool = pool_of(c.rt, 1);
  c.closed = pool_of(c.rt, 1);
  c.queue = mf_queue_open(c.rt, 0);
  mf_future *done = submit(c.pool, "return 1", NULL, 0);
  CHECK_EQ(mf_future_wait(done, LONG), MF_OK);
  mf_future *left = submit(c.pool, FOR_EVER, NULL, 0);
  CHECK_EQ(mf_future_on_done(done, go_on, &c), MF_OK);
  CHECK_EQ(mf_future_on_done(left, go_on, &c), MF_OK);
  mf_future_release(done);
  mf_close(c.rt);
  CHECK_EQ(c.calls, 2);
  mf_future_release(left);
  mf_queue_release(c.queue);
}

typedef struct reading {
  uint32_t entered, released; // atomic
  int right;
} reading;

static void read_slowly(mf_future *f, void *ud) {
  reading *r = ud;
  const mf_value *v = mf_future_value(f, 0);
  __atomic_store_n(&r->entered, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&r->released, __ATOMIC_SEQ_CST) == 0)
    usleep(100);
  r->right = is_text(v, "text") && mf_future_value(f, 0) == v;
}

static void *dispatch_all(void *rt) {
  while (mf_dispatch(rt, 0) == 0)
    usleep(100);
  return NULL;
}

static void lets_a_future_go_while_its_callback_reads_it(void) {
  reading r = {0};
  pthread_t other;
  mf_runtime *rt = open_runtime(backend);
  mf_future *f = submit(pool_of(rt, 1), "return 'text', {1, 2}", NULL, 0);
  CHECK_EQ(mf_future_on_done(f, read_slowly, &r), MF_OK);
  pthread_create(&other, NULL, dispatch_all, rt);
  while (__atomic_load_n(&r.entered, __ATOMIC_SEQ_CST) == 0)
    usleep(100);
  mf_future_release(f);
  __atomic_store_n(&r.released, 1, __ATOMIC_SEQ_CST);
  pthread_join(other, NULL);
  CHECK(r.right);
  mf_close(rt);
}

static void lights_a_descriptor_when_a_task_has_ended(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *gate = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(gate);
  mf_future *f = submit(pool, "(...):get()", &arg, 1);
  int fd = mf_future_fd(f);
  CHECK(!is_readable(fd, 20));
  mf_queue_close(gate);
  CHECK(is_readable(fd, (int)(LONG * 1000)));
  CHECK_EQ(mf_future_poll(f), MF_OK);
  CHECK(is_readable(fd, 0));
  CHECK_EQ(mf_future_fd(f), fd);
  mf_future_release(f);
  f = submit(pool, "", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK(is_readable(mf_future_fd(f), 0));
  mf_future_release(f);
  mf_queue_release(gate);
  mf_close(rt);
}

// ---- Waiting for one of several

static void waits_for_the_first_of_several(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 2);
  mf_queue *gate = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(gate);
  mf_future *slow = submit(pool, "(...):get()", &arg, 1);
  mf_future *fast = submit(pool, "return 1", NULL, 0), *none[] = {NULL, NULL};
  mf_future *all[] = {NULL, slow, fast};
  size_t i = 9;
  CHECK_EQ(mf_future_wait_any(all, 3, LONG, &i), MF_OK);
  CHECK_EQ(i, 2);
  CHECK_EQ(mf_future_wait_any(all, 2, 0, &i), MF_TIMEDOUT);
  CHECK_EQ(mf_future_wait_any(all, 2, 0.02, &i), MF_TIMEDOUT);
  CHECK_EQ(mf_future_wait_any(none, 2, 0, &i), MF_INVALID);
  mf_queue_close(gate);
  CHECK_EQ(mf_future_wait_any(all, 2, LONG, &i), MF_OK);
  CHECK_EQ(i, 1);
  mf_future_release(slow);
  mf_future_release(fast);
  mf_queue_release(gate);
  mf_close(rt);
}

// ---- Ctrl-C

static mf_runtime *volatile interrupted;

static void interrupt(int number) {
  (void)number;
  mf_interrupt(interrupted, 1);
}

static void *get_forever(void *queue) {
  mf_value v;
  return (void *)(intptr_t)mf_queue_get_value(queue, MF_FOREVER, &v);
}

static void ends_all_waits_from_a_signal_handler(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_pool *pool = pool_of(rt, 1);
  pthread_t threads[3];
  void *got;
  interrupted = rt;
  signal(SIGUSR1, interrupt);
  for (int i = 0; i < 3; i++)
    pthread_create(&threads[i], NULL, get_forever, q);
  usleep(20000);
  raise(SIGUSR1);
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], &got);
    CHECK_EQ((intptr_t)got, MF_INTERRUPTED);
  }
  mf_value arg = mf_of_queue(q), v;
  mf_future *f = submit(pool, "return (...):get()", &arg, 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_INTERRUPTED);
  CHECK_EQ(mf_queue_get_value(q, 0, &v), MF_EMPTY);
  mf_interrupt(rt, 0);
  CHECK_EQ(mf_queue_put_bytes(q, "x", 1, LONG), MF_OK);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
}

static void *close_pool(void *pool) {
  mf_pool_close(pool);
  return NULL;
}

static void lets_tasks_go_on_whose_pool_is_closed(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of(rt, 1);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q);
  mf_future *f = submit(pool, "local q = ... return q:get(20)", &arg, 1);
  mf_future *behind = submit(pool, "return 2", NULL, 0);
  pthread_t closer;
  pthread_create(&closer, NULL, close_pool, pool);
  usleep(1000);
  mf_interrupt(rt, 1);
  pthread_join(closer, NULL);
  CHECK_EQ(mf_future_poll(behind), MF_QUEUED);
  mf_interrupt(rt, 0);
  CHECK_EQ(mf_queue_put_bytes(q, "x", 1, LONG), MF_OK);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(mf_future_wait(behind, LONG), MF_OK);
  mf_future_release(f);
  mf_future_release(behind);
  mf_queue_release(q);
  mf_close(rt);
}

static void *run_lua(void *L) {
  int failed = luaL_dostring(L, "mf = require 'moonfleet' mf.sleep(60)");
  return (void *)(intptr_t)(failed && strstr(luaL_tolstring(L, -1, NULL), "interrupted!") != NULL);
}

static void ends_the_waits_of_lua_states(void) {
  mf_runtime *rt = open_runtime(backend);
  lua_State *L = luaL_newstate();
  pthread_t thread;
  void *ok;
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  pthread_create(&thread, NULL, run_lua, L);
  usleep(50000);
  mf_interrupt(rt, 1);
  pthread_join(thread, &ok);
  CHECK((intptr_t)ok);
  mf_interrupt(rt, 0);
  for (int i = 0; i < 1000 && luaL_dostring(L, "mf.sleep(0.01) awake = true") != 0; i++)
    usleep(1000);
  lua_settop(L, 0);
  CHECK_EQ(lua_getglobal(L, "awake"), LUA_TBOOLEAN);
  lua_close(L);
  mf_close(rt);
}

// ---- Sinks

typedef struct heard {
  char text[4096];
  size_t size;
  int errors;
  char error[1000];
  mf_status status;
} heard;

static void hear(void *ud, const char *worker, int stream, const char *data, size_t size) {
  heard *h = ud;
  h->size += (size_t)snprintf(h->text + h->size, sizeof h->text - h->size, "[%s %d] %.*s", worker,
                              stream, (int)size, data);
}

static void hear_error(void *ud, mf_status status, const char *text) {
  heard *h = ud;
  h->errors++;
  h->status = status;
  snprintf(h->error, sizeof h->error, "%s", text);
}

static mf_runtime *open_with_sinks(heard *h) {
  mf_config c = {.size = sizeof c,
                 .backend = backend,
                 .shared_limit = (size_t)256 << 20,
                 .on_output = hear,
                 .on_error = hear_error,
                 .ud = h};
  return mf_open(&c, NULL, 0);
}

static void hears_what_workers_print(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_with_sinks(&h);
  mf_pool *pool = pool_of(rt, 1);
  mf_future *f =
      submit(pool, "print('one', 2) io.stderr:write('three\\n') io.write('four')", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(h.size, 0);
  dispatch(rt, 2);
  CHECK(strcmp(h.text, "[Pool-1:1 1] one\t2\n[Pool-1:1 2] three\n") == 0);
  mf_future_release(f);
  mf_pool_close(pool);
  mf_close(rt);
  CHECK(strstr(h.text, "[Pool-1:1 1] four") != NULL);
}

static void hears_of_errors_that_nobody_asked_for(void) {
  heard h = {.errors = 0};
  mf_runtime *rt = open_with_sinks(&h);
  mf_pool *pool = pool_of(rt, 1);
  mf_future *asked = submit(pool, "error 'asked'", NULL, 0);
  CHECK_EQ(mf_future_wait(asked, LONG), MF_FAILED);
  mf_future_release(asked);
  mf_future_release(submit(pool, "error 'unasked'", NULL, 0));
  mf_future_release(submit(pool, "return 'fine'", NULL, 0));
  dispatch(rt, 1);
  CHECK_EQ(mf_pool_wait(pool, LONG), MF_OK);
  CHECK(h.errors == 1 && h.status == MF_FAILED && strstr(h.error, "unasked") != NULL);
  mf_future *kept = submit(pool, "error 'kept'", NULL, 0);
  CHECK_EQ(mf_pool_wait(pool, LONG), MF_OK);
  mf_close(rt);
  CHECK(h.errors == 2 && strstr(h.error, "kept") != NULL);
  mf_future_release(kept);
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(calls_back_once_where_it_is_dispatched);
  RUN(calls_back_for_futures_that_were_released);
  RUN(calls_back_at_the_latest_when_it_closes);
  RUN(lets_callbacks_call_while_it_closes);
  RUN(lets_a_future_go_while_its_callback_reads_it);
  RUN(lights_a_descriptor_when_a_task_has_ended);
  RUN(waits_for_the_first_of_several);
  RUN(ends_all_waits_from_a_signal_handler);
  RUN(lets_tasks_go_on_whose_pool_is_closed);
  RUN(ends_the_waits_of_lua_states);
  RUN(hears_what_workers_print);
  RUN(hears_of_errors_that_nobody_asked_for);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  return check_done();
}
