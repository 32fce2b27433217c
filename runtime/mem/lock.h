// Inner locks: what a worker holds for nanoseconds while it changes shared memory. Floor 2.
//
// An inner lock is a robust mutex with a redo record. A section collects what it will change as
// (address, new value) pairs, commits them by ONE store of their number, applies them, and stores
// 0:
//
//   IDLE count=0 --[mfi_change*]--> COLLECTING count=0, filled>0 --[mfi_lock_commit:
//   count=filled]--> COMMITTED --[apply, count=0]--> IDLE
//
// Who gets the lock from a dead owner finds count=0 (nothing happened) or applies the pairs again
// (all of it happened). No operation has recovery code of its own. Facts that must agree are
// changed in one record. Until the commit the words keep their old values: a section reads, then
// changes.
//
// Invariants: at most MFI_LOCKS_HELD inner locks at once, each named in the holder's slot, the last
// taken given first; never held over a sleep, Lua, or a call that may raise; a lock's memory never
// becomes anything else.
#ifndef MFI_MEM_LOCK_H
#define MFI_MEM_LOCK_H

#include "base/atomic.h"
#include "base/fault.h"
#include "base/ref.h"
#include "base/tsan.h"
#include "os/os.h"

#define MFI_PAIRS 20

typedef struct mfi_self mfi_self;

typedef struct mfi_lock {
  pthread_mutex_t mutex;
  uint32_t count;  // committed pairs; the only word that recovery trusts
  uint32_t filled; // pairs collected by the holder
  MFI_TSAN_GIVER
  struct {
    uint64_t where; // offset in the region; bit 0 set: a 32-bit word
    uint64_t value;
  } pair[MFI_PAIRS];
} mfi_lock;

void mfi_lock_init(mfi_lock *lock);
void mfi_lock_take(mfi_self *self, mfi_lock *lock);
void mfi_lock_give(mfi_self *self, mfi_lock *lock);

// Add a pair to the record. `word` lies in the region.
void mfi_change64(mfi_self *self, mfi_lock *lock, uint64_t *word, uint64_t value);
void mfi_change32(mfi_self *self, mfi_lock *lock, uint32_t *word, uint32_t value);

// Makes all collected changes, all of them even if this worker is killed half-way.
void mfi_lock_commit(mfi_self *self, mfi_lock *lock);

// A change of one word alone, by a holder that has collected none: a store is a commit already.
#define mfi_change_alone(word, value)                                                              \
  do {                                                                                             \
    MFI_STEP();                                                                                    \
    store_release((word), (value));                                                                \
    MFI_STEP();                                                                                    \
  } while (0)

// The same for two words: a record of two pairs, collected, committed and applied at once.
void mfi_change_two(mfi_self *self, mfi_lock *lock, uint64_t *first, uint64_t value,
                    uint64_t *second, uint64_t other_value);

// For burial: takes and gives each lock that the dead slot names, so that its records are settled.
void mfi_lock_settle(mfi_self *self, uint32_t dead_slot);

#endif
