// Queues: the put side and the whole. Floor 4; see queue.h. The get side is in queue_get.c.
// Locks: o->lock (put side). Sleeps in put when the queue is full.
#include "flow/queue.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "flow/queue_get.h"

#include <stddef.h>
#include <string.h>

#ifdef MFI_TINY
#define FIRST_CAPACITY ((uint64_t)512)
#define MOST_CAPACITY ((uint64_t)1024)
#else
#define FIRST_CAPACITY ((uint64_t)1024)
#define MOST_CAPACITY MFI_RING_MOST
#endif
#define MANY 64
#define PAUSES 32
#define LEAST_PIECE ((uint64_t)512) // holds one record; twice of it fit the largest ring

mfi_handle mfi_queue_make(mfi_self *self, uint64_t maxsize, uint64_t max_bytes, uint32_t *place) {
  mfi_handle h = mfi_object_make(self, MFI_KIND_QUEUE, place);
  if (h == 0)
    return 0;
  mfi_queue *q = mfi_queue_of(mfi_object_of(self, h));
  q->maxsize = maxsize;
  q->max_bytes = max_bytes;
  return h;
}

// ---- Room

static bool is_bounded(const mfi_queue *q) { return q->maxsize != 0 || q->max_bytes != 0; }

static uint64_t bytes(mfi_queue *q) {
  uint64_t got = load_seqcst(&q->bytes_got), put = load_acquire(&q->bytes_put);
  return put > got ? put - got : 0; // a dead worker's record may be half applied
}

// May a message of `size` bytes enter, when `head` have been taken? One that is larger than all
// allowed may enter an empty queue.
static bool fits(mfi_queue *q, mfi_mark head, uint64_t size) {
  uint64_t n = mfi_mark_count(head, load_acquire(&q->tail));
  if (q->maxsize != 0 && n >= q->maxsize)
    return false;
  return q->max_bytes == 0 || n == 0 || bytes(q) + size <= q->max_bytes;
}

// Under o->lock. The ring is read first: if it is ours, so is the mark.
static void look_at_head(mfi_queue *q) {
  mfi_ref ring = load_acquire(&q->head_ring);
  q->head_seen = load_acquire(&q->head);
  if (ring == q->tail_ring)
    q->room_from = mfi_mark_position(q->head_seen);
}

// Under o->lock: what was known of the head lately will mostly do.
static bool fits_now(mfi_queue *q, uint64_t size) {
  if (!is_bounded(q) || fits(q, q->head_seen, size))
    return true;
  look_at_head(q);
  return fits(q, q->head_seen, size);
}

typedef struct wanted {
  mfi_queue *q;
  uint64_t size;
} wanted;

static bool has_room(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  wanted *w = what;
  return fits(w->q, load_seqcst(&w->q->head), w->size) || load_seqcst(&w->q->closed) != 0;
}

bool mfi_queue_is_full(mfi_object *o) {
  mfi_queue *q = mfi_queue_of(o);
  return !fits(q, load_acquire(&q->head), 1);
}

// ---- Rings

static uint64_t next_capacity(mfi_self *self, const mfi_queue *q) {
  if (q->tail_ring == 0)
    return FIRST_CAPACITY;
  uint64_t c = mfi_ring_at(self, q->tail_ring)->capacity * 4;
  return c < MOST_CAPACITY ? c : MOST_CAPACITY;
}

// Under o->lock: links a new, larger ring behind the last, which is sealed where it stands.
static bool add_ring(mfi_self *self, mfi_object *o, mfi_queue *q) {
  mfi_ref ref = mfi_ring_make(self, next_capacity(self, q));
  if (ref == 0)
    return false;
  uint64_t position = mfi_mark_position(q->tail);
  if (q->tail_ring == 0) {
    mfi_change64(self, &o->lock, &q->head_ring, ref);
  } else {
    mfi_ring *last = mfi_ring_at(self, q->tail_ring);
    mfi_change64(self, &o->lock, &last->end, position);
    mfi_change64(self, &o->lock, &last->next, ref);
  }
  mfi_change64(self, &o->lock, &q->tail_ring, ref);
  mfi_change64(self, &o->lock, &q->room_from, position);
  mfi_hand_out(self, &o->lock, ref);
  mfi_lock_commit(self, &o->lock);
  return true;
}

static char *reserve_here(mfi_self *self, mfi_queue *q, uint64_t need, uint64_t *position) {
  if (q->tail_ring == 0)
    return NULL;
  mfi_ring *r = mfi_ring_at(self, q->tail_ring);
  char *at = mfi_ring_reserve(r, q->room_from, need, position);
  if (at != NULL)
    return at;
  look_at_head(q);
  return mfi_ring_reserve(r, q->room_from, need, position);
}

