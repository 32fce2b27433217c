// See peek.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/peek.h"

#include "base/atomic.h"

#include <string.h>

static int empty_is_known(lua_State *L) {
  lua_newtable(L);
  const peek_table *t = peek_of(L, -1);
  int known = t->type == LUA_TTABLE && t->limit == 0 && t->array == NULL && t->metatable == NULL;
  known = known && (t->flags & 0x80) == 0; // 5.4.0 has that bit elsewhere
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

static int string_is_known(const void *p, uint8_t tag, const char *text, size_t size) {
  const peek_string *s = p;
  return p != NULL && ((uintptr_t)p & 7) == 0 && peek_string_size(s, tag) == size &&
         memcmp(s->bytes, text, size) == 0;
}

static int node_is_known(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushnumber(L, 2.5);
  lua_setfield(L, -2, "peek");
  const peek_table *t = peek_of(L, -1);
  const peek_node *n = t->nodes;
  int known = t->log_nodes == 0 && n != NULL && n->tag == PEEK_FLOAT && n->value.number == 2.5 &&
              n->key_tag == PEEK_SHORT_STRING &&
              string_is_known(n->key.pointer, PEEK_SHORT_STRING, "peek", 4);
  lua_pop(L, 1);
  return known;
}

static int long_string_is_known(lua_State *L) {
  static const char text[] = "a string that is longer than the forty bytes of a short one";
  lua_createtable(L, 1, 0);
  lua_pushstring(L, text);
  lua_rawseti(L, -2, 1);
  const peek_value *v = peek_of(L, -1)->array;
  int known = v->tag == PEEK_LONG_STRING &&
              string_is_known(v->as.pointer, PEEK_LONG_STRING, text, sizeof text - 1);
  lua_pop(L, 1);
  return known;
}

static int verify(lua_State *L) {
  if (sizeof(lua_Integer) != 8 || sizeof(lua_Number) != 8 || sizeof(void *) != 8)
    return 0;
  if (lua_version(L) != 504)
    return 0;
  return empty_is_known(L) && filled_is_known(L) && node_is_known(L) && long_string_is_known(L);
}

// The library runs on one Lua in one process: what one state has proved holds for all.
int mfi_peek_verify(lua_State *L) {
  enum { UNKNOWN, NO, YES };
  static uint32_t answer = UNKNOWN;
  if (load_relaxed(&answer) == UNKNOWN)
    store_relaxed(&answer, verify(L) ? YES : NO);
  return load_relaxed(&answer) == YES;
}
