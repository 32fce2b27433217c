// Values to bytes: the loop over frames, scalars, strings, tables. See encoder.h for its two modes
// and codec.h for what callers may do.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/encoder.h"
#include "script/peek.h"

#include <lauxlib.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECE_BYTES 4096 // strings from here on are pointed at, not copied
#define RUN_MIN 4        // shorter rows of numbers are written one by one
#define STACK_PER_FRAME 8

// ---- Identities

static uint32_t pointer_hash(const void *p) {
  uint64_t h = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u;
  return (uint32_t)(h >> 32);
}

// Makes the buckets anew, large enough for the double of what there is.
static void rebuild_buckets(encoder *e, seen *s) {
  uint32_t n = 32;
  while (n < 4 * (s->count + 1))
    n *= 2;
  mfi_codec_reserve(e->L, &s->buckets, &s->buckets_room, n, sizeof *s->buckets);
  memset(s->buckets, 0, n * sizeof *s->buckets);
  s->nbuckets = n;
  for (uint32_t id = 0; id < s->count; id++) {
    uint32_t h = pointer_hash(s->pointers[id]);
    while (s->buckets[h & (n - 1)] != 0)
      h++;
    s->buckets[h & (n - 1)] = id + 1;
  }
}

static int64_t seen_enter(encoder *e, seen *s, const void *pointer) {
  if (s->count == s->room)
    mfi_codec_reserve(e->L, &s->pointers, &s->room, s->count + 1, sizeof *s->pointers);
  s->pointers[s->count++] = pointer;
  return -1;
}

int64_t mfi_codec_seen(encoder *e, seen *s, const void *pointer) {
  if (s->count <= 8) {
    for (uint32_t i = s->count; i > 0; i--)
      if (s->pointers[i - 1] == pointer)
        return i - 1;
    s->nbuckets = 0;
    return seen_enter(e, s, pointer);
  }
  if (2 * (s->count + 1) > s->nbuckets)
    rebuild_buckets(e, s);
  for (uint32_t h = pointer_hash(pointer);; h++) {
    uint32_t *bucket = &s->buckets[h & (s->nbuckets - 1)];
    if (*bucket == 0) {
      *bucket = s->count + 1;
      return seen_enter(e, s, pointer);
    }
    if (s->pointers[*bucket - 1] == pointer)
      return *bucket - 1;
  }
}

int mfi_codec_again(encoder *e, const void *pointer) {
  int64_t id = mfi_codec_seen(e, &e->objects, pointer);
  if (id < 0)
    return 0;
  encoder_byte(e, TAG_REF);
  encoder_varint(e, (uint64_t)id);
  e->message_flags |= MFI_MESSAGE_REFS;
  return 1;
}

// ---- Frames

frame *mfi_codec_push(encoder *e, frame_kind kind, frame_phase phase, int slot) {
  if (e->nframes == e->frames_room)
    mfi_codec_reserve(e->L, &e->frames, &e->frames_room, e->nframes + 1, sizeof *e->frames);
  frame *f = &e->frames[e->nframes++];
  memset(f, 0, sizeof *f);
  f->kind = (uint8_t)kind;
  f->phase = (uint8_t)phase;
  f->slot = slot;
  f->top = lua_gettop(e->L);
  return f;
}

void mfi_codec_pop(encoder *e) { e->nframes--; }

step mfi_codec_refuse(encoder *e, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(e->why, sizeof e->why, fmt, args);
  va_end(args);
  return STEP_FAILED;
}

step mfi_codec_need_heavy(encoder *e) {
  e->wants_heavy = 1;
  return STEP_FAILED;
}

// ---- Scalars and strings