// Under o->lock: room behind the tail; *position is behind it. NULL: no memory.
static char *reserve(mfi_self *self, mfi_object *o, mfi_queue *q, uint64_t need,
                     uint64_t *position) {
  *position = mfi_mark_position(q->tail);
  for (;;) {
    char *at = reserve_here(self, q, need, position);
    if (at != NULL)
      return at;
    if (!add_ring(self, o, q))
      return NULL;
  }
}

// n messages of `size` bytes in all lie before `position`, a block perhaps out of hand.
static void commit(mfi_self *self, mfi_object *o, uint64_t position, uint64_t n, uint64_t size) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_mark tail = mfi_mark_moved(q->tail, n, position);
  mfi_slot_count(self->slot, MFI_STAT_MESSAGES, n);
  mfi_slot_count(self->slot, MFI_STAT_BYTES, size);
  mfi_event_will_wake(self, &q->not_empty);
  if (q->max_bytes == 0 && o->lock.filled == 0) {
    mfi_change_alone(&q->tail, tail);
    return;
  }
  mfi_change64(self, &o->lock, &q->tail, tail);
  if (q->max_bytes != 0)
    mfi_change64(self, &o->lock, &q->bytes_put, q->bytes_put + size);
  mfi_lock_commit(self, &o->lock);
}

// ---- Putting one

static mfi_status put_inline(mfi_self *self, mfi_object *o, const mfi_source *src) {
  mfi_queue *q = mfi_queue_of(o);
  uint64_t position;
  char *at = reserve(self, o, q, mfi_queue_packed_size(src->size), &position);
  if (at == NULL)
    return MFI_NOMEM;
  src->copy(src->ctx, mfi_queue_pack(at, src->size));
  commit(self, o, position, 1, src->size);
  return MFI_OK;
}

static mfi_status put_block(mfi_self *self, mfi_object *o, mfi_ref block, uint64_t size) {
  mfi_queue *q = mfi_queue_of(o);
  uint64_t position;
  char *at = reserve(self, o, q, mfi_queue_packed_size(sizeof block), &position);
  if (at == NULL)
    return MFI_NOMEM;
  mfi_hand_raise(self, block);
  *(mfi_record *)(void *)at = (mfi_record){.size = sizeof block, .kind = MFI_RECORD_BLOCK};
  memcpy(at + sizeof(mfi_record), &block, sizeof block);
  mfi_hand_out(self, &o->lock, block);
  commit(self, o, position, 1, size);
  return MFI_OK;
}

// One try, under o->lock. block: 0 for an inline message.
static mfi_status try_put(mfi_self *self, mfi_object *o, const mfi_source *src, mfi_ref block) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_lock_take(self, &o->lock);
  mfi_status st = MFI_FULL;
  if (q->closed != 0)
    st = MFI_CLOSED;
  else if (fits_now(q, src->size))
    st = block == 0 ? put_inline(self, o, src) : put_block(self, o, block, src->size);
  mfi_lock_give(self, &o->lock);
  if (st == MFI_OK)
    mfi_event_wake_one(self, &q->not_empty);
  return st;
}

// A queue that is full of many keeps its consumers busy for a while: looking for room at once would
// take the cache line from them for a place or two.
static void let_them_get(const mfi_queue *q) {
  if (q->maxsize >= MANY)
    for (int i = 0; i < PAUSES; i++)
      mfi_cpu_relax();
}

static mfi_status wait_for_room(mfi_self *self, mfi_object *o, uint64_t size, mfi_ns until) {
  mfi_queue *q = mfi_queue_of(o);
  wanted w = {q, size};
  if (until == 0)
    return MFI_TIMEDOUT;
  let_them_get(q);
  mfi_event_say(self, MFI_HOW_PUT, mfi_object_handle(self, o));
  return mfi_event_await(self, &q->not_full, has_room, &w, until);
}

mfi_status mfi_queue_put(mfi_self *self, mfi_object *o, const mfi_source *src, mfi_ns until) {
  mfi_ref block = 0;
  mfi_status st;
  if (src->size > MFI_QUEUE_INLINE || src->nrefs != 0) {
    st = mfi_message_make(self, src, &block);
    if (st != MFI_OK)
      return st;
  }
  MFI_FAULT(&self->region->faults, MFI_FAULT_PUT_READY);
  do {
    st = try_put(self, o, src, block);
    if (st != MFI_FULL)
      break;
    st = wait_for_room(self, o, src->size, until);
  } while (st == MFI_OK);
  if (st == MFI_OK)
    mfi_event_done(self);
  else
    mfi_event_leave(self);
  if (st != MFI_OK && block != 0)
    mfi_message_free(self, block);
  return st;
}

// ---- Putting many

