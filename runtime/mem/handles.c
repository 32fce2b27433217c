// Handle tables. Floor 2; see handles.h. Locks: the slot's own, when a table grows.
#include "mem/handles.h"

#include "base/assert.h"
#include "mem/region.h"

#include <string.h>

#ifdef MFI_TINY
#define FIRST_CAPACITY 2
#else
#define FIRST_CAPACITY 13
#endif

mfi_handle_table *mfi_handle_table_of(mfi_self *self, mfi_slot *slot) {
  return slot->handles == 0 ? NULL : mfi_payload(mfi_at(self, slot->handles));
}

static void link_unused(mfi_handle_table *t, uint64_t from) {
  t->free = 0;
  for (uint64_t i = t->capacity; i > from; i--) {
    t->entry[i - 1] = (mfi_held){.handle = 0, .aux = t->free};
    t->free = i;
  }
}

// The larger table is built aside and swapped in; the old one comes into hand.
static void swap_in(mfi_self *self, mfi_ref bigger, mfi_ref old) {
  mfi_slot *s = self->slot;
  mfi_block *b = mfi_at(self, bigger), *o = mfi_at(self, old);
  mfi_lock *lock = &s->lock;
  mfi_lock_take(self, lock);
  mfi_assert(s->hand == bigger);
  mfi_change64(self, lock, &s->handles, bigger);
  mfi_change64(self, lock, &b->owner, MFI_OWNER_LINKED);
  if (old == 0) {
    mfi_change64(self, lock, &s->hand, b->link);
  } else {
    mfi_change64(self, lock, &o->owner, MFI_OWNER_HAND | self->index);
    mfi_change64(self, lock, &o->link, b->link);
    mfi_change64(self, lock, &s->hand, old);
  }
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  if (old != 0)
    mfi_heap_free(self, old);
}

static mfi_status grow(mfi_self *self) {
  mfi_ref old = self->slot->handles;
  mfi_handle_table *t = mfi_handle_table_of(self, self->slot);
  uint64_t used = t == NULL ? 0 : t->capacity;
  uint64_t wanted = t == NULL ? FIRST_CAPACITY : 2 * used + 1;
  mfi_ref ref = mfi_heap_alloc(self, sizeof *t + wanted * sizeof(mfi_held), MFI_BLOCK_HANDLES);
  if (ref == 0)
    return MFI_NOMEM;
  mfi_block *b = mfi_at(self, ref);
  mfi_handle_table *bigger = mfi_payload(b);
  bigger->capacity = (b->size - sizeof *t) / sizeof(mfi_held);
  if (t != NULL)
    memcpy(bigger->entry, t->entry, used * sizeof(mfi_held));
  link_unused(bigger, used);
  swap_in(self, ref, old);
  return MFI_OK;
}

mfi_status mfi_place_reserve(mfi_self *self, uint32_t *place) {
  mfi_handle_table *t = mfi_handle_table_of(self, self->slot);
  if (t == NULL || t->free == 0) {
    if (grow(self) != MFI_OK)
      return MFI_NOMEM;
    t = mfi_handle_table_of(self, self->slot);
  }
  *place = (uint32_t)(t->free - 1);
  t->free = t->entry[*place].aux;
  return MFI_OK;
}

void mfi_place_release(mfi_self *self, uint32_t place) {
  mfi_handle_table *t = mfi_handle_table_of(self, self->slot);
  mfi_assert(t->entry[place].handle == 0);
  t->entry[place].aux = t->free;
  t->free = place + 1;
}

void mfi_place_changes(mfi_self *self, mfi_lock *lock, uint32_t place, mfi_handle h) {
  mfi_held *e = mfi_handle_entry(self, place);
  mfi_change64(self, lock, &e->handle, h);
  mfi_change64(self, lock, &e->aux, 0);
}

mfi_held *mfi_handle_entry(mfi_self *self, uint32_t place) {
  return &mfi_handle_table_of(self, self->slot)->entry[place];
}

void mfi_handle_table_free(mfi_self *self, mfi_slot *dead) {
  if (dead->handles == 0)
    return;
  mfi_ref table = dead->handles;
  mfi_lock_take(self, &dead->lock);
  mfi_change64(self, &dead->lock, &dead->handles, 0);
  mfi_hand_in(self, &dead->lock, table);
  mfi_lock_commit(self, &dead->lock);
  mfi_lock_give(self, &dead->lock);
  mfi_heap_free(self, table);
}
