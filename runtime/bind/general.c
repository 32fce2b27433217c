// Time, codec, counts, faults: what is no object. Floor 7.
#include "base/atomic.h"
#include "base/fault.h"
#include "bind/core.h"
#include "bind/object.h"
#include "flow/waits.h"
#include "script/func.h"

#include <string.h>

static int core_time(lua_State *L) {
  lua_pushnumber(L, (lua_Number)mfi_os_now() / 1e9);
  return 1;
}

static bool never(mfi_self *self, void *what) {
  (void)self;
  (void)what;
  return false;
}

static mfi_status sleep_once(mfi_self *self, mfi_event *e, mfi_ns until) {
  mfi_event_say(self, MFI_HOW_SLEEP, 0);
  return mfi_event_await(self, e, never, NULL, until);
}

static int core_sleep(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  mfi_ns until = mfi_bind_until(L, 1);
  if (m->output != NULL)
    mfi_output_flush(m->output);
  mfi_event *e = mfi_event_of(m->self, mfi_slot_id(m->self, m->self->index));
  m->self->no_spin = m->self->no_spin == 0 ? 1 : m->self->no_spin; // nothing to look for
  while (sleep_once(m->self, e, until) == MFI_INTERRUPTED)
    mfi_context_look_up(L);
  mfi_event_done(m->self);
  return 0;
}

static int core_getpid(lua_State *L) {
  lua_pushinteger(L, mfi_os_pid());
  return 1;
}

static int core_dump_waits(lua_State *L) {
  mfi_self *self = mfi_bind_context(L)->self;
  luaL_Buffer b;
  size_t size = 4096, used;
  luaL_buffinit(L, &b);
  while ((used = mfi_waits_dump(self, luaL_prepbuffsize(&b, size), size)) >= size)
    size = used + 1024; // it may grow meanwhile
  luaL_addsize(&b, used);
  luaL_pushresult(&b);
  return 1;
}

static int core_cpu_count(lua_State *L) {
  lua_pushinteger(L, mfi_os_cpu_count());
  return 1;
}

static int core_flush(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  if (m->output != NULL)
    mfi_output_flush(m->output);
  return 0;
}

// ---- Types and errors

static int core_type(lua_State *L) {
  mfi_box *b = mfi_bind_any(L, 1);
  if (b == NULL)
    lua_pushnil(L);
  else
    lua_pushstring(L, mfi_bind_kind_name(b->kind));
  return 1;
}

static int core_metatable(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (int k = 1; k < MFI_KINDS; k++) {
    const char *kind = mfi_bind_kind_name((mfi_object_kind)k);
    if (kind == NULL || strcmp(kind, name) != 0)
      continue;
    mfi_bind_metatable(L, (mfi_object_kind)k);
    return 1;
  }
  return luaL_error(L, "no kind '%s'", name);
}

// The table of one's own that goes with a userdata.
static int core_extra(lua_State *L) {
  luaL_checktype(L, 1, LUA_TUSERDATA);
  if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE)
    return 1;
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, 1);
  return 1;
}

static int core_error(lua_State *L) {
  const char *kind = luaL_checkstring(L, 1);
  lua_settop(L, 3);
  mfi_error_push(L, kind, "%s", luaL_checkstring(L, 2));
  if (!lua_istable(L, 3))
    return 1;
  for (lua_pushnil(L); lua_next(L, 3) != 0;) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 4);
  }
  return 1;
}

static int core_error_text(lua_State *L) {
  luaL_checkany(L, 1);
  mfi_error_text(L, 1);
  return 1;
}

static int core_is_error(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, mfi_error_is(L, 1, luaL_optstring(L, 2, NULL)));
  return 1;
}

static int core_error_metatable(lua_State *L) {
  mfi_error_metatable(L);
  return 1;
}

// ---- Codec

static int core_encode(lua_State *L) {
  mfi_codec_freeze(mfi_bind_context(L)->codec, L, 1, lua_gettop(L), "args[#]");
  return 1;
}

static int core_decode(lua_State *L) {
  size_t size;
  const char *data = luaL_checklstring(L, 1, &size);
  int functions = lua_toboolean(L, 2);
  lua_settop(L, 1);
  return mfi_codec_thaw(mfi_bind_context(L)->codec, L, data, size, functions);
}

