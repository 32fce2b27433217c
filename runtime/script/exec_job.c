// A pool's job: its items one by one. Floor 5; see exec.h.
#include "script/exec_job.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/cells.h"
#include "script/error.h"
#include "script/random.h"
#include "script/state.h"

#include <lauxlib.h>

#include <signal.h>
#include <string.h>

static const char function_key;

enum stage { DECODING, CALLING, ENCODING };
enum how { THROUGH, STOPPED, USED_UP };

// A job being run. On the stack from `base` on: the message handler; the batch's function, nil, or
// the error that reading it raised.
typedef struct job_run {
  mfi_context *m;
  mfi_object *core;
  mfi_ref job;
  const mfi_job *j;
  int base;
  bool cells;           // its items are
  const uint32_t *kick; // of the core, as it was; NULL: none would be heeded
  mfi_cursor at;        // behind the item that runs, where they are no cells
  mfi_view view;        // the item
  enum stage stage;
  enum how how; // why no further item begins
} job_run;

static mfi_status end_item(const job_run *r, mfi_status status, const mfi_source *src) {
  mfi_self *self = r->m->self;
  return r->cells ? mfi_cells_end(self, r->job, r->view.index, status, src)
                  : mfi_job_end_item(self, r->job, status, src);
}

// ---- The function of a batch

// NULL: the image could not be held. [-1, +0, v]
static int decode_image(lua_State *L) {
  const mfi_body *body = lua_touserdata(L, 1);
  mfi_context *m = mfi_context_of(L);
  if (body == NULL)
    mfi_error_raise(L, "no_memory", "no shared memory to read the function");
  mfi_message message = {.bytes = mfi_message_bytes((mfi_body *)(uintptr_t)body),
                         .size = body->size,
                         .refs = body->refs,
                         .nrefs = body->nrefs};
  lua_settop(L, 0);
  mfi_decode(m->codec, L, &message, MFI_DECODE_WORKER);
  if (lua_type(L, 1) == LUA_TSTRING) {
    size_t size;
    const char *name = lua_tolstring(L, 1, &size);
    mfi_func_resolve_name(L, name, size);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &function_key);
  return 0;
}

// The batch may be let go by its caller at any time: while its image is read we hold it, too. An
// error that reading it raised stays on the stack. False: the batch is gone.
static bool load_function(mfi_context *m, const mfi_job *j, int *status) {
  lua_State *L = m->L;
  uint32_t place;
  mfi_handle h = load_acquire(&j->batch);
  *status = LUA_OK;
  mfi_status held = h == 0 ? MFI_CLOSED : mfi_handle_add(m->self, h, &place);
  if (held == MFI_CLOSED)
    return false;
  mfi_body *image = NULL;
  if (held == MFI_OK)
    image = mfi_message_body(m->self, mfi_batch_of(mfi_object_of(m->self, h))->image);
  lua_pushcfunction(L, decode_image);
  lua_pushlightuserdata(L, image);
  m->serial = 0;
  *status = lua_pcall(L, 1, 0, 0);
  if (*status == LUA_OK)
    m->serial = j->number;
  if (held == MFI_OK)
    mfi_handle_drop(m->self, place);
  return true;
}

// ---- One item

static int push_arguments(lua_State *L, const job_run *r) {
  mfi_message message = {
      .bytes = r->view.bytes, .size = r->view.size, .refs = r->view.refs, .nrefs = r->view.nrefs};
  return mfi_decode(r->m->codec, L, &message, MFI_DECODE_WORKER);
}

static void store_result(lua_State *L, job_run *r) {
  mfi_encoded e;
  mfi_encode(r->m->codec, L, 2, lua_gettop(L) - 1, "result", 0, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status st = end_item(r, MFI_OK, &src);
  mfi_encoded_release(r->m->codec, L, &e);
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "an object in the result has been closed");
  if (st != MFI_OK)
    mfi_error_raise(L, "no_memory", "no shared memory for the result");
}

// The item's values lie from index 2 on. [-n, +m, v]
static void call_item(lua_State *L, const job_run *r, int nargs) {
  switch (r->view.kind) {
  case MFI_ITEM_CALL:
    mfi_exec_call(L, 2);
    return;
  case MFI_ITEM_SOURCE:
    mfi_exec_source(L, 2);
    return;
  case MFI_ITEM_C:
    mfi_exec_c_item(L, r->view.bytes, r->view.size);
    return;
  default:
    lua_call(L, nargs, LUA_MULTRET);
  }
}

static void run_item(lua_State *L, job_run *r) {
  lua_settop(L, 1);
  if (r->view.kind == MFI_ITEM_ARGS)
    lua_pushvalue(L, 1);
  r->stage = DECODING;
  int nargs = r->view.kind == MFI_ITEM_C ? 0 : push_arguments(L, r);
  r->stage = CALLING;
  call_item(L, r, nargs);
  r->stage = ENCODING;
  store_result(L, r);
}

