// SPDX-License-Identifier: Apache-2.0
//
// The root of the jail. Works on descriptors of detached mounts: every source is cloned while the
// outer tree is still whole, then attached inside the new root, so no path is ever looked up
// through a half-built tree, and targets are resolved so that no symbolic link leads out of the
// root.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// An outer directory to build on. It is covered only in the jail's own mount namespace, and the
// whole outer tree is dropped at the end.
#define STAGE "/tmp"

// Everything the program may write is on tmpfs of bounded size; the jail's own skeletons are tiny.
#define SKELETON_BYTES  (256u * 1024u)
#define SKELETON_INODES 512u

int jail_open_tree(int dirfd, const char *path, bool recursive)
{
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    int fd = open_tree(dirfd, path, recursive ? flags | AT_RECURSIVE : flags);

    return fd < 0 ? -errno : fd;
}

int jail_set_attr(int tree, uint64_t attr_set, bool recursive)
{
    struct mount_attr attr = {.attr_set = attr_set};
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);

    return mount_setattr(tree, "", flags, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int jail_attach(int tree, int target_dirfd, const char *target)
{
    unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*target == '\0' ? MOVE_MOUNT_T_EMPTY_PATH : 0u);

    return move_mount(tree, "", target_dirfd, target, flags) < 0 ? -errno : 0;
}

static int set_number(int fs, const char *key, uint64_t value)
{
    char text[32];

    // The mode is read as octal, everything else as decimal.
    (void)snprintf(text, sizeof(text), strcmp(key, "mode") == 0 ? "%llo" : "%llu",
                   (unsigned long long)value);
    return fsconfig(fs, FSCONFIG_SET_STRING, key, text, 0) < 0 ? -errno : 0;
}

// The owner of the jail's own directories: root, where there is one.
uid_t jail_skeleton_uid(const struct jail_ctx *c)
{
    return (c->plan->ns & JAIL_NS_USER) && c->plan->uid_map_count == 0 ? c->plan->uid : 0;
}

gid_t jail_skeleton_gid(const struct jail_ctx *c)
{
    return (c->plan->ns & JAIL_NS_USER) && c->plan->gid_map_count == 0 ? c->plan->gid : 0;
}

int jail_tmpfs(uint64_t size_bytes, uint64_t inodes, uint32_t mode, uid_t uid, gid_t gid,
               unsigned attr)
{
    _cleanup_fd_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    int r;
    int fd;

    if (fs < 0)
        return -errno;
    r = set_number(fs, "size", size_bytes);
    if (r == 0 && inodes != 0)
        r = set_number(fs, "nr_inodes", inodes);
    if (r == 0)
        r = set_number(fs, "mode", mode);
    if (r == 0)
        r = set_number(fs, "uid", uid);
    if (r == 0)
        r = set_number(fs, "gid", gid);
    if (r < 0)
        return r;
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    fd = fsmount(fs, FSMOUNT_CLOEXEC, attr);
    return fd < 0 ? -errno : fd;
}

static unsigned mount_attrs(const struct jail_mount *m)
{
    unsigned attr = MOUNT_ATTR_NOSUID;

    if (m->read_only)
        attr |= MOUNT_ATTR_RDONLY;
    if (!m->exec)
        attr |= MOUNT_ATTR_NOEXEC;
    if (!m->dev)
        attr |= MOUNT_ATTR_NODEV;
    return attr;
}

int jail_clone_fd_trees(struct jail_ctx *c)
{
    for (size_t i = 0; i < c->plan->mount_count; i++) {
        const struct jail_mount *m = &c->plan->mounts[i];
        int fd;

        if (m->kind != JAIL_MOUNT_BIND_FD)
            continue;
        fd = jail_open_tree(m->fd, "", true);
        if (fd < 0)
            return jail_step_failed(c, fd, "clone the mount of a descriptor for %s", m->target);
        c->trees[i] = fd;
    }
    return 0;
}

// Clones what comes from the outer tree, before anything is covered.
static int open_sources(struct jail_ctx *c)
{
    for (size_t i = 0; i < c->plan->mount_count; i++) {
        const struct jail_mount *m = &c->plan->mounts[i];
        int r;

        if (m->kind == JAIL_MOUNT_BIND) {
            int fd = jail_open_tree(AT_FDCWD, m->source, true);

            if (fd == -ENOENT && m->optional)
                continue;
            if (fd < 0)
                return jail_step_failed(c, fd, "open mount source %s", m->source);
            c->trees[i] = fd;
        }
        if (m->kind == JAIL_MOUNT_DEV && m->reuse && c->reuse_dev) {
            c->trees[i] = jail_open_tree(AT_FDCWD, "/dev", true);
            if (c->trees[i] < 0)
                return jail_step_failed(c, c->trees[i], "open /dev");
        }
        if (m->kind != JAIL_MOUNT_BIND && m->kind != JAIL_MOUNT_BIND_FD)
            continue;
        r = jail_set_attr(c->trees[i], mount_attrs(m), true);
        if (r < 0)
            return jail_step_failed(c, r, "restrict mount of %s", m->target);
    }
    return 0;
}

