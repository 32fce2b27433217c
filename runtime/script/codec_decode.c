// Bytes to values: the loop over frames, scalars, strings, tables, names. Trusts no byte.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/decoder.h"
#include "script/encoder.h"
#include "script/error.h"
#include "script/peek.h"
#include "script/stop_pass.h"

#include <lauxlib.h>

#include <limits.h>

_Noreturn void mfi_decode_bad(decoder *d, const char *fmt, ...) {
  lua_State *L = d->L;
  va_list args;
  va_start(args, fmt);
  if (!lua_checkstack(L, 16))
    lua_settop(L, lua_gettop(L) - 16);
  mfi_error_pushv(L, "decode", fmt, args);
  va_end(args);
  lua_error(L);
  __builtin_unreachable();
}

static _Noreturn void truncated(decoder *d) {
  mfi_decode_bad(d, "cannot decode: the message ends too early");
}

static _Noreturn void damaged(decoder *d) {
  mfi_decode_bad(d, "cannot decode: the message is damaged");
}

// ---- Reading

uint8_t mfi_decode_byte(decoder *d) {
  if (d->p == d->end)
    truncated(d);
  return *d->p++;
}

const uint8_t *mfi_decode_bytes(decoder *d, uint64_t n) {
  if (n > (uint64_t)(d->end - d->p))
    truncated(d);
  const uint8_t *p = d->p;
  d->p += n;
  return p;
}

uint64_t mfi_decode_varint(decoder *d) {
  uint64_t n = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    uint8_t b = mfi_decode_byte(d);
    n |= (uint64_t)(b & 0x7f) << shift;
    if (b < 0x80)
      return n;
  }
  damaged(d);
}

static int64_t read_integer(decoder *d, unsigned width) {
  const uint8_t *p = mfi_decode_bytes(d, width);
  int64_t i64;
  int32_t i32;
  int16_t i16;
  switch (width) {
  case 1:
    return (int8_t)*p;
  case 2:
    memcpy(&i16, p, 2);
    return i16;
  case 4:
    memcpy(&i32, p, 4);
    return i32;
  default:
    memcpy(&i64, p, 8);
    return i64;
  }
}

static uint64_t read_word(decoder *d, unsigned width) {
  uint64_t n = 0;
  memcpy(&n, mfi_decode_bytes(d, width), width);
  return n;
}

// The length that follows a string's tag; -1: the tag is another one's.
static int64_t string_length(decoder *d, uint8_t tag) {
  if (tag >= TAG_SHORT && tag < TAG_SMALL)
    return tag - TAG_SHORT;
  uint64_t n;
  switch (tag) {
  case TAG_STRING8:
    return (int64_t)read_word(d, 1);
  case TAG_STRING32:
    return (int64_t)read_word(d, 4);
  case TAG_STRING64:
    n = read_word(d, 8);
    if (n > (uint64_t)(d->end - d->p))
      truncated(d);
    return (int64_t)n;
  default:
    return -1;
  }
}

const char *mfi_decode_string(decoder *d, size_t *size) {
  int64_t n = string_length(d, mfi_decode_byte(d));
  if (n < 0)
    return NULL;
  *size = (size_t)n;
  return (const char *)mfi_decode_bytes(d, (uint64_t)n);
}

static void push_string(decoder *d, uint64_t size) {
  const uint8_t *s = mfi_decode_bytes(d, size);
  lua_pushlstring(d->L, (const char *)s, (size_t)size);
}

// Scalars and strings: pushed, 1; 0 for other tags.
static inline int push_simple(decoder *d, uint8_t tag) {
  lua_State *L = d->L;
  double number;
  if (tag >= TAG_SMALL) {
    lua_pushinteger(L, tag - TAG_SMALL + FORMAT_SMALL_MIN);
    return 1;
  }
  if (tag >= TAG_SHORT) {
    push_string(d, (uint64_t)(tag - TAG_SHORT));
    return 1;
  }
  switch (tag) {
  case TAG_NIL:
    lua_pushnil(L);
    return 1;
  case TAG_FALSE:
  case TAG_TRUE:
    lua_pushboolean(L, tag == TAG_TRUE);
    return 1;
  case TAG_FLOAT:
    memcpy(&number, mfi_decode_bytes(d, 8), 8);
    lua_pushnumber(L, number);
    return 1;
  case TAG_INT8:
  case TAG_INT16:
  case TAG_INT32:
  case TAG_INT64:
    lua_pushinteger(L, read_integer(d, 1u << (tag - TAG_INT8)));
    return 1;
  case TAG_STRING8:
  case TAG_STRING32:
  case TAG_STRING64:
    push_string(d, (uint64_t)string_length(d, tag));
    return 1;
  default:
    return 0;
  }
}

