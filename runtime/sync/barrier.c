// Barriers. Floor 3; see gates.h. Locks: the object's. Sleeps in mfi_barrier_wait.
#include "base/assert.h"
#include "base/atomic.h"
#include "sync/gates.h"

#define OUTSIDE ((uint64_t)1) // aux of who waits until it can come in

typedef enum fate { UNDECIDED, PASSED, BROKEN } fate;

// Payload of a block of kind BYTES. It is freed with its last stake: aux of who is in it.
typedef struct barrier_round {
  uint32_t fate;   // under o->lock, read atomically
  uint32_t stakes; // under o->lock
} barrier_round;

static barrier_round *round_at(mfi_self *self, mfi_ref ref) {
  return ref == 0 ? NULL : mfi_payload(mfi_at(self, ref));
}

void mfi_barrier_init(mfi_object *o, uint64_t parties, double timeout) {
  mfi_barrier_of(o)->parties = parties;
  mfi_barrier_of(o)->timeout = timeout;
}

void mfi_barrier_give_action(mfi_self *self, mfi_object *o, mfi_ref message) {
  mfi_hand_raise(self, message);
  mfi_lock_take(self, &o->lock);
  mfi_change64(self, &o->lock, &mfi_barrier_of(o)->action, message);
  mfi_hand_out(self, &o->lock, message);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
}

// ---- What becomes of a round. Under o->lock, in its record

// The barrier's round, if there is one, is decided, and the barrier's no more.
static void decide(mfi_self *self, mfi_object *o, fate what) {
  mfi_barrier *b = mfi_barrier_of(o);
  if (b->round == 0)
    return;
  mfi_event_will_wake(self, &b->moved);
  mfi_change32(self, &o->lock, &round_at(self, b->round)->fate, what);
  mfi_change64(self, &o->lock, &b->round, 0);
  mfi_change32(self, &o->lock, &b->arrived, 0);
  mfi_change32(self, &o->lock, &b->acting, 0);
}

// Wakes who `decide` or `broken` concerns, after the commit, the lock given.
static void wake_all(mfi_self *self, mfi_object *o) {
  mfi_event_wake_all(self, &mfi_barrier_of(o)->moved);
}

// ---- Leaving

// Under o->lock, in its record: who goes was not in yet, but would have been one of the next round.
static void leave_outside(mfi_self *self, mfi_object *o, mfi_held *entry) {
  mfi_barrier *b = mfi_barrier_of(o);
  mfi_event_will_wake(self, &b->moved);
  if (b->acting == 0)
    decide(self, o, BROKEN);
  mfi_change32(self, &o->lock, &b->broken, 1);
  mfi_change64(self, &o->lock, &entry->aux, 0);
}

// The same for one of a round; the block comes into hand with its last stake.
static void leave_round(mfi_self *self, mfi_object *o, mfi_held *entry, fate what) {
  mfi_barrier *b = mfi_barrier_of(o);
  barrier_round *r = round_at(self, entry->aux);
  if (r->fate == UNDECIDED) {
    decide(self, o, what);
    if (what == BROKEN)
      mfi_change32(self, &o->lock, &b->broken, 1);
  }
  mfi_change32(self, &o->lock, &r->stakes, r->stakes - 1);
  if (r->stakes == 1)
    mfi_hand_in(self, &o->lock, entry->aux);
  mfi_change64(self, &o->lock, &entry->aux, 0);
}

// Ends a wait; if its round was not decided it becomes `what` by that. What it was before.
static fate settle(mfi_self *self, mfi_object *o, mfi_held *entry, fate what) {
  mfi_ref ref = entry->aux;
  barrier_round *r = ref == OUTSIDE ? NULL : round_at(self, ref);
  mfi_lock_take(self, &o->lock);
  fate found = r == NULL ? UNDECIDED : (fate)r->fate;
  bool last = r != NULL && r->stakes == 1;
  if (r == NULL)
    leave_outside(self, o, entry);
  else
    leave_round(self, o, entry, what);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  if (found == UNDECIDED)
    wake_all(self, o);
  if (last)
    mfi_heap_free(self, ref);
  return found;
}

