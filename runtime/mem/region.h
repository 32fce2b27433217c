// The region: all that the workers of one runtime share. Floor 2.
//
// One anonymous memfd, mapped at the same address in the host, the warden and every worker; sparse:
// memory is real only below `backed` of each part, and nothing ever touches a hole.
//
//   | header | slots | objects | units | arena … |
//
// Nothing in it is a pointer into a process; links are offsets.
#ifndef MFI_MEM_REGION_H
#define MFI_MEM_REGION_H

#include "base/assert.h"
#include "base/fault.h"
#include "mem/heap.h"
#include "mem/object.h"
#include "mem/part.h"
#include "mem/slot.h"

#ifdef MFI_TINY
#define MFI_MAX_SLOTS 512u
#define MFI_MAX_OBJECTS 4096u
#else
#define MFI_MAX_SLOTS 16384u
#define MFI_MAX_OBJECTS (1u << 20)
#endif
#define MFI_MAX_WORKERS (MFI_MAX_SLOTS - 2) // one slot is nobody's, one the host's

#define MFI_PARKING 256
#define MFI_ANY 4

// Who writes to stdout or stderr now; see flow/stream.h.
typedef struct mfi_stream_lock {
  mfi_lock lock;
  uint64_t owner; // slot id; 0: nobody
  uint64_t torn;  // slot id of who left a line unfinished; 0: nobody
  uint64_t freed; // an event
} mfi_stream_lock;

typedef struct mfi_region {
  uint64_t magic;
  uint64_t size;    // set once
  uint64_t next_id; // atomic counter, for images and jobs
  uint32_t closing; // atomic: the host ends in order
  mfi_lock slots_lock;
  mfi_part slots;
  uint64_t free_slot;          // index + 1; under slots_lock
  uint64_t past[MFI_STATS];    // sums of the slots that were released; under slots_lock
  uint64_t pasts;              // workers that are gone and did something; under slots_lock
  mfi_past past_of[MFI_PASTS]; // of the last ones, the nth at n % MFI_PASTS; under slots_lock
  uint64_t slots_top;          // slots ever used; under slots_lock, read atomically
  mfi_lock objects_lock;
  uint64_t published;       // flow/registry.h; under objects_lock, read atomically
  uint64_t published_count; // blocks of it, which stay
  mfi_part objects;
  uint64_t free_object; // under objects_lock
  uint64_t objects_top; // under objects_lock
  uint64_t objects_live;
  uint64_t numbers[MFI_KINDS]; // objects made so far; atomic
  mfi_heap heap;
  mfi_fault_table faults;
  mfi_stream_lock streams[2];
  mfi_lock waits;                                // guards all slots' `wants`, see sync/deadlock.h
  _Alignas(64) uint64_t any[MFI_ANY][8];         // events, sync/event.h
  _Alignas(64) uint64_t parking[MFI_PARKING][8]; // events of things that come and go, sync/event.h
} mfi_region;

// How a process sees the region, and who it is there. One for each native thread.
struct mfi_self {
  mfi_region *region;
  mfi_slot *slot;
  uint32_t index;                   // of slot
  int fd;                           // of the region
  const mfi_object_ops *const *ops; // by object kind, of the floors above
  mfi_drop_fn *const *drops;        // by block kind, of the floors above
  void *runtime;                    // what the floors above need in this process
  // The line of the script that runs on this thread; never raises. NULL: there is none.
  void (*where)(mfi_self *self, mfi_place *out);
  uint32_t no_spin; // waits that do not spin, see sync/event
  uint32_t sleeps;  // + 1, of a thread whose stack is ours; else 0
  uint32_t depth;   // inner locks that it holds
  bool ending;      // it ends the objects of slot->dying
  bool woken;       // a wake came since the last mfi_event_done
  uint32_t turn;    // where the next select begins to look, see flow/select
};

// Makes a region of `size` bytes (0: half of the memory). self gets slot 1.
mfi_status mfi_region_open(mfi_self *self, size_t size);
void mfi_region_close(mfi_self *self);

// Looks at what any worker uses, so that it is mapped when one needs it: its first steps need not
// fault. For a process that has nothing else to do.
void mfi_region_warm(const mfi_region *r);

// Makes [0, bytes) of a part real. Under the part's lock. MFI_NOMEM.
mfi_status mfi_region_grow(mfi_self *self, mfi_lock *lock, mfi_part *part, uint64_t bytes);

static inline void *mfi_at(const mfi_self *self, mfi_ref ref) {
  return ref == 0 ? (void *)0 : (void *)((char *)self->region + ref);
}
// For a ref that is known not to be 0.
static inline void *mfi_there(const mfi_self *self, mfi_ref ref) {
  mfi_assert(ref != 0);
  return (char *)self->region + ref;
}
static inline mfi_ref mfi_ref_of(const mfi_self *self, const void *p) {
  return p == (const void *)0 ? 0 : (mfi_ref)((const char *)p - (const char *)self->region);
}
static inline mfi_slot *mfi_slot_at(const mfi_self *self, uint32_t index) {
  return (mfi_slot *)mfi_at(self, self->region->slots.at) + index;
}
// Of the caller's own slot.
static inline uint64_t mfi_own_id(const mfi_self *self) {
  return (uint64_t)self->slot->generation << 32 | self->index;
}

#endif
