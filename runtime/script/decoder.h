// The decoder's state, shared by codec_decode.c (values) and func_decode.c (functions).
//
// Floor 5 (script). Locks nothing, sleeps nowhere. All of it lies on the C stack and the Lua stack,
// so that an error leaves nothing behind and a finalizer may decode meanwhile.
//
// Stack, from `base` on: the slots of `enum slot`, then the values; above them what is open.
#ifndef MFI_SCRIPT_DECODER_H
#define MFI_SCRIPT_DECODER_H

#include "script/codec.h"
#include "script/format.h"

#include <lua.h>

#include <stdint.h>

enum slot {         // offsets from decoder.base; nil until they are needed
  SLOT_OBJECTS = 1, // [number + 1] = table, function ...; only where MFI_MESSAGE_REFS is set
  SLOT_FRAMES,      // userdata: the frames, when there are many
  SLOT_METAS,       // {table, metatable, table, metatable ...}: set when all is there
  SLOT_GLOBALS,     // {library or false, name, value ...}: set at the end
  SLOT_CODES,       // [number] = factory, func_decode.c
  SLOT_UPVALUES,    // {function, index, function, index ...}
  SLOTS = SLOT_UPVALUES
};

enum {   // dframe.state
  ITEMS, // of a table
  PAIR_KEY,
  PAIR_VALUE,
  META,
  UPVALUES, // of a function
  SIDES,
  SIDE_VALUE,
  ARGUMENTS // of a transfer
};

typedef struct dframe {
  uint8_t state, has_meta;
  int slot;        // stack index of the table or function, of the first argument
  uint64_t n, i;   // items, upvalues, arguments; how many of them are there
  uint32_t number; // as an object
} dframe;

#define FEW_FRAMES 24

typedef struct decoder {
  mfi_codec *codec;
  lua_State *L;
  const uint8_t *p, *end;
  const mfi_message *message;
  unsigned flags; // MFI_DECODE_*
  int base;
  int has_objects;   // SLOT_OBJECTS is a table
  int meta_is_named; // of the metatable that is read
  uint32_t nobjects, ncodes, nupvalues, nmetas, nglobals;
  uint64_t budget; // slots that tables may still be made with before their contents are seen
  dframe *frames;
  uint32_t nframes, room;
  dframe few[FEW_FRAMES];
} decoder;

_Noreturn void mfi_decode_bad(decoder *d, const char *fmt, ...);
uint8_t mfi_decode_byte(decoder *d);
uint64_t mfi_decode_varint(decoder *d);
// Answers the next n bytes, raises where there are fewer.
const uint8_t *mfi_decode_bytes(decoder *d, uint64_t n);
// Reads a value that has to be a string; NULL where it is none.
const char *mfi_decode_string(decoder *d, size_t *size);
dframe *mfi_decode_push(decoder *d, int state, int slot);
// Answers the table in a slot, made where it is not there yet, at its stack index.
int mfi_decode_slot(decoder *d, int slot);
// Numbers the value at the top.
uint32_t mfi_decode_number(decoder *d);
// Sets the metatables and globals read so far.
void mfi_decode_settle(decoder *d);

// func_decode.c
void mfi_func_read(decoder *d);              // TAG_FUNCTION was read: pushes it, opens its frame
int mfi_func_advance(decoder *d, dframe *f); // 1: the frame is done, its value at the top
void mfi_func_give(decoder *d, dframe *f);   // a child's value is at the top
// A global or addition to be set at the end: reads its names, pushed as library or false, and name;
// with the value above these three are noted.
void mfi_func_read_side(decoder *d);
void mfi_func_keep_side(decoder *d);
void mfi_func_set_globals(decoder *d);

// Reads a value, and pushes it: 0, or 1 where a frame was opened for it.
int mfi_decode_value(decoder *d);

#endif
