// Numbers of a fixed type. Floor 4; see number.h.
#include "flow/number.h"

#include "base/assert.h"
#include "base/atomic.h"

#include <float.h>
#include <math.h>
#include <string.h>

const uint8_t mfi_type_sizes[MFI_TYPES] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 1};

static const struct {
  const char *name, *letters, *expected;
  int64_t least, most;
} types[MFI_TYPES] = {
    {"i8", "b", "integer from -128 to 127", INT8_MIN, INT8_MAX},
    {"u8", "B", "integer from 0 to 255", 0, UINT8_MAX},
    {"i16", "h", "integer from -32768 to 32767", INT16_MIN, INT16_MAX},
    {"u16", "H", "integer from 0 to 65535", 0, UINT16_MAX},
    {"i32", "i", "integer from -2147483648 to 2147483647", INT32_MIN, INT32_MAX},
    {"u32", "I", "integer from 0 to 4294967295", 0, UINT32_MAX},
    {"i64", "ql", "integer from math.mininteger to math.maxinteger", INT64_MIN, INT64_MAX},
    {"u64", "QL", "integer from 0 to math.maxinteger", 0, INT64_MAX},
    {"f32", "f", "number from -3.4028234e38 to 3.4028234e38", 0, 0},
    {"f64", "d", "number", 0, 0},
    {"bool", "?", "boolean", 0, 0},
};

const char *mfi_type_name(uint32_t type) { return types[type].name; }
const char *mfi_type_expected(uint32_t type) { return types[type].expected; }
char mfi_type_letter(uint32_t type) { return types[type].letters[0]; }

mfi_type mfi_type_of(const char *name) {
  for (int t = 0; t < MFI_TYPES; t++) {
    bool is_letter = name[0] != '\0' && name[1] == '\0' && strchr(types[t].letters, name[0]);
    if (is_letter || strcmp(types[t].name, name) == 0)
      return (mfi_type)t;
  }
  return MFI_TYPES;
}

// ---- Numbers and elements

