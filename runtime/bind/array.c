// Array in Lua: elements, whole ranges. Floor 7; its shapes and views are in array_shape.c. Locks
// nothing, sleeps nowhere: elements are read and written whole, ranges are not.
#include "bind/array.h"

#include "bind/core.h"

#include <limits.h>

static mfi_box *self_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_ARRAY, method);
}

// The box of a metamethod's first argument.
static mfi_box *box_of(lua_State *L) {
  mfi_box *b = mfi_bind_test(L, 1, MFI_KIND_ARRAY);
  if (b == NULL)
    luaL_error(L, "Array expected, got %s", luaL_typename(L, 1));
  if (b->handle == 0)
    mfi_error_raise(L, "closed", "this Array is closed");
  return b;
}

static uint32_t size_of(const mfi_box *b) { return mfi_type_size(b->type); }
static char *at(const mfi_box *b, uint64_t i) { return b->elements + i * size_of(b); }

// ---- a[i]

static _Noreturn void bad_index(lua_State *L, const mfi_box *b) {
  const char *text = luaL_tolstring(L, 1, NULL), *got = mfi_bind_push_shown(L, 2);
  const char *also = lua_type(L, 2) == LUA_TSTRING ? " or a method's name" : "";
  if (b->count == 0)
    luaL_error(L, "bad index to %s (it has no elements, got %s)", text, got);
  luaL_error(L, "bad index to %s (integer from 1 to %I%s expected, got %s)", text,
             (LUAI_UACINT)b->count, also, got);
  for (;;)
    continue;
}

// What is no element: a method, or the nil behind the last one, at which ipairs stops.
static int index_other(lua_State *L) {
  mfi_box *b = box_of(L);
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
      return 1;
  } else if (lua_type(L, 2) == LUA_TNUMBER) {
    int is_integer;
    if ((lua_Unsigned)lua_tointegerx(L, 2, &is_integer) == b->count + 1 && is_integer)
      return 0;
  }
  bad_index(L, b);
}

static int array_index(lua_State *L) {
  mfi_box *b = mfi_bind_test(L, 1, MFI_KIND_ARRAY);
  if (b != NULL && lua_type(L, 2) == LUA_TNUMBER) {
    uint64_t i = (uint64_t)lua_tointegerx(L, 2, NULL) - 1; // of a fraction: that of 0
    if (i < b->count) {
      mfi_bind_push_element(L, b->type, at(b, i));
      return 1;
    }
  }
  return index_other(L);
}

static int array_newindex(lua_State *L) {
  mfi_box *b = box_of(L);
  uint64_t i =
      lua_type(L, 2) == LUA_TNUMBER ? (uint64_t)lua_tointegerx(L, 2, NULL) - 1 : UINT64_MAX;
  if (i >= b->count)
    bad_index(L, b);
  if (!mfi_bind_store(L, 3, b->type, at(b, i)))
    return luaL_error(L, "bad value for element %I of %s (%s)", (LUAI_UACINT)(i + 1),
                      luaL_tolstring(L, 1, NULL), mfi_bind_push_misfit(L, 3, b->type));
  return 0;
}

static int array_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)box_of(L)->count);
  return 1;
}

static int array_next(lua_State *L) {
  mfi_box *b = box_of(L);
  lua_Integer i = luaL_checkinteger(L, 2);
  if ((uint64_t)i >= b->count)
    return 0;
  lua_pushinteger(L, i + 1);
  mfi_bind_push_element(L, b->type, at(b, (uint64_t)i));
  return 2;
}

static int array_pairs(lua_State *L) {
  box_of(L);
  lua_pushcfunction(L, array_next);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  return 3;
}

// ---- Ranges to Lua

void mfi_bind_array_range(lua_State *L, const mfi_box *b, const char *method, uint64_t *from,
                          uint64_t *count) {
  uint64_t i = 1, j = b->count;
  if (!lua_isnoneornil(L, 2))
    i = mfi_bind_integer(L, 2, 1, method, 1, b->count + 1);
  if (!lua_isnoneornil(L, 3))
    j = mfi_bind_integer(L, 3, 2, method, i - 1, b->count);
  *from = i - 1;
  *count = j + 1 - i;
}

