// Batches: map-like calls, as the Lua half builds on them. Floor 7; see batch.h.
#include "bind/batch.h"

#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"

#include <string.h>

mfi_box *mfi_bind_batch_check(lua_State *L) { return mfi_bind_check(L, 1, MFI_KIND_BATCH); }

mfi_object *mfi_bind_batch_core(const mfi_box *b) {
  return mfi_object_of(b->m->self, mfi_batch_of(b->o)->core);
}

// ---- Making

static int64_t limit_of(lua_State *L, int idx, mfi_object *core) {
  lua_getfield(L, idx, "limit");
  lua_Number s = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return s > 0 && s < 1e9 ? (int64_t)(s * 1e9) + 1 : mfi_core_of(core)->limit;
}

static bool flag(lua_State *L, int idx, const char *name) {
  lua_getfield(L, idx, name);
  bool set = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return set;
}

static void push_plan(lua_State *L, int options, mfi_object *core) {
  mfi_bind_plan *p = lua_newuserdatauv(L, sizeof *p, 0);
  memset(p, 0, sizeof *p);
  p->limit = limit_of(L, options, core);
  p->cells = flag(L, options, "cells") && mfi_core_of(core)->backend != MFI_BACKEND_SERIAL;
  if (lua_getfield(L, options, "seed") != LUA_TNIL)
    p->seed = (uint64_t)lua_tointeger(L, -1) | UINT64_C(1) << 63; // 0 is a seed, too
  lua_pop(L, 1);
  lua_getfield(L, options, "label");
  const char *label = luaL_optstring(L, -1, "task");
  strncpy(p->label, label, sizeof p->label - 1);
  lua_pop(L, 1);
}

static int core_batch(lua_State *L) {
  mfi_box *pool = mfi_bind_check(L, 1, MFI_KIND_POOL);
  mfi_context *m = pool->m;
  mfi_object *core = mfi_pool_core(m->self, pool->handle);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  push_plan(L, 3, core);
  mfi_box *b = mfi_bind_empty(L, MFI_KIND_BATCH);
  lua_pushvalue(L, 4);
  lua_setiuservalue(L, 5, 1);
  mfi_batch_config c = {.unordered = flag(L, 3, "unordered"),
                        .stop_on_error = flag(L, 3, "stop_on_error"),
                        .wake_each = flag(L, 3, "each")};
  mfi_encoded e;
  mfi_encode(m->codec, L, 2, 1, "function", 0, &e);
  c.image = mfi_context_source(&e);
  mfi_handle h;
  uint32_t place;
  mfi_status st = mfi_batch_make(m->self, mfi_object_handle(m->self, core), &c, &h, &place);
  mfi_encoded_release(m->codec, L, &e);
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "an object in the function is closed");
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "map");
  mfi_bind_fill(L, b, h, place);
  return 1;
}

// ---- The rest

static int batch_jobs(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  mfi_batch *batch = mfi_batch_of(b->o);
  lua_Integer n = 0;
  mfi_object *core = mfi_bind_batch_core(b);
  mfi_lock_take(b->m->self, &core->lock);
  for (mfi_ref r = batch->oldest; r != 0; r = mfi_job_at(b->m->self, r)->younger)
    n++;
  lua_Integer left = (lua_Integer)batch->left;
  mfi_lock_give(b->m->self, &core->lock);
  lua_pushinteger(L, n);
  lua_pushinteger(L, left);
  return 2;
}

// core.batch_limit(b, seconds): of the tasks that are submitted from now on.
static int batch_limit(lua_State *L) {
  mfi_bind_batch_check(L);
  lua_getiuservalue(L, 1, 1);
  mfi_bind_plan *p = lua_touserdata(L, -1);
  p->limit = (int64_t)(luaL_checknumber(L, 2) * 1e9) + 1;
  return 0;
}

static int batch_left(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)load_acquire(&mfi_batch_of(mfi_bind_batch_check(L)->o)->left));
  return 1;
}

static int batch_cancel(lua_State *L) {
  static const char *const names[] = {"cancelled", "task_timeout", "terminated", NULL};
  static const mfi_status statuses[] = {MFI_CANCELLED, MFI_TASK_TIMEOUT, MFI_TERMINATED};
  mfi_box *b = mfi_bind_batch_check(L);
  int why = luaL_checkoption(L, 3, "cancelled", names);
  mfi_batch_cancel(b->m->self, b->o, lua_toboolean(L, 2) != 0, statuses[why]);
  return 0;
}

static int batch_close(lua_State *L) {
  mfi_box *b = mfi_bind_test(L, 1, MFI_KIND_BATCH);
  if (b != NULL)
    mfi_bind_release(L, b);
  return 0;
}

void mfi_bind_open_batch(lua_State *L) {
  static const luaL_Reg functions[] = {{"batch", core_batch},
                                       {"batch_list", mfi_bind_batch_list},
                                       {"batch_range", mfi_bind_batch_range},
                                       {"batch_everywhere", mfi_bind_batch_everywhere},
                                       {"batch_wait", mfi_bind_batch_wait},
                                       {"batch_take", mfi_bind_batch_take},
                                       {"batch_next", mfi_bind_batch_next},
                                       {"batch_jobs", batch_jobs},
                                       {"batch_left", batch_left},
                                       {"batch_limit", batch_limit},
                                       {"batch_cancel", batch_cancel},
                                       {"batch_close", batch_close},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