static uint64_t raw_of_f32(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

static uint64_t raw_of_f64(double d) {
  uint64_t bits;
  memcpy(&bits, &d, sizeof bits);
  return bits;
}

static float f32_of_raw(uint64_t raw) {
  uint32_t bits = (uint32_t)raw;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static double f64_of_raw(uint64_t raw) {
  double d;
  memcpy(&d, &raw, sizeof d);
  return d;
}

// What is rounded to infinity does not fit; a compiler may do as it likes when it casts that.
static bool real_to(uint32_t type, double d, uint64_t *raw) {
  if (type == MFI_F64) {
    *raw = raw_of_f64(d);
    return true;
  }
  bool beyond = fabs(d) >= (double)FLT_MAX + 0x1p103; // half a step above the largest
  if (beyond && !isinf(d))
    return false;
  *raw = raw_of_f32((float)d);
  return true;
}

static bool integer_of(mfi_number n, int64_t *i) {
  if (n.kind == MFI_INTEGER)
    *i = n.as.integer;
  else if (n.kind == MFI_REAL && n.as.real >= -0x1p63 && n.as.real < 0x1p63 &&
           floor(n.as.real) == n.as.real)
    *i = (int64_t)n.as.real;
  else
    return false;
  return true;
}

static uint64_t raw_of_integer(uint32_t size, int64_t i) {
  return (uint64_t)i & UINT64_MAX >> (64 - 8 * size);
}

bool mfi_number_to(uint32_t type, mfi_number n, uint64_t *raw) {
  int64_t i;
  if ((type == MFI_BOOL) != (n.kind == MFI_TRUTH))
    return false;
  if (type == MFI_BOOL) {
    *raw = n.as.truth;
    return true;
  }
  if (!mfi_type_is_integer(type))
    return real_to(type, n.kind == MFI_REAL ? n.as.real : (double)n.as.integer, raw);
  if (!integer_of(n, &i) || i < types[type].least || i > types[type].most)
    return false;
  *raw = raw_of_integer(mfi_type_size(type), i);
  return true;
}

static int64_t integer_of_raw(uint32_t type, uint64_t raw) {
  switch (type) {
  case MFI_I8:
    return (int8_t)raw;
  case MFI_I16:
    return (int16_t)raw;
  case MFI_I32:
    return (int32_t)raw;
  default:
    return (int64_t)raw;
  }
}

bool mfi_number_from(uint32_t type, uint64_t raw, mfi_number *n) {
  switch (type) {
  case MFI_F32:
    *n = (mfi_number){.kind = MFI_REAL, .as.real = (double)f32_of_raw(raw)};
    return true;
  case MFI_F64:
    *n = (mfi_number){.kind = MFI_REAL, .as.real = f64_of_raw(raw)};
    return true;
  case MFI_BOOL:
    *n = (mfi_number){.kind = MFI_TRUTH, .as.truth = raw != 0};
    return true;
  default:
    *n = (mfi_number){.kind = MFI_INTEGER, .as.integer = integer_of_raw(type, raw)};
    return type != MFI_U64 || raw <= INT64_MAX;
  }
}

// ---- Elements

uint64_t mfi_element_load(const void *p, uint32_t size) {
  switch (size) {
  case 1:
    return load_relaxed((const uint8_t *)p);
  case 2:
    return load_relaxed((const uint16_t *)p);
  case 4:
    return load_relaxed((const uint32_t *)p);
  default:
    return load_relaxed((const uint64_t *)p);
  }
}

void mfi_element_store(void *p, uint32_t size, uint64_t raw) {
  switch (size) {
  case 1:
    store_relaxed((uint8_t *)p, (uint8_t)raw);
    return;
  case 2:
    store_relaxed((uint16_t *)p, (uint16_t)raw);
    return;
  case 4:
    store_relaxed((uint32_t *)p, (uint32_t)raw);
    return;
  default:
    store_relaxed((uint64_t *)p, raw);
  }
}

// The pattern is doubled until it is large enough to be copied fast, and stays in the cache.
void mfi_element_fill(void *p, uint32_t size, uint64_t n, uint64_t raw) {
  uint64_t all = n * size, done = size;
  if (n == 0)
    return;
  memcpy(p, &raw, size);
  while (done < all) {
    uint64_t more = done < 32768 ? done : 32768 / size * size;
    if (more > all - done)
      more = all - done;
    memcpy((char *)p + done, p, more);
    done += more;
  }
}

uint64_t mfi_element_get(const void *p, uint32_t size) {
  switch (size) {
  case 1:
    return load_seqcst((const uint8_t *)p);
  case 2:
    return load_seqcst((const uint16_t *)p);
  case 4:
    return load_seqcst((const uint32_t *)p);
  default:
    return load_seqcst((const uint64_t *)p);
  }
}

uint64_t mfi_element_swap(void *p, uint32_t size, uint64_t raw) {
  switch (size) {
  case 1:
    return exchange_seqcst((uint8_t *)p, (uint8_t)raw);
  case 2:
    return exchange_seqcst((uint16_t *)p, (uint16_t)raw);
  case 4:
    return exchange_seqcst((uint32_t *)p, (uint32_t)raw);
  default:
    return exchange_seqcst((uint64_t *)p, raw);
  }
}

// True: it was *expected and is `raw`; else *expected is what was found.
static bool cas(void *p, uint32_t size, uint64_t *expected, uint64_t raw) {
  uint8_t e8 = (uint8_t)*expected;
  uint16_t e16 = (uint16_t)*expected;
  uint32_t e32 = (uint32_t)*expected;
  bool done;
  switch (size) {
  case 1:
    done = cas_seqcst((uint8_t *)p, &e8, (uint8_t)raw);
    *expected = e8;
    return done;
  case 2:
    done = cas_seqcst((uint16_t *)p, &e16, (uint16_t)raw);
    *expected = e16;
    return done;
  case 4:
    done = cas_seqcst((uint32_t *)p, &e32, (uint32_t)raw);
    *expected = e32;
    return done;
  default:
    return cas_seqcst((uint64_t *)p, expected, raw);
  }
}

static bool are_equal(uint32_t type, uint64_t a, uint64_t b) {
  if (type == MFI_F32)
    return f32_of_raw(a) == f32_of_raw(b);
  if (type == MFI_F64)
    return f64_of_raw(a) == f64_of_raw(b);
  return a == b;
}

bool mfi_element_cas(void *p, uint32_t type, uint64_t old, uint64_t raw) {
  uint64_t found = mfi_element_get(p, mfi_type_size(type));
  while (are_equal(type, found, old))
    if (cas(p, mfi_type_size(type), &found, raw))
      return true;
  return false;
}

static bool sum_integers(uint32_t type, uint64_t found, mfi_number n, uint64_t *sum) {
  int64_t i, more;
  if (!integer_of(n, &more))
    return false;
  if (__builtin_add_overflow(integer_of_raw(type, found), more, &i))
    return false;
  return mfi_number_to(type, (mfi_number){.kind = MFI_INTEGER, .as.integer = i}, sum);
}

static bool sum_of(uint32_t type, uint64_t found, mfi_number n, uint64_t *sum) {
  if (mfi_type_is_integer(type))
    return sum_integers(type, found, n, sum);
  double more = n.kind == MFI_REAL ? n.as.real : (double)n.as.integer;
  if (type == MFI_F64)
    return real_to(type, f64_of_raw(found) + more, sum);
  return real_to(type, (double)f32_of_raw(found) + more, sum);
}

bool mfi_element_add(void *p, uint32_t type, mfi_number n, uint64_t *raw) {
  uint32_t size = mfi_type_size(type);
  mfi_assert(type != MFI_BOOL && n.kind != MFI_TRUTH);
  uint64_t found = mfi_element_get(p, size);
  do {
    if (!sum_of(type, found, n, raw))
      return false;
  } while (!cas(p, size, &found, *raw));
  return true;
}
