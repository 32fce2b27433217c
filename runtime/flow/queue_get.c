// Queues: the get side. Floor 4; see queue.h. Locks: o->second. Sleeps in get when there is
// nothing.
#include "flow/queue_get.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"

#include <string.h>

bool mfi_queue_is_ready(mfi_self *self, void *body) {
  MFI_UNUSED(self);
  mfi_queue *q = body;
  mfi_mark head = load_seqcst(&q->head);
  return mfi_mark_count(head, load_seqcst(&q->tail)) != 0 || load_seqcst(&q->closed) != 0;
}

// ---- Rings

// Under o->second: are there records at `position`? The tail is read before `next`: while the ring
// is not sealed, the tail was in it.
static bool sees_more(mfi_queue *q, mfi_ring *r, uint64_t position) {
  if (mfi_mark_bytes(position, q->tail_seen) != 0)
    return true;
  mfi_mark tail = load_acquire(&q->tail);
  q->tail_seen = load_acquire(&r->next) != 0 ? r->end : mfi_mark_position(tail);
  return mfi_mark_bytes(position, q->tail_seen) != 0;
}

// Under o->second: nothing more was seen. Was the head ring sealed here? Then goes on to the next
// and ends this one. False: the queue is empty.
static bool next_ring(mfi_self *self, mfi_object *o, uint64_t position) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_ref old = q->head_ring;
  mfi_ring *r = mfi_ring_at(self, old);
  mfi_ref next = load_acquire(&r->next);
  if (next == 0)
    return false;
  if (mfi_mark_bytes(position, r->end) != 0)
    return true; // a put between our look and the seal
  mfi_change64(self, &o->second, &q->head_ring, next);
  mfi_hand_in(self, &o->second, old);
  mfi_lock_commit(self, &o->second);
  mfi_heap_free(self, old);
  return true;
}

// Under o->second: the record at *position, which moves behind it. NULL: none in this ring.
static mfi_record *peek_here(mfi_self *self, mfi_queue *q, uint64_t *position) {
  mfi_ring *r = mfi_ring_at(self, q->head_ring);
  while (sees_more(q, r, *position)) {
    mfi_record *rec = mfi_ring_record(r, *position);
    *position += mfi_record_length(rec) / 8;
    if (rec->kind != MFI_RECORD_PAD)
      return rec;
  }
  return NULL;
}

// Under o->second: the oldest record, *position behind it. NULL: none.
static mfi_record *peek(mfi_self *self, mfi_object *o, uint64_t *position) {
  mfi_queue *q = mfi_queue_of(o);
  *position = mfi_mark_position(q->head);
  if (load_acquire(&q->head_ring) == 0)
    return NULL;
  for (;;) {
    mfi_record *rec = peek_here(self, q, position);
    if (rec != NULL || !next_ring(self, o, *position))
      return rec;
  }
}

static bool is_bounded(const mfi_queue *q) { return q->maxsize != 0 || q->max_bytes != 0; }

// n messages of `size` bytes in all before `position` are taken, a block perhaps into hand; the
// taker counts them (NULL: nobody does).
static void commit(mfi_self *self, mfi_object *o, mfi_held *taker, uint64_t position, uint64_t n,
                   uint64_t size) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_mark head = mfi_mark_moved(q->head, n, position);
  if (is_bounded(q))
    mfi_event_will_wake(self, &q->not_full);
  if (q->max_bytes == 0 && o->second.filled == 0) {
    if (taker == NULL)
      mfi_change_alone(&q->head, head);
    else
      mfi_change_two(self, &o->second, &taker->aux, taker->aux + n, &q->head, head);
    return;
  }
  if (taker != NULL)
    mfi_change64(self, &o->second, &taker->aux, taker->aux + n);
  mfi_change64(self, &o->second, &q->head, head);
  if (q->max_bytes != 0)
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

// How a get goes about it: set once by the caller.
typedef struct manner {
  mfi_accept_fn *accept; // NULL: takes whatever comes
  void *ctx;
  uint32_t place; // of the taker's handle; NOBODY: taken messages are not counted
} manner;
#define NOBODY UINT32_MAX

static mfi_held *taker_at(mfi_self *self, uint32_t place) {
  return place == NOBODY ? NULL : mfi_handle_entry(self, place);
}

