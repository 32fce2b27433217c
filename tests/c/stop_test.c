// Stopping Lua: hostile scripts are ended from another thread, each __close runs exactly once.
// Usage: stop_test [runs of the storm, default 300]
#include "base/atomic.h"
#include "check.h"
#include "script/error.h"
#include "script/state.h"
#include "script/stop.h"

#include <lauxlib.h>
#include <lualib.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- A worker thread that runs one script
// --------------------------------------------------------

typedef struct worker {
  const char *script;
  const char *check; // run afterwards, in the same state; true: all is well
  uint32_t request;
  uint32_t tid;   // set once it is ready to be stopped
  uint32_t ready; // the script called ready()
  uint32_t ended;
  mfi_stop stop;
  mfi_ns limit; // 0: none
  bool interrupt_itself;
  int status;
  uint32_t raised;
  int exit_code;
  bool well;
  char message[200];
} worker;

static int lua_ready(lua_State *L) {
  worker *w = mfi_state_user(L);
  store_release(&w->ready, 1);
  return 0;
}

static int lua_interrupt(lua_State *L) {
  (void)L;
  mfi_stop_interrupt(mfi_stop_current());
  return 0;
}

// guard(): something to be closed; opened(g) after it is in its variable. faults() counts guards
// that were opened and not closed, closed twice, or whose __close did not come to its end.
static const char prelude[] =
    "local live, wrong = {}, 0\n"
    "local mt = {__close = function(g)\n"
    "  g.begun = g.begun + 1\n"
    "  local x = 0\n"
    "  for i = 1, 10 do x = pcall(math.max, x, i) and x end\n"
    "  if g.begun ~= 1 then wrong = wrong + 1 end\n"
    "  g.ended = g.ended + 1\n"
    "  live[g] = nil\n"
    "end}\n"
    "function guard() local g = setmetatable({begun = 0, ended = 0}, mt) live[g] = true return g "
    "end\n"
    "function opened(g) g.open = true return g end\n"
    "function faults()\n"
    "  for g in pairs(live) do if g.open or g.begun ~= g.ended then wrong = wrong + 1 end end\n"
    "  return wrong\n"
    "end\n";

