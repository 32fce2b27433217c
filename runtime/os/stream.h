// Writing to a descriptor that may be a terminal, a pipe or a file. Floor 1.
#ifndef MFI_OS_STREAM_H
#define MFI_OS_STREAM_H

#include <stdbool.h>
#include <stddef.h>

// Writes at least one byte, sleeping until the descriptor takes one, even a non-blocking one. How
// many; -1 with errno, EINTR after a signal.
long mfi_os_write_some(int fd, const char *data, size_t size);
bool mfi_os_is_terminal(int fd);

#endif
