// Event, Condition, Barrier in Lua. Floor 7. Sleeps in wait; a wait of a condition in the lock,
// too, behind it.
#include "sync/gates.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "flow/message.h"
#include "script/func.h"
#include "sync/locks.h"

#include <math.h>

// So long does a wait that raises try to have its lock back: at Ctrl-C; when the worker is stopped,
// a part of the second that its __close methods have.
#define INTERRUPTED_SECONDS 1.0
#define STOPPED_SECONDS 0.25

static int give_reason(lua_State *L, const char *reason) {
  lua_pushstring(L, reason);
  return 2;
}

// ---- Event

static mfi_box *event_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_EVENT, method);
}

static int event_set(lua_State *L) {
  mfi_box *b = event_of(L, "set");
  mfi_flag_set(b->m->self, b->o);
  return 0;
}

static int event_clear(lua_State *L) {
  mfi_flag_clear(event_of(L, "clear")->o);
  return 0;
}

static int event_is_set(lua_State *L) {
  lua_pushboolean(L, mfi_flag_is_set(event_of(L, "is_set")->o));
  return 1;
}

static int event_wait(lua_State *L) {
  mfi_box *b = event_of(L, "wait");
  mfi_ns until = mfi_bind_timeout(L, 2, "wait", "is_set() does not wait");
  uint64_t seen = mfi_flag_look(b->o);
  mfi_status st;
  while ((st = mfi_flag_wait(b->m->self, b->o, seen, until)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  lua_pushboolean(L, st == MFI_OK);
  return st == MFI_OK ? 1 : give_reason(L, "timeout");
}

// ---- Condition: its lock

static mfi_box *condition_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_CONDITION, method);
}

// The lock's userdata lives as long as the condition's: its handle is where a burial finds what
// this worker holds.
mfi_box *mfi_bind_push_condition_lock(lua_State *L, mfi_box *condition) {
  lua_getiuservalue(L, 1, 1);
  mfi_box *lock = mfi_bind_any(L, -1);
  if (lock != NULL && lock->handle != 0)
    return lock;
  lua_pop(L, 1);
  mfi_bind_push(L, mfi_condition_of(condition->o)->lock);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, 1);
  return mfi_bind_any(L, -1);
}

static void check_holder(lua_State *L, const mfi_box *lock, const char *verb) {
  if (!mfi_lock_is_own(lock->m->self, lock->o))
    luaL_error(L, "cannot %s a Condition that this worker does not hold; acquire it first", verb);
}

// Pushes the lock, which this worker must hold.
static mfi_box *push_held_lock(lua_State *L, mfi_box *b, const char *verb) {
  mfi_box *lock = mfi_bind_push_condition_lock(L, b);
  check_holder(L, lock, verb);
  return lock;
}

// Lets go of the lock wholly; how often it was acquired.
static uint32_t let_go(mfi_self *self, mfi_object *lock) {
  uint32_t depth = 0;
  while (mfi_lock_release(self, lock) == MFI_OK)
    depth++;
  return depth;
}

// The lock was acquired once; now as often as before.
static void deepen(mfi_self *self, mfi_object *lock, uint32_t depth) {
  bool abandoned;
  while (--depth > 0)
    mfi_lock_acquire(self, lock, 0, &abandoned);
}

// ---- Condition: wait

static int look_up(lua_State *L) {
  mfi_context_look_up(L);
  return 0;
}

// Runs what is due. True: an error is at the top, a stop or Ctrl-C.
static bool must_end(lua_State *L) {
  lua_pushcfunction(L, look_up);
  return lua_pcall(L, 0, 0, 0) != LUA_OK;
}

// A callback may have acquired it and kept it.
static mfi_status acquire(mfi_self *self, mfi_object *lock, mfi_ns until, bool *abandoned,
                          mfi_cycle *cycle) {
  mfi_status st = mfi_lock_acquire_telling(self, lock, until, abandoned, cycle);
  return st == MFI_DEADLOCK && mfi_lock_is_own(self, lock) ? MFI_OK : st;
}