// ---- Frames, slots, numbers

dframe *mfi_decode_push(decoder *d, int state, int slot) {
  if (d->nframes == d->room) {
    uint32_t room = 2 * d->room;
    dframe *to = lua_newuserdatauv(d->L, room * sizeof *to, 0);
    memcpy(to, d->frames, d->nframes * sizeof *to);
    lua_replace(d->L, d->base + SLOT_FRAMES);
    d->frames = to;
    d->room = room;
  }
  dframe *f = &d->frames[d->nframes++];
  *f = (dframe){.state = (uint8_t)state, .slot = slot};
  return f;
}

int mfi_decode_slot(decoder *d, int slot) {
  int idx = d->base + slot;
  if (lua_isnil(d->L, idx)) {
    lua_newtable(d->L);
    lua_replace(d->L, idx);
  }
  return idx;
}

uint32_t mfi_decode_number(decoder *d) {
  uint32_t number = d->nobjects++;
  if (!d->has_objects)
    return number;
  lua_pushvalue(d->L, -1);
  lua_rawseti(d->L, d->base + SLOT_OBJECTS, (lua_Integer)number + 1);
  return number;
}

static void read_ref(decoder *d) {
  uint64_t number = mfi_decode_varint(d);
  if (!d->has_objects || number >= d->nobjects)
    damaged(d);
  if (lua_rawgeti(d->L, d->base + SLOT_OBJECTS, (lua_Integer)number + 1) == LUA_TNIL)
    mfi_decode_bad(d, "cannot decode: a value needs itself to be rebuilt by its __transfer");
}

void mfi_decode_settle(decoder *d) {
  lua_State *L = d->L;
  for (uint32_t i = 0; i < d->nmetas; i++) {
    lua_rawgeti(L, d->base + SLOT_METAS, 2 * (lua_Integer)i + 1);
    lua_rawgeti(L, d->base + SLOT_METAS, 2 * (lua_Integer)i + 2);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
  }
  d->nmetas = 0;
  mfi_func_set_globals(d);
}

// ---- Names

static void require_module(decoder *d, const char *name) {
  lua_State *L = d->L;
  if (!(d->flags & MFI_DECODE_REQUIRE))
    mfi_decode_bad(d, "cannot decode: module '%s' is not loaded here", name);
  mfi_decode_settle(d); // the module's own code may run, which expects whole values
  if (lua_getglobal(L, "require") != LUA_TFUNCTION)
    mfi_decode_bad(d, "cannot decode: module '%s' cannot be loaded here (no require)", name);
  lua_pushstring(L, name);
  mfi_stop_mark mark = mfi_stop_mark_now();
  if (lua_pcall(L, 1, 1, 0) == LUA_OK)
    return;
  if (mfi_stop_passed(mark))
    mfi_stop_pass_error(L);
  if (lua_type(L, -1) != LUA_TSTRING)
    lua_error(L);
  mfi_decode_bad(d, "cannot decode: %s", lua_tostring(L, -1));
}

// Replaces the table at the top by its field, whose name is above it.
static void take_field(decoder *d, const char *module, const char *field) {
  lua_State *L = d->L;
  int there = lua_istable(L, -2);
  if (there) {
    lua_pushvalue(L, -1);
    if (d->flags & MFI_DECODE_REQUIRE)
      lua_gettable(L, -3); // its libraries may be opened by an __index
    else
      lua_rawget(L, -3);
    there = !lua_isnil(L, -1);
  }
  if (!there)
    mfi_decode_bad(d,
                   "cannot decode: '%s' of module '%s' is not there (a module is loaded afresh; "
                   "what was added to the sender's does not travel)",
                   field, module);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

static const char *push_name(decoder *d) {
  size_t size;
  const char *s = mfi_decode_string(d, &size);
  if (s == NULL)
    damaged(d);
  return lua_pushlstring(d->L, s, size);
}

static void read_module(decoder *d) {
  lua_State *L = d->L;
  uint8_t fields = mfi_decode_byte(d);
  if (fields > 2)
    damaged(d);
  const char *module = push_name(d); // stays below, alive
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (strcmp(module, "_G") == 0) {
    lua_pop(L, 1);
    lua_pushglobaltable(L);
  } else {
    lua_pushvalue(L, -2);
    if (lua_istable(L, -2) && d->flags & MFI_DECODE_REQUIRE)
      lua_gettable(L, -2);
    else if (lua_istable(L, -2))
      lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_toboolean(L, -1)) {
      lua_pop(L, 1);
      require_module(d, module);
    }
  }
  while (fields-- > 0) {
    const char *field = push_name(d);
    take_field(d, module, field);
  }
  lua_remove(L, -2);
}

