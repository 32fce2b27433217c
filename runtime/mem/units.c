// Units: finding, taking and freeing runs. Floor 2; see units.h and heap.h. Locks: heap->lock.
// Under that lock memory is asked of the system (fallocate), once for each MiB ever used; that of
// large runs, which may take it a while, before.
#include "mem/units.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "mem/region.h"

#define RUN_MARK ((uint32_t)0xff << 24)
#define LENGTH(entry) ((entry)&0xffffffu)
#ifdef MFI_TINY
#define EXTENT 1u
#define LARGE 2u
#else
#define EXTENT 16u // units: memory is taken from the system by 1 MiB
#define LARGE 64u  // for a run of so many it is asked outside of the lock
#endif

static mfi_heap *heap_of(mfi_self *self) { return &self->region->heap; }
static uint32_t *table_of(mfi_self *self) { return mfi_at(self, heap_of(self)->units.at); }
static mfi_ref unit_at(mfi_self *self, uint64_t i) { return heap_of(self)->arena + i * MFI_UNIT; }

unsigned mfi_units_class(uint32_t entry) {
  return (entry & RUN_MARK) == RUN_MARK ? MFI_CLASSES : (entry >> 24) - 1;
}

// ---- Finding

// A run freed lately that is long enough: its pages are warm.
static uint64_t find_recent(mfi_heap *h, uint64_t n) {
  for (unsigned k = 0; k < MFI_RECENT; k++) {
    unsigned i = (unsigned)(h->recent_at + MFI_RECENT - 1 - k) % MFI_RECENT;
    if (h->recent[i].units >= n)
      return h->recent[i].start;
  }
  return UINT64_MAX;
}

static uint64_t find_scan(mfi_self *self, uint64_t n) {
  mfi_heap *h = heap_of(self);
  const uint32_t *table = table_of(self);
  uint64_t start = 0, i = 0;
  while (i < h->top && i - start < n) {
    uint32_t entry = table[i];
    i += entry == 0 ? 1 : LENGTH(entry);
    if (entry != 0)
      start = i;
  }
  return start;
}

// What is given out is no longer a free run: forget it, keep what is left of it. A hint outlives
// who dies while it changes it, so at each step it names free units only.
static void forget(mfi_heap *h, uint64_t start, uint64_t n) {
  for (unsigned k = 0; k < MFI_RECENT; k++) {
    uint64_t s = h->recent[k].start, end = s + h->recent[k].units;
    if (start + n <= s || start >= end)
      continue;
    bool from_its_start = start == s && start + n < end;
    h->recent[k].units = from_its_start ? h->recent[k].units - n : 0;
    MFI_STEP();
    h->recent[k].start = s + n;
  }
}

static bool is_allowed(const mfi_heap *h, uint64_t end) {
  return end <= h->unit_count && end * MFI_UNIT <= h->limit + MFI_UNIT;
}

// Units to ask for so that those before `end` are there.
static uint64_t extent_end(const mfi_heap *h, uint64_t end) {
  uint64_t to = (end + EXTENT - 1) / EXTENT * EXTENT;
  return to < h->unit_count ? to : h->unit_count;
}

static bool back(mfi_self *self, uint64_t end) {
  mfi_heap *h = heap_of(self);
  if (!is_allowed(h, end))
    return false;
  if (mfi_region_grow(self, &h->lock, &h->units, end * sizeof(uint32_t)) != MFI_OK)
    return false;
  if (end <= h->backed)
    return true;
  uint64_t to = extent_end(h, end);
  size_t size = (to - h->backed) * MFI_UNIT;
  if (mfi_os_region_back(self->fd, unit_at(self, h->backed), size) != MFI_OK)
    return false;
  mfi_change64(self, &h->lock, &h->backed, to);
  mfi_lock_commit(self, &h->lock);
  return true;
}

// Under heap->lock: where n units are free, perhaps without memory.
static uint64_t find_place(mfi_self *self, uint64_t n) {
  uint64_t start = find_recent(heap_of(self), n);
  return start != UINT64_MAX ? start : find_scan(self, n);
}

// Before the lock is taken for a large run: asks for the memory that it will need. Others may take
// its place meanwhile; what is behind `backed` when this one is done is there all the same.
static void back_ahead(mfi_self *self, uint64_t n) {
  mfi_heap *h = heap_of(self);
  mfi_lock_take(self, &h->lock);
  uint64_t from = h->backed, end = find_place(self, n) + n;
  mfi_lock_give(self, &h->lock);
  uint64_t to = extent_end(h, end);
  if (end <= from || !is_allowed(h, end) ||
      mfi_os_region_back(self->fd, unit_at(self, from), (to - from) * MFI_UNIT) != MFI_OK)
    return;
  mfi_lock_take(self, &h->lock);
  if (h->backed < to) {
    mfi_change64(self, &h->lock, &h->backed, to);
    mfi_lock_commit(self, &h->lock);
  }
  mfi_lock_give(self, &h->lock);
}

// Under heap->lock: n free units with memory behind them, or UINT64_MAX.
static uint64_t find(mfi_self *self, uint64_t n) {
  mfi_heap *h = heap_of(self);
  uint64_t start = find_place(self, n);
  if (!back(self, start + n))
    return UINT64_MAX;
  forget(h, start, n);
  return start;
}

static void change_taken(mfi_self *self, uint64_t start, uint64_t n, uint32_t entry) {
  mfi_heap *h = heap_of(self);
  mfi_change32(self, &h->lock, &table_of(self)[start], entry);
  if (start + n > h->top)
    mfi_change64(self, &h->lock, &h->top, start + n);
}

