// Moonfleet objects as Lua userdata. Floor 7. Locks nothing of its own.
//
// One userdata for each object and state; it holds one reference, in the handle table of the
// thread's slot, and a Future another, to its pool. The state's own weak table finds it again by
// its handle.
#ifndef MFI_BIND_OBJECT_H
#define MFI_BIND_OBJECT_H

#include "script/context.h"
#include "script/error.h"
#include "sync/deadlock.h"

#include <lauxlib.h>

typedef struct mfi_box {
  const void *magic; // tells our userdata from others
  mfi_context *m;
  mfi_handle handle; // 0: released
  mfi_object *o;     // of a Future: its core
  mfi_ref job;       // of a Future
  uint32_t kind;     // mfi_object_kind
  uint32_t place, pool_place;
  bool has_pool;
  bool pending; // of a queue: errors of messages are kept, see bind/queue.c
  // Of a Value or Array, so that an element costs no look into the region; count 0: released.
  char *elements;
  uint64_t count;
  uint32_t type;           // mfi_type
  uint32_t lost;           // of a lock: acquires that a wait on a condition could not get back
  struct mfi_light *light; // shows its fd, see bind/light.c; NULL: nobody asked for that
} mfi_box;

extern const mfi_codec_hooks mfi_bind_hooks;

// Pushes the object of a handle; takes a reference. Raises `closed`. [-0, +1, v]
void mfi_bind_push(lua_State *L, mfi_handle h);

// The userdata at idx if it is one of this kind, released or not; NULL.
mfi_box *mfi_bind_test(lua_State *L, int idx, mfi_object_kind kind);
mfi_box *mfi_bind_any(lua_State *L, int idx);
// The same for a method's self; raises misuse that names `method`, and `closed` when it was
// released.
mfi_box *mfi_bind_self(lua_State *L, mfi_object_kind kind, const char *method);
// For functions of moonfleet.core: argument idx, not released.
mfi_box *mfi_bind_check(lua_State *L, int idx, mfi_object_kind kind);

// Lets the reference go, before the collector does.
void mfi_bind_release(lua_State *L, mfi_box *box);

// Pushes the metatable of a kind; methods, ended by NULL, go to its __index table. [-0, +1, m]
void mfi_bind_metatable(lua_State *L, mfi_object_kind kind);
void mfi_bind_methods(lua_State *L, mfi_object_kind kind, const luaL_Reg *methods);
// Gives a kind fields that are computed: field(userdata, key) → value, for what is no method. [-0,
// +0, m]
void mfi_bind_fields(lua_State *L, mfi_object_kind kind, lua_CFunction field);
const char *mfi_bind_kind_name(mfi_object_kind kind);

// Pushes the lock that goes with the Condition at index 1. [-0, +1, v]
mfi_box *mfi_bind_push_condition_lock(lua_State *L, mfi_box *condition);

// Raises what a status means: no_memory, closed, system … [-0, +0, v]
_Noreturn void mfi_bind_raise(lua_State *L, mfi_status st, const char *what);
// Raises `deadlock`, which tells of the cycle that the caller has closed. [-0, +0, v]
_Noreturn void mfi_bind_raise_deadlock(lua_State *L, mfi_self *self, const mfi_cycle *cycle);

// Argument idx of `method` as a deadline; hint: what to do instead of a boolean, or NULL.
mfi_ns mfi_bind_timeout(lua_State *L, int idx, const char *method, const char *hint);
// Of moonfleet.core's own functions: nil or a number that was checked.
mfi_ns mfi_bind_until(lua_State *L, int idx);

// What a status is called in Lua.
const char *mfi_bind_status(mfi_status st);

static inline mfi_context *mfi_bind_context(lua_State *L) { return mfi_context_of(L); }

#endif
