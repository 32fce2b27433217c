// Moonfleet objects as Lua userdata. Floor 7; see object.h.
#include "bind/object.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "bind/calls.h"
#include "bind/core.h"
#include "flow/array.h"
#include "flow/queue.h"
#include "flow/registry.h"
#include "flow/text.h"
#include "script/exec.h"
#include "script/weak.h"
#include "sync/locks.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

static const char magic;
static const char cache_key; // registry: {handle = its userdata}, weak values

static const char *const kind_names[MFI_KINDS] = {
    [MFI_KIND_QUEUE] = "Queue",
    [MFI_KIND_LOCK] = "Lock",
    [MFI_KIND_RLOCK] = "RLock",
    [MFI_KIND_SEMAPHORE] = "Semaphore",
    [MFI_KIND_BOUNDED] = "BoundedSemaphore",
    [MFI_KIND_EVENT] = "Event",
    [MFI_KIND_CONDITION] = "Condition",
    [MFI_KIND_BARRIER] = "Barrier",
    [MFI_KIND_POOL] = "Pool",
    [MFI_KIND_BATCH] = "Batch",
    [MFI_KIND_JOB] = "Future",
    [MFI_KIND_WORKER] = "Process",
    [MFI_KIND_VALUE] = "Value",
    [MFI_KIND_ARRAY] = "Array",
    [MFI_KIND_CONNECTION] = "Connection",
};

const char *mfi_bind_kind_name(mfi_object_kind kind) { return kind_names[kind]; }

// ---- Statuses

const char *mfi_bind_status(mfi_status st) {
  switch (st) {
  case MFI_OK:
    return "ok";
  case MFI_TIMEDOUT:
    return "timeout";
  case MFI_EMPTY:
    return "empty";
  case MFI_FULL:
    return "full";
  case MFI_CLOSED:
    return "closed";
  case MFI_FAILED:
    return "failed";
  case MFI_WORKER_DIED:
    return "worker_died";
  case MFI_TASK_TIMEOUT:
    return "task_timeout";
  case MFI_MEMORY_LIMIT:
    return "memory_limit";
  case MFI_CANCELLED:
    return "cancelled";
  case MFI_TERMINATED:
    return "terminated";
  case MFI_INITIALIZER:
    return "initializer";
  case MFI_NOT_SENDABLE:
    return "not_sendable";
  case MFI_DECODE:
    return "decode";
  case MFI_DEADLOCK:
    return "deadlock";
  case MFI_NOMEM:
    return "no_memory";
  case MFI_SYSTEM:
    return "system";
  default:
    return "unknown";
  }
}

void mfi_bind_raise(lua_State *L, mfi_status st, const char *what) {
  if (st == MFI_NOMEM)
    mfi_error_raise(L, "no_memory", "%s: shared memory is used up", what);
  if (st == MFI_CLOSED)
    mfi_error_raise(L, "closed", "%s is closed", what);
  if (st == MFI_SYSTEM) {
    int error = errno;
    mfi_error_push(L, "system", "%s: %s", what, strerror(error));
    lua_pushinteger(L, error);
    lua_setfield(L, -2, "errno");
    lua_error(L);
  }
  mfi_error_raise(L, mfi_bind_status(st), "%s: %s", what, mfi_bind_status(st));
}

// ---- Time

mfi_ns mfi_bind_until(lua_State *L, int idx) {
  if (lua_isnoneornil(L, idx))
    return MFI_NEVER;
  return mfi_os_deadline(lua_tonumber(L, idx));
}

static _Noreturn void bad_timeout(lua_State *L, int idx, const char *method, const char *hint) {
  const char *got = luaL_typename(L, idx);
  if (lua_type(L, idx) == LUA_TNUMBER)
    got = lua_tostring(L, idx);
  bool tell = hint != NULL && lua_isboolean(L, idx);
  luaL_error(L, "bad argument #%d to '%s' (timeout in seconds expected, got %s%s%s)", idx, method,
             got, tell ? "; " : "", tell ? hint : "");
  for (;;)
    continue;
}

mfi_ns mfi_bind_timeout(lua_State *L, int idx, const char *method, const char *hint) {
  if (lua_isnoneornil(L, idx))
    return MFI_NEVER;
  if (lua_type(L, idx) != LUA_TNUMBER)
    bad_timeout(L, idx, method, hint);
  double s = lua_tonumber(L, idx);
  if (isnan(s) || s < 0)
    bad_timeout(L, idx, method, hint);
  return mfi_os_deadline(s);
}

// ---- Finding

