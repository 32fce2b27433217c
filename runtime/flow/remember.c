// What later workers of a pool run before their jobs. Floor 4; see pool.h. Locks: the core's.
#include "base/atomic.h"
#include "flow/pool.h"

#include <string.h>

// The block's bytes: the next block of the list, then the message.
static mfi_ref *link_of(mfi_self *self, mfi_ref block) {
  return mfi_message_bytes(mfi_message_body(self, block));
}

static void write_linked(const void *ctx, void *to) {
  const mfi_source *src = ctx;
  memset(to, 0, sizeof(mfi_ref));
  src->copy(src->ctx, (char *)to + sizeof(mfi_ref));
}

mfi_status mfi_pool_remember(mfi_self *self, mfi_object *core, const mfi_source *call) {
  mfi_core *c = mfi_core_of(core);
  mfi_source whole = *call;
  mfi_ref block;
  whole.size += sizeof(mfi_ref);
  whole.copy = write_linked;
  whole.ctx = call;
  mfi_status st = mfi_message_make(self, &whole, &block);
  if (st != MFI_OK)
    return st;
  mfi_hand_raise(self, block);
  mfi_lock_take(self, &core->lock);
  mfi_ref *link = c->calls.last == 0 ? &c->calls.first : link_of(self, c->calls.last);
  mfi_change64(self, &core->lock, link, block);
  mfi_change64(self, &core->lock, &c->calls.last, block);
  mfi_change32(self, &core->lock, &c->call_count, c->call_count + 1);
  mfi_hand_out(self, &core->lock, block);
  mfi_lock_commit(self, &core->lock);
  mfi_lock_give(self, &core->lock);
  return MFI_OK;
}

const void *mfi_pool_remembered(mfi_self *self, mfi_object *core, const mfi_worker *w, uint32_t n,
                                uint64_t *size, const mfi_body **body) {
  mfi_ref block = load_acquire(&mfi_core_of(core)->calls.first);
  if (n >= w->calls)
    return NULL;
  for (uint32_t i = 0; i < n; i++)
    block = load_acquire(link_of(self, block));
  *body = mfi_message_body(self, block);
  *size = (*body)->size - sizeof(mfi_ref);
  return link_of(self, block) + 1;
}

// The core is ending: nobody else sees the list.
void mfi_pool_forget(mfi_self *self, mfi_core *c) {
  mfi_ref block = c->calls.first;
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &c->calls.first, *link_of(self, block));
  mfi_hand_in(self, lock, block);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  mfi_message_free(self, block);
}
