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

static void copy_name(const mfi_slot *s, char name[MFI_NAME_SIZE]) {
  memcpy(name, s->name, MFI_NAME_SIZE);
  name[MFI_NAME_SIZE - 1] = '\0';
}

// "Process-1 (pid 4711)"
static void add_who(mfi_text *t, mfi_self *self, uint64_t id) {
  const mfi_slot *s = mfi_slot_at(self, (uint32_t)id);
  char name[MFI_NAME_SIZE];
  if (!mfi_slot_is(self, id)) {
    mfi_text_add(t, "a worker that has ended");
    return;
  }
  uint32_t pid = load_acquire(&s->pid);
  copy_name(s, name);
  mfi_text_add(t, "%s (pid %u)", name, pid);
}

static const mfi_script_lock *lock_of(mfi_self *self, mfi_handle h) {
  mfi_object *o = mfi_object_of(self, h);
  return o == NULL ? NULL : (const mfi_script_lock *)(const void *)o->body;
}

// "RLock(#2, held)", and whose it is, where it is a Condition's: that may be all that the script
// has of it.
static void add_lock(mfi_text *t, mfi_self *self, mfi_handle lock) {
  uint64_t top = load_acquire(&self->region->objects_top);
  mfi_text_add_object(t, self, lock);
  if (load_relaxed(&self->region->numbers[MFI_KIND_CONDITION]) == 0)
    return;
  for (uint64_t i = 1; i < top; i++) {
    mfi_object *o = mfi_object_entry(self, i << 32);
    if (load_acquire(&o->kind) != MFI_KIND_CONDITION ||
        load_acquire(&mfi_condition_of(o)->lock) != lock)
      continue;
    mfi_text_add(t, " of ");
    mfi_text_add_object(t, self, mfi_object_handle(self, o));
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

static void add_wait(mfi_text *t, mfi_self *self, const wait *w) {
  size_t known = sizeof phrases / sizeof *phrases;
  const phrase *p = &phrases[w->how < known ? w->how : MFI_HOW_OTHER];
  mfi_text_add(t, "has %s %.1f s", p->has, (double)(mfi_os_now() - w->since) / 1e9);
  add_place(t, &w->at);
  if (p->link != NULL) {
    mfi_text_add(t, "%s", p->link);
    if (w->how == MFI_HOW_BATCH)
      mfi_text_add_batch(t, self, w->what);
    else if (w->how == MFI_HOW_ACQUIRE)
      add_lock(t, self, w->what);
    else
      mfi_text_add_object(t, self, w->what);
  }
  mfi_text_add(t, "%s", p->behind);
  if (w->how == MFI_HOW_ACQUIRE)
    add_owner(t, self, w->what);
}

// ---- All workers

typedef struct held {
  uint64_t owner;
  mfi_handle lock;
} held;

static bool is_lock(const mfi_object *o) {
  uint32_t kind = load_acquire(&o->kind);
  return kind == MFI_KIND_LOCK || kind == MFI_KIND_RLOCK;
}

// All locks that are held now; how many.
static uint32_t find_held(mfi_self *self, held *out) {
  uint64_t top = load_acquire(&self->region->objects_top);
  uint32_t n = 0;
  for (uint64_t i = 1; i < top && n < HELD_SHOWN; i++) {
    mfi_object *o = mfi_object_entry(self, i << 32);
    uint64_t owner = is_lock(o) ? load_acquire(&((mfi_script_lock *)(void *)o->body)->owner) : 0;
    if (owner != 0)
      out[n++] = (held){.owner = owner, .lock = mfi_object_handle(self, o)};
  }
  return n;
}

// Does this slot belong to somebody who runs scripts or calls us, not to a helper of ours?
static bool is_shown(const mfi_slot *s, mfi_handle handle, mfi_object *worker) {
  char name[MFI_NAME_SIZE];
  if (load_acquire(&s->used) == 0)
    return false;
  if (handle != 0)
    return worker != NULL && mfi_worker_state(worker) != MFI_WORKER_ENDED;
  copy_name(s, name);
  if (strcmp(name, "main") == 0)
    return true;
  bool here = load_acquire(&s->waits_since) != 0 || load_acquire(&s->held) != 0;
  return strcmp(name, "host") == 0 && here; // else it does something of its own
}

// What it runs: its task, or its target. False: that is not known, nothing was added.
static bool add_running(mfi_text *t, mfi_self *self, const mfi_slot *s, mfi_object *worker) {
  mfi_ref job = load_acquire(&s->job);
  mfi_worker *w = worker == NULL ? NULL : mfi_worker_of(worker);
  mfi_text label = *t;
  mfi_text_add(&label, "runs ");
  if (job != 0 && mfi_text_add_label(&label, self, job)) {
    *t = label;
    return true;
  }
  if (w == NULL || w->pool != 0 || w->target[0] == '\0')
    return false;
  mfi_text_add(t, "runs %.*s", (int)strnlen(w->target, sizeof w->target), w->target);
  return true;
}

static void add_doing(mfi_text *t, mfi_self *self, const mfi_slot *s, mfi_object *worker) {
  wait w;
  bool waits = read_wait(s, &w), runs = add_running(t, self, s, worker);
  if (!runs && !waits)
    mfi_text_add(t, "%s", load_acquire(&s->pid) == 0 ? "starts" : "runs");
  if (!waits)
    return;
  mfi_text_add(t, "%s", runs ? ", " : "");
  add_wait(t, self, &w);
}

static void add_worker(mfi_text *t, mfi_self *self, uint32_t slot, const held *h, uint32_t n) {
  const mfi_slot *s = mfi_slot_at(self, slot);
  mfi_handle worker = load_acquire(&s->worker);
  mfi_object *o = worker == 0 ? NULL : mfi_object_of(self, worker);
  if (!is_shown(s, worker, o))
    return;
  uint64_t id = mfi_slot_id(self, slot);
  add_who(t, self, id);
  if (o != NULL)
    mfi_text_add(t, mfi_worker_of(o)->backend == MFI_BACKEND_THREAD ? ", thread" : ", process");
  mfi_text_add(t, ": ");
  add_doing(t, self, s, o);
  mfi_text_add(t, "%s\n", load_acquire(&s->stop) != 0 ? "; it is to stop" : "");
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

size_t mfi_waits_dump(mfi_self *self, char *out, size_t size) {
  mfi_text t = {.at = out, .size = size};
  held locks[HELD_SHOWN];
  uint32_t n = find_held(self, locks);
  uint64_t top = load_acquire(&self->region->slots_top);
  if (size != 0)
    out[0] = '\0';
  for (uint32_t i = 1; i < top; i++)
    add_worker(&t, self, i, locks, n);
  return t.used;
}
