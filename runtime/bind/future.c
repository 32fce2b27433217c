// Futures, as the Lua half builds on them. Floor 7. Sleeps in future_wait.
#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "script/exec.h"

#include <string.h>

static mfi_box *check(lua_State *L) { return mfi_bind_check(L, 1, MFI_KIND_JOB); }
static mfi_job *job_of(const mfi_box *b) { return mfi_job_at(b->m->self, b->job); }

// ---- Waiting, and helping while one waits

bool mfi_bind_may_help(const mfi_context *m, mfi_ns until) {
  return m->job != 0 && until == MFI_NEVER && m->self->slot->held == 0;
}

mfi_status mfi_bind_sleep(mfi_context *m, mfi_wait_fn *wait, void *what, mfi_ns until) {
  if (m->job == 0 || m->core == NULL)
    return wait(m->self, what, until);
  mfi_status st = wait(m->self, what, 0);
  if (st != MFI_TIMEDOUT || until == 0)
    return st;
  mfi_pool_sleep(m->self, m->core);
  st = wait(m->self, what, until);
  mfi_pool_wake(m->self, m->core);
  return st;
}

mfi_status mfi_bind_wait(lua_State *L, mfi_object *core, mfi_wait_fn *wait, mfi_next_fn *next,
                         void *what, mfi_ns until) {
  mfi_context *m = mfi_bind_context(L);
  if (m->output != NULL)
    mfi_output_flush(m->output);
  for (;;) {
    mfi_ref job = next != NULL && mfi_bind_may_help(m, until) ? next(m->self, what) : 0;
    if (job != 0 && mfi_exec_inline(L, core, job))
      continue;
    mfi_status st = mfi_bind_sleep(m, wait, what, until);
    if (st != MFI_INTERRUPTED)
      return st;
    mfi_context_look_up(L);
  }
}

static mfi_status wait_job(mfi_self *self, void *what, mfi_ns until) {
  return mfi_job_wait(self, *(mfi_ref *)what, until);
}

static mfi_ref next_job(mfi_self *self, void *what) {
  mfi_ref job = *(mfi_ref *)what;
  return load_acquire(&mfi_job_at(self, job)->state) == MFI_JOB_QUEUED ? job : 0;
}

static int future_wait(lua_State *L) {
  mfi_box *b = check(L);
  mfi_ref job = b->job;
  mfi_status st = mfi_bind_wait(L, b->o, wait_job, next_job, &job, mfi_bind_until(L, 2));
  lua_pushboolean(L, st == MFI_OK);
  return 1;
}

// ---- Outcomes

// Of its one item, or of the job as a whole when that has none.
static bool outcome(mfi_box *b, mfi_view *v, mfi_status *st) {
  mfi_cursor c = {0};
  mfi_job *j = job_of(b);
  *st = (mfi_status)j->status;
  if (!mfi_job_result(b->m->self, b->job, &c, v))
    return false;
  *st = (mfi_status)v->kind;
  return true;
}

static int future_status(lua_State *L) {
  mfi_box *b = check(L);
  mfi_view v;
  mfi_status st;
  if (load_acquire(&job_of(b)->state) != MFI_JOB_ENDED)
    return 0;
  outcome(b, &v, &st);
  lua_pushstring(L, mfi_bind_status(st));
  return 1;
}

static int future_state(lua_State *L) {
  static const char *const names[] = {"new", "queued", "running", "done"};
  lua_pushstring(L, names[load_acquire(&job_of(check(L))->state)]);
  return 1;
}

int mfi_bind_push_result(lua_State *L, mfi_context *m, const mfi_view *v) {
  if (v->death) {
    mfi_death d;
    memcpy(&d, v->bytes, sizeof d);
    mfi_bind_push_death(L, &d);
    return 1;
  }
  mfi_message message = {.bytes = v->bytes, .size = v->size, .refs = v->refs, .nrefs = v->nrefs};
  return mfi_decode(m->codec, L, &message, mfi_context_flags(m));
}

static int future_values(lua_State *L) {
  mfi_box *b = check(L);
  mfi_view v;
  mfi_status st;
  store_release(&job_of(b)->asked, 1u);
  if (load_acquire(&job_of(b)->state) != MFI_JOB_ENDED || !outcome(b, &v, &st))
    return 0;
  return mfi_bind_push_result(L, b->m, &v);
}

static int future_asked(lua_State *L) {
  mfi_box *b = check(L);
  lua_pushboolean(L, load_acquire(&job_of(b)->asked) != 0);
  if (lua_toboolean(L, 2))
    store_release(&job_of(b)->asked, 1u);
  return 1;
}

