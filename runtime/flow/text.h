// Text for people about shared objects, made from the region alone. Floor 4. Locks nothing, sleeps
// nowhere: what changes meanwhile may be shown half old, half new.
#ifndef MFI_FLOW_TEXT_H
#define MFI_FLOW_TEXT_H

#include "mem/region.h"

// In the manner of snprintf: `used` counts also what did not fit, the text ends in zero.
typedef struct mfi_text {
  char *at;
  size_t size, used;
} mfi_text;

__attribute__((format(printf, 2, 3))) void mfi_text_add(mfi_text *t, const char *format, ...);

// The object as tostring shows it: "Queue(#3, 2/10)", "Lock(#1, held)".
void mfi_text_add_object(mfi_text *t, mfi_self *self, mfi_handle h);
// What a batch runs: "map (a.lua:3)".
void mfi_text_add_batch(mfi_text *t, mfi_self *self, mfi_handle batch);
// What a worker's slot runs: "submit (a.lua:3)"; nothing where that is gone. Did it add something?
bool mfi_text_add_label(mfi_text *t, mfi_self *self, mfi_ref job);

#endif
