// SPDX-License-Identifier: Apache-2.0
//
// A table of runtimes for what takes programs: Python alone, from a file as they are read.
#ifndef CSB_FUZZ_RUNTIMES_H
#define CSB_FUZZ_RUNTIMES_H

#include "sandbox/runtime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct runtime_table *fuzz_runtimes(void)
{
    static const char text[] = "name = Python\nversion = 3.11.2\nextension = py\naliases = py\n"
                               "run = /usr/bin/python3 main.py\n";
    struct runtime_table *table = NULL;
    char dir[] = "/tmp/csb-fuzz-XXXXXX";
    struct err err = ERR_INIT;
    int dirfd;
    int fd;

    if (mkdtemp(dir) == NULL)
        abort();
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = openat(dirfd, "python.runtime", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, sizeof(text) - 1) < 0 ||
        runtime_table_load(dirfd, &table, &err) < 0)
        abort();
    (void)close(fd);
    (void)unlinkat(dirfd, "python.runtime", 0);
    (void)close(dirfd);
    (void)rmdir(dir);
    return table;
}

#endif