mfi_box *mfi_bind_any(lua_State *L, int idx) {
  mfi_box *b = lua_touserdata(L, idx);
  if (b == NULL || lua_rawlen(L, idx) != sizeof *b || b->magic != &magic)
    return NULL;
  return b;
}

mfi_box *mfi_bind_test(lua_State *L, int idx, mfi_object_kind kind) {
  mfi_box *b = mfi_bind_any(L, idx);
  return b != NULL && b->kind == kind ? b : NULL;
}

static const char *type_name(lua_State *L, int idx) {
  mfi_box *b = mfi_bind_any(L, idx);
  return b != NULL ? kind_names[b->kind] : luaL_typename(L, idx);
}

mfi_box *mfi_bind_self(lua_State *L, mfi_object_kind kind, const char *method) {
  mfi_box *b = mfi_bind_any(L, 1);
  bool fits = b != NULL && b->kind == kind;
  if (!fits) {
    const char *name = kind_names[kind], *got = lua_isnone(L, 1) ? "no value" : type_name(L, 1);
    char variable[32] = "";
    for (size_t i = 0; name[i] != '\0' && i < sizeof variable - 1; i++)
      variable[i] = (char)tolower((unsigned char)name[i]);
    luaL_error(L, "bad argument #0 to '%s' (%s expected, got %s; call it with a colon: %s:%s(...))",
               method, name, got, variable, method);
  }
  if (b->handle == 0)
    mfi_error_raise(L, "closed", "this %s is closed", kind_names[kind]);
  return b;
}

mfi_box *mfi_bind_check(lua_State *L, int idx, mfi_object_kind kind) {
  mfi_box *b = mfi_bind_test(L, idx, kind);
  if (b == NULL)
    luaL_error(L, "bad argument #%d (%s expected, got %s)", idx, kind_names[kind],
               type_name(L, idx));
  if (b->handle == 0)
    mfi_error_raise(L, "closed", "this %s is closed", kind_names[kind]);
  return b;
}

// ---- Making

// ---- Fields
//
// Where a kind has computed fields, __index has to know the object, and as a function it would
// make a put and a get of a queue a fifth dearer. So each object of such a kind has a metatable of
// its own, whose __index is a table that gets the object's methods as they are used; only what it
// lacks is looked up by a function. The kind's metatable holds what is common: its __index has all
// methods, `fields` the function.

static bool has_fields(mfi_object_kind kind) {
  return kind == MFI_KIND_QUEUE || kind == MFI_KIND_CONNECTION;
}

// Object's own __index[&box_key]: the box.
static const char box_key;

// Called for a name that the object's table lacks: own table, key. Upvalues: methods, field.
static int find_name(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
  }
  mfi_box *b = lua_rawgetp(L, 1, &box_key) == LUA_TLIGHTUSERDATA ? lua_touserdata(L, -1) : NULL;
  if (b == NULL)
    return 0;
  if (b->handle == 0)
    mfi_error_raise(L, "closed", "this %s is closed", kind_names[b->kind]);
  mfi_bind_push(L, b->handle);
  lua_replace(L, 1);
  lua_settop(L, 2);
  return lua_tocfunction(L, lua_upvalueindex(2))(L); // its errors blame whoever asked us
}

void mfi_bind_fields(lua_State *L, mfi_object_kind kind, lua_CFunction field) {
  mfi_bind_metatable(L, kind);
  lua_createtable(L, 0, 1);
  lua_getfield(L, -2, "__index");
  lua_pushcfunction(L, field);
  lua_pushcclosure(L, find_name, 2);
  lua_setfield(L, -2, "__index");
  lua_setfield(L, -2, "fields");
  lua_pop(L, 1);
}

// The metatable for a new object: its kind's, or a copy with an __index of its own. [-0, +1, m]
static void push_metatable_of(lua_State *L, mfi_box *b) {
  mfi_bind_metatable(L, b->kind);
  if (!has_fields(b->kind))
    return;
  lua_getfield(L, -1, "fields");
  lua_createtable(L, 0, 8); // kind's, fields, own
  for (lua_pushnil(L); lua_next(L, -4) != 0;) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  lua_createtable(L, 0, 4);
  lua_pushlightuserdata(L, b);
  lua_rawsetp(L, -2, &box_key);
  lua_pushvalue(L, -3);
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "__index");
  lua_replace(L, -3);
  lua_pop(L, 1);
}

// The object is being collected: nobody may find it through its table.
static void forget_box(lua_State *L, const mfi_box *b) {
  if (!has_fields(b->kind) || !lua_getmetatable(L, 1))
    return;
  if (lua_getfield(L, -1, "__index") == LUA_TTABLE) { // who has the debug library may change it
    lua_pushnil(L);
    lua_rawsetp(L, -2, &box_key);
  }
  lua_pop(L, 2);
}

