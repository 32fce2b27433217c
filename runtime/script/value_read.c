// Bytes to mf_value; see value.h. Trusts no byte.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. A loop over frames as the codec's decoder; the
// values of what is open lie on one stack, a table takes its own into the arena when it ends.
#include "script/format.h"
#include "script/value.h"

#include <stdlib.h>

typedef struct chunk {
  struct chunk *next;
  size_t used, room;
  _Alignas(16) uint8_t bytes[];
} chunk;

struct mfi_values {
  chunk *chunks;
  size_t count;
  const mf_value *values;
  mf_value *objects; // what `open` made, to be closed
  size_t nobjects, objects_room;
  void (*close)(mf_value *v);
};

enum { ITEMS, PAIRS, META, UPVALUES, SIDES, ARGUMENTS }; // rframe.state

typedef struct rframe {
  uint8_t state, has_meta;
  mf_table *table; // NULL: a function or userdata, whose values are dropped
  uint64_t n, i;   // items, upvalues, arguments; upvalues and arguments begun
  size_t base;     // where its values begin on the stack
} rframe;

typedef struct reader {
  const mfi_message *m;
  const mfi_value_hooks *hooks;
  const uint8_t *p, *end;
  mfi_values *out;
  mf_value *stack;
  size_t top, stack_room;
  rframe *frames;
  size_t nframes, frames_room;
  mf_value *numbered; // objects of the message, by number
  size_t nnumbered, numbered_room;
  mfi_status failed;
} reader;

static void fail(reader *r, mfi_status status) {
  if (r->failed == MFI_OK)
    r->failed = status;
}

// Makes room for one more element. 0: no memory, noted.
static int one_more(reader *r, void *array, size_t *room, size_t count, size_t size) {
  if (count < *room)
    return 1;
  size_t to = 2 * *room + 64;
  void *p;
  memcpy(&p, array, sizeof p);
  p = realloc(p, to * size);
  if (p == NULL) {
    fail(r, MFI_NOMEM);
    return 0;
  }
  memcpy(array, &p, sizeof p);
  *room = to;
  return 1;
}

// Memory that lives as long as the values; NULL without memory, noted.
static void *take_memory(reader *r, size_t size) {
  chunk *c = r->out->chunks;
  size = (size + 15) & ~(size_t)15;
  if (c == NULL || c->room - c->used < size) {
    size_t room = size > 4000 ? size : 4000;
    c = malloc(sizeof *c + room);
    if (c == NULL) {
      fail(r, MFI_NOMEM);
      return NULL;
    }
    *c = (chunk){.next = r->out->chunks, .room = room};
    r->out->chunks = c;
  }
  void *p = c->bytes + c->used;
  c->used += size;
  return p;
}

// ---- Reading

static const uint8_t *take(reader *r, uint64_t n) {
  if (r->failed != MFI_OK || n > (uint64_t)(r->end - r->p)) {
    fail(r, MFI_DECODE);
    return NULL;
  }
  const uint8_t *p = r->p;
  r->p += n;
  return p;
}

static uint64_t take_word(reader *r, unsigned width) {
  uint64_t n = 0;
  const uint8_t *p = take(r, width);
  if (p != NULL)
    memcpy(&n, p, width);
  return n;
}

static int64_t take_integer(reader *r, unsigned width) {
  unsigned shift = 64 - 8 * width;
  return (int64_t)(take_word(r, width) << shift) >> shift; // arithmetic on all our compilers
}

static uint64_t take_varint(reader *r) {
  uint64_t n = 0;
  for (unsigned shift = 0; shift < 64 && r->failed == MFI_OK; shift += 7) {
    uint64_t b = take_word(r, 1);
    n |= (b & 0x7f) << shift;
    if (b < 0x80)
      return n;
  }
  fail(r, MFI_DECODE);
  return 0;
}

static int peek_tag(const reader *r) { return r->p < r->end ? *r->p : -1; }

static void push(reader *r, mf_value v) {
  if (one_more(r, &r->stack, &r->stack_room, r->top, sizeof v))
    r->stack[r->top++] = v;
}

