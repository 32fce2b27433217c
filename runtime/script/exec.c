// A worker's life: its state, its target or its pool's jobs, its end. Floor 5; see exec.h. Locks
// and sleeps as the flow functions that it calls.
#include "script/exec.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "flow/stream.h"
#include "flow/watch.h"
#include "os/stream.h"
#include "script/error.h"
#include "script/exec_job.h"
#include "script/state.h"

#include <lauxlib.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef struct life {
  mfi_alarm alarm;
  mfi_self *self;
  mfi_object *worker;
  mfi_context *m;
  mfi_stop stop;
} life;

// ---- Output

static mfi_output_turn take_turn(void *ud, int stream) {
  mfi_status st = mfi_stream_take(ud, stream - 1);
  if (st == MFI_INTERRUPTED)
    return MFI_TURN_NONE;
  return st == MFI_OK ? MFI_TURN_CLEAN : MFI_TURN_TORN;
}

static void give_turn(void *ud, int stream, bool unfinished) {
  mfi_stream_give(ud, stream - 1, unfinished);
}

mfi_output *mfi_exec_output(mfi_self *self, mfi_output_kind kind, bool no_input) {
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  mfi_output_config c = {
      .kind = kind, .lock = take_turn, .unlock = give_turn, .ud = self, .no_input = no_input};
  if (host != NULL && kind == MFI_OUTPUT_WORKER)
    c.sink = host->print;
  return mfi_output_open(&c);
}

// ---- Opening a state

static mfi_state_config configure(mfi_self *self, mfi_output *output, uint64_t memory_limit,
                                  mfi_object *core) {
  mfi_state_config c = {.memory_limit = memory_limit, .output = output};
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  if (host != NULL) {
    c.alloc = host->alloc;
    c.alloc_ud = host->alloc_ud;
  }
  if (core != NULL)
    c.libs = mfi_core_of(core)->libs;
  mfi_os_random(&c.seed, sizeof c.seed);
  c.stream = mfi_slot_id(self, self->index);
  return c;
}

lua_State *mfi_exec_open(mfi_self *self, mfi_output *output, uint64_t memory_limit,
                         mfi_object *core) {
  mfi_state_config c = configure(self, output, memory_limit, core);
  return mfi_state_open(&c);
}

// Its output will need streams: the C library's part in that is touched.
static void try_stream(void) {
  FILE *file = mfi_os_file_empty();
  if (file != NULL)
    fclose(file);
}

static int open_codec(lua_State *L) {
  mfi_codec_open(L, NULL); // its hooks come with the context
  return 0;
}

void *mfi_exec_get_ready(void) {
  mfi_state_config c = {.libs = MFI_LIB_ALL};
  lua_State *L = mfi_state_open(&c);
  if (L == NULL)
    return NULL;
  try_stream();
  lua_pushcfunction(L, open_codec);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK)
    return L;
  mfi_state_close(L);
  return NULL;
}

// A worker's own: the one that its process has got ready, where that will do.
static lua_State *open_own(mfi_self *self, mfi_output *output, mfi_worker *w, mfi_object *core) {
  mfi_state_config c = configure(self, output, w->memory_limit, core);
  mfi_runtime *rt = mfi_runtime_of(self);
  if (w->backend != MFI_BACKEND_PROCESS || rt->ahead == NULL)
    return mfi_state_open(&c);
  lua_State *L = rt->ahead;
  rt->ahead = NULL;
  if (mfi_state_adopt(L, &c))
    return L;
  mfi_state_close(L);
  return mfi_state_open(&c);
}

void mfi_exec_prepare(lua_State *L, mfi_self *self, mfi_object *core) {
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  if (host != NULL && host->prepare != NULL)
    host->prepare(host->ud, L, core != NULL ? mfi_core_of(core)->libs : 0);
}

void mfi_exec_begin(lua_State *L, mfi_self *self) {
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  if (host != NULL && host->begin != NULL)
    host->begin(host->ud, L);
}

