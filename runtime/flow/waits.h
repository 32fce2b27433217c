// Who waits where for what, as text: mf.dump_waits and the message of a deadlock. Floor 4. Sleeps
// nowhere; locks what counts references. Reads what workers have put down for people
// (slot->waits_*, a lock's place), from any state of theirs.
#ifndef MFI_FLOW_WAITS_H
#define MFI_FLOW_WAITS_H

#include "sync/deadlock.h"

// Both in the manner of snprintf: the length of the whole text; what does not fit is cut.

// All workers of the runtime: a line for each, and one for each lock that it holds.
size_t mfi_waits_dump(mfi_self *self, char *out, size_t size);
// A cycle that the caller has just closed, while it is still in the call that did.
size_t mfi_waits_deadlock(mfi_self *self, const mfi_cycle *c, char *out, size_t size);

#endif
