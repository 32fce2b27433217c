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

#define MFI_WATCHED 256

// A callback that is due: of a future, or on_error.
typedef struct mfi_due {
  struct mfi_due *next;
  mf_future *f; // which it keeps; NULL: on_error
  mf_done_fn *fn;
  void *ud;
  mf_status status;
  char *text;
} mfi_due;

// Where serial pools run their tasks, serial.h; under its mutex.
typedef struct mfi_serial {
  pthread_mutex_t mutex;
  mfi_self self; // slot NULL: not used yet
  lua_State *L;
  mfi_context *m;
  mfi_output *output;
} mfi_serial;

struct mf_runtime {
  mfi_runtime rt;
  mfi_exec_host host; // what its workers' states get
  mfi_self home;      // under mutex
  pthread_mutex_t mutex;
  pthread_key_t key;             // the calling thread's mfi_caller
  uint64_t refs;                 // itself until mf_close, and its handles; under mutex
  uint32_t closed;               // atomic
  uint32_t over;                 // atomic: the last callback has run
  uint32_t interrupted;          // atomic: mf_interrupt is on
  struct mfi_given *given;       // modules and hooks, worker.h; atomic
  bool stale;                    // something was given since the warden was forked; under mutex
  bool in_child;                 // this process is a worker: the home is not its own
  bool stop_installed;           // under mutex
  struct mfi_caller *callers;    // under mutex
  struct mfi_attached *attached; // Lua states of the host's, lua_state.h; under mutex
  mf_pool *pools;                // under mutex
  mf_backend backend;            // of pools that do not say
  mf_limits limits;              // of pools that do not say
  char *path, *cpath;            // of workers; NULL: as in a fresh Lua
  mfi_serial serial;
  // What becomes due, dispatch.h; under mutex where nothing else is said.
  struct mfi_beacon *beacon; // set once
  uint32_t beacon_slot;      // set once
  uint32_t note_wanted;      // atomic: callers are to look up
  uint32_t dispatching;      // atomic: a thread is in mf_dispatch
  uint32_t polled;           // watched futures that nobody tells of
  pthread_cond_t ended;      // a watched future has
  mf_future *futures;        // all that have a handle
  mf_future *wanted;         // to be watched
  mf_future *watched[MFI_WATCHED];
  mfi_due *due_first, *due_last;
  uint64_t due_count;
  int fd;              // mf_fd; -1: none
  mfi_object *reports; // queue of what is for on_output and on_log; set once; NULL: nothing is
  mf_output_fn *on_output;
  mf_error_fn *on_error;
  mf_log_fn *on_log;
  void *ud; // of these three
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
  struct mfi_light *light; // mf_queue_fd; atomic, set under mutex
};

struct mf_array {
  mf_runtime *rt;
  mfi_handle handle;
  uint32_t place; // in home's table
  uint32_t type;  // mfi_type
  uint64_t count;
  void *data;
};

// Before thread workers can come to be: the signal that stops them has its handler. Under the
// mutex.
void mfi_runtime_listen(mf_runtime *rt);

// What is wrong with them; NULL: nothing, or there are none.
const char *mfi_check_limits(const mf_limits *l);

// One more handle; false: the runtime is closed, or this process is one of its workers.
bool mfi_runtime_enter(mf_runtime *rt);
// A handle less. The last one frees what mf_close has left.
void mfi_runtime_leave(mf_runtime *rt);

// Memory of a handle, zeroed; NULL: none. By the host's allocator, if it gave one.
void *mfi_new(mf_runtime *rt, size_t size);
void mfi_delete(mf_runtime *rt, void *p, size_t size);

static inline void mfi_lock_home(mf_runtime *rt) { pthread_mutex_lock(&rt->mutex); }
static inline void mfi_unlock_home(mf_runtime *rt) { pthread_mutex_unlock(&rt->mutex); }

#endif