// Nothing between the reference and its owner may raise: the userdata comes first.
mfi_box *mfi_bind_empty(lua_State *L, mfi_object_kind kind) {
  mfi_box *b = lua_newuserdatauv(L, sizeof *b, 1);
  memset(b, 0, sizeof *b);
  b->magic = &magic;
  b->m = mfi_bind_context(L);
  b->kind = kind;
  push_metatable_of(L, b);
  lua_setmetatable(L, -2);
  return b;
}

static void fill_numbers(mfi_box *b) {
  if (b->kind == MFI_KIND_VALUE) {
    mfi_cell *c = mfi_cell_of(b->o);
    b->elements = (char *)&c->element;
    b->count = 1;
    b->type = c->type;
  } else if (b->kind == MFI_KIND_ARRAY) {
    mfi_array *a = mfi_array_of(b->o);
    b->elements = mfi_at(b->m->self, a->first);
    b->count = a->shape.count;
    b->type = a->shape.type;
  }
}

void mfi_bind_own(mfi_box *b, mfi_handle h, uint32_t place) {
  mfi_self *self = b->m->self;
  b->handle = h;
  b->place = place;
  if (b->kind != MFI_KIND_JOB) {
    b->o = mfi_object_of(self, h);
    fill_numbers(b);
    return;
  }
  b->job = mfi_counted_ref(self, h);
  mfi_job *j = mfi_job_at(self, b->job);
  b->o = mfi_object_of(self, j->counted.home);
  b->has_pool = j->pool != 0 && mfi_handle_add(self, j->pool, &b->pool_place) == MFI_OK;
}

void mfi_bind_remember(lua_State *L, const mfi_box *b) {
  mfi_weak_push(L, &cache_key, "v");
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, (lua_Integer)b->handle);
  lua_pop(L, 1);
}

void mfi_bind_fill(lua_State *L, mfi_box *b, mfi_handle h, uint32_t place) {
  mfi_bind_own(b, h, place);
  mfi_bind_remember(L, b);
}

// Methods of these kinds are written in Lua; a worker may have got one without asking for the
// module.
static void need_methods(lua_State *L, mfi_object_kind kind) {
  const char *module = kind == MFI_KIND_JOB      ? "moonfleet.future"
                       : kind == MFI_KIND_POOL   ? "moonfleet.pool"
                       : kind == MFI_KIND_WORKER ? "moonfleet.process"
                                                 : NULL;
  if (module != NULL)
    mfi_bind_require(L, module);
  else
    mfi_bind_open_kind(L, kind);
  lua_pop(L, 1);
}

void mfi_bind_push(lua_State *L, mfi_handle h) {
  mfi_context *m = mfi_bind_context(L);
  mfi_weak_push(L, &cache_key, "v");
  bool known = lua_rawgeti(L, -1, (lua_Integer)h) == LUA_TUSERDATA;
  mfi_box *b = known ? lua_touserdata(L, -1) : NULL;
  lua_remove(L, -2);
  if (known && b->handle == h)
    return;
  lua_pop(L, 1);
  mfi_object_kind kind = mfi_handle_kind(m->self, h);
  if (kind == MFI_KIND_FREE || kind_names[kind] == NULL)
    mfi_error_raise(L, "closed", "the object in this message is closed");
  need_methods(L, kind);
  b = mfi_bind_empty(L, kind);
  uint32_t place;
  mfi_status st = mfi_handle_add(m->self, h, &place);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "the object in this message");
  mfi_bind_own(b, h, place);
  mfi_bind_remember(L, b);
}

static int handle_of(lua_State *L, int idx, uint64_t *handle) {
  mfi_box *b = mfi_bind_any(L, idx);
  if (b == NULL || b->handle == 0)
    return 0;
  *handle = b->handle;
  return 1;
}

// ---- Classes that were registered: by name in the region, for receivers that lack them

static void publish_class(lua_State *L, const char *name) {
  mfi_context *m = mfi_bind_context(L);
  mfi_encoded e;
  mfi_encode(m->codec, L, lua_gettop(L), 1, "class", MFI_ENCODE_DEFINE, &e);
  mfi_source src = mfi_context_source(&e);
  mfi_status st = mfi_registry_put(m->self, name, &src);
  mfi_encoded_release(m->codec, L, &e);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "register");
}

static int find_class(lua_State *L, const char *name) {
  mfi_context *m = mfi_bind_context(L);
  mfi_message message;
  message.bytes = mfi_registry_get(m->self, name, &message.size, &message.refs, &message.nrefs);
  if (message.bytes == NULL)
    return 0;
  mfi_decode(m->codec, L, &message, MFI_DECODE_WORKER);
  mfi_codec_adopt(m->codec, L, name, -1);
  return 1;
}

