// The signal, the hook and the raise: see stop.h. Floor 5. Locks nothing, sleeps nowhere.
//
// What the signal handler and the thread share are words that the thread writes in an order that
// the handler may interrupt anywhere: see `fence`. Other threads only write *request.
#include "script/stop.h"

#include "base/atomic.h"
#include "base/tsan.h"
#include "script/error.h"
#include "script/stop_pass.h"

#include <lauxlib.h>

#include <errno.h>
#include <string.h>

#define GRACE (1 * MFI_SECOND)            // for a __close method that runs
#define REPEAT ((mfi_ns)20 * 1000 * 1000) // of the deadline's signal, until it was heard

// The innermost bound state. The model makes it readable in a signal handler.
static _Thread_local mfi_stop *current __attribute__((tls_model("initial-exec")));

// Between what this thread writes and what its own signal handler reads, or the other way round.
static void fence(void) { __asm__ __volatile__("" ::: "memory"); }

mfi_stop *mfi_stop_current(void) { return current; }

// ---- What is pending
// -----------------------------------------------------------------------------

// A kill overrides, else what was first.
MFI_IN_HANDLER static uint32_t asked(const mfi_stop *s) {
  uint32_t reason = load_acquire(s->request);
  uint32_t own = *(const volatile uint32_t *)&s->own;
  return reason & MFI_STOP_KILL || own == 0 ? reason : own;
}

MFI_IN_HANDLER uint32_t mfi_stop_pending(const mfi_stop *s) {
  for (; s != NULL; s = s->outer) {
    uint32_t reason = asked(s);
    if (reason != 0 && (s->raised == 0 || reason & MFI_STOP_KILL))
      return reason;
  }
  return 0;
}

// Nothing is pending and nothing is being passed on: what every pcall finds, so it is cheap.
MFI_IN_HANDLER static bool quiet(const mfi_stop *s) {
  return (load_relaxed(s->request) | s->own | s->interrupt | s->raised) == 0 && s->outer == NULL;
}

// A __close method has had its time, and somebody still waits for the end.
MFI_IN_HANDLER static bool overdue(const mfi_stop *s) {
  return s->raised != 0 && asked(s) != 0 && mfi_os_now() - s->since > GRACE;
}

MFI_IN_HANDLER static bool wanted(const mfi_stop *s) {
  return mfi_stop_pending(s) != 0 || *(const volatile uint32_t *)&s->interrupt != 0;
}

// Has a __close method had its time since the stop was first put off for it?
MFI_IN_HANDLER static bool grace_is_over(mfi_stop *s) {
  mfi_ns now = mfi_os_now();
  if (s->since == 0)
    s->since = now;
  return now - s->since > GRACE;
}

// [signal] Is a hook to be armed on what runs now? A coroutine that is being closed is spared while
// it has time: what closes it arms the next one after it. (Lua 5.4.3 takes a hook there for a
// yield.)
MFI_IN_HANDLER static bool armable(mfi_stop *s) {
  if (quiet(s) || s->closed || !(wanted(s) || overdue(s)))
    return false;
  bool spared = s->frame->closing && s->raised == 0 && !(mfi_stop_pending(s) & MFI_STOP_KILL);
  return !spared || grace_is_over(s);
}

bool mfi_stop_request(uint32_t *request, uint32_t reason) {
  uint32_t found = 0;
  while (!cas_seqcst(request, &found, reason))
    if (found & MFI_STOP_KILL || !(reason & MFI_STOP_KILL))
      return false;
  return true;
}

uint32_t mfi_stop_raised(const mfi_stop *s) { return s->raised; }

// ---- Raising
// -------------------------------------------------------------------------------------

static void stop_hook(lua_State *L, lua_Debug *ar);

MFI_IN_HANDLER static void arm(lua_State *L) { lua_sethook(L, stop_hook, LUA_MASKCOUNT, 1); }

static void disarm(lua_State *L) {
  if (lua_gethook(L) == stop_hook)
    lua_sethook(L, NULL, 0, 0);
}

static void push_error(lua_State *L, uint32_t reason) {
  switch (reason & MFI_STOP_STATUS) {
  case MFI_TASK_TIMEOUT:
    mfi_error_push(L, "timeout", "stopped: the task ran longer than its limit");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "stopped");
    break;
  case MFI_CANCELLED:
    mfi_error_push(L, "cancelled", "cancelled");
    break;
  case MFI_INTERRUPTED:
    mfi_error_push(L, "interrupted", "interrupted!");
    break;
  default:
    mfi_error_push(L, "terminated", reason & MFI_STOP_EXIT ? "os.exit" : "terminated");
  }
}

// An error that no message handler sees: lua_error knows the text of memory errors, and raises
// these past the handlers. Which error it is matters to __close methods alone.
static bool meets_handler(const mfi_stop *s, lua_State *L) {
  return s->frame->handlers != 0 || (L != s->root.L && s->has_handlers);
}

