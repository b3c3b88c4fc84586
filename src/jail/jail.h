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
    JAIL_NS_USER = 1 << 0, // see uid_map below
    JAIL_NS_PID = 1 << 1,
    JAIL_NS_MOUNT = 1 << 2,
    JAIL_NS_NET = 1 << 3, // an empty one: loopback only, down; see net_fd for one made before
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
                        // pseudo terminals of its own (see `terminals`), and an empty shm to put a
                        // scratch directory on. `source`: NULL, or the path of one more outer
                        // device node to have, for the plan's uid
    JAIL_MOUNT_SCRATCH, // sub-directory `source` of the plan's scratch tmpfs onto `target`; made
                        // with `mode` (0: 0700), owned by the plan's uid and gid
    JAIL_MOUNT_SYMLINK, // symbolic link `target` with the text `source`; only in a tmpfs root
    JAIL_MOUNT_CGROUP2, // control groups version 2, the jail's own group at the top; needs
                        // JAIL_NS_CGROUP
};

struct jail_mount {
    enum jail_mount_kind kind;
    const char *source;
    const char *target; // absolute path inside the jail; must exist in the root or root is a tmpfs
    int fd;             // JAIL_MOUNT_BIND_FD
    uint8_t read_only;
    uint8_t exec;      // 0 adds noexec
    uint8_t dev;       // 1 leaves device nodes usable (binding /dev/kvm)
    uint8_t optional;  // absent source is not an error
    uint8_t reuse;     // JAIL_MOUNT_DEV: where the caller's own /dev was made by one, that serves
                       // again but for the pseudo terminals: cheaper than binding node by node
    uint8_t unmasked;  // JAIL_MOUNT_PROC: nothing masked, for a jail that makes jails: the kernel
                       // refuses a new /proc where the one at hand is masked
    uint8_t terminals; // JAIL_MOUNT_DEV: pseudo terminals also for JAIL_SECCOMP_AGENT; programs of
                       // JAIL_SECCOMP_RUN have them anyway, a VMM never
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
    JAIL_SECCOMP_RUN,     // deny-list for user programs
    JAIL_SECCOMP_VMM,     // deny-list for a VMM (on top of its own)
    JAIL_SECCOMP_AGENT,   // deny-list for a program that itself makes jails
    JAIL_SECCOMP_SESSION, // as RUN, for programs whose files are their sandbox's own: may watch
                          // them
};

// `count` ids from `inside` on are those from `outside` on in the caller's user namespace.
struct jail_id_map {
    uint32_t inside;
    uint32_t outside;
    uint32_t count;
};

#define JAIL_MOUNTS_MAX  64
#define JAIL_FDS_MAX     64
#define JAIL_RLIMITS_MAX 16 // as many as the kernel has
#define JAIL_GROUPS_MAX  32
#define JAIL_MAPS_MAX    8

// Start from JAIL_PLAN_INIT (0 is a valid descriptor, so cgroup_fd and net_fd must say -1).
struct jail_plan {
    uint32_t ns;      // enum jail_ns bits
    const char *root; // directory to become the root, bound read-only; NULL: an empty tmpfs
                      // that is filled by `mounts` and then made read-only
    // With `root` and JAIL_NS_USER: not 0 makes the root writable, over a tmpfs of this size which
    // holds what is changed.
    uint64_t overlay_bytes;
    uint64_t overlay_inodes;
    const struct jail_mount *mounts;
    size_t mount_count;
    // One tmpfs shared by all JAIL_MOUNT_SCRATCH mounts, so that one size bounds what a run can
    // write. 0 size: none. Owned by uid:gid.
    uint64_t scratch_bytes;
    uint64_t scratch_inodes;
    uid_t uid; // credentials of the program (inside the user namespace, if one is made)
    gid_t gid;
    // With JAIL_NS_USER. None: the single map uid -> the caller's effective uid, gid alike, which
    // an ordinary user may make. Else the caller writes these and must be allowed to (root); id 0
    // must be among them, and root of the new namespace builds the jail.
    const struct jail_id_map *uid_map;
    const struct jail_id_map *gid_map;
    size_t uid_map_count;
    size_t gid_map_count;
    // With JAIL_NS_USER: bits (1 << CAP_*) of the capabilities that the program keeps, in its
    // permitted, effective and bounding sets. 0: none.
    uint64_t keep_caps;
    // A last user namespace around the program alone, in which its uid and gid (above) show as
    // view_uid and view_gid and no other id exists. It owns nothing: the other namespaces stay the
    // caller's. Needs /proc among the mounts, and not JAIL_NS_USER.
    uint8_t identity;
    uid_t view_uid;
    gid_t view_gid;
    const gid_t *groups; // supplementary groups kept; NULL: none
    size_t group_count;
    int cgroup_fd; // cgroup v2 directory for CLONE_INTO_CGROUP, or -1
    const char *const
        *cgroup_v1_procs; // paths of cgroup.procs files to join (v1), NULL-terminated, or NULL
    int net_fd;           // network namespace to enter instead of JAIL_NS_NET, or -1; borrowed. The
                          // caller has privileges over it
    const char *hostname; // with JAIL_NS_UTS; or NULL
    const char *cwd;
    const struct jail_rlimit *rlimits; // RLIMIT_CORE 0 also keeps a host's crash handler from being
                                       // started, see jail_cred.c
    size_t rlimit_count;
    const struct jail_fd *fds; // the only descriptors the program has
    size_t fd_count;
    enum jail_seccomp seccomp;
    uint8_t landlock; // what the mounts allow, once more by Landlock: writing only beneath writable
                      // targets. With JAIL_NS_MOUNT; a kernel without it is no error
    uint8_t no_new_privs;
    uint8_t die_with_parent; // PR_SET_PDEATHSIG SIGKILL
    uint8_t new_session;     // setsid()
    uint8_t want_scratch_fd; // hand out a directory descriptor of the scratch tmpfs
    uint8_t exec_as_init;    // with JAIL_NS_PID: no init of ours, the program itself is pid 1 (it
                             // then ignores signals it has no handler for, and must reap orphans)
    uint8_t loopback_up;     // with JAIL_NS_NET or net_fd: brings "lo" up
    const char *const *argv; // argv[0] is the path inside the jail
    const char *const *envp;
};

