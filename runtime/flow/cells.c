// Cells: items of one job for many workers. Floor 4; see cells.h. Locks: the core's; the caller's
// own slot's, when a result has a block. Sleeps nowhere.
#include "flow/cells.h"

#include "base/assert.h"
#include "base/fault.h"

#include <string.h>

#define ENDED (1u << 31)
#define WITHOUT (1u << 30) // no result
#define DEATH (1u << 29)   // the result is an mfi_death
#define STATUS 0xffffu
#define LINE ((uint64_t)64)

static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) & ~(to - 1); }

static uint32_t *states(mfi_job *j) { return (uint32_t *)(void *)(j + 1); }

static mfi_job_cell *cell_at(mfi_job *j, uint32_t i) {
  return (mfi_job_cell *)(void *)((char *)j + j->cells_at + (uint64_t)i * j->stride);
}

static bool is_claimed(uint32_t state) { return state != 0 && (state & ENDED) == 0; }

static bool has_result(uint32_t state) { return (state & (ENDED | WITHOUT)) == ENDED; }

static bool is_stop(uint32_t state) {
  return (state & STATUS) == MFI_CANCELLED || (state & STATUS) == MFI_TERMINATED;
}

// ---- Making

// A cell has room for its item, and for a death with the name of any worker of the pool.
static uint32_t stride_of(mfi_object *core, uint64_t largest) {
  uint64_t death = offsetof(mfi_death, worker) + strlen(mfi_core_of(core)->name) + 12;
  return (uint32_t)round_up(sizeof(mfi_job_cell) + (largest > death ? largest : death), LINE);
}

static void fill(mfi_self *self, mfi_job *j, const char *items) {
  for (uint32_t i = 0; i < j->cells; i++) {
    const mfi_item *item = (const mfi_item *)(const void *)items;
    mfi_job_cell *c = cell_at(j, i);
    c->result = 0;
    c->size = (uint32_t)item->size;
    memcpy(c->bytes, item + 1, item->size);
    items += sizeof *item + round_up(item->size, 8);
    mfi_slot_count(self->slot, MFI_STAT_BYTES, item->size);
  }
  mfi_slot_count(self->slot, MFI_STAT_MESSAGES, j->cells);
}

mfi_status mfi_cells_make(mfi_self *self, mfi_object *core, const mfi_job_config *c,
                          const void *items, uint64_t largest, mfi_ref *out) {
  uint64_t state_bytes = c->nitems * sizeof(uint32_t);
  uint32_t stride = stride_of(core, largest);
  // Who reads a death reads all of it, also behind the name's end.
  uint64_t size = state_bytes + LINE + (uint64_t)c->nitems * stride + sizeof(mfi_death);
  mfi_status st = mfi_job_make_sized(self, c, size, out);
  if (st != MFI_OK)
    return st;
  mfi_job *j = mfi_job_at(self, *out);
  mfi_ref at = mfi_ref_of(self, j);
  memset(states(j), 0, state_bytes);
  j->stride = stride;
  j->cells_at = round_up(at + sizeof *j + state_bytes, LINE) - at;
  j->cells = c->nitems;
  fill(self, j, items);
  return MFI_OK;
}

// ---- Running

static uint32_t first_open(mfi_job *j) {
  uint32_t i = load_relaxed(&j->next_cell);
  while (i < j->cells && load_relaxed(&states(j)[i]) != 0)
    i++;
  return i;
}

// The hint may fall back to that of a slower worker, it never passes an open cell.
static bool claim(mfi_self *self, mfi_job *j, uint32_t *cell) {
  for (;;) {
    uint32_t i = *cell = first_open(j), nobody = 0;
    if (i == j->cells)
      return false;
    MFI_STEP();
    if (!cas_seqcst(&states(j)[i], &nobody, self->index))
      continue;
    MFI_STEP();
    store_relaxed(&j->next_cell, i + 1);
    return true;
  }
}

bool mfi_cells_claim(mfi_self *self, mfi_object *core, mfi_ref job, mfi_view *out) {
  mfi_job *j = mfi_job_at(self, job);
  uint32_t i;
  if (!claim(self, j, &i))
    return false;
  MFI_FAULT(&self->region->faults, MFI_FAULT_ITEM_BEGUN);
  if (i + 1 == j->cells) { // those before it were claimed before
    mfi_lock_take(self, &core->lock);
    mfi_cells_through(self, core, job);
    mfi_lock_give(self, &core->lock);
  }
  mfi_job_cell *c = cell_at(j, i);
  *out = (mfi_view){.bytes = c->bytes, .size = c->size, .index = i};
  return true;
}

