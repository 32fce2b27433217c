// Pools: a core runs jobs on its workers. Floor 4.
//
//   submit --> | first … last | --take--> worker          returned jobs are taken first
//                                  \--end--> batch / Future, woken by one commit
//
// Two objects: the POOL is what users hold; with its last reference the core is terminated. The
// CORE is held by the POOL, by its workers and by its jobs, and goes with the last of them.
// Everything in the core, its jobs and its batches is guarded by the core's lock.
//
//   OPEN --[close]--> CLOSING --[no task left]--> workers leave
//   OPEN | CLOSING --[terminate]--> TERMINATED;  OPEN --[an initializer failed]--> BROKEN
#ifndef MFI_FLOW_POOL_H
#define MFI_FLOW_POOL_H

#include "flow/job.h"
#include "flow/worker.h"

enum { MFI_POOL_OPEN, MFI_POOL_CLOSING, MFI_POOL_TERMINATED, MFI_POOL_BROKEN };

typedef struct mfi_list {
  mfi_ref first, last; // jobs, linked by next and prev
} mfi_list;

typedef struct mfi_core {
  uint32_t state; // MFI_POOL_*; read atomically
  uint32_t backend;
  uint32_t want;        // workers wished for
  uint32_t alive;       // workers started and not gone, spares included
  uint32_t present;     // workers that have not quite gone
  uint32_t asleep;      // of the alive ones, sleeping inside a task until other tasks end
  uint32_t next_number; // of the next worker
  uint32_t epoch;       // + 1 at each restart: workers of an older one leave when idle
  uint32_t kick;        // + 1 when idle workers are to look up; read atomically
  uint32_t max_tasks;   // of a worker; 0: no limit
  mfi_list queue;       // queued jobs
  mfi_list directed;    // jobs for one worker each: everywhere
  uint64_t jobs;        // in the queue; read atomically
  uint64_t submitted, queued, running, done, failed, cancelled; // tasks
  uint64_t died;                                                // workers
  mfi_ref spec;        // message block: the spec of its workers
  mfi_ref failure;     // BROKEN, message block: the initializer's error; 0: see broken_by
  mfi_death broken_by; // BROKEN: how the worker died that ran the initializer; pid 0: none could
                       // be started, exitcode is the errno
  uint32_t fragile;    // there is an initializer: who dies in it breaks the pool
  mfi_event work;      // for workers: a job, or a kick
  mfi_event calm;      // a job ended, a worker went: for close, join, resize
  mfi_list calls;      // message blocks: what later workers run first; linked
  uint32_t call_count;
  uint64_t memory_limit;
  int64_t limit; // default ns that an item may run; 0: no limit
  uint32_t libs; // of its workers' states, as the script floor counts them; 0: all
  char name[MFI_NAME_SIZE];
} mfi_core;

typedef struct mfi_pool {
  mfi_handle core; // reference
} mfi_pool;

// Body of MFI_KIND_BATCH: the jobs of one map-like call. Guarded by the core's lock.
typedef struct mfi_batch {
  mfi_handle core;               // reference
  mfi_ref image;                 // message block: the function; set once
  uint64_t serial;               // unique; names the image in workers' caches
  mfi_ref oldest, newest;        // its jobs, in order of submission
  mfi_ref done_first, done_last; // ended ones, in order of their end; only if `unordered`
  uint64_t left;                 // jobs not ended; read atomically
  uint32_t ends;                 // jobs ended, ever; read atomically
  uint32_t unordered, stop_on_error, wake_each; // set once
  uint32_t failed;                              // an item of it failed; read atomically
  uint32_t cancel;  // no item of it is to begin any more; read atomically
  uint64_t watcher; // slot id of who is told that it is to look; 0: nobody
} mfi_batch;

typedef struct mfi_batch_config {
  mfi_source image;
  bool unordered, stop_on_error, wake_each;
} mfi_batch_config;

typedef struct mfi_pool_config {
  bool fragile;
  uint32_t backend, workers, max_tasks; // MFI_BACKEND_SERIAL has no workers
  uint64_t memory_limit;
  int64_t limit;
  uint32_t libs;
  const char *name;
  mfi_source payload; // context, initializer, initargs
} mfi_pool_config;

