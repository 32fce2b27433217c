// Events, conditions and barriers: who is freed, in what order, and who is not.
#include "world.h"

static mfi_self main_self;

static mfi_object *make(mfi_object_kind kind, uint32_t *place) {
  mfi_handle h = mfi_object_make(&main_self, kind, place);
  CHECK(h != 0);
  return mfi_object_of(&main_self, h);
}

static void leaves_nothing(uint32_t place) {
  mfi_handle_drop(&main_self, place);
  CHECK_EQ(mfi_objects_live(&main_self), 0);
  CHECK_EQ(mfi_heap_live(&main_self), 1); // the handle table
  CHECK_EQ(main_self.slot->hand, 0);
}

// ---- Events

static void wait_for_event(mfi_self *self, void *arg) {
  mfi_object *o = arg;
  CHECK_EQ(mfi_flag_wait(self, o, mfi_flag_look(o), soon(LONG_SECONDS)), MFI_OK);
}

static void frees_all_sleepers_by_a_set_that_is_cleared_at_once(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[4];
  mfi_object *o = make(MFI_KIND_EVENT, &place);
  start_sleepers(self, w, 4, wait_for_event, o);
  mfi_flag_set(self, o);
  mfi_flag_clear(o);
  join_all(self, w, 4);
  CHECK(!mfi_flag_is_set(o));
  leaves_nothing(place);
}

static void remembers_a_set_since_it_was_looked_at(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(MFI_KIND_EVENT, &place);
  uint64_t before = mfi_flag_look(o);
  CHECK_EQ(mfi_flag_wait(self, o, before, soon(0.001)), MFI_TIMEDOUT);
  mfi_flag_set(self, o);
  CHECK_EQ(mfi_flag_wait(self, o, mfi_flag_look(o), 0), MFI_OK);
  mfi_flag_clear(o);
  CHECK_EQ(mfi_flag_wait(self, o, before, 0), MFI_OK);
  CHECK_EQ(mfi_flag_wait(self, o, mfi_flag_look(o), 0), MFI_TIMEDOUT);
  leaves_nothing(place);
}

static void looks_up_from_an_event_when_it_is_noted(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(MFI_KIND_EVENT, &place);
  mfi_note(self, self->index, MFI_NOTE_DUE);
  CHECK_EQ(mfi_flag_wait(self, o, mfi_flag_look(o), soon(LONG_SECONDS)), MFI_INTERRUPTED);
  mfi_note_clear(self, MFI_NOTE_DUE);
  leaves_nothing(place);
}

// ---- Conditions

static mfi_object *make_condition(uint32_t *place) {
  uint32_t lock_place;
  mfi_handle lock = mfi_object_make(&main_self, MFI_KIND_LOCK, &lock_place);
  mfi_object *o = make(MFI_KIND_CONDITION, place);
  CHECK_EQ(mfi_condition_init(&main_self, o, lock), MFI_OK);
  mfi_handle_drop(&main_self, lock_place);
  return o;
}

static void enter_all(mfi_object *o, uint32_t *place, int n) {
  for (int i = 0; i < n; i++)
    CHECK_EQ(mfi_condition_enter(&main_self, o, &place[i]), MFI_OK);
}
static bool is_called(uint32_t place) {
  return mfi_condition_await(&main_self, place, 0) == MFI_OK;
}
static void leave(mfi_object *o, uint32_t place, bool took, bool called) {
  CHECK_EQ(mfi_condition_leave(&main_self, o, place, took), called);
}

static void calls_the_oldest_first(void) {
  mfi_self *self = &main_self;
  uint32_t place, w[5];
  mfi_object *o = make_condition(&place);
  enter_all(o, w, 5);
  leave(o, w[1], true, false); // in the middle of the list
  mfi_condition_notify(self, o, 0);
  CHECK(!is_called(w[0]));
  mfi_condition_notify(self, o, 2);
  CHECK(is_called(w[0]) && is_called(w[2]) && !is_called(w[3]) && !is_called(w[4]));
  CHECK_EQ(mfi_condition_of(o)->waiting, 2);
  mfi_condition_notify(self, o, UINT64_MAX);
  CHECK(is_called(w[3]) && is_called(w[4]));
  mfi_condition_notify(self, o, 1); // nobody is left
  for (int i = 0; i < 5; i++)
    if (i != 1)
      leave(o, w[i], true, true);
  leaves_nothing(place);
}

