// Results of batches: from jobs that ended to the caller's values. Floor 7; see batch.h. Sleeps in
// both calls that wait.
#include "base/atomic.h"
#include "bind/batch.h"
#include "bind/calls.h"

#include <string.h>

// ---- Waiting

static mfi_status wait_all(mfi_self *self, void *what, mfi_ns until) {
  return mfi_batch_wait(self, what, until);
}

static mfi_status wait_one(mfi_self *self, void *what, mfi_ns until) {
  return mfi_batch_wait_next(self, what, until);
}

// The oldest job of the batch that nobody has begun; looked at without the lock, taken under it.
static mfi_ref next_queued(mfi_self *self, void *what) {
  mfi_ref ref = load_acquire(&mfi_batch_of(what)->oldest);
  for (int i = 0; ref != 0 && i < 1000; i++) {
    mfi_job *j = mfi_job_at(self, ref);
    if (load_acquire(&j->state) == MFI_JOB_QUEUED && !j->directed)
      return ref;
    ref = load_acquire(&j->younger);
  }
  return 0;
}

int mfi_bind_batch_wait(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  mfi_ns until = mfi_bind_until(L, 2);
  mfi_status st = mfi_bind_wait(L, mfi_bind_batch_core(b), wait_all, next_queued, b->o, until);
  lua_pushboolean(L, st == MFI_OK);
  return 1;
}

// ---- Taking results

// A job that was taken: what it refers to ends with the userdata, also when decoding raises.
typedef struct taken {
  mfi_context *m;
  uint32_t n;
  mfi_ref job[16]; // the newest in hand comes last
} taken;

static void end_jobs(taken *t) {
  while (t->n > 0)
    mfi_job_discard(t->m->self, t->job[--t->n]);
}

static int end_taken(lua_State *L) {
  end_jobs(lua_touserdata(L, 1));
  return 0;
}

// [-0, +1, m]
static taken *push_taken(lua_State *L, mfi_context *m) {
  static const char key;
  taken *t = lua_newuserdatauv(L, sizeof *t, 0);
  *t = (taken){.m = m};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, end_taken);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
  }
  lua_setmetatable(L, -2);
  return t;
}

