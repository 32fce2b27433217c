// Script locks. Floor 3; see locks.h. Locks: the object's. Sleeps in acquire.
#include "sync/locks.h"

#include "base/assert.h"
#include "base/atomic.h"

#define AGAIN_NS 500000 // a moment

static mfi_script_lock *lock_of(mfi_object *o) { return (mfi_script_lock *)(void *)o->body; }
static mfi_semaphore *semaphore_of(mfi_object *o) { return (mfi_semaphore *)(void *)o->body; }

// ---- Lock and RLock

static bool is_free(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_script_lock *)what)->owner) == 0;
}

// Under the object's lock. False: somebody else has it.
static mfi_status try_acquire(mfi_self *self, mfi_object *o, uint64_t me, bool *abandoned) {
  mfi_script_lock *l = lock_of(o);
  if (l->owner != 0 && l->owner != me)
    return MFI_TIMEDOUT;
  if (l->owner == me && o->kind == MFI_KIND_LOCK)
    return MFI_DEADLOCK;
  *abandoned = l->owner == 0 && l->abandoned != 0;
  mfi_change64(self, &o->lock, &l->owner, me);
  mfi_change32(self, &o->lock, &l->depth, l->depth + 1);
  if (*abandoned)
    mfi_change32(self, &o->lock, &l->abandoned, 0);
  if (l->owner == 0)
    mfi_change32(self, &o->lock, &self->slot->held, self->slot->held + 1);
  mfi_lock_commit(self, &o->lock);
  return MFI_OK;
}

// The owner's, just after it became that.
static void remember_place(mfi_self *self, mfi_script_lock *l) {
  mfi_place place = {.line = 0};
  if (self->where != NULL)
    self->where(self, &place);
  mfi_place_store(&l->place, &place);
}

static void tell_of_oneself(mfi_self *self, const mfi_object *o, mfi_cycle *cycle) {
  cycle->workers = 1;
  cycle->edge[0].worker = mfi_own_id(self);
  cycle->edge[0].wants = mfi_object_handle(self, o);
}

// MFI_OK: it may be free now.
static mfi_status wait_for(mfi_self *self, mfi_object *o, mfi_ns until, mfi_cycle *cycle) {
  mfi_script_lock *l = lock_of(o);
  mfi_event_say(self, MFI_HOW_ACQUIRE, mfi_object_handle(self, o));
  mfi_status st = mfi_event_look(self, &l->freed, is_free, l, until);
  if (st != MFI_EMPTY)
    return st;
  if (until != MFI_NEVER)
    return mfi_event_sleep(self, &l->freed, is_free, l, until);
  st = mfi_deadlock_enter(self, o, cycle);
  if (st == MFI_OK)
    st = mfi_event_sleep(self, &l->freed, is_free, l, until);
  mfi_deadlock_leave(self);
  if (st != MFI_EMPTY)
    return st;
  mfi_os_sleep_until(mfi_os_now() + AGAIN_NS);
  return MFI_OK;
}

static mfi_status try_once(mfi_self *self, mfi_object *o, bool *abandoned) {
  mfi_lock_take(self, &o->lock);
  mfi_status st = try_acquire(self, o, mfi_own_id(self), abandoned);
  mfi_lock_give(self, &o->lock);
  return st;
}

// Somebody else has it.
static mfi_status try_patiently(mfi_self *self, mfi_object *o, mfi_ns until, bool *abandoned,
                                mfi_cycle *cycle) {
  mfi_status st = MFI_TIMEDOUT;
  while (st == MFI_TIMEDOUT) {
    st = wait_for(self, o, until, cycle);
    if (st != MFI_OK) {
      mfi_event_leave(self);
      return st;
    }
    st = try_once(self, o, abandoned);
  }
  mfi_event_done(self);
  return st;
}

mfi_status mfi_lock_acquire_telling(mfi_self *self, mfi_object *o, mfi_ns until, bool *abandoned,
                                    mfi_cycle *cycle) {
  *abandoned = false;
  mfi_status st = try_once(self, o, abandoned);
  if (st == MFI_DEADLOCK)
    tell_of_oneself(self, o, cycle);
  if (st == MFI_TIMEDOUT && until != 0)
    st = try_patiently(self, o, until, abandoned, cycle);
  if (st == MFI_OK && lock_of(o)->depth == 1)
    remember_place(self, lock_of(o));
  return st;
}

mfi_status mfi_lock_acquire(mfi_self *self, mfi_object *o, mfi_ns until, bool *abandoned) {
  mfi_cycle cycle;
  return mfi_lock_acquire_telling(self, o, until, abandoned, &cycle);
}

mfi_status mfi_lock_release(mfi_self *self, mfi_object *o) {
  mfi_script_lock *l = lock_of(o);
  mfi_lock_take(self, &o->lock);
  bool mine = l->owner == mfi_own_id(self);
  bool last = mine && l->depth == 1;
  if (mine)
    mfi_change32(self, &o->lock, &l->depth, l->depth - 1);
  if (last) {
    mfi_event_will_wake(self, &l->freed);
    mfi_change64(self, &o->lock, &l->owner, 0);
    mfi_change32(self, &o->lock, &self->slot->held, self->slot->held - 1);
  }
  if (mine)
    mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  if (last)
    mfi_event_wake_one(self, &l->freed);
  return mine ? MFI_OK : MFI_INVALID;
}