// For keep_caps: what a program needs that makes jails itself, as the agent does. Numbers of
// linux/capability.h: CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, NET_ADMIN,
// SYS_ADMIN, and SETFCAP, without which no identity can be given to uid 0.
#define JAIL_CAPS_NESTED                                                                           \
    (1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 5 | 1ull << 6 | 1ull << 7 | 1ull << 8 |           \
     1ull << 12 | 1ull << 21 | 1ull << 31)

#define JAIL_PLAN_INIT {.cgroup_fd = -1, .net_fd = -1}

struct jail_child {
    pid_t pid;      // in the caller's pid namespace; with JAIL_NS_PID it is pid 1 of its own
    int pidfd;      // owned by the caller
    int status_fd;  // with an init: readable when the program ended, see jail_read_status(); else
                    // -1. Owned by the caller
    int scratch_fd; // root directory of the scratch tmpfs (for openat and the like), or -1; owned
                    // by the caller
    int report_fd;  // of jail_fork(): see jail_settle(); else -1. Owned by the caller
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

// Like fork(2) into a new jail: as jail_spawn(), but the program is a copy of the caller and goes
// on in its code. argv and envp are ignored; needs JAIL_NS_PID and not exec_as_init. The jail is a
// child of the caller's *parent* (CLONE_PARENT), who reaps it and whose end die_with_parent means.
//
// Returns 1 in the caller with *ret filled, 0 in the program, -1 in the caller on failure;
// ret->pidfd is then -1, or that of a jail that was killed and is left to the parent to reap. The
// caller does not wait for the set-up, which the child does: jail_settle() does, and as long as the
// jail may be in it, somebody must hold ret->report_fd. With want_scratch_fd it is waited for. In
// the program every descriptor but the plan's is closed, signal handlers and the thread's name are
// the caller's, and it runs under fork()'s rules for a process whose other threads are gone (the
// caller has none).
int jail_fork(const struct jail_plan *plan, struct jail_child *ret, struct err *err);

// Waits until a jail of jail_fork() is set up, and closes child->report_fd. Anyone may who has got
// its descriptors. 0 at once when that was done before; -1 with the reason, or ERR_TIMEOUT after 10
// s: it can only be killed and reaped then.
int jail_settle(struct jail_child *child, struct err *err);

// Reads the status from status_fd; blocks until there is one unless the caller polled. 0, or
// -ENODATA when the init was killed before the program ended by itself (jail_kill, the memory limit
// of a cgroup with memory.oom.group), or -errno.
int jail_read_status(int status_fd, struct jail_status *ret);

// A user namespace with these maps, for mounts that show files as its (mount_setattr(2)); nothing
// runs in it. The caller must be allowed to write the maps. 0 or -errno.
int jail_user_namespace(const struct jail_id_map *uids, const struct jail_id_map *gids,
                        int *ret_fd);

// Kills the child (SIGKILL; as pid 1 of its namespace it takes all its processes with it). Does not
// reap. 0 or -errno.
int jail_kill(const struct jail_child *child);

// Changes the size of the scratch tmpfs behind jail_child.scratch_fd. 0 or -errno: -ENOSPC/-EINVAL
// when more is in use already, -EPERM without privileges over the mount.
int jail_scratch_resize(int scratch_fd, uint64_t size_bytes);

// Kills (when pidfd is open), closes the descriptors and reaps. Safe on a zeroed-to-JAIL_CHILD_INIT
// object and after a reap by the caller.
#define JAIL_CHILD_INIT {.pid = -1, .pidfd = -1, .status_fd = -1, .scratch_fd = -1, .report_fd = -1}
void jail_child_release(struct jail_child *child);

#endif
