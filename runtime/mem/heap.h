// The heap: blocks of shared memory. Floor 2. Locks: its own, one for each size class and one for
// units.
//
// The arena is units of 64 KiB. A unit is free, the first of a run (table entry = kind and length),
// or inside one (entry 0, covered). Small blocks are cut from one-unit spans of their class; larger
// ones are runs. Free is what no run covers: nothing is split or coalesced. A span whose blocks are
// all free stays its class's until units are wanted that are not there: then it is given up.
//
// The owner word in a block's header is the truth; free lists are caches.
//
//   FREE --[mfi_heap_alloc]--> HAND of a slot --[mfi_hand_out, in the record that links it]-->
//   LINKED LINKED --[mfi_hand_in, in the record that unlinks it]--> HAND --[mfi_heap_free]--> FREE,
//   generation + 1
//
// A block in hand is on its slot's `hand` list, so burial finds it. Most recently freed is given
// out first: a steady stream touches no new page.
#ifndef MFI_MEM_HEAP_H
#define MFI_MEM_HEAP_H

#include "mem/lock.h"
#include "mem/part.h"

#define MFI_UNIT ((uint64_t)65536)
#define MFI_CLASSES 20
#define MFI_CLASSES_USED 18
#define MFI_RECENT 4

typedef enum mfi_block_kind {
  MFI_BLOCK_NONE = 0,
  MFI_BLOCK_BYTES,   // anything without references
  MFI_BLOCK_MESSAGE, // mfi_message, see flow/message.h
  MFI_BLOCK_RING,    // segment of a queue
  MFI_BLOCK_HANDLES, // a slot's handle table
  MFI_BLOCK_JOB,
  MFI_BLOCK_BATCH,
  MFI_BLOCK_IMAGE,
  MFI_BLOCK_WORKER,
  MFI_BLOCK_WATCH,
  MFI_BLOCK_KINDS
} mfi_block_kind;

#define MFI_OWNER_FREE ((uint64_t)1 << 32)
#define MFI_OWNER_HAND ((uint64_t)2 << 32) // | slot index
#define MFI_OWNER_LINKED ((uint64_t)3 << 32)

// Header of every block; the payload follows, 16-byte aligned.
typedef struct mfi_block {
  uint64_t owner;      // MFI_OWNER_*
  mfi_ref link;        // next in the free list or in hand
  uint64_t size;       // bytes of payload; set when cut
  uint32_t generation; // + 1 at each free
  uint16_t kind;       // mfi_block_kind, since the alloc
  uint16_t size_class; // MFI_CLASSES: a run of units
} mfi_block;

typedef struct mfi_class {
  mfi_lock lock;
  mfi_ref free;        // list of blocks
  uint64_t bump;       // next uncut byte of the current span
  uint64_t bump_end;   // its end
  uint64_t live;       // blocks that are not free
  uint64_t cut;        // blocks that are there, live or not
  uint32_t generation; // of a block that is cut from the current span
  uint64_t idle_then;  // free blocks when a reclaim found no span of it
  int64_t looked_at;   // when that was
} mfi_class;

typedef struct mfi_heap {
  mfi_lock lock;       // units
  mfi_part units;      // the table, uint32_t for each unit
  uint64_t arena;      // offset of unit 0
  uint64_t unit_count; // set once
  uint64_t top;        // units ever used
  uint64_t backed;     // units with real memory
  uint64_t limit;      // bytes that may be used, mf_config.shared_limit
  uint64_t live_runs;
  uint64_t runs_made; // gives runs and spans their generation
  struct {
    uint64_t start, units; // a hint: free since its run ended; units 0: none
  } recent[MFI_RECENT];
  uint64_t recent_at;
  mfi_class classes[MFI_CLASSES];
} mfi_heap;

void mfi_heap_init(mfi_self *self, uint64_t units_at, uint64_t arena_at, uint64_t end);

// A block with at least `size` bytes of payload, in the caller's hand. 0: no memory.
mfi_ref mfi_heap_alloc(mfi_self *self, size_t size, mfi_block_kind kind);
// The same, all bytes 0. Fresh memory is not touched for that.
mfi_ref mfi_heap_alloc_zeroed(mfi_self *self, size_t size, mfi_block_kind kind);
// Ends a block that is in the caller's hand.
void mfi_heap_free(mfi_self *self, mfi_ref block);
// What the floors above do with a block of a dead hand before it is freed: give back what it refers
// to. May be repeated. NULL: it refers to nothing.
typedef void mfi_drop_fn(mfi_self *self, mfi_ref block);
// Frees whatever a dead slot has in hand, each block after self->drops of its kind.
void mfi_heap_bury(mfi_self *self, uint32_t dead_slot);

// In a section of any lock: the block goes out of hand into a structure (it must be the top of the
// caller's hand), or into hand. At most one of these in one section.
void mfi_hand_out(mfi_self *self, mfi_lock *lock, mfi_ref block);
void mfi_hand_in(mfi_self *self, mfi_lock *lock, mfi_ref block);
// `out`, the top of the caller's hand, goes out of it and `in` comes into it, in one section.
void mfi_hand_swap(mfi_self *self, mfi_lock *lock, mfi_ref out, mfi_ref in);
// The block that *word alone refers to, a word that nobody else can reach, comes into hand.
mfi_ref mfi_hand_pull(mfi_self *self, mfi_ref *word);
// Brings a block of the caller's hand to the top of it.
void mfi_hand_raise(mfi_self *self, mfi_ref block);

// The block that starts at ref, or NULL where ref is none: for handles from outside.
mfi_block *mfi_heap_check(mfi_self *self, mfi_ref ref);

uint64_t mfi_heap_live(mfi_self *self); // blocks that are not free

extern const uint32_t mfi_class_bytes[MFI_CLASSES]; // of a block with its header; 0: not used

static inline void *mfi_payload(mfi_block *b) { return b + 1; }

#endif
