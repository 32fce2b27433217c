// Processes on Linux. Floor 1; see process.h. No locks. Sleeps in mfi_os_poll.
#include "base/atomic.h"
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// ---- Surroundings

_Static_assert(MFI_LIMITS <= (int)RLIM_NLIMITS, "each limit has a number");

// Its pid << 32 | its threads that leave files alone; of no meaning in a fork of it. Atomic.
static uint64_t quiet_threads;

void mfi_os_quiet_begin(void) {
  uint64_t pid = (uint64_t)getpid() << 32, old = load_seqcst(&quiet_threads);
  while (!cas_seqcst(&quiet_threads, &old, (old >> 32 == pid >> 32 ? old : pid) + 1))
    continue;
}

void mfi_os_quiet_end(void) { fetch_add_seqcst(&quiet_threads, ~(uint64_t)0); }

// Does no other thread of this process touch files? The directory of its threads has a link for
// each.
static bool is_alone(void) {
  struct stat st;
  uint64_t quiet = load_seqcst(&quiet_threads);
  if (quiet >> 32 != (uint64_t)getpid())
    quiet = 0;
  return stat("/proc/self/task", &st) == 0 && st.st_nlink <= 2 + 1 + (uint32_t)quiet;
}

static mode_t umask_of_status(void) {
  char text[256];
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0)
    close(fd);
  text[n < 0 ? 0 : n] = '\0';
  const char *at = strstr(text, "\nUmask:");
  return at == NULL ? (mode_t)-1 : (mode_t)strtoul(at + 7, NULL, 8);
}

// umask() tells only what it has changed: a file that another thread makes just then would be open
// to all. With others about, the system's own account is read, which takes longer.
static mode_t current_umask(void) {
  mode_t mask = is_alone() ? (mode_t)-1 : umask_of_status();
  if (mask != (mode_t)-1)
    return mask;
  mask = umask(0);
  umask(mask);
  return mask;
}

static void get_limits(mfi_os_surroundings *out) {
  struct rlimit l;
  for (unsigned i = 0; i < MFI_LIMITS; i++) {
    if (getrlimit(i, &l) != 0)
      continue;
    out->limit[i].soft = l.rlim_cur;
    out->limit[i].hard = l.rlim_max;
  }
}

static void set_limits(const mfi_os_surroundings *s, const mfi_os_surroundings *now) {
  for (unsigned i = 0; i < MFI_LIMITS; i++) {
    struct rlimit l = {.rlim_cur = s->limit[i].soft, .rlim_max = s->limit[i].hard};
    if (memcmp(&s->limit[i], &now->limit[i], sizeof now->limit[i]) != 0)
      setrlimit(i, &l);
  }
}

void mfi_os_surroundings_get(mfi_os_surroundings *out) {
  memset(out, 0, sizeof *out);
  out->umask = current_umask();
  get_limits(out);
  out->nice = getpriority(PRIO_PROCESS, 0);
  sched_getaffinity(0, sizeof out->affinity, (cpu_set_t *)(void *)out->affinity);
  const char *locale = setlocale(LC_ALL, NULL);
  if (locale != NULL && strlen(locale) < sizeof out->locale)
    strcpy(out->locale, locale);
  if (getcwd(out->cwd, sizeof out->cwd) == NULL)
    out->cwd[0] = '\0';
}

void mfi_os_surroundings_set(const mfi_os_surroundings *s, const mfi_os_surroundings *now) {
  set_limits(s, now);
  if (s->cwd[0] != '\0' && strcmp(s->cwd, now->cwd) != 0 && chdir(s->cwd) != 0)
    errno = 0;
  if (s->umask != now->umask)
    umask((mode_t)s->umask);
  if (s->nice != now->nice)
    setpriority(PRIO_PROCESS, 0, s->nice);
  if (memcmp(s->affinity, now->affinity, sizeof now->affinity) != 0)
    sched_setaffinity(0, sizeof s->affinity, (const cpu_set_t *)(const void *)s->affinity);
  if (s->locale[0] != '\0' && strcmp(s->locale, now->locale) != 0)
    setlocale(LC_ALL, s->locale);
}

size_t mfi_os_environ_size(void) {
  size_t size = 0;
  for (char **e = environ; e != NULL && *e != NULL; e++)
    size += strlen(*e) + 1;
  return size;
}

void mfi_os_environ_copy(char *to) {
  for (char **e = environ; e != NULL && *e != NULL; e++)
    to = stpcpy(to, *e) + 1;
}

static bool environ_is(const char *strings, size_t size) {
  size_t at = 0;
  for (char **e = environ; e != NULL && *e != NULL; e++) {
    size_t length = strlen(*e) + 1;
    if (length > size - at || memcmp(*e, strings + at, length) != 0)
      return false;
    at += length;
  }
  return at == size;
}

