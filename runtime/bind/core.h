// The parts of moonfleet.core: each adds its functions to the table at the top. Floor 7. [-0, +0,
// m]
#ifndef MFI_BIND_CORE_H
#define MFI_BIND_CORE_H

#include "mem/object.h"

#include <lua.h>

void mfi_bind_open_queue(lua_State *L);
void mfi_bind_open_connection(lua_State *L);
void mfi_bind_open_select(lua_State *L);
void mfi_bind_open_locks(lua_State *L);
void mfi_bind_open_lock_kind(lua_State *L, mfi_object_kind kind); // one of them
void mfi_bind_open_value(lua_State *L);
void mfi_bind_open_array(lua_State *L);
// Sets acquire, release, hold and with in the table at the top, for locks or what has one.
void mfi_bind_lock_methods(lua_State *L, mfi_object_kind kind);
void mfi_bind_open_gates(lua_State *L);
void mfi_bind_open_worker(lua_State *L);
void mfi_bind_open_pool(lua_State *L);
void mfi_bind_open_future(lua_State *L);
void mfi_bind_open_batch(lua_State *L);
void mfi_bind_open_general(lua_State *L);
void mfi_bind_open_light(lua_State *L);
void mfi_bind_open_stats(lua_State *L);

// Gives one kind of queues, locks or numbers its methods, if it has none yet; pushes something.
// [-0, +1, m]
void mfi_bind_open_kind(lua_State *L, mfi_object_kind kind);
// Gives queues or connections their field fd. [-0, +0, m]
void mfi_bind_open_fields(lua_State *L, mfi_object_kind kind);
// The fd of the object at 1 is closed, if anybody asked for it. [-0, +0, m]
void mfi_bind_put_out(lua_State *L);

// Callbacks that were due have run: mf.fd() shows what is left. [-0, +0, -]
void mfi_bind_look_at_due(lua_State *L);

// luaopen of moonfleet.core in a state that has a context.
int mfi_bind_open_core(lua_State *L);

// What the Lua half does at a state's end. [-0, +0, -]
void mfi_bind_at_exit(lua_State *L);

// Pushes what require(name) gives. [-0, +1, v]
void mfi_bind_require(lua_State *L, const char *name);

#endif
