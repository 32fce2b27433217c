// The warden: one small process with one thread that forks all process workers of a runtime, nested
// ones too, and buries them. Floor 4.
//
//   host --fork twice--> warden --fork--> workers        requests: a socket that all of them have
//
// One worker is forked ahead: once there was a start, a child that knows nothing yet waits for the
// next one.
//
// It sleeps in one poll: requests, SIGCHLD, the host's end. A pid is reaped only after its slot was
// buried, so no signal ever reaches a stranger. When a worker dies its descendants are killed; when
// the host dies, everything is, after a moment in which workers can see it.
#ifndef MFI_FLOW_WARDEN_H
#define MFI_FLOW_WARDEN_H

#include "flow/runtime.h"

// Forks a warden for this runtime, unless it has one. MFI_SYSTEM.
mfi_status mfi_warden_open(mfi_runtime *rt, mfi_self *self);
// The host lives on without its runtime: the warden kills all that is left, and ends.
void mfi_warden_end(mfi_runtime *rt);
// Has the worker of this slot forked.
mfi_status mfi_warden_start(mfi_self *self, uint32_t slot);

// How long the workers of a host or a worker that died live on, so that they can see it.
#define MFI_ORPHAN_NS (1 * MFI_SECOND)

#endif
