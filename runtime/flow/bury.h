// Burial of a slot: what its worker left in the region goes back. Floor 4.
//
//   settle locks --> wake --> give back handles --> free the hand --> release the slot
//
// The worker is dead, or it is the caller's own and leaves. Each step may be repeated: when the
// burier dies, its own slot is buried first, then this one again.
#ifndef MFI_FLOW_BURY_H
#define MFI_FLOW_BURY_H

#include "mem/region.h"

// The first two steps: from here on all that the slot names is whole, and nobody sleeps on its
// account.
void mfi_slot_settle(mfi_self *self, uint32_t dead);

// All steps. The caller sees to it that nobody else buries the same slot now.
void mfi_slot_bury(mfi_self *self, uint32_t dead);

#endif
