// Specs. Floor 4; see spec.h. No locks but those of the objects that the payload names.
#include "flow/spec.h"

#include <stddef.h>
#include <string.h>

typedef struct parts {
  const mfi_source *payload;
  mfi_spec head;
  size_t head_size;
} parts;

static void write_parts(const void *ctx, void *to) {
  const parts *p = ctx;
  char *at = to;
  memcpy(at, &p->head, p->head_size);
  if (p->head.env_size != 0)
    mfi_os_environ_copy(at + p->head.env_at);
  p->payload->copy(p->payload->ctx, at + p->head.payload_at);
}

// Threads have their process's surroundings: the head is cut off before them.
static size_t look_around(mfi_spec *head, uint32_t backend) {
  if (backend != MFI_BACKEND_PROCESS)
    return offsetof(mfi_spec, around);
  mfi_os_surroundings_get(&head->around);
  head->env_size = mfi_os_environ_size();
  return sizeof *head;
}

mfi_status mfi_spec_make(mfi_self *self, const mfi_source *payload, uint32_t backend,
                         mfi_ref *out) {
  parts p = {.payload = payload};
  p.head_size = look_around(&p.head, backend);
  p.head.payload_at = (p.head_size + 15) & ~(uint64_t)15;
  p.head.payload_size = payload->size;
  p.head.env_at = p.head.payload_at + payload->size;
  mfi_source whole = *payload;
  whole.size = p.head.env_at + p.head.env_size;
  whole.copy = write_parts;
  whole.ctx = &p;
  return mfi_message_make(self, &whole, out);
}

void mfi_spec_apply(mfi_spec *spec, const mfi_os_surroundings *now) {
  mfi_os_environ_set((const char *)spec + spec->env_at, spec->env_size);
  mfi_os_surroundings_set(&spec->around, now);
}