// Under o->second.
static mfi_status take(mfi_self *self, mfi_object *o, const manner *m, mfi_taken *out) {
  uint64_t position;
  mfi_record *rec = peek(self, o, &position);
  if (rec == NULL)
    return MFI_EMPTY;
  describe(self, rec, out);
  mfi_status st = m->accept == NULL ? MFI_OK : m->accept(m->ctx, out);
  if (st != MFI_OK)
    return st;
  if (out->block == 0) {
    memcpy(out->small, out->bytes, out->size);
    out->bytes = out->small;
  } else {
    mfi_hand_in(self, &o->second, out->block);
  }
  commit(self, o, taker_at(self, m->place), position, 1, out->size);
  return MFI_OK;
}

static mfi_status try_get(mfi_self *self, mfi_object *o, const manner *m, mfi_taken *out) {
  mfi_queue *q = mfi_queue_of(o);
  bool closed = load_acquire(&q->closed) != 0; // before the look: puts end before it is set
  mfi_lock_take(self, &o->second);
  mfi_status st = take(self, o, m, out);
  mfi_lock_give(self, &o->second);
  if (st == MFI_OK)
    wake_producers(self, q, 1);
  return st == MFI_EMPTY && closed ? MFI_CLOSED : st;
}

static void say(mfi_self *self, mfi_object *o) {
  mfi_handle end = mfi_queue_of(o)->end;
  mfi_event_say(self, MFI_HOW_GET, end != 0 ? end : mfi_object_handle(self, o));
}

static mfi_status get(mfi_self *self, mfi_object *o, const manner *m, mfi_ns until,
                      mfi_taken *out) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_status st;
  for (;;) {
    st = try_get(self, o, m, out);
    if (st != MFI_EMPTY)
      break;
    st = MFI_TIMEDOUT;
    if (until != 0) {
      say(self, o);
      st = mfi_event_await(self, &q->not_empty, mfi_queue_is_ready, q, until);
    }
    if (st != MFI_OK)
      break;
  }
  if (st != MFI_OK) {
    mfi_event_leave(self);
    return st;
  }
  mfi_event_done(self);
  MFI_FAULT(&self->region->faults, MFI_FAULT_GET_TAKEN);
  return MFI_OK;
}

mfi_status mfi_queue_get_if(mfi_self *self, mfi_object *o, mfi_ns until, mfi_accept_fn *accept,
                            void *ctx, mfi_taken *out) {
  manner m = {accept, ctx, NOBODY};
  return get(self, o, &m, until, out);
}

mfi_status mfi_queue_get(mfi_self *self, mfi_object *o, mfi_ns until, mfi_taken *out) {
  manner m = {NULL, NULL, NOBODY};
  return get(self, o, &m, until, out);
}

mfi_status mfi_queue_take(mfi_self *self, mfi_object *o, uint32_t place, mfi_ns until,
                          mfi_taken *out) {
  manner m = {NULL, NULL, place};
  return get(self, o, &m, until, out);
}

mfi_status mfi_queue_wait(mfi_self *self, mfi_object *o, mfi_ns until) {
  mfi_queue *q = mfi_queue_of(o);
  say(self, o);
  mfi_status st = mfi_event_await(self, &q->not_empty, mfi_queue_is_ready, q, until);
  mfi_event_leave(self);
  return st;
}

// ---- Getting many

uint32_t mfi_queue_take_packed(mfi_self *self, mfi_object *o, uint32_t place, void *to, size_t room,
                               uint32_t max, size_t *used) {
  mfi_queue *q = mfi_queue_of(o);
  uint32_t n = 0;
  uint64_t size = 0, position = 0, behind = 0;
  *used = 0;
  mfi_lock_take(self, &o->second);
  mfi_record *rec = max == 0 ? NULL : peek(self, o, &behind);
  while (rec != NULL && rec->kind == MFI_RECORD_INLINE) {
    size_t whole = mfi_record_whole(rec->size);
    if (*used + whole > room)
      break;
    memcpy((char *)to + *used, rec, whole);
    *used += whole;
    size += rec->size;
    position = behind;
    if (++n == max)
      break;
    rec = peek_here(self, q, &behind);
  }
  if (n != 0)
    commit(self, o, taker_at(self, place), position, n, size);
  mfi_lock_give(self, &o->second);
  if (n != 0)
    wake_producers(self, q, n);
  return n;
}

