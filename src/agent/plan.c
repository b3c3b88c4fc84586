// SPDX-License-Identifier: Apache-2.0
//
// Plans of the jails that programs run in.
#include "agent/plan.h"

#include "agent/fallback.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

// Directories of a space and where a program sees them. Programs are built and run in all of them.
static const struct {
    const char *name;
    const char *target;
} space_dirs[] = {
    {"work", "/work"},      {"home", "/home/user"}, {"tmp", "/tmp"},
    {"vartmp", "/var/tmp"}, {"shm", "/dev/shm"},
};

static const struct jail_rlimit rlimits[] = {
    {RLIMIT_CORE, 0},
    {RLIMIT_NOFILE, 1024},
    {RLIMIT_STACK, 8u << 20},
    {RLIMIT_MEMLOCK, 8u << 20},
    // Signals that wait and bytes of message queues count for the launcher's user, too: one run
    // must not have all that there are. Queues are refused by Landlock anyway.
    {RLIMIT_SIGPENDING, 512},
    {RLIMIT_MSGQUEUE, 0},
    {RLIMIT_NICE, 0},
};

_Static_assert(sizeof(rlimits) / sizeof(rlimits[0]) + FALLBACK_RLIMITS <= PLAN_RLIMITS_MAX,
               "room for all limits");

// Root directories of the host that are links into /usr on a merged system.
static const struct {
    const char *path;
    const char *link;
} usr_dirs[] = {
    {"/bin", "usr/bin"},     {"/sbin", "usr/sbin"},   {"/lib", "usr/lib"},
    {"/lib64", "usr/lib64"}, {"/lib32", "usr/lib32"},
};

static struct jail_mount *add_mount(struct step_plan *p, enum jail_mount_kind kind,
                                    const char *source, const char *target)
{
    struct jail_mount *m = &p->mounts[p->jail.mount_count++];

    m->kind = kind;
    m->source = source;
    m->target = target;
    m->fd = -1;
    return m;
}

static void add_read_only(struct step_plan *p, const char *source, const char *target)
{
    struct jail_mount *m = add_mount(p, JAIL_MOUNT_BIND, source, target);

    m->read_only = 1;
    m->exec = 1;
    m->optional = 1;
}

// Outside a virtual machine there is no image: the host's own programs are the runtimes.
static void add_host_root(struct step_plan *p)
{
    struct stat st;

    add_read_only(p, "/usr", "/usr");
    add_read_only(p, "/etc", "/etc");
    for (size_t i = 0; i < sizeof(usr_dirs) / sizeof(usr_dirs[0]); i++) {
        if (lstat(usr_dirs[i].path, &st) < 0)
            continue;
        if (S_ISLNK(st.st_mode))
            add_mount(p, JAIL_MOUNT_SYMLINK, usr_dirs[i].link, usr_dirs[i].path);
        else
            add_read_only(p, usr_dirs[i].path, usr_dirs[i].path);
    }
}

static void add_space(struct step_plan *p, const struct space *space)
{
    for (size_t i = 0; i < sizeof(space_dirs) / sizeof(space_dirs[0]); i++) {
        snprintf(p->sources[i], sizeof(p->sources[i]), "%s/%s", space->path, space_dirs[i].name);
        add_mount(p, JAIL_MOUNT_BIND, p->sources[i], space_dirs[i].target)->exec = 1;
    }
}

static void set_identity(const struct agent *agent, const struct space *space,
                         struct jail_plan *jail)
{
    jail->uid = space->uid;
    jail->gid = space->gid;
    if (agent->config.vm)
        return;
    jail->identity = 1;
    jail->view_uid = AGENT_UID;
    jail->view_gid = AGENT_GID;
}

static void set_namespaces(const struct agent *agent, const struct netns *netns,
                           struct jail_plan *jail)
{
    jail->ns = JAIL_NS_PID | JAIL_NS_MOUNT | JAIL_NS_IPC | JAIL_NS_UTS | JAIL_NS_CGROUP;
    // In a virtual machine the network is the machine's, which has nothing but its loopback.
    if (agent->config.vm)
        return;
    if (netns != NULL) {
        jail->net_fd = netns_fd(netns);
        return;
    }
    jail->ns |= JAIL_NS_NET;
    jail->loopback_up = 1;
}

void plan_make(const struct agent *agent, const struct plan_parts *parts, struct step_plan *ret)
{
    struct jail_plan *jail = &ret->jail;

    memset(ret, 0, sizeof(*ret));
    *jail = (struct jail_plan)JAIL_PLAN_INIT;
    set_namespaces(agent, parts->netns, jail);
    set_identity(agent, parts->space, jail);
    jail->root = agent->config.root;
    jail->mounts = ret->mounts;
    if (jail->root == NULL)
        add_host_root(ret);
    if (agent->config.shims != NULL)
        add_read_only(ret, agent->config.shims, "/csb");
    add_mount(ret, JAIL_MOUNT_PROC, NULL, "/proc");
    add_mount(ret, JAIL_MOUNT_DEV, NULL, "/dev")->reuse = 1;
    add_space(ret, parts->space);
    jail->cgroup_fd = parts->cgroup == NULL ? -1 : cgroup_dirfd(parts->cgroup);
    jail->cgroup_v1_procs = parts->cgroup == NULL ? NULL : cgroup_procs_paths(parts->cgroup);
    jail->cwd = AGENT_WORK_DIR;
    memcpy(ret->rlimits, rlimits, sizeof(rlimits));
    jail->rlimits = ret->rlimits;
    jail->rlimit_count = sizeof(rlimits) / sizeof(rlimits[0]);
    if (parts->fallback != NULL)
        jail->rlimit_count += fallback_rlimits(parts->fallback, ret->rlimits + jail->rlimit_count);
    for (int i = 0; i < 3; i++)
        ret->fds[i] = (struct jail_fd){.fd = parts->fds[i], .target = i};
    ret->fds[3] = (struct jail_fd){.fd = parts->control_fd, .target = AGENT_CONTROL_FD};
    jail->fds = ret->fds;
    jail->fd_count = parts->control_fd >= 0 ? 4 : 3;
    jail->seccomp = JAIL_SECCOMP_RUN;
    jail->landlock = 1;
    jail->no_new_privs = 1;
    jail->die_with_parent = 1;
    jail->new_session = 1;
    jail->argv = parts->argv;
    jail->envp = parts->envp;
}
