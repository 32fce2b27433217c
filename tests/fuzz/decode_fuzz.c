// No bytes whatever crash mfi_decode, mf.decode or mfi_values_read, none make them allocate much
// more than the bytes themselves, and what they decode to can be encoded and decoded again.
//
// The first byte chooses: even, a bare message without functions; odd, a string of mf.encode, with
// them (its checksum stands between the bytes and lua_load).
#include "script/codec.h"
#include "script/error.h"
#include "script/value.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define PER_BYTE 200 // a table of its own costs four bytes of message, 56 of memory and its place
#define BASE ((size_t)1 << 20)

typedef struct budget {
  size_t used, limit; // limit 0: none
} budget;

typedef struct input {
  const uint8_t *bytes;
  size_t size;
} input;

static void *allocate(void *ud, void *p, size_t from, size_t to) {
  budget *b = ud;
  if (p == NULL)
    from = 0;
  b->used = b->used - from + to;
  if (b->limit != 0 && b->used > b->limit)
    abort(); // out of proportion
  if (to != 0)
    return realloc(p, to);
  free(p);
  return NULL;
}

static int object_of(lua_State *L, int idx, uint64_t *handle) {
  const uint64_t *p = lua_touserdata(L, idx);
  if (lua_type(L, idx) != LUA_TUSERDATA || lua_rawlen(L, idx) != sizeof *p)
    return 0;
  *handle = *p;
  return 1;
}

static void push_object(lua_State *L, uint64_t handle) {
  if (handle % 7 == 0)
    mfi_error_raise(L, "closed", "it is closed");
  *(uint64_t *)lua_newuserdatauv(L, sizeof handle, 0) = handle;
}

static int decode(lua_State *L) { // input
  static const uint64_t refs[] = {1, 2, 7, 3};
  input *in = lua_touserdata(L, 1);
  mfi_codec *c = mfi_codec_of(L);
  lua_settop(L, 0);
  int n;
  if (in->bytes[0] & 1) {
    n = mfi_codec_thaw(c, L, (const char *)in->bytes + 1, in->size - 1, 1);
  } else {
    mfi_message m = {.bytes = in->bytes + 1, .size = in->size - 1, .refs = refs, .nrefs = 4};
    n = mfi_decode(c, L, &m, 0);
  }
  if (lua_gettop(L) != n)
    abort();
  return n;
}

static int encode_and_decode(lua_State *L) { // values
  mfi_codec *c = mfi_codec_of(L);
  mfi_encoded e;
  int n = lua_gettop(L);
  mfi_encode(c, L, 1, n, "value", 0, &e);
  mfi_encoded_keep(c, L, &e);
  mfi_message m = {.bytes = e.bytes, .size = e.size, .refs = e.refs, .nrefs = e.nrefs};
  if (mfi_decode(c, L, &m, MFI_DECODE_FUNCTIONS) != n)
    abort();
  return 0;
}

// The same bytes as plain values, which take functions as well.
static void read_values(const input *in) {
  static const mfi_value_hooks hooks = {.process = 7};
  mfi_message m = {.bytes = in->bytes + 1, .size = in->size - 1};
  mfi_values *v;
  mfi_status status = mfi_values_read(&m, &hooks, &v);
  if (status == MFI_OK)
    mfi_values_free(v);
  else if (status != MFI_DECODE)
    abort();
}

static lua_State *open_state(budget *b) {
  static const mfi_codec_hooks hooks = {.handle_of = object_of, .push_object = push_object};
  lua_State *L = lua_newstate(allocate, b);
  luaL_openlibs(L);
  mfi_codec_open(L, &hooks);
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static budget b;
  static lua_State *L;
  static unsigned runs;
  if (size == 0)
    return 0;
  if (L == NULL)
    L = open_state(&b);
  input in = {.bytes = bytes, .size = size};
  read_values(&in);
  b.limit = b.used + BASE + PER_BYTE * size;
  lua_pushcfunction(L, decode);
  lua_pushlightuserdata(L, &in);
  int status = lua_pcall(L, 1, LUA_MULTRET, 0);
  b.limit = 0;
  if (status == LUA_OK) {
    luaL_checkstack(L, 10, NULL);
    lua_pushcfunction(L, encode_and_decode);
    lua_insert(L, 1);
    lua_pcall(L, lua_gettop(L) - 1, 0, 0);
  } else if (!mfi_error_is(L, -1, "decode") && !mfi_error_is(L, -1, "closed")) {
    abort(); // another error than the two that are promised
  }
  lua_settop(L, 0);
  if (++runs % 64 == 0)
    lua_gc(L, LUA_GCCOLLECT);
  return 0;
}
