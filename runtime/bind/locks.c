// Lock, RLock, Semaphore, BoundedSemaphore in Lua. Floor 7. Sleeps in acquire.
#include "sync/locks.h"

#include "base/assert.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "bind/object.h"
#include "flow/text.h"
#include "flow/waits.h"

#include <string.h>

static const char guard_key;

// Of the kind that the method was taken from, upvalue 1. In the place of a Condition comes its
// lock.
static mfi_box *self_of_kind(lua_State *L, const char *method) {
  mfi_object_kind kind = (mfi_object_kind)lua_tointeger(L, lua_upvalueindex(1));
  mfi_box *b = mfi_bind_self(L, kind, method);
  if (kind != MFI_KIND_CONDITION)
    return b;
  b = mfi_bind_push_condition_lock(L, b);
  lua_replace(L, 1);
  return b;
}

// The methods that all four kinds have will do for each of them, and need not ask.
static mfi_box *self_of(lua_State *L, const char *method) {
  mfi_box *b = mfi_bind_any(L, 1);
  bool fits =
      b != NULL && b->handle != 0 && b->kind >= MFI_KIND_LOCK && b->kind <= MFI_KIND_BOUNDED;
  return fits ? b : self_of_kind(L, method);
}

static bool is_lock(const mfi_box *b) {
  return b->kind == MFI_KIND_LOCK || b->kind == MFI_KIND_RLOCK;
}

// ---- Acquiring

_Noreturn void mfi_bind_raise_deadlock(lua_State *L, mfi_self *self, const mfi_cycle *cycle) {
  luaL_Buffer b;
  size_t size = mfi_waits_deadlock(self, cycle, NULL, 0) + 1;
  luaL_buffinit(L, &b);
  size_t used = mfi_waits_deadlock(self, cycle, luaL_prepbuffsize(&b, size), size);
  luaL_addsize(&b, used < size ? used : size - 1);
  luaL_pushresult(&b);
  mfi_error_raise(L, "deadlock", "%s", lua_tostring(L, -1));
}

static mfi_status try_once(mfi_box *b, mfi_ns until, bool *abandoned, mfi_cycle *cycle) {
  *abandoned = false;
  if (is_lock(b))
    return mfi_lock_acquire_telling(b->m->self, b->o, until, abandoned, cycle);
  return mfi_semaphore_acquire(b->m->self, b->o, b->place, until);
}

static mfi_status acquire(lua_State *L, mfi_box *b, mfi_ns until, bool *abandoned) {
  mfi_cycle cycle;
  mfi_status st;
  while ((st = try_once(b, until, abandoned, &cycle)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  if (st == MFI_DEADLOCK)
    mfi_bind_raise_deadlock(L, b->m->self, &cycle);
  return st;
}

static int lock_acquire(lua_State *L) {
  mfi_box *b = self_of(L, "acquire");
  mfi_ns until = mfi_bind_timeout(L, 2, "acquire", "acquire(0) does not wait");
  bool abandoned;
  mfi_status st = acquire(L, b, until, &abandoned);
  lua_pushboolean(L, st == MFI_OK);
  if (st == MFI_OK && !abandoned)
    return 1;
  lua_pushstring(L, abandoned ? "abandoned" : "timeout");
  return 2;
}

// ---- Releasing

static mfi_status release(mfi_box *b, uint64_t n) {
  if (is_lock(b)) {
    mfi_status st = mfi_lock_release(b->m->self, b->o);
    if (st == MFI_OK || b->lost == 0)
      return st;
    b->lost--;
    return MFI_OK;
  }
  return mfi_semaphore_release(b->m->self, b->o, b->place, n);
}

static int lock_release(lua_State *L) {
  mfi_box *b = self_of(L, "release");
  lua_Integer n = 1;
  if (!is_lock(b)) {
    n = luaL_optinteger(L, 2, 1);
    if (n < 1)
      return luaL_error(L, "bad argument #2 to 'release' (positive number expected)");
  }
  if (release(b, (uint64_t)n) == MFI_OK)
    return 0;
  bool condition = lua_tointeger(L, lua_upvalueindex(1)) == MFI_KIND_CONDITION;
  const char *kind = condition ? "Condition" : mfi_bind_kind_name(b->kind);
  if (is_lock(b))
    return luaL_error(L, "cannot release %s %s that this worker does not hold",
                      kind[0] == 'R' ? "an" : "a", kind);
  const char *most = b->kind == MFI_KIND_BOUNDED ? "its initial value" : "math.maxinteger";
  return luaL_error(L, "cannot release a %s above %s", kind, most);
}

static int lock_locked(lua_State *L) {
  lua_pushboolean(L, mfi_lock_is_held(self_of_kind(L, "locked")->o));
  return 1;
}

static int semaphore_value(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mfi_semaphore_value(self_of_kind(L, "value")->o));
  return 1;
}

// ---- Guards

typedef struct guard {
  bool abandoned, done;
} guard;

static int guard_close(lua_State *L) {
  guard *g = lua_touserdata(L, 1);
  if (g->done)
    return 0;
  g->done = true;
  lua_getiuservalue(L, 1, 1);
  mfi_box *b = mfi_bind_any(L, -1);
  if (b != NULL && b->handle != 0)
    release(b, 1); // released by hand before: nothing to do
  return 0;
}

static int guard_index(lua_State *L) {
  guard *g = lua_touserdata(L, 1);
  const char *key = lua_tostring(L, 2);
  if (key == NULL || strcmp(key, "abandoned") != 0)
    return 0;
  lua_pushboolean(L, g->abandoned);
  return 1;
}

static void push_guard(lua_State *L, int box, bool abandoned) {
  static const luaL_Reg meta[] = {{"__close", guard_close}, {"__index", guard_index}, {NULL, NULL}};
  guard *g = lua_newuserdatauv(L, sizeof *g, 1);
  *g = (guard){.abandoned = abandoned};
  lua_pushvalue(L, box);
  lua_setiuservalue(L, -2, 1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &guard_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_setfuncs(L, meta, 0);
    lua_pushliteral(L, "Guard");
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &guard_key);
  }
  lua_setmetatable(L, -2);
}

