// Values of the public header: queues and arrays in them, and whose memory they are. Floor 6.
#ifndef MFI_API_VALUE_H
#define MFI_API_VALUE_H

#include "api/runtime.h"
#include "script/value.h"

mfi_value_hooks mfi_value_hooks_of(mf_runtime *rt);

// One handle more on a queue: NULL without memory, or when it is gone.
mf_queue *mfi_queue_handle(mf_runtime *rt, mfi_handle h);
mf_array *mfi_array_handle(mf_runtime *rt, mfi_handle h); // the same of an array

// Makes the first of the values that of the caller, who ends it with mf_value_free.
mf_status mfi_value_give(mf_runtime *rt, mfi_values *values, mf_value *out);

#endif
