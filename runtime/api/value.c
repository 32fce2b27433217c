// Values without a Lua state. Floor 6; see value.h. Locks: the runtime's mutex, for handles. Sleeps
// nowhere.
//
// What mf_value_free gets is one value, and must find the memory that came with it: its string,
// table or name lies in a block of its own, behind a head that names the rest.
#include "api/value.h"

#include "api/caller.h"
#include "api/lua_state.h"

#include <stdlib.h>
#include <string.h>

// ---- Queues and arrays in values

mf_queue *mfi_queue_handle(mf_runtime *rt, mfi_handle h) {
  mf_queue *q = mfi_new(rt, sizeof *q);
  if (q == NULL || !mfi_runtime_enter(rt)) {
    mfi_delete(rt, q, sizeof *q);
    return NULL;
  }
  mfi_lock_home(rt);
  mfi_status st = mfi_handle_add(&rt->home, h, &q->place);
  mfi_unlock_home(rt);
  if (st == MFI_OK) {
    q->rt = rt;
    q->handle = h;
    q->o = mfi_object_of(&rt->home, h);
    return q;
  }
  mfi_runtime_leave(rt);
  mfi_delete(rt, q, sizeof *q);
  return NULL;
}

static mfi_status handle_of(void *ud, const mf_value *v, uint64_t *handle) {
  bool queue = v->kind == MF_QUEUE;
  if (v->as.queue == NULL || (queue ? v->as.queue->rt : v->as.array->rt) != ud)
    return MFI_INVALID;
  *handle = queue ? v->as.queue->handle : v->as.array->handle;
  return MFI_OK;
}

// Makes *v the queue or array of a handle, with a reference of its own. False: no memory, or gone.
static bool own_handle(mf_runtime *rt, mfi_object_kind kind, mfi_handle h, mf_value *v) {
  *v = kind == MFI_KIND_QUEUE ? mf_of_queue(mfi_queue_handle(rt, h))
                              : mf_of_array(mfi_array_handle(rt, h));
  return v->as.queue != NULL;
}

static mfi_status open_handle(void *ud, uint64_t handle, mf_value *v) {
  mf_runtime *rt = ud;
  mfi_object_kind kind = mfi_handle_kind(&rt->home, handle);
  v->kind = MF_OTHER;
  v->as.other = kind < MFI_KINDS && rt->rt.ops[kind] != NULL ? rt->rt.ops[kind]->name : "object";
  if (kind != MFI_KIND_QUEUE && kind != MFI_KIND_ARRAY)
    return MFI_OK;
  return own_handle(rt, kind, handle, v) ? MFI_OK : MFI_CLOSED;
}

static void close_handle(mf_value *v) {
  if (v->kind == MF_QUEUE)
    mf_queue_release(v->as.queue);
  else if (v->kind == MF_ARRAY)
    mf_array_release(v->as.array);
}

mfi_value_hooks mfi_value_hooks_of(mf_runtime *rt) {
  return (mfi_value_hooks){.ud = rt,
                           .handle_of = handle_of,
                           .open = open_handle,
                           .close = close_handle,
                           .process = (uint64_t)mfi_os_pid()};
}

// ---- Whose memory a value is

typedef struct owner {
  mfi_values *rest;
  uint64_t pad;
} owner;

static void *with_owner(mfi_values *rest, const void *data, size_t size) {
  owner *o = malloc(sizeof *o + size + 1);
  if (o == NULL)
    return NULL;
  o->rest = rest;
  memcpy(o + 1, data, size);
  ((char *)(o + 1))[size] = '\0';
  return o + 1;
}

// NULL: a value without memory.
static const void *memory_of(const mf_value *v, size_t *size) {
  switch (v->kind) {
  case MF_STRING:
    *size = v->as.string.size;
    return v->as.string.data;
  case MF_TABLE:
    *size = sizeof *v->as.table;
    return v->as.table;
  case MF_OTHER:
    *size = strlen(v->as.other);
    return v->as.other;
  default:
    return NULL;
  }
}

static void set_memory(mf_value *v, const void *p) {
  if (v->kind == MF_STRING)
    v->as.string.data = p;
  else if (v->kind == MF_TABLE)
    v->as.table = p;
  else
    v->as.other = p;
}

