// Writing to a descriptor that may be a terminal, a pipe or a file. Floor 1.
#ifndef MFI_OS_STREAM_H
#define MFI_OS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

// Writes at least one byte, sleeping until the descriptor takes one, even a non-blocking one. How
// many; -1 with errno, EINTR after a signal.
long mfi_os_write_some(int fd, const char *data, size_t size);
bool mfi_os_is_terminal(int fd);

// An unbuffered FILE that gives what is written to `write` (0: failed, errno says why), and whose
// fileno is that of `fd`, for code that asks whether it is a terminal. NULL: errno.
FILE *mfi_os_file_writing(ssize_t (*write)(void *ud, const char *data, size_t size), void *ud,
                          int fd);
void mfi_os_file_close(FILE *file); // one of these; fd stays open
// A FILE that is at its end.
FILE *mfi_os_file_empty(void);

#endif
