// Queues: the put side and the whole. Floor 4; see queue.h. The get side is in queue_get.c.
// Locks: o->lock (put side). Sleeps in put when the queue is full.
#include "flow/queue.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "flow/queue_get.h"
#include "flow/ring.h"

#include <stddef.h>
#include <string.h>

#ifdef MFI_TINY
#define FIRST_CAPACITY ((uint64_t)512)
#define MOST_CAPACITY ((uint64_t)1024)
#else
#define FIRST_CAPACITY ((uint64_t)1024)
#define MOST_CAPACITY ((uint64_t)1 << 20)
#endif

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

static uint64_t messages(const mfi_queue *q) {
  uint64_t gets = load_acquire(&q->gets), puts = load_acquire(&q->puts);
  return puts > gets ? puts - gets : 0; // a dead producer's record may be half applied
}

static uint64_t bytes(const mfi_queue *q) {
  uint64_t got = load_acquire(&q->bytes_got), put = load_acquire(&q->bytes_put);
  return put > got ? put - got : 0;
}

// May a message of `size` bytes enter? One that is larger than all allowed may enter an empty
// queue.
static bool fits(const mfi_queue *q, uint64_t size) {
  if (q->maxsize != 0 && messages(q) >= q->maxsize)
    return false;
  if (q->max_bytes == 0)
    return true;
  return bytes(q) + size <= q->max_bytes || messages(q) == 0;
}

typedef struct wanted {
  mfi_queue *q;
  uint64_t size;
} wanted;

static bool has_room(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  wanted *w = what;
  return fits(w->q, w->size) || load_acquire(&w->q->closed) != 0;
}

bool mfi_queue_is_full(mfi_object *o) { return !fits(mfi_queue_of(o), 1); }

// ---- Rings

static uint64_t next_capacity(mfi_self *self, const mfi_queue *q) {
  if (q->tail_ring == 0)
    return FIRST_CAPACITY;
  uint64_t c = mfi_ring_at(self, q->tail_ring)->capacity * 4;
  return c < MOST_CAPACITY ? c : MOST_CAPACITY;
}

// Under o->lock: links a new, larger ring behind the last. head_ring of the first is set with it:
// until then the get side finds 0 and takes nothing.
static bool add_ring(mfi_self *self, mfi_object *o, mfi_queue *q) {
  mfi_ref ref = mfi_ring_make(self, next_capacity(self, q));
  if (ref == 0)
    return false;
  if (q->tail_ring == 0)
    mfi_change64(self, &o->lock, &q->head_ring, ref);
  else
    mfi_change64(self, &o->lock, &mfi_ring_at(self, q->tail_ring)->next, ref);
  mfi_change64(self, &o->lock, &q->tail_ring, ref);
  mfi_hand_out(self, &o->lock, ref);
  mfi_lock_commit(self, &o->lock);
  return true;
}

static char *reserve(mfi_self *self, mfi_object *o, mfi_queue *q, uint64_t need, uint64_t *tail) {
  for (;;) {
    char *at = NULL;
    if (q->tail_ring != 0)
      at = mfi_ring_reserve(mfi_ring_at(self, q->tail_ring), need, tail);
    if (at != NULL)
      return at;
    if (!add_ring(self, o, q))
      return NULL;
  }
}

static void commit(mfi_self *self, mfi_object *o, mfi_queue *q, uint64_t tail, uint64_t n,
                   uint64_t size) {
  mfi_event_will_wake(self, &q->not_empty);
  mfi_change64(self, &o->lock, &mfi_ring_at(self, q->tail_ring)->tail, tail);
  mfi_change64(self, &o->lock, &q->puts, q->puts + n);
  mfi_change64(self, &o->lock, &q->bytes_put, q->bytes_put + size);
  mfi_lock_commit(self, &o->lock);
}

// ---- Putting one

static mfi_status put_inline(mfi_self *self, mfi_object *o, const mfi_source *src) {
  mfi_queue *q = mfi_queue_of(o);
  uint64_t tail;
  char *at = reserve(self, o, q, mfi_queue_packed_size(src->size), &tail);
  if (at == NULL)
    return MFI_NOMEM;
  src->copy(src->ctx, mfi_queue_pack(at, src->size));
  commit(self, o, q, tail, 1, src->size);
  return MFI_OK;
}

static mfi_status put_block(mfi_self *self, mfi_object *o, mfi_ref block, uint64_t size) {
  mfi_queue *q = mfi_queue_of(o);
  uint64_t tail;
  char *at = reserve(self, o, q, sizeof(mfi_record) + sizeof(mfi_ref), &tail);
  if (at == NULL)
    return MFI_NOMEM;
  mfi_hand_raise(self, block);
  *(mfi_record *)(void *)at = (mfi_record){.size = sizeof(mfi_ref), .kind = MFI_RECORD_BLOCK};
  memcpy(at + sizeof(mfi_record), &block, sizeof block);
  mfi_hand_out(self, &o->lock, block);
  commit(self, o, q, tail, 1, size);
  return MFI_OK;
}

