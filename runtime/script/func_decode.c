// Bytes to functions: code, upvalues, globals to be set. Trusts bytecode only as far as its flags
// and checksum say; everything around it is checked.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/decoder.h"
#include "script/encoder.h"
#include "script/func.h"

#include <lauxlib.h>

static _Noreturn void damaged(decoder *d) {
  mfi_decode_bad(d, "cannot decode: the message is damaged");
}

// ---- Opening

// Pushes the factory of the code that follows.
static void read_code(decoder *d) {
  uint64_t known = mfi_decode_varint(d);
  if (known > d->ncodes)
    damaged(d);
  int codes = mfi_decode_slot(d, SLOT_CODES);
  if (known > 0) {
    lua_rawgeti(d->L, codes, (lua_Integer)known);
    return;
  }
  uint64_t size = mfi_decode_varint(d), hash;
  memcpy(&hash, mfi_decode_bytes(d, 8), 8);
  const uint8_t *code = mfi_decode_bytes(d, size);
  mfi_code_factory(d->codec, d->L, code, size, hash);
  lua_pushvalue(d->L, -1);
  lua_rawseti(d->L, codes, ++d->ncodes);
}

void mfi_func_read(decoder *d) {
  lua_State *L = d->L;
  lua_Debug ar;
  if (!(d->flags & MFI_DECODE_FUNCTIONS))
    mfi_decode_bad(d, "cannot decode: the message holds functions (pass {functions=true} for those "
                      "of your own)");
  if (!lua_checkstack(L, 20))
    mfi_decode_bad(d, "cannot decode: nested too deeply");
  read_code(d);
  lua_call(L, 0, 1);
  uint8_t n = mfi_decode_byte(d);
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">u", &ar);
  if (ar.nups != n)
    damaged(d);
  dframe *f = mfi_decode_push(d, UPVALUES, lua_gettop(L));
  f->n = n;
  f->number = mfi_decode_number(d);
}

// ---- Upvalues

// Notes upvalue i (from 1) of the function at f->slot as the next one of the message.
static void note_upvalue(decoder *d, const dframe *f, lua_Integer i) {
  int list = mfi_decode_slot(d, SLOT_UPVALUES);
  lua_Integer at = 2 * (lua_Integer)d->nupvalues++;
  lua_pushvalue(d->L, f->slot);
  lua_rawseti(d->L, list, at + 1);
  lua_pushinteger(d->L, i);
  lua_rawseti(d->L, list, at + 2);
}

static void join_upvalue(decoder *d, const dframe *f, int i) {
  lua_State *L = d->L;
  uint64_t number = mfi_decode_varint(d);
  if (number >= d->nupvalues)
    damaged(d);
  lua_rawgeti(L, d->base + SLOT_UPVALUES, 2 * (lua_Integer)number + 1);
  lua_rawgeti(L, d->base + SLOT_UPVALUES, 2 * (lua_Integer)number + 2);
  int other = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_upvaluejoin(L, f->slot, i, lua_gettop(L), other);
  lua_pop(L, 1);
}

// ---- Sides

void mfi_func_read_side(decoder *d) {
  lua_State *L = d->L;
  size_t size;
  const char *s = NULL;
  if (!(d->flags & MFI_DECODE_FUNCTIONS))
    damaged(d);
  if (mfi_decode_byte(d) == TAG_ADDITION) {
    s = mfi_decode_string(d, &size);
    if (s == NULL)
      damaged(d);
    lua_pushlstring(L, s, size);
  } else {
    lua_pushboolean(L, 0);
  }
  s = mfi_decode_string(d, &size);
  if (s == NULL)
    damaged(d);
  lua_pushlstring(L, s, size);
}

void mfi_func_keep_side(decoder *d) {
  int list = mfi_decode_slot(d, SLOT_GLOBALS);
  lua_Integer at = 3 * (lua_Integer)d->nglobals++;
  for (int i = 3; i >= 1; i--)
    lua_rawseti(d->L, list, at + i);
}

// Pushes the table that library at idx names (false: _G); nil where there is none.
static void push_target(lua_State *L, int idx) {
  if (!lua_isstring(L, idx)) {
    lua_pushglobaltable(L);
    return;
  }
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, lua_tostring(L, idx));
  if (lua_isnil(L, -1)) { // libraries may be opened at first use
    lua_pop(L, 1);
    lua_getglobal(L, lua_tostring(L, idx));
  }
  lua_remove(L, -2);
}

