// Where in a message the value lies that cannot be sent:
//   cannot send a coroutine (at args[2].handlers.tick, upvalue "co" of function <jobs.lua:12>)
//
// Floor 5 (script). Locks nothing, sleeps nowhere. The path is read off the frames that are open
// when encoding fails. `.name` and `[key]` of a table go to what stands before them; an upvalue's
// or global's function is named behind them.
#include "script/encoder.h"
#include "script/error.h"

#include <lauxlib.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_FIRST 24 // of a long path: so many frames at its begin and at its end
#define SHOWN_LAST 8

typedef struct path {
  luaL_Buffer text;
  char suffix[200]; // " of function <jobs.lua:12>", due before the next comma or the end
} path;

static int is_identifier(const char *s, size_t size) {
  if (size == 0 || size > 60 || isdigit((unsigned char)*s))
    return 0;
  for (size_t i = 0; i < size; i++)
    if (!isalnum((unsigned char)s[i]) && s[i] != '_')
      return 0;
  return 1;
}

// Appends a key of a table as Lua would write it.
static void add_key(encoder *e, path *p, int idx) {
  char buf[120];
  size_t size;
  switch (lua_type(e->L, idx)) {
  case LUA_TSTRING: {
    const char *s = lua_tolstring(e->L, idx, &size);
    snprintf(buf, sizeof buf, is_identifier(s, size) ? ".%.*s" : "[\"%.*s\"]",
             (int)(size < 60 ? size : 60), s);
    break;
  }
  case LUA_TNUMBER:
    if (lua_isinteger(e->L, idx))
      snprintf(buf, sizeof buf, "[%lld]", (long long)lua_tointeger(e->L, idx));
    else
      snprintf(buf, sizeof buf, "[%.14g]", (double)lua_tonumber(e->L, idx));
    break;
  case LUA_TBOOLEAN:
    snprintf(buf, sizeof buf, "[%s]", lua_toboolean(e->L, idx) ? "true" : "false");
    break;
  default:
    snprintf(buf, sizeof buf, "[a %s]", luaL_typename(e->L, idx));
  }
  luaL_addstring(&p->text, buf);
}

static void add_table_part(encoder *e, path *p, const frame *f, int key) {
  char buf[40];
  if (f->phase == PHASE_ITEMS) {
    snprintf(buf, sizeof buf, "[%zu]", f->i);
    luaL_addstring(&p->text, buf);
  } else if (f->phase == PHASE_PAIRS) {
    add_key(e, p, key);
  } else {
    luaL_addstring(&p->text, p->suffix);
    p->suffix[0] = '\0';
    luaL_addstring(&p->text, f->phase == PHASE_KEY ? ", as a key" : ", its metatable");
  }
}

static void add_part(encoder *e, path *p, const frame *f) {
  char buf[200], suffix[sizeof p->suffix] = "";
  if (f->kind == FRAME_TABLE) {
    add_table_part(e, p, f, f->top + 1);
    return;
  }
  mfi_func_part(e, f, buf, sizeof buf, suffix, sizeof suffix);
  luaL_addstring(&p->text, p->suffix);
  luaL_addstring(&p->text, buf);
  memcpy(p->suffix, suffix, sizeof suffix);
}

// Appends the name of the value that is encoded, by the pattern that the caller gave: codec.h.
static void add_root(encoder *e, path *p) {
  const char *part = e->roots;
  size_t number = e->root + e->root_base, skipped = 0;
  for (const char *next; skipped < number && (next = strchr(part, ';')) != NULL; skipped++)
    part = next + 1;
  for (; *part != '\0' && *part != ';'; part++) {
    char buf[24];
    if (*part == '#') {
      snprintf(buf, sizeof buf, "%zu", number - skipped + 1);
      luaL_addstring(&p->text, buf);
    } else {
      luaL_addchar(&p->text, *part);
    }
  }
}

// Pushes the path of what failed. [-0, +1, m]
static void push_path(encoder *e) {
  path p;
  p.suffix[0] = '\0';
  luaL_buffinit(e->L, &p.text);
  add_root(e, &p);
  for (size_t i = 0; i < e->nframes; i++) {
    if (i >= SHOWN_FIRST && i + SHOWN_LAST < e->nframes) {
      if (i == SHOWN_FIRST)
        luaL_addstring(&p.text, " ... ");
      continue;
    }
    add_part(e, &p, &e->frames[i]);
  }
  luaL_addstring(&p.text, p.suffix);
  luaL_pushresult(&p.text);
}

_Noreturn void mfi_codec_fail(encoder *e) {
  lua_State *L = e->L;
  if (!lua_checkstack(L, 24))
    lua_settop(L, lua_gettop(L) - 24); // nothing there is looked at again
  push_path(e);
  const char *text = lua_tostring(L, -1);
  mfi_error_push(L, "not_sendable", "cannot send %s (at %s)", e->why, text);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "path");
  lua_error(L);
  __builtin_unreachable();
}