static int lock_hold(lua_State *L) {
  mfi_box *b = self_of(L, "hold");
  bool abandoned;
  lua_settop(L, 1);
  push_guard(L, 1, false); // before the lock: nothing may raise once it is held
  acquire(L, b, MFI_NEVER, &abandoned);
  ((guard *)lua_touserdata(L, -1))->abandoned = abandoned;
  return 1;
}

static int lock_with(lua_State *L) {
  mfi_box *b = self_of(L, "with");
  bool abandoned;
  int nargs = lua_gettop(L) - 2;
  if (nargs < 0)
    return luaL_error(L, "bad argument #2 to 'with' (function expected, got no value)");
  push_guard(L, 1, false);
  lua_insert(L, 2);
  acquire(L, b, MFI_NEVER, &abandoned);
  lua_toclose(L, 2);
  lua_call(L, nargs, LUA_MULTRET);
  return lua_gettop(L) - 2;
}

// ---- Constructors and text

static int make(lua_State *L) {
  mfi_object_kind kind = (mfi_object_kind)lua_tointeger(L, lua_upvalueindex(1));
  mfi_context *m = mfi_bind_context(L);
  uint32_t place;
  uint64_t permits = (uint64_t)luaL_optinteger(L, 1, 1);
  mfi_box *b = mfi_bind_empty(L, kind);
  mfi_handle h = mfi_object_make(m->self, kind, &place);
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, mfi_bind_kind_name(kind));
  if (kind == MFI_KIND_SEMAPHORE || kind == MFI_KIND_BOUNDED)
    mfi_semaphore_init(mfi_object_of(m->self, h), permits, kind == MFI_KIND_BOUNDED);
  mfi_bind_fill(L, b, h, place);
  return 1;
}

void mfi_bind_lock_methods(lua_State *L, mfi_object_kind kind) {
  static const luaL_Reg shared[] = {{"acquire", lock_acquire},
                                    {"release", lock_release},
                                    {"hold", lock_hold},
                                    {"with", lock_with},
                                    {NULL, NULL}};
  lua_pushinteger(L, kind);
  luaL_setfuncs(L, shared, 1);
}

void mfi_bind_open_lock_kind(lua_State *L, mfi_object_kind kind) {
  static const luaL_Reg of_locks[] = {{"locked", lock_locked}, {NULL, NULL}};
  static const luaL_Reg of_semaphores[] = {{"value", semaphore_value}, {NULL, NULL}};
  bool lock = kind == MFI_KIND_LOCK || kind == MFI_KIND_RLOCK;
  mfi_bind_metatable(L, kind);
  lua_getfield(L, -1, "__index");
  mfi_bind_lock_methods(L, kind);
  lua_pushinteger(L, kind);
  luaL_setfuncs(L, lock ? of_locks : of_semaphores, 1);
  lua_pop(L, 2);
  lua_pushinteger(L, kind);
  lua_pushcclosure(L, make, 1);
  lua_setfield(L, -2, mfi_bind_kind_name(kind));
}

void mfi_bind_open_locks(lua_State *L) {
  mfi_bind_open_lock_kind(L, MFI_KIND_LOCK);
  mfi_bind_open_lock_kind(L, MFI_KIND_RLOCK);
  mfi_bind_open_lock_kind(L, MFI_KIND_SEMAPHORE);
  mfi_bind_open_lock_kind(L, MFI_KIND_BOUNDED);
}
