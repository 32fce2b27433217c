// The object table: making, counting, ending. Floor 2; see object.h. Handle tables are in
// handles.c. Locks: region->objects_lock for the table, each object's own for its count.
#include "mem/object.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "mem/handles.h"
#include "mem/region.h"

#define COUNTED ((uint64_t)1 << 63)

static mfi_object *entry_at(mfi_self *self, uint64_t index) {
  return mfi_at(self, self->region->objects.at + index * sizeof(mfi_object));
}

static mfi_handle handle_of(uint64_t index, uint32_t generation) {
  return index << 32 | generation;
}

// ---- Making

static uint64_t fresh(mfi_self *self) {
  mfi_region *r = self->region;
  uint64_t index = r->objects_top, end = (index + 1) * sizeof(mfi_object);
  if (mfi_region_grow(self, &r->objects_lock, &r->objects, end) != MFI_OK)
    return 0;
  mfi_object *o = entry_at(self, index);
  mfi_lock_init(&o->lock);
  mfi_lock_init(&o->second);
  o->generation = 1;
  return index;
}

typedef uint64_t __attribute__((may_alias)) any_word;

// Who goes over all workers may still look at what lay here before.
static void clear_body(mfi_object *o) {
  any_word *word = (void *)o->body;
  for (size_t i = 0; i < MFI_OBJECT_BODY / sizeof *word; i++)
    store_relaxed(&word[i], (uint64_t)0);
}

mfi_handle mfi_object_make(mfi_self *self, mfi_object_kind kind, uint32_t *place) {
  mfi_region *r = self->region;
  mfi_handle h = 0;
  if (MFI_DENIED(&r->faults) || mfi_place_reserve(self, place) != MFI_OK)
    return 0;
  mfi_lock *lock = &r->objects_lock;
  mfi_lock_take(self, lock);
  uint64_t index = r->free_object;
  bool recycled = index != 0;
  if (!recycled)
    index = fresh(self);
  if (index != 0) {
    mfi_object *o = entry_at(self, index);
    clear_body(o);
    store_relaxed(&o->number, fetch_add_relaxed(&r->numbers[kind], (uint64_t)1) + 1);
    h = handle_of(index, o->generation);
    if (recycled)
      mfi_change64(self, lock, &r->free_object, o->next_free);
    else
      mfi_change64(self, lock, &r->objects_top, index + 1);
    mfi_change32(self, lock, &o->refs, 1);
    mfi_change32(self, lock, &o->kind, kind);
    mfi_change64(self, lock, &r->objects_live, r->objects_live + 1);
    mfi_place_changes(self, lock, *place, h);
    mfi_lock_commit(self, lock);
  }
  mfi_lock_give(self, lock);
  if (h == 0)
    mfi_place_release(self, *place);
  return h;
}

// Ends the first of the objects that self's slot names as dying.
static void end_object(mfi_self *self) {
  mfi_region *r = self->region;
  mfi_handle h = self->slot->dying;
  mfi_object *o = entry_at(self, h >> 32);
  self->ops[o->kind]->destroy(self, o->body);
  mfi_assert(self->slot->dying == h);
  mfi_lock_take(self, &r->objects_lock);
  mfi_change64(self, &r->objects_lock, &self->slot->dying, o->next_free);
  mfi_change32(self, &r->objects_lock, &o->kind, MFI_KIND_FREE);
  mfi_change32(self, &r->objects_lock, &o->generation, o->generation + 1);
  mfi_change64(self, &r->objects_lock, &o->next_free, r->free_object);
  mfi_change64(self, &r->objects_lock, &r->free_object, h >> 32);
  mfi_change64(self, &r->objects_lock, &r->objects_live, r->objects_live - 1);
  mfi_lock_commit(self, &r->objects_lock);
  mfi_lock_give(self, &r->objects_lock);
}

// What an object's end ends joins the list: no recursion, however long a chain.
static void end_dying(mfi_self *self) {
  if (self->ending)
    return;
  self->ending = true;
  while (self->slot->dying != 0)
    end_object(self);
  self->ending = false;
}

// ---- Looking

mfi_object *mfi_object_entry(mfi_self *self, mfi_handle h) { return entry_at(self, h >> 32); }

mfi_handle mfi_object_handle(mfi_self *self, const mfi_object *o) {
  uint64_t offset = mfi_ref_of(self, o) - self->region->objects.at;
  return handle_of(offset / sizeof *o, o->generation);
}

