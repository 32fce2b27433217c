// select and wait_any in Lua. Floor 7. Sleeps on several events at once.
//
// The list of handles is read anew after each interruption: callbacks may have closed some.
#include "flow/select.h"

#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "bind/taken.h"
#include "flow/connection.h"
#include "script/exec.h"

#define FEW 32

typedef struct wanted {
  mfi_context *m;
  mfi_selection s;
  mfi_watch few[FEW];
  mfi_event *few_events[FEW];
  mfi_ns until;
  int foreign;   // index of an element that is no handle, or no such one; 0: none
  bool looks_up; // returns once callbacks have run
} wanted;

// ---- The list

static mfi_box *box_at(lua_State *L, uint32_t i) {
  lua_rawgeti(L, 1, (lua_Integer)i + 1);
  mfi_box *b = mfi_bind_any(L, -1);
  lua_pop(L, 1);
  return b;
}

// Room for n elements; what does not fit is a userdata. [-0, +0..1, m]
static void make_room(lua_State *L, wanted *w, uint32_t n) {
  w->s.n = n;
  w->s.watch = w->few;
  w->s.event = w->few_events;
  if (n <= FEW)
    return;
  w->s.watch = lua_newuserdatauv(L, n * (sizeof(mfi_watch) + sizeof(mfi_event *)), 0);
  w->s.event = (mfi_event **)(void *)(w->s.watch + n);
}

static bool is_unstarted(const mfi_box *b) {
  return b->kind == MFI_KIND_WORKER && mfi_worker_state(b->o) == MFI_WORKER_NEW;
}

// False: w->foreign is set. [-0, +0, v]
static bool read_list(lua_State *L, wanted *w) {
  w->foreign = 0;
  for (uint32_t i = 0; i < w->s.n; i++) {
    mfi_box *b = box_at(L, i);
    if (b != NULL && b->handle == 0)
      mfi_error_raise(L, "closed", "element %d is a closed %s", (int)i + 1,
                      mfi_bind_kind_name(b->kind));
    if (b == NULL || is_unstarted(b) || !mfi_watch_of(w->m->self, b->handle, &w->s.watch[i])) {
      w->foreign = (int)i + 1;
      return false;
    }
  }
  mfi_selection_open(w->m->self, &w->s);
  return true;
}

// Arguments: the list, seconds or nil, looks_up. False: w->foreign is set. [-0, +0..1, v]
static bool open_wanted(lua_State *L, wanted *w) {
  w->m = mfi_bind_context(L);
  w->until = mfi_bind_until(L, 2);
  w->looks_up = lua_toboolean(L, 3);
  lua_settop(L, 2);
  make_room(L, w, (uint32_t)lua_rawlen(L, 1));
  if (w->m->output != NULL)
    mfi_output_flush(w->m->output);
  return read_list(L, w);
}

// ---- Waiting

// A job in the list that nobody has begun, when there is nothing but jobs: what else may become
// ready must not wait for it.
static mfi_box *next_job(lua_State *L, const wanted *w) {
  mfi_box *found = NULL;
  for (uint32_t i = 0; i < w->s.n; i++) {
    mfi_box *b = box_at(L, i);
    if (b->kind != MFI_KIND_JOB)
      return NULL;
    uint32_t state = load_acquire(&mfi_job_at(w->m->self, b->job)->state);
    if (state == MFI_JOB_ENDED)
      return NULL;
    if (found == NULL && state == MFI_JOB_QUEUED)
      found = b;
  }
  return found;
}

static mfi_status wait_selection(mfi_self *self, void *what, mfi_ns until) {
  return mfi_selection_wait(self, what, until);
}

// One wait, or one of the awaited tasks. MFI_OK: look again. MFI_CLOSED: w->foreign is set.
// MFI_INTERRUPTED: callbacks have run.
static mfi_status wait_once(lua_State *L, wanted *w) {
  mfi_box *b = mfi_bind_may_help(w->m, w->until) ? next_job(L, w) : NULL;
  if (b != NULL && mfi_exec_inline(L, b->o, b->job))
    return MFI_OK;
  mfi_status st = mfi_bind_sleep(w->m, wait_selection, &w->s, w->until);
  if (st != MFI_INTERRUPTED)
    return st;
  mfi_context_look_up(L);
  if (w->looks_up)
    return MFI_INTERRUPTED;
  return read_list(L, w) ? MFI_OK : MFI_CLOSED;
}

// ---- select

#define SLOWLY "moonfleet.select"

