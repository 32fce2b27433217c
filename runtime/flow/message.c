// Messages in shared memory. Floor 4; see message.h. Locks: those of the objects named in it.
#include "flow/message.h"

#include <string.h>

static void copy_bytes(const void *ctx, void *to) {
  const mfi_bytes *b = ctx;
  memcpy(to, b->data, b->size);
}

mfi_source mfi_source_bytes(const mfi_bytes *b) {
  return (mfi_source){.size = b->size, .copy = copy_bytes, .ctx = b};
}

static mfi_status hold_all(mfi_self *self, mfi_body *body, const mfi_source *src) {
  for (uint32_t i = 0; i < src->nrefs; i++) {
    mfi_status st = mfi_handle_hold(self, src->refs[i], &body->refs[i]);
    if (st != MFI_OK)
      return st;
  }
  return MFI_OK;
}

mfi_status mfi_message_make(mfi_self *self, const mfi_source *src, mfi_ref *out) {
  size_t head = sizeof(mfi_body) + src->nrefs * sizeof(mfi_handle);
  // Until nrefs is set, a burial must not take old bytes for handles: the kind comes last.
  mfi_ref ref = mfi_heap_alloc(self, head + src->size, MFI_BLOCK_BYTES);
  if (ref == 0)
    return MFI_NOMEM;
  mfi_body *body = mfi_message_body(self, ref);
  memset(body, 0, head);
  body->size = src->size;
  body->nrefs = src->nrefs;
  ((mfi_block *)mfi_at(self, ref))->kind = MFI_BLOCK_MESSAGE;
  mfi_status st = hold_all(self, body, src);
  if (st != MFI_OK) {
    mfi_message_free(self, ref);
    return st;
  }
  src->copy(src->ctx, mfi_message_bytes(body));
  *out = ref;
  return MFI_OK;
}

void mfi_message_unhold(mfi_self *self, mfi_ref block) {
  mfi_body *body = mfi_message_body(self, block);
  for (uint32_t i = 0; i < body->nrefs; i++)
    if (body->refs[i] != 0)
      mfi_handle_unhold(self, &body->refs[i]);
}

void mfi_message_free(mfi_self *self, mfi_ref block) {
  mfi_message_unhold(self, block);
  mfi_heap_free(self, block);
}
