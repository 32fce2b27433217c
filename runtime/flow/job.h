// Jobs: what a pool's worker takes at once, one item (submit) or a chunk of them (map). Floor 4.
//
//   QUEUED --[mfi_pool_take]--> RUNNING --[mfi_job_end]--> ENDED (status says how)
//     |  ^                        |
//     |  \--[burial: items left]--/
//     \--[mfi_job_cancel, mfi_pool_terminate]--> ENDED
//
// A job's block: | mfi_job | refs | items | room for results |. An item is {size, nrefs} and bytes;
// a result {size, status, nrefs}, refs, bytes. Results that find no room move to a block of their
// own.
//
// An item is a task: `begun` and `ended` are stored by the job's worker alone, before and after
// each. After a death ended < begun charges that one item; what is left is queued again.
//
// The items of a job of cells are run by several workers side by side, see cells.h.
//
// A job is counted: its references are the pool's until it has ended, its batch's, and each
// Future's. All its words but begun, ended and the result area are guarded by the lock of its home,
// the core.
#ifndef MFI_FLOW_JOB_H
#define MFI_FLOW_JOB_H

#include "base/atomic.h"
#include "flow/message.h"
#include "sync/event.h"

enum { MFI_JOB_QUEUED = 1, MFI_JOB_RUNNING, MFI_JOB_ENDED };

typedef struct mfi_job {
  mfi_counted counted;
  uint32_t state;         // MFI_JOB_*; read atomically
  uint32_t status;        // since ENDED: MFI_OK: each item has its own; else of all that have none
  mfi_ref next, prev;     // in the core's queue
  uint32_t cells;         // set once: its items are cells, so many; 0: they are not
  uint32_t stride;        // bytes of a cell; set once
  uint32_t joined;        // workers that run cells of it
  uint32_t next_cell;     // all before it have begun: where to look first; atomic
  uint64_t cells_at;      // offset in the payload; set once
  mfi_handle batch;       // weak: cleared before the batch goes; 0: none. Read atomically
  mfi_ref younger, older; // in the batch's list
  mfi_ref done_next;      // in the batch's list of ended jobs
  mfi_handle pool;        // weak: the pool that its Futures keep alive
  uint64_t taker;         // slot id of who runs it; of cells, of the one that joined inside a task
  uint64_t watcher;       // slot id of who is told of its end, with a reference; 0: nobody
  uint32_t watch_depth;   // of the state there that watches
  uint32_t others;        // other slots would like to know, too
  mfi_ref outer;          // job that the taker ran when it took this one, inside it
  mfi_ref due_next;       // in the watcher's list, under that slot's lock
  uint32_t due;           // it is there, or was
  uint32_t cancel;        // no item of it is to begin any more; read atomically
  uint32_t nitems;        // set once
  uint32_t begun;         // own of the worker; read atomically
  uint64_t progress;      // ended << 32 | bytes of results / 8: ONE store ends an item
  uint32_t failed;        // ended items whose status is not MFI_OK; own of the worker
  uint32_t counted_ended, counted_failed; // of these, what the core's counts know
  uint32_t asked;                         // somebody has seen its outcome; atomic
  uint32_t partial;     // handles of the result that is being written; own of the worker
  uint32_t partial_at;  // where, as bytes of results / 8
  uint32_t nrefs;       // handles of all items
  uint32_t result_refs; // some result has handles; of cells: or a block of its own
  uint64_t first;       // index of its first item in the whole call, from 1
  uint64_t items_at;    // offset in the payload
  uint64_t fill_at;     // while it is built
  uint32_t fill_refs, flags;
  uint32_t directed; // it lies in the core's directed list, for `taker` alone
  uint64_t results_at, results_room;
  mfi_ref results; // block of the results; 0: in this one
  int64_t limit;   // ns that an item may run; 0: no limit
  uint64_t seed;   // of its first item; 0: none
  uint64_t number; // serial of its batch, names the image in caches; 0: none
  char label[96];  // "map", "submit" …, zero-ended; in errors
} mfi_job;