mfi_status mfi_exec_why(lua_State *L, int error) {
  if (mfi_error_is(L, error, "not_sendable"))
    return MFI_NOT_SENDABLE;
  if (mfi_error_is(L, error, "no_memory"))
    return MFI_NOMEM;
  return MFI_FAILED;
}

static mfi_status status_of(lua_State *L, const job_run *r, int status) {
  if (mfi_state_is(L) && mfi_state_limit_hit(L, status, -1))
    return MFI_MEMORY_LIMIT;
  if (r->stage == CALLING)
    return mfi_error_is(L, -1, "deadlock") ? MFI_DEADLOCK : MFI_FAILED;
  if (r->stage == DECODING)
    return mfi_error_is(L, -1, "decode") ? MFI_DECODE : MFI_FAILED;
  return mfi_exec_why(L, -1);
}

static int store_failure(lua_State *L) {
  job_run *r = lua_touserdata(L, 2);
  mfi_status why = (mfi_status)lua_tointeger(L, 3);
  mfi_encoded e;
  lua_settop(L, 1);
  mfi_exec_encode_failure(L, 1, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status st = end_item(r, why, &src);
  mfi_encoded_release(r->m->codec, L, &e);
  if (st != MFI_OK)
    return luaL_error(L, "no room");
  return 0;
}

// The error is on the top. When there is not even room for it, the item's reserve takes its status.
static void fail_item(lua_State *L, job_run *r, int status) {
  mfi_status why = status_of(L, r, status);
  lua_pushcfunction(L, store_failure);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, r);
  lua_pushinteger(L, why);
  if (lua_pcall(L, 3, 0, 0) == LUA_OK)
    return;
  if (why == MFI_FAILED) // its error value is lost
    why = MFI_NOMEM;
  mfi_death none = {0};
  memcpy(none.worker, r->m->self->slot->name, sizeof none.worker);
  if (r->cells)
    mfi_cells_charge(r->m->self, r->job, r->m->self->index, why, &none);
  else
    mfi_job_charge(r->m->self, r->job, why, &none);
}

// ---- Limits and streams of an item

static void set_alarm(mfi_context *m, mfi_ns until) {
  mfi_alarm *a = m->alarm;
  if (!a->open)
    a->open = mfi_os_timer_open(&a->timer, MFI_DEADLINE_SIGNAL) == MFI_OK;
  store_release(&m->self->slot->deadline, until == MFI_NEVER ? 0 : until);
  if (a->open)
    mfi_os_timer_set(&a->timer, until == MFI_NEVER ? 0 : until, 0);
}

void mfi_exec_limit(mfi_context *m, int64_t limit) {
  mfi_ns until = mfi_os_now() + limit;
  if (m->alarm != NULL)
    set_alarm(m, until);
  else if (m->stop != NULL)
    mfi_stop_deadline(m->stop, until);
}

void mfi_exec_no_limit(mfi_context *m) {
  if (m->alarm != NULL)
    set_alarm(m, MFI_NEVER);
  else if (m->stop != NULL)
    mfi_stop_deadline(m->stop, MFI_NEVER);
}

static void seed_item(mfi_context *m, const mfi_job *j, uint64_t index) {
  if (j->seed != 0 && mfi_state_is(m->L))
    mfi_random_seed(mfi_random_of(m->L), j->seed, index);
}

// ---- The job

static void note_stop(mfi_context *m, mfi_ref job) {
  mfi_slot *s = m->self->slot;
  uint32_t reason = mfi_stop_raised(m->stop) & MFI_STOP_STATUS;
  if (load_acquire(&s->stop) != 0 || reason == 0)
    return;
  store_release(&s->stop_job, job); // a limit of its own: the burial is to know
  store_release(&s->stop, reason);
}

// Has this worker run as many tasks as it may?
static bool is_used_up(mfi_context *m) {
  if (m->worker == NULL || m->depth > 0)
    return false;
  mfi_worker *w = mfi_worker_of(m->worker);
  uint32_t most = mfi_core_of(m->core)->max_tasks;
  w->tasks++;
  return most != 0 && w->tasks >= most;
}

// Is a worker that is between two tasks to look up first?
static bool is_to_look_up(mfi_context *m, mfi_object *core, uint32_t kick) {
  return load_acquire(&mfi_core_of(core)->kick) != kick || load_relaxed(&m->self->slot->stop) != 0;
}

static bool next_in_order(job_run *r) {
  mfi_self *self = r->m->self;
  if (mfi_job_is_cancelled(self, r->j) || !mfi_job_item(self, r->job, &r->at, &r->view))
    return false;
  mfi_job_begin_item(self, r->job);
  return true;
}

static bool next_cell(job_run *r) {
  mfi_self *self = r->m->self;
  if (!mfi_job_is_cancelled(self, r->j))
    return mfi_cells_claim(self, r->core, r->job, &r->view);
  mfi_cells_close(self, r->job, MFI_CANCELLED);
  return false;
}

