// Script locks: what Lua holds for long; Lock, RLock, Semaphore, BoundedSemaphore. Floor 3.
//
// Plain state behind the object's inner lock, with an event. An owner is a slot's id (index and
// generation), never a pid. Who ends while holding, in any way, is found by its handle table:
//
//   FREE --[acquire]--> OWNED --[release]--> FREE;  OWNED --[abandon]--> FREE, abandoned
//
// The next acquire after an abandonment is told. Nothing here is held by C code over Lua.
#ifndef MFI_SYNC_LOCKS_H
#define MFI_SYNC_LOCKS_H

#include "sync/deadlock.h"
#include "sync/event.h"

// Body of MFI_KIND_LOCK and MFI_KIND_RLOCK.
typedef struct mfi_script_lock {
  uint64_t owner; // slot id; 0: free
  uint32_t depth; // acquires not yet released
  uint32_t abandoned;
  mfi_event freed;
  mfi_place place; // where its owner acquired it, for people; the owner's own
} mfi_script_lock;

// Body of MFI_KIND_SEMAPHORE and MFI_KIND_BOUNDED.
typedef struct mfi_semaphore {
  uint64_t value;
  uint64_t limit; // bounded: most that value may be; 0: unbounded
  mfi_event freed;
} mfi_semaphore;

// MFI_OK, *abandoned: the last owner ended while holding it. MFI_TIMEDOUT, MFI_INTERRUPTED.
// MFI_DEADLOCK: the caller holds it already (Lock only), or waiting without a limit would close a
// cycle of workers that do so, see deadlock.h.
mfi_status mfi_lock_acquire(mfi_self *self, mfi_object *o, mfi_ns until, bool *abandoned);
// The same, which tells of the cycle; of one worker alone where it holds the lock already.
mfi_status mfi_lock_acquire_telling(mfi_self *self, mfi_object *o, mfi_ns until, bool *abandoned,
                                    mfi_cycle *cycle);
// MFI_INVALID: the caller does not hold it.
mfi_status mfi_lock_release(mfi_self *self, mfi_object *o);
bool mfi_lock_is_held(mfi_object *o);
bool mfi_lock_is_own(mfi_self *self, mfi_object *o); // the caller holds it

void mfi_semaphore_init(mfi_object *o, uint64_t value, bool bounded);
// `place` is the caller's handle of o: it counts the permits that it holds.
mfi_status mfi_semaphore_acquire(mfi_self *self, mfi_object *o, uint32_t place, mfi_ns until);
// MFI_INVALID: a bounded one would go above its limit; nothing changes.
mfi_status mfi_semaphore_release(mfi_self *self, mfi_object *o, uint32_t place, uint64_t n);
uint64_t mfi_semaphore_value(mfi_object *o);

extern const mfi_object_ops mfi_lock_ops, mfi_rlock_ops, mfi_semaphore_ops, mfi_bounded_ops;

#endif
