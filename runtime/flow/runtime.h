// What a process knows of its runtime beside the region; the same struct in every worker process,
// copied by fork. Floor 4. The composition root (api/) fills in what belongs to higher floors.
#ifndef MFI_FLOW_RUNTIME_H
#define MFI_FLOW_RUNTIME_H

#include "flow/worker.h"

typedef struct mfi_runtime {
  mfi_region *region;
  int fd;                           // of the region
  const mfi_object_ops *const *ops; // by object kind
  mfi_drop_fn *const *drops;        // by block kind
  const struct mfi_runtime_up *up;
  pthread_mutex_t warden_lock; // of the host: one warden is forked or given up at a time
  int warden;                  // socket on which the warden takes requests; -1: none; atomic
  uint32_t warden_slot;
  struct mfi_undertaker *undertaker; // of the warden and those before, in the host; NULL: none
  bool is_warden;
  struct warden *warden_self; // in the warden
  uint64_t out_id[2][2];      // where the warden's stdout and stderr lead
  void *ahead;                // what up->get_ready made, until up->run takes it; NULL: nothing
  uint32_t threads;           // thread workers of this process that have not quite ended; atomic
  const void *host;           // what the script floor asks of a C host; NULL: nothing
} mfi_runtime;

// What happens unasked, for the host's on_log; the numbers of mf_level.
typedef enum mfi_level { MFI_LOG_ERROR = 1, MFI_LOG_WARNING = 2, MFI_LOG_INFO = 3 } mfi_level;

// What the floors above do for flow.
typedef struct mfi_runtime_up {
  // Runs a worker on this thread until its end and says its exit code. Everything Lua happens here.
  int (*run)(mfi_self *self, mfi_object *worker);
  // In a process that does not know yet which worker it will be: makes what any of them needs
  // first. NULL: nothing.
  void *(*get_ready)(void);
  // Asks the thread of a slot of this process to stop (a signal); under that slot's lock.
  void (*poke)(mfi_self *self, uint32_t slot);
  // Tells the host of a line; false: it does not listen. Holds no lock. NULL: it never does.
  bool (*log)(mfi_self *self, mfi_level level, const char *text, size_t size);
} mfi_runtime_up;

static inline mfi_runtime *mfi_runtime_of(const mfi_self *self) { return self->runtime; }

// False: the host does not listen; who has something to say that must not be lost prints it then.
bool mfi_runtime_log(mfi_self *self, mfi_level level, const char *text, size_t size);
// The same with a short text made here.
__attribute__((format(printf, 3, 4))) void mfi_runtime_logf(mfi_self *self, mfi_level level,
                                                            const char *format, ...);

// The calling thread's view of a runtime; a worker's own slot, or one for a native thread.
mfi_self mfi_self_make(mfi_runtime *rt, uint32_t slot);

// The warden behind this socket was killed: the next start makes a new one.
void mfi_warden_lost(mfi_runtime *rt, int socket);

extern const mfi_object_ops *const mfi_flow_ops[MFI_KINDS];
extern mfi_drop_fn *const mfi_flow_drops[MFI_BLOCK_KINDS];

#endif
