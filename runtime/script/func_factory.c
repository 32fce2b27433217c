// Loaded code, kept by content: a factory gives a fresh closure of it at each call.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
//
// The factory of a function is a function of our own making around its prototype:
//
//   LOADNIL  0 .. n-1        n registers for its n upvalues
//   CLOSURE  n  prototype 0  captures them: its upvalues are said to be registers 0 .. n-1
//   RETURN   n  (k: close)   each upvalue is the closure's own from here on
//
// so that the closure costs a call, not a load. Where that cannot be done (more upvalues than
// registers, bytecode that is not understood) the factory loads the code at each call.
#include "script/encoder.h"
#include "script/error.h"
#include "script/func_code.h"

#include <lauxlib.h>

#include <stdlib.h>

#define HEADER_BYTES 31
#define MAX_REGISTERS 250
#define CACHE_ENTRIES 1024 // beyond either, the cache is emptied
#define CACHE_BYTES ((size_t)8 << 20)

enum { OP_LOADNIL = 8, OP_RETURN = 70, OP_CLOSURE = 79 }; // lopcodes.h

typedef struct cached {
  uint64_t hash;
  uint8_t *code; // NULL: free
  size_t size;
  int ref; // of the factory, in the registry
} cached;

struct code_cache {
  cached *entries; // open addressing, a power of two, at most half full
  size_t room, count, bytes;
};

// ---- Making a factory

static uint32_t instruction(unsigned op, unsigned a, unsigned k, unsigned b) {
  return op | a << 7 | k << 15 | b << 16;
}

// Writes what stands before the prototype; answers its length.
static size_t write_head(uint8_t *to, unsigned n) {
  uint8_t *p = to;
  uint32_t code[3];
  unsigned length = 0;
  if (n > 0)
    code[length++] = instruction(OP_LOADNIL, 0, 0, n - 1);
  code[length++] = OP_CLOSURE | n << 7;
  code[length++] = instruction(OP_RETURN, n, 1, 2);
  *p++ = 0;    // upvalues of the factory's closure
  *p++ = 0x80; // no source
  *p++ = 0x80; // lines
  *p++ = 0x80;
  *p++ = 0;                // parameters
  *p++ = 0;                // is no vararg
  *p++ = (uint8_t)(n + 2); // registers
  *p++ = (uint8_t)(0x80 | length);
  memcpy(p, code, 4 * length);
  p += 4 * length;
  *p++ = 0x80; // constants
  *p++ = 0x80; // upvalues
  *p++ = 0x81; // one prototype
  return (size_t)(p - to);
}

// Writes the factory of `code` to `to` (size + 40 bytes); answers its length.
static size_t write_factory(uint8_t *to, const uint8_t *code, size_t size, const code_scan *scan) {
  memcpy(to, code, HEADER_BYTES);
  size_t at = HEADER_BYTES + write_head(to + HEADER_BYTES, (unsigned)scan->nupvalues);
  const size_t skipped = HEADER_BYTES + 1;
  memcpy(to + at, code + skipped, size - skipped);
  uint8_t *upvalue = to + at + scan->upvalues_at - skipped;
  for (int i = 0; i < scan->nupvalues; i++, upvalue += 3) {
    upvalue[0] = 1; // a register of the factory
    upvalue[1] = (uint8_t)i;
    upvalue[2] = 0;
  }
  at += size - skipped;
  memset(to + at, 0x80, 4); // no debug information of its own
  return at + 4;
}

static _Noreturn void cannot_load(lua_State *L) {
  const char *why = lua_tostring(L, -1);
  mfi_error_raise(L, "decode", "cannot decode a function: %s", why != NULL ? why : "?");
}

static int load_again(lua_State *L) { // the slow factory: -> closure [-0, +1, v]
  size_t size;
  const char *code = lua_tolstring(L, lua_upvalueindex(1), &size);
  if (luaL_loadbufferx(L, code, size, "=?", "b") != LUA_OK)
    cannot_load(L);
  lua_pushnil(L);
  if (lua_setupvalue(L, -2, 1) == NULL)
    lua_pop(L, 1); // lua_load made it _G
  return 1;
}

