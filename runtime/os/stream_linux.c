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
