// What workers print, on its way to the host's sinks. Floor 6.
#ifndef MFI_API_REPORTS_H
#define MFI_API_REPORTS_H

#include "api/runtime.h"

// mfi_exec_host.print: by a worker, under the stream's lock.
void mfi_report_output(void *self, int stream, const char *data, size_t size);

#endif
