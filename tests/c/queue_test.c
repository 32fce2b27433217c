// Queues between threads and processes: order, bounds, closing, sleeping, large messages, handles.
#include "world.h"

static mfi_self main_self;

static mfi_object *make(uint64_t maxsize, uint64_t max_bytes, uint32_t *place) {
  mfi_handle h = mfi_queue_make(&main_self, maxsize, max_bytes, place);
  CHECK(h != 0);
  return mfi_object_of(&main_self, h);
}

static void leaves_nothing(uint32_t place) {
  mfi_self *self = &main_self;
  mfi_handle_drop(self, place);
  CHECK_EQ(mfi_heap_live(self), self->slot->handles != 0);
  CHECK_EQ(mfi_objects_live(self), 0);
  CHECK_EQ(self->slot->hand, 0);
  CHECK_EQ(self->slot->sleeping_on, 0);
}

static void gives_messages_in_order_whatever_their_size(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  mfi_status st;
  for (uint64_t n = 1; n <= 3000; n++)
    CHECK_EQ(put_number(self, o, n, 8 + n * 7 % 4000, 0), MFI_OK);
  CHECK_EQ(mfi_queue_size(o), 3000);
  for (uint64_t n = 1; n <= 3000; n++)
    CHECK_EQ(get_number(self, o, 0, &st), n);
  CHECK_EQ(mfi_queue_size(o), 0);
  CHECK_EQ(get_number(self, o, 0, &st), 0);
  CHECK_EQ(st, MFI_TIMEDOUT);
  leaves_nothing(place);
}

static void goes_round_its_ring_for_ever(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  mfi_status st;
  CHECK_EQ(put_number(self, o, 1000000, 8, 0), MFI_OK);
  for (uint64_t n = 1; n <= 20000; n++) {
    CHECK_EQ(put_number(self, o, 1000000 + n, 8 + n % 249, 0), MFI_OK);
    CHECK_EQ(get_number(self, o, 0, &st), 1000000 + n - 1);
  }
  CHECK(mfi_heap_live(self) <= 3);
  leaves_nothing(place);
}

static void sends_empty_and_exactly_inline_messages(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  mfi_taken t;
  CHECK_EQ(put_text(self, o, "", 0), MFI_OK);
  for (size_t size = MFI_QUEUE_INLINE - 1; size <= MFI_QUEUE_INLINE + 1; size++)
    CHECK_EQ(put_number(self, o, size, size, 0), MFI_OK);
  CHECK_EQ(mfi_queue_get(self, o, 0, &t), MFI_OK);
  CHECK_EQ(t.size, 0);
  for (size_t size = MFI_QUEUE_INLINE - 1; size <= MFI_QUEUE_INLINE + 1; size++) {
    CHECK_EQ(mfi_queue_get(self, o, 0, &t), MFI_OK);
    CHECK_EQ(t.size, size);
    CHECK_EQ(number_in(t.bytes, t.size), size);
    CHECK_EQ(t.block != 0, size > MFI_QUEUE_INLINE);
    if (t.block != 0)
      mfi_message_free(self, t.block);
  }
  leaves_nothing(place);
}

static void holds_no_more_than_its_size(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(3, 0, &place);
  mfi_status st;
  for (uint64_t n = 1; n <= 3; n++) {
    CHECK(!mfi_queue_is_full(o));
    CHECK_EQ(put_number(self, o, n, 8, 0), MFI_OK);
  }
  CHECK(mfi_queue_is_full(o));
  CHECK_EQ(put_number(self, o, 4, 8, 0), MFI_TIMEDOUT);
  CHECK_EQ(put_number(self, o, 4, 1000, soon(0.01)), MFI_TIMEDOUT);
  CHECK_EQ(get_number(self, o, 0, &st), 1);
  CHECK_EQ(put_number(self, o, 4, 8, 0), MFI_OK);
  CHECK_EQ(mfi_queue_size(o), 3);
  leaves_nothing(place);
}

