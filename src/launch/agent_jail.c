// SPDX-License-Identifier: Apache-2.0
//
// How it works. The agent's files are copied when the launcher starts, so that all agents of its
// life are the same whatever is built meanwhile. A jail is built by root of the agent's user
// namespace, who is a stranger to the host and may be unable to walk to the root tree or to the
// copies; so a launcher that is root binds both to places that all can reach, in a mount namespace
// of its own, which the kernel takes down with it.
#include "launch/agent_jail.h"

#include "launch/agent_files.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAGE         "/mnt" // there on every host; covered in our own mount namespace
#define NOFILE        65536
#define RUN_BYTES     (16ull << 20) // directories of the runs, which are file systems of their own
#define TMP_BYTES     (64ull << 20)
#define INODES        65536

#define LASTING_TREE  STAGE "/lasting-%u"
#define INODE_BYTES   4096u // of disk for each file
#define INODES_LEAST  4096u
#define LOCK_BYTES    (1ull << 20)
#define SIGNALS       4096 // that wait, of each of a sandbox's users
#define RESERVE_BYTES (1ull << 30)
#define TRY_BYTES     (1ull << 20)
#define TRY_PROCESSES 8

#define CAP(name)     (1ull << CAP_##name)

// What the agent does with them: moves into and makes namespaces and mounts (SYS_ADMIN,
// SYS_CHROOT), gives programs their ids and files (SETUID, SETGID, SETFCAP, CHOWN, FOWNER,
// DAC_OVERRIDE), takes their capabilities (SETPCAP), ends them (KILL), raises loopbacks
// (NET_ADMIN), sets their limits (SYS_RESOURCE). All of them only over what belongs to its user
// namespace.
#define AGENT_CAPS                                                                                 \
    (CAP(SYS_ADMIN) | CAP(SYS_CHROOT) | CAP(SETUID) | CAP(SETGID) | CAP(SETFCAP) | CAP(CHOWN) |    \
     CAP(FOWNER) | CAP(DAC_OVERRIDE) | CAP(SETPCAP) | CAP(KILL) | CAP(NET_ADMIN) |                 \
     CAP(SYS_RESOURCE))

// A lasting agent makes no jails. Its programs may be root of the sandbox, and then have these,
// too.
#define LASTING_CAPS                                                                               \
    (CAP(SETUID) | CAP(SETGID) | CAP(CHOWN) | CAP(FOWNER) | CAP(FSETID) | CAP(DAC_OVERRIDE) |      \
     CAP(KILL) | CAP(NET_BIND_SERVICE))

static struct jail_mount *add_mount(struct agent_jail *j, enum jail_mount_kind kind,
                                    const char *source, const char *target)
{
    struct jail_mount *m = &j->mounts[j->plan.mount_count++];

    *m = (struct jail_mount){.kind = kind, .source = source, .target = target, .fd = -1};
    return m;
}

// The agent makes groups for its runs below its own.
static void plan_cgroup(const struct cgroup *cgroup, struct agent_jail *j)
{
    const char *const *procs = cgroup_procs_paths(cgroup);

    j->plan.cgroup_fd = cgroup_dirfd(cgroup);
    j->plan.cgroup_v1_procs = procs;
    if (j->plan.cgroup_fd >= 0)
        add_mount(j, JAIL_MOUNT_CGROUP2, NULL, "/sys/fs/cgroup");
    for (size_t i = 0; procs != NULL && procs[i] != NULL && i < 4; i++) {
        const char *end = strrchr(procs[i], '/');

        (void)snprintf(j->sources[i], sizeof(j->sources[i]), "%.*s", (int)(end - procs[i]),
                       procs[i]);
        (void)snprintf(j->targets[i], sizeof(j->targets[i]), "/sys/fs/cgroup/%s",
                       cgroup_v1_controller(cgroup, i));
        add_mount(j, JAIL_MOUNT_BIND, j->sources[i], j->targets[i]);
    }
}

