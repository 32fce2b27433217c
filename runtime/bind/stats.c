// mf.stats: what workers do and have done. Floor 7.
#include "flow/stats.h"

#include "bind/calls.h"
#include "bind/core.h"
#include "bind/object.h"

#include <string.h>

static void set_integer(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void set_seconds(lua_State *L, const char *key, uint64_t ns) {
  lua_pushnumber(L, (lua_Number)ns / 1e9);
  lua_setfield(L, -2, key);
}

// "map (resize.lua:12)" → "resize.lua:12"; a label that names no place stays as it is.
static void set_task(lua_State *L, const char *task) {
  size_t n = strlen(task);
  const char *open = strrchr(task, '(');
  if (open != NULL && n > 0 && task[n - 1] == ')')
    lua_pushlstring(L, open + 1, (size_t)(task + n - 1 - (open + 1)));
  else
    lua_pushstring(L, task);
  lua_setfield(L, -2, "task");
}

static void push_worker(lua_State *L, const mfi_worker_stats *w) {
  lua_createtable(L, 0, 7);
  set_string(L, "name", w->name);
  if (w->pid != 0)
    set_integer(L, "pid", w->pid);
  set_string(L, "backend", mfi_bind_backend(w->backend));
  set_string(L, "state", w->state);
  if (w->task[0] != '\0')
    set_task(L, w->task);
  set_seconds(L, "busy", w->busy_ns);
  set_integer(L, "tasks", w->tasks);
}

static void push_past(lua_State *L, const mfi_past *p) {
  lua_createtable(L, 0, 5);
  set_string(L, "name", p->name);
  set_integer(L, "pid", p->process);
  set_string(L, "backend",
             mfi_bind_backend(p->is_thread ? MFI_BACKEND_THREAD : MFI_BACKEND_PROCESS));
  set_integer(L, "tasks", p->stats[MFI_STAT_TASKS]);
  set_seconds(L, "busy", p->stats[MFI_STAT_BUSY]);
}

// The oldest first.
static void push_pasts(lua_State *L, mfi_self *self) {
  mfi_past p;
  uint64_t n = 0;
  while (mfi_slot_past(self, n, &p))
    n++;
  lua_newtable(L);
  for (lua_Integer i = 1; n > 0 && mfi_slot_past(self, n - 1, &p); n--, i++) {
    push_past(L, &p);
    lua_rawseti(L, -2, i);
  }
}

// core.stats() → {workers={{name=, pid=, backend=, state=, task=, busy=, tasks=}, …}, ended={…},
// tasks=, busy=, messages=, bytes=, shared_bytes=}
static int core_stats(lua_State *L) {
  mfi_self *self = mfi_bind_context(L)->self;
  mfi_worker_stats w;
  uint64_t sums[MFI_STATS], top = load_acquire(&self->region->slots_top);
  lua_createtable(L, 0, 6);
  lua_newtable(L);
  lua_Integer n = 0;
  for (uint32_t i = 1; i < top; i++) {
    if (!mfi_stats_worker(self, i, &w))
      continue;
    push_worker(L, &w);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "workers");
  push_pasts(L, self);
  lua_setfield(L, -2, "ended");
  mfi_slot_sums(self, sums);
  set_integer(L, "tasks", sums[MFI_STAT_TASKS]);
  set_seconds(L, "busy", sums[MFI_STAT_BUSY]);
  set_integer(L, "messages", sums[MFI_STAT_MESSAGES]);
  set_integer(L, "bytes", sums[MFI_STAT_BYTES]);
  set_integer(L, "shared_bytes", mfi_stats_shared(self));
  return 1;
}

// core.on_exit(fn): os.exit of the main state calls it first.
static int core_on_exit(lua_State *L) {
  lua_settop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonfleet.on_exit");
  return 0;
}

void mfi_bind_open_stats(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"stats", core_stats}, {"on_exit", core_on_exit}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
