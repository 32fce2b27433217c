// What Lua states print: print, io.write, io.stdout and io.stderr of one state go through here, so
// that lines of several workers never mix and come in order.
// Floor 5. One mfi_output belongs to one state and its thread. Writing takes the stream's lock by
// the hook and may sleep there and in write(2); a stop ends both. Nothing here raises but what the
// functions installed in the state raise as Lua's own do.
//
//   io.write, f:write ... (Lua's own) -> FILE, a cookie stream -> gathered -> whole lines
//   print                                                      -> gathered -> whole lines
//   whole lines -> lock, "\n" first if another writer's line stands open, write(2) or sink, unlock
//
// Worker: each line goes out when it is complete, the unfinished one at the worker's end. Main: to
// a terminal everything at once; else when 4 KiB of whole lines are there, and at mfi_output_flush.
// setvbuf changes that as it says, but for "no" in workers, which is as "line".
#ifndef MFI_SCRIPT_OUTPUT_H
#define MFI_SCRIPT_OUTPUT_H

#include <lua.h>

#include <stdbool.h>
#include <stddef.h>

typedef enum mfi_output_kind { MFI_OUTPUT_WORKER = 0, MFI_OUTPUT_MAIN = 1 } mfi_output_kind;

typedef enum mfi_output_turn {
  MFI_TURN_CLEAN = 0, // locked; nobody else's line stands open
  MFI_TURN_TORN = 1,  // locked; somebody else left a line unfinished: it is ended first
  MFI_TURN_NONE = 2   // not locked (stopped, closed): the text is dropped
} mfi_output_turn;

typedef struct mfi_output_config {
  mfi_output_kind kind;
  // stream is 1 or 2. NULL: no lock. They never raise. `unlock` is told whether the writer leaves a
  // line unfinished; its own next turn is CLEAN all the same, everybody else's is TORN.
  mfi_output_turn (*lock)(void *ud, int stream);
  void (*unlock)(void *ud, int stream, bool unfinished);
  // Takes whole lines (longer than 64 KiB: in pieces) instead of the descriptor; under the lock.
  void (*sink)(void *ud, int stream, const char *data, size_t size);
  void *ud;
  bool no_input; // io.stdin reads as /dev/null (thread workers)
} mfi_output_config;

typedef struct mfi_output mfi_output;

// NULL: no memory.
mfi_output *mfi_output_open(const mfi_output_config *config);
// Writes what is left, an unfinished line, too. After the state was closed, or mfi_output_restore.
void mfi_output_close(mfi_output *o);

// Takes over print, io.flush and, where io is open, its standard files, whose methods flush and
// setvbuf are replaced for all files. Raises errors of memory and descriptors only. [-0, +0, m]
void mfi_output_install(lua_State *L, mfi_output *o);
// Gives a state its own standard files back (the main state, when it ends or the library goes);
// what was installed works on and writes to these. [-0, +0, m]
void mfi_output_restore(lua_State *L, mfi_output *o);

// Main: writes everything. Worker: only whole lines are ever due, after setvbuf "full". To be
// called before starts, submits, waits; cheap when there is nothing. False: errno says why.
bool mfi_output_flush(mfi_output *o);
// The same, and the unfinished line: at the worker's end.
bool mfi_output_finish(mfi_output *o);
// Writes text of ours, such as an uncaught error, in its place among the rest. False: errno.
bool mfi_output_write(mfi_output *o, int stream, const char *data, size_t size);

#endif