static void push_other(reader *r, const char *what) {
  mf_value v = {.kind = MF_OTHER};
  v.as.other = what;
  push(r, v);
}

static void number(reader *r, mf_value v) {
  if (one_more(r, &r->numbered, &r->numbered_room, r->nnumbered, sizeof v))
    r->numbered[r->nnumbered++] = v;
}

// The length of a string whose tag was read; -1: it is no string's.
static int64_t string_length(reader *r, int tag) {
  if (tag >= TAG_SHORT && tag < TAG_SMALL)
    return tag - TAG_SHORT;
  if (tag == TAG_STRING8)
    return (int64_t)take_word(r, 1);
  if (tag == TAG_STRING32)
    return (int64_t)take_word(r, 4);
  if (tag != TAG_STRING64)
    return -1;
  uint64_t n = take_word(r, 8);
  return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

static void push_string(reader *r, uint64_t size) {
  const uint8_t *from = take(r, size);
  char *to = from == NULL ? NULL : take_memory(r, (size_t)size + 1);
  if (to == NULL)
    return;
  memcpy(to, from, (size_t)size);
  to[size] = '\0';
  push(r, mf_string(to, (size_t)size));
}

static void skip_string(reader *r) {
  int64_t n = string_length(r, (int)take_word(r, 1));
  if (n < 0)
    fail(r, MFI_DECODE);
  else
    take(r, (uint64_t)n);
}

// ---- What opens

static void open_frame(reader *r, rframe f) {
  f.base = r->top;
  if (one_more(r, &r->frames, &r->frames_room, r->nframes, sizeof f))
    r->frames[r->nframes++] = f;
}

static void open_table(reader *r, int has_meta) {
  rframe f = {.state = ITEMS, .has_meta = (uint8_t)has_meta};
  f.n = take_varint(r);
  take(r, 1); // the hint
  f.table = take_memory(r, sizeof *f.table);
  if (f.n > (uint64_t)(r->end - r->p))
    fail(r, MFI_DECODE);
  if (r->failed != MFI_OK)
    return;
  memset(f.table, 0, sizeof *f.table);
  number(r, mf_of_table(f.table));
  open_frame(r, f);
}

static void open_function(reader *r) {
  mf_value v = {.kind = MF_OTHER};
  v.as.other = "function";
  if (take_varint(r) == 0) {
    uint64_t size = take_varint(r);
    take(r, 8);
    take(r, size);
  }
  rframe f = {.state = UPVALUES};
  f.n = take_word(r, 1);
  number(r, v);
  open_frame(r, f);
}

static void open_transfer(reader *r) {
  mf_value v = {.kind = MF_OTHER};
  v.as.other = "userdata";
  rframe f = {.state = ARGUMENTS};
  f.n = take_varint(r);
  if (f.n > (uint64_t)(r->end - r->p))
    fail(r, MFI_DECODE);
  f.n++; // the function
  number(r, v);
  open_frame(r, f);
}

// ---- What is there at once

static void read_named(reader *r, int tag) {
  uint64_t fields = tag == TAG_MODULE ? take_word(r, 1) : 0;
  if (fields > 2)
    fail(r, MFI_DECODE);
  for (uint64_t i = 0; i <= fields && r->failed == MFI_OK; i++)
    skip_string(r);
  push_other(r, tag == TAG_CLASS ? "class" : fields == 0 ? "module" : "module field");
}

static void read_object(reader *r) {
  mf_value v = mf_nil();
  mfi_values *out = r->out;
  uint64_t i = take_varint(r);
  if (r->failed == MFI_OK && (i >= r->m->nrefs || r->hooks->open == NULL))
    fail(r, MFI_DECODE);
  if (r->failed != MFI_OK ||
      !one_more(r, &out->objects, &out->objects_room, out->nobjects, sizeof v))
    return;
  mfi_status status = r->hooks->open(r->hooks->ud, r->m->refs[i], &v);
  if (status != MFI_OK) {
    fail(r, status);
    return;
  }
  if (v.kind == MF_QUEUE || v.kind == MF_ARRAY)
    out->objects[out->nobjects++] = v;
  number(r, v);
  push(r, v);
}

static void read_ref(reader *r) {
  uint64_t n = take_varint(r);
  if (n < r->nnumbered)
    push(r, r->numbered[n]);
  else
    fail(r, MFI_DECODE);
}

static void read_pointer(reader *r) {
  uint64_t process = take_word(r, 8), pointer = take_word(r, 8);
  if (process == r->hooks->process)
    push(r, mf_of_pointer((void *)(uintptr_t)pointer));
  else
    fail(r, MFI_DECODE);
}

static void read_float(reader *r) {
  uint64_t bits = take_word(r, 8);
  double d;
  memcpy(&d, &bits, 8);
  push(r, mf_number(d));
}

static void read_rare(reader *r, int tag) {
  switch (tag) {
  case TAG_FUNCTION:
    open_function(r);
    return;
  case TAG_TRANSFER:
    open_transfer(r);
    return;
  case TAG_OBJECT:
    read_object(r);
    return;
  case TAG_MODULE:
  case TAG_CLASS:
    read_named(r, tag);
    return;
  case TAG_GLOBALS:
    push_other(r, "globals");
    return;
  case TAG_NULL:
    push(r, mf_of_pointer(NULL));
    return;
  case TAG_POINTER:
    read_pointer(r);
    return;
  default:
    fail(r, MFI_DECODE);
  }
}

// Reads a value: pushes it, or opens its frame.
static void read_value(reader *r) {
  int tag = (int)take_word(r, 1);
  int64_t size = r->failed == MFI_OK ? string_length(r, tag) : -1;
  if (r->failed != MFI_OK)
    return;
  if (tag >= TAG_SMALL)
    push(r, mf_integer(tag - TAG_SMALL + FORMAT_SMALL_MIN));
  else if (size >= 0)
    push_string(r, (uint64_t)size);
  else if (tag == TAG_NIL)
    push(r, mf_nil());
  else if (tag == TAG_FALSE || tag == TAG_TRUE)
    push(r, mf_boolean(tag == TAG_TRUE));
  else if (tag == TAG_FLOAT)
    read_float(r);
  else if (tag >= TAG_INT8 && tag <= TAG_INT64)
    push(r, mf_integer(take_integer(r, 1u << (tag - TAG_INT8))));
  else if (tag == TAG_TABLE || tag == TAG_TABLE_META)
    open_table(r, tag == TAG_TABLE_META);
  else if (tag == TAG_REF)
    read_ref(r);
  else
    read_rare(r, tag);
}

static void read_run(reader *r, const rframe *f) {
  static const uint8_t widths[] = {1, 2, 4, 8, 8};
  int tag = (int)take_word(r, 1);
  unsigned width = widths[tag - TAG_RUN8];
  uint64_t n = take_varint(r), left = f->n - (r->top - f->base);
  if (n == 0 || n > left || n > (uint64_t)(r->end - r->p) / width)
    fail(r, MFI_DECODE);
  for (; n > 0 && r->failed == MFI_OK; n--)
    if (tag == TAG_RUN_FLOAT)
      read_float(r);
    else
      push(r, mf_integer(take_integer(r, width)));
}

// ---- The frames

static int is_key(const mf_value *v) {
  return v->kind != MF_NIL && (v->kind != MF_NUMBER || v->as.number == v->as.number);
}

// All items and pairs of a table are on the stack: it takes them.
static void fill_table(reader *r, const rframe *f) {
  const size_t count = r->top - f->base, items = (size_t)f->n;
  if (count == 0)
    return; // it is empty from the start
  const mf_value *from = r->stack + f->base;
  for (size_t i = items; i < count; i += 2)
    if (!is_key(&from[i]))
      fail(r, MFI_DECODE);
  mf_value *to = take_memory(r, count * sizeof *to);
  if (r->failed != MFI_OK)
    return;
  memcpy(to, from, count * sizeof *to);
  f->table->nitems = items;
  f->table->items = to;
  f->table->npairs = (count - items) / 2;
  f->table->pairs = to + items;
  r->top = f->base;
}

// The innermost frame is done: its value replaces what it had on the stack.
static void close_frame(reader *r, const rframe *f) {
  r->top = f->base;
  r->nframes--;
  if (f->table != NULL)
    push(r, mf_of_table(f->table));
  else
    push_other(r, f->state == ARGUMENTS ? "userdata" : "function");
}

static void advance_table(reader *r, rframe *f) {
  int tag = peek_tag(r);
  if (f->state == ITEMS) {
    if (r->top - f->base == f->n)
      f->state = PAIRS;
    else if (tag >= TAG_RUN8 && tag <= TAG_RUN_FLOAT)
      read_run(r, f);
    else
      read_value(r);
  } else if (f->state == PAIRS) {
    if (tag != TAG_END || (r->top - f->base - f->n) % 2 != 0) {
      read_value(r);
      return;
    }
    r->p++;
    fill_table(r, f);
    f->state = META;
  } else if (f->has_meta) {
    f->has_meta = 0;
    read_value(r); // dropped by close_frame
  } else {
    close_frame(r, f);
  }
}

static void advance_function(reader *r, rframe *f) {
  int tag = peek_tag(r);
  r->top = f->base; // C has no use for them
  if (f->state == UPVALUES && f->i < f->n) {
    f->i++;
    if (tag != TAG_UPVALUE) {
      read_value(r);
      return;
    }
    r->p++;
    take_varint(r);
    return;
  }
  f->state = SIDES;
  r->p += tag >= 0;
  if (tag == TAG_END) {
    close_frame(r, f);
    return;
  }
  if (tag != TAG_GLOBAL && tag != TAG_ADDITION)
    fail(r, MFI_DECODE);
  if (tag == TAG_ADDITION)
    skip_string(r);
  skip_string(r);
  read_value(r);
}

static void advance(reader *r) {
  rframe *f = &r->frames[r->nframes - 1];
  if (f->state <= META) {
    advance_table(r, f);
  } else if (f->state != ARGUMENTS) {
    advance_function(r, f);
  } else {
    r->top = f->base;
    if (f->i == f->n) {
      close_frame(r, f);
      return;
    }
    f->i++;
    read_value(r);
  }
}

static void read_message(reader *r) {
  take(r, 1); // flags
  while (r->failed == MFI_OK && (r->nframes > 0 || r->p < r->end)) {
    if (r->nframes > 0)
      advance(r);
    else
      read_value(r);
  }
  mf_value *to = take_memory(r, (r->top + 1) * sizeof *to);
  if (r->failed != MFI_OK)
    return;
  if (r->top != 0)
    memcpy(to, r->stack, r->top * sizeof *to);
  r->out->values = to;
  r->out->count = r->top;
}

mfi_status mfi_values_read(const mfi_message *m, const mfi_value_hooks *hooks, mfi_values **out) {
  *out = calloc(1, sizeof **out);
  if (*out == NULL)
    return MFI_NOMEM;
  (*out)->close = hooks->close;
  reader r = {.m = m, .hooks = hooks, .p = m->bytes, .end = m->bytes + m->size, .out = *out};
  read_message(&r);
  free(r.stack);
  free(r.frames);
  free(r.numbered);
  if (r.failed == MFI_OK)
    return MFI_OK;
  mfi_values_free(*out);
  *out = NULL;
  return r.failed;
}

size_t mfi_values_count(const mfi_values *v) { return v->count; }

const mf_value *mfi_values_at(const mfi_values *v, size_t i) {
  return i < v->count ? &v->values[i] : NULL;
}

void mfi_values_free(mfi_values *v) {
  if (v == NULL)
    return;
  for (size_t i = 0; i < v->nobjects && v->close != NULL; i++)
    v->close(&v->objects[i]);
  free(v->objects);
  for (chunk *c = v->chunks, *next; c != NULL; c = next) {
    next = c->next;
    free(c);
  }
  free(v);
}
