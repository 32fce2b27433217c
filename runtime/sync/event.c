// Events: sleeping, waking, looking first. Floor 3; see event.h for why no wake is lost.
// Locks: the caller's slot's, after a note. Sleeps in mfi_os_wait.
#include "sync/event.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"

#include <limits.h>

#define SLEEPERS 1u
#define WATCHED(i) (2u << (i)) // somebody may sleep on the region's any[i] because of it
#define ANY_WATCHED (WATCHED(MFI_ANY) - WATCHED(0))
#define WAKE WATCHED(MFI_ANY) // what one wake adds
#define ALL_NOTES (MFI_NOTE_STOP | MFI_NOTE_INTERRUPT | MFI_NOTE_DUE)

#ifdef MFI_TINY
#define SPIN_NS 0
#else
#define SPIN_NS 50000
#endif
#define GLANCES 16
#define YIELD_EVERY_NS 5000
#define YIELD_LONG_NS 20000
#define WAITS_WITHOUT_SPIN 50

// ---- Looking for a while

// About a microsecond, before this worker says anything to others: on a busy event the cache lines
// of its word and its lookers stay with the wakers. The pauses let a few messages gather.
static bool glance(mfi_self *self, mfi_ready_fn *ready, void *what) {
  for (int looks = 0; SPIN_NS != 0 && looks < GLANCES; looks++) {
    if (ready(self, what))
      return true;
    for (int i = 0; i < 3; i++)
      mfi_cpu_relax();
  }
  return false;
}

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

bool mfi_is_noted(const mfi_slot *s) { return (load_seqcst(&s->notes) & ALL_NOTES) != 0; }

// For people. A wait that goes on after a wake that was no good began when it began.
static void tell_of_sleep(mfi_self *self) {
  mfi_slot *s = self->slot;
  mfi_place place = {.line = 0};
  if (load_relaxed(&s->waits_since) != 0)
    return;
  if (self->where != NULL)
    self->where(self, &place);
  mfi_place_store(&s->waits_at, &place);
  store_release(&s->waits_since, mfi_os_now());
}

static void tell_of_no_sleep(mfi_slot *s) {
  store_relaxed(&s->waits_how, 0u);
  store_relaxed(&s->waits_since, (int64_t)0);
}

static uint32_t own_any(const mfi_self *self) { return self->index % MFI_ANY; }

static mfi_event *any_at(mfi_self *self, uint32_t i) {
  return (mfi_event *)(void *)self->region->any[i];
}

// Behind the announcement on one's own `any`: who changes what one of these stands for wakes that.
static void watch(const mfi_self *self, const mfi_events *all) {
  uint32_t bit = WATCHED(own_any(self));
  for (uint32_t i = 0; i < all->n; i++)
    if ((load_seqcst(&all->event[i]->word) & bit) == 0)
      fetch_or_seqcst(&all->event[i]->word, bit);
}

// What a worker's start and its tasks touched of its stack below here is given back before it
// sleeps: the first few times, then whenever their number has doubled; a busy one does not feel it.
static void trim_stack(mfi_self *self) {
  uint32_t n = self->sleeps;
  if (n == 0)
    return;
  self->sleeps = n == UINT32_MAX ? 1 : n + 1;
  if (n <= 8 || (n & (n - 1)) == 0)
    mfi_os_stack_trim();
}

// What somebody sleeps for: on `e`, for its own sake or (`all`, else none) for these.
typedef struct bed {
  mfi_event *e;
  mfi_events all;
  mfi_ready_fn *ready;
  void *what;
} bed;

static mfi_status sleep_on(mfi_self *self, const bed *b, mfi_ns until) {
  mfi_event *e = b->e;
  mfi_ready_fn *ready = b->ready;
  void *what = b->what;
  for (;;) {
    uint32_t word = announce(e);
    watch(self, &b->all);
    if (ready(self, what))
      return MFI_OK;
    if (mfi_is_noted(self->slot))
      return MFI_INTERRUPTED;
    trim_stack(self);
    mfi_status st = mfi_os_wait(&e->word, word, until);
    if (st == MFI_OK)
      self->woken = true;
    if (ready(self, what))
      return MFI_OK;
    if (st != MFI_OK)
      return st;
  }
}