static void end(mfi_job *j, uint32_t i, uint32_t how) {
  MFI_STEP();
  store_release(&states(j)[i], ENDED | how);
  MFI_STEP();
}

static mfi_status end_with_block(mfi_self *self, mfi_job *j, uint32_t i, mfi_status status,
                                 const mfi_source *src) {
  mfi_ref block;
  mfi_status st = mfi_message_make(self, src, &block);
  if (st != MFI_OK)
    return st;
  mfi_hand_raise(self, block);
  MFI_FAULT(&self->region->faults, MFI_FAULT_RESULT_STORED);
  store_relaxed(&j->result_refs, 1u);
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &cell_at(j, i)->result, block);
  mfi_change32(self, lock, &states(j)[i], ENDED | status);
  mfi_hand_out(self, lock, block);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  return MFI_OK;
}

mfi_status mfi_cells_end(mfi_self *self, mfi_ref job, uint32_t i, mfi_status status,
                         const mfi_source *src) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_job_cell *c = cell_at(j, i);
  mfi_status st = MFI_OK;
  if (src->nrefs == 0 && src->size <= j->stride - sizeof *c) {
    src->copy(src->ctx, c->bytes);
    c->size = (uint32_t)src->size;
    MFI_FAULT(&self->region->faults, MFI_FAULT_RESULT_STORED);
    end(j, i, status);
  } else {
    st = end_with_block(self, j, i, status, src);
  }
  if (st != MFI_OK)
    return st;
  mfi_slot_count(self->slot, MFI_STAT_MESSAGES, 1);
  mfi_slot_count(self->slot, MFI_STAT_BYTES, src->size);
  MFI_FAULT(&self->region->faults, MFI_FAULT_ITEM_ENDED);
  return MFI_OK;
}

void mfi_cells_close(mfi_self *self, mfi_ref job, mfi_status status) {
  mfi_job *j = mfi_job_at(self, job);
  for (uint32_t i; (i = first_open(j)) < j->cells;) {
    uint32_t nobody = 0;
    MFI_STEP();
    cas_seqcst(&states(j)[i], &nobody, ENDED | WITHOUT | status);
    MFI_STEP();
    store_relaxed(&j->next_cell, i + 1);
  }
}

void mfi_cells_charge(mfi_self *self, mfi_ref job, uint32_t slot, mfi_status status,
                      const mfi_death *death) {
  mfi_job *j = mfi_job_at(self, job);
  uint32_t i = 0;
  while (i < j->cells && load_acquire(&states(j)[i]) != slot)
    i++;
  if (i == j->cells)
    return;
  if (death == NULL) {
    end(j, i, WITHOUT | status);
    return;
  }
  mfi_death d = *death;
  mfi_job_cell *c = cell_at(j, i);
  uint64_t room = j->stride - sizeof *c;
  d.item = (uint32_t)(j->first + i);
  memcpy(c->bytes, &d, sizeof d < room ? sizeof d : room);
  c->size = sizeof d;
  end(j, i, DEATH | status);
}

