// Submitting tasks. Floor 6. Locks: the runtime's mutex, the core's. Sleeps nowhere.
//
// An item is written in memory of the caller's own; then, under the mutex, its job is made and
// queued, and the future gets its reference. What fails on the way is the future's outcome.
#include "api/caller.h"
#include "api/future.h"
#include "api/lua_state.h"
#include "api/serial.h"
#include "api/value.h"
#include "base/atomic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_SIZE 96

// ---- Jobs

static uint64_t pad8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

typedef struct task {
  uint32_t kind; // MFI_ITEM_*
  mfi_source item;
  const char *label;
} task;

// In home's hand.
static mfi_status make_job(mfi_self *self, mfi_object *core, const task *t, mfi_ref *job) {
  mfi_job_config c = {.nitems = 1,
                      .nrefs = t->item.nrefs,
                      .items_size = sizeof(mfi_item) + pad8(t->item.size),
                      .first = 1,
                      .limit = mfi_core_of(core)->limit,
                      .label = t->label};
  mfi_status st = mfi_job_make(self, &c, job);
  if (st != MFI_OK)
    return st;
  st = mfi_job_add(self, *job, &t->item, t->kind);
  if (st != MFI_OK)
    mfi_job_discard(self, *job);
  return st;
}

static mfi_status submit(mf_pool *pool, const task *t, mf_future *f) {
  mfi_self *self = &pool->rt->home;
  mfi_ref job;
  mfi_status st = make_job(self, pool->core, t, &job);
  if (st != MFI_OK)
    return st;
  st = mfi_pool_submit(self, pool->core, job, NULL, &f->place);
  if (st != MFI_OK) {
    mfi_job_discard(self, job);
    return st;
  }
  f->handle = mfi_counted_handle(self, job);
  f->job = job;
  return MFI_OK;
}

// ---- Futures

static mf_future *new_future(mf_pool *pool) {
  mf_future *f = mfi_new(pool->rt, sizeof *f);
  if (f == NULL || !mfi_runtime_enter(pool->rt)) {
    mfi_delete(pool->rt, f, sizeof *f);
    mfi_fail(pool->rt, MF_NOMEM, "no memory for the future, or the runtime is closed");
    return NULL;
  }
  f->rt = pool->rt;
  f->core = pool->core;
  f->status = MF_OK;
  f->users = 1;
  f->fd = -1;
  mfi_lock_home(f->rt);
  f->next = f->rt->futures;
  if (f->next != NULL)
    f->next->prev = f;
  f->rt->futures = f;
  mfi_unlock_home(f->rt);
  return f;
}

static mf_future *with_outcome(mf_future *f, mf_status status, const char *text) {
  f->status = status;
  f->error = strdup(text);
  return f;
}

static const char *why(mfi_status st) {
  switch (st) {
  case MFI_CLOSED:
    return "the pool, or an object in the arguments, is closed";
  case MFI_TERMINATED:
    return "the pool was terminated";
  case MFI_NOMEM:
    return "shared memory is used up";
  default:
    return mf_status_string((mf_status)st);
  }
}

static mf_future *submit_task(mf_pool *pool, const task *t, mf_future *f) {
  mfi_lock_home(pool->rt);
  mfi_status st = submit(pool, t, f);
  mfi_unlock_home(pool->rt);
  if (st == MFI_OK && mfi_core_of(pool->core)->backend == MFI_BACKEND_SERIAL)
    mfi_serial_run(pool->rt, pool->core);
  if (st == MFI_OK)
    return f;
  if (st != MFI_INITIALIZER)
    return with_outcome(f, (mf_status)st, why(st));
  mfi_outcome o = {.status = MF_INITIALIZER};
  f->status = MF_INITIALIZER;
  f->error = mfi_future_text(f, &o);
  return f;
}

// ---- Values as arguments

static void copy_bytes(const void *ctx, void *to) {
  const mfi_value_bytes *b = ctx;
  memcpy(to, b->bytes, b->size);
}

static mf_future *submit_values(mf_pool *pool, const mf_value *values, size_t n, uint32_t kind,
                                const char *label) {
  mf_future *f = new_future(pool);
  if (f == NULL)
    return NULL;
  mfi_value_bytes b = {0};
  mfi_value_hooks hooks = mfi_value_hooks_of(pool->rt);
  mfi_status st = mfi_values_write(values, n, "args", &hooks, &b);
  task t = {.kind = kind, .label = label};
  t.item = (mfi_source){
      .size = b.size, .refs = b.refs, .nrefs = (uint32_t)b.nrefs, .copy = copy_bytes, .ctx = &b};
  if (st == MFI_OK)
    submit_task(pool, &t, f);
  else
    with_outcome(f, (mf_status)st, b.why[0] != '\0' ? b.why : why(st));
  mfi_value_bytes_fini(&b);
  return f;
}

