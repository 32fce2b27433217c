// mf.captures: what would travel with a function.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. The function is encoded as for a send, with
// MFI_ENCODE_REPORT; the encoder notes sizes on the way into a table in the registry.
#include "script/encoder.h"
#include "script/func.h"

#include <lauxlib.h>

static const char report_key = 0,
                  metatable_key = 0; // registry: the report being made; its metatable

static void put_count(lua_State *L, int table, const char *name, uint64_t bytes) {
  lua_pushinteger(L, (lua_Integer)bytes);
  lua_setfield(L, table, name);
}

void mfi_captures_note(encoder *e, report_kind kind, const char *name, uint64_t bytes) {
  static const char *const lists[] = {"upvalues", "globals"};
  lua_State *L = e->L;
  luaL_checkstack(L, 6, NULL);
  int top = lua_gettop(L);
  if (name == NULL || lua_rawgetp(L, LUA_REGISTRYINDEX, &report_key) != LUA_TTABLE) {
    lua_settop(L, top);
    return;
  }
  if (kind == REPORT_CODE) {
    lua_getfield(L, top + 1, "code");
    put_count(L, top + 1, "code", bytes + (uint64_t)lua_tointeger(L, -1));
  } else {
    lua_getfield(L, top + 1, lists[kind]);
    put_count(L, top + 2, name, bytes);
  }
  lua_settop(L, top);
}

void mfi_captures_note_module(encoder *e, const name_entry *entry) {
  lua_State *L = e->L;
  const uint8_t *record = e->codec->names.bytes + entry->at;
  uint32_t size;
  if (record[0] != TAG_MODULE)
    return;
  luaL_checkstack(L, 8, NULL);
  int top = lua_gettop(L);
  memcpy(&size, record + 3, 4); // behind tag, fields, TAG_STRING32
  lua_pushlstring(L, (const char *)record + 7, size);
  if (!mfi_names_is_library(lua_tostring(L, -1)) &&
      lua_rawgetp(L, LUA_REGISTRYINDEX, &report_key) == LUA_TTABLE) {
    lua_getfield(L, -1, "modules");
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1), i = 1;
    for (; i <= n; i++) {
      lua_rawgeti(L, -1, i);
      int same = lua_rawequal(L, -1, top + 1);
      lua_pop(L, 1);
      if (same)
        break;
    }
    if (i > n) {
      lua_pushvalue(L, top + 1);
      lua_rawseti(L, -2, i);
    }
  }
  lua_settop(L, top);
}

// ---- The text

// Pushes the keys of the table at idx in order. [-0, +1, m]
static void push_sorted_keys(lua_State *L, int idx) {
  lua_newtable(L);
  int keys = lua_gettop(L);
  lua_Integer n = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_rawseti(L, keys, ++n);
  }
  // Insertion sort: there are few, and table.sort may have been replaced.
  for (lua_Integer i = 2; i <= n; i++) {
    for (lua_Integer k = i; k > 1; k--) {
      lua_rawgeti(L, keys, k - 1);
      lua_rawgeti(L, keys, k);
      if (!lua_compare(L, -1, -2, LUA_OPLT)) {
        lua_pop(L, 2);
        break;
      }
      lua_rawseti(L, keys, k - 1);
      lua_rawseti(L, keys, k);
    }
  }
}

// Appends a line to the string at index `text` for each {name = bytes} of the report's field.
static void add_counts(lua_State *L, int text, const char *field, const char *what) {
  int top = lua_gettop(L);
  if (lua_getfield(L, 1, field) == LUA_TTABLE) {
    push_sorted_keys(L, top + 1);
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, top + 2); i++) {
      lua_pushvalue(L, text);
      lua_rawgeti(L, top + 2, i);
      lua_pushvalue(L, -1);
      lua_rawget(L, top + 1);
      lua_pushfstring(L, "%s\n  %s %s: %I bytes", lua_tostring(L, -3), what, lua_tostring(L, -2),
                      (LUAI_UACINT)lua_tointeger(L, -1));
      lua_replace(L, text);
      lua_settop(L, top + 2);
    }
  }
  lua_settop(L, top);
}

static void add_modules(lua_State *L, int text) {
  int top = lua_gettop(L);
  if (lua_getfield(L, 1, "modules") == LUA_TTABLE) {
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, top + 1); i++) {
      lua_rawgeti(L, top + 1, i);
      lua_pushfstring(L, "%s\n  module %s (required in the worker)", lua_tostring(L, text),
                      lua_tostring(L, -1));
      lua_replace(L, text);
      lua_settop(L, top + 1);
    }
  }
  lua_settop(L, top);
}

static int captures_tostring(lua_State *L) { // [-0, +1, e]
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "name");
  lua_getfield(L, 1, "size");
  lua_getfield(L, 1, "code");
  lua_pushfstring(L, "%s: %I bytes, %I of them code", lua_tostring(L, 2),
                  (LUAI_UACINT)lua_tointeger(L, 3), (LUAI_UACINT)lua_tointeger(L, 4));
  add_counts(L, 5, "upvalues", "upvalue");
  add_counts(L, 5, "globals", "global");
  add_modules(L, 5);
  if (lua_getfield(L, 1, "problem") == LUA_TSTRING) {
    lua_pushfstring(L, "%s\n  problem: %s", lua_tostring(L, 5), lua_tostring(L, -1));
    lua_replace(L, 5);
  }
  lua_settop(L, 5);
  return 1;
}

// ---- Making it

static int encode_and_count(lua_State *L) { // function, codec -> bytes [-0, +1, v]
  mfi_encoded m;
  mfi_codec *c = lua_touserdata(L, 2);
  mfi_encode(c, L, 1, 1, "the function", MFI_ENCODE_REPORT, &m);
  uint64_t size = m.size;
  mfi_encoded_release(c, L, &m);
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

// Pushes an empty report on the function at idx. [-0, +1, m]
static void push_report(lua_State *L, int idx) {
  char name[200];
  static const char *const lists[] = {"upvalues", "globals", "modules"};
  lua_createtable(L, 0, 8);
  for (int i = 0; i < 3; i++) {
    lua_newtable(L);
    lua_setfield(L, -2, lists[i]);
  }
  put_count(L, lua_gettop(L), "code", 0);
  put_count(L, lua_gettop(L), "size", 0);
  mfi_func_describe(L, idx, name, sizeof name);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushliteral(L, "mf.Captures");
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, captures_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  }
  lua_setmetatable(L, -2);
}

void mfi_func_captures(mfi_codec *c, lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 10, NULL);
  push_report(L, idx);
  int report = lua_gettop(L);
  lua_pushvalue(L, report);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &report_key);
  lua_pushcfunction(L, encode_and_count);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, c);
  int status = lua_pcall(L, 2, 1, 0);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &report_key);
  if (status == LUA_OK) {
    lua_setfield(L, report, "size");
  } else {
    luaL_tolstring(L, -1, NULL);
    lua_setfield(L, report, "problem");
  }
  lua_settop(L, report);
}
