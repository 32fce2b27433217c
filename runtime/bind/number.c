// Elements of Values and Arrays in Lua. Floor 7; see number.h.
#include "bind/number.h"

#ifdef MFI_TINY
#define PRESSURE ((uint64_t)64 << 10)
#else
#define PRESSURE ((uint64_t)64 << 20)
#endif

// ---- Lua values and elements

bool mfi_bind_to_number(lua_State *L, int idx, mfi_number *n) {
  if (lua_type(L, idx) != LUA_TNUMBER)
    return false;
  if (lua_isinteger(L, idx))
    *n = (mfi_number){.kind = MFI_INTEGER, .as.integer = lua_tointeger(L, idx)};
  else
    *n = (mfi_number){.kind = MFI_REAL, .as.real = lua_tonumber(L, idx)};
  return true;
}

bool mfi_bind_to_element(lua_State *L, int idx, uint32_t type, uint64_t *raw) {
  mfi_number n;
  if (lua_isboolean(L, idx))
    n = (mfi_number){.kind = MFI_TRUTH, .as.truth = lua_toboolean(L, idx) != 0};
  else if (!mfi_bind_to_number(L, idx, &n))
    return false;
  return mfi_number_to(type, n, raw);
}

void mfi_bind_push_raw(lua_State *L, uint32_t type, uint64_t raw) {
  mfi_number n;
  if (!mfi_number_from(type, raw, &n))
    luaL_error(L, "an element of type u64 is above math.maxinteger (by %I); read it with bytes()",
               (LUAI_UACINT)(raw - (uint64_t)INT64_MAX));
  if (n.kind == MFI_INTEGER)
    lua_pushinteger(L, n.as.integer);
  else if (n.kind == MFI_REAL)
    lua_pushnumber(L, n.as.real);
  else
    lua_pushboolean(L, n.as.truth);
}

// ---- Messages

const char *mfi_bind_push_shown(lua_State *L, int idx) {
  size_t size;
  mfi_box *b = mfi_bind_any(L, idx);
  switch (lua_type(L, idx)) {
  case LUA_TNUMBER:
    return luaL_tolstring(L, idx, NULL);
  case LUA_TBOOLEAN:
    return lua_pushstring(L, lua_toboolean(L, idx) ? "true" : "false");
  case LUA_TSTRING:
    lua_tolstring(L, idx, &size);
    if (size <= 40)
      return lua_pushfstring(L, "\"%s\"", lua_tostring(L, idx));
    return lua_pushliteral(L, "string");
  default:
    return lua_pushstring(L, b != NULL ? mfi_bind_kind_name(b->kind) : luaL_typename(L, idx));
  }
}

static const char *remedy(lua_State *L, int idx, uint32_t type) {
  if (type == MFI_BOOL && lua_type(L, idx) == LUA_TNUMBER)
    return "; x ~= 0 is one";
  if (type != MFI_BOOL && lua_isboolean(L, idx))
    return "; booleans are of type bool";
  if (type != MFI_BOOL && lua_type(L, idx) == LUA_TSTRING)
    return "; tonumber(s) gives a number";
  lua_Number x = lua_tonumber(L, idx);
  if (mfi_type_is_integer(type) && x >= -0x1p53 && x <= 0x1p53 && (lua_Number)(int64_t)x != x)
    return "; math.floor(x) is one";
  return "";
}

const char *mfi_bind_push_misfit(lua_State *L, int idx, uint32_t type) {
  const char *more = lua_isnone(L, idx) ? "" : remedy(L, idx, type);
  const char *got = mfi_bind_push_shown(L, idx);
  const char *text =
      lua_pushfstring(L, "%s expected, got %s%s", mfi_type_expected(type), got, more);
  lua_remove(L, -2);
  return text;
}

void mfi_bind_misfit(lua_State *L, int idx, uint32_t type, int n, const char *method) {
  luaL_error(L, "bad argument #%d to '%s' (%s)", n, method, mfi_bind_push_misfit(L, idx, type));
  for (;;)
    continue;
}

uint64_t mfi_bind_integer(lua_State *L, int idx, int n, const char *method, uint64_t least,
                          uint64_t most) {
  int is_integer = 0;
  lua_Integer i = lua_tointegerx(L, idx, &is_integer);
  if (is_integer && lua_type(L, idx) == LUA_TNUMBER && i >= 0 && (uint64_t)i >= least &&
      (uint64_t)i <= most)
    return (uint64_t)i;
  luaL_error(L, "bad argument #%d to '%s' (integer from %I to %I expected, got %s)", n, method,
             (LUAI_UACINT)least, (LUAI_UACINT)most,
             lua_isnone(L, idx) ? "no value" : mfi_bind_push_shown(L, idx));
  return 0;
}

// ---- The collector

void mfi_bind_array_collect(lua_State *L) {
  mfi_bind_context(L)->array_bytes = 0;
  lua_gc(L, LUA_GCCOLLECT);
}

void mfi_bind_array_pressure(lua_State *L, uint64_t bytes) {
  mfi_context *m = mfi_bind_context(L);
  m->array_bytes += bytes;
  if (m->array_bytes < PRESSURE || m->array_bytes < (uint64_t)lua_gc(L, LUA_GCCOUNT) << 10)
    return;
  if (lua_gc(L, LUA_GCISRUNNING))
    mfi_bind_array_collect(L);
}

// ---- What Value and Array share

int mfi_bind_push_lock(lua_State *L, mfi_box *b) {
  mfi_handle h = mfi_numbers_lock(b->m->self, b->o);
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, "lock");
  mfi_bind_push(L, h);
  return 1;
}

void mfi_bind_index_by(lua_State *L, mfi_object_kind kind, const luaL_Reg *methods,
                       lua_CFunction index, const char *field) {
  mfi_bind_metatable(L, kind);
  if (lua_getfield(L, -1, "__index") != LUA_TTABLE) { // an object came before the module
    lua_pop(L, 1);
    return;
  }
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "methods"); // where a reader finds them
  lua_pushstring(L, field);
  lua_pushcclosure(L, index, 2);
  lua_setfield(L, -2, "__index");
}
