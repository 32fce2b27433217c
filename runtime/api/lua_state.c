// Lua states of the host. Floor 6; see lua_state.h. Locks: the runtime's mutex. Sleeps nowhere.
#include "api/lua_state.h"

#include "api/caller.h"
#include "api/worker.h"
#include "base/atomic.h"
#include "flow/bury.h"
#include "script/error.h"

#include <lauxlib.h>

#include <stdlib.h>
#include <string.h>

// What an attached state has; its last finalizer lets it go.
typedef struct mfi_attached {
  mf_runtime *rt;
  mfi_self self;
  struct mfi_attached *next; // in rt->attached
} attachment;

// An interrupt that is on stays noted: every wait of these states raises.
void mfi_lua_states_note(mf_runtime *rt) {
  bool on = load_seqcst(&rt->interrupted) != 0 || load_seqcst(&rt->closed) != 0;
  for (attachment *a = rt->attached; a != NULL; a = a->next) {
    mfi_slot *s = a->self.slot;
    mfi_lock_take(&rt->home, &s->lock);
    if (on)
      mfi_note(&rt->home, a->self.index, MFI_NOTE_INTERRUPT);
    else
      fetch_and_seqcst(&s->notes, ~(uint32_t)MFI_NOTE_INTERRUPT);
    mfi_lock_give(&rt->home, &s->lock);
  }
}

// ---- Attaching

static int detach(lua_State *L) {
  attachment *a = *(attachment **)lua_touserdata(L, 1);
  mf_runtime *rt = a->rt;
  mfi_context *m = mfi_context_of(L);
  if (m != NULL)
    mfi_exec_close_spares(m);
  mfi_lock_home(rt);
  attachment **link = &rt->attached;
  while (*link != a)
    link = &(*link)->next;
  *link = a->next;
  mfi_slot_bury(&rt->home, a->self.index);
  mfi_unlock_home(rt);
  mfi_runtime_leave(rt);
  free(a);
  return 0;
}

static bool take_slot(attachment *a) {
  mf_runtime *rt = a->rt;
  mfi_lock_home(rt);
  uint32_t slot = mfi_slot_take(&rt->home);
  if (slot != 0) {
    a->self = mfi_self_make(&rt->rt, slot);
    a->self.slot->pid = (uint32_t)mfi_os_pid();
    strcpy(a->self.slot->name, "host");
    rt->home.slot->starting = 0;
    a->next = rt->attached;
    rt->attached = a;
    mfi_lua_states_note(rt);
    mfi_runtime_listen(rt);
  }
  mfi_unlock_home(rt);
  return slot != 0;
}

static attachment *make(mf_runtime *rt) {
  attachment *a = calloc(1, sizeof *a);
  if (a == NULL || !mfi_runtime_enter(rt)) {
    free(a);
    return NULL;
  }
  a->rt = rt;
  if (take_slot(a))
    return a;
  mfi_runtime_leave(rt);
  free(a);
  return NULL;
}

static mfi_context *attach(lua_State *L, mf_runtime *rt) {
  attachment **p = lua_newuserdatauv(L, sizeof *p, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, detach);
  lua_setfield(L, -2, "__gc");
  *p = make(rt);
  if (*p == NULL)
    mfi_error_raise(L, "no_memory", "no slot for this Lua state");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonfleet.host");
  mfi_worker_host_preload(rt, L);
  return mfi_context_open(L, &(*p)->self);
}

// ---- Calling

typedef struct call {
  mf_runtime *rt;
  mfi_lua_fn *fn;
  void *arg;
  mf_status status;
} call;

// The call, on the top, leaves the stack.
static int run(lua_State *L) {
  call *c = lua_touserdata(L, -1);
  lua_pop(L, 1);
  mfi_context *m = mfi_context_of(L);
  if (m == NULL)
    m = attach(L, c->rt);
  if (m->self->runtime != &c->rt->rt) {
    c->status = MF_INVALID;
    return luaL_error(L, "this Lua state belongs to another runtime");
  }
  return c->fn(m, L, c->arg);
}

static mf_status status_of(lua_State *L, int raised) {
  if (raised == LUA_ERRMEM || mfi_error_is(L, -1, "no_memory"))
    return MF_NOMEM;
  if (mfi_error_is(L, -1, "not_sendable"))
    return MF_NOT_SENDABLE;
  if (mfi_error_is(L, -1, "decode"))
    return MF_DECODE;
  if (mfi_error_is(L, -1, "closed"))
    return MF_CLOSED;
  return MF_FAILED;
}

// The error on the top becomes the calling thread's, and is popped.
static void keep_error(mf_runtime *rt, lua_State *L, mf_status status) {
  mfi_fail(rt, status, "%s", mfi_error_text(L, -1));
  lua_pop(L, 2);
}

mf_status mfi_lua_call(mf_runtime *rt, lua_State *L, mfi_lua_fn *fn, void *arg, int nargs,
                       int nresults) {
  call c = {.rt = rt, .fn = fn, .arg = arg};
  if (!lua_checkstack(L, 8)) {
    lua_pop(L, nargs);
    return mfi_fail(rt, MF_NOMEM, "no room on the Lua stack");
  }
  lua_pushcfunction(L, run);
  lua_insert(L, -1 - nargs);
  lua_pushlightuserdata(L, &c);
  int raised = lua_pcall(L, nargs + 1, nresults, 0);
  if (raised == LUA_OK)
    return MF_OK;
  mf_status status = c.status != MF_OK ? c.status : status_of(L, raised);
  keep_error(rt, L, status);
  return status;
}

// ---- The module

static int open_module(mfi_context *m, lua_State *L, void *arg) {
  (void)m;
  (void)L;
  (void)arg;
  return 0; // the context has the module preloaded
}

mf_status mf_openlib(mf_runtime *rt, lua_State *L) {
  if (rt == NULL)
    return MF_INVALID;
  if (L == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_openlib: L is NULL");
  return mfi_lua_call(rt, L, open_module, NULL, 0, 0);
}
