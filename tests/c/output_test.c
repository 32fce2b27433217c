// What states print: whole lines, in order, as Lua's own functions would have it.
#include "check.h"
#include "script/output.h"
#include "script/state.h"

#include <lauxlib.h>
#include <lualib.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- A sink that keeps what it gets, each piece in brackets
// --------------------------------------

typedef struct sink {
  char text[1 << 16];
  size_t size;
  int locked, turns;
  mfi_output_turn next; // what lock answers
  bool unfinished;      // what unlock was told last
  size_t largest;
} sink;

static mfi_output_turn sink_lock(void *ud, int stream) {
  sink *s = ud;
  (void)stream;
  s->turns++;
  if (s->next != MFI_TURN_NONE)
    s->locked++;
  return s->next;
}

static void sink_unlock(void *ud, int stream, bool unfinished) {
  sink *s = ud;
  (void)stream;
  s->locked--;
  s->unfinished = unfinished;
}

static void sink_take(void *ud, int stream, const char *data, size_t size) {
  sink *s = ud;
  int room = (int)(sizeof s->text - s->size);
  int shown = size < 200 ? (int)size : 3;
  s->largest = size > s->largest ? size : s->largest;
  s->size += (size_t)snprintf(s->text + s->size, (size_t)room, "%d[%.*s]", stream, shown, data);
  CHECK_EQ(s->locked, 1);
}

static mfi_output *open_sink(sink *s, mfi_output_kind kind) {
  memset(s, 0, sizeof *s);
  mfi_output_config config = {.kind = kind,
                              .lock = sink_lock,
                              .unlock = sink_unlock,
                              .sink = sink_take,
                              .ud = s,
                              .no_input = true};
  return mfi_output_open(&config);
}

static lua_State *open_worker(mfi_output *o) {
  return mfi_state_open(&(mfi_state_config){.output = o});
}

static void run(lua_State *L, const char *text) {
  if (luaL_dostring(L, text) != LUA_OK) {
    printf("%s\n", luaL_tolstring(L, -1, NULL));
    FAIL("runs");
  }
  lua_settop(L, 0);
}

// Everything that a worker prints by this text, its end included.
static void check_worker(const char *text, const char *expected) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_WORKER);
  lua_State *L = open_worker(o);
  run(L, text);
  mfi_state_close(L);
  mfi_output_close(o);
  if (strcmp(s.text, expected) != 0)
    printf("%s\n  prints   %s\n  expected %s\n", text, s.text, expected);
  CHECK(strcmp(s.text, expected) == 0);
  CHECK_EQ(s.locked, 0);
}

// ---- Workers
// -------------------------------------------------------------------------------------

static void writes_each_line_when_it_is_complete(void) {
  check_worker("print('a', 1, nil) io.write('b', 2, 0.5) io.write('c\\nd') print('e')",
               "1[a\t1\tnil\n]1[b20.5c\n]1[de\n]");
  check_worker("io.stdout:write('x\\ny\\nz'):write('!\\n')", "1[x\ny\n]1[z!\n]");
  check_worker("print() print('')", "1[\n]1[\n]");
}

static void writes_the_unfinished_line_at_the_end(void) {
  check_worker("io.write('one ') io.write('two')", "1[one two]");
  check_worker("io.stderr:write('e') print('o')", "1[o\n]2[e]");
  check_worker("io.write('x') io.flush() io.stdout:flush() io.write('y\\n')", "1[xy\n]");
}

static void keeps_streams_apart(void) {
  check_worker("io.stderr:write('err') io.write('out') io.stderr:write('!\\n') io.write('!\\n')",
               "2[err!\n]1[out!\n]");
}

static void gives_what_stock_functions_give(void) {
  check_worker(
      "assert(io.write('') == io.stdout and io.stdout:write('') == io.stdout)\n"
      "assert(io.type(io.stdout) == 'file' and tostring(io.stdout):match '^file %(')\n"
      "assert(io.output() == io.stdout) assert(io.flush() and io.stdout:flush())\n"
      "assert(io.stdout:setvbuf('line') and io.stdout:setvbuf('no'))\n"
      "local ok, m = pcall(io.stdout.setvbuf, io.stdout, 'what') assert(not ok)\n"
      "assert(not pcall(io.stdout.flush, 1))\n"
      "local ok, m = pcall(print, setmetatable({}, {__tostring = function() return {} end}))\n"
      "assert(m == \"'__tostring' must return a string\", m)\n"
      "print(setmetatable({}, {__name = 'my.type'}) ~= nil)",
      "1[true\n]");
}

static void reads_nothing(void) {
  check_worker("print(io.read(), io.read('a'), io.stdin:read('n'), io.lines()())",
               "1[nil\t\tnil\n]");
}

static void leaves_other_files_alone(void) {
  check_worker(
      "local name = os.tmpname() io.output(name) io.write('to the file') io.close()\n"
      "io.output(io.stdout) for l in io.lines(name) do print(l) end os.remove(name)\n"
      "local f = io.tmpfile() assert(f:setvbuf('full', 100) and f:write('x') and f:flush())\n"
      "f:seek('set') print(f:read('a'))",
      "1[to the file\n]1[x\n]");
}