uint32_t mfi_queue_get_packed(mfi_self *self, mfi_object *o, void *to, size_t room, uint32_t max,
                              size_t *used) {
  return mfi_queue_take_packed(self, o, NOBODY, to, room, max, used);
}

// ---- Done

static bool is_all_done(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  mfi_queue *q = what;
  uint64_t done = load_seqcst(&q->done);
  return done >= mfi_mark_count(0, load_acquire(&q->tail));
}

// Gives o->second. n more messages are done, of these `own` of the entry.
static void commit_done(mfi_self *self, mfi_object *o, mfi_held *entry, uint64_t n, uint64_t own) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_event_will_wake(self, &q->all_done);
  mfi_change64(self, &o->second, &q->done, q->done + n);
  mfi_change64(self, &o->second, &entry->aux, entry->aux - own);
  mfi_lock_commit(self, &o->second);
  bool all = is_all_done(self, q);
  mfi_lock_give(self, &o->second);
  if (all)
    mfi_event_wake_all(self, &q->all_done);
  else
    mfi_event_will_not_wake(self, &q->all_done);
}

mfi_status mfi_queue_task_done(mfi_self *self, mfi_object *o, uint32_t place) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_held *entry = mfi_handle_entry(self, place);
  mfi_lock_take(self, &o->second);
  if (q->done >= mfi_mark_count(0, q->head)) {
    mfi_lock_give(self, &o->second);
    return MFI_INVALID;
  }
  commit_done(self, o, entry, 1, entry->aux != 0);
  return MFI_OK;
}

void mfi_queue_abandon(mfi_self *self, mfi_held *entry, uint64_t id) {
  mfi_object *o = mfi_object_of(self, entry->handle);
  mfi_queue *q = mfi_queue_of(o);
  MFI_UNUSED(id);
  if (entry->aux == 0)
    return;
  mfi_lock_take(self, &o->second);
  uint64_t left = mfi_mark_count(0, q->head) - q->done; // others may have called them done
  commit_done(self, o, entry, entry->aux < left ? entry->aux : left, entry->aux);
}

mfi_status mfi_queue_join(mfi_self *self, mfi_object *o, mfi_ns until) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_event_say(self, MFI_HOW_DONE, mfi_object_handle(self, o));
  mfi_status st = mfi_event_await(self, &q->all_done, is_all_done, q, until);
  mfi_event_done(self);
  return st;
}

// ---- Ending

static uint32_t references_in(const mfi_taken *t, mfi_handle h) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->nrefs; i++)
    n += t->refs[i] == h;
  return n;
}

// Under o->second: the references to h in all records, none of which is taken.
static uint32_t count_references(mfi_self *self, mfi_object *o, mfi_handle h) {
  mfi_queue *q = mfi_queue_of(o);
  uint32_t n = 0;
  uint64_t position = mfi_mark_position(q->head);
  mfi_ref ring = q->head_ring;
  while (ring != 0) {
    mfi_ring *r = mfi_ring_at(self, ring);
    mfi_mark tail = load_acquire(&q->tail); // before `next`, see sees_more
    ring = load_acquire(&r->next);
    uint64_t end = ring != 0 ? r->end : mfi_mark_position(tail);
    while (mfi_mark_bytes(position, end) != 0) {
      mfi_record *rec = mfi_ring_record(r, position);
      mfi_taken t;
      t.nrefs = 0;
      if (rec->kind == MFI_RECORD_BLOCK)
        describe(self, rec, &t);
      n += references_in(&t, h);
      position += mfi_record_length(rec) / 8;
    }
  }
  return n;
}

void mfi_queue_pull_last(mfi_self *self, mfi_object *o, mfi_handle h, uint32_t refs) {
  manner m = {NULL, NULL, NOBODY};
  mfi_taken taken;
  mfi_lock_take(self, &o->second);
  if (count_references(self, o, h) == refs)
    while (take(self, o, &m, &taken) == MFI_OK)
      continue;
  mfi_lock_give(self, &o->second);
}

void mfi_queue_drain(mfi_self *self, mfi_object *o) {
  mfi_queue *q = mfi_queue_of(o);
  manner m = {NULL, NULL, NOBODY};
  mfi_taken taken;
  while (try_get(self, o, &m, &taken) == MFI_OK)
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
