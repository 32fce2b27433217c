// mf_open and mf_close: where the rooms are put together for C hosts. Floor 6; see runtime.h.
// Locks: the runtime's mutex. mf_close sleeps, two seconds at most.
#include "api/runtime.h"

#include "api/caller.h"
#include "api/dispatch.h"
#include "api/report.h"
#include "api/serial.h"
#include "api/worker.h"
#include "base/atomic.h"
#include "flow/waits.h"
#include "flow/warden.h"
#include "os/cpu.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOSE_SECONDS 2.0

// ---- Numbers that must stay equal

#define SAME(name) _Static_assert((int)MF_##name == (int)MFI_##name, "MF_" #name)
SAME(OK);
SAME(QUEUED);
SAME(RUNNING);
SAME(TIMEDOUT);
SAME(EMPTY);
SAME(FULL);
SAME(INTERRUPTED);
SAME(CLOSED);
SAME(FAILED);
SAME(WORKER_DIED);
SAME(TASK_TIMEOUT);
SAME(MEMORY_LIMIT);
SAME(CANCELLED);
SAME(TERMINATED);
SAME(INITIALIZER);
SAME(NOT_SENDABLE);
SAME(DECODE);
SAME(DEADLOCK);
SAME(INVALID);
SAME(TYPE);
SAME(TOO_BIG);
SAME(NOMEM);
SAME(SYSTEM);
#undef SAME
_Static_assert((int)MF_LOG_ERROR == (int)MFI_LOG_ERROR, "MF_LOG_ERROR");
_Static_assert((int)MF_LOG_WARNING == (int)MFI_LOG_WARNING, "MF_LOG_WARNING");
_Static_assert((int)MF_LOG_INFO == (int)MFI_LOG_INFO, "MF_LOG_INFO");
_Static_assert((int)MF_PROCESS == (int)MFI_BACKEND_PROCESS, "MF_PROCESS");
_Static_assert((int)MF_THREAD == (int)MFI_BACKEND_THREAD, "MF_THREAD");
_Static_assert((int)MF_SERIAL == (int)MFI_BACKEND_SERIAL, "MF_SERIAL");

// ---- Small things

const char *mf_version(void) { return MF_VERSION; }

int mf_cpu_count(void) { return mfi_os_cpu_count(); }

const char *mf_status_string(mf_status status) {
  static const struct {
    mf_status status;
    const char *name;
  } names[] = {{MF_OK, "ok"},
               {MF_QUEUED, "queued"},
               {MF_RUNNING, "running"},
               {MF_TIMEDOUT, "timeout"},
               {MF_EMPTY, "empty"},
               {MF_FULL, "full"},
               {MF_INTERRUPTED, "interrupted"},
               {MF_CLOSED, "closed"},
               {MF_FAILED, "failed"},
               {MF_WORKER_DIED, "worker_died"},
               {MF_TASK_TIMEOUT, "task_timeout"},
               {MF_MEMORY_LIMIT, "memory_limit"},
               {MF_CANCELLED, "cancelled"},
               {MF_TERMINATED, "terminated"},
               {MF_INITIALIZER, "initializer"},
               {MF_NOT_SENDABLE, "not_sendable"},
               {MF_DECODE, "decode"},
               {MF_DEADLOCK, "deadlock"},
               {MF_INVALID, "invalid"},
               {MF_TYPE, "type"},
               {MF_TOO_BIG, "too_big"},
               {MF_NOMEM, "no_memory"},
               {MF_SYSTEM, "system"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].status == status)
      return names[i].name;
  return "unknown";
}

size_t mf_dump_waits(mf_runtime *rt, char *buffer, size_t size) {
  mfi_caller *c = rt == NULL ? NULL : mfi_caller_of(rt);
  size_t room = buffer == NULL ? 0 : size;
  if (room != 0)
    buffer[0] = '\0';
  return c == NULL ? 0 : mfi_waits_dump(mfi_caller_self(c), buffer, room);
}

// ---- Lives

static void free_runtime(mf_runtime *rt) {
  // A thread that was left behind still looks at the region.
  if (load_acquire(&rt->rt.threads) != 0)
    return;
  mfi_region_close(&rt->home);
  pthread_mutex_destroy(&rt->mutex);
  pthread_cond_destroy(&rt->ended);
  mfi_worker_host_fini(rt);
  free(rt->path);
  free(rt->cpath);
  free(rt);
}

