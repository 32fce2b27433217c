// The host's own Lua states: attached to a runtime at their first use, calls that never raise.
// Floor 6. An attached state has a slot of its own, which holds its references until it is closed;
// it serves one runtime.
#ifndef MFI_API_LUA_STATE_H
#define MFI_API_LUA_STATE_H

#include "api/runtime.h"

// Functions and modules of messages as any script gets them; globals only where they are nil.
#define MFI_LUA_DECODE (MFI_DECODE_FUNCTIONS | MFI_DECODE_REQUIRE)

// Calls fn in L, which is attached where it has to be, with the nargs values on the top as its
// stack. They are popped in every case; nresults (or LUA_MULTRET) are pushed when it ends well. On
// failure the calling thread's error says why. MF_OK, MF_INVALID (another runtime's state), or what
// the error that was raised means: MF_NOT_SENDABLE, MF_DECODE, MF_CLOSED, MF_NOMEM, MF_FAILED.
typedef int mfi_lua_fn(mfi_context *m, lua_State *L, void *arg);
mf_status mfi_lua_call(mf_runtime *rt, lua_State *L, mfi_lua_fn *fn, void *arg, int nargs,
                       int nresults);

// Has the waits of attached states look up: rt is interrupted or closed, or no more. Under the
// mutex.
void mfi_lua_states_note(mf_runtime *rt);

#endif
