// What stands behind the handles of moonfleet.h. Floor 6.
//
// A runtime's references lie in the handle table of one slot, its home, so that any thread may
// release what another one opened: `home` is used under `mutex` alone, for moments. A call that
// waits does so in the slot of its own thread (caller.h).
//
//   OPEN --[mf_close]--> CLOSED: no worker any more --[last handle released]--> freed
#ifndef MFI_API_RUNTIME_H
#define MFI_API_RUNTIME_H

#include "flow/pool.h"
#include "flow/runtime.h"
#include "moonfleet.h"
#include "script/exec.h"

#include <pthread.h>

struct mf_runtime {
  mfi_runtime rt;
  mfi_exec_host host; // what its workers' states get
  mfi_self home;      // under mutex
  pthread_mutex_t mutex;
  pthread_key_t key;          // the calling thread's mfi_caller
  uint64_t refs;              // itself until mf_close, and its handles; under mutex
  uint32_t closed;            // atomic
  uint32_t interrupted;       // atomic: mf_interrupt is on
  struct mfi_given *given;    // modules and hooks, worker.h; atomic
  bool stale;                 // something was given since the warden was forked; under mutex
  bool in_child;              // this process is a worker: the home is not its own
  bool stop_installed;        // under mutex
  struct mfi_caller *callers; // under mutex
  mf_pool *pools;             // under mutex
  mf_backend backend;         // of pools that do not say
  mf_limits limits;           // of pools that do not say
  char *path, *cpath;         // of workers; NULL: as in a fresh Lua
};

struct mf_pool {
  mf_runtime *rt;
  mfi_handle handle;
  uint32_t place; // in home's table
  uint32_t libs;  // of its workers
  mfi_object *core;
  mf_pool *next; // in rt->pools
};

struct mf_queue {
  mf_runtime *rt;
  mfi_handle handle;
  uint32_t place; // in home's table
  mfi_object *o;
};

// One more handle; false: the runtime is closed, or this process is one of its workers.
bool mfi_runtime_enter(mf_runtime *rt);
// A handle less. The last one frees what mf_close has left.
void mfi_runtime_leave(mf_runtime *rt);

static inline void mfi_lock_home(mf_runtime *rt) { pthread_mutex_lock(&rt->mutex); }
static inline void mfi_unlock_home(mf_runtime *rt) { pthread_mutex_unlock(&rt->mutex); }

#endif