static fate end_visit(mfi_self *self, mfi_object *o, mfi_visit *v, fate what) {
  mfi_held *entry = mfi_handle_entry(self, v->place);
  fate found = entry->aux == 0 ? BROKEN : settle(self, o, entry, what);
  v->began = false;
  mfi_handle_drop(self, v->place);
  return found;
}

void mfi_barrier_leave(mfi_self *self, mfi_object *o, mfi_visit *v) {
  if (v->began)
    end_visit(self, o, v, BROKEN);
}

mfi_status mfi_barrier_acted(mfi_self *self, mfi_object *o, mfi_visit *v) {
  return end_visit(self, o, v, PASSED) == BROKEN ? MFI_CLOSED : MFI_OK;
}

static void barrier_abandon(mfi_self *self, mfi_held *entry, uint64_t id) {
  MFI_UNUSED(id);
  if (entry->aux != 0)
    settle(self, mfi_object_of(self, entry->handle), entry, BROKEN);
}

// ---- Coming in

// Under o->lock, in its record: the round, a new one where there is none. 0: no memory.
static mfi_ref round_of(mfi_self *self, mfi_object *o) {
  mfi_barrier *b = mfi_barrier_of(o);
  if (b->round != 0)
    return b->round;
  mfi_ref ref = mfi_heap_alloc(self, sizeof(barrier_round), MFI_BLOCK_BYTES);
  if (ref == 0)
    return 0;
  *round_at(self, ref) = (barrier_round){.fate = UNDECIDED};
  mfi_change64(self, &o->lock, &b->round, ref);
  mfi_hand_out(self, &o->lock, ref);
  return ref;
}

// Under o->lock: one more in the round. The last of one with an action is to run it.
static mfi_status join(mfi_self *self, mfi_object *o, mfi_visit *v) {
  mfi_barrier *b = mfi_barrier_of(o);
  mfi_ref ref = round_of(self, o);
  if (ref == 0)
    return MFI_NOMEM;
  barrier_round *r = round_at(self, ref);
  bool acts = v->index == b->parties;
  mfi_change32(self, &o->lock, &r->stakes, r->stakes + 1);
  mfi_change64(self, &o->lock, &mfi_handle_entry(self, v->place)->aux, ref);
  mfi_change32(self, &o->lock, &b->arrived, (uint32_t)v->index);
  if (acts)
    mfi_change32(self, &o->lock, &b->acting, 1);
  mfi_lock_commit(self, &o->lock);
  return acts ? MFI_RUNNING : MFI_QUEUED;
}

// Under o->lock: the last of a round without an action.
static mfi_status pass(mfi_self *self, mfi_object *o, mfi_held *entry) {
  decide(self, o, PASSED);
  mfi_change64(self, &o->lock, &entry->aux, 0);
  mfi_lock_commit(self, &o->lock);
  return MFI_OK;
}

// Under o->lock. MFI_QUEUED: it is in and waits; MFI_RUNNING: it is the last and is to act;
// MFI_OK: it was the last, all are through; MFI_FULL: not in, a round is ACTING; MFI_CLOSED,
// MFI_NOMEM.
static mfi_status come(mfi_self *self, mfi_object *o, mfi_visit *v) {
  mfi_barrier *b = mfi_barrier_of(o);
  mfi_held *entry = mfi_handle_entry(self, v->place);
  if (b->broken != 0) {
    mfi_change_alone(&entry->aux, (uint64_t)0);
    return MFI_CLOSED;
  }
  if (b->acting != 0) {
    mfi_change_alone(&entry->aux, OUTSIDE);
    return MFI_FULL;
  }
  v->index = b->arrived + 1;
  if (v->index == b->parties && b->action == 0)
    return pass(self, o, entry);
  return join(self, o, v);
}

