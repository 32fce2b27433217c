// Running what workers are for: a target of their own, or a pool's jobs. Floor 5.
//
//   worker: open a state → context, payload → target | initializer, jobs … → children → close the
//   state
//
// An item is run in one protected call: its function, its arguments, the call, its result. Where it
// fails decides its status; a stop that passes through ends the worker.
#ifndef MFI_SCRIPT_EXEC_H
#define MFI_SCRIPT_EXEC_H

#include "script/context.h"

// mfi_item.kind: what the bytes of an item are.
enum {
  MFI_ITEM_ARGS = 0,  // arguments of its batch's function
  MFI_ITEM_CALL = 1,  // function (or "module:name"), kwargs or nil, arguments
  MFI_ITEM_C = 2,     // mfi_exec_c, then the bytes of its input
  MFI_ITEM_SOURCE = 3 // Lua text, its name, arguments
};

// What a host gives to the states of its workers: mfi_runtime.host. NULL, and NULL members:
// nothing.
typedef struct mfi_exec_host {
  void *ud;
  // In each state that runs tasks, behind its libraries (libs: MFI_LIB_*, 0: all). [-0, +0, v]
  void (*prepare)(void *ud, lua_State *L, uint32_t libs);
  // In each of them before its target or initializer, and in each worker at its orderly end. An
  // error in `begin` is the initializer's. [-0, +0, v]
  void (*begin)(void *ud, lua_State *L);
  void (*end)(void *ud, lua_State *L);
  // Takes what workers print, instead of stdout and stderr. ud: the worker's mfi_self.
  void (*print)(void *ud, int stream, const char *data, size_t size);
  lua_Alloc alloc; // where the states of this process have their memory from; NULL: malloc
  void *alloc_ud;
  int stop_signal; // reaches thread workers; 0: mfi_os_stop_signal()
} mfi_exec_host;

// Head of an MFI_ITEM_C.
typedef struct mfi_exec_c {
  int (*fn)(lua_State *L, const void *in, size_t size);
  uint64_t size; // of the input
} mfi_exec_c;

// mfi_runtime_up.run, .get_ready (a state for `run`) and .poke.
int mfi_exec_worker(mfi_self *self, mfi_object *worker);
void *mfi_exec_get_ready(void);
void mfi_exec_poke(mfi_self *self, uint32_t slot);
// The signal that reaches thread workers.
int mfi_exec_stop_signal(mfi_self *self);

// Runs the items of a job that the caller has taken, and ends it. False: it was stopped in the
// middle, the job is still the slot's, for its burial.
// next: not NULL: the next job, taken at once; 0: none, or the core was kicked since `kick`.
bool mfi_exec_job(mfi_context *m, mfi_object *core, mfi_ref job, mfi_ref *next, uint32_t kick);

// Runs a queued job inside the caller's task (or its submit: serial pools), in a state of its own.
// False: somebody else has taken it, or there is no state to be had.
bool mfi_exec_inline(lua_State *L, mfi_object *core, mfi_ref job);
// Ends the spare states of a context; before its own state is closed.
void mfi_exec_close_spares(mfi_context *m);
// Ends those of one pool that are not in use: it is let go.
void mfi_exec_close_spares_of(mfi_context *m, mfi_handle core);

// At a worker's or script's end: waits for children that are not daemons, terminates those that
// are.
bool mfi_exec_end_children(mfi_self *self, bool wait);

// Calls the target or initializer at `first`: f, kwargs or nil, args …; results are left. [-n, +m,
// v]
int mfi_exec_call(lua_State *L, int first);

#endif
