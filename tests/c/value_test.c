// Messages without a Lua state: what C writes Lua reads, what Lua writes C reads.
#include "check.h"
#include "script/codec.h"
#include "script/value.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdlib.h>
#include <string.h>

static lua_State *L;
static mfi_codec *codec;
static int opened, closed;

static mfi_status handle_of(void *ud, const mf_value *v, uint64_t *handle) {
  (void)ud;
  *handle = (uint64_t)(uintptr_t)v->as.queue;
  return MFI_OK;
}

static mfi_status open_handle(void *ud, uint64_t handle, mf_value *v) {
  (void)ud;
  if (handle == 5)
    return MFI_CLOSED;
  opened++;
  *v = mf_of_queue((mf_queue *)(uintptr_t)handle);
  return MFI_OK;
}

static void close_handle(mf_value *v) {
  closed++;
  v->kind = MF_NIL;
}

static const mfi_value_hooks hooks = {
    .handle_of = handle_of, .open = open_handle, .close = close_handle, .process = 7};

// Encodes what the Lua text gives and reads it as values.
static mfi_values *from_lua(const char *text, mfi_status *status) {
  mfi_values *v = NULL;
  mfi_encoded e;
  lua_settop(L, 0);
  if (luaL_dostring(L, text) != LUA_OK) {
    printf("%s\n", lua_tostring(L, -1));
    *status = MFI_FAILED;
    return NULL;
  }
  int n = lua_gettop(L);
  mfi_encode(codec, L, 1, n, "value", 0, &e);
  mfi_encoded_keep(codec, L, &e);
  mfi_message m = {.bytes = e.bytes, .size = e.size, .refs = e.refs, .nrefs = e.nrefs};
  *status = mfi_values_read(&m, &hooks, &v);
  return v;
}

// Writes n values, decodes them in Lua and runs the text with them as `...`: it must give true.
static int lua_agrees(const mf_value *values, size_t n, const char *text) {
  mfi_value_bytes b = {0};
  lua_settop(L, 0);
  if (mfi_values_write(values, n, "value", &hooks, &b) != MFI_OK)
    return 0;
  if (luaL_loadstring(L, text) != LUA_OK)
    return 0;
  mfi_message m = {.bytes = b.bytes, .size = b.size, .refs = b.refs, .nrefs = (uint32_t)b.nrefs};
  int count = mfi_decode(codec, L, &m, MFI_DECODE_WORKER);
  int ok = lua_pcall(L, count, 1, 0) == LUA_OK && lua_toboolean(L, -1);
  if (!ok && lua_isstring(L, -1))
    printf("%s\n", lua_tostring(L, -1));
  mfi_value_bytes_fini(&b);
  return ok;
}

static void writes_scalars_and_strings(void) {
  char big[5000];
  memset(big, 'b', sizeof big);
  mf_value v[] = {mf_nil(),
                  mf_boolean(1),
                  mf_boolean(0),
                  mf_integer(5),
                  mf_integer(-200),
                  mf_number(1.5),
                  mf_integer(1 << 20),
                  mf_integer(INT64_MIN),
                  mf_text("x"),
                  mf_string("a\0b", 3),
                  mf_string(big, sizeof big),
                  mf_of_pointer(NULL)};
  CHECK(
      lua_agrees(v, 12,
                 "local t = table.pack(...) return t.n == 12 and t[1] == nil and t[2] == true and "
                 "t[3] == false and t[4] == 5 and t[5] == -200 and t[6] == 1.5 and t[7] == 1 << 20 "
                 "and t[8] == math.mininteger and t[9] == 'x' and t[10] == 'a\\0b' and "
                 "t[11] == ('b'):rep(5000) and type(t[12]) == 'userdata'"));
  CHECK(lua_agrees(NULL, 0, "return select('#', ...) == 0"));
}

