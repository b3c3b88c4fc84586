// SPDX-License-Identifier: Apache-2.0
//
// Landlock: the program may change files only beneath what the plan mounted writable, and signal
// only its own descendants and siblings in the jail. The mounts and namespaces say the same; this
// holds when one of them is got around.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Version 1 refuses every rename between directories, which honest programs do.
#define ABI_MIN      2
#define ABI_TRUNCATE 3
#define ABI_SCOPES   6

// Of linux/landlock.h since 6.2 and 6.12; older headers do not have them.
#define FS_TRUNCATE (1ull << 14)
#define SCOPE_ALL   3ull // abstract unix sockets, signals

#define FILE_ACCESS (LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)
#define DIRECTORY_ACCESS                                                                           \
    (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                              \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |    \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
     LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)

// As the kernel reads it from version 6 on; shorter for older ones.
struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

static int make_ruleset(uint64_t *ret_fs)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct ruleset rules = {.fs = FILE_ACCESS | DIRECTORY_ACCESS};
    size_t size = sizeof(rules.fs);
    int fd;

    if (abi < ABI_MIN)
        return -EOPNOTSUPP;
    if (abi < ABI_TRUNCATE)
        rules.fs &= ~FS_TRUNCATE;
    if (abi >= ABI_SCOPES) {
        rules.scoped = SCOPE_ALL;
        size = sizeof(rules);
    }
    fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (fd < 0)
        return -errno;
    *ret_fs = rules.fs;
    return fd;
}

static bool may_write(const struct jail_mount *m)
{
    switch (m->kind) {
    case JAIL_MOUNT_BIND:
    case JAIL_MOUNT_BIND_FD:
    case JAIL_MOUNT_TMPFS:
    case JAIL_MOUNT_SCRATCH:
    case JAIL_MOUNT_CGROUP2:
        return !m->read_only;
    case JAIL_MOUNT_PROC: // a process writes to its own files
    case JAIL_MOUNT_DEV:  // and to /dev/null
        return true;
    case JAIL_MOUNT_SYMLINK:
        break;
    }
    return false;
}

static int allow_beneath(int ruleset, const char *path, uint64_t fs)
{
    _cleanup_fd_ int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {.allowed_access = fs, .parent_fd = fd};
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno; // an optional mount
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        rule.allowed_access &= FILE_ACCESS;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return -errno;
    return 0;
}

int jail_landlock(struct jail_ctx *c)
{
    uint64_t fs = 0;
    _cleanup_fd_ int ruleset = make_ruleset(&fs);

    if (ruleset == -EOPNOTSUPP || ruleset == -ENOSYS)
        return 0;
    if (ruleset < 0)
        return jail_step_failed(c, ruleset, "make a Landlock ruleset");
    for (size_t i = 0; i < c->plan->mount_count; i++) {
        const struct jail_mount *m = &c->plan->mounts[i];
        int r = may_write(m) ? allow_beneath(ruleset, m->target, fs) : 0;

        if (r < 0)
            return jail_step_failed(c, r, "allow writing beneath %s", m->target);
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return jail_step_failed(c, errno, "enforce the Landlock ruleset");
    return 0;
}
