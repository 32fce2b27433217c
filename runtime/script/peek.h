// A look into Lua's tables: the array part in place, for long lists of numbers.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. This is lobject.h's struct Table as it is in
// Lua 5.4.0 to 5.4.8 (its order of fields, the tags of TValue, BITRAS of ltable.c), restated here
// because that header is private. peek_verify proves it on the running Lua; where it says no,
// everything goes through the API instead and is only slower.
#ifndef MFI_SCRIPT_PEEK_H
#define MFI_SCRIPT_PEEK_H

#include <lua.h>

#include <stdint.h>

enum { PEEK_INTEGER = 0x03, PEEK_FLOAT = 0x13 }; // LUA_VNUMINT, LUA_VNUMFLT

typedef struct peek_value {
  union {
    int64_t integer;
    double number;
    const void *pointer;
  } as;
  uint8_t tag;
} peek_value;

typedef struct peek_table {
  void *next;
  uint8_t type, marked, flags, log_nodes;
  uint32_t limit; // of the array; its true size unless flags say otherwise
  peek_value *array;
  void *nodes, *last_free;
  void *metatable;
} peek_table;

// The number of items that the array part has room for. flags' bit 7: `limit` is only a hint, the
// size is the power of two not below it.
static inline uint64_t peek_array_size(const peek_table *t) {
  uint64_t n = t->limit;
  if ((t->flags & 0x80) == 0 || (n & (n - 1)) == 0)
    return n;
  return (uint64_t)1 << (64 - __builtin_clzll(n));
}

static inline peek_table *peek_of(lua_State *L, int idx) {
  return (peek_table *)(uintptr_t)lua_topointer(L, idx);
}

// Is the running Lua's struct Table the one described here? [-0, +0, m]
int mfi_peek_verify(lua_State *L);

#endif
