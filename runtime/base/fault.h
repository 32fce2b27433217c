// Places where a worker may die, and can be made to, for tests. Floor 0.
//
//   MFI_STEP()        stands between stores into shared memory whose order matters to who finds
//   this
//                     worker dead: the compiler keeps them on their sides of it in every build, and
//                     the walk of tests/c kills a process at the nth step for n = 1, 2, 3 … until
//                     the operation gets through.
//   MFI_FAULT(point)  a named race; armed from a test, in memory that all workers see, it kills the
//                     worker that reaches it. Its hits are counted, so that a test can tell.
//   MFI_DENIED()      before shared memory is given out: from the nth time on there is none.
#ifndef MFI_BASE_FAULT_H
#define MFI_BASE_FAULT_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum mfi_fault_point {
  MFI_FAULT_SUBMITTED,     // a job is queued, nobody was woken
  MFI_FAULT_BEFORE_PICKUP, // a pool worker looks for work, has taken nothing
  MFI_FAULT_PICKED_UP,     // the job is its own, no item has begun
  MFI_FAULT_ITEM_BEGUN,    // an item has begun, its function was not yet called
  MFI_FAULT_RESULT_STORED, // the result lies in shared memory, the item has not ended
  MFI_FAULT_ITEM_ENDED,    // the item has ended, the job has not
  MFI_FAULT_JOB_ENDED,     // the job is done, nobody was woken
  MFI_FAULT_INITIALIZER,   // the worker is about to run its initializer
  MFI_FAULT_GET_TAKEN,     // a queue message was taken, not yet decoded
  MFI_FAULT_PUT_READY,     // a queue message is encoded, not yet put
  MFI_FAULT_POINTS
} mfi_fault_point;

// Lies in the region. armed: 0 off; n: the nth worker to get there dies. Atomic.
typedef struct mfi_fault_table {
  uint32_t armed[MFI_FAULT_POINTS];
  uint32_t hits[MFI_FAULT_POINTS];
  uint64_t allowed; // 0: no limit; n: what is asked for gets n - 1 times something. Atomic
} mfi_fault_table;

#ifdef MFI_FAULTS
extern int64_t mfi_fault_countdown; // steps until this process kills itself; 0: never
void mfi_fault_step(void);
void mfi_fault_hit(mfi_fault_table *table, mfi_fault_point point);
#define MFI_STEP()                                                                                 \
  do {                                                                                             \
    if (mfi_fault_countdown != 0)                                                                  \
      mfi_fault_step();                                                                            \
  } while (0)
#define MFI_FAULT(table, point) mfi_fault_hit((table), (point))
bool mfi_fault_denies(mfi_fault_table *table);
#define MFI_DENIED(table) mfi_fault_denies(table)
#else
#define MFI_STEP() keep_program_order()
#define MFI_FAULT(table, point) ((void)(table))
#define MFI_DENIED(table) ((void)(table), false)
#endif

// The points' names, for tests; NULL past the last.
const char *mfi_fault_name(int point);

#endif
