// Running tasks inside a task (or inside a submit: serial pools), in a Lua state of their own on
// the same thread. Floor 5; see exec.h.
#include "base/atomic.h"
#include "flow/spec.h"
#include "script/exec_job.h"
#include "script/state.h"

#include <lauxlib.h>

#include <stdlib.h>
#include <string.h>

#define DEEPEST 30

// A state that runs jobs of one pool for its owner's state.
typedef struct spare {
  struct spare *next;
  mfi_handle core;
  lua_State *L;
  mfi_context *m;
  mfi_stop stop;
  uint32_t request; // of serial pools: what is asked for stops the task, not its caller
  bool busy;
} spare;

// ---- States

static int set_up(lua_State *L) {
  spare *s = lua_touserdata(L, 1);
  mfi_context *owner = lua_touserdata(L, 2);
  s->m = mfi_context_open(L, owner->self);
  s->m->core = mfi_object_of(owner->self, s->core);
  mfi_exec_prepare(L, owner->self, s->m->core);
  return 0;
}

static void free_spare(spare *s) {
  if (s->L != NULL)
    mfi_state_close(s->L);
  free(s);
}

static spare *open_spare(mfi_context *owner, mfi_object *core) {
  spare *s = calloc(1, sizeof *s);
  if (s == NULL)
    return NULL;
  s->core = mfi_object_handle(owner->self, core);
  s->L = mfi_exec_open(owner->self, owner->output, mfi_core_of(core)->memory_limit, core);
  if (s->L != NULL) {
    lua_pushcfunction(s->L, set_up);
    lua_pushlightuserdata(s->L, s);
    lua_pushlightuserdata(s->L, owner);
    if (lua_pcall(s->L, 2, 0, 0) != LUA_OK)
      s->m = NULL;
  }
  if (s->m == NULL) {
    free_spare(s);
    return NULL;
  }
  s->m->output = owner->output;
  s->m->worker = owner->worker;
  s->m->core = core;
  s->m->alarm = owner->alarm;
  s->m->depth = owner->depth + 1;
  s->next = owner->spares;
  owner->spares = s;
  return s;
}

static void drop_spare(mfi_context *owner, spare *s) {
  spare **link = &owner->spares;
  while (*link != s)
    link = &(*link)->next;
  *link = s->next;
  mfi_exec_close_spares(s->m);
  free_spare(s);
}

void mfi_exec_close_spares(mfi_context *m) {
  while (m->spares != NULL)
    drop_spare(m, m->spares);
}

void mfi_exec_close_spares_of(mfi_context *m, mfi_handle core) {
  spare *s = m->spares;
  while (s != NULL) {
    spare *next = s->next;
    if (!s->busy && s->core == core)
      drop_spare(m, s);
    s = next;
  }
}

// ---- Running

static void bind_spare(spare *s, mfi_context *owner, bool serial) {
  mfi_stop_bind(&s->stop, s->L, serial ? &s->request : &owner->self->slot->stop,
                mfi_exec_stop_signal(owner->self));
  s->m->stop = &s->stop;
  s->busy = true;
}

static void unbind_spare(spare *s) {
  mfi_stop_clear(&s->stop);
  mfi_stop_unbind(&s->stop);
  s->busy = false;
}

static bool initialize(spare *s, mfi_self *self, mfi_object *core) {
  mfi_ref block = mfi_core_of(core)->spec;
  mfi_spec *spec = mfi_spec_at(self, block);
  return mfi_exec_init_pool(s->m, (const char *)spec + spec->payload_at, spec->payload_size,
                            mfi_message_body(self, block));
}

// A state of the pool that is not in use, ready for jobs, bound. NULL: none to be had.
static spare *ready_spare(mfi_context *owner, mfi_object *core, bool serial) {
  mfi_handle h = mfi_object_handle(owner->self, core);
  spare *s = owner->spares;
  while (s != NULL && (s->busy || s->core != h))
    s = s->next;
  if (s != NULL) {
    bind_spare(s, owner, serial);
    return s;
  }
  s = open_spare(owner, core);
  if (s == NULL)
    return NULL;
  bind_spare(s, owner, serial);
  if (initialize(s, owner->self, core))
    return s;
  unbind_spare(s);
  drop_spare(owner, s);
  return NULL;
}

// The task was stopped in the middle. In a serial pool that ends it alone; in a worker the stop
// goes on.
static void end_stopped(mfi_context *owner, spare *s, mfi_object *core, mfi_ref job, bool serial) {
  mfi_self *self = owner->self;
  uint32_t why = mfi_stop_raised(&s->stop);
  unbind_spare(s);
  if (serial) {
    mfi_death death = {.pid = (uint32_t)mfi_os_pid(), .exitcode = s->stop.exit_code};
    bool exited = (why & MFI_STOP_EXIT) != 0;
    memcpy(death.worker, self->slot->name, sizeof death.worker);
    mfi_status status = exited ? MFI_WORKER_DIED : (mfi_status)(why & MFI_STOP_STATUS);
    mfi_job_settle(self, job);
    mfi_job_charge(self, job, status, &death);
    self->slot->stop = 0;
    self->slot->stop_job = 0;
    mfi_job *j = mfi_job_at(self, job);
    if (mfi_job_ended(j) < j->nitems && !mfi_job_is_cancelled(self, j))
      mfi_pool_give_back(self, core, job);
    else
      mfi_job_end(self, core, job, mfi_job_ended(j) == j->nitems ? MFI_OK : MFI_CANCELLED);
  }
  drop_spare(owner, s);
}

bool mfi_exec_inline(lua_State *L, mfi_object *core, mfi_ref job) {
  mfi_context *owner = mfi_context_of(L);
  bool serial = mfi_core_of(core)->backend == MFI_BACKEND_SERIAL;
  if (owner->depth >= DEEPEST)
    return false;
  spare *s = ready_spare(owner, core, serial);
  if (s == NULL)
    return false;
  if (!mfi_pool_take_this(owner->self, core, job)) {
    unbind_spare(s);
    return false;
  }
  int64_t deadline = owner->self->slot->deadline;
  bool through = mfi_exec_job(s->m, core, job, NULL, 0);
  uint32_t why = through ? 0 : mfi_stop_raised(&s->stop);
  int exit_code = s->stop.exit_code;
  if (through)
    unbind_spare(s);
  else
    end_stopped(owner, s, core, job, serial);
  if (deadline != 0 && owner->alarm != NULL)
    mfi_exec_limit(owner, deadline - mfi_os_now());
  if ((why & MFI_STOP_EXIT) != 0 && !serial)
    mfi_stop_exit(L, exit_code); // the worker ends, with the task that waited
  if (mfi_context_has_due(owner))
    mfi_context_note_due(owner); // the task that ran here has cleared the note of its waits
  if (owner->stop != NULL)
    mfi_stop_check(L);
  return true;
}
