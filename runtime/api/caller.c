// Calling threads. Floor 6; see caller.h. Locks: `living`, then the runtime's mutex. Sleeps in
// mfi_caller_wait.
#include "api/caller.h"

#include "api/lua_state.h"
#include "base/atomic.h"
#include "flow/bury.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A worker runs on one thread from its beginning to its end.
static _Thread_local mfi_self *worker_here;

void mfi_caller_is_worker(mfi_self *self) { worker_here = self; }

void mfi_caller_was_worker(mf_runtime *rt) {
  mfi_caller *c = pthread_getspecific(rt->key);
  worker_here = NULL;
  if (c == NULL || c->own.slot != NULL)
    return;
  pthread_setspecific(rt->key, NULL);
  free(c);
}

static mfi_self *worker_of(const mf_runtime *rt) {
  mfi_self *self = worker_here;
  return self != NULL && self->runtime == &rt->rt ? self : NULL;
}

// ---- Coming and going

// The callers that have slots, of all runtimes: a thread that ends while its runtime is closed
// finds here whether its caller is still there.
static struct {
  pthread_mutex_t mutex;
  mfi_caller *first;
} living = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void lock(mf_runtime *rt) {
  pthread_mutex_lock(&living.mutex);
  mfi_lock_home(rt);
}

static void unlock(mf_runtime *rt) {
  mfi_unlock_home(rt);
  pthread_mutex_unlock(&living.mutex);
}

// Under both. Another one may lie where it lay, but that is another thread's.
static bool is_living(const mfi_caller *c) {
  const mfi_caller *other = living.first;
  while (other != NULL && other != c)
    other = other->next_living;
  return other != NULL && pthread_equal(other->thread, pthread_self());
}

static void enter(mf_runtime *rt, mfi_caller *c) {
  c->thread = pthread_self();
  c->next = rt->callers;
  rt->callers = c;
  c->next_living = living.first;
  living.first = c;
}

static void leave(mf_runtime *rt, mfi_caller *c) {
  mfi_caller **link = &rt->callers, **among = &living.first;
  while (*link != c)
    link = &(*link)->next;
  *link = c->next;
  while (*among != c)
    among = &(*among)->next_living;
  *among = c->next_living;
  mfi_slot_bury(&rt->home, c->own.index);
}

static bool take_slot(mf_runtime *rt, mfi_caller *c) {
  uint32_t slot = mfi_slot_take(&rt->home);
  if (slot == 0)
    return false;
  c->own = mfi_self_make(&rt->rt, slot);
  c->own.slot->pid = (uint32_t)mfi_os_pid();
  c->own.slot->tid = (uint32_t)mfi_os_tid();
  strcpy(c->own.slot->name, "host");
  rt->home.slot->starting = 0;
  return true;
}

static bool enlist(mf_runtime *rt, mfi_caller *c) {
  if (worker_of(rt) != NULL)
    return true;
  if (rt->in_child)
    return false; // its mutexes may have been held when it was forked
  lock(rt);
  bool ok = load_acquire(&rt->closed) == 0 && take_slot(rt, c);
  if (ok)
    enter(rt, c);
  unlock(rt);
  return ok;
}

// A caller without a slot is its thread's alone.
static void end_own(mf_runtime *rt, mfi_caller *c) {
  if (c->own.slot != NULL) {
    lock(rt);
    leave(rt, c);
    unlock(rt);
  }
  free(c);
}

mfi_caller *mfi_caller_of(mf_runtime *rt) {
  if (load_seqcst(&rt->closed) != 0)
    return NULL; // the key is gone
  mfi_caller *c = pthread_getspecific(rt->key);
  if (c != NULL && (c->own.slot != NULL || worker_of(rt) != NULL))
    return c;
  c = calloc(1, sizeof *c);
  if (c == NULL)
    return NULL;
  c->rt = rt;
  if (enlist(rt, c) && pthread_setspecific(rt->key, c) == 0)
    return c;
  end_own(rt, c);
  return NULL;
}

// One without a slot was ended by its worker.
void mfi_caller_destroy(void *caller) {
  mfi_caller *c = caller;
  pthread_mutex_lock(&living.mutex);
  bool ours = is_living(c);
  if (ours) {
    mf_runtime *rt = c->rt; // mfi_callers_end waits for `living`
    mfi_lock_home(rt);
    leave(rt, c);
    mfi_unlock_home(rt);
  }
  pthread_mutex_unlock(&living.mutex);
  if (ours)
    free(c);
}

mfi_self *mfi_caller_self(mfi_caller *c) {
  mfi_self *worker = worker_of(c->rt);
  return worker != NULL ? worker : &c->own;
}

// ---- Errors

