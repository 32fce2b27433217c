// Lights. Floor 4; see light.h. Locks: a mutex of its own, which is held over no sleep. Sleeps on
// the event of what it shows.
#include "flow/light.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/beacon.h"
#include "flow/bury.h"
#include "flow/select.h"
#include "os/process.h"

#include <stdlib.h>
#include <string.h>

#define STACK_BYTES 131072
#define LOOK_NS (5 * 1000000)

struct mfi_light {
  mfi_self self; // the thread's, since it runs
  mfi_watch shown;
  bool lit;      // so is fd; under mutex
  uint32_t quit; // atomic
  pthread_t thread;
  pthread_mutex_t mutex; // fd and what it shows agree
  int fd;                // set once
};

static bool slot_has_due(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  mfi_slot *s = what;
  return load_seqcst(&s->due) != 0 || load_seqcst(&s->look) != 0;
}

static bool is_lit(mfi_light *l) { return l->shown.is_ready(&l->self, l->shown.what); }

// ---- The thread

void mfi_light_look(mfi_light *l) {
  pthread_mutex_lock(&l->mutex);
  bool lit = is_lit(l);
  if (lit && !l->lit)
    mfi_beacon_light(l->fd);
  else if (!lit && l->lit)
    mfi_beacon_put_out(l->fd);
  l->lit = lit;
  pthread_mutex_unlock(&l->mutex);
}

static bool is_lit_or_quit(mfi_self *self, void *what) {
  mfi_light *l = what;
  MFI_UNUSED(self);
  return load_seqcst(&l->quit) != 0 || is_lit(l);
}

static bool is_to_quit(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_light *)what)->quit) != 0;
}

static void wait(mfi_light *l, mfi_event *e, mfi_ready_fn *ready, mfi_ns until) {
  mfi_self *self = &l->self;
  self->no_spin = 1; // there is time
  mfi_status st = mfi_event_await(self, e, ready, l, until);
  mfi_event_leave(self); // it takes nothing: the wake is for somebody else, too
  if (st == MFI_INTERRUPTED)
    mfi_note_clear(self, MFI_NOTE_STOP | MFI_NOTE_INTERRUPT | MFI_NOTE_DUE);
}

static void *light_main(void *arg) {
  mfi_light *l = arg;
  mfi_event *own = mfi_event_of(&l->self, mfi_slot_id(&l->self, l->self.index));
  store_release(&l->self.slot->tid, (uint32_t)mfi_os_tid());
  while (load_seqcst(&l->quit) == 0) {
    wait(l, l->shown.event, is_lit_or_quit, MFI_NEVER);
    mfi_light_look(l);
    if (l->shown.once && is_lit(l))
      break;
    while (load_seqcst(&l->quit) == 0 && is_lit(l)) {
      wait(l, own, is_to_quit, mfi_os_now() + LOOK_NS);
      mfi_light_look(l); // others may have put it out meanwhile
    }
  }
  return NULL;
}

// ---- Life

static bool take_slot(mfi_self *self, mfi_light *l) {
  uint32_t slot = mfi_slot_take(self);
  if (slot == 0)
    return false;
  l->self = mfi_self_make(mfi_runtime_of(self), slot);
  l->self.slot->pid = (uint32_t)mfi_os_pid();
  strcpy(l->self.slot->name, "light");
  self->slot->starting = 0;
  return true;
}

static void end(mfi_light *l, mfi_self *self) {
  mfi_slot_bury(self, l->self.index);
  pthread_mutex_destroy(&l->mutex);
  mfi_os_close(l->fd);
  free(l);
}

static mfi_light *make(mfi_self *self) {
  mfi_light *l = calloc(1, sizeof *l);
  if (l == NULL || !take_slot(self, l)) {
    free(l);
    return NULL;
  }
  pthread_mutex_init(&l->mutex, NULL);
  l->fd = mfi_beacon_fd();
  return l;
}

// Takes it over.
static mfi_light *start(mfi_light *l, mfi_self *self) {
  if (l->fd >= 0 && l->shown.is_ready != NULL) {
    mfi_light_look(l);
    if (mfi_os_thread_open(&l->thread, light_main, l, STACK_BYTES) == MFI_OK)
      return l;
  }
  end(l, self);
  return NULL;
}

mfi_light *mfi_light_open(mfi_self *self, mfi_handle h) {
  mfi_light *l = make(self);
  uint32_t place;
  if (l == NULL)
    return NULL;
  if (mfi_handle_add(&l->self, h, &place) == MFI_OK)
    mfi_watch_of(self, h, &l->shown);
  return start(l, self);
}

mfi_light *mfi_light_open_due(mfi_self *self) {
  mfi_light *l = make(self);
  if (l == NULL)
    return NULL;
  l->shown = (mfi_watch){.event = mfi_event_of(self, mfi_slot_id(self, self->index)),
                         .is_ready = slot_has_due,
                         .what = self->slot};
  return start(l, self);
}

int mfi_light_fd(const mfi_light *l) { return l->fd; }

void mfi_light_close(mfi_light *l, mfi_self *self) {
  mfi_slot *s = l->self.slot;
  store_seqcst(&l->quit, 1u);
  mfi_lock_take(self, &s->lock);
  mfi_note(self, l->self.index, MFI_NOTE_STOP);
  mfi_lock_give(self, &s->lock);
  mfi_os_thread_join(l->thread);
  end(l, self);
}
