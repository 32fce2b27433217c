// Weak tables of a Lua state. Floor 5. Locks nothing, sleeps nowhere.
#ifndef MFI_SCRIPT_WEAK_H
#define MFI_SCRIPT_WEAK_H

#include <lua.h>

// Pushes the state's table for this key (an address), made at first use; mode: "k" or "v".
// [-0, +1, m]
void mfi_weak_push(lua_State *L, const void *key, const char *mode);

#endif
