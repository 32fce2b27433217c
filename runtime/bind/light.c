// Descriptors for polls: of workers, Futures, Queues, and of callbacks that are due. Floor 7. Locks
// and sleeps as flow/light says.
//
// A light is a userdata that lives as long as the object whose descriptor it is, or the state.
#include "flow/light.h"

#include "bind/core.h"
#include "bind/object.h"
#include "flow/connection.h"
#include "script/weak.h"

#include <string.h>

#define DUE "moonfleet.due_light"
#define LIT "moonfleet.lit"

static const char lights_key; // registry: {object = its light}, weak keys

// An object and its light are collected together, so that the box is there as long as this.
typedef struct owned {
  mfi_light *light; // NULL: closed
  mfi_context *m;
  mfi_box *box; // whose fd it is; NULL: of callbacks that are due
} owned;

static void put_out(owned *o) {
  if (o->light != NULL)
    mfi_light_close(o->light, o->m->self);
  o->light = NULL;
  if (o->box != NULL)
    o->box->light = NULL;
}

static int close_light(lua_State *L) {
  put_out(lua_touserdata(L, 1));
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

// The fd of the object at 1, which shows what h names.
static int fd_of(lua_State *L, mfi_box *b, mfi_handle h) {
  lua_settop(L, 1);
  mfi_weak_push(L, &lights_key, "k");
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 2) == LUA_TUSERDATA)
    return push_fd(L, lua_touserdata(L, -1));
  owned *o = push_owned(L);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, 2);
  o->light = mfi_light_open(o->m->self, h);
  o->box = b;
  b->light = o->light;
  return push_fd(L, o);
}

static int worker_fd(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_WORKER);
  return fd_of(L, b, b->handle);
}

static int future_fd(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_JOB);
  return fd_of(L, b, b->handle);
}

static bool wants_fd(lua_State *L) {
  return lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "fd") == 0;
}

static int queue_field(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_QUEUE);
  return wants_fd(L) ? fd_of(L, b, b->handle) : 0;
}

static int connection_field(lua_State *L) {
  mfi_box *b = mfi_bind_check(L, 1, MFI_KIND_CONNECTION);
  if (!wants_fd(L))
    return 0;
  mfi_handle rx = mfi_connection_of(b->o)->rx;
  if (rx == 0)
    return luaL_error(L, "this Connection has no fd (it only sends; the fd shows what can be "
                         "received)");
  return fd_of(L, b, rx);
}

void mfi_bind_put_out(lua_State *L) {
  mfi_weak_push(L, &lights_key, "k");
  lua_pushvalue(L, 1);
  if (lua_rawget(L, -2) == LUA_TUSERDATA)
    put_out(lua_touserdata(L, -1));
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  lua_rawset(L, -4);
  lua_pop(L, 2);
}

void mfi_bind_open_fields(lua_State *L, mfi_object_kind kind) {
  mfi_bind_fields(L, kind, kind == MFI_KIND_QUEUE ? queue_field : connection_field);
}

static int due_fd(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, DUE) == LUA_TUSERDATA)
    return push_fd(L, lua_touserdata(L, -1));
  owned *o = push_owned(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, DUE);
  o->light = mfi_light_open_due(o->m->self);
  return push_fd(L, o);
}

static int close_lit(lua_State *L) {
  mfi_os_close(*(int *)lua_touserdata(L, 1));
  return 0;
}

// core.lit_fd(): one that is readable for ever, of what ended long ago.
static int lit_fd(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, LIT) != LUA_TUSERDATA) {
    int *fd = lua_newuserdatauv(L, sizeof *fd, 0);
    *fd = -1;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, close_lit);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *fd = mfi_os_eventfd();
    if (*fd < 0)
      mfi_error_raise(L, "system", "no descriptor to be had");
    mfi_os_eventfd_set(*fd);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, LIT);
  }
  lua_pushinteger(L, *(int *)lua_touserdata(L, -1));
  return 1;
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
                                       {"fd", due_fd},
                                       {"lit_fd", lit_fd},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
