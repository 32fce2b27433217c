// mf_value to bytes; see value.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. A loop over open tables, nothing recurses: a
// host's tables may contain themselves.
#include "script/format.h"
#include "script/value.h"

#include <stdio.h>
#include <stdlib.h>

// An open table: its items are values 0 .. nitems of a row, then keys and values by turns.
typedef struct open_table {
  const mf_table *table;
  size_t next; // of nitems + 2 * npairs
} open_table;

typedef struct place {
  const mf_table *table;
  uint64_t number;
} place;

typedef struct writer {
  mfi_value_bytes *to;
  const mfi_value_hooks *hooks;
  const char *root;
  open_table *open;
  size_t nopen, open_room;
  place *places; // tables met: open addressing, a power of two, at most half full
  size_t nplaces, ntables;
  uint64_t nobjects; // numbers given: tables, queues, arrays
  mfi_status failed;
} writer;

static int grow(void *array, size_t *room, size_t count, size_t size) {
  if (count <= *room)
    return 1;
  size_t to = 2 * *room + 64;
  if (to < count)
    to = count;
  void *p;
  memcpy(&p, array, sizeof p);
  p = realloc(p, to * size);
  if (p == NULL)
    return 0;
  memcpy(array, &p, sizeof p);
  *room = to;
  return 1;
}

static void fail(writer *w, mfi_status status) {
  if (w->failed == MFI_OK)
    w->failed = status;
}

// Answers room for n more bytes; NULL without memory.
static uint8_t *room(writer *w, size_t n) {
  if (grow(&w->to->bytes, &w->to->room, w->to->size + n, 1))
    return w->to->bytes + w->to->size;
  fail(w, MFI_NOMEM);
  return NULL;
}

static void put(writer *w, const void *data, size_t n) {
  uint8_t *p = n == 0 ? NULL : room(w, n);
  if (p == NULL)
    return;
  memcpy(p, data, n);
  w->to->size += n;
}

static void put_tagged(writer *w, uint8_t tag, const void *data, size_t n) {
  put(w, &tag, 1);
  put(w, data, n);
}

static void put_varint(writer *w, uint64_t n) {
  uint8_t bytes[FORMAT_VARINT_MAX];
  put(w, bytes, (size_t)(format_varint(bytes, n) - bytes));
}

// ---- Paths

#define PATH_SIZE 120

static size_t add_text(char *to, size_t at, size_t size, const char *fmt, const char *s, size_t n) {
  int written = snprintf(to + at, size - at, fmt, (int)(n < 40 ? n : 40), s);
  at += written > 0 ? (size_t)written : 0;
  return at < size ? at : size - 1;
}

static void write_path(const writer *w, char path[PATH_SIZE]) {
  size_t at = (size_t)snprintf(path, PATH_SIZE, "%.40s", w->root);
  for (size_t i = 0; i < w->nopen; i++) {
    const open_table *o = &w->open[i];
    size_t n = o->next - 1; // the one that is written
    char index[24];
    if (n < o->table->nitems) {
      int size = snprintf(index, sizeof index, "%zu", n + 1);
      at = add_text(path, at, PATH_SIZE, "[%.*s]", index, (size_t)size);
      continue;
    }
    const mf_value *key = &o->table->pairs[(n - o->table->nitems) & ~(size_t)1];
    if (key->kind == MF_STRING)
      at = add_text(path, at, PATH_SIZE, ".%.*s", key->as.string.data, key->as.string.size);
    else
      at = add_text(path, at, PATH_SIZE, "[%.*s]", "?", 1);
  }
}

// What cannot travel.
static void refuse(writer *w, const char *what) {
  char path[PATH_SIZE];
  write_path(w, path);
  snprintf(w->to->why, sizeof w->to->why, "cannot send a %.40s (at %s)", what, path);
  fail(w, MFI_NOT_SENDABLE);
}

// What is no value.
static void reject(writer *w, const char *what) {
  char path[PATH_SIZE];
  write_path(w, path);
  snprintf(w->to->why, sizeof w->to->why, "%.60s (at %s)", what, path);
  fail(w, MFI_INVALID);
}

