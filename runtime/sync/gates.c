// Events and conditions. Floor 3; see gates.h. Barriers are in barrier.c.
// Locks: a condition's own. Sleeps in mfi_flag_wait and mfi_condition_await.
#include "sync/gates.h"

#include "base/assert.h"
#include "base/atomic.h"

// ---- Event

#define SET ((uint64_t)1)

bool mfi_flag_was_set(mfi_self *self, void *what) {
  const mfi_flag_watch *w = what;
  uint64_t now = load_seqcst(&w->flag->state);
  MFI_UNUSED(self);
  return (now & SET) != 0 || now >> 1 != w->seen >> 1;
}

void mfi_flag_set(mfi_self *self, mfi_object *o) {
  mfi_flag *f = mfi_flag_of(o);
  uint64_t old = load_seqcst(&f->state);
  if ((old & SET) != 0)
    return;
  mfi_event_will_wake(self, &f->changed);
  while ((old & SET) == 0 && !cas_seqcst(&f->state, &old, (old + 2) | SET))
    continue;
  MFI_STEP();
  mfi_event_wake_all(self, &f->changed);
}

void mfi_flag_clear(mfi_object *o) {
  if (mfi_flag_is_set(o))
    fetch_and_seqcst(&mfi_flag_of(o)->state, ~SET);
}

bool mfi_flag_is_set(mfi_object *o) { return (load_acquire(&mfi_flag_of(o)->state) & SET) != 0; }

uint64_t mfi_flag_look(mfi_object *o) { return load_acquire(&mfi_flag_of(o)->state); }

mfi_status mfi_flag_wait(mfi_self *self, mfi_object *o, uint64_t seen, mfi_ns until) {
  mfi_flag_watch w = {mfi_flag_of(o), seen};
  if (mfi_flag_was_set(self, &w))
    return MFI_OK;
  mfi_event_say(self, MFI_HOW_EVENT, mfi_object_handle(self, o));
  mfi_status st = mfi_event_await(self, &w.flag->changed, mfi_flag_was_set, &w, until);
  mfi_event_done(self);
  return st;
}

// ---- Condition: the list

// Payload of a block of kind BYTES: one call of wait.
typedef struct waiter {
  mfi_ref next, before; // in the list; under o->lock
  uint64_t number;      // set once
  uint64_t limit;       // AWAKE: the limit of the notify that called it; 0: not yet. Atomic
  uint32_t slot;        // whose; set once
} waiter;

static waiter *waiter_at(mfi_self *self, mfi_ref ref) {
  return ref == 0 ? NULL : mfi_payload(mfi_at(self, ref));
}

static mfi_event *own_event(mfi_self *self, uint32_t slot) {
  return (mfi_event *)(void *)&mfi_slot_at(self, slot)->called;
}

static void append(mfi_self *self, mfi_object *o, mfi_ref ref) {
  mfi_condition *c = mfi_condition_of(o);
  waiter *last = waiter_at(self, c->last);
  mfi_change64(self, &o->lock, last == NULL ? &c->first : &last->next, ref);
  mfi_change64(self, &o->lock, &c->last, ref);
  mfi_change64(self, &o->lock, &c->waiting, c->waiting + 1);
}

static void unlink_waiter(mfi_self *self, mfi_object *o, const waiter *w) {
  mfi_condition *c = mfi_condition_of(o);
  waiter *before = waiter_at(self, w->before), *next = waiter_at(self, w->next);
  mfi_change64(self, &o->lock, before == NULL ? &c->first : &before->next, w->next);
  mfi_change64(self, &o->lock, next == NULL ? &c->last : &next->before, w->before);
  mfi_change64(self, &o->lock, &c->waiting, c->waiting - 1);
}

// ---- Condition: calling

// Under o->lock: takes the oldest out of the list if it is CALLED. Its slot; 0: it is not.
static uint32_t call_first(mfi_self *self, mfi_object *o) {
  mfi_condition *c = mfi_condition_of(o);
  waiter *w = waiter_at(self, c->first);
  if (w == NULL || w->number >= c->called)
    return 0;
  mfi_event_will_wake(self, own_event(self, w->slot));
  unlink_waiter(self, o, w);
  mfi_change64(self, &o->lock, &w->limit, c->limit);
  mfi_lock_commit(self, &o->lock);
  return w->slot;
}

// Wakes all who are CALLED.
static void call_all(mfi_self *self, mfi_object *o) {
  uint32_t slot;
  do {
    mfi_lock_take(self, &o->lock);
    slot = call_first(self, o);
    mfi_lock_give(self, &o->lock);
    if (slot != 0)
      mfi_event_wake_all(self, own_event(self, slot));
  } while (slot != 0);
}

// Under o->lock: the oldest that is WAITING.
static waiter *oldest(mfi_self *self, const mfi_condition *c) {
  waiter *w = waiter_at(self, c->first);
  while (w != NULL && w->number < c->called)
    w = waiter_at(self, w->next);
  return w;
}

