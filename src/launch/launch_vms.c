// SPDX-License-Identifier: Apache-2.0
#include "launch/launch_vms.h"

#include "launch/qemu_argv.h"

#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

// What QEMU itself may need beside the guest's RAM: its code cache, devices, libraries.
#define VMM_EXTRA_BYTES (512ull << 20)
// QEMU ends itself when it cannot start a thread: 64 for file reads, which a guest can have under
// way at once, one per virtual CPU, and a few of its own.
#define VMM_PROCESSES 128
#define CPU_PERIOD_US 100000u

static_assert((int)QEMU_FD_STATE == LAUNCH_QEMU_STATE_FD, "the driver names this number in QMP");

struct slot {
    bool used;
    uint64_t id;
    struct jail_child child;
    struct cgroup *cgroup;
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
        if (vms->slots[i].used && vms->slots[i].id == id)
            return &vms->slots[i];
    return NULL;
}

static struct slot *find_free(struct launch_vms *vms)
{
    for (uint32_t i = 0; i < LAUNCH_VMS_MAX; i++) {
        struct slot *s = &vms->slots[(vms->next + i) % LAUNCH_VMS_MAX];

        if (!s->used) {
            vms->next = (vms->next + i + 1) % LAUNCH_VMS_MAX;
            return s;
        }
    }
    return NULL;
}

static void release(struct slot *s)
{
    jail_child_release(&s->child);
    cgroup_free(s->cgroup);
    *s = (struct slot){0};
}

void launch_vms_free(struct launch_vms *vms)
{
    if (vms == NULL)
        return;
    // All first, so that they end at the same time.
    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++)
        if (vms->slots[i].used)
            (void)jail_kill(&vms->slots[i].child);
    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++)
        if (vms->slots[i].used)
            release(&vms->slots[i]);
    free(vms);
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

static size_t plan_fds(const struct launch_vms_config *c, bool boot, const int *fds,
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
    ret[n++] = (struct jail_fd){c->rootfs_fd, QEMU_FD_ROOTFS};
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

    (void)snprintf(name, sizeof(name), "%.40s-%llx", c->label, (unsigned long long)req->id);
    if (qemu_argv_build(&machine, &argv) < 0)
        return err_set(err, ERR_INTERNAL, "the VMM's command line is too long");
    vmm_jail_plan(c->host, index, req->accel == LAUNCH_ACCEL_KVM, (uint64_t)req->memory_mib << 20,
                  &j);
    j.plan.cgroup_fd = cgroup_dirfd(s->cgroup);
    j.plan.cgroup_v1_procs = cgroup_procs_paths(s->cgroup);
    j.plan.fd_count = plan_fds(c, req->mode == LAUNCH_MODE_BOOT, fds, jail_fds);
    j.plan.fds = jail_fds;
    j.plan.argv = argv.argv;
    j.plan.envp = envp;
    return jail_spawn(&j.plan, &s->child, err);
}

int launch_vms_spawn(struct launch_vms *vms, const struct launch_request *req, const int *fds,
                     int32_t *ret_pid, int *ret_pidfd, struct err *err)
{
    struct slot *s;

    if (find(vms, req->id) != NULL)
        return err_field(err, ERR_INVALID, "id", "a VMM of this id exists");
    s = find_free(vms);
    if (s == NULL)
        return err_set(err, ERR_BUSY, "%d VMMs are running", LAUNCH_VMS_MAX);
    *s = (struct slot){.used = true, .id = req->id, .child = JAIL_CHILD_INIT};
    if (make_cgroup(vms, req, (uint32_t)(s - vms->slots), &s->cgroup, err) < 0 ||
        start(vms, s, req, fds, err) < 0) {
        release(s);
        return -1;
    }
    *ret_pid = s->child.pid;
    *ret_pidfd = s->child.pidfd;
    return 0;
}

void launch_vms_kill(struct launch_vms *vms, uint64_t id)
{
    struct slot *s = find(vms, id);

    if (s != NULL)
        release(s);
}

void launch_vms_reap(struct launch_vms *vms)
{
    for (size_t i = 0; i < LAUNCH_VMS_MAX; i++) {
        struct slot *s = &vms->slots[i];
        siginfo_t info = {0};

        if (s->used &&
            waitid(P_PIDFD, (id_t)s->child.pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0)
            release(s);
    }
}
