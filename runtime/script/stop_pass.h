// How functions that protect Lua code, or run it in a coroutine, let a stop through. Floor 5; for
// stop_wrap.c and for what else in the script room calls Lua under protection.
#ifndef MFI_SCRIPT_STOP_PASS_H
#define MFI_SCRIPT_STOP_PASS_H

#include "script/stop.h"

// The stops that were raised before a protected call.
typedef uint32_t mfi_stop_mark;

mfi_stop_mark mfi_stop_mark_now(void);

// Was a stop raised since then, in what was protected? What a __close method protects while another
// stop passes by is not meant: it began after the raise.
bool mfi_stop_passed(mfi_stop_mark mark);

// After the protected call: raises a stop that went through it again, and arms the hook where one
// is pending and its signal may have met another coroutine. [-0, +0, v]
void mfi_stop_pass(lua_State *L, mfi_stop_mark mark);
// Raises the stop again, with the error at the top. [-1, +0, v]
_Noreturn void mfi_stop_pass_error(lua_State *L);

// Around lua_resume and lua_resetthread of co; frame lies on the C stack. No bound stop: no effect.
void mfi_stop_enter(mfi_stop_frame *frame, lua_State *co, bool closing);
void mfi_stop_leave(mfi_stop_frame *frame);

// Around an xpcall, whose handler must not meet a stop. It may be left without `off` in a
// coroutine.
void mfi_stop_handler_on(lua_State *L);
void mfi_stop_handler_off(lua_State *L);

// Stack levels that are searched: a stack may have 200,000, and each look counts from the top.
#define MFI_STOP_LOOK_AT 100

// Is L inside a __close method? Needs four stack slots; where there are none: no.
bool mfi_stop_in_close(lua_State *L);
int mfi_stop_pcall(lua_State *L);
int mfi_stop_xpcall(lua_State *L);

#endif
