// Pools that run their tasks inside the submit. Floor 6.
#ifndef MFI_API_SERIAL_H
#define MFI_API_SERIAL_H

#include "api/runtime.h"

// Runs what is queued in a serial pool, here and now; one thread at a time, which may submit again.
void mfi_serial_run(mf_runtime *rt, mfi_object *core);
void mfi_serial_open(mf_runtime *rt);
void mfi_serial_close(mf_runtime *rt);

#endif
