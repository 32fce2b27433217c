// A region for C tests of the floors without Lua, and workers in it: threads and forked processes,
// each with a slot of its own.
#ifndef MFI_TESTS_WORLD_H
#define MFI_TESTS_WORLD_H

#include "base/assert.h"
#include "base/atomic.h"
#include "check.h"
#include "flow/array.h"
#include "flow/bury.h"
#include "flow/connection.h"
#include "flow/queue.h"
#include "sync/gates.h"
#include "sync/locks.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_SECONDS 20

static const mfi_object_ops *const world_ops[MFI_KINDS] = {
    [MFI_KIND_QUEUE] = &mfi_queue_ops,
    [MFI_KIND_LOCK] = &mfi_lock_ops,
    [MFI_KIND_RLOCK] = &mfi_rlock_ops,
    [MFI_KIND_SEMAPHORE] = &mfi_semaphore_ops,
    [MFI_KIND_BOUNDED] = &mfi_bounded_ops,
    [MFI_KIND_EVENT] = &mfi_flag_ops,
    [MFI_KIND_CONDITION] = &mfi_condition_ops,
    [MFI_KIND_BARRIER] = &mfi_barrier_ops,
    [MFI_KIND_VALUE] = &mfi_cell_ops,
    [MFI_KIND_ARRAY] = &mfi_array_ops,
    [MFI_KIND_CONNECTION] = &mfi_connection_ops,
};
static mfi_drop_fn *const world_drops[MFI_BLOCK_KINDS] = {
    [MFI_BLOCK_MESSAGE] = mfi_message_unhold,
};

typedef void work_fn(mfi_self *self, void *arg);

static inline void world_open(mfi_self *self, size_t size) {
  mfi_status st = mfi_region_open(self, size);
  if (st != MFI_OK) {
    printf("no region: status %d\n", (int)st);
    exit(1);
  }
  self->ops = world_ops;
  self->drops = world_drops;
}

// The view of who works in `slot`.
static inline mfi_self world_self(const mfi_self *self, uint32_t slot) {
  mfi_self s = *self;
  s.index = slot;
  s.slot = mfi_slot_at(self, slot);
  s.slot->pid = (uint32_t)mfi_os_pid();
  store_release(&s.slot->tid, (uint32_t)mfi_os_tid());
  s.no_spin = 0;
  return s;
}

typedef struct worker {
  uint32_t slot;
  pid_t pid; // 0: a thread
  pthread_t thread;
  mfi_self self;
  work_fn *fn;
  void *arg;
} worker;

static inline void worker_fork(mfi_self *self, worker *w, work_fn *fn, void *arg) {
  w->slot = mfi_slot_take(self);
  fflush(stdout);
  w->pid = fork();
  if (w->pid != 0)
    return;
  mfi_self child = world_self(self, w->slot);
  fn(&child, arg);
  fflush(stdout);
  _exit(check_failed_here != 0);
}

static inline void *worker_main(void *p) {
  worker *w = p;
  store_release(&w->self.slot->tid, (uint32_t)mfi_os_tid());
  w->fn(&w->self, w->arg);
  return NULL;
}

static inline void worker_thread(mfi_self *self, worker *w, work_fn *fn, void *arg) {
  w->slot = mfi_slot_take(self);
  w->pid = 0;
  w->fn = fn;
  w->arg = arg;
  w->self = world_self(self, w->slot);
  pthread_create(&w->thread, NULL, worker_main, w);
}

// A process or a thread. TSan sees no order that another process made, so there: threads alone.
static inline void worker_start(mfi_self *self, worker *w, bool process, work_fn *fn, void *arg) {
#ifdef MFI_TSAN
  process = false;
#endif
  if (process)
    worker_fork(self, w, fn, arg);
  else
    worker_thread(self, w, fn, arg);
}

// Waits for the end and buries. 0, an exit code, or 128 + signal.
static inline int worker_reap(const worker *w) {
  int status = 0;
  while (waitpid(w->pid, &status, 0) < 0)
    continue;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int worker_join(mfi_self *self, worker *w) {
  int code = 0;
  if (w->pid == 0)
    pthread_join(w->thread, NULL);
  else
    code = worker_reap(w);
  mfi_slot_bury(self, w->slot);
  return code;
}

// Does the worker sleep on an event, or is it about to?
static inline bool sleeps(const mfi_self *self, const worker *w) {
  mfi_ref e = load_seqcst(&mfi_slot_at(self, w->slot)->sleeping_on);
  return e != 0 && (load_seqcst((uint32_t *)mfi_at(self, e)) & 1) != 0;
}

static inline void worker_until_asleep(const mfi_self *self, const worker *w) {
  while (!sleeps(self, w))
    usleep(50);
}

// n workers that do the same, threads and processes by turns, asleep in this order; and their ends.
static inline void start_sleepers(mfi_self *self, worker *w, int n, work_fn *fn, void *arg) {
  for (int i = 0; i < n; i++) {
    worker_start(self, &w[i], i % 2 == 0, fn, arg);
    worker_until_asleep(self, &w[i]);
  }
}

static inline void join_all(mfi_self *self, worker *w, int n) {
  for (int i = 0; i < n; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
}

static inline mfi_ns soon(double seconds) { return mfi_os_deadline(seconds); }

// ---- Messages for tests: plain bytes

static inline mfi_status put_text(mfi_self *self, mfi_object *o, const char *text, mfi_ns until) {
  mfi_bytes b = {text, strlen(text)};
  mfi_source src = mfi_source_bytes(&b);
  return mfi_queue_put(self, o, &src, until);
}

static inline mfi_status put_number(mfi_self *self, mfi_object *o, uint64_t n, size_t size,
                                    mfi_ns until) {
  char bytes[4096];
  memset(bytes, (int)(n % 251), sizeof bytes);
  memcpy(bytes, &n, sizeof n);
  mfi_bytes b = {bytes, size};
  mfi_source src = mfi_source_bytes(&b);
  return mfi_queue_put(self, o, &src, until);
}

// The number of a message whose bytes are all as put_number wrote them, else 0.
static inline uint64_t number_in(const void *data, size_t size) {
  uint64_t n;
  const unsigned char *p = data;
  memcpy(&n, p, sizeof n);
  for (size_t i = sizeof n; i < size; i++)
    if (p[i] != (unsigned char)(n % 251))
      return 0;
  return n;
}

// 0: none came, *st says why.
static inline uint64_t get_number(mfi_self *self, mfi_object *o, mfi_ns until, mfi_status *st) {
  mfi_taken t;
  *st = mfi_queue_get(self, o, until, &t);
  if (*st != MFI_OK)
    return 0;
  uint64_t n = number_in(t.bytes, t.size);
  if (t.block != 0)
    mfi_message_free(self, t.block);
  return n;
}

#endif
