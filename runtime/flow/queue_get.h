// The get side of queues, for queue.c. Floor 4.
#ifndef MFI_FLOW_QUEUE_GET_H
#define MFI_FLOW_QUEUE_GET_H

#include "flow/queue.h"

// Ends all messages and rings of a queue that nobody uses any more. May be repeated.
void mfi_queue_drain(mfi_self *self, mfi_object *o);

// What a worker that ended had taken is done.
void mfi_queue_abandon(mfi_self *self, mfi_held *entry, uint64_t id);

#endif
