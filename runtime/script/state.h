// Opens the Lua state of a worker: libraries, limits, own random numbers, stoppable pcall, output.
// Floor 5. A state and all that hangs on it belong to one thread at a time. Locks nothing, sleeps
// nowhere (a sink or stream lock apart, see output.h).
//
// Everything is open from the start, as in stock Lua, and nothing can tell the difference: what
// makes it cheap is the state's own allocator, which cuts small blocks from pages of its own.
#ifndef MFI_SCRIPT_STATE_H
#define MFI_SCRIPT_STATE_H

#include "script/output.h"
#include "script/random.h"

#include <lua.h>

#include <stdint.h>

// Standard libraries; the numbers of MF_LIB_* in moonfleet.h.
enum {
  MFI_LIB_BASE = 1 << 0,
  MFI_LIB_COROUTINE = 1 << 1,
  MFI_LIB_TABLE = 1 << 2,
  MFI_LIB_STRING = 1 << 3,
  MFI_LIB_MATH = 1 << 4,
  MFI_LIB_UTF8 = 1 << 5,
  MFI_LIB_IO = 1 << 6, // without it no dofile and no loadfile
  MFI_LIB_OS = 1 << 7,
  MFI_LIB_PACKAGE = 1 << 8,    // without it require finds package.preload's modules alone
  MFI_LIB_DEBUG = 1 << 9,      // without it load takes text alone
  MFI_LIB_MOONFLEET = 1 << 10, // the caller's business
  MFI_LIB_SAFE = (1 << 6) - 1,
  MFI_LIB_ALL = (1 << 11) - 1
};

typedef struct mfi_state_config {
  unsigned libs;       // MFI_LIB_*; 0: all
  size_t memory_limit; // bytes that Lua may have; 0: no limit
  lua_Alloc alloc;     // where pages and large blocks come from; NULL: malloc
  void *alloc_ud;
  const char *path; // package.path; NULL: as in a fresh Lua
  const char *cpath;
  uint64_t seed;      // of math.random, with
  uint64_t stream;    // which tells workers apart
  mfi_output *output; // stays the caller's; NULL: Lua's own print and io
  // os.exit(code): may end the program or the worker itself. When it returns the state is ended
  // through every pcall, with __close methods (mfi_stop_exit). NULL: the same, without a call.
  void (*exit)(void *ud, lua_State *L, int code);
  void *exit_ud;
  void *user; // mfi_state_user
} mfi_state_config;

// Runs collectors in generational mode, as the program lua does. NULL: no memory, or the limit is
// too small for the libraries.
lua_State *mfi_state_open(const mfi_state_config *config);
// The same from a state that was opened before it was known for whom: all its libraries, output
// NULL, nothing has run in it. False: it is of no use for this config.
bool mfi_state_adopt(lua_State *L, const mfi_state_config *config);
// Runs the finalizers and frees the state. Nothing may run in it.
void mfi_state_close(lua_State *L);

// Is it a state (or a coroutine of one) that mfi_state_open made?
bool mfi_state_is(lua_State *L);
// These four only for such states.
void *mfi_state_user(lua_State *L);
size_t mfi_state_bytes(lua_State *L);                 // in use, as the limit counts them
void mfi_state_set_limit(lua_State *L, size_t bytes); // 0: none
// Is the error at idx, with which lua_pcall gave this status, the memory limit's (and not the
// machine's or the script's)?
bool mfi_state_limit_hit(lua_State *L, int status, int idx);

#endif
