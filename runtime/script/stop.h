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

// What runs: the state's main thread, or a coroutine that a resume on the C stack waits for.
typedef struct mfi_stop_frame {
  lua_State *L;
  uint32_t base;     // mfi_stop.raises when it began to run: earlier stops are none of its business
  bool closing;      // its to-be-closed variables are being closed, nothing else runs in it
  uint32_t handlers; // xpcalls that are active in it
  struct mfi_stop_frame *up; // what runs on when it yields or ends
} mfi_stop_frame;

// One for each Lua state that runs on a thread; they nest as the states do (a spare state inside a
// task). Own thread only, but for *request.
//
// running == frame->L, but for the instructions in which a resume changes both.
typedef struct mfi_stop {
  uint32_t *request;      // atomic, others write it: a reason, 0 none
  uint32_t own;           // a reason that arose here: the deadline, os.exit
  uint32_t interrupt;     // Ctrl-C is to be raised, once
  uint32_t raised;        // reason that is being passed on; 0 in RUNNING
  uint32_t raises;        // + 1 at each raise; tells a pcall that a stop passed through it
  int exit_code;          // of MFI_STOP_EXIT
  mfi_ns since;           // when the stop was put off or raised; 0: not
  mfi_ns deadline;        // of the task that runs; MFI_NEVER none
  lua_State *running;     // for the signal handler
  mfi_stop_frame *frame;  // innermost
  mfi_stop_frame root;    // outermost: the main thread
  uint32_t has_handlers;  // xpcall was called in a coroutine
  struct mfi_stop *outer; // the state that was running on this thread before
  int signal;             // number that the thread listens to
  bool closed;            // mfi_state_close has begun: no hook is armed any more
  bool has_timer;         // these three in the outermost only
  mfi_os_timer timer;
  mfi_ns timer_at; // what the timer is set to; 0 not
} mfi_stop;

// Prepares the process; counted. number 0: mfi_os_stop_signal().
mfi_status mfi_stop_install(int number);
void mfi_stop_uninstall(int number);

// Makes L (a main thread) what this thread runs, and lets the thread take the signal. *request
// stays the caller's. `unbind` gives way to the state bound before; what is pending for it stays
// pending.
void mfi_stop_bind(mfi_stop *s, lua_State *L, uint32_t *request, int number);
void mfi_stop_unbind(mfi_stop *s);

// L is about to be closed, while bound or not: signals leave it alone, finalizers that wait still
// learn from mfi_stop_pending that they are to end. mfi_state_close calls it.
void mfi_stop_close(lua_State *L);

// Replaces pcall, xpcall, load and coroutine.resume, wrap, close in L's globals by those that pass
// a stop on; what is not there is left out. They behave as Lua's in every other way. [-0, +0, m]
void mfi_stop_wrap(lua_State *L);

// [any] Asks for a stop; the first reason stays, a kill goes over all. The caller then signals the
// thread (mfi_os_signal_thread) until it has ended. False: such a request was there before.
bool mfi_stop_request(uint32_t *request, uint32_t reason);

// [signal] Asks for mf.Error "interrupted!", which code may catch, at the next instruction.
void mfi_stop_interrupt(mfi_stop *s);

// Why what runs now is to end, in this state or in those around it; 0: go on. Waiting calls look at
// it after each signal. In RAISED only a kill counts: __close methods may wait.
uint32_t mfi_stop_pending(const mfi_stop *s);
// [signal] The calling thread's innermost state; NULL: none is bound.
mfi_stop *mfi_stop_current(void);

// Raises what is pending, an interrupt included, or returns. No lock may be held. [-0, +0, v]
void mfi_stop_check(lua_State *L);
// Ends the state as os.exit does: through every pcall, with __close methods. [-0, +0, v]
_Noreturn void mfi_stop_exit(lua_State *L, int code);

// For the root, after its lua_pcall: why the code below it was stopped; 0: it ended by itself.
// Where both are there, results and a stop, the results came first. The root's message handler
// asks, too, and leaves a stop's error alone.
uint32_t mfi_stop_raised(const mfi_stop *s);
// RUNNING again: nothing pending of its own, hook disarmed. *request is for its owner to clear.
void mfi_stop_clear(mfi_stop *s);

// From this moment on (CLOCK_MONOTONIC) MFI_TASK_TIMEOUT is pending; MFI_NEVER: no limit. Setting a
// later one than before is cheap: no system call. MFI_SYSTEM: no timer to be had.
mfi_status mfi_stop_deadline(mfi_stop *s, mfi_ns at);

#endif