static void plan_root(const struct agent_host *host, struct agent_jail *j)
{
    struct jail_mount *m;

    j->plan.root = host->tree;
    add_mount(j, JAIL_MOUNT_PROC, NULL, "/proc")->unmasked = 1;
    add_mount(j, JAIL_MOUNT_DEV, NULL, "/dev");
    m = add_mount(j, JAIL_MOUNT_TMPFS, NULL, "/run");
    m->size_bytes = RUN_BYTES;
    m->inodes = INODES;
    m->mode = 0755;
    m = add_mount(j, JAIL_MOUNT_TMPFS, NULL, "/tmp");
    m->size_bytes = TMP_BYTES;
    m->inodes = INODES;
    m->mode = 01777;
    m->exec = 1;
    m = add_mount(j, JAIL_MOUNT_BIND, host->files, "/csb");
    m->read_only = 1;
    m->exec = 1;
}

static void plan_namespaces(const struct agent_host *host, struct agent_jail *j)
{
    struct jail_plan *p = &j->plan;

    p->ns = JAIL_NS_USER | JAIL_NS_PID | JAIL_NS_MOUNT | JAIL_NS_NET | JAIL_NS_IPC | JAIL_NS_UTS |
            JAIL_NS_CGROUP;
    if (host->root) {
        p->uid_map = &host->uids;
        p->gid_map = &host->gids;
        p->uid_map_count = p->gid_map_count = 1;
    }
}

void agent_jail_plan(const struct agent_host *host, const struct cgroup *cgroup,
                     struct agent_jail *ret)
{
    static const char *const argv[] = {"/csb/csb-agent", "--serve", "3",        "--root",   "/",
                                       "--shims",        "/csb",    "--spaces", "/run/csb", NULL};
    static const char *const envp[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                       "/sbin:/bin",
                                       "HOME=/", "LANG=C.UTF-8", NULL};
    struct jail_plan *p = &ret->plan;

    *ret = (struct agent_jail){.plan = JAIL_PLAN_INIT};
    plan_namespaces(host, ret);
    plan_root(host, ret);
    if (cgroup != NULL)
        plan_cgroup(cgroup, ret);
    p->mounts = ret->mounts;
    p->keep_caps = AGENT_CAPS;
    p->hostname = "sandbox";
    p->cwd = "/";
    ret->rlimits[0] = (struct jail_rlimit){RLIMIT_CORE, 0};
    ret->rlimits[1] = (struct jail_rlimit){RLIMIT_NOFILE, NOFILE};
    p->rlimits = ret->rlimits;
    p->rlimit_count = 2;
    p->seccomp = JAIL_SECCOMP_AGENT;
    p->no_new_privs = 1;
    p->die_with_parent = 1;
    p->new_session = 1;
    p->argv = argv;
    p->envp = envp;
}

// What the kernel counts by user and by process. The namespace's processes are counted for
// themselves; of memory it is the address space that can be written to, of which programs reserve
// more than they use.
static void plan_rlimits(const struct agent_limits *limits, struct agent_jail *j)
{
    j->rlimits[j->plan.rlimit_count++] = (struct jail_rlimit){RLIMIT_NPROC, limits->processes};
    j->rlimits[j->plan.rlimit_count++] =
        (struct jail_rlimit){RLIMIT_DATA, limits->memory_bytes + RESERVE_BYTES};
}

static bool has_limits(const struct cgroup *cgroup)
{
    return cgroup != NULL && (cgroup_dirfd(cgroup) >= 0 || cgroup_procs_paths(cgroup) != NULL);
}

void agent_jail_plan_lasting(const struct agent_host *host, const struct agent_range *range,
                             const struct cgroup *cgroup, const struct agent_limits *limits,
                             struct agent_jail *ret)
{
    static const char *const argv[] = {"/csb/csb-agent", "--fd",     "3", "--envd",
                                       "--spaces",       "/run/csb", NULL};
    struct jail_plan *p = &ret->plan;
    struct jail_mount *m;

    agent_jail_plan(host, cgroup, ret);
    p->root = range->tree;
    p->overlay_bytes = limits->disk_bytes;
    p->overlay_inodes = limits->disk_bytes / INODE_BYTES + INODES_LEAST;
    for (size_t i = 0; i < p->mount_count; i++) {
        // What is written to /tmp counts as the rest does, and is no file system of its own.
        if (strcmp(ret->mounts[i].target, "/tmp") == 0)
            ret->mounts[i].target = "/dev/shm";
        ret->mounts[i].unmasked = 0; // it makes no jails
        ret->mounts[i].terminals = ret->mounts[i].kind == JAIL_MOUNT_DEV;
    }
    m = add_mount(ret, JAIL_MOUNT_TMPFS, NULL, "/run/lock");
    m->size_bytes = LOCK_BYTES;
    m->mode = 01777;
    m->optional = 1;
    p->uid_map = p->gid_map = &range->ids;
    if (!has_limits(cgroup))
        plan_rlimits(limits, ret);
    // The kernel wants this of who makes a user namespace in which root shows as somebody.
    p->keep_caps = LASTING_CAPS | (host->root ? 0 : CAP(SETFCAP));
    p->loopback_up = 1;
    ret->rlimits[p->rlimit_count++] = (struct jail_rlimit){RLIMIT_SIGPENDING, SIGNALS};
    p->argv = argv;
}

