// Signals and timers of Linux: signal.h's promises. Floor 1. The mutex `installs_lock` guards the
// one process-wide table of this library, which is process-wide in the kernel, too.
#include "base/tsan.h"
#include "os/signal.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// glibc names neither the member nor the call.
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define SIGNALS 65 // numbers 1 .. 64

typedef struct install {
  int count; // 0: the rest means nothing
  void (*handler)(int);
  struct sigaction before;
} install;

static pthread_mutex_t installs_lock = PTHREAD_MUTEX_INITIALIZER;
static install installs[SIGNALS];

#ifdef MFI_TSAN
int __sigaction(int number, const struct sigaction *action, struct sigaction *before);
#else
#define __sigaction sigaction
#endif

int mfi_os_sigaction(int number, const struct sigaction *action, struct sigaction *before) {
  return __sigaction(number, action, before);
}

int mfi_os_stop_signal(void) { return SIGRTMIN + 4; }

// Reads an entry that is written before the signal can come: no lock.
MFI_IN_HANDLER static void on_signal(int number, siginfo_t *info, void *context) {
  const install *in = &installs[number];
  in->handler(number);
  if (in->before.sa_flags & SA_SIGINFO)
    in->before.sa_sigaction(number, info, context);
  else if (in->before.sa_handler != SIG_DFL && in->before.sa_handler != SIG_IGN)
    in->before.sa_handler(number);
}

static mfi_status install_first(install *in, int number, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  if (mfi_os_sigaction(number, NULL, &in->before) != 0)
    return MFI_SYSTEM;
  in->handler = handler;
  if (mfi_os_sigaction(number, &action, NULL) != 0)
    return MFI_SYSTEM;
  in->count = 1;
  return MFI_OK;
}

mfi_status mfi_os_signal_install(int number, void (*handler)(int number)) {
  if (number <= 0 || number >= SIGNALS)
    return MFI_INVALID;
  install *in = &installs[number];
  mfi_status status = MFI_OK;
  pthread_mutex_lock(&installs_lock);
  if (in->count == 0)
    status = install_first(in, number, handler);
  else if (in->handler != handler)
    status = MFI_INVALID;
  else
    in->count++;
  pthread_mutex_unlock(&installs_lock);
  return status;
}

static bool is_ours(int number) {
  struct sigaction now;
  return mfi_os_sigaction(number, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
         now.sa_sigaction == on_signal;
}

void mfi_os_signal_uninstall(int number) {
  install *in = &installs[number];
  pthread_mutex_lock(&installs_lock);
  if (--in->count == 0 && is_ours(number))
    mfi_os_sigaction(number, &in->before, NULL);
  pthread_mutex_unlock(&installs_lock);
}

static void mask(int how, int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  pthread_sigmask(how, &set, NULL);
}

void mfi_os_signal_unblock(int number) { mask(SIG_UNBLOCK, number); }
void mfi_os_signal_block(int number) { mask(SIG_BLOCK, number); }

void mfi_os_signal_thread(pid_t tid, int number) {
  int saved = errno;
  syscall(SYS_tgkill, getpid(), tid, number);
  errno = saved;
}

mfi_status mfi_os_timer_open(mfi_os_timer *timer, int number) {
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = number;
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  return timer_create(CLOCK_MONOTONIC, &event, &timer->id) == 0 ? MFI_OK : MFI_SYSTEM;
}

MFI_IN_HANDLER static struct timespec timespec_of(mfi_ns ns) {
  return (struct timespec){.tv_sec = ns / MFI_SECOND, .tv_nsec = ns % MFI_SECOND};
}

MFI_IN_HANDLER void mfi_os_timer_set(mfi_os_timer *timer, mfi_ns at, mfi_ns again) {
  struct itimerspec spec = {.it_value = timespec_of(at), .it_interval = timespec_of(again)};
  timer_settime(timer->id, TIMER_ABSTIME, &spec, NULL);
}

void mfi_os_timer_close(mfi_os_timer *timer) { timer_delete(timer->id); }
