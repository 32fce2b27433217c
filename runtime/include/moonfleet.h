/* moonfleet.h - parallel Lua 5.4 for C and C++ programs: workers, pools, futures, queues.
 *
 *   mf_runtime *rt    = mf_open(NULL, NULL, 0);
 *   mf_pool    *pool  = mf_pool_open(rt, NULL);
 *   const char *chunk = "local a, b = ... return a * b";
 *   mf_value    args[] = {mf_integer(6), mf_integer(7)};
 *   mf_future  *f = mf_submit_source(pool, chunk, strlen(chunk), "=demo", args, 2);
 *   if (mf_future_wait(f, MF_FOREVER) == MF_OK)
 *     printf("%lld\n", (long long)mf_future_value(f, 0)->as.integer);
 *   else
 *     fprintf(stderr, "%s\n", mf_future_error(f));
 *   mf_future_release(f);
 *   mf_close(rt);
 *
 * Rules that hold throughout
 *
 *   Threads   Every function carries one of these marks:
 *     [any]     every native thread, with or without a Lua state, several at once
 *     [L]       the thread that runs the given lua_State, as with any function of lua.h; any state
 *               of this process, given to mf_openlib or not
 *     [last]    any thread, while no other thread uses the handle: it ends here
 *     [worker]  inside a worker only: from a task, a hook or a module
 *     [signal]  as [any], and from signal handlers
 *             A thread may end in any way, but not be cancelled (pthread_cancel) inside a call.
 *   Callbacks are run by mf_dispatch, and the last ones by mf_close: on the thread that calls
 *             these, one at a time, with no lock held. There are no others. A callback may call
 *             every function but mf_close; it must not throw, nor jump out. In mf_close nothing can
 *             be opened or submitted any more (NULL, MF_CLOSED), pools are still to be called with.
 *             (Hooks, modules and tasks are no callbacks: they run in workers, on the worker's own
 *             thread.)
 *   Errors    A function that may fail returns mf_status, or a handle that is NULL on failure; the
 *             reason is then in mf_error(rt). Nothing is printed, nothing calls exit or abort, and
 *             nothing raises a Lua error (luaopen_moonfleet apart). A NULL handle is answered with
 *             MF_INVALID, NULL, 0, -1 or "", so a chain of calls can be checked at its end.
 *   Time      Timeouts are seconds: 0 does not wait, a negative one (MF_FOREVER) waits for ever,
 *             NaN is MF_INVALID. A waiting call sleeps; it blocks no worker and no other thread.
 *   Structs   Configs start with their size, and zero means "the default" in every other field:
 *             mf_pool_config c = {.size = sizeof c};   C++: mf_pool_config c{}; c.size = sizeof c;
 *             They, and the strings in them, are the caller's and only read during the call.
 *   Handles   A runtime ends with mf_close and takes its pools along. Futures, queues, arrays are
 *             the caller's until released, each once, before or after mf_close. After it futures
 *             keep their outcome (MF_TERMINATED for tasks not done), queues answer MF_CLOSED.
 *   Process   Signal handlers (but one real-time signal, while thread workers exist: mf_config),
 *             SIGCHLD, the locale, stdio and the working directory are left alone.
 *             Workers are no children of the host: it may reap with wait() or ignore SIGCHLD. (Only
 *             a helper that goes before the first process worker is, for a moment: a wait() for any
 *             child may meet it.) Open the runtime after daemonizing, and before the host's own
 *             threads where that is possible. After a fork() of the host's own, its child calls
 *             nothing here. Process workers end when the host ends, however it ends.
 *   Lua       A Lua state of the host's serves one runtime, the first that it is given to.
 */
#ifndef MOONFLEET_H
#define MOONFLEET_H

#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <lua.h> /* a host whose Lua is compiled as C++ includes its own lua.h before this header */

#define MF_VERSION_MAJOR 0
#define MF_VERSION_MINOR 1
#define MF_VERSION_PATCH 0
#define MF_VERSION "0.1.0"

#if defined(__GNUC__)
#define MF_API __attribute__((visibility("default")))
#else
#define MF_API
#endif

#define MF_FOREVER (-1.0) /* a timeout that never comes */

