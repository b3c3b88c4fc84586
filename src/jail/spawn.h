// SPDX-License-Identifier: Apache-2.0
//
// One program of a user on this machine itself: no jail, no limits but its control group. For
// long-lived sandboxes, where the machine is the boundary and programs are to see each other.
//
// Only single-threaded processes may call this: it uses clone3(2).
#ifndef CSB_JAIL_SPAWN_H
#define CSB_JAIL_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawn_plan {
    const char *const *argv; // argv[0] without a slash is looked for in the PATH of envp
    const char *const *envp;
    const char *cwd;
    uid_t uid;
    gid_t gid;
    // The caller has one id, 0: uid and gid are what it shows as in a user namespace of the
    // program's own. Groups are none then.
    bool view;
    const gid_t *groups;
    size_t group_count;
    int stdio[3];  // what becomes 0, 1 and 2; borrowed. Nothing else is open in the program
    bool terminal; // stdio[0] is the side of a pseudo terminal that becomes the controlling one
    int cgroup_fd; // cgroup v2 directory, or -1
    const char *const *cgroup_v1_procs; // cgroup.procs files, NULL-terminated, or NULL
    bool filtered;                      // may call what a jailed program may, no more
    bool ordinary; // priority and oom_score_adj are 0, whatever the caller's are
};

// Starts the program in a session of its own with signals at their defaults and umask 022. Does not
// wait for it: what goes wrong from then on (no such directory, no such program, not executable) is
// told on the program's standard error, and it exits with 127 when the program was not found, else
// 126. A caller that is not root keeps its ids. 0 with *ret_pid and *ret_pidfd (both the caller's,
// which reaps), or -errno of the clone.
int spawn_program(const struct spawn_plan *plan, pid_t *ret_pid, int *ret_pidfd);

#endif
