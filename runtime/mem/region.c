// The region's making and its growth. Floor 2; see region.h.
#include "mem/region.h"

#include "base/assert.h"

#include <string.h>

#define MAGIC ((uint64_t)0x7465656c666e6f6d) // "moonfleet"
#define STEP ((uint64_t)65536)               // parts grow by this
#define WARM (4 * STEP)                      // of each part

static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static uint64_t lay(mfi_part *part, uint64_t at, uint64_t size) {
  *part = (mfi_part){.at = at, .size = round_up(size, STEP)};
  return at + part->size;
}

mfi_status mfi_region_grow(mfi_self *self, mfi_lock *lock, mfi_part *part, uint64_t bytes) {
  if (bytes <= part->backed)
    return MFI_OK;
  uint64_t to = round_up(bytes, STEP);
  if (to > part->size)
    return MFI_NOMEM;
  mfi_status st = mfi_os_region_back(self->fd, part->at + part->backed, to - part->backed);
  if (st != MFI_OK)
    return st;
  mfi_change64(self, lock, &part->backed, to);
  mfi_lock_commit(self, lock);
  return MFI_OK;
}

// A fault maps as much as the step has pages.
static void look_at(const mfi_region *r, uint64_t at, uint64_t size) {
  uint64_t most = size < WARM ? size : WARM;
  for (uint64_t i = 0; i < most; i += STEP)
    (void)*((const volatile char *)r + at + i);
}

void mfi_region_warm(const mfi_region *r) {
  look_at(r, 0, sizeof *r);
  look_at(r, r->slots.at, r->slots.backed);
  look_at(r, r->objects.at, r->objects.backed);
  look_at(r, r->heap.units.at, r->heap.units.backed);
  look_at(r, r->heap.arena, r->heap.backed * MFI_UNIT);
}

// Slot 1 is the opener's; it is needed before any lock can be named.
static mfi_status first_slot(mfi_self *self) {
  mfi_region *r = self->region;
  if (mfi_os_region_back(self->fd, r->slots.at, STEP) != MFI_OK)
    return MFI_NOMEM;
  r->slots.backed = STEP;
  r->slots_top = 1;
  self->slot = mfi_slot_at(self, 0); // named in nothing; for the first take alone
  self->index = mfi_slot_take(self);
  if (self->index == 0)
    return MFI_NOMEM;
  self->slot = mfi_slot_at(self, self->index);
  return MFI_OK;
}

static mfi_status lay_out(mfi_self *self, size_t size) {
  mfi_region *r = self->region;
  uint64_t header = round_up(sizeof *r, STEP);
  if (mfi_os_region_back(self->fd, 0, header) != MFI_OK)
    return MFI_NOMEM;
  r->magic = MAGIC;
  r->size = size;
  r->next_id = 1;
  uint64_t at = lay(&r->slots, header, (uint64_t)MFI_MAX_SLOTS * sizeof(mfi_slot));
  uint64_t objects = size / 16384 < MFI_MAX_OBJECTS ? size / 16384 : MFI_MAX_OBJECTS;
  at = lay(&r->objects, at, objects * sizeof(mfi_object));
  r->objects_top = 1; // entry 0 is never used
  uint64_t units = (size - at) / MFI_UNIT;
  uint64_t arena = round_up(at + units * sizeof(uint32_t), MFI_UNIT);
  mfi_lock_init(&r->slots_lock);
  mfi_lock_init(&r->objects_lock);
  mfi_lock_init(&r->waits);
  for (int i = 0; i < 2; i++)
    mfi_lock_init(&r->streams[i].lock);
  mfi_heap_init(self, at, arena, size);
  return first_slot(self);
}

#define LEAST_DEFAULT ((uint64_t)64 << 20)

// The tables of a small region would eat it; they are reserved beside what was asked for.
static uint64_t reserve_for(uint64_t size) {
  uint64_t least = (uint64_t)MFI_MAX_SLOTS * sizeof(mfi_slot) + ((uint64_t)64 << 20);
  return round_up(size + size / 8 + least, MFI_UNIT);
}

// Where the address space is limited (ulimit -v), a region whose size nobody has named gets
// smaller.
static mfi_status map(mfi_self *self, size_t size, uint64_t *wanted, void **base) {
  *wanted = round_up(size == 0 ? mfi_os_half_of_memory() : size, MFI_UNIT);
  mfi_status st = mfi_os_region_map(reserve_for(*wanted), base, &self->fd);
  while (st == MFI_NOMEM && size == 0 && *wanted >= 2 * LEAST_DEFAULT) {
    *wanted = round_up(*wanted / 2, MFI_UNIT);
    st = mfi_os_region_map(reserve_for(*wanted), base, &self->fd);
  }
  return st;
}

mfi_status mfi_region_open(mfi_self *self, size_t size) {
  uint64_t wanted;
  void *base = NULL;
  memset(self, 0, sizeof *self);
  mfi_status st = map(self, size, &wanted, &base);
  uint64_t total = reserve_for(wanted);
  if (st != MFI_OK)
    return st;
  self->region = base;
  st = lay_out(self, total);
  if (st != MFI_OK) { // there may be no memory where the region keeps its size
    mfi_os_region_unmap(base, total, self->fd);
    self->region = NULL;
    return st;
  }
  self->region->heap.limit = wanted;
  return MFI_OK;
}

void mfi_region_close(mfi_self *self) {
  if (self->region == NULL)
    return;
  mfi_os_region_unmap(self->region, self->region->size, self->fd);
  self->region = NULL;
}
