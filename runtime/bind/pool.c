// Pools, as the Lua half builds on them. Floor 7. Sleeps in pool_wait.
#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "bind/object.h"
#include "script/exec.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static mfi_object *check(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_POOL);
  return mfi_pool_core(b->m->self, b->handle);
}

static mfi_self *self_of(lua_State *L) { return mfi_bind_context(L)->self; }

// ---- Making

static lua_Integer integer_field(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

static int64_t seconds_field(lua_State *L, int idx, const char *name) {
  lua_getfield(L, idx, name);
  lua_Number s = lua_tonumber(L, -1);
  lua_pop(L, 1);
  if (!(s > 0) || s > 1e9)
    return 0;
  int64_t ns = (int64_t)(s * 1e9);
  return ns > 0 ? ns : 1;
}

static uint32_t backend_field(lua_State *L) {
  static const char *const names[] = {"process", "thread", "serial", NULL};
  lua_getfield(L, 1, "backend");
  uint32_t backend = (uint32_t)luaL_checkoption(L, -1, "process", names) + MFI_BACKEND_PROCESS;
  lua_pop(L, 1);
  return backend;
}

static const char *name_of(lua_State *L, mfi_self *self, char *room, size_t size) {
  if (lua_getfield(L, 1, "name") == LUA_TSTRING)
    return lua_tostring(L, -1); // stays on the stack
  snprintf(room, size, "Pool-%llu",
           (unsigned long long)(load_relaxed(&self->region->numbers[MFI_KIND_POOL]) + 1));
  return room;
}

static int core_pool(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  char room[MFI_NAME_SIZE];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  mfi_pool_config c = {.backend = backend_field(L),
                       .workers = (uint32_t)integer_field(L, "workers"),
                       .max_tasks = (uint32_t)integer_field(L, "max_tasks"),
                       .memory_limit = (uint64_t)integer_field(L, "memory_limit"),
                       .limit = seconds_field(L, 1, "limit")};
  c.name = name_of(L, m->self, room, sizeof room);
  mfi_parcel p;
  lua_getfield(L, 1, "context");
  mfi_bind_encode_context(L, lua_gettop(L), &p);
  int f = lua_gettop(L) + 1;
  c.fragile = lua_getfield(L, 1, "initializer") != LUA_TNIL;
  lua_getfield(L, 1, "initargs");
  lua_pushnil(L);
  mfi_bind_encode_call(L, f, f + 1, f + 2, &p.part[1]);
  c.payload = mfi_parcel_pack(L, &p);
  if (m->output != NULL)
    mfi_output_flush(m->output);
  mfi_handle h;
  uint32_t place;
  mfi_box *b = mfi_bind_empty(L, MFI_KIND_POOL);
  mfi_status st = mfi_pool_make(m->self, &c, &h, &place);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "Pool");
  mfi_bind_fill(L, b, h, place);
  return 1;
}

// ---- Looking

static int pool_get(lua_State *L) {
  static const char *const fields[] = {"state", "name",  "backend", "size",
                                       "alive", "fresh", "limit",   NULL};
  static const char *const states[] = {"open", "closing", "terminated", "broken"};
  mfi_object *core = check(L);
  mfi_core *c = mfi_core_of(core);
  switch (luaL_checkoption(L, 2, NULL, fields)) {
  case 0:
    lua_pushstring(L, states[load_acquire(&c->state)]);
    break;
  case 1:
    lua_pushstring(L, c->name);
    break;
  case 2:
    lua_pushstring(L, mfi_bind_backend(c->backend));
    break;
  case 3:
    lua_pushinteger(L, load_relaxed(&c->want));
    break;
  case 4:
    lua_pushinteger(L, load_relaxed(&c->alive));
    break;
  case 5:
    lua_pushinteger(L, mfi_pool_fresh(self_of(L), core));
    break;
  default:
    if (c->limit == 0)
      lua_pushnil(L);
    else
      lua_pushnumber(L, (lua_Number)c->limit / 1e9);
    break;
  }
  return 1;
}

