// Beacons. Floor 4; see beacon.h. Locks: its slot's. Sleeps on an event of its own.
#include "flow/beacon.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/bury.h"
#include "flow/pool.h"
#include "os/process.h"
#include "sync/event.h"

#include <stdlib.h>
#include <string.h>

#define STACK_BYTES 131072

struct mfi_beacon {
  mfi_self self;
  mfi_beacon_fn *turn;
  void *ud;
  uint32_t quit; // atomic
  pthread_t thread;
};

static bool is_to_quit(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_beacon *)what)->quit) != 0;
}

static void *beacon_main(void *arg) {
  mfi_beacon *b = arg;
  mfi_self *self = &b->self;
  mfi_event *e = mfi_event_of(self, mfi_slot_id(self, self->index));
  mfi_ns until = 0;
  store_release(&self->slot->tid, (uint32_t)mfi_os_tid());
  for (;;) {
    self->no_spin = 1; // there is nothing to look for
    mfi_status st = until == 0 ? MFI_TIMEDOUT : mfi_event_await(self, e, is_to_quit, b, until);
    mfi_event_done(self);
    if (st == MFI_OK)
      break;
    mfi_note_clear(self, MFI_NOTE_STOP | MFI_NOTE_INTERRUPT | MFI_NOTE_DUE);
    until = b->turn(self, b->ud);
  }
  return NULL;
}

static bool take_slot(mfi_self *self, mfi_beacon *b) {
  uint32_t slot = mfi_slot_take(self);
  if (slot == 0)
    return false;
  b->self = mfi_self_make(mfi_runtime_of(self), slot);
  b->self.slot->pid = (uint32_t)mfi_os_pid();
  strcpy(b->self.slot->name, "beacon");
  self->slot->starting = 0;
  return true;
}

mfi_beacon *mfi_beacon_open(mfi_self *self, mfi_beacon_fn *turn, void *ud) {
  mfi_beacon *b = calloc(1, sizeof *b);
  if (b == NULL || !take_slot(self, b)) {
    free(b);
    return NULL;
  }
  b->turn = turn;
  b->ud = ud;
  if (mfi_os_thread_open(&b->thread, beacon_main, b, STACK_BYTES) == MFI_OK)
    return b;
  mfi_slot_release(self, b->self.index);
  free(b);
  return NULL;
}

void mfi_beacon_close(mfi_beacon *b, mfi_self *self) {
  store_seqcst(&b->quit, 1u);
  mfi_beacon_note(self, b->self.index);
  mfi_event_wake_all(self, mfi_event_of(self, mfi_slot_id(self, b->self.index)));
  mfi_os_thread_join(b->thread);
  mfi_pool_bury_due(self, b->self.slot);
  mfi_slot_bury(self, b->self.index);
  free(b);
}

uint32_t mfi_beacon_slot(const mfi_beacon *b) { return b->self.index; }

void mfi_beacon_note(mfi_self *self, uint32_t slot) { mfi_note(self, slot, MFI_NOTE_DUE); }

int mfi_beacon_fd(void) { return mfi_os_eventfd(); }
void mfi_beacon_light(int fd) { mfi_os_eventfd_set(fd); }
void mfi_beacon_put_out(int fd) { mfi_os_eventfd_clear(fd); }
