// Queues, for C. Floor 6. Locks: the runtime's mutex, the queue's. Sleeps in puts and gets.
//
// Bytes are strings to Lua: their message is a head of at most ten bytes, written here, and the
// bytes themselves.
#include "flow/queue.h"

#include "api/caller.h"
#include "api/lua_state.h"
#include "api/value.h"
#include "base/atomic.h"
#include "flow/light.h"
#include "script/format.h"

#include <stdlib.h>
#include <string.h>

// ---- Life

mf_queue *mf_queue_open(mf_runtime *rt, size_t maxsize) {
  if (rt == NULL || rt->in_child)
    return NULL;
  mf_queue *q = mfi_new(rt, sizeof *q);
  if (q == NULL || !mfi_runtime_enter(rt)) {
    mfi_delete(rt, q, sizeof *q);
    mfi_fail(rt, MF_NOMEM, "mf_queue_open: no memory, or the runtime is closed");
    return NULL;
  }
  mfi_lock_home(rt);
  q->handle = mfi_queue_make(&rt->home, maxsize, 0, &q->place);
  mfi_unlock_home(rt);
  if (q->handle != 0) {
    q->rt = rt;
    q->o = mfi_object_of(&rt->home, q->handle);
    return q;
  }
  mfi_delete(rt, q, sizeof *q);
  mfi_runtime_leave(rt);
  mfi_fail_as(rt, MFI_NOMEM, "mf_queue_open");
  return NULL;
}

void mf_queue_release(mf_queue *q) {
  if (q == NULL || q->rt->in_child)
    return;
  mf_runtime *rt = q->rt;
  mfi_lock_home(rt);
  if (q->light != NULL)
    mfi_light_close(q->light, &rt->home);
  mfi_handle_drop(&rt->home, q->place);
  mfi_unlock_home(rt);
  mfi_delete(rt, q, sizeof *q);
  mfi_runtime_leave(rt);
}

size_t mf_queue_size(mf_queue *q) { return q == NULL ? 0 : (size_t)mfi_queue_size(q->o); }

// It cannot fail: a thread that gets no slot closes as the runtime.
void mf_queue_close(mf_queue *q) {
  mfi_caller *c = q == NULL ? NULL : mfi_caller_of(q->rt);
  if (c != NULL) {
    mfi_queue_close(mfi_caller_self(c), q->o);
  } else if (q != NULL && !q->rt->in_child) {
    mfi_lock_home(q->rt);
    mfi_queue_close(&q->rt->home, q->o);
    mfi_unlock_home(q->rt);
  }
}

int mf_queue_fd(mf_queue *q) {
  if (q == NULL || q->rt->in_child)
    return -1;
  mfi_lock_home(q->rt);
  mfi_light *l = q->light;
  if (l == NULL && load_acquire(&q->rt->closed) == 0) {
    l = mfi_light_open(&q->rt->home, q->handle);
    store_release(&q->light, l);
  }
  mfi_unlock_home(q->rt);
  return l == NULL ? -1 : mfi_light_fd(l);
}

// ---- Puts

typedef struct put {
  mf_queue *q;
  const mfi_source *src;
} put;

static mfi_status wait_put(mfi_self *self, void *what, mfi_ns until) {
  put *p = what;
  return mfi_queue_put(self, p->q->o, p->src, until);
}

static mf_status done(mf_queue *q, mfi_status st, double timeout, mf_status at_once,
                      const char *name) {
  if (st == MFI_TIMEDOUT && timeout == 0)
    return mfi_fail_shortly(q->rt, at_once);
  if (st == MFI_TIMEDOUT || st == MFI_CLOSED || st == MFI_INTERRUPTED || st == MFI_TYPE ||
      st == MFI_TOO_BIG)
    return mfi_fail_shortly(q->rt, (mf_status)st);
  return mfi_fail_as(q->rt, st, name);
}

static mf_status put_source(mf_queue *q, const mfi_source *src, double timeout, const char *name) {
  put p = {.q = q, .src = src};
  return done(q, mfi_caller_wait(q->rt, wait_put, &p, timeout), timeout, MF_FULL, name);
}

typedef struct text {
  uint8_t head[16];
  size_t head_size;
  const void *data;
  size_t size;
} text;

