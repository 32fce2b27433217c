// What is published by name. Floor 4; see registry.h.
#include "flow/registry.h"

#include "base/atomic.h"

#include <string.h>

#define NAME_SIZE 120

// Head of the bytes of an entry's message.
typedef struct entry {
  mfi_ref next;
  char name[NAME_SIZE]; // zero-ended, cut
} entry;

typedef struct draft {
  const mfi_source *src;
  const char *name;
} draft;

static void write_entry(const void *ctx, void *to) {
  const draft *d = ctx;
  entry *e = to;
  memset(e, 0, sizeof *e);
  strncpy(e->name, d->name, sizeof e->name - 1);
  d->src->copy(d->src->ctx, e + 1);
}

static entry *entry_at(mfi_self *self, mfi_ref block) {
  return mfi_message_bytes(mfi_message_body(self, block));
}

mfi_status mfi_registry_put(mfi_self *self, const char *name, const mfi_source *src) {
  mfi_region *r = self->region;
  draft d = {src, name};
  mfi_source whole = *src;
  mfi_ref block;
  whole.size += sizeof(entry);
  whole.copy = write_entry;
  whole.ctx = &d;
  mfi_status st = mfi_message_make(self, &whole, &block);
  if (st != MFI_OK)
    return st;
  mfi_hand_raise(self, block);
  mfi_lock_take(self, &r->objects_lock);
  entry_at(self, block)->next = r->published;
  mfi_hand_out(self, &r->objects_lock, block);
  mfi_change64(self, &r->objects_lock, &r->published, block);
  mfi_change64(self, &r->objects_lock, &r->published_count, r->published_count + 1);
  mfi_lock_commit(self, &r->objects_lock);
  mfi_lock_give(self, &r->objects_lock);
  return MFI_OK;
}

const void *mfi_registry_get(mfi_self *self, const char *name, uint64_t *size,
                             const mfi_handle **refs, uint32_t *nrefs) {
  mfi_ref ref = load_acquire(&self->region->published);
  while (ref != 0 && strncmp(entry_at(self, ref)->name, name, NAME_SIZE - 1) != 0)
    ref = entry_at(self, ref)->next;
  if (ref == 0)
    return NULL;
  mfi_body *body = mfi_message_body(self, ref);
  *size = body->size - sizeof(entry);
  *refs = body->refs;
  *nrefs = body->nrefs;
  return entry_at(self, ref) + 1;
}
