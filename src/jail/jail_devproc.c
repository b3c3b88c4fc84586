// SPDX-License-Identifier: Apache-2.0
//
// The jail's /proc, /dev and control groups.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TERMINALS_MAX "128"

// Files of /proc that speak of the whole machine or command it. Programs run without privileges, so
// modes alone refuse most of these; the masks hold when that fails.
static const char *const proc_masked[] = {
    "kcore",                     // physical memory
    "keys",                      // keyrings by uid, across namespaces
    "kallsyms",                  // kernel addresses, where a host's settings show them
    "modules",                   // the same
    "sysrq-trigger",             // reboots the machine
    "timer_list",                // kernel addresses
    "sched_debug",               // processes of other namespaces, on old kernels
    "locks",                     // those of open files, which have no pid to be left out by
    "cmdline",                   // how the machine was started, with what an operator wrote there
    "sys/kernel/random/boot_id", // a name of the machine until it starts again
};
static const char *const proc_read_only[] = {"sys", "irq", "bus", "fs"};

// Covers what there is of them. Looking first would be to look everything up twice, so a cover is
// made and, where there is nothing to be covered, used for the next.
static int mask_files(struct jail_ctx *c, int proc)
{
    _cleanup_fd_ int null = -1;

    for (size_t i = 0; i < sizeof(proc_masked) / sizeof(proc_masked[0]); i++) {
        int r;

        if (null < 0)
            null = jail_open_tree(AT_FDCWD, "/dev/null", false);
        r = null < 0 ? null : jail_attach(null, proc, proc_masked[i]);
        if (null >= 0 && r == -ENOENT)
            continue;
        if (r < 0)
            return jail_step_failed(c, r, "mask /proc/%s", proc_masked[i]);
        fd_close(&null);
    }
    return 0;
}

static int make_read_only(int proc, const char *name)
{
    _cleanup_fd_ int tree = jail_open_tree(proc, name, true);
    int r;

    if (tree == -ENOENT)
        return 0;
    if (tree < 0)
        return tree;
    r = jail_set_attr(
        tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, true);
    return r < 0 ? r : jail_attach(tree, proc, name);
}

int jail_mount_proc(struct jail_ctx *c, int target, bool unmasked)
{
    _cleanup_fd_ int fs = fsopen("proc", FSOPEN_CLOEXEC);
    _cleanup_fd_ int proc = -1;
    int r;

    if (fs < 0)
        return jail_step_failed(c, errno, "open proc");
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return jail_step_failed(c, errno, "create proc");
    proc = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (proc < 0)
        return jail_step_failed(c, errno, "mount proc");
    r = jail_attach(proc, target, "");
    if (r < 0)
        return jail_step_failed(c, r, "attach proc");
    if (unmasked)
        return 0;
    r = mask_files(c, proc);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(proc_read_only) / sizeof(proc_read_only[0]); i++) {
        r = make_read_only(proc, proc_read_only[i]);
        if (r < 0)
            return jail_step_failed(c, r, "make /proc/%s read-only", proc_read_only[i]);
    }
    return 0;
}

struct device {
    const char *name;
    unsigned major;
    unsigned minor;
};

