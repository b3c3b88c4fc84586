// SPDX-License-Identifier: Apache-2.0
//
// Control groups version 2. A group with processes of its own cannot hand controllers to children,
// so where we live in a delegated group (a systemd unit with Delegate=yes), its processes first
// move to a leaf. Otherwise root makes its group at the top, which has no such rule.
#include "cgroup/cgroup_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LEAF "csb-main"

static const struct {
    const char *name;
    unsigned kinds;
} controllers[] = {
    {"memory", CGROUP_MEMORY},
    {"pids", CGROUP_PIDS},
    {"cpu", CGROUP_CPU | CGROUP_CPUACCT},
};

// Our own group's path below the mount, "" for the top.
static void own_path(char *ret, size_t size)
{
    _cleanup_free_ char *text = NULL;
    const char *line;

    ret[0] = '\0';
    if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL) < 0)
        return;
    line = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");
    if (line == NULL)
        return;
    line += *line == '\n' ? 4 : 3;
    (void)snprintf(ret, size, "%.*s", (int)strcspn(line, "\n"), line);
    if (strcmp(ret, "/") == 0 || strstr(ret, "..") != NULL)
        ret[0] = '\0';
    // After a former start in this very group we sit in the leaf already.
    size_t len = strlen(ret);
    size_t leaf = strlen("/" LEAF);

    if (len > leaf && strcmp(ret + len - leaf, "/" LEAF) == 0)
        ret[len - leaf] = '\0';
}

static bool is_delegated(const char *path)
{
    char value[8] = "";

    if (geteuid() != 0)
        return access(path, W_OK) == 0;
    return (getxattr(path, "user.delegate", value, sizeof(value)) > 0 && value[0] == '1') ||
           (getxattr(path, "trusted.delegate", value, sizeof(value)) > 0 && value[0] == '1');
}

static int move_to_leaf(const char *path)
{
    _cleanup_fd_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *pids = NULL;
    int r;

    if (dir < 0)
        return -errno;
    if (mkdirat(dir, LEAF, 0755) < 0 && errno != EEXIST)
        return -errno;
    r = fd_read_file(dir, "cgroup.procs", 1u << 20, &pids, NULL);
    if (r < 0)
        return r;
    for (char *p = pids; *p != '\0';) {
        size_t len = strcspn(p, "\n");
        char *next = p + len + (p[len] == '\n');

        p[len] = '\0';
        // A process that ended meanwhile is not an error.
        r = fd_write_file(dir, LEAF "/cgroup.procs", p);
        if (r < 0 && r != -ESRCH)
            return r;
        p = next;
    }
    return 0;
}

// Hands the controllers to the children of `path`; returns those that are now available.
static unsigned enable_controllers(const char *path, int *ret_error)
{
    _cleanup_fd_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    unsigned kinds = 0;

    for (size_t i = 0; dir >= 0 && i < sizeof(controllers) / sizeof(controllers[0]); i++) {
        char text[16];
        int r;

        (void)snprintf(text, sizeof(text), "+%s", controllers[i].name);
        r = fd_write_file(dir, "cgroup.subtree_control", text);
        if (r == -EBUSY && move_to_leaf(path) == 0)
            r = fd_write_file(dir, "cgroup.subtree_control", text);
        if (r == 0)
            kinds |= controllers[i].kinds;
        else
            *ret_error = r;
    }
    return kinds;
}

