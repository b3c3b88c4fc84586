// SPDX-License-Identifier: Apache-2.0
//
// Where one run may write: a tmpfs of its own whose sub-directories become /work, /tmp, /var/tmp,
// /home/user and /dev/shm in the run's jails, so that one size bounds them all, and so that the run
// step sees what the compile step made. It is mounted in the agent's mount namespace, since Linux
// before 6.15 clones no part of a mount that is attached nowhere, below a directory that only root
// may enter. It has a user id of its own (agent/slots.h) and is the first holder of it.
#ifndef CSB_AGENT_SPACE_H
#define CSB_AGENT_SPACE_H

#include "agent/slots.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct space {
    char path[96]; // "" when there is none
    int work_fd;   // of the work sub-directory
    uint64_t bytes;
    struct slots *slots;
    uid_t uid;
    gid_t gid;
};

#define SPACE_INIT {.work_fd = -1}

// Mounts a new space below `base` (an absolute directory), owned by an id taken from `slots`
// (borrowed). ERR_BUSY when there is none.
int space_new(const char *base, struct slots *slots, uint64_t bytes, struct space *ret,
              struct err *err);

// Changes the size. Shrinking below what is used fails.
int space_resize(struct space *s, uint64_t bytes, struct err *err);

// True when no block or no inode is left.
bool space_is_full(const struct space *s);

struct space_file {
    const char *path; // relative, checked
    const void *data;
    size_t size;
    bool executable;
};

// Makes a file below the work directory, parents included, owned by the user. Follows no link and
// leaves the directory by no way.
int space_write(struct space *s, const struct space_file *file, struct err *err);

// Appends the content of a regular file of 1 to `max` bytes below the work directory to `ret`. It
// belongs to a program: no link is followed, and nothing but a regular file is read. 0 or -errno.
int space_read(const struct space *s, const char *path, size_t max, struct buf *ret);

// Unmounts; what still holds it keeps it until it is done. Safe on an empty or released space.
void space_free(struct space *s);

#endif
