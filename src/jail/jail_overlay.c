// SPDX-License-Identifier: Apache-2.0
//
// A root that can be written to: the plan's root below, a tmpfs of bounded size above. Both are in
// the jail's user namespace, so what the program changes belongs to ids of it, and the files below
// can be changed only as far as their owners are among them; see jail_seed.c for one that has a
// single id.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define STAGE       "/tmp"        // covered by the tmpfs, and later by the root
#define SEED_BYTES  (64ull << 20) // room for what is made anew, until it is known
#define SEED_INODES (JAIL_SEED_MAX + 64u)

static bool is_stranger(const struct jail_ctx *c)
{
    return c->plan->uid_map_count == 0;
}

// What is made anew is no part of what the program may write.
static int seed(struct jail_ctx *c, int lower, int upper)
{
    _cleanup_fd_ int data = openat(upper, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statvfs st;
    int r;

    if (data < 0)
        return jail_step_failed(c, errno, "open the overlay's directory");
    r = jail_seed(c, lower, data);
    if (r < 0)
        return r;
    if (fstatvfs(upper, &st) < 0)
        return jail_step_failed(c, errno, "measure the overlay");
    r = jail_scratch_resize(upper,
                            c->plan->overlay_bytes + (st.f_blocks - st.f_bfree) * st.f_bsize);
    return r < 0 ? jail_step_failed(c, r, "set the overlay's size") : 0;
}

static int make_upper(struct jail_ctx *c, int lower)
{
    const struct jail_plan *p = c->plan;
    _cleanup_fd_ int upper = jail_tmpfs(p->overlay_bytes + (is_stranger(c) ? SEED_BYTES : 0),
                                        p->overlay_inodes + (is_stranger(c) ? SEED_INODES : 0),
                                        0700, jail_skeleton_uid(c), jail_skeleton_gid(c),
                                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    int r;

    if (upper < 0)
        return jail_step_failed(c, upper, "make the overlay's tmpfs");
    if (mkdirat(upper, "data", 0755) < 0 || fchmodat(upper, "data", 0755, 0) < 0 ||
        mkdirat(upper, "work", 0700) < 0)
        return jail_step_failed(c, errno, "make the overlay's directories");
    r = jail_attach(upper, AT_FDCWD, STAGE);
    if (r < 0)
        return jail_step_failed(c, r, "attach the overlay's tmpfs");
    return is_stranger(c) ? seed(c, lower, upper) : 0;
}

static int configure(int fs, int lower)
{
    char path[64];

    // By descriptor, because the path may be covered by now, and may have a colon in it.
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", lower);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", path, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", STAGE "/data", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "workdir", STAGE "/work", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    return 0;
}

int jail_overlay_root(struct jail_ctx *c)
{
    _cleanup_fd_ int lower = open(c->plan->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_fd_ int fs = -1;
    int r;

    if (lower < 0)
        return jail_step_failed(c, errno, "open the root %s", c->plan->root);
    r = make_upper(c, lower);
    if (r < 0)
        return r;
    fs = fsopen("overlay", FSOPEN_CLOEXEC);
    r = fs < 0 ? -errno : configure(fs, lower);
    if (r < 0)
        return jail_step_failed(c, r, "make the overlay");
    c->root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return c->root < 0 ? jail_step_failed(c, errno, "mount the overlay") : 0;
}