// A pool in the caller's handle table; its workers are started, not waited for.
mfi_status mfi_pool_make(mfi_self *self, const mfi_pool_config *c, mfi_handle *out,
                         uint32_t *place);
mfi_object *mfi_pool_core(mfi_self *self, mfi_handle pool);
static inline mfi_core *mfi_core_of(mfi_object *o) { return (mfi_core *)(void *)o->body; }
static inline mfi_batch *mfi_batch_of(mfi_object *o) { return (mfi_batch *)(void *)o->body; }

// Queues a job that is the top of the caller's hand. batch: 0, or where it belongs; with no batch
// its first Future reference goes to *place of the caller's handle table. MFI_CLOSED,
// MFI_TERMINATED, MFI_INITIALIZER: the pool takes none; the job stays in hand.
mfi_status mfi_pool_submit(mfi_self *self, mfi_object *core, mfi_ref job, mfi_object *batch,
                           uint32_t *place);
// The same for n jobs of a batch at once, the first of them on top of the caller's hand, the second
// below it, and so on. Those from *done on stay in hand.
mfi_status mfi_pool_submit_many(mfi_self *self, mfi_object *core, const mfi_ref *jobs, uint32_t n,
                                mfi_object *batch, uint32_t *done);
// A job of a batch for the worker with this slot id alone.
mfi_status mfi_pool_direct(mfi_self *self, mfi_object *core, mfi_ref job, mfi_object *batch,
                           uint64_t slot);

// The next job, RUNNING. MFI_EMPTY; MFI_CLOSED: there will be none.
mfi_status mfi_pool_try(mfi_self *self, mfi_object *core, mfi_ref *out);
// The same, waiting. MFI_TIMEDOUT: also when the core was kicked since its kick was `kick`.
mfi_status mfi_pool_take(mfi_self *self, mfi_object *core, uint32_t kick, mfi_ns until,
                         mfi_ref *out);
// For who waits for it: this job, if it is still QUEUED.
bool mfi_pool_take_this(mfi_self *self, mfi_object *core, mfi_ref job);
// Its worker is done with it: all items have ended (MFI_OK), or status ends it as a whole.
void mfi_job_end(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status);
// The same, and takes the next job at once, RUNNING; 0: none is there.
mfi_ref mfi_job_end_and_take(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status);

// Its worker goes on with other things: the items that have not begun go back to the queue.
void mfi_pool_give_back(mfi_self *self, mfi_object *core, mfi_ref job);

// What every worker started from now on runs before its jobs: the codec's message of a call.
// Workers that are there already are the caller's business.
mfi_status mfi_pool_remember(mfi_self *self, mfi_object *core, const mfi_source *call);
// The nth of these that a worker is to run, from 0; NULL: no more.
const void *mfi_pool_remembered(mfi_self *self, mfi_object *core, const mfi_worker *w, uint32_t n,
                                uint64_t *size, const mfi_body **body);

void mfi_pool_forget(mfi_self *self, mfi_core *c); // the oldest of these, of a core that ends

// Takes a queued job out (true), or, where force, asks its worker to stop (true). False: it has
// ended, or runs on. why: MFI_CANCELLED, MFI_TASK_TIMEOUT, MFI_TERMINATED.
bool mfi_job_cancel(mfi_self *self, mfi_object *core, mfi_ref job, bool force, mfi_status why);

// Has the caller's slot told of the job's end: it comes to mfi_pool_due. depth: of the state that
// watches; see mfi_context. MFI_OK; MFI_CLOSED: it has ended already; MFI_FULL: another slot is
// told, this one is told to look (slot->look).
mfi_status mfi_job_watch(mfi_self *self, mfi_object *core, mfi_ref job, uint32_t depth);
// The oldest watched job of this depth that has ended, its reference in the caller's slot->ending
// (mfi_handle_unhold it, or mfi_pool_not_due gives it back). 0: none is due.
mfi_handle mfi_pool_due(mfi_self *self, uint32_t depth);
void mfi_pool_not_due(mfi_self *self);
// Has the caller's slot told to look whenever the batch's waiter is woken. MFI_CLOSED: it is over.
mfi_status mfi_batch_watch(mfi_self *self, mfi_object *batch);

