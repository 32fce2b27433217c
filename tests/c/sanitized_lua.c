// Stock `lua5.4`, as far as the tests use it: [-e chunk] [-l module] [-] [script [args]]. A
// sanitizer's runtime must be in the program itself, so its test runs put this one first on the
// PATH under the name lua5.4. Debian has no source of its own lua.c to build instead; Ctrl-C
// behaves as there.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// TSan's own would hold signals back until it is called, see os/signal.h.
#ifdef MFI_TSAN
int __sigaction(int number, const struct sigaction *action, struct sigaction *before);
#else
#define __sigaction sigaction
#endif

static lua_State *main_state;

static void handle_interrupt(void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  __sigaction(SIGINT, &action, NULL);
}

static void stop(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

static void on_interrupt(int number) {
  (void)number;
  handle_interrupt(SIG_DFL);
  lua_sethook(main_state, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static int add_traceback(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (message == NULL && luaL_callmeta(L, 1, "__tostring"))
    return 1;
  if (message == NULL)
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  luaL_traceback(L, L, message, 1);
  return 1;
}

// [-(narg + 1), +0, -] Calls what is on the stack; says what went wrong.
static int call(lua_State *L, int narg) {
  int base = lua_gettop(L) - narg;
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, base);
  handle_interrupt(on_interrupt);
  int status = lua_pcall(L, narg, 0, base);
  handle_interrupt(SIG_DFL);
  if (status != LUA_OK)
    fprintf(stderr, "lua5.4: %s\n", luaL_tolstring(L, -1, NULL));
  lua_settop(L, base - 1);
  return status;
}

static int run_chunk(lua_State *L, int loaded) {
  if (loaded == LUA_OK)
    return call(L, 0);
  fprintf(stderr, "lua5.4: %s\n", lua_tostring(L, -1));
  lua_pop(L, 1);
  return loaded;
}

static int require_module(lua_State *L, const char *name) {
  lua_getglobal(L, "require");
  lua_pushstring(L, name);
  int status = call(L, 1);
  if (status == LUA_OK && luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE)) {
    lua_getfield(L, -1, name);
    lua_setglobal(L, name);
  }
  return status;
}

// Runs -e and -l; *script is where they end.
static int run_options(lua_State *L, char **argv, int *script) {
  int i = 1;
  for (; argv[i] != NULL && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
    char option = argv[i][1];
    const char *value = argv[i][2] != '\0' ? argv[i] + 2 : argv[++i];
    if (value == NULL || (option != 'e' && option != 'l')) {
      fprintf(stderr, "lua5.4: only -e and -l are known here\n");
      return LUA_ERRRUN;
    }
    int status = option == 'l'
                     ? require_module(L, value)
                     : run_chunk(L, luaL_loadbuffer(L, value, strlen(value), "=(command line)"));
    if (status != LUA_OK)
      return status;
  }
  *script = i;
  return LUA_OK;
}

static void set_arg(lua_State *L, char **argv, int script) {
  lua_newtable(L);
  for (int i = 0; argv[i] != NULL; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static int run_script(lua_State *L, char **argv, int script) {
  const char *name = strcmp(argv[script], "-") == 0 ? NULL : argv[script];
  int status = luaL_loadfile(L, name);
  if (status != LUA_OK)
    return run_chunk(L, status);
  int narg = 0;
  while (argv[script + 1 + narg] != NULL)
    lua_pushstring(L, argv[script + 1 + narg++]);
  return call(L, narg);
}

static int script_place(char **argv) {
  int i = 1;
  while (argv[i] != NULL && argv[i][0] == '-' && argv[i][1] != '\0')
    i += argv[i][2] == '\0' && argv[i + 1] != NULL ? 2 : 1;
  return argv[i] != NULL ? i : 0;
}

int main(int argc, char **argv) {
  lua_State *L = main_state = luaL_newstate();
  int script = argc;
  luaL_openlibs(L);
  lua_gc(L, LUA_GCGEN, 0, 0);
  set_arg(L, argv, script_place(argv));
  int status = run_options(L, argv, &script);
  if (status == LUA_OK && argv[script] != NULL)
    status = run_script(L, argv, script);
  lua_close(L);
  return status == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