// A table of n elements from `from` on.
static void push_list(lua_State *L, const mfi_box *b, uint64_t from, uint64_t n) {
  lua_createtable(L, n < INT_MAX ? (int)n : INT_MAX, 0);
  for (uint64_t i = 0; i < n; i++) {
    mfi_bind_push_element(L, b->type, at(b, from + i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

// The rows of dimension d from the element *from on, which moves behind them.
static void push_rows(lua_State *L, const mfi_box *b, uint32_t d, uint64_t *from) {
  const mfi_shape *s = &mfi_array_of(b->o)->shape;
  uint64_t n = s->size[d];
  if (d + 1 == s->dims) {
    push_list(L, b, *from, n);
    *from += n;
    return;
  }
  lua_createtable(L, n < INT_MAX ? (int)n : INT_MAX, 0);
  for (uint64_t i = 0; i < n; i++) {
    push_rows(L, b, d + 1, from);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static int array_totable(lua_State *L) {
  mfi_box *b = self_of(L, "totable");
  uint64_t from = 0, n;
  if (lua_isnoneornil(L, 2) && lua_isnoneornil(L, 3)) {
    luaL_checkstack(L, MFI_ARRAY_DIMS + 8, NULL);
    push_rows(L, b, 0, &from);
  } else {
    mfi_bind_array_range(L, b, "totable", &from, &n);
    push_list(L, b, from, n);
  }
  return 1;
}

static int array_bytes(lua_State *L) {
  mfi_box *b = self_of(L, "bytes");
  lua_pushlstring(L, b->elements, b->count * size_of(b));
  return 1;
}

// ---- Ranges from Lua

// A list of n elements, `n` honoured.
static uint64_t list_length(lua_State *L, int idx) {
  lua_pushliteral(L, "n");
  lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
  if (lua_rawget(L, idx) == LUA_TNUMBER && lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0)
    n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return (uint64_t)n;
}

// The first of n items that does not fit, pushed; 0: all do. Reading is raw, so the second reading
// finds the same.
static uint64_t find_misfit(lua_State *L, int idx, uint32_t type, uint64_t n) {
  uint64_t raw;
  for (uint64_t i = 1; i <= n; i++) {
    bool any_number = lua_rawgeti(L, idx, (lua_Integer)i) == LUA_TNUMBER && type == MFI_F64;
    if (!any_number && !mfi_bind_to_element(L, -1, type, &raw))
      return i;
    lua_pop(L, 1);
  }
  return 0;
}

// Stores a list from element `from` on, all or nothing. NULL, or what is wrong with it.
static const char *store_list(lua_State *L, int idx, const mfi_box *b, uint64_t from, uint64_t n) {
  uint64_t wrong = find_misfit(L, idx, b->type, n);
  if (wrong != 0) {
    const char *text = mfi_bind_push_misfit(L, lua_gettop(L), b->type);
    return lua_pushfstring(L, "element %I: %s", (LUAI_UACINT)wrong, text);
  }
  for (uint64_t i = 0; i < n; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i + 1);
    mfi_bind_store(L, -1, b->type, at(b, from + i));
    lua_pop(L, 1);
  }
  return NULL;
}

// The bytes of a string, or of an Array of b's type; NULL: it is something else.
static const char *bytes_of(lua_State *L, int idx, const mfi_box *b, size_t *size) {
  mfi_box *other = mfi_bind_test(L, idx, MFI_KIND_ARRAY);
  if (other == NULL)
    return lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, size) : NULL;
  if (other->handle == 0)
    mfi_error_raise(L, "closed", "this Array is closed");
  *size = other->count * size_of(other);
  return other->type == b->type ? other->elements : NULL;
}

static const char *store_range(lua_State *L, int idx, const mfi_box *b, uint64_t from) {
  size_t size = 0;
  const char *bytes = bytes_of(L, idx, b, &size);
  if (bytes == NULL && !lua_istable(L, idx))
    return lua_pushfstring(L, "list, bytes or Array of %s expected, got %s", mfi_type_name(b->type),
                           luaL_tolstring(L, idx, NULL));
  if (size % size_of(b) != 0)
    return lua_pushfstring(L, "bytes of whole elements of %d bytes expected, got %I bytes",
                           (int)size_of(b), (LUAI_UACINT)size);
  uint64_t n = bytes != NULL ? size / size_of(b) : list_length(L, idx);
  if (n > b->count - from)
    return lua_pushfstring(L, "at most %I expected from there on, got %I",
                           (LUAI_UACINT)(b->count - from), (LUAI_UACINT)n);
  if (bytes == NULL)
    return store_list(L, idx, b, from, n);
  memmove(at(b, from), bytes, size); // it may be a view of the same memory
  return NULL;
}

static int array_set(lua_State *L) {
  mfi_box *b = self_of(L, "set");
  uint64_t i = mfi_bind_integer(L, 2, 1, "set", 1, b->count + 1);
  lua_settop(L, 3);
  const char *problem = store_range(L, 3, b, i - 1);
  if (problem != NULL)
    return luaL_error(L, "bad argument #2 to 'set' (%s)", problem);
  return 0;
}

static int array_fill(lua_State *L) {
  mfi_box *b = self_of(L, "fill");
  uint64_t raw;
  if (!mfi_bind_to_element(L, 2, b->type, &raw))
    mfi_bind_misfit(L, 2, b->type, 1, "fill");
  mfi_element_fill(b->elements, size_of(b), b->count, raw);
  return 0;
}

// ---- Making

mfi_box *mfi_bind_array_new(lua_State *L, const mfi_shape *s, bool zero, const char *method) {
  mfi_box *b = mfi_bind_empty(L, MFI_KIND_ARRAY);
  mfi_self *self = b->m->self;
  uint32_t place;
  mfi_bind_array_pressure(L, s->count * mfi_type_size(s->type));
  mfi_handle h = mfi_array_make(self, s, zero, &place);
  if (h == 0) {
    mfi_bind_array_collect(L);
    h = mfi_array_make(self, s, zero, &place);
  }
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, method);
  mfi_bind_fill(L, b, h, place);
  return b;
}

static int array_copy(lua_State *L) {
  mfi_box *b = self_of(L, "copy");
  mfi_box *copy = mfi_bind_array_new(L, &mfi_array_of(b->o)->shape, false, "copy");
  memcpy(copy->elements, b->elements, b->count * size_of(b));
  return 1;
}

static int array_lock(lua_State *L) { return mfi_bind_push_lock(L, self_of(L, "lock")); }

// core.Array(type, sizes, init) → Array; nil, what is wrong with init
static int core_array(lua_State *L) {
  mfi_shape s = {.type = (uint32_t)luaL_checkinteger(L, 1)};
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 3);
  for (s.dims = 0; lua_rawgeti(L, 2, s.dims + 1) != LUA_TNIL; lua_pop(L, 1))
    s.size[s.dims++] = (uint64_t)lua_tointeger(L, -1);
  if (!mfi_shape_multiply(&s))
    mfi_bind_raise(L, MFI_NOMEM, "Array");
  lua_settop(L, 3);
  mfi_box *b = mfi_bind_array_new(L, &s, lua_isnil(L, 3), "Array");
  const char *problem = lua_isnil(L, 3) ? NULL : store_range(L, 3, b, 0);
  if (problem == NULL) {
    lua_settop(L, 4);
    return 1;
  }
  mfi_bind_release(L, b);
  luaL_pushfail(L);
  lua_pushstring(L, problem);
  return 2;
}

// core.number_type(name) → its number and the size of an element; nil: there is none
static int number_type(lua_State *L) {
  mfi_type t = lua_type(L, 1) == LUA_TSTRING ? mfi_type_of(lua_tostring(L, 1)) : MFI_TYPES;
  if (t == MFI_TYPES)
    return 0;
  lua_pushinteger(L, t);
  lua_pushinteger(L, (lua_Integer)mfi_type_size(t));
  return 2;
}

void mfi_bind_open_array(lua_State *L) {
  static const luaL_Reg methods[] = {{"shape", mfi_bind_array_shape},
                                     {"at", mfi_bind_array_at},
                                     {"put", mfi_bind_array_put},
                                     {"view", mfi_bind_array_view},
                                     {"split", mfi_bind_array_split},
                                     {"reshape", mfi_bind_array_reshape},
                                     {"totable", array_totable},
                                     {"bytes", array_bytes},
                                     {"set", array_set},
                                     {"fill", array_fill},
                                     {"copy", array_copy},
                                     {"lock", array_lock},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__newindex", array_newindex},
                                  {"__len", array_len},
                                  {"__pairs", array_pairs},
                                  {"__tostring", mfi_bind_array_text},
                                  {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"Array", core_array}, {"number_type", number_type}, {NULL, NULL}};
  mfi_bind_index_by(L, MFI_KIND_ARRAY, methods, array_index, "");
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
