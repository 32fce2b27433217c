// Reading Lua's bytecode; see func_code.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/func_code.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 31 // lundump.c, checkHeader
#define MAX_NESTING 200 // LUAI_MAXCCALLS: deeper code does not compile either
#define MAX_UPVALUES 255

// lopcodes.h: op:7 A:8 k:1 B:8 C:8
enum { OP_GETUPVAL = 9, OP_GETTABUP = 11, OP_SETTABUP = 15 };

enum { // lobject.h: tags of constants
  CONSTANT_NIL = 0x00,
  CONSTANT_FALSE = 0x01,
  CONSTANT_TRUE = 0x11,
  CONSTANT_INTEGER = 0x03,
  CONSTANT_FLOAT = 0x13,
  CONSTANT_SHORT = 0x04,
  CONSTANT_LONG = 0x14
};

typedef struct reader {
  const uint8_t *code, *p, *end;
  code_scan *to;
  int failed;
} reader;

// A prototype while it is read. map[j]: which upvalue of the outermost function its upvalue j is,
// or NO_UPVALUE.
typedef struct proto {
  const uint8_t *instructions;
  size_t ninstructions;
  size_t nconstants;
  uint32_t *constants; // index in names, or NO_NAME
  uint8_t map[MAX_UPVALUES];
  int nupvalues;
} proto;

#define NO_UPVALUE 255
#define NO_NAME UINT32_MAX

// ---- Pieces of the format

static const uint8_t *take(reader *r, size_t n) {
  if (r->failed || (size_t)(r->end - r->p) < n) {
    r->failed = 1;
    return NULL;
  }
  const uint8_t *p = r->p;
  r->p += n;
  return p;
}

static uint8_t take_byte(reader *r) {
  const uint8_t *p = take(r, 1);
  return p == NULL ? 0 : *p;
}

// loadUnsigned: groups of 7 bits, the most significant first; the last has its top bit set.
static size_t take_size(reader *r) {
  size_t n = 0;
  for (;;) {
    uint8_t b = take_byte(r);
    if (r->failed || n > (SIZE_MAX >> 8)) {
      r->failed = 1;
      return 0;
    }
    n = (n << 7) | (b & 0x7f);
    if (b & 0x80)
      return n;
  }
}

// A count of things of at least `size` bytes each.
static size_t take_count(reader *r, size_t size) {
  size_t n = take_size(r);
  if (!r->failed && n > (size_t)(r->end - r->p) / size)
    r->failed = 1;
  return r->failed ? 0 : n;
}

static const uint8_t *take_string(reader *r, size_t *size) {
  size_t n = take_size(r); // 0: none, else its length + 1
  *size = n == 0 ? 0 : n - 1;
  return n == 0 ? NULL : take(r, *size);
}

static int reserve(void *array, size_t *room, size_t count, size_t size) {
  if (count <= *room)
    return 1;
  size_t to = 2 * *room + 32;
  void *p;
  memcpy(&p, array, sizeof p);
  p = realloc(p, to * size);
  if (p == NULL)
    return 0;
  memcpy(array, &p, sizeof p);
  *room = to;
  return 1;
}

static void add_name(reader *r, const uint8_t *s, size_t size) {
  code_scan *to = r->to;
  if (!reserve(&to->names, &to->names_room, to->nnames + 1, sizeof *to->names)) {
    r->failed = 1;
    return;
  }
  to->names[to->nnames++] = (code_name){.at = (uint32_t)(s - r->code), .size = (uint32_t)size};
}

// ---- One prototype

// Reads the constants; `names` gets, for each, its index in to->names or NO_NAME.
static void read_constants(reader *r, size_t n, uint32_t *names) {
  for (size_t i = 0; i < n && !r->failed; i++) {
    size_t size;
    const uint8_t *s;
    names[i] = NO_NAME;
    switch (take_byte(r)) {
    case CONSTANT_NIL:
    case CONSTANT_FALSE:
    case CONSTANT_TRUE:
      break;
    case CONSTANT_INTEGER:
    case CONSTANT_FLOAT:
      take(r, 8);
      break;
    case CONSTANT_SHORT:
    case CONSTANT_LONG:
      s = take_string(r, &size);
      if (r->failed || s == NULL)
        break;
      names[i] = (uint32_t)r->to->nnames;
      add_name(r, s, size);
      break;
    default:
      r->failed = 1;
    }
  }
}

static void read_upvalues(reader *r, proto *p, const proto *parent) {
  p->nupvalues = (int)take_count(r, 3);
  if (p->nupvalues > MAX_UPVALUES)
    r->failed = 1;
  if (parent == NULL) {
    r->to->upvalues_at = (size_t)(r->p - r->code);
    r->to->nupvalues = p->nupvalues;
  }
  for (int i = 0; i < p->nupvalues && !r->failed; i++) {
    const uint8_t *u = take(r, 3); // in the parent's stack?, index, kind
    if (u == NULL)
      return;
    if (parent == NULL)
      p->map[i] = (uint8_t)i;
    else
      p->map[i] = u[0] == 0 && u[1] < parent->nupvalues ? parent->map[u[1]] : NO_UPVALUE;
  }
}