static void gives_no_call_to_who_comes_later(void) {
  mfi_self *self = &main_self;
  uint32_t place, w[2];
  mfi_object *o = make_condition(&place);
  enter_all(o, w, 1);
  mfi_condition_notify(self, o, 2);
  enter_all(o, w + 1, 1);
  CHECK(is_called(w[0]) && !is_called(w[1]));
  leave(o, w[0], true, true);
  leave(o, w[1], true, false);
  leaves_nothing(place);
}

static void hands_a_call_on_to_who_waited_when_it_came(void) {
  mfi_self *self = &main_self;
  uint32_t place, w[3];
  mfi_object *o = make_condition(&place);
  enter_all(o, w, 2);
  mfi_condition_notify(self, o, 1);
  enter_all(o, w + 2, 1);
  leave(o, w[0], false, true);
  CHECK(is_called(w[1]) && !is_called(w[2]));
  leave(o, w[1], false, true);
  CHECK(!is_called(w[2]));
  leave(o, w[2], false, false);
  leaves_nothing(place);
}

// Two calls are out; each that is not taken reaches another.
static void hands_on_each_of_several_calls(void) {
  mfi_self *self = &main_self;
  uint32_t place, w[4];
  mfi_object *o = make_condition(&place);
  enter_all(o, w, 3);
  mfi_condition_notify(self, o, 1);
  enter_all(o, w + 3, 1);
  mfi_condition_notify(self, o, 1);
  leave(o, w[1], false, true); // the later one: to the third
  CHECK(is_called(w[2]));
  leave(o, w[0], false, true); // the earlier one: nobody is left who waited then
  CHECK(!is_called(w[3]));
  leave(o, w[2], false, true); // the later one again: to the fourth
  CHECK(is_called(w[3]));
  leave(o, w[3], true, true);
  leaves_nothing(place);
}

static void wait_for_call(mfi_self *self, void *arg) {
  mfi_object *o = arg;
  uint32_t place;
  CHECK_EQ(mfi_condition_enter(self, o, &place), MFI_OK);
  CHECK_EQ(mfi_condition_await(self, place, soon(LONG_SECONDS)), MFI_OK);
  CHECK(mfi_condition_leave(self, o, place, true));
}

static void wakes_those_that_it_calls(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[6];
  mfi_object *o = make_condition(&place);
  start_sleepers(self, w, 6, wait_for_call, o);
  mfi_condition_notify(self, o, 1);
  join_all(self, w, 1);
  CHECK_EQ(mfi_condition_of(o)->waiting, 5);
  mfi_condition_notify(self, o, 2);
  join_all(self, w + 1, 2);
  CHECK_EQ(mfi_condition_of(o)->waiting, 3);
  mfi_condition_notify(self, o, UINT64_MAX);
  join_all(self, w + 3, 3);
  leaves_nothing(place);
}

static void has_room_for_many(void) {
  enum { MANY = 2000 };
  static uint32_t w[MANY];
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make_condition(&place);
  enter_all(o, w, MANY);
  mfi_condition_notify(self, o, MANY / 2);
  for (int i = 0; i < MANY; i++)
    leave(o, w[i], true, i < MANY / 2);
  leaves_nothing(place);
}

// ---- Barriers

static mfi_object *make_barrier(uint64_t parties, uint32_t *place) {
  mfi_object *o = make(MFI_KIND_BARRIER, place);
  mfi_barrier_init(o, parties, 0);
  return o;
}

typedef struct meeting {
  mfi_object *o;
  mfi_status expected;
} meeting;

static void meet(mfi_self *self, void *arg) {
  const meeting *m = arg;
  mfi_visit v = {.began = false};
  CHECK_EQ(mfi_barrier_wait(self, m->o, &v, soon(LONG_SECONDS)), m->expected);
}

