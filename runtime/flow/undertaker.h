// The undertaker: a quiet thread of the host that buries all workers of a warden that was killed.
// Floor 4.
//
// The kernel kills the workers with their warden; nobody is left to bury them but the host. The
// thread sleeps until the warden's end of the request socket is closed.
#ifndef MFI_FLOW_UNDERTAKER_H
#define MFI_FLOW_UNDERTAKER_H

#include "flow/runtime.h"

typedef struct mfi_undertaker mfi_undertaker;

// For the warden whose slot this is; socket: the host's end, which is the undertaker's if there is
// one. It takes over those of the runtime's earlier wardens. NULL: none to be had.
mfi_undertaker *mfi_undertaker_open(mfi_self *self, uint32_t warden_slot, int socket);
// The warden is about to be told to end: its end is no death. NULL: nothing.
void mfi_undertaker_retire(mfi_undertaker *u);
// The thread goes, and is waited for, and so are those before it. NULL: nothing.
void mfi_undertaker_close(mfi_undertaker *u);

#endif
