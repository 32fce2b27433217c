// Process and Thread, as the Lua half builds on them. Floor 7. Sleeps in join.
#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "script/exec.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mfi_box *check(lua_State *L) { return mfi_bind_check(L, 1, MFI_KIND_WORKER); }

// ---- Names

// "Process-1"; of one that "Process-1" makes: "Process-1:1". Each creator counts processes and
// threads.
static void default_name(mfi_self *self, uint32_t backend, char *out, size_t size) {
  bool process = backend == MFI_BACKEND_PROCESS;
  const char *kind = process ? "Process" : "Thread", *path = strchr(self->slot->name, '-');
  unsigned n = ++self->slot->counters[process ? 0 : 1];
  if (self->slot->worker == 0 || path == NULL)
    snprintf(out, size, "%s-%u", kind, n);
  else
    snprintf(out, size, "%s%s:%u", kind, path, n);
}

static int core_worker(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  char name[MFI_NAME_SIZE];
  const char *backend = luaL_checkstring(L, 1);
  mfi_worker_config c = {.backend = strcmp(backend, "thread") == 0 ? MFI_BACKEND_THREAD
                                                                   : MFI_BACKEND_PROCESS,
                         .daemon = (uint32_t)lua_toboolean(L, 3),
                         .memory_limit = (uint64_t)luaL_optinteger(L, 4, 0),
                         .name = luaL_optstring(L, 2, NULL),
                         .target = luaL_optstring(L, 5, NULL)};
  if (c.name == NULL) {
    default_name(m->self, c.backend, name, sizeof name);
    c.name = name;
  }
  mfi_handle h;
  uint32_t place;
  mfi_box *b = mfi_bind_empty(L, MFI_KIND_WORKER);
  mfi_status st = mfi_worker_make(m->self, &c, &h, &place);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, c.name);
  mfi_bind_fill(L, b, h, place);
  return 1;
}

// ---- Starting

// Encodes the context at idx as the first part of a parcel. [-0, +1, v]
void mfi_bind_encode_context(lua_State *L, int idx, mfi_parcel *p) {
  mfi_context *m = mfi_bind_context(L);
  mfi_encode(m->codec, L, idx, 1, "context", MFI_ENCODE_ADDITIONS, &p->part[0]);
  mfi_encoded_keep(m->codec, L, &p->part[0]);
}

#define MOST_ARGUMENTS 900000 // of the million places that a Lua stack has

int mfi_bind_count(lua_State *L, int idx) {
  int whole = 1;
  lua_Integer n;
  if (lua_getfield(L, idx, "n") == LUA_TNIL)
    n = luaL_len(L, idx);
  else
    n = lua_tointegerx(L, -1, &whole);
  if (!whole || n < 0 || n > MOST_ARGUMENTS)
    luaL_error(L, "bad list of arguments (its n is %s; 0 to %d expected)",
               luaL_tolstring(L, -1, NULL), MOST_ARGUMENTS);
  lua_pop(L, 1);
  luaL_checkstack(L, (int)n + 10, "too many arguments");
  return (int)n;
}

// Pushes f, kwargs, args… from the indices given and encodes them, kept. [-0, +1, v]
void mfi_bind_encode_call(lua_State *L, int f, int args, int kwargs, mfi_encoded *out) {
  mfi_context *m = mfi_bind_context(L);
  int first = lua_gettop(L) + 1;
  lua_pushvalue(L, f);
  if (lua_isnoneornil(L, kwargs))
    lua_pushnil(L);
  else
    lua_pushvalue(L, kwargs);
  int n = 0;
  if (lua_istable(L, args)) {
    n = mfi_bind_count(L, args);
    for (int i = 1; i <= n; i++)
      lua_rawgeti(L, args, i);
  }
  mfi_encode(m->codec, L, first, n + 2, "target;kwargs;args[#]", 0, out);
  mfi_encoded_keep(m->codec, L, out);
  lua_replace(L, first);
  lua_settop(L, first);
}

static int worker_start(lua_State *L) {
  mfi_box *b = check(L);
  mfi_parcel p;
  lua_settop(L, 5);
  mfi_bind_encode_context(L, 2, &p);
  mfi_bind_encode_call(L, 3, 4, 5, &p.part[1]);
  mfi_source src = mfi_parcel_pack(L, &p);
  if (b->m->output != NULL)
    mfi_output_flush(b->m->output);
  mfi_status st = mfi_worker_start(b->m->self, b->handle, &src);
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "an object in the arguments is closed");
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "start");
  lua_pushboolean(L, 1);
  return 1;
}