static int end_host(lua_State *L) {
  const mfi_exec_host *host = lua_touserdata(L, 1);
  lua_settop(L, 0);
  host->end(host->ud, L);
  return 0;
}

static void end_in_order(lua_State *L, mfi_self *self) {
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  mfi_state_bindings.at_exit(L);
  if (host == NULL || host->end == NULL)
    return;
  lua_pushcfunction(L, end_host);
  lua_pushlightuserdata(L, (void *)(uintptr_t)host);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    lua_pop(L, 1);
}

// Sets package.NAME from the context table at index 1.
static void set_package(lua_State *L, const char *name) {
  if (lua_getglobal(L, "package") == LUA_TTABLE && lua_getfield(L, 1, name) == LUA_TSTRING)
    lua_setfield(L, -2, name);
  lua_settop(L, 1);
}

static void add_preloads(lua_State *L) {
  if (lua_getfield(L, 1, "preload") == LUA_TTABLE) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
      lua_pushvalue(L, -2);
      if (lua_rawget(L, 3) == LUA_TNIL) {
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -3);
        lua_rawset(L, 3);
      }
      lua_pop(L, 1);
    }
  }
  lua_settop(L, 1);
}

// Decodes the first part of a payload and makes the state like its sender's. [-0, +0, v]
void mfi_exec_set_context(lua_State *L, mfi_context *m, const mfi_message *message) {
  if (mfi_decode(m->codec, L, message, MFI_DECODE_WORKER) != 1 || !lua_istable(L, 1)) {
    lua_settop(L, 0);
    return;
  }
  set_package(L, "path");
  set_package(L, "cpath");
  add_preloads(L);
  if (lua_getfield(L, 1, "arg") == LUA_TTABLE)
    lua_setglobal(L, "arg");
  lua_settop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonfleet.context");
}

// ---- Calling

int mfi_exec_call(lua_State *L, int first) {
  if (lua_type(L, first) == LUA_TSTRING) {
    size_t size;
    const char *name = lua_tolstring(L, first, &size);
    mfi_func_resolve_name(L, name, size);
    lua_replace(L, first);
  }
  lua_pushvalue(L, first + 1);
  lua_remove(L, first + 1);
  if (lua_isnil(L, -1))
    lua_pop(L, 1); // no keyword arguments
  lua_call(L, lua_gettop(L) - first, LUA_MULTRET);
  return lua_gettop(L) - first + 1;
}

static void push_failure(lua_State *L, int error) {
  error = lua_absindex(L, error);
  lua_pushvalue(L, error);
  mfi_context_push_traceback(L, true);
  if (!lua_isstring(L, -1))
    return;
  lua_pushfstring(L, "%s (pid %d) ", mfi_context_of(L)->self->slot->name, (int)mfi_os_pid());
  lua_insert(L, -2);
  lua_concat(L, 2);
}

// Encodes {error, traceback}; an error that cannot be sent is sent as its text. [-0, +0, v]
static int encode_failure(lua_State *L) {
  mfi_context *m = mfi_context_of(L);
  mfi_encoded *out = lua_touserdata(L, 3);
  mfi_encode(m->codec, L, 1, 2, "error;traceback", 0, out);
  return 0;
}

void mfi_exec_encode_failure(lua_State *L, int error, mfi_encoded *out) {
  mfi_context *m = mfi_context_of(L);
  int top = lua_gettop(L);
  push_failure(L, error);
  lua_pushcfunction(L, encode_failure);
  lua_pushvalue(L, top + 1);
  lua_pushvalue(L, top + 2);
  lua_pushlightuserdata(L, out);
  if (lua_pcall(L, 3, 0, 0) == LUA_OK)
    return;
  const char *why = mfi_error_text(L, -1);
  lua_pushfstring(L, "%s (%s)", mfi_error_text(L, top + 1), why);
  lua_replace(L, top + 1);
  lua_settop(L, top + 2);
  mfi_encode(m->codec, L, top + 1, 2, "error;traceback", 0, out);
}

