// What is published by name for all workers of a runtime: registered classes. Floor 4.
// A list that only grows: who reads needs no lock, and a name published again stands before the old
// one. Its blocks live as long as the region: region->published_count says how many they are, so
// that a count of what is left over (core.audit) can leave them out.
#ifndef MFI_FLOW_REGISTRY_H
#define MFI_FLOW_REGISTRY_H

#include "flow/message.h"

// MFI_NOMEM, MFI_CLOSED. Locks: region->objects_lock.
mfi_status mfi_registry_put(mfi_self *self, const char *name, const mfi_source *src);
// The latest message of this name; NULL: none. Valid as long as the region.
const void *mfi_registry_get(mfi_self *self, const char *name, uint64_t *size,
                             const mfi_handle **refs, uint32_t *nrefs);

#endif
