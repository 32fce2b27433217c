// Queues: the get side. Floor 4; see queue.h. Locks: o->second. Sleeps in get when there is
// nothing.
#include "flow/queue_get.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "flow/ring.h"

#include <string.h>

static bool has_message(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  mfi_queue *q = what;
  return load_seqcst(&q->puts) != load_relaxed(&q->gets) || load_relaxed(&q->closed) != 0;
}

// ---- Rings

// Under o->second: the head ring was sealed and is drained; goes on to the next, ends this one.
static bool next_ring(mfi_self *self, mfi_object *o, mfi_queue *q) {
  mfi_ref old = q->head_ring;
  mfi_ref next = load_acquire(&mfi_ring_at(self, old)->next);
  if (next == 0)
    return false;
  mfi_ring *r = mfi_ring_at(self, old);
  if (load_acquire(&r->tail) != r->head)
    return true; // a put between our look and the seal
  mfi_change64(self, &o->second, &q->head_ring, next);
  mfi_hand_in(self, &o->second, old);
  mfi_lock_commit(self, &o->second);
  mfi_heap_free(self, old);
  return true;
}

// Under o->second: the oldest record, and the head behind it. NULL: none.
static mfi_record *peek(mfi_self *self, mfi_object *o, mfi_queue *q, uint64_t *head) {
  for (;;) {
    if (load_acquire(&q->head_ring) == 0)
      return NULL;
    mfi_ring *r = mfi_ring_at(self, q->head_ring);
    mfi_record *rec = mfi_ring_peek(r, r->head, head);
    if (rec != NULL)
      return rec;
    if (!next_ring(self, o, q))
      return NULL;
  }
}

static bool is_bounded(const mfi_queue *q) { return q->maxsize != 0 || q->max_bytes != 0; }

static void commit(mfi_self *self, mfi_object *o, uint64_t head, uint64_t n, uint64_t size) {
  mfi_queue *q = mfi_queue_of(o);
  if (is_bounded(q))
    mfi_event_will_wake(self, &q->not_full);
  mfi_change64(self, &o->second, &mfi_ring_at(self, q->head_ring)->head, head);
  mfi_change64(self, &o->second, &q->gets, q->gets + n);
  mfi_change64(self, &o->second, &q->bytes_got, q->bytes_got + size);
  mfi_lock_commit(self, &o->second);
}

static void wake_producers(mfi_self *self, mfi_queue *q, uint64_t n) {
  if (!is_bounded(q))
    return;
  if (n == 1 && q->max_bytes == 0)
    mfi_event_wake_one(self, &q->not_full);
  else
    mfi_event_wake_all(self, &q->not_full);
}

// ---- Getting one

// What the record holds; a small message is not copied yet.
static void describe(mfi_self *self, mfi_record *rec, mfi_taken *out) {
  out->block = 0;
  out->nrefs = 0;
  out->refs = NULL;
  out->size = rec->size;
  out->bytes = rec + 1;
  if (rec->kind == MFI_RECORD_INLINE)
    return;
  memcpy(&out->block, rec + 1, sizeof out->block);
  mfi_body *body = mfi_message_body(self, out->block);
  out->size = body->size;
  out->nrefs = body->nrefs;
  out->refs = body->refs;
  out->bytes = mfi_message_bytes(body);
}

// Under o->second.
static mfi_status take(mfi_self *self, mfi_object *o, mfi_accept_fn *accept, void *ctx,
                       mfi_taken *out) {
  uint64_t head;
  mfi_record *rec = peek(self, o, mfi_queue_of(o), &head);
  if (rec == NULL)
    return MFI_EMPTY;
  describe(self, rec, out);
  mfi_status st = accept == NULL ? MFI_OK : accept(ctx, out);
  if (st != MFI_OK)
    return st;
  if (out->block == 0) {
    memcpy(out->small, out->bytes, out->size);
    out->bytes = out->small;
  } else {
    mfi_hand_in(self, &o->second, out->block);
  }
  commit(self, o, head, 1, out->size);
  return MFI_OK;
}

static mfi_status try_get(mfi_self *self, mfi_object *o, mfi_accept_fn *accept, void *ctx,
                          mfi_taken *out) {
  mfi_queue *q = mfi_queue_of(o);
  bool closed = load_acquire(&q->closed) != 0; // before the look: puts end before it is set
  mfi_lock_take(self, &o->second);
  mfi_status st = take(self, o, accept, ctx, out);
  mfi_lock_give(self, &o->second);
  if (st == MFI_OK)
    wake_producers(self, q, 1);
  return st == MFI_EMPTY && closed ? MFI_CLOSED : st;
}

mfi_status mfi_queue_get_if(mfi_self *self, mfi_object *o, mfi_ns until, mfi_accept_fn *accept,
                            void *ctx, mfi_taken *out) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_status st;
  for (;;) {
    st = try_get(self, o, accept, ctx, out);
    if (st != MFI_EMPTY)
      break;
    st = MFI_TIMEDOUT;
    if (until != 0)
      st = mfi_event_await(self, &q->not_empty, has_message, q, until);
    if (st != MFI_OK)
      break;
  }
  if (st == MFI_OK)
    mfi_event_done(self);
  else
    mfi_event_leave(self);
  if (st == MFI_OK)
    MFI_FAULT(&self->region->faults, MFI_FAULT_GET_TAKEN);
  return st;
}

mfi_status mfi_queue_get(mfi_self *self, mfi_object *o, mfi_ns until, mfi_taken *out) {
  return mfi_queue_get_if(self, o, until, NULL, NULL, out);
}

// ---- Getting many

uint32_t mfi_queue_get_packed(mfi_self *self, mfi_object *o, void *to, size_t room, uint32_t max,
                              size_t *used) {
  mfi_queue *q = mfi_queue_of(o);
  uint32_t n = 0;
  uint64_t size = 0, head = 0, behind = 0;
  *used = 0;
  mfi_lock_take(self, &o->second);
  mfi_record *rec = max == 0 ? NULL : peek(self, o, q, &behind);
  while (rec != NULL && rec->kind == MFI_RECORD_INLINE) {
    size_t whole = mfi_queue_packed_size(rec->size);
    if (*used + whole > room)
      break;
    memcpy((char *)to + *used, rec, whole);
    *used += whole;
    size += rec->size;
    head = behind;
    if (++n == max)
      break;
    rec = mfi_ring_peek(mfi_ring_at(self, q->head_ring), head, &behind);
  }
  if (n != 0)
    commit(self, o, head, n, size);
  mfi_lock_give(self, &o->second);
  if (n != 0)
    wake_producers(self, q, n);
  return n;
}

// ---- Ending

void mfi_queue_drain(mfi_self *self, mfi_object *o) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_taken taken;
  while (try_get(self, o, NULL, NULL, &taken) == MFI_OK)
    if (taken.block != 0)
      mfi_message_free(self, taken.block);
  if (q->head_ring == 0)
    return;
  mfi_ref last = q->head_ring;
  mfi_lock_take(self, &o->second);
  mfi_change64(self, &o->second, &q->head_ring, 0);
  mfi_hand_in(self, &o->second, last);
  mfi_lock_commit(self, &o->second);
  mfi_lock_give(self, &o->second);
  mfi_heap_free(self, last);
}