static int open_in_root(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

    return fd < 0 ? -errno : fd;
}

// Makes the last component of `path`; all before it exist.
static int make_component(int root, const char *path, bool directory)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    _cleanup_fd_ int dir = -1;
    int r;

    (void)snprintf(parent, sizeof(parent), "%.*s", slash == NULL ? 1 : (int)(slash - path),
                   slash == NULL ? "." : path);
    dir = open_in_root(root, parent, O_PATH | O_DIRECTORY);
    if (dir < 0)
        return dir;
    r = directory ? mkdirat(dir, name, 0755) : mknodat(dir, name, S_IFREG | 0644, 0);
    return r < 0 && errno != EEXIST ? -errno : 0;
}

// Makes `path` (relative to root) and what leads to it.
static int make_path(int root, const char *path, bool directory)
{
    char part[PATH_MAX];

    for (const char *p = strchr(path, '/'); p != NULL; p = strchr(p + 1, '/')) {
        int fd;

        (void)snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
        fd = open_in_root(root, part, O_PATH);
        if (fd == -ENOENT) {
            int r = make_component(root, part, true);

            if (r < 0)
                return r;
            continue;
        }
        if (fd < 0)
            return fd;
        fd_close(&fd);
    }
    return make_component(root, path, directory);
}

// An O_PATH descriptor of a mount's target; made first where the root is our own tmpfs.
static int open_target(struct jail_ctx *c, const char *target, bool directory)
{
    const char *rel = target + 1; // the plan's paths are absolute
    int fd;

    if (*rel == '\0')
        return -EINVAL;
    fd = open_in_root(c->root, rel, O_PATH);
    if (fd != -ENOENT || c->plan->root != NULL)
        return fd;
    fd = make_path(c->root, rel, directory);
    if (fd < 0)
        return fd;
    return open_in_root(c->root, rel, O_PATH);
}

