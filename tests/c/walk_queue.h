// What walks over queues share; see walk.h. Messages are numbers: what actors put begins with 1000.
#ifndef MFI_TESTS_WALK_QUEUE_H
#define MFI_TESTS_WALK_QUEUE_H

#include "walk.h"

#ifdef MFI_FAULTS

static inline void set_used_queue(stage *t) { // its ring is there, at some place in it
  mfi_status st;
  set_object(t, MFI_KIND_QUEUE);
  put_number(&t->self, t->o, 1, 200, 0);
  get_number(&t->self, t->o, 0, &st);
}

static inline void sleep_in_get(mfi_self *self, void *arg) {
  stage *t = arg;
  mfi_status st;
  uint64_t n = get_number(self, t->o, soon(LONG_SECONDS), &st);
  if (n != 1000 && st != MFI_CLOSED)
    _exit(2);
}

static inline void put_small(mfi_self *self, stage *t) { put_number(self, t->o, 1000, 16, 0); }
static inline void close_queue(mfi_self *self, stage *t) { mfi_queue_close(self, t->o); }

// One message for each of two consumers, the actor and the sleeper, as long as they live.
static inline void put_when_asleep(stage *t, const worker *actor) {
  falls_asleep(t, actor);
  put_small(&t->self, t);
  while (!has_ended(actor->pid) && !has_ended(t->sleeper.pid))
    usleep(20);
  if (!has_ended(actor->pid))
    put_small(&t->self, t);
}

// The actor has it, or died with it, or the sleeper has it: while it lies there, it is on its way.
static inline void check_two_consumers(stage *t, bool done) {
  MFI_UNUSED(done);
  while (mfi_queue_size(t->o) != 0 && !has_ended(t->sleeper.pid))
    usleep(20);
  if (!has_ended(t->sleeper.pid))
    CHECK_EQ(put_number(&t->self, t->o, 1000, 16, 0), MFI_OK);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
}

static inline void check_closed(stage *t, bool done) {
  bool closed = mfi_queue_of(t->o)->closed != 0;
  CHECK(closed || !done);
  if (!closed)
    mfi_queue_close(&t->self, t->o);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
}

#endif

#endif
