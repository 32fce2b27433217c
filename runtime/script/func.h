// Functions as values: what else the codec knows about them.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#ifndef MFI_SCRIPT_FUNC_H
#define MFI_SCRIPT_FUNC_H

#include "script/codec.h"

#include <lua.h>

#include <stddef.h>

// Pushes the function that "module:name" names (name may be dotted: "module:class.method"),
// requiring the module where it is not loaded. Raises a string naming what is missing. [-0, +1, v]
void mfi_func_resolve_name(lua_State *L, const char *text, size_t size);

// Pushes mf.captures(fn) of the Lua function at idx: {upvalues = {name = bytes}, globals =
// {name = bytes}, modules = {name, ...}, code = bytes, size = bytes, problem = text or nil}, with a
// readable __tostring. [-0, +1, v]
void mfi_func_captures(mfi_codec *c, lua_State *L, int idx);

// Describes the function at idx as errors do, "function <jobs.lua:12>", into buf. [-0, +0, -]
void mfi_func_describe(lua_State *L, int idx, char *buf, size_t size);

#endif
