// SPDX-License-Identifier: Apache-2.0
//
// One program in a jail: namespaces, private root, limits, no privileges. Used by the agent for
// every run inside a VM and by csb-launch for every VMM. Plan first, then straight-line execution
// in stages.
//
// Only single-threaded processes may call jail_spawn(): it uses clone3(2).
#ifndef CSB_JAIL_JAIL_H
#define CSB_JAIL_JAIL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum jail_ns {
    JAIL_NS_USER = 1 << 0, // rootless: needs uid_map below
    JAIL_NS_PID = 1 << 1,
    JAIL_NS_MOUNT = 1 << 2,
    JAIL_NS_NET = 1 << 3, // an empty one: loopback only, down
    JAIL_NS_IPC = 1 << 4,
    JAIL_NS_UTS = 1 << 5,
    JAIL_NS_CGROUP = 1 << 6,
};

enum jail_mount_kind {
    JAIL_MOUNT_BIND,    // `source` path (outside) onto `target`, recursive, nosuid,nodev
    JAIL_MOUNT_BIND_FD, // descriptor `fd` (O_PATH or a directory/file) onto `target`; not with
                        // JAIL_NS_USER
    JAIL_MOUNT_TMPFS,   // size_bytes, inodes, mode; owned by the jail's uid
    JAIL_MOUNT_PROC,    // of the jail's own pid namespace, with the usual files masked
    JAIL_MOUNT_DEV,     // minimal read-only /dev: null zero full random urandom tty, fd links,
                        // pseudo terminals (not for a VMM), and
    // an empty shm to put a scratch directory on. `source`: NULL, or the path of
    // one more outer device node to have, for the plan's uid
    JAIL_MOUNT_SCRATCH, // sub-directory `source` of the plan's scratch tmpfs onto `target`; made
                        // with `mode` (0: 0700), owned by the plan's uid and gid
    JAIL_MOUNT_SYMLINK, // symbolic link `target` with the text `source`; only in a tmpfs root
};

struct jail_mount {
    enum jail_mount_kind kind;
    const char *source;
    const char *target; // absolute path inside the jail; must exist in the root or root is a tmpfs
    int fd;             // JAIL_MOUNT_BIND_FD
    uint8_t read_only;
    uint8_t exec;     // 0 adds noexec
    uint8_t dev;      // 1 leaves device nodes usable (binding /dev/kvm)
    uint8_t optional; // absent source is not an error
    uint64_t size_bytes;
    uint64_t inodes;
    uint32_t mode;
};

struct jail_fd {
    int fd;     // ours; borrowed
    int target; // number inside the jail
};

struct jail_rlimit {
    int resource; // RLIMIT_*
    uint64_t value;
};

enum jail_seccomp {
    JAIL_SECCOMP_NONE,
    JAIL_SECCOMP_RUN, // deny-list for user programs
    JAIL_SECCOMP_VMM, // deny-list for a VMM (on top of its own)
};

#define JAIL_MOUNTS_MAX 64
#define JAIL_FDS_MAX    64

