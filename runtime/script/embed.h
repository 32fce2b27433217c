// The Lua half of the library as text. The build makes the array from lua/moonfleet/*.lua
// (scripts/cmake/embed.cmake). Floor 5. Constant data: locks nothing, sleeps nowhere.
#ifndef MFI_SCRIPT_EMBED_H
#define MFI_SCRIPT_EMBED_H

#include <stddef.h>

typedef struct mfi_embedded {
  const char *name; // module name: "moonfleet" for init.lua, "moonfleet.pool" for pool.lua
  const char *text; // Lua source, NUL-terminated behind its size
  size_t size;      // bytes, without the NUL
} mfi_embedded;

// Ends with a row whose name is NULL.
extern const mfi_embedded mfi_embedded_modules[];

#endif