mfi_object *mfi_object_of(mfi_self *self, mfi_handle h) {
  uint64_t index = h >> 32;
  if ((h & COUNTED) != 0 || index == 0 || index >= load_acquire(&self->region->objects_top))
    return NULL;
  mfi_object *o = entry_at(self, index);
  if (load_acquire(&o->generation) != (uint32_t)h)
    return NULL;
  return load_acquire(&o->kind) == MFI_KIND_FREE || load_acquire(&o->refs) == 0 ? NULL : o;
}

mfi_ref mfi_counted_ref(mfi_self *self, mfi_handle h) {
  if ((h & COUNTED) == 0)
    return 0;
  mfi_ref ref = (h >> 32 & 0x7fffffff) * 64;
  mfi_block *b = mfi_heap_check(self, ref);
  if (b == NULL || load_acquire(&b->generation) != (uint32_t)h)
    return 0;
  if (load_acquire(&b->owner) != MFI_OWNER_LINKED || b->kind != MFI_BLOCK_JOB)
    return 0;
  return ref;
}

mfi_handle mfi_counted_handle(mfi_self *self, mfi_ref block) {
  mfi_block *b = mfi_at(self, block);
  return COUNTED | block / 64 << 32 | load_relaxed(&b->generation);
}

mfi_object_kind mfi_handle_kind(mfi_self *self, mfi_handle h) {
  if ((h & COUNTED) != 0)
    return mfi_counted_ref(self, h) != 0 ? MFI_KIND_JOB : MFI_KIND_FREE;
  mfi_object *o = mfi_object_of(self, h);
  return o == NULL ? MFI_KIND_FREE : (mfi_object_kind)load_relaxed(&o->kind);
}

// ---- Counting

// Where a handle's count is and which lock guards it.
typedef struct count {
  uint32_t *refs;
  mfi_lock *lock;
  uint32_t kind;
} count;

static bool find_count(mfi_self *self, mfi_handle h, count *out) {
  mfi_object *o = NULL;
  if ((h & COUNTED) != 0) {
    mfi_ref ref = mfi_counted_ref(self, h);
    if (ref == 0)
      return false;
    mfi_counted *c = mfi_payload(mfi_at(self, ref));
    uint64_t home = load_relaxed(&c->home) >> 32; // a live block's outlives it; looked at again
    if (home == 0 || home >= load_acquire(&self->region->objects_top))
      return false;
    o = entry_at(self, home);
    out->refs = &c->refs;
    out->kind = MFI_KIND_JOB;
  } else {
    o = mfi_object_of(self, h);
    if (o == NULL)
      return false;
    out->refs = &o->refs;
    out->kind = load_relaxed(&o->kind);
  }
  out->lock = &o->lock;
  return true;
}

// Takes the lock that guards the handle's count, if the handle is still valid under it.
static bool lock_count(mfi_self *self, mfi_handle h, count *out) {
  if (!find_count(self, h, out))
    return false;
  mfi_lock_take(self, out->lock);
  count again;
  if (find_count(self, h, &again) && again.lock == out->lock && *again.refs != 0)
    return true;
  mfi_lock_give(self, out->lock);
  return false;
}

mfi_status mfi_handle_add(mfi_self *self, mfi_handle h, uint32_t *place) {
  count c;
  if (mfi_place_reserve(self, place) != MFI_OK)
    return MFI_NOMEM;
  if (!lock_count(self, h, &c)) {
    mfi_place_release(self, *place);
    return MFI_CLOSED;
  }
  mfi_change32(self, c.lock, c.refs, *c.refs + 1);
  mfi_place_changes(self, c.lock, *place, h);
  mfi_lock_commit(self, c.lock);
  mfi_lock_give(self, c.lock);
  return MFI_OK;
}

mfi_status mfi_handle_hold(mfi_self *self, mfi_handle h, uint64_t *word) {
  count c;
  if (!lock_count(self, h, &c))
    return MFI_CLOSED;
  mfi_change32(self, c.lock, c.refs, *c.refs + 1);
  mfi_change64(self, c.lock, word, h);
  mfi_lock_commit(self, c.lock);
  mfi_lock_give(self, c.lock);
  return MFI_OK;
}

// Ends what `h` names after its last reference went.
static void end(mfi_self *self, mfi_handle h) {
  if ((h & COUNTED) == 0) {
    end_dying(self);
    return;
  }
  mfi_ref ref = (h >> 32 & 0x7fffffff) * 64; // in hand
  mfi_block *b = mfi_at(self, ref);
  self->ops[MFI_KIND_JOB]->destroy(self, mfi_payload(b));
  mfi_heap_free(self, ref);
}

