// SPDX-License-Identifier: Apache-2.0
//
// What the front and the two versions of control groups share.
#ifndef CSB_CGROUP_CGROUP_INTERNAL_H
#define CSB_CGROUP_CGROUP_INTERNAL_H

#include "cgroup/cgroup.h"

#include <limits.h>
#include <stddef.h>

#define CGROUP_HIERS_MAX  4
#define CGROUP_NAME_MAX   64
#define CGROUP_NOTE_BYTES 160
#define CGROUP_PERIOD_US  100000

// Which resources a hierarchy governs. v2 has one hierarchy for all.
enum cgroup_kind {
    CGROUP_MEMORY = 1 << 0,
    CGROUP_PIDS = 1 << 1,
    CGROUP_CPU = 1 << 2,
    CGROUP_CPUACCT = 1 << 3,
};

struct cgroup_hier {
    unsigned kinds;
    int dirfd; // of our parent group in this hierarchy
    char path[PATH_MAX];
};

// Limits and readings of one group of one hierarchy; `dir` is the group's directory. 0 or -errno.
// read_usage adds what the hierarchy knows of `parts` (enum cgroup_part) to *ret. reset_peak makes
// the kernel forget the memory peak; *peak_fd (-1 at first, the group's to close) is what it needs
// to keep for that.
struct cgroup_ops {
    int (*set_limits)(int dir, unsigned kinds, const struct cgroup_limits *limits);
    void (*read_usage)(int dir, unsigned kinds, unsigned parts, int peak_fd,
                       struct cgroup_usage *ret);
    int (*reset_peak)(int dir, int *peak_fd);
};

struct cgroup_root {
    enum cgroup_version version;
    const struct cgroup_ops *ops;
    size_t hier_count;
    struct cgroup_hier hiers[CGROUP_HIERS_MAX];
    struct cgroup *spares[CGROUP_SPARES_MAX];
    size_t spare_count;
    size_t spare_max;
};

struct cgroup {
    struct cgroup_root *root;
    char name[CGROUP_NAME_MAX];
    int dirs[CGROUP_HIERS_MAX];
    char *procs[CGROUP_HIERS_MAX + 1];
    int peak_fd;
    bool limited; // as `limits` says
    struct cgroup_limits limits;
    bool was_reset;
    struct cgroup_usage base;              // the counters at the last reset
    uint64_t user_seen_ns, system_seen_ns; // the most that was read of either
};

extern const struct cgroup_ops cgroup_v1_ops;
extern const struct cgroup_ops cgroup_v2_ops;

// Find and make the parent group. 0 with the hierarchies filled (none of them: `note` says why), or
// -errno.
int cgroup_v1_open(struct cgroup_root *root, const char *mount, const char *name, char *note);
int cgroup_v2_open(struct cgroup_root *root, const char *mount, const char *name, char *note);

// The usual name of the v1 hierarchy of that kind, or NULL.
const char *cgroup_v1_name(unsigned kind);

// Small files of control groups: one number, or "key number" lines. 0 when absent.
uint64_t cgroup_read_number(int dir, const char *file);
uint64_t cgroup_read_key(int dir, const char *file, const char *key);
int cgroup_write_number(int dir, const char *file, uint64_t value);

// Counts of processes, of which both versions have the same files.
void cgroup_read_pids(int dir, unsigned parts, struct cgroup_usage *ret);

// Adds the directory `path` (made if need be) as a hierarchy. 0 or -errno.
int cgroup_add_hier(struct cgroup_root *root, const char *path, unsigned kinds);

#endif