static void read_class(decoder *d) {
  lua_State *L = d->L;
  const char *name = push_name(d);
  mfi_names_class(L, name, lua_rawlen(L, -1));
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    const mfi_codec_hooks *h = &d->codec->hooks;
    if (h->find_class == NULL || !h->find_class(L, name))
      mfi_decode_bad(d, "cannot decode: class '%s' is not registered here (mf.register)", name);
  }
  lua_remove(L, -2);
}

// ---- Objects

static void read_object(decoder *d) {
  uint64_t i = mfi_decode_varint(d);
  if (i >= d->message->nrefs || d->codec->hooks.push_object == NULL)
    damaged(d);
  d->codec->hooks.push_object(d->L, d->message->refs[i]);
  mfi_decode_number(d);
}

static void read_pointer(decoder *d) {
  uint64_t words[2];
  memcpy(words, mfi_decode_bytes(d, sizeof words), sizeof words);
  if (words[0] != d->codec->hooks.process || !(d->flags & MFI_DECODE_FUNCTIONS))
    mfi_decode_bad(d, "cannot decode: a light userdata of another process");
  lua_pushlightuserdata(d->L, (void *)(uintptr_t)words[1]);
}

static void read_transfer(decoder *d) {
  uint64_t n = mfi_decode_varint(d);
  if (!(d->flags & MFI_DECODE_FUNCTIONS))
    mfi_decode_bad(d,
                   "cannot decode: a value has to be rebuilt by its __transfer (functions=true)");
  if (n > (uint64_t)(d->end - d->p))
    truncated(d);
  lua_pushnil(d->L);
  uint32_t number = mfi_decode_number(d);
  lua_pop(d->L, 1);
  dframe *f = mfi_decode_push(d, ARGUMENTS, lua_gettop(d->L) + 1);
  f->n = n + 1;
  f->number = number;
}

// ---- Tables

static int take_budget(decoder *d, uint64_t wanted, unsigned price) {
  if (wanted > d->budget / price)
    wanted = d->budget / price;
  if (wanted > (1 << 30))
    wanted = 1 << 30;
  d->budget -= wanted * price;
  return (int)wanted;
}

static void read_table(decoder *d, int has_meta) {
  uint64_t items = mfi_decode_varint(d);
  uint64_t pairs = format_unpairs(mfi_decode_byte(d));
  if (items > (uint64_t)(d->end - d->p))
    truncated(d);
  if (!lua_checkstack(d->L, 12))
    mfi_decode_bad(d, "cannot decode: nested too deeply");
  int narr = take_budget(d, items, 1), nrec = take_budget(d, pairs, 2);
  lua_createtable(d->L, narr, nrec);
  dframe *f = mfi_decode_push(d, ITEMS, lua_gettop(d->L));
  f->has_meta = (uint8_t)has_meta;
  f->n = items;
  f->number = mfi_decode_number(d);
}

static void run_by_peek(peek_value *to, const uint8_t *p, uint64_t n, unsigned width, uint8_t tag) {
  int16_t i16;
  int32_t i32;
  for (uint64_t i = 0; i < n; i++, p += width) {
    if (width == 8) {
      memcpy(&to[i].as.integer, p, 8); // or a float's bits
    } else if (width == 4) {
      memcpy(&i32, p, 4);
      to[i].as.integer = i32;
    } else if (width == 2) {
      memcpy(&i16, p, 2);
      to[i].as.integer = i16;
    } else {
      to[i].as.integer = (int8_t)*p;
    }
    to[i].tag = tag;
  }
}

