// The host's part in its workers' states. Floor 6; see worker.h. Locks: the runtime's mutex. Sleeps
// nowhere.
#include "api/worker.h"

#include "api/caller.h"
#include "api/report.h"
#include "base/atomic.h"
#include "flow/warden.h"
#include "script/names.h"
#include "script/state.h"

#include <lauxlib.h>

#include <stdlib.h>
#include <string.h>

#define BURIAL_SECONDS 0.5

static mf_runtime *runtime_of(void *ud) { return ud; }

// ---- In a state

// Stands before `require` where the library MOONFLEET is not given. Upvalue 1: the real one.
static int require_others(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (strcmp(name, "moonfleet") == 0 || strncmp(name, "moonfleet.", 10) == 0)
    return luaL_error(L, "module '%s' not found: this worker has no MF_LIB_MOONFLEET", name);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L);
}

static void hide_moonfleet(lua_State *L) {
  if (lua_getglobal(L, "require") != LUA_TFUNCTION) {
    lua_pop(L, 1);
    return;
  }
  lua_pushcclosure(L, require_others, 1);
  lua_setglobal(L, "require");
}

// Module MFI_NAMES_HOST: the C functions that were registered. Upvalue 1: the runtime.
static int build_functions(lua_State *L) {
  mf_runtime *rt = lua_touserdata(L, lua_upvalueindex(1));
  lua_newtable(L);
  int functions = lua_gettop(L);
  for (mfi_given *g = load_acquire(&rt->given); g != NULL; g = load_acquire(&g->next)) {
    if (g->build == NULL)
      continue;
    lua_pushcfunction(L, g->build);
    lua_call(L, 0, 1);
    if (!lua_iscfunction(L, -1))
      return luaL_error(L, "what builds the host's function '%s' gives no C function", g->name);
    lua_setfield(L, functions, g->name);
  }
  return 1;
}

void mfi_worker_host_preload(mf_runtime *rt, lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (mfi_given *g = load_acquire(&rt->given); g != NULL; g = load_acquire(&g->next)) {
    if (g->open != NULL) {
      lua_pushcfunction(L, g->open);
      lua_setfield(L, -2, g->name);
    } else if (g->build != NULL) {
      lua_pushlightuserdata(L, rt);
      lua_pushcclosure(L, build_functions, 1);
      lua_setfield(L, -2, MFI_NAMES_HOST);
    }
  }
  lua_pop(L, 1);
}

static void prepare(void *ud, lua_State *L, uint32_t libs) {
  mfi_worker_host_preload(runtime_of(ud), L);
  if (libs != 0 && (libs & MFI_LIB_MOONFLEET) == 0)
    hide_moonfleet(L);
}