// Waits for one job's end. The caller holds a reference.
mfi_status mfi_job_wait(mfi_self *self, mfi_ref job, mfi_ns until);

// ---- Batches

mfi_status mfi_batch_make(mfi_self *self, mfi_handle core, const mfi_batch_config *c,
                          mfi_handle *out, uint32_t *place);
// Waits until left is 0 or, stop_on_error, it failed.
mfi_status mfi_batch_wait(mfi_self *self, mfi_object *batch, mfi_ns until);
// Waits until mfi_batch_take would give a job. MFI_CLOSED: it has none any more.
mfi_status mfi_batch_wait_next(mfi_self *self, mfi_object *batch, mfi_ns until);
// One of the two would not wait. An mfi_ready_fn of the body.
bool mfi_batch_is_ready(mfi_self *self, void *body);
// Takes up to `max` jobs into the caller's hand, the newest of them on top: the oldest ones as far
// as they have ended, or, unordered, those that ended first. mfi_job_discard them. How many.
uint32_t mfi_batch_take(mfi_self *self, mfi_object *batch, mfi_ref *out, uint32_t max);
// No item of it begins any more; queued jobs are taken out, running ones stopped where force.
void mfi_batch_cancel(mfi_self *self, mfi_object *batch, bool force, mfi_status why);

// ---- The pool as a whole

void mfi_pool_close(mfi_self *self, mfi_object *core);
void mfi_pool_terminate(mfi_self *self, mfi_object *core, mfi_status why);
mfi_status mfi_pool_resize(mfi_self *self, mfi_object *core, uint32_t workers);
void mfi_pool_restart(mfi_self *self, mfi_object *core);
typedef struct mfi_counts {
  uint32_t workers;
  uint64_t submitted, queued, running, done, failed, cancelled; // tasks
  uint64_t died;                                                // workers
} mfi_counts;
mfi_counts mfi_pool_count(mfi_self *self, mfi_object *core);
// Workers that are alive and wait for work.
uint32_t mfi_pool_idle(mfi_self *self, mfi_object *core);
// Ids of the slots of at most `max` live workers; how many there are.
uint32_t mfi_pool_workers(mfi_self *self, mfi_object *core, uint64_t *ids, uint32_t max);
// Of these, those that were started since the latest restart.
uint32_t mfi_pool_fresh(mfi_self *self, mfi_object *core);
// Waits until no task is left, queued or running; `gone`: and no worker.
mfi_status mfi_pool_wait(mfi_self *self, mfi_object *core, bool gone, mfi_ns until);
// An initializer failed in this worker: the pool is BROKEN, its tasks end as MFI_INITIALIZER.
void mfi_pool_break(mfi_self *self, mfi_object *core, const mfi_source *failure);

// ---- For workers and burials

// Is this worker to leave, now that it is idle? Then it is counted out.
bool mfi_pool_leave(mfi_self *self, mfi_object *core, mfi_worker *w);
// Around a sleep inside a task, until other tasks end: when all sleep so, spare workers are
// started.
void mfi_pool_sleep(mfi_self *self, mfi_object *core);
void mfi_pool_wake(mfi_self *self, mfi_object *core);
// Counts a worker out that has gone; heals: starts what is missing.
void mfi_pool_worker_left(mfi_self *self, mfi_object *core, uint32_t slot, const mfi_death *death,
                          bool unexpected);
// What a dead or stopped worker ran: its item is charged, the rest goes back to the queue.
void mfi_pool_bury_job(mfi_self *self, uint32_t slot, const mfi_death *death);
// Starts what it lacks; and: a worker of it could not be started.
void mfi_pool_heal(mfi_self *self, mfi_object *core);
void mfi_pool_lacks(mfi_self *self, mfi_object *core, int error);
// Futures that the dead slot was to be told of.
void mfi_pool_bury_due(mfi_self *self, mfi_slot *dead);
// A process whose task is over its time is ended by this signal, from a timer of its own: one that
// reaches it also where it was stopped, and that no library of the task's can hold back.
#define MFI_DEADLINE_SIGNAL SIGKILL
bool mfi_death_by_deadline(const mfi_slot *dead, int exitcode);

extern const mfi_object_ops mfi_pool_ops, mfi_core_ops, mfi_batch_ops;

#endif
