// Items of batches: from the caller's values to jobs. Floor 7; see batch.h. Locks nothing, sleeps
// nowhere.
#include "base/atomic.h"
#include "bind/batch.h"
#include "bind/calls.h"
#include "flow/cells.h"
#include "script/exec.h"

#include <stdlib.h>
#include <string.h>

static const char scratch_key;

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

static const mfi_bind_plan *plan_of(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  const mfi_bind_plan *p = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return p;
}

static mfi_job_config config_of(const mfi_bind_plan *p, const chunk *c) {
  return (mfi_job_config){.nitems = c->nitems,
                          .nrefs = c->nrefs,
                          .items_size = c->size,
                          .first = c->index,
                          .limit = p->limit,
                          .seed = p->seed,
                          .label = p->label};
}

static mfi_status make_job(mfi_self *self, const mfi_bind_plan *p, const scratch *s, const chunk *c,
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
static mfi_status make_jobs(mfi_self *self, const mfi_bind_plan *p, const scratch *s,
                            mfi_ref *jobs) {
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

static void check_made(lua_State *L, mfi_status st, const mfi_bind_plan *p) {
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "an object in the arguments is closed");
  if (st != MFI_OK)
    mfi_bind_raise(L, st, p->label);
}

// Submits the complete chunks.
static void submit_chunks(lua_State *L, mfi_box *b, scratch *s, uint64_t target) {
  mfi_self *self = b->m->self;
  mfi_object *core = mfi_bind_batch_core(b);
  const mfi_bind_plan *p = plan_of(L);
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
static lua_Integer next_items(const mfi_bind_plan *p, const mfi_core *c, const scratch *s,
                              lua_Integer size, lua_Integer left) {
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
  mfi_object *core = mfi_bind_batch_core(b);
  const mfi_bind_plan *p = plan_of(L);
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
int mfi_bind_batch_list(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  lua_Integer i = luaL_checkinteger(L, 3), j = luaL_checkinteger(L, 4);
  lua_Integer size = luaL_checkinteger(L, 5), index = luaL_optinteger(L, 7, i);
  bool star = lua_toboolean(L, 6) != 0;
  lua_settop(L, 7);
  flush(L, b);
  scratch *s = push_scratch(L);
  const mfi_bind_plan *p = plan_of(L);
  const mfi_core *core = mfi_core_of(mfi_bind_batch_core(b));
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
  mfi_bind_run_serial(L, mfi_bind_batch_core(b), b->handle, 0);
  return 0;
}

// core.batch_range(b, first, step, count, chunksize, index)
int mfi_bind_batch_range(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  bool integers = lua_isinteger(L, 2) && lua_isinteger(L, 3);
  lua_Number first = luaL_checknumber(L, 2), step = luaL_checknumber(L, 3);
  lua_Integer ifirst = lua_tointeger(L, 2), istep = lua_tointeger(L, 3);
  lua_Integer count = luaL_checkinteger(L, 4), size = luaL_checkinteger(L, 5);
  lua_Integer index = luaL_optinteger(L, 6, 1);
  lua_settop(L, 6);
  flush(L, b);
  scratch *s = push_scratch(L);
  const mfi_bind_plan *p = plan_of(L);
  const mfi_core *core = mfi_core_of(mfi_bind_batch_core(b));
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
  mfi_bind_run_serial(L, mfi_bind_batch_core(b), b->handle, 0);
  return 0;
}

// core.batch_everywhere(b, args)
int mfi_bind_batch_everywhere(lua_State *L) {
  mfi_box *b = mfi_bind_batch_check(L);
  lua_settop(L, 2);
  flush(L, b);
  scratch *s = push_scratch(L);
  uint32_t room = (uint32_t)load_acquire(&b->m->self->region->slots_top);
  uint64_t *ids = lua_newuserdatauv(L, room * sizeof *ids, 0);
  uint32_t workers = mfi_pool_workers(b->m->self, mfi_bind_batch_core(b), ids, room);
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