const mfi_codec_hooks mfi_bind_hooks = {.handle_of = handle_of,
                                        .push_object = mfi_bind_push,
                                        .find_class = find_class,
                                        .publish_class = publish_class};

// ---- Ending

// A lock that its holder can no longer reach is abandoned.
static void abandon(mfi_self *self, const mfi_box *b) {
  mfi_slot *s = self->slot;
  uint64_t me = mfi_slot_id(self, self->index);
  mfi_held *entry = mfi_handle_entry(self, b->place);
  if (b->kind == MFI_KIND_BOUNDED) {
    s->held -= (uint32_t)entry->aux;
    mfi_bounded_ops.abandon(self, entry, me);
  } else if (b->kind == MFI_KIND_LOCK || b->kind == MFI_KIND_RLOCK) {
    if (((mfi_script_lock *)(void *)b->o->body)->owner != me)
      return;
    s->held--;
    mfi_lock_ops.abandon(self, entry, me);
  }
}

void mfi_bind_release(lua_State *L, mfi_box *b) {
  mfi_self *self = b->m->self;
  MFI_UNUSED(L);
  if (b->handle == 0 || b->m->self->region == NULL)
    return;
  if (self->slot->held != 0)
    abandon(self, b);
  if (b->kind == MFI_KIND_QUEUE) // what it has taken it cannot call done any more
    mfi_queue_ops.abandon(self, mfi_handle_entry(self, b->place), 0);
  if (b->kind == MFI_KIND_POOL && b->m->spares != NULL)
    mfi_exec_close_spares_of(b->m, ((mfi_pool *)(void *)b->o->body)->core);
  b->handle = 0;
  b->count = 0;
  if (b->has_pool)
    mfi_handle_drop(self, b->pool_place);
  mfi_handle_drop(self, b->place);
}

static bool is_unasked(mfi_self *self, const mfi_box *b) {
  if (b->kind != MFI_KIND_JOB || b->handle == 0)
    return false;
  mfi_job *j = mfi_job_at(self, b->job);
  return load_acquire(&j->asked) == 0;
}

// Lua half's hook: it reports a failure that nobody asked for, or watches for it.
static void tell_unasked(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, "moonfleet.unasked") == LUA_TFUNCTION) {
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
      lua_pop(L, 1);
  } else {
    lua_pop(L, 1);
  }
}

static int collect(lua_State *L) {
  mfi_box *b = mfi_bind_any(L, 1);
  if (b == NULL || b->m->self->region == NULL)
    return 0;
  if (is_unasked(b->m->self, b))
    tell_unasked(L);
  mfi_bind_release(L, b);
  forget_box(L, b);
  return 0;
}

static int close_box(lua_State *L) {
  mfi_box *b = mfi_bind_any(L, 1);
  if (b != NULL)
    mfi_bind_release(L, b);
  return 0;
}

static int equal(lua_State *L) {
  mfi_box *a = mfi_bind_any(L, 1), *b = mfi_bind_any(L, 2);
  lua_pushboolean(L, a != NULL && b != NULL && a->handle == b->handle && a->handle != 0);
  return 1;
}

static int text(lua_State *L) {
  mfi_box *b = mfi_bind_any(L, 1);
  const char *name = b == NULL ? "object" : kind_names[b->kind];
  char room[256];
  mfi_text t = {.at = room, .size = sizeof room};
  if (b == NULL || b->handle == 0) {
    lua_pushfstring(L, "%s(closed)", name);
    return 1;
  }
  mfi_text_add_object(&t, b->m->self, b->handle);
  lua_pushstring(L, room);
  return 1;
}

// ---- Metatables

void mfi_bind_metatable(lua_State *L, mfi_object_kind kind) {
  static const luaL_Reg meta[] = {{"__gc", collect},
                                  {"__close", close_box},
                                  {"__eq", equal},
                                  {"__tostring", text},
                                  {NULL, NULL}};
  static const char keys[MFI_KINDS];
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[kind]) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 8); // tables that grow leave their smaller selves behind
  luaL_setfuncs(L, meta, 0);
  lua_pushstring(L, kind_names[kind]);
  lua_setfield(L, -2, "__name");
  lua_newtable(L);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[kind]);
}

void mfi_bind_methods(lua_State *L, mfi_object_kind kind, const luaL_Reg *methods) {
  int n = 0;
  while (methods[n].name != NULL)
    n++;
  mfi_bind_metatable(L, kind);
  lua_createtable(L, 0, n);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
