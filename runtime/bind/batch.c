// Batches: map-like calls, as the Lua half builds on them. Floor 7. Sleeps in batch_wait and
// batch_next.
//
//   list or range --[batch_list, batch_range]--> chunks: items written into scratch memory, then a
//   job ended jobs --[batch_take, batch_next]--> values in the caller's table
#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "flow/cells.h"
#include "script/exec.h"

#include <stdlib.h>
#include <string.h>

static const char scratch_key;

static mfi_box *check(lua_State *L) { return mfi_bind_check(L, 1, MFI_KIND_BATCH); }

static mfi_object *core_of(const mfi_box *b) {
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

// What all jobs of a batch have in common; the batch's user value keeps it.
typedef struct plan {
  int64_t limit;
  uint64_t seed;
  bool cells; // chunks of one item may be cells
  char label[96];
} plan;

static void push_plan(lua_State *L, int options, mfi_object *core) {
  plan *p = lua_newuserdatauv(L, sizeof *p, 0);
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

// ---- Scratch memory of a chunk's items

// Items of up to MOST_CHUNKS chunks: encoding runs Lua code that may raise, so the jobs are made
// when all is encoded, and submitted together.
#define MOST_CHUNKS 16

typedef struct chunk {
  size_t at, size; // of its items in bytes
  uint32_t refs_at, nrefs;
  uint32_t nitems;
  uint64_t index; // of its first item in the whole call
} chunk;

typedef struct scratch {
  char *bytes;
  mfi_handle *refs;
  size_t size, room;
  uint32_t nrefs, refs_room;
  chunk chunk[MOST_CHUNKS];
  uint32_t chunks; // complete ones
} scratch;

static int free_scratch(lua_State *L) {
  scratch *s = lua_touserdata(L, 1);
  free(s->bytes);
  free(s->refs);
  memset(s, 0, sizeof *s);
  return 0;
}

// [-0, +1, m]
static scratch *push_scratch(lua_State *L) {
  scratch *s;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &scratch_key) == LUA_TUSERDATA) {
    s = lua_touserdata(L, -1);
  } else {
    lua_pop(L, 1);
    s = lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_scratch);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &scratch_key);
  }
  s->size = s->nrefs = s->chunks = 0;
  return s;
}

static void *grown(lua_State *L, void *p, size_t size) {
  void *bigger = realloc(p, size);
  if (bigger == NULL)
    luaL_error(L, "not enough memory");
  return bigger;
}

static void make_room(lua_State *L, scratch *s, size_t size, uint32_t nrefs) {
  if (s->size + size > s->room) {
    size_t room = 2 * (s->size + size) + 4096;
    s->bytes = grown(L, s->bytes, room);
    s->room = room;
  }
  if (s->nrefs + nrefs > s->refs_room) {
    uint32_t room = 2 * (s->nrefs + nrefs) + 16;
    s->refs = grown(L, s->refs, room * sizeof *s->refs);
    s->refs_room = room;
  }
}

// Appends the n values from stack index `first` as one item.
static void append_item(lua_State *L, mfi_context *m, scratch *s, int first, int n) {
  mfi_encoded e;
  mfi_encode(m->codec, L, first, n, "item", 0, &e);
  size_t padded = (e.size + 7) & ~(size_t)7;
  make_room(L, s, sizeof(mfi_item) + padded, e.nrefs);
  mfi_item *item = (mfi_item *)(void *)(s->bytes + s->size);
  *item = (mfi_item){.size = e.size, .nrefs = e.nrefs, .kind = MFI_ITEM_ARGS};
  mfi_encoded_copy(&e, item + 1);
  if (e.nrefs != 0)
    memcpy(s->refs + s->nrefs, e.refs, e.nrefs * sizeof *e.refs);
  s->size += sizeof *item + padded;
  s->nrefs += e.nrefs;
  mfi_encoded_release(m->codec, L, &e);
}

// ---- Submitting

static const plan *plan_of(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  const plan *p = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return p;
}

static mfi_job_config config_of(const plan *p, const chunk *c) {
  return (mfi_job_config){.nitems = c->nitems,
                          .nrefs = c->nrefs,
                          .items_size = c->size,
                          .first = c->index,
                          .limit = p->limit,
                          .seed = p->seed,
                          .label = p->label};
}

