// Who waits where for what. Floor 4; see waits.h.
#include "flow/waits.h"

#include "base/atomic.h"
#include "flow/text.h"
#include "flow/worker.h"
#include "sync/gates.h"
#include "sync/locks.h"

#include <string.h>

#define HELD_SHOWN 1024 // locks

// ---- Workers and places

static void add_place(mfi_text *t, const mfi_place *shared) {
  mfi_place place = mfi_place_load(shared);
  if (place.line != 0)
    mfi_text_add(t, " at %s:%u", place.source, place.line);
}

// The object of this handle if it is one of these kinds, with a reference at *place; else NULL.
static mfi_object *hold(mfi_self *self, mfi_handle h, mfi_object_kind kind, mfi_object_kind or,
                        uint32_t *place) {
  if (h == 0 || mfi_handle_add(self, h, place) != MFI_OK)
    return NULL;
  mfi_object_kind is = mfi_handle_kind(self, h);
  if (is == kind || is == or)
    return mfi_object_of(self, h);
  mfi_handle_drop(self, *place);
  return NULL;
}

static void add_name(mfi_text *t, mfi_self *self, const mfi_slot *s) {
  uint32_t place;
  mfi_object *o = hold(self, load_acquire(&s->worker), MFI_KIND_WORKER, MFI_KIND_WORKER, &place);
  mfi_text_add_shared(t, o == NULL ? s->name : mfi_worker_of(o)->name, MFI_NAME_SIZE);
  if (o != NULL)
    mfi_handle_drop(self, place);
}

// "Process-1 (pid 4711)"
static void add_who(mfi_text *t, mfi_self *self, uint64_t id) {
  const mfi_slot *s = mfi_slot_at(self, (uint32_t)id);
  if (!mfi_slot_is(self, id)) {
    mfi_text_add(t, "a worker that has ended");
    return;
  }
  uint32_t pid = load_acquire(&s->pid);
  add_name(t, self, s);
  mfi_text_add(t, " (pid %u)", pid);
}

static const mfi_script_lock *lock_of(mfi_self *self, mfi_handle h) {
  mfi_object *o = mfi_object_of(self, h);
  return o == NULL ? NULL : (const mfi_script_lock *)(const void *)o->body;
}

// The same for the ith entry of the object table.
static mfi_object *hold_entry(mfi_self *self, uint64_t i, mfi_object_kind kind, mfi_object_kind or,
                              uint32_t *place) {
  mfi_object *o = mfi_object_entry(self, i << 32);
  uint32_t is = load_acquire(&o->kind);
  if (is != (uint32_t)kind && is != (uint32_t) or)
    return NULL;
  return hold(self, i << 32 | load_acquire(&o->generation), kind, or, place);
}

// "RLock(#2, held)", and whose it is, where it is a Condition's: that may be all that the script
// has of it.
static void add_lock(mfi_text *t, mfi_self *self, mfi_handle lock) {
  uint64_t top = load_acquire(&self->region->objects_top);
  mfi_text_add_object(t, self, lock);
  if (load_relaxed(&self->region->numbers[MFI_KIND_CONDITION]) == 0)
    return;
  for (uint64_t i = 1; i < top; i++) {
    uint32_t place;
    mfi_object *o = hold_entry(self, i, MFI_KIND_CONDITION, MFI_KIND_CONDITION, &place);
    if (o == NULL)
      continue;
    bool its = load_acquire(&mfi_condition_of(o)->lock) == lock;
    if (its) {
      mfi_text_add(t, " of ");
      mfi_text_add_object(t, self, mfi_object_handle(self, o));
    }
    mfi_handle_drop(self, place);
    if (its)
      return;
  }
}

static void add_acquired(mfi_text *t, mfi_self *self, mfi_handle lock) {
  const mfi_script_lock *l = lock_of(self, lock);
  if (l != NULL)
    add_place(t, &l->place);
}

// ---- Deadlocks

static void add_waiting_place(mfi_text *t, mfi_self *self, uint64_t id) {
  mfi_place here = {.line = 0};
  if (id != mfi_own_id(self)) {
    add_place(t, &mfi_slot_at(self, (uint32_t)id)->waits_at);
    return;
  }
  if (self->where != NULL)
    self->where(self, &here);
  add_place(t, &here);
}

static void add_again(mfi_text *t, mfi_self *self, const mfi_cycle *c) {
  mfi_text_add(t, "deadlock: ");
  add_who(t, self, c->edge[0].worker);
  mfi_text_add(t, " cannot acquire ");
  add_lock(t, self, c->edge[0].wants);
  add_waiting_place(t, self, c->edge[0].worker);
  mfi_text_add(t, ": it holds it already, acquired");
  add_acquired(t, self, c->edge[0].wants);
  mfi_text_add(t, "; an RLock may be acquired again");
}

