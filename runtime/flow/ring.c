// Byte rings. Floor 4; see ring.h. Locks: the caller holds its side's.
#include "flow/ring.h"

#include "base/atomic.h"

mfi_ref mfi_ring_make(mfi_self *self, uint64_t capacity) {
  mfi_ref ref = mfi_heap_alloc(self, sizeof(mfi_ring) + 64 + capacity, MFI_BLOCK_RING);
  if (ref == 0)
    return 0;
  mfi_ring *r = mfi_ring_at(self, ref);
  *r = (mfi_ring){.capacity = capacity};
  return ref;
}

char *mfi_ring_reserve(mfi_ring *r, uint64_t need, uint64_t *tail) {
  uint64_t at = r->tail, offset = at & (r->capacity - 1), to_end = r->capacity - offset;
  uint64_t pad = to_end < need ? to_end : 0;
  if (at + pad + need - r->head_seen > r->capacity) {
    r->head_seen = load_acquire(&r->head);
    if (at + pad + need - r->head_seen > r->capacity)
      return NULL;
  }
  if (pad != 0) {
    *(mfi_record *)(void *)(r->bytes + offset) =
        (mfi_record){.size = (uint32_t)pad, .kind = MFI_RECORD_PAD};
    offset = 0;
  }
  *tail = at + pad + need;
  return r->bytes + offset;
}

static uint64_t length(const mfi_record *rec) {
  if (rec->kind == MFI_RECORD_PAD)
    return rec->size;
  uint64_t size = rec->kind == MFI_RECORD_BLOCK ? sizeof(mfi_ref) : rec->size;
  return sizeof *rec + ((size + 7) & ~(uint64_t)7);
}

mfi_record *mfi_ring_peek(mfi_ring *r, uint64_t from, uint64_t *head) {
  for (;;) {
    if (from == r->tail_seen) {
      r->tail_seen = load_acquire(&r->tail);
      if (from == r->tail_seen)
        return NULL;
    }
    mfi_record *rec = (mfi_record *)(void *)(r->bytes + (from & (r->capacity - 1)));
    from += length(rec);
    *head = from;
    if (rec->kind != MFI_RECORD_PAD)
      return rec;
  }
}