// The strings stay where the process keeps them: putenv takes them as they are.
void mfi_os_environ_set(const char *from, size_t size) {
  if (environ_is(from, size))
    return;
  char *copy = malloc(size + 1);
  if (copy == NULL)
    return;
  memcpy(copy, from, size);
  clearenv();
  for (size_t i = 0; i < size; i += strlen(copy + i) + 1)
    putenv(copy + i);
}

// ---- Descriptors

void mfi_os_file_id(int fd, uint64_t id[2]) {
  struct stat st;
  bool open = fstat(fd, &st) == 0;
  id[0] = open ? st.st_dev : 0;
  id[1] = open ? st.st_ino : 0;
}

bool mfi_os_same_file(const uint64_t id[2], int fd) {
  uint64_t now[2];
  mfi_os_file_id(fd, now);
  return id[0] == now[0] && id[1] == now[1];
}

static int least_above(const int *keep, int n, int above) {
  int least = -1;
  for (int i = 0; i < n; i++)
    if (keep[i] > above && (least < 0 || keep[i] < least))
      least = keep[i];
  return least;
}

void mfi_os_close_others(const int *keep, int n) {
  int above = 2;
  for (;;) {
    int next = least_above(keep, n, above);
    unsigned last = next < 0 ? ~0u : (unsigned)next - 1;
    if ((unsigned)above + 1 <= last)
      close_range((unsigned)above + 1, last, 0);
    if (next < 0)
      return;
    above = next;
  }
}

void mfi_os_replace(int fd, int with) { dup2(with, fd); }

void mfi_os_fill_standard(void) {
  int null = -1;
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0)
      null = open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY); // the lowest free number: fd
  (void)null;
}

void mfi_os_null_input(void) {
  int fd = open("/dev/null", O_RDONLY);
  if (fd > 0) {
    dup2(fd, 0);
    close(fd);
  }
}

int mfi_os_eventfd(void) { return mfi_os_lift(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

void mfi_os_eventfd_set(int fd) {
  uint64_t one = 1;
  while (fd >= 0 && write(fd, &one, sizeof one) < 0 && errno == EINTR)
    continue;
}

void mfi_os_eventfd_clear(int fd) {
  uint64_t n;
  while (fd >= 0 && read(fd, &n, sizeof n) < 0 && errno == EINTR)
    continue;
}

int mfi_os_order_open(void) { return mfi_os_lift(eventfd(0, EFD_CLOEXEC)); }

void mfi_os_order_give(int fd, uint64_t number) { (void)!write(fd, &number, sizeof number); }

uint64_t mfi_os_order_await(int fd) {
  uint64_t number;
  while (read(fd, &number, sizeof number) < 0)
    continue; // a signal
  return number;
}

void mfi_os_close(int fd) {
  if (fd >= 0)
    close(fd);
}

mfi_status mfi_os_channel(int ends[2]) {
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return MFI_SYSTEM;
  for (int i = 0; i < 2; i++)
    ends[i] = mfi_os_lift(ends[i]);
  return ends[0] >= 0 && ends[1] >= 0 ? MFI_OK : MFI_SYSTEM;
}

void mfi_os_hang_up(int channel) { shutdown(channel, SHUT_RDWR); }

typedef union control {
  char bytes[CMSG_SPACE(2 * sizeof(int))];
  struct cmsghdr align;
} control;

mfi_status mfi_os_send(int channel, const void *data, size_t size, const int fds[2]) {
  struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
  control c;
  int n = (fds[0] >= 0) + (fds[1] >= 0);
  if (n > 0) {
    memset(&c, 0, sizeof c);
    m.msg_control = c.bytes;
    m.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS,
                          .cmsg_len = CMSG_LEN((size_t)n * sizeof(int))};
    memcpy(CMSG_DATA(h), fds[0] >= 0 ? fds : fds + 1, (size_t)n * sizeof(int));
  }
  ssize_t r;
  do
    r = sendmsg(channel, &m, MSG_NOSIGNAL);
  while (r < 0 && errno == EINTR);
  if (r < 0 && (errno == EPIPE || errno == ECONNRESET))
    return MFI_CLOSED;
  return r == (ssize_t)size ? MFI_OK : MFI_SYSTEM;
}

mfi_status mfi_os_receive(int channel, void *data, size_t size, int fds[2]) {
  struct iovec iov = {.iov_base = data, .iov_len = size};
  control c;
  struct msghdr m = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof c.bytes};
  fds[0] = fds[1] = -1;
  ssize_t r = recvmsg(channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (r != (ssize_t)size)
    return MFI_EMPTY;
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  if (h != NULL && h->cmsg_type == SCM_RIGHTS)
    memcpy(fds, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
  return MFI_OK;
}

// ---- Lives

pid_t mfi_os_fork(void) { return fork(); }

static pid_t wait_for(pid_t pid, int *status) {
  pid_t r;
  do
    r = waitpid(pid, status, 0);
  while (r < 0 && errno == EINTR);
  return r;
}

mfi_status mfi_os_fork_away(void (*fn)(void *), void *arg) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t between = fork();
  if (between == 0) {
    pid_t away = fork();
    if (away == 0)
      fn(arg);
    _exit(away < 0 ? 1 : 0);
  }
  int status = 0, error = errno;
  if (between > 0 && wait_for(between, &status) < 0)
    status = 0; // SIGCHLD may be ignored
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = between < 0 ? error : EAGAIN;
  return between > 0 && status == 0 ? MFI_OK : MFI_SYSTEM;
}

// Where the fields behind the name begin in /proc/…/stat, whose text is read; NULL: there is none.
static const char *read_stat(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return NULL;
  ssize_t n = read(fd, text, size - 1);
  close(fd);
  text[n > 0 ? n : 0] = '\0';
  const char *behind = strrchr(text, ')'); // the name may hold anything
  return behind == NULL ? NULL : behind + 2;
}

bool mfi_os_is_gone(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  const char *state = read_stat(path, text, sizeof text);
  return state == NULL || *state == 'Z' || *state == 'X';
}

#define FLAG_EXITING 4u // PF_EXITING of the kernel's sched.h

bool mfi_os_is_asleep(pid_t pid, pid_t tid) {
  char path[64], text[512];
  unsigned flags = 0;
  if (tid == 0)
    return !mfi_os_is_gone(pid);
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)tid);
  const char *state = read_stat(path, text, sizeof text);
  if (state == NULL)
    return kill(pid, 0) == 0 && access("/proc/self/stat", R_OK) != 0; // no /proc: it may be
  sscanf(state, "%*c %*d %*d %*d %*d %*d %u", &flags);
  return strchr("STt", *state) != NULL && (flags & FLAG_EXITING) == 0;
}

