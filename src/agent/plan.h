// SPDX-License-Identifier: Apache-2.0
//
// The jail of a step: which namespaces, mounts, limits and descriptors every program gets.
#ifndef CSB_AGENT_PLAN_H
#define CSB_AGENT_PLAN_H

#include "agent/agent.h"
#include "agent/space.h"
#include "jail/jail.h"

#define PLAN_MOUNTS_MAX  24
#define PLAN_RLIMITS_MAX 8

// A jail plan with the arrays it points into; do not copy it once it was made.
struct step_plan {
    struct jail_plan jail;
    struct jail_mount mounts[PLAN_MOUNTS_MAX];
    char sources[5][128]; // paths of the space's directories
    struct jail_rlimit rlimits[PLAN_RLIMITS_MAX];
    struct jail_fd fds[4];
};

// Fills *ret for a program with the standard descriptors `fds` (0, 1, 2) and, when control_fd >= 0,
// the control socket. argv and envp are borrowed by the plan.
void plan_make(const struct agent *agent, const struct space *space, const struct cgroup *cgroup,
               const int fds[3], int control_fd, const char *const *argv, const char *const *envp,
               struct step_plan *ret);

#endif
