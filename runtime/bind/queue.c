// Queue in Lua. Floor 7. Sleeps in put and get; large messages are freed also when decoding raises.
#include "flow/queue.h"

#include "base/assert.h"
#include "base/fault.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "bind/taken.h"

#include <math.h>
#include <string.h>

static mfi_box *self_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_QUEUE, method);
}

static int give_reason(lua_State *L, const char *reason) {
  lua_pushnil(L);
  lua_pushstring(L, reason);
  return 2;
}

// ---- put

// The message is kept only when callbacks may run before it is put.
static mfi_status put_patiently(lua_State *L, mfi_box *b, mfi_encoded *e, mfi_ns until) {
  mfi_source src = mfi_context_source(e);
  mfi_status st = mfi_queue_put(b->m->self, b->o, &src, until);
  if (st != MFI_INTERRUPTED)
    return st;
  mfi_encoded_keep(b->m->codec, L, e);
  do {
    mfi_context_look_up(L);
    src = mfi_context_source(e);
    st = mfi_queue_put(b->m->self, b->o, &src, until);
  } while (st == MFI_INTERRUPTED);
  return st;
}

static int put(lua_State *L, mfi_box *b, mfi_ns until, const char *when_full) {
  mfi_encoded e;
  mfi_encode(b->m->codec, L, 2, 1, "value", 0, &e);
  mfi_status st = put_patiently(L, b, &e, until);
  mfi_encoded_release(b->m->codec, L, &e);
  if (st == MFI_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (st == MFI_TIMEDOUT)
    return give_reason(L, when_full);
  if (st == MFI_CLOSED && b->o->kind == MFI_KIND_QUEUE && mfi_queue_of(b->o)->closed != 0)
    return give_reason(L, "closed");
  mfi_bind_raise(L, st, "put");
}

static int queue_put(lua_State *L) {
  mfi_box *b = self_of(L, "put");
  mfi_ns until = mfi_bind_timeout(L, 3, "put", "put_nowait(v) does not wait");
  lua_settop(L, 2);
  return put(L, b, until, "timeout");
}

static int queue_put_nowait(lua_State *L) {
  mfi_box *b = self_of(L, "put_nowait");
  lua_settop(L, 2);
  return put(L, b, 0, "full");
}

// ---- get

static void raise_pending(lua_State *L, mfi_box *b);

static int get(lua_State *L, mfi_box *b, mfi_ns until, const char *when_empty) {
  mfi_taken t;
  mfi_status st;
  raise_pending(L, b);
  while ((st = mfi_queue_take(b->m->self, b->o, b->place, until, &t)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  if (st == MFI_TIMEDOUT)
    return give_reason(L, when_empty);
  if (st != MFI_OK)
    return give_reason(L, "closed");
  mfi_bind_open_taken(L, b, &t);
  return 1;
}

static int queue_get(lua_State *L) {
  mfi_box *b = self_of(L, "get");
  mfi_ns until = mfi_bind_timeout(L, 2, "get", "get_nowait() does not wait");
  return get(L, b, until, "timeout");
}

static int queue_get_nowait(lua_State *L) { return get(L, self_of(L, "get_nowait"), 0, "empty"); }

// ---- put_many

// All messages of a list: runs of small ones as records, large ones each by itself.
typedef struct list {
  mfi_encoded *message; // n
  uint32_t n;
  char *packed; // records of the small ones, in order
  size_t packed_size;
} list;

static bool is_small(const mfi_encoded *e) { return e->size <= MFI_QUEUE_INLINE && e->nrefs == 0; }

static uint32_t list_length(lua_State *L, int idx) {
  lua_Integer n;
  if (lua_getfield(L, idx, "n") == LUA_TNUMBER && lua_isinteger(L, -1))
    n = lua_tointeger(L, -1);
  else
    n = luaL_len(L, idx);
  lua_pop(L, 1);
  if (n < 0 || n > INT32_MAX)
    luaL_error(L, "bad argument #1 to 'put_many' (list is too long)");
  return (uint32_t)n;
}

// What was encoded becomes the caller's own. [-2, +k, m]
static int keep_list(lua_State *L) {
  mfi_box *b = lua_touserdata(L, 1);
  list *l = lua_touserdata(L, 2);
  lua_settop(L, 0);
  l->packed_size = 0;
  for (uint32_t i = 0; i < l->n; i++)
    if (is_small(&l->message[i]))
      l->packed_size += mfi_queue_packed_size(l->message[i].size);
  char *at = l->packed = lua_newuserdatauv(L, l->packed_size + 1, 0);
  for (uint32_t i = 0; i < l->n; i++) {
    if (!is_small(&l->message[i]))
      continue;
    mfi_encoded_copy(&l->message[i], mfi_queue_pack(at, l->message[i].size));
    at += mfi_queue_packed_size(l->message[i].size);
  }
  for (uint32_t i = 0; i < l->n; i++) {
    if (is_small(&l->message[i]))
      continue;
    luaL_checkstack(L, 10, "too many messages");
    mfi_encoded_keep(b->m->codec, L, &l->message[i]);
  }
  return lua_gettop(L);
}

// Encodes all before anything is put. Pushes the userdata that own it.
static void encode_list(lua_State *L, mfi_box *b, int idx, list *out) {
  out->n = list_length(L, idx);
  out->message = lua_newuserdatauv(L, (out->n + 1) * sizeof *out->message, 0);
  luaL_checkstack(L, 20, "too many messages");
  const mfi_encoded *all = mfi_encode_list(b->m->codec, L, idx, out->n, "list[#]", 0);
  if (out->n != 0)
    memcpy(out->message, all, out->n * sizeof *all);
  // A finalizer might encode, and what `all` refers to is the encoder's until it is kept.
  bool collects = lua_gc(L, LUA_GCISRUNNING) != 0;
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, keep_list);
  lua_pushlightuserdata(L, b);
  lua_pushlightuserdata(L, out);
  int status = lua_pcall(L, 2, LUA_MULTRET, 0);
  if (collects)
    lua_gc(L, LUA_GCRESTART);
  if (status != LUA_OK)
    lua_error(L);
}

static uint32_t small_run(const list *l, uint32_t from) {
  uint32_t n = 0;
  while (from + n < l->n && is_small(&l->message[from + n]))
    n++;
  return n;
}

static mfi_status put_run(lua_State *L, mfi_box *b, const char **at, uint32_t n, mfi_ns until,
                          uint32_t *total) {
  while (n > 0) {
    uint32_t done = 0;
    size_t used = 0;
    mfi_status st = mfi_queue_put_packed(b->m->self, b->o, *at, n, until, &done, &used);
    if (st == MFI_INTERRUPTED)
      mfi_context_look_up(L);
    else if (st != MFI_OK)
      return st;
    n -= done;
    *total += done;
    *at += used;
  }
  return MFI_OK;
}

static mfi_status put_list(lua_State *L, mfi_box *b, list *l, mfi_ns until, uint32_t *total) {
  const char *at = l->packed;
  *total = 0;
  while (*total < l->n) {
    uint32_t run = small_run(l, *total);
    mfi_status st;
    if (run > 0) {
      st = put_run(L, b, &at, run, until, total);
    } else {
      st = put_patiently(L, b, &l->message[*total], until);
      if (st == MFI_OK)
        ++*total;
    }
    if (st != MFI_OK)
      return st;
  }
  return MFI_OK;
}

// Those that were put may be got already: there is no way back.
static _Noreturn void raise_half_put(lua_State *L, uint32_t total, uint32_t n) {
  if (total == 0)
    mfi_bind_raise(L, MFI_NOMEM, "put_many");
  mfi_error_push(L, "no_memory", "put_many: shared memory is used up; %d of %d messages were put",
                 (int)total, (int)n);
  lua_pushinteger(L, total);
  lua_setfield(L, -2, "count");
  lua_error(L);
  for (;;)
    continue;
}

static int queue_put_many(lua_State *L) {
  mfi_box *b = self_of(L, "put_many");
  luaL_argexpected(L, lua_istable(L, 2), 2, "table");
  mfi_ns until = mfi_bind_timeout(L, 3, "put_many", NULL);
  list l;
  uint32_t total;
  lua_settop(L, 2);
  encode_list(L, b, 2, &l);
  mfi_status st = put_list(L, b, &l, until, &total);
  if (st == MFI_NOMEM)
    raise_half_put(L, total, l.n);
  lua_pushinteger(L, total);
  if (st == MFI_OK)
    return 1;
  lua_pushstring(L, st == MFI_CLOSED ? "closed" : "timeout");
  return 2;
}

// ---- get_many

// A message that cannot be read must not cost those that were taken together with it. Its error is
// kept (in pending_key's table, by queue; box->pending) and raised by the next get that would be
// given something: a list holds what could be read, before it and behind.

#define SCOOP 8192

static const char pending_key;

// Keeps the error at the top. [-1, +0, m]
static void keep_error(lua_State *L, mfi_box *b, int queue) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &pending_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &pending_key);
  }
  lua_pushvalue(L, queue);
  if (lua_rawget(L, -2) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, queue);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  b->pending = true;
  lua_pop(L, 3);
}

