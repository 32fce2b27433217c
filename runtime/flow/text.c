// Text for people about shared objects. Floor 4; see text.h.
#include "flow/text.h"

#include "base/atomic.h"
#include "flow/pool.h"
#include "flow/queue.h"
#include "sync/gates.h"
#include "sync/locks.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mfi_text_add(mfi_text *t, const char *format, ...) {
  size_t left = t->used < t->size ? t->size - t->used : 0;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(left != 0 ? t->at + t->used : NULL, left, format, args);
  va_end(args);
  t->used += n > 0 ? (size_t)n : 0;
}

void mfi_text_add_shared(mfi_text *t, const char *shared, size_t size) {
  char text[128];
  size_t i = 0;
  for (; i < size && i < sizeof text - 1 && (text[i] = load_relaxed(&shared[i])) != '\0'; i++)
    continue;
  text[i] = '\0';
  mfi_text_add(t, "%s", text);
}

// ---- By kind

static void add_queue(mfi_text *t, mfi_object *o) {
  mfi_queue *q = mfi_queue_of(o);
  uint64_t most = load_relaxed(&q->maxsize);
  mfi_text_add(t, "%" PRIu64, mfi_queue_size(o));
  if (most != 0)
    mfi_text_add(t, "/%" PRIu64, most);
  if (load_acquire(&q->closed) != 0)
    mfi_text_add(t, ", closed");
}

static void add_barrier(mfi_text *t, mfi_barrier *b) {
  mfi_text_add(t, ", %u/%" PRIu64, load_acquire(&b->arrived), load_relaxed(&b->parties));
  if (load_acquire(&b->broken) != 0)
    mfi_text_add(t, ", broken");
}

// What stands behind the number: ", free".
static void add_state(mfi_text *t, mfi_object_kind kind, mfi_object *o) {
  switch (kind) {
  case MFI_KIND_QUEUE:
    mfi_text_add(t, ", ");
    add_queue(t, o);
    break;
  case MFI_KIND_LOCK:
  case MFI_KIND_RLOCK:
    mfi_text_add(t, ", %s", mfi_lock_is_held(o) ? "held" : "free");
    break;
  case MFI_KIND_SEMAPHORE:
  case MFI_KIND_BOUNDED:
    mfi_text_add(t, ", %" PRIu64, mfi_semaphore_value(o));
    break;
  case MFI_KIND_EVENT:
    mfi_text_add(t, ", %s", mfi_flag_is_set(o) ? "set" : "clear");
    break;
  case MFI_KIND_CONDITION:
    mfi_text_add(t, ", %" PRIu64 " waiting", load_acquire(&mfi_condition_of(o)->waiting));
    break;
  case MFI_KIND_BARRIER:
    add_barrier(t, mfi_barrier_of(o));
    break;
  default:
    break;
  }
}

static void add_worker(mfi_text *t, mfi_object *o) {
  static const char *const states[] = {"new", "starting", "running", "ended"};
  mfi_worker *w = mfi_worker_of(o);
  mfi_text_add(t, "%s(", load_relaxed(&w->backend) == MFI_BACKEND_THREAD ? "Thread" : "Process");
  mfi_text_add_shared(t, w->name, sizeof w->name);
  mfi_text_add(t, ", %s)", states[mfi_worker_state(o) & 3]);
}

static void add_pool(mfi_text *t, mfi_object *o) {
  mfi_text_add(t, "Pool(");
  mfi_text_add_shared(t, mfi_core_of(o)->name, MFI_NAME_SIZE);
  mfi_text_add(t, ")");
}

// ---- Jobs

bool mfi_text_add_label(mfi_text *t, mfi_self *self, mfi_ref ref) {
  uint32_t place;
  if (ref == 0 || mfi_heap_check(self, ref) == NULL ||
      mfi_handle_add(self, mfi_counted_handle(self, ref), &place) != MFI_OK)
    return false;
  const mfi_job *j = mfi_job_at(self, ref);
  bool known = j->label[0] != '\0';
  mfi_text_add_shared(t, j->label, sizeof j->label);
  mfi_handle_drop(self, place);
  return known;
}

static void add_job(mfi_text *t, mfi_self *self, mfi_handle h) {
  static const char *const states[] = {"new", "queued", "running", "done"};
  const mfi_job *j = mfi_job_at(self, mfi_counted_ref(self, h));
  mfi_text_add(t, "Future(");
  mfi_text_add_shared(t, j->label[0] != '\0' ? j->label : "a task", sizeof j->label);
  mfi_text_add(t, ", %s)", states[load_acquire(&j->state) & 3]);
}

void mfi_text_add_batch(mfi_text *t, mfi_self *self, mfi_handle batch) {
  mfi_object *o = mfi_object_of(self, batch);
  mfi_ref oldest = o == NULL ? 0 : load_acquire(&mfi_batch_of(o)->oldest);
  if (!mfi_text_add_label(t, self, oldest))
    mfi_text_add(t, "tasks");
}

// ---- All

void mfi_text_add_object(mfi_text *t, mfi_self *self, mfi_handle h) {
  mfi_object_kind kind = mfi_handle_kind(self, h);
  mfi_object *o = mfi_object_of(self, h);
  if (kind == MFI_KIND_JOB) {
    add_job(t, self, h);
  } else if (kind == MFI_KIND_FREE || o == NULL) {
    mfi_text_add(t, "something that is gone");
  } else if (kind == MFI_KIND_WORKER) {
    add_worker(t, o);
  } else if (kind == MFI_KIND_CORE) {
    add_pool(t, o);
  } else {
    mfi_text_add(t, "%s(#%" PRIu64, self->ops[kind]->name, load_relaxed(&o->number));
    add_state(t, kind, o);
    mfi_text_add(t, ")");
  }
}

// ---- Deaths

const char *mfi_death_text(const mfi_death *d, char room[MFI_DEATH_TEXT]) {
  const char *name = d->exitcode < 0 ? sigabbrev_np(-d->exitcode) : NULL;
  if (d->exitcode >= 0)
    snprintf(room, MFI_DEATH_TEXT, "ended by os.exit(%d)", d->exitcode);
  else if (name != NULL)
    snprintf(room, MFI_DEATH_TEXT, "was killed by SIG%s", name);
  else
    snprintf(room, MFI_DEATH_TEXT, "was killed by signal %d", -d->exitcode);
  return room;
}