// Appends {index=, status=, value=, traceback=} or {…, death=} to the failures at index `list`.
static void add_failure(lua_State *L, mfi_context *m, int list, const mfi_view *v, uint64_t index) {
  lua_createtable(L, 0, 4);
  int t = lua_gettop(L);
  lua_pushinteger(L, (lua_Integer)index);
  lua_setfield(L, t, "index");
  lua_pushstring(L, mfi_bind_status((mfi_status)v->kind));
  lua_setfield(L, t, "status");
  int n = mfi_bind_push_result(L, m, v);
  if (v->death) {
    lua_setfield(L, t, "death");
  } else if (n > 0) {
    lua_settop(L, t + 2);
    lua_setfield(L, t, "traceback");
    lua_setfield(L, t, "value");
  }
  lua_settop(L, t);
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

// Puts a result at out[at]: its first value, or all of them packed.
static void store(lua_State *L, mfi_context *m, int out, lua_Integer at, const mfi_view *v,
                  bool all) {
  int base = lua_gettop(L);
  int n = mfi_bind_push_result(L, m, v);
  if (n == 1 && !all) {
    lua_rawseti(L, out, at);
    return;
  }
  if (all) {
    lua_createtable(L, n, 1);
    lua_insert(L, base + 1);
    for (int i = n; i >= 1; i--)
      lua_rawseti(L, base + 1, i);
    lua_pushinteger(L, n);
    lua_setfield(L, base + 1, "n");
  } else {
    lua_settop(L, base + 1);
  }
  lua_rawseti(L, out, at);
  lua_settop(L, base);
}

// The list at index `failures` is made at the first.
static void note_failure(lua_State *L, mfi_context *m, int failures, const mfi_view *v,
                         uint64_t index) {
  if (lua_isnil(L, failures)) {
    lua_newtable(L);
    lua_replace(L, failures);
  }
  add_failure(L, m, failures, v, index);
}

// All results of a job. How many items.
static lua_Integer store_all(lua_State *L, mfi_context *m, mfi_ref job, int out, lua_Integer at,
                             bool all, int failures) {
  mfi_cursor c = {0};
  mfi_view v;
  mfi_job *j = mfi_job_at(m->self, job);
  lua_Integer n = 0;
  for (; mfi_job_result(m->self, job, &c, &v); n++) {
    if (v.kind == MFI_OK) {
      store(L, m, out, at + v.index, &v, all);
      continue;
    }
    note_failure(L, m, failures, &v, j->first + v.index);
  }
  return n;
}

static bool wants_all(lua_State *L, int idx) {
  return strcmp(luaL_optstring(L, idx, "first"), "all") == 0;
}

// Of cells whose job has not ended: what has failed by now is known now.
static void add_early_failures(lua_State *L, mfi_box *b, int failures) {
  mfi_self *self = b->m->self;
  for (mfi_ref ref = load_acquire(&mfi_batch_of(b->o)->oldest); ref != 0;
       ref = load_acquire(&mfi_job_at(self, ref)->younger)) {
    mfi_job *j = mfi_job_at(self, ref);
    mfi_cursor c = {0};
    mfi_view v;
    while (j->cells != 0 && mfi_job_result(self, ref, &c, &v))
      if (v.kind != MFI_OK)
        note_failure(L, b->m, failures, &v, j->first + v.index);
  }
}

// core.batch_take(b, out, mode) → items taken, failures, status of jobs that ended as a whole
int mfi_bind_batch_take(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  bool all = wants_all(L, 3);
  lua_Integer total = 0;
  mfi_status rest = MFI_OK;
  lua_settop(L, 3);
  lua_pushnil(L); // 4: failures
  taken *t = push_taken(L, b->m);
  while ((t->n = mfi_batch_take(b->m->self, b->o, t->job, 16)) != 0) {
    for (uint32_t i = 0; i < t->n; i++) {
      mfi_job *j = mfi_job_at(b->m->self, t->job[i]);
      total += store_all(L, b->m, t->job[i], 2, (lua_Integer)j->first, all, 4);
      if (j->status != MFI_OK)
        rest = (mfi_status)j->status;
    }
    end_jobs(t);
  }
  if (load_acquire(&mfi_batch_of(b->o)->failed) != 0)
    add_early_failures(L, b, 4);
  lua_pushinteger(L, total);
  lua_pushvalue(L, 4);
  if (rest == MFI_OK)
    lua_pushnil(L);
  else
    lua_pushstring(L, mfi_bind_status(rest));
  return 3;
}

static int push_next(lua_State *L, mfi_box *b, mfi_ref job, bool all) {
  mfi_job *j = mfi_job_at(b->m->self, job);
  lua_Integer at = luaL_optinteger(L, 3, (lua_Integer)j->first);
  lua_Integer n = store_all(L, b->m, job, 2, at, all, 6);
  lua_pushinteger(L, n);
  lua_pushinteger(L, (lua_Integer)j->first);
  lua_pushvalue(L, 6);
  lua_pushstring(L, mfi_bind_status((mfi_status)j->status));
  lua_pushinteger(L, j->nitems);
  return 5;
}

// core.batch_next(b, out, at, mode, timeout) → n, index, failures, status, items of the job
int mfi_bind_batch_next(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  bool all = wants_all(L, 4);
  mfi_ns until = mfi_bind_until(L, 5);
  lua_settop(L, 5);
  lua_pushnil(L); // 6: failures
  taken *t = push_taken(L, b->m);
  for (;;) {
    t->n = mfi_batch_take(b->m->self, b->o, t->job, 1);
    if (t->n != 0)
      break;
    mfi_status st = mfi_bind_wait(L, mfi_bind_batch_core(b), wait_one, next_queued, b->o, until);
    if (st == MFI_OK)
      continue;
    lua_pushnil(L);
    lua_pushstring(L, st == MFI_CLOSED ? "closed" : "timeout");
    return 2;
  }
  int n = push_next(L, b, t->job[0], all);
  end_jobs(t);
  return n;
}
