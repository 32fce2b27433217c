// Jobs: building them, reading items and results, a worker's steps. Floor 4; see job.h. What moves
// a job between its states is in pool.c. Locks: the caller's own slot's, when results move.
#include "flow/job.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "flow/cells.h"
#include "flow/pool.h"

#include <string.h>

static uint64_t pad8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

static mfi_block *block_of(mfi_self *self, mfi_ref job) { return mfi_at(self, job); }

static char *payload(mfi_self *self, mfi_ref job) { return (char *)mfi_job_at(self, job); }

static mfi_handle *refs_of(mfi_job *j) { return (mfi_handle *)(void *)(j + 1); }

static char *results_of(mfi_self *self, mfi_job *j) {
  if (j->results == 0)
    return (char *)j + j->results_at;
  return mfi_payload(mfi_at(self, j->results));
}

// ---- Building

static void set_up(mfi_job *j, const mfi_job_config *c, uint64_t size) {
  uint64_t items_at = sizeof *j + c->nrefs * sizeof(mfi_handle);
  memset(j, 0, items_at);
  j->counted.kind = MFI_KIND_JOB;
  j->nitems = c->nitems;
  j->nrefs = c->nrefs;
  j->first = c->first;
  j->items_at = j->fill_at = items_at;
  j->results_at = items_at + c->items_size;
  j->results_room = size - j->results_at;
  j->limit = c->limit;
  j->seed = c->seed;
  j->flags = c->flags;
  memcpy(j->label, c->label, strnlen(c->label, sizeof j->label - 1)); // the rest is zero
}

mfi_status mfi_job_make_sized(mfi_self *self, const mfi_job_config *c, uint64_t size,
                              mfi_ref *out) {
  // A job by kind only once it is set up: a burial must not take old bytes for handles.
  mfi_ref ref = mfi_heap_alloc(self, sizeof(mfi_job) + size, MFI_BLOCK_BYTES);
  if (ref == 0)
    return MFI_NOMEM;
  set_up(mfi_job_at(self, ref), c, block_of(self, ref)->size);
  block_of(self, ref)->kind = MFI_BLOCK_JOB;
  *out = ref;
  return MFI_OK;
}

mfi_status mfi_job_make(mfi_self *self, const mfi_job_config *c, mfi_ref *out) {
  uint64_t room = (uint64_t)c->nitems * 2 * sizeof(mfi_result) + MFI_DEATH_ROOM;
  return mfi_job_make_sized(self, c, c->nrefs * sizeof(mfi_handle) + c->items_size + room, out);
}

mfi_status mfi_job_add(mfi_self *self, mfi_ref job, const mfi_source *src, uint32_t kind) {
  mfi_job *j = mfi_job_at(self, job);
  char *at = payload(self, job) + j->fill_at;
  *(mfi_item *)(void *)at = (mfi_item){.size = src->size, .nrefs = src->nrefs, .kind = kind};
  for (uint32_t i = 0; i < src->nrefs; i++) {
    mfi_status st = mfi_handle_hold(self, src->refs[i], &refs_of(j)[j->fill_refs + i]);
    if (st != MFI_OK)
      return st;
  }
  src->copy(src->ctx, at + sizeof(mfi_item));
  j->fill_refs += src->nrefs;
  j->fill_at += sizeof(mfi_item) + pad8(src->size);
  mfi_slot_count(self->slot, MFI_STAT_MESSAGES, 1);
  mfi_slot_count(self->slot, MFI_STAT_BYTES, src->size);
  return MFI_OK;
}

mfi_status mfi_job_fill(mfi_self *self, mfi_ref job, const void *items, const mfi_handle *refs) {
  mfi_job *j = mfi_job_at(self, job);
  for (uint32_t i = 0; i < j->nrefs; i++) {
    mfi_status st = mfi_handle_hold(self, refs[i], &refs_of(j)[i]);
    if (st != MFI_OK)
      return st;
  }
  memcpy(payload(self, job) + j->items_at, items, j->results_at - j->items_at);
  mfi_slot_count(self->slot, MFI_STAT_MESSAGES, j->nitems);
  mfi_slot_count(self->slot, MFI_STAT_BYTES, j->results_at - j->items_at);
  return MFI_OK;
}

void mfi_job_discard(mfi_self *self, mfi_ref job) {
  mfi_job_release(self, job);
  mfi_heap_free(self, job);
}

// ---- Reading

