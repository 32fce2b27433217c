// The system's promises on Linux: memory, sleeping, mutexes, threads. Floor 1; see os.h.
// Sleeps in mfi_os_wait and mfi_os_mutex_lock only.
#include "base/assert.h"
#include "base/atomic.h"
#include "base/tsan.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "moonfleet runs on Linux, x86-64 and arm64"
#endif

#ifdef MFI_TSAN
// Past TSan, for a signal handler asks, too.
#define clock_gettime(clock, t) syscall(SYS_clock_gettime, clock, t)
#endif

MFI_IN_HANDLER mfi_ns mfi_os_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (mfi_ns)t.tv_sec * MFI_SECOND + t.tv_nsec;
}

mfi_ns mfi_os_deadline(double seconds) {
  if (seconds < 0 || seconds > 1e9)
    return MFI_NEVER;
  if (seconds == 0)
    return 0;
  return mfi_os_now() + (mfi_ns)ceil(seconds * 1e9);
}

static struct timespec timespec_of(mfi_ns t) {
  if (t < 0)
    t = 0;
  return (struct timespec){.tv_sec = (time_t)(t / MFI_SECOND), .tv_nsec = (long)(t % MFI_SECOND)};
}

// ---- Shared memory

int mfi_os_lift(int fd) {
  if (fd < 0 || fd > 2)
    return fd;
  int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  close(fd);
  return lifted;
}

// In a program that locks what it maps (mlockall) the map would be filled at once.
static void *map_holes(int fd, size_t size) {
  void *p = mmap(NULL, size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (p == MAP_FAILED)
    return p;
  munlock(p, size);
  if (mprotect(p, size, PROT_READ | PROT_WRITE) == 0)
    return p;
  munmap(p, size);
  return MAP_FAILED;
}

// A file beyond the limit of files' sizes (ulimit -f) would be a signal; the soft one is ours to
// lift for a moment.
static int set_size(int fd, size_t size) {
  struct rlimit was, limit;
  getrlimit(RLIMIT_FSIZE, &was);
  limit = (struct rlimit){was.rlim_max, was.rlim_max};
  if (was.rlim_cur >= size)
    return ftruncate(fd, (off_t)size);
  if (was.rlim_max < size || setrlimit(RLIMIT_FSIZE, &limit) != 0)
    return -1;
  int r = ftruncate(fd, (off_t)size);
  setrlimit(RLIMIT_FSIZE, &was);
  return r;
}

mfi_status mfi_os_region_map(size_t size, void **base, int *fd) {
  int f = mfi_os_lift(memfd_create("moonfleet", MFD_CLOEXEC));
  if (f < 0)
    return errno == ENOMEM ? MFI_NOMEM : MFI_SYSTEM;
  void *p = set_size(f, size) == 0 ? map_holes(f, size) : MAP_FAILED;
  if (p == MAP_FAILED) {
    close(f);
    return MFI_NOMEM;
  }
  *base = p;
  *fd = f;
  return MFI_OK;
}

void mfi_os_region_unmap(void *base, size_t size, int fd) {
  munmap(base, size);
  if (fd >= 0)
    close(fd);
}

// Large memory is given when it is touched, unless the system counts what it has promised
// (vm.overcommit_memory = 2; asked each time, it may change): only there a touch can be a SIGBUS
// where fallocate says no. Elsewhere both give the page or call the OOM killer, and who touches
// little of a large array does not pay for all of it.
#define LEFT_TO_TOUCH ((size_t)4 << 20)

static bool counts_promises(void) {
  char mode = '2';
  int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
  bool known = fd >= 0 && read(fd, &mode, 1) == 1;
  if (fd >= 0)
    close(fd);
  return !known || mode == '2';
}

mfi_status mfi_os_region_back(int fd, size_t offset, size_t size) {
  if (size >= LEFT_TO_TOUCH && !counts_promises())
    return MFI_OK;
  int r;
  do
    r = fallocate(fd, 0, (off_t)offset, (off_t)size);
  while (r != 0 && errno == EINTR);
  return r == 0 ? MFI_OK : MFI_NOMEM;
}

// The next part of [*at, end) that is not a hole, which is 0 already: its end, *at its begin.
static off_t next_data(int fd, off_t *at, off_t end) {
  off_t data = lseek(fd, *at, SEEK_DATA);
  if (data < 0 && errno != ENXIO)
    return end; // unknown
  *at = data < 0 || data > end ? end : data;
  off_t hole = *at == end ? end : lseek(fd, *at, SEEK_HOLE);
  return hole < 0 || hole > end ? end : hole;
}

void mfi_os_region_clear(void *base, int fd, size_t offset, size_t size) {
  const off_t end = (off_t)(offset + size);
  off_t at = (off_t)offset;
  while (at < end) {
    off_t to = size < LEFT_TO_TOUCH ? end : next_data(fd, &at, end);
    memset((char *)base + at, 0, (size_t)(to - at));
    at = to;
  }
}

void mfi_os_region_drop(int fd, size_t offset, size_t size) {
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

// ---- Sleeping

mfi_status mfi_os_wait(uint32_t *word, uint32_t seen, mfi_ns until) {
  // Under SA_RESTART an untimed wait never returns EINTR, so "for ever" is a deadline in years.
  mfi_ns far = (mfi_ns)1000000000 * MFI_SECOND;
  struct timespec t = timespec_of(until < far ? until : far);
  long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &t, NULL, FUTEX_BITSET_MATCH_ANY);
  if (r == 0 || errno == EAGAIN)
    return MFI_OK;
  return errno == ETIMEDOUT ? MFI_TIMEDOUT : MFI_INTERRUPTED;
}

int mfi_os_wake(uint32_t *word, int count) {
  long r = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
  return r > 0 ? (int)r : 0;
}

void mfi_os_yield(void) { sched_yield(); }

void mfi_os_sleep_until(mfi_ns until) {
  struct timespec t = timespec_of(until);
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int mfi_os_cpu(void) { return sched_getcpu(); }

// ---- Robust mutexes

void mfi_os_mutex_init(pthread_mutex_t *m) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(m, &a);
  pthread_mutexattr_destroy(&a);
}

#ifdef MFI_TSAN
// It does not know that a timed lock may be a dead owner's.
static int wait_for(pthread_mutex_t *m) { return pthread_mutex_lock(m); }
#else
// A wake of glibc's robust mutexes can be lost: when a waiter is killed between its wake and its
// try, and somebody else had the mutex meanwhile without waiting, neither the kernel nor that one
// wakes the next waiter. So nobody waits for longer than this without trying himself.
#define MUTEX_TRY_NS (10 * 1000000)

static int wait_for(pthread_mutex_t *m) {
  struct timespec t;
  int r;
  do {
    clock_gettime(CLOCK_REALTIME, &t); // a clock that is set costs one longer wait
    t.tv_nsec += MUTEX_TRY_NS;
    t.tv_sec += t.tv_nsec / MFI_SECOND;
    t.tv_nsec %= MFI_SECOND;
    r = pthread_mutex_timedlock(m, &t);
  } while (r == ETIMEDOUT);
  return r;
}
#endif

// Looking is cheap, sleeping in the kernel is dear: most sections are over within 100 ns.
static int try_for_a_while(pthread_mutex_t *m) {
  for (int i = 0; i < 100; i++) {
    int r = pthread_mutex_trylock(m);
    if (r != EBUSY)
      return r;
    for (int k = 0; k < 8; k++)
      mfi_cpu_relax();
  }
  return wait_for(m);
}

bool mfi_os_mutex_lock(pthread_mutex_t *m) {
  int r = pthread_mutex_trylock(m);
  if (r == 0)
    return false;
  if (r == EBUSY)
    r = try_for_a_while(m);
  if (r == EOWNERDEAD)
    pthread_mutex_consistent(m);
  mfi_assert(r == 0 || r == EOWNERDEAD);
  return r == EOWNERDEAD;
}

mfi_status mfi_os_mutex_try(pthread_mutex_t *m) {
  int r = pthread_mutex_trylock(m);
  if (r == 0)
    return MFI_OK;
  if (r != EOWNERDEAD)
    return MFI_TIMEDOUT;
  pthread_mutex_consistent(m);
  return MFI_WORKER_DIED;
}

void mfi_os_mutex_unlock(pthread_mutex_t *m) { pthread_mutex_unlock(m); }

// ---- Threads and processes

mfi_status mfi_os_thread_open(pthread_t *thread, void *(*fn)(void *), void *arg,
                              size_t stack_bytes) {
  pthread_attr_t a;
  sigset_t all, before;
  pthread_attr_init(&a);
  if (stack_bytes != 0)
    pthread_attr_setstacksize(&a, stack_bytes);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int r = pthread_create(thread, &a, fn, arg);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&a);
  errno = r;
  return r == 0 ? MFI_OK : MFI_SYSTEM;
}

