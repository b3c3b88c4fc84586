// SPDX-License-Identifier: Apache-2.0
#include "launch/namespace_probe.h"

#include "jail/jail.h"

#include <stddef.h>

int namespace_probe(struct err *err)
{
    static const char *const argv[] = {"/bin/true", NULL};
    static const char *const envp[] = {NULL};
    struct jail_plan plan = JAIL_PLAN_INIT;
    struct jail_child child = JAIL_CHILD_INIT;

    plan.ns = JAIL_NS_USER | JAIL_NS_PID | JAIL_NS_NET | JAIL_NS_IPC | JAIL_NS_UTS;
    plan.no_new_privs = 1;
    plan.cwd = "/";
    plan.argv = argv;
    plan.envp = envp;
    if (jail_spawn(&plan, &child, err) < 0)
        return -1;
    jail_child_release(&child);
    return 0;
}