static void gathers_lines_after_setvbuf_full(void) {
  check_worker("io.stdout:setvbuf 'full' print 'a' print 'b' io.flush() print 'c' io.write 'd'",
               "1[a\nb\n]1[c\nd]");
}

static void sends_long_lines_in_pieces_to_a_sink_under_one_lock(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_WORKER);
  lua_State *L = open_worker(o);
  run(L, "print(('x'):rep(100000)) io.write(('y'):rep(5000)) io.write(('z'):rep(70000), '\\n')");
  CHECK_EQ(s.turns, 2);
  CHECK_EQ(s.largest, 65536);
  CHECK(strcmp(s.text, "1[xxx]1[xxx]1[yyy]1[zzz]") == 0);
  mfi_state_close(L);
  mfi_output_close(o);
}

static void ends_a_torn_line_first(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_WORKER);
  s.next = MFI_TURN_TORN;
  CHECK(mfi_output_write(o, 2, "mine\n", 5));
  CHECK(strcmp(s.text, "2[\n]2[mine\n]") == 0);
  CHECK(!s.unfinished);
  mfi_output_close(o);
}

static void drops_text_without_a_turn(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_WORKER);
  lua_State *L = open_worker(o);
  s.next = MFI_TURN_NONE;
  run(L, "local f, m, code = io.write('lost\\n') assert(not f and m and code == 4)");
  s.next = MFI_TURN_CLEAN;
  run(L, "print 'kept'");
  CHECK(strcmp(s.text, "1[kept\n]") == 0);
  mfi_state_close(L);
  mfi_output_close(o);
}

static void keeps_the_numbers_of_the_standard_files(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_WORKER);
  lua_State *L = open_worker(o);
  luaL_loadstring(L, "return io.stdout, io.stderr");
  CHECK_EQ(lua_pcall(L, 0, 2, 0), LUA_OK);
  CHECK_EQ(fileno(((luaL_Stream *)lua_touserdata(L, 1))->f), 1);
  CHECK_EQ(fileno(((luaL_Stream *)lua_touserdata(L, 2))->f), 2);
  mfi_state_close(L);
  mfi_output_close(o);
  CHECK(fcntl(1, F_GETFD) != -1 && fcntl(2, F_GETFD) != -1);
}

static void prints_warnings(void) {
  check_worker("warn('off') warn('@on') warn('a', 'b') warn('@off') warn('c')",
               "2[Lua warning: ab\n]");
}

static void works_without_io(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_WORKER);
  lua_State *L = mfi_state_open(&(mfi_state_config){.output = o, .libs = MFI_LIB_SAFE});
  run(L, "assert(io == nil) print('safe')");
  CHECK(strcmp(s.text, "1[safe\n]") == 0);
  mfi_state_close(L);
  mfi_output_close(o);
}

// ---- The main state
// ------------------------------------------------------------------------------

static lua_State *open_main(mfi_output *o) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  mfi_output_install(L, o);
  return L;
}

static void buffers_blocks_of_whole_lines_in_the_main_state(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_MAIN);
  lua_State *L = open_main(o);
  run(L, "io.stdout:setvbuf('full') print('a') io.write('b\\n') io.write('c')");
  CHECK_EQ(s.size, 0);
  CHECK(mfi_output_flush(o)); // as before a start
  CHECK(strcmp(s.text, "1[a\nb\nc]") == 0);
  CHECK(s.unfinished);
  run(L, "io.write('d\\n') for i = 1, 1000 do print(('x'):rep(9)) end");
  CHECK_EQ(s.turns, 3);
  CHECK(s.largest >= 4096 && s.largest < 4200);
  run(L, "io.flush()");
  CHECK_EQ(s.turns, 4);
  mfi_output_restore(L, o);
  lua_close(L);
  mfi_output_close(o);
}

static void writes_at_once_where_setvbuf_says_so(void) {
  static sink s;
  mfi_output *o = open_sink(&s, MFI_OUTPUT_MAIN);
  lua_State *L = open_main(o);
  run(L, "io.stdout:setvbuf('full') io.write('x') io.stdout:setvbuf('no') io.write('.', '.')");
  CHECK(strcmp(s.text, "1[x]1[.]1[.]") == 0);
  run(L, "io.stderr:write('half') io.stdout:setvbuf('line') io.write('a\\nb') io.flush()");
  CHECK(strcmp(s.text, "1[x]1[.]1[.]2[half]1[a\n]1[b]") == 0);
  mfi_output_restore(L, o);
  lua_close(L);
  mfi_output_close(o);
}

// Runs `text` in a stock state in a child whose stdout is a pipe; what came out.
static const char *child_prints(const char *text, bool restore) {
  static char got[1 << 16];
  int ends[2];
  if (pipe(ends) != 0)
    exit(1);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], 1);
    mfi_output *o = mfi_output_open(&(mfi_output_config){.kind = MFI_OUTPUT_MAIN});
    lua_State *L = open_main(o);
    if (luaL_dostring(L, text) != LUA_OK)
      printf("%s", lua_tostring(L, -1));
    if (restore) {
      mfi_output_restore(L, o);
      mfi_output_close(o);
      lua_close(L);
    }
    exit(0);
  }
  close(ends[1]);
  size_t size = 0;
  for (ssize_t n; (n = read(ends[0], got + size, sizeof got - 1 - size)) > 0;)
    size += (size_t)n;
  got[size] = 0;
  close(ends[0]);
  return got;
}

