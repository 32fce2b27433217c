// See names.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/names.h"

#include "script/encoder.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Registry keys, by address: {class name = value}; the index's objects; the snapshot's objects with
// their names; {module name = can a worker find it}.
static const char classes_key = 0, anchors_key = 0, snapshot_key = 0, findable_key = 0;

void mfi_names_fini(names *n) {
  free(n->entries);
  free(n->bytes);
  memset(n, 0, sizeof *n);
}

// ---- The hash

static void grow_entries(lua_State *L, names *n) {
  uint32_t room = n->room == 0 ? 256 : 2 * n->room;
  name_entry *to = calloc(room, sizeof *to);
  if (to == NULL)
    luaL_error(L, "not enough memory");
  for (uint32_t i = 0; i < n->room; i++) {
    if (n->entries[i].pointer == NULL)
      continue;
    uint32_t h = names_hash(n->entries[i].pointer);
    while (to[h & (room - 1)].pointer != NULL)
      h++;
    to[h & (room - 1)] = n->entries[i];
  }
  free(n->entries);
  n->entries = to;
  n->room = room;
}

static void put_bytes(lua_State *L, names *n, const void *data, size_t size) {
  if (n->bytes_room - n->used < size) {
    size_t room = 2 * (n->bytes_room + size) + 1024;
    uint8_t *to = realloc(n->bytes, room);
    if (to == NULL)
      luaL_error(L, "not enough memory");
    n->bytes = to;
    n->bytes_room = room;
  }
  memcpy(n->bytes + n->used, data, size);
  n->used += size;
}

static void put_string(lua_State *L, names *n, const char *s, size_t size) {
  uint8_t head[5] = {TAG_STRING32};
  uint32_t length = (uint32_t)size;
  memcpy(head + 1, &length, 4);
  put_bytes(L, n, head, 5);
  put_bytes(L, n, s, size);
}

// Enters the object at idx under the encoded name bytes[at ..); the first name of an object stays.
// [-0, +0, m]
static void enter(lua_State *L, names *n, const void *key, int idx, size_t at) {
  const void *pointer = lua_topointer(L, idx);
  int type = lua_type(L, idx), transfers = 0;
  if (pointer == NULL || names_find(n, pointer, type) != NULL) {
    n->used = at;
    return;
  }
  if (type == LUA_TTABLE) {
    lua_pushliteral(L, "__transfer");
    transfers = lua_rawget(L, idx) != LUA_TNIL;
    lua_pop(L, 1);
  }
  lua_pushvalue(L, idx);
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, pointer);
  lua_pop(L, 1);
  if (2 * (n->count + 1) > n->room)
    grow_entries(L, n);
  uint32_t h = names_hash(pointer);
  while (n->entries[h & (n->room - 1)].pointer != NULL)
    h++;
  n->entries[h & (n->room - 1)] = (name_entry){.pointer = pointer,
                                               .at = (uint32_t)at,
                                               .size = (uint32_t)(n->used - at),
                                               .type = (uint8_t)type,
                                               .transfers = (uint8_t)transfers};
  n->count++;
}

// Enters the value at the top as a module (0 fields) or field; the `fields + 1` strings of its name
// are at the stack indexes path[]. [-0, +0, m]
static void enter_module(lua_State *L, names *n, const int *path, int fields) {
  size_t at = n->used;
  uint8_t head[2] = {TAG_MODULE, (uint8_t)fields};
  put_bytes(L, n, head, 2);
  for (int i = 0; i <= fields; i++) {
    size_t size;
    const char *s = lua_tolstring(L, path[i], &size);
    put_string(L, n, s, size);
  }
  enter(L, n, &anchors_key, lua_gettop(L), at);
}

// ---- Which modules have a name

static int is_our_own(const char *name) {
  return strncmp(name, "moonfleet", 9) == 0 && (name[9] == '\0' || name[9] == '.');
}

