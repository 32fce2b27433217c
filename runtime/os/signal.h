// Signals to one thread, and timers that send them: how running Lua code is reached from outside.
// Floor 1. Handlers are process-wide by nature: installs are counted per signal, under a mutex, and
// the last uninstall gives back what was there before. Nothing here sleeps.
#ifndef MFI_OS_SIGNAL_H
#define MFI_OS_SIGNAL_H

#include "os/os.h"

#include <signal.h>

int mfi_os_stop_signal(void); // the default one: SIGRTMIN + 4

// sigaction. TSan holds signals back until the thread calls into its runtime, which a loop in Lua
// never does: there the kernel gets the handler past it.
int mfi_os_sigaction(int number, const struct sigaction *action, struct sigaction *before);

// Handler for a signal, without SA_RESTART; one that was there before is called after it (a second
// copy of this library may be loaded). Every installer of one signal gives the same handler, else
// MFI_INVALID. MFI_SYSTEM when the system refuses the number.
mfi_status mfi_os_signal_install(int number, void (*handler)(int number));
void mfi_os_signal_uninstall(int number);

// Lets the calling thread take this signal, or holds it back again.
void mfi_os_signal_unblock(int number);
void mfi_os_signal_block(int number);

// Sends a signal to one thread of this process; from handlers, too. Harmless when it is gone.
void mfi_os_signal_thread(pid_t tid, int number);

// A timer that sends a signal to the thread that made it. `set` may be called by handlers: first at
// `at` (0: never), then again each `again` ns (0: once).
typedef struct mfi_os_timer {
  timer_t id;
} mfi_os_timer;

mfi_status mfi_os_timer_open(mfi_os_timer *timer, int number);
void mfi_os_timer_set(mfi_os_timer *timer, mfi_ns at, mfi_ns again);
void mfi_os_timer_close(mfi_os_timer *timer);

#endif
