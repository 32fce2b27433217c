// Worker slots: taking and releasing. Floor 2; see slot.h. Locks: region->slots_lock.
#include "mem/slot.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "mem/region.h"

#include <stddef.h>
#include <string.h>

// A slot that was never used: real memory, its lock made once for all.
static uint32_t fresh(mfi_self *self) {
  mfi_region *r = self->region;
  uint64_t index = r->slots_top;
  if (index >= MFI_MAX_SLOTS)
    return 0;
  uint64_t end = (index + 1) * sizeof(mfi_slot);
  if (mfi_region_grow(self, &r->slots_lock, &r->slots, end) != MFI_OK)
    return 0;
  mfi_lock_init(&mfi_slot_at(self, (uint32_t)index)->lock);
  mfi_slot_at(self, (uint32_t)index)->generation = 1;
  return (uint32_t)index;
}

typedef uint64_t __attribute__((may_alias)) any_word;

// All but what names the slot, which stays as it is at every instant, and its lock. Others may look
// at it while they go over all slots.
static void clear(mfi_slot *s) {
  _Static_assert(offsetof(mfi_slot, process) == 2 * sizeof(any_word),
                 "used, generation, next_free");
  for (any_word *at = (void *)&s->process; at < (any_word *)(void *)&s->lock; at++)
    store_relaxed(at, (uint64_t)0);
}

uint32_t mfi_slot_take(mfi_self *self) {
  mfi_region *r = self->region;
  if (MFI_DENIED(&r->faults))
    return 0;
  mfi_lock_take(self, &r->slots_lock);
  uint64_t index = r->free_slot;
  bool recycled = index != 0;
  if (!recycled)
    index = fresh(self);
  if (index != 0) {
    mfi_slot *s = mfi_slot_at(self, (uint32_t)index);
    uint64_t next = s->next_free;
    clear(s);
    s->process = (uint32_t)mfi_os_pid(); // a worker to be: its maker's, until it has one of its own
    if (recycled)
      mfi_change64(self, &r->slots_lock, &r->free_slot, next);
    else
      mfi_change64(self, &r->slots_lock, &r->slots_top, index + 1);
    mfi_change32(self, &r->slots_lock, &s->used, 1);
    mfi_change32(self, &r->slots_lock, &self->slot->starting, (uint32_t)index);
    mfi_lock_commit(self, &r->slots_lock);
  }
  mfi_lock_give(self, &r->slots_lock);
  return (uint32_t)index;
}

// ---- Counts

bool mfi_slot_is_busy(mfi_slot *s) { return load_relaxed(&s->stats[MFI_STAT_BUSY]) >> 63 != 0; }

void mfi_slot_busy(mfi_self *self, bool busy) {
  uint64_t now = (uint64_t)mfi_os_now();
  mfi_slot_count(self->slot, MFI_STAT_BUSY, busy ? -now : now);
}

uint64_t mfi_slot_busy_ns(mfi_slot *s) {
  uint64_t ns = load_relaxed(&s->stats[MFI_STAT_BUSY]);
  return ns >> 63 != 0 ? ns + (uint64_t)mfi_os_now() : ns;
}

static uint64_t stat_of(mfi_slot *s, int what) {
  return what == MFI_STAT_BUSY ? mfi_slot_busy_ns(s) : load_relaxed(&s->stats[what]);
}

// Behind the last entry until the release commits: a second try writes it again.
static void keep_past(mfi_self *self, mfi_slot *s) {
  mfi_region *r = self->region;
  mfi_past *p = &r->past_of[r->pasts % MFI_PASTS];
  if (stat_of(s, MFI_STAT_TASKS) == 0 && stat_of(s, MFI_STAT_BUSY) == 0)
    return;
  *p = (mfi_past){.process = s->process, .is_thread = s->warden == 0};
  memcpy(p->name, s->name, sizeof p->name);
  for (int i = 0; i < MFI_STATS; i++)
    p->stats[i] = stat_of(s, i);
  mfi_change64(self, &r->slots_lock, &r->pasts, r->pasts + 1);
}