// Start from JAIL_PLAN_INIT (0 is a valid descriptor, so cgroup_fd must say -1).
struct jail_plan {
    uint32_t ns;      // enum jail_ns bits
    const char *root; // directory to become the root, bound read-only; NULL: an empty tmpfs
                      // that is filled by `mounts` and then made read-only
    const struct jail_mount *mounts;
    size_t mount_count;
    // One tmpfs shared by all JAIL_MOUNT_SCRATCH mounts, so that one size bounds what a run can
    // write. 0 size: none. Owned by uid:gid.
    uint64_t scratch_bytes;
    uint64_t scratch_inodes;
    uid_t uid; // credentials of the program (inside the user namespace, if one is made)
    gid_t gid;
    const gid_t *groups; // supplementary groups kept; NULL: none
    size_t group_count;
    int cgroup_fd; // cgroup v2 directory for CLONE_INTO_CGROUP, or -1
    const char *const
        *cgroup_v1_procs; // paths of cgroup.procs files to join (v1), NULL-terminated, or NULL
    const char *hostname; // with JAIL_NS_UTS; or NULL
    const char *cwd;
    const struct jail_rlimit *rlimits;
    size_t rlimit_count;
    const struct jail_fd *fds; // the only descriptors the program has
    size_t fd_count;
    enum jail_seccomp seccomp;
    uint8_t no_new_privs;
    uint8_t die_with_parent; // PR_SET_PDEATHSIG SIGKILL
    uint8_t new_session;     // setsid()
    uint8_t want_scratch_fd; // hand out a directory descriptor of the scratch tmpfs
    uint8_t exec_as_init;    // with JAIL_NS_PID: no init of ours, the program itself is pid 1 (it
                             // then ignores signals it has no handler for, and must reap orphans)
    uint8_t loopback_up;     // with JAIL_NS_NET: brings "lo" up
    const char *const *argv; // argv[0] is the path inside the jail
    const char *const *envp;
};

#define JAIL_PLAN_INIT {.cgroup_fd = -1}

struct jail_child {
    pid_t pid;      // in the caller's pid namespace; with JAIL_NS_PID it is pid 1 of its own
    int pidfd;      // owned by the caller
    int status_fd;  // with an init: readable when the program ended, see jail_read_status(); else
                    // -1. Owned by the caller
    int scratch_fd; // root directory of the scratch tmpfs (for openat and the like), or -1; owned
                    // by the caller
};

// How the program ended, told by the jail's init.
struct jail_status {
    int32_t exit_code;    // 0..255, or -1 when a signal ended it
    int32_t signal;       // 0, or the signal that ended it
    uint64_t cpu_user_ns; // of the program and of those of its descendants that were waited for
    uint64_t cpu_system_ns;
    uint64_t max_rss_bytes; // of the largest one
};

// Compiles the filter of `kind` and keeps it for the life of the process, so that the first
// jail_spawn() need not (it is a millisecond, more under emulation). Optional. 0 or -errno.
int jail_prepare(enum jail_seccomp kind);

// Starts the program. Returns once execve() succeeded inside the jail (or failed: then *err says at
// which stage, code ERR_SYSTEM, and the child was reaped). Blocks for the time of the set-up, some
// milliseconds, at most 10 s.
//
// With JAIL_NS_PID (and not exec_as_init) a small init is pid 1 of the jail: it starts the program,
// reaps orphans, writes one struct jail_status when the program ended and exits, at which the
// kernel kills what is left. It has no capabilities, ignores every signal from inside, cannot be
// traced, and counts as one process in the jail's cgroup. The caller reaps `pid` with
// waitpid(2)/waitid(P_PIDFD) in any case.
int jail_spawn(const struct jail_plan *plan, struct jail_child *ret, struct err *err);

// Reads the status from status_fd; blocks until there is one unless the caller polled. 0, or
// -ENODATA when the init was killed before the program ended by itself (jail_kill, the memory limit
// of a cgroup with memory.oom.group), or -errno.
int jail_read_status(int status_fd, struct jail_status *ret);

// Kills the child (SIGKILL; as pid 1 of its namespace it takes all its processes with it). Does not
// reap. 0 or -errno.
int jail_kill(const struct jail_child *child);

// Changes the size of the scratch tmpfs behind jail_child.scratch_fd. 0 or -errno: -ENOSPC/-EINVAL
// when more is in use already, -EPERM without privileges over the mount.
int jail_scratch_resize(int scratch_fd, uint64_t size_bytes);

// Kills (when pidfd is open), closes the descriptors and reaps. Safe on a zeroed-to-JAIL_CHILD_INIT
// object and after a reap by the caller.
#define JAIL_CHILD_INIT {.pid = -1, .pidfd = -1, .status_fd = -1, .scratch_fd = -1}
void jail_child_release(struct jail_child *child);

#endif
