// The walk over events, conditions and barriers; see walk.h.
#include "walk.h"

#ifdef MFI_FAULTS

// ---- Events

static void set_event(stage *t) { set_object(t, MFI_KIND_EVENT); }
static void sleep_for_event(mfi_self *self, void *arg) {
  stage *t = arg;
  if (mfi_flag_wait(self, t->o, mfi_flag_look(t->o), soon(LONG_SECONDS)) != MFI_OK)
    _exit(2);
}
static void set_event_and_sleeper(stage *t) {
  set_event(t);
  set_sleeper(t, sleep_for_event);
}
static void set_flag(mfi_self *self, stage *t) { mfi_flag_set(self, t->o); }
static void set_and_clear_flag(mfi_self *self, stage *t) {
  mfi_flag_set(self, t->o);
  mfi_flag_clear(t->o);
}

static void check_event(stage *t, bool done) {
  CHECK(!done || mfi_flag_is_set(t->o));
  mfi_flag_clear(t->o);
  CHECK(!mfi_flag_is_set(t->o));
}
// A set that has happened frees the sleeper, whoever dies; one that has not is the watcher's now.
static void check_event_sleeper(stage *t, bool done) {
  bool happened = mfi_flag_look(t->o) != 0;
  CHECK(!done || happened);
  if (!happened)
    mfi_flag_set(&t->self, t->o);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
}

// ---- Conditions: what is set

static uint32_t watchers[2]; // places of two waits of the watcher's, which do not sleep

static void set_condition(stage *t) {
  set_object(t, MFI_KIND_CONDITION);
  set_other(t, MFI_KIND_LOCK);
  CHECK_EQ(mfi_condition_init(&t->self, t->o, t->other), MFI_OK);
}
static void set_two_waits(stage *t) {
  set_condition(t);
  for (int i = 0; i < 2; i++)
    CHECK_EQ(mfi_condition_enter(&t->self, t->o, &watchers[i]), MFI_OK);
}
static uint64_t number_waiting(stage *t) { return load_acquire(&mfi_condition_of(t->o)->waiting); }

static void sleep_for_call(mfi_self *self, void *arg) {
  stage *t = arg;
  uint32_t place;
  CHECK_EQ(mfi_condition_enter(self, t->o, &place), MFI_OK);
  if (mfi_condition_await(self, place, soon(LONG_SECONDS)) != MFI_OK)
    _exit(2);
  mfi_condition_leave(self, t->o, place, true);
}
static void sleep_for_call_behind_the_actor(mfi_self *self, void *arg) {
  while (number_waiting(arg) == 0)
    usleep(20);
  sleep_for_call(self, arg);
}
static void set_condition_and_sleeper(stage *t) {
  set_condition(t);
  set_sleeper(t, sleep_for_call);
}
static void set_condition_and_second(stage *t) {
  set_condition(t);
  worker_fork(&t->self, &t->sleeper, sleep_for_call_behind_the_actor, t);
}

// ---- Conditions: what actors do

static void enter(mfi_self *self, stage *t) { mfi_condition_enter(self, t->o, &t->mine); }
static void hold_and_enter(mfi_self *self, stage *t) {
  hold(self, t);
  enter(self, t);
}
static void leave(mfi_self *self, stage *t) { mfi_condition_leave(self, t->o, t->mine, true); }
static void notify_one(mfi_self *self, stage *t) { mfi_condition_notify(self, t->o, 1); }
static void notify_all(mfi_self *self, stage *t) { mfi_condition_notify(self, t->o, UINT64_MAX); }

// The actor is the older of two waiters, and is called.
static void be_called(mfi_self *self, stage *t) {
  hold_and_enter(self, t);
  worker_until_asleep(self, &t->sleeper);
  notify_one(self, t);
  CHECK_EQ(mfi_condition_await(self, t->mine, 0), MFI_OK);
}
static void leave_untaken(mfi_self *self, stage *t) {
  CHECK(mfi_condition_leave(self, t->o, t->mine, false));
}
static void wait_asleep(mfi_self *self, stage *t) {
  enter(self, t);
  CHECK_EQ(mfi_condition_await(self, t->mine, soon(LONG_SECONDS)), MFI_OK);
  leave(self, t);
}
static void make_condition(mfi_self *self, stage *t) {
  uint32_t lock, condition;
  MFI_UNUSED(t);
  mfi_handle l = mfi_object_make(self, MFI_KIND_RLOCK, &lock);
  mfi_handle h = mfi_object_make(self, MFI_KIND_CONDITION, &condition);
  mfi_condition_init(self, mfi_object_of(self, h), l);
  mfi_handle_drop(self, lock);
  mfi_handle_drop(self, condition);
}

// ---- Conditions: meanwhile

static bool entered; // one of the watcher's waits has begun

// The actor is called while the watcher waits behind it.
static void notify_when_asleep(stage *t, const worker *actor) {
  entered = falls_asleep(t, actor);
  if (!entered)
    return;
  CHECK_EQ(mfi_condition_enter(&t->self, t->o, &watchers[0]), MFI_OK);
  mfi_condition_notify(&t->self, t->o, 1);
}

