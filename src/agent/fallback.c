// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define OWN_BYTES (1ull << 30)

// The jail's init counts in the limits but lives outside of the identity.
static uint64_t program_processes(const struct cgroup_limits *limits)
{
    return limits->processes > 1 ? limits->processes - 1 : 1;
}

size_t fallback_rlimits(const struct cgroup_limits *limits, struct jail_rlimit *ret)
{
    ret[0] = (struct jail_rlimit){RLIMIT_NPROC, program_processes(limits)};
    ret[1] = (struct jail_rlimit){RLIMIT_DATA, limits->memory_bytes + OWN_BYTES};
    return FALLBACK_RLIMITS;
}

pid_t fallback_program(pid_t init)
{
    char path[64];
    _cleanup_free_ char *text = NULL;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)init, (int)init);
    if (fd_read_file(AT_FDCWD, path, 65536, &text, NULL) < 0)
        return -1;
    // The first child is the program; orphans come later in the list.
    long pid = strtol(text, NULL, 10);
    return pid > 0 ? (pid_t)pid : -1;
}

static uint64_t data_bytes(pid_t pid)
{
    char path[64];
    _cleanup_free_ char *text = NULL;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (fd_read_file(AT_FDCWD, path, 65536, &text, NULL) < 0)
        return OWN_BYTES;
    const char *at = strstr(text, "\nVmData:");
    return at == NULL ? OWN_BYTES : strtoull(at + strlen("\nVmData:"), NULL, 10) * 1024;
}

static void lower(pid_t pid, int resource, uint64_t value)
{
    const struct rlimit limit = {.rlim_cur = value, .rlim_max = value};

    // Refused when it is lower already.
    (void)prlimit(pid, (__rlimit_resource_t)resource, &limit, NULL);
}

void fallback_limit(pid_t program, const struct cgroup_limits *limits)
{
    if (program <= 0)
        return;
    lower(program, RLIMIT_NPROC, program_processes(limits));
    lower(program, RLIMIT_DATA, data_bytes(program) + limits->memory_bytes);
}

uint64_t fallback_cpu_ns(pid_t program)
{
    char path[64];
    _cleanup_free_ char *text = NULL;
    unsigned long long t[4] = {0};

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)program);
    if (program <= 0 || fd_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    // The name may hold anything; fields are counted from its end.
    const char *at = strrchr(text, ')');
    if (at == NULL ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &t[0],
               &t[1], &t[2], &t[3]) != 4)
        return 0;
    return (t[0] + t[1] + t[2] + t[3]) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}
