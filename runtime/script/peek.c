// See peek.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/peek.h"

static int empty_is_known(lua_State *L) {
  lua_newtable(L);
  const peek_table *t = peek_of(L, -1);
  int known = t->type == LUA_TTABLE && t->limit == 0 && t->array == NULL && t->metatable == NULL;
  known = known && t->log_nodes == 0 && peek_array_size(t) == 0;
  lua_pop(L, 1);
  return known;
}

static int items_are_known(const peek_table *t) {
  const peek_value *v = t->array;
  if (t->limit != 5 || v == NULL || ((uintptr_t)v & 7) != 0)
    return 0;
  if (v[0].tag != PEEK_INTEGER || v[0].as.integer != -7)
    return 0;
  if (v[1].tag != PEEK_FLOAT || v[1].as.number != 0.5)
    return 0;
  return v[2].tag == 0x01 && v[3].tag == 0x11 && v[4].tag == 0x45; // false, true, table
}

static int filled_is_known(lua_State *L) {
  lua_createtable(L, 5, 0);
  int at = lua_gettop(L);
  lua_pushinteger(L, -7);
  lua_rawseti(L, at, 1);
  lua_pushnumber(L, 0.5);
  lua_rawseti(L, at, 2);
  lua_pushboolean(L, 0);
  lua_rawseti(L, at, 3);
  lua_pushboolean(L, 1);
  lua_rawseti(L, at, 4);
  lua_pushvalue(L, at);
  lua_rawseti(L, at, 5);
  lua_pushvalue(L, at);
  lua_setmetatable(L, at);
  const peek_table *t = peek_of(L, at);
  int known = t->metatable == (const void *)t && items_are_known(t) &&
              t->array[4].as.pointer == (const void *)t;
  lua_pop(L, 1);
  return known;
}

int mfi_peek_verify(lua_State *L) {
  if (sizeof(lua_Integer) != 8 || sizeof(lua_Number) != 8 || sizeof(void *) != 8)
    return 0;
  if (lua_version(L) != 504)
    return 0;
  return empty_is_known(L) && filled_is_known(L);
}
