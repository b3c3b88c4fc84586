// SPDX-License-Identifier: Apache-2.0
//
// Limits where there are no control groups (an ordinary user without delegation): what the kernel
// counts by user and by process. Weaker: processes are counted exactly, since the identity of a
// jail counts its own alone, but memory is bounded per process and by address space, and CPU time
// is that of the program and of those of its children it waited for.
#ifndef CSB_AGENT_FALLBACK_H
#define CSB_AGENT_FALLBACK_H

#include "cgroup/cgroup.h"
#include "jail/jail.h"

#include <stdint.h>

#define FALLBACK_RLIMITS 2

// For a program that starts at once: fills `ret` (FALLBACK_RLIMITS of room) and returns how many.
// The address space it needs for itself is not known, so it gets a gigabyte more than its memory.
size_t fallback_rlimits(const struct cgroup_limits *limits, struct jail_rlimit *ret);

// The program of a jail whose init is `init`, or -1: it has none any more.
pid_t fallback_program(pid_t init);

// Limits one that has waited until now; of the address space what it has comes on top. What is
// lower already stays.
void fallback_limit(pid_t program, const struct cgroup_limits *limits);

// CPU time of it and of the children it waited for; 0 when it is gone.
uint64_t fallback_cpu_ns(pid_t program);

#endif