void mfi_bind_push_death(lua_State *L, const mfi_death *d) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, d->worker);
  lua_setfield(L, -2, "worker");
  lua_pushinteger(L, d->pid);
  lua_setfield(L, -2, "pid");
  lua_pushinteger(L, d->exitcode);
  lua_setfield(L, -2, "exitcode");
  lua_pushinteger(L, d->item);
  lua_setfield(L, -2, "item");
}

static int pool_failure(lua_State *L) {
  mfi_object *core = check(L);
  mfi_core *c = mfi_core_of(core);
  mfi_context *m = mfi_bind_context(L);
  if (load_acquire(&c->state) != MFI_POOL_BROKEN)
    return 0;
  if (c->failure == 0 && c->broken_by.pid == 0) {
    lua_pushliteral(L, "system");
    lua_pushinteger(L, c->broken_by.exitcode);
    lua_pushstring(L, strerror(c->broken_by.exitcode));
    return 3;
  }
  if (c->failure == 0) {
    lua_pushliteral(L, "worker_died");
    mfi_bind_push_death(L, &c->broken_by);
    return 2;
  }
  lua_pushliteral(L, "failed");
  mfi_body *body = mfi_message_body(m->self, c->failure);
  mfi_message message = {.bytes = mfi_message_bytes(body),
                         .size = body->size,
                         .refs = body->refs,
                         .nrefs = body->nrefs};
  return 1 + mfi_decode(m->codec, L, &message, mfi_context_flags(m));
}

static void set(lua_State *L, const char *key, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, key);
}

static int pool_stats(lua_State *L) {
  mfi_object *core = check(L);
  mfi_self *self = self_of(L);
  const mfi_counts c = mfi_pool_count(self, core);
  lua_createtable(L, 0, 9);
  set(L, "workers", c.workers);
  set(L, "idle", mfi_pool_idle(self, core));
  set(L, "submitted", c.submitted);
  set(L, "queued", c.queued);
  set(L, "running", c.running);
  set(L, "done", c.done);
  set(L, "failed", c.failed);
  set(L, "cancelled", c.cancelled);
  set(L, "died", c.died);
  return 1;
}

// ---- Life

static int pool_close(lua_State *L) {
  mfi_pool_close(self_of(L), check(L));
  return 0;
}

static int pool_terminate(lua_State *L) {
  mfi_pool_terminate(self_of(L), check(L), MFI_TERMINATED);
  return 0;
}

static int pool_resize(lua_State *L) {
  mfi_status st = mfi_pool_resize(self_of(L), check(L), (uint32_t)luaL_checkinteger(L, 2));
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "this Pool");
  return 0;
}

static int pool_restart(lua_State *L) {
  mfi_pool_restart(self_of(L), check(L));
  return 0;
}

