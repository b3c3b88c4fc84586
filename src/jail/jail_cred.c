// SPDX-License-Identifier: Apache-2.0
//
// Who the program is: user namespace maps, ids, capabilities and resource limits. Every drop is
// verified after the fact.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Maps the plan's ids onto the caller's, which is all that an ordinary user may map. The kernel
// wants setgroups denied first.
int jail_map_ids(struct jail_ctx *c)
{
    char line[64];
    int r = fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny");

    if (r < 0)
        return jail_step_failed(c, r, "deny setgroups");
    (void)snprintf(line, sizeof(line), "%u %u 1", c->plan->uid, c->outer_uid);
    r = fd_write_file(AT_FDCWD, "/proc/self/uid_map", line);
    if (r < 0)
        return jail_step_failed(c, r, "map uid %s", line);
    (void)snprintf(line, sizeof(line), "%u %u 1", c->plan->gid, c->outer_gid);
    r = fd_write_file(AT_FDCWD, "/proc/self/gid_map", line);
    if (r < 0)
        return jail_step_failed(c, r, "map gid %s", line);
    return 0;
}

// With an empty bounding set no later execve() can bring a capability back, not even of a program
// with file capabilities.
int jail_drop_bounding_set(struct jail_ctx *c)
{
    for (unsigned long cap = 0; cap <= 63; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
            continue;
        if (errno == EINVAL && cap > CAP_CHOWN)
            break; // beyond the last one this kernel knows
        // An ordinary user without a user namespace may not; it has no capabilities to lose, and
        // no_new_privs keeps it so.
        if (errno == EPERM && geteuid() != 0)
            break;
        return jail_step_failed(c, errno, "drop capability %lu from the bounding set", cap);
    }
    return 0;
}

int jail_set_rlimits(struct jail_ctx *c)
{
    for (size_t i = 0; i < c->plan->rlimit_count; i++) {
        const struct jail_rlimit *l = &c->plan->rlimits[i];
        struct rlimit have;
        struct rlimit want = {.rlim_cur = l->value, .rlim_max = l->value};

        // Where the caller itself lives under a lower hard limit and may not raise it, the lower
        // one stands: it is stricter.
        if (getrlimit((__rlimit_resource_t)l->resource, &have) == 0 &&
            have.rlim_max < want.rlim_max)
            want.rlim_cur = want.rlim_max = have.rlim_max;
        if (setrlimit((__rlimit_resource_t)l->resource, &want) < 0)
            return jail_step_failed(c, errno, "set rlimit %d", l->resource);
    }
    return 0;
}

static int set_groups(struct jail_ctx *c)
{
    // In a user namespace mapped by an ordinary user setgroups is denied for good, and the outer
    // supplementary groups stay; they are unmapped there.
    if (c->plan->ns & JAIL_NS_USER)
        return 0;
    if (setgroups(c->plan->group_count, c->plan->groups) == 0)
        return 0;
    if (errno == EPERM && c->outer_uid != 0)
        return 0;
    return jail_step_failed(c, errno, "set supplementary groups");
}

int jail_become_user(struct jail_ctx *c)
{
    uid_t u[3];
    gid_t g[3];
    int r = set_groups(c);

    if (r < 0)
        return r;
    if (setresgid(c->plan->gid, c->plan->gid, c->plan->gid) < 0)
        return jail_step_failed(c, errno, "become gid %u", c->plan->gid);
    if (setresuid(c->plan->uid, c->plan->uid, c->plan->uid) < 0)
        return jail_step_failed(c, errno, "become uid %u", c->plan->uid);
    if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0)
        return jail_step_failed(c, errno, "read ids back");
    for (int i = 0; i < 3; i++)
        if (u[i] != c->plan->uid || g[i] != c->plan->gid)
            return jail_step_failed(c, EPERM, "verify ids");
    return 0;
}

int jail_drop_capabilities(struct jail_ctx *c)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return jail_step_failed(c, errno, "clear ambient capabilities");
    if (syscall(SYS_capset, &head, data) < 0)
        return jail_step_failed(c, errno, "drop capabilities");
    if (syscall(SYS_capget, &head, data) < 0)
        return jail_step_failed(c, errno, "read capabilities back");
    for (int i = 0; i < 2; i++)
        if ((data[i].effective | data[i].permitted | data[i].inheritable) != 0)
            return jail_step_failed(c, EPERM, "verify capabilities");
    return 0;
}
