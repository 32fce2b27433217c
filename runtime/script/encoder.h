// The encoder's memory and verbs, shared by the files that fill it: codec_encode.c (values),
// func_encode.c (functions, globals). No one else includes this.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
//
// Encoding is a loop over a stack of frames, one for each table, function or rebuilt userdata that
// is open; nothing recurses, so depth is bounded by Lua's stack alone (about 300,000).
//
//   PLAIN  a message of plain data: its tables are read in place (codec_plain.c). Else begun anew
//   in FAST   data. Calls nothing of Lua that allocates, so no Lua code runs meanwhile. HEAVY begun
//   anew inside lua_pcall once FAST meets a function, a metatable without a name ...
//          Lua allocates, finalizers and __transfer run and may encode themselves: they use the
//          next encoder of codec.encoders, for `depth` is raised; the pcall puts it back.
#ifndef MFI_SCRIPT_ENCODER_H
#define MFI_SCRIPT_ENCODER_H

#include "script/codec.h"
#include "script/format.h"
#include "script/func_code.h"
#include "script/names.h"
#include "script/peek.h"

#include <lua.h>

#include <stdint.h>

typedef enum step { STEP_DONE, STEP_OPENED, STEP_FAILED } step;

typedef enum frame_kind {
  FRAME_TABLE,
  FRAME_FUNCTION,
  FRAME_TRANSFER, // of a userdata: slot is the first of the n values that its __transfer gave
  FRAME_ADDITIONS // all of them; slot is a list of their libraries and names
} frame_kind;

// An open table:
//
//   ITEMS --[all items]--> PAIRS <--> KEY (a key is written; if composite, its frame is open)
//   PAIRS --[lua_next ends]--> META --[metatable, if it has one]--> done
//
// In PAIRS and KEY the key lies at top + 1, its value at top + 2. A function: UPVALUES --> SIDES.
typedef enum frame_phase {
  PHASE_ITEMS,
  PHASE_PAIRS,
  PHASE_KEY,
  PHASE_META,
  PHASE_UPVALUES,
  PHASE_SIDES, // globals and additions; the name at top + 1, the value at top + 2
  PHASE_ARGUMENTS
} frame_phase;

typedef struct frame {
  uint8_t kind, phase;
  uint8_t weak;     // of a function: its child may fail, e->saves has what to return to
  uint8_t has_meta; // of a table: its metatable is sent, too
  int slot;         // stack index of the table, function, list
  int top;          // the stack's top while it is this frame's turn; children lie above
  size_t n, i;      // items, upvalues, values; how many of them were begun
  size_t group;     // of a function: which of its lists of names it is at
  size_t at;        // of a table: where the hint of its pairs lies in the scratch memory
  size_t pairs;     // pairs begun
  uint64_t mark;    // encoder_total when the present child began (for captures)
} frame;

typedef struct piece { // a large string's place: behind `at` bytes of the scratch memory
  size_t at;
  const char *data;
  size_t size;
} piece;

// What a weak global undoes if it cannot be sent: taken before its name is written.
typedef struct savepoint {
  size_t at;
  uint64_t piece_bytes;
  uint32_t npieces, nrefs, nobjects, nupvalues, ncodes, message_flags;
  int nsent;
  size_t nframes; // the last of them is the function that names the global
} savepoint;

// Identities seen in this message: id i is pointers[i]. Up to eight are searched linearly; then
// buckets hold id + 1 (0: free) in open addressing, at most half full.
typedef struct seen {
  const void **pointers;
  uint32_t count;
  uint32_t nbuckets; // a power of two; 0: to be built
  uint32_t *buckets;
  size_t room, buckets_room;
} seen;

typedef struct encoder {
  mfi_codec *codec;
  lua_State *L;   // during a call only
  uint8_t *bytes; // scratch memory
  size_t at, room;
  piece *pieces;
  uint32_t npieces, nrefs;
  uint32_t refs_before; // those of earlier messages of a list
  uint64_t piece_bytes;
  uint64_t *refs;
  size_t pieces_room, refs_room;
  seen objects;  // tables, functions, userdata
  seen upvalues; // lua_upvalueid
  seen codes;    // hashes of the code sent, as pointers
  frame *frames;
  size_t nframes, frames_room;
  struct plain_frame *plain; // codec_plain.c
  size_t plain_room;
  savepoint *saves;
  size_t nsaves, saves_room;
  mfi_encoded *list; // of mfi_encode_list
  size_t list_room;
  uint32_t message_flags; // MFI_MESSAGE_*
  unsigned flags;         // MFI_ENCODE_*
  uint8_t heavy;          // running in the pcall
  uint8_t wants_heavy;    // FAST failed for that reason alone
  uint8_t anchored;       // the registry holds a table of strings for this encoder
  uint8_t in_list;        // later messages may run Lua code: FAST copies large strings
  int sent;               // HEAVY: stack index of the names sent: [k] = name, [name] = k
  int nsent;
  const void *by_value;   // MFI_ENCODE_DEFINE: what is sent by value though it has a name
  const char *roots;      // mfi_encode
  int first;              // stack index of the first value
  size_t root, root_base; // number of the value that is encoded, from 0; and of its list's
  code_scan scan;         // of the function that is opened
  uint8_t *dump;          // its bytecode
  size_t dump_size, dump_room;
  char why[160]; // what cannot be sent, when a step failed
} encoder;