int mfi_os_pidfd(pid_t pid) { return mfi_os_lift((int)syscall(SYS_pidfd_open, pid, 0)); }

int mfi_os_child_signal(void) {
  sigset_t all, child;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  return mfi_os_lift(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
}

// One signal is all that can be pending; what comes after it makes the descriptor readable anew.
void mfi_os_child_signal_clear(int fd) {
  struct signalfd_siginfo info;
  (void)!read(fd, &info, sizeof info);
}

mfi_os_exit mfi_os_peek_exit(void) {
  siginfo_t info = {0};
  mfi_os_exit e = {0, 0};
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
    return e;
  e.pid = info.si_pid;
  e.code = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
  return e;
}

void mfi_os_reap(pid_t pid) { wait_for(pid, NULL); }

uint32_t mfi_os_poll(const int *fds, int n, mfi_ns until) {
  struct pollfd p[8];
  for (int i = 0; i < n; i++)
    p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
  struct timespec t, *timeout = NULL;
  if (until != MFI_NEVER) {
    mfi_ns left = until - mfi_os_now();
    if (left < 0)
      left = 0;
    t = (struct timespec){.tv_sec = left / MFI_SECOND, .tv_nsec = left % MFI_SECOND};
    timeout = &t;
  }
  uint32_t ready = 0;
  if (ppoll(p, (nfds_t)n, timeout, NULL) <= 0)
    return 0;
  for (int i = 0; i < n; i++)
    if (p[i].revents != 0)
      ready |= 1u << i;
  return ready;
}

void mfi_os_die_with_parent(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent)
    _exit(128 + SIGKILL);
}

static void ignore(int signal_number) { (void)signal_number; }

// As exec does: what is ignored stays ignored, the host's handlers are not ours to run.
static void reset_handlers(void) {
  for (int n = 1; n < NSIG; n++) {
    struct sigaction now;
    if (sigaction(n, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
      signal(n, SIG_DFL);
  }
}

void mfi_os_worker_handlers(void) {
  struct sigaction empty = {.sa_handler = ignore, .sa_flags = SA_RESTART};
  reset_handlers();
  signal(SIGTERM, SIG_DFL);
  signal(SIGVTALRM, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  sigaction(SIGINT, &empty, NULL);
  sigaction(SIGQUIT, &empty, NULL);
}

void mfi_os_unblock_signals(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void leave_at_once(int code, void *arg) {
  (void)arg;
  fflush(NULL);
  _exit(code);
}

void mfi_os_forget_host(void) {
  __fpurge(stdout);
  __fpurge(stderr);
  on_exit(leave_at_once, NULL); // runs first: exit runs the latest registration first
}

_Noreturn void mfi_os_leave(int code) {
  fflush(NULL);
  _exit(code);
}

void mfi_os_name_process(const char *name) { prctl(PR_SET_NAME, name); }

bool mfi_os_kill(pid_t pid, int signal_number) { return kill(pid, signal_number) == 0; }

bool mfi_os_kill_thread(pid_t pid, pid_t tid, int signal_number) {
  return syscall(SYS_tgkill, pid, tid, signal_number) == 0;
}