// Takes from the element at place i and pushes what it gave: n values, none of a job, whose outcome
// the Lua half asks for. MFI_EMPTY: somebody was faster.
static mfi_status take(lua_State *L, wanted *w, uint32_t i, int *n) {
  mfi_self *self = w->m->self;
  mfi_box *b = box_at(L, i);
  mfi_taken t;
  mfi_status st = MFI_OK;
  *n = b->kind != MFI_KIND_JOB && b->kind != MFI_KIND_BATCH;
  if (b->kind == MFI_KIND_EVENT)
    lua_pushboolean(L, 1);
  if (b->kind == MFI_KIND_WORKER)
    lua_pushinteger(L, mfi_worker_of(b->o)->exitcode);
  if (b->kind != MFI_KIND_QUEUE && b->kind != MFI_KIND_CONNECTION)
    return MFI_OK;
  if (b->kind == MFI_KIND_QUEUE)
    st = mfi_queue_take(self, b->o, b->place, 0, &t);
  else
    st = mfi_queue_get(self, mfi_connection_rx(self, b->o), 0, &t);
  if (st == MFI_OK) {
    mfi_bind_open_taken(L, b, &t);
  } else if (st == MFI_CLOSED) {
    *n = 2;
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
  }
  return st == MFI_TIMEDOUT || st == MFI_INTERRUPTED ? MFI_EMPTY : MFI_OK;
}

// MFI_OK: the element at place *at gave n values, which are pushed. MFI_TIMEDOUT; else see
// wait_once.
static mfi_status select_one(lua_State *L, wanted *w, uint32_t *at, int *n) {
  mfi_status st = MFI_OK;
  while (st == MFI_OK) {
    *at = mfi_selection_find(w->m->self, &w->s);
    if (*at == w->s.n)
      st = wait_once(L, w);
    else if (take(L, w, *at, n) == MFI_OK)
      return MFI_OK;
  }
  return st;
}

// Lua half's ways: registry table {slowly, give}.
static int call_lua(lua_State *L, int which, int nargs) {
  lua_getfield(L, LUA_REGISTRYINDEX, SLOWLY);
  lua_rawgeti(L, -1, which);
  lua_replace(L, -2);
  lua_insert(L, -nargs - 1);
  int below = lua_gettop(L) - nargs - 1;
  lua_call(L, nargs, LUA_MULTRET);
  return lua_gettop(L) - below;
}

static bool is_timeout(lua_State *L, int idx) {
  return lua_isnoneornil(L, idx) || (lua_type(L, idx) == LUA_TNUMBER && lua_tonumber(L, idx) >= 0);
}

// mf.select: what is not a list of handles, or wrong, is the Lua half's affair.
static int core_select(lua_State *L) {
  wanted w;
  uint32_t at;
  int n;
  lua_settop(L, 2);
  bool plain = lua_istable(L, 1) && lua_rawlen(L, 1) > 0 && is_timeout(L, 2);
  mfi_status st = plain && open_wanted(L, &w) ? select_one(L, &w, &at, &n) : MFI_CLOSED;
  if (st == MFI_TIMEDOUT) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
  }
  if (st != MFI_OK) {
    lua_settop(L, 2);
    return call_lua(L, 1, 2);
  }
  lua_rawgeti(L, 1, (lua_Integer)at + 1);
  if (n == 0)
    return call_lua(L, 2, 1);
  lua_insert(L, -n - 1);
  return n + 1;
}

static int on_select(lua_State *L) {
  lua_settop(L, 2);
  lua_createtable(L, 2, 0);
  lua_insert(L, 1);
  lua_rawseti(L, 1, 2);
  lua_rawseti(L, 1, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, SLOWLY);
  return 0;
}

// Why the C half has to give up: true: callbacks have run (where argument 3 asks for that); false,
// index: this element is none of ours.
static int push_why(lua_State *L, const wanted *w, mfi_status st) {
  lua_pushboolean(L, st == MFI_INTERRUPTED);
  lua_pushinteger(L, w->foreign);
  return 2;
}

// For lists that the Lua half has checked and translated: index, value, reason; nil: timeout; or
// see push_why.
static int core_select_among(lua_State *L) {
  wanted w;
  uint32_t at;
  int n;
  mfi_status st = open_wanted(L, &w) ? select_one(L, &w, &at, &n) : MFI_CLOSED;
  if (st == MFI_TIMEDOUT)
    return 0;
  if (st != MFI_OK)
    return push_why(L, &w, st);
  lua_pushinteger(L, (lua_Integer)at + 1);
  lua_insert(L, -n - 1);
  return n + 1;
}

// ---- wait_any

// Fills the table at the top with the indices of those that are ready; how many.
static lua_Integer list_ready(lua_State *L, const wanted *w) {
  lua_Integer n = 0;
  for (uint32_t i = 0; i < w->s.n; i++) {
    if (!w->s.watch[i].is_ready(w->m->self, w->s.watch[i].what))
      continue;
    lua_pushinteger(L, (lua_Integer)i + 1);
    lua_rawseti(L, -2, ++n);
  }
  return n;
}

// A list of indices, empty after a timeout; or see push_why.
static int core_wait_any(lua_State *L) {
  wanted w;
  mfi_status st = open_wanted(L, &w) ? MFI_OK : MFI_CLOSED;
  lua_newtable(L);
  while (st == MFI_OK && list_ready(L, &w) == 0)
    st = wait_once(L, &w);
  return st == MFI_OK || st == MFI_TIMEDOUT ? 1 : push_why(L, &w, st);
}

void mfi_bind_open_select(lua_State *L) {
  static const luaL_Reg functions[] = {{"select", core_select},
                                       {"select_among", core_select_among},
                                       {"on_select", on_select},
                                       {"wait_any", core_wait_any},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