static void add_edge(mfi_text *t, mfi_self *self, const mfi_cycle *c, uint32_t i) {
  mfi_handle lock = c->edge[i].wants;
  mfi_text_add(t, "\n  ");
  add_who(t, self, c->edge[i].worker);
  mfi_text_add(t, " waits");
  add_waiting_place(t, self, c->edge[i].worker);
  mfi_text_add(t, " for ");
  add_lock(t, self, lock);
  if (i + 1 == MFI_CYCLE_SHOWN && c->workers > MFI_CYCLE_SHOWN) {
    mfi_text_add(t, "\n  and %u more", c->workers - MFI_CYCLE_SHOWN);
    return;
  }
  mfi_text_add(t, ", which ");
  add_who(t, self, c->edge[(i + 1) % c->workers].worker);
  mfi_text_add(t, " acquired");
  add_acquired(t, self, lock);
}

size_t mfi_waits_deadlock(mfi_self *self, const mfi_cycle *c, char *out, size_t size) {
  mfi_text t = {.at = out, .size = size};
  if (c->workers == 1) {
    add_again(&t, self, c);
    return t.used;
  }
  mfi_text_add(&t, "deadlock: %u workers wait for each other's locks", c->workers);
  for (uint32_t i = 0; i < c->workers && i < MFI_CYCLE_SHOWN; i++)
    add_edge(&t, self, c, i);
  return t.used;
}

// ---- What one waits for

typedef struct wait {
  uint32_t how;
  mfi_handle what;
  mfi_ns since;
  mfi_place at;
} wait;

// What a slot says of its wait, at one moment where possible. False: it does not sleep.
static bool read_wait(const mfi_slot *s, wait *w) {
  for (int i = 0; i < 10; i++) {
    w->since = load_acquire(&s->waits_since);
    w->how = load_relaxed(&s->waits_how);
    w->what = load_relaxed(&s->waits_for);
    w->at = mfi_place_load(&s->waits_at);
    if (w->since == load_seqcst(&s->waits_since))
      break;
  }
  return w->since != 0 && load_acquire(&s->sleeping_on) != 0;
}

static void add_owner(mfi_text *t, mfi_self *self, mfi_handle lock) {
  const mfi_script_lock *l = lock_of(self, lock);
  uint64_t owner = l == NULL ? 0 : load_acquire(&l->owner);
  if (owner == 0)
    return;
  mfi_text_add(t, ", held by ");
  add_who(t, self, owner);
}

// "has waited 2.1 s at a.lua:3" " to get from " "Queue(#1, 0)" ""
typedef struct phrase {
  const char *has;
  const char *link, *behind; // around what is waited for; NULL: no more is known
} phrase;

static const phrase phrases[] = {
    [MFI_HOW_OTHER] = {"waited", NULL, ""},
    [MFI_HOW_ACQUIRE] = {"waited", " for ", ""},
    [MFI_HOW_PERMIT] = {"waited", " for a permit of ", ""},
    [MFI_HOW_CONDITION] = {"waited", " to be notified by ", ""},
    [MFI_HOW_EVENT] = {"waited", " for ", " to be set"},
    [MFI_HOW_BARRIER] = {"waited", " for the others at ", ""},
    [MFI_HOW_GET] = {"waited", " to get from ", ""},
    [MFI_HOW_PUT] = {"waited", " to put into ", ""},
    [MFI_HOW_DONE] = {"waited", " until all is done of ", ""},
    [MFI_HOW_START] = {"waited", " for ", " to start"},
    [MFI_HOW_JOIN] = {"waited", " for ", " to end"},
    [MFI_HOW_PARENT] = {"waited", NULL, " for its starter to end"},
    [MFI_HOW_FUTURE] = {"waited", " for ", ""},
    [MFI_HOW_BATCH] = {"waited", " for ", ""},
    [MFI_HOW_CALM] = {"waited", " for ", " to finish"},
    [MFI_HOW_IDLE] = {"been idle", NULL, ""},
    [MFI_HOW_SELECT] = {"waited", NULL, " for the first of several"},
    [MFI_HOW_SLEEP] = {"slept", NULL, ""},
    [MFI_HOW_OUTPUT] = {"waited", NULL, " for its turn to write"},
};

static void add_what(mfi_text *t, mfi_self *self, const wait *w) {
  uint32_t place;
  if (mfi_handle_add(self, w->what, &place) != MFI_OK) {
    mfi_text_add(t, "something that is gone");
    return;
  }
  if (w->how == MFI_HOW_BATCH)
    mfi_text_add_batch(t, self, w->what);
  else if (w->how == MFI_HOW_ACQUIRE)
    add_lock(t, self, w->what);
  else
    mfi_text_add_object(t, self, w->what);
  if (w->how == MFI_HOW_ACQUIRE)
    add_owner(t, self, w->what);
  mfi_handle_drop(self, place);
}

static void add_wait(mfi_text *t, mfi_self *self, const wait *w) {
  size_t known = sizeof phrases / sizeof *phrases;
  const phrase *p = &phrases[w->how < known ? w->how : MFI_HOW_OTHER];
  mfi_text_add(t, "has %s %.1f s", p->has, (double)(mfi_os_now() - w->since) / 1e9);
  add_place(t, &w->at);
  if (p->link != NULL) {
    mfi_text_add(t, "%s", p->link);
    add_what(t, self, w);
  }
  mfi_text_add(t, "%s", p->behind);
}

