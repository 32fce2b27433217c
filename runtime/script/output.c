// print and the standard files of a state: see output.h. Floor 5. Locks and sleeps as
// output_stream.c does.
//
// io's own functions stay: the FILE inside io.stdout and io.stderr is exchanged for an unbuffered
// cookie stream, so that write, lines, seek and the rest behave, and fail, as ever.
#include "os/stream.h"
#include "script/output_stream.h"

#include <lauxlib.h>
#include <lualib.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mfi_output {
  mfi_output_config config;
  mfi_output_stream streams[2]; // stdout, stderr
  FILE *input;                  // reads nothing; NULL: the process's own
};

static const char box_key; // registry[&box_key]: the box
// What the installed functions hold: a userdata that mfi_output_restore empties.
typedef struct box {
  mfi_output *output;
} box;

static mfi_output *boxed(lua_State *L) {
  const box *b = lua_touserdata(L, lua_upvalueindex(1));
  return b->output;
}

// ---- Open, write, close
// --------------------------------------------------------------------------

static mfi_output_mode first_mode(const mfi_output_config *config, int number) {
  if (config->kind == MFI_OUTPUT_WORKER)
    return MFI_OUTPUT_LINES;
  return number == 2 || mfi_os_is_terminal(number) ? MFI_OUTPUT_AT_ONCE : MFI_OUTPUT_BLOCK;
}

mfi_output *mfi_output_open(const mfi_output_config *config) {
  mfi_output *o = calloc(1, sizeof *o);
  if (o == NULL)
    return NULL;
  o->config = *config;
  for (int i = 0; i < 2; i++) {
    o->streams[i].config = &o->config;
    o->streams[i].number = i + 1;
    o->streams[i].mode = first_mode(config, i + 1);
  }
  return o;
}

bool mfi_output_write(mfi_output *o, int stream, const char *data, size_t size) {
  return mfi_output_stream_put(&o->streams[stream - 1], data, size);
}

static bool flush_both(mfi_output *o, bool unfinished_too) {
  bool out = mfi_output_stream_flush(&o->streams[0], unfinished_too);
  int saved = errno;
  bool err = mfi_output_stream_flush(&o->streams[1], unfinished_too);
  if (!out)
    errno = saved;
  return out && err;
}

bool mfi_output_flush(mfi_output *o) { return flush_both(o, o->config.kind == MFI_OUTPUT_MAIN); }

bool mfi_output_finish(mfi_output *o) { return flush_both(o, true); }

void mfi_output_close(mfi_output *o) {
  if (o == NULL)
    return;
  mfi_output_finish(o);
  for (int i = 0; i < 2; i++) {
    if (o->streams[i].file != NULL)
      mfi_os_file_close(o->streams[i].file);
    free(o->streams[i].text);
  }
  if (o->input != NULL)
    mfi_os_file_close(o->input);
  free(o);
}

// ---- The files
// -----------------------------------------------------------------------------------

static ssize_t file_write(void *cookie, const char *data, size_t size) {
  return mfi_output_stream_put(cookie, data, size) ? (ssize_t)size : 0;
}

// Raises the system's message. [-0, +0, v]
static FILE *check_opened(lua_State *L, FILE *file) {
  if (file == NULL)
    luaL_error(L, "cannot open a standard file: %s", strerror(errno));
  return file;
}

// Exchanges the FILE in io[name], where it is the C library's or one of ours. [-0, +0, m]
static void exchange(lua_State *L, const char *name, FILE *file) {
  lua_getfield(L, -1, name);
  luaL_Stream *stream = luaL_testudata(L, -1, LUA_FILEHANDLE);
  if (stream != NULL && stream->closef != NULL)
    stream->f = file;
  lua_pop(L, 1);
}

static void exchange_all(lua_State *L, mfi_output *o) {
  static const char *const names[2] = {"stdout", "stderr"};
  for (int i = 0; i < 2; i++) {
    mfi_output_stream *s = &o->streams[i];
    if (s->file == NULL)
      s->file = check_opened(L, mfi_os_file_writing(file_write, s, s->number));
    exchange(L, names[i], s->file);
  }
  if (!o->config.no_input)
    return;
  if (o->input == NULL)
    o->input = check_opened(L, mfi_os_file_empty());
  exchange(L, "stdin", o->input);
}

// Pushes package.loaded.io, as a table or not at all. [-0, +0..1, m]
static bool get_io(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool found = lua_getfield(L, -1, LUA_IOLIBNAME) == LUA_TTABLE;
  lua_remove(L, -2);
  if (!found)
    lua_pop(L, 1);
  return found;
}

// ---- The functions
// -------------------------------------------------------------------------------