void mfi_codec_integer(encoder *e, int64_t i) {
  uint8_t *p = encoder_room(e, 9);
  if (i >= FORMAT_SMALL_MIN && i <= FORMAT_SMALL_MAX) {
    *p = (uint8_t)(TAG_SMALL + (i - FORMAT_SMALL_MIN));
    e->at += 1;
    return;
  }
  memcpy(p + 1, &i, 8);
  if (i == (int8_t)i) {
    *p = TAG_INT8;
    e->at += 2;
  } else if (i == (int16_t)i) {
    *p = TAG_INT16;
    e->at += 3;
  } else if (i == (int32_t)i) {
    *p = TAG_INT32;
    e->at += 5;
  } else {
    *p = TAG_INT64;
    e->at += 9;
  }
}

void mfi_codec_float(encoder *e, double d) {
  uint8_t *p = encoder_room(e, 9);
  *p = TAG_FLOAT;
  memcpy(p + 1, &d, 8);
  e->at += 9;
}

// HEAVY: Lua code may run before the message is copied, and drop the string at idx. [-0, +0, m]
static void anchor(encoder *e, int idx) {
  lua_State *L = e->L;
  luaL_checkstack(L, 3, NULL);
  if (!e->anchored) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, e);
    e->anchored = 1;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, e);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

void mfi_codec_bytes(encoder *e, int idx, const char *data, size_t size) {
  if (size < PIECE_BYTES || (e->in_list && !e->heavy)) {
    encoder_put(e, data, size);
    return;
  }
  if (e->heavy)
    anchor(e, idx);
  mfi_codec_reserve(e->L, &e->pieces, &e->pieces_room, e->npieces + 1, sizeof *e->pieces);
  e->pieces[e->npieces++] = (piece){.at = e->at, .data = data, .size = size};
  e->piece_bytes += size;
}

static void put_large(encoder *e, int idx, const char *data, size_t size) {
  uint8_t *p = encoder_room(e, 9);
  if (size <= UINT32_MAX) {
    *p = TAG_STRING32;
    memcpy(p + 1, &size, 4);
    e->at += 5;
  } else {
    *p = TAG_STRING64;
    memcpy(p + 1, &size, 8);
    e->at += 9;
  }
  mfi_codec_bytes(e, idx, data, size);
}

void mfi_codec_string(encoder *e, int idx, const char *data, size_t size) {
  if (size > UINT8_MAX) {
    put_large(e, idx, data, size);
    return;
  }
  uint8_t *p = encoder_room(e, size + 2);
  if (size <= FORMAT_SHORT_MAX) {
    *p++ = (uint8_t)(TAG_SHORT + size);
  } else {
    *p++ = TAG_STRING8;
    *p++ = (uint8_t)size;
  }
  memcpy(p, data, size);
  e->at = (size_t)(p + size - e->bytes);
}

// ---- Tables

// How many of t[1], t[2] ... are written as items: those in the array part; where Lua's tables are
// unknown, as many as are no more than half nil.
static size_t count_items(encoder *e, int idx) {
  size_t n = lua_rawlen(e->L, idx), i = 0;
  if (n == 0)
    return 0;
  if (e->codec->peek) {
    uint64_t size = peek_array_size(peek_of(e->L, idx));
    return n < size ? n : (size_t)size;
  }
  size_t last = 0, nils = 0; // a list may have holes; a table with few integer keys is none
  for (; i < n && nils <= last + 16; i++) {
    int type = lua_rawgeti(e->L, idx, (lua_Integer)i + 1);
    lua_pop(e->L, 1);
    if (type == LUA_TNIL)
      nils++;
    else
      last = i + 1;
  }
  return last;
}

void mfi_codec_name(encoder *e, const name_entry *name) {
  if (e->flags & MFI_ENCODE_REPORT)
    mfi_captures_note_module(e, name);
  encoder_put(e, e->codec->names.bytes + name->at, name->size);
}

