// SPDX-License-Identifier: Apache-2.0
#include "launch/launch_vms.h"

#include "launch/open_memory.h"
#include "launch/qemu_argv.h"

#include "base/clock.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What QEMU itself may need beside the guest's RAM: its code cache, devices, libraries.
#define VMM_EXTRA_BYTES (512ull << 20)
// QEMU ends itself when it cannot start a thread: 64 for file reads, which a guest can have under
// way at once, one per virtual CPU, and a few of its own.
#define VMM_PROCESSES 128
#define CPU_PERIOD_US 100000u

// An agent, its zygotes, and all its runs, each of which has a limit of its own.
#define AGENT_PROCESSES   32768
#define AGENT_CONTROL_NUM 3

#define RETRY_MIN_MS      1 // between tries to remove the group of something that ended
#define RETRY_MAX_MS      250
#define FREE_DEADLINE_MS  5000

static_assert(AGENT_RANGES_MAX >= LAUNCH_VMS_MAX, "each lasting agent finds a range");
static_assert((int)QEMU_FD_STATE == LAUNCH_QEMU_STATE_FD, "the driver names this number in QMP");

// Moves: FREE -> LIVE by claim(); LIVE -> DYING by begin_end(), when it was killed, ended by itself
// or could not be started; DYING -> FREE by end_step(), when its process was reaped and its group
// removed. One that sleeps in the kernel and cannot be killed stays DYING, which harms nobody else.
enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_DYING };

struct slot {
    enum slot_state state;
    bool agent;           // not a VMM
    bool lasting;         // an agent with ids of its own,
    uint32_t range_index; // of this range
    uint64_t id;
    int root_fd; // its template's directory, locked: whoever cleans up leaves it; -1: the image's
    struct jail_child child;
    struct cgroup *cgroup;
    uint64_t retry_ns; // DYING: when to try again to remove the group
    uint64_t pause_ms;
};

struct launch_vms {
    struct launch_vms_config config;
    struct slot slots[LAUNCH_VMS_MAX];
    uint32_t next; // where the search for a free slot starts: a uid rests before it is used again
};

int launch_vms_new(const struct launch_vms_config *config, struct launch_vms **ret, struct err *err)
{
    struct launch_vms *vms = calloc(1, sizeof(*vms));

    if (vms == NULL)
        return err_sys(err, ENOMEM, "make the table of VMMs");
    vms->config = *config;
    *ret = vms;
    return 0;
}

static struct slot *find(struct launch_vms *vms, uint64_t id)
{
    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++)
        if (vms->slots[i].state != SLOT_FREE && vms->slots[i].id == id)
            return &vms->slots[i];
    return NULL;
}

static struct slot *find_free(struct launch_vms *vms)
{
    for (uint32_t i = 0; i < LAUNCH_VMS_MAX; i++) {
        struct slot *s = &vms->slots[(vms->next + i) % LAUNCH_VMS_MAX];

        if (s->state == SLOT_FREE) {
            vms->next = (vms->next + i + 1) % LAUNCH_VMS_MAX;
            return s;
        }
    }
    return NULL;
}

static int claim(struct launch_vms *vms, uint64_t id, struct slot **ret, struct err *err)
{
    struct slot *s;

    if (find(vms, id) != NULL)
        return err_field(err, ERR_INVALID, "id", "a VMM or agent of this id exists");
    s = find_free(vms);
    if (s == NULL)
        return err_set(err, ERR_BUSY, "%d VMMs are running", LAUNCH_VMS_MAX);
    *s = (struct slot){.state = SLOT_LIVE, .id = id, .root_fd = -1, .child = JAIL_CHILD_INIT};
    *ret = s;
    return 0;
}

static void begin_end(struct slot *s)
{
    (void)jail_kill(&s->child); // one that ended, or never began, is as well
    s->state = SLOT_DYING;
    s->retry_ns = 0;
    s->pause_ms = RETRY_MIN_MS;
}

// Whether any process of ours waits to be reaped: asked once, it spares a question for each that
// lives, before every request.
static bool any_ended(void)
{
    siginfo_t info = {0};

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        return true; // each is asked for itself
    return info.si_pid != 0;
}

static bool has_ended(struct slot *s)
{
    siginfo_t info = {0};

    if (s->child.pidfd < 0)
        return true;
    if (waitid(P_PIDFD, (id_t)s->child.pidfd, &info, WEXITED | WNOHANG) < 0)
        return errno == ECHILD;
    return info.si_pid != 0;
}