mfi_status mfi_os_thread_start(void *(*fn)(void *), void *arg, size_t stack_bytes) {
  pthread_t thread;
  mfi_status st = mfi_os_thread_open(&thread, fn, arg, stack_bytes);
  if (st == MFI_OK)
    pthread_detach(thread);
  return st;
}

// A page may hold the frames of the calls that are made from here.
void mfi_os_stack_trim(void) {
  pthread_attr_t a;
  void *bottom;
  size_t size, page = (size_t)sysconf(_SC_PAGESIZE);
  if (pthread_getattr_np(pthread_self(), &a) != 0)
    return;
  pthread_attr_getstack(&a, &bottom, &size);
  pthread_attr_destroy(&a);
  uintptr_t used = ((uintptr_t)&a - 512) & ~(page - 1);
  if (used > (uintptr_t)bottom)
    madvise(bottom, used - (uintptr_t)bottom, MADV_DONTNEED);
}

void mfi_os_thread_join(pthread_t thread) { pthread_join(thread, NULL); }

pid_t mfi_os_pid(void) { return getpid(); }
pid_t mfi_os_tid(void) { return (pid_t)syscall(SYS_gettid); }

void mfi_os_random(void *bytes, size_t size) {
  unsigned char *p = bytes;
  while (size > 0) {
    ssize_t n = getrandom(p, size < 256 ? size : 256, 0);
    if (n <= 0)
      continue;
    p += n;
    size -= (size_t)n;
  }
}

size_t mfi_os_half_of_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return (size_t)pages / 2 * (size_t)page;
}
