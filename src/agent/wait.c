// SPDX-License-Identifier: Apache-2.0
//
// Lets a program that knows nothing of it wait, as csb-agent's prepared interpreters do
// (channel/agent_wire.h): preloaded by LD_PRELOAD, when the dynamic loader is through with all that
// is loaded and relocated, or, with CSB_WAIT_OPEN=NAME, when the program opens NAME for the first
// time. Without CSB_CONTROL_FD it does nothing. The program, and what it starts, see none of the
// three variables. Arguments and environment that the agent sends are not applied: this is for
// compilers, which are sent none.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_ABANDONED 125
#define EXPORT         __attribute__((visibility("default")))

EXPORT int open(const char *path, int flags, ...);
EXPORT int open64(const char *path, int flags, ...);

static atomic_int control = -1; // until the program may go on
static char awaited[PATH_MAX];

static void read_exactly(int fd, void *buf, size_t len)
{
    for (char *at = buf; len > 0;) {
        ssize_t n = read(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(EXIT_ABANDONED);
        at += n;
        len -= (size_t)n;
    }
}

static void wait_to_go(int fd)
{
    char piece[1024];
    uint32_t left;

    if (send(fd, "R", 1, MSG_NOSIGNAL) != 1)
        _exit(EXIT_ABANDONED);
    read_exactly(fd, &left, sizeof(left));
    for (left = ntohl(left); left > 0;) {
        uint32_t n = left < sizeof(piece) ? left : (uint32_t)sizeof(piece);
        read_exactly(fd, piece, n);
        left -= n;
    }
    (void)close(fd);
}

// By hand: a newer C library's strtol would not be found in the image's.
static int descriptor_of(const char *number)
{
    int fd = 0;

    for (const char *p = number; *p != '\0' || p == number; p++) {
        if (*p < '0' || *p > '9' || fd > 99999)
            _exit(EXIT_ABANDONED);
        fd = fd * 10 + (*p - '0');
    }
    return fd;
}

__attribute__((constructor)) static void start(void)
{
    const char *number = getenv("CSB_CONTROL_FD");
    const char *name = getenv("CSB_WAIT_OPEN");

    if (number == NULL)
        return;
    int fd = descriptor_of(number);
    if (name != NULL && strlen(name) >= sizeof(awaited))
        _exit(EXIT_ABANDONED);
    if (name != NULL) {
        memcpy(awaited, name, strlen(name) + 1);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        atomic_store(&control, fd);
    }
    (void)unsetenv("CSB_CONTROL_FD");
    (void)unsetenv("CSB_WAIT_OPEN");
    (void)unsetenv("LD_PRELOAD");
    if (awaited[0] == '\0')
        wait_to_go(fd);
}

static int open_at_last(const char *path, int flags, mode_t mode)
{
    int error = errno;

    if (atomic_load(&control) >= 0 && strcmp(path, awaited) == 0) {
        int fd = atomic_exchange(&control, -1);
        if (fd >= 0)
            wait_to_go(fd);
    }
    errno = error;
    return openat(AT_FDCWD, path, flags, mode);
}

// The mode is there only when a file may be made.
#define OPEN_MODE(flags, mode)                                                                     \
    do {                                                                                           \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE)                        \
            (mode) = va_arg(ap, mode_t);                                                           \
        va_end(ap);                                                                                \
    } while (0)

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    OPEN_MODE(flags, mode);
    return open_at_last(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;

    OPEN_MODE(flags, mode);
    return open_at_last(path, flags | O_LARGEFILE, mode);
}
