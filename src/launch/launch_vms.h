// SPDX-License-Identifier: Apache-2.0
//
// What a launcher started: a table of slots, each with a VMM or an agent, a control group and a
// uid. Nothing here waits for something to end: what was killed is `dying` until launch_vms_step()
// finds it gone.
#ifndef CSB_LAUNCH_LAUNCH_VMS_H
#define CSB_LAUNCH_LAUNCH_VMS_H

#include "cgroup/cgroup.h"
#include "launch/agent_jail.h"
#include "launch/vmm_jail.h"

#include <stdbool.h>

struct launch_vms;

// What every VMM and agent is given. All borrowed for the table's life.
struct launch_vms_config {
    const struct vmm_host *host;
    struct agent_host *agents;
    struct cgroup_root *cgroups;
    const char *label;
    int null_fd;
    int kernel_fd;
    int initrd_fd;
    int rootfs_fd;
    int templates_fd; // the directory of the templates' root file systems, or -1
    uint64_t tsc_khz;
};

int launch_vms_new(const struct launch_vms_config *config, struct launch_vms **ret,
                   struct err *err);

// Kills what is left and waits up to some seconds for it to end; the control groups of what does
// not are left to the next launcher. NULL allowed.
void launch_vms_free(struct launch_vms *vms);

// Starts a VMM. `req` is validated already; `fds` are LAUNCH_FD_COUNT borrowed descriptors. The
// pidfd is borrowed until the next launch_vms_step().
int launch_vms_spawn(struct launch_vms *vms, const struct launch_request *req, const int *fds,
                     int32_t *ret_pid, int *ret_pidfd, struct err *err);

// The same for an agent, with LAUNCH_AGENT_FD_COUNT descriptors.
int launch_vms_spawn_agent(struct launch_vms *vms, const struct launch_request *req, const int *fds,
                           int32_t *ret_pid, int *ret_pidfd, struct err *err);

// Descriptors of a running VMM's memory, owned by the caller. Quick, whatever the memory's size.
int launch_vms_open_memory(struct launch_vms *vms, uint64_t id, int ret_fds[LAUNCH_MEMORY_FD_COUNT],
                           struct err *err);

// What a VMM or an agent has used. Quick.
int launch_vms_usage(struct launch_vms *vms, uint64_t id, struct launch_usage *ret,
                     struct err *err);

// Kills one, if there is such a one.
void launch_vms_kill(struct launch_vms *vms, uint64_t id);

// Whether anything of it is left.
bool launch_vms_has(const struct launch_vms *vms, uint64_t id);

// Takes note of those that ended and removes what they left; for SIGCHLD, after a kill, and when
// the time it returned has come. Returns when to call it again: CLOCK_NEVER when nothing waits.
uint64_t launch_vms_step(struct launch_vms *vms);

#endif