// ---- The rest

static int future_cancel(lua_State *L) {
  mfi_box *b = check(L);
  mfi_view v;
  mfi_status st;
  bool done = mfi_job_cancel(b->m->self, b->o, b->job, lua_toboolean(L, 2) != 0, MFI_CANCELLED);
  if (!done && load_acquire(&job_of(b)->state) == MFI_JOB_ENDED) {
    outcome(b, &v, &st);
    done = st == MFI_CANCELLED; // it was before
  }
  lua_pushboolean(L, done);
  return 1;
}

static int future_label(lua_State *L) {
  lua_pushstring(L, job_of(check(L))->label);
  return 1;
}

static int future_pool(lua_State *L) {
  mfi_job *j = job_of(check(L));
  if (j->pool == 0 || mfi_handle_kind(mfi_bind_context(L)->self, j->pool) == MFI_KIND_FREE)
    return 0;
  mfi_bind_push(L, j->pool);
  return 1;
}

static int future_watch(lua_State *L) {
  mfi_box *b = check(L);
  mfi_status st = mfi_job_watch(b->m->self, b->o, b->job, (uint32_t)b->m->depth);
  lua_pushstring(L, st == MFI_OK ? "ok" : st == MFI_CLOSED ? "ended" : "full");
  return 1;
}

static int push_handle(lua_State *L) {
  mfi_bind_push(L, *(mfi_handle *)lua_touserdata(L, 1));
  return 1;
}

// Pushes the next watched Future that has ended. Its reference moves from `ending` to the userdata;
// where that cannot be made, it is due again.
static bool push_due(lua_State *L, mfi_context *m) {
  mfi_handle h = mfi_pool_due(m->self, (uint32_t)m->depth);
  if (h == 0)
    return false;
  lua_pushcfunction(L, push_handle);
  lua_pushlightuserdata(L, &h);
  int status = lua_pcall(L, 1, 1, 0);
  if (status != LUA_OK)
    mfi_pool_not_due(m->self);
  else
    mfi_handle_unhold(m->self, &m->self->slot->ending);
  if (status != LUA_OK)
    lua_error(L);
  return true;
}

// Has somebody told this state to look at what it watches itself?
static bool is_to_look(const mfi_context *m) {
  uint32_t mine = m->depth == 0 ? UINT32_MAX : (uint32_t)1 << m->depth;
  return (fetch_and_seqcst(&m->self->slot->look, ~mine) & mine) != 0;
}

#define MOST_AT_ONCE 1000 // callbacks may make more due for ever

// Called by waiting calls: gives the Lua half each Future that is due, the one that ended first
// first; then nil, when it is to look for itself. How many.
static int run_due(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  int n = 0;
  lua_settop(L, 0);
  bool look = is_to_look(m);
  for (; n < MOST_AT_ONCE && push_due(L, m); n++) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 0);
  }
  mfi_bind_look_at_due(L);
  if (look) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_call(L, 0, 1);
    n += (int)lua_tointeger(L, -1);
  }
  if (n >= MOST_AT_ONCE)
    mfi_context_note_due(m);
  lua_pushinteger(L, n);
  return 1;
}

static int batch_watch(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_BATCH);
  lua_pushstring(L, mfi_batch_watch(b->m->self, b->o) == MFI_OK ? "ok" : "ended");
  return 1;
}

static int on_due(lua_State *L) {
  lua_settop(L, 1);
  lua_pushcclosure(L, run_due, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonfleet.due");
  return 0;
}

static int on_unasked(lua_State *L) {
  lua_settop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonfleet.unasked");
  return 0;
}

static int core_poll(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  mfi_note_clear(m->self, MFI_NOTE_DUE);
  lua_pushinteger(L, mfi_context_run_due(L));
  if (m->stop != NULL)
    mfi_stop_check(L);
  return 1;
}

void mfi_bind_open_future(lua_State *L) {
  static const luaL_Reg functions[] = {{"future_wait", future_wait},
                                       {"future_status", future_status},
                                       {"future_state", future_state},
                                       {"future_values", future_values},
                                       {"future_asked", future_asked},
                                       {"future_cancel", future_cancel},
                                       {"future_label", future_label},
                                       {"future_pool", future_pool},
                                       {"future_watch", future_watch},
                                       {"batch_watch", batch_watch},
                                       {"on_due", on_due},
                                       {"on_unasked", on_unasked},
                                       {"poll", core_poll},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
