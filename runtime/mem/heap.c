// Small blocks: size classes, the hand, freeing. Floor 2; see heap.h. Units are in units.c.
// Locks: each class's own; the units' lock nests inside.
#include "mem/heap.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "mem/reclaim.h"
#include "mem/region.h"
#include "mem/units.h"

#include <string.h>

// Bytes of a block with its header. The last classes fit a unit twice or more.
const uint32_t mfi_class_bytes[MFI_CLASSES] = {
    64,   128,  192,  256,  384,  512,   768,   1024,  1536,
    2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32704,
};

static unsigned class_of(uint64_t bytes) {
  if (bytes <= 256)
    return (unsigned)((bytes + 63) / 64 - 1);
  unsigned c = 4;
  while (c < MFI_CLASSES_USED && mfi_class_bytes[c] < bytes)
    c++;
  return c;
}

static mfi_class *class_at(mfi_self *self, unsigned c) { return &self->region->heap.classes[c]; }

void mfi_heap_init(mfi_self *self, uint64_t units_at, uint64_t arena_at, uint64_t end) {
  mfi_heap *h = &self->region->heap;
  mfi_lock_init(&h->lock);
  for (unsigned i = 0; i < MFI_CLASSES; i++)
    mfi_lock_init(&h->classes[i].lock);
  h->units.at = units_at;
  h->units.size = arena_at - units_at;
  h->arena = arena_at;
  h->unit_count = (end - arena_at) / MFI_UNIT;
}

// ---- The hand

static uint64_t in_hand_of(mfi_self *self) { return MFI_OWNER_HAND | self->index; }

void mfi_hand_in(mfi_self *self, mfi_lock *lock, mfi_ref block) {
  mfi_block *b = mfi_at(self, block);
  mfi_change64(self, lock, &b->owner, in_hand_of(self));
  mfi_change64(self, lock, &b->link, self->slot->hand);
  mfi_change64(self, lock, &self->slot->hand, block);
}

void mfi_hand_out(mfi_self *self, mfi_lock *lock, mfi_ref block) {
  mfi_block *b = mfi_at(self, block);
  mfi_assert(self->slot->hand == block && b->owner == in_hand_of(self));
  mfi_change64(self, lock, &b->owner, MFI_OWNER_LINKED);
  mfi_change64(self, lock, &self->slot->hand, b->link);
}

void mfi_hand_swap(mfi_self *self, mfi_lock *lock, mfi_ref out, mfi_ref in) {
  mfi_block *o = mfi_at(self, out), *i = mfi_at(self, in);
  mfi_assert(self->slot->hand == out && o->owner == in_hand_of(self));
  mfi_change64(self, lock, &o->owner, MFI_OWNER_LINKED);
  mfi_change64(self, lock, &i->owner, in_hand_of(self));
  mfi_change64(self, lock, &i->link, o->link);
  mfi_change64(self, lock, &self->slot->hand, in);
}

mfi_ref mfi_hand_pull(mfi_self *self, mfi_ref *word) {
  mfi_ref block = *word;
  if (block == 0)
    return 0;
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, word, 0);
  mfi_hand_in(self, lock, block);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  return block;
}

// Only the worker itself sees its hand, but it may die between two stores: the block is first
// linked twice, then once. Burial frees a block only when its owner word still says that it is in
// this hand.
void mfi_hand_raise(mfi_self *self, mfi_ref block) {
  mfi_ref before = self->slot->hand;
  if (before == block)
    return;
  mfi_block *b = mfi_at(self, block), *p = mfi_at(self, before);
  while (p->link != block)
    p = mfi_at(self, p->link);
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &p->link, b->link);
  mfi_change64(self, lock, &b->link, before);
  mfi_change64(self, lock, &self->slot->hand, block);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
}

// ---- Blocks

// Under c's lock: cuts the next block of the span and puts it on the free list.
static void cut(mfi_self *self, mfi_class *c, unsigned index) {
  mfi_block *b = mfi_at(self, c->bump);
  *b = (mfi_block){.owner = MFI_OWNER_FREE,
                   .link = c->free,
                   .size = mfi_class_bytes[index] - sizeof *b,
                   .generation = c->generation,
                   .size_class = (uint16_t)index};
  mfi_change64(self, &c->lock, &c->free, c->bump);
  mfi_change64(self, &c->lock, &c->bump, c->bump + mfi_class_bytes[index]);
  mfi_change64(self, &c->lock, &c->cut, c->cut + 1);
  mfi_lock_commit(self, &c->lock);
}

static bool refill(mfi_self *self, mfi_class *c, unsigned index) {
  uint32_t generation;
  mfi_ref unit = mfi_units_take_span(self, index, &generation); // named in slot->hand_unit
  if (unit == 0)
    return false;
  uint64_t count = MFI_UNIT / mfi_class_bytes[index];
  mfi_change64(self, &c->lock, &c->bump, unit);
  mfi_change64(self, &c->lock, &c->bump_end, unit + count * mfi_class_bytes[index]);
  mfi_change32(self, &c->lock, &c->generation, generation);
  mfi_change64(self, &c->lock, &self->slot->hand_unit, 0);
  mfi_lock_commit(self, &c->lock);
  return true;
}

