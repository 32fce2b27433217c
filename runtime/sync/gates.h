// Gates: where workers wait for each other; Event, Condition, Barrier. Floor 3.
//
// Who waits and dies is found through its handle table: a waiting call at a condition or a barrier
// has a handle of its own there (a worker may be in several at once, through callbacks), whose aux
// names the block by which it waits.
#ifndef MFI_SYNC_GATES_H
#define MFI_SYNC_GATES_H

#include "sync/event.h"

// ---- Event: a flag. Body of MFI_KIND_EVENT
//
// A set frees all who wait at that moment, even if it is cleared at once: they wait for the flag,
// or for another number of sets than they saw when they came. Flag and number are one word.
typedef struct mfi_flag {
  uint64_t state; // bit 0: set; bits 63..1: how often it became so. Atomic, no lock
  _Alignas(64) mfi_event changed;
} mfi_flag;

static inline mfi_flag *mfi_flag_of(mfi_object *o) { return (mfi_flag *)(void *)o->body; }

void mfi_flag_set(mfi_self *self, mfi_object *o);
void mfi_flag_clear(mfi_object *o);
bool mfi_flag_is_set(mfi_object *o);
// What a waiter takes along: the state when it came.
uint64_t mfi_flag_look(mfi_object *o);
// Is it set, or has been since `seen`? An mfi_ready_fn of a watch.
typedef struct mfi_flag_watch {
  mfi_flag *flag;
  uint64_t seen;
} mfi_flag_watch;
bool mfi_flag_was_set(mfi_self *self, void *watch);
// Waits until it is set, or has been since `seen`. MFI_OK, MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_flag_wait(mfi_self *self, mfi_object *o, uint64_t seen, mfi_ns until);

// ---- Condition. Body of MFI_KIND_CONDITION
//
// Who waits is a block in a list, numbered in the order of coming:
//
//   WAITING --[notify: number < called]--> CALLED --[call_first, which also wakes it]-->
//   AWAKE, out of the list --[leave]--> gone;   WAITING --[leave]--> gone
//
// One store decides a notify, of one or of all; taking the called ones out of the list and waking
// them comes after, and is gone on with by the burial of who died at it. Who was called and leaves
// without having taken its call (it died, or its wait raised) hands it on to the oldest that was
// WAITING when that notify came: a notify is neither lost with the dead nor taken by those who
// come later.
//
// Invariants, under o->lock: the list is in the order of the numbers, CALLED ones first;
// called <= next.
typedef struct mfi_condition {
  mfi_handle lock;     // a reference: the Lock or RLock that goes with it; set once
  mfi_ref first, last; // who is WAITING or CALLED
  uint64_t waiting;    // how many these are; read atomically
  uint64_t next;       // number of who comes next
  uint64_t called;     // numbers below it are CALLED
  uint64_t limit;      // numbers below it were WAITING when the latest notify came
} mfi_condition;

static inline mfi_condition *mfi_condition_of(mfi_object *o) {
  return (mfi_condition *)(void *)o->body;
}

// The first numbers; `lock` is a live handle. MFI_CLOSED: it is not.
mfi_status mfi_condition_init(mfi_self *self, mfi_object *o, mfi_handle lock);
// The caller, who holds the lock, begins to wait; *place is its handle for this. MFI_NOMEM.
mfi_status mfi_condition_enter(mfi_self *self, mfi_object *o, uint32_t *place);
// Sleeps until it is called. MFI_OK, MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_condition_await(mfi_self *self, uint32_t place, mfi_ns until);
// Ends the wait. True: it was called; took: and needs no other to hear of that.
bool mfi_condition_leave(mfi_self *self, mfi_object *o, uint32_t place, bool took);
// Calls the n oldest.
void mfi_condition_notify(mfi_self *self, mfi_object *o, uint64_t n);

// ---- Barrier. Body of MFI_KIND_BARRIER
//
// Those who wait together share a round, a block that says what became of it:
//
//   none --[the first comes]--> FILLING --[the last comes]--> PASSED
//   FILLING --[the last comes, there is an action]--> ACTING --[mfi_barrier_acted]--> PASSED
//   FILLING, ACTING --[one leaves or dies, abort, reset]--> BROKEN
//
// While a round is ACTING, others wait for its end before they come in. PASSED and BROKEN rounds
// are the barrier's no more; they last until all who were in them have looked.
typedef struct mfi_barrier {
  uint64_t parties; // set once
  double timeout;   // seconds, of a wait that names none; set once
  mfi_ref action;   // block of kind MESSAGE, or 0; set once
  mfi_ref round;    // FILLING or ACTING; 0: nobody waits. Under o->lock
  uint32_t arrived; // in it; under o->lock, read atomically
  uint32_t acting;  // it is ACTING; under o->lock, read atomically
  uint32_t broken;  // nobody comes in until a reset; under o->lock, read atomically
  _Alignas(64) mfi_event moved;
} mfi_barrier;

static inline mfi_barrier *mfi_barrier_of(mfi_object *o) { return (mfi_barrier *)(void *)o->body; }

// One call of wait. began: it has a handle of its own, at `place`, whose aux is its stake.
typedef struct mfi_visit {
  uint32_t place;
  bool began;
  uint64_t index; // 1 .. parties, in the order of coming
} mfi_visit;

void mfi_barrier_init(mfi_object *o, uint64_t parties, double timeout);
// The action's message, which is in the caller's hand, becomes the barrier's.
void mfi_barrier_give_action(mfi_self *self, mfi_object *o, mfi_ref message);
// MFI_OK: passed, visit->index; MFI_RUNNING: the caller runs the action, then calls
// mfi_barrier_acted; MFI_TIMEDOUT: it has broken the barrier; MFI_CLOSED: it is broken; MFI_NOMEM.
// MFI_INTERRUPTED: the caller calls again with the same visit, or mfi_barrier_leave.
mfi_status mfi_barrier_wait(mfi_self *self, mfi_object *o, mfi_visit *visit, mfi_ns until);
// MFI_OK: all are through; MFI_CLOSED: it was broken meanwhile.
mfi_status mfi_barrier_acted(mfi_self *self, mfi_object *o, mfi_visit *visit);
// Breaks the round that the caller is in, if it is in one that is not decided.
void mfi_barrier_leave(mfi_self *self, mfi_object *o, mfi_visit *visit);
void mfi_barrier_abort(mfi_self *self, mfi_object *o);
void mfi_barrier_reset(mfi_self *self, mfi_object *o);

extern const mfi_object_ops mfi_flag_ops, mfi_condition_ops, mfi_barrier_ops;

#endif
