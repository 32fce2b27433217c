// The warden. Floor 4; see warden.h. Sleeps in one poll.
#include "flow/warden.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/bury.h"
#include "flow/pool.h"
#include "flow/spec.h"
#include "flow/start.h"
#include "flow/undertaker.h"
#include "mem/handles.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

typedef struct warden {
  mfi_runtime *rt;
  mfi_self self;
  int requests; // where they come in
  int asks;     // the other end, for its workers
  int children; // signalfd
  int host;     // pidfd; -1 once it has ended
  pid_t blank;  // a child that waits for what it is to become; 0: none
  int orders;   // where it is told its slot
  bool used;    // workers were started since the last blank was forked
  pid_t host_pid;
  bool dismissed;             // mfi_warden_end
  mfi_ns kill_at;             // orphans whose time is over are killed; MFI_NEVER: none
  mfi_os_surroundings around; // its own, and so its children's; set once
} warden;

// ---- Forking

// In a child: what a warden has and no worker. orders: where it waits for its own; -1: it has them.
static void be_a_child(warden *w, pid_t parent, int orders) {
  int keep[3] = {w->rt->warden, w->rt->fd, orders};
  mfi_os_die_with_parent(parent);
  mfi_os_close_others(keep, orders < 0 ? 2 : 3);
  mfi_os_unblock_signals();
  w->rt->is_warden = false;
}

static void take_output(mfi_runtime *rt, const int fds[2]) {
  for (int i = 0; i < 2; i++)
    if (fds[i] >= 0) {
      mfi_os_replace(i + 1, fds[i]);
      mfi_os_file_id(i + 1, rt->out_id[i]);
    }
}

// Up to its end.
static _Noreturn void become(warden *w, uint32_t slot) {
  mfi_self self = mfi_self_make(w->rt, slot);
  mfi_object *o = mfi_object_of(&self, self.slot->worker);
  mfi_worker *worker = mfi_worker_of(o);
  mfi_ref spec = worker->spec;
  if (spec == 0)
    spec = mfi_core_of(mfi_object_of(&self, worker->pool))->spec;
  mfi_spec_apply(mfi_spec_at(&self, spec), &w->around);
  mfi_os_name_process(worker->name);
  mfi_os_leave(mfi_worker_run(&self));
}

static pid_t fork_worker(warden *w, uint32_t slot, const int fds[2]) {
  pid_t me = mfi_os_pid(), pid = mfi_os_fork();
  if (pid != 0)
    return pid;
  take_output(w->rt, fds);
  be_a_child(w, me, -1);
  become(w, slot);
}

// ---- A blank
//
//   none --[fork_blank, after a start]--> WAITS --[give_orders]--> a worker as any other
//                                           \--[killed: take_exits]--> none
//
// A child forked ahead of the next start, which then need not wait for the fork, for the faults of
// first touches, for a Lua state. It knows nothing yet: all that makes a worker comes with its
// orders. One that was killed is not missed: who finds none forks; and it has become a worker only
// when it says so itself (mfi_worker_begun): before that, another takes its place.

static void get_ready(mfi_runtime *rt) {
  const mfi_runtime_up *up = rt->up;
  rt->ahead = up->get_ready != NULL ? up->get_ready() : NULL;
  mfi_region_warm(rt->region);
}

static _Noreturn void blank_main(warden *w, pid_t parent) {
  be_a_child(w, parent, w->orders);
  get_ready(w->rt);
  uint64_t slot = mfi_os_order_await(w->orders);
  close(w->orders);
  become(w, (uint32_t)slot);
}

static void forget_blank(warden *w) {
  mfi_os_close(w->orders);
  w->blank = 0;
}

static void fork_blank(warden *w) {
  w->used = false;
  w->orders = mfi_os_order_open();
  pid_t me = mfi_os_pid(), pid = w->orders < 0 ? -1 : mfi_os_fork();
  if (pid == 0)
    blank_main(w, me);
  w->blank = pid;
  if (pid < 0)
    forget_blank(w);
}

// False: there is none, or it would write elsewhere. From here on the slot is its, not yet its pid.
static bool give_orders(warden *w, uint32_t slot, const int fds[2]) {
  mfi_slot *s = mfi_slot_at(&w->self, slot);
  if (w->blank == 0 || fds[0] >= 0 || fds[1] >= 0)
    return false;
  mfi_lock_take(&w->self, &s->lock);
  s->process = s->tid = (uint32_t)w->blank;
  mfi_lock_give(&w->self, &s->lock);
  mfi_os_order_give(w->orders, slot);
  forget_blank(w);
  return true;
}

