// Text for people about shared objects, made from the region alone. Floor 4. Sleeps nowhere; locks
// what counts references. What changes meanwhile may be shown half old, half new.
#ifndef MFI_FLOW_TEXT_H
#define MFI_FLOW_TEXT_H

#include "flow/job.h"

// In the manner of snprintf: `used` counts also what did not fit, the text ends in zero.
typedef struct mfi_text {
  char *at;
  size_t size, used;
} mfi_text;

__attribute__((format(printf, 2, 3))) void mfi_text_add(mfi_text *t, const char *format, ...);
// A zero-ended text that lies in shared memory.
void mfi_text_add_shared(mfi_text *t, const char *shared, size_t size);

// The object as tostring shows it: "Queue(#3, 2/10)", "Lock(#1, held)". The caller has a reference.
void mfi_text_add_object(mfi_text *t, mfi_self *self, mfi_handle h);
// What a batch runs: "map (a.lua:3)". The caller has a reference.
void mfi_text_add_batch(mfi_text *t, mfi_self *self, mfi_handle batch);
// A job's label, "submit (a.lua:3)". False: it is gone, nothing was added.
bool mfi_text_add_label(mfi_text *t, mfi_self *self, mfi_ref job);

// How a worker died: "was killed by SIGKILL", "ended by os.exit(3)".
#define MFI_DEATH_TEXT 64
const char *mfi_death_text(const mfi_death *d, char room[MFI_DEATH_TEXT]);

#endif