typedef struct mf_runtime mf_runtime; /* a region of shared memory, and all that lives in it */
typedef struct mf_pool mf_pool;       /* workers that run tasks */
typedef struct mf_future mf_future;   /* one task and, once it ended, its outcome */
typedef struct mf_queue mf_queue;     /* first in, first out, between all threads and processes */
typedef struct mf_array mf_array;     /* numbers in shared memory that nobody copies */

/* ---- Status --------------------------------------------------------------------------------- */

/* What calls return and how tasks end. The numbers are part of the ABI; new ones may be added. */
typedef enum mf_status {
  MF_OK = 0,

  /* not now */
  MF_QUEUED = 1,      /* mf_future_poll: no worker has taken the task yet */
  MF_RUNNING = 2,     /* mf_future_poll: a worker runs it */
  MF_TIMEDOUT = 3,    /* the call's own timeout is over; what it waited for goes on */
  MF_EMPTY = 4,       /* a get with timeout 0 found nothing */
  MF_FULL = 5,        /* a put with timeout 0 found no room */
  MF_INTERRUPTED = 6, /* mf_interrupt */

  /* never again */
  MF_CLOSED = 10, /* the queue (and it is drained), the pool or the runtime is closed */

  /* how a task failed; mf_future_error has the text */
  MF_FAILED = 20,       /* it raised an error, or its chunk does not compile */
  MF_WORKER_DIED = 21,  /* its worker ended under it: signal, crash, os.exit */
  MF_TASK_TIMEOUT = 22, /* it ran longer than its limit and was stopped */
  MF_MEMORY_LIMIT = 23, /* its worker may not have more memory */
  MF_CANCELLED = 24,    /* mf_future_cancel */
  MF_TERMINATED = 25,   /* its pool or runtime was ended before it */
  MF_INITIALIZER = 26,  /* no worker could start: a start hook or init_source failed */
  MF_NOT_SENDABLE = 27, /* an argument or result cannot travel; the text names its path */
  MF_DECODE = 28,       /* bytes that are no message */
  MF_DEADLOCK = 29,     /* a wait that could never end */

  /* the call itself */
  MF_INVALID = 40, /* an argument is wrong: the host's mistake */
  MF_TYPE = 41,    /* the message is no string of bytes; it stays where it is */
  MF_TOO_BIG = 42, /* the buffer is too small; the message stays where it is */
  MF_NOMEM = 43,   /* no memory, shared or own */
  MF_SYSTEM = 44   /* the system refused: processes, threads, descriptors */
} mf_status;

/* "0.1.0": the library that runs; MF_VERSION is the header that was compiled. Before 1.0 the two
 * must be equal, from then on only the major number.
 * [any]  Static text. */
MF_API const char *mf_version(void);

/* The name of a status, as Lua knows it: "ok", "timeout", "worker_died", "closed" ...
 * [any]  Static text, never NULL; "unknown" for other numbers. */
MF_API const char *mf_status_string(mf_status status);

/* CPUs that this program may use (affinity and cgroup quota), at least 1.
 * [any] */
MF_API int mf_cpu_count(void);

/* ---- Values, without a Lua state ------------------------------------------------------------ */

typedef enum mf_kind {
  MF_NIL = 0,
  MF_BOOLEAN = 1, /* as.boolean: 0 or 1 */
  MF_INTEGER = 2, /* as.integer */
  MF_NUMBER = 3,  /* as.number */
  MF_STRING = 4,  /* as.string: any bytes; a zero follows them where the library made the value */
  MF_TABLE = 5,   /* as.table */
  MF_QUEUE = 6,   /* as.queue, by reference */
  MF_ARRAY = 7,   /* as.array, by reference */
  MF_POINTER = 8, /* as.pointer: light userdata, for workers that are threads of this process */
  MF_OTHER = 9    /* as.other: "function", "Lock" ... what only Lua can use; C cannot send it on */
} mf_kind;

typedef struct mf_table mf_table;

/* A Lua value as plain data. What a host builds may lie on its stack and is only read during the
 * call. What the library hands out belongs to whom the function names, with all that is in it. */
