// Value and Array. Floor 4; see array.h. Locks: the object's.
#include "flow/array.h"

#include "base/atomic.h"
#include "mem/heap.h"
#include "mem/region.h"

#include <stddef.h>

_Static_assert(sizeof(mfi_array) <= MFI_OBJECT_BODY, "an array fits an object's body");
_Static_assert(offsetof(mfi_array, lock) == offsetof(mfi_cell, lock), "lock_word");

bool mfi_shape_multiply(mfi_shape *s) {
  s->count = 1;
  for (uint32_t i = 0; i < s->dims; i++)
    if (__builtin_mul_overflow(s->count, s->size[i], &s->count))
      return false;
  return true;
}

// ---- Making

// The block goes out of hand into the array in one record: a maker that dies leaves it in one of
// the two, and its burial finds both.
static void link_block(mfi_self *self, mfi_object *o, mfi_ref block) {
  mfi_hand_raise(self, block);
  mfi_lock_take(self, &o->lock);
  mfi_change64(self, &o->lock, &mfi_array_of(o)->block, block);
  mfi_hand_out(self, &o->lock, block);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
}

// Once the memory is kept: who guessed the handle before finds an array without elements.
static void set_elements(mfi_array *a, mfi_ref first, const mfi_shape *s) {
  a->first = first;
  keep_program_order();
  a->shape = *s;
}

mfi_handle mfi_array_make(mfi_self *self, const mfi_shape *s, bool zero, uint32_t *place) {
  uint64_t bytes;
  if (__builtin_mul_overflow(s->count, (uint64_t)mfi_type_size(s->type), &bytes))
    return 0;
  mfi_ref block = zero ? mfi_heap_alloc_zeroed(self, bytes, MFI_BLOCK_BYTES)
                       : mfi_heap_alloc(self, bytes, MFI_BLOCK_BYTES);
  if (block == 0)
    return 0;
  mfi_handle h = mfi_object_make(self, MFI_KIND_ARRAY, place);
  if (h == 0) {
    mfi_heap_free(self, block);
    return 0;
  }
  mfi_object *o = mfi_object_of(self, h);
  link_block(self, o, block);
  set_elements(mfi_array_of(o), mfi_ref_of(self, mfi_payload(mfi_at(self, block))), s);
  return h;
}

mfi_handle mfi_array_view(mfi_self *self, mfi_object *o, uint64_t from, const mfi_shape *s,
                          uint32_t *place) {
  mfi_array *of = mfi_array_of(o);
  mfi_handle h = mfi_object_make(self, MFI_KIND_ARRAY, place);
  if (h == 0)
    return 0;
  mfi_array *a = mfi_array_of(mfi_object_of(self, h));
  mfi_handle_hold(self, of->base != 0 ? of->base : mfi_object_handle(self, o), &a->base);
  set_elements(a, of->first + from * mfi_type_size(s->type), s);
  return h;
}

mfi_handle mfi_cell_make(mfi_self *self, uint32_t type, uint64_t raw, uint32_t *place) {
  mfi_handle h = mfi_object_make(self, MFI_KIND_VALUE, place);
  if (h == 0)
    return 0;
  mfi_cell *c = mfi_cell_of(mfi_object_of(self, h));
  c->type = type;
  mfi_element_store(&c->element, mfi_type_size(type), raw);
  return h;
}

// ---- Locks

// Who asks first makes it. The word gets its reference under o->lock, once.
static mfi_handle make_lock(mfi_self *self, mfi_object *o, mfi_handle *word) {
  uint32_t place;
  mfi_handle h = mfi_object_make(self, MFI_KIND_LOCK, &place);
  if (h == 0)
    return 0;
  mfi_lock_take(self, &o->lock);
  if (load_relaxed(word) == 0)
    mfi_handle_hold(self, h, word);
  mfi_lock_give(self, &o->lock);
  mfi_handle_drop(self, place);
  return load_relaxed(word);
}

mfi_handle mfi_numbers_lock(mfi_self *self, mfi_object *o) {
  if (o->kind == MFI_KIND_ARRAY && mfi_array_of(o)->base != 0)
    o = mfi_object_of(self, mfi_array_of(o)->base);
  mfi_handle *word = &mfi_array_of(o)->lock;
  mfi_handle h = load_acquire(word);
  return h != 0 ? h : make_lock(self, o, word);
}

// ---- Ending

static void destroy_array(mfi_self *self, void *body) {
  mfi_array *a = body;
  mfi_ref block = mfi_hand_pull(self, &a->block);
  if (block != 0)
    mfi_heap_free(self, block);
  mfi_handle_unhold(self, &a->base);
  mfi_handle_unhold(self, &a->lock);
}

static void destroy_cell(mfi_self *self, void *body) {
  mfi_handle_unhold(self, &((mfi_cell *)body)->lock);
}

const mfi_object_ops mfi_array_ops = {"Array", destroy_array, NULL, NULL};
const mfi_object_ops mfi_cell_ops = {"Value", destroy_cell, NULL, NULL};
