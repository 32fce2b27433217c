// Turns at the output streams. Floor 4; see stream.h. Locks: the stream's. Sleeps in take.
#include "flow/stream.h"

#include "base/assert.h"
#include "base/atomic.h"

static mfi_stream_lock *stream_at(mfi_self *self, int stream) {
  return &self->region->streams[stream];
}
static mfi_event *event_of(mfi_stream_lock *s) { return (mfi_event *)(void *)&s->freed; }

static bool is_free(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_stream_lock *)what)->owner) == 0;
}

static bool try_take(mfi_self *self, mfi_stream_lock *s, uint64_t me, bool *torn) {
  mfi_lock_take(self, &s->lock);
  bool got = s->owner == 0;
  *torn = s->torn != 0 && s->torn != me;
  if (got) {
    mfi_change64(self, &s->lock, &s->owner, me);
    mfi_lock_commit(self, &s->lock);
  }
  mfi_lock_give(self, &s->lock);
  return got;
}

// A line is short: what waits elsewhere (callbacks, Ctrl-C) waits a moment longer.
mfi_status mfi_stream_take(mfi_self *self, int stream) {
  mfi_stream_lock *s = stream_at(self, stream);
  uint64_t me = mfi_slot_id(self, self->index);
  bool torn;
  while (!try_take(self, s, me, &torn)) {
    mfi_event_say(self, MFI_HOW_OUTPUT, 0);
    mfi_status st = mfi_event_await(self, event_of(s), is_free, s, MFI_NEVER);
    if (st == MFI_OK)
      continue;
    if ((load_acquire(&self->slot->notes) & MFI_NOTE_STOP) != 0) {
      mfi_event_done(self);
      return MFI_INTERRUPTED;
    }
    mfi_os_sleep_until(mfi_os_now() + 100000);
  }
  mfi_event_done(self);
  return torn ? MFI_FULL : MFI_OK;
}

static void hand_on(mfi_self *self, mfi_stream_lock *s, uint64_t owner, uint64_t torn) {
  mfi_lock_take(self, &s->lock);
  bool held = s->owner == owner;
  if (held) {
    mfi_event_will_wake(self, event_of(s));
    mfi_change64(self, &s->lock, &s->owner, 0);
    mfi_change64(self, &s->lock, &s->torn, torn);
    mfi_lock_commit(self, &s->lock);
  }
  mfi_lock_give(self, &s->lock);
  if (held)
    mfi_event_wake_one(self, event_of(s));
}

void mfi_stream_give(mfi_self *self, int stream, bool unfinished) {
  uint64_t me = mfi_slot_id(self, self->index);
  hand_on(self, stream_at(self, stream), me, unfinished ? me : 0);
}

void mfi_stream_bury(mfi_self *self, uint32_t dead_slot) {
  uint64_t dead = mfi_slot_id(self, dead_slot);
  for (int i = 0; i < 2; i++)
    hand_on(self, stream_at(self, i), dead, dead);
}
