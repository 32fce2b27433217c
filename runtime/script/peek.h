// A look into Lua's tables in place, without a call for each element.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. These are lobject.h's Table, Node and TString as
// they are in Lua 5.4.1 to 5.4.8 (order of fields, tags of TValue, BITRAS of ltable.c), restated
// here because that header is private. peek_verify proves it on the running Lua; where it says no,
// everything goes through the API instead and is only slower.
#ifndef MFI_SCRIPT_PEEK_H
#define MFI_SCRIPT_PEEK_H

#include <lua.h>

#include <stddef.h>
#include <stdint.h>

enum {             // lobject.h: LUA_VNIL ...; the last ones are marked collectable
  PEEK_NIL = 0x00, // and two more, for empty slots: see peek_is_nil
  PEEK_FALSE = 0x01,
  PEEK_TRUE = 0x11,
  PEEK_INTEGER = 0x03,
  PEEK_FLOAT = 0x13,
  PEEK_SHORT_STRING = 0x44,
  PEEK_LONG_STRING = 0x54,
  PEEK_TABLE = 0x45
};

typedef struct peek_value {
  union {
    int64_t integer;
    double number;
    const void *pointer;
  } as;
  uint8_t tag;
} peek_value;

typedef struct peek_node { // a value, and its key in the padding and behind it
  union {
    int64_t integer;
    double number;
    const void *pointer;
  } value;
  uint8_t tag, key_tag;
  int32_t next;
  union {
    int64_t integer;
    double number;
    const void *pointer;
  } key;
} peek_node;

typedef struct peek_string {
  void *next;
  uint8_t type, marked, extra, short_size;
  uint32_t hash;
  size_t long_size;
  char bytes[];
} peek_string;

typedef struct peek_table {
  void *next;
  uint8_t type, marked, flags, log_nodes;
  uint32_t limit; // of the array; its true size unless flags say otherwise
  peek_value *array;
  peek_node *nodes;
  void *last_free;
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

static inline int peek_is_nil(uint8_t tag) { return (tag & 0x0f) == 0; }

// Is it an address? What is collected is, and light userdata and functions are.
static inline int peek_is_address(uint8_t tag) {
  return (tag & 0x40) != 0 || (tag & 0x0f) == LUA_TLIGHTUSERDATA || (tag & 0x0f) == LUA_TFUNCTION;
}

static inline size_t peek_string_size(const peek_string *s, uint8_t tag) {
  return tag == PEEK_SHORT_STRING ? s->short_size : s->long_size;
}

static inline peek_table *peek_of(lua_State *L, int idx) {
  return (peek_table *)(uintptr_t)lua_topointer(L, idx);
}

// Is the running Lua's struct Table the one described here? [-0, +0, m]
int mfi_peek_verify(lua_State *L);

#endif