static mfi_status make_job(mfi_self *self, const plan *p, const scratch *s, const chunk *c,
                           mfi_ref *job) {
  mfi_job_config config = config_of(p, c);
  mfi_status st = mfi_job_make(self, &config, job);
  if (st != MFI_OK)
    return st;
  st = mfi_job_fill(self, *job, s->bytes + c->at, s->refs + c->refs_at);
  if (st != MFI_OK)
    mfi_job_discard(self, *job);
  return st;
}

// Makes the jobs, the last one first: submitting takes them from the top of the hand.
static mfi_status make_jobs(mfi_self *self, const plan *p, const scratch *s, mfi_ref *jobs) {
  for (uint32_t i = s->chunks; i > 0; i--) {
    mfi_status st = make_job(self, p, s, &s->chunk[i - 1], &jobs[i - 1]);
    if (st == MFI_OK)
      continue;
    for (uint32_t k = i; k < s->chunks; k++)
      mfi_job_discard(self, jobs[k]);
    return st;
  }
  return MFI_OK;
}

static void check_made(lua_State *L, mfi_status st, const plan *p) {
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "an object in the arguments is closed");
  if (st != MFI_OK)
    mfi_bind_raise(L, st, p->label);
}

// Submits the complete chunks.
static void submit_chunks(lua_State *L, mfi_box *b, scratch *s, uint64_t target) {
  mfi_self *self = b->m->self;
  mfi_object *core = core_of(b);
  const plan *p = plan_of(L);
  mfi_ref jobs[MOST_CHUNKS];
  uint32_t n = s->chunks, done = 0;
  mfi_status st = make_jobs(self, p, s, jobs);
  s->size = s->nrefs = s->chunks = 0;
  check_made(L, st, p);
  if (target != 0)
    st = mfi_pool_direct(self, core, jobs[0], b->o, target);
  else
    st = mfi_pool_submit_many(self, core, jobs, n, b->o, &done);
  if (st == MFI_OK)
    return;
  for (uint32_t k = done; k < n; k++)
    mfi_job_discard(self, jobs[k]);
  mfi_bind_refuse(L, st, p->label);
}

// The items written since the last chunk are one.
static void end_chunk(scratch *s, uint32_t nitems, uint64_t index) {
  chunk *c = &s->chunk[s->chunks];
  const chunk *before = s->chunks == 0 ? NULL : c - 1;
  c->at = before == NULL ? 0 : before->at + before->size;
  c->size = s->size - c->at;
  c->refs_at = before == NULL ? 0 : before->refs_at + before->nrefs;
  c->nrefs = s->nrefs - c->refs_at;
  c->nitems = nitems;
  c->index = index;
  s->chunks++;
}

// ---- Chunks of one item

// Cells of one job: the fewer items are left, the fewer, so that all workers have some.
#ifdef MFI_TINY
#define MOST_CELLS 4
#define SHARES 2
#else
#define MOST_CELLS 84
#define SHARES 8
#endif
#define MOST_BYTES ((size_t)1 << 16) // more of them cannot be cells

// How many of the items that are left are for the next job: a chunk, or more as its cells. Cells
// are written into empty scratch memory.
static lua_Integer next_items(const plan *p, const mfi_core *c, const scratch *s, lua_Integer size,
                              lua_Integer left) {
  if (!p->cells || size != 1 || s->chunks != 0)
    return size < left ? size : left;
  lua_Integer share = left / (SHARES * (c->want == 0 ? 1 : c->want));
  return share < 1 ? 1 : share < MOST_CELLS ? share : MOST_CELLS;
}

// Are items enough for a job that was to have n of them?
static bool are_enough(const scratch *s, lua_Integer items, lua_Integer n, lua_Integer size) {
  return items == n || (n > size && s->size > MOST_BYTES);
}

// The items written since the last submit: the largest one; 0: not all may be cells.
static uint64_t largest_item(const scratch *s, lua_Integer n) {
  uint64_t largest = 1, at = 0;
  for (lua_Integer i = 0; i < n && largest != 0; i++) {
    const mfi_item *item = (const mfi_item *)(const void *)(s->bytes + at);
    if (item->size > largest)
      largest = item->size;
    if (item->nrefs != 0 || largest > MFI_CELL_MOST)
      largest = 0;
    at += sizeof *item + ((item->size + 7) & ~(uint64_t)7);
  }
  return largest;
}

