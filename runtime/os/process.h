// Processes: forking away from the host, carrying surroundings over, watching lives. Floor 1.
// process_linux.c fulfils it. Failures are MFI_SYSTEM or -1 with errno.
#ifndef MFI_OS_PROCESS_H
#define MFI_OS_PROCESS_H

#include "os/os.h"

// ---- Surroundings: what a worker takes over from who starts it

#define MFI_LIMITS 16
typedef struct mfi_os_surroundings {
  uint32_t umask;
  int32_t nice;
  uint64_t affinity[16]; // CPU set
  struct {
    uint64_t soft, hard;
  } limit[MFI_LIMITS]; // setrlimit's, by its numbers
  char locale[256];    // zero-ended
  char cwd[4096];      // zero-ended; "": unknown
} mfi_os_surroundings;

void mfi_os_surroundings_get(mfi_os_surroundings *out);
// Around what a thread does that makes no files: it is no bar to a quick look at the umask.
void mfi_os_quiet_begin(void);
void mfi_os_quiet_end(void);
// now: what holds now, as read before; only what differs is changed.
void mfi_os_surroundings_set(const mfi_os_surroundings *s, const mfi_os_surroundings *now);

// All "NAME=value" strings, one behind another, each with its zero.
size_t mfi_os_environ_size(void);
void mfi_os_environ_copy(char *to);
void mfi_os_environ_set(const char *from, size_t size); // replaces them all, where any differs

// ---- Descriptors

// Where a descriptor leads: device and inode. False: it is closed.
bool mfi_os_same_file(const uint64_t id[2], int fd);
void mfi_os_file_id(int fd, uint64_t id[2]);
// Closes every descriptor above 2 that is not among the n kept.
void mfi_os_close_others(const int *keep, int n);
void mfi_os_replace(int fd, int with); // dup2
// A program's standard descriptors that are closed become /dev/null: else the next file that is
// opened takes their place, and gets what is printed.
void mfi_os_fill_standard(void);
void mfi_os_null_input(void); // descriptor 0 becomes /dev/null

// A descriptor that is readable from a `set` to the next `clear`; -1: none to be had.
int mfi_os_eventfd(void);
void mfi_os_eventfd_set(int fd);
void mfi_os_eventfd_clear(int fd);
void mfi_os_close(int fd); // -1 is allowed

// A number for a child that is forked after the opening: given once, not 0.
int mfi_os_order_open(void);
void mfi_os_order_give(int fd, uint64_t number);
uint64_t mfi_os_order_await(int fd); // sleeps

// A socket pair that keeps requests apart.
mfi_status mfi_os_channel(int ends[2]);
void mfi_os_hang_up(int channel); // the other end and who polls this one see it
// One request with at most two descriptors (-1: none of this number). MFI_CLOSED: nobody reads any
// more.
mfi_status mfi_os_send(int channel, const void *data, size_t size, const int fds[2]);
mfi_status mfi_os_receive(int channel, void *data, size_t size, int fds[2]); // MFI_EMPTY: none now

// ---- Lives

typedef struct mfi_os_exit {
  pid_t pid; // 0: nobody
  int code;  // exit code, or -signal
} mfi_os_exit;

pid_t mfi_os_fork(void);
// Runs fn(arg) in a process that is no child of the caller's. MFI_SYSTEM.
mfi_status mfi_os_fork_away(void (*fn)(void *), void *arg);
int mfi_os_pidfd(pid_t pid);
bool mfi_os_is_gone(pid_t pid); // ended, perhaps a zombie still
// Is this thread asleep, and will go on when it is woken? A thread that a signal is ending is awake
// from the moment of the kill. tid 0: a thread of the process that is not known is taken for asleep
// while the process lives.
bool mfi_os_is_asleep(pid_t pid, pid_t tid);
int mfi_os_child_signal(void); // descriptor that is readable when a child ended; blocks all signals
void mfi_os_child_signal_clear(int fd);
mfi_os_exit mfi_os_peek_exit(void); // a child that ended; it stays a zombie, its pid its own
void mfi_os_reap(pid_t pid);
// Readable among the n descriptors as bits; 0 after the timeout (MFI_NEVER: none).
uint32_t mfi_os_poll(const int *fds, int n, mfi_ns until);

// In a child that the caller forked: dies with its parent (unless it is dead already: then at
// once).
void mfi_os_die_with_parent(pid_t parent);
// Handlers as a worker has them: SIGINT and SIGQUIT caught and ignored by us alone. In its warden,
// whose children inherit them.
void mfi_os_worker_handlers(void);
void mfi_os_unblock_signals(void);
// A C exit in a forked worker must not run what the host registered, nor print its unflushed text.
void mfi_os_forget_host(void);
_Noreturn void mfi_os_leave(int code); // flushes stdio, ends without atexit
void mfi_os_name_process(const char *name);

bool mfi_os_kill(pid_t pid, int signal_number);
bool mfi_os_kill_thread(pid_t pid, pid_t tid, int signal_number);

#endif
