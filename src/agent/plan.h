// SPDX-License-Identifier: Apache-2.0
//
// The jail of a step: which namespaces, mounts, limits and descriptors every program gets.
#ifndef CSB_AGENT_PLAN_H
#define CSB_AGENT_PLAN_H

#include "agent/agent.h"
#include "agent/netns.h"
#include "agent/space.h"
#include "jail/jail.h"

#define PLAN_MOUNTS_MAX  24
#define PLAN_RLIMITS_MAX 10

// A jail plan with the arrays it points into; do not copy it once it was made.
struct step_plan {
    struct jail_plan jail;
    struct jail_mount mounts[PLAN_MOUNTS_MAX];
    char sources[5][128]; // paths of the space's directories
    struct jail_rlimit rlimits[PLAN_RLIMITS_MAX];
    struct jail_fd fds[4];
};

// What is the jail's own. All borrowed, by the plan too.
struct plan_parts {
    const struct space *space;
    const struct cgroup *cgroup;          // or NULL
    const struct netns *netns;            // or NULL
    const struct cgroup_limits *fallback; // as far as the jail itself can hold them; or NULL
    int fds[3];                           // the standard descriptors
    int control_fd;                       // becomes AGENT_CONTROL_FD; or -1
    const char *const *argv;
    const char *const *envp;
};

void plan_make(const struct agent *agent, const struct plan_parts *parts, struct step_plan *ret);

#endif