void mfi_cells_tell_failure(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_lock_take(self, &core->lock);
  mfi_handle h = j->batch;
  mfi_batch *b = h == 0 ? NULL : mfi_batch_of(mfi_object_entry(self, h));
  if (b != NULL) {
    mfi_event_will_wake(self, mfi_event_of(self, h));
    mfi_change32(self, &core->lock, &b->failed, 1);
    if (b->stop_on_error)
      mfi_change32(self, &core->lock, &b->cancel, 1);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  if (b != NULL)
    mfi_event_wake_all(self, mfi_event_of(self, h));
}

// ---- Joining and leaving

bool mfi_cells_may_join(mfi_self *self, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  if (first_open(j) == j->cells)
    return false;
  return self->slot->job == 0 || j->taker == 0; // one place for who has a job already
}

void mfi_cells_join(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  if (self->slot->job != 0) {
    j->outer = self->slot->job; // nobody's before `taker` is set
    mfi_change64(self, &core->lock, &j->taker, mfi_slot_id(self, self->index));
  }
  mfi_change32(self, &core->lock, &j->joined, j->joined + 1);
  mfi_change64(self, &core->lock, &self->slot->job, job);
  mfi_lock_commit(self, &core->lock);
}

bool mfi_cells_through(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  if (first_open(j) != j->cells)
    return false;
  if (j->state != MFI_JOB_QUEUED)
    return true;
  mfi_change32(self, &core->lock, &j->state, MFI_JOB_RUNNING);
  mfi_change64(self, &core->lock, &mfi_core_of(core)->jobs, mfi_core_of(core)->jobs - 1);
  mfi_lock_commit(self, &core->lock);
  return true;
}

// Did it join inside another task?
static bool is_inside(mfi_self *self, const mfi_job *j, const mfi_slot *who) {
  return j->taker != 0 && mfi_slot_at(self, (uint32_t)j->taker) == who;
}

void mfi_cells_change_left(mfi_self *self, mfi_object *core, mfi_job *j, mfi_slot *who) {
  mfi_change32(self, &core->lock, &j->joined, j->joined - 1);
  mfi_change64(self, &core->lock, &who->job, is_inside(self, j, who) ? j->outer : 0);
}

mfi_ending mfi_cells_leave(mfi_self *self, mfi_object *core, mfi_ref job, mfi_slot *who) {
  mfi_job *j = mfi_job_at(self, job);
  if (j->joined == 1) {
    mfi_tally t = mfi_cells_tally(j);
    if (t.queued == 0)
      return mfi_job_finish(self, core, job, who, t.rest);
  }
  if (is_inside(self, j, who))
    mfi_change64(self, &core->lock, &j->taker, 0);
  mfi_cells_change_left(self, core, j, who);
  mfi_lock_commit(self, &core->lock);
  return (mfi_ending){0};
}

void mfi_cells_stop(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status why) {
  mfi_job *j = mfi_job_at(self, job);
  for (uint32_t i = 0; i < j->cells; i++) {
    uint32_t state = load_acquire(&states(j)[i]);
    if (is_claimed(state))
      mfi_slot_stop(self, mfi_slot_id(self, state), mfi_core_of(core)->backend, why, job,
                    MFI_END_TASK);
  }
}

// ---- Reading

bool mfi_cells_result(mfi_job *j, const mfi_self *self, mfi_cursor *c, mfi_view *out) {
  while (c->i < j->cells && !has_result(load_acquire(&states(j)[c->i])))
    c->i++;
  if (c->i == j->cells)
    return false;
  uint32_t state = load_relaxed(&states(j)[c->i]);
  const mfi_job_cell *cell = cell_at(j, c->i);
  *out = (mfi_view){.bytes = cell->bytes,
                    .size = cell->size,
                    .index = c->i,
                    .kind = state & STATUS,
                    .death = (state & DEATH) != 0};
  if (cell->result != 0) {
    mfi_body *body = mfi_message_body(self, cell->result);
    out->bytes = mfi_message_bytes(body);
    out->size = body->size;
    out->refs = body->refs;
    out->nrefs = body->nrefs;
  }
  c->i++;
  return true;
}

static void count(mfi_tally *t, uint32_t state) {
  bool without = (state & WITHOUT) != 0;
  if (state == 0)
    t->queued++;
  else if (is_claimed(state))
    t->running++;
  else if ((state & STATUS) == MFI_OK)
    t->done++;
  else if (without && is_stop(state))
    t->cancelled++;
  else
    t->failed++;
  if (without)
    t->rest = (mfi_status)(state & STATUS);
}

mfi_tally mfi_cells_tally(mfi_job *j) {
  mfi_tally t = {0};
  for (uint32_t i = 0; i < j->cells; i++)
    count(&t, load_acquire(&states(j)[i]));
  return t;
}

bool mfi_cells_are_fresh(mfi_job *j) { return load_relaxed(&states(j)[0]) == 0; }

void mfi_cells_release(mfi_self *self, mfi_job *j) {
  if (load_relaxed(&j->result_refs) == 0)
    return;
  for (uint32_t i = 0; i < j->cells; i++) {
    mfi_ref block = mfi_hand_pull(self, &cell_at(j, i)->result);
    if (block != 0)
      mfi_message_free(self, block);
  }
}