// ---- A target of its own

static int run_target(lua_State *L) {
  life *l = lua_touserdata(L, 1);
  lua_settop(L, 0);
  const void *bytes;
  uint64_t size;
  mfi_message part[2];
  mfi_body *body = mfi_worker_payload(l->self, l->worker, &bytes, &size);
  mfi_parcel_open(body, bytes, size, part);
  mfi_exec_set_context(L, l->m, &part[0]);
  mfi_exec_begin(L, l->self);
  mfi_decode(l->m->codec, L, &part[1], MFI_DECODE_WORKER);
  mfi_worker_drop_payload(l->self, l->worker);
  int n = mfi_exec_call(L, 1);
  mfi_encoded e;
  mfi_encode(l->m->codec, L, 1, n, "result", 0, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status st = mfi_worker_set_result(l->self, l->worker, MFI_OK, &src);
  mfi_encoded_release(l->m->codec, L, &e);
  if (st != MFI_OK)
    mfi_error_raise(L, "no_memory", "no shared memory for the result");
  return 0;
}

static void print_uncaught(life *l, lua_State *L) {
  const char *message = mfi_error_text(L, -1);
  mfi_context_push_traceback(L, false);
  const char *trace = lua_tostring(L, -1);
  lua_pushfstring(L, "%s: %s%s%s\n", l->self->slot->name, message, trace != NULL ? "\n" : "",
                  trace != NULL ? trace : "");
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  if (!mfi_runtime_log(l->self, MFI_LOG_ERROR, text, size - 1))
    mfi_output_write(l->m->output, 2, text, size);
}

static int report_failure(lua_State *L) {
  life *l = lua_touserdata(L, 2);
  mfi_encoded e;
  lua_pushvalue(L, 1);
  print_uncaught(l, L);
  lua_settop(L, 3);
  mfi_exec_encode_failure(L, 1, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status why = lua_toboolean(L, 3) ? MFI_MEMORY_LIMIT : mfi_exec_why(L, 1);
  if (mfi_worker_set_result(l->self, l->worker, why, &src) != MFI_OK)
    mfi_worker_set_result(l->self, l->worker, MFI_NOMEM, NULL);
  mfi_encoded_release(l->m->codec, L, &e);
  return 0;
}

static int stop_code(const mfi_stop *stop) {
  uint32_t raised = mfi_stop_raised(stop);
  if ((raised & MFI_STOP_EXIT) != 0)
    return stop->exit_code;
  return (raised & MFI_STOP_KILL) != 0 ? -SIGKILL : -SIGTERM;
}

static int live_for_target(life *l, lua_State *L) {
  lua_pushcfunction(L, mfi_context_traceback);
  lua_pushcfunction(L, run_target);
  lua_pushlightuserdata(L, l);
  mfi_slot_busy(l->self, true);
  int status = lua_pcall(L, 1, 0, 1);
  mfi_slot_count(l->self->slot, MFI_STAT_TASKS, 1);
  mfi_slot_busy(l->self, false);
  if (mfi_stop_raised(&l->stop) != 0)
    return stop_code(&l->stop);
  if (status == LUA_OK)
    return 0;
  bool limit = mfi_state_limit_hit(L, status, -1);
  lua_pushcfunction(L, report_failure);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, l);
  lua_pushboolean(L, limit);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK)
    mfi_worker_set_result(l->self, l->worker, MFI_FAILED, NULL);
  return 1;
}

// ---- A pool's jobs

int mfi_exec_initialize(lua_State *L) {
  const void *bytes = lua_touserdata(L, 1);
  const mfi_body *body = lua_touserdata(L, 2);
  uint64_t size = (uint64_t)lua_tointeger(L, 3);
  mfi_context *m = mfi_context_of(L);
  mfi_message part[2];
  lua_settop(L, 0);
  mfi_parcel_open(body, bytes, size, part);
  mfi_exec_set_context(L, m, &part[0]);
  mfi_exec_begin(L, m->self);
  mfi_decode(m->codec, L, &part[1], MFI_DECODE_WORKER);
  MFI_FAULT(&m->self->region->faults, MFI_FAULT_INITIALIZER);
  if (lua_isboolean(L, 1))
    mfi_exec_source(L, 2); // a C host's text
  else if (!lua_isnil(L, 1))
    mfi_exec_call(L, 1);
  return 0;
}