// Does package.searchpath find the name in package[path_field]? [-0, +0, m]
static int searchpath_finds(lua_State *L, const char *name, const char *path_field) {
  int top = lua_gettop(L), found = 0;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "package") == LUA_TTABLE) {
    lua_getfield(L, -1, "searchpath");
    lua_pushstring(L, name);
    lua_getfield(L, -3, path_field);
    if (lua_iscfunction(L, -3) && lua_isstring(L, -1))
      found = lua_pcall(L, 2, 1, 0) == LUA_OK && lua_isstring(L, -1);
  }
  lua_settop(L, top);
  return found;
}

static int is_preloaded(lua_State *L, const char *name) {
  int top = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  int is = lua_istable(L, -1) && lua_getfield(L, -1, name) != LUA_TNIL;
  lua_settop(L, top);
  return is;
}

static int look_for_module(lua_State *L, const char *name) {
  if (is_our_own(name) || is_preloaded(L, name))
    return 1;
  if (searchpath_finds(L, name, "path") || searchpath_finds(L, name, "cpath"))
    return 1;
  const char *dot = strchr(name, '.'); // the all-in-one loader: a.b in the library of a
  if (dot == NULL)
    return 0;
  lua_pushlstring(L, name, (size_t)(dot - name));
  int found = searchpath_finds(L, lua_tostring(L, -1), "cpath");
  lua_pop(L, 1);
  return found;
}

// Pushes the table that remembers look_for_module's answers for the paths as they are. [-0, +1, m]
static void push_findable(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "package") == LUA_TTABLE) {
    lua_getfield(L, -1, "path");
    lua_getfield(L, -2, "cpath");
  } else {
    lua_pushnil(L);
    lua_pushnil(L);
  } // loaded package path cpath
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &findable_key) == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    int same = lua_rawequal(L, -2, -5) && lua_rawequal(L, -1, -4);
    lua_pop(L, 2);
    if (same)
      goto done;
  }
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, 2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &findable_key);
done:
  lua_replace(L, -5);
  lua_pop(L, 3);
}

// Can a worker find the module whose name is at idx? [-0, +0, m]
static int is_findable(lua_State *L, int idx) {
  int found;
  push_findable(L);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TBOOLEAN) {
    found = lua_toboolean(L, -1);
  } else {
    found = look_for_module(L, lua_tostring(L, idx));
    lua_pushvalue(L, idx);
    lua_pushboolean(L, found);
    lua_rawset(L, -4);
  }
  lua_pop(L, 2);
  return found;
}

// ---- Building

static int has_a_name(lua_State *L, int idx) {
  int type = lua_type(L, idx);
  return type == LUA_TFUNCTION || type == LUA_TTABLE || type == LUA_TLIGHTUSERDATA;
}

// The C functions of the standard library whose table is at the top and whose name is at `name`.
static void enter_library(lua_State *L, names *n, int name) {
  int table = lua_gettop(L);
  const char *library = strcmp(lua_tostring(L, name), "_G") == 0 ? NULL : lua_tostring(L, name);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_iscfunction(L, -1))
      continue;
    if (!mfi_names_is_standard(library, lua_tostring(L, -2)))
      continue;
    enter_module(L, n, (int[]){name, table + 1}, 1);
  }
}

// Enters all libraries found in the table {name = library} at the top.
static void enter_libraries(lua_State *L, names *n) {
  int table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table); lua_settop(L, table + 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
      continue;
    if (mfi_names_is_library(lua_tostring(L, -2)))
      enter_library(L, n, table + 1);
  }
}

// Fields of the table at the top, whose name is the strings at path[0 .. depth). The pass decides
// on which level names are given, so that the shortest one wins.
static void enter_fields(lua_State *L, names *n, int *path, int depth, int level) {
  int table = lua_gettop(L);
  path[depth] = table + 1;
  for (lua_pushnil(L); lua_next(L, table); lua_settop(L, table + 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !has_a_name(L, -1))
      continue;
    if (depth == level)
      enter_module(L, n, path, depth);
    else if (lua_istable(L, -1) && lua_topointer(L, -1) != n->globals)
      enter_fields(L, n, path, depth + 1, level);
  }
  lua_settop(L, table);
}