static void pass_baton(mfi_self *self, mfi_event *e) {
  if (self->woken)
    mfi_event_wake_one(self, e);
  self->woken = false;
}

// MFI_EMPTY: now it would sleep.
static mfi_status look_first(mfi_self *self, const bed *b, mfi_ns until) {
  if (until != 0 && glance(self, b->ready, b->what)) {
    store_relaxed(&self->slot->waits_how, 0u);
    return MFI_OK;
  }
  store_seqcst(&self->slot->sleeping_on, mfi_ref_of(self, b->e)); // pairs with mfi_note's load
  if (b->ready(self, b->what))
    return MFI_OK;
  if (mfi_is_noted(self->slot))
    return MFI_INTERRUPTED;
  if (until == 0)
    return MFI_TIMEDOUT;
  if (look_for_a_while(self, b->e, b->ready, b->what, until))
    return MFI_OK;
  tell_of_sleep(self);
  return MFI_EMPTY;
}

static mfi_status await(mfi_self *self, const bed *b, mfi_ns until) {
  mfi_status st = look_first(self, b, until);
  return st == MFI_EMPTY ? sleep_on(self, b, until) : st;
}

mfi_status mfi_event_look(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                          mfi_ns until) {
  bed b = {.e = e, .ready = ready, .what = what};
  return look_first(self, &b, until);
}

mfi_status mfi_event_sleep(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                           mfi_ns until) {
  bed b = {.e = e, .ready = ready, .what = what};
  mfi_status st = sleep_on(self, &b, until);
  if (st != MFI_OK)
    pass_baton(self, e);
  return st;
}

mfi_status mfi_event_await(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                           mfi_ns until) {
  mfi_status st = mfi_event_look(self, e, ready, what, until);
  return st == MFI_EMPTY ? mfi_event_sleep(self, e, ready, what, until) : st;
}

mfi_status mfi_event_await_any(mfi_self *self, const mfi_events *all, mfi_ready_fn *ready,
                               void *what, mfi_ns until) {
  bed b = {.e = any_at(self, own_any(self)), .all = *all, .ready = ready, .what = what};
  mfi_status st = await(self, &b, until);
  self->woken = false; // `any` is only woken for all: there is no baton
  return st;
}

// Whoever notes this worker set the note before it read the name, and holds the slot's lock: no
// note here, and it will not find the name; a note, and the lock says when it is through.
void mfi_event_done(mfi_self *self) {
  mfi_slot *s = self->slot;
  self->woken = false;
  if (load_relaxed(&s->sleeping_on) == 0)
    return;
  tell_of_no_sleep(s);
  store_seqcst(&s->sleeping_on, (mfi_ref)0);
  if (load_seqcst(&s->notes) == 0)
    return;
  mfi_lock_take(self, &s->lock);
  mfi_lock_give(self, &s->lock);
}

void mfi_event_leave(mfi_self *self) {
  mfi_ref e = load_relaxed(&self->slot->sleeping_on);
  if (e != 0)
    pass_baton(self, mfi_at(self, e));
  mfi_event_done(self);
}

// ---- Waking

void mfi_event_will_wake(mfi_self *self, mfi_event *e) {
  mfi_ref *waking = self->slot->waking, ref = mfi_ref_of(self, e);
  int i = load_relaxed(&waking[0]) != 0 && load_relaxed(&waking[0]) != ref;
  mfi_assert(waking[i] == 0 || waking[i] == ref);
  store_relaxed(&waking[i], ref);
  MFI_STEP();
}

void mfi_event_will_not_wake(mfi_self *self, mfi_event *e) {
  mfi_ref *waking = self->slot->waking, ref = mfi_ref_of(self, e);
  MFI_STEP();
  for (int i = 0; i < MFI_WAKING; i++)
    if (load_relaxed(&waking[i]) == ref)
      store_relaxed(&waking[i], (mfi_ref)0);
}