static int break_pool(lua_State *L) {
  mfi_context *m = mfi_context_of(L);
  mfi_encoded e;
  mfi_exec_encode_failure(L, 1, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_pool_break(m->self, m->core, &src);
  mfi_encoded_release(m->codec, L, &e);
  return 0;
}

bool mfi_exec_init_pool(mfi_context *m, const void *bytes, uint64_t size, const mfi_body *body) {
  lua_State *L = m->L;
  lua_pushcfunction(L, mfi_context_traceback);
  lua_pushcfunction(L, mfi_exec_initialize);
  lua_pushlightuserdata(L, (void *)(uintptr_t)bytes);
  lua_pushlightuserdata(L, (void *)(uintptr_t)body);
  lua_pushinteger(L, (lua_Integer)size);
  bool ok = lua_pcall(L, 3, 0, 1) == LUA_OK;
  if (!ok && mfi_stop_raised(m->stop) == 0) {
    lua_pushcfunction(L, break_pool);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
      mfi_pool_break(m->self, m->core, NULL);
  }
  lua_settop(L, 0);
  return ok && mfi_stop_raised(m->stop) == 0;
}

static int look_up(lua_State *L) {
  mfi_context_look_up(L);
  return 0;
}

// False: it was stopped.
static bool look_up_protected(life *l, lua_State *L) {
  lua_pushcfunction(L, look_up);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK)
    lua_pop(L, 1);
  return mfi_stop_raised(&l->stop) == 0;
}

static int run_remembered(lua_State *L) {
  const mfi_body *body = lua_touserdata(L, 1);
  const void *bytes = lua_touserdata(L, 2);
  mfi_message message = {.bytes = bytes,
                         .size = (uint64_t)lua_tointeger(L, 3),
                         .refs = body->refs,
                         .nrefs = body->nrefs};
  lua_settop(L, 0);
  mfi_decode(mfi_context_of(L)->codec, L, &message, MFI_DECODE_WORKER);
  mfi_exec_call(L, 1);
  return 0;
}

// What pool:everywhere asked for before this worker was started. One that fails is told on stderr.
static bool catch_up(life *l, lua_State *L) {
  const mfi_body *body;
  uint64_t size;
  mfi_worker *w = mfi_worker_of(l->worker);
  for (uint32_t n = 0;; n++) {
    const void *bytes = mfi_pool_remembered(l->self, l->m->core, w, n, &size, &body);
    if (bytes == NULL)
      return true;
    lua_pushcfunction(L, mfi_context_traceback);
    lua_pushcfunction(L, run_remembered);
    lua_pushlightuserdata(L, (void *)(uintptr_t)body);
    lua_pushlightuserdata(L, (void *)(uintptr_t)bytes);
    lua_pushinteger(L, (lua_Integer)size);
    int status = lua_pcall(L, 3, 0, -5);
    if (mfi_stop_raised(&l->stop) != 0)
      return false;
    if (status != LUA_OK)
      print_uncaught(l, L);
    lua_settop(L, 0);
  }
}

// From one job to the next it stays busy: the clock is read only where it has to wait.
static mfi_status wait_for_job(life *l, uint32_t kick, mfi_ref *job) {
  mfi_status st = mfi_pool_take(l->self, l->m->core, kick, MFI_NEVER, job);
  if (st == MFI_OK)
    mfi_slot_busy(l->self, true);
  return st;
}

