// Units of 64 KiB: runs for large blocks, spans for small ones. Floor 2; part of the heap.
// A table entry: 0 free or covered; span: class + 1 in the top byte, length 1; run: 0xff in the top
// byte.
#ifndef MFI_MEM_UNITS_H
#define MFI_MEM_UNITS_H

#include "mem/heap.h"
#include "mem/slot.h"

// A unit for a class, named in the caller's slot->hand_unit until it is the class's. *generation:
// of its blocks, later than that of any block that was there before. 0: no memory.
mfi_ref mfi_units_take_span(mfi_self *self, unsigned size_class, uint32_t *generation);
void mfi_units_give_span(mfi_self *self, mfi_slot *dead);

// The ith unit if it is a span of this class, else 0; i below heap->top.
mfi_ref mfi_units_span(mfi_self *self, uint64_t i, unsigned size_class);
// Under the class's lock: a span none of whose blocks is live or in a list is a free unit again.
typedef struct mfi_span {
  mfi_ref at;
  uint64_t blocks;  // that were cut from it
  uint32_t latest;  // of their generations
  bool is_cut_from; // more are
} mfi_span;
void mfi_units_end_span(mfi_self *self, mfi_class *c, const mfi_span *s);

// A run for one block, in the caller's hand; *used: how many of the bytes were ever used before,
// all of them its first. 0: no memory.
mfi_ref mfi_units_alloc(mfi_self *self, uint64_t bytes, mfi_block_kind kind, uint64_t *used);
// Ends a run; its block is the top of the caller's hand.
void mfi_units_free(mfi_self *self, mfi_ref block);

// Start of the run or span around ref and its table entry; 0: none.
uint64_t mfi_units_run_of(mfi_self *self, mfi_ref ref, uint32_t *entry);
unsigned mfi_units_class(uint32_t entry); // MFI_CLASSES: a run

#endif