static void submit_cells(lua_State *L, mfi_box *b, scratch *s, uint64_t largest, lua_Integer n,
                         uint64_t index) {
  mfi_self *self = b->m->self;
  mfi_object *core = core_of(b);
  const plan *p = plan_of(L);
  const chunk c = {.nitems = (uint32_t)n, .index = index};
  mfi_job_config config = config_of(p, &c);
  mfi_ref job;
  uint32_t done;
  mfi_status st = mfi_cells_make(self, core, &config, s->bytes, largest, &job);
  s->size = s->nrefs = 0;
  check_made(L, st, p);
  st = mfi_pool_submit_many(self, core, &job, 1, b->o, &done);
  if (st == MFI_OK)
    return;
  mfi_job_discard(self, job);
  mfi_bind_refuse(L, st, p->label);
}

// Those that cannot be cells are jobs of their own.
static void submit_singles(lua_State *L, mfi_box *b, scratch *s, lua_Integer n, uint64_t index) {
  size_t at = 0;
  uint32_t refs_at = 0;
  for (lua_Integer i = 0; i < n; i++) {
    const mfi_item *item = (const mfi_item *)(const void *)(s->bytes + at);
    size_t size = sizeof *item + ((item->size + 7) & ~(size_t)7);
    s->chunk[s->chunks++] = (chunk){.at = at,
                                    .size = size,
                                    .refs_at = refs_at,
                                    .nrefs = item->nrefs,
                                    .nitems = 1,
                                    .index = index + (uint64_t)i};
    at += size;
    refs_at += item->nrefs;
    if (s->chunks == MOST_CHUNKS || i == n - 1)
      submit_chunks(L, b, s, 0);
  }
}

static void submit_ones(lua_State *L, mfi_box *b, scratch *s, lua_Integer n, uint64_t index) {
  uint64_t largest = largest_item(s, n);
  if (largest != 0)
    submit_cells(L, b, s, largest, n, index);
  else
    submit_singles(L, b, s, n, index);
}

// The n items that were written are the next job's. cells: or several jobs'.
static void end_and_submit(lua_State *L, mfi_box *b, scratch *s, lua_Integer n, bool cells,
                           uint64_t index) {
  if (cells) {
    submit_ones(L, b, s, n, index);
    return;
  }
  end_chunk(s, (uint32_t)n, index);
  if (s->chunks == MOST_CHUNKS || s->size > ((size_t)1 << 20))
    submit_chunks(L, b, s, 0);
}

// Pushes the item's arguments; how many.
static int push_item(lua_State *L, lua_Integer i, bool star) {
  lua_geti(L, 2, i);
  if (!star)
    return 1;
  int t = lua_gettop(L);
  if (!lua_istable(L, t))
    return luaL_error(L, "bad item #%I (table of arguments expected, got %s)", (LUAI_UACINT)i,
                      luaL_typename(L, t));
  int n = mfi_bind_count(L, t);
  for (int k = 1; k <= n; k++)
    lua_geti(L, t, k);
  lua_remove(L, t);
  return n;
}

static void flush(lua_State *L, mfi_box *b) {
  if (b->m->output != NULL)
    mfi_output_flush(b->m->output);
  (void)L;
}

// core.batch_list(b, list, i, j, chunksize, star, index)
static int batch_list(lua_State *L) {
  mfi_box *b = check(L);
  lua_Integer i = luaL_checkinteger(L, 3), j = luaL_checkinteger(L, 4);
  lua_Integer size = luaL_checkinteger(L, 5), index = luaL_optinteger(L, 7, i);
  bool star = lua_toboolean(L, 6) != 0;
  lua_settop(L, 7);
  flush(L, b);
  scratch *s = push_scratch(L);
  const plan *p = plan_of(L);
  const mfi_core *core = mfi_core_of(core_of(b));
  while (i <= j) {
    lua_Integer n = next_items(p, core, s, size, j - i + 1), k = 0;
    while (!are_enough(s, k, n, size)) {
      append_item(L, b->m, s, 9, push_item(L, i + k++, star));
      lua_settop(L, 8);
    }
    end_and_submit(L, b, s, k, n > size, (uint64_t)index);
    i += k;
    index += k;
  }
  submit_chunks(L, b, s, 0);
  mfi_bind_run_serial(L, core_of(b), b->handle, 0);
  return 0;
}

