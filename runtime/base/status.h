// How calls and tasks end, for the floors that do not see moonfleet.h. Floor 0.
// The numbers are those of mf_status; runtime/api checks that they stay equal.
#ifndef MFI_BASE_STATUS_H
#define MFI_BASE_STATUS_H

typedef enum mfi_status {
  MFI_OK = 0,
  MFI_QUEUED = 1,
  MFI_RUNNING = 2,
  MFI_TIMEDOUT = 3,
  MFI_EMPTY = 4,
  MFI_FULL = 5,
  MFI_INTERRUPTED = 6,
  MFI_CLOSED = 10,
  MFI_FAILED = 20,
  MFI_WORKER_DIED = 21,
  MFI_TASK_TIMEOUT = 22,
  MFI_MEMORY_LIMIT = 23,
  MFI_CANCELLED = 24,
  MFI_TERMINATED = 25,
  MFI_INITIALIZER = 26,
  MFI_NOT_SENDABLE = 27,
  MFI_DECODE = 28,
  MFI_DEADLOCK = 29,
  MFI_INVALID = 40,
  MFI_TYPE = 41,
  MFI_TOO_BIG = 42,
  MFI_NOMEM = 43,
  MFI_SYSTEM = 44
} mfi_status;

#endif