void *mfi_new(mf_runtime *rt, size_t size) {
  const mfi_exec_host *h = &rt->host;
  void *p = h->alloc != NULL ? h->alloc(h->alloc_ud, NULL, 0, size) : malloc(size);
  return p == NULL ? NULL : memset(p, 0, size);
}

void mfi_delete(mf_runtime *rt, void *p, size_t size) {
  if (rt->host.alloc == NULL)
    free(p);
  else if (p != NULL)
    rt->host.alloc(rt->host.alloc_ud, p, size, 0);
}

void mfi_runtime_listen(mf_runtime *rt) {
  if (!rt->stop_installed && mfi_stop_install(rt->host.stop_signal) == MFI_OK)
    rt->stop_installed = true;
}

bool mfi_runtime_enter(mf_runtime *rt) {
  if (rt->in_child)
    return false; // its mutex may have been held when it was forked
  mfi_lock_home(rt);
  bool ok = load_acquire(&rt->closed) == 0;
  rt->refs += ok;
  mfi_unlock_home(rt);
  return ok;
}

void mfi_runtime_leave(mf_runtime *rt) {
  mfi_lock_home(rt);
  bool last = --rt->refs == 0;
  mfi_unlock_home(rt);
  if (last)
    free_runtime(rt);
}

// ---- Opening

static const mfi_runtime_up up = {
    .run = mfi_worker_run_host, .poke = mfi_exec_poke, .log = mfi_report_log};

const char *mfi_check_limits(const mf_limits *l) {
  if (l == NULL)
    return NULL;
  if (l->size != sizeof *l)
    return "mf_limits.size is not sizeof(mf_limits)";
  if (!(l->task_timeout >= 0))
    return "mf_limits.task_timeout is not negative";
  if ((l->libs & ~(unsigned)MF_LIB_ALL) != 0)
    return "mf_limits.libs has bits that are no MF_LIB_*";
  return NULL;
}

static const char *check_config(const mf_config *c) {
  if (c->size != sizeof *c)
    return "mf_config.size is not sizeof(mf_config)";
  if (c->backend < MF_DEFAULT || c->backend > MF_SERIAL)
    return "mf_config.backend is no mf_backend";
  if (c->signal_number != 0 && (c->signal_number < SIGRTMIN || c->signal_number > SIGRTMAX))
    return "mf_config.signal_number is no real-time signal";
  return mfi_check_limits(c->limits);
}

static bool copy_text(const char *from, char **to) {
  *to = from == NULL ? NULL : strdup(from);
  return from == NULL || *to != NULL;
}

static bool take_config(mf_runtime *rt, const mf_config *c) {
  rt->backend = c->backend == MF_DEFAULT ? MF_THREAD : c->backend;
  if (c->limits != NULL)
    rt->limits = *c->limits;
  mfi_worker_host_init(rt, c);
  return copy_text(c->path, &rt->path) && copy_text(c->cpath, &rt->cpath);
}

static bool open_region(mf_runtime *rt, size_t size) {
  if (mfi_region_open(&rt->home, size) != MFI_OK)
    return false;
  rt->rt = (mfi_runtime){.region = rt->home.region,
                         .fd = rt->home.fd,
                         .ops = mfi_flow_ops,
                         .drops = mfi_flow_drops,
                         .up = &up,
                         .warden_lock = PTHREAD_MUTEX_INITIALIZER,
                         .warden = -1,
                         .host = &rt->host};
  rt->home.ops = rt->rt.ops;
  rt->home.drops = rt->rt.drops;
  rt->home.runtime = &rt->rt;
  rt->home.slot->starting = 0;
  rt->home.slot->pid = (uint32_t)mfi_os_pid();
  rt->home.slot->tid = (uint32_t)mfi_os_tid();
  strcpy(rt->home.slot->name, "host");
  return true;
}

static mf_runtime *give_up(mf_runtime *rt, const char *why, char *err, size_t errlen) {
  if (err != NULL && errlen > 0)
    snprintf(err, errlen, "%s", why);
  if (rt != NULL) {
    free(rt->path);
    free(rt->cpath);
    free(rt);
  }
  return NULL;
}