static void read_run(decoder *d, dframe *f, uint8_t tag) {
  static const uint8_t widths[] = {1, 2, 4, 8, 8};
  unsigned width = widths[tag - TAG_RUN8];
  uint64_t n = mfi_decode_varint(d);
  if (n == 0 || n > f->n - f->i || n > (uint64_t)(d->end - d->p) / width)
    damaged(d);
  peek_table *t = peek_of(d->L, f->slot);
  if (d->codec->peek && peek_array_size(t) >= f->i + n) {
    uint8_t as = tag == TAG_RUN_FLOAT ? PEEK_FLOAT : PEEK_INTEGER;
    run_by_peek(t->array + f->i, mfi_decode_bytes(d, n * width), n, width, as);
    f->i += n;
    return;
  }
  for (; n > 0; n--) {
    int64_t i = read_integer(d, width);
    double number;
    memcpy(&number, &i, 8);
    if (tag == TAG_RUN_FLOAT)
      lua_pushnumber(d->L, number);
    else
      lua_pushinteger(d->L, i);
    lua_rawseti(d->L, f->slot, (lua_Integer)++f->i);
  }
}

// A child's value, at the top, takes its place.
static void give(decoder *d, dframe *f) {
  lua_State *L = d->L;
  switch (f->state) {
  case ITEMS:
    lua_rawseti(L, f->slot, (lua_Integer)++f->i);
    return;
  case PAIR_KEY:
    if (lua_isnil(L, -1) || (lua_type(L, -1) == LUA_TNUMBER && !lua_rawequal(L, -1, -1)))
      damaged(d); // nil or NaN
    f->state = PAIR_VALUE;
    return;
  case PAIR_VALUE:
    lua_rawset(L, f->slot);
    f->state = PAIR_KEY;
    return;
  case META: {
    if (!lua_istable(L, -1))
      damaged(d);
    f->has_meta = 0;
    if (d->meta_is_named) { // and so complete
      lua_setmetatable(L, f->slot);
      return;
    }
    int metas = mfi_decode_slot(d, SLOT_METAS);
    lua_rawseti(L, metas, 2 * (lua_Integer)d->nmetas + 2);
    lua_pushvalue(L, f->slot);
    lua_rawseti(L, metas, 2 * (lua_Integer)d->nmetas + 1);
    d->nmetas++;
    return;
  }
  default:
    mfi_func_give(d, f);
  }
}

// Scalars that follow go straight into the table's array part. Answers whether there were some.
static int items_by_peek(decoder *d, dframe *f) {
  const peek_table *t = peek_of(d->L, f->slot);
  const uint64_t size = peek_array_size(t), start = f->i;
  while (f->i < f->n && f->i < size && d->p < d->end) {
    peek_value *to = &t->array[f->i];
    const uint8_t tag = *d->p;
    if (tag >= TAG_SMALL)
      *to = (peek_value){.as.integer = tag - TAG_SMALL + FORMAT_SMALL_MIN, .tag = PEEK_INTEGER};
    else if (tag <= TAG_TRUE)
      to->tag = tag == TAG_NIL ? PEEK_NIL : tag == TAG_TRUE ? PEEK_TRUE : PEEK_FALSE;
    else
      break;
    d->p++;
    f->i++;
  }
  return f->i != start;
}

static int advance_items(decoder *d, dframe *f) {
  while (f->i < f->n) {
    if (d->codec->peek && items_by_peek(d, f))
      continue;
    if (d->p < d->end && *d->p >= TAG_RUN8 && *d->p <= TAG_RUN_FLOAT) {
      read_run(d, f, *d->p++);
      continue;
    }
    if (mfi_decode_value(d))
      return 0;
    lua_rawseti(d->L, f->slot, (lua_Integer)++f->i);
  }
  f->state = PAIR_KEY;
  return 1;
}

// The common pair has a short string for a key and a scalar or a string for a value.
static int advance_pairs(decoder *d, dframe *f) {
  for (;;) {
    if (f->state == PAIR_KEY) {
      const uint8_t tag = mfi_decode_byte(d);
      if (tag == TAG_END)
        break;
      if (tag >= TAG_SHORT && tag < TAG_SMALL) {
        push_string(d, (uint64_t)(tag - TAG_SHORT));
      } else {
        d->p--;
        if (mfi_decode_value(d))
          return 0;
        give(d, f);
      }
    }
    f->state = PAIR_VALUE;
    if (!push_simple(d, mfi_decode_byte(d))) {
      d->p--;
      if (mfi_decode_value(d))
        return 0;
    }
    lua_rawset(d->L, f->slot);
    f->state = PAIR_KEY;
  }
  f->state = META;
  return 1;
}