typedef struct wait_call {
  mfi_object *o;
  mfi_box *lock;
  uint32_t place, depth;
} wait_call;

// Raises the error at the top, a stop or Ctrl-C, with the lock where that can be had soon. Who
// gives back what it has not got again is not told off (mfi_box.lost).
static void raise_with_lock(lua_State *L, const wait_call *w) {
  mfi_context *m = w->lock->m;
  bool stopped = m->stop != NULL && mfi_stop_raised(m->stop) != 0, abandoned;
  mfi_ns until = mfi_os_deadline(stopped ? STOPPED_SECONDS : INTERRUPTED_SECONDS);
  mfi_cycle cycle;
  mfi_status st;
  mfi_condition_leave(m->self, w->o, w->place, false);
  do
    st = acquire(m->self, w->lock->o, until, &abandoned, &cycle);
  while (st == MFI_INTERRUPTED && !must_end(L));
  if (st == MFI_OK)
    deepen(m->self, w->lock->o, w->depth);
  else
    w->lock->lost += w->depth;
  lua_error(L);
}

// Nobody can have the lock any more: raises `deadlock`, without it.
static void raise_deadlock(lua_State *L, const wait_call *w, const mfi_cycle *cycle) {
  mfi_self *self = w->lock->m->self;
  mfi_condition_leave(self, w->o, w->place, false);
  w->lock->lost += w->depth;
  mfi_bind_raise_deadlock(L, self, cycle);
}

// Gives the lock back, sleeps, and has it again when it returns. MFI_OK: it was called;
// MFI_TIMEDOUT.
static mfi_status wait(lua_State *L, mfi_box *b, mfi_box *lock, mfi_ns until, bool *abandoned) {
  mfi_self *self = b->m->self;
  wait_call w = {.o = b->o, .lock = lock};
  mfi_cycle cycle;
  mfi_status st = mfi_condition_enter(self, w.o, &w.place);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "wait");
  w.depth = let_go(self, lock->o);
  while (mfi_condition_await(self, w.place, until) == MFI_INTERRUPTED)
    if (must_end(L))
      raise_with_lock(L, &w);
  while ((st = acquire(self, lock->o, MFI_NEVER, abandoned, &cycle)) == MFI_INTERRUPTED)
    if (must_end(L))
      raise_with_lock(L, &w);
  if (st == MFI_DEADLOCK)
    raise_deadlock(L, &w, &cycle);
  deepen(self, lock->o, w.depth);
  return mfi_condition_leave(self, w.o, w.place, true) ? MFI_OK : MFI_TIMEDOUT;
}

// Behind what is at the top. How many in all.
static int push_reasons(lua_State *L, bool timed_out, bool abandoned) {
  if (timed_out)
    lua_pushliteral(L, "timeout");
  if (abandoned)
    lua_pushliteral(L, "abandoned");
  return 1 + timed_out + abandoned;
}

static int condition_wait(lua_State *L) {
  mfi_box *b = condition_of(L, "wait");
  mfi_ns until = mfi_bind_timeout(L, 2, "wait", NULL);
  bool abandoned = false;
  mfi_box *lock = push_held_lock(L, b, "wait on");
  bool timed_out = wait(L, b, lock, until, &abandoned) != MFI_OK;
  lua_pushboolean(L, !timed_out);
  return push_reasons(L, timed_out, abandoned);
}

static void check_callable(lua_State *L, int idx, const char *method) {
  if (lua_isfunction(L, idx))
    return;
  if (luaL_getmetafield(L, idx, "__call") == LUA_TNIL)
    luaL_error(L, "bad argument #%d to '%s' (function expected, got %s)", idx, method,
               lua_isnone(L, idx) ? "no value" : luaL_typename(L, idx));
  lua_pop(L, 1);
}

