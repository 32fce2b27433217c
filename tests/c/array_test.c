// Numbers of a fixed type, Values and Arrays, without Lua.
#include "flow/array.h"
#include "mem/heap.h"
#include "world.h"

#include <math.h>
#include <sys/stat.h>

static mfi_self main_self;

static mfi_number integer(int64_t i) { return (mfi_number){.kind = MFI_INTEGER, .as.integer = i}; }
static mfi_number real(double d) { return (mfi_number){.kind = MFI_REAL, .as.real = d}; }

// ---- Numbers

static void knows_types_by_name_and_letter(void) {
  static const char letters[] = "bBhHiIqQfd?";
  for (uint32_t t = 0; t < MFI_TYPES; t++) {
    char letter[2] = {letters[t], '\0'};
    CHECK_EQ(mfi_type_of(letter), t);
    CHECK_EQ(mfi_type_of(mfi_type_name(t)), t);
    CHECK_EQ(mfi_type_letter(t), letters[t]);
  }
  CHECK_EQ(mfi_type_of("l"), MFI_I64);
  CHECK_EQ(mfi_type_of("L"), MFI_U64);
  CHECK_EQ(mfi_type_of(""), MFI_TYPES);
  CHECK_EQ(mfi_type_of("bB"), MFI_TYPES);
  CHECK_EQ(mfi_type_of("f65"), MFI_TYPES);
}

static bool round_trips(uint32_t type, int64_t i) {
  uint64_t raw;
  mfi_number back;
  if (!mfi_number_to(type, integer(i), &raw) || !mfi_number_from(type, raw, &back))
    return false;
  CHECK(mfi_type_size(type) == 8 || raw >> (8 * mfi_type_size(type)) == 0);
  return back.kind == MFI_INTEGER && back.as.integer == i;
}

static void takes_integers_that_fit_and_no_others(void) {
  static const int64_t most[] = {INT8_MAX,  UINT8_MAX,  INT16_MAX, UINT16_MAX,
                                 INT32_MAX, UINT32_MAX, INT64_MAX, INT64_MAX};
  for (uint32_t t = MFI_I8; t <= MFI_U64; t++) {
    int64_t least = t % 2 == 0 ? -most[t] - 1 : 0;
    CHECK(round_trips(t, least) && round_trips(t, most[t]) && round_trips(t, 1));
    CHECK(most[t] == INT64_MAX || !round_trips(t, most[t] + 1));
    CHECK(least == INT64_MIN || !round_trips(t, least - 1));
    uint64_t raw;
    CHECK(mfi_number_to(t, real(5.0), &raw) && raw == 5);
    CHECK(!mfi_number_to(t, real(5.5), &raw));
    CHECK(!mfi_number_to(t, real(0x1p63), &raw));
    CHECK(!mfi_number_to(t, real((double)NAN), &raw));
    CHECK(!mfi_number_to(t, real(-(double)INFINITY), &raw));
  }
}

static void rounds_to_f32_what_is_not_too_large(void) {
  static const double too_large = 0x1.ffffffp127; // rounds to 2^128
  uint64_t raw;
  mfi_number back;
  CHECK(!mfi_number_to(MFI_F32, real(too_large), &raw));
  CHECK(!mfi_number_to(MFI_F32, real(-1e300), &raw));
  CHECK(mfi_number_to(MFI_F32, real(nextafter(too_large, 0)), &raw));
  CHECK(mfi_number_from(MFI_F32, raw, &back) && back.as.real == 0x1.fffffep127);
  CHECK(mfi_number_to(MFI_F32, real((double)INFINITY), &raw));
  CHECK(mfi_number_to(MFI_F32, integer(INT64_MAX), &raw));
  CHECK(mfi_number_to(MFI_F64, real(1e300), &raw));
  CHECK(!mfi_number_to(MFI_BOOL, integer(1), &raw));
  CHECK(!mfi_number_from(MFI_U64, UINT64_MAX, &back));
}

static void fills_ranges_of_every_length(void) {
  static unsigned char bytes[70000];
  for (uint32_t t = 0; t < MFI_TYPES; t++) {
    uint32_t size = mfi_type_size(t);
    for (uint64_t n = 0; n < 8000; n = n * 2 + 1) {
      memset(bytes, 0, sizeof bytes);
      mfi_element_fill(bytes, size, n, UINT64_MAX >> (64 - 8 * size));
      CHECK(n == 0 || (bytes[0] == 255 && bytes[n * size - 1] == 255));
      CHECK_EQ(bytes[n * size], 0);
    }
  }
}

