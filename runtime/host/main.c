// The program moonfleet: runs Lua scripts with `mf` at hand. Floor 8. Options as those of lua, and
// more.
#include "bind/interrupt.h"
#include "script/error.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int luaopen_moonfleet(lua_State *L);

static const char usage[] =
    "usage: moonfleet [options] [script [args]]\n"
    "  -e STAT          execute string STAT\n"
    "  -l MOD           require library MOD into global MOD\n"
    "  -l G=MOD         require library MOD into global G\n"
    "  -v               show version information\n"
    "  -E               ignore environment variables LUA_INIT, LUA_PATH, LUA_CPATH\n"
    "  -W               turn warnings on\n"
    "  -j N             workers of a pool that is not told how many\n"
    "  --backend NAME   process, thread or serial: of workers that are not told\n"
    "  --stats          at the end, tell on stderr what the workers have done\n"
    "  --version        show version information and exit\n"
    "  --help           show this and exit\n"
    "  --               stop handling options\n"
    "  -                execute stdin\n";

#define MOST_ACTIONS 128

typedef struct options {
  struct {
    char kind; // 'e' or 'l'
    const char *text;
  } action[MOST_ACTIONS]; // in the order given
  int actions;
  const char *backend;
  int jobs;                                    // 0: not given
  bool version, no_env, warnings, stats, ends; // ends: nothing to run but --version, --help
  int script;                                  // index in argv; argc: none
} options;

// ---- Options

static int complain(const char *format, const char *what) {
  fprintf(stderr, "moonfleet: ");
  fprintf(stderr, format, what);
  fprintf(stderr, "\ntry: moonfleet --help\n");
  return -1;
}

static int add_action(options *o, int kind, const char *text) {
  if (o->actions == MOST_ACTIONS)
    return complain("too many options '-%s'", kind == 'e' ? "e" : "l");
  o->action[o->actions].kind = (char)kind;
  o->action[o->actions++].text = text;
  return 0;
}

static int set_jobs(options *o, const char *text) {
  char *end;
  long n = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || n < 1 || n > 10000)
    return complain("option '-j' needs a number of workers from 1 to 10000, got '%s'", text);
  o->jobs = (int)n;
  return 0;
}

static int set_backend(options *o, const char *name) {
  if (strcmp(name, "process") != 0 && strcmp(name, "thread") != 0 && strcmp(name, "serial") != 0)
    return complain("option '--backend' needs process, thread or serial, got '%s'", name);
  o->backend = name;
  return 0;
}

enum { BACKEND = 256, STATS, VERSION, HELP };

static int take_option(options *o, int c, char **argv) {
  switch (c) {
  case 'e':
  case 'l':
    return add_action(o, c, optarg);
  case 'v':
    o->version = true;
    return 0;
  case 'E':
    o->no_env = true;
    return 0;
  case 'W':
    o->warnings = true;
    return 0;
  case 'i':
    return complain("option '-i': the prompt is not built yet%s", "");
  case 'j':
    return set_jobs(o, optarg);
  case BACKEND:
    return set_backend(o, optarg);
  case STATS:
    o->stats = true;
    return 0;
  case VERSION:
    o->version = o->ends = true;
    return 0;
  case HELP:
    fputs(usage, stdout);
    o->ends = true;
    return 0;
  case ':':
    return complain("option '%s' needs an argument", argv[optind - 1]);
  default:
    return complain("unrecognized option '%s'", argv[optind - 1]);
  }
}

// 0, or -1 after a message.
static int read_options(options *o, int argc, char **argv) {
  static const struct option longs[] = {{"backend", required_argument, NULL, BACKEND},
                                        {"stats", no_argument, NULL, STATS},
                                        {"version", no_argument, NULL, VERSION},
                                        {"help", no_argument, NULL, HELP},
                                        {NULL, 0, NULL, 0}};
  int c;
  opterr = 0;
  while ((c = getopt_long(argc, argv, "+:e:l:vEWij:", longs, NULL)) != -1)
    if (take_option(o, c, argv) != 0)
      return -1;
  o->script = optind;
  return 0;
}

// ---- Running

// An error that is an object keeps its text; the traceback tells where.
static int handler(lua_State *L) {
  if (mfi_error_is(L, 1, "interrupted"))
    return 1;
  const char *text = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, text, 1);
  return 1;
}

static int report(lua_State *L, int status) {
  if (status == LUA_OK)
    return 0;
  const char *text = luaL_tolstring(L, -1, NULL);
  fflush(stdout);
  fprintf(stderr, "moonfleet: %s\n", text);
  fflush(stderr);
  lua_pop(L, 2);
  return -1;
}

static int call(lua_State *L, int nargs, int nresults) {
  int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, handler);
  lua_insert(L, base);
  int status = lua_pcall(L, nargs, nresults, base);
  lua_remove(L, base);
  return status;
}