static void run_hook(lua_State *L, const mfi_given *g) {
  int top = lua_gettop(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (g->start(L, g->ud) == 0) {
    lua_settop(L, top);
    return;
  }
  if (lua_gettop(L) == top)
    lua_pushliteral(L, "a start hook of the host failed");
  lua_error(L);
}

static void begin(void *ud, lua_State *L) {
  mf_runtime *rt = runtime_of(ud);
  for (mfi_given *g = load_acquire(&rt->given); g != NULL; g = load_acquire(&g->next))
    if (g->start != NULL)
      run_hook(L, g);
}

static int run_stop_hook(lua_State *L) {
  const mfi_given *g = lua_touserdata(L, 1);
  lua_settop(L, 0);
  g->stop(L, g->ud);
  return 0;
}

// The latest first.
static void stop_from(lua_State *L, const mfi_given *g) {
  if (g == NULL)
    return;
  stop_from(L, load_acquire(&g->next));
  if (g->stop == NULL)
    return;
  lua_pushcfunction(L, run_stop_hook);
  lua_pushlightuserdata(L, (void *)(uintptr_t)g);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK)
    return;
  mfi_runtime_logf(mfi_context_of(L)->self, MFI_LOG_WARNING, "a stop hook failed: %s",
                   lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error");
  lua_pop(L, 1);
}

static void end(void *ud, lua_State *L) { stop_from(L, load_acquire(&runtime_of(ud)->given)); }

int mfi_worker_run_host(mfi_self *self, mfi_object *worker) {
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  mf_runtime *rt = host->ud;
  if (mfi_worker_of(worker)->backend == MFI_BACKEND_PROCESS) {
    rt->in_child = true;
    rt->host.alloc = NULL; // when it was forked the host's allocator may have been in any state
  }
  mfi_caller_is_worker(self);
  int code = mfi_exec_worker(self, worker);
  mfi_caller_was_worker(rt);
  return code;
}

// ---- What is given

void mfi_worker_host_init(mf_runtime *rt, const mf_config *c) {
  rt->host = (mfi_exec_host){.ud = rt,
                             .prepare = prepare,
                             .begin = begin,
                             .end = end,
                             .alloc = c->alloc,
                             .alloc_ud = c->alloc_ud,
                             .stop_signal = c->signal_number};
  if (!c->inherit_output)
    rt->host.print = mfi_report_print;
}

void mfi_worker_host_fini(mf_runtime *rt) {
  for (mfi_given *g = rt->given, *next; g != NULL; g = next) {
    next = g->next;
    free(g);
  }
}

static bool is_taken(mf_runtime *rt, const char *name) {
  for (const mfi_given *g = rt->given; g != NULL; g = g->next)
    if (g->build != NULL && strcmp(g->name, name) == 0)
      return true;
  return false;
}

static mf_status give(mf_runtime *rt, const mfi_given *what, const char *name) {
  size_t size = strlen(name) + 1;
  mfi_given *g = malloc(sizeof *g + size);
  if (g == NULL)
    return mfi_fail(rt, MF_NOMEM, "no memory");
  *g = *what;
  memcpy(g->name, name, size);
  mfi_lock_home(rt);
  bool taken = what->build != NULL && is_taken(rt, name);
  mfi_given **link = &rt->given;
  while (*link != NULL)
    link = &(*link)->next;
  if (!taken) {
    store_release(link, g);
    rt->stale = true;
  }
  mfi_unlock_home(rt);
  if (!taken)
    return MF_OK;
  free(g);
  return mfi_fail(rt, MF_INVALID, "mf_register_cfunction: the name '%s' is taken", name);
}

mf_status mf_preload(mf_runtime *rt, const char *name, lua_CFunction open) {
  if (rt == NULL || rt->in_child)
    return MF_INVALID;
  if (name == NULL || open == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_preload: name and open are needed");
  return give(rt, &(mfi_given){.open = open}, name);
}

mf_status mf_register_cfunction(mf_runtime *rt, const char *name, lua_CFunction build) {
  if (rt == NULL || rt->in_child)
    return MF_INVALID;
  if (name == NULL || build == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_register_cfunction: name and build are needed");
  return give(rt, &(mfi_given){.build = build}, name);
}

mf_status mf_on_worker_start(mf_runtime *rt, int (*fn)(lua_State *L, void *ud), void *ud) {
  if (rt == NULL || rt->in_child)
    return MF_INVALID;
  if (fn == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_on_worker_start: fn is NULL");
  return give(rt, &(mfi_given){.start = fn, .ud = ud}, "");
}

mf_status mf_on_worker_stop(mf_runtime *rt, int (*fn)(lua_State *L, void *ud), void *ud) {
  if (rt == NULL || rt->in_child)
    return MF_INVALID;
  if (fn == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_on_worker_stop: fn is NULL");
  return give(rt, &(mfi_given){.stop = fn, .ud = ud}, "");
}

// ---- Looking

static int count(mf_runtime *rt, bool processes) {
  mfi_self *self = &rt->home;
  uint64_t top = load_acquire(&self->region->slots_top);
  uint32_t here = (uint32_t)mfi_os_pid();
  int n = 0;
  for (uint32_t i = 1; i < top; i++) {
    mfi_slot *s = mfi_slot_at(self, i);
    if (load_acquire(&s->worker) != 0)
      n += !processes || load_acquire(&s->pid) != here;
  }
  return n;
}

int mfi_worker_count(mf_runtime *rt) { return count(rt, false); }

static bool has_process_pool(const mf_runtime *rt) {
  for (const mf_pool *p = rt->pools; p != NULL; p = p->next)
    if (mfi_core_of(p->core)->backend == MFI_BACKEND_PROCESS)
      return true;
  return false;
}

// The warden is as the host was when it was forked. A new one takes its place when it has nothing
// to look after; the workers of a pool that was closed just now take a moment to be buried.
void mfi_worker_refresh(mf_runtime *rt) {
  if (rt->rt.warden < 0)
    rt->stale = false; // it is about to be forked
  if (!rt->stale || has_process_pool(rt))
    return;
  mfi_ns until = mfi_os_deadline(BURIAL_SECONDS);
  while (count(rt, true) > 0 && mfi_os_now() < until)
    mfi_os_sleep_until(mfi_os_now() + 500000);
  if (count(rt, true) > 0)
    return;
  mfi_warden_end(&rt->rt);
  rt->stale = false;
}

// ---- For C code that runs in a worker

int mf_cancelled(lua_State *L) {
  mfi_context *m = L == NULL ? NULL : mfi_context_of(L);
  if (m == NULL || m->stop == NULL)
    return 0;
  return mfi_stop_pending(m->stop) != 0;
}
