// What workers do. Floor 4; see stats.h. Locks: those of the handles that it holds for a moment.
#include "flow/stats.h"

#include "base/atomic.h"
#include "flow/job.h"

#include <string.h>

//   starting --> running | waiting --> ending              a target of its own
//   starting --> idle <--> running | waiting               a pool's
// waiting: inside a task or target, in a call that sleeps.
static const char *state_of(mfi_slot *s, mfi_worker *w) {
  if (load_acquire(&w->state) == MFI_WORKER_STARTING)
    return "starting";
  if (mfi_slot_is_busy(s))
    return load_acquire(&s->sleeping_on) != 0 ? "waiting" : "running";
  if (w->pool != 0)
    return load_acquire(&w->ready) != 0 ? "idle" : "starting";
  return load_relaxed(&s->stats[MFI_STAT_TASKS]) != 0 ? "ending" : "starting";
}

// The job may end, and its block become another's, while we look: it is held to read its label.
static void copy_label(mfi_self *self, mfi_slot *s, char *out, size_t size) {
  mfi_ref job = load_acquire(&s->job);
  uint32_t place;
  if (job == 0)
    return;
  if (mfi_handle_add(self, mfi_counted_handle(self, job), &place) != MFI_OK)
    return;
  memcpy(out, mfi_job_at(self, job)->label, size);
  out[size - 1] = '\0';
  mfi_handle_drop(self, place);
}

static void copy_task(mfi_self *self, mfi_slot *s, mfi_worker *w, mfi_worker_stats *out) {
  _Static_assert(sizeof out->task == sizeof((mfi_job *)0)->label, "a label fits");
  _Static_assert(sizeof out->task == sizeof w->target, "a target's place fits");
  if (w->pool != 0)
    copy_label(self, s, out->task, sizeof out->task);
  else
    memcpy(out->task, w->target, sizeof out->task);
}

bool mfi_stats_worker(mfi_self *self, uint32_t slot, mfi_worker_stats *out) {
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_handle h = load_acquire(&s->worker);
  uint32_t place;
  if (load_acquire(&s->used) == 0 || h == 0 || mfi_handle_kind(self, h) != MFI_KIND_WORKER)
    return false;
  if (mfi_handle_add(self, h, &place) != MFI_OK)
    return false;
  mfi_worker *w = mfi_worker_of(mfi_object_of(self, h));
  memset(out, 0, sizeof *out);
  out->state = state_of(s, w);
  out->backend = w->backend;
  out->pid = load_relaxed(&w->pid);
  out->tasks = load_relaxed(&s->stats[MFI_STAT_TASKS]);
  out->busy_ns = mfi_slot_busy_ns(s);
  memcpy(out->name, w->name, sizeof out->name);
  if (out->state[0] != 'i' && out->state[0] != 's')
    copy_task(self, s, w, out);
  bool there = load_acquire(&w->state) != MFI_WORKER_ENDED && load_acquire(&s->worker) == h;
  mfi_handle_drop(self, place);
  return there;
}

uint64_t mfi_stats_shared(mfi_self *self) {
  mfi_region *r = self->region;
  return r->slots.at + load_relaxed(&r->slots.backed) + load_relaxed(&r->objects.backed) +
         load_relaxed(&r->heap.units.backed) + load_relaxed(&r->heap.backed) * MFI_UNIT;
}