// ---- All workers

typedef struct held {
  uint64_t owner;
  mfi_handle lock;
  uint32_t place; // of a reference
} held;

// All locks that are held now, with references; how many.
static uint32_t find_held(mfi_self *self, held *out) {
  uint64_t top = load_acquire(&self->region->objects_top);
  uint32_t n = 0;
  for (uint64_t i = 1; i < top && n < HELD_SHOWN; i++) {
    held *h = &out[n];
    mfi_object *o = hold_entry(self, i, MFI_KIND_LOCK, MFI_KIND_RLOCK, &h->place);
    if (o == NULL)
      continue;
    h->owner = load_acquire(&((mfi_script_lock *)(void *)o->body)->owner);
    h->lock = mfi_object_handle(self, o);
    if (h->owner != 0)
      n++;
    else
      mfi_handle_drop(self, h->place);
  }
  return n;
}

// A thread of the host's that calls us, or the main state; others without a worker are helpers of
// ours.
static bool is_native(const mfi_slot *s) {
  char name[8];
  mfi_text t = {.at = name, .size = sizeof name};
  mfi_text_add_shared(&t, s->name, sizeof s->name);
  if (strcmp(name, "main") == 0)
    return true;
  bool here = load_acquire(&s->waits_since) != 0 || load_acquire(&s->held) != 0;
  return strcmp(name, "host") == 0 && here; // else it does something of its own
}

// What it runs: its task, or its target. False: that is not known, nothing was added.
static bool add_running(mfi_text *t, mfi_self *self, const mfi_slot *s, mfi_worker *w) {
  mfi_text label = *t;
  mfi_text_add(&label, "runs ");
  if (mfi_text_add_label(&label, self, load_acquire(&s->job))) {
    *t = label;
    return true;
  }
  if (w == NULL || w->pool != 0 || w->target[0] == '\0')
    return false;
  mfi_text_add(t, "runs ");
  mfi_text_add_shared(t, w->target, sizeof w->target);
  return true;
}

static void add_doing(mfi_text *t, mfi_self *self, const mfi_slot *s, mfi_worker *worker) {
  wait w;
  bool waits = read_wait(s, &w), runs = add_running(t, self, s, worker);
  if (!runs && !waits)
    mfi_text_add(t, "%s", load_acquire(&s->pid) == 0 ? "starts" : "runs");
  if (waits) {
    mfi_text_add(t, "%s", runs ? ", " : "");
    add_wait(t, self, &w);
  }
  mfi_text_add(t, "%s\n", load_acquire(&s->stop) != 0 ? "; it is to stop" : "");
}

static void add_holding(mfi_text *t, mfi_self *self, uint64_t id, const held *h, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    if (h[i].owner != id)
      continue;
    mfi_text_add(t, "  holds ");
    add_lock(t, self, h[i].lock);
    mfi_text_add(t, ", acquired");
    add_acquired(t, self, h[i].lock);
    mfi_text_add(t, "\n");
  }
}

// o: NULL: a native thread.
static void add_worker(mfi_text *t, mfi_self *self, uint32_t slot, mfi_object *o) {
  mfi_worker *w = o == NULL ? NULL : mfi_worker_of(o);
  add_who(t, self, mfi_slot_id(self, slot));
  if (w != NULL)
    mfi_text_add(t, w->backend == MFI_BACKEND_THREAD ? ", thread" : ", process");
  mfi_text_add(t, ": ");
  add_doing(t, self, mfi_slot_at(self, slot), w);
}

static void add_slot(mfi_text *t, mfi_self *self, uint32_t slot, const held *h, uint32_t n) {
  const mfi_slot *s = mfi_slot_at(self, slot);
  uint64_t id = mfi_slot_id(self, slot);
  uint32_t place;
  if (load_acquire(&s->used) == 0)
    return;
  mfi_handle worker = load_acquire(&s->worker);
  mfi_object *o = hold(self, worker, MFI_KIND_WORKER, MFI_KIND_WORKER, &place);
  if (o != NULL ? mfi_worker_state(o) != MFI_WORKER_ENDED : worker == 0 && is_native(s)) {
    add_worker(t, self, slot, o);
    add_holding(t, self, id, h, n);
  }
  if (o != NULL)
    mfi_handle_drop(self, place);
}

size_t mfi_waits_dump(mfi_self *self, char *out, size_t size) {
  mfi_text t = {.at = out, .size = size};
  held locks[HELD_SHOWN];
  uint32_t n = find_held(self, locks);
  uint64_t top = load_acquire(&self->region->slots_top);
  if (size != 0)
    out[0] = '\0';
  for (uint32_t i = 1; i < top; i++)
    add_slot(&t, self, i, locks, n);
  for (uint32_t i = 0; i < n; i++)
    mfi_handle_drop(self, locks[i].place);
  return t.used;
}
