// Pools, for C. Floor 6. Locks: the runtime's mutex, the core's. Sleeps in mf_pool_close and
// mf_pool_wait.
#include "api/caller.h"
#include "api/value.h"
#include "api/worker.h"
#include "base/atomic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Opening

static const char *check_config(const mf_pool_config *c) {
  if (c->size != sizeof *c)
    return "mf_pool_config.size is not sizeof(mf_pool_config)";
  if (c->backend < MF_DEFAULT || c->backend > MF_SERIAL)
    return "mf_pool_config.backend is no mf_backend";
  if (c->workers > (int)MFI_MAX_WORKERS)
    return "mf_pool_config.workers is more than can be";
  if (c->workers < 0 || c->max_tasks_per_worker < 0)
    return "mf_pool_config.workers and max_tasks_per_worker are not negative";
  return mfi_check_limits(c->limits);
}

// What mfi_parcel_open reads: the context, then the call of the initializer.
typedef struct payload {
  mfi_value_bytes context, call;
} payload;

static uint64_t pad8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

static void copy_payload(const void *ctx, void *to) {
  const payload *p = ctx;
  mfi_parcel_head head = {.size = p->context.size};
  char *at = to;
  memcpy(at, &head, sizeof head);
  memcpy(at + sizeof head, p->context.bytes, p->context.size);
  memcpy(at + sizeof head + pad8(head.size), p->call.bytes, p->call.size);
}

static mfi_source source_of(const payload *p) {
  uint64_t size = sizeof(mfi_parcel_head) + pad8(p->context.size) + p->call.size;
  return (mfi_source){.size = size, .copy = copy_payload, .ctx = p};
}

static mfi_status write_payload(mf_runtime *rt, const mf_pool_config *c, payload *p) {
  mfi_value_hooks hooks = mfi_value_hooks_of(rt);
  mf_value pairs[4];
  mf_table context = {.pairs = pairs};
  if (rt->path != NULL) {
    pairs[0] = mf_text("path");
    pairs[1] = mf_text(rt->path);
    context.npairs++;
  }
  if (rt->cpath != NULL) {
    pairs[2 * context.npairs] = mf_text("cpath");
    pairs[2 * context.npairs + 1] = mf_text(rt->cpath);
    context.npairs++;
  }
  mf_value table = mf_of_table(&context), call[3] = {mf_nil()};
  if (c->init_source != NULL) {
    call[0] = mf_boolean(1);
    call[1] = mf_text(c->init_source);
    call[2] = mf_text("=init_source");
  }
  mfi_status st = mfi_values_write(&table, 1, "context", &hooks, &p->context);
  if (st == MFI_OK)
    st = mfi_values_write(call, c->init_source != NULL ? 3 : 1, "init_source", &hooks, &p->call);
  return st;
}

static int64_t nanoseconds(double s) { return s > 0 && s < 1e9 ? (int64_t)(s * 1e9) + 1 : 0; }

static mfi_pool_config flow_config(const mf_runtime *rt, const mf_pool_config *c,
                                   const payload *p) {
  const mf_limits *limits = c->limits != NULL ? c->limits : &rt->limits;
  return (mfi_pool_config){.fragile = c->init_source != NULL || load_acquire(&rt->given) != NULL,
                           .backend =
                               (uint32_t)(c->backend == MF_DEFAULT ? rt->backend : c->backend),
                           .workers = (uint32_t)(c->workers == 0 ? mfi_os_cpu_count() : c->workers),
                           .max_tasks = (uint32_t)c->max_tasks_per_worker,
                           .memory_limit = limits->memory,
                           .limit = nanoseconds(limits->task_timeout),
                           .libs = limits->libs,
                           .payload = source_of(p)};
}

// Under the mutex.
static mfi_status make(mf_runtime *rt, mfi_pool_config *c, const char *name, mf_pool *pool) {
  mfi_self *self = &rt->home;
  char room[MFI_NAME_SIZE];
  snprintf(room, sizeof room, "Pool-%llu",
           (unsigned long long)(load_relaxed(&self->region->numbers[MFI_KIND_POOL]) + 1));
  c->name = name != NULL ? name : room;
  if (c->backend == MFI_BACKEND_PROCESS)
    mfi_worker_refresh(rt);
  mfi_runtime_listen(rt);
  mfi_status st = mfi_pool_make(self, c, &pool->handle, &pool->place);
  if (st != MFI_OK)
    return st;
  pool->rt = rt;
  pool->core = mfi_pool_core(self, pool->handle);
  pool->next = rt->pools;
  rt->pools = pool;
  return MFI_OK;
}