mf_status mfi_value_give(mf_runtime *rt, mfi_values *values, mf_value *out) {
  const mf_value *first = mfi_values_at(values, 0);
  mf_value v = first == NULL ? mf_nil() : *first;
  size_t size = 0;
  const void *memory = memory_of(&v, &size);
  void *own = memory == NULL ? NULL : with_owner(values, memory, size);
  bool whole = memory == NULL || own != NULL;
  if (v.kind == MF_QUEUE)
    whole = own_handle(rt, MFI_KIND_QUEUE, v.as.queue->handle, &v);
  else if (v.kind == MF_ARRAY)
    whole = own_handle(rt, MFI_KIND_ARRAY, v.as.array->handle, &v);
  if (memory == NULL || own == NULL)
    mfi_values_free(values);
  if (!whole)
    return mfi_fail(rt, MF_NOMEM, "no memory for the value");
  if (own != NULL)
    set_memory(&v, own);
  *out = v;
  return MF_OK;
}

void mf_value_free(mf_value *v) {
  size_t size;
  if (v == NULL)
    return;
  const void *memory = memory_of(v, &size);
  if (memory != NULL) {
    owner *o = (owner *)(uintptr_t)memory - 1;
    mfi_values_free(o->rest);
    free(o);
  } else {
    close_handle(v);
  }
  *v = mf_nil();
}

// ---- To Lua and back

typedef struct crossing {
  const mfi_value_bytes *bytes; // of a value on its way to Lua
  mf_value *out;                // of one on its way from Lua
  mf_runtime *rt;
  mf_status status;
} crossing;

static int push_value(mfi_context *m, lua_State *L, void *arg) {
  crossing *c = arg;
  mfi_message message = {.bytes = c->bytes->bytes,
                         .size = c->bytes->size,
                         .refs = c->bytes->refs,
                         .nrefs = (uint32_t)c->bytes->nrefs};
  return mfi_decode(m->codec, L, &message, MFI_LUA_DECODE);
}

mf_status mf_value_push(mf_runtime *rt, lua_State *L, const mf_value *v) {
  if (rt == NULL)
    return MF_INVALID;
  if (L == NULL || v == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_value_push: L or v is NULL");
  mfi_value_bytes b = {0};
  mfi_value_hooks hooks = mfi_value_hooks_of(rt);
  mfi_status st = mfi_values_write(v, 1, "value", &hooks, &b);
  crossing c = {.bytes = &b};
  mf_status status = MF_OK;
  if (b.why[0] != '\0')
    status = mfi_fail(rt, (mf_status)st, "mf_value_push: %s", b.why);
  else if (st != MFI_OK)
    status = mfi_fail_as(rt, st, "mf_value_push");
  else
    status = mfi_lua_call(rt, L, push_value, &c, 0, 1);
  mfi_value_bytes_fini(&b);
  return status;
}

static int read_value(mfi_context *m, lua_State *L, void *arg) {
  crossing *c = arg;
  mfi_encoded e;
  mfi_values *values = NULL;
  mfi_encode(m->codec, L, 1, 1, "value", 0, &e);
  mfi_encoded_keep(m->codec, L, &e);
  mfi_message message = {.bytes = e.bytes, .size = e.size, .refs = e.refs, .nrefs = e.nrefs};
  mfi_value_hooks hooks = mfi_value_hooks_of(c->rt);
  mfi_status st = mfi_values_read(&message, &hooks, &values);
  c->status = st == MFI_OK ? mfi_value_give(c->rt, values, c->out)
                           : mfi_fail_as(c->rt, st, "mf_value_read");
  return 0;
}

mf_status mf_value_read(mf_runtime *rt, lua_State *L, int idx, mf_value *out) {
  if (out != NULL)
    *out = mf_nil();
  if (rt == NULL)
    return MF_INVALID;
  if (L == NULL || out == NULL)
    return mfi_fail(rt, MF_INVALID, "mf_value_read: L or out is NULL");
  crossing c = {.out = out, .rt = rt};
  if (!lua_checkstack(L, 8))
    return mfi_fail(rt, MF_NOMEM, "no room on the Lua stack");
  lua_pushvalue(L, idx);
  mf_status status = mfi_lua_call(rt, L, read_value, &c, 1, 0);
  return status == MF_OK ? c.status : status;
}
