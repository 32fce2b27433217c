// Reclaiming spans. Floor 2; see reclaim.h. Locks: each class's, the units' inside.
//
// Under the class's lock none of its blocks changes hands. A span is given up when the owner word
// of each of its blocks says FREE, in three steps that may end after any store:
//
//   its blocks leave the class's list, each by one store of the link before it
//   --> one record: the unit is free (and no blocks are cut from it any more)
//
// Who dies in between leaves blocks that are FREE and in no list. They are out of use until the
// next reclaim, which goes by the owner words.
#include "mem/reclaim.h"

#include "base/atomic.h"
#include "mem/region.h"
#include "mem/units.h"

#include <string.h>

#define WINDOW 4096u // units that are looked at together
#define PATIENCE_NS 100000000

// Spans to be given up, by unit.
typedef struct window {
  uint64_t from, end;
  uint64_t marked[WINDOW / 64];
  uint32_t count;
} window;

static uint64_t unit_of(mfi_self *self, mfi_ref ref) {
  return (ref - self->region->heap.arena) / MFI_UNIT;
}

static bool is_marked(const window *w, uint64_t unit) {
  if (unit < w->from || unit >= w->end)
    return false;
  uint64_t i = unit - w->from;
  return (w->marked[i / 64] >> (i % 64) & 1) != 0;
}

// A span that somebody took and died before it was the class's holds no blocks: it is its burial's.
static bool is_in_hand(mfi_self *self, mfi_ref span) {
  uint64_t top = load_acquire(&self->region->slots_top);
  for (uint32_t i = 1; i < top; i++)
    if (load_acquire(&mfi_slot_at(self, i)->hand_unit) == span)
      return true;
  return false;
}

// Is this unit a span of the class, all of whose blocks are free?
static bool is_idle(mfi_self *self, const mfi_class *c, unsigned index, uint64_t unit,
                    mfi_span *s) {
  uint64_t size = mfi_class_bytes[index];
  *s = (mfi_span){.at = mfi_units_span(self, unit, index), .blocks = MFI_UNIT / size};
  if (s->at == 0)
    return false;
  s->is_cut_from = c->bump_end > s->at && c->bump_end <= s->at + MFI_UNIT;
  if (s->is_cut_from)
    s->blocks = (c->bump - s->at) / size;
  for (uint64_t i = 0; i < s->blocks; i++) {
    const mfi_block *b = mfi_at(self, s->at + i * size);
    if (b->owner != MFI_OWNER_FREE)
      return false;
    if (b->generation > s->latest)
      s->latest = b->generation;
  }
  return !is_in_hand(self, s->at);
}

static void mark(mfi_self *self, const mfi_class *c, unsigned index, window *w) {
  mfi_span s;
  memset(w->marked, 0, sizeof w->marked);
  w->count = 0;
  for (uint64_t i = w->from; i < w->end; i++) {
    if (!is_idle(self, c, index, i, &s))
      continue;
    w->marked[(i - w->from) / 64] |= (uint64_t)1 << ((i - w->from) % 64);
    w->count++;
  }
}

static void unlink_marked(mfi_self *self, mfi_class *c, const window *w) {
  mfi_ref *link = &c->free;
  while (*link != 0) {
    mfi_block *b = mfi_at(self, *link);
    if (is_marked(w, unit_of(self, *link)))
      mfi_change_alone(link, b->link);
    else
      link = &b->link;
  }
}

static void give_up(mfi_self *self, mfi_class *c, unsigned index, const window *w) {
  mfi_span s;
  for (uint64_t i = w->from; i < w->end; i++)
    if (is_marked(w, i) && is_idle(self, c, index, i, &s))
      mfi_units_end_span(self, c, &s);
}

// Under the lock. How many spans were given up.
static uint64_t sweep(mfi_self *self, mfi_class *c, unsigned index) {
  uint64_t top = load_acquire(&self->region->heap.top), n = 0;
  window w;
  for (w.from = 0; w.from < top; w.from = w.end) {
    w.end = w.from + WINDOW < top ? w.from + WINDOW : top;
    mark(self, c, index, &w);
    if (w.count == 0)
      continue;
    unlink_marked(self, c, &w);
    give_up(self, c, index, &w);
    n += w.count;
  }
  return n;
}

static uint64_t reclaim_class(mfi_self *self, unsigned index) {
  mfi_class *c = &self->region->heap.classes[index];
  uint64_t n = 0;
  mfi_ns now = mfi_os_now();
  mfi_lock_take(self, &c->lock);
  uint64_t idle = c->cut - c->live;
  bool looked = now < c->looked_at + PATIENCE_NS && idle <= c->idle_then;
  if (idle != 0 && !looked) {
    n = sweep(self, c, index);
    c->idle_then = n != 0 ? 0 : idle;
    c->looked_at = now;
  }
  mfi_lock_give(self, &c->lock);
  return n;
}

bool mfi_heap_reclaim(mfi_self *self) {
  uint64_t n = 0;
  for (unsigned i = 0; i < MFI_CLASSES_USED; i++)
    n += reclaim_class(self, i);
  return n != 0;
}