// MFI_SYSTEM: it cannot be forked, see errno.
static mfi_status start_worker(warden *w, uint32_t slot, const int fds[2]) {
  mfi_object *o = mfi_object_of(&w->self, mfi_slot_at(&w->self, slot)->worker);
  w->used = true;
  if (give_orders(w, slot, fds))
    return MFI_OK;
  pid_t pid = fork_worker(w, slot, fds);
  if (pid < 0)
    return MFI_SYSTEM;
  mfi_worker_begun(&w->self, o, (uint32_t)pid, (uint32_t)pid);
  return MFI_OK;
}

static void start_asked(warden *w, uint32_t slot, const int fds[2]) {
  if (start_worker(w, slot, fds) != MFI_OK)
    mfi_worker_failed(&w->self, slot, errno);
}

// The starter may have died, or have given up, since it asked.
static bool is_wanted(warden *w, uint64_t id) {
  if (!mfi_slot_is(&w->self, id))
    return false;
  mfi_object *o = mfi_worker_in(&w->self, (uint32_t)id);
  return o != NULL && mfi_worker_state(o) == MFI_WORKER_STARTING &&
         load_acquire(&mfi_worker_of(o)->slot) == id;
}

static void take_requests(warden *w) {
  mfi_request r;
  int got[2];
  while (mfi_os_receive(w->requests, &r, sizeof r, got) == MFI_OK) {
    int fds[2] = {-1, -1}, n = 0;
    w->dismissed |= r.slot == 0;
    for (int i = 0; i < 2; i++)
      if ((r.fds >> i & 1) != 0)
        fds[i] = got[n++];
    if (is_wanted(w, r.slot))
      start_asked(w, (uint32_t)r.slot, fds);
    for (int i = 0; i < n; i++)
      close(got[i]);
  }
}

// ---- Burying

// A slot of a process that is gone: its worker ends, or starts anew where it was not yet one.
static void bury_slot(warden *w, uint32_t slot, int code) {
  static const int none[2] = {-1, -1};
  mfi_slot *s = mfi_slot_at(&w->self, slot);
  if (load_acquire(&s->pid) != 0 || s->tid == 0 || !is_wanted(w, mfi_slot_id(&w->self, slot))) {
    mfi_worker_end(&w->self, slot, code);
    return;
  }
  mfi_slot_settle(&w->self, slot);
  start_asked(w, slot, none);
}

// All slots of a process that is gone; a worker's own comes last, its threads before.
static void bury_process(warden *w, uint32_t pid, int code) {
  uint64_t top = load_acquire(&w->self.region->slots_top);
  for (int own = 0; own < 2; own++)
    for (uint32_t i = 1; i < top; i++) {
      mfi_slot *s = mfi_slot_at(&w->self, i);
      if (load_acquire(&s->used) == 0 || s->process != pid || (s->tid == pid) != (own == 1))
        continue;
      bury_slot(w, i, own == 1 ? code : -SIGKILL);
    }
}

static void take_exits(warden *w) {
  mfi_os_child_signal_clear(w->children);
  for (;;) {
    mfi_os_exit e = mfi_os_peek_exit();
    if (e.pid == 0)
      return;
    bury_process(w, (uint32_t)e.pid, e.code);
    if (e.pid == w->blank)
      forget_blank(w);
    mfi_os_reap(e.pid);
  }
}

// ---- Orphans

// A worker's parent is known by its slot's id: gone when that is.
static bool is_orphan(warden *w, uint32_t slot) {
  mfi_object *o = mfi_worker_in(&w->self, slot);
  if (o == NULL)
    return false;
  mfi_worker *worker = mfi_worker_of(o);
  uint64_t parent = load_acquire(&mfi_slot_at(&w->self, slot)->parent);
  return load_acquire(&worker->backend) == MFI_BACKEND_PROCESS &&
         load_acquire(&worker->pool) == 0 && !mfi_slot_is(&w->self, parent);
}