// ---- Spans

mfi_ref mfi_units_take_span(mfi_self *self, unsigned size_class, uint32_t *generation) {
  mfi_heap *h = heap_of(self);
  mfi_ref ref = 0;
  mfi_lock_take(self, &h->lock);
  uint64_t i = find(self, 1);
  if (i != UINT64_MAX) {
    *generation = (uint32_t)++h->runs_made;
    ref = unit_at(self, i);
    change_taken(self, i, 1, (uint32_t)(size_class + 1) << 24 | 1);
    mfi_change64(self, &h->lock, &self->slot->hand_unit, ref);
    mfi_lock_commit(self, &h->lock);
  }
  mfi_lock_give(self, &h->lock);
  return ref;
}

void mfi_units_give_span(mfi_self *self, mfi_slot *dead) {
  mfi_heap *h = heap_of(self);
  mfi_lock_take(self, &h->lock);
  uint64_t i = (dead->hand_unit - h->arena) / MFI_UNIT;
  mfi_change32(self, &h->lock, &table_of(self)[i], 0);
  mfi_change64(self, &h->lock, &dead->hand_unit, 0);
  mfi_lock_commit(self, &h->lock);
  mfi_lock_give(self, &h->lock);
}

mfi_ref mfi_units_span(mfi_self *self, uint64_t i, unsigned size_class) {
  uint32_t entry = load_acquire(&table_of(self)[i]);
  return entry != 0 && mfi_units_class(entry) == size_class ? unit_at(self, i) : 0;
}

void mfi_units_end_span(mfi_self *self, mfi_class *c, const mfi_span *s) {
  mfi_heap *h = heap_of(self);
  mfi_lock_take(self, &h->lock);
  if (h->runs_made < s->latest)
    h->runs_made = s->latest;
  if (s->is_cut_from) {
    mfi_change64(self, &h->lock, &c->bump, 0);
    mfi_change64(self, &h->lock, &c->bump_end, 0);
  }
  mfi_change64(self, &h->lock, &c->cut, c->cut - s->blocks);
  mfi_change32(self, &h->lock, &table_of(self)[(s->at - h->arena) / MFI_UNIT], 0);
  mfi_lock_commit(self, &h->lock);
  mfi_lock_give(self, &h->lock);
}

// ---- Runs

// Memory above `top` is as the system gave it: 0.
static uint64_t used_of(const mfi_heap *h, uint64_t start, uint64_t bytes) {
  uint64_t used = start < h->top ? (h->top - start) * MFI_UNIT : 0;
  return used < bytes ? used : bytes;
}

mfi_ref mfi_units_alloc(mfi_self *self, uint64_t bytes, mfi_block_kind kind, uint64_t *used) {
  mfi_heap *h = heap_of(self);
  uint64_t n = (bytes + MFI_UNIT - 1) / MFI_UNIT;
  if (n > LENGTH(UINT32_MAX))
    return 0;
  if (n >= LARGE)
    back_ahead(self, n);
  mfi_ref ref = 0;
  mfi_lock_take(self, &h->lock);
  uint64_t i = find(self, n);
  if (i != UINT64_MAX) {
    ref = unit_at(self, i);
    mfi_block *b = mfi_at(self, ref);
    *b = (mfi_block){.size = n * MFI_UNIT - sizeof *b,
                     .generation = (uint32_t)++h->runs_made,
                     .kind = (uint16_t)kind,
                     .size_class = MFI_CLASSES};
    *used = used_of(h, i, bytes);
    change_taken(self, i, n, RUN_MARK | (uint32_t)n);
    mfi_change64(self, &h->lock, &h->live_runs, h->live_runs + 1);
    mfi_hand_in(self, &h->lock, ref);
    mfi_lock_commit(self, &h->lock);
  }
  mfi_lock_give(self, &h->lock);
  return ref;
}

static void remember(mfi_heap *h, uint64_t start, uint64_t n) {
  unsigned i = (unsigned)(h->recent_at++ % MFI_RECENT);
  h->recent[i].units = 0;
  MFI_STEP();
  h->recent[i].start = start;
  MFI_STEP();
  h->recent[i].units = n;
}

void mfi_units_free(mfi_self *self, mfi_ref block) {
  mfi_heap *h = heap_of(self);
  mfi_block *b = mfi_at(self, block);
  uint64_t i = (block - h->arena) / MFI_UNIT;
  uint64_t n = (b->size + sizeof *b) / MFI_UNIT;
  mfi_lock_take(self, &h->lock);
  mfi_change64(self, &h->lock, &self->slot->hand, b->link);
  mfi_change32(self, &h->lock, &table_of(self)[i], 0);
  mfi_change64(self, &h->lock, &h->live_runs, h->live_runs - 1);
  mfi_lock_commit(self, &h->lock);
  remember(h, i, n);
  mfi_lock_give(self, &h->lock);
}

// Without the lock: a run that ends meanwhile makes the answer stale, which its generation tells.
uint64_t mfi_units_run_of(mfi_self *self, mfi_ref ref, uint32_t *entry) {
  mfi_heap *h = heap_of(self);
  if (ref < h->arena)
    return 0;
  uint64_t i = (ref - h->arena) / MFI_UNIT;
  if (i >= load_acquire(&h->top))
    return 0;
  *entry = load_acquire(&table_of(self)[i]);
  return *entry == 0 ? 0 : unit_at(self, i);
}