static _Noreturn void throw_stop(mfi_stop *s, lua_State *L) {
  if (s->raised & MFI_STOP_KILL)
    lua_sethook(L, stop_hook, LUA_MASKCALL | LUA_MASKCOUNT, 1); // nothing may begin any more
  else
    disarm(L);
  if (s->raised & MFI_STOP_KILL || meets_handler(s, L))
    lua_pushliteral(L, "not enough memory");
  else
    push_error(L, s->raised);
  lua_error(L);
  __builtin_unreachable();
}

static _Noreturn void raise_stop(mfi_stop *s, lua_State *L, uint32_t reason) {
  s->raised = reason;
  s->raises++;
  s->since = mfi_os_now();
  throw_stop(s, L);
}

static _Noreturn void raise_interrupt(mfi_stop *s, lua_State *L) {
  s->interrupt = 0;
  disarm(L);
  push_error(L, MFI_INTERRUPTED);
  lua_error(L);
  __builtin_unreachable();
}

void mfi_stop_check(lua_State *L) {
  mfi_stop *s = current;
  if (s == NULL)
    return;
  uint32_t reason = mfi_stop_pending(s);
  if (reason != 0)
    raise_stop(s, L, reason);
  if (s->interrupt)
    raise_interrupt(s, L);
}

static bool in_finalizer(lua_State *L) {
  lua_Debug ar;
  for (int level = 0; level < MFI_STOP_LOOK_AT && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "n", &ar);
    if (ar.name != NULL && ar.namewhat[0] == 'm' && strcmp(ar.name, "__gc") == 0)
      return true;
  }
  return false;
}

void mfi_stop_exit(lua_State *L, int code) {
  mfi_stop *s = current;
  if (s == NULL)
    luaL_error(L, "os.exit(%d)", code);
  s->exit_code = code;
  s->own = MFI_STOP_EXIT;
  if (!in_finalizer(L))
    raise_stop(s, L, MFI_STOP_EXIT);
  arm(s->running); // the finalizer's error goes nowhere; what it interrupted is stopped next
  lua_pushliteral(L, "os.exit");
  lua_error(L);
  __builtin_unreachable();
}

// ---- The hook
// ------------------------------------------------------------------------------------

static bool in_close(mfi_stop *s, lua_State *L) {
  for (const mfi_stop_frame *f = s->frame; f != NULL; f = f->up) {
    bool other = f == s->frame && L != f->L; // a coroutine that a C library resumed
    if (f->closing || mfi_stop_in_close(f->L) || (other && mfi_stop_in_close(L)))
      return true;
  }
  return false;
}

// A __close method that has begun ends undisturbed, if it takes no longer than GRACE.
static bool put_off(mfi_stop *s, lua_State *L, const lua_Debug *ar) {
  if (!in_close(s, L))
    return false;
  if (grace_is_over(s))
    return false;
  if (ar->event == LUA_HOOKRET)
    arm(L); // this may be its end: look again at the next instruction
  else
    lua_sethook(L, stop_hook, LUA_MASKRET, 0);
  return true;
}

static void stop_hook(lua_State *L, lua_Debug *ar) {
  mfi_stop *s = current;
  uint32_t reason = s ? mfi_stop_pending(s) : 0;
  if (reason & MFI_STOP_KILL)
    raise_stop(s, L, reason);
  if (reason != 0) {
    if (put_off(s, L, ar))
      return;
    raise_stop(s, L, reason);
  }
  if (s != NULL && overdue(s))
    raise_stop(s, L, s->raised);
  if (s != NULL && s->interrupt)
    raise_interrupt(s, L);
  disarm(L);
}

// ---- Passing on
// ----------------------------------------------------------------------------------

mfi_stop_mark mfi_stop_mark_now(void) { return current ? current->raises : 0; }

bool mfi_stop_passed(mfi_stop_mark mark) {
  mfi_stop *s = current;
  if (s == NULL || s->raised == 0)
    return false;
  uint32_t began = (int32_t)(s->frame->base - mark) > 0 ? s->frame->base : mark;
  return s->raises != began;
}

void mfi_stop_pass(lua_State *L, mfi_stop_mark mark) {
  mfi_stop *s = current;
  if (s == NULL || quiet(s))
    return;
  if (mfi_stop_passed(mark))
    throw_stop(s, L);
  if (armable(s))
    arm(L);
}

void mfi_stop_pass_error(lua_State *L) {
  mfi_stop *s = current;
  if (s->raised & MFI_STOP_KILL || meets_handler(s, L))
    throw_stop(s, L);
  lua_error(L);
  __builtin_unreachable();
}

void mfi_stop_enter(mfi_stop_frame *frame, lua_State *co, bool closing) {
  mfi_stop *s = current;
  if (s == NULL)
    return;
  *frame = (mfi_stop_frame){.L = co, .base = s->raises, .closing = closing, .up = s->frame};
  s->frame = frame;
  s->running = co;
  fence();
  if (armable(s)) // its signal may have come before `running` was set
    arm(co);
}

