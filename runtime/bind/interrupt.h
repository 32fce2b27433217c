// Ctrl-C in a main state: "interrupted!", which a script may catch; exit code 130 if it does not.
// Floor 7. One main state of a process at a time has it; signal handlers are the process's.
#ifndef MFI_BIND_INTERRUPT_H
#define MFI_BIND_INTERRUPT_H

#include "mem/region.h"
#include "script/stop.h"

// Takes SIGINT over, unless it is ignored or another state has it.
void mfi_interrupt_open(mfi_self *self, mfi_stop *stop);
void mfi_interrupt_close(void); // gives it back
void mfi_interrupt_renew(void); // the program lua has taken it back before it closes the state
bool mfi_interrupt_seen(void);
void mfi_interrupt_ends(void); // the program has been interrupted at its end: its exit code tells

#endif