static bool has_landlock(void)
{
    // Asked for its version.
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1u) > 0;
}

// Runs the agent's version query in the jail that agents get.
static int try_jail(struct agent_host *host, const struct agent_range *lasting, struct err *err)
{
    static const char *const argv[] = {"/csb/csb-agent", "--version", NULL};
    _cleanup_fd_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct jail_fd fds[] = {
        {null_fd, STDIN_FILENO}, {null_fd, STDOUT_FILENO}, {null_fd, STDERR_FILENO}};
    struct jail_child child = JAIL_CHILD_INIT;
    const struct agent_limits limits = {
        .memory_bytes = TRY_BYTES, .processes = TRY_PROCESSES, .disk_bytes = TRY_BYTES};
    struct agent_jail j;
    int r;

    if (null_fd < 0)
        return err_sys(err, errno, "open /dev/null");
    if (lasting != NULL)
        agent_jail_plan_lasting(host, lasting, NULL, &limits, &j);
    else
        agent_jail_plan(host, NULL, &j);
    j.plan.fds = fds;
    j.plan.fd_count = 3;
    j.plan.argv = argv;
    r = jail_spawn(&j.plan, &child, err);
    jail_child_release(&child);
    return r;
}

static uint32_t all_of(const struct agent_host *host)
{
    uint32_t bits = LAUNCH_CONFINED_NET | LAUNCH_CONFINED_ROOT | LAUNCH_CONFINED_SECCOMP |
                    LAUNCH_CONFINED_PID | LAUNCH_CONFINED_USER;

    if (host->root)
        bits |= LAUNCH_CONFINED_UID | LAUNCH_CONFINED_RANGE;
    if (has_landlock())
        bits |= LAUNCH_CONFINED_LANDLOCK;
    return bits;
}