static mf_pool *open_pool(mf_runtime *rt, const mf_pool_config *c) {
  payload p = {0};
  mf_pool *pool = mfi_new(rt, sizeof *pool);
  mfi_status st = pool == NULL ? MFI_NOMEM : write_payload(rt, c, &p);
  if (st == MFI_OK) {
    mfi_pool_config config = flow_config(rt, c, &p);
    mfi_lock_home(rt);
    st = load_acquire(&rt->closed) != 0 ? MFI_CLOSED : make(rt, &config, c->name, pool);
    mfi_unlock_home(rt);
  }
  mfi_value_bytes_fini(&p.context);
  mfi_value_bytes_fini(&p.call);
  if (st == MFI_OK)
    return pool;
  mfi_fail_as(rt, st, "mf_pool_open");
  mfi_delete(rt, pool, sizeof *pool);
  return NULL;
}

mf_pool *mf_pool_open(mf_runtime *rt, const mf_pool_config *config) {
  mf_pool_config none = {.size = sizeof none};
  const mf_pool_config *c = config == NULL ? &none : config;
  if (rt == NULL || rt->in_child)
    return NULL;
  const char *wrong = check_config(c);
  if (wrong != NULL) {
    mfi_fail(rt, MF_INVALID, "%s", wrong);
    return NULL;
  }
  return open_pool(rt, c);
}

// ---- Waiting

typedef struct calm {
  mfi_object *core;
  bool gone;
} calm;

static mfi_status wait_calm(mfi_self *self, void *what, mfi_ns until) {
  calm *c = what;
  return mfi_pool_wait(self, c->core, c->gone, until);
}

mf_status mf_pool_wait(mf_pool *pool, double timeout) {
  if (pool == NULL)
    return MF_INVALID;
  calm c = {.core = pool->core};
  mfi_status st = mfi_caller_wait(pool->rt, wait_calm, &c, timeout);
  return mfi_fail_as(pool->rt, st, "mf_pool_wait");
}

// ---- Ending

static void end(mf_pool *pool) {
  mf_runtime *rt = pool->rt;
  mfi_lock_home(rt);
  mf_pool **link = &rt->pools;
  while (*link != pool)
    link = &(*link)->next;
  *link = pool->next;
  mfi_handle_drop(&rt->home, pool->place);
  mfi_unlock_home(rt);
  mfi_delete(rt, pool, sizeof *pool);
}

void mf_pool_close(mf_pool *pool) {
  if (pool == NULL || pool->rt->in_child)
    return;
  mfi_caller *c = mfi_caller_of(pool->rt);
  calm gone = {.core = pool->core, .gone = true};
  if (c != NULL) {
    mfi_pool_close(mfi_caller_self(c), pool->core);
    mfi_status st = mfi_caller_wait(pool->rt, wait_calm, &gone, MF_FOREVER);
    if (st == MFI_INTERRUPTED)
      return; // its tasks go on; mf_close frees it
  }
  end(pool);
}

void mf_pool_terminate(mf_pool *pool) {
  if (pool == NULL || pool->rt->in_child)
    return;
  mfi_lock_home(pool->rt);
  mfi_pool_terminate(&pool->rt->home, pool->core, MFI_TERMINATED);
  mfi_unlock_home(pool->rt);
  end(pool);
}

// ---- The rest

mf_status mf_pool_resize(mf_pool *pool, int workers) {
  if (pool == NULL)
    return MF_INVALID;
  mf_runtime *rt = pool->rt;
  mfi_caller *c = mfi_caller_of(rt);
  if (workers < 1 || workers > (int)MFI_MAX_WORKERS)
    return mfi_fail(rt, MF_INVALID, "mf_pool_resize: workers is at least 1, at most %d",
                    (int)MFI_MAX_WORKERS);
  if (c == NULL)
    return load_acquire(&rt->closed) != 0 ? MF_CLOSED : MF_NOMEM;
  return mfi_fail_as(rt, mfi_pool_resize(mfi_caller_self(c), pool->core, (uint32_t)workers),
                     "mf_pool_resize");
}

mf_status mf_pool_stats(mf_pool *pool, mf_stats *out) {
  if (pool == NULL)
    return MF_INVALID;
  if (out == NULL)
    return mfi_fail(pool->rt, MF_INVALID, "mf_pool_stats: out is NULL");
  mfi_caller *caller = mfi_caller_of(pool->rt);
  if (out->size != sizeof *out)
    return mfi_fail(pool->rt, MF_INVALID, "mf_stats.size is not sizeof(mf_stats)");
  if (caller == NULL)
    return MF_INVALID;
  mfi_self *self = mfi_caller_self(caller);
  uint32_t idle = mfi_pool_idle(self, pool->core);
  const mfi_counts c = mfi_pool_count(self, pool->core);
  *out = (mf_stats){.size = sizeof *out,
                    .workers = (int)c.workers,
                    .idle = (int)(idle < c.workers ? idle : c.workers),
                    .submitted = c.submitted,
                    .queued = c.queued,
                    .running = c.running,
                    .done = c.done,
                    .failed = c.failed,
                    .cancelled = c.cancelled,
                    .died = c.died};
  return MF_OK;
}
