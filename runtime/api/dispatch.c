// Callbacks and descriptors of C hosts. Floor 6; see dispatch.h. Locks: the runtime's mutex. Sleeps
// in mf_future_wait_any.
#include "api/dispatch.h"

#include "api/caller.h"
#include "api/report.h"
#include "base/atomic.h"
#include "flow/beacon.h"
#include "flow/queue.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// When a future whose end another slot is told of is looked at again.
#define POLL_NS (20 * 1000000)

static void note_beacon(mf_runtime *rt) { mfi_beacon_note(&rt->home, rt->beacon_slot); }

// ---- What is due

static void add_due(mf_runtime *rt, mfi_due *d) {
  d->next = NULL;
  if (rt->due_first == NULL)
    rt->due_first = d;
  else
    rt->due_last->next = d;
  rt->due_last = d;
  rt->due_count++;
  mfi_beacon_light(rt->fd);
}

void mfi_dispatch_error(mf_runtime *rt, mf_status status, char *text) {
  mfi_due *d = calloc(1, sizeof *d);
  if (d == NULL || text == NULL) {
    free(d);
    free(text);
    return;
  }
  d->status = status;
  d->text = text;
  add_due(rt, d);
}

// A future that nobody watches any more; its callbacks keep it.
static void report_if_unasked(mf_future *f) {
  mfi_outcome o;
  if (!f->report || load_acquire(&f->asked) != 0)
    return;
  if (mfi_future_outcome(f, &o) && mfi_future_is_failure(o.status))
    mfi_dispatch_error(f->rt, o.status, mfi_future_text(f, &o));
}

static void becomes_due(mf_runtime *rt, mf_future *f) {
  f->watch = MFI_WATCH_OVER;
  mfi_beacon_light(f->fd);
  pthread_cond_broadcast(&rt->ended);
  for (mfi_due *d = f->callbacks, *next; d != NULL; d = next) {
    next = d->next;
    add_due(rt, d); // the callback's use of f goes along
  }
  f->callbacks = NULL;
  report_if_unasked(f);
  mfi_future_unuse(f);
}

// ---- Watching

static mf_future **bucket_of(mf_runtime *rt, mfi_handle h) {
  return &rt->watched[(h ^ h >> 32) % MFI_WATCHED];
}

void mfi_dispatch_watch(mf_future *f) {
  mf_runtime *rt = f->rt;
  if (f->watch != MFI_WATCH_NONE)
    return;
  f->users++;
  f->watch = MFI_WATCH_WANTED;
  f->next_wanted = rt->wanted;
  rt->wanted = f;
  mf_future **bucket = bucket_of(rt, f->handle);
  f->next_watched = *bucket;
  *bucket = f;
  note_beacon(rt);
}

static void unlink_watched(mf_runtime *rt, mf_future *f) {
  mf_future **link = bucket_of(rt, f->handle);
  while (*link != f)
    link = &(*link)->next_watched;
  *link = f->next_watched;
  rt->polled -= f->watch == MFI_WATCH_POLLED;
}

static void over(mf_runtime *rt, mf_future *f) {
  unlink_watched(rt, f);
  becomes_due(rt, f);
}

static void begin_watches(mf_runtime *rt, mfi_self *self) {
  while (rt->wanted != NULL) {
    mf_future *f = rt->wanted;
    rt->wanted = f->next_wanted;
    mfi_status st = mfi_job_watch(self, f->core, f->job, 0);
    if (st == MFI_CLOSED) {
      over(rt, f);
      continue;
    }
    f->watch = st == MFI_OK ? MFI_WATCH_TOLD : MFI_WATCH_POLLED;
    rt->polled += st != MFI_OK;
  }
}

static void take_ends(mf_runtime *rt, mfi_self *self) {
  mfi_handle h;
  while ((h = mfi_pool_due(self, 0)) != 0) {
    mf_future *f = *bucket_of(rt, h);
    while (f != NULL && f->handle != h)
      f = f->next_watched;
    mfi_handle_unhold(self, &self->slot->ending);
    if (f != NULL)
      over(rt, f);
  }
}

// all: whether they have ended or not.
static void look_at_watched(mf_runtime *rt, bool all) {
  mfi_outcome o;
  for (size_t i = 0; i < MFI_WATCHED; i++)
    for (mf_future *f = rt->watched[i], *next; f != NULL; f = next) {
      next = f->next_watched;
      if (all || (f->watch == MFI_WATCH_POLLED && mfi_future_outcome(f, &o)))
        over(rt, f);
    }
}

// ---- The beacon

static mfi_ns turn(mfi_self *self, void *ud) {
  mf_runtime *rt = ud;
  if (exchange_seqcst(&rt->note_wanted, 0u) != 0)
    mfi_callers_note(rt);
  mfi_lock_home(rt);
  begin_watches(rt, self);
  take_ends(rt, self);
  if (rt->polled > 0)
    look_at_watched(rt, false);
  if (mfi_report_is_due(rt))
    mfi_beacon_light(rt->fd);
  mfi_ns until = rt->polled > 0 ? mfi_os_now() + POLL_NS : MFI_NEVER;
  mfi_unlock_home(rt);
  return until;
}

