// Cells: the items of a job that any number of workers run side by side, one item at a time, for
// calls of very many small tasks. Floor 4.
//
//   | mfi_job | state[n] | cell[n] |      a cell: its head, then the item's bytes, in their place
//                                         later those of its result
//
//   state: 0 --[mfi_cells_claim]--> slot index --[mfi_cells_end, mfi_cells_charge]--> ENDED |
//   status
//          0 --[mfi_cells_close]--> ENDED | WITHOUT | status
//
// A worker joins the job under the core's lock (slot->job names it, `joined` counts it), then
// claims cell after cell by one CAS each, and leaves under the lock when there is none for it any
// more. A cell that is claimed has begun: a death charges that one, and no other. Items come from
// batches and have no handles; a result that has some, or is large, lies in a message block.
//
//   QUEUED: some cell may be had --[mfi_cells_through]--> RUNNING: all are claimed
//      --[the last one leaves]--> ENDED
//
// The job is in the core's queue until it has ended; `jobs` counts it while it is QUEUED. A claimed
// cell belongs to a slot that has joined, so when nobody is left, all cells have ended or may be
// had.
#ifndef MFI_FLOW_CELLS_H
#define MFI_FLOW_CELLS_H

#include "flow/job.h"
#include "flow/pool_queue.h"

#define MFI_CELL_MOST 232 // bytes of an item in a cell

typedef struct mfi_job_cell {
  mfi_ref result; // message block; 0: the bytes below
  uint32_t size;  // of the item's bytes; since it ended, of its result's
  uint32_t pad;
  char bytes[];
} mfi_job_cell;

// A job of c->nitems cells in the caller's hand, for workers of `core`. items: as for mfi_job_fill,
// the largest of them with `largest` bytes.
mfi_status mfi_cells_make(mfi_self *self, mfi_object *core, const mfi_job_config *c,
                          const void *items, uint64_t largest, mfi_ref *out);

// ---- A worker that has joined

// The next cell to run; false: none can be had.
bool mfi_cells_claim(mfi_self *self, mfi_object *core, mfi_ref job, mfi_view *out);
// Stores a result and ends the cell. MFI_NOMEM, MFI_CLOSED: nothing was stored, try another.
mfi_status mfi_cells_end(mfi_self *self, mfi_ref job, uint32_t cell, mfi_status status,
                         const mfi_source *src);
// No cell begins any more: those that nobody claimed end with `status`, without a result.
void mfi_cells_close(mfi_self *self, mfi_ref job, mfi_status status);
// Ends the cell that the worker in this slot was at, if any. death: NULL: without a result.
void mfi_cells_charge(mfi_self *self, mfi_ref job, uint32_t slot, mfi_status status,
                      const mfi_death *death);
// An item failed: the batch's waiter is told at once.
void mfi_cells_tell_failure(mfi_self *self, mfi_object *core, mfi_ref job);

// ---- Under the core's lock

// Is there a cell that can be had, and may the caller join?
bool mfi_cells_may_join(mfi_self *self, mfi_ref job);
void mfi_cells_join(mfi_self *self, mfi_object *core, mfi_ref job);
// QUEUED becomes RUNNING, if all are claimed or ended; else false.
bool mfi_cells_through(mfi_self *self, mfi_object *core, mfi_ref job);
// The worker in the slot leaves; the last one ends the job, if all cells have ended.
mfi_ending mfi_cells_leave(mfi_self *self, mfi_object *core, mfi_ref job, mfi_slot *who);
// Its part of the record, 2 pairs; for mfi_job_finish.
void mfi_cells_change_left(mfi_self *self, mfi_object *core, mfi_job *j, mfi_slot *who);
// Asks all workers that are at one of its cells to stop.
void mfi_cells_stop(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status why);

// ---- Reading

// The next cell that has a result; false: no more. For mfi_job_result.
bool mfi_cells_result(mfi_job *j, const mfi_self *self, mfi_cursor *c, mfi_view *out);

typedef struct mfi_tally {
  uint32_t queued, running, done, failed, cancelled; // items
  mfi_status rest;                                   // why some have no result; MFI_OK: all have
} mfi_tally;
mfi_tally mfi_cells_tally(mfi_job *j);
// Has no cell been claimed or ended yet?
bool mfi_cells_are_fresh(mfi_job *j);

void mfi_cells_release(mfi_self *self, mfi_job *j); // for mfi_job_release

#endif