static mfi_ref alloc_small(mfi_self *self, unsigned index, mfi_block_kind kind) {
  mfi_class *c = class_at(self, index);
  mfi_lock_take(self, &c->lock);
  if (c->free == 0) {
    if (c->bump != c->bump_end || refill(self, c, index))
      cut(self, c, index);
  }
  mfi_ref ref = c->free;
  if (ref != 0) {
    mfi_block *b = mfi_at(self, ref);
    b->kind = (uint16_t)kind;
    mfi_change64(self, &c->lock, &c->free, b->link);
    mfi_change64(self, &c->lock, &c->live, c->live + 1);
    mfi_hand_in(self, &c->lock, ref);
    mfi_lock_commit(self, &c->lock);
  }
  mfi_lock_give(self, &c->lock);
  return ref;
}

// *used: how many bytes of the block, from its header on, may not be 0.
static mfi_ref try_alloc(mfi_self *self, size_t size, mfi_block_kind kind, uint64_t *used) {
  uint64_t bytes = size + sizeof(mfi_block);
  unsigned index = class_of(bytes);
  *used = bytes;
  if (index < MFI_CLASSES_USED)
    return alloc_small(self, index, kind);
  return mfi_units_alloc(self, bytes, kind, used);
}

static mfi_ref alloc(mfi_self *self, size_t size, mfi_block_kind kind, uint64_t *used) {
  if (size > self->region->heap.limit || MFI_DENIED(&self->region->faults))
    return 0;
  mfi_ref ref = try_alloc(self, size, kind, used);
  if (ref == 0 && mfi_heap_reclaim(self))
    ref = try_alloc(self, size, kind, used);
  return ref;
}

mfi_ref mfi_heap_alloc(mfi_self *self, size_t size, mfi_block_kind kind) {
  uint64_t used;
  return alloc(self, size, kind, &used);
}

mfi_ref mfi_heap_alloc_zeroed(mfi_self *self, size_t size, mfi_block_kind kind) {
  uint64_t used;
  mfi_ref ref = alloc(self, size, kind, &used);
  if (ref != 0 && used > sizeof(mfi_block))
    mfi_os_region_clear(self->region, self->fd, ref + sizeof(mfi_block), used - sizeof(mfi_block));
  return ref;
}

void mfi_heap_free(mfi_self *self, mfi_ref block) {
  mfi_block *b = mfi_at(self, block);
  mfi_hand_raise(self, block);
  mfi_assert(b->owner == in_hand_of(self));
  if (b->size_class >= MFI_CLASSES_USED) {
    mfi_units_free(self, block);
    return;
  }
  mfi_class *c = class_at(self, b->size_class);
  mfi_lock_take(self, &c->lock);
  mfi_change64(self, &c->lock, &self->slot->hand, b->link);
  mfi_change64(self, &c->lock, &b->owner, MFI_OWNER_FREE);
  mfi_change32(self, &c->lock, &b->generation, b->generation + 1);
  mfi_change64(self, &c->lock, &b->link, c->free);
  mfi_change64(self, &c->lock, &c->free, block);
  mfi_change64(self, &c->lock, &c->live, c->live - 1);
  mfi_lock_commit(self, &c->lock);
  mfi_lock_give(self, &c->lock);
}

// The dead hand is taken over block by block, so that a burial that dies can be repeated.
static void take_over(mfi_self *self, mfi_slot *dead, mfi_ref ref) {
  mfi_lock *lock = &dead->lock;
  mfi_block *b = mfi_at(self, ref);
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &dead->hand, b->link);
  mfi_hand_in(self, lock, ref);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
}

static void drop(mfi_self *self, mfi_ref ref) {
  mfi_drop_fn *fn = self->drops[((mfi_block *)mfi_at(self, ref))->kind];
  if (fn != NULL)
    fn(self, ref);
}

void mfi_heap_bury(mfi_self *self, uint32_t dead_slot) {
  mfi_slot *dead = mfi_slot_at(self, dead_slot);
  if (dead->hand_unit != 0)
    mfi_units_give_span(self, dead);
  for (mfi_ref ref = dead->hand; ref != 0; ref = dead->hand) {
    if (dead != self->slot) // a thread's last act empties its own
      take_over(self, dead, ref);
    drop(self, ref);
    mfi_heap_free(self, ref);
  }
}

mfi_block *mfi_heap_check(mfi_self *self, mfi_ref ref) {
  uint32_t entry = 0;
  uint64_t start = mfi_units_run_of(self, ref, &entry);
  if (start == 0)
    return NULL;
  unsigned index = mfi_units_class(entry);
  if (index == MFI_CLASSES)
    return ref == start ? mfi_at(self, ref) : NULL;
  mfi_class *c = class_at(self, index);
  uint64_t bump = load_acquire(&c->bump), end = load_acquire(&c->bump_end);
  if ((ref - start) % mfi_class_bytes[index] != 0 ||
      ref - start + mfi_class_bytes[index] > MFI_UNIT)
    return NULL;
  if (bump >= start && bump < end && start + MFI_UNIT > bump && ref >= bump)
    return NULL;
  return mfi_at(self, ref);
}

uint64_t mfi_heap_live(mfi_self *self) {
  mfi_heap *h = &self->region->heap;
  uint64_t live = load_relaxed(&h->live_runs);
  for (unsigned i = 0; i < MFI_CLASSES_USED; i++)
    live += load_relaxed(&h->classes[i].live);
  return live;
}
