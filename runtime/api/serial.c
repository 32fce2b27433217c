// Serial pools. Floor 6; see serial.h. Locks: a mutex of its own, over tasks; the runtime's. A Lua
// state without libraries owns the states in which the tasks run; it has a slot of its own.
#include "api/serial.h"

#include "base/atomic.h"
#include "flow/bury.h"
#include "script/exec_job.h"

#include <lauxlib.h>

#include <string.h>

void mfi_serial_open(mf_runtime *rt) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&rt->serial.mutex, &recursive);
  pthread_mutexattr_destroy(&recursive);
}

static int open_context(lua_State *L) {
  mfi_serial *s = lua_touserdata(L, 1);
  s->m = mfi_context_open(L, &s->self);
  s->m->output = s->output;
  return 0;
}

static bool take_slot(mf_runtime *rt) {
  mfi_serial *s = &rt->serial;
  mfi_lock_home(rt);
  uint32_t slot = load_acquire(&rt->closed) != 0 ? 0 : mfi_slot_take(&rt->home);
  if (slot != 0) {
    s->self = mfi_self_make(&rt->rt, slot);
    s->self.slot->pid = (uint32_t)mfi_os_pid();
    strcpy(s->self.slot->name, "host");
    rt->home.slot->starting = 0;
  }
  mfi_unlock_home(rt);
  return slot != 0;
}

static void close_state(mfi_serial *s) {
  if (s->m != NULL)
    mfi_exec_close_spares(s->m);
  if (s->L != NULL)
    lua_close(s->L);
  if (s->output != NULL) {
    mfi_output_finish(s->output);
    mfi_output_close(s->output);
  }
  s->m = NULL;
  s->L = NULL;
  s->output = NULL;
}

static bool is_open(mf_runtime *rt) {
  mfi_serial *s = &rt->serial;
  if (s->m != NULL)
    return true;
  if (s->self.slot == NULL && !take_slot(rt))
    return false;
  s->output = mfi_exec_output(&s->self, MFI_OUTPUT_WORKER, true);
  s->L = s->output == NULL ? NULL : luaL_newstate();
  if (s->L != NULL) {
    lua_pushcfunction(s->L, open_context);
    lua_pushlightuserdata(s->L, s);
    lua_pcall(s->L, 1, 0, 0);
  }
  if (s->m == NULL)
    close_state(s);
  return s->m != NULL;
}

typedef struct one {
  mfi_object *core;
  mfi_ref job;
  bool ran;
} one;

static int run_one(lua_State *L) {
  one *o = lua_touserdata(L, 1);
  o->ran = mfi_exec_inline(L, o->core, o->job);
  return 0;
}

static bool run_next(mfi_serial *s, mfi_object *core) {
  one o = {.core = core, .job = load_acquire(&mfi_core_of(core)->queue.first)};
  if (o.job == 0)
    return false;
  lua_pushcfunction(s->L, run_one);
  lua_pushlightuserdata(s->L, &o);
  if (lua_pcall(s->L, 1, 0, 0) != LUA_OK)
    lua_pop(s->L, 1);
  return o.ran;
}

void mfi_serial_run(mf_runtime *rt, mfi_object *core) {
  mfi_serial *s = &rt->serial;
  pthread_mutex_lock(&s->mutex);
  if (is_open(rt)) {
    s->self.slot->tid = (uint32_t)mfi_os_tid();
    while (run_next(s, core))
      continue;
  }
  pthread_mutex_unlock(&s->mutex);
}

void mfi_serial_close(mf_runtime *rt) {
  mfi_serial *s = &rt->serial;
  close_state(s);
  if (s->self.slot != NULL)
    mfi_slot_bury(&rt->home, s->self.index);
  pthread_mutex_destroy(&s->mutex);
}