int cgroup_v2_open(struct cgroup_root *root, const char *mount, const char *name, char *note)
{
    char own[PATH_MAX / 4];
    char parent[PATH_MAX / 2];
    char path[PATH_MAX];
    unsigned kinds;
    int error = 0;

    own_path(own, sizeof(own));
    (void)snprintf(parent, sizeof(parent), "%.1000s%s", mount, own);
    if (own[0] != '\0' && !is_delegated(parent)) {
        if (geteuid() != 0) {
            (void)snprintf(note, CGROUP_NOTE_BYTES,
                           "the control group of this session is not delegated to the user");
            return 0;
        }
        (void)snprintf(parent, sizeof(parent), "%.1000s", mount);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", parent, name);
    kinds = enable_controllers(parent, &error);
    if (kinds == 0) {
        (void)snprintf(note, CGROUP_NOTE_BYTES, "no controller is available: %s",
                       error != 0 ? strerror(-error) : "none");
        return 0;
    }
    error = cgroup_add_hier(root, path, kinds);
    if (error < 0) {
        (void)snprintf(note, CGROUP_NOTE_BYTES, "the group cannot be made: %s", strerror(-error));
        return 0;
    }
    kinds = enable_controllers(path, &error);
    root->hiers[0].kinds = kinds;
    if (kinds != (CGROUP_MEMORY | CGROUP_PIDS | CGROUP_CPU | CGROUP_CPUACCT))
        (void)snprintf(note, CGROUP_NOTE_BYTES, "some controllers are missing: %s",
                       error != 0 ? strerror(-error) : "not enabled");
    return 0;
}

static int write_max(int dir, const char *file, uint64_t value)
{
    return value == 0 ? fd_write_file(dir, file, "max") : cgroup_write_number(dir, file, value);
}

static int v2_set_limits(int dir, unsigned kinds, const struct cgroup_limits *limits)
{
    int r = 0;

    if (kinds & CGROUP_MEMORY) {
        r = write_max(dir, "memory.max", limits->memory_bytes);
        // Absent without swap accounting. The group dies as one: half a program is of no use.
        (void)fd_write_file(dir, "memory.swap.max", "0");
        (void)fd_write_file(dir, "memory.oom.group", "1");
    }
    if (r == 0 && (kinds & CGROUP_PIDS))
        r = write_max(dir, "pids.max", limits->processes);
    if (r == 0 && (kinds & CGROUP_CPU)) {
        char text[48];

        if (limits->cpu_quota_us == 0)
            (void)snprintf(text, sizeof(text), "max %d", CGROUP_PERIOD_US);
        else
            (void)snprintf(text, sizeof(text), "%llu %d", (unsigned long long)limits->cpu_quota_us,
                           CGROUP_PERIOD_US);
        r = fd_write_file(dir, "cpu.max", text);
    }
    return r;
}

static uint64_t read_open_number(int fd)
{
    char text[32] = "";

    return pread(fd, text, sizeof(text) - 1, 0) <= 0 ? 0 : strtoull(text, NULL, 10);
}

static void v2_read_usage(int dir, unsigned kinds, unsigned parts, int peak_fd,
                          struct cgroup_usage *ret)
{
    if (kinds & CGROUP_MEMORY) {
        if (parts & CGROUP_NOW)
            ret->memory_bytes = cgroup_read_number(dir, "memory.current");
        if (parts & CGROUP_PEAKS)
            ret->memory_peak_bytes =
                peak_fd >= 0 ? read_open_number(peak_fd) : cgroup_read_number(dir, "memory.peak");
        ret->oom_kills = cgroup_read_key(dir, "memory.events", "oom_kill");
    }
    if (kinds & CGROUP_PIDS)
        cgroup_read_pids(dir, parts, ret);
    ret->cpu_user_ns = 1000u * cgroup_read_key(dir, "cpu.stat", "user_usec");
    ret->cpu_system_ns = 1000u * cgroup_read_key(dir, "cpu.stat", "system_usec");
}

// The peak is forgotten only for who reads by the descriptor that was written to.
static int v2_reset_peak(int dir, int *peak_fd)
{
    int fd = *peak_fd;

    if (fd < 0)
        fd = openat(dir, "memory.peak", O_RDWR | O_CLOEXEC);
    // Root, too, cannot open for writing what has no way to be written: EINVAL.
    if (fd < 0)
        return errno == EACCES || errno == EPERM || errno == EINVAL || errno == ENOENT ? -EOPNOTSUPP
                                                                                       : -errno;
    *peak_fd = fd;
    if (pwrite(fd, "reset", 5, 0) < 0)
        return errno == EINVAL || errno == EBADF ? -EOPNOTSUPP : -errno;
    return 0;
}

const struct cgroup_ops cgroup_v2_ops = {v2_set_limits, v2_read_usage, v2_reset_peak};