static int core_captures(lua_State *L) {
  mfi_func_captures(mfi_bind_context(L)->codec, L, 1);
  return 1;
}

static int core_register(lua_State *L) {
  mfi_codec_register(mfi_bind_context(L)->codec, L, luaL_checkstring(L, 1), 2);
  return 0;
}

static int core_resolve(lua_State *L) {
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  mfi_func_resolve_name(L, name, size);
  return 1;
}

// ---- Context

static int core_context(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "moonfleet.context");
  return 1;
}

static int core_task(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  if (m->job == 0)
    return 0;
  mfi_job *j = mfi_job_at(m->self, m->job);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, j->label);
  lua_setfield(L, -2, "label");
  lua_pushinteger(L, (lua_Integer)m->item);
  lua_setfield(L, -2, "index");
  if (m->core != NULL) {
    lua_pushstring(L, mfi_core_of(m->core)->name);
    lua_setfield(L, -2, "pool");
  }
  return 1;
}

// ---- Tests

static int core_audit(lua_State *L) {
  mfi_self *self = mfi_bind_context(L)->self;
  lua_Integer slots = 0, workers = 0;
  uint64_t top = load_acquire(&self->region->slots_top);
  for (uint32_t i = 1; i < top; i++) {
    mfi_slot *s = mfi_slot_at(self, i);
    if (load_acquire(&s->used) == 0)
      continue;
    slots++;
    workers += load_acquire(&s->worker) != 0;
  }
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, (lua_Integer)(mfi_heap_live(self) - self->region->published_count));
  lua_setfield(L, -2, "blocks");
  lua_pushinteger(L, (lua_Integer)mfi_objects_live(self));
  lua_setfield(L, -2, "objects");
  lua_pushinteger(L, slots);
  lua_setfield(L, -2, "slots");
  lua_pushinteger(L, workers);
  lua_setfield(L, -2, "workers");
  return 1;
}

static int fault_point(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (int i = 0; mfi_fault_name(i) != NULL; i++)
    if (strcmp(mfi_fault_name(i), name) == 0)
      return i;
  return luaL_error(L, "no fault point '%s'", name);
}

// core.fault(name, n): the nth worker that gets there dies. False in builds without fault points.
static int core_fault(lua_State *L) {
  mfi_self *self = mfi_bind_context(L)->self;
  int point = fault_point(L);
  store_seqcst(&self->region->faults.armed[point], (uint32_t)luaL_optinteger(L, 2, 1));
#ifdef MFI_FAULTS
  lua_pushboolean(L, 1);
#else
  lua_pushboolean(L, 0);
#endif
  return 1;
}

static int core_fault_hits(lua_State *L) {
  mfi_self *self = mfi_bind_context(L)->self;
  lua_pushinteger(L, load_seqcst(&self->region->faults.hits[fault_point(L)]));
  return 1;
}

// core.log("error" | "warning", text): gives it to the host; false: it does not listen.
static int core_log(lua_State *L) {
  static const char *const names[] = {"error", "warning", NULL};
  static const mfi_level levels[] = {MFI_LOG_ERROR, MFI_LOG_WARNING};
  mfi_level level = levels[luaL_checkoption(L, 1, NULL, names)];
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  lua_pushboolean(L, mfi_runtime_log(mfi_bind_context(L)->self, level, text, size));
  return 1;
}

void mfi_bind_open_general(lua_State *L) {
  static const luaL_Reg functions[] = {{"time", core_time},
                                       {"sleep", core_sleep},
                                       {"getpid", core_getpid},
                                       {"cpu_count", core_cpu_count},
                                       {"dump_waits", core_dump_waits},
                                       {"log", core_log},
                                       {"flush", core_flush},
                                       {"type", core_type},
                                       {"metatable", core_metatable},
                                       {"extra", core_extra},
                                       {"error", core_error},
                                       {"error_text", core_error_text},
                                       {"is_error", core_is_error},
                                       {"error_metatable", core_error_metatable},
                                       {"encode", core_encode},
                                       {"decode", core_decode},
                                       {"captures", core_captures},
                                       {"register", core_register},
                                       {"resolve", core_resolve},
                                       {"context", core_context},
                                       {"task", core_task},
                                       {"audit", core_audit},
                                       {"fault", core_fault},
                                       {"fault_hits", core_fault_hits},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