static void write_head(text *t) {
  uint64_t size = t->size;
  t->head[0] = 0; // flags
  if (size <= FORMAT_SHORT_MAX) {
    t->head[1] = (uint8_t)(TAG_SHORT + size);
    t->head_size = 2;
    return;
  }
  bool large = size > UINT32_MAX;
  t->head[1] = large ? TAG_STRING64 : TAG_STRING32;
  memcpy(t->head + 2, &size, large ? 8 : 4);
  t->head_size = large ? 10 : 6;
}

static void copy_text(const void *ctx, void *to) {
  const text *t = ctx;
  memcpy(to, t->head, t->head_size);
  if (t->size > 0)
    memcpy((char *)to + t->head_size, t->data, t->size);
}

mf_status mf_queue_put_bytes(mf_queue *q, const void *data, size_t size, double timeout) {
  if (q == NULL)
    return MF_INVALID;
  if (data == NULL && size > 0)
    return mfi_fail(q->rt, MF_INVALID, "mf_queue_put_bytes: data is NULL");
  text t = {.data = data, .size = size};
  write_head(&t);
  mfi_source src = {.size = t.head_size + size, .copy = copy_text, .ctx = &t};
  return put_source(q, &src, timeout, "mf_queue_put_bytes");
}

static void copy_bytes(const void *ctx, void *to) {
  const mfi_value_bytes *b = ctx;
  memcpy(to, b->bytes, b->size);
}

mf_status mf_queue_put_value(mf_queue *q, const mf_value *v, double timeout) {
  if (q == NULL)
    return MF_INVALID;
  if (v == NULL)
    return mfi_fail(q->rt, MF_INVALID, "mf_queue_put_value: v is NULL");
  mfi_value_bytes b = {0};
  mfi_value_hooks hooks = mfi_value_hooks_of(q->rt);
  mfi_status st = mfi_values_write(v, 1, "value", &hooks, &b);
  mfi_source src = {
      .size = b.size, .refs = b.refs, .nrefs = (uint32_t)b.nrefs, .copy = copy_bytes, .ctx = &b};
  mf_status status;
  if (st == MFI_OK)
    status = put_source(q, &src, timeout, "mf_queue_put_value");
  else if (b.why[0] != '\0')
    status = mfi_fail(q->rt, (mf_status)st, "mf_queue_put_value: %s", b.why);
  else
    status = mfi_fail_as(q->rt, st, "mf_queue_put_value");
  mfi_value_bytes_fini(&b);
  return status;
}

typedef struct lua_put {
  mf_queue *q;
  double timeout;
  mf_status status;
} lua_put;

static int encode_and_put(mfi_context *m, lua_State *L, void *arg) {
  lua_put *p = arg;
  mfi_encoded e;
  mfi_encode(m->codec, L, 1, 1, "value", 0, &e);
  mfi_encoded_keep(m->codec, L, &e);
  mfi_source src = mfi_context_source(&e);
  p->status = put_source(p->q, &src, p->timeout, "mf_queue_put");
  return 0;
}

mf_status mf_queue_put(mf_queue *q, lua_State *L, int idx, double timeout) {
  if (q == NULL)
    return MF_INVALID;
  if (L == NULL)
    return mfi_fail(q->rt, MF_INVALID, "mf_queue_put: L is NULL");
  if (!lua_checkstack(L, 8))
    return mfi_fail(q->rt, MF_NOMEM, "no room on the Lua stack");
  lua_put p = {.q = q, .timeout = timeout};
  lua_pushvalue(L, idx);
  mf_status st = mfi_lua_call(q->rt, L, encode_and_put, &p, 1, 0);
  return st == MF_OK ? p.status : st;
}

// ---- Gets

typedef struct get {
  mf_queue *q;
  mfi_accept_fn *accept; // NULL: whatever comes
  void *ctx;
  mfi_taken *taken;
} get;

static mfi_status wait_get(mfi_self *self, void *what, mfi_ns until) {
  get *g = what;
  if (g->accept == NULL)
    return mfi_queue_get(self, g->q->o, until, g->taken);
  return mfi_queue_get_if(self, g->q->o, until, g->accept, g->ctx, g->taken);
}

