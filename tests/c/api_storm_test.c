// moonfleet.h: many threads of one host call everything at once, for some seconds (first argument):
// they submit, ask, cancel and release while others dispatch, interrupt, change pools; some tasks
// kill their workers. Then the runtime is closed under waits. Every callback has run once, every
// task is counted once.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { CALLERS = 3, TASKS = 4 };

static mf_backend backend;
static mf_runtime *rt;
static mf_pool *pool;
static mf_queue *queue;
static double seconds = 1;
static uint32_t stop;                // atomic
static uint64_t set, called, rounds; // atomic

static const char *const chunks[] = {"return 1",
                                     "error 'x'",
                                     "print 'x' return ('x'):rep(5000), {1, {2}}",
                                     "local q = ... q:put(2) return q",
                                     "return coroutine.create(print)",
                                     "os.exit(1)",
                                     FOR_EVER};

static int goes_on(void) { return __atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0; }
static void count(uint64_t *n) { __atomic_fetch_add(n, 1, __ATOMIC_SEQ_CST); }

static void note_second(mf_future *f, void *ud) {
  (void)f;
  (void)ud;
  count(&called);
}

static void call_when_done(mf_future *f, mf_done_fn *fn) {
  if (mf_future_on_done(f, fn, NULL) == MF_OK)
    count(&set);
}

// Goes on with a task behind the first; not in mf_close.
static void note_first(mf_future *f, void *ud) {
  (void)ud;
  count(&called);
  mf_future_value(f, 0);
  mf_future_error(f);
  mf_future *next = submit(pool, "return 1", NULL, 0);
  call_when_done(next, note_second);
  mf_future_release(next);
}

static void hear(void *ud, const char *worker, int stream, const char *data, size_t size) {
  (void)ud;
  CHECK(strlen(worker) > 0 && (stream == 1 || stream == 2) && size > 0 && data != NULL);
}

static void hear_note(void *ud, mf_level level, const char *text) {
  (void)ud;
  CHECK(level >= MF_LOG_ERROR && level <= MF_LOG_DEBUG && strlen(text) > 0);
}

// ---- What the threads do

static void ask(mf_future *f, unsigned how, lua_State *L) {
  if (how == 0)
    mf_future_wait(f, 0.01);
  else if (how == 1)
    mf_future_cancel(f, 0);
  else if (how == 2 && mf_future_push(f, L) != -2)
    lua_settop(L, 0);
  else if (how == 3 && mf_future_value(f, 0) == NULL)
    CHECK(mf_future_error(f) != NULL);
}

static void run_tasks(unsigned *seed, lua_State *L) {
  mf_future *f[TASKS];
  mf_value arg = mf_of_queue(queue);
  size_t first;
  for (int i = 0; i < TASKS; i++) {
    f[i] = submit(pool, chunks[(unsigned)rand_r(seed) % (sizeof chunks / sizeof *chunks)], &arg, 1);
    if (rand_r(seed) % 2 == 0)
      call_when_done(f[i], note_first);
    if (rand_r(seed) % 4 == 0)
      mf_future_fd(f[i]);
  }
  mf_future_wait_any(f, TASKS, 0.05, &first);
  for (int i = 0; i < TASKS; i++) {
    ask(f[i], (unsigned)rand_r(seed) % 5, L);
    mf_future_cancel(f[i], 1);
    if (rand_r(seed) % 2 == 0)
      mf_future_wait(f[i], LONG);
    mf_future_release(f[i]);
  }
}

static void use_runtime(unsigned *seed) {
  char text[64];
  size_t size = sizeof text;
  mf_stats s = {.size = sizeof s};
  mf_queue_get_bytes(queue, 0, text, &size);
  mf_value v;
  if (mf_queue_get_value(queue, 0, &v) == MF_OK)
    mf_value_free(&v);
  CHECK_EQ(mf_pool_stats(pool, &s), MF_OK);
  CHECK_EQ(s.submitted, s.queued + s.running + s.done + s.failed + s.cancelled);
  mf_pool_resize(pool, 1 + rand_r(seed) % 3);
  if (rand_r(seed) % 8 == 0)
    mf_dump_waits(rt, text, sizeof text);
  CHECK(mf_error(rt) != NULL);
}

static void *call(void *arg) {
  unsigned seed = (unsigned)(uintptr_t)arg;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  while (goes_on()) {
    run_tasks(&seed, L);
    use_runtime(&seed);
    count(&rounds);
  }
  lua_close(L);
  return NULL;
}

static void *dispatch(void *arg) {
  (void)arg;
  while (goes_on()) {
    struct pollfd p = {.fd = mf_fd(rt), .events = POLLIN};
    poll(&p, 1, 10);
    mf_dispatch(rt, 0);
  }
  return NULL;
}

static void *interrupt(void *arg) {
  (void)arg;
  while (goes_on()) {
    mf_interrupt(rt, 1);
    mf_interrupt(rt, 0);
    usleep(20000);
  }
  return NULL;
}

static void *wait_for_the_close(void *empty) {
  mf_value v;
  mf_status st;
  while ((st = mf_queue_get_value(empty, MF_FOREVER, &v)) == MF_INTERRUPTED)
    continue;
  CHECK_EQ(st, MF_CLOSED);
  return NULL;
}

// ---- The storm

static void sleep_for(double time) {
  struct timespec t = {.tv_sec = (time_t)time,
                       .tv_nsec = (long)((time - (double)(time_t)time) * 1e9)};
  nanosleep(&t, NULL);
}

static void blow(void) {
  pthread_t callers[CALLERS], dispatcher, interrupter, waiter;
  mf_queue *empty = mf_queue_open(rt, 0);
  for (uintptr_t i = 0; i < CALLERS; i++)
    pthread_create(&callers[i], NULL, call, (void *)(i + 1));
  pthread_create(&dispatcher, NULL, dispatch, NULL);
  pthread_create(&interrupter, NULL, interrupt, NULL);
  pthread_create(&waiter, NULL, wait_for_the_close, empty);
  sleep_for(seconds);
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < CALLERS; i++)
    pthread_join(callers[i], NULL);
  pthread_join(dispatcher, NULL);
  pthread_join(interrupter, NULL);
  mf_close(rt);
  pthread_join(waiter, NULL);
  mf_queue_release(empty);
}

static void counts_all_while_all_is_called(void) {
  mf_config c = {.size = sizeof c,
                 .backend = backend,
                 .shared_limit = (size_t)256 << 20,
                 .on_output = hear,
                 .on_log = hear_note};
  mf_pool_config p = {.size = sizeof p, .workers = 2};
  stop = 0;
  set = called = rounds = 0;
  rt = mf_open(&c, NULL, 0);
  pool = mf_pool_open(rt, &p);
  queue = mf_queue_open(rt, 0);
  blow();
  mf_queue_release(queue);
  CHECK_EQ(called, set);
  CHECK(rounds > 0 && called > 0);
  printf("  %lu rounds, %lu callbacks\n", (unsigned long)rounds, (unsigned long)called);
}

int main(int argc, char **argv) {
  if (argc > 1)
    seconds = strtod(argv[1], NULL);
  alarm(120 + (unsigned)(2 * seconds));
  backend = MF_THREAD;
  RUN(counts_all_while_all_is_called);
#ifndef MFI_TSAN // it sees no order that another process made
  backend = MF_PROCESS;
  RUN(counts_all_while_all_is_called);
#endif
  return check_done();
}