// ---- Looking

static const char *const states[] = {"new", "starting", "running", "ended"};
static const char *const backends[] = {"default", "process", "thread", "serial"};

const char *mfi_bind_backend(uint32_t backend) { return backends[backend]; }

static void push_ident(lua_State *L, uint64_t slot) {
  if (slot == 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, (lua_Integer)slot);
}

static int worker_get(lua_State *L) {
  static const char *const fields[] = {"state",   "name",     "pid",    "ident",  "daemon",
                                       "backend", "exitcode", "status", "number", NULL};
  mfi_worker *w = mfi_worker_of(check(L)->o);
  uint32_t state = load_acquire(&w->state);
  bool ended = state == MFI_WORKER_ENDED;
  switch (luaL_checkoption(L, 2, NULL, fields)) {
  case 0:
    lua_pushstring(L, states[state]);
    break;
  case 1:
    lua_pushstring(L, w->name);
    break;
  case 2:
    if (w->pid == 0)
      lua_pushnil(L);
    else
      lua_pushinteger(L, w->pid);
    break;
  case 3:
    push_ident(L, w->slot);
    break;
  case 4:
    lua_pushboolean(L, w->daemon != 0);
    break;
  case 5:
    lua_pushstring(L, backends[w->backend]);
    break;
  case 6:
    if (ended)
      lua_pushinteger(L, w->exitcode);
    else
      lua_pushnil(L);
    break;
  case 7:
    if (ended)
      lua_pushstring(L, mfi_bind_status((mfi_status)w->status));
    else
      lua_pushnil(L);
    break;
  default:
    lua_pushinteger(L, w->number);
    break;
  }
  return 1;
}

// Before the start: the name, or whether it is a daemon.
static int worker_set(lua_State *L) {
  static const char *const fields[] = {"name", "daemon", NULL};
  mfi_worker *w = mfi_worker_of(check(L)->o);
  if (w->state != MFI_WORKER_NEW)
    return luaL_error(L, "the worker has been started");
  if (luaL_checkoption(L, 2, NULL, fields) == 0)
    snprintf(w->name, sizeof w->name, "%s", luaL_checkstring(L, 3));
  else
    w->daemon = (uint32_t)lua_toboolean(L, 3);
  return 0;
}

// ---- Waiting and stopping

// A signal may be swallowed by a switch of coroutine: who waits for a stopped thread sends it
// again.
static mfi_status join_slice(mfi_box *b, mfi_ns until, mfi_ns *slice) {
  mfi_worker *w = mfi_worker_of(b->o);
  if (load_acquire(&w->stop) == 0 || w->backend != MFI_BACKEND_THREAD)
    return mfi_worker_join(b->m->self, b->o, until);
  mfi_ns next = mfi_os_now() + *slice;
  mfi_status st = mfi_worker_join(b->m->self, b->o, next < until ? next : until);
  if (st != MFI_TIMEDOUT || mfi_os_now() >= until)
    return st;
  *slice *= 2;
  mfi_worker_stop(b->m->self, b->o, (int)w->stop);
  return MFI_INTERRUPTED;
}

