// Lua's bytecode, as far as it must be understood: which names a function uses, and how to make a
// fresh closure of code that is loaded already.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. The format is that of ldump.c and lundump.c, the
// instructions those of lopcodes.h, both unchanged in Lua 5.4.0 to 5.4.8; restated here because
// these headers are private. Code that does not parse to its last byte is not touched.
#ifndef MFI_SCRIPT_FUNC_CODE_H
#define MFI_SCRIPT_FUNC_CODE_H

#include <lua.h>

#include <stddef.h>
#include <stdint.h>

struct mfi_codec;
struct code_cache;

// A string constant of the code: size bytes at code + at.
typedef struct code_name {
  uint32_t at, size;
  uint32_t standard; // one of Lua's own globals
} code_name;

// The code reads or writes the field `name` of its own upvalue `upvalue` (from 0): a global, where
// that upvalue is the sender's _G.
typedef struct code_use {
  uint32_t name;
  uint8_t upvalue;
} code_use;

// A prototype, names[from .. to) with those inside it, that takes upvalue `upvalue` as a whole, or
// its field _G: then each of its constants may be a global's name.
typedef struct code_load {
  uint32_t from, to;
  uint8_t upvalue;
} code_load;

// What a scan found; the memory is kept for the next one.
typedef struct code_scan {
  code_name *names;
  code_use *uses;
  code_load *loads;
  size_t nnames, nuses, nloads;
  size_t names_room, uses_room, loads_room;
  size_t upvalues_at; // of the outermost prototype: 3 bytes each
  int nupvalues;
} code_scan;

// Reads a function as lua_dump wrote it: 1, or 0 where it is not understood.
int mfi_code_scan(const uint8_t *code, size_t size, code_scan *to);
void mfi_code_scan_fini(code_scan *s);

// Pushes a factory for a function as lua_dump wrote it: a call gives a closure with upvalues of its
// own, all nil. It is kept, by content. Raises decode. [-0, +1, v]
void mfi_code_factory(struct mfi_codec *c, lua_State *L, const uint8_t *code, size_t size,
                      uint64_t hash);
void mfi_code_cache_destroy(struct code_cache *cache);

#endif
