// The walk over selects and pipes; see walk.h.
#include "flow/select.h"
#include "walk_queue.h"

#ifdef MFI_FAULTS

// ---- Selects: a sleeper waits for the first of two queues

static void set_two_queues(stage *t) {
  set_used_queue(t);
  set_other(t, MFI_KIND_QUEUE);
}

// The number of a message of either, else 0: *st says why.
static uint64_t select_number(mfi_self *self, const stage *t, mfi_status *st) {
  mfi_watch watch[2];
  mfi_event *event[2];
  mfi_selection s = {.watch = watch, .event = event, .n = 2};
  CHECK(mfi_watch_of(self, t->h, &watch[0]) && mfi_watch_of(self, t->other, &watch[1]));
  mfi_selection_open(self, &s);
  for (;;) {
    uint32_t at = mfi_selection_find(self, &s);
    if (at < s.n) {
      uint64_t n = get_number(self, mfi_object_of(self, at == 0 ? t->h : t->other), 0, st);
      if (*st != MFI_TIMEDOUT)
        return n;
      continue;
    }
    *st = mfi_selection_wait(self, &s, soon(LONG_SECONDS));
    if (*st != MFI_OK)
      return 0;
  }
}

static void sleep_in_select(mfi_self *self, void *arg) {
  mfi_status st;
  if (select_number(self, arg, &st) != 1000 && st != MFI_CLOSED)
    _exit(2);
}

static worker second;

static void set_selector(stage *t) {
  set_two_queues(t);
  set_sleeper(t, sleep_in_select);
}

static void set_getter(stage *t) {
  set_two_queues(t);
  set_sleeper(t, sleep_in_get);
}

static void set_selector_and_getter(stage *t) {
  set_selector(t);
  worker_fork(&t->self, &second, sleep_in_get, t);
  worker_until_asleep(&t->self, &second);
}

static void select_asleep(mfi_self *self, stage *t) {
  mfi_status st;
  select_number(self, t, &st);
}

static uint64_t puts_so_far(stage *t) {
  return mfi_mark_count(0, load_acquire(&mfi_queue_of(t->o)->tail)) - 1;
}

// What the actor did not put the watcher puts: each sleeper gets one.
static void check_one_selector(stage *t, bool done) {
  CHECK(!done || puts_so_far(t) == 1);
  while (puts_so_far(t) < 1)
    put_small(&t->self, t);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  CHECK_EQ(mfi_queue_size(t->o), 0);
}

static void check_selector_and_getter(stage *t, bool done) {
  CHECK(!done || puts_so_far(t) == 1);
  while (mfi_queue_size(t->o) != 0) // one of the two is on its way to it
    usleep(20);
  while (puts_so_far(t) < 2)
    put_small(&t->self, t);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  CHECK_EQ(worker_join(&t->self, &second), 0);
  CHECK_EQ(mfi_queue_size(t->o), 0);
}

// ---- Pipes: t->h is the watcher's end, t->other the actor's

static void set_pipe(stage *t) {
  mfi_end ends[2];
  CHECK_EQ(mfi_pipe_make(&t->self, true, ends), MFI_OK);
  t->h = ends[0].handle;
  t->place = ends[0].place;
  t->o = mfi_object_of(&t->self, t->h);
  t->other = ends[1].handle;
  t->other_place = ends[1].place;
  t->has_other = true;
}

static mfi_status send_number(mfi_self *self, mfi_object *end, uint64_t n, size_t size,
                              mfi_handle ref) {
  char bytes[2048] = {0};
  mfi_handle refs[2] = {ref, ref};
  memcpy(bytes, &n, sizeof n);
  mfi_bytes b = {bytes, size};
  mfi_source src = mfi_source_bytes(&b);
  src.refs = refs;
  src.nrefs = ref == 0 ? 0 : 2;
  return mfi_connection_send(self, end, &src);
}

static void receive_to_the_end(mfi_self *self, void *arg) {
  const stage *t = arg;
  mfi_taken taken;
  mfi_object *rx = mfi_connection_rx(self, t->o);
  mfi_status st;
  while ((st = mfi_queue_get(self, rx, soon(LONG_SECONDS), &taken)) == MFI_OK)
    if (taken.block != 0)
      mfi_message_free(self, taken.block);
  if (st != MFI_CLOSED)
    _exit(2);
}

