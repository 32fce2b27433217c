// Connections. Floor 4; see connection.h. Locks: the queues'; of a tangled end its own, then that
// of its queue's get side. Sleeps nowhere.
#include "flow/connection.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/queue_get.h"

// ---- Making

// An end in the caller's table with references to its queues; 0 handles are none.
static mfi_status make_end(mfi_self *self, mfi_handle rx, mfi_handle tx, mfi_end *out) {
  out->handle = mfi_object_make(self, MFI_KIND_CONNECTION, &out->place);
  if (out->handle == 0)
    return MFI_NOMEM;
  mfi_connection *c = mfi_connection_of(mfi_object_of(self, out->handle));
  if (rx != 0) {
    mfi_handle_hold(self, rx, &c->rx);
    mfi_queue_of(mfi_object_of(self, rx))->end = out->handle;
  }
  if (tx != 0)
    mfi_handle_hold(self, tx, &c->tx);
  return MFI_OK;
}

static mfi_status make_ends(mfi_self *self, mfi_handle to_first, mfi_handle to_second,
                            mfi_end ends[2]) {
  mfi_status st = make_end(self, to_first, to_second, &ends[0]);
  if (st != MFI_OK)
    return st;
  st = make_end(self, to_second, to_first, &ends[1]);
  if (st != MFI_OK) {
    mfi_handle_drop(self, ends[0].place);
    return st;
  }
  mfi_connection_of(mfi_object_of(self, ends[0].handle))->other = ends[1].handle;
  mfi_connection_of(mfi_object_of(self, ends[1].handle))->other = ends[0].handle;
  return MFI_OK;
}

mfi_status mfi_pipe_make(mfi_self *self, bool duplex, mfi_end ends[2]) {
  uint32_t first, second;
  mfi_handle to_first = mfi_queue_make(self, 0, 0, &first), to_second = 0;
  if (to_first == 0)
    return MFI_NOMEM;
  mfi_status st = MFI_OK;
  if (duplex) {
    to_second = mfi_queue_make(self, 0, 0, &second);
    if (to_second == 0)
      st = MFI_NOMEM;
  }
  if (st == MFI_OK)
    st = make_ends(self, to_first, to_second, ends);
  mfi_handle_drop(self, first);
  if (to_second != 0)
    mfi_handle_drop(self, second);
  return st;
}

// ---- Using

static mfi_object *queue_at(mfi_self *self, mfi_handle h) {
  return h == 0 ? NULL : mfi_object_of(self, h);
}

mfi_object *mfi_connection_rx(mfi_self *self, mfi_object *o) {
  return queue_at(self, mfi_connection_of(o)->rx);
}

mfi_object *mfi_connection_tx(mfi_self *self, mfi_object *o) {
  return queue_at(self, mfi_connection_of(o)->tx);
}

mfi_status mfi_connection_send(mfi_self *self, mfi_object *o, const mfi_source *src) {
  mfi_handle other = mfi_connection_of(o)->other;
  mfi_object *tx = mfi_connection_tx(self, o);
  for (uint32_t i = 0; i < src->nrefs; i++)
    if (src->refs[i] == other) // the sender holds it, so it is there
      store_release(&mfi_connection_of(mfi_object_of(self, other))->tangled, 1u);
  mfi_status st = mfi_queue_put(self, tx, src, 0);
  if (st == MFI_CLOSED && load_acquire(&mfi_queue_of(tx)->closed) == 0)
    return MFI_DECODE;
  return st;
}

// ---- Ending

static void end_rx(mfi_self *self, mfi_connection *c) {
  mfi_object *rx = queue_at(self, c->rx);
  if (rx == NULL)
    return;
  mfi_queue_close(self, rx);
  mfi_queue_drain(self, rx);
  mfi_handle_unhold(self, &c->rx);
}

static void destroy(mfi_self *self, void *body) {
  mfi_connection *c = body;
  mfi_object *tx = queue_at(self, c->tx);
  if (tx != NULL) {
    mfi_queue_close(self, tx);
    mfi_handle_unhold(self, &c->tx);
  }
  end_rx(self, c);
}

// Takes the end's queue into hand, if all references to the end lie there. Under o->lock the end
// and its rx are there.
static void pull(mfi_self *self, mfi_object *o, mfi_handle h) {
  mfi_lock_take(self, &o->lock);
  mfi_object *rx = mfi_object_of(self, h) == o ? mfi_connection_rx(self, o) : NULL;
  if (rx != NULL)
    mfi_queue_pull_last(self, rx, h, o->refs);
  mfi_lock_give(self, &o->lock);
}

// What was pulled drops its references from the hand: if this worker dies, its burial does.
static void let_go(mfi_self *self, mfi_handle h) {
  mfi_object *o = mfi_object_of(self, h);
  mfi_ref hand = self->slot->hand;
  if (o != NULL && load_acquire(&mfi_connection_of(o)->tangled) != 0)
    pull(self, o, h);
  store_release(&self->slot->let_go, (mfi_handle)0);
  while (self->slot->hand != hand)
    mfi_message_free(self, self->slot->hand);
}

const mfi_object_ops mfi_connection_ops = {
    .name = "Connection", .destroy = destroy, .let_go = let_go};
