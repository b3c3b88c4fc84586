// SPDX-License-Identifier: Apache-2.0
//
// What an interpreter would do in its own language between a fork and its program, done here:
// every object it would use for that is a page of memory to copy.
#include "jail/zygote_internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT       __attribute__((visibility("default")))
#define EXIT_NO_WORD 125
#define ARCHIVE_END  (65536 + 22) // a zip archive ends with a record of 22 bytes and its comment

// What most programs are told (channel/agent_wire.h, "Prepared interpreters").
#define NOTHING_TOLD "{\"args\":[],\"env\":{}}"

EXPORT int csb_zygote_example(const char *program);
EXPORT int csb_zygote_wait(int fd, const char *program);

static bool has_signature(const char *at, const char *end)
{
    for (const char *p = at; (p = memchr(p, 'P', (size_t)(end - p))) != NULL; p++)
        if (end - p >= 4 && memcmp(p, "PK\5\6", 4) == 0)
            return true;
    return false;
}

// Whether an interpreter will read the program as text: it is a file, and where an archive has the
// end of its directory there is none.
static bool is_plain(const char *program)
{
    static char tail[ARCHIVE_END];
    _cleanup_fd_ int fd = open(program, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    n = pread(fd, tail, sizeof(tail),
              st.st_size > (off_t)sizeof(tail) ? st.st_size - (off_t)sizeof(tail) : 0);
    return n >= 0 && !has_signature(tail, tail + n);
}

// Says on a program's control socket that it is ready and waits for its word. -1: it has no more to
// say, the socket is closed, and the program is a plain file. Else the descriptor, on which the
// message is still to be read.
int csb_zygote_wait(int fd, const char *program)
{
    uint8_t expected[4 + sizeof(NOTHING_TOLD) - 1];
    uint8_t told[sizeof(expected)];
    const uint32_t size = htonl(sizeof(NOTHING_TOLD) - 1);
    ssize_t n;

    memcpy(expected, &size, sizeof(size));
    memcpy(expected + sizeof(size), NOTHING_TOLD, sizeof(NOTHING_TOLD) - 1);
    while ((n = send(fd, "R", 1, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    while (n == 1 && (n = recv(fd, told, sizeof(told), MSG_PEEK)) < 0 && errno == EINTR)
        n = 1;
    if (n <= 0)
        _exit(EXIT_NO_WORD);
    if (n != (ssize_t)sizeof(told) || memcmp(told, expected, sizeof(told)) != 0 ||
        !is_plain(program))
        return fd;
    (void)close(fd);
    return -1;
}

static int write_program(const char *name)
{
    static const char text[] = "print('hello')\n";
    _cleanup_fd_ int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    return fd < 0 ? -errno : fd_write_all(fd, text, sizeof(text) - 1);
}

// In the child that a zygote learns from: gives it a program where the interpreter, which made the
// name absolute when it started, will look for it. That is on a mount which nobody else sees.
int csb_zygote_example(const char *program)
{
    char place[PATH_MAX];
    _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int target = 0; target < 3; target++)
        if (null < 0 || dup2(null, target) < 0)
            return -errno;
    if (getcwd(place, sizeof(place)) == NULL || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("csb-example", place, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k") < 0 ||
        chdir(place) < 0)
        return -errno;
    return write_program(program);
}
