// Items of C hosts: Lua text, and tasks in C. Floor 5; see exec_job.h. Locks nothing, sleeps
// nowhere.
#include "script/exec_job.h"

#include <lauxlib.h>

#include <stdalign.h>
#include <stddef.h>
#include <string.h>

// Texts that a state keeps compiled; when there are more it begins anew.
#define MOST_TEXTS 64

static const char texts_key;

// Pushes the table text → function, made or emptied where it has to be. [-0, +1, m]
static void push_texts(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &texts_key) == LUA_TTABLE) {
    lua_rawgeti(L, -1, 0);
    bool full = lua_tointeger(L, -1) >= MOST_TEXTS;
    lua_pop(L, 1);
    if (!full)
      return;
  }
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &texts_key);
}

static void compile(lua_State *L, int text) {
  size_t size;
  const char *bytes = lua_tolstring(L, text, &size);
  if (luaL_loadbufferx(L, bytes, size, lua_tostring(L, text + 1), "t") != LUA_OK)
    lua_error(L);
}

// Pushes the function of the text at `text`, whose name stands behind it. [-0, +1, v]
static void push_function(lua_State *L, int text) {
  lua_pushvalue(L, text + 1);
  lua_pushvalue(L, text);
  lua_concat(L, 2); // the same text under another name has other messages
  push_texts(L);
  lua_pushvalue(L, -2);
  if (lua_rawget(L, -2) != LUA_TFUNCTION) {
    lua_pop(L, 1);
    compile(L, text);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    lua_rawgeti(L, -2, 0);
    lua_pushinteger(L, lua_tointeger(L, -1) + 1);
    lua_rawseti(L, -4, 0);
    lua_pop(L, 1);
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
}

int mfi_exec_source(lua_State *L, int text) {
  luaL_checkstack(L, 8, NULL);
  push_function(L, text);
  lua_replace(L, text);
  lua_remove(L, text + 1);
  lua_call(L, lua_gettop(L) - text, LUA_MULTRET);
  return lua_gettop(L) - text + 1;
}

// Upvalues: the function and the memory of its input, which begins at the first aligned byte.
static int call_c(lua_State *L) {
  mfi_exec_c c;
  memcpy(&c, lua_touserdata(L, lua_upvalueindex(1)), sizeof c);
  uintptr_t at = (uintptr_t)lua_touserdata(L, lua_upvalueindex(1)) + sizeof c;
  at = (at + alignof(max_align_t) - 1) & ~(uintptr_t)(alignof(max_align_t) - 1);
  return c.fn(L, (const void *)at, (size_t)c.size);
}

int mfi_exec_c_item(lua_State *L, const void *bytes, uint64_t size) {
  mfi_exec_c c;
  memcpy(&c, bytes, sizeof c);
  c.size = size - sizeof c;
  char *p = lua_newuserdatauv(L, sizeof c + alignof(max_align_t) + (size_t)c.size, 0);
  memcpy(p, &c, sizeof c);
  uintptr_t at =
      ((uintptr_t)p + sizeof c + alignof(max_align_t) - 1) & ~(uintptr_t)(alignof(max_align_t) - 1);
  memcpy((void *)at, (const char *)bytes + sizeof c, (size_t)c.size);
  lua_pushcclosure(L, call_c, 1);
  lua_call(L, 0, LUA_MULTRET);
  mfi_stop_check(L); // it returned early because it was asked to: no result
  return lua_gettop(L);
}
