// Byte rings: the segments of a queue. Floor 4; part of the queue.
#ifndef MFI_FLOW_RING_H
#define MFI_FLOW_RING_H

#include "mem/region.h"

// Payload of an MFI_BLOCK_RING. head <= tail <= head + capacity, free-running; both multiples of 8.
typedef struct mfi_ring {
  uint64_t capacity;          // a power of two; set once
  mfi_ref next;               // put side: the ring is sealed, no record comes behind `tail`; atomic
  uint64_t tail;              // put side; atomic
  uint64_t head_seen;         // put side: what it knew of head; never more than head
  _Alignas(64) uint64_t head; // get side; atomic
  uint64_t tail_seen;         // get side: what it knew of tail; never more than tail
  _Alignas(64) char bytes[];
} mfi_ring;

typedef struct mfi_record {
  uint32_t size; // of the message; of a pad: all of it with this head
  uint32_t kind; // MFI_RECORD_*
} mfi_record;

enum { MFI_RECORD_INLINE = 1, MFI_RECORD_BLOCK = 2, MFI_RECORD_PAD = 3 };

// A ring of at least `capacity` bytes in the caller's hand. 0: no memory.
mfi_ref mfi_ring_make(mfi_self *self, uint64_t capacity);
static inline mfi_ring *mfi_ring_at(const mfi_self *self, mfi_ref ref) {
  return (mfi_ring *)(((uintptr_t)((mfi_block *)mfi_at(self, ref) + 1) + 63) & ~(uintptr_t)63);
}

// Put side: room for `need` contiguous bytes? Then where they begin, with a pad written in front
// where the end of the ring is too near; *tail is behind them. NULL: full.
char *mfi_ring_reserve(mfi_ring *r, uint64_t need, uint64_t *tail);
// Get side: the oldest record, *head behind it; NULL: none. Does not change the ring.
mfi_record *mfi_ring_peek(mfi_ring *r, uint64_t from, uint64_t *head);

#endif
