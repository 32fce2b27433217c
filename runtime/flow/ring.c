// Byte rings. Floor 4; see ring.h. Locks: the caller holds the put side's.
#include "flow/ring.h"

_Static_assert(MFI_POSITIONS * 8 >= 2 * MFI_RING_MOST, "a ring's positions are told apart");

mfi_ref mfi_ring_make(mfi_self *self, uint64_t capacity) {
  mfi_ref ref = mfi_heap_alloc(self, sizeof(mfi_ring) + 64 + capacity, MFI_BLOCK_RING);
  if (ref == 0)
    return 0;
  mfi_ring *r = mfi_ring_at(self, ref);
  r->capacity = capacity;
  r->end = 0;
  r->next = 0;
  return ref;
}

char *mfi_ring_reserve(mfi_ring *r, uint64_t head, uint64_t need, uint64_t *position) {
  uint64_t offset = *position * 8 & (r->capacity - 1), to_end = r->capacity - offset;
  uint64_t pad = to_end < need ? to_end : 0;
  if (mfi_mark_bytes(head, *position) + pad + need > r->capacity)
    return NULL;
  if (pad != 0)
    *mfi_ring_record(r, *position) = (mfi_record){.size = (uint32_t)pad, .kind = MFI_RECORD_PAD};
  *position += (pad + need) / 8;
  return pad != 0 ? r->bytes : r->bytes + offset;
}
