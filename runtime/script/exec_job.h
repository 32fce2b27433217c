// Parts of exec that its files share. Floor 5.
#ifndef MFI_SCRIPT_EXEC_JOB_H
#define MFI_SCRIPT_EXEC_JOB_H

#include "os/signal.h"
#include "script/exec.h"
#include "script/func.h"

mfi_output *mfi_exec_output(mfi_self *self, mfi_output_kind kind, bool no_input);
// core: the pool whose tasks it runs; NULL: a target of its own.
lua_State *mfi_exec_open(mfi_self *self, mfi_output *output, uint64_t memory_limit,
                         mfi_object *core);
// What the host does in a state; see mfi_exec_host. [-0, +0, v]
void mfi_exec_prepare(lua_State *L, mfi_self *self, mfi_object *core);
void mfi_exec_begin(lua_State *L, mfi_self *self);
// Runs the Lua text at index `text`, its name and arguments behind it; how many results. [-n, +m,
// v]
int mfi_exec_source(lua_State *L, int text);
// Runs a task in C; how many results. [-0, +m, v]
int mfi_exec_c_item(lua_State *L, const void *bytes, uint64_t size);
void mfi_exec_set_context(lua_State *L, mfi_context *m, const mfi_message *message);
// Context and initializer of a pool, in m's state. False: it failed, the pool is broken; or
// stopped.
bool mfi_exec_init_pool(mfi_context *m, const void *bytes, uint64_t size, const mfi_body *body);
int mfi_exec_initialize(lua_State *L);
// The error at idx and its traceback as a message; an error that cannot travel becomes its text.
void mfi_exec_encode_failure(lua_State *L, int error, mfi_encoded *out);
// How a call failed whose error is at idx: MFI_FAILED, MFI_NOT_SENDABLE, MFI_MEMORY_LIMIT …
mfi_status mfi_exec_why(lua_State *L, int error);
// The item that begins may run for `limit` ns (0: for ever). A process has a timer that ends it at
// once, also inside C functions; a thread is stopped between VM instructions.
typedef struct mfi_alarm {
  mfi_os_timer timer;
  bool open;
} mfi_alarm;
void mfi_exec_limit(mfi_context *m, int64_t limit);
void mfi_exec_no_limit(mfi_context *m);

#endif
