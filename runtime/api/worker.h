// What a C host gives to its workers' states: modules, hooks, where their output goes. Floor 6.
// The lists only grow, at their end, and are read without a lock: by threads, and by processes that
// were forked later.
#ifndef MFI_API_WORKER_H
#define MFI_API_WORKER_H

#include "api/runtime.h"

// A mf_preload, a mf_register_cfunction, or a hook.
typedef struct mfi_given {
  struct mfi_given *next; // atomic
  lua_CFunction open;     // of a module; NULL: something else
  lua_CFunction build;    // of a C function; NULL: something else
  int (*start)(lua_State *L, void *ud);
  int (*stop)(lua_State *L, void *ud);
  void *ud;
  char name[]; // of a module or C function, zero-ended
} mfi_given;

void mfi_worker_host_init(mf_runtime *rt, const mf_config *c);
void mfi_worker_host_fini(mf_runtime *rt);

// Makes the host's modules and C functions known in a state. [-0, +0, m]
void mfi_worker_host_preload(mf_runtime *rt, lua_State *L);

// Makes process workers that are started now know what was given meanwhile. Under the mutex.
void mfi_worker_refresh(mf_runtime *rt);

// mfi_runtime_up.run
int mfi_worker_run_host(mfi_self *self, mfi_object *worker);

// Workers that have not quite gone. Under the mutex.
int mfi_worker_count(mf_runtime *rt);

#endif
