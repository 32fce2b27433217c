// Futures, for C. Floor 6; see future.h. Locks: the runtime's mutex, the core's. Sleeps in
// mf_future_wait.
#include "api/future.h"

#include "api/caller.h"
#include "api/dispatch.h"
#include "api/lua_state.h"
#include "api/value.h"
#include "base/atomic.h"
#include "script/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mfi_job *job_of(const mf_future *f) { return mfi_job_at(&f->rt->home, f->job); }

// ---- Outcomes

bool mfi_future_outcome(mf_future *f, mfi_outcome *out) {
  *out = (mfi_outcome){.status = f->status};
  if (f->handle == 0)
    return true;
  mfi_cursor c = {0};
  if (load_acquire(&job_of(f)->state) != MFI_JOB_ENDED) {
    out->status = MF_TERMINATED;
    return load_acquire(&f->rt->closed) != 0;
  }
  out->status = (mf_status)job_of(f)->status;
  out->has_view = mfi_job_result(&f->rt->home, f->job, &c, &out->view);
  if (out->has_view)
    out->status = (mf_status)out->view.kind;
  return true;
}

// The caller has learned the outcome.
static bool ask(mf_future *f, mfi_outcome *out) {
  if (!mfi_future_outcome(f, out))
    return false;
  store_release(&f->asked, 1u);
  return true;
}

mf_status mf_future_poll(mf_future *f) {
  mfi_outcome o;
  if (f == NULL)
    return MF_INVALID;
  if (ask(f, &o))
    return o.status;
  return load_acquire(&job_of(f)->state) == MFI_JOB_QUEUED ? MF_QUEUED : MF_RUNNING;
}

static mfi_status wait_job(mfi_self *self, void *what, mfi_ns until) {
  return mfi_job_wait(self, *(mfi_ref *)what, until);
}

mf_status mf_future_wait(mf_future *f, double timeout) {
  mfi_outcome o;
  if (f == NULL)
    return MF_INVALID;
  if (isnan(timeout))
    return mfi_fail(f->rt, MF_INVALID, "mf_future_wait: timeout is NaN");
  if (ask(f, &o))
    return o.status;
  mfi_status st = mfi_caller_wait(f->rt, wait_job, &f->job, timeout);
  if (ask(f, &o))
    return o.status;
  return mfi_fail_shortly(f->rt, (mf_status)st);
}

int mf_future_cancel(mf_future *f, int force) {
  if (f == NULL || f->handle == 0 || f->rt->in_child)
    return 0;
  mfi_lock_home(f->rt);
  bool yes = mfi_job_cancel(&f->rt->home, f->core, f->job, force != 0, MFI_CANCELLED);
  mfi_unlock_home(f->rt);
  return yes;
}

// ---- Results

static mfi_message message_of(const mfi_view *v) {
  return (mfi_message){.bytes = v->bytes, .size = v->size, .refs = v->refs, .nrefs = v->nrefs};
}

// Several threads may read at once: the first one's is kept.
static mfi_values *keep_values(mf_future *f, mfi_values *values) {
  mfi_values *none = NULL;
  if (cas_seqcst(&f->values, &none, values))
    return values;
  mfi_values_free(values);
  return none;
}

static mfi_values *values_of(mf_future *f, const mfi_outcome *o) {
  mfi_values *values = load_acquire(&f->values);
  if (values != NULL || !o->has_view || o->view.death)
    return values;
  mfi_message m = message_of(&o->view);
  mfi_value_hooks hooks = mfi_value_hooks_of(f->rt);
  mfi_status st = mfi_values_read(&m, &hooks, &values);
  if (st == MFI_OK)
    return keep_values(f, values);
  mfi_fail_as(f->rt, st, "mf_future_value");
  return NULL;
}

