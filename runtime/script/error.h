// mf.Error: what Moonfleet raises when something failed at run time.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. An error is a Lua table {kind=, message=, ...}
// whose metatable is one per Lua state, made at first use and kept in the registry.
#ifndef MFI_SCRIPT_ERROR_H
#define MFI_SCRIPT_ERROR_H

#include <lua.h>

#include <stdarg.h>

// Pushes the error {kind = kind, message = formatted}; fmt as in lua_pushfstring. [-0, +1, m]
// Further fields (worker, pid, path, errno ...) are set by the caller on the table pushed.
void mfi_error_push(lua_State *L, const char *kind, const char *fmt, ...);
void mfi_error_pushv(lua_State *L, const char *kind, const char *fmt, va_list args);

// Raises such an error; no position is added. [-0, +0, v]
_Noreturn void mfi_error_raise(lua_State *L, const char *kind, const char *fmt, ...);

// Is the value at idx an mf.Error (of this kind, where kind is not NULL)? [-0, +0, -]
int mfi_error_is(lua_State *L, int idx, const char *kind);

// Makes the table at idx an mf.Error: sets the metatable, nothing else. [-0, +0, m]
void mfi_error_bless(lua_State *L, int idx);

// Pushes the text of any error value, also of one whose __tostring raises. [-0, +1, m]
const char *mfi_error_text(lua_State *L, int idx);

// Pushes the metatable of errors, to which a binding may add methods. [-0, +1, m]
void mfi_error_metatable(lua_State *L);

#endif
