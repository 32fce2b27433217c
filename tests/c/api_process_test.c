// moonfleet.h: hosts that have ways of their own with threads, signals, descriptors and children.
#include "api_world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

static mf_backend backend;

static mf_pool *pool_of_one(mf_runtime *rt) {
  mf_pool_config c = {.size = sizeof c, .workers = 1};
  return mf_pool_open(rt, &c);
}

static int sum_of(mf_pool *pool) {
  mf_future *f = submit(pool, "return 40 + 2", NULL, 0);
  mf_status st = mf_future_wait(f, LONG);
  int sum = st == MF_OK ? (int)integer_of(mf_future_value(f, 0)) : -1;
  mf_future_release(f);
  return sum;
}

// In a child, which may do to itself what it likes; its exit status says how many checks failed.
static void in_a_child(void (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    check_failed_here = 0;
    body();
    fflush(stdout);
    _exit(check_failed_here);
  }
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK_EQ(status, 0);
}

// A task that must be stopped, one that is let go.
static void work(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of_one(rt);
  CHECK_EQ(sum_of(pool), 42);
  mf_future *f = submit(pool, FOR_EVER_CAUGHT, NULL, 0);
  while (mf_future_poll(f) == MF_QUEUED)
    usleep(100);
  CHECK_EQ(mf_future_cancel(f, 1), 1);
  CHECK_EQ(mf_future_wait(f, LONG), MF_CANCELLED);
  mf_future_release(f);
  f = submit(pool, FOR_EVER, NULL, 0);
  while (mf_future_poll(f) == MF_QUEUED)
    usleep(100);
  mf_pool_terminate(pool);
  CHECK_EQ(mf_future_wait(f, LONG), MF_TERMINATED);
  mf_future_release(f);
  mf_close(rt);
}

// ---- Signals

static void block_all_signals(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  work();
}

static void stops_tasks_where_all_signals_are_blocked(void) { in_a_child(block_all_signals); }

static void ignore_children(void) {
  signal(SIGCHLD, SIG_IGN);
  work();
  CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
}

static void serves_who_ignores_its_children(void) { in_a_child(ignore_children); }

static void *reap(void *stop) {
  int status;
  while (__atomic_load_n((int *)stop, __ATOMIC_SEQ_CST) == 0)
    if (waitpid(-1, &status, 0) < 0)
      usleep(100);
  return NULL;
}

static void reap_all(void) {
  int stop = 0;
  pthread_t reaper;
  pthread_create(&reaper, NULL, reap, &stop);
  for (int i = 0; i < 5; i++)
    work();
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  pthread_join(reaper, NULL);
}

static void serves_who_reaps_every_child(void) { in_a_child(reap_all); }

static volatile sig_atomic_t interrupts;

static void count_interrupt(int number) {
  (void)number;
  interrupts = interrupts + 1;
}

typedef void handler(int);

static void read_handlers(handler **all) {
  struct sigaction now = {.sa_handler = SIG_DFL};
  for (int i = 1; i < NSIG; i++)
    all[i] = sigaction(i, NULL, &now) == 0 ? now.sa_handler : SIG_DFL;
}

// Ctrl-C is sent to all processes of the group.
static void handle_interrupts(void) {
  struct sigaction mine = {.sa_handler = count_interrupt};
  handler *before[NSIG], *after[NSIG];
  sigaction(SIGINT, &mine, NULL);
  read_handlers(before);
  setpgid(0, 0);
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of_one(rt);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_value arg = mf_of_queue(q);
  mf_future *f = submit(pool, "local q = ... return q:get(20)", &arg, 1);
  while (mf_future_poll(f) == MF_QUEUED)
    usleep(100);
  kill(0, SIGINT);
  while (interrupts == 0)
    usleep(100);
  usleep(1000);
  CHECK_EQ(mf_future_poll(f), MF_RUNNING);
  CHECK_EQ(mf_queue_put_bytes(q, "x", 1, 0), MF_OK);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  CHECK_EQ(interrupts, 1);
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
  read_handlers(after);
  for (int i = 1; i < NSIG; i++)
    CHECK(after[i] == before[i]);
}

