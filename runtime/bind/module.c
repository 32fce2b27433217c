// require "moonfleet" in a state of somebody else's: a runtime of its own, which ends with the
// state. Floor 7. The main state's ends: Ctrl-C, output, children, os.exit.
#include "base/atomic.h"
#include "bind/core.h"
#include "bind/interrupt.h"
#include "bind/object.h"
#include "flow/warden.h"
#include "script/exec.h"
#include "script/exec_job.h"
#include "script/names.h"

#include <lualib.h>

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

// A main state's runtime. Its memory is malloc's: workers may still look at it while the state
// closes.
typedef struct home {
  mfi_runtime rt;
  mfi_self self;
  mfi_stop stop;
  mfi_context *m;
  mfi_output *output;
  bool stop_installed, stop_bound, closed;
} home;

static const mfi_runtime_up up = {
    .run = mfi_exec_worker, .get_ready = mfi_exec_get_ready, .poke = mfi_exec_poke};

// ---- Ending

static void wait_for_threads(home *h) {
  for (int i = 0; i < 2000 && load_acquire(&h->rt.threads) != 0; i++)
    mfi_os_sleep_until(mfi_os_now() + 1000000);
}

static void stop_child(mfi_self *self, mfi_handle h, mfi_object *o, void *ctx) {
  (void)h;
  mfi_worker_stop(self, o, *(int *)ctx);
}

static void stop_all(home *h, int signal_number) {
  mfi_worker_each(&h->self, mfi_slot_id(&h->self, h->self.index), stop_child, &signal_number);
}

static int close_home(lua_State *L) {
  home *h = *(home **)lua_touserdata(L, 1);
  if (h == NULL || h->closed)
    return 0;
  h->closed = true;
  mfi_bind_at_exit(L);
  if (h->output != NULL)
    mfi_output_flush(h->output);
  mfi_interrupt_renew();
  bool cut = mfi_exec_end_children(&h->self, !mfi_interrupt_seen());
  mfi_interrupt_close();
  if (cut && h->output != NULL) {
    static const char text[] = "interrupted!\n";
    mfi_output_write(h->output, 2, text, sizeof text - 1);
  }
  if (cut)
    mfi_interrupt_ends();
  if (h->m != NULL) {
    h->m->closing = true;
    mfi_exec_close_spares(h->m);
  }
  store_seqcst(&h->rt.region->closing, 1u);
  stop_all(h, SIGTERM);
  wait_for_threads(h);
  if (h->stop_bound)
    mfi_stop_unbind(&h->stop);
  if (h->output != NULL) {
    mfi_output_restore(L, h->output);
    mfi_output_close(h->output);
  }
  return 0; // the region goes with the process: late finalizers may still look at it
}

// ---- os.exit

static void call_on_exit(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, "moonfleet.on_exit") != LUA_TFUNCTION ||
      lua_pcall(L, 0, 0, 0) != LUA_OK)
    lua_pop(L, 1);
}