// Raises the oldest error that is kept for the queue at index 1, if there is one. [-0, +0, v]
static void raise_pending(lua_State *L, mfi_box *b) {
  if (!b->pending)
    return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &pending_key);
  lua_pushvalue(L, 1);
  lua_rawget(L, -2);
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  lua_rawgeti(L, -1, 1);
  for (lua_Integer i = 2; i <= n + 1; i++) {
    lua_rawgeti(L, -2, i);
    lua_rawseti(L, -3, i - 1);
  }
  b->pending = n > 1;
  lua_error(L);
}

// What get_many has in hand: the list is at index 2, `n` values are in it.
typedef struct many {
  mfi_box *box;
  lua_Integer n, max;
  const char *at; // the next record
  uint32_t left;  // records not read yet
  mfi_taken *large;
} many;

// Reads all records, or the large message. [-2, +0, v]
static int read_some(lua_State *L) {
  many *g = lua_touserdata(L, 2);
  mfi_context *m = g->box->m;
  if (g->large != NULL) {
    mfi_bind_open_taken(L, g->box, g->large);
    lua_rawseti(L, 1, g->n + 1);
    g->n++;
  }
  for (; g->left > 0; g->n++) {
    size_t size;
    mfi_message message = {.bytes = mfi_queue_unpack(&g->at, &size)};
    message.size = size;
    g->left--;
    mfi_decode(m->codec, L, &message, mfi_context_flags(m));
    lua_rawseti(L, 1, g->n + 1);
  }
  return 0;
}

