// Opens and closes a worker's Lua state: see state.h. Floor 5. Locks nothing, sleeps nowhere.
#include "script/state.h"

#include "base/assert.h"
#include "script/state_memory.h"
#include "script/stop.h"

#include <lauxlib.h>
#include <lualib.h>

#include <string.h>

// ---- warn() and os.exit
// --------------------------------------------------------------------------

static void warn_write(mfi_memory *m, const char *text) {
  mfi_output *o = m->config.output;
  if (o != NULL)
    mfi_output_write(o, 2, text, strlen(text));
  else
    lua_writestringerror("%s", text);
}

// As lauxlib.c's, which are static there: off until "@on", control messages stand alone.
static void warn_function(void *ud, const char *message, int to_continue) {
  mfi_memory *m = ud;
  if (!m->warn_more && !to_continue && message[0] == '@') {
    if (strcmp(message, "@off") == 0)
      m->warn_on = false;
    else if (strcmp(message, "@on") == 0)
      m->warn_on = true;
    return;
  }
  if (m->warn_on) {
    if (!m->warn_more)
      warn_write(m, "Lua warning: ");
    warn_write(m, message);
    if (!to_continue)
      warn_write(m, "\n");
  }
  m->warn_more = to_continue != 0;
}

// os.exit([code [, close]]): ends this worker alone. [-0, +0, v]
static int os_exit(lua_State *L) {
  const mfi_state_config *config = &mfi_memory_of(L)->config;
  int code;
  if (lua_isboolean(L, 1))
    code = lua_toboolean(L, 1) ? 0 : 1;
  else
    code = (int)luaL_optinteger(L, 1, 0);
  if (config->exit != NULL)
    config->exit(config->exit_ud, L, code);
  mfi_stop_exit(L, code);
}

// ---- Libraries
// -----------------------------------------------------------------------------------

typedef struct library {
  unsigned bit;
  const char *name;
  lua_CFunction open;
} library;

static const library libraries[] = {
    {MFI_LIB_BASE, LUA_GNAME, luaopen_base},
    {MFI_LIB_PACKAGE, LUA_LOADLIBNAME, luaopen_package},
    {MFI_LIB_COROUTINE, LUA_COLIBNAME, luaopen_coroutine},
    {MFI_LIB_TABLE, LUA_TABLIBNAME, luaopen_table},
    {MFI_LIB_IO, LUA_IOLIBNAME, luaopen_io},
    {MFI_LIB_OS, LUA_OSLIBNAME, luaopen_os},
    {MFI_LIB_STRING, LUA_STRLIBNAME, luaopen_string},
    {MFI_LIB_MATH, LUA_MATHLIBNAME, luaopen_math},
    {MFI_LIB_UTF8, LUA_UTF8LIBNAME, luaopen_utf8},
    {MFI_LIB_DEBUG, LUA_DBLIBNAME, luaopen_debug},
};

// What is ours in a library that has just been opened; it is at the top.
static void adapt(lua_State *L, unsigned bit) {
  if (bit == MFI_LIB_MATH) {
    mfi_random_install(L);
  } else if (bit == MFI_LIB_OS) {
    lua_pushcfunction(L, os_exit);
    lua_setfield(L, -2, "exit");
  }
}

static void open_libraries(lua_State *L, unsigned libs) {
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    if (!(libs & libraries[i].bit))
      continue;
    luaL_requiref(L, libraries[i].name, libraries[i].open, 1);
    adapt(L, libraries[i].bit);
    lua_pop(L, 1);
  }
}

// A path of the package library; NULL leaves the one that it found itself.
static void set_path(lua_State *L, const char *field, const char *path) {
  if (path == NULL)
    return;
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_pushstring(L, path);
  lua_setfield(L, -2, field);
  lua_pop(L, 1);
}

// Everything that may raise, under lua_pcall. [-0, +0, m]
static int open_all(lua_State *L) {
  const mfi_state_config *config = &mfi_memory_of(L)->config;
  unsigned libs = config->libs ? config->libs : MFI_LIB_ALL;
  open_libraries(L, libs);
  if (libs & MFI_LIB_PACKAGE) {
    set_path(L, "path", config->path);
    set_path(L, "cpath", config->cpath);
  } else {
    mfi_state_only_preload(L);
  }
  if (libs & MFI_LIB_BASE) {
    mfi_stop_wrap(L);
    mfi_state_restrict_loading(L, !(libs & MFI_LIB_DEBUG), libs & MFI_LIB_IO);
  }
  if (config->output != NULL)
    mfi_output_install(L, config->output);
  return 0;
}

// The collector sleeps while the libraries are opened: nothing of theirs is garbage.
static bool fill(lua_State *L, mfi_memory *m) {
  lua_gc(L, LUA_GCSTOP);
  lua_setwarnf(L, warn_function, m);
  lua_pushcfunction(L, open_all);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK)
    return false;
  lua_gc(L, LUA_GCRESTART);
  lua_gc(L, LUA_GCGEN, 0, 0);
  m->config.path = m->config.cpath = NULL; // the caller's, from here on
  return true;
}

lua_State *mfi_state_open(const mfi_state_config *config) {
  mfi_memory *m = mfi_memory_open(config);
  if (m == NULL)
    return NULL;
  mfi_random_seed(&m->random, config->seed, config->stream);
  lua_State *L = lua_newstate(mfi_memory_alloc, m);
  if (L == NULL) {
    mfi_memory_close(m);
    return NULL;
  }
  if (!fill(L, m)) {
    mfi_state_close(L);
    return NULL;
  }
  m->limit_hit = false;
  return L;
}

static int install_output(lua_State *L) {
  mfi_output_install(L, lua_touserdata(L, 1));
  return 0;
}

bool mfi_state_adopt(lua_State *L, const mfi_state_config *config) {
  mfi_memory *m = mfi_memory_of(L);
  size_t limit = config->memory_limit ? config->memory_limit : SIZE_MAX;
  bool all = config->libs == 0 || config->libs == MFI_LIB_ALL;
  if (!all || config->alloc != NULL || config->path != NULL || m->used > limit)
    return false;
  m->config = *config;
  m->limit = limit;
  mfi_random_seed(&m->random, config->seed, config->stream);
  lua_pushcfunction(L, install_output);
  lua_pushlightuserdata(L, config->output);
  return lua_pcall(L, 1, 0, 0) == LUA_OK;
}

void mfi_state_close(lua_State *L) {
  mfi_memory *m = mfi_memory_of(L);
  m->closing = true;
  mfi_stop_close(L);
  lua_close(L);
  mfi_assert(m->used == 0);
  mfi_memory_close(m);
}

// ---- Questions
// -----------------------------------------------------------------------------------

bool mfi_state_is(lua_State *L) { return lua_getallocf(L, NULL) == mfi_memory_alloc; }

void *mfi_state_user(lua_State *L) { return mfi_memory_of(L)->config.user; }

size_t mfi_state_bytes(lua_State *L) { return mfi_memory_of(L)->used; }

void mfi_state_set_limit(lua_State *L, size_t bytes) {
  mfi_memory_of(L)->limit = bytes ? bytes : SIZE_MAX;
}

bool mfi_state_limit_hit(lua_State *L, int status, int idx) {
  static const char text[] = "not enough memory"; // behind a position where it left a coroutine
  size_t size;
  if (!mfi_state_is(L) || !mfi_memory_of(L)->limit_hit)
    return false;
  if (status == LUA_ERRMEM)
    return true;
  const char *error = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &size) : NULL;
  return error != NULL && size >= sizeof text - 1 &&
         strcmp(error + size - (sizeof text - 1), text) == 0;
}