// One look at a slot that is not free. `any`: of any_ended().
static void end_step(struct slot *s, bool any, uint64_t now)
{
    if (any && s->child.pidfd >= 0 && has_ended(s)) {
        // Reaped: only descriptors are left to release.
        fd_close(&s->child.pidfd);
        jail_child_release(&s->child);
        if (s->state == SLOT_LIVE)
            begin_end(s);
    }
    if (s->state != SLOT_DYING || s->child.pidfd >= 0 || now < s->retry_ns)
        return;
    if (s->cgroup != NULL && cgroup_try_remove(s->cgroup) == -EBUSY) {
        s->retry_ns = now + s->pause_ms * NS_PER_MS;
        s->pause_ms = s->pause_ms * 2 < RETRY_MAX_MS ? s->pause_ms * 2 : RETRY_MAX_MS;
        return;
    }
    cgroup_free(s->cgroup);
    fd_close(&s->root_fd);
    *s = (struct slot){.state = SLOT_FREE};
}

uint64_t launch_vms_step(struct launch_vms *vms)
{
    uint64_t now = clock_mono_ns();
    uint64_t next = CLOCK_NEVER;
    bool any = any_ended();

    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++) {
        struct slot *s = &vms->slots[i];

        if (s->state == SLOT_FREE)
            continue;
        end_step(s, any, now);
        // Whose process lives on is waited for by SIGCHLD.
        if (s->state == SLOT_DYING && s->child.pidfd < 0 && s->retry_ns < next)
            next = s->retry_ns;
    }
    return next;
}

bool launch_vms_has(const struct launch_vms *vms, uint64_t id)
{
    return find((struct launch_vms *)(uintptr_t)vms, id) != NULL;
}

void launch_vms_kill(struct launch_vms *vms, uint64_t id)
{
    struct slot *s = find(vms, id);

    if (s != NULL && s->state == SLOT_LIVE)
        begin_end(s);
}

static size_t count_used(const struct launch_vms *vms)
{
    size_t n = 0;

    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++)
        n += vms->slots[i].state != SLOT_FREE;
    return n;
}

void launch_vms_free(struct launch_vms *vms)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    uint64_t deadline = clock_deadline_ms(FREE_DEADLINE_MS);

    if (vms == NULL)
        return;
    // All first, so that they end at the same time.
    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++)
        if (vms->slots[i].state == SLOT_LIVE)
            begin_end(&vms->slots[i]);
    (void)launch_vms_step(vms);
    while (count_used(vms) > 0 && clock_mono_ns() < deadline) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        (void)launch_vms_step(vms);
    }
    free(vms); // what still ends keeps its group
}

static int make_cgroup(struct launch_vms *vms, const struct launch_request *req, uint32_t slot,
                       struct cgroup **ret, struct err *err)
{
    struct cgroup_limits limits = {
        .memory_bytes = ((uint64_t)req->memory_mib << 20) + VMM_EXTRA_BYTES,
        .processes = VMM_PROCESSES,
        // One more than the virtual CPUs, for the threads of devices and migration.
        .cpu_quota_us = (uint64_t)(req->cpus + 1) * CPU_PERIOD_US,
    };
    char name[96];

    (void)snprintf(name, sizeof(name), "%.40s-%u", vms->config.label, slot);
    return cgroup_new(vms->config.cgroups, name, &limits, ret, err);
}

