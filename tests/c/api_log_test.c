// moonfleet.h: on_log, where all goes that the library says unasked.
#include "api_world.h"

#include <lauxlib.h>
#include <lualib.h>

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

static mf_backend backend;

typedef struct heard {
  char text[8192];
  size_t size;
  int elsewhere; // calls on another thread than the one that dispatches
  pthread_t here;
} heard;

static void note(void *ud, mf_level level, const char *text) {
  static const char letters[] = "?EWID";
  heard *h = ud;
  h->elsewhere += !pthread_equal(pthread_self(), h->here);
  h->size += (size_t)snprintf(h->text + h->size, sizeof h->text - h->size, "%c %s\n",
                              letters[level], text);
}

static void printed(void *ud, const char *worker, int stream, const char *data, size_t size) {
  heard *h = ud;
  h->size += (size_t)snprintf(h->text + h->size, sizeof h->text - h->size, "%s %d %.*s", worker,
                              stream, (int)size, data);
}

static mf_runtime *open_listening(heard *h) {
  h->here = pthread_self();
  mf_config c = {.size = sizeof c,
                 .backend = backend,
                 .shared_limit = (size_t)256 << 20,
                 .on_log = note,
                 .ud = h};
  return mf_open(&c, NULL, 0);
}

static mf_pool *open_pool(mf_runtime *rt) {
  mf_pool_config c = {.size = sizeof c, .workers = 1, .name = "P"};
  return mf_pool_open(rt, &c);
}

// Waits on mf_fd, as an event loop does, until the text has come.
static int hears(mf_runtime *rt, const heard *h, const char *text) {
  for (int i = 0; i < 2000; i++) {
    struct pollfd p = {.fd = mf_fd(rt), .events = POLLIN};
    if (strstr(h->text, text) != NULL)
      return 1;
    if (poll(&p, 1, 10) > 0)
      mf_dispatch(rt, 0);
  }
  printf("not heard: %s\nbut:\n%s", text, h->text);
  return 0;
}

static void tells_what_comes_and_goes(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_listening(&h);
  mf_pool *pool = open_pool(rt);
  CHECK(hears(rt, &h, "I P is open\n"));
  CHECK(hears(rt, &h, "I P:1 (pid "));
  CHECK(strstr(h.text, "has started\n") != NULL);
  mf_pool_close(pool);
  CHECK(hears(rt, &h, "I P is closed\n"));
  CHECK(hears(rt, &h, "has ended\n"));
  mf_close(rt);
  CHECK(strstr(h.text, "\nW ") == NULL && strstr(h.text, "\nE ") == NULL);
  CHECK_EQ(h.elsewhere, 0);
}

static void warns_of_workers_that_died(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_listening(&h);
  mf_pool *pool = open_pool(rt);
  mf_future *f = submit(pool, "os.exit(3)", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_WORKER_DIED);
  CHECK(hears(rt, &h, "ended by os.exit(3); another one takes its place\n"));
  mf_future_release(f);
  mf_close(rt);
}

static void warns_of_kills(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_listening(&h);
  mf_pool *pool = open_pool(rt);
  mf_future *f = submit(pool, "return require 'moonfleet'.getpid()", NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  kill((pid_t)integer_of(mf_future_value(f, 0)), SIGKILL);
  CHECK(hears(rt, &h, "was killed by SIGKILL; another one takes its place\n"));
  CHECK(strstr(h.text, "W P:1 (pid ") != NULL);
  CHECK(hears(rt, &h, "I P:2 (pid "));
  mf_future_release(f);
  mf_close(rt);
}

static void warns_of_pools_whose_workers_do_not_start(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_listening(&h);
  mf_pool_config c = {.size = sizeof c, .workers = 1, .name = "P", .init_source = "error 'no'"};
  mf_pool *pool = mf_pool_open(rt, &c);
  CHECK(hears(rt, &h, "W P has ended: its workers do not start\n"));
  mf_pool_close(pool);
  mf_close(rt);
}

static void tells_of_errors_that_nobody_asked_for(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_listening(&h);
  mf_pool *pool = open_pool(rt);
  mf_future_release(submit(pool, "error 'unasked'", NULL, 0));
  CHECK(hears(rt, &h, "E chunk:1: unasked\n"));
  mf_future *kept = submit(pool, "error 'kept'", NULL, 0);
  CHECK_EQ(mf_pool_wait(pool, LONG), MF_OK);
  mf_close(rt);
  CHECK(strstr(h.text, "E chunk:1: kept\n") != NULL);
  mf_future_release(kept);
}

static int raises(lua_State *L, void *ud) {
  (void)ud;
  return luaL_error(L, "no end");
}

static void warns_of_stop_hooks_that_fail(void) {
  heard h = {.size = 0};
  mf_runtime *rt = open_listening(&h);
  CHECK_EQ(mf_on_worker_stop(rt, raises, NULL), MF_OK);
  mf_pool_close(open_pool(rt));
  CHECK(hears(rt, &h, "W a stop hook failed: no end\n"));
  mf_close(rt);
}

// ---- What else would go to some stderr

static int saved_stderr;

static void catch_stderr(int pipes[2]) {
  CHECK_EQ(pipe(pipes), 0);
  fflush(stderr);
  saved_stderr = dup(2);
  dup2(pipes[1], 2);
  close(pipes[1]);
}

// What came to stderr meanwhile: for process workers, too.
static size_t caught_stderr(const int pipes[2], char *text, size_t size) {
  fflush(stderr);
  dup2(saved_stderr, 2);
  close(saved_stderr);
  ssize_t n = read(pipes[0], text, size - 1);
  close(pipes[0]);
  text[n > 0 ? n : 0] = '\0';
  return n > 0 ? (size_t)n : 0;
}

static lua_State *open_state(mf_runtime *rt) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  CHECK_EQ(mf_openlib(rt, L), MF_OK);
  return L;
}

