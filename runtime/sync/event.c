// Events: sleeping, waking, looking first. Floor 3; see event.h for why no wake is lost.
// No locks. Sleeps in mfi_os_wait.
#include "sync/event.h"

#include "base/assert.h"
#include "base/atomic.h"

#include <limits.h>

#define SLEEPERS 1u
#define ALL_NOTES (MFI_NOTE_STOP | MFI_NOTE_INTERRUPT | MFI_NOTE_DUE)

#ifdef MFI_TINY
#define SPIN_NS 0
#else
#define SPIN_NS 50000
#endif
#define YIELD_EVERY_NS 5000
#define YIELD_LONG_NS 20000
#define WAITS_WITHOUT_SPIN 50

// ---- Looking for a while

static bool become_looker(mfi_self *self, mfi_event *e) {
  uint32_t nobody = 0;
  return load_relaxed(&e->looker) == 0 && cas_seqcst(&e->looker, &nobody, self->index);
}

// A yield that took long: others want this core, so looking would only take it from them.
static bool yield_was_long(mfi_self *self, mfi_ns before) {
  mfi_os_yield();
  if (mfi_os_now() - before < YIELD_LONG_NS)
    return false;
  self->no_spin = WAITS_WITHOUT_SPIN;
  return true;
}

static bool look(mfi_self *self, mfi_ready_fn *ready, void *what, mfi_ns until) {
  mfi_ns start = mfi_os_now(), next_yield = start + YIELD_EVERY_NS;
  mfi_ns end = until < start + SPIN_NS ? until : start + SPIN_NS;
  for (;;) {
    for (int i = 0; i < 32; i++) {
      if (ready(self, what))
        return true;
      mfi_cpu_relax();
    }
    mfi_ns now = mfi_os_now();
    if (now >= end || load_relaxed(&self->slot->notes) != 0)
      return false;
    if (now < next_yield)
      continue;
    if (yield_was_long(self, now))
      return ready(self, what);
    next_yield = now + YIELD_EVERY_NS;
  }
}

static bool look_for_a_while(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                             mfi_ns until) {
  if (SPIN_NS == 0)
    return false;
  if (self->no_spin > 0) {
    self->no_spin--;
    return false;
  }
  if (!become_looker(self, e))
    return false;
  bool seen = look(self, ready, what, until);
  store_release(&e->looker, 0u);
  return seen;
}

// ---- Sleeping

// Sets the bit; the word as it must be found for a sleep.
static uint32_t announce(mfi_event *e) {
  uint32_t seen = load_seqcst(&e->word);
  while ((seen & SLEEPERS) == 0 && !cas_seqcst(&e->word, &seen, seen | SLEEPERS))
    continue;
  return seen | SLEEPERS;
}

static bool noted(mfi_self *self) { return (load_seqcst(&self->slot->notes) & ALL_NOTES) != 0; }

static mfi_status sleep_on(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                           mfi_ns until, bool *woken) {
  for (;;) {
    uint32_t word = announce(e);
    if (ready(self, what))
      return MFI_OK;
    if (noted(self))
      return MFI_INTERRUPTED;
    mfi_status st = mfi_os_wait(&e->word, word, until);
    if (st == MFI_OK)
      *woken = true;
    if (ready(self, what))
      return MFI_OK;
    if (st != MFI_OK)
      return st;
  }
}

mfi_status mfi_event_await(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                           mfi_ns until) {
  bool woken = false;
  store_seqcst(&self->slot->sleeping_on, mfi_ref_of(self, e));
  if (ready(self, what))
    return MFI_OK;
  mfi_status st = MFI_TIMEDOUT;
  if (noted(self))
    st = MFI_INTERRUPTED;
  else if (until != 0) {
    if (look_for_a_while(self, e, ready, what, until))
      return MFI_OK;
    st = sleep_on(self, e, ready, what, until, &woken);
  }
  if (st != MFI_OK && woken)
    mfi_event_wake_one(self, e); // the baton
  return st;
}

void mfi_event_done(mfi_self *self) { store_release(&self->slot->sleeping_on, (mfi_ref)0); }

// ---- Waking

void mfi_event_will_wake(mfi_self *self, mfi_event *e) {
  store_relaxed(&self->slot->waking, mfi_ref_of(self, e));
}

static void wake_all(mfi_event *e) {
  uint32_t old = load_seqcst(&e->word);
  while (!cas_seqcst(&e->word, &old, (old + 2) & ~SLEEPERS))
    continue;
  if ((old & SLEEPERS) != 0)
    mfi_os_wake(&e->word, INT_MAX);
}

void mfi_event_wake_one(mfi_self *self, mfi_event *e) {
  if ((load_seqcst(&e->word) & SLEEPERS) != 0) {
    fetch_add_seqcst(&e->word, 2u);
    if (mfi_os_wake(&e->word, 1) == 0)
      wake_all(e);
  }
  store_release(&self->slot->waking, (mfi_ref)0);
}

void mfi_event_wake_all(mfi_self *self, mfi_event *e) {
  if ((load_seqcst(&e->word) & SLEEPERS) != 0)
    wake_all(e);
  store_release(&self->slot->waking, (mfi_ref)0);
}

// ---- Notes

void mfi_note(mfi_self *self, uint32_t slot, uint32_t notes) {
  mfi_slot *s = mfi_slot_at(self, slot);
  fetch_or_seqcst(&s->notes, notes);
  mfi_ref ref = load_seqcst(&s->sleeping_on);
  if (ref != 0)
    wake_all(mfi_at(self, ref));
}

void mfi_note_clear(mfi_self *self, uint32_t notes) {
  fetch_and_seqcst(&self->slot->notes, ~notes);
}

static void bury_one(mfi_self *self, uint32_t dead, mfi_ref ref) {
  if (ref == 0)
    return;
  mfi_event *e = mfi_at(self, ref);
  uint32_t looker = dead;
  cas_seqcst(&e->looker, &looker, 0u);
  wake_all(e);
}

void mfi_event_bury(mfi_self *self, uint32_t dead_slot) {
  mfi_slot *dead = mfi_slot_at(self, dead_slot);
  bury_one(self, dead_slot, load_seqcst(&dead->sleeping_on));
  bury_one(self, dead_slot, load_seqcst(&dead->waking));
  store_release(&dead->sleeping_on, (mfi_ref)0);
  store_release(&dead->waking, (mfi_ref)0);
}
