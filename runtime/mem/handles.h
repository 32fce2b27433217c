// Handle tables: which references a worker holds. Floor 2; part of the object table.
// One block for each slot that holds any, written by its worker alone, read by its burial.
#ifndef MFI_MEM_HANDLES_H
#define MFI_MEM_HANDLES_H

#include "mem/object.h"
#include "mem/slot.h"

typedef struct mfi_handle_table {
  uint64_t capacity;
  uint64_t free; // first unused entry + 1, linked through aux; of no use to a burial
  mfi_held entry[];
} mfi_handle_table;

mfi_handle_table *mfi_handle_table_of(mfi_self *self, mfi_slot *slot); // NULL: none
void mfi_handle_table_free(mfi_self *self, mfi_slot *dead);

// In a section: the reserved place gets the handle, aux 0.
void mfi_place_changes(mfi_self *self, mfi_lock *lock, uint32_t place, mfi_handle h);
void mfi_place_release(mfi_self *self, uint32_t place);

#endif