void mfi_func_set_globals(decoder *d) {
  lua_State *L = d->L;
  int top = lua_gettop(L), list = d->base + SLOT_GLOBALS;
  for (uint32_t i = 0; i < d->nglobals; i++, lua_settop(L, top)) {
    for (int k = 1; k <= 3; k++)
      lua_rawgeti(L, list, 3 * (lua_Integer)i + k);
    push_target(L, top + 1);
    if (!lua_istable(L, -1))
      continue;
    if (!(d->flags & MFI_DECODE_GLOBALS)) {
      lua_pushvalue(L, top + 2);
      if (lua_rawget(L, -2) != LUA_TNIL)
        continue;
      lua_pop(L, 1);
    }
    lua_pushvalue(L, top + 2);
    lua_pushvalue(L, top + 3);
    lua_rawset(L, -3);
  }
  d->nglobals = 0;
}

// ---- The frames

static int advance_upvalues(decoder *d, dframe *f) {
  while (f->i < f->n) {
    f->i++;
    if (d->p < d->end && *d->p == TAG_UPVALUE) {
      d->p++;
      join_upvalue(d, f, (int)f->i);
      continue;
    }
    note_upvalue(d, f, (lua_Integer)f->i);
    if (mfi_decode_value(d))
      return 0;
    mfi_func_give(d, f);
  }
  f->state = SIDES;
  return 1;
}

static int advance_sides(decoder *d, dframe *f) {
  for (;;) {
    uint8_t tag = d->p < d->end ? *d->p : TAG_NIL;
    if (tag == TAG_END) {
      d->p++;
      return 1;
    }
    if (tag != TAG_GLOBAL && tag != TAG_ADDITION)
      damaged(d);
    mfi_func_read_side(d);
    f->state = SIDE_VALUE;
    if (mfi_decode_value(d))
      return 0;
    mfi_func_give(d, f);
  }
}

// All values of a transfer are there: calls the first with the others.
static void rebuild(decoder *d, dframe *f) {
  lua_State *L = d->L;
  int n = lua_gettop(L) - f->slot;
  if (!lua_isfunction(L, f->slot))
    damaged(d);
  uint32_t number = f->number;
  mfi_decode_settle(d);
  lua_call(L, n, 1);
  if (!d->has_objects)
    return;
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->base + SLOT_OBJECTS, (lua_Integer)number + 1);
}

static int advance_arguments(decoder *d, dframe *f) {
  while (f->i < f->n) {
    f->i++;
    if (!lua_checkstack(d->L, 20))
      mfi_decode_bad(d, "cannot decode: too many values");
    if (mfi_decode_value(d))
      return 0;
  }
  rebuild(d, f);
  return 1;
}

int mfi_func_advance(decoder *d, dframe *f) {
  if (f->state == ARGUMENTS)
    return advance_arguments(d, f);
  if (f->state == UPVALUES && !advance_upvalues(d, f))
    return 0;
  return advance_sides(d, f);
}

void mfi_func_give(decoder *d, dframe *f) {
  switch (f->state) {
  case UPVALUES:
    lua_setupvalue(d->L, f->slot, (int)f->i);
    break;
  case SIDE_VALUE:
    mfi_func_keep_side(d);
    f->state = SIDES;
    break;
  default: // an argument stays where it is
    break;
  }
}

// ---- "module:name"

void mfi_func_resolve_name(lua_State *L, const char *text, size_t size) {
  const char *colon = memchr(text, ':', size), *end = text + size;
  if (colon == NULL || colon == text || colon + 1 == end)
    luaL_error(L, "'%s' names no function (\"module:name\" expected)", text);
  luaL_checkstack(L, 8, NULL);
  lua_pushlstring(L, text, (size_t)(colon - text));
  if (lua_getglobal(L, "require") != LUA_TFUNCTION)
    luaL_error(L, "'%s' cannot be found: this state has no require", text);
  lua_pushvalue(L, -2);
  lua_call(L, 1, 1);
  for (const char *p = colon; p != end;) {
    const char *name = p + 1;
    p = memchr(name, '.', (size_t)(end - name));
    if (p == NULL)
      p = end;
    lua_pushlstring(L, name, (size_t)(p - name));
    if (!lua_istable(L, -2))
      lua_pushnil(L);
    else
      lua_gettable(L, -2);
    lua_remove(L, -2);
  }
  if (!lua_isfunction(L, -1)) {
    lua_pushlstring(L, text, size);
    luaL_error(L, "'%s': module '%s' has no function of that name", lua_tostring(L, -1),
               lua_tostring(L, -3));
  }
  lua_remove(L, -2);
}