static bool stops(lua_State *L, const mfi_context *m) {
  return (m->stop != NULL && mfi_stop_raised(m->stop) != 0) || mfi_error_is(L, -1, "interrupted");
}

// Reads what was taken: `left` records, or a large message. An error is kept, and the next message
// read.
static void read_all(lua_State *L, many *g, const char *at, uint32_t left, mfi_taken *large) {
  g->at = at;
  g->left = left;
  g->large = large;
  do {
    lua_pushcfunction(L, read_some);
    lua_pushvalue(L, 2);
    lua_pushlightuserdata(L, g);
    bool read = lua_pcall(L, 2, 0, 0) == LUA_OK;
    g->large = NULL;
    if (!read && stops(L, g->box->m))
      lua_error(L);
    if (!read)
      keep_error(L, g->box, 1);
  } while (g->left > 0);
  g->at = NULL;
}

// Takes what is there, up to max messages.
static void take_there(lua_State *L, many *g) {
  _Alignas(16) char room[SCOOP];
  mfi_box *b = g->box;
  do {
    size_t used;
    uint32_t want = g->max - g->n > 100000 ? 100000 : (uint32_t)(g->max - g->n);
    uint32_t got =
        mfi_queue_take_packed(b->m->self, b->o, b->place, room, sizeof room, want, &used);
    if (got == 0)
      return;
    read_all(L, g, room, got, NULL);
  } while (g->n < g->max);
}

// Large messages come one by one, and the first one is waited for, whatever its size.
static mfi_status take_next(lua_State *L, many *g, mfi_ns until) {
  mfi_taken t;
  mfi_box *b = g->box;
  bool first = g->n == 0 && !b->pending;
  mfi_status st = mfi_queue_take(b->m->self, b->o, b->place, first ? until : 0, &t);
  if (st == MFI_INTERRUPTED && first)
    mfi_context_look_up(L);
  if (st != MFI_OK)
    return st == MFI_INTERRUPTED && !first ? MFI_TIMEDOUT : st;
  read_all(L, g, NULL, 0, &t);
  return MFI_OK;
}

