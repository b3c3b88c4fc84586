// SPDX-License-Identifier: Apache-2.0
//
// How it works. A root is a parent directory of ours in each hierarchy (one on v2, up to four on
// v1); a group is a child directory of the same name in each. Limits and readings differ by version
// and sit behind a table; making, emptying and removing groups is the same for both and is here.
#include "cgroup/cgroup_internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_MOUNT      "/sys/fs/cgroup"
#define SMALL_FILE_BYTES   4096u
#define PROCS_BYTES        (1u << 20)
#define EMPTY_DEADLINE_MS  1000
#define FREEZE_DEADLINE_MS 1000
#define SPARE_BYTES        (2u << 20) // what a group may still be charged for to be used again
#define DEPTH_MAX          64         // of groups below one of ours
#define DELEGATED_DEPTH    8          // on v2, where the kernel holds it
#define DELEGATED_GROUPS   8192

// The text of a small file; the kernel gives it whole in one read. Longer ones are cut.
static bool read_text(int dir, const char *file, char text[SMALL_FILE_BYTES])
{
    int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    do
        n = read(fd, text, SMALL_FILE_BYTES - 1);
    while (n < 0 && errno == EINTR);
    (void)close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return n >= 0;
}

uint64_t cgroup_read_number(int dir, const char *file)
{
    char text[SMALL_FILE_BYTES];

    if (!read_text(dir, file, text))
        return 0;
    return strtoull(text, NULL, 10); // "max" reads as 0
}

uint64_t cgroup_read_key(int dir, const char *file, const char *key)
{
    char text[SMALL_FILE_BYTES];
    size_t len = strlen(key);

    if (!read_text(dir, file, text))
        return 0;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ' ')
            return strtoull(line + len + 1, NULL, 10);
    }
    return 0;
}

void cgroup_read_pids(int dir, unsigned parts, struct cgroup_usage *ret)
{
    if (parts & CGROUP_NOW)
        ret->processes = cgroup_read_number(dir, "pids.current");
    if (parts & CGROUP_PEAKS)
        ret->processes_peak = cgroup_read_number(dir, "pids.peak");
    ret->pids_refused = cgroup_read_key(dir, "pids.events", "max");
}

int cgroup_write_number(int dir, const char *file, uint64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return fd_write_file(dir, file, text);
}

// Others than its owner may walk through a group, whatever the umask: who mounts the groups of a
// namespace needs that of all groups above.
static int make_dir(int dirfd, const char *path)
{
    if (mkdirat(dirfd, path, 0755) < 0)
        return -errno;
    return fchmodat(dirfd, path, 0755, 0) < 0 ? -errno : 0;
}

int cgroup_add_hier(struct cgroup_root *root, const char *path, unsigned kinds)
{
    struct cgroup_hier *h = &root->hiers[root->hier_count];
    int r = make_dir(AT_FDCWD, path);
    int fd;

    if (r < 0 && r != -EEXIST)
        return r;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (faccessat(fd, "cgroup.procs", W_OK, AT_EACCESS) < 0) {
        int saved = errno;

        (void)close(fd);
        return -saved;
    }
    h->dirfd = fd;
    h->kinds = kinds;
    (void)snprintf(h->path, sizeof(h->path), "%s", path);
    root->hier_count++;
    return 0;
}

int cgroup_root_open(const char *mount, const char *name, struct cgroup_root **ret, char *ret_note,
                     struct err *err)
{
    struct cgroup_root *root;
    char path[PATH_MAX];
    bool v2;

    if (!parse_is_name(name, CGROUP_NAME_MAX - 1))
        return err_set(err, ERR_INVALID, "\"%s\" is no name for a control group", name);
    if (mount == NULL)
        mount = DEFAULT_MOUNT;
    root = calloc(1, sizeof(*root));
    if (root == NULL)
        return err_sys(err, ENOMEM, "open control groups");
    ret_note[0] = '\0';
    (void)snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
    v2 = access(path, F_OK) == 0;
    (void)(v2 ? cgroup_v2_open(root, mount, name, ret_note)
              : cgroup_v1_open(root, mount, name, ret_note));
    root->ops = v2 ? &cgroup_v2_ops : &cgroup_v1_ops;
    root->version = root->hier_count == 0 ? CGROUP_NONE : (v2 ? CGROUP_V2 : CGROUP_V1);
    *ret = root;
    return 0;
}

enum cgroup_version cgroup_root_version(const struct cgroup_root *root)
{
    return root->version;
}