typedef struct mf_value {
  mf_kind kind;
  union {
    int boolean;
    lua_Integer integer;
    lua_Number number;
    struct {
      const char *data;
      size_t size;
    } string;
    const mf_table *table;
    mf_queue *queue;
    mf_array *array;
    void *pointer;
    const char *other;
  } as;
} mf_value;

/* A table: t[1] .. t[nitems] first, then its other entries, keys and values by turns. One mf_table
 * met twice in a message, or inside itself, arrives as one table. C does not see metatables. */
struct mf_table {
  size_t nitems;
  const mf_value *items; /* items[0] is t[1]; MF_NIL makes a hole */
  size_t npairs;
  const mf_value *pairs; /* pairs[2 * i] is a key, pairs[2 * i + 1] its value */
};

static inline mf_value mf_nil(void) {
  mf_value v;
  memset(&v, 0, sizeof v);
  return v;
}
static inline mf_value mf_boolean(int b) {
  mf_value v = mf_nil();
  v.kind = MF_BOOLEAN;
  v.as.boolean = b != 0;
  return v;
}
static inline mf_value mf_integer(lua_Integer i) {
  mf_value v = mf_nil();
  v.kind = MF_INTEGER;
  v.as.integer = i;
  return v;
}
static inline mf_value mf_number(lua_Number n) {
  mf_value v = mf_nil();
  v.kind = MF_NUMBER;
  v.as.number = n;
  return v;
}
static inline mf_value mf_string(const char *data, size_t size) {
  mf_value v = mf_nil();
  v.kind = MF_STRING;
  v.as.string.data = data;
  v.as.string.size = size;
  return v;
}
static inline mf_value mf_text(const char *text) { return mf_string(text, strlen(text)); }
static inline mf_value mf_of_table(const mf_table *table) {
  mf_value v = mf_nil();
  v.kind = MF_TABLE;
  v.as.table = table;
  return v;
}
static inline mf_value mf_of_queue(mf_queue *queue) {
  mf_value v = mf_nil();
  v.kind = MF_QUEUE;
  v.as.queue = queue;
  return v;
}
static inline mf_value mf_of_array(mf_array *array) {
  mf_value v = mf_nil();
  v.kind = MF_ARRAY;
  v.as.array = array;
  return v;
}
static inline mf_value mf_of_pointer(void *pointer) {
  mf_value v = mf_nil();
  v.kind = MF_POINTER;
  v.as.pointer = pointer;
  return v;
}

/* v[key] of a table; NULL where v is NULL, no table, or has no such key. So calls can be nested:
 * mf_field(mf_field(mf_future_value(f, 0), "position"), "x"). */
static inline const mf_value *mf_field(const mf_value *v, const char *key) {
  size_t i, size = strlen(key);
  if (v == NULL || v->kind != MF_TABLE)
    return NULL;
  for (i = 0; i < v->as.table->npairs; i++) {
    const mf_value *k = &v->as.table->pairs[2 * i];
    if (k->kind != MF_STRING || k->as.string.size != size)
      continue;
    if (memcmp(k->as.string.data, key, size) == 0)
      return k + 1;
  }
  return NULL;
}

/* Pushes a copy of *v on L's stack; queues and arrays become their Lua objects, usable in L as in
 * any script. MF_OTHER cannot be pushed.
 * [L]  On failure nothing is pushed. MF_OK, MF_INVALID, MF_NOT_SENDABLE, MF_CLOSED, MF_NOMEM. */
MF_API mf_status mf_value_push(mf_runtime *rt, lua_State *L, const mf_value *v);

/* Reads a copy of the Lua value at idx, deep, into *out; functions, and objects that C has no kind
 * for, become MF_OTHER in it.
 * [L]  The caller owns *out and ends it with mf_value_free; nil on failure. MF_OK, MF_INVALID,
 * MF_NOT_SENDABLE (a coroutine, a file ...), MF_CLOSED, MF_NOMEM. */
MF_API mf_status mf_value_read(mf_runtime *rt, lua_State *L, int idx, mf_value *out);

/* Ends a value that mf_value_read or mf_queue_get_value filled, and makes it nil; handles in it are
 * released. A future's values are the future's: never free those. NULL is allowed.
 * [last] */