void mfi_stop_leave(mfi_stop_frame *frame) {
  mfi_stop *s = current;
  if (s == NULL)
    return;
  s->running = frame->up->L;
  s->frame = frame->up;
  fence();
}

void mfi_stop_handler_on(lua_State *L) {
  mfi_stop *s = current;
  if (s == NULL)
    return;
  s->frame->handlers++;
  if (L != s->root.L)
    s->has_handlers = 1;
}

void mfi_stop_handler_off(lua_State *L) {
  mfi_stop *s = current;
  (void)L;
  if (s != NULL && s->frame->handlers != 0)
    s->frame->handlers--;
}

// ---- Signals and deadlines
// -----------------------------------------------------------------------

MFI_IN_HANDLER static mfi_stop *outermost(mfi_stop *s) {
  while (s->outer != NULL)
    s = s->outer;
  return s;
}

// [signal] Notes deadlines that have passed and sets the timer to the next one.
MFI_IN_HANDLER static void look_at_deadlines(mfi_stop *s) {
  mfi_stop *root = outermost(s);
  if (root->timer_at == 0)
    return;
  mfi_ns now = mfi_os_now(), next = MFI_NEVER;
  for (; s != NULL; s = s->outer) {
    if (s->deadline < next)
      next = s->deadline;
    if (s->deadline <= now && s->own == 0)
      s->own = MFI_TASK_TIMEOUT;
  }
  if (next <= now || next == root->timer_at)
    return; // it goes on repeating
  root->timer_at = next == MFI_NEVER ? 0 : next;
  mfi_os_timer_set(&root->timer, root->timer_at, root->timer_at ? REPEAT : 0);
}

MFI_IN_HANDLER static void on_signal(int number) {
  int saved = errno;
  mfi_stop *s = current;
  (void)number;
  if (s != NULL) {
    look_at_deadlines(s);
    if (armable(s))
      arm(s->running);
  }
  errno = saved;
}

static int number_of(int number) { return number ? number : mfi_os_stop_signal(); }

mfi_status mfi_stop_install(int number) {
  return mfi_os_signal_install(number_of(number), on_signal);
}

void mfi_stop_uninstall(int number) { mfi_os_signal_uninstall(number_of(number)); }

void mfi_stop_interrupt(mfi_stop *s) {
  s->interrupt = 1;
  fence();
  if (armable(s))
    arm(s->running);
}

static mfi_ns first_deadline(void) {
  mfi_ns first = MFI_NEVER;
  for (const mfi_stop *s = current; s != NULL; s = s->outer)
    if (s->deadline < first)
      first = s->deadline > 0 ? s->deadline : 1;
  return first;
}

// A timer is never left to run for nothing: its signal would end a read or a wait of whatever runs
// by then.
mfi_status mfi_stop_deadline(mfi_stop *s, mfi_ns at) {
  mfi_stop *root = outermost(s);
  s->deadline = at;
  fence();
  mfi_ns first = first_deadline();
  mfi_ns timer_at = first == MFI_NEVER ? 0 : first;
  if (timer_at == root->timer_at)
    return MFI_OK;
  if (!root->has_timer && mfi_os_timer_open(&root->timer, root->signal) != MFI_OK)
    return MFI_SYSTEM;
  root->has_timer = true;
  root->timer_at = timer_at;
  fence();
  mfi_os_timer_set(&root->timer, timer_at, timer_at == 0 ? 0 : REPEAT);
  return MFI_OK;
}

void mfi_stop_bind(mfi_stop *s, lua_State *L, uint32_t *request, int number) {
  *s = (mfi_stop){.request = request,
                  .deadline = MFI_NEVER,
                  .running = L,
                  .root = {.L = L},
                  .outer = current,
                  .signal = number_of(number)};
  s->frame = &s->root;
  fence();
  current = s;
  fence();
  if (s->outer == NULL)
    mfi_os_signal_unblock(s->signal);
  if (wanted(s))
    arm(L);
}

void mfi_stop_unbind(mfi_stop *s) {
  if (s->outer == NULL) {
    mfi_os_signal_block(s->signal);
    if (s->has_timer)
      mfi_os_timer_close(&s->timer);
  }
  if (!s->closed)
    disarm(s->root.L);
  current = s->outer;
  fence();
  if (current != NULL && armable(current))
    arm(current->running);
}

void mfi_stop_close(lua_State *L) {
  for (mfi_stop *s = current; s != NULL; s = s->outer)
    if (s->root.L == L)
      s->closed = true;
  fence();
}

void mfi_stop_clear(mfi_stop *s) {
  s->deadline = MFI_NEVER;
  fence();
  s->own = s->interrupt = s->raised = 0;
  s->since = 0;
  s->frame = &s->root;
  s->running = s->root.L;
  s->root.handlers = 0;
  s->root.base = s->raises;
  disarm(s->root.L);
}