// The child that a slot belongs to; 0: none. Its threads may end at any time, their pid is read
// once.
static uint32_t child_in(warden *w, uint32_t slot) {
  mfi_slot *s = mfi_slot_at(&w->self, slot);
  uint32_t pid = load_acquire(&s->pid);
  bool other = pid == w->self.slot->process || pid == (uint32_t)w->host_pid;
  return load_acquire(&s->used) == 0 || other ? 0 : pid;
}

static uint32_t each_orphan(warden *w, bool kill) {
  uint32_t n = 0;
  uint64_t top = load_acquire(&w->self.region->slots_top);
  for (uint32_t i = 1; i < top; i++) {
    if (!is_orphan(w, i) && w->host >= 0)
      continue;
    uint32_t pid = child_in(w, i);
    n += pid != 0;
    if (pid != 0 && kill)
      mfi_os_kill((pid_t)pid, SIGKILL);
  }
  return n;
}

static void look_after_orphans(warden *w) {
  mfi_ns now = mfi_os_now();
  if (w->kill_at != MFI_NEVER && now >= w->kill_at) {
    each_orphan(w, true);
    w->kill_at = MFI_NEVER;
  } else if (w->kill_at == MFI_NEVER && each_orphan(w, false) > 0) {
    bool orderly = load_acquire(&w->self.region->closing) != 0;
    w->kill_at = now + (orderly ? 0 : MFI_ORPHAN_NS);
  }
}

static bool has_children(warden *w) {
  uint64_t top = load_acquire(&w->self.region->slots_top);
  for (uint32_t i = 1; i < top; i++)
    if (load_acquire(&mfi_slot_at(&w->self, i)->worker) != 0 && child_in(w, i) != 0)
      return true;
  return false;
}

static void host_ended(warden *w) {
  close(w->host);
  w->host = -1;
  bury_process(w, (uint32_t)w->host_pid, -SIGKILL);
}

static void dismiss(warden *w) {
  close(w->host);
  w->host = -1;
}

// ---- Its life

static void warden_loop(warden *w) {
  while (w->host >= 0 || has_children(w)) {
    int fds[3] = {w->requests, w->children, w->host};
    uint32_t ready = mfi_os_poll(fds, w->host >= 0 ? 3 : 2, w->kill_at);
    if ((ready & 1) != 0)
      take_requests(w);
    if ((ready & 2) != 0)
      take_exits(w);
    if ((ready & 4) != 0)
      host_ended(w);
    if (w->dismissed && w->host >= 0)
      dismiss(w);
    look_after_orphans(w);
    if (w->used && w->blank == 0 && w->host >= 0)
      fork_blank(w);
  }
}

static void warden_main(void *arg) {
  warden w = *(warden *)arg;
  int keep[4] = {w.requests, w.asks, w.host, w.rt->fd};
  mfi_os_close_others(keep, 4);
  mfi_os_null_input();
  mfi_os_forget_host();
  mfi_os_name_process("moonfleet");
  mfi_os_worker_handlers();
  mfi_os_surroundings_get(&w.around);
  w.children = mfi_os_child_signal();
  w.rt->is_warden = true;
  w.rt->warden = w.asks;
  w.rt->warden_slot = w.self.index;
  pthread_mutex_init(&w.rt->warden_lock, NULL); // the host's was held
  w.rt->undertaker = NULL;
  w.rt->threads = 0;
  w.self = mfi_self_make(w.rt, w.self.index);
  w.self.slot->process = w.self.slot->tid = (uint32_t)mfi_os_pid();
  store_release(&w.self.slot->pid, (uint32_t)mfi_os_pid());
  w.rt->warden_self = &w;
  uint32_t place; // its handle table is there from the start
  if (mfi_place_reserve(&w.self, &place) == MFI_OK)
    mfi_place_release(&w.self, place);
  warden_loop(&w);
  _exit(0);
}

static void tell_to_end(int socket) {
  int none[2] = {-1, -1};
  mfi_request r = {.slot = 0};
  mfi_os_send(socket, &r, sizeof r, none);
}

// A warden whose workers nobody would bury is none. Its slot is its own until it ends.
static mfi_status keep(mfi_runtime *rt, mfi_self *self, uint32_t slot, int socket) {
  mfi_undertaker *u = mfi_undertaker_open(self, slot, socket);
  if (u == NULL) {
    tell_to_end(socket);
    close(socket);
    return MFI_NOMEM;
  }
  rt->undertaker = u;
  rt->warden_slot = slot;
  store_release(&rt->warden, socket);
  return MFI_OK;
}