// ---- Memory

static bool is_zero(const char *p, size_t n) {
  return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

// A block of `size` bytes that were used, freed, and asked for with `more`.
static void check_zeroed(mfi_self *self, size_t size, size_t more) {
  mfi_ref ref = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES);
  CHECK(ref != 0);
  memset(mfi_payload(mfi_at(self, ref)), 1, size);
  mfi_heap_free(self, ref);
  ref = mfi_heap_alloc_zeroed(self, more, MFI_BLOCK_BYTES);
  CHECK(ref != 0 && is_zero(mfi_payload(mfi_at(self, ref)), more));
  mfi_heap_free(self, ref);
}

static void gives_zeroed_memory_used_or_fresh(void) {
  mfi_self self;
  world_open(&self, 64 << 20);
  for (size_t size = 1; size < 1 << 22; size = size * 3 + 1) {
    check_zeroed(&self, size, size);
    check_zeroed(&self, size, size / 2);
    check_zeroed(&self, size, size * 2); // a run that begins used and ends fresh
  }
  CHECK_EQ(mfi_heap_live(&self), 0);
  mfi_region_close(&self);
}

static uint64_t pages_of(const mfi_self *self) {
  struct stat st;
  CHECK_EQ(fstat(self->fd, &st), 0);
  return (uint64_t)st.st_blocks;
}

// Of a large block that was used here and there, only what was used is touched again.
static void zeroes_no_more_than_was_touched(void) {
  const size_t size = 24 << 20;
  for (size_t step = 4096; step <= size; step = step * 7 + 13) {
    mfi_self self;
    world_open(&self, 64 << 20);
    mfi_ref ref = mfi_heap_alloc(&self, size, MFI_BLOCK_BYTES);
    char *p = mfi_payload(mfi_at(&self, ref));
    for (size_t at = 0; at < size; at += step)
      p[at] = 1;
    p[size - 1] = 1;
    mfi_heap_free(&self, ref);
    uint64_t pages = pages_of(&self);
    CHECK_EQ(mfi_heap_alloc_zeroed(&self, size, MFI_BLOCK_BYTES), ref);
    CHECK_EQ(pages_of(&self), pages);
    CHECK(is_zero(p, size));
    mfi_region_close(&self);
  }
}

static mfi_shape flat(uint32_t type, uint64_t n) {
  return (mfi_shape){.count = n, .type = type, .dims = 1, .size = {n}};
}

static void leaves_nothing_where_there_is_no_memory(void) {
  mfi_self self;
  uint32_t place[4096], n = 0, most = 4096;
  mfi_shape s = flat(MFI_F64, 5000), huge = flat(MFI_F64, UINT64_MAX / 4);
  world_open(&self, 4 << 20);
  CHECK_EQ(mfi_array_make(&self, &huge, true, place), 0);
  while (n < most && mfi_array_make(&self, &s, true, &place[n]) != 0)
    n++;
  CHECK(n > 10 && n < most);
  s = flat(MFI_I8, 1); // until objects or handles have no room
  while (n < most && mfi_array_make(&self, &s, true, &place[n]) != 0)
    n++;
  CHECK_EQ(mfi_objects_live(&self), n);
  CHECK_EQ(mfi_heap_live(&self), n + 1); // and the handle table
  while (n > 0)
    mfi_handle_drop(&self, place[--n]);
  CHECK_EQ(mfi_objects_live(&self), 0);
  CHECK_EQ(mfi_heap_live(&self), 1);
  mfi_region_close(&self);
}

static void keeps_memory_for_the_last_view(void) {
  mfi_self *self = &main_self;
  uint32_t place, inner_place, outer_place, other_place;
  mfi_cell_make(self, MFI_I8, 0, &other_place); // the handle table is there
  uint64_t blocks = mfi_heap_live(self), objects = mfi_objects_live(self);
  mfi_shape s = flat(MFI_U16, 10), part = flat(MFI_U16, 4), one = flat(MFI_U16, 1);
  mfi_object *o = mfi_object_of(self, mfi_array_make(self, &s, true, &place));
  uint16_t *elements = mfi_at(self, mfi_array_of(o)->first);
  elements[5] = 77;
  mfi_object *outer = mfi_object_of(self, mfi_array_view(self, o, 2, &part, &outer_place));
  mfi_object *inner = mfi_object_of(self, mfi_array_view(self, outer, 3, &one, &inner_place));
  mfi_handle lock = mfi_numbers_lock(self, inner);
  CHECK_EQ(lock, mfi_numbers_lock(self, o));
  mfi_handle_drop(self, place);
  mfi_handle_drop(self, outer_place);
  CHECK_EQ(mfi_objects_live(self), objects + 3);
  CHECK_EQ(*(uint16_t *)mfi_at(self, mfi_array_of(inner)->first), 77);
  CHECK_EQ(mfi_numbers_lock(self, inner), lock);
  mfi_handle_drop(self, inner_place);
  CHECK_EQ(mfi_objects_live(self), objects);
  CHECK_EQ(mfi_heap_live(self), blocks);
  CHECK_EQ(mfi_handle_kind(self, lock), MFI_KIND_FREE);
  mfi_handle_drop(self, other_place);
}

