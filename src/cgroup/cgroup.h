// SPDX-License-Identifier: Apache-2.0
//
// Control groups by direct file access: one front over cgroup v2 and v1 (the memory, pids, cpu,
// cpuacct hierarchies). Not thread-safe per object; single-threaded callers.
#ifndef CSB_CGROUP_CGROUP_H
#define CSB_CGROUP_CGROUP_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup_root; // where our groups live: a delegated directory per hierarchy
struct cgroup;      // one group

enum cgroup_version { CGROUP_NONE = 0, CGROUP_V1 = 1, CGROUP_V2 = 2 };

struct cgroup_limits {
    uint64_t memory_bytes; // 0: unlimited; swap is always off where it is accounted. Of version 1,
                           // which counts buffers of sockets apart, an eighth again for those
    uint64_t processes;    // 0: unlimited
    uint64_t cpu_quota_us; // per 100000 us; 0: unlimited
};

struct cgroup_usage {
    uint64_t cpu_user_ns;
    uint64_t cpu_system_ns;
    uint64_t memory_peak_bytes;
    uint64_t memory_bytes;
    uint64_t oom_kills;
    uint64_t processes;
    uint64_t processes_peak; // 0 where the kernel does not tell (before 6.1, after cgroup_reset())
    uint64_t pids_refused;   // forks and threads that the limit of processes refused
};

// Opens (creating) the parent group `name` in every usable hierarchy. `mount` is the v2 mount point
// or the v1 base directory, NULL for /sys/fs/cgroup. On v2 enables controllers for children, moving
// the caller's processes to a leaf when it sits in that group itself. CGROUP_NONE with a reason in
// `ret_note` (>= 160 bytes) is a success: every other call then does nothing and reports zeros.
int cgroup_root_open(const char *mount, const char *name, struct cgroup_root **ret, char *ret_note,
                     struct err *err);
enum cgroup_version cgroup_root_version(const struct cgroup_root *root);
void cgroup_root_close(struct cgroup_root *root); // removes the parent when empty; NULL allowed

// From now on up to `max` (CGROUP_SPARES_MAX at most) groups that are freed, empty and like new
// after cgroup_reset() are kept and handed out by cgroup_new() again: a quarter of the price of a
// new one. For callers whose groups are alike but for their limits, not delegated, and named never
// twice.
#define CGROUP_SPARES_MAX 64
void cgroup_root_reuse(struct cgroup_root *root, size_t max);

// Kills and removes every child group whose name starts with `prefix`, with what is below it:
// leftovers of a former run.
void cgroup_root_sweep(struct cgroup_root *root, const char *prefix);

int cgroup_new(struct cgroup_root *root, const char *name, const struct cgroup_limits *limits,
               struct cgroup **ret, struct err *err);
int cgroup_set_limits(struct cgroup *cg, const struct cgroup_limits *limits, struct err *err);

// For jail_plan: the v2 directory descriptor (or -1) and the v1 cgroup.procs paths (or NULL),
// borrowed from the group.
int cgroup_dirfd(const struct cgroup *cg);
const char *const *cgroup_procs_paths(const struct cgroup *cg);

// What was used since the group was made, or since cgroup_reset(). Each figure is a file to open,
// so `parts` says which are wanted; CPU times and counts of events always are, the others are 0. 0.
enum cgroup_part {
    CGROUP_PEAKS = 1 << 0,
    CGROUP_NOW = 1 << 1, // memory_bytes, processes
};
int cgroup_usage(struct cgroup *cg, unsigned parts, struct cgroup_usage *ret);

// Starts the counting afresh, so that an empty group can serve again. 0; -EBUSY while processes are
// in it, dead ones that nobody reaped among them; -EOPNOTSUPP where the kernel cannot forget a peak
// (v2 before Linux 6.12): make a new one.
int cgroup_reset(struct cgroup *cg);

// Stops or continues all processes inside; blocks until it is so, at most a second. 0, -ETIMEDOUT,
// or -EOPNOTSUPP: v1 has this in a hierarchy that is not used here.
int cgroup_freeze(struct cgroup *cg, bool frozen);

bool cgroup_is_empty(struct cgroup *cg);
int cgroup_kill(struct cgroup *cg); // SIGKILL to all inside; 0 or -errno

// Kills what is in the group and in groups made below it, and removes all of them, without waiting.
// 0 when nothing of it is left; -EBUSY while something is still ending: to be called again. The
// object stays, for cgroup_free().
int cgroup_try_remove(struct cgroup *cg);

// Lets that user make groups below this one and move its own processes between them; the limits of
// this group stay out of its reach. 0 or -errno.
int cgroup_delegate(struct cgroup *cg, uid_t uid, gid_t gid);

// The controller ("memory", "pids", "cpu", "cpuacct") of the i-th path of cgroup_procs_paths(), or
// NULL.
const char *cgroup_v1_controller(const struct cgroup *cg, size_t i);

// Removes the group and those made below it; kills what is left first. Waits at most a second for
// it to empty. NULL allowed.
void cgroup_free(struct cgroup *cg);

// The same without waiting: 0 when nothing of the group is left, *cg is freed and NULL; -EBUSY
// while something is still ending: try again later.
int cgroup_try_free(struct cgroup **cg);

#endif