// Begins the next item; false: there is none for this worker.
static bool begin_item(job_run *r) {
  mfi_context *m = r->m;
  if (!(r->cells ? next_cell(r) : next_in_order(r)))
    return false;
  m->item = r->j->first + r->view.index;
  seed_item(m, r->j, m->item);
  if (r->j->limit != 0)
    mfi_exec_limit(m, r->j->limit);
  return true;
}

// Behind an item, whether it ended or failed. False: r->how says why no other begins.
static bool leave_item(job_run *r) {
  mfi_context *m = r->m;
  if (r->j->limit != 0)
    mfi_exec_no_limit(m);
  if (m->stop != NULL && mfi_stop_raised(m->stop) != 0) {
    r->how = STOPPED;
    return false;
  }
  if (m->self->slot->held != 0)
    mfi_handles_abandon(m->self);
  mfi_slot_count(m->self->slot, MFI_STAT_TASKS, 1);
  bool used_up = is_used_up(m);
  if (r->cells)
    return !used_up && (r->kick == NULL || !is_to_look_up(m, r->core, *r->kick));
  if (used_up && r->at.i < r->j->nitems)
    r->how = USED_UP;
  return r->how == THROUGH;
}

// Item after item, until one fails. Arguments: the batch's function, the job_run.
static int run_items(lua_State *L) {
  job_run *r = lua_touserdata(L, 2);
  while (begin_item(r)) {
    run_item(L, r);
    if (!leave_item(r))
      break;
  }
  return 0;
}

// The error of the item that was begun is on the top. Is there another item to begin?
static bool leave_failed(lua_State *L, job_run *r, int status) {
  if (r->m->stop == NULL || mfi_stop_raised(r->m->stop) == 0) {
    if (r->j->limit != 0)
      mfi_exec_no_limit(r->m);
    fail_item(L, r, status);
    if (r->cells)
      mfi_cells_tell_failure(r->m->self, r->core, r->job);
  }
  lua_settop(L, r->base + 1);
  return leave_item(r);
}

static void run_all(lua_State *L, job_run *r) {
  int status;
  do {
    lua_pushcfunction(L, run_items);
    lua_pushvalue(L, r->base + 1);
    lua_pushlightuserdata(L, r);
    status = lua_pcall(L, 2, 0, r->base);
  } while (status != LUA_OK && leave_failed(L, r, status));
}

// The function could not be read: its error again for each item.
static void fail_all(lua_State *L, job_run *r, int broken) {
  do {
    if (!begin_item(r))
      return;
    r->stage = DECODING;
    lua_pushvalue(L, r->base + 1);
  } while (leave_failed(L, r, broken));
}

static enum how run_job(mfi_context *m, mfi_object *core, mfi_ref job, const uint32_t *kick) {
  const mfi_job *j = mfi_job_at(m->self, job);
  lua_State *L = m->L;
  job_run r = {.m = m, .core = core, .job = job, .j = j, .cells = j->cells != 0, .kick = kick};
  int broken = LUA_OK;
  r.base = lua_gettop(L) + 1;
  lua_pushcfunction(L, mfi_context_traceback);
  if (j->number != 0 && j->number != m->serial && !load_function(m, j, &broken)) {
    if (r.cells)
      mfi_cells_close(m->self, job, MFI_CANCELLED);
    return THROUGH;
  }
  while (!r.cells && r.at.i < mfi_job_ended(j))
    mfi_job_item(m->self, job, &r.at, &r.view);
  if (broken != LUA_OK) {
    fail_all(L, &r, broken);
    return r.how;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &function_key);
  run_all(L, &r);
  return r.how;
}

// Ends the job; next: takes another at once, unless the worker is to look up first.
static void end_job(mfi_context *m, mfi_object *core, mfi_ref job, mfi_status status, mfi_ref *next,
                    uint32_t kick) {
  if (status == MFI_OK)
    mfi_job_drop_items(m->self, job);
  bool go_on = next != NULL && mfi_core_of(core)->max_tasks == 0 && !is_to_look_up(m, core, kick);
  if (go_on)
    *next = mfi_job_end_and_take(m->self, core, job, status);
  else
    mfi_job_end(m->self, core, job, status);
}

bool mfi_exec_job(mfi_context *m, mfi_object *core, mfi_ref job, mfi_ref *next, uint32_t kick) {
  mfi_ref outer = m->job;
  uint64_t item = m->item;
  int top = lua_gettop(m->L);
  if (next != NULL)
    *next = 0;
  m->job = job;
  enum how how = run_job(m, core, job, next != NULL ? &kick : NULL);
  m->job = outer;
  m->item = item;
  if (how == STOPPED) {
    note_stop(m, job);
    return false;
  }
  lua_settop(m->L, top);
  mfi_job *j = mfi_job_at(m->self, job);
  mfi_status status = mfi_job_ended(j) == j->nitems ? MFI_OK : MFI_CANCELLED;
  if (how == USED_UP)
    mfi_pool_give_back(m->self, core, job);
  else
    end_job(m, core, job, status, next, kick);
  return true;
}