static int condition_wait_for(lua_State *L) {
  mfi_box *b = condition_of(L, "wait_for");
  mfi_ns until = mfi_bind_timeout(L, 3, "wait_for", NULL);
  bool timed_out = false, abandoned = false;
  check_callable(L, 2, "wait_for");
  lua_settop(L, 2);
  mfi_box *lock = push_held_lock(L, b, "wait on");
  for (;;) {
    lua_pushvalue(L, 2);
    lua_call(L, 0, 1);
    bool holds = lua_toboolean(L, -1);
    if (holds || timed_out)
      return push_reasons(L, !holds, abandoned);
    lua_pop(L, 1);
    b = condition_of(L, "wait_for"); // pred may have closed or released it
    check_holder(L, lock, "wait on");
    bool now = false;
    timed_out = wait(L, b, lock, until, &now) != MFI_OK;
    abandoned = abandoned || now;
  }
}

// ---- Condition: notify

static int condition_notify(lua_State *L) {
  mfi_box *b = condition_of(L, "notify");
  lua_Integer n = luaL_optinteger(L, 2, 1);
  if (n < 0)
    return luaL_error(L, "bad argument #2 to 'notify' (number from 0 expected, got %I)",
                      (LUAI_UACINT)n);
  push_held_lock(L, b, "notify");
  mfi_condition_notify(b->m->self, b->o, (uint64_t)n);
  return 0;
}

static int condition_notify_all(lua_State *L) {
  mfi_box *b = condition_of(L, "notify_all");
  push_held_lock(L, b, "notify");
  mfi_condition_notify(b->m->self, b->o, UINT64_MAX);
  return 0;
}

// ---- Barrier: the action

static mfi_box *barrier_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_BARRIER, method);
}

// Calls a copy of the action that came with the barrier. [-0, +0, v]
static void call_action(lua_State *L, mfi_context *m, mfi_object *o) {
  mfi_body *body = mfi_message_body(m->self, mfi_barrier_of(o)->action);
  mfi_message message = {.bytes = mfi_message_bytes(body),
                         .size = body->size,
                         .refs = body->refs,
                         .nrefs = body->nrefs};
  int top = lua_gettop(L);
  mfi_decode(m->codec, L, &message, mfi_context_flags(m));
  if (lua_type(L, -1) == LUA_TSTRING) {
    size_t size;
    const char *name = lua_tolstring(L, -1, &size);
    mfi_func_resolve_name(L, name, size);
  }
  lua_call(L, 0, 0);
  lua_settop(L, top);
}

// ---- Barrier: wait

typedef struct call {
  mfi_visit visit;
  mfi_context *m;
  mfi_object *o;
} call;

// However the call ends: the others are not left waiting for it.
static int call_close(lua_State *L) {
  call *c = lua_touserdata(L, 1);
  mfi_barrier_leave(c->m->self, c->o, &c->visit);
  return 0;
}

static call *push_call(lua_State *L, const mfi_box *b) {
  static const char key;
  call *c = lua_newuserdatauv(L, sizeof *c, 0);
  *c = (call){.m = b->m, .o = b->o};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, call_close);
    lua_setfield(L, -2, "__close");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
  }
  lua_setmetatable(L, -2);
  lua_toclose(L, -1);
  return c;
}

static mfi_ns barrier_until(lua_State *L, const mfi_box *b) {
  double timeout = mfi_barrier_of(b->o)->timeout;
  if (lua_isnoneornil(L, 2) && !isinf(timeout))
    return mfi_os_deadline(timeout);
  return mfi_bind_timeout(L, 2, "wait", "waiting() tells how many wait");
}

