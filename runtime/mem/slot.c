// Worker slots: taking and releasing. Floor 2; see slot.h. Locks: region->slots_lock.
#include "mem/slot.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "mem/region.h"

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

// All but what names the slot and its lock.
static void clear(mfi_slot *s) {
  uint32_t generation = s->generation;
  uint64_t next = s->next_free;
  char *from = (char *)s, *lock = (char *)&s->lock;
  memset(from, 0, (size_t)(lock - from));
  s->generation = generation;
  s->next_free = next;
}

uint32_t mfi_slot_take(mfi_self *self) {
  mfi_region *r = self->region;
  mfi_lock_take(self, &r->slots_lock);
  uint64_t index = r->free_slot;
  bool recycled = index != 0;
  if (!recycled)
    index = fresh(self);
  if (index != 0) {
    mfi_slot *s = mfi_slot_at(self, (uint32_t)index);
    uint64_t next = s->next_free;
    clear(s);
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

void mfi_slot_release(mfi_self *self, uint32_t index) {
  mfi_region *r = self->region;
  mfi_slot *s = mfi_slot_at(self, index);
  mfi_lock_take(self, &r->slots_lock);
  mfi_assert(s->used == 1);
  mfi_change32(self, &r->slots_lock, &s->used, 0);
  mfi_change32(self, &r->slots_lock, &s->generation, s->generation + 1);
  mfi_change64(self, &r->slots_lock, &s->next_free, r->free_slot);
  mfi_change64(self, &r->slots_lock, &r->free_slot, index);
  mfi_lock_commit(self, &r->slots_lock);
  mfi_lock_give(self, &r->slots_lock);
}

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