// core.batch_range(b, first, step, count, chunksize, index)
static int batch_range(lua_State *L) {
  mfi_box *b = check(L);
  bool integers = lua_isinteger(L, 2) && lua_isinteger(L, 3);
  lua_Number first = luaL_checknumber(L, 2), step = luaL_checknumber(L, 3);
  lua_Integer ifirst = lua_tointeger(L, 2), istep = lua_tointeger(L, 3);
  lua_Integer count = luaL_checkinteger(L, 4), size = luaL_checkinteger(L, 5);
  lua_Integer index = luaL_optinteger(L, 6, 1);
  lua_settop(L, 6);
  flush(L, b);
  scratch *s = push_scratch(L);
  const plan *p = plan_of(L);
  const mfi_core *core = mfi_core_of(core_of(b));
  for (lua_Integer i = 0; i < count;) {
    lua_Integer n = next_items(p, core, s, size, count - i);
    for (lua_Integer k = 0; k < n; k++, i++) {
      if (integers)
        lua_pushinteger(L, ifirst + i * istep);
      else
        lua_pushnumber(L, first + (lua_Number)i * step);
      append_item(L, b->m, s, 8, 1);
      lua_settop(L, 7);
    }
    end_and_submit(L, b, s, n, n > size, (uint64_t)index);
    index += n;
  }
  submit_chunks(L, b, s, 0);
  mfi_bind_run_serial(L, core_of(b), b->handle, 0);
  return 0;
}

// core.batch_everywhere(b, args)
static int batch_everywhere(lua_State *L) {
  mfi_box *b = check(L);
  lua_settop(L, 2);
  flush(L, b);
  scratch *s = push_scratch(L);
  uint32_t room = (uint32_t)load_acquire(&b->m->self->region->slots_top);
  uint64_t *ids = lua_newuserdatauv(L, room * sizeof *ids, 0);
  uint32_t workers = mfi_pool_workers(b->m->self, core_of(b), ids, room);
  workers = workers < room ? workers : room;
  for (uint32_t i = 0; i < workers; i++) {
    int n = lua_istable(L, 2) ? mfi_bind_count(L, 2) : 0;
    for (int k = 1; k <= n; k++)
      lua_rawgeti(L, 2, k);
    append_item(L, b->m, s, 5, n);
    lua_settop(L, 4);
    end_chunk(s, 1, i + 1);
    submit_chunks(L, b, s, ids[i]);
  }
  lua_pushinteger(L, workers);
  return 1;
}

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

static int batch_wait(lua_State *L) {
  mfi_box *b = check(L);
  mfi_ns until = mfi_bind_until(L, 2);
  mfi_status st = mfi_bind_wait(L, core_of(b), wait_all, next_queued, b->o, until);
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
static int batch_take(lua_State *L) {
  mfi_box *b = check(L);
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
static int batch_next(lua_State *L) {
  mfi_box *b = check(L);
  bool all = wants_all(L, 4);
  mfi_ns until = mfi_bind_until(L, 5);
  lua_settop(L, 5);
  lua_pushnil(L); // 6: failures
  taken *t = push_taken(L, b->m);
  for (;;) {
    t->n = mfi_batch_take(b->m->self, b->o, t->job, 1);
    if (t->n != 0)
      break;
    mfi_status st = mfi_bind_wait(L, core_of(b), wait_one, next_queued, b->o, until);
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

// ---- The rest

static int batch_jobs(lua_State *L) {
  mfi_box *b = check(L);
  mfi_batch *batch = mfi_batch_of(b->o);
  lua_Integer n = 0;
  mfi_object *core = core_of(b);
  mfi_lock_take(b->m->self, &core->lock);
  for (mfi_ref r = batch->oldest; r != 0; r = mfi_job_at(b->m->self, r)->younger)
    n++;
  lua_Integer left = (lua_Integer)batch->left;
  mfi_lock_give(b->m->self, &core->lock);
  lua_pushinteger(L, n);
  lua_pushinteger(L, left);
  return 2;
}

static int batch_left(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)load_acquire(&mfi_batch_of(check(L)->o)->left));
  return 1;
}

static int batch_cancel(lua_State *L) {
  static const char *const names[] = {"cancelled", "task_timeout", "terminated", NULL};
  static const mfi_status statuses[] = {MFI_CANCELLED, MFI_TASK_TIMEOUT, MFI_TERMINATED};
  mfi_box *b = check(L);
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
  static const luaL_Reg functions[] = {
      {"batch", core_batch},        {"batch_list", batch_list},
      {"batch_range", batch_range}, {"batch_everywhere", batch_everywhere},
      {"batch_wait", batch_wait},   {"batch_take", batch_take},
      {"batch_next", batch_next},   {"batch_jobs", batch_jobs},
      {"batch_left", batch_left},   {"batch_cancel", batch_cancel},
      {"batch_close", batch_close}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