static int live_for_pool(life *l, lua_State *L) {
  mfi_worker *w = mfi_worker_of(l->worker);
  mfi_core *c = mfi_core_of(l->m->core);
  const void *bytes;
  uint64_t size;
  mfi_body *body = mfi_worker_payload(l->self, l->worker, &bytes, &size);
  if (!mfi_exec_init_pool(l->m, bytes, size, body))
    return mfi_stop_raised(&l->stop) != 0 ? stop_code(&l->stop) : 1;
  if (!catch_up(l, L))
    return stop_code(&l->stop);
  store_release(&w->ready, 1u);
  mfi_ref job = 0;
  for (;;) {
    uint32_t kick = load_acquire(&c->kick);
    if (job == 0 && mfi_pool_leave(l->self, l->m->core, w))
      return 0;
    mfi_status st = MFI_OK;
    if (job == 0)
      st = wait_for_job(l, kick, &job);
    if (st == MFI_INTERRUPTED && !look_up_protected(l, L))
      return stop_code(&l->stop);
    if (st != MFI_OK) {
      job = 0;
      continue;
    }
    mfi_ref next;
    if (!mfi_exec_job(l->m, l->m->core, job, &next, kick))
      return stop_code(&l->stop);
    if (next == 0)
      mfi_slot_busy(l->self, false);
    job = next;
  }
}

// ---- The whole

static int live(life *l, lua_State *L) {
  mfi_self *self = l->self;
  mfi_stop_bind(&l->stop, L, &self->slot->stop, mfi_exec_stop_signal(self));
  l->m->stop = &l->stop;
  int code = l->m->core != NULL ? live_for_pool(l, L) : live_for_target(l, L);
  bool orderly = mfi_stop_raised(&l->stop) == 0;
  mfi_stop_clear(&l->stop);
  if (orderly)
    end_in_order(L, self);
  mfi_exec_end_children(self, orderly);
  mfi_handles_abandon(self);
  return code;
}

static int setup(lua_State *L) {
  life *l = lua_touserdata(L, 1);
  mfi_handle pool = mfi_worker_of(l->worker)->pool;
  l->m = mfi_context_open(L, l->self);
  l->m->core = pool == 0 ? NULL : mfi_object_of(l->self, pool);
  mfi_exec_prepare(L, l->self, l->m->core);
  return 0;
}

int mfi_exec_worker(mfi_self *self, mfi_object *worker) {
  mfi_worker *w = mfi_worker_of(worker);
  life l = {.self = self, .worker = worker};
  mfi_output *output = mfi_exec_output(self, MFI_OUTPUT_WORKER, w->backend == MFI_BACKEND_THREAD);
  mfi_object *core = w->pool == 0 ? NULL : mfi_object_of(self, w->pool);
  lua_State *L = output == NULL ? NULL : open_own(self, output, w, core);
  int code = 1;
  if (L != NULL) {
    lua_pushcfunction(L, setup);
    lua_pushlightuserdata(L, &l);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) {
      l.m->output = output;
      l.m->worker = worker;
      if (w->backend == MFI_BACKEND_PROCESS)
        l.m->alarm = &l.alarm;
      code = live(&l, L);
      l.m->closing = true;
      if (w->backend == MFI_BACKEND_THREAD)
        mfi_watch_closing(self, worker);
      mfi_exec_close_spares(l.m);
    }
    lua_settop(L, 0);
    bool bound = l.m != NULL && l.m->stop != NULL; // the context goes with the state
    mfi_state_close(L);
    if (bound)
      mfi_stop_unbind(&l.stop);
  }
  if (output != NULL) {
    mfi_output_finish(output);
    mfi_output_close(output);
  }
  return code;
}

int mfi_exec_stop_signal(mfi_self *self) {
  const mfi_exec_host *host = mfi_runtime_of(self)->host;
  return host != NULL && host->stop_signal != 0 ? host->stop_signal : mfi_os_stop_signal();
}

void mfi_exec_poke(mfi_self *self, uint32_t slot) {
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_os_kill_thread((pid_t)s->pid, (pid_t)s->tid, mfi_exec_stop_signal(self));
}