static int worker_join(lua_State *L) {
  mfi_box *b = check(L);
  mfi_ns until = mfi_bind_until(L, 2), slice = 20000000;
  if (b->m->output != NULL)
    mfi_output_flush(b->m->output);
  mfi_status st;
  while ((st = join_slice(b, until, &slice)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  lua_pushboolean(L, st == MFI_OK);
  return 1;
}

static int worker_stop(lua_State *L) {
  mfi_box *b = check(L);
  mfi_status st = mfi_worker_stop(b->m->self, b->o, (int)luaL_checkinteger(L, 2));
  lua_pushboolean(L, st == MFI_OK);
  if (b->m->stop != NULL)
    mfi_stop_check(L); // it may have been this very worker
  return 1;
}

static int worker_result(lua_State *L) {
  mfi_box *b = check(L);
  mfi_worker *w = mfi_worker_of(b->o);
  if (load_acquire(&w->state) != MFI_WORKER_ENDED)
    return 0;
  lua_settop(L, 1);
  lua_pushstring(L, mfi_bind_status((mfi_status)w->status));
  if (w->result == 0)
    return 1;
  mfi_body *body = mfi_message_body(b->m->self, w->result);
  mfi_message message = {.bytes = mfi_message_bytes(body),
                         .size = body->size,
                         .refs = body->refs,
                         .nrefs = body->nrefs};
  return 1 + mfi_decode(b->m->codec, L, &message, mfi_context_flags(b->m));
}

static int worker_close(lua_State *L) {
  mfi_bind_release(L, check(L));
  return 0;
}

// ---- Relatives

typedef struct found {
  uint64_t n, room;
  mfi_handle handle[];
} found;

static void find_child(mfi_self *self, mfi_handle h, mfi_object *o, void *ctx) {
  found *f = ctx;
  (void)self;
  if (mfi_worker_of(o)->pool == 0 && f->n < f->room)
    f->handle[f->n++] = h;
}

static int push_child(lua_State *L) {
  mfi_bind_push(L, *(mfi_handle *)lua_touserdata(L, 1));
  return 1;
}

// Whoever is gone by now is left out.
static int core_children(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  uint64_t room = load_acquire(&m->self->region->slots_top);
  found *f = lua_newuserdatauv(L, sizeof *f + room * sizeof(mfi_handle), 0);
  *f = (found){.room = room};
  mfi_worker_each(m->self, mfi_slot_id(m->self, m->self->index), find_child, f);
  lua_newtable(L);
  lua_Integer n = 0;
  for (uint64_t i = 0; i < f->n; i++) {
    lua_pushcfunction(L, push_child);
    lua_pushlightuserdata(L, &f->handle[i]);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
      lua_rawseti(L, -2, ++n);
    else if (mfi_error_is(L, -1, "closed"))
      lua_pop(L, 1);
    else
      lua_error(L);
  }
  return 1;
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static int core_current(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  mfi_worker *w = m->worker == NULL ? NULL : mfi_worker_of(m->worker);
  lua_newtable(L);
  set_string(L, "name", m->self->slot->name);
  set_integer(L, "pid", (uint64_t)mfi_os_pid());
  set_integer(L, "ident", mfi_slot_id(m->self, m->self->index));
  set_string(L, "backend", w == NULL ? "main" : backends[w->backend]);
  set_string(L, "kind", w == NULL ? "main" : w->pool != 0 ? "pool" : "worker");
  lua_pushboolean(L, w != NULL && w->daemon != 0);
  lua_setfield(L, -2, "daemon");
  if (w != NULL) {
    mfi_bind_push(L, mfi_object_handle(m->self, m->worker));
    lua_setfield(L, -2, "process");
  }
  return 1;
}

static int core_parent(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  if (m->worker == NULL)
    return 0;
  uint64_t id = m->self->slot->parent;
  lua_newtable(L);
  set_integer(L, "ident", id);
  if (!mfi_slot_is(m->self, id))
    return 1;
  mfi_slot *s = mfi_slot_at(m->self, (uint32_t)id);
  set_string(L, "name", s->name);
  set_integer(L, "pid", s->pid);
  mfi_handle h = load_acquire(&s->worker);
  if (h != 0 && mfi_handle_kind(m->self, h) == MFI_KIND_WORKER) {
    mfi_bind_push(L, h);
    lua_setfield(L, -2, "process");
  }
  return 1;
}

typedef struct parent {
  uint64_t id;
} parent;

static bool is_gone(mfi_self *self, void *what) { return !mfi_slot_is(self, ((parent *)what)->id); }

static mfi_status wait_for_parent(mfi_self *self, parent *p, mfi_ns until) {
  mfi_event_say(self, MFI_HOW_PARENT, 0);
  return mfi_event_await(self, mfi_event_of(self, p->id), is_gone, p, until);
}

// The end of a slot wakes the event of its id.
static int core_parent_wait(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  mfi_ns until = mfi_bind_until(L, 1);
  if (m->worker == NULL)
    return 0;
  parent p = {m->self->slot->parent};
  mfi_status st;
  while ((st = wait_for_parent(m->self, &p, until)) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  mfi_event_done(m->self);
  lua_pushboolean(L, st == MFI_OK);
  return 1;
}

void mfi_bind_open_worker(lua_State *L) {
  static const luaL_Reg functions[] = {{"worker", core_worker},
                                       {"worker_start", worker_start},
                                       {"worker_get", worker_get},
                                       {"worker_set", worker_set},
                                       {"worker_join", worker_join},
                                       {"worker_stop", worker_stop},
                                       {"worker_result", worker_result},
                                       {"worker_close", worker_close},
                                       {"children", core_children},
                                       {"current", core_current},
                                       {"parent", core_parent},
                                       {"parent_wait", core_parent_wait},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
