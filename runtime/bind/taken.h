// Messages that were taken from a queue, as Lua values. Floor 7.
#ifndef MFI_BIND_TAKEN_H
#define MFI_BIND_TAKEN_H

#include "bind/object.h"
#include "flow/queue.h"

// Pushes the value of a message that was taken by way of b; its block is freed, whatever happens.
// [-0, +1, v]
void mfi_bind_open_taken(lua_State *L, mfi_box *b, mfi_taken *t);

#endif