bool mfi_dispatch_open(mf_runtime *rt, const mf_config *c) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&rt->ended, &monotonic);
  pthread_condattr_destroy(&monotonic);
  rt->fd = -1;
  rt->on_error = c->on_error;
  rt->ud = c->ud;
  if (!mfi_report_open(rt, c))
    return false;
  mfi_lock_home(rt); // the first turn waits for rt->beacon_slot
  rt->beacon = mfi_beacon_open(&rt->home, turn, rt);
  if (rt->beacon != NULL)
    rt->beacon_slot = mfi_beacon_slot(rt->beacon);
  mfi_unlock_home(rt);
  return rt->beacon != NULL;
}

void mfi_dispatch_stop(mf_runtime *rt) {
  mfi_beacon_close(rt->beacon, &rt->home);
  rt->beacon = NULL;
  mfi_lock_home(rt);
  rt->wanted = NULL;
  look_at_watched(rt, true);
  for (mf_future *f = rt->futures; f != NULL; f = f->next) {
    f->report = mfi_dispatch_hears_errors(rt);
    report_if_unasked(f);
    f->report = false;
  }
  mfi_unlock_home(rt);
}

// ---- Running callbacks

static void end_use(mf_runtime *rt, mf_future *f) {
  mfi_lock_home(rt);
  f->in_callback = false;
  mfi_values *values = mfi_future_leftover(f);
  mfi_future_unuse(f);
  mfi_unlock_home(rt);
  mfi_values_free(values);
}

static void run(mf_runtime *rt, mfi_due *d) {
  if (d->f != NULL) {
    mfi_future_ask(d->f);
    d->fn(d->f, d->ud);
    end_use(rt, d->f);
  } else if (rt->on_error != NULL) {
    rt->on_error(rt->ud, d->status, d->text);
  } else {
    rt->on_log(rt->ud, MF_LOG_ERROR, d->text);
  }
  free(d->text);
  free(d);
}

// Runs the next one; false: none is due.
static bool run_one(mf_runtime *rt) {
  mfi_lock_home(rt);
  mfi_report *r = mfi_report_take(rt);
  mfi_due *d = r != NULL ? NULL : rt->due_first;
  if (d != NULL) {
    rt->due_first = d->next;
    rt->due_count--;
  }
  if (d != NULL && d->f != NULL)
    d->f->in_callback = true;
  if (r == NULL && d == NULL)
    mfi_beacon_put_out(rt->fd);
  mfi_unlock_home(rt);
  if (r != NULL)
    mfi_report_give(rt, r);
  else if (d != NULL)
    run(rt, d);
  free(r);
  return r != NULL || d != NULL;
}

static int count_due(mf_runtime *rt) {
  mfi_lock_home(rt);
  uint64_t n = rt->due_count + (rt->reports == NULL ? 0 : mfi_queue_size(rt->reports));
  mfi_unlock_home(rt);
  return n < INT_MAX ? (int)n : INT_MAX;
}

int mf_dispatch(mf_runtime *rt, int max) {
  int n = 0;
  if (rt == NULL || max < 0 || rt->in_child || exchange_seqcst(&rt->dispatching, 1u) != 0)
    return 0;
  int most = count_due(rt);
  if (max != 0 && max < most)
    most = max;
  while (n < most && run_one(rt))
    n++;
  if (count_due(rt) == 0)
    run_one(rt); // nothing is: puts the descriptor out
  store_seqcst(&rt->dispatching, 0u);
  return n;
}

void mfi_dispatch_close(mf_runtime *rt) {
  store_seqcst(&rt->dispatching, 1u);
  while (run_one(rt))
    continue;
  store_release(&rt->over, 1u);
  mfi_os_close(rt->fd);
  rt->fd = -1;
}

// ---- Descriptors

static int need_fd(int *fd) {
  if (*fd < 0)
    *fd = mfi_beacon_fd();
  return *fd;
}

int mf_fd(mf_runtime *rt) {
  if (rt == NULL || rt->in_child || load_acquire(&rt->closed) != 0)
    return -1;
  mfi_lock_home(rt);
  int fd = need_fd(&rt->fd);
  if (rt->due_first != NULL || mfi_report_is_due(rt))
    mfi_beacon_light(fd);
  mfi_unlock_home(rt);
  return fd;
}

int mf_future_fd(mf_future *f) {
  mfi_outcome o;
  if (f == NULL || f->rt->in_child)
    return -1;
  mfi_lock_home(f->rt);
  int fd = need_fd(&f->fd);
  if (mfi_future_outcome(f, &o))
    mfi_beacon_light(fd);
  else
    mfi_dispatch_watch(f);
  mfi_unlock_home(f->rt);
  return fd;
}