bool mfi_slot_past(mfi_self *self, uint64_t n, mfi_past *out) {
  mfi_region *r = self->region;
  mfi_lock_take(self, &r->slots_lock);
  bool there = n < r->pasts && n < MFI_PASTS;
  if (there)
    *out = r->past_of[(r->pasts - 1 - n) % MFI_PASTS];
  mfi_lock_give(self, &r->slots_lock);
  return there;
}

void mfi_slot_sums(mfi_self *self, uint64_t sums[MFI_STATS]) {
  mfi_region *r = self->region;
  mfi_lock_take(self, &r->slots_lock); // a slot that is released meanwhile counts once
  for (int k = 0; k < MFI_STATS; k++)
    sums[k] = r->past[k];
  for (uint32_t i = 1; i < r->slots_top; i++) {
    mfi_slot *s = mfi_slot_at(self, i);
    for (int k = 0; k < MFI_STATS && load_acquire(&s->used) != 0; k++)
      sums[k] += stat_of(s, k);
  }
  mfi_lock_give(self, &r->slots_lock);
}

// ---- Releasing

// A thread that gives its own slot away, as its last act, must not write there behind the commit:
// the slot may be somebody else's by then. It names its lock in a place of its own.
void mfi_slot_release(mfi_self *self, uint32_t index) {
  mfi_region *r = self->region;
  mfi_slot *s = mfi_slot_at(self, index), nowhere = {.used = 1};
  if (index == self->index)
    self->slot = &nowhere;
  mfi_lock_take(self, &r->slots_lock);
  mfi_assert(s->used == 1);
  mfi_change32(self, &r->slots_lock, &s->used, 0);
  mfi_change32(self, &r->slots_lock, &s->generation, s->generation + 1);
  mfi_change64(self, &r->slots_lock, &s->next_free, r->free_slot);
  mfi_change64(self, &r->slots_lock, &r->free_slot, index);
  for (int i = 0; i < MFI_STATS; i++)
    mfi_change64(self, &r->slots_lock, &r->past[i], r->past[i] + stat_of(s, i));
  keep_past(self, s);
  mfi_lock_commit(self, &r->slots_lock);
  mfi_lock_give(self, &r->slots_lock);
  if (index == self->index)
    self->slot = s;
}

// ---- Places

#define PLACE_WORDS (sizeof(mfi_place) / sizeof(uint64_t))
_Static_assert(sizeof(mfi_place) == PLACE_WORDS * sizeof(uint64_t), "a place is whole words");

// Mostly it is the same line again, and the others' caches keep it. Nobody else writes meanwhile.
void mfi_place_store(mfi_place *shared, const mfi_place *from) {
  uint64_t word[PLACE_WORDS];
  any_word *to = (void *)shared;
  if (memcmp(shared, from, sizeof *from) == 0)
    return;
  memcpy(word, from, sizeof word);
  for (size_t i = 0; i < PLACE_WORDS; i++)
    store_relaxed(&to[i], word[i]);
}

mfi_place mfi_place_load(const mfi_place *shared) {
  uint64_t word[PLACE_WORDS];
  const any_word *from = (const void *)shared;
  mfi_place place;
  for (size_t i = 0; i < PLACE_WORDS; i++)
    word[i] = load_relaxed(&from[i]);
  memcpy(&place, word, sizeof place);
  place.source[sizeof place.source - 1] = '\0';
  return place;
}

// ---- Names

uint64_t mfi_slot_id(mfi_self *self, uint32_t index) {
  return (uint64_t)load_relaxed(&mfi_slot_at(self, index)->generation) << 32 | index;
}

bool mfi_slot_is(mfi_self *self, uint64_t id) {
  uint32_t index = (uint32_t)id;
  if (index == 0 || index >= load_acquire(&self->region->slots_top))
    return false;
  mfi_slot *s = mfi_slot_at(self, index);
  return load_acquire(&s->generation) == (uint32_t)(id >> 32) && load_acquire(&s->used) != 0;
}
