// Numbers of a fixed type in shared memory: what Values and Arrays consist of. Floor 4. Locks
// nothing, sleeps nowhere.
//
// An element is 1, 2, 4 or 8 bytes, aligned to its size, and always read and written whole. On its
// way it is `raw`: its bytes, the other bits of the word zero.
#ifndef MFI_FLOW_NUMBER_H
#define MFI_FLOW_NUMBER_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum mfi_type {
  MFI_I8,
  MFI_U8,
  MFI_I16,
  MFI_U16,
  MFI_I32,
  MFI_U32,
  MFI_I64,
  MFI_U64,
  MFI_F32,
  MFI_F64,
  MFI_BOOL,
  MFI_TYPES
} mfi_type;

extern const uint8_t mfi_type_sizes[MFI_TYPES];
static inline uint32_t mfi_type_size(uint32_t type) { return mfi_type_sizes[type]; }
static inline bool mfi_type_is_integer(uint32_t type) { return type <= MFI_U64; }

const char *mfi_type_name(uint32_t type);     // "f64"
const char *mfi_type_expected(uint32_t type); // "integer from -128 to 127"
char mfi_type_letter(uint32_t type);          // 'd'
// A name or letter: "f64", "d". MFI_TYPES: there is no such type.
mfi_type mfi_type_of(const char *name);

// A number before it becomes an element, or after.
typedef struct mfi_number {
  enum { MFI_INTEGER, MFI_REAL, MFI_TRUTH } kind;
  union {
    int64_t integer;
    double real;
    bool truth;
  } as;
} mfi_number;

// False: the number does not fit the type. Integer types take reals with an integer value, f32 and
// f64 all numbers, rounded to the nearest; what is finite and too large for f32 does not fit. u64
// is 0 .. INT64_MAX. A truth fits bool alone, and nothing else fits that.
bool mfi_number_to(uint32_t type, mfi_number n, uint64_t *raw);
// False: a u64 above INT64_MAX, which C wrote.
bool mfi_number_from(uint32_t type, uint64_t raw, mfi_number *n);

uint64_t mfi_element_load(const void *p, uint32_t size); // relaxed
void mfi_element_store(void *p, uint32_t size, uint64_t raw);

// n elements that are all `raw`.
void mfi_element_fill(void *p, uint32_t size, uint64_t n, uint64_t raw);

// What follows is atomic and in one order for all workers (sequentially consistent).
uint64_t mfi_element_get(const void *p, uint32_t size);
uint64_t mfi_element_swap(void *p, uint32_t size, uint64_t raw); // the value before
// Puts `raw` where the element equals `old`: as numbers, so -0.0 is 0.0 and NaN equals nothing.
bool mfi_element_cas(void *p, uint32_t type, uint64_t old, uint64_t raw);
// Adds n, *raw is the sum. False: the sum does not fit, and the element is as it was. Of integer
// types n is an integer of any size and sign; bool has no sums.
bool mfi_element_add(void *p, uint32_t type, mfi_number n, uint64_t *raw);

#endif
