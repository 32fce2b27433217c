// Functions to bytes: code, upvalues, and what their code names: globals and additions to standard
// tables. Runs in HEAVY mode only (encoder.h).
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
//
// What the code says is read once for each function object and kept, weakly; what the names stand
// for is looked up at each send. An upvalue is the globals if it is the sender's _G.
//   strong  a field of such an upvalue, with its name in the instruction: must be sendable
//   weak    any string constant of code that takes _G as a whole (more than 255 constants, long
//           names, _G.name): sent where it is a global that can be sent, else left out; an addition
//           whose name the code has as a constant (s:trim())
#include "script/encoder.h"
#include "script/func.h"
#include "script/weak.h"

#include <lauxlib.h>

#include <stdio.h>
#include <stdlib.h>

static const char infos_key = 0; // registry: {function = its info}, weak keys

// What is known of a function's code. User value 1 is the code, a string. The arrays follow.
typedef struct code_info {
  uint64_t hash;
  uint32_t nupvalues, nnames, nuses, nloads;
} code_info;

static code_name *names_of(code_info *i) { return (code_name *)(void *)(i + 1); }
static code_load *loads_of(code_info *i) { return (code_load *)(void *)(names_of(i) + i->nnames); }
static code_use *uses_of(code_info *i) { return (code_use *)(void *)(loads_of(i) + i->nloads); }

// ---- What is known of a function

static int write_dump(lua_State *L, const void *p, size_t n, void *ud) {
  encoder *e = ud;
  (void)L;
  if (e->dump_room - e->dump_size < n) {
    size_t room = 2 * (e->dump_size + n) + 1024;
    uint8_t *to = realloc(e->dump, room);
    if (to == NULL)
      return 1;
    e->dump = to;
    e->dump_room = room;
  }
  memcpy(e->dump + e->dump_size, p, n);
  e->dump_size += n;
  return 0;
}

static void mark_standard(code_scan *s, const uint8_t *code) {
  for (size_t i = 0; i < s->nnames; i++) {
    char name[24];
    code_name *n = &s->names[i];
    n->standard = 0;
    if (n->size >= sizeof name)
      continue;
    memcpy(name, code + n->at, n->size);
    name[n->size] = '\0';
    n->standard = strlen(name) == n->size && mfi_names_is_standard(NULL, name);
  }
}

// Pushes a new info for the function at idx.
static void push_new_info(encoder *e, int idx) {
  lua_State *L = e->L;
  code_scan *s = &e->scan;
  e->dump_size = 0;
  lua_pushvalue(L, idx);
  if (lua_dump(L, write_dump, e, 0) != 0)
    luaL_error(L, "not enough memory");
  lua_pop(L, 1);
  if (!mfi_code_scan(e->dump, e->dump_size, s))
    s->nnames = s->nuses = s->nloads = 0;
  mark_standard(s, e->dump);
  const size_t names_size = s->nnames * sizeof *s->names, loads_size = s->nloads * sizeof *s->loads;
  const size_t uses_size = s->nuses * sizeof *s->uses;
  code_info *i = lua_newuserdatauv(L, sizeof *i + names_size + loads_size + uses_size, 1);
  lua_Debug ar;
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">u", &ar);
  *i = (code_info){.hash = format_hash(e->dump, e->dump_size),
                   .nupvalues = ar.nups,
                   .nnames = (uint32_t)s->nnames,
                   .nuses = (uint32_t)s->nuses,
                   .nloads = (uint32_t)s->nloads};
  if (names_size != 0)
    memcpy(names_of(i), s->names, names_size);
  if (loads_size != 0)
    memcpy(loads_of(i), s->loads, loads_size);
  if (uses_size != 0)
    memcpy(uses_of(i), s->uses, uses_size);
  lua_pushlstring(L, (const char *)e->dump, e->dump_size);
  lua_setiuservalue(L, -2, 1);
}

// Pushes the info of the function at idx, and its code.
static code_info *push_info(encoder *e, int idx) {
  lua_State *L = e->L;
  mfi_weak_push(L, &infos_key, "k");
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 1);
    push_new_info(e, idx);
    lua_pushvalue(L, idx);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
  lua_getiuservalue(L, -1, 1);
  return lua_touserdata(L, -2);
}

// ---- Opening