// Looks at the metatable of the table at idx: does it travel, too (1), has the table none (0), must
// it be rebuilt by __transfer, whose function is pushed (2)? -1: FAST cannot say.
static int look_at_metatable(encoder *e, int idx) {
  lua_State *L = e->L;
  if (!lua_getmetatable(L, idx))
    return 0;
  int has = 1;
  const name_entry *name = encoder_name(e, lua_topointer(L, -1), LUA_TTABLE);
  if (!e->heavy) {
    if (name == NULL || name->transfers)
      has = -1;
  } else if (name == NULL || name->transfers) {
    lua_pushliteral(L, "__transfer");
    if (lua_rawget(L, -2) != LUA_TNIL) {
      lua_remove(L, -2);
      return 2;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return has;
}

static step open_table(encoder *e, int idx) {
  lua_State *L = e->L;
  const void *pointer = lua_topointer(L, idx);
  const name_entry *name = encoder_name(e, pointer, LUA_TTABLE);
  if (name != NULL || pointer == e->codec->names.globals) {
    if (name != NULL)
      mfi_codec_name(e, name);
    else
      encoder_byte(e, TAG_GLOBALS);
    return STEP_DONE;
  }
  if (mfi_codec_again(e, pointer))
    return STEP_DONE;
  if (!lua_checkstack(L, STACK_PER_FRAME))
    return mfi_codec_refuse(e, "tables nested so deeply");
  int meta = look_at_metatable(e, idx);
  if (meta < 0)
    return mfi_codec_need_heavy(e);
  if (meta > 0 && (e->flags & MFI_ENCODE_DATA))
    return mfi_codec_refuse(e, "a table with metatable");
  if (meta == 2)
    return mfi_func_transfer(e, idx);
  frame *f = mfi_codec_push(e, FRAME_TABLE, PHASE_ITEMS, idx);
  f->has_meta = meta == 1;
  f->n = count_items(e, idx);
  encoder_byte(e, f->has_meta ? TAG_TABLE_META : TAG_TABLE);
  encoder_varint(e, f->n);
  f->at = e->at;
  encoder_byte(e, 0);
  return STEP_OPENED;
}

// Writes `n` integers; `bits` has every bit set in which they differ from their sign.
static void put_integers(encoder *e, const peek_value *v, size_t n, uint64_t bits) {
  unsigned width = bits < 0x80 ? 1 : bits < 0x8000 ? 2 : bits < 0x80000000u ? 4 : 8;
  static const uint8_t tags[] = {0, TAG_RUN8, TAG_RUN16, 0, TAG_RUN32, 0, 0, 0, TAG_RUN64};
  encoder_byte(e, tags[width]);
  encoder_varint(e, n);
  uint8_t *p = encoder_room(e, n * width + 8);
  e->at += n * width;
  switch (width) {
  case 1:
    for (size_t i = 0; i < n; i++)
      p[i] = (uint8_t)v[i].as.integer;
    break;
  case 2:
    for (size_t i = 0; i < n; i++)
      memcpy(p + 2 * i, &v[i].as.integer, 2);
    break;
  case 4:
    for (size_t i = 0; i < n; i++)
      memcpy(p + 4 * i, &v[i].as.integer, 4);
    break;
  default:
    for (size_t i = 0; i < n; i++)
      memcpy(p + 8 * i, &v[i].as.integer, 8);
  }
}

static void put_floats(encoder *e, const peek_value *v, size_t n) {
  encoder_byte(e, TAG_RUN_FLOAT);
  encoder_varint(e, n);
  uint8_t *p = encoder_room(e, n * 8);
  e->at += n * 8;
  for (size_t i = 0; i < n; i++)
    memcpy(p + 8 * i, &v[i].as.number, 8);
}

size_t mfi_codec_numbers(encoder *e, const peek_value *v, size_t i, size_t end) {
  const size_t start = i;
  uint64_t bits = 0;
  if (v[i].tag == PEEK_INTEGER) {
    for (; i < end && v[i].tag == PEEK_INTEGER; i++)
      bits |= (uint64_t)(v[i].as.integer ^ (v[i].as.integer >> 63));
    if (i - start >= RUN_MIN)
      put_integers(e, v + start, i - start, bits);
    else
      for (size_t k = start; k < i; k++)
        mfi_codec_integer(e, v[k].as.integer);
  } else if (v[i].tag == PEEK_FLOAT) {
    while (i < end && v[i].tag == PEEK_FLOAT)
      i++;
    if (i - start >= RUN_MIN)
      put_floats(e, v + start, i - start);
    else
      for (size_t k = start; k < i; k++)
        mfi_codec_float(e, v[k].as.number);
  }
  return i;
}

// Writes the numbers that the table's array part has from item f->i on. 1 where there were some.
static int put_numbers(encoder *e, frame *f) {
  const peek_table *t = peek_of(e->L, f->slot);
  const uint64_t size = peek_array_size(t);
  const size_t end = f->n < size ? f->n : (size_t)size, start = f->i;
  if (start >= end)
    return 0;
  f->i = mfi_codec_numbers(e, t->array, start, end);
  return f->i != start;
}

// Every step below begins with the stack as the frame's last one or its child left it.
static step step_items(encoder *e, frame *f) {
  lua_State *L = e->L;
  const int top = f->top;
  lua_settop(L, top);
  while (f->i < f->n) {
    if (e->codec->peek && put_numbers(e, f))
      continue;
    lua_rawgeti(L, f->slot, (lua_Integer)++f->i);
    step s = mfi_codec_value(e, top + 1);
    if (s != STEP_DONE)
      return s;
    lua_settop(L, top);
  }
  f->phase = PHASE_PAIRS;
  if (f->n != 0 && e->codec->peek)
    lua_pushinteger(L, (lua_Integer)f->n); // the pairs lie behind it in lua_next's order
  else
    lua_pushnil(L);
  return STEP_DONE;
}

static int is_item(const encoder *e, const frame *f, int idx) {
  if (e->codec->peek || f->n == 0 || !lua_isinteger(e->L, idx))
    return 0;
  return (lua_Unsigned)lua_tointeger(e->L, idx) - 1 < f->n;
}

// The value of the pair whose key was written; they lie at top + 1 and top + 2.
static step step_pair_value(encoder *e, frame *f) {
  const int top = f->top;
  f->phase = PHASE_PAIRS;
  lua_settop(e->L, top + 2);
  step s = mfi_codec_value(e, top + 2);
  if (s == STEP_DONE)
    lua_settop(e->L, top + 1);
  return s;
}

static step step_pairs(encoder *e, frame *f) {
  lua_State *L = e->L;
  const int top = f->top;
  step s = STEP_DONE;
  if (f->phase == PHASE_KEY)
    s = step_pair_value(e, f);
  if (s != STEP_DONE)
    return s;
  lua_settop(L, top + 1);
  while (lua_next(L, f->slot)) {
    if (is_item(e, f, top + 1)) {
      lua_settop(L, top + 1);
      continue;
    }
    f->pairs++;
    f->phase = PHASE_KEY;
    s = mfi_codec_value(e, top + 1);
    if (s == STEP_DONE)
      s = step_pair_value(e, f);
    if (s != STEP_DONE)
      return s;
  }
  e->bytes[f->at] = format_pairs(f->pairs);
  encoder_byte(e, TAG_END);
  f->phase = PHASE_META;
  return STEP_DONE;
}

static step step_table(encoder *e, frame *f) {
  if (f->phase == PHASE_ITEMS) {
    step s = step_items(e, f);
    if (s != STEP_DONE)
      return s;
  }
  if (f->phase != PHASE_META) {
    step s = step_pairs(e, f);
    if (s != STEP_DONE)
      return s;
  }
  lua_settop(e->L, f->top);
  if (f->has_meta) {
    f->has_meta = 0;
    lua_getmetatable(e->L, f->slot);
    step s = mfi_codec_value(e, f->top + 1);
    if (s != STEP_DONE)
      return s;
    lua_settop(e->L, f->top);
  }
  mfi_codec_pop(e);
  return STEP_DONE;
}

// ---- Everything else

static step put_function(encoder *e, int idx) {
  const void *pointer = lua_topointer(e->L, idx);
  if (e->flags & MFI_ENCODE_DATA)
    return mfi_codec_refuse(e, "a function");
  const name_entry *name = encoder_name(e, pointer, LUA_TFUNCTION);
  if (name != NULL) {
    mfi_codec_name(e, name);
    return STEP_DONE;
  }
  if (!e->heavy)
    return mfi_codec_need_heavy(e);
  lua_CFunction code = lua_tocfunction(e->L, idx);
  if (code != NULL) {
    name = mfi_names_of_code(e->codec, e->L, code);
    if (name == NULL)
      return mfi_codec_refuse(e, "a C function");
    mfi_codec_name(e, name);
    return STEP_DONE;
  }
  if (mfi_codec_again(e, pointer))
    return STEP_DONE;
  if (!lua_checkstack(e->L, 2 * STACK_PER_FRAME))
    return mfi_codec_refuse(e, "functions nested so deeply");
  return mfi_func_open(e, idx);
}

static step put_light(encoder *e, int idx) {
  const void *pointer = lua_touserdata(e->L, idx);
  const name_entry *name = encoder_name(e, pointer, LUA_TLIGHTUSERDATA);
  if (pointer == NULL) {
    encoder_byte(e, TAG_NULL);
    return STEP_DONE;
  }
  if (name != NULL) {
    mfi_codec_name(e, name);
    return STEP_DONE;
  }
  if (!e->heavy)
    return mfi_codec_need_heavy(e);
  if (e->codec->hooks.process == 0 || (e->flags & MFI_ENCODE_PORTABLE))
    return mfi_codec_refuse(e, "a light userdata");
  uint64_t words[2] = {e->codec->hooks.process, (uint64_t)(uintptr_t)pointer};
  encoder_byte(e, TAG_POINTER);
  encoder_put(e, words, sizeof words);
  e->message_flags |= MFI_MESSAGE_POINTERS;
  return STEP_DONE;
}

static step put_object(encoder *e, int idx, uint64_t handle) {
  if (mfi_codec_again(e, lua_topointer(e->L, idx)))
    return STEP_DONE;
  mfi_codec_reserve(e->L, &e->refs, &e->refs_room, e->nrefs + 1, sizeof *e->refs);
  encoder_byte(e, TAG_OBJECT);
  encoder_varint(e, e->nrefs - e->refs_before);
  e->refs[e->nrefs++] = handle;
  return STEP_DONE;
}

// What a userdata that cannot be sent is called. [-0, +0, m]
static step refuse_userdata(encoder *e, int idx) {
  lua_State *L = e->L;
  if (luaL_testudata(L, idx, LUA_FILEHANDLE) != NULL)
    return mfi_codec_refuse(e, "a file");
  if (luaL_getmetafield(L, idx, "__name") != LUA_TSTRING)
    return mfi_codec_refuse(e, "a userdata");
  return mfi_codec_refuse(e, "a userdata (%s)", lua_tostring(L, -1));
}

static step put_userdata(encoder *e, int idx) {
  lua_State *L = e->L;
  uint64_t handle;
  const mfi_codec_hooks *h = &e->codec->hooks;
  if (h->handle_of != NULL && h->handle_of(L, idx, &handle))
    return put_object(e, idx, handle);
  if (!e->heavy)
    return mfi_codec_need_heavy(e);
  luaL_checkstack(L, 2 * STACK_PER_FRAME, NULL);
  if (!lua_getmetatable(L, idx))
    return refuse_userdata(e, idx);
  lua_pushliteral(L, "__transfer");
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 2);
    return refuse_userdata(e, idx);
  }
  lua_remove(L, -2);
  if (mfi_codec_again(e, lua_topointer(L, idx))) {
    lua_pop(L, 1);
    return STEP_DONE;
  }
  return mfi_func_transfer(e, idx);
}