const mf_value *mf_future_value(mf_future *f, int i) {
  mfi_outcome o;
  if (f == NULL || i < 0 || !ask(f, &o) || o.status != MF_OK)
    return NULL;
  mfi_values *values = values_of(f, &o);
  return values == NULL ? NULL : mfi_values_at(values, (size_t)i);
}

const char *mf_future_error(mf_future *f) {
  mfi_outcome o;
  if (f == NULL || !ask(f, &o) || o.status == MF_OK)
    return "";
  char *text = load_acquire(&f->error), *none = NULL;
  if (text != NULL)
    return text;
  text = mfi_future_text(f, &o);
  if (text == NULL)
    return mf_status_string(o.status);
  if (cas_seqcst(&f->error, &none, text))
    return text;
  free(text);
  return none;
}

// ---- To Lua

typedef struct pushing {
  mf_future *f;
  mfi_outcome o;
  int n;
} pushing;

static int push_outcome(mfi_context *m, lua_State *L, void *arg) {
  pushing *p = arg;
  if (!p->o.has_view || p->o.view.death) {
    mfi_error_push(L, mf_status_string(p->o.status), "%s", mf_future_error(p->f));
    p->n = -1;
    return 1;
  }
  mfi_message message = message_of(&p->o.view);
  p->n = mfi_decode(m->codec, L, &message, MFI_LUA_DECODE);
  if (p->o.status == MF_OK)
    return p->n;
  lua_settop(L, 1); // the error value, not its traceback
  p->n = -1;
  return 1;
}

int mf_future_push(mf_future *f, lua_State *L) {
  pushing p = {.f = f};
  if (f == NULL || L == NULL || !ask(f, &p.o))
    return -2;
  mf_status st = mfi_lua_call(f->rt, L, push_outcome, &p, 0, LUA_MULTRET);
  return st == MF_OK ? p.n : -2;
}

// ---- The end of a handle

void mfi_future_ask(mf_future *f) {
  mfi_outcome o;
  ask(f, &o);
}

void mfi_future_unuse(mf_future *f) {
  mf_runtime *rt = f->rt;
  if (--f->users > 0)
    return;
  if (f->handle != 0)
    mfi_handle_drop(&rt->home, f->place);
  mfi_os_close(f->fd);
  free(f->error);
  mfi_delete(rt, f, sizeof *f);
  rt->refs--; // never the last: the caller, or mf_close, has one
}

mfi_values *mfi_future_leftover(mf_future *f) {
  if (!f->released || f->in_callback)
    return NULL;
  mfi_values *values = f->values;
  f->values = NULL;
  return values;
}

static void unlist(mf_runtime *rt, mf_future *f) {
  if (f->next != NULL)
    f->next->prev = f->prev;
  if (f->prev != NULL)
    f->prev->next = f->next;
  else
    rt->futures = f->next;
}

// Its failure, if nobody has asked: now, or when there is one.
static void leave_report(mf_runtime *rt, mf_future *f) {
  mfi_outcome o;
  if (!mfi_dispatch_hears_errors(rt) || load_acquire(&rt->closed) != 0)
    return;
  if (load_acquire(&f->asked) != 0)
    return;
  if (!mfi_future_outcome(f, &o)) {
    f->report = true;
    mfi_dispatch_watch(f);
  } else if (mfi_future_is_failure(o.status)) {
    const char *text = load_acquire(&f->error);
    mfi_dispatch_error(rt, o.status, text != NULL ? strdup(text) : mfi_future_text(f, &o));
  }
}

void mf_future_release(mf_future *f) {
  if (f == NULL || f->rt->in_child)
    return;
  mf_runtime *rt = f->rt;
  mfi_lock_home(rt);
  rt->refs++;
  f->released = true;
  mfi_values *values = mfi_future_leftover(f);
  unlist(rt, f);
  leave_report(rt, f);
  mfi_future_unuse(f);
  mfi_unlock_home(rt);
  mfi_values_free(values);
  mfi_runtime_leave(rt);
}
