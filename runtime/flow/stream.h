// Turns at the output streams: one writer at a time among all workers. Floor 4.
// Owners are slot ids; burial hands a dead writer's turn on and notes that its line may be torn.
#ifndef MFI_FLOW_STREAM_H
#define MFI_FLOW_STREAM_H

#include "sync/event.h"

// stream: 0 stdout, 1 stderr. MFI_OK: clean; MFI_FULL: taken, and somebody else left a line
// unfinished; MFI_INTERRUPTED: the caller is to stop, not taken.
mfi_status mfi_stream_take(mfi_self *self, int stream);
void mfi_stream_give(mfi_self *self, int stream, bool unfinished);
void mfi_stream_bury(mfi_self *self, uint32_t dead_slot);

#endif
