// What workers print and what the runtime notes, on its way to the host: a queue in the region, in
// which all of it keeps its order. Floor 6.
#ifndef MFI_API_REPORT_H
#define MFI_API_REPORT_H

#include "api/runtime.h"

typedef struct mfi_report {
  char name[MFI_NAME_SIZE]; // of the worker that printed
  int32_t stream;           // 0: a note
  int32_t level;            // of a note
  uint64_t size;            // of the text that follows; a zero stands behind it
} mfi_report;

// False: no shared memory.
bool mfi_report_open(mf_runtime *rt, const mf_config *c);

// mfi_exec_host.print: by a worker, under the stream's lock.
void mfi_report_print(void *self, int stream, const char *data, size_t size);
// mfi_runtime_up.log: by any slot of any process of the runtime.
bool mfi_report_log(mfi_self *self, mfi_level level, const char *text, size_t size);

// The host's side. The oldest one, in memory of malloc's; NULL: none. Under the mutex.
mfi_report *mfi_report_take(mf_runtime *rt);
bool mfi_report_is_due(const mf_runtime *rt);
// Calls on_output or on_log. Without the mutex.
void mfi_report_give(mf_runtime *rt, const mfi_report *r);

#endif