MF_API void mf_value_free(mf_value *v);

/* ---- Runtime -------------------------------------------------------------------------------- */

typedef enum mf_backend {
  MF_DEFAULT = 0, /* of a pool: as its runtime says; of a runtime: MF_THREAD */
  MF_PROCESS = 1, /* each worker a forked process: survives anything that a script does. Forks this
                     program: open the runtime before other threads exist, or see to it that
                     preloads and hooks take no lock that such a thread may hold */
  MF_THREAD = 2, /* each worker a thread of this process: cheapest to start; a crash in C code takes
                    the host along */
  MF_SERIAL = 3  /* for debugging: a task runs inside its submit, in the calling thread */
} mf_backend;

/* Standard libraries of a worker. Without PACKAGE, require finds the host's modules (mf_preload)
 * alone; without IO there is no dofile and no loadfile; without DEBUG, load takes text alone;
 * without MOONFLEET scripts start no workers, but queues and arrays that they are given work. */
enum {
  MF_LIB_BASE = 1 << 0,
  MF_LIB_COROUTINE = 1 << 1,
  MF_LIB_TABLE = 1 << 2,
  MF_LIB_STRING = 1 << 3,
  MF_LIB_MATH = 1 << 4,
  MF_LIB_UTF8 = 1 << 5,
  MF_LIB_IO = 1 << 6,
  MF_LIB_OS = 1 << 7,
  MF_LIB_PACKAGE = 1 << 8,
  MF_LIB_DEBUG = 1 << 9,
  MF_LIB_MOONFLEET = 1 << 10,
  MF_LIB_SAFE = (1 << 6) - 1, /* nothing that reaches outside the worker */
  MF_LIB_ALL = (1 << 11) - 1
};

/* What a worker may use. Tasks on one worker share its globals, one after another: for scripts that
 * must not see each other set max_tasks_per_worker = 1, or give each its own pool. */
typedef struct mf_limits {
  size_t size;         /* sizeof(mf_limits) */
  size_t memory;       /* bytes of each worker's Lua state; beyond, allocations fail: "not enough
                          memory" in the script, MF_MEMORY_LIMIT if it catches none. 0: no limit */
  double task_timeout; /* seconds that a task may run, endless loops included; only a thread inside
                          a C function or a __gc goes on: not for untrusted scripts. 0: no limit */
  unsigned libs;       /* MF_LIB_*. 0: MF_LIB_ALL */
} mf_limits;

typedef enum mf_level {
  MF_LOG_ERROR = 1,   /* an error that nobody else is told of: of a task whose outcome nobody asked
                         for (without on_error), of a worker's target, of a callback in Lua */
  MF_LOG_WARNING = 2, /* a worker died and was replaced, a pool's workers do not start, a stop hook
                         raised an error, a script left tasks unfinished */
  MF_LOG_INFO = 3,    /* a worker or pool came or went */
  MF_LOG_DEBUG = 4    /* nothing yet */
} mf_level;

/* What the runtime notes; text ends in zero. All of it comes here, from worker processes and Lua
 * states of the host's, too, and goes to no stderr then; what scripts print does not. A note that
 * finds no room in shared memory is lost. */
typedef void mf_log_fn(void *ud, mf_level level, const char *text);

/* A task failed (cancelled and terminated ones did not) and its future was released, or the runtime
 * closed, before anybody asked: message and traceback. */
typedef void mf_error_fn(void *ud, mf_status status, const char *text);

/* What a worker printed: whole lines (longer than 64 KiB: in pieces), stream 1 or 2. */
typedef void mf_output_fn(void *ud, const char *worker, int stream, const char *data, size_t size);