// Pushes a new factory.
static void make_factory(lua_State *L, const uint8_t *code, size_t size) {
  code_scan scan = {0};
  int known = mfi_code_scan(code, size, &scan);
  mfi_code_scan_fini(&scan); // the lists; its numbers stay
  if (!known || scan.nupvalues > MAX_REGISTERS) {
    lua_pushlstring(L, (const char *)code, size);
    lua_pushcclosure(L, load_again, 1);
    return;
  }
  uint8_t *bytes = lua_newuserdatauv(L, size + 64, 0);
  size_t length = write_factory(bytes, code, size, &scan);
  if (luaL_loadbufferx(L, (const char *)bytes, length, "=?", "b") != LUA_OK)
    cannot_load(L);
  lua_remove(L, -2);
}

// ---- The cache

void mfi_code_cache_destroy(struct code_cache *cache) {
  if (cache == NULL)
    return;
  for (size_t i = 0; i < cache->room; i++)
    free(cache->entries[i].code);
  free(cache->entries);
  free(cache);
}

static cached *find(const struct code_cache *cache, const uint8_t *code, size_t size,
                    uint64_t hash) {
  for (uint64_t h = hash;; h++) {
    cached *e = &cache->entries[h & (cache->room - 1)];
    if (e->code == NULL)
      return e;
    if (e->hash == hash && e->size == size && memcmp(e->code, code, size) == 0)
      return e;
  }
}

// Makes room for one more: 1, or 0 where there is no memory.
static int grow(struct code_cache *cache) {
  if (2 * (cache->count + 1) <= cache->room)
    return 1;
  struct code_cache to = *cache;
  to.room = cache->room == 0 ? 4 : 2 * cache->room;
  to.entries = calloc(to.room, sizeof *to.entries);
  if (to.entries == NULL)
    return 0;
  for (size_t i = 0; i < cache->room; i++) {
    const cached *e = &cache->entries[i];
    if (e->code != NULL)
      *find(&to, e->code, e->size, e->hash) = *e;
  }
  free(cache->entries);
  *cache = to;
  return 1;
}

static void empty(lua_State *L, struct code_cache *cache) {
  for (size_t i = 0; i < cache->room; i++) {
    cached *e = &cache->entries[i];
    if (e->code == NULL)
      continue;
    luaL_unref(L, LUA_REGISTRYINDEX, e->ref);
    free(e->code);
    e->code = NULL;
  }
  cache->count = cache->bytes = 0;
}

// Keeps the factory at the top. What cannot be kept is made again next time.
static void keep(mfi_codec *c, lua_State *L, const uint8_t *code, size_t size, uint64_t hash) {
  struct code_cache *cache = c->cache;
  if (size > CACHE_BYTES / 4)
    return;
  if (cache->count == CACHE_ENTRIES || cache->bytes + size > CACHE_BYTES)
    empty(L, cache);
  lua_pushvalue(L, -1);
  int ref = luaL_ref(L, LUA_REGISTRYINDEX);
  uint8_t *copy = grow(cache) ? malloc(size) : NULL;
  cached *e = copy == NULL ? NULL : find(cache, code, size, hash);
  if (e == NULL || e->code != NULL) { // no memory; or a finalizer decoded the same code
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    free(copy);
    return;
  }
  memcpy(copy, code, size);
  *e = (cached){.hash = hash, .code = copy, .size = size, .ref = ref};
  cache->count++;
  cache->bytes += size;
}

void mfi_code_factory(mfi_codec *c, lua_State *L, const uint8_t *code, size_t size, uint64_t hash) {
  luaL_checkstack(L, 6, NULL);
  if (c->cache == NULL)
    c->cache = calloc(1, sizeof *c->cache);
  if (c->cache != NULL && c->cache->room != 0) {
    const cached *e = find(c->cache, code, size, hash);
    if (e->code != NULL) {
      lua_rawgeti(L, LUA_REGISTRYINDEX, e->ref);
      return;
    }
  }
  make_factory(L, code, size);
  if (c->cache != NULL)
    keep(c, L, code, size, hash);
}