// The frame of a function has two slots: its info and its code.
step mfi_func_open(encoder *e, int idx) {
  lua_State *L = e->L;
  code_info *info = push_info(e, idx);
  size_t size;
  const char *code = lua_tolstring(L, -1, &size);
  encoder_byte(e, TAG_FUNCTION);
  e->message_flags |= MFI_MESSAGE_FUNCTIONS;
  int64_t known = mfi_codec_seen(e, &e->codes, (const void *)(uintptr_t)info->hash);
  if (known >= 0) {
    encoder_varint(e, (uint64_t)known + 1);
  } else {
    encoder_varint(e, 0);
    encoder_varint(e, size);
    encoder_put(e, &info->hash, sizeof info->hash);
    mfi_codec_bytes(e, lua_gettop(L), code, size);
    if (e->flags & MFI_ENCODE_REPORT)
      mfi_captures_note(e, REPORT_CODE, "code", size);
  }
  encoder_byte(e, (uint8_t)info->nupvalues);
  frame *f = mfi_codec_push(e, FRAME_FUNCTION, PHASE_UPVALUES, idx);
  f->n = info->nupvalues;
  f->mark = encoder_total(e);
  return STEP_OPENED;
}

step mfi_func_transfer(encoder *e, int idx) {
  lua_State *L = e->L;
  int first = lua_gettop(L);
  lua_pushvalue(L, idx);
  lua_call(L, 1, LUA_MULTRET);
  int n = lua_gettop(L) - first + 1;
  if (n < 1 || !lua_isfunction(L, first))
    return mfi_codec_refuse(e, "a value whose __transfer gives no function");
  luaL_checkstack(L, 20, NULL);
  encoder_byte(e, TAG_TRANSFER);
  encoder_varint(e, (uint64_t)n - 1);
  e->message_flags |= MFI_MESSAGE_FUNCTIONS;
  frame *f = mfi_codec_push(e, FRAME_TRANSFER, PHASE_ARGUMENTS, first);
  f->n = (size_t)n;
  return STEP_OPENED;
}

// ---- Globals and additions

// Is upvalue u (from 0) of the function at idx the sender's _G?
static int is_globals(encoder *e, int idx, int u) {
  if (lua_getupvalue(e->L, idx, u + 1) == NULL)
    return 0;
  int is = lua_topointer(e->L, -1) == e->codec->names.globals;
  lua_pop(e->L, 1);
  return is;
}

// Was what the string at the top names sent in this message? Notes that it is.
static int is_sent(encoder *e) {
  lua_State *L = e->L;
  lua_pushvalue(L, -1);
  int sent = lua_rawget(L, e->sent) != LUA_TNIL;
  lua_pop(L, 1);
  if (sent)
    return 1;
  e->nsent++;
  lua_pushvalue(L, -1);
  lua_rawseti(L, e->sent, e->nsent);
  lua_pushvalue(L, -1);
  lua_pushinteger(L, e->nsent);
  lua_rawset(L, e->sent);
  return 0;
}

static void save(encoder *e) {
  mfi_codec_reserve(e->L, &e->saves, &e->saves_room, e->nsaves + 1, sizeof *e->saves);
  e->saves[e->nsaves++] = (savepoint){.at = e->at,
                                      .piece_bytes = e->piece_bytes,
                                      .npieces = e->npieces,
                                      .nrefs = e->nrefs,
                                      .nobjects = e->objects.count,
                                      .nupvalues = e->upvalues.count,
                                      .ncodes = e->codes.count,
                                      .message_flags = e->message_flags,
                                      .nsent = e->nsent,
                                      .nframes = e->nframes};
}

void mfi_func_undo(encoder *e, const savepoint *to) {
  lua_State *L = e->L;
  frame *f = &e->frames[e->nframes - 1];
  f->weak = 0;
  lua_settop(L, f->top);
  for (; e->nsent > to->nsent; e->nsent--) {
    lua_rawgeti(L, e->sent, e->nsent);
    lua_pushnil(L);
    lua_rawset(L, e->sent);
    lua_pushnil(L);
    lua_rawseti(L, e->sent, e->nsent);
  }
}

// A weak child of f, or one that is reported, is complete.
static void child_is_done(encoder *e, frame *f) {
  lua_State *L = e->L;
  if (f->weak) {
    f->weak = 0;
    e->nsaves--;
  }
  if (!(e->flags & MFI_ENCODE_REPORT))
    return;
  uint64_t bytes = encoder_total(e) - f->mark;
  if (f->phase == PHASE_SIDES && lua_gettop(L) > f->top)
    mfi_captures_note(e, REPORT_GLOBAL, lua_tostring(L, f->top + 1), bytes);
  else if (f->phase == PHASE_UPVALUES && f->i > 0 && e->nframes == 1)
    mfi_captures_note(e, REPORT_UPVALUE, lua_getupvalue(L, f->slot, (int)f->i), bytes);
}