static void comes_after_what_the_host_printed(void) {
  CHECK(strcmp(child_prints("print 'lua' io.write 'end'", true), "luaend") != 0);
  CHECK(strcmp(child_prints("print 'lua' io.write 'end'", true), "lua\nend") == 0);
}

static void serves_finalizers_after_it_was_restored(void) {
  const char *got =
      child_prints("setmetatable({}, {__gc = function() print 'late' io.write 'later' "
                   "io.stdout:flush() end}) print 'first'",
                   true);
  CHECK(strcmp(got, "first\nlate\nlater") == 0);
}

static void tells_that_nobody_reads(void) {
  int ends[2];
  if (pipe(ends) != 0)
    exit(1);
  close(ends[0]);
  fflush(stdout);
  int saved = dup(1);
  signal(SIGPIPE, SIG_IGN);
  dup2(ends[1], 1);
  mfi_output *o = mfi_output_open(&(mfi_output_config){.kind = MFI_OUTPUT_WORKER});
  lua_State *L = open_worker(o);
  int status = luaL_dostring(L, "local f, m, code = io.write('x\\n')\n"
                                "return f == nil and m .. code");
  dup2(saved, 1);
  close(saved);
  CHECK_EQ(status, LUA_OK);
  CHECK(strcmp(luaL_tolstring(L, -1, NULL), "Broken pipe32") == 0);
  signal(SIGPIPE, SIG_DFL);
  mfi_state_close(L);
  mfi_output_close(o);
  close(ends[1]);
}

// ---- Several threads, one pipe that does not block
// -----------------------------------------------

static pthread_mutex_t lines = PTHREAD_MUTEX_INITIALIZER;

static mfi_output_turn lock_lines(void *ud, int stream) {
  (void)ud, (void)stream;
  pthread_mutex_lock(&lines);
  return MFI_TURN_CLEAN;
}

static void unlock_lines(void *ud, int stream, bool unfinished) {
  (void)ud, (void)stream, (void)unfinished;
  pthread_mutex_unlock(&lines);
}

static void *chatter(void *arg) {
  mfi_output_config config = {.lock = lock_lines, .unlock = unlock_lines};
  mfi_output *o = mfi_output_open(&config);
  lua_State *L = open_worker(o);
  lua_pushstring(L, arg);
  lua_setglobal(L, "letter");
  run(L, "for i = 1, 300 do io.write(letter:rep(i * 31 % 9000)) print(letter) end");
  mfi_state_close(L);
  mfi_output_close(o);
  return NULL;
}

static int count_whole_lines(FILE *file) {
  static char line[1 << 14];
  int count = 0;
  while (fgets(line, sizeof line, file) != NULL)
    count += strspn(line, (char[]){line[0], 0}) == strlen(line) - 1;
  return count;
}

static void *read_pipe(void *arg) {
  FILE *file = fdopen(*(int *)arg, "r");
  *(int *)arg = count_whole_lines(file);
  fclose(file);
  return NULL;
}

static void never_mixes_lines_of_threads(void) {
  int ends[2];
  pthread_t reader, a, b;
  if (pipe2(ends, O_NONBLOCK) != 0)
    exit(1);
  fcntl(ends[0], F_SETFL, 0);
  fflush(stdout);
  int saved = dup(1);
  dup2(ends[1], 1);
  close(ends[1]);
  pthread_create(&reader, NULL, read_pipe, &ends[0]);
  pthread_create(&a, NULL, chatter, "a");
  pthread_create(&b, NULL, chatter, "b");
  pthread_join(a, NULL);
  pthread_join(b, NULL);
  dup2(saved, 1);
  close(saved);
  pthread_join(reader, NULL);
  CHECK_EQ(ends[0], 600);
}

int main(void) {
  RUN(writes_each_line_when_it_is_complete);
  RUN(writes_the_unfinished_line_at_the_end);
  RUN(keeps_streams_apart);
  RUN(gives_what_stock_functions_give);
  RUN(reads_nothing);
  RUN(leaves_other_files_alone);
  RUN(gathers_lines_after_setvbuf_full);
  RUN(sends_long_lines_in_pieces_to_a_sink_under_one_lock);
  RUN(ends_a_torn_line_first);
  RUN(drops_text_without_a_turn);
  RUN(keeps_the_numbers_of_the_standard_files);
  RUN(prints_warnings);
  RUN(works_without_io);
  RUN(buffers_blocks_of_whole_lines_in_the_main_state);
  RUN(writes_at_once_where_setvbuf_says_so);
  RUN(comes_after_what_the_host_printed);
  RUN(serves_finalizers_after_it_was_restored);
  RUN(tells_that_nobody_reads);
  RUN(never_mixes_lines_of_threads);
  return check_done();
}