static void run(lua_State *L, const char *format, ...) {
  char text[2000];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (luaL_dostring(L, text) != LUA_OK) {
    printf("%s\n", lua_tostring(L, -1));
    FAIL("the script failed");
  }
  lua_settop(L, 0);
}

// In worker processes and in the host's own states: all but what scripts print.
static void hears_what_would_go_to_stderr(void) {
  static const char script[] =
      "mf = require 'moonfleet'\n"
      "local p = mf.Process{name = 'Target', backend = '%s', target = function()\n"
      "  io.stderr:write('printed\\n') error 'uncaught' end}\n"
      "p:start() p:join()\n"
      "local pool <close> = mf.Pool{workers = 1, backend = '%s', name = 'Q'}\n"
      "pool:apply(function()\n"
      "  local mf = require 'moonfleet'\n"
      "  mf.with('serial').Pool(1):submit(error, 'inner')\n"
      "  collectgarbage() collectgarbage() end)\n"
      "pool:submit(error, 'outer'):wait()\n"
      "local f = pool:submit(type, 1)\n"
      "f:add_done_callback(function() error 'callback' end) f:wait() mf.poll()\n"
      "f = nil collectgarbage() collectgarbage()\n";
  const char *kind = backend == MF_THREAD ? "thread" : "process";
  heard h = {.here = pthread_self()};
  int pipes[2];
  char text[4096];
  catch_stderr(pipes);
  mf_config c = {.size = sizeof c,
                 .shared_limit = (size_t)256 << 20,
                 .on_output = printed,
                 .on_log = note,
                 .ud = &h};
  mf_runtime *rt = mf_open(&c, NULL, 0);
  lua_State *L = open_state(rt);
  run(L, script, kind, kind);
  lua_close(L);
  mf_close(rt);
  if (caught_stderr(pipes, text, sizeof text) != 0) {
    printf("stderr has: %s", text);
    FAIL("stderr is not left alone");
  }
  static const char *const expected[] = {
      "E Target: ", "uncaught", "inner", "outer", "E error in a callback", "Target 2 printed"};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
    if (strstr(h.text, expected[i]) == NULL) {
      printf("not heard: %s\n", expected[i]);
      FAIL(h.text);
    }
  CHECK_EQ(h.elsewhere, 0);
}

static void says_nothing_to_who_does_not_listen(void) {
  int pipes[2];
  char text[4096];
  catch_stderr(pipes);
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = open_pool(rt);
  mf_future_release(submit(pool, "warn '@on' warn 'warned' error 'unasked'", NULL, 0));
  mf_future_release(submit(pool, "os.exit(3)", NULL, 0));
  mf_pool_close(pool);
  mf_close(rt);
  CHECK_EQ(caught_stderr(pipes, text, sizeof text), 0);
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(tells_what_comes_and_goes);
  RUN(warns_of_workers_that_died);
  RUN(warns_of_pools_whose_workers_do_not_start);
  RUN(tells_of_errors_that_nobody_asked_for);
  RUN(warns_of_stop_hooks_that_fail);
  RUN(hears_what_would_go_to_stderr);
  RUN(says_nothing_to_who_does_not_listen);
}

int main(void) {
  alarm(120);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  RUN(warns_of_kills);
  return check_done();
}