// One try, under o->lock. block: 0 for an inline message.
static mfi_status try_put(mfi_self *self, mfi_object *o, const mfi_source *src, mfi_ref block) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_lock_take(self, &o->lock);
  mfi_status st = MFI_FULL;
  if (q->closed != 0)
    st = MFI_CLOSED;
  else if (fits(q, src->size))
    st = block == 0 ? put_inline(self, o, src) : put_block(self, o, block, src->size);
  mfi_lock_give(self, &o->lock);
  if (st == MFI_OK)
    mfi_event_wake_one(self, &q->not_empty);
  return st;
}

static mfi_status wait_for_room(mfi_self *self, mfi_queue *q, uint64_t size, mfi_ns until) {
  wanted w = {q, size};
  return until == 0 ? MFI_TIMEDOUT : mfi_event_await(self, &q->not_full, has_room, &w, until);
}

mfi_status mfi_queue_put(mfi_self *self, mfi_object *o, const mfi_source *src, mfi_ns until) {
  mfi_queue *q = mfi_queue_of(o);
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
    st = wait_for_room(self, q, src->size, until);
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

size_t mfi_queue_packed_size(size_t size) { return sizeof(mfi_record) + ((size + 7) & ~(size_t)7); }

void *mfi_queue_pack(void *record, size_t size) {
  *(mfi_record *)record = (mfi_record){.size = (uint32_t)size, .kind = MFI_RECORD_INLINE};
  return (char *)record + sizeof(mfi_record);
}

const void *mfi_queue_unpack(const char **at, size_t *size) {
  const mfi_record *rec = (const mfi_record *)(const void *)*at;
  *size = rec->size;
  *at += mfi_queue_packed_size(rec->size);
  return rec + 1;
}

// How many of the n records go into one piece of at most `room` bytes, and how large they are.
static uint32_t measure(const char *records, uint32_t n, uint64_t room, uint64_t *packed,
                        uint64_t *size) {
  uint32_t k = 0;
  *packed = *size = 0;
  for (; k < n; k++) {
    uint32_t one = ((const mfi_record *)(const void *)(records + *packed))->size;
    uint64_t whole = mfi_queue_packed_size(one);
    if (*packed + whole > room)
      break;
    *packed += whole;
    *size += one;
  }
  return k;
}

// Under o->lock: as many records as the queue may take now, in pieces of at most a quarter of a
// ring.
static mfi_status put_pieces(mfi_self *self, mfi_object *o, const char *records, uint32_t n,
                             uint32_t *done, size_t *used) {
  mfi_queue *q = mfi_queue_of(o);
  *done = 0;
  *used = 0;
  while (*done < n && fits(q, 1)) {
    uint64_t packed, size, tail;
    uint64_t allowed = q->maxsize == 0 ? n : q->maxsize - messages(q);
    if (q->max_bytes != 0)
      allowed = 1;
    uint32_t most = n - *done < allowed ? n - *done : (uint32_t)allowed;
    uint32_t k = measure(records + *used, most, FIRST_CAPACITY / 2, &packed, &size);
    if (q->max_bytes != 0 && !fits(q, size))
      break;
    char *at = reserve(self, o, q, packed, &tail);
    if (at == NULL)
      return MFI_NOMEM;
    memcpy(at, records + *used, packed);
    commit(self, o, q, tail, k, size);
    *done += k;
    *used += packed;
  }
  return *done == 0 ? MFI_FULL : MFI_OK;
}

mfi_status mfi_queue_put_packed(mfi_self *self, mfi_object *o, const void *records, uint32_t n,
                                mfi_ns until, uint32_t *done, size_t *used) {
  mfi_queue *q = mfi_queue_of(o);
  mfi_status st;
  do {
    mfi_lock_take(self, &o->lock);
    st = q->closed != 0 ? MFI_CLOSED : put_pieces(self, o, records, n, done, used);
    mfi_lock_give(self, &o->lock);
    if (st == MFI_FULL) {
      uint64_t first = ((const mfi_record *)records)->size;
      mfi_status waited = wait_for_room(self, q, first, until);
      if (waited != MFI_OK)
        st = waited;
    }
  } while (st == MFI_FULL);
  if (*done > 1)
    mfi_event_wake_all(self, &q->not_empty);
  if (*done == 1)
    mfi_event_wake_one(self, &q->not_empty);
  mfi_event_done(self);
  return st;
}

// ---- The whole

uint64_t mfi_queue_size(mfi_object *o) { return messages(mfi_queue_of(o)); }

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

const mfi_object_ops mfi_queue_ops = {"Queue", destroy, NULL};