bool mfi_job_item(mfi_self *self, mfi_ref job, mfi_cursor *c, mfi_view *out) {
  mfi_job *j = mfi_job_at(self, job);
  if (c->i == j->nitems)
    return false;
  mfi_item *item = (mfi_item *)(void *)(payload(self, job) + j->items_at + c->at);
  *out = (mfi_view){.bytes = item + 1,
                    .size = item->size,
                    .refs = refs_of(j) + c->ref,
                    .nrefs = item->nrefs,
                    .index = c->i,
                    .kind = item->kind};
  c->i++;
  c->ref += item->nrefs;
  c->at += sizeof *item + pad8(item->size);
  return true;
}

static uint64_t result_size(const mfi_result *r) {
  return sizeof *r + r->nrefs * sizeof(mfi_handle) + pad8(r->size);
}

bool mfi_job_result(mfi_self *self, mfi_ref job, mfi_cursor *c, mfi_view *out) {
  mfi_job *j = mfi_job_at(self, job);
  if (j->cells != 0)
    return mfi_cells_result(j, self, c, out);
  if (c->i == mfi_job_ended(j))
    return false;
  mfi_result *r = (mfi_result *)(void *)(results_of(self, j) + c->at);
  mfi_handle *refs = (mfi_handle *)(void *)(r + 1);
  *out = (mfi_view){.bytes = refs + r->nrefs,
                    .size = r->size,
                    .refs = refs,
                    .nrefs = r->nrefs,
                    .index = c->i,
                    .kind = r->status & 0xffff,
                    .death = (r->status & MFI_RESULT_DEATH) != 0};
  c->i++;
  c->at += result_size(r);
  return true;
}

// ---- The worker's side

static uint64_t used(const mfi_job *j) { return (load_relaxed(&j->progress) & UINT32_MAX) * 8; }

void mfi_job_begin_item(mfi_self *self, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  store_release(&j->begun, mfi_job_ended(j) + 1);
  MFI_FAULT(&self->region->faults, MFI_FAULT_ITEM_BEGUN);
}

// The results move to a larger block; the old one, if it is not the job's own, is freed.
static mfi_status grow(mfi_self *self, mfi_job *j, uint64_t need) {
  mfi_ref old = j->results;
  mfi_ref bigger = mfi_heap_alloc(self, 2 * (used(j) + need), MFI_BLOCK_BYTES);
  if (bigger == 0)
    return MFI_NOMEM;
  mfi_block *b = mfi_at(self, bigger);
  memcpy(mfi_payload(b), results_of(self, j), used(j));
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &j->results, bigger);
  mfi_change64(self, lock, &j->results_room, b->size);
  if (old == 0)
    mfi_hand_out(self, lock, bigger);
  else
    mfi_hand_swap(self, lock, bigger, old);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  if (old != 0)
    mfi_heap_free(self, old);
  return MFI_OK;
}

static void unhold_partial(mfi_self *self, mfi_job *j) {
  if (j->partial == 0 || j->partial_at != (uint32_t)load_relaxed(&j->progress))
    return;
  mfi_result *r = (mfi_result *)(void *)(results_of(self, j) + used(j));
  uint64_t *words = (uint64_t *)(void *)(r + 1);
  for (uint32_t i = 0; i < j->partial; i++)
    if (words[i] != 0)
      mfi_handle_unhold(self, &words[i]);
  j->partial = 0;
}

// Handles of a result are references of the job's: they are held before the item ends.
static mfi_status hold_results(mfi_self *self, mfi_job *j, uint64_t *words, const mfi_source *src) {
  memset(words, 0, src->nrefs * sizeof *words);
  j->partial_at = (uint32_t)load_relaxed(&j->progress);
  store_release(&j->partial, src->nrefs);
  j->result_refs = 1;
  for (uint32_t i = 0; i < src->nrefs; i++) {
    if (mfi_handle_hold(self, src->refs[i], &words[i]) == MFI_OK)
      continue;
    unhold_partial(self, j);
    return MFI_CLOSED;
  }
  return MFI_OK;
}

static void end_item(mfi_job *j, uint64_t size) {
  uint64_t p = load_relaxed(&j->progress);
  store_release(&j->progress, p + ((uint64_t)1 << 32) + size / 8);
  if (j->partial != 0)
    store_release(&j->partial, 0u);
}