struct mfi_codec {
  mfi_codec_hooks hooks;
  encoder **encoders; // [0 .. depth): in use by heavy calls below this one
  int depth, nencoders;
  names names;
  int unpublished;          // registry: there are classes that the next message publishes
  struct code_cache *cache; // loaded code by content, func_factory.c
  int peek;                 // tables may be looked into: peek.h
};

// Makes the scratch memory hold n more bytes; raises when there is no memory.
void mfi_codec_grow(encoder *e, size_t n);

static inline uint8_t *encoder_room(encoder *e, size_t n) {
  if (e->room - e->at < n)
    mfi_codec_grow(e, n);
  return e->bytes + e->at;
}

static inline void encoder_put(encoder *e, const void *data, size_t n) {
  memcpy(encoder_room(e, n), data, n);
  e->at += n;
}

static inline void encoder_byte(encoder *e, uint8_t b) {
  *encoder_room(e, 1) = b;
  e->at++;
}

static inline void encoder_varint(encoder *e, uint64_t n) {
  uint8_t *p = encoder_room(e, FORMAT_VARINT_MAX);
  e->at = (size_t)(format_varint(p, n) - e->bytes);
}

// The name under which an object travels, or NULL.
static inline const name_entry *encoder_name(const encoder *e, const void *pointer, int type) {
  return pointer == e->by_value ? NULL : names_find(&e->codec->names, pointer, type);
}

static inline uint64_t encoder_total(const encoder *e) { return e->at + e->piece_bytes; }

// Grows *array (of `size` byte elements) so that it holds `count`; raises without memory.
void mfi_codec_reserve(lua_State *L, void *array, size_t *room, size_t count, size_t size);

// Encodes n values from stack index `first`. FAST may end with e->wants_heavy set; else it is done,
// or it raises. [-0, +0, v]
void mfi_codec_run(encoder *e, int first, int n);

// The id of a pointer seen before, or -1 and it is entered with the next id.
int64_t mfi_codec_seen(encoder *e, seen *s, const void *pointer);
// 1 where the object was met before: its number is written. Else it gets the next number.
int mfi_codec_again(encoder *e, const void *pointer);

// Encodes the value at stack index idx (absolute). STEP_OPENED: a frame was pushed for it; the
// value stays where it is until that frame is done. STEP_FAILED: e->why says what cannot be sent.
step mfi_codec_value(encoder *e, int idx);
// A string's tag, length and bytes.
void mfi_codec_string(encoder *e, int idx, const char *data, size_t size);
// Bytes, the contents of the string at idx; large ones become a piece.
void mfi_codec_bytes(encoder *e, int idx, const char *data, size_t size);

void mfi_codec_integer(encoder *e, int64_t i);
void mfi_codec_float(encoder *e, double d);
void mfi_codec_name(encoder *e, const name_entry *name);
// Writes the numbers of the same type that begin at v[i] and lie before v[end]; answers where they
// end (i: there are none).
size_t mfi_codec_numbers(encoder *e, const peek_value *v, size_t i, size_t end);

// Writes nil, a boolean, a number or a short string: 1, or 0 where it is none of these.
int mfi_codec_scalar(encoder *e, int idx);

// In codec_plain.c: writes the message without a call of Lua for each element: 1, or 0 and nothing
// is written where it holds anything but plain data.
int mfi_codec_plain(encoder *e, int first, int n);

frame *mfi_codec_push(encoder *e, frame_kind kind, frame_phase phase, int slot);
void mfi_codec_pop(encoder *e);

// Notes what cannot be sent. Answers STEP_FAILED.
step mfi_codec_refuse(encoder *e, const char *fmt, ...);
step mfi_codec_need_heavy(encoder *e);

// In func_encode.c:
step mfi_func_open(encoder *e, int idx);     // a Lua function by value
step mfi_func_transfer(encoder *e, int idx); // at the top: the __transfer of the value at idx
step mfi_func_additions(encoder *e);         // opens a frame that sends all of them
step mfi_func_step(encoder *e, frame *f);    // of all three
void mfi_func_undo(encoder *e, const savepoint *to);
// The part of a path that f's present child is, and what is to be said behind its fields.
void mfi_func_part(encoder *e, const frame *f, char *buf, size_t size, char *suffix,
                   size_t suffix_size);

// In encode_path.c: raises not_sendable for e->why.
_Noreturn void mfi_codec_fail(encoder *e);

// In captures.c: notes what was written, where MFI_ENCODE_REPORT is set. [-0, +0, m]
#define MFI_ENCODE_REPORT 0x100u
typedef enum report_kind { REPORT_UPVALUE, REPORT_GLOBAL, REPORT_CODE } report_kind;
void mfi_captures_note(encoder *e, report_kind kind, const char *name, uint64_t bytes);
void mfi_captures_note_module(encoder *e, const name_entry *name);

#endif
