// Writing to descriptors: see stream.h. Floor 1. Locks nothing; sleeps in write(2) and poll(2).
#include "os/stream.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

long mfi_os_write_some(int fd, const char *data, size_t size) {
  for (;;) {
    ssize_t n = write(fd, data, size);
    if (n >= 0 || errno != EAGAIN)
      return n;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, -1) < 0)
      return -1;
  }
}

bool mfi_os_is_terminal(int fd) { return isatty(fd); }

// glibc lets a cookie stream have a number; nothing but fileno looks at it.
static void set_fileno(FILE *file, int fd) {
#ifdef __GLIBC__
  file->_fileno = fd;
#else
  (void)file, (void)fd;
#endif
}

FILE *mfi_os_file_writing(ssize_t (*write)(void *ud, const char *data, size_t size), void *ud,
                          int fd) {
  FILE *file = fopencookie(ud, "w", (cookie_io_functions_t){.write = write});
  if (file == NULL)
    return NULL;
  setvbuf(file, NULL, _IONBF, 0);
  set_fileno(file, fd);
  return file;
}

// The number was lent: who watches descriptors (TSan) must not see that one closed.
void mfi_os_file_close(FILE *file) {
  set_fileno(file, -1);
  fclose(file);
}

static ssize_t read_nothing(void *ud, char *buffer, size_t size) {
  (void)ud, (void)buffer, (void)size;
  return 0;
}

FILE *mfi_os_file_empty(void) {
  FILE *file = fopencookie(NULL, "r", (cookie_io_functions_t){.read = read_nothing});
  if (file != NULL)
    setvbuf(file, NULL, _IONBF, 0);
  return file;
}