static void holds_no_more_bytes_than_allowed(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 1000, &place);
  mfi_status st;
  CHECK_EQ(put_number(self, o, 1, 3000, 0), MFI_OK); // a larger one may enter when it is empty
  CHECK_EQ(put_number(self, o, 2, 8, 0), MFI_TIMEDOUT);
  CHECK_EQ(get_number(self, o, 0, &st), 1);
  CHECK_EQ(put_number(self, o, 2, 600, 0), MFI_OK);
  CHECK_EQ(put_number(self, o, 3, 401, 0), MFI_TIMEDOUT);
  CHECK_EQ(put_number(self, o, 3, 400, 0), MFI_OK);
  CHECK(mfi_queue_is_full(o));
  leaves_nothing(place);
}

static void drains_after_closing(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  mfi_status st;
  put_number(self, o, 1, 8, 0);
  mfi_queue_close(self, o);
  mfi_queue_close(self, o);
  CHECK_EQ(put_number(self, o, 2, 8, 0), MFI_CLOSED);
  CHECK_EQ(put_number(self, o, 2, 800, 0), MFI_CLOSED);
  CHECK_EQ(get_number(self, o, MFI_NEVER, &st), 1);
  CHECK_EQ(get_number(self, o, MFI_NEVER, &st), 0);
  CHECK_EQ(st, MFI_CLOSED);
  leaves_nothing(place);
}

static void keeps_alive_what_a_message_names(void) {
  mfi_self *self = &main_self;
  uint32_t place, inner, got;
  mfi_object *o = make(0, 0, &place);
  mfi_handle h = mfi_queue_make(self, 0, 0, &inner);
  mfi_bytes b = {"hello", 5};
  mfi_source src = mfi_source_bytes(&b);
  src.refs = &h;
  src.nrefs = 1;
  CHECK_EQ(mfi_queue_put(self, o, &src, 0), MFI_OK);
  mfi_handle_drop(self, inner);
  mfi_taken t;
  CHECK_EQ(mfi_queue_get(self, o, 0, &t), MFI_OK);
  CHECK(t.nrefs == 1 && t.refs[0] == h && t.size == 5 && memcmp(t.bytes, "hello", 5) == 0);
  CHECK_EQ(mfi_handle_add(self, t.refs[0], &got), MFI_OK);
  mfi_message_free(self, t.block);
  CHECK(mfi_object_of(self, h) != NULL);
  mfi_handle_drop(self, got);
  CHECK(mfi_object_of(self, h) == NULL);
  CHECK_EQ(mfi_queue_put(self, o, &src, 0), MFI_CLOSED);
  CHECK_EQ(mfi_queue_size(o), 0);
  leaves_nothing(place);
}

static mfi_status accept_even(void *ctx, const mfi_taken *message) {
  MFI_UNUSED(ctx);
  return number_in(message->bytes, message->size) % 2 == 0 ? MFI_OK : MFI_TYPE;
}

static void takes_only_what_is_accepted(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  mfi_taken t;
  mfi_status st;
  put_number(self, o, 1, 700, 0);
  put_number(self, o, 2, 7 + 1, 0);
  CHECK_EQ(mfi_queue_get_if(self, o, 0, accept_even, NULL, &t), MFI_TYPE);
  CHECK_EQ(mfi_queue_size(o), 2);
  CHECK_EQ(get_number(self, o, 0, &st), 1);
  CHECK_EQ(mfi_queue_get_if(self, o, 0, accept_even, NULL, &t), MFI_OK);
  CHECK_EQ(number_in(t.bytes, t.size), 2);
  leaves_nothing(place);
}

// ---- Many at once

static size_t pack_numbers(char *to, uint64_t from, uint32_t n) {
  size_t used = 0;
  for (uint64_t i = from; i < from + n; i++) {
    size_t size = 8 + i % 100;
    char *p = mfi_queue_pack(to + used, size);
    memset(p, (int)(i % 251), size);
    memcpy(p, &i, 8);
    used += mfi_queue_packed_size(size);
  }
  return used;
}