bool mfi_lock_is_held(mfi_object *o) { return load_acquire(&lock_of(o)->owner) != 0; }

bool mfi_lock_is_own(mfi_self *self, mfi_object *o) {
  return load_relaxed(&lock_of(o)->owner) == mfi_slot_id(self, self->index);
}

static void lock_abandon(mfi_self *self, mfi_held *entry, uint64_t id) {
  mfi_object *o = mfi_object_of(self, entry->handle);
  mfi_script_lock *l = lock_of(o);
  mfi_lock_take(self, &o->lock);
  bool held = l->owner == id;
  if (held) {
    mfi_event_will_wake(self, &l->freed);
    mfi_change64(self, &o->lock, &l->owner, 0);
    mfi_change32(self, &o->lock, &l->depth, 0);
    mfi_change32(self, &o->lock, &l->abandoned, 1);
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  if (held)
    mfi_event_wake_one(self, &l->freed);
}

// ---- Semaphores

void mfi_semaphore_init(mfi_object *o, uint64_t value, bool bounded) {
  semaphore_of(o)->value = value;
  semaphore_of(o)->limit = bounded ? value : 0;
}

static bool has_permit(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_semaphore *)what)->value) > 0;
}

static mfi_status try_permit(mfi_self *self, mfi_object *o, uint32_t place) {
  mfi_semaphore *s = semaphore_of(o);
  mfi_held *entry = mfi_handle_entry(self, place);
  mfi_lock_take(self, &o->lock);
  bool got = s->value > 0;
  if (got) {
    mfi_change64(self, &o->lock, &s->value, s->value - 1);
    if (o->kind == MFI_KIND_BOUNDED) {
      mfi_change64(self, &o->lock, &entry->aux, entry->aux + 1);
      mfi_change32(self, &o->lock, &self->slot->held, self->slot->held + 1);
    }
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  return got ? MFI_OK : MFI_TIMEDOUT;
}

mfi_status mfi_semaphore_acquire(mfi_self *self, mfi_object *o, uint32_t place, mfi_ns until) {
  mfi_semaphore *s = semaphore_of(o);
  mfi_status st;
  while ((st = try_permit(self, o, place)) != MFI_OK && until != 0) {
    mfi_event_say(self, MFI_HOW_PERMIT, mfi_object_handle(self, o));
    st = mfi_event_await(self, &s->freed, has_permit, s, until);
    if (st != MFI_OK)
      break;
  }
  mfi_event_done(self);
  return st;
}

static void wake_for(mfi_self *self, mfi_semaphore *s, uint64_t permits) {
  if (permits == 1)
    mfi_event_wake_one(self, &s->freed);
  else
    mfi_event_wake_all(self, &s->freed);
}

mfi_status mfi_semaphore_release(mfi_self *self, mfi_object *o, uint32_t place, uint64_t n) {
  mfi_semaphore *s = semaphore_of(o);
  mfi_held *entry = mfi_handle_entry(self, place);
  mfi_lock_take(self, &o->lock);
  uint64_t most = o->kind == MFI_KIND_BOUNDED ? s->limit : INT64_MAX;
  bool fits = n <= most - s->value;
  if (fits) {
    uint64_t own = entry->aux < n ? entry->aux : n;
    mfi_event_will_wake(self, &s->freed);
    mfi_change64(self, &o->lock, &s->value, s->value + n);
    mfi_change64(self, &o->lock, &entry->aux, entry->aux - own);
    mfi_change32(self, &o->lock, &self->slot->held, self->slot->held - (uint32_t)own);
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  if (fits)
    wake_for(self, s, n);
  return fits ? MFI_OK : MFI_INVALID;
}

uint64_t mfi_semaphore_value(mfi_object *o) { return load_acquire(&semaphore_of(o)->value); }

static void semaphore_abandon(mfi_self *self, mfi_held *entry, uint64_t id) {
  MFI_UNUSED(id);
  if (entry->aux == 0)
    return;
  mfi_object *o = mfi_object_of(self, entry->handle);
  mfi_semaphore *s = semaphore_of(o);
  mfi_lock_take(self, &o->lock);
  uint64_t back = s->value + entry->aux;
  mfi_event_will_wake(self, &s->freed);
  mfi_change64(self, &o->lock, &s->value, back < s->limit ? back : s->limit);
  mfi_change64(self, &o->lock, &entry->aux, 0);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  mfi_event_wake_all(self, &s->freed);
}

// ---- Kinds

static void destroy(mfi_self *self, void *body) {
  MFI_UNUSED(self);
  MFI_UNUSED(body);
}

const mfi_object_ops mfi_lock_ops = {"Lock", destroy, lock_abandon, NULL};
const mfi_object_ops mfi_rlock_ops = {"RLock", destroy, lock_abandon, NULL};
const mfi_object_ops mfi_semaphore_ops = {"Semaphore", destroy, NULL, NULL};
const mfi_object_ops mfi_bounded_ops = {"BoundedSemaphore", destroy, semaphore_abandon, NULL};