size_t mfi_queue_packed_size(size_t size) { return mfi_record_whole(size); }

void *mfi_queue_pack(void *record, size_t size) {
  *(mfi_record *)record = (mfi_record){.size = (uint32_t)size, .kind = MFI_RECORD_INLINE};
  return (char *)record + sizeof(mfi_record);
}

const void *mfi_queue_unpack(const char **at, size_t *size) {
  const mfi_record *rec = (const mfi_record *)(const void *)*at;
  *size = rec->size;
  *at += mfi_record_whole(rec->size);
  return rec + 1;
}

typedef struct piece {
  uint32_t n;     // records
  uint64_t whole; // bytes of them
  uint64_t size;  // of their messages
} piece;

// The next records, at most n and `room` bytes; a single one always fits.
static piece cut(const char *records, uint64_t n, uint64_t room) {
  piece p = {0, 0, 0};
  while (p.n < n) {
    uint64_t size = ((const mfi_record *)(const void *)(records + p.whole))->size;
    if (p.whole + mfi_record_whole(size) > room)
      break;
    p.n++;
    p.whole += mfi_record_whole(size);
    p.size += size;
  }
  return p;
}

// Under o->lock: how many records may go in together now.
static piece next_piece(mfi_self *self, mfi_queue *q, const char *records, uint64_t n) {
  uint64_t room = LEAST_PIECE;
  if (q->tail_ring != 0 && mfi_ring_at(self, q->tail_ring)->capacity / 4 > room)
    room = mfi_ring_at(self, q->tail_ring)->capacity / 4;
  if (q->max_bytes != 0)
    n = 1;
  else if (q->maxsize != 0 && q->maxsize - mfi_mark_count(q->head_seen, q->tail) < n)
    n = q->maxsize - mfi_mark_count(q->head_seen, q->tail);
  return cut(records, n, room);
}

// Under o->lock: as many records as the queue may take now.
static mfi_status put_pieces(mfi_self *self, mfi_object *o, const char *records, uint32_t n,
                             uint32_t *done, size_t *used) {
  mfi_queue *q = mfi_queue_of(o);
  while (*done < n) {
    const char *from = records + *used;
    if (!fits_now(q, ((const mfi_record *)(const void *)from)->size))
      return MFI_FULL;
    uint64_t position;
    piece p = next_piece(self, q, from, n - *done);
    char *at = reserve(self, o, q, p.whole, &position);
    if (at == NULL)
      return MFI_NOMEM;
    memcpy(at, from, p.whole);
    commit(self, o, position, p.n, p.size);
    *done += p.n;
    *used += p.whole;
  }
  return MFI_OK;
}

static mfi_status try_put_packed(mfi_self *self, mfi_object *o, const void *records, uint32_t n,
                                 uint32_t *done, size_t *used) {
  mfi_queue *q = mfi_queue_of(o);
  *done = 0;
  *used = 0;
  mfi_lock_take(self, &o->lock);
  mfi_status st = q->closed != 0 ? MFI_CLOSED : put_pieces(self, o, records, n, done, used);
  mfi_lock_give(self, &o->lock);
  if (*done == 1)
    mfi_event_wake_one(self, &q->not_empty);
  else if (*done > 1)
    mfi_event_wake_all(self, &q->not_empty);
  return *done != 0 ? MFI_OK : st;
}

mfi_status mfi_queue_put_packed(mfi_self *self, mfi_object *o, const void *records, uint32_t n,
                                mfi_ns until, uint32_t *done, size_t *used) {
  mfi_status st;
  do {
    st = try_put_packed(self, o, records, n, done, used);
    if (st != MFI_FULL)
      break;
    st = wait_for_room(self, o, ((const mfi_record *)records)->size, until);
  } while (st == MFI_OK);
  if (st == MFI_OK)
    mfi_event_done(self);
  else
    mfi_event_leave(self);
  return st;
}

// ---- The whole

uint64_t mfi_queue_size(mfi_object *o) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_mark head = load_acquire(&q->head); // first, so that it is not ahead of the tail
  return mfi_mark_count(head, load_acquire(&q->tail));
}

void mfi_queue_close(mfi_self *self, mfi_object *o) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_lock_take(self, &o->lock);
  mfi_event_will_wake(self, &q->not_empty);
  mfi_event_will_wake(self, &q->not_full);
  mfi_change32(self, &o->lock, &q->closed, 1);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  mfi_event_wake_all(self, &q->not_empty);
  mfi_event_wake_all(self, &q->not_full);
}

static void destroy(mfi_self *self, void *body) {
  mfi_queue_drain(self, (mfi_object *)(void *)((char *)body - offsetof(mfi_object, body)));
}

const mfi_object_ops mfi_queue_ops = {"Queue", destroy, mfi_queue_abandon, NULL};