static mf_status get_message(get *g, double timeout, const char *name) {
  mfi_status st = mfi_caller_wait(g->q->rt, wait_get, g, timeout);
  mfi_light *l = load_acquire(&g->q->light);
  if (st == MFI_OK && l != NULL && !g->q->rt->in_child)
    mfi_light_look(l);
  return done(g->q, st, timeout, MF_EMPTY, name);
}

// What was taken is in the hand of this thread's slot.
static void end_message(mf_queue *q, const mfi_taken *t) {
  if (t->block != 0)
    mfi_message_free(mfi_caller_self(mfi_caller_of(q->rt)), t->block);
}

static mfi_message message_of(const mfi_taken *t) {
  return (mfi_message){.bytes = t->bytes, .size = t->size, .refs = t->refs, .nrefs = t->nrefs};
}

mf_status mf_queue_get_value(mf_queue *q, double timeout, mf_value *out) {
  if (out != NULL)
    *out = mf_nil();
  if (q == NULL)
    return MF_INVALID;
  if (out == NULL)
    return mfi_fail(q->rt, MF_INVALID, "mf_queue_get_value: out is NULL");
  mfi_taken t;
  get g = {.q = q, .taken = &t};
  mf_status status = get_message(&g, timeout, "mf_queue_get_value");
  if (status != MF_OK)
    return status;
  mfi_message m = message_of(&t);
  mfi_value_hooks hooks = mfi_value_hooks_of(q->rt);
  mfi_values *values;
  mfi_status st = mfi_values_read(&m, &hooks, &values);
  status = st == MFI_OK ? mfi_value_give(q->rt, values, out)
                        : mfi_fail_as(q->rt, st, "mf_queue_get_value");
  end_message(q, &t);
  return status;
}

static int decode_taken(mfi_context *m, lua_State *L, void *arg) {
  mfi_message message = message_of(arg);
  return mfi_decode(m->codec, L, &message, MFI_LUA_DECODE);
}

mf_status mf_queue_get(mf_queue *q, lua_State *L, double timeout) {
  if (q == NULL)
    return MF_INVALID;
  if (L == NULL)
    return mfi_fail(q->rt, MF_INVALID, "mf_queue_get: L is NULL");
  mfi_taken t;
  get g = {.q = q, .taken = &t};
  mf_status status = get_message(&g, timeout, "mf_queue_get");
  if (status != MF_OK)
    return status;
  status = mfi_lua_call(q->rt, L, decode_taken, &t, 0, 1);
  end_message(q, &t);
  return status;
}

// ---- Bytes out

// The string that a message is; false: it is something else.
static bool is_text(const mfi_taken *t, text *out) {
  const uint8_t *p = t->bytes;
  uint64_t size = 0, head = 2;
  if (t->size < 2 || p[0] != 0)
    return false;
  if (p[1] >= TAG_SHORT && p[1] <= TAG_SHORT + FORMAT_SHORT_MAX) {
    size = p[1] - TAG_SHORT;
  } else {
    uint64_t wide = p[1] == TAG_STRING8 ? 1 : p[1] == TAG_STRING32 ? 4 : 8;
    if (p[1] < TAG_STRING8 || p[1] > TAG_STRING64 || t->size < head + wide)
      return false;
    memcpy(&size, p + 2, wide);
    head += wide;
  }
  *out = (text){.data = p + head, .size = (size_t)size};
  return t->size - head == size;
}

static mfi_status fits(void *ctx, const mfi_taken *t) {
  size_t *size = ctx, room = *size;
  text found;
  if (!is_text(t, &found))
    return MFI_TYPE;
  *size = found.size;
  return found.size <= room ? MFI_OK : MFI_TOO_BIG;
}

mf_status mf_queue_get_bytes(mf_queue *q, double timeout, void *buffer, size_t *size) {
  if (q == NULL)
    return MF_INVALID;
  if (size == NULL || (buffer == NULL && *size > 0))
    return mfi_fail(q->rt, MF_INVALID, "mf_queue_get_bytes: buffer or size is NULL");
  mfi_taken t;
  text found;
  get g = {.q = q, .accept = fits, .ctx = size, .taken = &t};
  mf_status status = get_message(&g, timeout, "mf_queue_get_bytes");
  if (status != MF_OK)
    return status;
  if (is_text(&t, &found) && found.size > 0)
    memcpy(buffer, found.data, found.size);
  end_message(q, &t);
  return MF_OK;
}
