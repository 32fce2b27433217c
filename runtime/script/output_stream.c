// Gathers lines and writes them: see output_stream.h. Floor 5. Holds the stream's lock (a hook of
// the caller's) around each write; sleeps there and in write(2).
#include "script/output_stream.h"

#include "os/stream.h"
#include "script/stop.h"

#include <errno.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define KEEP (64 * 1024)  // a longer line's buffer is freed after it
#define PIECE (64 * 1024) // most that a sink takes at once

// ---- Writing
// -------------------------------------------------------------------------------------

// A stop ends a write that sleeps; its line stays torn.
static bool stopped(void) {
  const mfi_stop *s = mfi_stop_current();
  return s != NULL && mfi_stop_pending(s) != 0;
}

static bool write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    long n = mfi_os_write_some(fd, data, size);
    if (n >= 0) {
      data += n;
      size -= (size_t)n;
    } else if (errno != EINTR || stopped()) {
      return false;
    }
  }
  return true;
}

static bool give_sink(const mfi_output_stream *s, const char *data, size_t size) {
  while (size > 0) {
    size_t n = size < PIECE ? size : PIECE;
    s->config->sink(s->config->ud, s->number, data, n);
    data += n;
    size -= n;
  }
  return true;
}

static bool write_out(const mfi_output_stream *s, const char *data, size_t size) {
  return s->config->sink ? give_sink(s, data, size) : write_all(s->number, data, size);
}

// What C code of the host has in its buffer was printed before.
static void flush_host(const mfi_output_stream *s) {
  if (s->config->kind == MFI_OUTPUT_MAIN && s->number == 1 && __fpending(stdout) > 0)
    fflush(stdout);
}

// Writes under the lock.
static bool emit(const mfi_output_stream *s, const char *data, size_t size) {
  const mfi_output_config *config = s->config;
  if (size == 0)
    return true;
  mfi_output_turn turn = config->lock ? config->lock(config->ud, s->number) : MFI_TURN_CLEAN;
  if (turn == MFI_TURN_NONE) {
    errno = EINTR;
    return false;
  }
  flush_host(s);
  bool done = (turn == MFI_TURN_CLEAN || write_out(s, "\n", 1)) && write_out(s, data, size);
  int saved = errno;
  if (config->unlock)
    config->unlock(config->ud, s->number, !done || data[size - 1] != '\n');
  errno = saved;
  return done;
}

// ---- Gathering
// -----------------------------------------------------------------------------------

static bool append(mfi_output_stream *s, const char *data, size_t size) {
  if (size == 0)
    return true;
  if (size > s->room - s->size) {
    size_t room = s->room * 2 > s->size + size ? s->room * 2 : s->size + size;
    room = room < 256 ? 256 : room;
    char *text = realloc(s->text, room);
    if (text == NULL)
      return false;
    s->text = text;
    s->room = room;
  }
  memcpy(s->text + s->size, data, size);
  s->size += size;
  return true;
}

// Writes text[0 .. n) and keeps the rest.
static bool emit_gathered(mfi_output_stream *s, size_t n) {
  bool done = emit(s, s->text, n);
  int saved = errno;
  s->size -= n;
  s->whole = 0;
  if (s->size > 0)
    memmove(s->text, s->text + n, s->size);
  if (s->size == 0 && s->room > KEEP) {
    free(s->text);
    s->text = NULL;
    s->room = 0;
  }
  errno = saved;
  return done;
}

// data up to its last newline goes out with what was gathered before, in one write.
static bool put_lines(mfi_output_stream *s, const char *data, size_t size) {
  const char *last = memrchr(data, '\n', size);
  size_t n = last ? (size_t)(last - data) + 1 : 0;
  bool done = true;
  if (n > 0 && s->size == 0) {
    done = emit(s, data, n);
  } else if (n > 0) {
    if (!append(s, data, n))
      return false;
    done = emit_gathered(s, s->size);
  }
  return append(s, data + n, size - n) && done;
}

static bool put_block(mfi_output_stream *s, const char *data, size_t size) {
  const char *last = memrchr(data, '\n', size);
  size_t before = s->size;
  if (!append(s, data, size))
    return false;
  if (last != NULL)
    s->whole = before + (size_t)(last - data) + 1;
  return s->whole < BLOCK || emit_gathered(s, s->whole);
}

bool mfi_output_stream_put(mfi_output_stream *s, const char *data, size_t size) {
  if (size == 0)
    return true;
  switch (s->mode) {
  case MFI_OUTPUT_AT_ONCE:
    return emit(s, data, size);
  case MFI_OUTPUT_LINES:
    return put_lines(s, data, size);
  default:
    return put_block(s, data, size);
  }
}

bool mfi_output_stream_flush(mfi_output_stream *s, bool unfinished_too) {
  size_t n = unfinished_too ? s->size : s->whole;
  return n == 0 || emit_gathered(s, n);
}
