// The get side of queues, for queue.c. Floor 4.
#ifndef MFI_FLOW_QUEUE_GET_H
#define MFI_FLOW_QUEUE_GET_H

#include "flow/queue.h"

// Ends all messages and rings of a queue that nobody uses any more. May be repeated.
void mfi_queue_drain(mfi_self *self, mfi_object *o);

// Where all `refs` references to h lie in messages of this queue: takes all its messages, those
// that are blocks into the caller's hand.
void mfi_queue_pull_last(mfi_self *self, mfi_object *o, mfi_handle h, uint32_t refs);

// What a worker that ended had taken is done.
void mfi_queue_abandon(mfi_self *self, mfi_held *entry, uint64_t id);

#endif