static int barrier_wait(lua_State *L) {
  mfi_box *b = barrier_of(L, "wait");
  mfi_ns until = barrier_until(L, b);
  mfi_self *self = b->m->self;
  call *c = push_call(L, b);
  mfi_status st;
  while ((st = mfi_barrier_wait(self, c->o, &c->visit, until)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  if (st == MFI_RUNNING) {
    call_action(L, c->m, c->o);
    st = mfi_barrier_acted(self, c->o, &c->visit);
  }
  if (st == MFI_NOMEM)
    mfi_bind_raise(L, st, "wait");
  if (st == MFI_OK) {
    lua_pushinteger(L, (lua_Integer)c->visit.index);
    return 1;
  }
  lua_pushnil(L);
  return give_reason(L, st == MFI_TIMEDOUT ? "timeout" : "broken");
}

// ---- Barrier: the rest

static int barrier_abort(lua_State *L) {
  mfi_box *b = barrier_of(L, "abort");
  mfi_barrier_abort(b->m->self, b->o);
  return 0;
}

static int barrier_reset(lua_State *L) {
  mfi_box *b = barrier_of(L, "reset");
  mfi_barrier_reset(b->m->self, b->o);
  return 0;
}

static int barrier_parties(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mfi_barrier_of(barrier_of(L, "parties")->o)->parties);
  return 1;
}

static int barrier_waiting(lua_State *L) {
  lua_pushinteger(L, load_acquire(&mfi_barrier_of(barrier_of(L, "waiting")->o)->arrived));
  return 1;
}

static int barrier_broken(lua_State *L) {
  lua_pushboolean(L, load_acquire(&mfi_barrier_of(barrier_of(L, "broken")->o)->broken) != 0);
  return 1;
}

// ---- Constructors. The userdata comes first: nothing may raise between a reference and its owner

static mfi_object *make(lua_State *L, mfi_object_kind kind) {
  mfi_box *b = mfi_bind_empty(L, kind);
  uint32_t place;
  mfi_handle h = mfi_object_make(b->m->self, kind, &place);
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, mfi_bind_kind_name(kind));
  mfi_bind_fill(L, b, h, place);
  return b->o;
}

static int core_event(lua_State *L) {
  make(L, MFI_KIND_EVENT);
  return 1;
}

// A Lock or RLock.
static int core_condition(lua_State *L) {
  mfi_box *lock = mfi_bind_any(L, 1);
  mfi_object *o = make(L, MFI_KIND_CONDITION);
  mfi_status st = mfi_condition_init(lock->m->self, o, lock->handle);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "the lock of this Condition");
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

// parties, timeout or nil, action or nil.
static int core_barrier(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  mfi_object *o = make(L, MFI_KIND_BARRIER);
  mfi_barrier_init(o, (uint64_t)lua_tointeger(L, 1), luaL_optnumber(L, 2, HUGE_VAL));
  if (lua_isnoneornil(L, 3))
    return 1;
  mfi_encoded e;
  mfi_ref block;
  mfi_encode(m->codec, L, 3, 1, "action", 0, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status st = mfi_message_make(m->self, &src, &block);
  mfi_encoded_release(m->codec, L, &e);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "an object in the action");
  mfi_barrier_give_action(m->self, o, block);
  return 1;
}

static void add_lock_methods(lua_State *L, mfi_object_kind kind) {
  mfi_bind_metatable(L, kind);
  lua_getfield(L, -1, "__index");
  mfi_bind_lock_methods(L, kind);
  lua_pop(L, 2);
}

void mfi_bind_open_gates(lua_State *L) {
  static const luaL_Reg of_events[] = {{"set", event_set},
                                       {"clear", event_clear},
                                       {"is_set", event_is_set},
                                       {"wait", event_wait},
                                       {NULL, NULL}};
  static const luaL_Reg of_conditions[] = {{"wait", condition_wait},
                                           {"wait_for", condition_wait_for},
                                           {"notify", condition_notify},
                                           {"notify_all", condition_notify_all},
                                           {NULL, NULL}};
  static const luaL_Reg of_barriers[] = {{"wait", barrier_wait},
                                         {"abort", barrier_abort},
                                         {"reset", barrier_reset},
                                         {"parties", barrier_parties},
                                         {"waiting", barrier_waiting},
                                         {"broken", barrier_broken},
                                         {NULL, NULL}};
  static const luaL_Reg makers[] = {{"Event", core_event},
                                    {"Condition", core_condition},
                                    {"Barrier", core_barrier},
                                    {NULL, NULL}};
  mfi_bind_methods(L, MFI_KIND_EVENT, of_events);
  mfi_bind_methods(L, MFI_KIND_CONDITION, of_conditions);
  mfi_bind_methods(L, MFI_KIND_BARRIER, of_barriers);
  add_lock_methods(L, MFI_KIND_CONDITION);
  luaL_setfuncs(L, makers, 0);
}