// ---- Values

static void put_integer(writer *w, int64_t i) {
  if (i >= FORMAT_SMALL_MIN && i <= FORMAT_SMALL_MAX) {
    uint8_t tag = (uint8_t)(TAG_SMALL + (i - FORMAT_SMALL_MIN));
    put(w, &tag, 1);
  } else if (i == (int8_t)i) {
    put_tagged(w, TAG_INT8, &i, 1);
  } else if (i == (int16_t)i) {
    put_tagged(w, TAG_INT16, &i, 2);
  } else if (i == (int32_t)i) {
    put_tagged(w, TAG_INT32, &i, 4);
  } else {
    put_tagged(w, TAG_INT64, &i, 8);
  }
}

static void put_string(writer *w, const char *data, size_t size) {
  if (size <= FORMAT_SHORT_MAX) {
    uint8_t tag = (uint8_t)(TAG_SHORT + size);
    put(w, &tag, 1);
  } else if (size <= UINT32_MAX) {
    put_tagged(w, TAG_STRING32, &size, 4);
  } else {
    put_tagged(w, TAG_STRING64, &size, 8);
  }
  put(w, data, size);
}

static size_t place_of(const writer *w, const mf_table *t) {
  size_t h = (size_t)((uintptr_t)t >> 3) * 0x9e3779b97f4a7c15u >> 20;
  while (w->places[h & (w->nplaces - 1)].table != NULL &&
         w->places[h & (w->nplaces - 1)].table != t)
    h++;
  return h & (w->nplaces - 1);
}

// Makes the hash twice as large. 0: no memory.
static int grow_places(writer *w) {
  writer old = *w;
  w->nplaces = old.nplaces == 0 ? 64 : 2 * old.nplaces;
  w->places = calloc(w->nplaces, sizeof *w->places);
  if (w->places == NULL) {
    *w = old;
    return 0;
  }
  for (size_t i = 0; i < old.nplaces; i++)
    if (old.places[i].table != NULL)
      w->places[place_of(w, old.places[i].table)] = old.places[i];
  free(old.places);
  return 1;
}

// The number of a table met before, or -1 and it gets the next one.
static int64_t number_of(writer *w, const mf_table *t) {
  if (2 * (w->ntables + 1) > w->nplaces && !grow_places(w)) {
    fail(w, MFI_NOMEM);
    return -1;
  }
  place *p = &w->places[place_of(w, t)];
  if (p->table != NULL)
    return (int64_t)p->number;
  *p = (place){.table = t, .number = w->nobjects++};
  w->ntables++;
  return -1;
}

static void put_table(writer *w, const mf_table *t) {
  int64_t number = number_of(w, t);
  if (number >= 0) {
    put_tagged(w, TAG_REF, NULL, 0);
    put_varint(w, (uint64_t)number);
    w->to->flags |= MFI_MESSAGE_REFS;
    return;
  }
  uint8_t hint = format_pairs(t->npairs);
  put_tagged(w, TAG_TABLE, NULL, 0);
  put_varint(w, t->nitems);
  put(w, &hint, 1);
  if (grow(&w->open, &w->open_room, w->nopen + 1, sizeof *w->open))
    w->open[w->nopen++] = (open_table){.table = t};
  else
    fail(w, MFI_NOMEM);
}

static void put_object(writer *w, const mf_value *v) {
  uint64_t handle;
  mfi_value_bytes *to = w->to;
  if (w->hooks->handle_of == NULL) {
    refuse(w, v->kind == MF_QUEUE ? "queue" : "array");
    return;
  }
  mfi_status status = w->hooks->handle_of(w->hooks->ud, v, &handle);
  if (status == MFI_OK && !grow(&to->refs, &to->refs_room, to->nrefs + 1, sizeof *to->refs))
    status = MFI_NOMEM;
  if (status == MFI_INVALID)
    reject(w, "a queue or array that is NULL or another runtime's");
  if (status != MFI_OK) {
    fail(w, status);
    return;
  }
  w->nobjects++;
  put_tagged(w, TAG_OBJECT, NULL, 0);
  put_varint(w, to->nrefs);
  to->refs[to->nrefs++] = handle;
}

