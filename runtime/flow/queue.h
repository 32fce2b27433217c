// Queues: first in, first out, for all threads and processes. Floor 4.
//
//   put --> | ring | --next--> | ring | --> get        a chain of byte rings, mostly one
//
// A record is {u32 size, u32 kind, payload}, padded to 8, never split: a pad record fills the end
// of a ring. Messages of at most MFI_QUEUE_INLINE bytes without references lie in the ring itself,
// others in a block that the record names. A full ring is sealed by linking a larger one behind it.
//
// Two locks: producers hold o->lock (put side), consumers o->second (get side). Each side has a
// mark (ring.h), a count and a position in one word: one store puts or gets a small message. A
// block goes out of hand, or into it, in one record with the mark.
//
// The tail mark lies in tail_ring, the head mark in head_ring; both stay as they are when their
// side goes on to another ring, which begins where the last one ended. A get side that reads `tail`
// and then finds its ring not sealed knows that the mark is one of this ring.
#ifndef MFI_FLOW_QUEUE_H
#define MFI_FLOW_QUEUE_H

#include "flow/message.h"
#include "flow/ring.h"
#include "sync/event.h"

#define MFI_QUEUE_INLINE 256

// Body of MFI_KIND_QUEUE.
typedef struct mfi_queue {
  uint64_t maxsize;   // messages; 0: no limit; set once
  uint64_t max_bytes; // encoded bytes; 0: no limit; set once
  uint32_t closed;    // under o->lock, read atomically
  mfi_handle end;     // Connection that reads it, for people; 0: it is no pipe's; set once
  mfi_event not_empty, not_full;
  _Alignas(64) mfi_mark tail; // put side; read atomically
  mfi_ref tail_ring;          // put side
  mfi_mark head_seen;         // put side: what it knew of head; never behind it
  uint64_t room_from;         // put side: position up to which tail_ring is free again
  uint64_t bytes_put;         // put side, where max_bytes is set; read atomically
  _Alignas(64) mfi_mark head; // get side; read atomically
  mfi_ref head_ring;          // get side; read atomically; 0: nothing was ever put
  uint64_t tail_seen;         // get side: position up to which it knows of records
  uint64_t bytes_got;         // get side, where max_bytes is set; read atomically
  uint64_t done;              // get side: messages called done; read atomically
  mfi_event all_done;
} mfi_queue;

// What a get took. Small messages were copied here; larger ones lie in `block`, in the caller's
// hand.
typedef struct mfi_taken {
  uint64_t size;
  mfi_ref block;     // 0: in `small`; else mfi_message_free it
  const void *bytes; // where they are
  const mfi_handle *refs;
  uint32_t nrefs;
  _Alignas(16) char small[MFI_QUEUE_INLINE];
} mfi_taken;

mfi_handle mfi_queue_make(mfi_self *self, uint64_t maxsize, uint64_t max_bytes, uint32_t *place);

static inline mfi_queue *mfi_queue_of(mfi_object *o) { return (mfi_queue *)(void *)o->body; }

// MFI_OK; MFI_TIMEDOUT at `until` (0: does not wait); MFI_CLOSED, MFI_INTERRUPTED, MFI_NOMEM.
mfi_status mfi_queue_put(mfi_self *self, mfi_object *o, const mfi_source *src, mfi_ns until);

// Puts n records that were written one behind another in the ring's own form (mfi_queue_pack), as
// many as there is room for, in one section. Says how many were put and how many bytes these were.
mfi_status mfi_queue_put_packed(mfi_self *self, mfi_object *o, const void *records, uint32_t n,
                                mfi_ns until, uint32_t *done, size_t *used);
// Bytes of a record for a message of `size` bytes; mfi_queue_pack writes its head.
size_t mfi_queue_packed_size(size_t size);
void *mfi_queue_pack(void *record, size_t size);

// MFI_OK; MFI_TIMEDOUT, MFI_CLOSED (and drained), MFI_INTERRUPTED.
mfi_status mfi_queue_get(mfi_self *self, mfi_object *o, mfi_ns until, mfi_taken *out);
// The same for who calls its messages done: the taker's handle entry at `place` counts them in the
// same commit, so that what a worker had taken when it died counts as done.
mfi_status mfi_queue_take(mfi_self *self, mfi_object *o, uint32_t place, mfi_ns until,
                          mfi_taken *out);
// Moves up to `max` small messages, as records, to `to` (room bytes) in one section, without
// waiting. 0: none, or the next is a large one.
uint32_t mfi_queue_get_packed(mfi_self *self, mfi_object *o, void *to, size_t room, uint32_t max,
                              size_t *used);
uint32_t mfi_queue_take_packed(mfi_self *self, mfi_object *o, uint32_t place, void *to, size_t room,
                               uint32_t max, size_t *used);
// The payload of the record at *at, and moves *at behind it.
const void *mfi_queue_unpack(const char **at, size_t *size);

// A get that takes the oldest message only if accept says so, under the get side's lock: its status
// is then returned and nothing taken. accept never raises, sleeps or locks.
typedef mfi_status mfi_accept_fn(void *ctx, const mfi_taken *message);
mfi_status mfi_queue_get_if(mfi_self *self, mfi_object *o, mfi_ns until, mfi_accept_fn *accept,
                            void *ctx, mfi_taken *out);

// A message is there, or the end: a get would not wait. An mfi_ready_fn of the body.
bool mfi_queue_is_ready(mfi_self *self, void *body);
// Waits for that, taking nothing. MFI_OK, MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_queue_wait(mfi_self *self, mfi_object *o, mfi_ns until);

uint64_t mfi_queue_size(mfi_object *o);
bool mfi_queue_is_full(mfi_object *o);
void mfi_queue_close(mfi_self *self, mfi_object *o);

// One message that was taken is done. MFI_INVALID: all that were taken are.
mfi_status mfi_queue_task_done(mfi_self *self, mfi_object *o, uint32_t place);
// Waits until every message that was put is done. MFI_OK, MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_queue_join(mfi_self *self, mfi_object *o, mfi_ns until);

extern const mfi_object_ops mfi_queue_ops;

#endif