// Enters package.loaded's modules (level 0), their fields (1), their fields' fields (2).
static void enter_modules(lua_State *L, names *n, int level) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L), path[3] = {loaded + 1};
  for (lua_pushnil(L); lua_next(L, loaded); lua_settop(L, loaded + 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !has_a_name(L, -1))
      continue;
    int is_library = mfi_names_is_library(lua_tostring(L, -2));
    if (lua_topointer(L, -1) == n->globals || (is_library && level > 0))
      continue;
    if (!is_library && !is_findable(L, loaded + 1))
      continue;
    if (level == 0)
      enter_module(L, n, path, 0);
    else if (lua_istable(L, -1))
      enter_fields(L, n, path, 1, level);
  }
  lua_settop(L, loaded - 1);
}

static void enter_classes(lua_State *L, names *n) {
  int top = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key) == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, top + 1); lua_settop(L, top + 2)) {
      size_t at = n->used, size;
      const char *name = lua_tolstring(L, -2, &size);
      put_bytes(L, n, &(uint8_t){TAG_CLASS}, 1);
      put_string(L, n, name, size);
      enter(L, n, &anchors_key, lua_gettop(L), at);
    }
  }
  lua_settop(L, top);
}

void mfi_names_build(mfi_codec *c, lua_State *L) {
  names *n = &c->names;
  luaL_checkstack(L, 24, NULL);
  int top = lua_gettop(L);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
  if (n->entries != NULL)
    memset(n->entries, 0, n->room * sizeof *n->entries);
  n->count = 0;
  n->used = 0;
  lua_pushglobaltable(L);
  n->globals = lua_topointer(L, -1);
  enter_classes(L, n);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &snapshot_key) == LUA_TTABLE)
    enter_libraries(L, n);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  enter_libraries(L, n);
  for (int level = 0; level <= 2; level++)
    enter_modules(L, n, level);
  lua_settop(L, top);
}

// ---- The host's functions

// Pushes the module, built where it was not; false and nothing: there is none. [-0, +0..1, v]
static int push_host_functions(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, MFI_NAMES_HOST) == LUA_TNIL) {
    lua_pop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    if (lua_getfield(L, -1, MFI_NAMES_HOST) == LUA_TNIL) {
      lua_pop(L, 3);
      return 0;
    }
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, MFI_NAMES_HOST);
    lua_remove(L, -2);
  }
  lua_remove(L, -2);
  return 1;
}

const name_entry *mfi_names_of_code(mfi_codec *c, lua_State *L, lua_CFunction code) {
  const void *pointer = NULL;
  luaL_checkstack(L, 8, NULL);
  if (!push_host_functions(L))
    return NULL;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (lua_tocfunction(L, -1) == code)
      pointer = lua_topointer(L, -1);
  lua_pop(L, 1);
  if (pointer == NULL)
    return NULL;
  mfi_names_refresh(c, L);
  return names_find(&c->names, pointer, LUA_TFUNCTION);
}

// ---- When to build

static uint32_t peek_fields(const peek_table *t) {
  uint32_t n = 0;
  for (size_t i = 0; i < (size_t)1 << t->log_nodes; i++)
    n += !peek_is_nil(t->nodes[i].tag);
  return n;
}

// How many fields has the table at the top?
static uint32_t count_fields(const mfi_codec *c, lua_State *L) {
  uint32_t n = 0;
  int table = lua_gettop(L);
  if (c->peek)
    return peek_fields(peek_of(L, table));
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    n++;
  return n;
}

// How many fields of the library at the top are none of Lua's?
static uint32_t count_foreign(lua_State *L, const char *library) {
  uint32_t n = 0;
  int table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    n += lua_type(L, -2) == LUA_TSTRING && !mfi_names_is_standard(library, lua_tostring(L, -2));
  return n;
}

static uint32_t count_additions(lua_State *L) {
  size_t n;
  uint32_t additions = 0;
  const char *const *library = mfi_names_libraries(&n);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (size_t i = 0; i < n; i++) {
    lua_pushstring(L, library[i]);
    if (lua_rawget(L, -2) == LUA_TTABLE)
      additions += count_foreign(L, library[i]);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return additions;
}

static uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0xff51afd7ed558ccdu;
  return h ^ (h >> 32);
}