static void put_pointer(writer *w, const mf_value *v) {
  uint64_t words[2] = {w->hooks->process, (uint64_t)(uintptr_t)v->as.pointer};
  if (v->as.pointer == NULL) {
    put_tagged(w, TAG_NULL, NULL, 0);
  } else if (words[0] == 0) {
    refuse(w, "pointer");
  } else {
    put_tagged(w, TAG_POINTER, words, sizeof words);
    w->to->flags |= MFI_MESSAGE_POINTERS;
  }
}

// Does it lack what it says it has?
static int is_hollow(const mf_value *v) {
  const mf_table *t = v->as.table;
  if (v->kind == MF_STRING)
    return v->as.string.data == NULL && v->as.string.size > 0;
  if (v->kind != MF_TABLE)
    return 0;
  return t == NULL || (t->items == NULL && t->nitems > 0) || (t->pairs == NULL && t->npairs > 0);
}

static void put_value(writer *w, const mf_value *v) {
  if (is_hollow(v)) {
    reject(w, v->kind == MF_STRING ? "a string without data" : "a table without entries");
    return;
  }
  switch (v->kind) {
  case MF_NIL:
    put_tagged(w, TAG_NIL, NULL, 0);
    return;
  case MF_BOOLEAN:
    put_tagged(w, v->as.boolean ? TAG_TRUE : TAG_FALSE, NULL, 0);
    return;
  case MF_INTEGER:
    put_integer(w, v->as.integer);
    return;
  case MF_NUMBER:
    put_tagged(w, TAG_FLOAT, &v->as.number, 8);
    return;
  case MF_STRING:
    put_string(w, v->as.string.data, v->as.string.size);
    return;
  case MF_TABLE:
    put_table(w, v->as.table);
    return;
  case MF_QUEUE:
  case MF_ARRAY:
    put_object(w, v);
    return;
  case MF_POINTER:
    put_pointer(w, v);
    return;
  case MF_OTHER:
    refuse(w, v->as.other != NULL ? v->as.other : "value");
    return;
  }
  reject(w, "a value of an unknown kind");
}

static int is_key(const mf_value *v) {
  return v->kind != MF_NIL && (v->kind != MF_NUMBER || v->as.number == v->as.number);
}

// Writes the next value of the innermost open table, or ends it.
static void put_next(writer *w) {
  open_table *o = &w->open[w->nopen - 1];
  const mf_table *t = o->table;
  size_t i = o->next++;
  if (i < t->nitems) {
    put_value(w, &t->items[i]);
  } else if (i < t->nitems + 2 * t->npairs) {
    const mf_value *v = &t->pairs[i - t->nitems];
    if ((i - t->nitems) % 2 == 0 && !is_key(v))
      reject(w, "a key that is nil or NaN");
    else
      put_value(w, v);
  } else {
    w->nopen--;
    put_tagged(w, TAG_END, NULL, 0);
  }
}

mfi_status mfi_values_write(const mf_value *values, size_t n, const char *root,
                            const mfi_value_hooks *hooks, mfi_value_bytes *to) {
  writer w = {.to = to, .hooks = hooks, .root = root};
  to->size = 0;
  to->nrefs = 0;
  to->flags = 0;
  to->why[0] = '\0';
  put_tagged(&w, 0, NULL, 0); // the flags' place
  for (size_t i = 0; i < n && w.failed == MFI_OK; i++) {
    put_value(&w, &values[i]);
    while (w.nopen > 0 && w.failed == MFI_OK)
      put_next(&w);
  }
  free(w.open);
  free(w.places);
  if (w.failed == MFI_OK)
    to->bytes[0] = (uint8_t)to->flags;
  return w.failed;
}

void mfi_value_bytes_fini(mfi_value_bytes *b) {
  free(b->bytes);
  free(b->refs);
  memset(b, 0, sizeof *b);
}