static int bind_at(int dir, const char *target, struct err *err)
{
    char source[64];

    (void)snprintf(source, sizeof(source), "/proc/self/fd/%d", dir);
    if (mkdir(target, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make %s", target);
    if (mount(source, target, NULL, MS_BIND, NULL) < 0)
        return err_sys(err, errno, "bind to %s", target);
    return 0;
}

// Binds the tree once more such that its files belong to the range's ids as they belong to the
// host's.
static int bind_mapped(int tree, const struct agent_range *range, struct err *err)
{
    _cleanup_fd_ int space = -1;
    _cleanup_fd_ int mapped = -1;
    struct mount_attr attr = {.attr_set = (uint64_t)(MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY |
                                                     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)};
    int r = jail_user_namespace(&range->ids, &range->ids, &space);

    if (r < 0)
        return err_sys(err, r, "make a user namespace");
    attr.userns_fd = (unsigned)space;
    mapped = open_tree(tree, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (mapped < 0 || mount_setattr(mapped, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "map the ids of the root tree");
    if (mkdir(range->tree, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make %s", range->tree);
    if (move_mount(mapped, "", AT_FDCWD, range->tree, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "attach the root tree to %s", range->tree);
    return 0;
}

// An ordinary user's: the tree as it is, by a path, since the jail has mounts of its own.
static int open_shared(const struct agent_host *host, uint64_t root, int tree,
                       struct agent_range *ret, struct err *err)
{
    char link[64];
    ssize_t len;

    *ret = (struct agent_range){.ids = {0, geteuid(), 1}};
    if (root == 0) {
        memcpy(ret->tree, host->tree, sizeof(ret->tree));
        return 0;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", tree);
    len = readlink(link, ret->tree, sizeof(ret->tree) - 1);
    return len < 0 ? err_sys(err, errno, "find the template's root tree") : 0;
}

int agent_range_open(struct agent_host *host, uint32_t index, uint64_t root, int tree,
                     struct agent_range *ret, struct err *err)
{
    struct agent_mount *m = &host->ranges[index];
    _cleanup_fd_ int own = -1;
    uint32_t first = host->uids.outside + AGENT_IDS * (index + 1); // above those of all runs
    int r;

    if (!host->root)
        return open_shared(host, root, tree, ret, err);
    *ret = (struct agent_range){.ids = {0, first, AGENT_IDS}};
    (void)snprintf(ret->tree, sizeof(ret->tree), LASTING_TREE, index);
    if (m->mounted && m->root == root)
        return 0;
    if (m->mounted && umount2(ret->tree, MNT_DETACH) < 0)
        return err_sys(err, errno, "take the former root tree away");
    m->mounted = false;
    if (root == 0) {
        tree = own = open(host->tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (own < 0)
            return err_sys(err, errno, "open the root tree");
    }
    (void)umask(022);
    r = bind_mapped(tree, ret, err);
    (void)umask(077);
    *m = (struct agent_mount){.mounted = r == 0, .root = root};
    return r;
}

// What lasting agents need beyond others. That the host does not have it is no error.
static void open_lasting(struct agent_host *host)
{
    struct agent_range range;
    struct err why = ERR_INIT;

    if (agent_range_open(host, 0, 0, -1, &range, &why) < 0 || try_jail(host, &range, &why) < 0)
        (void)snprintf(host->lasting_note, sizeof(host->lasting_note),
                       "no long-lived sandbox can be made: %.120s", why.message);
    else
        host->lasting = true;
}

// Root's: binds the tree and the files where everybody can walk to.
static int stage(struct agent_host *host, const char *templates, struct err *err)
{
    _cleanup_fd_ int tree = -1;
    _cleanup_fd_ int files = -1;

    // What the host unmounts is to go here, too, and what is mounted here is to stay here.
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_sys(err, errno, "make a mount namespace");
    // Opened before the tmpfs, which may cover them; and not before this namespace was made, for a
    // tree can be mounted once more only from where it is in it.
    if (templates != NULL)
        host->templates_fd = open(templates, O_PATH | O_DIRECTORY | O_CLOEXEC);
    tree = open(host->tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (tree < 0)
        return err_sys(err, errno, "open %.150s", host->tree);
    files = open(host->files, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (files < 0)
        return err_sys(err, errno, "open %.150s", host->files);
    if (mount("csb-agents", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0755") < 0)
        return err_sys(err, errno, "mount a tmpfs on " STAGE);
    // The umask of the launcher would keep strangers out.
    (void)umask(022);
    if (bind_at(tree, STAGE "/tree", err) < 0 || bind_at(files, STAGE "/csb", err) < 0)
        return -1;
    (void)umask(077);
    (void)snprintf(host->tree, sizeof(host->tree), STAGE "/tree");
    (void)snprintf(host->files, sizeof(host->files), STAGE "/csb");
    return 0;
}

static void choose_ids(struct agent_host *host, uid_t uid_base)
{
    // Those above the VMMs'.
    uint32_t first = uid_base + AGENT_IDS;

    host->root = geteuid() == 0;
    host->uids = host->gids = (struct jail_id_map){0, first, AGENT_IDS};
    if (!host->root) {
        host->uids = (struct jail_id_map){0, geteuid(), 1};
        host->gids = (struct jail_id_map){0, getegid(), 1};
    }
}

int agent_host_open(struct agent_host *host, const struct agent_host_config *config,
                    struct err *err)
{
    struct err why = ERR_INIT;

    *host = (struct agent_host){.templates_fd = -1};
    choose_ids(host, config->uid_base);
    if (realpath(config->tree, host->tree) == NULL)
        return err_sys(err, errno, "the root tree %.150s (`make` makes it)", config->tree);
    if (agent_files_copy(config, host->files, err) < 0)
        return -1;
    if (!host->root && config->templates != NULL)
        host->templates_fd = open(config->templates, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if ((host->root && stage(host, config->templates, &why) < 0) ||
        try_jail(host, NULL, &why) < 0) {
        (void)snprintf(host->note, sizeof(host->note), "no agent can be started: %.120s",
                       why.message);
        return 0;
    }
    host->confinement = all_of(host);
    open_lasting(host);
    if (!host->root)
        (void)snprintf(host->note, sizeof(host->note),
                       "not started as root: all programs share one uid of the host%s",
                       host->lasting ? ", root and user of a long-lived sandbox, too" : "");
    return 0;
}
