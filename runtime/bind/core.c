// The module moonfleet.core. Floor 7.
#include "bind/core.h"

#include "bind/object.h"

void mfi_bind_require(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) != LUA_TNIL) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 2);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  if (lua_getfield(L, -1, name) == LUA_TNIL)
    luaL_error(L, "module '%s' is missing", name);
  lua_remove(L, -2);
  lua_pushstring(L, name);
  lua_call(L, 1, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static bool is_loaded(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool yes = lua_getfield(L, -1, name) != LUA_TNIL;
  lua_pop(L, 2);
  return yes;
}

// Pools with unfinished tasks, errors that nobody asked for.
void mfi_bind_at_exit(lua_State *L) {
  if (!is_loaded(L, "moonfleet.exit"))
    return;
  mfi_bind_require(L, "moonfleet.exit");
  lua_getfield(L, -1, "at_exit");
  if (lua_pcall(L, 0, 0, 0) != LUA_OK)
    lua_pop(L, 1);
  lua_pop(L, 1);
}

const mfi_bindings mfi_state_bindings = {
    .hooks = &mfi_bind_hooks, .open_core = mfi_bind_open_core, .at_exit = mfi_bind_at_exit};

void mfi_bind_open_kind(lua_State *L, mfi_object_kind kind) {
  mfi_bind_metatable(L, kind);
  int top = lua_gettop(L);
  lua_getfield(L, -1, "__index");
  bool has_methods = !lua_istable(L, -1);
  lua_pushnil(L);
  has_methods = has_methods || lua_next(L, -2) != 0;
  lua_settop(L, top);
  if (has_methods)
    return;
  lua_newtable(L); // the constructors go with it
  if (kind == MFI_KIND_QUEUE)
    mfi_bind_open_queue(L);
  else if (kind == MFI_KIND_VALUE)
    mfi_bind_open_value(L);
  else if (kind == MFI_KIND_ARRAY)
    mfi_bind_open_array(L);
  else if (kind == MFI_KIND_EVENT || kind == MFI_KIND_CONDITION || kind == MFI_KIND_BARRIER)
    mfi_bind_open_gates(L);
  else if (kind == MFI_KIND_CONNECTION)
    mfi_bind_open_connection(L);
  else
    mfi_bind_open_lock_kind(L, kind);
  lua_pop(L, 1);
}

int mfi_bind_open_core(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  if (m == NULL)
    return luaL_error(L, "moonfleet.core needs moonfleet: require that first");
  lua_newtable(L);
  mfi_bind_open_general(L);
  mfi_bind_open_queue(L);
  mfi_bind_open_connection(L);
  mfi_bind_open_select(L);
  mfi_bind_open_locks(L);
  mfi_bind_open_value(L);
  mfi_bind_open_array(L);
  mfi_bind_open_gates(L);
  mfi_bind_open_worker(L);
  mfi_bind_open_pool(L);
  mfi_bind_open_future(L);
  mfi_bind_open_batch(L);
  mfi_bind_open_light(L);
  mfi_bind_open_stats(L);
  lua_pushliteral(L, "0.1.0");
  lua_setfield(L, -2, "version");
  lua_pushinteger(L, MFI_MAX_WORKERS);
  lua_setfield(L, -2, "max_workers");
  lua_pushboolean(L, m->worker != NULL);
  lua_setfield(L, -2, "is_worker");
  return 1;
}
