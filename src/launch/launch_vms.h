// SPDX-License-Identifier: Apache-2.0
//
// The VMMs of a launcher: a table of slots, each with a process, a control group and a uid.
#ifndef CSB_LAUNCH_LAUNCH_VMS_H
#define CSB_LAUNCH_LAUNCH_VMS_H

#include "cgroup/cgroup.h"
#include "launch/vmm_jail.h"

struct launch_vms;

// What every VMM is given. All borrowed for the table's life.
struct launch_vms_config {
    const struct vmm_host *host;
    struct cgroup_root *cgroups;
    const char *label;
    int null_fd;
    int kernel_fd;
    int initrd_fd;
    int rootfs_fd;
    uint64_t tsc_khz;
};

int launch_vms_new(const struct launch_vms_config *config, struct launch_vms **ret,
                   struct err *err);
void launch_vms_free(struct launch_vms *vms); // kills and removes all; NULL allowed

// Starts a VMM. `req` is validated already; `fds` are LAUNCH_FD_COUNT borrowed descriptors. The
// pidfd is borrowed until the VMM is reaped.
int launch_vms_spawn(struct launch_vms *vms, const struct launch_request *req, const int *fds,
                     int32_t *ret_pid, int *ret_pidfd, struct err *err);

// Kills one and waits until nothing of it is left. An unknown id is a success.
void launch_vms_kill(struct launch_vms *vms, uint64_t id);

// Frees the slots of those that ended by themselves; for SIGCHLD.
void launch_vms_reap(struct launch_vms *vms);

#endif