static void wake_all(mfi_event *e) {
  uint32_t old = load_seqcst(&e->word);
  while (!cas_seqcst(&e->word, &old, (old + WAKE) & ~SLEEPERS))
    continue;
  MFI_STEP();
  if ((old & SLEEPERS) != 0)
    mfi_os_wake(&e->word, INT_MAX);
}

// Who waits for this event among others.
static void wake_watchers(mfi_self *self, mfi_event *e) {
  uint32_t old = fetch_and_seqcst(&e->word, ~ANY_WATCHED);
  for (uint32_t i = 0; i < MFI_ANY; i++) {
    MFI_STEP();
    if ((old & WATCHED(i)) != 0 && (load_seqcst(&any_at(self, i)->word) & SLEEPERS) != 0)
      wake_all(any_at(self, i));
  }
}

void mfi_event_wake_one(mfi_self *self, mfi_event *e) {
  uint32_t word = load_seqcst(&e->word);
  if ((word & SLEEPERS) != 0) {
    fetch_add_seqcst(&e->word, WAKE);
    MFI_STEP();
    if (mfi_os_wake(&e->word, 1) == 0)
      wake_all(e);
  }
  if ((word & ANY_WATCHED) != 0)
    wake_watchers(self, e);
  mfi_event_will_not_wake(self, e);
}

void mfi_event_wake_all(mfi_self *self, mfi_event *e) {
  uint32_t word = load_seqcst(&e->word);
  if ((word & SLEEPERS) != 0)
    wake_all(e);
  if ((word & ANY_WATCHED) != 0)
    wake_watchers(self, e);
  mfi_event_will_not_wake(self, e);
}

mfi_event *mfi_event_of(mfi_self *self, uint64_t key) {
  uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15) >> 56;
  return (mfi_event *)(void *)self->region->parking[mixed % MFI_PARKING];
}

// ---- Notes

void mfi_note(mfi_self *self, uint32_t slot, uint32_t notes) {
  mfi_slot *s = mfi_slot_at(self, slot);
  fetch_or_seqcst(&s->notes, notes);
  mfi_ref ref = load_seqcst(&s->sleeping_on);
  if (ref == 0)
    return;
  // Bit 0 stays: a death before the wake strands nobody else.
  mfi_event *e = mfi_at(self, ref);
  fetch_add_seqcst(&e->word, WAKE);
  mfi_os_wake(&e->word, INT_MAX);
}

void mfi_note_clear(mfi_self *self, uint32_t notes) {
  mfi_slot *s = self->slot;
  mfi_lock_take(self, &s->lock); // whoever sent the note is through
  fetch_and_seqcst(&s->notes, ~notes);
  mfi_lock_give(self, &s->lock);
}

static void bury_one(mfi_self *self, uint32_t dead, mfi_ref ref) {
  if (ref == 0)
    return;
  mfi_event *e = mfi_at(self, ref);
  uint32_t looker = dead;
  cas_seqcst(&e->looker, &looker, 0u);
  // Whether or not the bits are set: the dead one may have cleared them and not woken.
  wake_all(e);
  mfi_os_wake(&e->word, INT_MAX);
  fetch_and_seqcst(&e->word, ~ANY_WATCHED);
  for (uint32_t i = 0; i < MFI_ANY; i++) {
    wake_all(any_at(self, i));
    mfi_os_wake(&any_at(self, i)->word, INT_MAX);
  }
}

void mfi_event_bury(mfi_self *self, uint32_t dead_slot) {
  mfi_slot *dead = mfi_slot_at(self, dead_slot);
  bury_one(self, dead_slot, load_seqcst(&dead->sleeping_on));
  for (int i = 0; i < MFI_WAKING; i++)
    bury_one(self, dead_slot, load_seqcst(&dead->waking[i]));
  store_release(&dead->sleeping_on, (mfi_ref)0);
  for (int i = 0; i < MFI_WAKING; i++)
    store_release(&dead->waking[i], (mfi_ref)0);
}
