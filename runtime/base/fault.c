// Fault points of the test build. Floor 0; see fault.h.
#include "base/fault.h"

#include <stddef.h>

static const char *const names[MFI_FAULT_POINTS] = {
    "submitted",  "before_pickup", "picked_up",   "item_begun", "result_stored",
    "item_ended", "job_ended",     "initializer", "get_taken",  "put_ready",
};

const char *mfi_fault_name(int point) {
  return point >= 0 && point < MFI_FAULT_POINTS ? names[point] : NULL;
}

#ifdef MFI_FAULTS
#include "base/atomic.h"

#include <signal.h>

int64_t mfi_fault_countdown = 0;

static void die(void) {
  for (;;)
    raise(SIGKILL);
}

void mfi_fault_step(void) {
  if (--mfi_fault_countdown == 0)
    die();
}

void mfi_fault_hit(mfi_fault_table *table, mfi_fault_point point) {
  uint32_t armed = load_seqcst(&table->armed[point]);
  while (armed != 0) {
    if (!cas_seqcst(&table->armed[point], &armed, armed - 1))
      continue;
    if (armed != 1)
      return;
    fetch_add_seqcst(&table->hits[point], 1u);
    die();
  }
}

bool mfi_fault_denies(mfi_fault_table *table) {
  uint64_t left = load_seqcst(&table->allowed);
  while (left > 1)
    if (cas_seqcst(&table->allowed, &left, left - 1))
      return false;
  return left == 1;
}
#endif
