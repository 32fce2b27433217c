// A part of the region that grows. Floor 2.
#ifndef MFI_MEM_PART_H
#define MFI_MEM_PART_H

#include <stdint.h>

// A part that grows: [0, backed) bytes of it are real memory.
typedef struct mfi_part {
  uint64_t at;     // offset; set once
  uint64_t size;   // most bytes; set once
  uint64_t backed; // under the part's lock; grows
} mfi_part;

#endif