// Sends the value at top + 2, which is known as the string at top + 1 ("name", "string.name"): set
// as a global, or, where library is not NULL, there.
static step put_side(encoder *e, frame *f, const char *library, const char *name, size_t size,
                     int weak) {
  const int top = f->top;
  lua_settop(e->L, top + 2);
  lua_pushvalue(e->L, top + 1);
  if (weak)
    save(e);
  if (is_sent(e)) {
    if (weak)
      e->nsaves--;
    return STEP_DONE;
  }
  lua_settop(e->L, top + 2);
  f->weak = (uint8_t)weak;
  f->mark = encoder_total(e);
  encoder_byte(e, library == NULL ? TAG_GLOBAL : TAG_ADDITION);
  if (library != NULL)
    mfi_codec_string(e, 0, library, strlen(library));
  mfi_codec_string(e, top + 1, name, size);
  step s = mfi_codec_value(e, top + 2);
  if (s == STEP_DONE)
    child_is_done(e, f);
  return s;
}

// A name of the code as a global.
static step put_global(encoder *e, frame *f, const code_name *name, int weak) {
  lua_State *L = e->L;
  if (name->standard)
    return STEP_DONE;
  const char *code = lua_tostring(L, f->top);
  lua_settop(L, f->top);
  const char *s = lua_pushlstring(L, code + name->at, name->size);
  lua_pushglobaltable(L);
  lua_pushvalue(L, -2);
  if (lua_rawget(L, -2) == LUA_TNIL)
    return STEP_DONE;
  lua_remove(L, -2);
  return put_side(e, f, NULL, s, name->size, weak);
}

// A name of the code as an addition to this library.
static step put_addition(encoder *e, frame *f, const char *library, const char *name, size_t size) {
  lua_State *L = e->L;
  lua_settop(L, f->top);
  if (size > 1000 || mfi_names_is_standard(library, name))
    return STEP_DONE;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushstring(L, library);
  lua_rawget(L, -2);
  if (!lua_istable(L, -1))
    return STEP_DONE;
  lua_pushlstring(L, name, size);
  if (lua_rawget(L, -2) == LUA_TNIL)
    return STEP_DONE;
  lua_replace(L, f->top + 2);
  lua_settop(L, f->top + 2);
  lua_pushfstring(L, "%s.%s", library, name);
  lua_replace(L, f->top + 1);
  return put_side(e, f, library, name, size, 1);
}

static step put_additions_named(encoder *e, frame *f, const code_name *name, size_t library) {
  size_t n;
  const char *const *libraries = mfi_names_libraries(&n);
  char text[64]; // no addition has a longer name, or it is not found
  if (name->size >= sizeof text)
    return STEP_DONE;
  memcpy(text, lua_tostring(e->L, f->top) + name->at, name->size);
  text[name->size] = '\0';
  return put_addition(e, f, libraries[library], text, name->size);
}

// The lists of names, in order: group 0 the uses, groups 1 .. nloads the loads, then the additions.
// Puts the next name of the frame's group: STEP_DONE, also at the group's end.
static step next_side(encoder *e, frame *f, code_info *info) {
  size_t nlibraries;
  mfi_names_libraries(&nlibraries);
  if (f->group == 0) {
    if (f->i == info->nuses)
      goto next;
    const code_use *use = &uses_of(info)[f->i++];
    if (!is_globals(e, f->slot, use->upvalue))
      return STEP_DONE;
    return put_global(e, f, &names_of(info)[use->name], 0);
  }
  if (f->group <= info->nloads) {
    const code_load *load = &loads_of(info)[f->group - 1];
    if (f->i == 0 && !is_globals(e, f->slot, load->upvalue))
      goto next;
    if (f->i == load->to - load->from)
      goto next;
    return put_global(e, f, &names_of(info)[load->from + f->i++], 1);
  }
  if (f->i == info->nnames * nlibraries)
    goto next;
  size_t i = f->i++;
  return put_additions_named(e, f, &names_of(info)[i / nlibraries], i % nlibraries);
next:
  f->group++;
  f->i = 0;
  return STEP_DONE;
}

// ---- The frames

static step step_upvalues(encoder *e, frame *f) {
  lua_State *L = e->L;
  const int top = f->top;
  while (f->i < f->n) {
    lua_settop(L, top);
    const void *id = lua_upvalueid(L, f->slot, (int)++f->i);
    int64_t known = mfi_codec_seen(e, &e->upvalues, id);
    f->mark = encoder_total(e);
    if (known >= 0) {
      encoder_byte(e, TAG_UPVALUE);
      encoder_varint(e, (uint64_t)known);
      continue;
    }
    lua_getupvalue(L, f->slot, (int)f->i);
    step s = mfi_codec_value(e, top + 1);
    if (s != STEP_DONE)
      return s;
    child_is_done(e, f);
  }
  f->phase = PHASE_SIDES;
  f->i = 0;
  lua_settop(L, top);
  return STEP_DONE;
}