// A template's root file system: the file or directory `what` of the one with that id. The slot
// holds a lock on the template's directory until nothing of it runs any more.
static int open_root(struct slot *s, int templates_fd, uint64_t id, const char *what, int flags,
                     int *ret, struct err *err)
{
    char name[24];

    if (templates_fd < 0)
        return err_field(err, ERR_INVALID, "root", "TEMPLATES_DIR was not there at the start");
    (void)snprintf(name, sizeof(name), "%016llx", (unsigned long long)id);
    s->root_fd = openat(templates_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->root_fd < 0)
        return err_sys(err, errno, "open the template's directory");
    // Where a file system has no locks, its templates are removed by hand alone.
    if (flock(s->root_fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return err_set(err, ERR_GONE, "the template is being removed");
    *ret = openat(s->root_fd, what, flags | O_NOFOLLOW | O_CLOEXEC);
    if (*ret < 0)
        return err_sys(err, errno, "open the template's %s", what);
    return 0;
}

static size_t plan_fds(const struct launch_vms_config *c, bool boot, const int *fds, int rootfs_fd,
                       struct jail_fd *ret)
{
    size_t n = 0;

    ret[n++] = (struct jail_fd){c->null_fd, STDIN_FILENO};
    ret[n++] = (struct jail_fd){fds[LAUNCH_FD_LOG], STDOUT_FILENO};
    ret[n++] = (struct jail_fd){fds[LAUNCH_FD_LOG], STDERR_FILENO};
    ret[n++] = (struct jail_fd){fds[LAUNCH_FD_CHANNEL], QEMU_FD_CHANNEL};
    ret[n++] = (struct jail_fd){fds[LAUNCH_FD_QMP], QEMU_FD_QMP};
    ret[n++] = (struct jail_fd){fds[LAUNCH_FD_RAM], QEMU_FD_RAM};
    ret[n++] = (struct jail_fd){fds[LAUNCH_FD_STATE], QEMU_FD_STATE};
    ret[n++] = (struct jail_fd){rootfs_fd, QEMU_FD_ROOTFS};
    if (boot) {
        ret[n++] = (struct jail_fd){c->kernel_fd, QEMU_FD_KERNEL};
        ret[n++] = (struct jail_fd){c->initrd_fd, QEMU_FD_INITRD};
    }
    return n;
}

static int start(struct launch_vms *vms, struct slot *s, const struct launch_request *req,
                 const int *fds, struct err *err)
{
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    const struct launch_vms_config *c = &vms->config;
    uint32_t index = (uint32_t)(s - vms->slots);
    _cleanup_fd_ int root_fd = -1;
    struct jail_fd jail_fds[16];
    struct qemu_argv argv;
    struct vmm_jail j;
    char name[96];
    struct qemu_machine machine = {
        .path = c->host->qemu,
        .name = name,
        .accel = req->accel,
        .mode = req->mode,
        .memory_mib = req->memory_mib,
        .cpus = req->cpus,
        .tsc_khz = c->tsc_khz,
    };

    if (req->root != 0 &&
        open_root(s, c->templates_fd, req->root, "rootfs.erofs", O_RDONLY, &root_fd, err) < 0)
        return -1;
    (void)snprintf(name, sizeof(name), "%.40s-%llx", c->label, (unsigned long long)req->id);
    if (qemu_argv_build(&machine, &argv) < 0)
        return err_set(err, ERR_INTERNAL, "the VMM's command line is too long");
    vmm_jail_plan(c->host, index, req->accel == LAUNCH_ACCEL_KVM, (uint64_t)req->memory_mib << 20,
                  &j);
    j.plan.cgroup_fd = cgroup_dirfd(s->cgroup);
    j.plan.cgroup_v1_procs = cgroup_procs_paths(s->cgroup);
    j.plan.fd_count = plan_fds(c, req->mode == LAUNCH_MODE_BOOT, fds,
                               req->root != 0 ? root_fd : c->rootfs_fd, jail_fds);
    j.plan.fds = jail_fds;
    j.plan.argv = argv.argv;
    j.plan.envp = envp;
    return jail_spawn(&j.plan, &s->child, err);
}

// The lowest range that no other has until its slot is free: no process is left of it then.
static int take_range(struct launch_vms *vms, struct slot *s, uint64_t root,
                      struct agent_range *ret, struct err *err)
{
    bool taken[AGENT_RANGES_MAX] = {false};
    _cleanup_fd_ int tree = -1;
    uint32_t index = 0;

    if (root != 0 && open_root(s, vms->config.agents->templates_fd, root, "rootfs",
                               O_PATH | O_DIRECTORY, &tree, err) < 0)
        return -1;
    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++)
        if (vms->slots[i].state != SLOT_FREE && vms->slots[i].lasting)
            taken[vms->slots[i].range_index] = true;
    while (taken[index])
        index++;
    if (agent_range_open(vms->config.agents, index, root, tree, ret, err) < 0)
        return -1;
    s->range_index = index;
    s->lasting = true;
    return 0;
}

static int make_agent_cgroup(struct launch_vms *vms, struct slot *s,
                             const struct launch_request *req, const struct agent_range *range,
                             struct err *err)
{
    const struct agent_host *host = vms->config.agents;
    bool own = s->lasting && host->root;
    const struct jail_id_map *uids = own ? &range->ids : &host->uids;
    const struct jail_id_map *gids = own ? &range->ids : &host->gids;
    struct cgroup_limits limits = {
        .memory_bytes = (uint64_t)req->memory_mib << 20,
        .processes = s->lasting ? req->processes : AGENT_PROCESSES,
        .cpu_quota_us = (uint64_t)req->cpu_percent * CPU_PERIOD_US / 100,
    };
    char name[96];
    int r;

    (void)snprintf(name, sizeof(name), "%.40s-%u", vms->config.label, (uint32_t)(s - vms->slots));
    if (cgroup_new(vms->config.cgroups, name, &limits, &s->cgroup, err) < 0)
        return -1;
    r = cgroup_delegate(s->cgroup, uids->outside, (gid_t)gids->outside);
    return r < 0 ? err_sys(err, r, "hand a control group to the agent") : 0;
}

static int start_agent(struct launch_vms *vms, struct slot *s, const struct launch_request *req,
                       const struct agent_range *range, const int *fds, struct err *err)
{
    const struct launch_vms_config *c = &vms->config;
    const struct agent_limits limits = {
        .memory_bytes = (uint64_t)req->memory_mib << 20,
        .processes = req->processes,
        .disk_bytes = (uint64_t)req->disk_mib << 20,
    };
    struct jail_fd jail_fds[] = {
        {c->null_fd, STDIN_FILENO},
        {fds[LAUNCH_AGENT_FD_LOG], STDOUT_FILENO},
        {fds[LAUNCH_AGENT_FD_LOG], STDERR_FILENO},
        {fds[LAUNCH_AGENT_FD_CONTROL], AGENT_CONTROL_NUM},
    };
    struct agent_jail j;

    if (s->lasting)
        agent_jail_plan_lasting(c->agents, range, s->cgroup, &limits, &j);
    else
        agent_jail_plan(c->agents, s->cgroup, &j);
    j.plan.fds = jail_fds;
    j.plan.fd_count = sizeof(jail_fds) / sizeof(jail_fds[0]);
    return jail_spawn(&j.plan, &s->child, err);
}

// What could not be started has left a group at most.
static int started(struct slot *s, int r, int32_t *ret_pid, int *ret_pidfd)
{
    if (r < 0) {
        begin_end(s);
        return -1;
    }
    *ret_pid = s->child.pid;
    *ret_pidfd = s->child.pidfd;
    return 0;
}

int launch_vms_spawn(struct launch_vms *vms, const struct launch_request *req, const int *fds,
                     int32_t *ret_pid, int *ret_pidfd, struct err *err)
{
    struct slot *s;
    int r;

    if (vms->config.host == NULL)
        return err_set(err, ERR_UNSUPPORTED, "this launcher starts no VMMs");
    if (claim(vms, req->id, &s, err) < 0)
        return -1;
    r = make_cgroup(vms, req, (uint32_t)(s - vms->slots), &s->cgroup, err);
    if (r == 0)
        r = start(vms, s, req, fds, err);
    return started(s, r, ret_pid, ret_pidfd);
}

int launch_vms_spawn_agent(struct launch_vms *vms, const struct launch_request *req, const int *fds,
                           int32_t *ret_pid, int *ret_pidfd, struct err *err)
{
    struct agent_range range;
    struct slot *s;
    int r;

    if (vms->config.agents == NULL)
        return err_set(err, ERR_UNSUPPORTED, "this launcher starts no agents");
    if (req->mode == LAUNCH_AGENT_LASTING && !vms->config.agents->lasting)
        return err_set(err, ERR_UNSUPPORTED, "%s", vms->config.agents->lasting_note);
    if (claim(vms, req->id, &s, err) < 0)
        return -1;
    s->agent = true;
    r = req->mode == LAUNCH_AGENT_LASTING ? take_range(vms, s, req->root, &range, err) : 0;
    if (r == 0)
        r = make_agent_cgroup(vms, s, req, &range, err);
    if (r == 0)
        r = start_agent(vms, s, req, &range, fds, err);
    return started(s, r, ret_pid, ret_pidfd);
}

int launch_vms_open_memory(struct launch_vms *vms, uint64_t id, int ret_fds[LAUNCH_MEMORY_FD_COUNT],
                           struct err *err)
{
    struct slot *s;
    int r;

    (void)launch_vms_step(vms); // one that ended is not mistaken for one that runs
    s = find(vms, id);
    if (s == NULL || s->state != SLOT_LIVE || s->agent || s->child.pidfd < 0)
        return err_set(err, ERR_GONE, "no such VMM is running");
    // It is not reaped before the next step, so its pid is nobody else's.
    r = open_memory(s->child.pid, ret_fds);
    return r < 0 ? err_sys(err, r, "open the VMM's memory") : 0;
}

int launch_vms_usage(struct launch_vms *vms, uint64_t id, struct launch_usage *ret, struct err *err)
{
    struct cgroup_usage used = {0};
    struct slot *s = find(vms, id);

    if (s == NULL || s->cgroup == NULL)
        return err_set(err, ERR_GONE, "no such VMM or agent is there");
    (void)cgroup_usage(s->cgroup, 0, &used);
    *ret = (struct launch_usage){.cpu_ns = used.cpu_user_ns + used.cpu_system_ns};
    return 0;
}