static int main_exit(lua_State *L) {
  home *h = lua_touserdata(L, lua_upvalueindex(2));
  bool close = lua_toboolean(L, 2) != 0;
  call_on_exit(L);
  if (h->output != NULL)
    mfi_output_finish(h->output);
  store_seqcst(&h->rt.region->closing, 1u);
  stop_all(h, SIGTERM);
  if (!close)
    mfi_interrupt_close();
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

static void replace_exit(lua_State *L, home *h) {
  if (lua_getglobal(L, "os") == LUA_TTABLE) {
    lua_getfield(L, -1, "exit");
    lua_pushlightuserdata(L, h);
    lua_pushcclosure(L, main_exit, 2);
    lua_setfield(L, -2, "exit");
  }
  lua_pop(L, 1);
}

// ---- Opening

static bool uses_processes(void) {
  const char *backend = getenv("MOONFLEET_BACKEND");
  return backend == NULL || strcmp(backend, "process") == 0;
}

#define LEAST_LIMIT ((unsigned long long)1 << 20)

// $MOONFLEET_SHARED_LIMIT: most bytes of shared memory, as 500000000, 512M or 2G. 0: it is not set.
static size_t shared_limit(lua_State *L) {
  static const char units[] = "KMG";
  const char *text = getenv("MOONFLEET_SHARED_LIMIT");
  char *behind;
  if (text == NULL || *text == '\0')
    return 0;
  unsigned long long n = strtoull(text, &behind, 10);
  const char *unit = *behind == '\0' ? NULL : strchr(units, toupper((unsigned char)*behind));
  int shift = unit == NULL ? 0 : 10 * (int)(unit - units + 1);
  bool fits = isdigit((unsigned char)*text) && n <= (SIZE_MAX >> 1) >> shift;
  if (unit != NULL)
    behind++;
  if (!fits || *behind != '\0' || n << shift < LEAST_LIMIT)
    luaL_error(L,
               "moonfleet: MOONFLEET_SHARED_LIMIT=%s (bytes expected, at least 1M, as 500000000, "
               "512M or 2G)",
               text);
  return (size_t)(n << shift);
}

static home *open_runtime(lua_State *L) {
  size_t limit = shared_limit(L);
  mfi_os_fill_standard();
  home *h = calloc(1, sizeof *h);
  if (h == NULL || mfi_region_open(&h->self, limit) != MFI_OK) {
    free(h);
    luaL_error(L, "moonfleet: no shared memory to be had");
    return NULL;
  }
  h->rt = (mfi_runtime){.region = h->self.region,
                        .fd = h->self.fd,
                        .ops = mfi_flow_ops,
                        .drops = mfi_flow_drops,
                        .up = &up,
                        .warden_lock = PTHREAD_MUTEX_INITIALIZER,
                        .warden = -1};
  h->self.ops = h->rt.ops;
  h->self.drops = h->rt.drops;
  h->self.runtime = &h->rt;
  h->self.slot->starting = 0;
  h->self.slot->pid = (uint32_t)mfi_os_pid();
  h->self.slot->tid = (uint32_t)mfi_os_tid();
  strcpy(h->self.slot->name, "main");
  return h;
}

static void open_main(lua_State *L, home *h) {
  h->stop_installed = mfi_stop_install(0) == MFI_OK;
  mfi_stop_wrap(L);
  h->m = mfi_context_open(L, &h->self);
  mfi_names_snapshot(h->m->codec, L); // as they are before ours take their places
  h->output = mfi_exec_output(&h->self, MFI_OUTPUT_MAIN, false);
  if (h->output != NULL)
    mfi_output_install(L, h->output);
  h->m->output = h->output;
  if (h->stop_installed) {
    mfi_stop_bind(&h->stop, h->m->L, &h->self.slot->stop, 0);
    h->stop_bound = true;
    h->m->stop = &h->stop;
    mfi_interrupt_open(&h->self, &h->stop);
  }
  replace_exit(L, h);
  mfi_names_snapshot(h->m->codec, L);
}

// A userdata whose finalizer comes last among ours: it was made first.
static void push_sentinel(lua_State *L, home *h) {
  home **p = lua_newuserdatauv(L, sizeof *p, 0);
  *p = h;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_home);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonfleet.home");
}

int luaopen_moonfleet(lua_State *L);

__attribute__((visibility("default"))) int luaopen_moonfleet(lua_State *L) {
  if (mfi_context_of(L) == NULL) {
    home *h = open_runtime(L);
    if (uses_processes())
      mfi_warden_open(&h->rt, &h->self); // while the host is still small
    push_sentinel(L, h);
    open_main(L, h);
  }
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  if (lua_getfield(L, -1, "moonfleet") == LUA_TNIL)
    return luaL_error(L, "moonfleet: no Lua half");
  lua_pushliteral(L, "moonfleet");
  lua_call(L, 1, 1);
  return 1;
}
