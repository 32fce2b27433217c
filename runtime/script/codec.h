// The codec: Lua values to bytes and back, for every message, argument, result and element.
//
// Floor 5 (script). Locks nothing, sleeps nowhere, knows nothing of the region: it hands out bytes
// and a list of handles, and reads bytes and a list of handles.
//
// The way of a message:
//   sender    mfi_encode         values -> scratch memory of this Lua state; may raise
//             (allocate in the region, mfi_encoded_copy: nothing here raises or calls Lua)
//             mfi_encoded_release
//   receiver  mfi_decode         bytes, wherever they lie -> values on the stack; may raise
//
// What mfi_encode gave is valid until the next mfi_encode* or mfi_encoded_release in this state,
// and only while no Lua code runs and no Lua API function that allocates is called (a finalizer may
// encode, too; the large strings are not copied but pointed at). Who must sleep or run Lua with a
// message in hand calls mfi_encoded_keep first.
#ifndef MFI_SCRIPT_CODEC_H
#define MFI_SCRIPT_CODEC_H

#include <lua.h>

#include <stddef.h>
#include <stdint.h>

typedef struct mfi_codec mfi_codec; // one for each Lua state, owned by its registry

// What the codec asks of the floors above. All may be NULL: there are no Moonfleet objects then.
typedef struct mfi_codec_hooks {
  void *ud; // handed through: mfi_codec_ud
  // Is the userdata at idx a Moonfleet object? Then 1 and its handle. Must not raise or allocate.
  int (*handle_of)(lua_State *L, int idx, uint64_t *handle);
  // Pushes the object of a handle, or raises `closed` or `decode`. May be forged by mf.decode.
  void (*push_object)(lua_State *L, uint64_t handle);
  // Asked when a message names a class that this state has not registered: pushes it and returns 1
  // (it is registered then), or returns 0.
  int (*find_class)(lua_State *L, const char *name);
  // Called before the next message once a class was registered, the class at the top, so that
  // receivers that lack it can find_class it: encodes it with MFI_ENCODE_DEFINE and keeps the bytes
  // where they look. Leaves the stack as it was; may raise.
  void (*publish_class)(lua_State *L, const char *name);
  // Names this process: light userdata that are no module's travel only where the receiver has the
  // same number. 0: they do not travel.
  uint64_t process;
} mfi_codec_hooks;

// Opens the codec in a state (the second time: sets the hooks anew). [-0, +0, m]
// Call it before the user's code changes the standard libraries.
mfi_codec *mfi_codec_open(lua_State *L, const mfi_codec_hooks *hooks);
// The state's codec, NULL before mfi_codec_open. [-0, +0, -]
mfi_codec *mfi_codec_of(lua_State *L);
void *mfi_codec_ud(const mfi_codec *c);

// ---- Encoding

enum {
  MFI_ENCODE_ADDITIONS = 1, // send all additions to standard tables, too (a worker's start)
  MFI_ENCODE_DATA = 2,      // functions, metatables and userdata raise not_sendable (mf.freeze)
  MFI_ENCODE_PORTABLE = 4,  // light userdata that are no module's raise (mf.encode)
  MFI_ENCODE_DEFINE = 8,    // the first value has a name, but is sent by value
};

enum {                       // mfi_encoded.flags; they are the message's first byte as well
  MFI_MESSAGE_REFS = 1,      // has shared references or cycles
  MFI_MESSAGE_FUNCTIONS = 2, // has bytecode or calls: mfi_decode wants MFI_DECODE_FUNCTIONS
  MFI_MESSAGE_POINTERS = 4,  // has light userdata good in the sender's process only
  MFI_MESSAGE_BYTES = 8,     // a string that send_bytes has sent
};