// Under rt->warden_lock.
static mfi_status open_warden(mfi_runtime *rt, mfi_self *self) {
  int ends[2];
  uint32_t slot = mfi_slot_take(self);
  if (slot == 0)
    return MFI_NOMEM;
  self->slot->starting = 0;
  if (mfi_os_channel(ends) != MFI_OK) {
    mfi_slot_release(self, slot);
    return MFI_SYSTEM;
  }
  for (int i = 0; i < 2; i++)
    mfi_os_file_id(i + 1, rt->out_id[i]);
  warden w = {.rt = rt,
              .requests = ends[1],
              .asks = ends[0],
              .host_pid = mfi_os_pid(),
              .kill_at = MFI_NEVER};
  w.self.index = slot;
  w.host = mfi_os_pidfd(w.host_pid);
  mfi_status st = w.host < 0 ? MFI_SYSTEM : mfi_os_fork_away(warden_main, &w);
  if (w.host >= 0)
    close(w.host);
  close(ends[1]);
  if (st == MFI_OK)
    return keep(rt, self, slot, ends[0]);
  close(ends[0]);
  mfi_slot_release(self, slot);
  return st;
}

// How it is reached.
typedef struct channel {
  int socket;
  uint32_t slot;
} channel;

static mfi_status find_warden(mfi_runtime *rt, mfi_self *self, channel *out) {
  pthread_mutex_lock(&rt->warden_lock);
  mfi_status st = rt->warden >= 0 ? MFI_OK : open_warden(rt, self);
  *out = (channel){rt->warden, rt->warden_slot};
  pthread_mutex_unlock(&rt->warden_lock);
  return st;
}

mfi_status mfi_warden_open(mfi_runtime *rt, mfi_self *self) {
  channel none;
  return find_warden(rt, self, &none);
}

// The socket stays open: somebody may be about to send, and its number must not become another's.
void mfi_warden_lost(mfi_runtime *rt, int socket) {
  pthread_mutex_lock(&rt->warden_lock);
  if (rt->warden == socket)
    store_release(&rt->warden, -1);
  pthread_mutex_unlock(&rt->warden_lock);
}

// The lock is given before the wait: an undertaker may be about to take it.
void mfi_warden_end(mfi_runtime *rt) {
  pthread_mutex_lock(&rt->warden_lock);
  mfi_undertaker *u = rt->undertaker;
  if (rt->warden >= 0) {
    mfi_undertaker_retire(u);
    tell_to_end(rt->warden);
  }
  rt->undertaker = NULL;
  store_release(&rt->warden, -1);
  pthread_mutex_unlock(&rt->warden_lock);
  mfi_undertaker_close(u);
}

// The slot names the warden before it can see the request: when it dies, either its undertaker
// finds the slot, or the request was not sent.
static mfi_status ask(mfi_self *self, uint32_t slot, const channel *to) {
  mfi_runtime *rt = mfi_runtime_of(self);
  int fds[2] = {-1, -1};
  mfi_request r = {.slot = mfi_slot_id(self, slot)};
  store_release(&mfi_slot_at(self, slot)->warden, to->slot);
  for (int i = 0; i < 2; i++) {
    if (mfi_os_same_file(rt->out_id[i], i + 1))
      continue;
    fds[i] = i + 1;
    r.fds |= 1u << i;
  }
  return mfi_os_send(to->socket, &r, sizeof r, fds);
}

mfi_status mfi_warden_start(mfi_self *self, uint32_t slot) {
  mfi_runtime *rt = mfi_runtime_of(self);
  int fds[2] = {-1, -1};
  channel to;
  if (rt->is_warden) {
    mfi_slot_at(self, slot)->warden = self->index;
    return start_worker(rt->warden_self, slot, fds);
  }
  mfi_status st = find_warden(rt, self, &to);
  if (st == MFI_OK)
    st = ask(self, slot, &to);
  if (st != MFI_CLOSED || rt->undertaker == NULL)
    return st == MFI_CLOSED ? MFI_SYSTEM : st; // a worker ends with its warden
  mfi_warden_lost(rt, to.socket);
  st = find_warden(rt, self, &to);
  return st == MFI_OK ? ask(self, slot, &to) : st;
}