static void keep_message(worker *w, lua_State *L) {
  if (w->status != LUA_OK)
    snprintf(w->message, sizeof w->message, "%s", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

static void run_check(worker *w, lua_State *L) {
  mfi_stop_clear(&w->stop);
  store_release(&w->request, 0);
  if (w->check == NULL) {
    w->well = true;
  } else if (luaL_dostring(L, w->check) != LUA_OK) {
    printf("check: %s\n", lua_tostring(L, -1));
  } else {
    w->well = lua_toboolean(L, -1);
  }
}

static void *run(void *arg) {
  worker *w = arg;
  mfi_state_config config = {.seed = 1, .user = w};
  lua_State *L = mfi_state_open(&config);
  lua_register(L, "ready", lua_ready);
  lua_register(L, "interrupt", lua_interrupt);
  if (luaL_dostring(L, prelude) != LUA_OK || luaL_loadstring(L, w->script) != LUA_OK)
    printf("%s\n", lua_tostring(L, -1)), exit(1);
  mfi_stop_bind(&w->stop, L, &w->request, 0);
  store_release(&w->tid, (uint32_t)mfi_os_tid());
  if (w->limit)
    mfi_stop_deadline(&w->stop, mfi_os_now() + w->limit);
  w->status = lua_pcall(L, 0, 0, 0);
  w->raised = mfi_stop_raised(&w->stop);
  w->exit_code = w->stop.exit_code;
  keep_message(w, L);
  run_check(w, L);
  mfi_stop_unbind(&w->stop);
  mfi_state_close(L);
  store_release(&w->ended, 1);
  return NULL;
}

static void nap(long ns) {
  struct timespec t = {.tv_nsec = ns};
  nanosleep(&t, NULL);
}

// The sender of floor 4 in small: asks, then signals again and again, in longer and longer steps.
static void stop(worker *w, uint32_t reason) {
  mfi_stop_request(&w->request, reason);
  for (long ms = 20; !load_acquire(&w->ended); ms = ms < 640 ? ms * 2 : ms) {
    mfi_os_signal_thread((pid_t)w->tid, mfi_os_stop_signal());
    for (long i = 0; i < ms * 10 && !load_acquire(&w->ended); i++)
      nap(100 * 1000);
  }
}

static pthread_t start(worker *w) {
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_create(&thread, NULL, run, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  while (!load_acquire(&w->tid))
    nap(10 * 1000);
  return thread;
}

// Runs the script, stops it once it says ready() and `spin` turns are over.
static void run_and_stop(worker *w, uint32_t reason, unsigned spin) {
  pthread_t thread = start(w);
  while (!load_acquire(&w->ready) && !load_acquire(&w->ended))
    mfi_cpu_relax();
  for (volatile unsigned i = 0; i < spin; i = i + 1)
    mfi_cpu_relax();
  stop(w, reason);
  pthread_join(thread, NULL);
}

// ---- The hostile scripts
// -------------------------------------------------------------------------

static const struct hostile {
  const char *name, *script;
} hostiles[] = {
    {"a loop", "local g <close> = guard() opened(g) ready() while true do end"},
    {"goto", "local g <close> = guard() opened(g) ready() ::again:: goto again"},
    {"a loop of guards", "ready() while true do local a <close> = guard() opened(a)\n"
                         "  local b <close> = guard() opened(b) end"},
    {"pcall", "local g <close> = guard() opened(g) ready() while true do pcall(function()\n"
              "  local g <close> = guard() opened(g) while true do end end) end"},
    {"failing pcall", "ready() while true do pcall(function()\n"
                      "  local g <close> = guard() opened(g) error('x') end) end"},
    {"pcall in a coroutine in pcall",
     "ready() while true do pcall(function()\n"
     "  local g <close> = guard() opened(g)\n"
     "  coroutine.resume(coroutine.create(function() while true do pcall(function()\n"
     "    local g <close> = guard() opened(g) while true do end end) end end)) end) end"},
    {"coroutine.wrap", "ready() while true do local f = coroutine.wrap(function()\n"
                       "  local g <close> = guard() opened(g) while true do end end) pcall(f) end"},
    {"coroutines that yield and are closed",
     "ready() while true do local co = coroutine.create(function()\n"
     "    local g <close> = guard() opened(g) g.open = nil coroutine.yield() end)\n"
     "  coroutine.resume(co) coroutine.close(co) end"},
    {"generators", "ready() while true do local n = 0\n"
                   "  for i in coroutine.wrap(function() for i = 1, 20 do\n"
                   "    pcall(coroutine.yield, i) end end), nil, nil, guard() do n = n + i end\n"
                   "end"},
    {"a handler that loops",
     "ready() while true do xpcall(function() local g <close> = guard() opened(g) error('x') end,\n"
     "  function() while true do end end) end"},
    {"handlers in coroutines", "local hits = 0\n"
                               "local co = coroutine.wrap(function() while true do\n"
                               "  xpcall(function() coroutine.yield() while true do end end,\n"
                               "    function(e) while true do hits = hits + 1 end end) end end)\n"
                               "ready() while true do pcall(co) end"},
    {"deep recursion", "local function f() return 1 + f() end ready() while true do pcall(f) end"},
    {"deep recursion with guards",
     "local function f(n) local g <close> = guard() opened(g) return 1 + f(n + 1) end\n"
     "ready() while true do pcall(f, 1) end"},
    {"deep pcalls", "local function f(n) local g <close> = guard() opened(g)\n"
                    "  if n == 0 then while true do end end return pcall(f, n - 1) end\n"
                    "ready() while true do f(100) end"},
    {"gsub with callbacks", "ready() while true do string.gsub(('x'):rep(100), '.', function()\n"
                            "  local g <close> = guard() opened(g) pcall(error) end) end"},
    {"sort with callbacks", "local t = {} for i = 1, 1000 do t[i] = -i end\n"
                            "ready() while true do pcall(table.sort, t, function(a, b)\n"
                            "  return a < b end) end"},
    {"metamethods", "local t = setmetatable({}, {__index = function() while true do end end})\n"
                    "ready() while true do pcall(function() return t.x end) end"},
    {"load's reader", "ready() while true do load(function()\n"
                      "  local g <close> = guard() opened(g) while true do end end) end"},
    {"garbage", "ready() while true do setmetatable({}, {__gc = function() end}) end"},
    {"strings", "ready() while true do local s = string.rep('x', 100) .. 'y' end"},
    {"a user's hook", "ready() while true do debug.sethook(function() end, '', 1000) end"},
    {"a chain of coroutines", "local function chain(n) local g <close> = guard() opened(g)\n"
                              "  if n == 0 then while true do end end\n"
                              "  return pcall(coroutine.wrap(chain), n - 1) end\n"
                              "ready() while true do chain(20) end"},
};

#define HOSTILES (sizeof hostiles / sizeof *hostiles)

static void end_hostile(const struct hostile *h, unsigned spin) {
  worker w = {.script = h->script, .check = "return faults() == 0"};
  run_and_stop(&w, MFI_TERMINATED, spin);
  if (w.raised != MFI_TERMINATED || !w.well)
    printf("%s, spin %u: raised %u, status %d %s, %s\n", h->name, spin, w.raised, w.status,
           w.message, w.well ? "well" : "a __close did not run exactly once");
  CHECK_EQ(w.raised, MFI_TERMINATED);
  CHECK(w.well);
}

static void ends_every_hostile_script_and_closes_each_variable_once(void) {
  for (size_t i = 0; i < HOSTILES; i++)
    end_hostile(&hostiles[i], 20000);
}

static unsigned storm_runs = 300;

static void ends_them_at_any_moment(void) {
  unsigned random = 12345;
  for (unsigned i = 0; i < storm_runs; i++) {
    random = random * 1103515245 + 12345;
    end_hostile(&hostiles[i % HOSTILES], (random >> 8) % 40000);
  }
}

// ---- One by one
// ----------------------------------------------------------------------------------

static void interrupts_a_close_that_loops_after_a_second(void) {
  worker w = {.script = "local once = true\n"
                        "local mt = {__close = function() if once then once = false\n"
                        "  ready() while true do end end closed = true end}\n"
                        "local a <close> = setmetatable({}, mt)\n"
                        "pcall(function() local b <close> = setmetatable({}, mt) error('x') end)",
              .check = "return closed"};
  run_and_stop(&w, MFI_CANCELLED, 20000);
  CHECK_EQ(w.raised, MFI_CANCELLED);
  CHECK(w.well);
}

static void does_not_run_handlers_for_a_stop(void) {
  worker w = {.script = "ready() while true do xpcall(function() while true do end end,\n"
                        "  function() handled = true end) end",
              .check = "return not handled"};
  run_and_stop(&w, MFI_TERMINATED, 5000);
  CHECK_EQ(w.raised, MFI_TERMINATED);
  CHECK(w.well);
}

static void kills_without_running_more_lua_but_finalizers(void) {
  worker w = {.script =
                  "local mt = {__close = function() closed = true end}\n"
                  "local function f() local a <close> = setmetatable({}, mt)\n"
                  "  ready() while true do pcall(function()\n"
                  "    local b <close> = setmetatable({}, mt) while true do end end) end end\n"
                  "pcall(coroutine.wrap(f)) after = true",
              .check = "return not closed and not after"};
  run_and_stop(&w, MFI_TERMINATED | MFI_STOP_KILL, 5000);
  CHECK_EQ(w.raised, MFI_TERMINATED | MFI_STOP_KILL);
  CHECK(w.well);
}

static void exits_through_every_pcall(void) {
  worker w = {.script =
                  "local a <close> = opened(guard())\n"
                  "pcall(function() local b <close> = opened(guard())\n"
                  "  coroutine.wrap(function() local c <close> = opened(guard())\n"
                  "    xpcall(function() local d <close> = opened(guard()) os.exit(7) end,\n"
                  "      function() handled = true end) after = true end)() after = true end)\n"
                  "after = true",
              .check = "return faults() == 0 and not after and not handled"};
  pthread_join(start(&w), NULL);
  CHECK_EQ(w.raised, MFI_STOP_EXIT);
  CHECK_EQ(w.exit_code, 7);
  CHECK(w.well);
}

static void exits_from_a_finalizer(void) {
  worker w = {.script = "setmetatable({}, {__gc = function() os.exit(false) end})\n"
                        "while true do local t = {} end"};
  pthread_join(start(&w), NULL);
  CHECK_EQ(w.raised, MFI_STOP_EXIT);
  CHECK_EQ(w.exit_code, 1);
}

static void ends_a_task_at_its_deadline(void) {
  worker w = {.script = "local g <close> = opened(guard())\n"
                        "while true do pcall(function() while true do end end) end",
              .check = "return faults() == 0",
              .limit = 20 * 1000 * 1000};
  pthread_join(start(&w), NULL);
  CHECK_EQ(w.raised, MFI_TASK_TIMEOUT);
  CHECK(strstr(w.message, "limit") != NULL);
  CHECK(w.well);
}

static void raises_an_interrupt_once_to_be_caught(void) {
  worker w = {.script = "local ok, e = pcall(function() interrupt() while true do end end)\n"
                        "caught = not ok and e.kind == 'interrupted' and tostring(e)\n"
                        "for i = 1, 1e5 do end",
              .check = "return caught == 'interrupted!'"};
  pthread_join(start(&w), NULL);
  CHECK_EQ(w.raised, 0);
  CHECK_EQ(w.status, LUA_OK);
  CHECK(w.well);
}

static void leaves_a_deadline_that_was_met_alone(void) {
  worker w = {.script = "for i = 1, 1e6 do end", .limit = 60 * MFI_SECOND};
  pthread_join(start(&w), NULL);
  CHECK_EQ(w.raised, 0);
  CHECK_EQ(w.status, LUA_OK);
}

static void keeps_the_first_reason_unless_it_kills(void) {
  uint32_t request = 0;
  CHECK(mfi_stop_request(&request, MFI_CANCELLED));
  CHECK(!mfi_stop_request(&request, MFI_TERMINATED));
  CHECK_EQ(request, MFI_CANCELLED);
  CHECK(mfi_stop_request(&request, MFI_TERMINATED | MFI_STOP_KILL));
  CHECK(!mfi_stop_request(&request, MFI_CANCELLED | MFI_STOP_KILL));
  CHECK_EQ(request, MFI_TERMINATED | MFI_STOP_KILL);
}

// Signals while the state is closed, and until it is unbound, touch nothing of it.
static void leaves_a_state_alone_that_is_closed(void) {
  lua_State *L = mfi_state_open(&(mfi_state_config){.seed = 1});
  mfi_stop s;
  uint32_t request = 0;
  mfi_stop_bind(&s, L, &request, 0);
  mfi_stop_request(&request, MFI_TERMINATED);
  CHECK_EQ(luaL_dostring(L, "setmetatable({}, {__gc = function() pcall(math.max, 1)\n"
                            "  coroutine.wrap(function() for i = 1, 100 do end end)() end})"),
           LUA_OK);
  mfi_state_close(L);
  mfi_os_signal_thread(mfi_os_tid(), mfi_os_stop_signal());
  CHECK_EQ(mfi_stop_pending(&s), MFI_TERMINATED);
  mfi_stop_unbind(&s);
}

// ---- A state inside a state
// ----------------------------------------------------------------------

static int run_inner(lua_State *L) {
  worker *w = mfi_state_user(L);
  mfi_state_config config = {.user = w};
  lua_State *inner = mfi_state_open(&config);
  mfi_stop stop;
  uint32_t request = 0;
  lua_register(inner, "ready", lua_ready);
  mfi_stop_bind(&stop, inner, &request, 0);
  luaL_loadstring(inner, "ready() while true do pcall(function() while true do end end) end");
  lua_pcall(inner, 0, 0, 0);
  lua_pushinteger(L, mfi_stop_raised(&stop));
  lua_setglobal(L, "inner_raised");
  mfi_stop_unbind(&stop);
  mfi_state_close(inner);
  mfi_stop_check(L);
  return luaL_error(L, "not stopped");
}

static int lua_run_inner(lua_State *L) { return run_inner(L); }

static void *run_nested(void *arg) {
  worker *w = arg;
  mfi_state_config config = {.user = w};
  lua_State *L = mfi_state_open(&config);
  lua_register(L, "run_inner", lua_run_inner);
  mfi_stop_bind(&w->stop, L, &w->request, 0);
  store_release(&w->tid, (uint32_t)mfi_os_tid());
  luaL_loadstring(L, "while true do pcall(run_inner) end");
  w->status = lua_pcall(L, 0, 0, 0);
  w->raised = mfi_stop_raised(&w->stop);
  lua_getglobal(L, "inner_raised");
  w->well = lua_tointeger(L, -1) == MFI_TERMINATED;
  mfi_stop_unbind(&w->stop);
  mfi_state_close(L);
  store_release(&w->ended, 1);
  return NULL;
}

static void stops_a_state_inside_a_state_and_then_the_outer_one(void) {
  worker w = {0};
  pthread_t thread;
  pthread_create(&thread, NULL, run_nested, &w);
  while (!load_acquire(&w.ready))
    nap(100 * 1000);
  stop(&w, MFI_TERMINATED);
  pthread_join(thread, NULL);
  CHECK_EQ(w.raised, MFI_TERMINATED);
  CHECK(w.well);
}

// ---- What a user can see of the replaced functions
// -----------------------------------------------

// Each line's results, as text, in Lua's own state and in ours.
static const char visible[] =
    "local log = {}\n"
    "local function say(...) local t = table.pack(...)\n"
    "  for i = 1, t.n do t[i] = tostring(t[i]):gsub('0x%x+', 'P') end\n"
    "  log[#log + 1] = table.concat(t, '|') end\n"
    "say(pcall(function() end)) say(pcall(function(...) return ... end, 1, nil, 3))\n"
    "say(pcall(error)) say(pcall(error, 'x', 0)) say(pcall(error, {})) say(pcall(pcall))\n"
    "say(pcall(xpcall, 1)) say(pcall(xpcall, print, 1)) say(xpcall(1, function(e) return e end))\n"
    "say(pcall(coroutine.resume, 1)) say(pcall(coroutine.close, {})) say(pcall(coroutine.wrap))\n"
    "say(xpcall(error, function(e) return 'h:' .. e end, 'y', 0))\n"
    "say(xpcall(error, function(e) error 'again' end, 'y'))\n"
    "say(xpcall(function() error 'z' end, debug.traceback))\n"
    "say(pcall(function() local function f() return 1 + f() end return f() end))\n"
    "say(xpcall(function() local function f() return 1 + f() end return f() end, "
    "debug.traceback))\n"
    "local function deep(n) return n == 0 and 'bottom' or select(2, pcall(deep, n - 1)) end\n"
    "say(deep(150)) say(deep(300))\n"
    "local co = coroutine.wrap(function() return 'r', pcall(function()\n"
    "  local v = coroutine.yield(1) error({v}) end) end)\n"
    "say(co()) say(co('v'))\n"
    "co = coroutine.wrap(function() return xpcall(function(x) coroutine.yield(x) return 5 end,\n"
    "  print, 4) end) say(co()) say(co()) say(pcall(co))\n"
    "say(pcall(coroutine.wrap(function() error('w', 0) end)))\n"
    "say(pcall(coroutine.wrap(function() error({}) end)))\n"
    "co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function(_, "
    "e)\n"
    "  error('in close ' .. tostring(e), 0) end}) coroutine.yield() error('y', 0) end)\n"
    "say(coroutine.resume(co)) say(coroutine.close(co)) say(coroutine.resume(co))\n"
    "say(coroutine.status(co)) say(coroutine.close(coroutine.create(print)))\n"
    "co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function()\n"
    "  coroutine.yield('from close') end}) return 'end' end)\n"
    "say(coroutine.resume(co)) say(coroutine.resume(co)) say(coroutine.status(co))\n"
    "co = coroutine.create(function() error('e', 0) end) say(coroutine.resume(co))\n"
    "say(debug.traceback(co)) say(coroutine.close(co))\n"
    "say(pcall(coroutine.close, (coroutine.running())))\n"
    "co = coroutine.create(function(c) return pcall(coroutine.close, c) end)\n"
    "say(coroutine.resume(co, coroutine.running()))\n"
    "say(select(2, coroutine.running()), coroutine.isyieldable())\n"
    "say(coroutine.wrap(function() return coroutine.isyieldable() end)())\n"
    "say(coroutine.resume(coroutine.running()))\n"
    "say(pcall(string.gsub, 'x', '.', coroutine.yield))\n"
    "say(load('return 1 + 1')()) say(load('xxx =')) say(load('x', '=name', 'b')) say(load(1))\n"
    "local parts = {'return ', '...'}\n"
    "say(load(function() return table.remove(parts, 1) end)(9))\n"
    "say(load('return x', 'n', 't', {x = 8})()) say(load(string.dump(function() end), 'n', 't'))\n"
    "say(load(function() error('in reader', 0) end)) say(load(function() return {} end))\n"
    "say(pcall(load)) say(pcall(load, {}))\n"
    "return table.concat(log, '\\n')\n";

static void behaves_as_stock_lua(void) {
  lua_State *stock = luaL_newstate(), *ours = mfi_state_open(&(mfi_state_config){.seed = 1});
  luaL_openlibs(stock);
  CHECK_EQ(luaL_dostring(stock, visible), LUA_OK);
  CHECK_EQ(luaL_dostring(ours, visible), LUA_OK);
  const char *expected = lua_tostring(stock, -1), *got = lua_tostring(ours, -1);
  if (strcmp(expected, got) != 0)
    printf("expected:\n%s\n\ngot:\n%s\n", expected, got);
  CHECK(strcmp(expected, got) == 0);
  lua_close(stock);
  mfi_state_close(ours);
}

int main(int argc, char **argv) {
  if (argc > 1)
    storm_runs = (unsigned)atoi(argv[1]);
  CHECK_EQ(mfi_stop_install(0), MFI_OK);
  RUN(behaves_as_stock_lua);
  RUN(keeps_the_first_reason_unless_it_kills);
  RUN(ends_every_hostile_script_and_closes_each_variable_once);
  RUN(ends_them_at_any_moment);
  RUN(interrupts_a_close_that_loops_after_a_second);
  RUN(does_not_run_handlers_for_a_stop);
  RUN(kills_without_running_more_lua_but_finalizers);
  RUN(exits_through_every_pcall);
  RUN(exits_from_a_finalizer);
  RUN(ends_a_task_at_its_deadline);
  RUN(leaves_a_deadline_that_was_met_alone);
  RUN(raises_an_interrupt_once_to_be_caught);
  RUN(leaves_a_state_alone_that_is_closed);
  RUN(stops_a_state_inside_a_state_and_then_the_outer_one);
  mfi_stop_uninstall(0);
  return check_done();
}