typedef struct mfi_encoded {
  uint64_t size; // bytes in all
  const uint8_t
      *bytes; // all of them where they lie together, NULL when mfi_encoded_copy must gather
  const uint64_t *refs; // handles of the Moonfleet objects in it; one may be there twice
  uint32_t nrefs;
  uint32_t flags;                // MFI_MESSAGE_*
  const struct encoder *encoder; // private from here
  uint32_t piece, npieces;       // large strings, pointed at
  uint32_t ref;                  // its first handle
  size_t at, at_end;             // its part of the scratch memory
} mfi_encoded;

// Encodes the n values from stack index `first`; they stay there. [-0, +0, v]
// Raises not_sendable with its path, memory errors, and what a __transfer raises; then nothing is
// left behind. `roots` begins the paths: parts separated by ';', value i uses part i, the last part
// serves all further values, '#' in it is their number: "value", "args[#]",
// "target;kwargs;args[#]".
void mfi_encode(mfi_codec *c, lua_State *L, int first, int n, const char *roots, unsigned flags,
                mfi_encoded *out);

// Encodes list[1] .. list[n] of the table at idx, raw, each as a message of its own, all before it
// returns: n of them. Valid as mfi_encode says. [-0, +0, v]
const mfi_encoded *mfi_encode_list(mfi_codec *c, lua_State *L, int idx, size_t n, const char *roots,
                                   unsigned flags);

// Writes all m->size bytes to `to`. Never raises, allocates nothing.
void mfi_encoded_copy(const mfi_encoded *m, void *to);

// Makes *m outlive everything: pushes a userdata that owns its bytes (large strings are copied now)
// and mends *m; valid as long as the userdata. [-0, +1, m]
void mfi_encoded_keep(mfi_codec *c, lua_State *L, mfi_encoded *m);

// Lets the message go: large strings may be collected, unusually large scratch memory is freed.
// Forgetting it costs memory until the next call, nothing else. [-0, +0, -]
void mfi_encoded_release(mfi_codec *c, lua_State *L, mfi_encoded *m);

// ---- Decoding

enum {
  MFI_DECODE_FUNCTIONS = 1, // load bytecode, call what __transfer named
  MFI_DECODE_REQUIRE = 2,   // modules not loaded yet are required
  MFI_DECODE_GLOBALS = 4,   // globals and additions that come along are set, present or not;
                            // without this flag: only where they are nil
};
#define MFI_DECODE_WORKER (MFI_DECODE_FUNCTIONS | MFI_DECODE_REQUIRE | MFI_DECODE_GLOBALS)

typedef struct mfi_message {
  const uint8_t *bytes; // read only here; must not change meanwhile
  uint64_t size;
  const uint64_t *refs;
  uint32_t nrefs;
} mfi_message;

// Pushes the message's values, returns how many; the caller has room for one. [-0, +n, v]
// Any bytes whatever either decode or raise `decode` (with MFI_DECODE_FUNCTIONS: as far as their
// bytecode is sound); memory allocated is proportional to the bytes. When it raises no global was
// set, unless a __transfer's function had to run before.
int mfi_decode(mfi_codec *c, lua_State *L, const mfi_message *m, unsigned flags);

// ---- Strings that keep a message: mf.encode, mf.decode

// Pushes a string that holds the n values from `first` on. [-0, +1, v]
// The handles in it are not referenced: they are valid while others hold the objects.
void mfi_codec_freeze(mfi_codec *c, lua_State *L, int first, int n, const char *roots);
// Pushes the values of such a string, returns their number; raises `decode` on all others.
// functions: load bytecode (its checksum is verified first). [-0, +n, v]
int mfi_codec_thaw(mfi_codec *c, lua_State *L, const char *data, size_t size, int functions);

// ---- Classes: mf.register

// Gives the table (or function) at idx a name under which it travels. [-0, +0, m]
void mfi_codec_register(mfi_codec *c, lua_State *L, const char *name, int idx);
// The same for a class that another state has published: it is not published again.
void mfi_codec_adopt(mfi_codec *c, lua_State *L, const char *name, int idx);

#endif
