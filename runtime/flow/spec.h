// Specs: how a worker is to be run, and in which surroundings. Floor 4; part of the workers.
#ifndef MFI_FLOW_SPEC_H
#define MFI_FLOW_SPEC_H

#include "flow/worker.h"

// A message block in the caller's hand: the payload and, for processes, the caller's surroundings
// now.
mfi_status mfi_spec_make(mfi_self *self, const mfi_source *payload, uint32_t backend, mfi_ref *out);

static inline mfi_spec *mfi_spec_at(const mfi_self *self, mfi_ref block) {
  return mfi_message_bytes(mfi_message_body(self, block));
}

// The spec's surroundings become this process's; now: what they are.
void mfi_spec_apply(mfi_spec *spec, const mfi_os_surroundings *now);

#endif