static void multiplies_sizes_without_overflow(void) {
  mfi_shape s = {.dims = 3, .size = {20, 30, 40}};
  CHECK(mfi_shape_multiply(&s) && s.count == 24000);
  s.size[2] = UINT64_MAX / 500;
  CHECK(!mfi_shape_multiply(&s));
}

// ---- At once

#define EACH 20000

static void add_ones(mfi_self *self, void *arg) {
  mfi_cell *c = arg;
  uint64_t raw;
  MFI_UNUSED(self);
  for (int i = 0; i < EACH; i++)
    if (!mfi_element_add(&c->element, c->type, integer(i % 2 == 0 ? 3 : -2), &raw))
      FAIL("no sum");
}

static void adds_exactly_from_threads_and_processes(void) {
  static const uint32_t types[] = {MFI_I32, MFI_U32, MFI_I64, MFI_U64, MFI_F32, MFI_F64};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    worker w[4];
    uint32_t place;
    uint64_t raw;
    mfi_number sum;
    mfi_number_to(types[t], integer(10), &raw);
    mfi_handle h = mfi_cell_make(&main_self, types[t], raw, &place);
    mfi_cell *c = mfi_cell_of(mfi_object_of(&main_self, h));
    for (int i = 0; i < 4; i++)
      worker_start(&main_self, &w[i], i % 2 == 0, add_ones, c);
    for (int i = 0; i < 4; i++)
      CHECK_EQ(worker_join(&main_self, &w[i]), 0);
    CHECK(mfi_number_from(types[t], mfi_element_get(&c->element, mfi_type_size(types[t])), &sum));
    CHECK(sum.kind == MFI_REAL ? sum.as.real == 10 + 2 * EACH : sum.as.integer == 10 + 2 * EACH);
    mfi_handle_drop(&main_self, place);
  }
}

static void add_by_swaps(mfi_self *self, void *arg) {
  mfi_cell *c = arg;
  MFI_UNUSED(self);
  for (int i = 0; i < EACH; i++)
    for (uint64_t old = 0; !mfi_element_cas(&c->element, c->type, old, (old + 1) & 255);)
      old = mfi_element_get(&c->element, 1);
}

static void swaps_for_one_at_a_time(void) {
  worker w[2];
  uint32_t place;
  mfi_handle h = mfi_cell_make(&main_self, MFI_U8, 0, &place);
  mfi_cell *c = mfi_cell_of(mfi_object_of(&main_self, h));
  for (int i = 0; i < 2; i++)
    worker_start(&main_self, &w[i], i == 0, add_by_swaps, c);
  for (int i = 0; i < 2; i++)
    CHECK_EQ(worker_join(&main_self, &w[i]), 0);
  CHECK_EQ(mfi_element_swap(&c->element, 1, 9), 2 * EACH % 256);
  CHECK_EQ(mfi_element_get(&c->element, 1), 9);
  mfi_handle_drop(&main_self, place);
}

int main(void) {
  world_open(&main_self, (size_t)256 << 20);
  RUN(knows_types_by_name_and_letter);
  RUN(takes_integers_that_fit_and_no_others);
  RUN(rounds_to_f32_what_is_not_too_large);
  RUN(fills_ranges_of_every_length);
  RUN(gives_zeroed_memory_used_or_fresh);
  RUN(zeroes_no_more_than_was_touched);
  RUN(leaves_nothing_where_there_is_no_memory);
  RUN(keeps_memory_for_the_last_view);
  RUN(multiplies_sizes_without_overflow);
  RUN(adds_exactly_from_threads_and_processes);
  RUN(swaps_for_one_at_a_time);
  mfi_region_close(&main_self);
  return check_done();
}
