// SPDX-License-Identifier: Apache-2.0
#include "agent/verdict.h"

#include <signal.h>

// Where several limits were hit, the one that leaves a program the least choice comes first.
static const enum step_reason blamed[] = {STEP_MEMORY, STEP_PROCESSES, STEP_DISK};

void verdict_settle(struct step_result *r, bool disk_full)
{
    bool failed = r->reason == STEP_SIGNAL || (r->reason == STEP_EXIT && r->exit_code != 0);

    if (disk_full)
        r->limits_hit |= STEP_BIT(STEP_DISK);
    for (size_t i = 0; failed && i < sizeof(blamed) / sizeof(blamed[0]); i++) {
        if ((r->limits_hit & STEP_BIT(blamed[i])) == 0)
            continue;
        r->reason = blamed[i];
        break;
    }
    // The kernel's own way to enforce the memory limit is no signal of the program's.
    if (r->reason == STEP_MEMORY && r->signal == SIGKILL)
        r->signal = 0;
}
