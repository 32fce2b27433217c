// Reports to the host. Floor 6; see report.h. Locks: the queue's. Sleeps nowhere.
#include "api/report.h"

#include "base/atomic.h"
#include "flow/beacon.h"
#include "flow/queue.h"

#include <stdlib.h>
#include <string.h>

bool mfi_report_open(mf_runtime *rt, const mf_config *c) {
  uint32_t place;
  rt->on_output = c->inherit_output ? NULL : c->on_output;
  rt->on_log = c->on_log;
  if (rt->on_output == NULL && rt->on_log == NULL)
    return true;
  mfi_handle h = mfi_queue_make(&rt->home, 0, 0, &place);
  if (h != 0)
    rt->reports = mfi_object_of(&rt->home, h);
  return h != 0;
}

// ---- From the workers

typedef struct draft {
  mfi_report head;
  const char *data;
} draft;

static void copy_draft(const void *ctx, void *to) {
  const draft *d = ctx;
  char *text = (char *)to + sizeof d->head;
  memcpy(to, &d->head, sizeof d->head);
  memcpy(text, d->data, d->head.size);
  text[d->head.size] = '\0';
}

static mf_runtime *runtime_of(mfi_self *self) {
  return ((const mfi_exec_host *)mfi_runtime_of(self)->host)->ud;
}

// Without room the text is lost.
static void put(mfi_self *self, const draft *d) {
  mf_runtime *rt = runtime_of(self);
  mfi_source src = {.size = sizeof d->head + d->head.size + 1, .copy = copy_draft, .ctx = d};
  mfi_queue_put(self, rt->reports, &src, 0);
  mfi_beacon_note(self, rt->beacon_slot);
}

void mfi_report_print(void *ud, int stream, const char *data, size_t size) {
  mfi_self *self = ud;
  if (runtime_of(self)->on_output == NULL)
    return; // nowhere
  draft d = {.head = {.stream = stream, .size = size}, .data = data};
  memcpy(d.head.name, self->slot->name, sizeof d.head.name);
  put(self, &d);
}

bool mfi_report_log(mfi_self *self, mfi_level level, const char *text, size_t size) {
  mf_runtime *rt = runtime_of(self);
  if (rt->on_log == NULL || load_acquire(&rt->over) != 0)
    return false;
  draft d = {.head = {.level = (int32_t)level, .size = size}, .data = text};
  put(self, &d);
  return true;
}

// ---- To the host

mfi_report *mfi_report_take(mf_runtime *rt) {
  mfi_taken t;
  mfi_self *self = &rt->home;
  if (rt->reports == NULL || mfi_queue_get(self, rt->reports, 0, &t) != MFI_OK)
    return NULL;
  mfi_report *r = malloc((size_t)t.size);
  if (r != NULL)
    memcpy(r, t.bytes, (size_t)t.size);
  if (t.block != 0)
    mfi_message_free(self, t.block);
  return r;
}

bool mfi_report_is_due(const mf_runtime *rt) {
  return rt->reports != NULL && mfi_queue_size(rt->reports) > 0;
}

void mfi_report_give(mf_runtime *rt, const mfi_report *r) {
  const char *text = (const char *)(r + 1);
  if (r->stream == 0)
    rt->on_log(rt->ud, (mf_level)r->level, text);
  else
    rt->on_output(rt->ud, r->name, r->stream, text, (size_t)r->size);
}