typedef struct mf_config {
  size_t size;             /* sizeof(mf_config) */
  mf_backend backend;      /* of pools that do not say. Default: MF_THREAD */
  const mf_limits *limits; /* of pools that do not say. NULL: none */
  size_t shared_limit;     /* most bytes of shared memory (messages, queues, arrays); beyond:
                              MF_NOMEM. Reserved at once, used as needed. 0: half of the RAM */
  const char *path;        /* package.path of workers. NULL: as in a fresh Lua */
  const char *cpath;       /* package.cpath of workers. NULL: as in a fresh Lua */
  lua_Alloc alloc;         /* for runtime handles (pools, futures, queues, arrays) and thread
                              workers' states; called by several threads at once. Process workers
                              use malloc. NULL: malloc for all */
  void *alloc_ud;
  int signal_number;       /* real-time signal that stops scripts in thread workers.
                              0: SIGRTMIN + 4 */
  int inherit_output;      /* 1: what workers print goes to this process's stdout and stderr.
                              0: to on_output, or nowhere */
  mf_output_fn *on_output; /* the three sinks are callbacks: see above. NULL: nowhere */
  mf_error_fn *on_error;
  mf_log_fn *on_log; /* NULL: errors go to the stderr of the state in which they happen */
  void *ud;          /* given to the three sinks */
} mf_config;

/* Opens a runtime; starts no worker. A program may have several; they share nothing.
 * [any]  config: NULL for the defaults. NULL on failure, with the reason in err (errlen bytes,
 * zero-ended; err may be NULL). */
MF_API mf_runtime *mf_open(const mf_config *config, char *err, size_t errlen);

/* Stops every worker, ends every pool, lets every waiting call return MF_CLOSED, runs all callbacks
 * that are due, and frees the runtime. Never waits for a script; a thread worker in a C function
 * that does not return is left behind. For futures, queues, arrays see above. NULL is allowed.
 * [last]  Calls that wait in other threads may be under way; no new ones. Lua states given to
 * mf_openlib may be closed before or after. */
MF_API void mf_close(mf_runtime *rt);

/* Why the calling thread's latest failing call in rt failed.
 * [any]  Valid until the thread's next call in rt; never NULL, "" when none failed. */
MF_API const char *mf_error(mf_runtime *rt);

/* Makes require "moonfleet" work in L, for this runtime. Callbacks of L run in its waiting calls
 * and in mf.poll(). [L]  The stack is left as it was. MF_OK, MF_INVALID, MF_NOMEM. */
MF_API mf_status mf_openlib(mf_runtime *rt, lua_State *L);

/* The module itself, for stock Lua and luaL_requiref: with a runtime of its own that ends with L.
 * [L]  Raises on failure. */
MF_API int luaopen_moonfleet(lua_State *L);

/* Gives workers a module of the host's: require(name) calls open in them, whatever libraries they
 * have. The latest open of a name counts.
 * [any]  For workers started later (of processes: once all that run have ended). MF_OK, MF_INVALID,
 * MF_NOMEM. */
MF_API mf_status mf_preload(mf_runtime *rt, const char *name, lua_CFunction open);

/* Lets a C closure of the host's travel by name. build pushes it, upvalues included, and is called
 * once in each state that sends or gets one; a sender's function is known by its lua_CFunction.
 * [any]  For workers started later (as above). MF_OK, MF_INVALID (also: name taken), MF_NOMEM. */
MF_API mf_status mf_register_cfunction(mf_runtime *rt, const char *name, lua_CFunction build);

/* fn(L, ud) runs in each worker, after its libraries were opened, before init_source and tasks. If
 * it raises or returns other than 0 (message on L's top) no worker starts: MF_INITIALIZER.
 * [any]  For workers started later (as above), in the order given. MF_OK, MF_INVALID, MF_NOMEM. */
MF_API mf_status mf_on_worker_start(mf_runtime *rt, int (*fn)(lua_State *L, void *ud), void *ud);

/* fn(L, ud) runs in each worker that ends in order, not after a kill or crash, before its state is
 * closed; its result is ignored.
 * [any]  For workers started later (as above), in reverse order. MF_OK, MF_INVALID, MF_NOMEM. */
MF_API mf_status mf_on_worker_stop(mf_runtime *rt, int (*fn)(lua_State *L, void *ud), void *ud);

/* A descriptor for poll, epoll, select: readable as long as callbacks are due.
 * [any]  The runtime's: poll it, do not read or close it. -1 on failure. */
MF_API int mf_fd(mf_runtime *rt);

/* Runs due callbacks on the calling thread, at most max (0: all that were due at the call).
 * [any]  Never waits. How many ran; 0 at once while another thread is inside. */