mf_status mfi_fail(mf_runtime *rt, mf_status status, const char *format, ...) {
  mfi_caller *c = mfi_caller_of(rt);
  va_list args;
  if (c == NULL)
    return status;
  va_start(args, format);
  vsnprintf(c->error, sizeof c->error, format, args);
  va_end(args);
  return status;
}

mf_status mfi_fail_shortly(mf_runtime *rt, mf_status status) {
  mfi_caller *c = mfi_caller_of(rt);
  if (c != NULL)
    strcpy(c->error, mf_status_string(status)); // a word
  return status;
}

static const char *reason(mfi_status st) {
  switch (st) {
  case MFI_NOMEM:
    return "shared memory is used up";
  case MFI_CLOSED:
    return "closed";
  case MFI_INVALID:
    return "an argument is wrong";
  case MFI_DECODE:
    return "the bytes are no message";
  default:
    return mf_status_string((mf_status)st);
  }
}

mf_status mfi_fail_as(mf_runtime *rt, mfi_status st, const char *what) {
  if (st == MFI_OK)
    return MF_OK;
  const char *why = st == MFI_SYSTEM ? strerror(errno) : reason(st);
  return mfi_fail(rt, (mf_status)st, "%s: %s", what, why);
}

const char *mf_error(mf_runtime *rt) {
  mfi_caller *c = rt == NULL ? NULL : mfi_caller_of(rt);
  return c == NULL ? "" : c->error;
}

// ---- Waiting

// Why a wait that was interrupted ends; MFI_OK: it goes on.
static mfi_status look_up(mf_runtime *rt, mfi_self *self) {
  if (load_seqcst(&rt->closed) != 0)
    return MFI_CLOSED;
  if (load_seqcst(&rt->interrupted) != 0 || load_acquire(&self->slot->stop) != 0)
    return MFI_INTERRUPTED;
  mfi_note_clear(self, MFI_NOTE_INTERRUPT | MFI_NOTE_DUE | MFI_NOTE_STOP);
  return load_seqcst(&rt->interrupted) != 0 ? MFI_INTERRUPTED : MFI_OK;
}

static mfi_status wait_inside(mf_runtime *rt, mfi_self *self, mfi_waiter *wait, void *what,
                              mfi_ns until) {
  mfi_status st = wait(self, what, 0);
  while (st == MFI_INTERRUPTED || (st == MFI_TIMEDOUT && until != 0)) {
    mfi_status why = look_up(rt, self);
    if (why != MFI_OK)
      return why;
    st = wait(self, what, until);
    if (st == MFI_TIMEDOUT)
      break;
  }
  return st;
}

mfi_status mfi_caller_wait(mf_runtime *rt, mfi_waiter *wait, void *what, double timeout) {
  mfi_caller *c = mfi_caller_of(rt);
  if (isnan(timeout))
    return MFI_INVALID;
  if (c == NULL)
    return load_acquire(&rt->closed) != 0 ? MFI_CLOSED : MFI_NOMEM;
  store_seqcst(&c->inside, 1u); // pairs with the load in mfi_callers_wait
  mfi_status st = MFI_CLOSED;
  if (load_seqcst(&rt->closed) == 0)
    st = wait_inside(rt, mfi_caller_self(c), wait, what, mfi_os_deadline(timeout));
  store_release(&c->inside, 0u);
  return st;
}

static void note_callers(mf_runtime *rt) {
  pthread_cond_broadcast(&rt->ended);
  mfi_lua_states_note(rt);
  for (mfi_caller *c = rt->callers; c != NULL; c = c->next) {
    mfi_lock_take(&rt->home, &c->own.slot->lock);
    mfi_note(&rt->home, c->own.index, MFI_NOTE_INTERRUPT);
    mfi_lock_give(&rt->home, &c->own.slot->lock);
  }
}

void mfi_callers_note(mf_runtime *rt) {
  mfi_lock_home(rt);
  note_callers(rt);
  mfi_unlock_home(rt);
}

static bool any_inside(mf_runtime *rt) {
  for (mfi_caller *c = rt->callers; c != NULL; c = c->next)
    if (load_seqcst(&c->inside) != 0)
      return true;
  return false;
}

void mfi_callers_wait(mf_runtime *rt) {
  mfi_lock_home(rt);
  mfi_lua_states_note(rt);
  while (any_inside(rt)) {
    note_callers(rt);
    mfi_unlock_home(rt);
    mfi_os_sleep_until(mfi_os_now() + 1000000);
    mfi_lock_home(rt);
  }
  mfi_unlock_home(rt);
}

void mfi_callers_end(mf_runtime *rt) {
  lock(rt);
  pthread_key_delete(rt->key);
  while (rt->callers != NULL) {
    mfi_caller *c = rt->callers;
    leave(rt, c);
    free(c);
  }
  unlock(rt);
}