void mfi_condition_notify(mfi_self *self, mfi_object *o, uint64_t n) {
  mfi_condition *c = mfi_condition_of(o);
  mfi_lock_take(self, &o->lock);
  waiter *w = n == 0 ? NULL : oldest(self, c);
  bool any = w != NULL;
  if (any) {
    bool all = n >= c->waiting;
    for (; !all && n > 1 && w->next != 0; n--)
      w = waiter_at(self, w->next);
    mfi_change64(self, &o->lock, &c->called, all ? c->next : w->number + 1);
    mfi_change64(self, &o->lock, &c->limit, c->next);
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  if (any)
    call_all(self, o);
}

// ---- Condition: waiting

mfi_status mfi_condition_init(mfi_self *self, mfi_object *o, mfi_handle lock) {
  mfi_condition *c = mfi_condition_of(o);
  c->next = c->called = 1;
  return mfi_handle_hold(self, lock, &c->lock);
}

mfi_status mfi_condition_enter(mfi_self *self, mfi_object *o, uint32_t *place) {
  mfi_condition *c = mfi_condition_of(o);
  mfi_status st = mfi_handle_add(self, mfi_object_handle(self, o), place);
  if (st != MFI_OK)
    return st;
  mfi_ref ref = mfi_heap_alloc(self, sizeof(waiter), MFI_BLOCK_BYTES);
  if (ref == 0) {
    mfi_handle_drop(self, *place);
    return MFI_NOMEM;
  }
  mfi_lock_take(self, &o->lock);
  *waiter_at(self, ref) = (waiter){.before = c->last, .number = c->next, .slot = self->index};
  append(self, o, ref);
  mfi_change64(self, &o->lock, &c->next, c->next + 1);
  mfi_change64(self, &o->lock, &mfi_handle_entry(self, *place)->aux, ref);
  mfi_hand_out(self, &o->lock, ref);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  return MFI_OK;
}

static bool is_awake(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((waiter *)what)->limit) != 0;
}

mfi_status mfi_condition_await(mfi_self *self, uint32_t place, mfi_ns until) {
  const mfi_held *entry = mfi_handle_entry(self, place);
  waiter *w = waiter_at(self, entry->aux);
  mfi_event_say(self, MFI_HOW_CONDITION, entry->handle);
  mfi_status st = mfi_event_await(self, own_event(self, self->index), is_awake, w, until);
  mfi_event_done(self);
  return st;
}

// Under o->lock: the call of a notify with this limit is the oldest's, if it was there then.
static void hand_on(mfi_self *self, mfi_object *o, uint64_t limit) {
  mfi_condition *c = mfi_condition_of(o);
  const waiter *first = waiter_at(self, c->first), *next = oldest(self, c);
  if (next == NULL || next->number >= limit)
    return;
  bool pending = first != next; // CALLED ones, which are to get their own limit at least
  mfi_change64(self, &o->lock, &c->called, next->number + 1);
  mfi_change64(self, &o->lock, &c->limit, pending && limit < c->limit ? c->limit : limit);
}

// Ends the wait that the handle's aux names. True: it was called.
static bool leave(mfi_self *self, mfi_object *o, mfi_held *entry, bool took) {
  const mfi_condition *c = mfi_condition_of(o);
  mfi_ref ref = entry->aux;
  mfi_lock_take(self, &o->lock);
  const waiter *w = waiter_at(self, ref);
  bool listed = w->limit == 0, called = !listed || w->number < c->called;
  if (listed)
    unlink_waiter(self, o, w);
  if (called && !took)
    hand_on(self, o, listed ? c->limit : w->limit);
  mfi_change64(self, &o->lock, &entry->aux, 0);
  mfi_hand_in(self, &o->lock, ref);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  mfi_heap_free(self, ref);
  return called;
}

bool mfi_condition_leave(mfi_self *self, mfi_object *o, uint32_t place, bool took) {
  bool called = leave(self, o, mfi_handle_entry(self, place), took);
  if (!took)
    call_all(self, o);
  mfi_handle_drop(self, place);
  return called;
}

// Of a dead worker: its wait, and the calls that it was about to make.
static void condition_abandon(mfi_self *self, mfi_held *entry, uint64_t id) {
  MFI_UNUSED(id);
  mfi_object *o = mfi_object_of(self, entry->handle);
  if (entry->aux != 0)
    leave(self, o, entry, false);
  call_all(self, o);
}

// ---- Kinds

static void flag_destroy(mfi_self *self, void *body) {
  MFI_UNUSED(self);
  MFI_UNUSED(body);
}

static void condition_destroy(mfi_self *self, void *body) {
  mfi_handle_unhold(self, &((mfi_condition *)body)->lock);
}

const mfi_object_ops mfi_flag_ops = {.name = "Event", .destroy = flag_destroy};
const mfi_object_ops mfi_condition_ops = {
    .name = "Condition", .destroy = condition_destroy, .abandon = condition_abandon};