MF_API int mf_dispatch(mf_runtime *rt, int max);

/* For Ctrl-C. As long as it is on, calls that would wait in this runtime return MF_INTERRUPTED, or
 * raise "interrupted!" in Lua states given to mf_openlib; those that wait now, too. Tasks go on.
 * Lua states learn of it, and of its end, a moment later.
 * [signal] */
MF_API void mf_interrupt(mf_runtime *rt, int on);

/* Writes who runs what and who waits where for what, as text for people, in the manner of snprintf.
 * The host's own threads are told of while they wait.
 * [any]  Length of the whole text; what does not fit is cut. 0: rt is NULL or closed. */
MF_API size_t mf_dump_waits(mf_runtime *rt, char *buffer, size_t size);

/* ---- Pools ---------------------------------------------------------------------------------- */

typedef struct mf_pool_config {
  size_t size;              /* sizeof(mf_pool_config) */
  mf_backend backend;       /* default: the runtime's */
  int workers;              /* default: mf_cpu_count() */
  const char *name;         /* in errors and tools. Default: Pool-1, Pool-2 ... */
  const mf_limits *limits;  /* NULL: the runtime's */
  const char *init_source;  /* Lua text that each worker runs before its first task. If it fails the
                               pool closes and its tasks end as MF_INITIALIZER. NULL: none */
  int max_tasks_per_worker; /* then the worker is replaced. 0: never */
} mf_pool_config;

typedef struct mf_stats {
  size_t size;      /* sizeof(mf_stats), set by the caller */
  int workers;      /* alive */
  int idle;         /* of these, waiting for work */
  size_t submitted; /* tasks, ever: the sum of the next five */
  size_t queued;    /* no worker has taken it */
  size_t running;   /* a worker runs it */
  size_t done;      /* gave a result */
  size_t failed;    /* ended with an error, a limit or its worker's death */
  size_t cancelled; /* cancelled or terminated */
  size_t died;      /* workers that ended by a signal, a crash or os.exit, ever */
} mf_stats;

/* Opens a pool. Its workers are started, not waited for; one that dies is replaced.
 * [any]  config: NULL for the defaults. NULL on failure: mf_error(rt). */
MF_API mf_pool *mf_pool_open(mf_runtime *rt, const mf_pool_config *config);

/* Takes no more tasks, waits until those accepted are done, stops the workers, frees the pool. With
 * a limit: mf_pool_wait(pool, 5), then mf_pool_terminate. After mf_interrupt it does not wait: the
 * tasks go on without it, and mf_close frees the pool. NULL is allowed.
 * [last] */
MF_API void mf_pool_close(mf_pool *pool);

/* The same without waiting for tasks: those not done end as MF_TERMINATED. NULL is allowed.
 * [last] */
MF_API void mf_pool_terminate(mf_pool *pool);

/* Waits until the pool has no task left, queued or running.
 * [any]  MF_OK, MF_TIMEDOUT, MF_INTERRUPTED, MF_CLOSED, MF_INVALID. */
MF_API mf_status mf_pool_wait(mf_pool *pool, double timeout);

/* Changes the number of workers, at least 1; surplus ones finish their task first.
 * [any]  Does not wait. MF_OK, MF_INVALID, MF_CLOSED, MF_NOMEM, MF_SYSTEM. */
MF_API mf_status mf_pool_resize(mf_pool *pool, int workers);

/* Fills *out, as far as out->size reaches.
 * [any]  MF_OK, MF_INVALID. */
MF_API mf_status mf_pool_stats(mf_pool *pool, mf_stats *out);

/* ---- Tasks ---------------------------------------------------------------------------------- */

/* The four submits return at once, with a future that is the caller's. Whatever goes wrong is that
 * future's outcome: an argument that cannot travel (MF_NOT_SENDABLE), a pool whose workers do not
 * start (MF_INITIALIZER), a chunk that does not compile (MF_FAILED), no shared memory (MF_NOMEM).
 * NULL for wrong arguments, or when there is no memory for the future itself. */

/* A function and its arguments, from L's stack: the function, then nargs values. All are popped, in
 * every case. It travels by value, with its upvalues and the globals that it names.
 * [L]  L is not kept. */