mf_runtime *mf_open(const mf_config *config, char *err, size_t errlen) {
  mf_config none = {.size = sizeof none};
  const mf_config *c = config == NULL ? &none : config;
  const char *wrong = check_config(c);
  if (wrong != NULL)
    return give_up(NULL, wrong, err, errlen);
  mf_runtime *rt = calloc(1, sizeof *rt);
  if (rt == NULL || !take_config(rt, c))
    return give_up(rt, "no memory", err, errlen);
  if (pthread_key_create(&rt->key, mfi_caller_destroy) != 0)
    return give_up(rt, "no thread-specific key to be had", err, errlen);
  if (!open_region(rt, c->shared_limit)) {
    pthread_key_delete(rt->key);
    return give_up(rt, "no shared memory to be had", err, errlen);
  }
  pthread_mutex_init(&rt->mutex, NULL);
  rt->refs = 1;
  mfi_serial_open(rt);
  if (mfi_dispatch_open(rt, c))
    return rt;
  if (err != NULL && errlen > 0)
    snprintf(err, errlen, "no thread, or no shared memory, to be had");
  pthread_key_delete(rt->key);
  free_runtime(rt);
  return NULL;
}

// ---- Closing

static void terminate_pools(mf_runtime *rt) {
  for (mf_pool *p = rt->pools; p != NULL; p = p->next)
    mfi_pool_terminate(&rt->home, p->core, MFI_TERMINATED);
}

// Behind the last callback: until then any of them may call with a pool, or end it.
static void free_pools(mf_runtime *rt) {
  mfi_lock_home(rt);
  for (mf_pool *p = rt->pools, *next; p != NULL; p = next) {
    next = p->next;
    mfi_handle_drop(&rt->home, p->place);
    mfi_delete(rt, p, sizeof *p);
  }
  rt->pools = NULL;
  mfi_unlock_home(rt);
}

static bool stop_worker(mfi_self *self, mfi_handle h) {
  uint32_t place;
  if (h == 0 || mfi_handle_add(self, h, &place) != MFI_OK)
    return false;
  mfi_worker_stop(self, mfi_object_of(self, h), SIGTERM);
  mfi_handle_drop(self, place);
  return true;
}

// Every worker of the runtime, whoever started it. How many there are.
static int stop_workers(mf_runtime *rt) {
  mfi_self *self = &rt->home;
  uint64_t top = load_acquire(&self->region->slots_top);
  int n = 0;
  for (uint32_t i = 1; i < top; i++)
    n += stop_worker(self, load_acquire(&mfi_slot_at(self, i)->worker));
  return n;
}

// A signal may be lost on the way into a system call: it is sent again.
static void wait_for_workers(mf_runtime *rt) {
  mfi_ns until = mfi_os_deadline(CLOSE_SECONDS), again = 20000000, next = mfi_os_now() + again;
  while (mfi_os_now() < until) {
    bool due = mfi_os_now() >= next;
    mfi_lock_home(rt);
    int n = due ? stop_workers(rt) : mfi_worker_count(rt);
    mfi_unlock_home(rt);
    if (n == 0 && load_acquire(&rt->rt.threads) == 0)
      return;
    if (due)
      next = mfi_os_now() + (again *= 2);
    mfi_os_sleep_until(mfi_os_now() + 500000);
  }
}

void mf_close(mf_runtime *rt) {
  if (rt == NULL || rt->in_child)
    return;
  store_seqcst(&rt->closed, 1u);
  mfi_callers_wait(rt);
  mfi_lock_home(rt);
  store_seqcst(&rt->rt.region->closing, 1u);
  terminate_pools(rt);
  stop_workers(rt);
  mfi_unlock_home(rt);
  wait_for_workers(rt);
  mfi_warden_end(&rt->rt);
  mfi_serial_close(rt);
  mfi_callers_end(rt);
  mfi_dispatch_stop(rt);
  mfi_dispatch_close(rt);
  free_pools(rt);
  if (rt->stop_installed && load_acquire(&rt->rt.threads) == 0)
    mfi_stop_uninstall(rt->host.stop_signal);
  mfi_runtime_leave(rt);
}
