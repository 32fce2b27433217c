// The bytes of a message.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
//
//   message   flags:u8 (MFI_MESSAGE_*) value*
//   value     tag:u8 and what the tag says; integers are little-endian, "varint" is LEB128
//   objects   tables, functions and rebuilt userdata are numbered from 0 in the order in which they
//             begin; TAG_REF names an earlier one, open or complete
//   table     TAG_TABLE items:varint pairs:u8 item* (key value)* TAG_END
//             item: a value or a run of numbers; pairs: a hint, see format_pairs
//             TAG_TABLE_META: the same, then the metatable's value
//   function  TAG_FUNCTION code:varint (0: size:varint hash:u64 bytes) upvalue* side* TAG_END
//             upvalue: a value, or TAG_UPVALUE number:varint for one that was met before
//             side: TAG_GLOBAL name value | TAG_ADDITION library name value
//
// Both ends of a message are the same build (strings of mf.encode carry a version): change freely.
#ifndef MFI_SCRIPT_FORMAT_H
#define MFI_SCRIPT_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Moonfleet runs on little-endian machines (x86-64, arm64)"
#endif

enum {
  TAG_NIL = 0,
  TAG_FALSE = 1,
  TAG_TRUE = 2,
  TAG_FLOAT = 3, // 8 bytes
  TAG_INT8 = 4,  // 1, 2, 4, 8 bytes, signed
  TAG_INT16 = 5,
  TAG_INT32 = 6,
  TAG_INT64 = 7,
  TAG_STRING8 = 8, // length of 1, 4, 8 bytes, unsigned; the bytes
  TAG_STRING32 = 9,
  TAG_STRING64 = 10,
  TAG_TABLE = 11,
  TAG_TABLE_META = 12,
  TAG_REF = 13, // number:varint
  TAG_END = 14,
  TAG_RUN8 = 15, // count:varint, integers of 1, 2, 4, 8 bytes; items of a table only
  TAG_RUN16 = 16,
  TAG_RUN32 = 17,
  TAG_RUN64 = 18,
  TAG_RUN_FLOAT = 19, // count:varint, floats of 8 bytes
  TAG_GLOBALS = 20,   // the receiver's own _G
  TAG_MODULE = 21,    // fields:u8 (0..2), module name, field names: strings
  TAG_CLASS = 22,     // registered name: string
  TAG_OBJECT = 23,    // index into the message's handles:varint
  TAG_NULL = 24,      // light userdata NULL
  TAG_POINTER = 25,   // process:u64 address:u64
  TAG_FUNCTION = 26,
  TAG_UPVALUE = 27,
  TAG_GLOBAL = 28,
  TAG_ADDITION = 29,
  TAG_TRANSFER = 30, // arguments:varint, function, arguments

  TAG_SHORT = 0x40, // .. 0x7f: a string of tag - 0x40 bytes, which follow
  TAG_SMALL = 0x80, // .. 0xff: the integer tag - 0x80 + FORMAT_SMALL_MIN
};

#define FORMAT_SMALL_MIN (-32)
#define FORMAT_SMALL_MAX (127 - 32)
#define FORMAT_SHORT_MAX 63
#define FORMAT_VARINT_MAX 10 // bytes

static inline uint8_t *format_varint(uint8_t *p, uint64_t n) {
  for (; n >= 0x80; n >>= 7)
    *p++ = (uint8_t)(n | 0x80);
  *p++ = (uint8_t)n;
  return p;
}

// The hint for a number of pairs: exact below 128, else 128 + its power of two, rounded down.
static inline uint8_t format_pairs(uint64_t n) {
  if (n < 128)
    return (uint8_t)n;
  return (uint8_t)(128 + 63 - __builtin_clzll(n));
}

static inline uint64_t format_unpairs(uint8_t hint) {
  if (hint < 128)
    return hint;
  return hint - 128 > 40 ? (uint64_t)1 << 40 : (uint64_t)1 << (hint - 128);
}

// A hash of bytes, the same in every process: names code in caches, checks strings for damage.
static inline uint64_t format_hash(const void *data, size_t size) {
  const uint8_t *p = data;
  uint64_t h = 0x9e3779b97f4a7c15u ^ size, w;
  for (; size >= 8; size -= 8, p += 8) {
    memcpy(&w, p, 8);
    h = (h ^ w) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
  }
  w = 0;
  memcpy(&w, p, size);
  h = (h ^ w) * 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 29);
}

#endif