static void moves_many_at_once(void) {
  mfi_self *self = &main_self;
  static char packed[64000], got[3000];
  uint32_t place, done;
  size_t used;
  mfi_object *o = make(0, 0, &place);
  pack_numbers(packed, 1, 500);
  CHECK_EQ(mfi_queue_put_packed(self, o, packed, 500, 0, &done, &used), MFI_OK);
  CHECK_EQ(done, 500);
  CHECK_EQ(mfi_queue_size(o), 500);
  uint64_t next = 1;
  while (next <= 500) {
    uint32_t n = mfi_queue_get_packed(self, o, got, sizeof got, 40, &used);
    const char *at = got;
    CHECK(n > 0 && n <= 40);
    if (n == 0)
      break;
    for (uint32_t i = 0; i < n; i++) {
      size_t size;
      const void *p = mfi_queue_unpack(&at, &size);
      CHECK_EQ(number_in(p, size), next++);
    }
    CHECK_EQ(at - got, used);
  }
  CHECK_EQ(mfi_queue_get_packed(self, o, got, sizeof got, 40, &used), 0);
  leaves_nothing(place);
}

static void puts_as_many_as_fit(void) {
  mfi_self *self = &main_self;
  static char packed[4000];
  uint32_t place, done;
  size_t used;
  mfi_object *o = make(7, 0, &place);
  mfi_status st;
  pack_numbers(packed, 1, 20);
  CHECK_EQ(mfi_queue_put_packed(self, o, packed, 20, 0, &done, &used), MFI_OK);
  CHECK_EQ(done, 7);
  CHECK_EQ(mfi_queue_size(o), 7);
  CHECK_EQ(mfi_queue_put_packed(self, o, packed + used, 13, 0, &done, &used), MFI_TIMEDOUT);
  CHECK_EQ(done, 0);
  for (uint64_t n = 1; n <= 7; n++)
    CHECK_EQ(get_number(self, o, 0, &st), n);
  leaves_nothing(place);
}

static void leaves_a_large_message_to_a_single_get(void) {
  mfi_self *self = &main_self;
  char got[1000];
  uint32_t place;
  size_t used;
  mfi_status st;
  mfi_object *o = make(0, 0, &place);
  put_number(self, o, 1, 8, 0);
  put_number(self, o, 2, 3000, 0);
  put_number(self, o, 3, 8, 0);
  CHECK_EQ(mfi_queue_get_packed(self, o, got, sizeof got, 10, &used), 1);
  CHECK_EQ(mfi_queue_get_packed(self, o, got, sizeof got, 10, &used), 0);
  CHECK_EQ(get_number(self, o, 0, &st), 2);
  CHECK_EQ(mfi_queue_get_packed(self, o, got, sizeof got, 10, &used), 1);
  leaves_nothing(place);
}

static void reports_a_full_region_with_no_effect(void) {
  mfi_self self;
  uint32_t place;
  mfi_status st = MFI_OK;
  world_open(&self, 1 << 20);
  mfi_object *o = mfi_object_of(&self, mfi_queue_make(&self, 0, 0, &place));
  uint64_t n = 0;
  while ((st = put_number(&self, o, n + 1, n % 2 == 0 ? 16 : 3000, 0)) == MFI_OK)
    n++;
  CHECK_EQ(st, MFI_NOMEM);
  CHECK(n > 200);
  CHECK_EQ(mfi_queue_size(o), n);
  CHECK_EQ(self.slot->hand, 0);
  while (put_number(&self, o, n + 1, 16, 0) == MFI_OK)
    n++;
  for (uint64_t i = 1; i <= n; i++)
    CHECK_EQ(get_number(&self, o, 0, &st), i);
  CHECK_EQ(put_number(&self, o, 1, 3000, 0), MFI_OK);
  mfi_handle_drop(&self, place);
  CHECK_EQ(mfi_heap_live(&self), 1);
  mfi_region_close(&self);
}

// ---- Done

static uint64_t take_number(mfi_self *self, mfi_object *o, uint32_t place) {
  mfi_taken t;
  return mfi_queue_take(self, o, place, 0, &t) == MFI_OK ? number_in(t.bytes, t.size) : 0;
}