// Sends SIGKILL to every process listed. Returns how many there were, or -errno.
static int kill_listed(int dir)
{
    _cleanup_free_ char *pids = NULL;
    int count = 0;
    int r = fd_read_file(dir, "cgroup.procs", PROCS_BYTES, &pids, NULL);

    if (r < 0)
        return r;
    for (char *p = pids; *p != '\0';) {
        char *end = NULL;
        long pid = strtol(p, &end, 10);

        if (end == p)
            break;
        if (pid > 1)
            (void)kill((pid_t)pid, SIGKILL);
        count++;
        p = end + (*end == '\n');
    }
    return count;
}

static int kill_dir(int dir)
{
    int r;

    if (fd_write_file(dir, "cgroup.kill", "1") == 0)
        return 0;
    r = kill_listed(dir); // v1, or a kernel before 5.14
    return r < 0 ? r : 0;
}

// Removes the groups below an open directory, deepest first, killing what is in them. What cannot
// be removed yet stays.
static void remove_below(int dir, unsigned depth)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (d == NULL) {
        fd_close(&fd);
        return;
    }
    for (struct dirent *e; depth < DEPTH_MAX && (e = readdir(d)) != NULL;) {
        _cleanup_fd_ int child = -1;

        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        if (unlinkat(dir, e->d_name, AT_REMOVEDIR) == 0)
            continue;
        child = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (child < 0)
            continue;
        (void)kill_dir(child);
        remove_below(child, depth + 1);
        (void)unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    (void)closedir(d);
}

// One try. 0 when the directory is gone, -EBUSY while something in it or below it is ending.
static int remove_once(int parent, const char *name, int dir)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != EBUSY)
        return -errno;
    (void)kill_dir(dir);
    remove_below(dir, 0);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return -errno;
}

// Neither version tells when a killed process is really gone before its directory can be removed,
// so this tries, with short pauses.
static int remove_dir(int parent, const char *name, int dir)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t deadline = clock_deadline_ms(EMPTY_DEADLINE_MS);
    int r;

    while ((r = remove_once(parent, name, dir)) == -EBUSY && clock_mono_ns() < deadline)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    return r;
}

static void remove_named(int parent, const char *name)
{
    _cleanup_fd_ int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (dir < 0)
        return;
    (void)kill_dir(dir);
    (void)remove_dir(parent, name, dir);
}

void cgroup_root_sweep(struct cgroup_root *root, const char *prefix)
{
    for (size_t i = 0; i < root->hier_count; i++) {
        int fd = openat(root->hiers[i].dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (d == NULL) {
            fd_close(&fd);
            continue;
        }
        for (struct dirent *e; (e = readdir(d)) != NULL;)
            if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
                strncmp(e->d_name, prefix, strlen(prefix)) == 0)
                remove_named(root->hiers[i].dirfd, e->d_name);
        (void)closedir(d);
    }
}

static int make_group_dir(struct cgroup *cg, size_t i)
{
    const struct cgroup_hier *h = &cg->root->hiers[i];
    int r = make_dir(h->dirfd, cg->name);

    if (r == -EEXIST) {
        // A leftover of the same name carries counters of its own: start afresh.
        remove_named(h->dirfd, cg->name);
        r = make_dir(h->dirfd, cg->name);
    }
    if (r < 0 && r != -EEXIST)
        return r;
    cg->dirs[i] = openat(h->dirfd, cg->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cg->dirs[i] < 0)
        return -errno;
    return asprintf(&cg->procs[i], "%s/%s/cgroup.procs", h->path, cg->name) < 0 ? -ENOMEM : 0;
}

static void remove_and_free(struct cgroup *cg);

int cgroup_new(struct cgroup_root *root, const char *name, const struct cgroup_limits *limits,
               struct cgroup **ret, struct err *err)
{
    struct cgroup *cg;
    int r = 0;

    if (!parse_is_name(name, CGROUP_NAME_MAX - 1))
        return err_set(err, ERR_INVALID, "\"%s\" is no name for a control group", name);
    if (root->spare_count > 0) {
        cg = root->spares[--root->spare_count];
        if (cgroup_set_limits(cg, limits, err) == 0) {
            *ret = cg;
            return 0;
        }
        remove_and_free(cg);
    }
    cg = calloc(1, sizeof(*cg));
    if (cg == NULL)
        return err_sys(err, ENOMEM, "make control group %s", name);
    cg->root = root;
    cg->peak_fd = -1;
    (void)snprintf(cg->name, sizeof(cg->name), "%s", name);
    for (size_t i = 0; i < CGROUP_HIERS_MAX; i++)
        cg->dirs[i] = -1;
    for (size_t i = 0; r == 0 && i < root->hier_count; i++)
        r = make_group_dir(cg, i);
    if (r < 0)
        r = err_sys(err, r, "make control group %s", name);
    else
        r = cgroup_set_limits(cg, limits, err);
    if (r < 0) {
        cgroup_free(cg);
        return -1;
    }
    *ret = cg;
    return 0;
}

