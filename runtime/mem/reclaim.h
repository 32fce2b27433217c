// Giving up spans whose blocks are all free, when memory is used up. Floor 2; part of the heap.
#ifndef MFI_MEM_RECLAIM_H
#define MFI_MEM_RECLAIM_H

#include "mem/heap.h"

// True: there are free units that were a class's before. Rare: it looks at every span of the
// classes that have free blocks; when it has found nothing, it does not look again at once.
bool mfi_heap_reclaim(mfi_self *self);

#endif
