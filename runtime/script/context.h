// What a Lua state knows of Moonfleet: which worker it is, its codec, its stop, its output.
// Floor 5. One for each state, in its registry; the main state, a worker's state, a spare state
// inside a task.
#ifndef MFI_SCRIPT_CONTEXT_H
#define MFI_SCRIPT_CONTEXT_H

#include "flow/pool.h"
#include "flow/runtime.h"
#include "script/codec.h"
#include "script/output.h"
#include "script/stop.h"

#include <lua.h>

typedef struct mfi_context {
  mfi_self *self; // of the thread that runs the state
  lua_State *L;   // the main thread of the state
  mfi_codec *codec;
  mfi_stop *stop;          // NULL: nothing stops this state
  mfi_output *output;      // NULL: Lua's own
  mfi_object *worker;      // whose state it is; NULL: of a native thread
  mfi_object *core;        // the pool whose jobs it runs; NULL: none
  mfi_ref job;             // the job that runs in this state; 0: none
  uint64_t item;           // index of its item
  struct mfi_alarm *alarm; // of a process: the timer that ends it; NULL: a thread
  int depth;               // 0; n: a spare state inside a task in a state of depth n - 1
  uint64_t serial;         // batch whose function is kept in the registry; 0: none
  struct spare *spares;    // states for tasks that are run inside this one, or for serial pools
  uint64_t process;        // names this process for light userdata
  uint64_t array_bytes;    // of Arrays made here since its collector was last made to run
  bool closing;
} mfi_context;

// What the floors above give to every state.
typedef struct mfi_bindings {
  const mfi_codec_hooks *hooks;
  lua_CFunction open_core;       // luaopen of moonfleet.core
  void (*at_exit)(lua_State *L); // what the Lua half does at a state's end. [-0, +0, -]
} mfi_bindings;
extern const mfi_bindings mfi_state_bindings; // defined in bind/

// Makes the state's context and opens its codec and the modules' preloads. Its memory is L's. [-0,
// +0, m]
mfi_context *mfi_context_open(lua_State *L, mfi_self *self);
mfi_context *mfi_context_of(lua_State *L); // NULL: L has none

// Flags for decoding messages in this state: a worker's globals are set as the sender's, others
// only where they are nil.
unsigned mfi_context_flags(const mfi_context *m);

// Message handler for tasks: keeps the traceback, leaves the error as it is. [-1, +1, m]
int mfi_context_traceback(lua_State *L);
// Pushes the traceback of the latest error that mfi_context_traceback saw, or nil; take: it is
// forgotten. [-0, +1, -]
void mfi_context_push_traceback(lua_State *L, bool take);

// After a waiting call was interrupted: raises what is to be raised (stop, Ctrl-C), runs callbacks
// that are due, or returns to wait on. [-0, +0, v]
void mfi_context_look_up(lua_State *L);
// Runs the callbacks that are due; how many. [-0, +0, v]
int mfi_context_run_due(lua_State *L);
// Are some due, of this state or of one that it runs in?
bool mfi_context_has_due(const mfi_context *m);
void mfi_context_note_due(mfi_context *m); // the next waiting call looks

// A source of the codec's message; valid as long as that.
mfi_source mfi_context_source(const mfi_encoded *m);

// Two kept messages as one payload: the context's first, then the call's. Pushes a userdata that
// owns the list of handles. [-0, +1, m]
typedef struct mfi_parcel {
  mfi_encoded part[2];
  mfi_handle *refs;
} mfi_parcel;
// Before the first part's bytes, which are padded to 8.
typedef struct mfi_parcel_head {
  uint64_t size; // of the first part
  uint32_t nrefs;
  uint32_t pad;
} mfi_parcel_head;
mfi_source mfi_parcel_pack(lua_State *L, mfi_parcel *p);
// The two parts of a payload.
void mfi_parcel_open(const mfi_body *body, const void *bytes, uint64_t size, mfi_message part[2]);

#endif
