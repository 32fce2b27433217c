// Batches in Lua: what the files about them share. Floor 7.
//
//   list or range --[batch_items.c]--> chunks: items written into scratch memory, then a job
//   jobs that ended --[batch_results.c]--> values in the caller's table
#ifndef MFI_BIND_BATCH_H
#define MFI_BIND_BATCH_H

#include "bind/object.h"

// What all jobs of a batch have in common; the batch's user value keeps it.
typedef struct mfi_bind_plan {
  int64_t limit;
  uint64_t seed;
  bool cells; // chunks of one item may be cells
  char label[96];
} mfi_bind_plan;

mfi_box *mfi_bind_batch_check(lua_State *L); // the argument #1 [-0, +0, v]
mfi_object *mfi_bind_batch_core(const mfi_box *b);

// Functions of moonfleet.core.
int mfi_bind_batch_list(lua_State *L);
int mfi_bind_batch_range(lua_State *L);
int mfi_bind_batch_everywhere(lua_State *L);
int mfi_bind_batch_wait(lua_State *L);
int mfi_bind_batch_take(lua_State *L);
int mfi_bind_batch_next(lua_State *L);

#endif