static int do_string(lua_State *L, const char *text, const char *name) {
  int status = luaL_loadbuffer(L, text, strlen(text), name);
  if (status == LUA_OK)
    status = call(L, 0, 0);
  return report(L, status);
}

static int do_library(lua_State *L, const char *text) {
  const char *equals = strchr(text, '='), *module = equals == NULL ? text : equals + 1;
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  int status = call(L, 1, 1);
  if (status != LUA_OK)
    return report(L, status);
  if (equals == NULL) {
    lua_setglobal(L, module);
    return 0;
  }
  lua_pushlstring(L, text, (size_t)(equals - text));
  lua_insert(L, -2);
  lua_pushglobaltable(L);
  lua_insert(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return 0;
}

static int do_init(lua_State *L) {
  const char *name = "LUA_INIT_5_4", *init = getenv(name);
  if (init == NULL)
    init = getenv(name = "LUA_INIT");
  if (init == NULL)
    return 0;
  if (init[0] != '@')
    return do_string(L, init, name);
  int status = luaL_loadfile(L, init + 1);
  if (status == LUA_OK)
    status = call(L, 0, 0);
  return report(L, status);
}

static int do_script(lua_State *L, char **argv, int argc, int script) {
  const char *file = strcmp(argv[script], "-") == 0 ? NULL : argv[script];
  int status = luaL_loadfile(L, file);
  if (status == LUA_OK) {
    luaL_checkstack(L, argc - script + 10, "too many arguments to script");
    for (int i = script + 1; i < argc; i++)
      lua_pushstring(L, argv[i]);
    status = call(L, argc - script - 1, 0);
  }
  return report(L, status);
}

static void set_arg(lua_State *L, char **argv, int argc, int script) {
  lua_createtable(L, argc, script);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - (script < argc ? script : 0));
  }
  lua_setglobal(L, "arg");
}

// The Lua half learns what the command line says.
static void tell_options(lua_State *L, const options *o) {
  luaL_requiref(L, "moonfleet", luaopen_moonfleet, 0);
  lua_setglobal(L, "mf");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonfleet.backend");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "set_program");
  lua_createtable(L, 0, 2);
  lua_pushstring(L, o->backend);
  lua_setfield(L, -2, "backend");
  if (o->jobs != 0)
    lua_pushinteger(L, o->jobs);
  else
    lua_pushnil(L);
  lua_setfield(L, -2, "jobs");
  lua_call(L, 1, 0);
  lua_pop(L, 1);
}

// Calls a function of moonfleet.stats; 0, or -1 after a message.
static int call_stats(lua_State *L, const char *name) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonfleet.stats");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
  return report(L, call(L, 0, 0));
}

static int run(lua_State *L, const options *o, char **argv, int argc) {
  if (!o->no_env && do_init(L) != 0)
    return -1;
  for (int i = 0; i < o->actions; i++) {
    int r = o->action[i].kind == 'e' ? do_string(L, o->action[i].text, "=(command line)")
                                     : do_library(L, o->action[i].text);
    if (r != 0)
      return -1;
  }
  if (o->script < argc)
    return do_script(L, argv, argc, o->script);
  if (o->actions > 0 || o->version)
    return 0;
  if (!isatty(0)) {
    char *from_stdin[] = {argv[0], (char *)(uintptr_t) "-", NULL};
    return do_script(L, from_stdin, 2, 1);
  }
  return complain("no script%s (the prompt is not built yet)", "");
}

typedef struct program {
  options o;
  char **argv;
  int argc;
  int result;
} program;

static int pmain(lua_State *L) {
  program *p = lua_touserdata(L, 1);
  lua_settop(L, 0);
  if (p->o.no_env) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  lua_gc(L, LUA_GCGEN, 0, 0);
  lua_warning(L, p->o.warnings ? "@on" : "@off", 0);
  set_arg(L, p->argv, p->argc, p->o.script);
  tell_options(L, &p->o);
  if (p->o.stats)
    call_stats(L, "arm");
  p->result = run(L, &p->o, p->argv, p->argc);
  if (p->o.stats && call_stats(L, "finish") != 0)
    p->result = -1;
  return 0;
}

int main(int argc, char **argv) {
  program p = {.argv = argv, .argc = argc};
  if (read_options(&p.o, argc, argv) != 0)
    return EXIT_FAILURE;
  if (p.o.version)
    printf("Moonfleet 0.1.0 on %s\n", LUA_RELEASE);
  if (p.o.ends)
    return EXIT_SUCCESS;
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    fputs("moonfleet: not enough memory\n", stderr);
    return EXIT_FAILURE;
  }
  lua_pushcfunction(L, pmain);
  lua_pushlightuserdata(L, &p);
  int status = lua_pcall(L, 1, 0, 0);
  report(L, status);
  lua_close(L);
  if (status == LUA_OK && p.result == 0)
    return EXIT_SUCCESS;
  return mfi_interrupt_seen() ? 128 + SIGINT : EXIT_FAILURE;
}
