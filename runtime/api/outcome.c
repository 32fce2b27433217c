// What a failed task's future says in words. Floor 6; see future.h. Locks nothing, sleeps nowhere.
#include "api/future.h"
#include "api/value.h"
#include "base/atomic.h"
#include "flow/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 1, 2))) static char *print(const char *format, ...) {
  char *text = NULL;
  va_list args;
  va_start(args, format);
  int size = vasprintf(&text, format, args);
  va_end(args);
  return size < 0 ? NULL : text;
}

static const char *label_of(const mf_future *f) {
  const char *label = f->handle == 0 ? "" : mfi_job_at(&f->rt->home, f->job)->label;
  return *label != '\0' ? label : "a task";
}

// ---- Errors of Lua

// An error value as text; `room` serves numbers.
static const char *text_of(const mf_value *v, char *room, size_t size) {
  static const char *const kinds[] = {"nil",   "boolean", "number", "number",  "string",
                                      "table", "Queue",   "Array",  "pointer", "object"};
  const mf_value *message = mf_field(v, "message");
  if (message != NULL && message->kind == MF_STRING)
    v = message;
  if (v == NULL || v->kind == MF_NIL)
    return "nil";
  if (v->kind == MF_STRING)
    return v->as.string.data;
  if (v->kind == MF_INTEGER)
    snprintf(room, size, "%" PRId64, (int64_t)v->as.integer);
  else if (v->kind == MF_NUMBER)
    snprintf(room, size, "%.14g", (double)v->as.number);
  else
    snprintf(room, size, "(error object is a %s value)", kinds[v->kind]);
  return room;
}

// No handle is opened: the mutex may be held.
static mfi_status name_only(void *ud, uint64_t handle, mf_value *v) {
  (void)ud;
  (void)handle;
  v->kind = MF_OTHER;
  v->as.other = "object";
  return MFI_OK;
}

// Error and traceback of a message that a worker wrote about its failure.
static char *of_message(const mfi_message *m, const char *before) {
  mfi_value_hooks hooks = {.open = name_only};
  mfi_values *values;
  char room[64];
  if (mfi_values_read(m, &hooks, &values) != MFI_OK)
    return print("%san error that cannot be read", before);
  const mf_value *trace = mfi_values_at(values, 1);
  bool traced = trace != NULL && trace->kind == MF_STRING;
  char *text = print("%s%s%s%s", before, text_of(mfi_values_at(values, 0), room, sizeof room),
                     traced ? "\n" : "", traced ? trace->as.string.data : "");
  mfi_values_free(values);
  return text;
}

// ---- Deaths

static char *of_death(mf_future *f, const mfi_view *v) {
  mfi_death d;
  char room[MFI_DEATH_TEXT];
  memcpy(&d, v->bytes, sizeof d);
  bool killed = d.exitcode == -9;
  return print("%s (pid %u) %s while it ran %s%s", d.worker, d.pid, mfi_death_text(&d, room),
               label_of(f), killed ? "; out of memory?" : "");
}

static char *of_initializer(mf_future *f) {
  mfi_core *c = mfi_core_of(f->core);
  char room[MFI_DEATH_TEXT];
  if (c->failure == 0 && c->broken_by.pid == 0)
    return print("%s has no workers, none can be started: %s", c->name,
                 strerror(c->broken_by.exitcode));
  if (c->failure == 0)
    return print("%s's initializer: %s %s", c->name, c->broken_by.worker,
                 mfi_death_text(&c->broken_by, room));
  mfi_body *body = mfi_message_body(&f->rt->home, c->failure);
  mfi_message m = {.bytes = mfi_message_bytes(body),
                   .size = body->size,
                   .refs = body->refs,
                   .nrefs = body->nrefs};
  char *before = print("%s's initializer failed: ", c->name);
  char *text = before == NULL ? NULL : of_message(&m, before);
  free(before);
  return text;
}

// ---- The whole

char *mfi_future_text(mf_future *f, const mfi_outcome *o) {
  switch (o->status) {
  case MF_TASK_TIMEOUT:
    return print("%s was stopped at its time limit", label_of(f));
  case MF_CANCELLED:
    return print("%s was cancelled", label_of(f));
  case MF_TERMINATED:
    return print("%s was ended: its pool was terminated", label_of(f));
  case MF_INITIALIZER:
    return of_initializer(f);
  default:
    break;
  }
  if (!o->has_view)
    return print("%s: %s", label_of(f), mf_status_string(o->status));
  if (o->view.death)
    return of_death(f, &o->view);
  const mfi_view *v = &o->view;
  mfi_message m = {.bytes = v->bytes, .size = v->size, .refs = v->refs, .nrefs = v->nrefs};
  return of_message(&m, "");
}