MF_API mf_future *mf_submit(mf_pool *pool, lua_State *L, int nargs);

/* Lua text, with args as its "...". A worker compiles a text once.
 * [any]  chunkname: as in luaL_loadbuffer ("=name", "@file"); NULL: the text. args are copied. */
MF_API mf_future *mf_submit_source(mf_pool *pool, const char *chunk, size_t len,
                                   const char *chunkname, const mf_value *args, int nargs);

/* A function by its name, "module:function"; the worker requires the module.
 * [any]  args are copied. */
MF_API mf_future *mf_submit_name(mf_pool *pool, const char *name, const mf_value *args, int nargs);

/* A task in C: a lua_CFunction but for its input. L is the worker's, its stack is empty; the number
 * returned says how many values on top are results; errors are raised with lua_error. */
typedef int mf_task_fn(lua_State *L, const void *in, size_t size);

/* fn(L, in, size) on a worker. in is copied, and aligned for any type.
 * [any]  fn lies in the program, or in a library that was loaded before the pool was opened. */
MF_API mf_future *mf_submit_c(mf_pool *pool, mf_task_fn *fn, const void *in, size_t size);

/* Has the task that runs in L been asked to stop (forced cancel, time limit, terminate)? For long
 * loops in C, which nothing else can stop in a thread. Return early then; results are dropped.
 * [worker]  1 or 0. */
MF_API int mf_cancelled(lua_State *L);

/* ---- Futures -------------------------------------------------------------------------------- */

/* Waits for the task to end and says how: MF_OK, or what failed (MF_FAILED, MF_WORKER_DIED ...).
 * [any]  MF_TIMEDOUT, MF_INTERRUPTED and MF_INVALID tell of the call, not of the task. */
MF_API mf_status mf_future_wait(mf_future *f, double timeout);

/* Waits until one of n futures of one runtime has ended, and sets *index: the lowest, if several
 * have. NULLs among them are passed over.
 * [any]  MF_OK, however that task ended; MF_TIMEDOUT, MF_INTERRUPTED, MF_INVALID (all are NULL, or
 * of several runtimes). */
MF_API mf_status mf_future_wait_any(mf_future *const *futures, size_t n, double timeout,
                                    size_t *index);

/* How the task stands, without waiting: MF_QUEUED, MF_RUNNING, or what mf_future_wait would say.
 * [any] */
MF_API mf_status mf_future_poll(mf_future *f);

/* Asks that the task give no result: a queued one is taken out, a running one is stopped if force.
 * [any]  1: it ends as MF_CANCELLED, a forced one in a moment. 0: it has ended, or runs on. */
MF_API int mf_future_cancel(mf_future *f, int force);

/* A descriptor that becomes readable when the task has ended, and stays so.
 * [any]  The future's: poll it, do not read or close it. -1 on failure. */
MF_API int mf_future_fd(mf_future *f);

/* fn(f, ud) once the task has ended (which it may have already), exactly once: in mf_dispatch, at
 * the latest in mf_close. It counts as having asked for the outcome. f is released once, as ever:
 * before (fn still gets a future, good for the call), in fn, or later.
 * [any]  Several may be set. MF_OK, MF_INVALID, MF_CLOSED, MF_NOMEM. */
typedef void mf_done_fn(mf_future *f, void *ud);
MF_API mf_status mf_future_on_done(mf_future *f, mf_done_fn *fn, void *ud);

/* Result i, from 0. NULL: no such result, or the task failed or has not ended.
 * [any]  The future's, valid until its release. */
MF_API const mf_value *mf_future_value(mf_future *f, int i);

/* Pushes all results on L's stack, functions and objects too; of a failed task its error value.
 * [L]  How many results; -1: an error value was pushed; -2: nothing was (f is NULL or not ended, no
 * memory). */
MF_API int mf_future_push(mf_future *f, lua_State *L);

/* Message and traceback of a failed task, with its worker's name; "" for others.
 * [any]  The future's, valid until its release; never NULL. */
MF_API const char *mf_future_error(mf_future *f);

