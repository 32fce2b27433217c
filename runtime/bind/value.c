// Value in Lua. Floor 7. Locks nothing, sleeps nowhere: elements are atomic.
#include "bind/calls.h"
#include "bind/core.h"
#include "bind/number.h"

static mfi_box *self_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_VALUE, method);
}

// The box of a metamethod's first argument.
static mfi_box *box_of(lua_State *L) {
  mfi_box *b = mfi_bind_test(L, 1, MFI_KIND_VALUE);
  if (b == NULL)
    luaL_error(L, "Value expected, got %s", luaL_typename(L, 1));
  if (b->handle == 0)
    mfi_error_raise(L, "closed", "this Value is closed");
  return b;
}

static uint32_t size_of(const mfi_box *b) { return mfi_type_size(b->type); }

static uint64_t element_arg(lua_State *L, const mfi_box *b, int n, const char *method) {
  uint64_t raw = 0;
  if (!mfi_bind_to_element(L, n + 1, b->type, &raw))
    mfi_bind_misfit(L, n + 1, b->type, n, method);
  return raw;
}

// ---- v.value

static _Noreturn void no_field(lua_State *L) {
  const char *key = mfi_bind_push_shown(L, 2);
  luaL_error(L, "%s has no field %s; it has value, add, swap, cas and lock",
             luaL_tolstring(L, 1, NULL), key);
  for (;;)
    continue;
}

static int value_index(lua_State *L) {
  if (lua_rawequal(L, 2, lua_upvalueindex(2))) {
    mfi_box *b = box_of(L);
    mfi_bind_push_raw(L, b->type, mfi_element_get(b->elements, size_of(b)));
    return 1;
  }
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
    no_field(L);
  return 1;
}

static int value_newindex(lua_State *L) {
  mfi_box *b = box_of(L);
  uint64_t raw;
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(key, "value") != 0)
    no_field(L);
  if (!mfi_bind_to_element(L, 3, b->type, &raw))
    return luaL_error(L, "bad value for 'value' of %s (%s)", luaL_tolstring(L, 1, NULL),
                      mfi_bind_push_misfit(L, 3, b->type));
  mfi_element_swap(b->elements, size_of(b), raw);
  return 0;
}

// ---- Methods

// What does not fit may be the argument or the sum.
static int value_add(lua_State *L) {
  mfi_box *b = self_of(L, "add");
  mfi_number n;
  uint64_t raw;
  if (b->type == MFI_BOOL)
    return luaL_error(L, "bad argument #0 to 'add' (Value of numbers expected, got one of bool)");
  bool whole = mfi_type_is_integer(b->type);
  if (!mfi_bind_to_number(L, 2, &n) || (whole && !mfi_number_to(MFI_I64, n, &raw)))
    return luaL_error(L, "bad argument #1 to 'add' (%s expected, got %s)",
                      whole ? "integer" : "number",
                      lua_isnone(L, 2) ? "no value" : mfi_bind_push_shown(L, 2));
  if (!mfi_element_add(b->elements, b->type, n, &raw))
    return luaL_error(L, "bad argument #1 to 'add' (the sum with %s does not fit: %s expected)",
                      mfi_bind_push_shown(L, 2), mfi_type_expected(b->type));
  mfi_bind_push_raw(L, b->type, raw);
  return 1;
}

static int value_swap(lua_State *L) {
  mfi_box *b = self_of(L, "swap");
  uint64_t raw = element_arg(L, b, 1, "swap");
  mfi_bind_push_raw(L, b->type, mfi_element_swap(b->elements, size_of(b), raw));
  return 1;
}

static int value_cas(lua_State *L) {
  mfi_box *b = self_of(L, "cas");
  uint64_t old = element_arg(L, b, 1, "cas"), raw = element_arg(L, b, 2, "cas");
  lua_pushboolean(L, mfi_element_cas(b->elements, b->type, old, raw));
  return 1;
}

static int value_lock(lua_State *L) { return mfi_bind_push_lock(L, self_of(L, "lock")); }

static int value_text(lua_State *L) {
  mfi_box *b = mfi_bind_any(L, 1);
  if (b == NULL || b->handle == 0) {
    lua_pushliteral(L, "Value(closed)");
    return 1;
  }
  mfi_bind_push_raw(L, b->type, mfi_element_get(b->elements, size_of(b)));
  lua_pushfstring(L, "Value(#%I, %s, %s)", (LUAI_UACINT)b->o->number, mfi_type_name(b->type),
                  luaL_tolstring(L, -1, NULL));
  return 1;
}

// core.Value(type, init) → Value; nil, what does not fit
static int core_value(lua_State *L) {
  uint32_t type = (uint32_t)luaL_checkinteger(L, 1), place;
  uint64_t raw = 0;
  if (!lua_isnoneornil(L, 2) && !mfi_bind_to_element(L, 2, type, &raw)) {
    luaL_pushfail(L);
    mfi_bind_push_misfit(L, 2, type);
    return 2;
  }
  mfi_box *b = mfi_bind_empty(L, MFI_KIND_VALUE);
  mfi_handle h = mfi_cell_make(b->m->self, type, raw, &place);
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, "Value");
  mfi_bind_fill(L, b, h, place);
  return 1;
}

void mfi_bind_open_value(lua_State *L) {
  static const luaL_Reg methods[] = {{"add", value_add},
                                     {"swap", value_swap},
                                     {"cas", value_cas},
                                     {"lock", value_lock},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__newindex", value_newindex}, {"__tostring", value_text}, {NULL, NULL}};
  mfi_bind_index_by(L, MFI_KIND_VALUE, methods, value_index, "value");
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  lua_pushcfunction(L, core_value);
  lua_setfield(L, -2, "Value");
}
