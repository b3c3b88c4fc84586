// SPDX-License-Identifier: Apache-2.0
//
// Who the program is: user namespace maps, ids, identity, capabilities and resource limits. Every
// drop is verified after the fact.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// A map of one id each, which is all that an ordinary user may make. The kernel wants setgroups
// denied first.
static int map_self(struct jail_ctx *c, uid_t inside_uid, uid_t outside_uid, gid_t inside_gid,
                    gid_t outside_gid)
{
    char line[64];
    int r = fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny");

    if (r < 0)
        return jail_step_failed(c, r, "deny setgroups");
    (void)snprintf(line, sizeof(line), "%u %u 1", inside_uid, outside_uid);
    r = fd_write_file(AT_FDCWD, "/proc/self/uid_map", line);
    if (r < 0)
        return jail_step_failed(c, r, "map uid %s", line);
    (void)snprintf(line, sizeof(line), "%u %u 1", inside_gid, outside_gid);
    r = fd_write_file(AT_FDCWD, "/proc/self/gid_map", line);
    if (r < 0)
        return jail_step_failed(c, r, "map gid %s", line);
    return 0;
}

int jail_map_ids(struct jail_ctx *c)
{
    return map_self(c, c->plan->uid, c->outer_uid, c->plan->gid, c->outer_gid);
}

// Until then the process is nobody here: it could not make a file in a mount of its own.
int jail_become_root(struct jail_ctx *c)
{
    if (c->plan->uid_map_count == 0)
        return 0;
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return jail_step_failed(c, errno, "become root of the user namespace");
    return 0;
}

static int verify_ids(struct jail_ctx *c, uid_t uid, gid_t gid)
{
    uid_t u[3];
    gid_t g[3];

    if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0)
        return jail_step_failed(c, errno, "read ids back");
    for (int i = 0; i < 3; i++)
        if (u[i] != uid || g[i] != gid)
            return jail_step_failed(c, EPERM, "verify ids");
    return 0;
}

// The program's own user namespace, made when it is its final user already and has no privileges:
// it has power over nothing that existed before. Changing user made the files in /proc root's for
// the moment; the maps are among them.
int jail_take_identity(struct jail_ctx *c)
{
    const struct jail_plan *p = c->plan;
    int r;

    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return jail_step_failed(c, errno, "own the files of /proc");
    if (unshare(CLONE_NEWUSER) < 0)
        return jail_step_failed(c, errno, "make the identity's user namespace");
    r = map_self(c, p->view_uid, p->uid, p->view_gid, p->gid);
    return r < 0 ? r : verify_ids(c, p->view_uid, p->view_gid);
}

// With an empty bounding set no later execve() can bring a capability back, not even of a program
// with file capabilities.
int jail_drop_bounding_set(struct jail_ctx *c)
{
    for (unsigned long cap = 0; cap <= 63; cap++) {
        int there;

        if (cap < 64 && (c->plan->keep_caps >> cap & 1) != 0)
            continue;
        // Asking is cheaper than dropping, and mostly there is nothing left to drop.
        there = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (there == 0)
            continue;
        if (there < 0)
            break; // beyond the last one this kernel knows
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
            continue;
        // An ordinary user without a user namespace may not; it has no capabilities to lose, and
        // no_new_privs keeps it so.
        if (errno == EPERM && c->outer_uid != 0 && !c->plan->identity)
            break;
        return jail_step_failed(c, errno, "drop capability %lu from the bounding set", cap);
    }
    return 0;
}

// A host may pipe core dumps into a program of its own (systemd-coredump), whatever the limit's
// value is, unless that is 1: a crash in the jail would cost the host a process outside of every
// group. So no core means 1, and the filter keeps programs from changing it.
static uint64_t limit_value(const struct jail_rlimit *l)
{
    return l->resource == RLIMIT_CORE && l->value == 0 ? 1 : l->value;
}

int jail_set_rlimits(struct jail_ctx *c)
{
    for (size_t i = 0; i < c->plan->rlimit_count; i++) {
        const struct jail_rlimit *l = &c->plan->rlimits[i];
        uint64_t value = limit_value(l);
        struct rlimit have;
        struct rlimit want = {.rlim_cur = value, .rlim_max = value};

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

static bool has_capability(unsigned cap)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    return syscall(SYS_capget, &head, data) == 0 && (data[cap / 32].effective >> cap % 32 & 1) != 0;
}

static int set_groups(struct jail_ctx *c)
{
    // In a user namespace mapped by an ordinary user setgroups is denied for good, and the outer
    // supplementary groups stay; they are unmapped there. So too for a jail within such a jail.
    if ((c->plan->ns & JAIL_NS_USER) && c->plan->uid_map_count == 0)
        return 0;
    if (setgroups(c->plan->group_count, c->plan->groups) == 0)
        return 0;
    if (errno == EPERM && (c->outer_uid != 0 || has_capability(CAP_SETGID)))
        return 0;
    return jail_step_failed(c, errno, "set supplementary groups");
}

int jail_become_user(struct jail_ctx *c)
{
    const struct jail_plan *p = c->plan;
    int r = set_groups(c);

    if (r < 0)
        return r;
    if (p->keep_caps != 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return jail_step_failed(c, errno, "keep capabilities");
    if (setresgid(p->gid, p->gid, p->gid) < 0)
        return jail_step_failed(c, errno, "become gid %u", p->gid);
    if (setresuid(p->uid, p->uid, p->uid) < 0)
        return jail_step_failed(c, errno, "become uid %u", p->uid);
    return verify_ids(c, p->uid, p->gid);
}

// Through execve() root keeps what it has; another user only what is ambient.
static int make_ambient(struct jail_ctx *c, uint64_t caps)
{
    for (unsigned long cap = 0; cap < 64; cap++)
        if ((caps >> cap & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return jail_step_failed(c, errno, "make capability %lu ambient", cap);
    return 0;
}

int jail_keep_capabilities(struct jail_ctx *c, uint64_t caps)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    bool ambient = caps != 0 && c->plan->uid != 0;

    for (int i = 0; i < 2; i++) {
        uint32_t bits = (uint32_t)(caps >> (32 * i));

        data[i] = (struct __user_cap_data_struct){
            .effective = bits, .permitted = bits, .inheritable = ambient ? bits : 0};
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return jail_step_failed(c, errno, "clear ambient capabilities");
    if (syscall(SYS_capset, &head, data) < 0)
        return jail_step_failed(c, errno, "drop capabilities");
    if (syscall(SYS_capget, &head, data) < 0)
        return jail_step_failed(c, errno, "read capabilities back");
    for (int i = 0; i < 2; i++) {
        uint32_t bits = (uint32_t)(caps >> (32 * i));

        if (data[i].effective != bits || data[i].permitted != bits ||
            data[i].inheritable != (ambient ? bits : 0))
            return jail_step_failed(c, EPERM, "verify capabilities");
    }
    return ambient ? make_ambient(c, caps) : 0;
}
