// Descriptors for polls: of workers, Futures, Queues, and of callbacks that are due. Floor 7. Locks
// and sleeps as flow/light says.
//
// A light is a userdata that lives as long as the object whose descriptor it is, or the state.
#include "flow/light.h"

#include "bind/core.h"
#include "bind/object.h"
#include "script/weak.h"

#define DUE "moonfleet.due_light"

static const char lights_key; // registry: {object = its light}, weak keys

typedef struct owned {
  mfi_light *light; // NULL: closed
  mfi_context *m;
} owned;

static int close_light(lua_State *L) {
  owned *o = lua_touserdata(L, 1);
  if (o->light != NULL)
    mfi_light_close(o->light, o->m->self);
  o->light = NULL;
  return 0;
}

// Its light comes later: nothing between may raise. [-0, +1, m]
static owned *push_owned(lua_State *L) {
  owned *o = lua_newuserdatauv(L, sizeof *o, 0);
  *o = (owned){.m = mfi_bind_context(L)};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_light);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return o;
}

static int push_fd(lua_State *L, const owned *o) {
  if (o->light == NULL)
    mfi_error_raise(L, "system", "no descriptor to be had");
  lua_pushinteger(L, mfi_light_fd(o->light));
  return 1;
}

static int fd_of(lua_State *L, mfi_object_kind kind) {
  mfi_box *b = mfi_bind_check(L, 1, kind);
  lua_settop(L, 1);
  mfi_weak_push(L, &lights_key, "k");
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 2) == LUA_TUSERDATA)
    return push_fd(L, lua_touserdata(L, -1));
  owned *o = push_owned(L);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, 2);
  o->light = mfi_light_open(o->m->self, b->handle);
  return push_fd(L, o);
}

static int worker_fd(lua_State *L) { return fd_of(L, MFI_KIND_WORKER); }
static int future_fd(lua_State *L) { return fd_of(L, MFI_KIND_JOB); }
static int queue_fd(lua_State *L) { return fd_of(L, MFI_KIND_QUEUE); }

static int due_fd(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, DUE) == LUA_TUSERDATA)
    return push_fd(L, lua_touserdata(L, -1));
  owned *o = push_owned(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, DUE);
  o->light = mfi_light_open_due(o->m->self);
  return push_fd(L, o);
}

void mfi_bind_look_at_due(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, DUE) == LUA_TUSERDATA) {
    owned *o = lua_touserdata(L, -1);
    if (o->light != NULL)
      mfi_light_look(o->light);
  }
  lua_pop(L, 1);
}

void mfi_bind_open_light(lua_State *L) {
  static const luaL_Reg functions[] = {{"worker_fd", worker_fd},
                                       {"future_fd", future_fd},
                                       {"queue_fd", queue_fd},
                                       {"fd", due_fd},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
