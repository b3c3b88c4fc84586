// SPDX-License-Identifier: Apache-2.0
//
// File descriptors: scope-exit cleanup, whole reads and writes, and passing descriptors over unix
// sockets. Everything made here is CLOEXEC.
#ifndef CSB_BASE_FD_H
#define CSB_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FD_PASS_MAX 16

struct buf;

// Closes *fd if >= 0 and sets it to -1; errno is kept.
void fd_close(int *fd);
#define _cleanup_fd_ __attribute__((cleanup(fd_close)))
static inline int fd_steal(int *fd)
{
    int v = *fd;

    *fd = -1;
    return v;
}

void fd_free_str(char **s);
#define _cleanup_free_ __attribute__((cleanup(fd_free_str)))

// Writes all of it. 0 or -errno.
int fd_write_all(int fd, const void *data, size_t len);

// Reads exactly `len` bytes. 0, -errno, or -ENODATA on an early end of file.
int fd_read_all(int fd, void *data, size_t len);

// Appends the file's content from the current offset to `b` (whose cap holds). 0 or -errno.
int fd_read_to_buf(int fd, struct buf *b);

// Reads a whole small file beneath `dirfd` (AT_FDCWD allowed), at most `max` bytes; the result is
// NUL-terminated. Caller frees *ret. 0 or -errno (-EFBIG when larger).
int fd_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

// Opens, writes, closes: for kernel files (cgroup, proc). 0 or -errno.
int fd_write_file(int dirfd, const char *path, const char *text);

// Waits until fd has one of the poll(2) `events`. Returns revents (> 0), 0 at the deadline, -errno.
int fd_wait(int fd, short events, uint64_t deadline_ns);

int fd_set_nonblock(int fd, int on);

// A connected AF_UNIX pair; type SOCK_STREAM or SOCK_SEQPACKET. 0 or -errno.
int fd_socketpair(int type, int ret_fds[2]);

// Sends one message with up to FD_PASS_MAX descriptors (borrowed). 0 or -errno.
int fd_send_msg(int sock, const void *data, size_t len, const int *fds, size_t fd_count);

// Receives one message of at most `len` bytes and up to `fd_max` descriptors (owned by the caller,
// CLOEXEC). Returns the byte count, 0 at end of file, -errno; -EMSGSIZE when data or descriptors
// were cut (then none are kept).
ssize_t fd_recv_msg(int sock, void *data, size_t len, int *fds, size_t fd_max, size_t *ret_fds);

#endif