static bool print_piece(mfi_output *o, const char *text, size_t size) {
  return o ? mfi_output_write(o, 1, text, size) : fwrite(text, 1, size, stdout) == size;
}

// print(...) [-0, +0, v]
static int print(lua_State *L) {
  int n = lua_gettop(L);
  for (int i = 1; i <= n; i++) {
    size_t size;
    const char *text = luaL_tolstring(L, i, &size);
    if (i > 1)
      print_piece(boxed(L), "\t", 1);
    print_piece(boxed(L), text, size);
    lua_pop(L, 1);
  }
  print_piece(boxed(L), "\n", 1);
  if (boxed(L) == NULL)
    fflush(stdout);
  return 0;
}

// The stream behind a FILE, if it is one of ours.
static mfi_output_stream *stream_of(lua_State *L, const FILE *file) {
  mfi_output *o = boxed(L);
  if (o == NULL)
    return NULL;
  for (int i = 0; i < 2; i++)
    if (o->streams[i].file == file)
      return &o->streams[i];
  return NULL;
}

static int flush_file(lua_State *L, FILE *file) {
  mfi_output_stream *s = stream_of(L, file);
  bool done =
      s ? mfi_output_stream_flush(s, s->config->kind == MFI_OUTPUT_MAIN) : fflush(file) == 0;
  return luaL_fileresult(L, done, NULL);
}

static FILE *check_file(lua_State *L) {
  luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  if (stream->closef == NULL)
    luaL_error(L, "attempt to use a closed file");
  return stream->f;
}

// file:flush() [-0, +1..3, v]
static int file_flush(lua_State *L) { return flush_file(L, check_file(L)); }

// io.flush(), of the default output that liolib.c keeps in the registry. [-0, +1..3, v]
static int io_flush(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
  luaL_Stream *stream = lua_touserdata(L, -1);
  if (stream == NULL || stream->closef == NULL)
    return luaL_error(L, "default output file is closed");
  return flush_file(L, stream->f);
}

static bool set_mode(mfi_output_stream *s, int option) {
  static const mfi_output_mode modes[] = {MFI_OUTPUT_AT_ONCE, MFI_OUTPUT_BLOCK, MFI_OUTPUT_LINES};
  s->mode = modes[option];
  if (s->config->kind == MFI_OUTPUT_WORKER && s->mode == MFI_OUTPUT_AT_ONCE)
    s->mode = MFI_OUTPUT_LINES;
  return mfi_output_stream_flush(s, s->mode == MFI_OUTPUT_AT_ONCE);
}

// file:setvbuf(mode [, size]) [-0, +1..3, v]
static int file_setvbuf(lua_State *L) {
  static const char *const names[] = {"no", "full", "line", NULL};
  static const int modes[] = {_IONBF, _IOFBF, _IOLBF};
  FILE *file = check_file(L);
  int option = luaL_checkoption(L, 2, NULL, names);
  lua_Integer size = luaL_optinteger(L, 3, LUAL_BUFFERSIZE);
  mfi_output_stream *s = stream_of(L, file);
  bool done = s ? set_mode(s, option) : setvbuf(file, NULL, modes[option], (size_t)size) == 0;
  return luaL_fileresult(L, done, NULL);
}

// ---- Install, restore
// ----------------------------------------------------------------------------

// table[name] = function, with the box (at index `at`) as its upvalue; the table is at the top.
static void set_function(lua_State *L, const char *name, lua_CFunction f, int at) {
  lua_pushvalue(L, at);
  lua_pushcclosure(L, f, 1);
  lua_setfield(L, -2, name);
}

static void replace_methods(lua_State *L, int at) {
  if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE) {
    if (lua_getfield(L, -1, "__index") == LUA_TTABLE) {
      set_function(L, "flush", file_flush, at);
      set_function(L, "setvbuf", file_setvbuf, at);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void mfi_output_install(lua_State *L, mfi_output *o) {
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  int at = lua_gettop(L);
  b->output = o;
  lua_pushvalue(L, at);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
  lua_pushglobaltable(L);
  if (lua_getfield(L, -1, "print") != LUA_TNIL) { // base is open
    lua_pop(L, 1);
    set_function(L, "print", print, at);
  }
  if (get_io(L)) {
    exchange_all(L, o);
    set_function(L, "flush", io_flush, at);
    replace_methods(L, at);
  }
  lua_settop(L, at - 1);
}

void mfi_output_restore(lua_State *L, mfi_output *o) {
  mfi_output_finish(o);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key) == LUA_TUSERDATA)
    ((box *)lua_touserdata(L, -1))->output = NULL;
  lua_pop(L, 1);
  if (get_io(L)) {
    exchange(L, "stdout", stdout);
    exchange(L, "stderr", stderr);
    exchange(L, "stdin", stdin);
    lua_pop(L, 1);
  }
}
