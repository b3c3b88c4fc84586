// SPDX-License-Identifier: Apache-2.0
//
// A user namespace needs a process to begin with: one that does nothing, and is ended once the
// namespace is held by a descriptor.
#include "jail/jail.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_map(long pid, const char *name, const struct jail_id_map *map)
{
    char path[64], text[64];

    (void)snprintf(path, sizeof(path), "/proc/%ld/%s", pid, name);
    (void)snprintf(text, sizeof(text), "%u %u %u", map->inside, map->outside, map->count);
    return fd_write_file(AT_FDCWD, path, text);
}

int jail_user_namespace(const struct jail_id_map *uids, const struct jail_id_map *gids, int *ret_fd)
{
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    char path[64];
    int fd = -1;
    int r;

    if (pid < 0)
        return -errno;
    if (pid == 0)
        for (;;)
            (void)pause(); // until it is killed
    r = write_map(pid, "uid_map", uids);
    if (r == 0)
        r = write_map(pid, "gid_map", gids);
    (void)snprintf(path, sizeof(path), "/proc/%ld/ns/user", pid);
    if (r == 0) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        r = fd < 0 ? -errno : 0;
    }
    (void)kill((pid_t)pid, SIGKILL);
    while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r == 0)
        *ret_fd = fd;
    return r;
}