static void writes_tables_shared_and_cyclic(void) {
  mf_table inner = {0}, outer = {0};
  mf_value items[] = {mf_integer(1), mf_nil(), mf_of_table(&inner), mf_of_table(&outer)};
  mf_value pairs[] = {mf_text("in"), mf_of_table(&inner), mf_of_table(&inner), mf_text("key")};
  outer = (mf_table){.nitems = 4, .items = items, .npairs = 2, .pairs = pairs};
  mf_value v = mf_of_table(&outer);
  CHECK(lua_agrees(&v, 1,
                   "local t = ... return t[1] == 1 and t[2] == nil and t[3] == t['in'] and "
                   "t[4] == t and t[t[3]] == 'key'"));
}

static void writes_many_tables(void) {
  enum { N = 20000 };
  mf_table *t = calloc(N, sizeof *t);
  mf_value *items = calloc(N, sizeof *items);
  for (size_t i = 0; i < N; i++) {
    items[i] = mf_of_table(&t[i]);
    t[i] = (mf_table){.nitems = i + 1 < N, .items = &items[i + 1 < N ? i + 1 : 0]};
  }
  CHECK(lua_agrees(items, 1,
                   "local t, n = ..., 0 while t do t, n = t[1], n + 1 end return n == 20000"));
  free(items);
  free(t);
}

static void refuses_what_c_cannot_send(void) {
  mfi_value_bytes b = {0};
  mf_value other = mf_nil(), key[] = {mf_text("f"), mf_nil()}, bad[] = {mf_nil(), mf_integer(1)};
  other.kind = MF_OTHER;
  other.as.other = "function";
  key[1] = other;
  mf_table t = {.npairs = 1, .pairs = key}, nil_key = {.npairs = 1, .pairs = bad};
  mf_value v = mf_of_table(&t);
  CHECK_EQ(mfi_values_write(&v, 1, "value", &hooks, &b), MFI_NOT_SENDABLE);
  CHECK(strcmp(b.why, "cannot send a function (at value.f)") == 0);
  v = mf_of_table(&nil_key);
  CHECK_EQ(mfi_values_write(&v, 1, "value", &hooks, &b), MFI_INVALID);
  v.kind = (mf_kind)77;
  CHECK_EQ(mfi_values_write(&v, 1, "value", &hooks, &b), MFI_INVALID);
  mfi_value_bytes_fini(&b);
}

static void reads_scalars_and_strings(void) {
  mfi_status status;
  mfi_values *v =
      from_lua("return nil, true, 7, -300, 2.5, 'text', ('y'):rep(5000), 1 << 40", &status);
  CHECK_EQ(status, MFI_OK);
  CHECK_EQ(mfi_values_count(v), 8);
  CHECK_EQ(mfi_values_at(v, 0)->kind, MF_NIL);
  CHECK_EQ(mfi_values_at(v, 1)->as.boolean, 1);
  CHECK_EQ(mfi_values_at(v, 2)->as.integer, 7);
  CHECK_EQ(mfi_values_at(v, 3)->as.integer, -300);
  CHECK(mfi_values_at(v, 4)->as.number == 2.5);
  CHECK(strcmp(mfi_values_at(v, 5)->as.string.data, "text") == 0);
  CHECK_EQ(mfi_values_at(v, 6)->as.string.size, 5000);
  CHECK_EQ(mfi_values_at(v, 7)->as.integer, (int64_t)1 << 40);
  CHECK(mfi_values_at(v, 8) == NULL);
  mfi_values_free(v);
}

static void reads_tables(void) {
  mfi_status status;
  mfi_values *v =
      from_lua("local t = {1, 2, 3, 400, 'x', n = 5, sub = {1.5, 2.5, 3.5, 4.5}} t.me = t "
               "t.f = print t.g = function() return t end t.s = string "
               "return setmetatable(t, {__index = {t}})",
               &status);
  CHECK_EQ(status, MFI_OK);
  const mf_value *t = mfi_values_at(v, 0);
  CHECK_EQ(t->kind, MF_TABLE);
  CHECK_EQ(t->as.table->nitems, 5);
  CHECK_EQ(t->as.table->items[3].as.integer, 400);
  CHECK_EQ(mf_field(t, "n")->as.integer, 5);
  CHECK(mf_field(t, "me")->as.table == t->as.table);
  CHECK(mf_field(t, "sub")->as.table->items[3].as.number == 4.5);
  CHECK_EQ(mf_field(t, "f")->kind, MF_OTHER);
  CHECK(strcmp(mf_field(t, "g")->as.other, "function") == 0);
  CHECK_EQ(mf_field(t, "s")->kind, MF_OTHER);
  mfi_values_free(v);
}

