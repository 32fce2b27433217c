// The memory of one worker's Lua state. Floor 5. Belongs to the state's thread; locks nothing.
//
// Blocks up to MFI_SMALL bytes are cut from one pool, without a header (Lua names the size when it
// frees), and freed ones are kept by size; when the pool is used up, and for larger blocks, the
// parent allocator serves. The pool holds what the libraries and a small task need: that makes a
// start cheap and leaves nothing behind in malloc's arenas.
#ifndef MFI_SCRIPT_STATE_MEMORY_H
#define MFI_SCRIPT_STATE_MEMORY_H

#include "script/random.h"
#include "script/state.h"

#include <lua.h>

#include <stdbool.h>
#include <stdint.h>

#define MFI_GRAIN 16 // as malloc aligns
#define MFI_SMALL 512
#ifdef MFI_TINY
#define MFI_POOL_BYTES 1024
#else
#define MFI_POOL_BYTES (16 * 1024)
#endif

// 0 <= cut <= MFI_POOL_BYTES; pool[0 .. cut) is in use or in `free`. `used` counts what Lua has, by
// the sizes it asked for: used <= limit, where there is a limit.
typedef struct mfi_memory {
  void *free[MFI_SMALL / MFI_GRAIN +
             1]; // [n]: freed blocks of n grains, linked through their first word
  size_t cut;
  size_t used;
  size_t limit;            // SIZE_MAX: none
  bool limit_hit;          // it was refused something since the start
  bool closing;            // lua_close runs: small blocks need not be kept
  lua_Alloc parent;        // set once
  void *parent_ud;         // set once
  mfi_random random;       // math.random's stream
  mfi_state_config config; // set once; its strings are only valid while the state is opened
  bool warn_on, warn_more; // of warn(): switched on; a message is unfinished
  _Alignas(MFI_GRAIN) unsigned char pool[MFI_POOL_BYTES];
} mfi_memory;

// NULL: the parent has none.
mfi_memory *mfi_memory_open(const mfi_state_config *config);
void mfi_memory_close(mfi_memory *m);
// The lua_Alloc; ud is the mfi_memory.
void *mfi_memory_alloc(void *ud, void *block, size_t old_size, size_t new_size);
// Of a state of ours.
mfi_memory *mfi_memory_of(lua_State *L);

// Functions for a state of ours, in its globals. [-0, +0, m]
void mfi_state_restrict_loading(lua_State *L, bool text_only, bool files);
void mfi_state_only_preload(lua_State *L);
// load(chunk, ...), which passes a stop on that its reader function met. [-0, +1, m]
void mfi_state_push_load(lua_State *L, bool text_only);

#endif