step mfi_codec_value(encoder *e, int idx) {
  lua_State *L = e->L;
  size_t size;
  const char *s;
  switch (lua_type(L, idx)) {
  case LUA_TNIL:
    encoder_byte(e, TAG_NIL);
    return STEP_DONE;
  case LUA_TBOOLEAN:
    encoder_byte(e, lua_toboolean(L, idx) ? TAG_TRUE : TAG_FALSE);
    return STEP_DONE;
  case LUA_TNUMBER:
    if (lua_isinteger(L, idx))
      mfi_codec_integer(e, lua_tointeger(L, idx));
    else
      mfi_codec_float(e, lua_tonumber(L, idx));
    return STEP_DONE;
  case LUA_TSTRING:
    s = lua_tolstring(L, idx, &size);
    mfi_codec_string(e, idx, s, size);
    return STEP_DONE;
  case LUA_TTABLE:
    return open_table(e, idx);
  case LUA_TFUNCTION:
    return put_function(e, idx);
  case LUA_TLIGHTUSERDATA:
    return put_light(e, idx);
  case LUA_TUSERDATA:
    return put_userdata(e, idx);
  default:
    return mfi_codec_refuse(e, "a coroutine");
  }
}

// ---- The loop

// Takes back what the innermost weak global has written. 0: there is none, the failure stands.
static int undo(encoder *e) {
  if (e->nsaves == 0 || e->wants_heavy)
    return 0;
  const savepoint *to = &e->saves[--e->nsaves];
  e->at = to->at;
  e->npieces = to->npieces;
  e->piece_bytes = to->piece_bytes;
  e->nrefs = to->nrefs;
  e->message_flags = to->message_flags;
  e->objects.count = to->nobjects;
  e->upvalues.count = to->nupvalues;
  e->codes.count = to->ncodes;
  e->objects.nbuckets = e->upvalues.nbuckets = e->codes.nbuckets = 0; // stale: made anew
  e->nframes = to->nframes;
  mfi_func_undo(e, to);
  return 1;
}

