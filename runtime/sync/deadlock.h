// Deadlocks: workers that wait for each other's locks, all without a limit. Floor 3.
// Locks: region->waits, last of all; it is held over a walk of words in memory.
//
// An edge is a slot's `wants`: the lock that its worker waits for; where it leads is the lock's
// owner now. A worker wants one lock at most, and a lock has one owner, so all that can be reached
// from a worker is one path. A worker publishes its edge and walks in one section of `waits`,
// before it sleeps, and takes the edge back, without the lock, when it has got the lock or given
// up.
//
// No cycle is missed: who publishes last finds all other edges, and each owner took its lock before
// it published an edge of its own. Getting a lock closes no cycle: who gets one wants none.
//
// No alarm is false: the walker holds the lock that the path comes back to, so the last worker on
// it cannot get on; nobody publishes during the walk, so it has slept since before the walk began,
// and holds what it held then; so the one before it cannot get on, and so forth. Who has been noted
// is about to look up, and publishes and walks again afterwards; it counts as awake. Who finds a
// cycle takes its edge back and asks the system whether the others sleep: one that was killed and
// is not yet buried does not, and its locks will come free; one that has published and does not
// sleep yet soon will. So it tries again a moment later.
//
// Timed waits and waits for anything but locks are no edges.
#ifndef MFI_SYNC_DEADLOCK_H
#define MFI_SYNC_DEADLOCK_H

#include "mem/region.h"

#define MFI_CYCLE_SHOWN 64

// Each worker wants the lock that the next one holds, the last one that of the first, which is who
// closes the cycle.
typedef struct mfi_cycle {
  uint32_t workers; // how many; the first MFI_CYCLE_SHOWN are told
  struct {
    uint64_t worker; // slot id
    mfi_handle wants;
  } edge[MFI_CYCLE_SHOWN];
} mfi_cycle;

// The caller is going to sleep until it gets lock o, which it does not hold. MFI_OK: its edge is
// published. MFI_DEADLOCK: it would close a cycle, *out; not published. MFI_EMPTY: perhaps, it is
// to try again in a moment; not published.
mfi_status mfi_deadlock_enter(mfi_self *self, const mfi_object *o, mfi_cycle *out);
void mfi_deadlock_leave(mfi_self *self);

#endif
