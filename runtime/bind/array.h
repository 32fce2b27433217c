// The two halves of Array in Lua. Floor 7.
#ifndef MFI_BIND_ARRAY_H
#define MFI_BIND_ARRAY_H

#include "bind/calls.h"
#include "bind/number.h"

// A new Array with memory of its own, 0 everywhere or whatever was there. Raises no_memory, naming
// `method`. [-0, +1, v]
mfi_box *mfi_bind_array_new(lua_State *L, const mfi_shape *s, bool zero, const char *method);

// The range that arguments i and j of a method name, both optional: from 0, and how many.
void mfi_bind_array_range(lua_State *L, const mfi_box *b, const char *method, uint64_t *from,
                          uint64_t *count);

// Methods that are about shapes and views.
int mfi_bind_array_text(lua_State *L);
int mfi_bind_array_shape(lua_State *L);
int mfi_bind_array_at(lua_State *L);
int mfi_bind_array_put(lua_State *L);
int mfi_bind_array_view(lua_State *L);
int mfi_bind_array_split(lua_State *L);
int mfi_bind_array_reshape(lua_State *L);

#endif
