// Ctrl-C in a main state. Floor 7; see interrupt.h.
#include "bind/interrupt.h"

#include "base/atomic.h"
#include "sync/event.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// What the handler reads; set before the handler is, cleared after.
static mfi_self *volatile interrupted_self;
static mfi_stop *volatile interrupted_stop;
static uint32_t seen;   // atomic: Ctrl-C has come
static uint32_t at_end; // atomic: it ended a script whose work was done
static struct sigaction before;

static void handle(int number) {
  mfi_self *self = interrupted_self;
  mfi_stop *stop = interrupted_stop;
  (void)number;
  if (self == NULL || stop == NULL)
    return;
  store_seqcst(&seen, 1u);
  mfi_stop_interrupt(stop);
  mfi_note(self, self->index, MFI_NOTE_INTERRUPT);
}

// The program lua ends with 1 after any uncaught error; after Ctrl-C shells expect 130.
static void exit_code(int code, void *arg) {
  (void)arg;
  if (load_seqcst(&at_end) == 0 && (code != EXIT_FAILURE || load_seqcst(&seen) == 0))
    return;
  fflush(NULL);
  _exit(128 + SIGINT);
}

void mfi_interrupt_renew(void) {
  struct sigaction ours = {.sa_handler = handle, .sa_flags = SA_RESTART};
  if (interrupted_self != NULL)
    mfi_os_sigaction(SIGINT, &ours, NULL);
}

void mfi_interrupt_open(mfi_self *self, mfi_stop *stop) {
  static bool registered;
  struct sigaction now;
  if (interrupted_self != NULL || mfi_os_sigaction(SIGINT, NULL, &now) != 0)
    return;
  if (now.sa_handler == SIG_IGN)
    return;
  before = now;
  interrupted_self = self;
  interrupted_stop = stop;
  mfi_interrupt_renew();
  if (!registered)
    on_exit(exit_code, NULL);
  registered = true;
}

void mfi_interrupt_close(void) {
  if (interrupted_self == NULL)
    return;
  mfi_os_sigaction(SIGINT, &before, NULL);
  interrupted_stop = NULL;
  interrupted_self = NULL;
}

bool mfi_interrupt_seen(void) { return load_seqcst(&seen) != 0; }

void mfi_interrupt_ends(void) { store_seqcst(&at_end, 1u); }