static int pool_wait(lua_State *L) {
  mfi_object *core = check(L);
  bool gone = lua_toboolean(L, 2) != 0;
  mfi_ns until = mfi_bind_until(L, 3);
  mfi_status st;
  while ((st = mfi_pool_wait(self_of(L), core, gone, until)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  lua_pushboolean(L, st == MFI_OK);
  return 1;
}

static int pool_release(lua_State *L) {
  mfi_box *b = mfi_bind_test(L, 1, MFI_KIND_POOL);
  if (b != NULL)
    mfi_bind_release(L, b);
  return 0;
}

// ---- Submitting

// The oldest queued job; of this batch, unless it is 0.
static mfi_ref oldest_queued(mfi_self *self, mfi_object *core, mfi_handle batch) {
  mfi_lock_take(self, &core->lock);
  mfi_ref job = mfi_core_of(core)->queue.first;
  while (job != 0 && batch != 0 && mfi_job_at(self, job)->batch != batch)
    job = mfi_job_at(self, job)->next;
  mfi_lock_give(self, &core->lock);
  return job;
}

// A task runs only what it has submitted itself, or tasks would stand inside tasks without end.
void mfi_bind_run_serial(lua_State *L, mfi_object *core, mfi_handle batch, mfi_ref job) {
  mfi_context *m = mfi_bind_context(L);
  if (mfi_core_of(core)->backend != MFI_BACKEND_SERIAL)
    return;
  if (m->job != 0 && batch == 0) {
    mfi_exec_inline(L, core, job);
    return;
  }
  while ((job = oldest_queued(m->self, core, m->job != 0 ? batch : 0)) != 0)
    if (!mfi_exec_inline(L, core, job))
      return;
}

void mfi_bind_refuse(lua_State *L, mfi_status st, const char *label) {
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "the pool is closed");
  if (st == MFI_INITIALIZER)
    mfi_error_raise(L, "initializer", "the pool's initializer failed");
  mfi_bind_raise(L, st, label);
}

static mfi_ref make_job(lua_State *L, mfi_box *pool, const char *label, int64_t limit,
                        const mfi_encoded *e) {
  mfi_self *self = pool->m->self;
  mfi_source src = mfi_context_source(e);
  mfi_job_config c = {.nitems = 1,
                      .nrefs = e->nrefs,
                      .items_size = sizeof(mfi_item) + ((e->size + 7) & ~(uint64_t)7),
                      .first = 1,
                      .limit = limit,
                      .label = label};
  mfi_ref job;
  mfi_status st = mfi_job_make(self, &c, &job);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, label);
  mfi_job_at(self, job)->pool = pool->handle;
  st = mfi_job_add(self, job, &src, MFI_ITEM_CALL);
  if (st != MFI_OK) {
    mfi_job_discard(self, job);
    mfi_error_raise(L, "closed", "an object in the arguments is closed");
  }
  return job;
}

// core.pool_submit(pool, label, limit, f, args, kwargs) → Future
static int pool_submit(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_POOL);
  mfi_object *core = check(L);
  mfi_self *self = b->m->self;
  const char *label = luaL_checkstring(L, 2);
  lua_Number limit = lua_tonumber(L, 3);
  int64_t ns = limit > 0 && limit < 1e9 ? (int64_t)(limit * 1e9) + 1 : mfi_core_of(core)->limit;
  mfi_encoded e;
  uint32_t place;
  lua_settop(L, 6);
  mfi_bind_encode_call(L, 4, 5, 6, &e);
  if (b->m->output != NULL)
    mfi_output_flush(b->m->output);
  mfi_box *future = mfi_bind_empty(L, MFI_KIND_JOB);
  mfi_ref job = make_job(L, b, label, ns, &e);
  mfi_status st = mfi_pool_submit(self, core, job, NULL, &place);
  if (st != MFI_OK) {
    mfi_job_discard(self, job);
    mfi_bind_refuse(L, st, label);
  }
  mfi_bind_own(future, mfi_counted_handle(self, job), place);
  mfi_bind_run_serial(L, core, 0, job); // first, so that no error leaves it behind
  mfi_bind_remember(L, future);
  return 1;
}

// core.pool_remember(pool, f, args): workers that are started later run f(...) first.
static int pool_remember(lua_State *L) {
  mfi_object *core = check(L);
  mfi_encoded e;
  lua_settop(L, 3);
  mfi_bind_encode_call(L, 2, 3, 4, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status st = mfi_pool_remember(self_of(L), core, &src);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "everywhere");
  return 0;
}

void mfi_bind_open_pool(lua_State *L) {
  static const luaL_Reg functions[] = {{"pool", core_pool},
                                       {"pool_get", pool_get},
                                       {"pool_failure", pool_failure},
                                       {"pool_stats", pool_stats},
                                       {"pool_close", pool_close},
                                       {"pool_terminate", pool_terminate},
                                       {"pool_resize", pool_resize},
                                       {"pool_restart", pool_restart},
                                       {"pool_wait", pool_wait},
                                       {"pool_release", pool_release},
                                       {"pool_submit", pool_submit},
                                       {"pool_remember", pool_remember},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