static void leaves_interrupts_to_the_host(void) { in_a_child(handle_interrupts); }

static void leaves_errno_to_what_it_interrupts(void) {
  mf_runtime *rt = open_runtime(backend);
  errno = 77;
  for (int i = 0; i < 100; i++)
    mf_interrupt(rt, i % 2);
  CHECK_EQ(errno, 77);
  mf_close(rt);
}

// ---- Descriptors

static void close_standard_files(void) {
  int log = fcntl(1, F_DUPFD_CLOEXEC, 10);
  for (int fd = 0; fd < 3; fd++)
    close(fd);
  work();
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of_one(rt);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_future *f = submit(pool, "print 'x' io.stderr:write 'y'", NULL, 0);
  CHECK(mf_fd(rt) > 2);
  CHECK(mf_future_fd(f) > 2);
  CHECK(mf_queue_fd(q) > 2);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  for (int fd = 0; fd < 3; fd++)
    CHECK(fcntl(fd, F_GETFD) < 0);
  mf_future_release(f);
  mf_queue_release(q);
  mf_close(rt);
  dup2(log, 1);
}

static void leaves_the_places_of_closed_standard_files_free(void) {
  in_a_child(close_standard_files);
}

static int count_entries(const char *path) {
  DIR *d = opendir(path);
  int n = 0;
  while (readdir(d) != NULL)
    n++;
  closedir(d);
  return n;
}

static void note_done(mf_future *f, void *ud) {
  (void)f;
  ++*(int *)ud;
}

static void open_and_close_all(void) {
  int ran = 0;
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of_one(rt);
  mf_queue *q = mf_queue_open(rt, 0);
  mf_array *a = mf_array_open(rt, 'd', 100);
  mf_value args[] = {mf_of_queue(q), mf_of_array(a)};
  mf_future *f = submit(pool, "local q, a = ... q:put(1) return a", args, 2);
  CHECK(mf_queue_fd(q) >= 0 && mf_fd(rt) >= 0 && mf_future_fd(f) >= 0);
  CHECK_EQ(mf_future_on_done(f, note_done, &ran), MF_OK);
  mf_future *left = submit(pool, FOR_EVER, NULL, 0);
  CHECK_EQ(mf_future_wait(f, LONG), MF_OK);
  mf_close(rt);
  CHECK_EQ(ran, 1);
  mf_future_release(f);
  mf_future_release(left);
  mf_queue_release(q);
  mf_array_release(a);
}

// A thread that has ended for its joiner may be in the list for a moment.
static int settles_at(const char *path, int n) {
  for (int i = 0; i < 2000 && count_entries(path) > n; i++)
    usleep(1000);
  return count_entries(path);
}

static void leaves_nothing_behind(void) {
  for (int i = 0; i < 3; i++)
    open_and_close_all();
  usleep(10000);
  int fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
  for (int i = 0; i < 100; i++)
    open_and_close_all();
  CHECK(settles_at("/proc/self/fd", fds) <= fds);
  CHECK(settles_at("/proc/self/task", threads) <= threads);
}

static void serves_a_poll_loop(void) {
  enum { N = 100 };
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of_one(rt);
  struct pollfd fds[N];
  mf_future *f[N];
  for (int i = 0; i < N; i++) {
    f[i] = submit(pool, "return 1", NULL, 0);
    fds[i] = (struct pollfd){.fd = mf_future_fd(f[i]), .events = POLLIN};
  }
  int left = N;
  while (left > 0 && poll(fds, N, 20000) > 0)
    for (int i = 0; i < N; i++) {
      if (fds[i].fd < 0 || fds[i].revents == 0)
        continue;
      CHECK_EQ(mf_future_poll(f[i]), MF_OK);
      mf_future_release(f[i]);
      fds[i].fd = -1;
      left--;
    }
  CHECK_EQ(left, 0);
  mf_close(rt);
}