mfi_status mfi_job_end_item(mfi_self *self, mfi_ref job, mfi_status status, const mfi_source *src) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_result head = {.size = src->size, .status = status, .nrefs = src->nrefs};
  uint64_t need = result_size(&head);
  if (used(j) + need + MFI_DEATH_ROOM > j->results_room) {
    if (used(j) / 8 + need / 8 > UINT32_MAX)
      return MFI_NOMEM;
    if (grow(self, j, need + MFI_DEATH_ROOM) != MFI_OK)
      return MFI_NOMEM;
  }
  mfi_result *r = (mfi_result *)(void *)(results_of(self, j) + used(j));
  uint64_t *words = (uint64_t *)(void *)(r + 1);
  *r = head;
  if (src->nrefs != 0 && hold_results(self, j, words, src) != MFI_OK)
    return MFI_CLOSED;
  src->copy(src->ctx, words + src->nrefs);
  MFI_FAULT(&self->region->faults, MFI_FAULT_RESULT_STORED);
  if (status != MFI_OK)
    j->failed++;
  end_item(j, need);
  mfi_slot_count(self->slot, MFI_STAT_MESSAGES, 1);
  mfi_slot_count(self->slot, MFI_STAT_BYTES, src->size);
  MFI_FAULT(&self->region->faults, MFI_FAULT_ITEM_ENDED);
  return MFI_OK;
}

bool mfi_job_is_cancelled(mfi_self *self, const mfi_job *j) {
  if (load_acquire(&j->cancel) != 0)
    return true;
  mfi_handle h = load_acquire(&j->batch);
  if (h == 0)
    return false;
  // The batch may go while we look; then the job no longer names it.
  mfi_object *o = mfi_object_entry(self, h);
  return load_acquire(&mfi_batch_of(o)->cancel) != 0 && load_acquire(&j->batch) == h;
}

// ---- After a death

// The worker may have died between counting a failure and ending the item: the results tell.
static uint32_t count_failed(mfi_self *self, mfi_ref job) {
  mfi_cursor c = {0};
  mfi_view v;
  uint32_t n = 0;
  while (mfi_job_result(self, job, &c, &v))
    n += v.kind != MFI_OK;
  return n;
}

void mfi_job_settle(mfi_self *self, mfi_ref job) {
  unhold_partial(self, mfi_job_at(self, job));
  mfi_job_at(self, job)->failed = count_failed(self, job);
}

void mfi_job_charge(mfi_self *self, mfi_ref job, mfi_status status, const mfi_death *death) {
  mfi_job *j = mfi_job_at(self, job);
  uint32_t ended = mfi_job_ended(j);
  if (load_acquire(&j->begun) <= ended)
    return;
  mfi_death d = *death;
  d.item = (uint32_t)(j->first + ended);
  mfi_result *r = (mfi_result *)(void *)(results_of(self, j) + used(j));
  *r = (mfi_result){.size = sizeof d, .status = status | MFI_RESULT_DEATH};
  memcpy(r + 1, &d, sizeof d);
  j->failed++;
  end_item(j, MFI_DEATH_ROOM);
}

// ---- Ending

static void unhold_results(mfi_self *self, mfi_ref job) {
  mfi_cursor c = {0};
  mfi_view v;
  while (mfi_job_result(self, job, &c, &v))
    for (uint32_t i = 0; i < v.nrefs; i++) {
      uint64_t *word = (uint64_t *)(uintptr_t)&v.refs[i];
      if (*word != 0)
        mfi_handle_unhold(self, word);
    }
}

void mfi_job_drop_items(mfi_self *self, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  if (j->cells != 0) {
    mfi_cells_release(self, j);
    return;
  }
  for (uint32_t i = 0; i < j->nrefs; i++)
    if (refs_of(j)[i] != 0)
      mfi_handle_unhold(self, &refs_of(j)[i]);
}

void mfi_job_release(mfi_self *self, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_job_drop_items(self, job);
  unhold_partial(self, j);
  if (j->result_refs != 0)
    unhold_results(self, job);
  if (j->results != 0) {
    store_release(&j->progress, (uint64_t)0); // nobody reads results that are gone
    mfi_heap_free(self, mfi_hand_pull(self, &j->results));
  }
  if (j->counted.home != 0 && j->number == 0) // those of batches do not hold it
    mfi_handle_unhold(self, &j->counted.home);
}

static void destroy(mfi_self *self, void *body) {
  mfi_job_release(self, mfi_ref_of(self, (mfi_block *)body - 1));
}

const mfi_object_ops mfi_job_ops = {"Future", destroy, NULL, NULL};
