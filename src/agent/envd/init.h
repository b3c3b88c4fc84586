// SPDX-License-Identifier: Apache-2.0
//
// The plain endpoints about the sandbox as a whole.
#ifndef CSB_AGENT_ENVD_INIT_H
#define CSB_AGENT_ENVD_INIT_H

#include "agent/envd/call.h"

// GET /health: 204.
void init_health(struct call *c);

// POST /init {"envVars": {...}, "defaultUser", "defaultWorkdir"}, other fields ignored: 204. A
// field that is there replaces what was set before.
void init_init(struct call *c);

// GET /envs: the sandbox's variables.
void init_envs(struct call *c);

// GET /metrics: {ts, cpu_count, cpu_used_pct, mem_total, mem_used, mem_cache, mem_total_mib,
// mem_used_mib, disk_used, disk_total}; the CPU since the call before, the disk of "/". In a jail,
// memory and CPU are those of its control group.
void init_metrics(struct call *c);

// In a virtual machine: what programs expect of a machine and one-shot runs do without. Failures
// are logged: most programs need none of it.
void init_prepare_machine(void);

#endif
