// What TSan cannot see: the order that another process makes. Floor 0.
//
// It knows the locks of one process. When thread A gives a lock, another process takes it and gives
// a second one, and thread B takes that, A's work is before B's, and nothing tells TSan so. Hence
// each inner lock names who gave it last; who takes it from another process is taken to come after
// all that the threads of its own process did before they gave a lock. Among threads alone nothing
// is weakened.
//
// Nor may its runtime be entered by a signal handler that interrupts it: what the handler of the
// stop signal calls is MFI_IN_HANDLER, for which TSan makes no calls.
#ifndef MFI_BASE_TSAN_H
#define MFI_BASE_TSAN_H

#include <stdint.h>

#ifdef MFI_TSAN
void __tsan_acquire(void *what);
void __tsan_release(void *what);

typedef struct mfi_tsan_giver {
  uint32_t process; // 0: nobody has given it
} mfi_tsan_giver;

#define MFI_IN_HANDLER __attribute__((no_sanitize_thread))
#define MFI_TSAN_GIVER mfi_tsan_giver giver;
#define mfi_tsan_taken(lock, all, pid)                                                             \
  do {                                                                                             \
    if ((lock)->giver.process != 0 && (lock)->giver.process != (uint32_t)(pid))                    \
      __tsan_acquire(all);                                                                         \
  } while (0)
#define mfi_tsan_given(lock, all, pid)                                                             \
  do {                                                                                             \
    __tsan_release(all);                                                                           \
    (lock)->giver.process = (uint32_t)(pid);                                                       \
  } while (0)
#else
#define MFI_IN_HANDLER
#define MFI_TSAN_GIVER
#define mfi_tsan_taken(lock, all, pid) ((void)(all))
#define mfi_tsan_given(lock, all, pid) ((void)(all))
#endif

#endif