// Puts the object on self's list of dying ones, linked through next_free: as the first, or behind
// the first when that is being ended.
static void change_dying(mfi_self *self, mfi_lock *lock, mfi_handle h) {
  mfi_handle first = self->slot->dying;
  uint64_t *link = self->ending ? &entry_at(self, first >> 32)->next_free : &self->slot->dying;
  mfi_change64(self, lock, &entry_at(self, h >> 32)->next_free, *link);
  mfi_change64(self, lock, link, h);
}

// One reference less, together with its place becoming 0.
static void drop(mfi_self *self, uint64_t *word) {
  mfi_handle h = *word;
  count c;
  bool found = h != 0 && lock_count(self, h, &c);
  mfi_assert(h == 0 || found);
  if (!found)
    return;
  bool last = *c.refs == 1;
  mfi_change32(self, c.lock, c.refs, *c.refs - 1);
  mfi_change64(self, c.lock, word, 0);
  if (last && (h & COUNTED) != 0)
    mfi_hand_in(self, c.lock, (h >> 32 & 0x7fffffff) * 64);
  if (last && (h & COUNTED) == 0)
    change_dying(self, c.lock, h);
  bool looks = !last && self->ops[c.kind]->let_go != NULL;
  if (looks)
    mfi_change64(self, c.lock, &self->slot->let_go, h);
  mfi_lock_commit(self, c.lock);
  mfi_lock_give(self, c.lock);
  if (last)
    end(self, h);
  else if (looks)
    self->ops[c.kind]->let_go(self, h);
}

void mfi_handle_unhold(mfi_self *self, uint64_t *word) { drop(self, word); }

void mfi_handle_drop(mfi_self *self, uint32_t place) {
  drop(self, &mfi_handle_entry(self, place)->handle);
  mfi_place_release(self, place);
}

// ---- Burial

static void abandon(mfi_self *self, mfi_held *e, uint64_t id) {
  mfi_object_kind kind = mfi_handle_kind(self, e->handle);
  if (kind != MFI_KIND_FREE && self->ops[kind]->abandon != NULL)
    self->ops[kind]->abandon(self, e, id);
}

// Does what is held through such a handle end with a task?
static bool is_of_task(mfi_object_kind kind) {
  return kind != MFI_KIND_QUEUE && kind != MFI_KIND_POOL && kind != MFI_KIND_CONDITION &&
         kind != MFI_KIND_BARRIER;
}

void mfi_handles_abandon(mfi_self *self) {
  mfi_handle_table *t = mfi_handle_table_of(self, self->slot);
  if (self->slot->held == 0 || t == NULL)
    return;
  uint64_t id = mfi_slot_id(self, self->index);
  for (uint64_t i = 0; i < t->capacity; i++)
    if (t->entry[i].handle != 0 && is_of_task(mfi_handle_kind(self, t->entry[i].handle)))
      abandon(self, &t->entry[i], id);
  self->slot->held = 0;
}

// What it would have looked at.
static void look_for(mfi_self *self, mfi_slot *dead) {
  mfi_object_kind kind = mfi_handle_kind(self, dead->let_go);
  if (dead->let_go != 0 && self->ops[kind] != NULL && self->ops[kind]->let_go != NULL)
    self->ops[kind]->let_go(self, dead->let_go);
  store_release(&dead->let_go, (mfi_handle)0);
}

static void take_over_dying(mfi_self *self, mfi_slot *dead) {
  mfi_handle h = dead->dying;
  mfi_object *o = entry_at(self, h >> 32);
  mfi_lock_take(self, &o->lock);
  mfi_change64(self, &o->lock, &dead->dying, o->next_free);
  change_dying(self, &o->lock, h);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  end_dying(self);
}

void mfi_handles_bury(mfi_self *self, uint32_t dead_slot) {
  mfi_slot *dead = mfi_slot_at(self, dead_slot);
  uint64_t id = mfi_slot_id(self, dead_slot);
  look_for(self, dead);
  while (dead->dying != 0)
    take_over_dying(self, dead);
  mfi_handle_table *t = mfi_handle_table_of(self, dead);
  if (t == NULL)
    return;
  for (uint64_t i = 0; i < t->capacity; i++) {
    if (t->entry[i].handle == 0)
      continue;
    abandon(self, &t->entry[i], id);
    drop(self, &t->entry[i].handle);
  }
  mfi_handle_table_free(self, dead);
}

uint64_t mfi_objects_live(mfi_self *self) { return load_relaxed(&self->region->objects_live); }