// Goes on with a table until it is done (1, it is at the top) or a child was opened (0).
static int advance_table(decoder *d, dframe *f) {
  if (f->state == ITEMS && !advance_items(d, f))
    return 0;
  if (f->state != META && !advance_pairs(d, f))
    return 0;
  if (!f->has_meta)
    return 1;
  d->meta_is_named = d->p < d->end && (*d->p == TAG_CLASS || *d->p == TAG_MODULE);
  if (mfi_decode_value(d))
    return 0;
  give(d, f);
  return 1;
}

// ---- The loop

int mfi_decode_value(decoder *d) {
  uint8_t tag = mfi_decode_byte(d);
  if (push_simple(d, tag))
    return 0;
  switch (tag) {
  case TAG_TABLE:
  case TAG_TABLE_META:
    read_table(d, tag == TAG_TABLE_META);
    return 1;
  case TAG_FUNCTION:
    mfi_func_read(d);
    return 1;
  case TAG_TRANSFER:
    read_transfer(d);
    return 1;
  case TAG_REF:
    read_ref(d);
    return 0;
  case TAG_GLOBALS:
    lua_pushglobaltable(d->L);
    return 0;
  case TAG_MODULE:
    read_module(d);
    return 0;
  case TAG_CLASS:
    read_class(d);
    return 0;
  case TAG_OBJECT:
    read_object(d);
    return 0;
  case TAG_NULL:
    lua_pushlightuserdata(d->L, NULL);
    return 0;
  case TAG_POINTER:
    read_pointer(d);
    return 0;
  default:
    damaged(d);
  }
}

// Runs until the value that opened the first frame is complete, at the top.
static void run_frames(decoder *d) {
  while (d->nframes > 0) {
    dframe *f = &d->frames[d->nframes - 1];
    int done = f->state <= META ? advance_table(d, f) : mfi_func_advance(d, f);
    if (!done)
      continue;
    if (--d->nframes > 0)
      give(d, &d->frames[d->nframes - 1]);
  }
}

static int read_message(decoder *d) {
  lua_State *L = d->L;
  int n = 0;
  for (; d->p < d->end; n++) {
    if (n % 16 == 0 && !lua_checkstack(L, 16 + 16))
      mfi_decode_bad(d, "cannot decode: too many values");
    if (*d->p == TAG_ADDITION) {
      mfi_func_read_side(d);
      if (mfi_decode_value(d))
        run_frames(d);
      mfi_func_keep_side(d);
      n--;
      continue;
    }
    if (mfi_decode_value(d))
      run_frames(d);
  }
  return n;
}

int mfi_decode(mfi_codec *c, lua_State *L, const mfi_message *m, unsigned flags) {
  decoder d;
  d.codec = c;
  d.L = L;
  d.p = m->bytes;
  d.end = m->bytes + m->size;
  d.message = m;
  d.flags = flags;
  d.nframes = 0;
  uint8_t message_flags = mfi_decode_byte(&d);
  if (d.p < d.end && push_simple(&d, *d.p++)) { // one scalar: nothing to set up
    if (d.p == d.end)
      return 1;
    lua_pop(L, 1);
  }
  luaL_checkstack(L, 24, NULL);
  d.p = m->bytes + 1;
  d.base = lua_gettop(L);
  lua_settop(L, d.base + SLOTS);
  d.has_objects = message_flags & MFI_MESSAGE_REFS;
  if (d.has_objects)
    mfi_decode_slot(&d, SLOT_OBJECTS);
  d.nobjects = d.ncodes = d.nupvalues = d.nmetas = d.nglobals = 0;
  d.budget = m->size;
  d.frames = d.few;
  d.room = FEW_FRAMES;
  int n = read_message(&d);
  if (d.nmetas + d.nglobals > 0)
    mfi_decode_settle(&d);
  lua_rotate(L, d.base + 1, n);
  lua_settop(L, d.base + n);
  return n;
}
