// The deadlock walk. Floor 3; see deadlock.h. Locks: region->waits.
#include "sync/deadlock.h"

#include "base/atomic.h"
#include "os/process.h"
#include "sync/event.h"
#include "sync/locks.h"

// Under `waits`. The lock for which this worker sleeps or is about to; 0: none, or it is about to
// look up.
static mfi_handle wanted_by(mfi_self *self, uint64_t id) {
  if (!mfi_slot_is(self, id))
    return 0;
  const mfi_slot *s = mfi_slot_at(self, (uint32_t)id);
  return mfi_is_noted(s) ? 0 : load_seqcst(&s->wants);
}

static uint64_t owner_of(mfi_self *self, mfi_handle lock) {
  mfi_object *o = mfi_object_of(self, lock);
  return o == NULL ? 0 : load_seqcst(&((mfi_script_lock *)(void *)o->body)->owner);
}

// Under `waits`. A path that leads into a cycle of others has no end: who closed that one is on its
// way out.
static bool comes_back(mfi_self *self, mfi_cycle *out) {
  uint64_t me = mfi_own_id(self), who = me;
  uint64_t most = load_acquire(&self->region->slots_top);
  for (uint32_t n = 0; n < most; n++) {
    mfi_handle wants = wanted_by(self, who);
    if (n < MFI_CYCLE_SHOWN) {
      out->edge[n].worker = who;
      out->edge[n].wants = wants;
    }
    who = wants == 0 ? 0 : owner_of(self, wants);
    if (who == 0)
      return false;
    out->workers = n + 1;
    if (who == me)
      return true;
  }
  return false;
}

// A worker that was killed keeps its edge and its locks until it is buried, but is no longer
// asleep. One that is about to fall asleep will be that in a moment.
static bool all_sleep(mfi_self *self, const mfi_cycle *c) {
  uint32_t told = c->workers < MFI_CYCLE_SHOWN ? c->workers : MFI_CYCLE_SHOWN;
  for (uint32_t i = 1; i < told; i++) {
    const mfi_slot *s = mfi_slot_at(self, (uint32_t)c->edge[i].worker);
    pid_t pid = (pid_t)load_acquire(&s->pid);
    if (pid == 0 || !mfi_os_is_asleep(pid, (pid_t)load_acquire(&s->tid)))
      return false;
  }
  return true;
}

mfi_status mfi_deadlock_enter(mfi_self *self, const mfi_object *o, mfi_cycle *out) {
  mfi_lock *waits = &self->region->waits;
  mfi_lock_take(self, waits);
  store_seqcst(&self->slot->wants, mfi_object_handle(self, o));
  bool closes = comes_back(self, out);
  if (closes)
    store_seqcst(&self->slot->wants, (mfi_handle)0);
  mfi_lock_give(self, waits);
  if (!closes)
    return MFI_OK;
  return all_sleep(self, out) ? MFI_DEADLOCK : MFI_EMPTY;
}

void mfi_deadlock_leave(mfi_self *self) { store_seqcst(&self->slot->wants, (mfi_handle)0); }
