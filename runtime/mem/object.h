// The object table: queues, locks, pools, and every other thing that lives for long and is shared.
// Floor 2. It is the home of all mutexes, entries never become anything else.
//
// A handle is (index, generation), never an offset: one that is forged or out of date is refused.
// Jobs are counted blocks with the same life (mfi_counted): their handle has bit 63, and the object
// `home` lends its lock.
//
//   FREE --[mfi_object_make]--> LIVE refs=1 --[mfi_handle_add +1, mfi_handle_drop -1]--> refs=0:
//   DYING, in the dropper's slot --[ops.destroy]--> FREE, generation + 1
//
// Each reference has a place: an entry of a slot's handle table, or a message in flight. Count and
// place change in one record, so burial can give back what a dead worker held.
#ifndef MFI_MEM_OBJECT_H
#define MFI_MEM_OBJECT_H

#include "mem/lock.h"

typedef enum mfi_object_kind {
  MFI_KIND_FREE = 0,
  MFI_KIND_QUEUE,
  MFI_KIND_LOCK,
  MFI_KIND_RLOCK,
  MFI_KIND_SEMAPHORE,
  MFI_KIND_BOUNDED,
  MFI_KIND_EVENT,
  MFI_KIND_CONDITION,
  MFI_KIND_BARRIER,
  MFI_KIND_POOL,  // what users hold
  MFI_KIND_CORE,  // what runs: held by its pool, workers and jobs
  MFI_KIND_BATCH, // the jobs of one map-like call
  MFI_KIND_JOB,   // a counted block
  MFI_KIND_WORKER,
  MFI_KIND_VALUE,
  MFI_KIND_ARRAY,
  MFI_KIND_CONNECTION,
  MFI_KINDS
} mfi_object_kind;

#define MFI_OBJECT_BODY 704

// An entry; the kind's own state lies in `body`. Who only looks up a handle must not wait for the
// cache line of a lock, nor consumers for the producers': each part has lines of its own.
typedef struct mfi_object {
  uint32_t kind;                // MFI_KIND_*
  uint32_t generation;          // + 1 at each end
  uint32_t refs;                // under lock
  uint32_t dying;               // under lock
  uint64_t next_free;           // index; under region->objects_lock
  uint64_t number;              // 1, 2 … within its kind, for people
  _Alignas(64) mfi_lock lock;   // guards refs and, where the kind does not say otherwise, the body
  _Alignas(64) mfi_lock second; // the kind's own; rank: after lock
  _Alignas(64) char body[MFI_OBJECT_BODY];
} mfi_object;

// Head of a block that is counted like an object.
typedef struct mfi_counted {
  uint32_t refs; // under home's lock
  uint32_t kind; // MFI_KIND_JOB
  mfi_handle home;
} mfi_counted;

struct mfi_held;

// What the floors above do with a kind.
typedef struct mfi_object_ops {
  const char *name;
  // The last reference was dropped by self: release what the body (or the block, which is in self's
  // hand) refers to; then the entry or block is freed. May be repeated after a death half-way, and
  // may meet a body of zeros.
  void (*destroy)(mfi_self *self, void *body);
  // The worker `id` ended, or a task on it: give back what it held through this entry (aux:
  // permits), as abandoned. NULL: nothing can be held.
  void (*abandon)(mfi_self *self, struct mfi_held *entry, uint64_t id);
  // A reference was dropped by self, others are left: looks at that, and sets slot->let_go to 0
  // when it is through. May be repeated, and h may be gone. NULL: nothing to look at.
  void (*let_go)(mfi_self *self, mfi_handle h);
} mfi_object_ops;

// An entry of a slot's handle table.
typedef struct mfi_held {
  mfi_handle handle; // 0: unused
  uint64_t aux;      // the kind's own, e.g. permits
} mfi_held;

// A new object with one reference, in the caller's handle table at *place. body is zeroed. 0: no
// memory.
mfi_handle mfi_object_make(mfi_self *self, mfi_object_kind kind, uint32_t *place);

// The handle of a live object.
mfi_handle mfi_object_handle(mfi_self *self, const mfi_object *o);
// The entry of a handle that is known to be there, also while it is dying.
mfi_object *mfi_object_entry(mfi_self *self, mfi_handle h);
// NULL when the handle is not (or no longer) valid.
mfi_object *mfi_object_of(mfi_self *self, mfi_handle h);
mfi_object_kind mfi_handle_kind(mfi_self *self, mfi_handle h); // MFI_KIND_FREE: not valid

// One more reference, in the caller's handle table at *place. MFI_CLOSED: not valid; MFI_NOMEM.
mfi_status mfi_handle_add(mfi_self *self, mfi_handle h, uint32_t *place);
void mfi_handle_drop(mfi_self *self, uint32_t place);
mfi_held *mfi_handle_entry(mfi_self *self, uint32_t place);

// References of a message: `word` in the message's block gets the handle together with the count.
mfi_status mfi_handle_hold(mfi_self *self, mfi_handle h, uint64_t *word);
void mfi_handle_unhold(mfi_self *self, uint64_t *word);

// For counted blocks: handle of a block, block of a handle (NULL: not valid), and the place of a
// block's first reference, made in `lock`'s section (home's lock) together with the caller's
// changes.
mfi_handle mfi_counted_handle(mfi_self *self, mfi_ref block);
mfi_ref mfi_counted_ref(mfi_self *self, mfi_handle h);
mfi_status mfi_place_reserve(mfi_self *self,
                             uint32_t *place); // a free entry; only the caller takes it

// Abandons what the caller still holds, locks and permits; at a task's end. What it took from
// queues stays its own until it ends itself; what it waits for is its own waiting call's.
void mfi_handles_abandon(mfi_self *self);

// Gives back all that a dead slot held.
void mfi_handles_bury(mfi_self *self, uint32_t dead_slot);

uint64_t mfi_objects_live(mfi_self *self);

#endif