// ---- Conditions: checks

static void check_nobody_waits(stage *t, bool done) {
  MFI_UNUSED(done);
  CHECK_EQ(number_waiting(t), 0);
  CHECK_EQ(mfi_condition_of(t->o)->first | mfi_condition_of(t->o)->last, 0);
}
// All waits, of whoever is left, are called by now or not at all.
static void check_called(stage *t, bool done) {
  bool called = number_waiting(t) == 0;
  CHECK(called || number_waiting(t) == 2);
  CHECK(called || !done);
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(mfi_condition_await(&t->self, watchers[i], 0), called ? MFI_OK : MFI_TIMEDOUT);
    CHECK_EQ(mfi_condition_leave(&t->self, t->o, watchers[i], true), called);
  }
  check_nobody_waits(t, done);
}
static void check_first_called(stage *t, bool done) {
  bool called = number_waiting(t) == 1;
  CHECK(called || number_waiting(t) == 2);
  CHECK(called || !done);
  CHECK(!mfi_condition_leave(&t->self, t->o, watchers[1], true));
  CHECK_EQ(mfi_condition_leave(&t->self, t->o, watchers[0], true), called);
  check_nobody_waits(t, done);
}
static void check_call_sleeper(stage *t, bool done) {
  CHECK(!done || number_waiting(t) == 0);
  mfi_condition_notify(&t->self, t->o, 1);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  check_nobody_waits(t, done);
}
// Who took its call has it; the call of one that died before is the watcher's.
static void check_behind(stage *t, bool done) {
  CHECK(entered || !done);
  if (entered) {
    bool called = mfi_condition_leave(&t->self, t->o, watchers[0], true);
    CHECK(!called || !done);
  }
  check_nobody_waits(t, done);
}
static void check_handed_on(stage *t, bool done) {
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  check_nobody_waits(t, done);
}

// ---- Barriers: what is set

static mfi_visit visit; // the watcher's

static void set_other_queue(stage *t) { set_other(t, MFI_KIND_QUEUE); }

static void set_barrier(stage *t) {
  set_object(t, MFI_KIND_BARRIER);
  mfi_barrier_init(t->o, 2, 0);
}
static mfi_ref action_message(mfi_self *self, mfi_handle in_it) {
  mfi_bytes b = {"act", 3};
  mfi_source src = mfi_source_bytes(&b);
  mfi_ref block = 0;
  src.refs = &in_it;
  src.nrefs = in_it != 0;
  CHECK_EQ(mfi_message_make(self, &src, &block), MFI_OK);
  return block;
}
static void set_barrier_with_action(stage *t) {
  set_barrier(t);
  mfi_barrier_give_action(&t->self, t->o, action_message(&t->self, 0));
}
// Of one party: the watcher acts all the time.
static void set_acting_barrier(stage *t) {
  set_barrier_with_action(t);
  mfi_barrier_of(t->o)->parties = 1;
  visit.began = false;
  CHECK_EQ(mfi_barrier_wait(&t->self, t->o, &visit, 0), MFI_RUNNING);
}

// Ends as 0: passed; 3: broken.
static void sleep_at_barrier(mfi_self *self, void *arg) {
  stage *t = arg;
  mfi_visit v = {.began = false};
  mfi_status st = mfi_barrier_wait(self, t->o, &v, soon(LONG_SECONDS));
  if (st == MFI_RUNNING)
    st = mfi_barrier_acted(self, t->o, &v);
  if (st != MFI_OK)
    _exit(st == MFI_CLOSED ? 3 : 2);
}
static void set_barrier_and_sleeper(stage *t) {
  set_barrier(t);
  set_sleeper(t, sleep_at_barrier);
}
static void set_action_and_sleeper(stage *t) {
  set_barrier_with_action(t);
  set_sleeper(t, sleep_at_barrier);
}

// ---- Barriers: what actors do

static void come(mfi_self *self, stage *t) {
  mfi_visit v = {.began = false};
  mfi_status st = mfi_barrier_wait(self, t->o, &v, 0);
  if (st == MFI_RUNNING)
    CHECK_EQ(mfi_barrier_acted(self, t->o, &v), MFI_OK);
}
static void come_and_go(mfi_self *self, stage *t) {
  mfi_visit v = {.began = false};
  CHECK_EQ(mfi_barrier_wait(self, t->o, &v, soon(0.0001)), MFI_TIMEDOUT);
}
static void come_asleep(mfi_self *self, stage *t) {
  mfi_visit v = {.began = false};
  CHECK_EQ(mfi_barrier_wait(self, t->o, &v, soon(LONG_SECONDS)), MFI_OK);
}
static void abort_barrier(mfi_self *self, stage *t) { mfi_barrier_abort(self, t->o); }
static void reset_barrier(mfi_self *self, stage *t) { mfi_barrier_reset(self, t->o); }
static void make_barrier_with_action(mfi_self *self, stage *t) {
  uint32_t place;
  mfi_handle h = mfi_object_make(self, MFI_KIND_BARRIER, &place);
  mfi_ref message = action_message(self, t->other);
  mfi_heap_alloc(self, 100, MFI_BLOCK_BYTES); // not the top of the hand
  mfi_barrier_give_action(self, mfi_object_of(self, h), message);
  mfi_handle_drop(self, place);
}