static const struct device devices[] = {
    {"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
    {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
    const char *name;
    const char *text;
} dev_links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

// Binds the outer node over an empty file, where we may not make nodes (user namespace, container).
static int bind_device(int dev, const char *name, const char *outer)
{
    _cleanup_fd_ int tree = -1;
    int r;

    if (mknodat(dev, name, S_IFREG | 0666, 0) < 0)
        return -errno;
    tree = jail_open_tree(AT_FDCWD, outer, false);
    if (tree < 0)
        return tree;
    r = jail_set_attr(tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, false);
    return r < 0 ? r : jail_attach(tree, dev, name);
}

static int make_device(int dev, const struct device *d)
{
    char outer[32];

    if (mknodat(dev, d->name, S_IFCHR | 0666, makedev(d->major, d->minor)) == 0)
        return fchmodat(dev, d->name, 0666, 0) < 0 ? -errno : 0;
    if (errno != EPERM)
        return -errno;
    (void)snprintf(outer, sizeof(outer), "/dev/%s", d->name);
    return bind_device(dev, d->name, outer);
}

// A node of the plan's choice: the program gets it whatever the outer one's owner and mode are.
static int make_extra_node(struct jail_ctx *c, int dev, const char *outer)
{
    const char *slash = strrchr(outer, '/');
    const char *name = slash == NULL ? outer : slash + 1;
    struct stat st;

    if (stat(outer, &st) < 0)
        return -errno;
    if (!S_ISCHR(st.st_mode))
        return -ENODEV;
    if (mknodat(dev, name, S_IFCHR | 0600, st.st_rdev) < 0)
        return errno == EPERM ? bind_device(dev, name, outer) : -errno;
    if (fchownat(dev, name, c->plan->uid, c->plan->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

// Pseudo terminals of the jail's own, for programs that run others on one. Each such file system is
// an instance that shows no terminal of another; how many all of them have is the host's limit, so
// each gets a part of it. Where the kernel has none or refuses, openpty() fails in the jail and
// nothing else does.
static void make_terminals(int dev)
{
    _cleanup_fd_ int fs = fsopen("devpts", FSOPEN_CLOEXEC);
    _cleanup_fd_ int pts = -1;

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "ptmxmode", "0666", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0600", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "max", TERMINALS_MAX, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return;
    pts = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (pts >= 0)
        (void)jail_attach(pts, dev, "pts");
}

static bool is_known(const char *name)
{
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        if (strcmp(devices[i].name, name) == 0)
            return true;
    for (size_t i = 0; i < sizeof(dev_links) / sizeof(dev_links[0]); i++)
        if (strcmp(dev_links[i].name, name) == 0)
            return true;
    return name[0] == '.' || strcmp(name, "pts") == 0 || strcmp(name, "shm") == 0;
}

static bool has_only_known(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    if (d == NULL)
        return false;
    while ((e = readdir(d)) != NULL && is_known(e->d_name))
        ;
    (void)closedir(d);
    return e == NULL;
}

// A read-only tmpfs with nothing in it that jail_mount_dev() does not put there.
bool jail_dev_is_ours(void)
{
    static int ours = -1;
    struct statfs st;

    if (ours < 0)
        ours = statfs("/dev", &st) == 0 && st.f_type == TMPFS_MAGIC &&
               (st.f_flags & ST_RDONLY) != 0 && has_only_known("/dev");
    return ours == 1;
}

int jail_reuse_dev(struct jail_ctx *c, int target, int tree)
{
    int r = jail_attach(tree, target, "");

    if (r < 0)
        return jail_step_failed(c, r, "attach /dev");
    make_terminals(tree);
    return 0;
}

static int make_links(int dev)
{
    for (size_t i = 0; i < sizeof(dev_links) / sizeof(dev_links[0]); i++)
        if (symlinkat(dev_links[i].text, dev, dev_links[i].name) < 0)
            return -errno;
    return mkdirat(dev, "shm", 0755) < 0 || mkdirat(dev, "pts", 0755) < 0 ? -errno : 0;
}

// Neither a VMM nor an agent that makes jails runs anything on a terminal; the jails get their own.
static bool wants_terminals(const struct jail_plan *p, const struct jail_mount *m)
{
    return m->terminals || (p->seccomp != JAIL_SECCOMP_VMM && p->seccomp != JAIL_SECCOMP_AGENT);
}

int jail_mount_dev(struct jail_ctx *c, int target, const struct jail_mount *m)
{
    _cleanup_fd_ int dev = jail_tmpfs(64u * 1024u, 64, 0755, jail_skeleton_uid(c),
                                      jail_skeleton_gid(c), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    int r;

    if (dev < 0)
        return jail_step_failed(c, dev, "make /dev");
    r = jail_attach(dev, target, "");
    if (r < 0)
        return jail_step_failed(c, r, "attach /dev");
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        r = make_device(dev, &devices[i]);
        if (r < 0)
            return jail_step_failed(c, r, "make /dev/%s", devices[i].name);
    }
    r = m->source == NULL ? 0 : make_extra_node(c, dev, m->source);
    if (r < 0)
        return jail_step_failed(c, r, "make node %s", m->source);
    r = make_links(dev);
    if (r < 0)
        return jail_step_failed(c, r, "fill /dev");
    if (wants_terminals(c->plan, m))
        make_terminals(dev);
    r = jail_set_attr(dev, MOUNT_ATTR_RDONLY, false);
    return r < 0 ? jail_step_failed(c, r, "make /dev read-only") : 0;
}

int jail_cgroup2(unsigned attr)
{
    _cleanup_fd_ int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);
    int fd;

    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    fd = fsmount(fs, FSMOUNT_CLOEXEC, attr);
    return fd < 0 ? -errno : fd;
}
