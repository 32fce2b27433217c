// Connections: the two ends of a pipe. Floor 4.
//
//   a.tx --> | queue | --> b.rx        b.tx --> | queue | --> a.rx  (duplex only)
//
// An end holds references to its queues, so that both live as long as either end. The last
// reference to an end closes both of its queues: the other end's gets drain, then it is closed,
// and its puts find it closed. What nobody can receive any more is dropped at once.
//
// An end that has been sent into its own rx can be received from there by itself alone. When all
// references to it lie there it is at its end: who dropped the last other one takes them out.
// Longer circles, of pipes and queues sent through each other, live until the runtime ends.
#ifndef MFI_FLOW_CONNECTION_H
#define MFI_FLOW_CONNECTION_H

#include "flow/queue.h"

// Body of MFI_KIND_CONNECTION. All but `tangled` is set once.
typedef struct mfi_connection {
  mfi_handle rx, tx; // references to queues; 0: it does not receive, does not send
  mfi_handle other;  // the other end, which may be gone
  uint32_t tangled;  // it has been sent into its own rx; atomic
} mfi_connection;

static inline mfi_connection *mfi_connection_of(mfi_object *o) {
  return (mfi_connection *)(void *)o->body;
}

typedef struct mfi_end {
  mfi_handle handle;
  uint32_t place;
} mfi_end;

// Two new ends in the caller's handle table; without duplex the first one receives, the second one
// sends. MFI_OK, MFI_NOMEM.
mfi_status mfi_pipe_make(mfi_self *self, bool duplex, mfi_end ends[2]);

// The queue to receive from, to send to; NULL: it is no such end.
mfi_object *mfi_connection_rx(mfi_self *self, mfi_object *o);
mfi_object *mfi_connection_tx(mfi_self *self, mfi_object *o);

// Never waits. MFI_OK; MFI_CLOSED: nobody can receive it; MFI_NOMEM; MFI_DECODE: an object in it is
// gone.
mfi_status mfi_connection_send(mfi_self *self, mfi_object *o, const mfi_source *src);

extern const mfi_object_ops mfi_connection_ops;

#endif
