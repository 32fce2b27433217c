// mf.Error: see error.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/error.h"

#include <lauxlib.h>

static const char metatable_key = 0; // its address names the metatable in the registry

static int error_tostring(lua_State *L) { // [-0, +1, e]
  lua_settop(L, 1);
  if (lua_istable(L, 1) && lua_getfield(L, 1, "message") == LUA_TSTRING)
    return 1;
  lua_pushliteral(L, "mf.Error");
  return 1;
}

void mfi_error_metatable(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushliteral(L, "mf.Error");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}

void mfi_error_bless(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  mfi_error_metatable(L);
  lua_setmetatable(L, idx);
}

void mfi_error_pushv(lua_State *L, const char *kind, const char *fmt, va_list args) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, kind);
  lua_setfield(L, -2, "kind");
  lua_pushvfstring(L, fmt, args);
  lua_setfield(L, -2, "message");
  mfi_error_bless(L, -1);
}

void mfi_error_push(lua_State *L, const char *kind, const char *fmt, ...) {
  luaL_checkstack(L, 8, NULL);
  va_list args;
  va_start(args, fmt);
  mfi_error_pushv(L, kind, fmt, args);
  va_end(args);
}

_Noreturn void mfi_error_raise(lua_State *L, const char *kind, const char *fmt, ...) {
  luaL_checkstack(L, 8, NULL);
  va_list args;
  va_start(args, fmt);
  mfi_error_pushv(L, kind, fmt, args);
  va_end(args);
  lua_error(L);
  __builtin_unreachable(); // lua_error is not declared noreturn
}

int mfi_error_is(lua_State *L, int idx, const char *kind) {
  idx = lua_absindex(L, idx);
  if (!lua_istable(L, idx) || !lua_getmetatable(L, idx))
    return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  int is = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  if (!is || kind == NULL)
    return is;
  lua_pushliteral(L, "kind");
  lua_rawget(L, idx);
  lua_pushstring(L, kind);
  is = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return is;
}

static int text_of(lua_State *L) { // value -> its text [-0, +1, e]
  luaL_tolstring(L, 1, NULL);
  return 1;
}

const char *mfi_error_text(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  lua_pushcfunction(L, text_of);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lua_pop(L, 1);
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, idx));
  }
  return lua_tostring(L, -1);
}