static void reads_deep_tables(void) {
  mfi_status status;
  mfi_values *v = from_lua("local t = {} for _ = 1, 100000 do t = {x = t} end return t", &status);
  CHECK_EQ(status, MFI_OK);
  size_t depth = 0;
  for (const mf_value *t = mfi_values_at(v, 0); t != NULL; t = mf_field(t, "x"))
    depth++;
  CHECK_EQ(depth, 100001);
  mfi_values_free(v);
}

static void carries_handles_and_closes_them(void) {
  mfi_value_bytes b = {0};
  mfi_values *out;
  mf_value items[] = {mf_of_queue((mf_queue *)(uintptr_t)11),
                      mf_of_queue((mf_queue *)(uintptr_t)12)};
  mf_table t = {.nitems = 2, .items = items};
  mf_value v = mf_of_table(&t);
  CHECK_EQ(mfi_values_write(&v, 1, "value", &hooks, &b), MFI_OK);
  CHECK_EQ(b.nrefs, 2);
  mfi_message m = {.bytes = b.bytes, .size = b.size, .refs = b.refs, .nrefs = (uint32_t)b.nrefs};
  CHECK_EQ(mfi_values_read(&m, &hooks, &out), MFI_OK);
  CHECK((uintptr_t)mfi_values_at(out, 0)->as.table->items[1].as.queue == 12);
  mfi_values_free(out);
  CHECK_EQ(opened, 2);
  CHECK_EQ(closed, 2);
  b.refs[1] = 5;
  CHECK_EQ(mfi_values_read(&m, &hooks, &out), MFI_CLOSED);
  CHECK_EQ(opened, closed);
  mfi_value_bytes_fini(&b);
}

static void refuses_damaged_bytes(void) {
  mfi_values *out = NULL;
  mfi_encoded e;
  lua_settop(L, 0);
  CHECK(luaL_dostring(L, "local t = {1, 2, 3, 4, 'five', {x = 1.5}} t.t = t "
                         "return setmetatable(t, {}), function() return t end, 'end'") == LUA_OK);
  mfi_encode(codec, L, 1, lua_gettop(L), "value", 0, &e);
  mfi_encoded_keep(codec, L, &e);
  uint8_t *copy = malloc(e.size);
  for (size_t i = 0; i < e.size; i++)
    for (unsigned b = 0; b < 256; b += 3) {
      memcpy(copy, e.bytes, e.size);
      copy[i] = (uint8_t)b;
      mfi_message m = {.bytes = copy, .size = e.size};
      mfi_status status = mfi_values_read(&m, &hooks, &out);
      CHECK(status == MFI_OK || status == MFI_DECODE);
      mfi_values_free(out);
      m.size = i;
      status = mfi_values_read(&m, &hooks, &out);
      CHECK(status == MFI_OK || status == MFI_DECODE);
      mfi_values_free(out);
    }
  free(copy);
}

int main(void) {
  L = luaL_newstate();
  luaL_openlibs(L);
  codec = mfi_codec_open(L, NULL);
  RUN(writes_scalars_and_strings);
  RUN(writes_tables_shared_and_cyclic);
  RUN(writes_many_tables);
  RUN(refuses_what_c_cannot_send);
  RUN(reads_scalars_and_strings);
  RUN(reads_tables);
  RUN(reads_deep_tables);
  RUN(carries_handles_and_closes_them);
  RUN(refuses_damaged_bytes);
  lua_close(L);
  return check_done();
}