static void counts_what_is_done(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  CHECK_EQ(mfi_queue_join(self, o, 0), MFI_OK);
  CHECK_EQ(mfi_queue_task_done(self, o, place), MFI_INVALID);
  put_number(self, o, 1, 8, 0);
  put_number(self, o, 2, 8, 0);
  CHECK_EQ(mfi_queue_task_done(self, o, place), MFI_INVALID);
  CHECK_EQ(take_number(self, o, place), 1);
  CHECK_EQ(mfi_queue_task_done(self, o, place), MFI_OK);
  CHECK_EQ(mfi_queue_task_done(self, o, place), MFI_INVALID);
  CHECK_EQ(mfi_queue_join(self, o, soon(0.002)), MFI_TIMEDOUT);
  CHECK_EQ(take_number(self, o, place), 2);
  CHECK_EQ(mfi_queue_task_done(self, o, place), MFI_OK);
  CHECK_EQ(mfi_queue_join(self, o, 0), MFI_OK);
  leaves_nothing(place);
}

static void take_two_and_die(mfi_self *self, void *arg) {
  uint32_t place;
  mfi_handle_add(self, *(mfi_handle *)arg, &place);
  mfi_object *o = mfi_object_of(self, *(mfi_handle *)arg);
  char packed[100];
  size_t used;
  take_number(self, o, place);
  mfi_queue_take_packed(self, o, place, packed, sizeof packed, 1, &used);
  mfi_queue_task_done(self, o, place);
  kill(getpid(), SIGKILL);
}

static void join_queue(mfi_self *self, void *arg) {
  CHECK_EQ(mfi_queue_join(self, arg, soon(LONG_SECONDS)), MFI_OK);
}

static void counts_as_done_what_a_dead_consumer_had_taken(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker dies, joins;
  mfi_handle h = mfi_queue_make(self, 0, 0, &place);
  mfi_object *o = mfi_object_of(self, h);
  for (uint64_t n = 1; n <= 3; n++)
    put_number(self, o, n, 8, 0);
  worker_fork(self, &joins, join_queue, o);
  worker_until_asleep(self, &joins);
  worker_fork(self, &dies, take_two_and_die, &h);
  CHECK_EQ(worker_join(self, &dies), 128 + SIGKILL);
  CHECK_EQ(mfi_queue_of(o)->done, 2);
  CHECK_EQ(take_number(self, o, place), 3);
  CHECK_EQ(mfi_queue_task_done(self, o, place), MFI_OK);
  CHECK_EQ(worker_join(self, &joins), 0);
  leaves_nothing(place);
}

// ---- Several workers

#define MANY 20000
#define SIDES 2

typedef struct traffic {
  mfi_object *o;
  uint64_t producer;
  size_t largest;
  uint64_t *sums; // shared: by consumer
  uint64_t *last; // shared: by consumer and producer
  unsigned consumer;
} traffic;

static void produce(mfi_self *self, void *arg) {
  const traffic *t = arg;
  for (uint64_t i = 1; i <= MANY; i++)
    CHECK_EQ(put_number(self, t->o, t->producer << 32 | i, 8 + i * 13 % (t->largest - 7),
                        soon(LONG_SECONDS)),
             MFI_OK);
}

static void consume(mfi_self *self, void *arg) {
  const traffic *t = arg;
  mfi_status st;
  uint64_t n, last[SIDES * 2 + 1] = {0};
  while ((n = get_number(self, t->o, soon(LONG_SECONDS), &st)) != 0) {
    uint64_t p = n >> 32, i = n & UINT32_MAX;
    CHECK(p >= 1 && p <= SIDES * 2 && i > last[p]);
    last[p] = i;
    t->sums[t->consumer] += i;
  }
  CHECK_EQ(st, MFI_CLOSED);
}

