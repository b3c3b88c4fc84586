// SPDX-License-Identifier: Apache-2.0
//
// Control groups version 1: one hierarchy per controller, found by the usual directory names.
#include "cgroup/cgroup_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SOCKETS_PART 8 // of a group's memory, again for sockets

static const struct {
    const char *name;
    unsigned kind;
} controllers[CGROUP_HIERS_MAX] = {
    {"memory", CGROUP_MEMORY},
    {"pids", CGROUP_PIDS},
    {"cpu", CGROUP_CPU},
    {"cpuacct", CGROUP_CPUACCT},
};

const char *cgroup_v1_name(unsigned kind)
{
    for (size_t i = 0; i < CGROUP_HIERS_MAX; i++)
        if (controllers[i].kind == kind)
            return controllers[i].name;
    return NULL;
}

int cgroup_v1_open(struct cgroup_root *root, const char *mount, const char *name, char *note)
{
    int first_error = 0;

    for (size_t i = 0; i < CGROUP_HIERS_MAX; i++) {
        char path[PATH_MAX];
        int r;

        (void)snprintf(path, sizeof(path), "%s/%s/tasks", mount, controllers[i].name);
        if (access(path, F_OK) < 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s/%s", mount, controllers[i].name, name);
        r = cgroup_add_hier(root, path, controllers[i].kind);
        if (r < 0 && first_error == 0)
            first_error = r;
    }
    if (root->hier_count == 0)
        (void)snprintf(note, CGROUP_NOTE_BYTES, "no control group hierarchy is usable: %s",
                       first_error != 0 ? strerror(-first_error) : "none is mounted");
    else if (first_error != 0)
        (void)snprintf(note, CGROUP_NOTE_BYTES, "some hierarchies are not usable: %s",
                       strerror(-first_error));
    return 0;
}

// Buffers of sockets are counted apart here, and not at all without a limit; and TCP has so much
// for the whole host (tcp_mem), loopbacks in network namespaces included.
static void set_sockets(int dir, uint64_t bytes)
{
    char text[32] = "-1";

    if (bytes != 0)
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(bytes / SOCKETS_PART));
    (void)fd_write_file(dir, "memory.kmem.tcp.limit_in_bytes", text); // newer kernels may lack it
}

// The limit of memory plus swap may never be below that of memory, so which of the two comes first
// depends on the direction of the change: the second round mends what the first could not.
static int set_memory(int dir, uint64_t bytes)
{
    char text[32] = "-1";
    int r = 0;

    if (bytes != 0)
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
    for (int round = 0; round < 2; round++) {
        r = fd_write_file(dir, "memory.limit_in_bytes", text);
        // Absent where the kernel does not account swap.
        (void)fd_write_file(dir, "memory.memsw.limit_in_bytes", text);
        if (r == 0)
            break;
    }
    (void)fd_write_file(dir, "memory.swappiness", "0");
    set_sockets(dir, bytes);
    return r;
}

static int set_cpu(int dir, uint64_t quota_us)
{
    int r = cgroup_write_number(dir, "cpu.cfs_period_us", CGROUP_PERIOD_US);

    if (r < 0)
        return quota_us == 0 ? 0 : r;
    return quota_us == 0 ? fd_write_file(dir, "cpu.cfs_quota_us", "-1")
                         : cgroup_write_number(dir, "cpu.cfs_quota_us", quota_us);
}

static int v1_set_limits(int dir, unsigned kinds, const struct cgroup_limits *limits)
{
    if (kinds & CGROUP_MEMORY)
        return set_memory(dir, limits->memory_bytes);
    if (kinds & CGROUP_PIDS)
        return limits->processes == 0 ? fd_write_file(dir, "pids.max", "max")
                                      : cgroup_write_number(dir, "pids.max", limits->processes);
    if (kinds & CGROUP_CPU)
        return set_cpu(dir, limits->cpu_quota_us);
    return 0;
}

// The sum is exact; its two parts are sampled by the timer's tick, and only their ratio is used.
static void read_cpu(int dir, struct cgroup_usage *ret)
{
    uint64_t total = cgroup_read_number(dir, "cpuacct.usage");
    double user = (double)cgroup_read_number(dir, "cpuacct.usage_user");
    double system = (double)cgroup_read_number(dir, "cpuacct.usage_sys");

    ret->cpu_user_ns =
        user + system > 0 ? (uint64_t)((double)total * (user / (user + system))) : total;
    ret->cpu_system_ns = total - ret->cpu_user_ns;
}

static void v1_read_usage(int dir, unsigned kinds, unsigned parts, int peak_fd,
                          struct cgroup_usage *ret)
{
    (void)peak_fd;
    if (kinds & CGROUP_MEMORY) {
        if (parts & CGROUP_PEAKS)
            ret->memory_peak_bytes = cgroup_read_number(dir, "memory.max_usage_in_bytes");
        if (parts & CGROUP_NOW)
            ret->memory_bytes = cgroup_read_number(dir, "memory.usage_in_bytes");
        ret->oom_kills = cgroup_read_key(dir, "memory.oom_control", "oom_kill");
    }
    if (kinds & CGROUP_PIDS)
        cgroup_read_pids(dir, parts, ret);
    if (kinds & CGROUP_CPUACCT)
        read_cpu(dir, ret);
}

static int v1_reset_peak(int dir, int *peak_fd)
{
    (void)peak_fd;
    return fd_write_file(dir, "memory.max_usage_in_bytes", "0");
}

const struct cgroup_ops cgroup_v1_ops = {v1_set_limits, v1_read_usage, v1_reset_peak};
