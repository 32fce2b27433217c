// Burial of a slot. Floor 4; see bury.h. Locks: those that the slot names, then those of each thing
// that is given back.
#include "flow/bury.h"

#include "sync/event.h"

void mfi_slot_settle(mfi_self *self, uint32_t dead) {
  mfi_lock_settle(self, dead);
  mfi_event_bury(self, dead);
}

void mfi_slot_bury(mfi_self *self, uint32_t dead) {
  mfi_slot_settle(self, dead);
  mfi_handles_bury(self, dead);
  mfi_heap_bury(self, dead);
  mfi_slot_release(self, dead);
}
