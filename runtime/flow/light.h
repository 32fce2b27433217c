// Lights: descriptors that show what goes on in the region, for polls. Floor 4.
//
// Each has a quiet thread of this process, which sleeps on the event of what it shows. What can go
// out again (a queue that is drained) is looked at every few milliseconds while it is lit, or when
// somebody says so.
#ifndef MFI_FLOW_LIGHT_H
#define MFI_FLOW_LIGHT_H

#include "flow/runtime.h"

typedef struct mfi_light mfi_light;

// For a WORKER: it has ended. A job: it has ended. A QUEUE: a get would not wait. The light holds
// a reference. self: for this call alone. NULL: no thread, no descriptor, no memory; or it is gone.
mfi_light *mfi_light_open(mfi_self *self, mfi_handle h);
// Watched futures that have ended wait for the caller's slot.
mfi_light *mfi_light_open_due(mfi_self *self);

int mfi_light_fd(const mfi_light *l);
// Looks whether it is still to be lit.
void mfi_light_look(mfi_light *l);
// Ends the thread, waits for that, and closes the descriptor. self: for this call alone.
void mfi_light_close(mfi_light *l, mfi_self *self);

#endif