// lead[0 .. nlead) and the arguments in one list.
static mf_future *submit_list(mf_pool *pool, const mf_value *lead, size_t nlead,
                              const mf_value *args, int nargs, uint32_t kind, const char *label) {
  size_t n = (size_t)nargs;
  mf_value few[16], *all = few;
  if (nlead + n > sizeof few / sizeof *few)
    all = malloc((nlead + n) * sizeof *all);
  if (all == NULL) {
    mfi_fail(pool->rt, MF_NOMEM, "no memory");
    return NULL;
  }
  memcpy(all, lead, nlead * sizeof *all);
  if (n > 0)
    memcpy(all + nlead, args, n * sizeof *all);
  mf_future *f = submit_values(pool, all, nlead + n, kind, label);
  if (all != few)
    free(all);
  return f;
}

static bool are_args(mf_pool *pool, const void *text, const mf_value *args, int nargs,
                     const char *name) {
  if (pool == NULL || pool->rt->in_child)
    return false;
  if (text != NULL && nargs >= 0 && (nargs == 0 || args != NULL))
    return true;
  mfi_fail(pool->rt, MF_INVALID, "%s: an argument is NULL, or nargs negative", name);
  return false;
}

mf_future *mf_submit_source(mf_pool *pool, const char *chunk, size_t len, const char *chunkname,
                            const mf_value *args, int nargs) {
  if (!are_args(pool, chunk, args, nargs, "mf_submit_source"))
    return NULL;
  const char *name = chunkname != NULL ? chunkname : chunk;
  size_t size = chunkname != NULL ? strlen(chunkname) : len;
  mf_value lead[2] = {mf_string(chunk, len), mf_string(name, size)};
  char label[LABEL_SIZE];
  bool marked = size > 0 && (*name == '=' || *name == '@');
  int shown = (int)strcspn(name, "\n");
  snprintf(label, sizeof label, "%.*s", size < (size_t)shown ? (int)size : shown, name);
  return submit_list(pool, lead, 2, args, nargs, MFI_ITEM_SOURCE, marked ? label + 1 : label);
}

mf_future *mf_submit_name(mf_pool *pool, const char *name, const mf_value *args, int nargs) {
  if (!are_args(pool, name, args, nargs, "mf_submit_name"))
    return NULL;
  mf_value lead[2] = {mf_text(name), mf_nil()};
  return submit_list(pool, lead, 2, args, nargs, MFI_ITEM_CALL, name);
}

// ---- C

typedef struct c_input {
  mfi_exec_c head;
  const void *bytes;
} c_input;

static void copy_input(const void *ctx, void *to) {
  const c_input *in = ctx;
  memcpy(to, &in->head, sizeof in->head);
  if (in->head.size > 0)
    memcpy((char *)to + sizeof in->head, in->bytes, (size_t)in->head.size);
}

mf_future *mf_submit_c(mf_pool *pool, mf_task_fn *fn, const void *in, size_t size) {
  if (!are_args(pool, fn == NULL ? NULL : "", NULL, in == NULL && size > 0 ? -1 : 0, "mf_submit_c"))
    return NULL;
  mf_future *f = new_future(pool);
  if (f == NULL)
    return NULL;
  c_input c = {.head = {.fn = fn, .size = size}, .bytes = in};
  task t = {.kind = MFI_ITEM_C, .label = "a C task"};
  t.item = (mfi_source){.size = sizeof c.head + size, .copy = copy_input, .ctx = &c};
  return submit_task(pool, &t, f);
}

// ---- Lua functions

typedef struct from_lua {
  mf_pool *pool;
  mf_future *f;
} from_lua;

static void describe(lua_State *L, char *label, size_t size) {
  lua_Debug ar;
  lua_pushvalue(L, 1);
  lua_getinfo(L, ">S", &ar);
  if (ar.linedefined > 0)
    snprintf(label, size, "%s:%d", ar.short_src, ar.linedefined);
  else
    snprintf(label, size, "%s", ar.short_src);
}

// The stack: the function, its arguments.
static int encode_and_submit(mfi_context *m, lua_State *L, void *arg) {
  from_lua *x = arg;
  mfi_encoded e;
  char label[LABEL_SIZE] = "mf_submit";
  if (lua_type(L, 1) == LUA_TFUNCTION)
    describe(L, label, sizeof label);
  lua_pushnil(L); // no keyword arguments
  lua_insert(L, 2);
  mfi_encode(m->codec, L, 1, lua_gettop(L), "target;kwargs;args[#]", 0, &e);
  task t = {.kind = MFI_ITEM_CALL, .label = label, .item = mfi_context_source(&e)};
  submit_task(x->pool, &t, x->f);
  mfi_encoded_release(m->codec, L, &e);
  return 0;
}

mf_future *mf_submit(mf_pool *pool, lua_State *L, int nargs) {
  const char *wrong = L == NULL ? "L is NULL" : nargs < 0 ? "nargs is negative" : NULL;
  if (wrong != NULL && pool != NULL)
    mfi_fail(pool->rt, MF_INVALID, "mf_submit: %s", wrong);
  if (wrong != NULL)
    return NULL;
  mf_future *f = pool == NULL || pool->rt->in_child ? NULL : new_future(pool);
  if (f == NULL) {
    lua_pop(L, nargs + 1);
    return NULL;
  }
  from_lua x = {.pool = pool, .f = f};
  mf_status st = mfi_lua_call(pool->rt, L, encode_and_submit, &x, nargs + 1, 0);
  return st == MF_OK ? f : with_outcome(f, st, mf_error(pool->rt));
}
