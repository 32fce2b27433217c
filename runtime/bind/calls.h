// What the bindings of workers, pools, futures and batches share. Floor 7.
#ifndef MFI_BIND_CALLS_H
#define MFI_BIND_CALLS_H

#include "bind/object.h"

// Encodes the context at idx as the first part of a parcel, kept. [-0, +1, v]
void mfi_bind_encode_context(lua_State *L, int idx, mfi_parcel *p);
// Encodes f, kwargs and the list args, at these indices, as one kept message. [-0, +1, v]
void mfi_bind_encode_call(lua_State *L, int f, int args, int kwargs, mfi_encoded *out);

// How many arguments the list at idx holds: `n`, else its length; raises for what is no such
// number. There is room on the stack for them. [-0, +0, v]
int mfi_bind_count(lua_State *L, int idx);

const char *mfi_bind_backend(uint32_t backend);
void mfi_bind_push_death(lua_State *L, const mfi_death *d); // [-0, +1, m]

// Where the pool is serial: runs here and now what was submitted, the batch's jobs, or (batch 0)
// this one. [-0, +0, v]
void mfi_bind_run_serial(lua_State *L, mfi_object *core, mfi_handle batch, mfi_ref job);
// Raises why a pool does not take the task of this label.
void mfi_bind_refuse(lua_State *L, mfi_status st, const char *label);

// Waits until `over` of `what`, whose event is key's; inside a pool's task it helps: runs what is
// awaited and not begun. next gives the oldest such job, or 0; NULL: there never is one. MFI_OK,
// MFI_TIMEDOUT. [-0, +0, v]
typedef mfi_status mfi_wait_fn(mfi_self *self, void *what, mfi_ns until);
typedef mfi_ref mfi_next_fn(mfi_self *self, void *what);
mfi_status mfi_bind_wait(lua_State *L, mfi_object *core, mfi_wait_fn *wait, mfi_next_fn *next,
                         void *what, mfi_ns until);

// Sleeps in `wait`; in a pool's task the pool may start a spare worker meanwhile. MFI_OK,
// MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_bind_sleep(mfi_context *m, mfi_wait_fn *wait, void *what, mfi_ns until);
// Inside a task, may it run what it would wait for?
bool mfi_bind_may_help(const mfi_context *m, mfi_ns until);

// Pushes what a result holds: of MFI_OK its values; of a failure value and traceback, or the death.
// How many. [-0, +n, v]
int mfi_bind_push_result(lua_State *L, mfi_context *m, const mfi_view *v);

// A userdata first, its reference later: nothing between may raise.
mfi_box *mfi_bind_empty(lua_State *L, mfi_object_kind kind);
void mfi_bind_own(mfi_box *b, mfi_handle h, uint32_t place); // raises nothing
void mfi_bind_remember(lua_State *L, const mfi_box *b);      // the one at the top. [-0, +0, m]
void mfi_bind_fill(lua_State *L, mfi_box *b, mfi_handle h, uint32_t place); // both

#endif
