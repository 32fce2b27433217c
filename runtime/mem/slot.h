// Worker slots: what the region knows of each thread or process that uses it. Floor 2.
//
//   FREE --[mfi_slot_take]--> USED --[mfi_slot_release]--> FREE, generation + 1
//
// A slot's own worker writes it, inside the redo records of the locks it holds where facts must
// agree. Others read it; burial takes it over once its worker is dead.
#ifndef MFI_MEM_SLOT_H
#define MFI_MEM_SLOT_H

#include "mem/lock.h"

#define MFI_LOCKS_HELD 4
#define MFI_WAKING 2
#define MFI_NAME_SIZE 64

// Why a worker should look up from what it does. Set by others with fetch_or, then its event is
// woken.
enum {
  MFI_NOTE_STOP = 1 << 0,      // its worker or task is to end (reason in `stop`)
  MFI_NOTE_INTERRUPT = 1 << 1, // Ctrl-C: waiting calls end as MFI_INTERRUPTED
  MFI_NOTE_DUE = 1 << 2        // callbacks are due
};

// What a worker counts, in words of its own.
enum {
  MFI_STAT_TASKS,    // that it ended; a target is one, too
  MFI_STAT_MESSAGES, // that it sent: into queues, tasks, results
  MFI_STAT_BYTES,    // of these, encoded
  MFI_STAT_BUSY,     // ns inside tasks or its target; less the time now while it is (so negative)
  MFI_STATS
};

// A line of a script, for people. Its owner writes it, anybody reads it at any time, word by word:
// what is read may be torn, never out of bounds.
typedef struct mfi_place {
  _Alignas(8) char source[60]; // as Lua shows it, zero-ended
  uint32_t line;               // 0: not known
} mfi_place;

#define MFI_TELL_ALL UINT64_MAX // all that are curious

typedef struct mfi_slot {
  uint32_t used;       // 0 FREE, 1 USED; under region->slots_lock
  uint32_t generation; // + 1 at each release; (index, generation) names a worker for ever
  uint64_t next_free;  // index of the next free slot + 1
  uint32_t process;    // pid of the process that it belongs to, until its release
  uint32_t pid;        // the same while signals may be sent to it; else 0
  uint32_t tid;        // of its thread
  uint32_t notes;      // atomic: MFI_NOTE_*
  uint32_t stop;       // atomic: an mfi_status, why it is to stop; 0: not at all

  mfi_ref locks[MFI_LOCKS_HELD]; // inner locks that it holds or asks for; own
  mfi_ref sleeping_on;           // event that it sleeps on or was just woken from; own, atomic
  mfi_ref waking[MFI_WAKING];    // events that it is about to wake; own

  // Things in hand, changed in redo records only.
  mfi_ref hand;         // blocks that only this worker knows, linked by block->link
  mfi_ref hand_unit;    // a unit taken for a span that is not yet its class's
  mfi_handle dying;     // object whose last reference it dropped
  mfi_handle let_go;    // object of which it dropped a reference, not the last, see object.h
  mfi_ref handles;      // block: its handle table, see object.h
  uint32_t held;        // script locks and permits that it holds
  uint32_t spare_state; // yields until spinning is tried again; own
  mfi_ref job;          // job that it runs
  mfi_handle ending;    // reference to a job that is on its way to or from a watcher's list

  uint64_t claim;       // of a thread: its id, until somebody says that it is the one to end it
  uint64_t worker;      // handle, a reference: the worker that it is; 0: a native thread
  uint64_t parent;      // id of the slot of whoever started it; set before `worker`
  uint32_t starting;    // slot that it has taken for a worker to be; 0: none
  uint32_t warden;      // slot of the warden that forks it; 0: a thread
  uint32_t counters[2]; // names of workers that it made; own
  uint32_t is_parent;   // it has started a worker, or is about to; own, set before the child's
                        // `parent`
  uint32_t left;        // its pool has counted it out
  uint32_t asleep;      // its pool counts it as sleeping inside a task
  mfi_ref stop_job;     // job that `stop` is meant for; 0: the worker as a whole
  int64_t deadline;     // of the task that it runs, for a process; 0: none
  uint64_t due;         // watches whose futures have ended, linked, the oldest first; under `lock`
  uint64_t due_last;    // the newest of them; under `lock`
  uint64_t tell;        // slot id of whom it is to tell that a batch has news; or MFI_TELL_ALL
  uint32_t look;        // somebody did tell it so: a bit for each depth of states; atomic
  uint32_t curious;     // it looks at futures that another slot watches; own, read atomically
  uint32_t cpu;         // where it ran last; own
  uint32_t waits_how;   // mfi_how, see sync/event.h; own, for people
  uint64_t waits_for;   // handle of what it waits for; own, for people
  int64_t waits_since;  // when it fell asleep; 0: it does not sleep; own, for people
  mfi_place waits_at;   // where, since then; own, for people
  uint64_t wants;       // lock that it waits for without a limit; own, atomic, see sync/deadlock.h
  uint64_t called;      // an event that its own worker alone sleeps on
  uint64_t stats[MFI_STATS]; // own, read atomically; added to region->past at the release
  char name[MFI_NAME_SIZE];  // zero-ended
  mfi_lock lock;             // guards `due`
} mfi_slot;

// What is kept of a worker that is gone.
typedef struct mfi_past {
  char name[MFI_NAME_SIZE];
  uint32_t process, is_thread;
  uint64_t stats[MFI_STATS];
} mfi_past;
#define MFI_PASTS 64 // of the latest ones

// Takes a free slot for the calling thread or for a worker to be started. 0: none left or no
// memory; slot 0 is never given out.
uint32_t mfi_slot_take(mfi_self *self);
void mfi_slot_release(mfi_self *self, uint32_t index);

static inline void mfi_slot_count(mfi_slot *s, int what, uint64_t n) {
  store_relaxed(&s->stats[what], load_relaxed(&s->stats[what]) + n);
}
// From now on the caller is inside a task or its target, or no longer. Reads the clock.
void mfi_slot_busy(mfi_self *self, bool busy);
bool mfi_slot_is_busy(mfi_slot *s);
// Seconds so far, as ns.
uint64_t mfi_slot_busy_ns(mfi_slot *s);
// Sums of all workers, those that are gone included: stats of their slots.
void mfi_slot_sums(mfi_self *self, uint64_t sums[MFI_STATS]);

// The worker that was the last but n to go, of those that did something. False: not known.
bool mfi_slot_past(mfi_self *self, uint64_t n, mfi_past *out);

void mfi_place_store(mfi_place *shared, const mfi_place *from); // by its owner
mfi_place mfi_place_load(const mfi_place *shared);

// (index, generation) of a slot as one word.
uint64_t mfi_slot_id(mfi_self *self, uint32_t index);
// Is the worker that this id named still in its slot?
bool mfi_slot_is(mfi_self *self, uint64_t id);

#endif
