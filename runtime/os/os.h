// What the system promises. Floor 1. os_linux.c and its neighbours fulfil it; nothing above asks
// the kernel for anything else, and every #if of the project lives there or in base.
//
// Time is nanoseconds of CLOCK_MONOTONIC, deadlines are absolute. Nothing here raises or prints.
#ifndef MFI_OS_H
#define MFI_OS_H

#include "base/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef int64_t mfi_ns;
#define MFI_NEVER INT64_MAX // a deadline that does not come
#define MFI_SECOND ((mfi_ns)1000000000)

mfi_ns mfi_os_now(void);

// Seconds to a deadline: negative or infinite means never, 0 means a deadline that has passed.
mfi_ns mfi_os_deadline(double seconds);

// ---- Shared memory ---------------------------------------------------------------------------

// Maps `size` bytes of new, sparse shared memory (an anonymous memfd, close-on-exec).
mfi_status mfi_os_region_map(size_t size, void **base, int *fd);
void mfi_os_region_unmap(void *base, size_t size, int fd);
// Gives real memory to [offset, offset + size), at once or, much of it, when it is touched.
// MFI_NOMEM when the system has none. What was given can be touched without a signal.
mfi_status mfi_os_region_back(int fd, size_t offset, size_t size);
// Makes [offset, offset + size) of the region that is mapped at base 0.
void mfi_os_region_clear(void *base, int fd, size_t offset, size_t size);
// Takes the real memory of [offset, offset + size) back; it reads as zero after the next backing.
void mfi_os_region_drop(int fd, size_t offset, size_t size);

// A descriptor of ours must not take the place of a standard one that is closed: moves it above
// them.
int mfi_os_lift(int fd);

// ---- Sleeping --------------------------------------------------------------------------------

// Sleeps while *word == seen, until somebody wakes, `until` passes (MFI_TIMEDOUT) or a signal
// handler ran (MFI_INTERRUPTED). MFI_OK may be spurious.
mfi_status mfi_os_wait(uint32_t *word, uint32_t seen, mfi_ns until);
// Wakes at most `count` sleepers of *word and says how many woke.
int mfi_os_wake(uint32_t *word, int count);
void mfi_os_yield(void);
void mfi_os_sleep_until(mfi_ns until); // returns early after a signal
int mfi_os_cpu(void);                  // the CPU that runs this thread now

// ---- Robust mutexes --------------------------------------------------------------------------

void mfi_os_mutex_init(pthread_mutex_t *m);
// True when the last owner died while holding it; the mutex is consistent again.
bool mfi_os_mutex_lock(pthread_mutex_t *m);
// MFI_OK, MFI_TIMEDOUT (somebody holds it), or MFI_WORKER_DIED: taken from a dead owner.
mfi_status mfi_os_mutex_try(pthread_mutex_t *m);
void mfi_os_mutex_unlock(pthread_mutex_t *m);

// ---- Threads and processes -------------------------------------------------------------------

// Starts a detached thread with all signals blocked. stack_bytes 0: the system's default.
// MFI_SYSTEM: errno says why.
mfi_status mfi_os_thread_start(void *(*fn)(void *), void *arg, size_t stack_bytes);
// The same, to be joined: after that nothing of the thread is left, not in the C library either.
mfi_status mfi_os_thread_open(pthread_t *thread, void *(*fn)(void *), void *arg,
                              size_t stack_bytes);
void mfi_os_thread_join(pthread_t thread);
// What lies below the caller in its stack becomes untouched memory again. Not for a main thread.
void mfi_os_stack_trim(void);

pid_t mfi_os_pid(void); // never cached across fork
pid_t mfi_os_tid(void);

// CPUs that this program may use: affinity and cgroup quota, nested ones too; at least 1.
int mfi_os_cpu_count(void);

void mfi_os_random(void *bytes, size_t size);

// Half of the machine's memory, the default size of a region.
size_t mfi_os_half_of_memory(void);

#endif
