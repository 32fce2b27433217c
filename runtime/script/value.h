// Messages as plain data, for hosts without a Lua state: mf_value to bytes and back.
//
// Floor 5 (script). Locks nothing, sleeps nowhere, never calls Lua. The bytes are the codec's
// (format.h); what C has no kind for is read as MF_OTHER and cannot be written.
#ifndef MFI_SCRIPT_VALUE_H
#define MFI_SCRIPT_VALUE_H

#include "base/status.h"
#include "moonfleet.h"
#include "script/codec.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mfi_value_hooks {
  void *ud;
  // The handle of a queue or array in a value to be written: MFI_OK, MFI_CLOSED ...
  mfi_status (*handle_of)(void *ud, const mf_value *v, uint64_t *handle);
  // Makes *v (MF_QUEUE or MF_ARRAY with a handle of its own, or MF_OTHER) of a handle that was
  // read.
  mfi_status (*open)(void *ud, uint64_t handle, mf_value *v);
  // Lets go what `open` made. Called by mfi_values_free, which may be long after.
  void (*close)(mf_value *v);
  uint64_t process; // as in mfi_codec_hooks
} mfi_value_hooks;

// ---- Writing

// A message in memory of its own. Begins zeroed; the same one can serve for many messages.
typedef struct mfi_value_bytes {
  uint8_t *bytes;
  size_t size, room;
  uint64_t *refs;
  size_t nrefs, refs_room;
  uint32_t flags; // MFI_MESSAGE_*
  char why[200];  // after MFI_NOT_SENDABLE, MFI_INVALID: "cannot send a lock (at value[2].x)"
} mfi_value_bytes;

// Writes n values; `root` begins the paths: "value", "args".
// MFI_OK | MFI_NOT_SENDABLE (why) | MFI_INVALID (a key is nil or NaN, an unknown kind, no data) |
// MFI_NOMEM | what handle_of answers.
mfi_status mfi_values_write(const mf_value *values, size_t n, const char *root,
                            const mfi_value_hooks *hooks, mfi_value_bytes *to);
void mfi_value_bytes_fini(mfi_value_bytes *b);

// ---- Reading

// Values with all that is in them, in memory of their own.
typedef struct mfi_values mfi_values;

// Reads a message. MFI_OK: *out is the caller's, freed with mfi_values_free. MFI_DECODE: the bytes
// are no message. MFI_NOMEM, what `open` answers.
mfi_status mfi_values_read(const mfi_message *m, const mfi_value_hooks *hooks, mfi_values **out);
size_t mfi_values_count(const mfi_values *v);
const mf_value *mfi_values_at(const mfi_values *v, size_t i); // NULL where there is none
void mfi_values_free(mfi_values *v);                          // NULL is allowed

#endif
