// SPDX-License-Identifier: Apache-2.0
//
// Which files the code under test has put on the disk, in order: no cut of the power is needed to
// see that one was forgotten. This fsync() is that of the whole program.
#ifndef CSB_TESTS_SYNCED_H
#define CSB_TESTS_SYNCED_H

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Their names without directories, a space after each; ".tmp" for one that is not to stay.
static char synced[256];

int fsync(int fd)
{
    char link[32], path[256];
    const char *name;
    ssize_t n;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    (void)snprintf(synced + strlen(synced), sizeof(synced) - strlen(synced), "%.*s ",
                   strncmp(name, ".tmp-", 5) == 0 ? 4 : 60, name);
    return (int)syscall(SYS_fsync, fd);
}

#endif
