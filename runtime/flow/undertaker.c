// The undertaker. Floor 4; see undertaker.h. Sleeps in one poll.
#include "flow/undertaker.h"

#include "base/atomic.h"
#include "flow/bury.h"
#include "os/process.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define STACK_BYTES 262144

struct mfi_undertaker {
  mfi_runtime *rt;
  uint32_t slot;   // its own
  uint32_t warden; // slot of the warden
  int socket;
  uint32_t orderly; // atomic
  pthread_t thread;
  mfi_undertaker *before; // of an earlier warden
};

// The kernel's SIGKILL is on its way; a moment later nobody touches the region any more.
static void wait_until_gone(uint32_t pid) {
  for (int i = 0; i < 5000 && pid != 0 && !mfi_os_is_gone((pid_t)pid); i++)
    mfi_os_sleep_until(mfi_os_now() + 1000000);
}

// A child forked ahead has its slot before its pid.
static uint32_t process_in(const mfi_slot *s) { return s->pid != 0 ? s->pid : s->tid; }

static bool is_its(mfi_self *self, uint32_t slot, uint32_t warden) {
  mfi_slot *s = mfi_slot_at(self, slot);
  return load_acquire(&s->used) != 0 && load_acquire(&s->worker) != 0 &&
         load_acquire(&s->warden) == warden;
}

// Threads of a worker process have its pid, and no warden of their own.
static void bury_threads(mfi_self *self, uint32_t pid) {
  uint64_t top = load_acquire(&self->region->slots_top);
  for (uint32_t i = 1; i < top; i++) {
    mfi_slot *s = mfi_slot_at(self, i);
    if (load_acquire(&s->used) != 0 && load_acquire(&s->process) == pid && s->tid != pid)
      mfi_worker_end(self, i, -SIGKILL);
  }
}

static void bury_all(mfi_undertaker *u) {
  mfi_self self = mfi_self_make(u->rt, u->slot);
  uint64_t top = load_acquire(&self.region->slots_top);
  mfi_slot_settle(&self, u->warden); // whoever it was burying is buried again
  for (uint32_t i = 1; i < top; i++)
    if (is_its(&self, i, u->warden))
      wait_until_gone(process_in(mfi_slot_at(&self, i)));
  for (uint32_t i = 1; i < top; i++) {
    if (!is_its(&self, i, u->warden))
      continue;
    if (mfi_slot_at(&self, i)->pid != 0) // else it was never forked
      bury_threads(&self, mfi_slot_at(&self, i)->pid);
    mfi_worker_end(&self, i, -SIGKILL);
  }
  mfi_slot_bury(&self, u->warden);
}

static void *undertaker_main(void *arg) {
  mfi_undertaker *u = arg;
  mfi_os_quiet_begin();
  while (mfi_os_poll(&u->socket, 1, MFI_NEVER) == 0)
    continue;
  if (load_acquire(&u->orderly) == 0) {
    mfi_warden_lost(u->rt, u->socket);
    bury_all(u);
  }
  mfi_os_quiet_end();
  return NULL;
}

mfi_undertaker *mfi_undertaker_open(mfi_self *self, uint32_t warden_slot, int socket) {
  mfi_undertaker *u = calloc(1, sizeof *u);
  if (u == NULL)
    return NULL;
  mfi_runtime *rt = mfi_runtime_of(self);
  *u =
      (mfi_undertaker){.rt = rt, .warden = warden_slot, .socket = socket, .before = rt->undertaker};
  u->slot = mfi_slot_take(self);
  self->slot->starting = 0;
  if (u->slot != 0 && mfi_os_thread_open(&u->thread, undertaker_main, u, STACK_BYTES) == MFI_OK)
    return u;
  if (u->slot != 0)
    mfi_slot_release(self, u->slot);
  free(u);
  return NULL;
}

void mfi_undertaker_retire(mfi_undertaker *u) {
  if (u != NULL)
    store_release(&u->orderly, 1u);
}

void mfi_undertaker_close(mfi_undertaker *u) {
  while (u != NULL) {
    mfi_undertaker *before = u->before;
    mfi_os_hang_up(u->socket);
    mfi_os_thread_join(u->thread);
    close(u->socket);
    free(u);
    u = before;
  }
}
