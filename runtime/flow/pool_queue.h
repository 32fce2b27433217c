// The core's lists, for the files of the pool. Floor 4. All functions under the core's lock; each
// adds its changes to the record of a section, which may hold one of them.
#ifndef MFI_FLOW_POOL_QUEUE_H
#define MFI_FLOW_POOL_QUEUE_H

#include "flow/pool.h"

void mfi_core_push_back(mfi_self *self, mfi_object *core, mfi_list *list, mfi_ref job);  // 3 pairs
void mfi_core_push_front(mfi_self *self, mfi_object *core, mfi_list *list, mfi_ref job); // 3 pairs
void mfi_core_unlink(mfi_self *self, mfi_object *core, mfi_ref job);                     // 3 pairs

// Items that have not ended; not for cells.
static inline uint32_t mfi_job_left(const mfi_job *j) { return j->nitems - mfi_job_ended(j); }

// What is left to do after an end, without the lock.
typedef struct mfi_ending {
  mfi_ref job;
  bool in_hand; // its last reference went: discard it
  bool told;    // somebody watches it
  bool wake;    // somebody may wait for it
  uint64_t key; // on this event
} mfi_ending;

// The job becomes ENDED with `status`, its counts follow; gives up the pool's reference. `owner`:
// the slot that ran it, or NULL. One whole section, under the lock; then mfi_job_tell.
mfi_ending mfi_job_finish(mfi_self *self, mfi_object *core, mfi_ref job, mfi_slot *owner,
                          mfi_status status);
// A queued job is taken out: no item of it begins any more. Has it ended with that? (Workers may be
// at cells of it.) Else *e is nothing, for mfi_job_tell, too.
bool mfi_job_drop(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status, mfi_ending *e);
// The first job in the core's queue that is QUEUED; 0: none.
mfi_ref mfi_core_first(mfi_self *self, mfi_core *c);
void mfi_job_tell(mfi_self *self, mfi_object *core, const mfi_ending *e);
// A job whose reference lies in the caller's slot->ending goes to its watcher's list.
void mfi_job_tell_watcher(mfi_self *self);
// For who was killed between queueing a job and what it was to do then.
void mfi_pool_abandon(mfi_self *self, mfi_held *entry, uint64_t id);
// Who is named in slot->tell is told to look; of the caller, or of a dead worker.
void mfi_slot_tell(mfi_self *self, mfi_slot *slot);

#endif