static void start_meeting(meeting *m, worker *w, int n) {
  start_sleepers(&main_self, w, n, meet, m);
  CHECK_EQ(mfi_barrier_of(m->o)->arrived, n);
}

// The wait of this visit begins, and is interrupted.
static void look_up_from(mfi_object *o, mfi_visit *v) {
  mfi_self *self = &main_self;
  mfi_note(self, self->index, MFI_NOTE_DUE);
  CHECK_EQ(mfi_barrier_wait(self, o, v, soon(LONG_SECONDS)), MFI_INTERRUPTED);
  mfi_note_clear(self, MFI_NOTE_DUE);
}

static void lets_all_through_when_the_last_comes(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[3];
  mfi_visit v = {.began = false};
  meeting m = {make_barrier(4, &place), MFI_OK};
  for (int round = 0; round < 3; round++) {
    start_meeting(&m, w, 3);
    CHECK_EQ(mfi_barrier_wait(self, m.o, &v, 0), MFI_OK);
    CHECK_EQ(v.index, 4);
    join_all(self, w, 3);
  }
  leaves_nothing(place);
}

static void breaks_for_all_by_a_timeout(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[2];
  mfi_visit v = {.began = false};
  meeting m = {make_barrier(4, &place), MFI_CLOSED};
  start_meeting(&m, w, 2);
  CHECK_EQ(mfi_barrier_wait(self, m.o, &v, soon(0.001)), MFI_TIMEDOUT);
  join_all(self, w, 2);
  CHECK_EQ(mfi_barrier_wait(self, m.o, &v, 0), MFI_CLOSED);
  mfi_barrier_reset(self, m.o);
  CHECK_EQ(mfi_barrier_wait(self, m.o, &v, 0), MFI_TIMEDOUT);
  leaves_nothing(place);
}

static void stays_in_its_round_when_it_looks_up(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_visit v = {.began = false}, other = {.began = false};
  mfi_object *o = make_barrier(2, &place);
  look_up_from(o, &v);
  CHECK_EQ(mfi_barrier_of(o)->arrived, 1);
  CHECK_EQ(mfi_barrier_wait(self, o, &other, 0), MFI_OK); // as a callback would
  mfi_barrier_abort(self, o);                             // too late for that round
  CHECK_EQ(mfi_barrier_wait(self, o, &v, 0), MFI_OK);
  CHECK_EQ(v.index, 1);
  CHECK_EQ(other.index, 2);
  leaves_nothing(place);
}

static void breaks_when_an_interrupted_wait_is_left(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[2];
  mfi_visit v = {.began = false};
  meeting m = {make_barrier(4, &place), MFI_CLOSED};
  start_meeting(&m, w, 2);
  look_up_from(m.o, &v);
  mfi_barrier_leave(self, m.o, &v);
  join_all(self, w, 2);
  mfi_barrier_leave(self, m.o, &v); // twice is harmless
  leaves_nothing(place);
}

int main(void) {
  world_open(&main_self, (size_t)16 << 20);
  uint32_t place;
  mfi_object_make(&main_self, MFI_KIND_LOCK, &place); // so that there is a handle table
  mfi_handle_drop(&main_self, place);
  RUN(frees_all_sleepers_by_a_set_that_is_cleared_at_once);
  RUN(remembers_a_set_since_it_was_looked_at);
  RUN(looks_up_from_an_event_when_it_is_noted);
  RUN(calls_the_oldest_first);
  RUN(gives_no_call_to_who_comes_later);
  RUN(hands_a_call_on_to_who_waited_when_it_came);
  RUN(hands_on_each_of_several_calls);
  RUN(wakes_those_that_it_calls);
  RUN(has_room_for_many);
  RUN(lets_all_through_when_the_last_comes);
  RUN(breaks_for_all_by_a_timeout);
  RUN(stays_in_its_round_when_it_looks_up);
  RUN(breaks_when_an_interrupted_wait_is_left);
  mfi_region_close(&main_self);
  return check_done();
}