static void move_traffic(uint64_t maxsize, uint64_t max_bytes, size_t largest) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(maxsize, max_bytes, &place);
  mfi_ref shared = mfi_heap_alloc(self, 4096, MFI_BLOCK_BYTES);
  uint64_t *sums = mfi_payload(mfi_at(self, shared)), sum = 0;
  memset(sums, 0, 4096);
  worker w[SIDES * 4];
  traffic t[SIDES * 4];
  for (unsigned i = 0; i < SIDES * 4; i++) {
    bool consumes = i >= SIDES * 2;
    t[i] = (traffic){.o = o, .producer = i + 1, .largest = largest, .sums = sums, .consumer = i};
    worker_start(self, &w[i], i % 2 == 0, consumes ? consume : produce, &t[i]);
  }
  for (unsigned i = 0; i < SIDES * 2; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  mfi_queue_close(self, o);
  for (unsigned i = SIDES * 2; i < SIDES * 4; i++) {
    CHECK_EQ(worker_join(self, &w[i]), 0);
    sum += sums[i];
  }
  CHECK_EQ(sum, (uint64_t)SIDES * 2 * MANY * (MANY + 1) / 2);
  mfi_heap_free(self, shared);
  leaves_nothing(place);
}

static void loses_nothing_between_many_producers_and_consumers(void) { move_traffic(0, 0, 100); }
static void loses_nothing_when_it_is_narrow(void) { move_traffic(1, 0, 300); }
static void loses_nothing_when_bytes_are_bounded(void) { move_traffic(0, 2000, 1500); }

static void get_one(mfi_self *self, void *arg) {
  mfi_status st;
  CHECK_EQ(get_number(self, arg, soon(LONG_SECONDS), &st), 77);
}

static void wakes_a_sleeping_consumer(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(0, 0, &place);
  for (int i = 0; i < 200; i++) {
    worker w;
    worker_fork(self, &w, get_one, o);
    worker_until_asleep(self, &w);
    put_number(self, o, 77, i % 2 == 0 ? 8 : 800, 0);
    CHECK_EQ(worker_join(self, &w), 0);
  }
  leaves_nothing(place);
}

static void get_closed(mfi_self *self, void *arg) {
  mfi_status st;
  CHECK_EQ(get_number(self, arg, soon(LONG_SECONDS), &st), 0);
  CHECK_EQ(st, MFI_CLOSED);
}

static void put_closed(mfi_self *self, void *arg) {
  CHECK_EQ(put_number(self, arg, 9, 8, soon(LONG_SECONDS)), MFI_CLOSED);
}

static void wakes_all_who_wait_when_it_closes(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[4];
  for (int full = 0; full < 2; full++) {
    mfi_object *o = make(1, 0, &place);
    if (full)
      put_number(self, o, 1, 8, 0);
    for (int i = 0; i < 4; i++)
      worker_fork(self, &w[i], full ? put_closed : get_closed, o);
    for (int i = 0; i < 4; i++)
      worker_until_asleep(self, &w[i]);
    mfi_queue_close(self, o);
    for (int i = 0; i < 4; i++)
      CHECK_EQ(worker_join(self, &w[i]), 0);
    leaves_nothing(place);
  }
}

int main(void) {
  world_open(&main_self, (size_t)64 << 20);
  RUN(gives_messages_in_order_whatever_their_size);
  RUN(goes_round_its_ring_for_ever);
  RUN(sends_empty_and_exactly_inline_messages);
  RUN(holds_no_more_than_its_size);
  RUN(holds_no_more_bytes_than_allowed);
  RUN(drains_after_closing);
  RUN(keeps_alive_what_a_message_names);
  RUN(takes_only_what_is_accepted);
  RUN(moves_many_at_once);
  RUN(puts_as_many_as_fit);
  RUN(leaves_a_large_message_to_a_single_get);
  RUN(reports_a_full_region_with_no_effect);
  RUN(counts_what_is_done);
  RUN(counts_as_done_what_a_dead_consumer_had_taken);
  RUN(loses_nothing_between_many_producers_and_consumers);
  RUN(loses_nothing_when_it_is_narrow);
  RUN(loses_nothing_when_bytes_are_bounded);
  RUN(wakes_a_sleeping_consumer);
  RUN(wakes_all_who_wait_when_it_closes);
  mfi_region_close(&main_self);
  return check_done();
}