/* Lets the handle go; the task goes on. Its failure, if nobody asked for it, reaches on_error. NULL
 * is allowed.
 * [last] */
MF_API void mf_future_release(mf_future *f);

/* ---- Queues --------------------------------------------------------------------------------- */

/* Opens a queue for at most maxsize messages; 0: as many as memory holds. Tasks get it as an
 * argument (mf_of_queue), Lua states by mf_value_push; there it is a Queue like any other.
 * [any]  NULL on failure: mf_error(rt). */
MF_API mf_queue *mf_queue_open(mf_runtime *rt, size_t maxsize);

/* Puts and gets. A put that returned MF_OK is safe, whatever becomes of its sender, and is got
 * before all later ones. Timeout 0 gives MF_FULL or MF_EMPTY, others MF_TIMEDOUT; MF_CLOSED: closed
 * and, for a get, drained; also MF_INTERRUPTED, MF_INVALID, MF_NOMEM. A put that fails puts
 * nothing, a get that fails takes nothing; only a message that is none (MF_DECODE) is gone. */

/* The Lua value at idx; it stays on the stack.
 * [L]  Also MF_NOT_SENDABLE: mf_error(rt) names the path. */
MF_API mf_status mf_queue_put(mf_queue *q, lua_State *L, int idx, double timeout);

/* Pushes the oldest message on L's stack; on failure nothing.
 * [L]  Also MF_DECODE. */
MF_API mf_status mf_queue_get(mf_queue *q, lua_State *L, double timeout);

/* A value without a Lua state; it is copied.
 * [any]  Also MF_NOT_SENDABLE. */
MF_API mf_status mf_queue_put_value(mf_queue *q, const mf_value *v, double timeout);

/* The oldest message as a value.
 * [any]  The caller owns *out and ends it with mf_value_free; nil on failure. Also MF_DECODE. */
MF_API mf_status mf_queue_get_value(mf_queue *q, double timeout, mf_value *out);

/* Bytes, a string to Lua. Allocates nothing in the process: with timeout 0 fit for audio callbacks.
 * [any] */
MF_API mf_status mf_queue_put_bytes(mf_queue *q, const void *data, size_t size, double timeout);

/* The oldest message, a string, into the caller's buffer. *size: in its room, out the message's
 * length, for MF_TOO_BIG too. Allocates nothing in the process.
 * [any]  Also MF_TOO_BIG and MF_TYPE: the message stays the oldest. */
MF_API mf_status mf_queue_get_bytes(mf_queue *q, double timeout, void *buffer, size_t *size);

/* Messages in the queue at this moment.
 * [any] */
MF_API size_t mf_queue_size(mf_queue *q);

/* Ends the puts, for all; gets drain the queue, then answer MF_CLOSED. Wakes who waits. Twice is no
 * harm.
 * [any] */
MF_API void mf_queue_close(mf_queue *q);

/* A descriptor that is readable while a get would not wait: a message is there, or the end.
 * [any]  The queue's: poll it, do not read or close it. -1 on failure. */
MF_API int mf_queue_fd(mf_queue *q);

/* Lets the handle go; the queue lives on with others who have it. NULL is allowed.
 * [last] */
MF_API void mf_queue_release(mf_queue *q);

/* ---- Arrays --------------------------------------------------------------------------------- */

/* count zeroed elements in shared memory; type as in Lua: one of "bBhHiIlLqQfd?" (d: double). Tasks
 * get it as an argument (mf_of_array), without a copy. Order is the program's affair: what a task
 * wrote is seen by who saw the task end, what was written before a put by who got the message.
 * [any]  NULL on failure: mf_error(rt). */
MF_API mf_array *mf_array_open(mf_runtime *rt, char type, size_t count);

/* The elements, of several dimensions row by row, of a view its own; count and type ('q' for 'l',
 * 'Q' for 'L') are set where not NULL.
 * [any]  Valid until the array's release, after mf_close too. */
MF_API void *mf_array_data(mf_array *a, size_t *count, char *type);

/* Lets the handle go; the memory lives on with others who have it. NULL is allowed.
 * [last] */
MF_API void mf_array_release(mf_array *a);

#ifdef __cplusplus
}
#endif
#endif