// Its region may take 256 MiB.
static void lock_all_memory(void) {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    printf("skip a_program_that_locks_its_memory: %s\n", strerror(errno));
    return;
  }
  mf_runtime *rt = open_runtime(MF_PROCESS);
  char line[200] = "";
  long kilobytes = -1;
  FILE *f = fopen("/proc/self/status", "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL)
    sscanf(line, "RssShmem: %ld", &kilobytes);
  CHECK(kilobytes >= 0 && kilobytes < 64 << 10);
  CHECK_EQ(sum_of(pool_of_one(rt)), 42);
  mf_close(rt);
}

static void uses_shared_memory_as_needed_where_all_is_locked(void) { in_a_child(lock_all_memory); }

// ---- Children

static void outlives_forks_of_the_host(void) {
  mf_runtime *rt = open_runtime(backend);
  mf_pool *pool = pool_of_one(rt);
  CHECK_EQ(sum_of(pool), 42);
  int status = -1;
  for (int i = 0; i < 4; i++) {
    pid_t pid = fork();
    if (pid == 0)
      _exit(0);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
  }
  pid_t lasting = fork();
  if (lasting == 0)
    _exit(pause());
  CHECK_EQ(sum_of(pool), 42);
  mf_close(rt); // although its child still has all descriptors
  kill(lasting, SIGKILL);
  waitpid(lasting, NULL, 0);
}

// ---- Threads

static void *call(void *rt) {
  mf_error(rt);
  return NULL;
}

static void takes_back_what_threads_leave(void) {
  mf_runtime *rt = open_runtime(backend);
  for (int i = 0; i < 500; i++) {
    pthread_t t;
    pthread_create(&t, NULL, call, rt);
    pthread_join(t, NULL);
  }
  size_t size = mf_dump_waits(rt, NULL, 0);
  for (int i = 0; i < 500; i++) {
    pthread_t t;
    pthread_create(&t, NULL, call, rt);
    pthread_join(t, NULL);
  }
  CHECK_EQ(mf_dump_waits(rt, NULL, 0), size);
  mf_close(rt);
}

typedef struct ending {
  mf_runtime *rt;
  pthread_barrier_t *begin;
} ending;

// Its last call has returned before the close begins; its end comes in the middle.
static void *call_and_end(void *arg) {
  ending e = *(ending *)arg;
  mf_error(e.rt);
  pthread_barrier_wait(e.begin);
  return NULL;
}

static void closes_while_threads_end(void) {
  enum { N = 4 };
  for (int i = 0; i < 200; i++) {
    pthread_barrier_t begin;
    pthread_t t[N];
    pthread_barrier_init(&begin, NULL, N + 1);
    ending e = {open_runtime(backend), &begin};
    for (int k = 0; k < N; k++)
      pthread_create(&t[k], NULL, call_and_end, &e);
    pthread_barrier_wait(&begin);
    mf_close(e.rt);
    for (int k = 0; k < N; k++)
      pthread_join(t[k], NULL);
    pthread_barrier_destroy(&begin);
  }
}

static void run_all(mf_backend which) {
  backend = which;
  RUN(stops_tasks_where_all_signals_are_blocked);
  RUN(serves_who_ignores_its_children);
  RUN(serves_who_reaps_every_child);
  RUN(leaves_interrupts_to_the_host);
  RUN(leaves_the_places_of_closed_standard_files_free);
  RUN(leaves_nothing_behind);
  RUN(serves_a_poll_loop);
  RUN(outlives_forks_of_the_host);
}

int main(void) {
  alarm(200);
  run_all(MF_THREAD);
  run_all(MF_PROCESS);
  RUN(leaves_errno_to_what_it_interrupts);
  RUN(uses_shared_memory_as_needed_where_all_is_locked);
  RUN(takes_back_what_threads_leave);
  RUN(closes_while_threads_end);
  return check_done();
}
