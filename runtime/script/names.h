// Values that travel by name: modules, their fields and their fields' fields, what the standard
// libraries have, registered classes.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. An index from object to name, built when the
// first function is sent (a worker that sends none has none), built anew when package.loaded or the
// number of a module's fields has changed. The objects in it are anchored in the registry, so that
// a pointer found here is the object that it was; what a module's field was at that moment keeps
// its name, for the receiver has its own anyway.
#ifndef MFI_SCRIPT_NAMES_H
#define MFI_SCRIPT_NAMES_H

#include <lua.h>

#include <stddef.h>
#include <stdint.h>

struct mfi_codec;

typedef struct name_entry {
  const void *pointer; // NULL: free
  uint32_t at, size;   // its name, encoded: TAG_MODULE ... or TAG_CLASS ...
  uint8_t type;        // LUA_T*: a light userdata may have any address
  uint8_t transfers;   // a table with a field __transfer
} name_entry;

// entries: open addressing, a power of two, at most half full; 0 before the first build.
typedef struct names {
  name_entry *entries;
  uint32_t room, count;
  uint8_t *bytes; // the encoded names, one behind the other
  size_t used, bytes_room;
  uint64_t fingerprint; // of what the index was built from
  uint32_t standard;    // fields that the standard tables had when additions were counted
  uint32_t additions;   // those of them that are none of Lua's
  const void *globals;  // _G of this state
} names;

static inline uint32_t names_hash(const void *pointer) {
  return (uint32_t)(((uintptr_t)pointer >> 4) * 0x9e3779b1u);
}

// The name of an object of this type, NULL where it has none.
static inline const name_entry *names_find(const names *n, const void *pointer, int type) {
  if (n->room == 0)
    return NULL;
  for (uint32_t i = names_hash(pointer);; i++) {
    const name_entry *e = &n->entries[i & (n->room - 1)];
    if (e->pointer == pointer && e->type == type)
      return e;
    if (e->pointer == NULL)
      return NULL;
  }
}

void mfi_names_fini(names *n);

// Builds the index where what it is made of has changed. [-0, +0, m]
void mfi_names_refresh(struct mfi_codec *c, lua_State *L);
// Builds it in any case. [-0, +0, m]
void mfi_names_build(struct mfi_codec *c, lua_State *L);

// Keeps the standard functions as they are now under their names, also when the fields are replaced
// later (print, os.exit). [-0, +0, m]
void mfi_names_snapshot(struct mfi_codec *c, lua_State *L);

// Registers the value at idx as a class. [-0, +0, m]
void mfi_names_register(struct mfi_codec *c, lua_State *L, const char *name, int idx);
// Pushes a registered class, or nil. [-0, +1, -]
void mfi_names_class(lua_State *L, const char *name, size_t size);

// The module of C functions that a host has registered, where there are any.
#define MFI_NAMES_HOST "=host"
// The name of the one with this code; NULL: none has it. [-0, +0, v]
const name_entry *mfi_names_of_code(struct mfi_codec *c, lua_State *L, lua_CFunction code);

// Is it a name of Lua's own: in `library` ("string"), or, where that is NULL, among the globals?
int mfi_names_is_standard(const char *library, const char *name);

// Is it one of Lua's own modules, "_G" included?
int mfi_names_is_library(const char *name);

// The libraries whose additions travel: names[0 .. n).
const char *const *mfi_names_libraries(size_t *n);

#endif