static step step_function(encoder *e, frame *f) {
  child_is_done(e, f);
  if (f->phase == PHASE_UPVALUES) {
    step s = step_upvalues(e, f);
    if (s != STEP_DONE)
      return s;
  }
  code_info *info = lua_touserdata(e->L, f->top - 1);
  const size_t last = info->nloads + (e->codec->names.additions != 0);
  while (f->group <= last) {
    step s = next_side(e, f, info);
    if (s != STEP_DONE)
      return s;
  }
  encoder_byte(e, TAG_END);
  mfi_codec_pop(e);
  return STEP_DONE;
}

static step step_transfer(encoder *e, frame *f) {
  lua_settop(e->L, f->top);
  while (f->i < f->n) {
    step s = mfi_codec_value(e, f->slot + (int)f->i++);
    if (s != STEP_DONE)
      return s;
  }
  mfi_codec_pop(e);
  return STEP_DONE;
}

static step step_additions(encoder *e, frame *f) {
  lua_State *L = e->L;
  child_is_done(e, f);
  lua_settop(L, f->top);
  while (f->i < f->n) {
    lua_settop(L, f->top);
    lua_rawgeti(L, f->slot, (lua_Integer)++f->i);
    const char *library = lua_tostring(L, -1); // the list keeps both alive
    lua_rawgeti(L, f->slot, (lua_Integer)++f->i);
    size_t size;
    const char *name = lua_tolstring(L, -1, &size);
    step s = put_addition(e, f, library, name, size);
    if (s != STEP_DONE)
      return s;
  }
  mfi_codec_pop(e);
  return STEP_DONE;
}

step mfi_func_step(encoder *e, frame *f) {
  switch (f->kind) {
  case FRAME_FUNCTION:
    return step_function(e, f);
  case FRAME_TRANSFER:
    return step_transfer(e, f);
  default:
    return step_additions(e, f);
  }
}

step mfi_func_additions(encoder *e) {
  lua_State *L = e->L;
  size_t n;
  const char *const *libraries = mfi_names_libraries(&n);
  if (e->codec->names.additions == 0)
    return STEP_DONE;
  lua_newtable(L);
  int list = lua_gettop(L), length = 0;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (size_t i = 0; i < n; i++) {
    lua_pushstring(L, libraries[i]);
    if (lua_rawget(L, list + 1) == LUA_TTABLE) {
      for (lua_pushnil(L); lua_next(L, list + 2); lua_settop(L, list + 3)) {
        if (lua_type(L, -2) != LUA_TSTRING)
          continue;
        if (mfi_names_is_standard(libraries[i], lua_tostring(L, -2)))
          continue;
        lua_pushstring(L, libraries[i]);
        lua_rawseti(L, list, ++length);
        lua_pushvalue(L, -2);
        lua_rawseti(L, list, ++length);
      }
    }
    lua_settop(L, list + 1);
  }
  lua_settop(L, list);
  mfi_codec_push(e, FRAME_ADDITIONS, PHASE_SIDES, list)->n = (size_t)length;
  return STEP_OPENED;
}

// ---- How errors call it

void mfi_func_describe(lua_State *L, int idx, char *buf, size_t size) {
  lua_Debug ar;
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">S", &ar);
  if (*ar.what == 'C')
    snprintf(buf, size, "a C function");
  else if (*ar.what == 'm')
    snprintf(buf, size, "main chunk <%s>", ar.short_src);
  else
    snprintf(buf, size, "function <%s:%d>", ar.short_src, ar.linedefined);
}

void mfi_func_part(encoder *e, const frame *f, char *buf, size_t size, char *suffix,
                   size_t suffix_size) {
  lua_State *L = e->L;
  char function[150];
  if (f->kind == FRAME_TRANSFER) {
    snprintf(buf, size, ", value %zu of its __transfer", f->i);
    return;
  }
  if (f->kind == FRAME_ADDITIONS) {
    snprintf(buf, size, ", an addition to a library");
    return;
  }
  mfi_func_describe(L, f->slot, function, sizeof function);
  snprintf(suffix, suffix_size, " of %s", function);
  if (f->phase == PHASE_UPVALUES) {
    const char *name = lua_getupvalue(L, f->slot, (int)f->i);
    if (name != NULL)
      lua_pop(L, 1);
    snprintf(buf, size, ", upvalue \"%.80s\"", name != NULL ? name : "?");
  } else {
    const char *name = lua_tostring(L, f->top + 1);
    snprintf(buf, size, ", global \"%.80s\"", name != NULL ? name : "?");
  }
}
