// One stream of a state's output: gathers text into whole lines and writes these. Floor 5.
#ifndef MFI_SCRIPT_OUTPUT_STREAM_H
#define MFI_SCRIPT_OUTPUT_STREAM_H

#include "script/output.h"

#include <stdio.h>

typedef enum mfi_output_mode {
  MFI_OUTPUT_AT_ONCE, // even half a line
  MFI_OUTPUT_LINES,   // each line when it is complete
  MFI_OUTPUT_BLOCK    // 4 KiB of complete lines
} mfi_output_mode;

// text[0 .. whole) are complete lines, text[whole .. size) the one that is being written;
// size <= room. In AT_ONCE mode size is 0, in LINES mode whole is 0, between two calls.
typedef struct mfi_output_stream {
  const mfi_output_config *config;
  int number; // 1 or 2
  mfi_output_mode mode;
  FILE *file; // what io.stdout or io.stderr write to; NULL: not installed
  char *text;
  size_t whole, size, room;
} mfi_output_stream;

// False: errno says why; what could not be written is dropped.
bool mfi_output_stream_put(mfi_output_stream *s, const char *data, size_t size);
bool mfi_output_stream_flush(mfi_output_stream *s, bool unfinished_too);

#endif
