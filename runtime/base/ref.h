// References inside the region. Floor 0.
#ifndef MFI_BASE_REF_H
#define MFI_BASE_REF_H

#include <stdint.h>

typedef uint64_t mfi_ref;    // offset from the region's start; 0: none
typedef uint64_t mfi_handle; // a counted thing, see mem/object.h; 0: none

#endif