static void pass_when_asleep(stage *t, const worker *actor) {
  visit.began = false;
  if (falls_asleep(t, actor))
    CHECK_EQ(mfi_barrier_wait(&t->self, t->o, &visit, 0), MFI_OK);
}

// ---- Barriers: checks

// Nobody waits; whether or not it was broken, it can be used again.
static void check_usable(stage *t) {
  mfi_barrier *b = mfi_barrier_of(t->o);
  mfi_visit v = {.began = false};
  CHECK_EQ(b->arrived, 0);
  CHECK_EQ(b->round | b->acting, 0);
  mfi_barrier_reset(&t->self, t->o);
  CHECK_EQ(b->broken, 0);
  CHECK_EQ(mfi_barrier_wait(&t->self, t->o, &v, 0), MFI_TIMEDOUT);
  CHECK_EQ(b->broken, 1);
}
static void check_woken(stage *t, bool done) {
  CHECK(!done || mfi_barrier_of(t->o)->broken == 0);
  check_usable(t);
}
static void check_left(stage *t, bool done) {
  CHECK(!done || mfi_barrier_of(t->o)->broken == 1);
  check_usable(t);
}
// The sleeper passes together with the actor, or its barrier is broken.
static void check_passed(stage *t, bool done) {
  bool came = mfi_barrier_of(t->o)->round == 0;
  CHECK(came || !done);
  if (!came)
    mfi_barrier_abort(&t->self, t->o);
  int code = worker_join(&t->self, &t->sleeper);
  CHECK(code == 0 || (code == 3 && !done));
  check_usable(t);
}
static void check_broken_for_sleeper(stage *t, bool done) {
  bool happened = mfi_barrier_of(t->o)->round == 0;
  CHECK(happened || !done);
  if (!happened)
    mfi_barrier_abort(&t->self, t->o);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 3);
  check_usable(t);
}
// Who waits outside breaks what comes after, not the round that acts.
static void check_outside(stage *t, bool done) {
  mfi_barrier *b = mfi_barrier_of(t->o);
  CHECK(!done || b->broken == 1);
  CHECK_EQ(mfi_barrier_acted(&t->self, t->o, &visit), MFI_OK);
  b->parties = 2;
  check_usable(t);
}
static void check_other_is_free(stage *t, bool done) {
  MFI_UNUSED(done);
  CHECK_EQ(mfi_object_of(&t->self, t->other)->refs, 1);
}

static const scene scenes[] = {
    {"setting_an_event", set_event, hold, set_flag, NULL, check_event},
    {"setting_an_event_for_a_sleeper", set_event_and_sleeper, hold, set_flag, NULL,
     check_event_sleeper},
    {"setting_and_clearing_an_event_for_a_sleeper", set_event_and_sleeper, hold, set_and_clear_flag,
     NULL, check_event_sleeper},
    {"making_and_ending_a_condition", set_nothing, NULL, make_condition, NULL, check_nothing},
    {"beginning_to_wait_on_a_condition", set_condition, hold, enter, NULL, check_nobody_waits},
    {"ending_a_wait_on_a_condition", set_condition, hold_and_enter, leave, NULL,
     check_nobody_waits},
    {"notifying_one_of_two", set_two_waits, hold, notify_one, NULL, check_first_called},
    {"notifying_all_at_once", set_two_waits, hold, notify_all, NULL, check_called},
    {"notifying_a_sleeper", set_condition_and_sleeper, hold, notify_one, NULL, check_call_sleeper},
    {"handing_on_a_call", set_condition_and_second, be_called, leave_untaken, NULL,
     check_handed_on},
    {"waking_up_on_a_condition", set_condition, hold, wait_asleep, notify_when_asleep,
     check_behind},
    {"making_and_ending_a_barrier_with_an_action", set_other_queue, NULL, make_barrier_with_action,
     NULL, check_other_is_free},
    {"coming_to_a_barrier_and_leaving", set_barrier, hold, come_and_go, NULL, check_left},
    {"waking_up_at_a_barrier", set_barrier, hold, come_asleep, pass_when_asleep, check_woken},
    {"passing_a_barrier_with_a_sleeper", set_barrier_and_sleeper, hold, come, NULL, check_passed},
    {"acting_at_a_barrier_with_a_sleeper", set_action_and_sleeper, hold, come, NULL, check_passed},
    {"aborting_a_barrier_with_a_sleeper", set_barrier_and_sleeper, hold, abort_barrier, NULL,
     check_broken_for_sleeper},
    {"resetting_a_barrier_with_a_sleeper", set_barrier_and_sleeper, hold, reset_barrier, NULL,
     check_broken_for_sleeper},
    {"giving_up_outside_a_barrier", set_acting_barrier, hold, come_and_go, NULL, check_outside},
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
