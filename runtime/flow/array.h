// Numbers that all workers share: Value and Array. Floor 4. Locks: the object's, for a moment, when
// its Lock is made; elements are read and written without.
//
//   Array --block--> | element | element | ...     its own memory, one block of the heap
//   view  --base---> Array                         an object of its own; shows a part of that block
//
// A view refers to the Array that owns the memory, never to another view, so the block lives as
// long as the Array, any view of it, or a message that holds one of these. Shapes never change.
#ifndef MFI_FLOW_ARRAY_H
#define MFI_FLOW_ARRAY_H

#include "flow/number.h"
#include "mem/object.h"

#define MFI_ARRAY_DIMS 16

// What is known of an array's elements and never changes.
typedef struct mfi_shape {
  uint64_t count; // the product of `size`
  uint32_t type;  // mfi_type
  uint32_t dims;  // 1 .. MFI_ARRAY_DIMS
  uint64_t size[MFI_ARRAY_DIMS];
} mfi_shape;

// Body of MFI_KIND_ARRAY.
typedef struct mfi_array {
  mfi_handle lock; // a reference to its Lock; 0: nobody has asked for it; under o->lock, atomic
  mfi_ref block;   // its memory; 0: a view
  mfi_handle base; // of a view: a reference to the Array that owns the memory; 0: none
  mfi_ref first;   // the first element; set once
  mfi_shape shape; // set once
} mfi_array;

// Body of MFI_KIND_VALUE.
typedef struct mfi_cell {
  mfi_handle lock; // as an array's
  uint32_t type;   // set once
  _Alignas(64) uint64_t element;
} mfi_cell;

static inline mfi_array *mfi_array_of(mfi_object *o) { return (mfi_array *)(void *)o->body; }
static inline mfi_cell *mfi_cell_of(mfi_object *o) { return (mfi_cell *)(void *)o->body; }

// Sets count to the product. False: it does not fit 64 bits.
bool mfi_shape_multiply(mfi_shape *s);

// A new Array. zero: its elements are 0, else whatever was there. 0: no memory.
mfi_handle mfi_array_make(mfi_self *self, const mfi_shape *s, bool zero, uint32_t *place);
// A view of o, an Array or a view, from its element `from` (0 is the first) on, which has them all.
mfi_handle mfi_array_view(mfi_self *self, mfi_object *o, uint64_t from, const mfi_shape *s,
                          uint32_t *place);
// A new Value.
mfi_handle mfi_cell_make(mfi_self *self, uint32_t type, uint64_t raw, uint32_t *place);

// The Lock of a Value or an Array; views have their Array's. It lives as long as these. 0: no
// memory.
mfi_handle mfi_numbers_lock(mfi_self *self, mfi_object *o);

extern const mfi_object_ops mfi_array_ops, mfi_cell_ops;

#endif
