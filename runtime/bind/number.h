// Elements of Values and Arrays in Lua. Floor 7. Locks nothing, sleeps nowhere.
#ifndef MFI_BIND_NUMBER_H
#define MFI_BIND_NUMBER_H

#include "base/atomic.h"
#include "bind/object.h"
#include "flow/array.h"

#include <string.h>

// The value at idx as an element. False: it does not fit. [-0, +0, -]
bool mfi_bind_to_element(lua_State *L, int idx, uint32_t type, uint64_t *raw);
// The value at idx as a number that is added to an element. [-0, +0, -]
bool mfi_bind_to_number(lua_State *L, int idx, mfi_number *n);
// Pushes an element. Raises for a u64 above math.maxinteger. [-0, +1, v]
void mfi_bind_push_raw(lua_State *L, uint32_t type, uint64_t raw);

// Pushes what a message calls the value at idx: 300, "text", nil, Queue. [-0, +1, m]
const char *mfi_bind_push_shown(lua_State *L, int idx);
// Pushes "integer from 0 to 255 expected, got 300" for the value at idx. [-0, +1, m]
const char *mfi_bind_push_misfit(lua_State *L, int idx, uint32_t type);
// Raises "bad argument #n to 'method' (... expected, got ...)" for the value at idx.
_Noreturn void mfi_bind_misfit(lua_State *L, int idx, uint32_t type, int n, const char *method);

// An integer argument from `least` to `most`, or misuse.
uint64_t mfi_bind_integer(lua_State *L, int idx, int n, const char *method, uint64_t least,
                          uint64_t most);

// Before an Array of so many bytes is made: what has become garbage is collected when much shared
// memory may hang on it, which Lua's collector cannot see.
void mfi_bind_array_pressure(lua_State *L, uint64_t bytes);
// The same when there was no memory, before it is tried again.
void mfi_bind_array_collect(lua_State *L);

// Pushes the Lock of a Value or Array. [-0, +1, v]
int mfi_bind_push_lock(lua_State *L, mfi_box *b);

// Pushes the metatable of a kind whose __index is a function: with the methods as its first upvalue
// and `field` as its second. [-0, +1, m]
void mfi_bind_index_by(lua_State *L, mfi_object_kind kind, const luaL_Reg *methods,
                       lua_CFunction index, const char *field);

// The most common types first and without a call.
static inline void mfi_bind_push_element(lua_State *L, uint32_t type, const void *p) {
  double d;
  uint64_t raw;
  switch (type) {
  case MFI_F64:
    raw = load_relaxed((const uint64_t *)p);
    memcpy(&d, &raw, sizeof d);
    lua_pushnumber(L, d);
    return;
  case MFI_I64:
    lua_pushinteger(L, (lua_Integer)load_relaxed((const uint64_t *)p));
    return;
  case MFI_I32:
    lua_pushinteger(L, (int32_t)load_relaxed((const uint32_t *)p));
    return;
  case MFI_U8:
    lua_pushinteger(L, load_relaxed((const uint8_t *)p));
    return;
  default:
    mfi_bind_push_raw(L, type, mfi_element_load(p, mfi_type_size(type)));
  }
}

// False: the value at idx does not fit.
static inline bool mfi_bind_store(lua_State *L, int idx, uint32_t type, void *p) {
  uint64_t raw;
  if (type == MFI_F64 && lua_type(L, idx) == LUA_TNUMBER) {
    double d = lua_tonumber(L, idx);
    memcpy(&raw, &d, sizeof raw);
    store_relaxed((uint64_t *)p, raw);
    return true;
  }
  if (!mfi_bind_to_element(L, idx, type, &raw))
    return false;
  mfi_element_store(p, mfi_type_size(type), raw);
  return true;
}

#endif
