// Byte rings: the segments of a queue. Floor 4; part of the queue.
#ifndef MFI_FLOW_RING_H
#define MFI_FLOW_RING_H

#include "mem/region.h"

// A mark: how many messages have passed an end of a queue, and where in the rings it stands, in ONE
// word, so that one store moves an end. Positions are in units of 8 bytes, free-running through all
// rings of the queue; counts and positions wrap.
//
//   | count: 46 bits | position: 18 bits |
typedef uint64_t mfi_mark;
#define MFI_POSITIONS ((uint64_t)1 << 18) // at least twice the units of the largest ring

static inline uint64_t mfi_mark_position(mfi_mark m) { return m & (MFI_POSITIONS - 1); }
// `messages` further than m, at `position`.
static inline mfi_mark mfi_mark_moved(mfi_mark m, uint64_t messages, uint64_t position) {
  return (m / MFI_POSITIONS + messages) * MFI_POSITIONS | mfi_mark_position(position);
}
// Messages between two marks.
static inline uint64_t mfi_mark_count(mfi_mark from, mfi_mark to) {
  return (to / MFI_POSITIONS - from / MFI_POSITIONS) & (UINT64_MAX / MFI_POSITIONS);
}
// Bytes between two positions of one ring, at most its capacity.
static inline uint64_t mfi_mark_bytes(uint64_t from, uint64_t to) {
  return ((to - from) & (MFI_POSITIONS - 1)) * 8;
}

// Payload of an MFI_BLOCK_RING. A position p lies at bytes[8 p modulo capacity].
typedef struct mfi_ring {
  uint64_t capacity; // a power of two; set once
  uint64_t end;      // position behind the last record; set with next
  mfi_ref next;      // the ring is sealed, no record comes behind `end`; atomic
  _Alignas(64) char bytes[];
} mfi_ring;

#define MFI_RING_MOST ((uint64_t)1 << 20) // capacity

typedef struct mfi_record {
  uint32_t size; // of the message; of a pad: all of it with this head
  uint32_t kind; // MFI_RECORD_*
} mfi_record;

enum { MFI_RECORD_INLINE = 1, MFI_RECORD_BLOCK = 2, MFI_RECORD_PAD = 3 };

// A ring of at least `capacity` bytes in the caller's hand. 0: no memory.
mfi_ref mfi_ring_make(mfi_self *self, uint64_t capacity);
static inline mfi_ring *mfi_ring_at(const mfi_self *self, mfi_ref ref) {
  return (mfi_ring *)(((uintptr_t)self->region + ref + sizeof(mfi_block) + 63) & ~(uintptr_t)63);
}

// Bytes of a whole record, with its head.
static inline uint64_t mfi_record_whole(uint64_t size) {
  return sizeof(mfi_record) + ((size + 7) & ~(uint64_t)7);
}
static inline uint64_t mfi_record_length(const mfi_record *rec) {
  return rec->kind == MFI_RECORD_PAD ? rec->size : mfi_record_whole(rec->size);
}
static inline mfi_record *mfi_ring_record(mfi_ring *r, uint64_t position) {
  return (mfi_record *)(void *)(r->bytes + (position * 8 & (r->capacity - 1)));
}

// Room for `need` contiguous bytes at *position, when nothing from `head` on may be overwritten?
// Then where they begin, with a pad written in front where the end of the ring is too near;
// *position is behind them. NULL: full.
char *mfi_ring_reserve(mfi_ring *r, uint64_t head, uint64_t need, uint64_t *position);

#endif