// ---- Callbacks of futures

static mf_status add_callback(mf_future *f, mfi_due *d) {
  mfi_outcome o;
  f->users++;
  d->f = f;
  if (mfi_future_outcome(f, &o)) {
    add_due(f->rt, d);
    return MF_OK;
  }
  mfi_due **link = &f->callbacks;
  while (*link != NULL)
    link = &(*link)->next;
  *link = d;
  mfi_dispatch_watch(f);
  return MF_OK;
}

mf_status mf_future_on_done(mf_future *f, mf_done_fn *fn, void *ud) {
  if (f == NULL || f->rt->in_child)
    return MF_INVALID;
  if (load_acquire(&f->rt->closed) != 0)
    return MF_CLOSED;
  if (fn == NULL)
    return mfi_fail(f->rt, MF_INVALID, "mf_future_on_done: fn is NULL");
  mfi_due *d = calloc(1, sizeof *d);
  if (d == NULL)
    return mfi_fail(f->rt, MF_NOMEM, "no memory");
  d->fn = fn;
  d->ud = ud;
  mfi_lock_home(f->rt);
  mf_status status = add_callback(f, d);
  mfi_unlock_home(f->rt);
  return status;
}

// ---- Waiting for one of several

typedef struct group {
  mf_future *const *futures;
  size_t n;
} group;

// Under the mutex. The lowest that has ended; n: none. All others are watched.
static size_t find_ended(const group *g) {
  mfi_outcome o;
  for (size_t i = 0; i < g->n; i++)
    if (g->futures[i] != NULL && mfi_future_outcome(g->futures[i], &o))
      return i;
  for (size_t i = 0; i < g->n; i++)
    if (g->futures[i] != NULL)
      mfi_dispatch_watch(g->futures[i]);
  return g->n;
}

// Under the mutex.
static mf_status sleep_until(mf_runtime *rt, mfi_ns until) {
  if (load_acquire(&rt->closed) != 0)
    return MF_CLOSED;
  if (load_seqcst(&rt->interrupted) != 0)
    return MF_INTERRUPTED;
  if (until != MFI_NEVER && mfi_os_now() >= until)
    return MF_TIMEDOUT;
  if (until == MFI_NEVER) {
    pthread_cond_wait(&rt->ended, &rt->mutex);
  } else {
    struct timespec t = {.tv_sec = until / MFI_SECOND, .tv_nsec = until % MFI_SECOND};
    pthread_cond_timedwait(&rt->ended, &rt->mutex, &t);
  }
  return MF_OK;
}

static mf_status wait_any(mf_runtime *rt, const group *g, mfi_ns until, size_t *index) {
  mf_status status = MF_OK;
  mfi_lock_home(rt);
  while ((*index = find_ended(g)) == g->n && status == MF_OK)
    status = until == 0 ? MF_TIMEDOUT : sleep_until(rt, until);
  if (*index < g->n)
    status = MF_OK;
  mfi_unlock_home(rt);
  return status;
}

// NULL: their runtime is *rt.
static const char *check_group(const group *g, mf_runtime **rt) {
  *rt = NULL;
  for (size_t i = 0; g->futures != NULL && i < g->n; i++) {
    if (g->futures[i] == NULL)
      continue;
    if (*rt != NULL && g->futures[i]->rt != *rt)
      return "the futures are of several runtimes";
    *rt = g->futures[i]->rt;
  }
  return *rt == NULL ? "there is no future" : NULL;
}

mf_status mf_future_wait_any(mf_future *const *futures, size_t n, double timeout, size_t *index) {
  group g = {.futures = futures, .n = n};
  mf_runtime *rt;
  size_t found;
  const char *wrong = check_group(&g, &rt);
  if (rt == NULL || rt->in_child)
    return MF_INVALID;
  if (wrong == NULL && (index == NULL || isnan(timeout)))
    wrong = index == NULL ? "index is NULL" : "timeout is NaN";
  if (wrong != NULL)
    return mfi_fail(rt, MF_INVALID, "mf_future_wait_any: %s", wrong);
  mfi_caller *c = mfi_caller_of(rt);
  if (c != NULL)
    store_seqcst(&c->inside, 1u);
  mf_status status = wait_any(rt, &g, mfi_os_deadline(timeout), &found);
  if (c != NULL)
    store_release(&c->inside, 0u);
  if (status != MF_OK)
    return mfi_fail_shortly(rt, status);
  *index = found;
  return MF_OK;
}

// ---- Ctrl-C

// Inside signal handlers, too: what they interrupt may be about to look at errno.
void mf_interrupt(mf_runtime *rt, int on) {
  int error = errno;
  if (rt == NULL)
    return;
  store_seqcst(&rt->interrupted, on != 0);
  store_seqcst(&rt->note_wanted, 1u);
  note_beacon(rt);
  errno = error;
}