// Runs until all frames are done.
static step run_frames(encoder *e) {
  while (e->nframes > 0) {
    frame *f = &e->frames[e->nframes - 1];
    step s = f->kind == FRAME_TABLE ? step_table(e, f) : mfi_func_step(e, f);
    if (s == STEP_FAILED && !undo(e))
      return STEP_FAILED;
  }
  return STEP_DONE;
}

static void run_begin(encoder *e, int first) {
  e->objects.count = e->upvalues.count = e->codes.count = 0;
  e->nframes = 0;
  e->nsaves = 0;
  e->message_flags = 0;
  e->wants_heavy = 0;
  e->sent = 0;
  e->nsent = 0;
  e->by_value = e->flags & MFI_ENCODE_DEFINE ? lua_topointer(e->L, first) : NULL;
  e->first = first;
  e->root = 0;
  e->refs_before = e->nrefs;
}

void mfi_codec_run(encoder *e, int first, int n) {
  lua_State *L = e->L;
  run_begin(e, first);
  const size_t start = e->at;
  encoder_byte(e, 0);
  if (!lua_checkstack(L, 2 * STACK_PER_FRAME))
    luaL_error(L, "stack overflow");
  const int base = lua_gettop(L);
  if (e->heavy) {
    lua_newtable(L);
    e->sent = lua_gettop(L);
  }
  const int top = lua_gettop(L);
  step s = STEP_DONE;
  if (e->flags & MFI_ENCODE_ADDITIONS)
    s = e->heavy ? mfi_func_additions(e) : mfi_codec_need_heavy(e);
  for (int i = 0; s != STEP_FAILED; i++) {
    if (s == STEP_OPENED)
      s = run_frames(e);
    if (s == STEP_FAILED || i == n)
      break;
    lua_settop(L, top);
    e->root = (size_t)i;
    s = mfi_codec_value(e, first + i);
  }
  if (s == STEP_FAILED && !e->wants_heavy)
    mfi_codec_fail(e);
  lua_settop(L, base);
  e->bytes[start] = (uint8_t)e->message_flags;
}