// A group that serves again mostly has them already.
int cgroup_set_limits(struct cgroup *cg, const struct cgroup_limits *limits, struct err *err)
{
    if (cg->limited && cg->limits.memory_bytes == limits->memory_bytes &&
        cg->limits.processes == limits->processes &&
        cg->limits.cpu_quota_us == limits->cpu_quota_us)
        return 0;
    cg->limited = false;
    for (size_t i = 0; i < cg->root->hier_count; i++) {
        int r = cg->root->ops->set_limits(cg->dirs[i], cg->root->hiers[i].kinds, limits);

        if (r < 0)
            return err_sys(err, r, "set limits of control group %s", cg->name);
    }
    cg->limits = *limits;
    cg->limited = true;
    return 0;
}

int cgroup_dirfd(const struct cgroup *cg)
{
    return cg->root->version == CGROUP_V2 ? cg->dirs[0] : -1;
}

const char *const *cgroup_procs_paths(const struct cgroup *cg)
{
    return cg->root->version == CGROUP_V1 ? (const char *const *)cg->procs : NULL;
}

// How CPU time divides into its parts may be estimated at each reading: neither part goes back.
static void keep_order(struct cgroup *cg, struct cgroup_usage *u)
{
    uint64_t total = u->cpu_user_ns + u->cpu_system_ns;

    if (total < cg->user_seen_ns + cg->system_seen_ns)
        total = cg->user_seen_ns + cg->system_seen_ns;
    if (u->cpu_user_ns < cg->user_seen_ns)
        u->cpu_user_ns = cg->user_seen_ns;
    if (u->cpu_user_ns > total - cg->system_seen_ns)
        u->cpu_user_ns = total - cg->system_seen_ns;
    u->cpu_system_ns = total - u->cpu_user_ns;
    cg->user_seen_ns = u->cpu_user_ns;
    cg->system_seen_ns = u->cpu_system_ns;
}

static void read_counters(struct cgroup *cg, unsigned parts, struct cgroup_usage *ret)
{
    *ret = (struct cgroup_usage){0};
    for (size_t i = 0; i < cg->root->hier_count; i++)
        cg->root->ops->read_usage(cg->dirs[i], cg->root->hiers[i].kinds, parts, cg->peak_fd, ret);
    keep_order(cg, ret);
}

int cgroup_usage(struct cgroup *cg, unsigned parts, struct cgroup_usage *ret)
{
    read_counters(cg, parts, ret);
    ret->cpu_user_ns -= cg->base.cpu_user_ns;
    ret->cpu_system_ns -= cg->base.cpu_system_ns;
    ret->oom_kills -= cg->base.oom_kills;
    ret->pids_refused -= cg->base.pids_refused;
    if (cg->was_reset)
        ret->processes_peak = 0;
    return 0;
}

static bool counts_processes(const struct cgroup *cg)
{
    for (size_t i = 0; i < cg->root->hier_count; i++)
        if (cg->root->hiers[i].kinds & CGROUP_PIDS)
            return true;
    return false;
}

int cgroup_reset(struct cgroup *cg)
{
    struct cgroup_usage now;

    read_counters(cg, CGROUP_NOW, &now);
    // The count has the dead that nobody reaped as well. Lists say less, and v1 makes them anew for
    // each reader and keeps them for a second.
    if (counts_processes(cg) ? now.processes > 0 : !cgroup_is_empty(cg))
        return -EBUSY;
    for (size_t i = 0; i < cg->root->hier_count; i++) {
        int r = 0;

        if (cg->root->hiers[i].kinds & CGROUP_MEMORY)
            r = cg->root->ops->reset_peak(cg->dirs[i], &cg->peak_fd);
        if (r < 0)
            return r;
    }
    cg->base = now;
    cg->was_reset = true;
    return 0;
}

int cgroup_freeze(struct cgroup *cg, bool frozen)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t deadline = clock_deadline_ms(FREEZE_DEADLINE_MS);
    int r;

    if (cg->root->version == CGROUP_NONE)
        return 0;
    if (cg->root->version == CGROUP_V1)
        return -EOPNOTSUPP;
    r = fd_write_file(cg->dirs[0], "cgroup.freeze", frozen ? "1" : "0");
    if (r < 0)
        return r == -ENOENT ? -EOPNOTSUPP : r;
    while (cgroup_read_key(cg->dirs[0], "cgroup.events", "frozen") != (frozen ? 1 : 0)) {
        if (clock_mono_ns() >= deadline)
            return -ETIMEDOUT;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return 0;
}

