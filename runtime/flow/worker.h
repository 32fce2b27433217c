// Workers: what is known of each, from before its start until nobody asks any more. Floor 4.
//
//   NEW --[mfi_worker_start]--> STARTING --[thread_main | warden]--> RUNNING --[mfi_worker_end]-->
//   ENDED
//                                   \--[start failed]--> ENDED, status MFI_SYSTEM
//
// The object outlives the worker: who holds it reads the exit code and the result. The running
// worker's slot holds a reference (slot->worker), given back at its burial.
#ifndef MFI_FLOW_WORKER_H
#define MFI_FLOW_WORKER_H

#include "base/atomic.h"
#include "flow/message.h"
#include "os/process.h"
#include "sync/event.h"

enum { MFI_WORKER_NEW, MFI_WORKER_STARTING, MFI_WORKER_RUNNING, MFI_WORKER_ENDED };
enum { MFI_BACKEND_DEFAULT, MFI_BACKEND_PROCESS, MFI_BACKEND_THREAD, MFI_BACKEND_SERIAL };

// Body of MFI_KIND_WORKER.
typedef struct mfi_worker {
  uint32_t state; // MFI_WORKER_*; under o->lock, read atomically
  uint32_t backend;
  uint32_t daemon;
  uint32_t number;   // of a pool's worker; else 0
  uint64_t slot;     // id of its slot, since the start
  uint32_t pid, tid; // since RUNNING
  int32_t exitcode;  // since ENDED: 0.. or -signal
  uint32_t status;   // since ENDED: mfi_status of its target; MFI_SYSTEM: errno in `exitcode`
  uint32_t stop;     // signal that it was sent by us: SIGTERM, SIGKILL; 0: none
  uint64_t thread;   // pthread_t, until joined; of use in process `pid`
  uint32_t joined;   // atomic: somebody joins or has joined the thread
  mfi_ref spec;      // message block: how it is to be run
  mfi_ref result;    // message block: what its target gave or raised; 0: nothing
  mfi_handle pool;   // reference to the core whose jobs it runs; 0: a target of its own
  uint32_t tasks;    // that it ended; own
  uint32_t ready;    // its initializer has run; own
  uint32_t epoch;    // of its pool when it was started
  uint32_t calls;    // of the core's calls, how many it is to run
  uint32_t closing;  // its state is being closed, only finalizers run; own, read atomically
  uint32_t watched;  // somebody sees to it that they do not take for ever; atomic
  mfi_event changed; // woken at RUNNING and ENDED
  uint64_t memory_limit;
  char name[MFI_NAME_SIZE];
  char target[96]; // where its target is, "jobs.lua:12"; empty: unknown
} mfi_worker;

// Head of a spec's bytes: the parent's surroundings at the moment of the start. The codec's message
// (context, target, arguments) lies at payload_at, the environment's strings at env_at.
typedef struct mfi_spec {
  uint64_t payload_at, payload_size;
  uint64_t env_at, env_size;
  mfi_os_surroundings around;
} mfi_spec;

typedef struct mfi_worker_config {
  uint32_t backend, daemon, number;
  uint64_t memory_limit;
  const char *name;
  const char *target; // NULL: unknown
  mfi_handle pool;    // the core whose jobs it runs; 0: a target of its own
} mfi_worker_config;

static inline mfi_worker *mfi_worker_of(mfi_object *o) { return (mfi_worker *)(void *)o->body; }

// A worker that is not started, in the caller's handle table. MFI_NOMEM, MFI_CLOSED.
mfi_status mfi_worker_make(mfi_self *self, const mfi_worker_config *c, mfi_handle *out,
                           uint32_t *place);

// Starts it. payload: the codec's message; NULL: its pool's. MFI_SYSTEM (errno), MFI_NOMEM,
// MFI_CLOSED (an object in the payload is gone); MFI_INVALID: not NEW. A target of its own is
// waited for until it has its process id.
mfi_status mfi_worker_start(mfi_self *self, mfi_handle h, const mfi_source *payload);

// What is to be run: the codec's message of the worker or of its pool.
mfi_body *mfi_worker_payload(mfi_self *self, mfi_object *o, const void **bytes, uint64_t *size);
// It has been read: what it refers to is its reader's affair now. Of a worker with a target of its
// own; does nothing the second time. By the worker, or once that has ended.
void mfi_worker_drop_payload(mfi_self *self, mfi_object *o);

// Waits for the end. MFI_OK, MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_worker_join(mfi_self *self, mfi_object *o, mfi_ns until);
static inline uint32_t mfi_worker_state(mfi_object *o) {
  return load_acquire(&mfi_worker_of(o)->state);
}

// Asks it to end: SIGTERM or SIGKILL. A process gets the signal; a thread stops at its next VM
// instruction. MFI_OK, MFI_INVALID: it has ended.
mfi_status mfi_worker_stop(mfi_self *self, mfi_object *o, int signal_number);

// In slot->stop beside the mfi_status: no more Lua is to run (kill). The number of MFI_STOP_KILL.
#define MFI_STOP_NO_LUA (1u << 16)

// For a pool's worker, whose process nobody asks to leave: it ends whatever it does, even if it was
// stopped; a thread closes its to-be-closed variables.
#define MFI_END_TASK 0

// Asks the worker with this slot id to stop, for a job alone (0: as a whole): the one place where a
// running worker is interrupted from outside. signal_number: SIGTERM, SIGKILL, MFI_END_TASK.
void mfi_slot_stop(mfi_self *self, uint64_t id, uint32_t backend, mfi_status why, mfi_ref job,
                   int signal_number);

// Inside the worker: what its target gave (MFI_OK), raised (MFI_FAILED), or why it was stopped.
mfi_status mfi_worker_set_result(mfi_self *self, mfi_object *o, mfi_status status,
                                 const mfi_source *result);

// The worker in `slot` has ended: settles what it left (locks, wakes, handles, blocks, its job),
// stops its children, marks it ENDED, heals its pool, wakes all who wait, releases the slot. Each
// step may be repeated. For another's slot when its process is gone; for one's own as a thread's
// last act.
void mfi_worker_end(mfi_self *self, uint32_t slot, int exitcode);
// It could not be started.
void mfi_worker_failed(mfi_self *self, uint32_t slot, int error);

// The worker in a slot, looked at without a reference; NULL: there is none. It may end at any time,
// and its memory may be another worker's then: what is read there is a guess, and read atomically.
mfi_object *mfi_worker_in(mfi_self *self, uint32_t slot);

// A killed thread whose finalizers do not return ends without them: for everybody else it has
// ended, its own thread settles what it named when they do return. Called by another thread of its
// process that has claimed it.
void mfi_worker_leave(mfi_self *self, uint32_t slot, int exitcode);

// Children of the worker with this id, the caller or a dead one: fn for each live one, which may
// end at any time, as (object, handle).
void mfi_worker_each(mfi_self *self, uint64_t parent,
                     void (*fn)(mfi_self *, mfi_handle, mfi_object *, void *), void *ctx);

extern const mfi_object_ops mfi_worker_ops;

#endif
