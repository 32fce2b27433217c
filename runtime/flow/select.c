// Selecting. Floor 4; see select.h. Locks nothing. Sleeps in mfi_selection_wait.
#include "flow/select.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/connection.h"
#include "flow/pool.h"
#include "flow/worker.h"

// ---- What there is to wait for

static bool worker_has_ended(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_worker *)what)->state) == MFI_WORKER_ENDED;
}

static bool job_has_ended(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_job *)what)->state) == MFI_JOB_ENDED;
}

static bool watch_queue(mfi_object *o, mfi_watch *out) {
  if (o == NULL)
    return false;
  mfi_queue *q = mfi_queue_of(o);
  *out = (mfi_watch){.event = &q->not_empty, .is_ready = mfi_queue_is_ready, .what = q};
  return true;
}

static bool watch_worker(mfi_object *o, mfi_watch *out) {
  mfi_worker *w = mfi_worker_of(o);
  *out = (mfi_watch){.event = &w->changed, .is_ready = worker_has_ended, .what = w, .once = true};
  return true;
}

static bool watch_job(mfi_self *self, mfi_ref job, mfi_watch *out) {
  *out = (mfi_watch){.event = mfi_event_of(self, job),
                     .is_ready = job_has_ended,
                     .what = mfi_job_at(self, job),
                     .once = true};
  return true;
}

static bool watch_batch(mfi_self *self, mfi_handle h, mfi_watch *out) {
  *out = (mfi_watch){.event = mfi_event_of(self, h),
                     .is_ready = mfi_batch_is_ready,
                     .what = mfi_batch_of(mfi_object_of(self, h))};
  return true;
}

static bool watch_flag(mfi_object *o, mfi_watch *out) {
  out->flag = (mfi_flag_watch){.flag = mfi_flag_of(o), .seen = mfi_flag_look(o)};
  out->event = &out->flag.flag->changed;
  out->is_ready = mfi_flag_was_set;
  out->what = &out->flag;
  out->once = false;
  return true;
}

bool mfi_watch_of(mfi_self *self, mfi_handle h, mfi_watch *out) {
  switch (mfi_handle_kind(self, h)) {
  case MFI_KIND_QUEUE:
    return watch_queue(mfi_object_of(self, h), out);
  case MFI_KIND_CONNECTION:
    return watch_queue(mfi_connection_rx(self, mfi_object_of(self, h)), out);
  case MFI_KIND_WORKER:
    return watch_worker(mfi_object_of(self, h), out);
  case MFI_KIND_BATCH:
    return watch_batch(self, h, out);
  case MFI_KIND_EVENT:
    return watch_flag(mfi_object_of(self, h), out);
  case MFI_KIND_JOB:
    return watch_job(self, mfi_counted_ref(self, h), out);
  default:
    return false;
  }
}

// ---- Selecting

// Multiples of the golden ratio are spread evenly, and so is every second, every third … of them:
// programs that select by turns from several lists are fair in each.
void mfi_selection_open(mfi_self *self, mfi_selection *s) {
  self->turn += UINT32_C(0x9e3779b9);
  s->from = (uint32_t)((uint64_t)self->turn * s->n >> 32);
  for (uint32_t i = 0; i < s->n; i++)
    s->event[i] = s->watch[i].event;
}

uint32_t mfi_selection_find(mfi_self *self, const mfi_selection *s) {
  uint32_t at = s->from;
  for (uint32_t i = 0; i < s->n; i++) {
    if (s->watch[at].is_ready(self, s->watch[at].what))
      return at;
    at = at + 1 == s->n ? 0 : at + 1;
  }
  return s->n;
}

static bool has_any(mfi_self *self, void *what) {
  const mfi_selection *s = what;
  return mfi_selection_find(self, s) < s->n;
}

mfi_status mfi_selection_wait(mfi_self *self, mfi_selection *s, mfi_ns until) {
  mfi_events all = {.event = s->event, .n = s->n};
  mfi_event_say(self, MFI_HOW_SELECT, 0);
  mfi_status st = mfi_event_await_any(self, &all, has_any, s, until);
  mfi_event_done(self);
  return st;
}
