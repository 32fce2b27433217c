// Stopping Lua: ends whatever a thread's Lua state runs, an endless loop in a pcall in a coroutine
// in a pcall included, so that every to-be-closed variable on the way is closed once, undisturbed.
// Floor 5. Locks nothing, sleeps nowhere. All calls are made by the thread that runs the state,
// except those marked [any] (any thread) or [signal] (a signal handler on the state's own thread).
//
//   somebody: *request = reason, then signals the thread, and again after 20 ms, 40 ms ...
//   the handler arms a one-shot count hook on the state that runs: nothing else is sound
//   hook:  disarms itself, notes RAISED, raises once        (inside a __close: waits for its end)
//   wrapped pcall, xpcall, load, coroutine.resume, wrap, close: note which state runs, arm again
//     after each switch while a stop is pending, and pass a raised stop on instead of returning it
//   root:  its own lua_pcall returns; mfi_stop_raised() says that, and why, it was stopped
//
//   RUNNING --[hook, mfi_stop_check, mfi_stop_exit]--> RAISED --[mfi_stop_clear]--> RUNNING
//
// In RAISED the requests are heard no more: what runs then are __close methods. One that takes
// longer than a second is interrupted in its turn; a request with MFI_STOP_KILL does so at once and
// lets no other begin. Finalizers are beyond reach: Lua runs no hooks in them.
#ifndef MFI_SCRIPT_STOP_H
#define MFI_SCRIPT_STOP_H

#include "os/signal.h"

#include <lua.h>

// A reason is an mfi_status (MFI_TERMINATED, MFI_CANCELLED, MFI_TASK_TIMEOUT), perhaps with
#define MFI_STOP_KILL (1u << 16) // no more Lua but finalizers
// or, never in a request, what os.exit asked for:
#define MFI_STOP_EXIT (1u << 17)
#define MFI_STOP_STATUS 0xffffu // mask for the mfi_status

typedef struct mfi_stop_frame mfi_stop_frame;

// One for each Lua state that runs on a thread; they nest as the states do (a spare state inside a
// task). Own thread only, but for *request.
typedef struct mfi_stop {
  uint32_t *request;      // atomic, others write it: a reason, 0 none
  uint32_t own;           // a reason that arose here: the deadline, os.exit
  uint32_t interrupt;     // Ctrl-C is to be raised, once
  uint32_t raised;        // reason that is being passed on; 0 in RUNNING
  uint32_t raises;        // + 1 at each raise; tells a pcall that a stop passed through it
  int exit_code;          // of MFI_STOP_EXIT
  int64_t since;          // when the stop was first put off or raised; 0 not yet
  int64_t deadline;       // of the task that runs; MFI_NEVER none
  lua_State *running;     // the coroutine (or main state) that runs now; the handler reads it
  mfi_stop_frame *frame;  // the resume that runs it; on the C stack
  struct mfi_stop *outer; // the state that was running on this thread before
  int signal;             // number that the thread listens to
  uint32_t has_timer;     // outermost only
  mfi_os_timer timer;     // outermost only
  int64_t timer_at;       // what the timer is set to; 0 not
} mfi_stop;

// Prepares the process; counted. number 0: mfi_os_stop_signal().
mfi_status mfi_stop_install(int number);
void mfi_stop_uninstall(int number);

// Makes L (a main state) what this thread runs, and lets the thread take the signal. *request stays
// the caller's. `unbind` gives way to the state bound before; what is pending for it stays pending.
void mfi_stop_bind(mfi_stop *s, lua_State *L, uint32_t *request, int number);
void mfi_stop_unbind(mfi_stop *s);

// Replaces pcall, xpcall, load and coroutine.resume, wrap, close in L's globals by those that pass
// a stop on; coroutine may be missing. They behave as Lua's in every other way. [-0, +0, m]
void mfi_stop_wrap(lua_State *L);

// [any] Asks for a stop; the first reason stays, a kill goes over all. The caller then signals the
// thread until it has ended. False: such a request was there before.
bool mfi_stop_request(uint32_t *request, uint32_t reason);

// [signal] Asks for mf.Error "interrupted!", which code may catch, at the next instruction.
void mfi_stop_interrupt(mfi_stop *s);

// Why what runs now is to end, in this state or in those around it; 0: go on. Waiting calls look at
// it after each signal. In RAISED it is 0: __close methods may wait.
uint32_t mfi_stop_pending(const mfi_stop *s);
// The stop of the calling thread's innermost state; NULL: none is bound.
mfi_stop *mfi_stop_current(void);

// Raises what is pending, an interrupt included, or returns. No lock may be held. [-0, +0, v]
void mfi_stop_check(lua_State *L);
// Ends the state as os.exit does: through every pcall, with __close methods. [-0, +0, v]
_Noreturn void mfi_stop_exit(lua_State *L, int code);

// For the root, after its lua_pcall: why the code below it was stopped; 0: it ended by itself. A
// stop may have come too late, then the results are there all the same. Its message handler asks,
// too, and leaves a stop's error alone.
uint32_t mfi_stop_raised(const mfi_stop *s);
// RUNNING again: nothing pending of its own, hook disarmed. *request is for its owner to clear.
void mfi_stop_clear(mfi_stop *s);

// From this moment on (CLOCK_MONOTONIC) MFI_TASK_TIMEOUT is pending; MFI_NEVER: no limit. Setting a
// later one than before is cheap: no system call. MFI_SYSTEM: no timer to be had.
mfi_status mfi_stop_deadline(mfi_stop *s, mfi_ns at);

#endif