static inline uint32_t mfi_job_ended(const mfi_job *j) {
  return (uint32_t)(load_acquire(&j->progress) >> 32);
}

typedef struct mfi_item {
  uint64_t size;
  uint32_t nrefs;
  uint32_t kind; // what the script floor makes of it
} mfi_item;

typedef struct mfi_result {
  uint64_t size; // of the bytes; handles come before them
  uint32_t status;
  uint32_t nrefs;
} mfi_result;

// What stands in the place of a result when a worker died or was stopped under an item.
typedef struct mfi_death {
  uint32_t pid;
  int32_t exitcode;
  uint32_t item; // index in the whole call, from 1
  uint32_t pad;
  char worker[MFI_NAME_SIZE];
} mfi_death;
#define MFI_RESULT_DEATH (1u << 16) // in mfi_result.status
#define MFI_DEATH_ROOM (sizeof(mfi_result) + sizeof(mfi_death))

// A job being built, in the caller's hand. items_size: bytes of all items with heads, each padded
// to 8.
typedef struct mfi_job_config {
  uint32_t nitems, nrefs;
  uint64_t items_size;
  uint64_t first;
  int64_t limit;
  uint64_t seed;
  uint32_t flags;
  const char *label;
} mfi_job_config;
mfi_status mfi_job_make(mfi_self *self, const mfi_job_config *c, mfi_ref *out);
// One with `size` bytes behind its head, which are the caller's to fill; `c->items_size` counts.
mfi_status mfi_job_make_sized(mfi_self *self, const mfi_job_config *c, uint64_t size, mfi_ref *out);
// Writes its next item. MFI_CLOSED: an object in it is gone.
mfi_status mfi_job_add(mfi_self *self, mfi_ref job, const mfi_source *src, uint32_t kind);
// The same for all items at once, written one behind another with their heads, each padded to 8.
mfi_status mfi_job_fill(mfi_self *self, mfi_ref job, const void *items, const mfi_handle *refs);
void mfi_job_discard(mfi_self *self, mfi_ref job); // one that was not submitted

static inline mfi_job *mfi_job_at(const mfi_self *self, mfi_ref ref) {
  return (mfi_job *)((mfi_block *)mfi_there(self, ref) + 1);
}

// ---- Reading items and results

typedef struct mfi_cursor {
  uint32_t i;   // items read
  uint32_t ref; // handles passed
  uint64_t at;  // bytes passed
} mfi_cursor;

typedef struct mfi_view {
  const void *bytes;
  uint64_t size;
  const mfi_handle *refs;
  uint32_t nrefs;
  uint32_t index; // of the item in its job, from 0
  uint32_t kind;  // of an item; of a result its status
  bool death;     // of a result: its bytes are an mfi_death
} mfi_view;

// The next item or result; false: no more.
bool mfi_job_item(mfi_self *self, mfi_ref job, mfi_cursor *c, mfi_view *out);
bool mfi_job_result(mfi_self *self, mfi_ref job, mfi_cursor *c, mfi_view *out);

// ---- The worker's side

void mfi_job_begin_item(mfi_self *self, mfi_ref job);
// Stores the result, then ends the item. MFI_NOMEM, MFI_CLOSED: nothing was stored, try another.
mfi_status mfi_job_end_item(mfi_self *self, mfi_ref job, mfi_status status, const mfi_source *src);

// Is an item of it not to begin any more? Cheap.
bool mfi_job_is_cancelled(mfi_self *self, const mfi_job *job);

// After a death: gives back what a half-written result held, and counts what the results say.
void mfi_job_settle(mfi_self *self, mfi_ref job);
// Then: charges the item that had begun and not ended with `status`, for a worker that died or was
// stopped.
void mfi_job_charge(mfi_self *self, mfi_ref job, mfi_status status, const mfi_death *death);

// Gives back what the items of a running job refer to, once all have ended: its Futures may live
// for long.
void mfi_job_drop_items(mfi_self *self, mfi_ref job);

// Gives back what a job in hand refers to: for its end and for burial. May be repeated.
void mfi_job_release(mfi_self *self, mfi_ref job);

extern const mfi_object_ops mfi_job_ops;

#endif