static void add_use(reader *r, int upvalue, uint32_t name) {
  code_scan *to = r->to;
  if (!reserve(&to->uses, &to->uses_room, to->nuses + 1, sizeof *to->uses)) {
    r->failed = 1;
    return;
  }
  to->uses[to->nuses++] = (code_use){.name = name, .upvalue = (uint8_t)upvalue};
}

static int is_underscore_g(const reader *r, uint32_t name) {
  const code_name *n = &r->to->names[name];
  return n->size == 2 && memcmp(r->code + n->at, "_G", 2) == 0;
}

// Looks at the instructions: notes the fields used of upvalues; loads[u] is set for each upvalue of
// the outermost function that is taken as a whole.
static void read_instructions(reader *r, const proto *p, uint8_t *loads) {
  for (size_t i = 0; i < p->ninstructions && !r->failed; i++) {
    uint32_t word;
    memcpy(&word, p->instructions + 4 * i, 4);
    unsigned op = word & 0x7f, a = (word >> 7) & 0xff, b = (word >> 16) & 0xff, c = word >> 24;
    unsigned upvalue = op == OP_SETTABUP ? a : b, constant = op == OP_SETTABUP ? b : c;
    if (op != OP_GETUPVAL && op != OP_GETTABUP && op != OP_SETTABUP)
      continue;
    if (upvalue >= (unsigned)p->nupvalues || p->map[upvalue] == NO_UPVALUE)
      continue;
    int outer = p->map[upvalue];
    if (op == OP_GETUPVAL) {
      loads[outer] = 1;
      continue;
    }
    if (constant >= p->nconstants || p->constants[constant] == NO_NAME)
      continue;
    add_use(r, outer, p->constants[constant]);
    if (!r->failed && is_underscore_g(r, p->constants[constant]))
      loads[outer] = 1;
  }
}

static void read_debug(reader *r) {
  size_t unused;
  take(r, take_count(r, 1)); // lineinfo
  for (size_t n = take_count(r, 2); n > 0 && !r->failed; n--) {
    take_size(r);
    take_size(r);
  }
  for (size_t n = take_count(r, 3); n > 0 && !r->failed; n--) { // local variables
    take_string(r, &unused);
    take_size(r);
    take_size(r);
  }
  for (size_t n = take_count(r, 1); n > 0 && !r->failed; n--)
    take_string(r, &unused);
}

static void read_proto(reader *r, const proto *parent, int depth);

static void read_inner(reader *r, const proto *p, int depth) {
  if (depth >= MAX_NESTING)
    r->failed = 1;
  for (size_t n = take_count(r, 1); n > 0 && !r->failed; n--)
    read_proto(r, p, depth + 1);
}

static void add_loads(reader *r, const uint8_t *loads, int n, size_t from) {
  code_scan *to = r->to;
  for (int u = 0; u < n; u++) {
    if (!loads[u])
      continue;
    if (!reserve(&to->loads, &to->loads_room, to->nloads + 1, sizeof *to->loads)) {
      r->failed = 1;
      return;
    }
    to->loads[to->nloads++] =
        (code_load){.from = (uint32_t)from, .to = (uint32_t)to->nnames, .upvalue = (uint8_t)u};
  }
}

// loadFunction
static void read_proto(reader *r, const proto *parent, int depth) {
  proto p;
  size_t unused, from = r->to->nnames;
  uint8_t loads[MAX_UPVALUES] = {0};
  take_string(r, &unused); // source
  take_size(r);            // linedefined
  take_size(r);            // lastlinedefined
  take(r, 3);              // parameters, is vararg, stack size
  p.ninstructions = take_count(r, 4);
  p.instructions = take(r, 4 * p.ninstructions);
  p.nconstants = take_count(r, 1);
  p.constants = malloc((p.nconstants + 1) * sizeof *p.constants);
  if (p.constants == NULL) {
    r->failed = 1;
    return;
  }
  read_constants(r, p.nconstants, p.constants);
  read_upvalues(r, &p, parent);
  if (!r->failed)
    read_instructions(r, &p, loads);
  free(p.constants);
  read_inner(r, &p, depth);
  if (!r->failed)
    add_loads(r, loads, r->to->nupvalues, from);
  read_debug(r);
}

static int header_is_known(const uint8_t *code) {
  static const uint8_t begin[] = {0x1b, 'L',  'u',  'a',  0x54, 0x00, 0x19, 0x93,
                                  '\r', '\n', 0x1a, '\n', 4,    8,    8};
  int64_t integer;
  double number;
  memcpy(&integer, code + sizeof begin, 8);
  memcpy(&number, code + sizeof begin + 8, 8);
  return memcmp(code, begin, sizeof begin) == 0 && integer == 0x5678 && number == 370.5;
}

int mfi_code_scan(const uint8_t *code, size_t size, code_scan *to) {
  to->nnames = to->nuses = to->nloads = 0;
  if (size < HEADER_BYTES + 1 || size > INT_MAX || !header_is_known(code))
    return 0;
  reader r = {.code = code, .p = code + HEADER_BYTES + 1, .end = code + size, .to = to};
  read_proto(&r, NULL, 0);
  return !r.failed && r.p == r.end && to->nupvalues == code[HEADER_BYTES];
}

void mfi_code_scan_fini(code_scan *s) {
  free(s->names);
  free(s->uses);
  free(s->loads);
  s->names = NULL;
  s->uses = NULL;
  s->loads = NULL;
  s->names_room = s->uses_room = s->loads_room = 0;
}