static mfi_status begin(mfi_self *self, mfi_object *o, mfi_visit *v) {
  mfi_status st = mfi_handle_add(self, mfi_object_handle(self, o), &v->place);
  v->began = st == MFI_OK;
  return st;
}

// Leaves the visit ended where it is not to wait.
static mfi_status try_to_come(mfi_self *self, mfi_object *o, mfi_visit *v) {
  mfi_status st = v->began ? MFI_OK : begin(self, o, v);
  if (st != MFI_OK)
    return st;
  mfi_lock_take(self, &o->lock);
  st = come(self, o, v);
  mfi_lock_give(self, &o->lock);
  if (st == MFI_OK)
    wake_all(self, o);
  if (st == MFI_OK || st == MFI_CLOSED || st == MFI_NOMEM)
    mfi_barrier_leave(self, o, v);
  return st;
}

// ---- Waiting

static bool is_open(mfi_self *self, void *what) {
  mfi_barrier *b = what;
  MFI_UNUSED(self);
  return load_seqcst(&b->acting) == 0 || load_seqcst(&b->broken) != 0;
}

static bool is_decided(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((barrier_round *)what)->fate) != UNDECIDED;
}

static bool is_inside(mfi_self *self, const mfi_visit *v) {
  return v->began && mfi_handle_entry(self, v->place)->aux > OUTSIDE;
}

static mfi_status sleep_until(mfi_self *self, mfi_object *o, mfi_ready_fn *ready, void *what,
                              mfi_ns until) {
  mfi_event_say(self, MFI_HOW_BARRIER, mfi_object_handle(self, o));
  mfi_status st = mfi_event_await(self, &mfi_barrier_of(o)->moved, ready, what, until);
  mfi_event_done(self);
  return st;
}

static mfi_status await_round(mfi_self *self, mfi_object *o, mfi_visit *v, mfi_ns until) {
  barrier_round *r = round_at(self, mfi_handle_entry(self, v->place)->aux);
  mfi_status st = sleep_until(self, o, is_decided, r, until);
  if (st == MFI_INTERRUPTED)
    return st;
  fate found = end_visit(self, o, v, BROKEN);
  if (found == UNDECIDED)
    return MFI_TIMEDOUT;
  return found == PASSED ? MFI_OK : MFI_CLOSED;
}

mfi_status mfi_barrier_wait(mfi_self *self, mfi_object *o, mfi_visit *v, mfi_ns until) {
  while (!is_inside(self, v)) {
    mfi_status st = try_to_come(self, o, v);
    if (st == MFI_QUEUED)
      break;
    if (st == MFI_FULL)
      st = sleep_until(self, o, is_open, mfi_barrier_of(o), until);
    else
      return st;
    if (st == MFI_TIMEDOUT)
      mfi_barrier_leave(self, o, v);
    if (st != MFI_OK)
      return st;
  }
  return await_round(self, o, v, until);
}

// ---- Abort and reset

static void end_round(mfi_self *self, mfi_object *o, bool broken) {
  mfi_barrier *b = mfi_barrier_of(o);
  mfi_lock_take(self, &o->lock);
  mfi_event_will_wake(self, &b->moved); // those outside, too
  decide(self, o, BROKEN);
  mfi_change32(self, &o->lock, &b->broken, broken);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  wake_all(self, o);
}

void mfi_barrier_abort(mfi_self *self, mfi_object *o) { end_round(self, o, true); }
void mfi_barrier_reset(mfi_self *self, mfi_object *o) { end_round(self, o, false); }

// ---- The kind

static void destroy(mfi_self *self, void *body) {
  mfi_ref action = mfi_hand_pull(self, &((mfi_barrier *)body)->action);
  if (action == 0)
    return;
  self->drops[MFI_BLOCK_MESSAGE](self, action);
  mfi_heap_free(self, action);
}

const mfi_object_ops mfi_barrier_ops = {
    .name = "Barrier", .destroy = destroy, .abandon = barrier_abandon};
