// What workers do and have done, for people. Floor 4. Read without stopping anybody: each row is
// true of some moment, two rows need not be of the same one.
#ifndef MFI_FLOW_STATS_H
#define MFI_FLOW_STATS_H

#include "flow/worker.h"

typedef struct mfi_worker_stats {
  const char *state; // "starting" "idle" "running" "waiting" "ending"
  uint32_t backend, pid;
  uint64_t tasks, busy_ns;
  char name[MFI_NAME_SIZE];
  char task[96]; // label of its job, or where its target is; empty: none
} mfi_worker_stats;

// The worker in this slot. False: there is none, or it has ended.
bool mfi_stats_worker(mfi_self *self, uint32_t slot, mfi_worker_stats *out);

// Bytes of real memory that the region has taken.
uint64_t mfi_stats_shared(mfi_self *self);

#endif
