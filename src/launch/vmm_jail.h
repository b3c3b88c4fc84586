// SPDX-License-Identifier: Apache-2.0
//
// How a VMM is confined on this host: as far as the host allows, found out once at start by running
// the VMM's own version query in it.
#ifndef CSB_LAUNCH_VMM_JAIL_H
#define CSB_LAUNCH_VMM_JAIL_H

#include "jail/jail.h"
#include "launch/launch.h"

#include <stdbool.h>

#define VMM_MOUNTS_MAX 16

// Strongest first.
enum vmm_level {
    VMM_LEVEL_FULL,   // own pid, mount, network, ipc, uts and cgroup namespaces, private root
    VMM_LEVEL_NO_PID, // the same without a pid namespace: where /proc may not be mounted
    VMM_LEVEL_BARE,   // no namespaces: seccomp, limits and no_new_privs only
    VMM_LEVEL_COUNT
};

struct vmm_host {
    const char *qemu; // absolute path, links resolved; borrowed
    uid_t uid_base;
    bool root;
    enum vmm_level level;
    char qemu_version[64];
    char note[160]; // why the level is not FULL, or ""
};

// One VMM's jail. Filled by vmm_jail_plan(); must not be moved, the plan points into it.
struct vmm_jail {
    struct jail_mount mounts[VMM_MOUNTS_MAX];
    size_t mount_count;
    struct jail_rlimit rlimits[4];
    struct jail_plan plan;
};

// Finds the strongest level that works and QEMU's version. Blocks for up to some seconds. 0, or -1
// when QEMU cannot be run at all.
int vmm_host_probe(struct vmm_host *host, struct err *err);

// What vmm_jail_plan() gives, as enum launch_confinement bits (without LAUNCH_CONFINED_CGROUP).
uint32_t vmm_host_confinement(const struct vmm_host *host);

// The plan without program, descriptors and cgroup. `slot` chooses the uid.
void vmm_jail_plan(const struct vmm_host *host, uint32_t slot, bool kvm, uint64_t memory_bytes,
                   struct vmm_jail *ret);

#endif
