// Events: the only place where workers sleep. Floor 3.
//
// An event is an event count on a shared futex: bits 31..5 count wakes, bit 0 says "someone may
// sleep", bit 1 + i "someone may sleep on the region's any[i] because of it". It goes with a
// condition that is changed under some lock and can be looked at without it.
//
// Why no wake is lost: a waker changes the condition, gives the lock, then reads bit 0; a sleeper
// sets bit 0, then looks at the condition, then sleeps while the word is still the one with its
// bit. Both orders are sequentially consistent, so either the waker sees the bit or the sleeper the
// change. Bit 0 stays while anybody may sleep: only a wake of all clears it (clearing it and waking
// one would strand the second sleeper).
//
// A wake is a baton: who was woken and leaves without taking wakes one more (mfi_event_leave). A
// sleeper names its event in its slot until it has taken (mfi_event_done), a waker before its
// commit and until after the wake; the burial of either wakes all on it. So a death between any two
// instructions strands nobody.
//
// Who waits for the first of several events (mfi_event_await_any) sleeps on one of the region's few
// events `any`, which all such waiters share: sets bit 0 there, then bit 1 + i in each of its
// events, then looks at all, then sleeps. A waker that finds such bits clears them and wakes all on
// those any[i], besides who sleeps on the event itself: both, as either may leave without taking.
// The bits outlive their waiter; the next wake clears them, and finds nobody. A waker that dies in
// between named the event.
//
// An event's memory must stay an event while anybody may wake it: a waker holds a reference to what
// it lies in until the wake is over. Who sends a note has no such reference; it holds the slot's
// lock instead, and a sleeper that finds a note waits for that lock before it lets its event go.
//
// Waking is dear, looking is cheap: a waiter first looks for a while (at most MFI_SPIN_NS, one
// looker for each event, with sched_yield in between); a yield that took long means that others
// want the core.
#ifndef MFI_SYNC_EVENT_H
#define MFI_SYNC_EVENT_H

#include "base/atomic.h"
#include "mem/region.h"

typedef struct mfi_event {
  uint32_t word;
  uint32_t looker; // slot index of who looks now; 0: nobody
} mfi_event;

// Looks at the condition without a lock; may be out of date the next moment. Its loads of what a
// waker changes are sequentially consistent: they stand behind the sleeper's setting of bit 0.
typedef bool mfi_ready_fn(mfi_self *self, void *what);

// What a wait is for, for people (mf.dump_waits).
typedef enum mfi_how {
  MFI_HOW_OTHER = 0,
  MFI_HOW_ACQUIRE,   // of a lock
  MFI_HOW_PERMIT,    // of a semaphore
  MFI_HOW_CONDITION, // until it is notified
  MFI_HOW_EVENT,     // until it is set
  MFI_HOW_BARRIER,   // for the others
  MFI_HOW_GET,       // of a queue
  MFI_HOW_PUT,
  MFI_HOW_DONE,   // until all its messages are done
  MFI_HOW_START,  // of a worker
  MFI_HOW_JOIN,   // of a worker
  MFI_HOW_PARENT, // of one's own starter
  MFI_HOW_FUTURE,
  MFI_HOW_BATCH,
  MFI_HOW_CALM,   // of a pool
  MFI_HOW_IDLE,   // a pool's worker, for work
  MFI_HOW_SELECT, // the first of several
  MFI_HOW_SLEEP,
  MFI_HOW_OUTPUT // for its turn at stdout or stderr
} mfi_how;

// Says what the next wait is for: `what` is a handle, or 0. Forgotten when the wait is over.
static inline void mfi_event_say(mfi_self *self, mfi_how how, uint64_t what) {
  store_relaxed(&self->slot->waits_for, what);
  store_relaxed(&self->slot->waits_how, (uint32_t)how);
}

// Sleeps until ready(what), MFI_OK; `until` has passed, MFI_TIMEDOUT; or a note came,
// MFI_INTERRUPTED. After MFI_OK the caller tries to take, and comes back if somebody was faster. In
// the end it calls mfi_event_done when it has taken, mfi_event_leave when it has not.
mfi_status mfi_event_await(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                           mfi_ns until);
//
// The same for the first of n events; ready looks at the conditions of all of them.
typedef struct mfi_events {
  mfi_event *const *event;
  uint32_t n;
} mfi_events;
mfi_status mfi_event_await_any(mfi_self *self, const mfi_events *all, mfi_ready_fn *ready,
                               void *what, mfi_ns until);

// The same in two parts, for who has something to do before it sleeps. look: MFI_EMPTY: now it
// would sleep. sleep: goes on from there.
mfi_status mfi_event_look(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                          mfi_ns until);
mfi_status mfi_event_sleep(mfi_self *self, mfi_event *e, mfi_ready_fn *ready, void *what,
                           mfi_ns until);

void mfi_event_done(mfi_self *self);
// The next wait will be long: it looks at once only, and leaves the core to others.
static inline void mfi_event_no_look(mfi_self *self) {
  if (self->no_spin == 0)
    self->no_spin = 1;
}
void mfi_event_leave(mfi_self *self); // passes the baton on, if a wake had come

// Names the event that the caller will wake, before the commit that makes it ready. At most two.
void mfi_event_will_wake(mfi_self *self, mfi_event *e);
// After the commit, the lock given: wakes one or all, if somebody may sleep, and clears the name.
void mfi_event_wake_one(mfi_self *self, mfi_event *e);
void mfi_event_wake_all(mfi_self *self, mfi_event *e);
void mfi_event_will_not_wake(mfi_self *self, mfi_event *e); // it turned out that there is no need

// The event of a block or object that may be gone when it is woken: events in memory that never
// becomes anything else, shared by chance. Who waits there may be woken for another.
mfi_event *mfi_event_of(mfi_self *self, uint64_t key);

// Tells a worker to look up from whatever it waits for. Under its slot's lock.
void mfi_note(mfi_self *self, uint32_t slot, uint32_t notes);
void mfi_note_clear(mfi_self *self, uint32_t notes); // one's own
// Is the worker in this slot about to look up?
bool mfi_is_noted(const mfi_slot *s);

// For burial: wakes all on the events that the dead slot names.
void mfi_event_bury(mfi_self *self, uint32_t dead_slot);

#endif
