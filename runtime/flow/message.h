// Messages in shared memory: bytes of the codec and the handles that they name. Floor 4.
//
// A message block holds a reference of its own to each object in it, from before it is published
// until it is freed; its `held` handles are given back by whoever frees the block, a burial
// included.
#ifndef MFI_FLOW_MESSAGE_H
#define MFI_FLOW_MESSAGE_H

#include "mem/region.h"

// A message on its way in: what it takes to write it. copy never raises and writes `size` bytes.
typedef struct mfi_source {
  uint64_t size;
  const mfi_handle *refs;
  uint32_t nrefs;
  void (*copy)(const void *ctx, void *to);
  const void *ctx;
} mfi_source;

// Payload of an MFI_BLOCK_MESSAGE.
typedef struct mfi_body {
  uint64_t size;
  uint32_t nrefs;
  uint32_t pad;
  mfi_handle refs[]; // 0: given back or not held yet; the bytes follow
} mfi_body;

typedef struct mfi_bytes {
  const void *data;
  uint64_t size;
} mfi_bytes;

// A source of plain bytes.
mfi_source mfi_source_bytes(const mfi_bytes *b);

// A block in the caller's hand with the message, references held. MFI_NOMEM; MFI_CLOSED: an object
// in it is gone.
mfi_status mfi_message_make(mfi_self *self, const mfi_source *src, mfi_ref *out);
// Gives the references back and frees the block, which is in the caller's hand.
void mfi_message_free(mfi_self *self, mfi_ref block);
// The references only: what burial does to a block in a dead hand.
void mfi_message_unhold(mfi_self *self, mfi_ref block);

static inline mfi_body *mfi_message_body(const mfi_self *self, mfi_ref block) {
  return (mfi_body *)((mfi_block *)mfi_at(self, block) + 1);
}
static inline void *mfi_message_bytes(mfi_body *b) { return b->refs + b->nrefs; }

#endif
