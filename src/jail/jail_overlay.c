// SPDX-License-Identifier: Apache-2.0
//
// A root that can be written to: the plan's root below, a tmpfs of bounded size above. Both are in
// the jail's user namespace, so what the program changes belongs to ids of it, and the files below
// can be changed only as far as their owners are among them.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGE "/tmp" // covered by the tmpfs, and later by the root

static int make_upper(struct jail_ctx *c)
{
    const struct jail_plan *p = c->plan;
    _cleanup_fd_ int upper =
        jail_tmpfs(p->overlay_bytes, p->overlay_inodes, 0700, jail_skeleton_uid(c),
                   jail_skeleton_gid(c), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    int r;

    if (upper < 0)
        return jail_step_failed(c, upper, "make the overlay's tmpfs");
    if (mkdirat(upper, "data", 0755) < 0 || fchmodat(upper, "data", 0755, 0) < 0 ||
        mkdirat(upper, "work", 0700) < 0)
        return jail_step_failed(c, errno, "make the overlay's directories");
    r = jail_attach(upper, AT_FDCWD, STAGE);
    return r < 0 ? jail_step_failed(c, r, "attach the overlay's tmpfs") : 0;
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
    r = make_upper(c);
    if (r < 0)
        return r;
    fs = fsopen("overlay", FSOPEN_CLOEXEC);
    r = fs < 0 ? -errno : configure(fs, lower);
    if (r < 0)
        return jail_step_failed(c, r, "make the overlay");
    c->root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return c->root < 0 ? jail_step_failed(c, errno, "mount the overlay") : 0;
}
