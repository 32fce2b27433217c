// A beacon: one quiet thread of this process, with a slot of its own, that sleeps until somebody
// notes it and then lets its owner look at what has happened. Floor 4.
//
// It makes descriptors readable and wakes threads for events that lie in the region, which no poll
// knows. It runs no Lua and no code of the host's.
#ifndef MFI_FLOW_BEACON_H
#define MFI_FLOW_BEACON_H

#include "flow/runtime.h"

typedef struct mfi_beacon mfi_beacon;

// On the beacon's thread, after each note, and when its last answer has passed: when to look again
// without a note, MFI_NEVER.
typedef mfi_ns mfi_beacon_fn(mfi_self *self, void *ud);

// self: for this call alone. NULL: no slot, no thread, no memory.
mfi_beacon *mfi_beacon_open(mfi_self *self, mfi_beacon_fn *turn, void *ud);
// Ends the thread and waits for that. self: for this call alone.
void mfi_beacon_close(mfi_beacon *b, mfi_self *self);

// Its slot, for watches and notes of others.
uint32_t mfi_beacon_slot(const mfi_beacon *b);
// Has it look. By any thread or process that sees the region, by signal handlers, too: its event is
// its own for ever, so that no lock is needed.
void mfi_beacon_note(mfi_self *self, uint32_t slot);

// A descriptor, not readable yet; -1: none to be had. Lit it is readable until it is put out.
int mfi_beacon_fd(void);
void mfi_beacon_light(int fd);
void mfi_beacon_put_out(int fd);

#endif