// What would change if a module were added, exchanged, or got other fields; the sum over all, for
// their order does not matter. standard: fields of Lua's own libraries, which are told apart.
typedef struct glance {
  uint64_t fingerprint;
  uint32_t standard;
} glance;

// A module's part; fields: how many it has, where that counts.
static void glance_add(glance *g, const char *name, const void *value, const uint32_t *fields) {
  uint64_t one = mix((uintptr_t)name, (uintptr_t)value);
  if (fields != NULL && mfi_names_is_library(name))
    g->standard += *fields;
  else if (fields != NULL)
    one = mix(one, *fields);
  g->fingerprint += one;
}

static bool has_fields_to_count(const mfi_codec *c, const char *name, const void *table) {
  return !is_our_own(name) && table != c->names.globals;
}

static void peek_at_modules(const mfi_codec *c, const peek_table *loaded, glance *g) {
  for (size_t i = 0; i < (size_t)1 << loaded->log_nodes; i++) {
    const peek_node *node = &loaded->nodes[i];
    bool is_string = node->key_tag == PEEK_SHORT_STRING || node->key_tag == PEEK_LONG_STRING;
    if (peek_is_nil(node->tag) || !is_string)
      continue;
    const char *name = ((const peek_string *)node->key.pointer)->bytes;
    const void *value = peek_is_address(node->tag) ? node->value.pointer : NULL;
    uint32_t fields;
    bool counts = node->tag == PEEK_TABLE && has_fields_to_count(c, name, value);
    if (counts)
      fields = peek_fields(value);
    glance_add(g, name, value, counts ? &fields : NULL);
  }
}

// The table at the top.
static void look_at_modules(const mfi_codec *c, lua_State *L, glance *g) {
  int loaded = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, loaded); lua_settop(L, loaded + 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      continue;
    const char *name = lua_tostring(L, -2);
    const void *value = lua_topointer(L, -1);
    uint32_t fields;
    bool counts = lua_istable(L, -1) && has_fields_to_count(c, name, value);
    if (counts)
      fields = count_fields(c, L);
    glance_add(g, name, value, counts ? &fields : NULL);
  }
}

void mfi_names_refresh(mfi_codec *c, lua_State *L) {
  luaL_checkstack(L, 10, NULL);
  glance g = {.fingerprint = 1};
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (c->peek)
    peek_at_modules(c, peek_of(L, -1), &g);
  else
    look_at_modules(c, L, &g);
  lua_pop(L, 1);
  if (c->names.standard != g.standard)
    c->names.additions = count_additions(L);
  c->names.standard = g.standard;
  if (c->names.room != 0 && c->names.fingerprint == g.fingerprint)
    return;
  mfi_names_build(c, L);
  c->names.fingerprint = g.fingerprint;
}

// ---- What is known for good

// Copies the C functions of the library at the top into a table that it pushes. [-0, +1, m]
static void copy_functions(lua_State *L) {
  int from = lua_gettop(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, from); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_iscfunction(L, -1))
      continue;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, from + 1);
  }
}

void mfi_names_snapshot(mfi_codec *c, lua_State *L) {
  luaL_checkstack(L, 16, NULL);
  c->names.fingerprint = 0;
  lua_newtable(L);
  int to = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, to + 1); lua_settop(L, to + 2)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
      continue;
    if (!mfi_names_is_library(lua_tostring(L, -2)))
      continue;
    copy_functions(L);
    lua_setfield(L, to, lua_tostring(L, to + 2));
  }
  lua_settop(L, to);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &snapshot_key);
}

void mfi_names_register(mfi_codec *c, lua_State *L, const char *name, int idx) {
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 8, NULL);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
  }
  lua_pushvalue(L, idx);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
  c->names.fingerprint = 0;
  if (c->names.room == 0)
    return;
  mfi_names_build(c, L); // FAST looks here without a refresh
}

void mfi_names_class(lua_State *L, const char *name, size_t size) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key) == LUA_TTABLE) {
    lua_pushlstring(L, name, size);
    lua_rawget(L, -2);
    lua_remove(L, -2);
  } else {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
}
