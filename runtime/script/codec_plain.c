// Messages of plain data to bytes: scalars, strings, and tables of them, which are read in place
// (peek.h), with metatables that have a name. The bytes are those that codec_encode.c writes by the
// API, but several times faster; whatever is not plain makes it give up, and the API begins anew.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. Calls nothing of Lua but to raise when there is
// no memory, so that no table changes meanwhile.
#include "script/encoder.h"

#define MAX_DEPTH 200000 // deeper ones are left to the API, which knows where Lua's stack ends

// An open table. Items before `i` and nodes before `node` are written; with key_is_open the next
// value to write is that of node - 1.
typedef struct plain_frame {
  const peek_table *table;
  size_t i, n;
  size_t node, nnodes;
  size_t at, pairs; // the hint's place; pairs begun
  const name_entry *meta;
  int key_is_open;
} plain_frame;

typedef enum result { WRITTEN, OPENED, NOT_PLAIN } result;

typedef struct writer {
  encoder *e;
  size_t depth;
} writer;

static size_t count_items(const peek_table *t) {
  size_t n = (size_t)peek_array_size(t);
  while (n > 0 && peek_is_nil(t->array[n - 1].tag))
    n--;
  return n;
}

static result open_table(writer *w, const peek_table *t) {
  encoder *e = w->e;
  const names *known = &e->codec->names;
  const name_entry *name = names_find(known, t, LUA_TTABLE), *meta = NULL;
  if (name != NULL || t == known->globals)
    return NOT_PLAIN;
  if (mfi_codec_again(e, t))
    return WRITTEN;
  if (t->metatable != NULL) {
    meta = names_find(known, t->metatable, LUA_TTABLE);
    if (meta == NULL || meta->transfers || (e->flags & MFI_ENCODE_DATA))
      return NOT_PLAIN;
  }
  if (w->depth == MAX_DEPTH)
    return NOT_PLAIN;
  if (w->depth == e->plain_room)
    mfi_codec_reserve(e->L, &e->plain, &e->plain_room, w->depth + 1, sizeof *e->plain);
  plain_frame *f = &e->plain[w->depth++];
  *f = (plain_frame){.table = t, .meta = meta};
  f->n = count_items(t);
  f->nnodes = (size_t)1 << t->log_nodes;
  encoder_byte(e, meta != NULL ? TAG_TABLE_META : TAG_TABLE);
  encoder_varint(e, f->n);
  f->at = e->at;
  encoder_byte(e, 0);
  return OPENED;
}

static inline result put(writer *w, int64_t integer, double number, const void *pointer,
                         uint8_t tag) {
  encoder *e = w->e;
  switch (tag) {
  case PEEK_FALSE:
  case PEEK_TRUE:
    encoder_byte(e, tag == PEEK_TRUE ? TAG_TRUE : TAG_FALSE);
    return WRITTEN;
  case PEEK_INTEGER:
    mfi_codec_integer(e, integer);
    return WRITTEN;
  case PEEK_FLOAT:
    mfi_codec_float(e, number);
    return WRITTEN;
  case PEEK_SHORT_STRING:
  case PEEK_LONG_STRING: {
    const peek_string *s = pointer;
    mfi_codec_string(e, 0, s->bytes, peek_string_size(s, tag));
    return WRITTEN;
  }
  case PEEK_TABLE:
    return open_table(w, pointer);
  default:
    return NOT_PLAIN;
  }
}

static result write_items(writer *w, plain_frame *f) {
  encoder *e = w->e;
  const peek_value *v = f->table->array;
  while (f->i < f->n) {
    const size_t i = f->i;
    f->i = mfi_codec_numbers(e, v, i, f->n);
    if (f->i != i)
      continue;
    f->i++;
    if (peek_is_nil(v[i].tag)) {
      encoder_byte(e, TAG_NIL);
      continue;
    }
    result r = put(w, v[i].as.integer, v[i].as.number, v[i].as.pointer, v[i].tag);
    if (r != WRITTEN)
      return r;
  }
  return WRITTEN;
}

static result write_pairs(writer *w, plain_frame *f) {
  while (f->node < f->nnodes || f->key_is_open) {
    result r = WRITTEN;
    if (!f->key_is_open) {
      const peek_node *n = &f->table->nodes[f->node++];
      if (peek_is_nil(n->tag))
        continue;
      f->pairs++;
      f->key_is_open = 1;
      r = put(w, n->key.integer, n->key.number, n->key.pointer, n->key_tag);
      if (r != WRITTEN)
        return r;
    }
    const peek_node *n = &f->table->nodes[f->node - 1];
    f->key_is_open = 0;
    r = put(w, n->value.integer, n->value.number, n->value.pointer, n->tag);
    if (r != WRITTEN)
      return r;
  }
  return WRITTEN;
}

static result write_table(writer *w) {
  encoder *e = w->e;
  plain_frame *f = &e->plain[w->depth - 1];
  result r = write_items(w, f);
  if (r == WRITTEN)
    r = write_pairs(w, f);
  if (r != WRITTEN)
    return r;
  e->bytes[f->at] = format_pairs(f->pairs);
  encoder_byte(e, TAG_END);
  if (f->meta != NULL)
    mfi_codec_name(e, f->meta);
  w->depth--;
  return WRITTEN;
}

static int put_table(encoder *e, const peek_table *t) {
  writer w = {.e = e};
  result r = open_table(&w, t);
  while (r != NOT_PLAIN && w.depth > 0)
    r = write_table(&w);
  return r != NOT_PLAIN;
}

int mfi_codec_scalar(encoder *e, int idx) {
  lua_State *L = e->L;
  size_t size;
  const char *s;
  switch (lua_type(L, idx)) {
  case LUA_TNUMBER:
    if (lua_isinteger(L, idx))
      mfi_codec_integer(e, lua_tointeger(L, idx));
    else
      mfi_codec_float(e, lua_tonumber(L, idx));
    return 1;
  case LUA_TSTRING:
    s = lua_tolstring(L, idx, &size);
    if (size > UINT8_MAX)
      return 0;
    mfi_codec_string(e, idx, s, size);
    return 1;
  case LUA_TNIL:
    encoder_byte(e, TAG_NIL);
    return 1;
  case LUA_TBOOLEAN:
    encoder_byte(e, lua_toboolean(L, idx) ? TAG_TRUE : TAG_FALSE);
    return 1;
  default:
    return 0;
  }
}

// One value of the message, at stack index idx: 1, or 0 where it is not plain.
static int put_value(encoder *e, int idx) {
  size_t size;
  const char *s;
  if (mfi_codec_scalar(e, idx))
    return 1;
  switch (lua_type(e->L, idx)) {
  case LUA_TSTRING:
    s = lua_tolstring(e->L, idx, &size);
    mfi_codec_string(e, idx, s, size);
    return 1;
  case LUA_TTABLE:
    return e->codec->peek && put_table(e, peek_of(e->L, idx));
  default:
    return 0;
  }
}

int mfi_codec_plain(encoder *e, int first, int n) {
  const size_t at = e->at;
  const uint32_t npieces = e->npieces;
  const uint64_t piece_bytes = e->piece_bytes;
  e->objects.count = 0;
  e->message_flags = 0;
  e->heavy = 0;
  e->wants_heavy = 0;
  encoder_byte(e, 0);
  for (int i = 0; i < n; i++) {
    if (put_value(e, first + i))
      continue;
    e->at = at;
    e->npieces = npieces;
    e->piece_bytes = piece_bytes;
    return 0;
  }
  e->bytes[at] = (uint8_t)e->message_flags;
  return 1;
}