static bool is_directory(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int scratch_tree(struct jail_ctx *c, const struct jail_mount *m)
{
    uint32_t mode = m->mode != 0 ? m->mode : 0700;
    int r;
    int fd;

    // mkdir's mode is cut by the umask, so it is set again.
    if (mkdirat(c->scratch, m->source, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (fchownat(c->scratch, m->source, c->plan->uid, c->plan->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (fchmodat(c->scratch, m->source, mode, 0) < 0)
        return -errno;
    fd = jail_open_tree(c->scratch, m->source, false);
    if (fd < 0)
        return fd;
    r = jail_set_attr(fd, mount_attrs(m), false);
    if (r < 0) {
        fd_close(&fd);
        return r;
    }
    return fd;
}

static int place_symlink(struct jail_ctx *c, const struct jail_mount *m)
{
    const char *rel = m->target + 1;
    _cleanup_fd_ int dir = -1;
    const char *slash = strrchr(rel, '/');
    char parent[PATH_MAX];

    if (slash != NULL) {
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - rel + 1), m->target);
        dir = open_target(c, parent, true);
        if (dir < 0)
            return dir;
    }
    if (symlinkat(m->source, slash != NULL ? dir : c->root, slash != NULL ? slash + 1 : rel) < 0)
        return -errno;
    return 0;
}

static int attach_tree(struct jail_ctx *c, const struct jail_mount *m, int tree)
{
    _cleanup_fd_ int target = -1;

    if (tree < 0)
        return tree;
    target = open_target(c, m->target, is_directory(tree));
    if (target < 0)
        return target;
    return jail_attach(tree, target, "");
}

static int place_mount(struct jail_ctx *c, size_t i)
{
    const struct jail_mount *m = &c->plan->mounts[i];
    _cleanup_fd_ int tree = fd_steal(&c->trees[i]);
    _cleanup_fd_ int target = -1;

    switch (m->kind) {
    case JAIL_MOUNT_BIND:
        if (tree < 0)
            return 0; // optional and absent
        return attach_tree(c, m, tree);
    case JAIL_MOUNT_BIND_FD:
        return attach_tree(c, m, tree);
    case JAIL_MOUNT_TMPFS:
        tree = jail_tmpfs(m->size_bytes, m->inodes, m->mode != 0 ? m->mode : 0700, c->plan->uid,
                          c->plan->gid, mount_attrs(m));
        return attach_tree(c, m, tree);
    case JAIL_MOUNT_SCRATCH:
        tree = scratch_tree(c, m);
        return attach_tree(c, m, tree);
    case JAIL_MOUNT_SYMLINK:
        return place_symlink(c, m);
    case JAIL_MOUNT_CGROUP2:
        tree = jail_cgroup2(mount_attrs(m));
        return attach_tree(c, m, tree);
    case JAIL_MOUNT_PROC:
    case JAIL_MOUNT_DEV:
        target = open_target(c, m->target, true);
        if (target < 0)
            return target;
        if (tree >= 0)
            return jail_reuse_dev(c, target, tree);
        return m->kind == JAIL_MOUNT_PROC ? jail_mount_proc(c, target, m->unmasked)
                                          : jail_mount_dev(c, target, m);
    }
    return -EINVAL;
}

static int place_mounts(struct jail_ctx *c)
{
    for (size_t i = 0; i < c->plan->mount_count; i++) {
        const struct jail_mount *m = &c->plan->mounts[i];
        int r = place_mount(c, i);

        if (r < 0 && m->optional)
            continue;
        // /proc and /dev name the step themselves.
        if (r < 0 && c->what[0] != '\0')
            return r;
        if (r < 0)
            return jail_step_failed(c, r, "mount %s on %s", m->source != NULL ? m->source : "",
                                    m->target);
    }
    return 0;
}

// The scratch must be attached for parts of it to be cloned; it goes away with the outer tree while
// the parts stay.
static int make_scratch(struct jail_ctx *c)
{
    int r;

    c->scratch = jail_tmpfs(c->plan->scratch_bytes, c->plan->scratch_inodes, 0711, c->plan->uid,
                            c->plan->gid, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (c->scratch < 0)
        return jail_step_failed(c, c->scratch, "make the scratch tmpfs");
    r = jail_attach(c->scratch, AT_FDCWD, STAGE);
    if (r < 0)
        return jail_step_failed(c, r, "attach the scratch tmpfs");
    if (c->plan->want_scratch_fd) {
        struct jail_report msg = {.kind = JAIL_REPORT_SCRATCH};

        r = fd_send_msg(c->report, &msg, sizeof(msg), &c->scratch, 1);
        if (r < 0)
            return jail_step_failed(c, r, "hand out the scratch tmpfs");
    }
    return 0;
}

static bool in_user_namespace(const struct jail_ctx *c)
{
    return (c->plan->ns & JAIL_NS_USER) != 0;
}

static int open_root(struct jail_ctx *c)
{
    int r;

    if (c->plan->root == NULL || c->plan->overlay_bytes != 0)
        return 0;
    // A user namespace may not take a mount without those on top of it: that could uncover
    // something.
    c->root = jail_open_tree(AT_FDCWD, c->plan->root, in_user_namespace(c));
    if (c->root < 0)
        return jail_step_failed(c, c->root, "open the root %s", c->plan->root);
    r = jail_set_attr(c->root, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                      in_user_namespace(c));
    return r < 0 ? jail_step_failed(c, r, "make the root read-only") : 0;
}

static int make_root(struct jail_ctx *c)
{
    if (c->plan->overlay_bytes != 0)
        return jail_overlay_root(c);
    if (c->plan->root != NULL)
        return 0;
    c->root =
        jail_tmpfs(SKELETON_BYTES, SKELETON_INODES, 0755, jail_skeleton_uid(c),
                   jail_skeleton_gid(c), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return c->root < 0 ? jail_step_failed(c, c->root, "make the root tmpfs") : 0;
}

// The old root ends up on top of the new one at "/", and is dropped from there.
static int pivot(struct jail_ctx *c)
{
    if (fchdir(c->root) < 0)
        return jail_step_failed(c, errno, "enter the root");
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return jail_step_failed(c, errno, "pivot to the root");
    if (umount2(".", MNT_DETACH) < 0)
        return jail_step_failed(c, errno, "drop the outer tree");
    if (chdir("/") < 0)
        return jail_step_failed(c, errno, "enter /");
    return 0;
}

int jail_enter_root(struct jail_ctx *c)
{
    int r;

    // No mount made here may appear outside.
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return jail_step_failed(c, errno, "make mounts private");
    r = open_sources(c);
    if (r == 0)
        r = open_root(c);
    // The outer sources were opened as who the caller is, what is new belongs to who we are inside.
    if (r == 0)
        r = jail_become_root(c);
    if (r == 0)
        r = make_root(c);
    if (r == 0 && c->plan->scratch_bytes != 0)
        r = make_scratch(c);
    if (r < 0)
        return r;
    r = jail_attach(c->root, AT_FDCWD, STAGE);
    if (r < 0)
        return jail_step_failed(c, r, "attach the root");
    r = place_mounts(c);
    if (r < 0)
        return r;
    if (c->plan->root == NULL) {
        r = jail_set_attr(c->root, MOUNT_ATTR_RDONLY, false);
        if (r < 0)
            return jail_step_failed(c, r, "make the root read-only");
    }
    r = pivot(c);
    fd_close(&c->root);
    fd_close(&c->scratch);
    return r;
}

int jail_scratch_resize(int scratch_fd, uint64_t size_bytes)
{
    _cleanup_fd_ int fs = fspick(scratch_fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    int r;

    if (fs < 0)
        return -errno;
    r = set_number(fs, "size", size_bytes);
    if (r < 0)
        return r;
    return fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0 ? -errno : 0;
}
