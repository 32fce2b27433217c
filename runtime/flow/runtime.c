// What kinds of objects and blocks there are, and a thread's view of a runtime. Floor 4.
#include "flow/runtime.h"

#include "flow/array.h"
#include "flow/connection.h"
#include "flow/message.h"
#include "flow/pool.h"
#include "flow/queue.h"
#include "sync/gates.h"
#include "sync/locks.h"

#include <stdarg.h>
#include <stdio.h>

const mfi_object_ops *const mfi_flow_ops[MFI_KINDS] = {
    [MFI_KIND_QUEUE] = &mfi_queue_ops,     [MFI_KIND_LOCK] = &mfi_lock_ops,
    [MFI_KIND_RLOCK] = &mfi_rlock_ops,     [MFI_KIND_SEMAPHORE] = &mfi_semaphore_ops,
    [MFI_KIND_BOUNDED] = &mfi_bounded_ops, [MFI_KIND_POOL] = &mfi_pool_ops,
    [MFI_KIND_CORE] = &mfi_core_ops,       [MFI_KIND_BATCH] = &mfi_batch_ops,
    [MFI_KIND_JOB] = &mfi_job_ops,         [MFI_KIND_WORKER] = &mfi_worker_ops,
    [MFI_KIND_VALUE] = &mfi_cell_ops,      [MFI_KIND_ARRAY] = &mfi_array_ops,
    [MFI_KIND_EVENT] = &mfi_flag_ops,      [MFI_KIND_CONDITION] = &mfi_condition_ops,
    [MFI_KIND_BARRIER] = &mfi_barrier_ops, [MFI_KIND_CONNECTION] = &mfi_connection_ops,
};

static void drop_job(mfi_self *self, mfi_ref block) { mfi_job_release(self, block); }

mfi_drop_fn *const mfi_flow_drops[MFI_BLOCK_KINDS] = {
    [MFI_BLOCK_MESSAGE] = mfi_message_unhold,
    [MFI_BLOCK_JOB] = drop_job,
};

mfi_self mfi_self_make(mfi_runtime *rt, uint32_t slot) {
  mfi_self self = {.region = rt->region,
                   .index = slot,
                   .fd = rt->fd,
                   .ops = rt->ops,
                   .drops = rt->drops,
                   .runtime = rt};
  self.slot = mfi_slot_at(&self, slot);
  return self;
}

bool mfi_runtime_log(mfi_self *self, mfi_level level, const char *text, size_t size) {
  const mfi_runtime *rt = mfi_runtime_of(self);
  if (rt == NULL || rt->up == NULL || rt->up->log == NULL)
    return false;
  return rt->up->log(self, level, text, size);
}

void mfi_runtime_logf(mfi_self *self, mfi_level level, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n > 0)
    mfi_runtime_log(self, level, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}
