// What a worker's state may load: load, and loadfile, dofile and require where libraries are left
// out. Floor 5. Locks nothing, sleeps nowhere.
#include "script/state_memory.h"
#include "script/stop_pass.h"

#include <lauxlib.h>
#include <lualib.h>

#include <string.h>

#define READ_SLOT 5 // keeps the piece that the reader gave from being collected

// As luaB_load's reader: the function at 1 gives the next piece. [-0, +0, v]
static const char *read_piece(lua_State *L, void *ud, size_t *size) {
  (void)ud;
  luaL_checkstack(L, 2, "too many nested functions");
  lua_pushvalue(L, 1);
  lua_call(L, 0, 1);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    *size = 0;
    return NULL;
  }
  if (!lua_isstring(L, -1))
    luaL_error(L, "reader function must return a string");
  lua_replace(L, READ_SLOT);
  return lua_tolstring(L, READ_SLOT, size);
}

// Binary chunks are refused by the mode: "t" where "b" is not allowed.
static const char *mode_of(lua_State *L, int arg, bool text_only) {
  const char *mode = luaL_optstring(L, arg, "bt");
  return text_only ? (strchr(mode, 't') ? "t" : "") : mode;
}

static int load_result(lua_State *L, int status, int env) {
  if (status != LUA_OK) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  if (env != 0) {
    lua_pushvalue(L, env);
    if (!lua_setupvalue(L, -2, 1))
      lua_pop(L, 1);
  }
  return 1;
}

static int load_pieces(lua_State *L, const char *mode) {
  const char *name = luaL_optstring(L, 2, "=(load)");
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, READ_SLOT);
  mfi_stop_mark mark = mfi_stop_mark_now();
  int status = lua_load(L, read_piece, NULL, name, mode);
  mfi_stop_pass(L, mark); // the parser is a protected call: it would give a stop back as a message
  return status;
}

// load(chunk [, name [, mode [, env]]]); upvalue 1: text only. [-0, +1..2, v]
static int load(lua_State *L) {
  int env = lua_isnone(L, 4) ? 0 : 4;
  const char *mode = mode_of(L, 3, lua_toboolean(L, lua_upvalueindex(1)));
  size_t size;
  const char *text = lua_tolstring(L, 1, &size);
  int status;
  if (text != NULL)
    status = luaL_loadbufferx(L, text, size, luaL_optstring(L, 2, text), mode);
  else
    status = load_pieces(L, mode);
  return load_result(L, status, env);
}

void mfi_state_push_load(lua_State *L, bool text_only) {
  lua_pushboolean(L, text_only);
  lua_pushcclosure(L, load, 1);
}

// loadfile([name [, mode [, env]]]), text only. [-0, +1..2, v]
static int load_text_file(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  int env = lua_isnone(L, 3) ? 0 : 3;
  return load_result(L, luaL_loadfilex(L, name, mode_of(L, 2, true)), env);
}

static int results(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L) - 1;
}

// dofile([name]), text only. [-0, +n, v]
static int do_text_file(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (luaL_loadfilex(L, name, "t") != LUA_OK)
    return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, results);
  return results(L, 0, 0);
}

static void set_global(lua_State *L, const char *name, lua_CFunction f) {
  if (f != NULL)
    lua_pushcfunction(L, f);
  else
    lua_pushnil(L);
  lua_setglobal(L, name);
}

void mfi_state_restrict_loading(lua_State *L, bool text_only, bool files) {
  if (text_only) {
    mfi_state_push_load(L, true);
    lua_setglobal(L, "load");
  }
  if (!files || text_only) {
    set_global(L, "loadfile", files ? load_text_file : NULL);
    set_global(L, "dofile", files ? do_text_file : NULL);
  }
}

// require, knowing the host's modules alone: of the searchers the first, preload's, is left, and
// the library's table cannot be reached.
void mfi_state_only_preload(lua_State *L) {
  luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1);
  lua_createtable(L, 1, 0);
  lua_getfield(L, -2, "searchers");
  lua_rawgeti(L, -1, 1);
  lua_rawseti(L, -3, 1);
  lua_pop(L, 1);
  lua_setfield(L, -2, "searchers");
  lua_pop(L, 1);
  set_global(L, LUA_LOADLIBNAME, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  lua_setfield(L, -2, LUA_LOADLIBNAME);
  lua_pop(L, 1);
}