// Messages lie in both queues; one names a queue that nobody else has.
static void set_used_pipe(stage *t) {
  uint32_t place;
  set_pipe(t);
  mfi_handle inner = mfi_queue_make(&t->self, 0, 0, &place);
  CHECK_EQ(send_number(&t->self, t->o, 1, 16, 0), MFI_OK);
  CHECK_EQ(send_number(&t->self, t->o, 2, 1000, 0), MFI_OK);
  CHECK_EQ(send_number(&t->self, t->o, 3, 16, inner), MFI_OK);
  mfi_handle_drop(&t->self, place);
  mfi_object *other = mfi_object_of(&t->self, t->other);
  CHECK_EQ(send_number(&t->self, other, 4, 16, 0), MFI_OK);
  CHECK_EQ(send_number(&t->self, other, 5, 1000, 0), MFI_OK);
  set_sleeper(t, receive_to_the_end);
}

static void set_tangled_pipe(stage *t) {
  set_pipe(t);
  CHECK_EQ(send_number(&t->self, t->o, 1, 16, 0), MFI_OK);
  CHECK_EQ(send_number(&t->self, t->o, 2, 16, t->other), MFI_OK);
  CHECK_EQ(send_number(&t->self, t->o, 3, 1000, 0), MFI_OK);
  CHECK_EQ(send_number(&t->self, t->o, 4, 300, t->other), MFI_OK);
  set_sleeper(t, receive_to_the_end);
}

// The actor takes the other end over.
static uint32_t refs_before;
static void take_over(mfi_self *self, stage *t) {
  mfi_object *other = mfi_object_of(self, t->other);
  CHECK_EQ(mfi_handle_add(self, t->other, &t->mine), MFI_OK);
  while (load_acquire(&other->refs) != refs_before)
    usleep(20);
}
static void hand_over(stage *t, const worker *who) {
  mfi_object *other = mfi_object_of(&t->self, t->other);
  MFI_UNUSED(who);
  while (load_acquire(&other->refs) != refs_before + 1)
    usleep(20);
  mfi_handle_drop(&t->self, t->other_place);
  t->has_other = false;
}
static void set_used_pipe_to_hand_over(stage *t) {
  set_used_pipe(t);
  refs_before = 1;
}
static void set_tangled_pipe_to_hand_over(stage *t) {
  set_tangled_pipe(t);
  refs_before = 5;
}

static void make_pipe(mfi_self *self, stage *t) {
  mfi_end ends[2];
  MFI_UNUSED(t);
  mfi_pipe_make(self, true, ends);
}
static void make_pipe_of_one_direction(mfi_self *self, stage *t) {
  mfi_end ends[2];
  MFI_UNUSED(t);
  mfi_pipe_make(self, false, ends);
}
static void send_the_other_end(mfi_self *self, stage *t) {
  send_number(self, t->o, 1, 16, t->other);
}
static void hold_both(mfi_self *self, stage *t) {
  uint32_t place;
  hold(self, t);
  CHECK_EQ(mfi_handle_add(self, t->other, &place), MFI_OK);
}

// Whoever let go of it, or buried who did: the end is closed.
static void check_end_is_closed(stage *t, bool done) {
  MFI_UNUSED(done);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  CHECK_EQ(send_number(&t->self, t->o, 6, 16, 0), MFI_CLOSED);
  CHECK(mfi_object_of(&t->self, t->other) == NULL);
}

static const scene scenes[] = {
    {"a_put_for_a_selector", set_selector, hold, put_small, NULL, check_one_selector},
    {"a_put_for_a_selector_and_a_getter", set_selector_and_getter, hold, put_small, NULL,
     check_selector_and_getter},
    {"closing_for_a_selector", set_selector, hold, close_queue, NULL, check_closed},
    {"a_select_asleep_beside_a_getter", set_getter, hold, select_asleep, put_when_asleep,
     check_two_consumers},
    {"a_select_asleep_beside_another", set_selector, hold, select_asleep, put_when_asleep,
     check_two_consumers},
    {"making_a_pipe", set_nothing, NULL, make_pipe, NULL, check_nothing},
    {"making_a_pipe_of_one_direction", set_nothing, NULL, make_pipe_of_one_direction, NULL,
     check_nothing},
    {"ending_an_end_for_a_receiver", set_used_pipe_to_hand_over, take_over, drop_mine, hand_over,
     check_end_is_closed},
    {"sending_an_end_into_its_own_queue", set_pipe, hold_both, send_the_other_end, NULL,
     check_nothing},
    {"letting_a_tangled_end_go", set_tangled_pipe_to_hand_over, take_over, drop_mine, hand_over,
     check_end_is_closed},
};

int main(int argc, char **argv) {
  return walk_all(scenes, sizeof scenes / sizeof *scenes, argc, argv);
}

#else

int main(void) {
  printf("skip death_at_each_step\n");
  return 0;
}

#endif