bool cgroup_is_empty(struct cgroup *cg)
{
    for (size_t i = 0; i < cg->root->hier_count; i++) {
        char pids[SMALL_FILE_BYTES];

        if (!read_text(cg->dirs[i], "cgroup.procs", pids) || pids[0] != '\0')
            return false;
    }
    return true;
}

int cgroup_kill(struct cgroup *cg)
{
    // On v1 every process is in all hierarchies alike; one list names them all.
    return cg->root->hier_count == 0 ? 0 : kill_dir(cg->dirs[0]);
}

int cgroup_try_remove(struct cgroup *cg)
{
    int ret = 0;

    for (size_t i = 0; i < cg->root->hier_count; i++) {
        int r = cg->dirs[i] < 0 ? 0 : remove_once(cg->root->hiers[i].dirfd, cg->name, cg->dirs[i]);

        if (r < 0)
            ret = r;
    }
    return ret;
}

int cgroup_delegate(struct cgroup *cg, uid_t uid, gid_t gid)
{
    // What a delegatee needs by the kernel's rules; limits stay ours. On v1 the directory is
    // enough.
    static const char *const files[] = {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"};
    bool v2 = cg->root->version == CGROUP_V2;

    for (size_t i = 0; i < cg->root->hier_count; i++) {
        if (fchown(cg->dirs[i], uid, gid) < 0)
            return -errno;
        for (size_t f = 0; v2 && f < sizeof(files) / sizeof(files[0]); f++)
            if (fchownat(cg->dirs[i], files[f], uid, gid, 0) < 0 && errno != ENOENT)
                return -errno;
        if (!v2)
            continue;
        // What is in it are several things, which do not die as one. Whoever makes groups without
        // end or below one another without end makes them hard to remove.
        (void)fd_write_file(cg->dirs[i], "memory.oom.group", "0");
        (void)cgroup_write_number(cg->dirs[i], "cgroup.max.depth", DELEGATED_DEPTH);
        (void)cgroup_write_number(cg->dirs[i], "cgroup.max.descendants", DELEGATED_GROUPS);
    }
    return 0;
}

const char *cgroup_v1_controller(const struct cgroup *cg, size_t i)
{
    if (cg->root->version != CGROUP_V1 || i >= cg->root->hier_count)
        return NULL;
    return cgroup_v1_name(cg->root->hiers[i].kinds);
}

static void free_object(struct cgroup *cg)
{
    for (size_t i = 0; i < cg->root->hier_count; i++) {
        fd_close(&cg->dirs[i]);
        free(cg->procs[i]);
    }
    fd_close(&cg->peak_fd);
    free(cg);
}

// Keeps the group for the next one, if it is as good as new: caches that were charged to it would
// be the next one's, and the dead that nobody reaped yet count as processes.
static bool keep_spare(struct cgroup *cg)
{
    struct cgroup_root *root = cg->root;

    if (root->spare_count == root->spare_max || cgroup_reset(cg) < 0 ||
        cg->base.memory_bytes > SPARE_BYTES)
        return false;
    root->spares[root->spare_count++] = cg;
    return true;
}

static void remove_and_free(struct cgroup *cg)
{
    (void)cgroup_kill(cg);
    for (size_t i = 0; i < cg->root->hier_count; i++)
        if (cg->dirs[i] >= 0)
            (void)remove_dir(cg->root->hiers[i].dirfd, cg->name, cg->dirs[i]);
    free_object(cg);
}

void cgroup_free(struct cgroup *cg)
{
    if (cg != NULL && !keep_spare(cg))
        remove_and_free(cg);
}

int cgroup_try_free(struct cgroup **cg)
{
    int r = 0;

    if (*cg != NULL && !keep_spare(*cg)) {
        r = cgroup_try_remove(*cg);
        if (r < 0)
            return r;
        free_object(*cg);
    }
    *cg = NULL;
    return 0;
}

void cgroup_root_reuse(struct cgroup_root *root, size_t max)
{
    if (root->version != CGROUP_NONE)
        root->spare_max = max < CGROUP_SPARES_MAX ? max : CGROUP_SPARES_MAX;
    while (root->spare_count > root->spare_max)
        remove_and_free(root->spares[--root->spare_count]);
}

void cgroup_root_close(struct cgroup_root *root)
{
    if (root == NULL)
        return;
    cgroup_root_reuse(root, 0);
    for (size_t i = 0; i < root->hier_count; i++) {
        fd_close(&root->hiers[i].dirfd);
        (void)rmdir(root->hiers[i].path);
    }
    free(root);
}