static int queue_get_many(lua_State *L) {
  mfi_box *b = self_of(L, "get_many");
  lua_Number limit = luaL_optnumber(L, 2, HUGE_VAL);
  if (!(limit >= 1))
    return luaL_error(L, "bad argument #2 to 'get_many' (positive number of messages expected)");
  mfi_ns until = mfi_bind_timeout(L, 3, "get_many", NULL);
  raise_pending(L, b);
  many g = {.box = b, .max = limit > 1e9 ? 1000000000 : (lua_Integer)limit};
  mfi_status st = MFI_OK;
  lua_settop(L, 1);
  lua_createtable(L, g.max < 1000 ? (int)g.max : 1000, 1);
  take_there(L, &g);
  while (g.n < g.max && (st == MFI_OK || st == MFI_INTERRUPTED)) {
    st = take_next(L, &g, until);
    if (st == MFI_OK && g.n < g.max)
      take_there(L, &g);
  }
  if (g.n == 0)
    raise_pending(L, b);
  if (g.n == 0)
    return give_reason(L, st == MFI_CLOSED ? "closed" : "timeout");
  lua_pushinteger(L, g.n);
  lua_setfield(L, 2, "n");
  return 1;
}

// ---- Done

static int queue_task_done(lua_State *L) {
  mfi_box *b = self_of(L, "task_done");
  if (mfi_queue_task_done(b->m->self, b->o, b->place) == MFI_OK)
    return 0;
  return luaL_error(L,
                    "cannot call task_done on Queue(#%I): all messages that were taken from it "
                    "are done already",
                    (LUAI_UACINT)b->o->number);
}

static mfi_status wait_done(mfi_self *self, void *what, mfi_ns until) {
  return mfi_queue_join(self, what, until);
}

static int queue_join(lua_State *L) {
  mfi_box *b = self_of(L, "join");
  mfi_ns until = mfi_bind_timeout(L, 2, "join", NULL);
  bool done = mfi_bind_wait(L, NULL, wait_done, NULL, b->o, until) == MFI_OK;
  lua_pushboolean(L, done);
  if (done)
    return 1;
  lua_pushliteral(L, "timeout");
  return 2;
}

// ---- The rest

static int queue_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mfi_queue_size(self_of(L, "size")->o));
  return 1;
}

static int queue_empty(lua_State *L) {
  lua_pushboolean(L, mfi_queue_size(self_of(L, "empty")->o) == 0);
  return 1;
}

static int queue_full(lua_State *L) {
  lua_pushboolean(L, mfi_queue_is_full(self_of(L, "full")->o));
  return 1;
}

static int queue_close(lua_State *L) {
  mfi_box *b = self_of(L, "close");
  mfi_queue_close(b->m->self, b->o);
  return 0;
}

// q:iter() is written in Lua; a worker may have got its queue without the rest of the module.
static int queue_iter(lua_State *L) {
  self_of(L, "iter");
  lua_settop(L, 1);
  mfi_bind_require(L, "moonfleet.queue");
  lua_insert(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int core_queue(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  uint32_t place;
  uint64_t maxsize = (uint64_t)luaL_optinteger(L, 1, 0);
  uint64_t max_bytes = (uint64_t)luaL_optinteger(L, 2, 0);
  mfi_box *b = mfi_bind_empty(L, MFI_KIND_QUEUE);
  mfi_handle h = mfi_queue_make(m->self, maxsize, max_bytes, &place);
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, "Queue");
  mfi_bind_fill(L, b, h, place);
  return 1;
}

void mfi_bind_open_queue(lua_State *L) {
  static const luaL_Reg methods[] = {{"put", queue_put},
                                     {"put_nowait", queue_put_nowait},
                                     {"get", queue_get},
                                     {"get_nowait", queue_get_nowait},
                                     {"put_many", queue_put_many},
                                     {"get_many", queue_get_many},
                                     {"task_done", queue_task_done},
                                     {"join", queue_join},
                                     {"size", queue_size},
                                     {"qsize", queue_size},
                                     {"empty", queue_empty},
                                     {"full", queue_full},
                                     {"close", queue_close},
                                     {"iter", queue_iter},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__len", queue_size}, {NULL, NULL}};
  mfi_bind_methods(L, MFI_KIND_QUEUE, methods);
  mfi_bind_metatable(L, MFI_KIND_QUEUE);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  mfi_bind_open_fields(L, MFI_KIND_QUEUE);
  lua_pushcfunction(L, core_queue);
  lua_setfield(L, -2, "Queue");
}
