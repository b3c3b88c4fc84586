// SPDX-License-Identifier: Apache-2.0
//
// Zygotes: interpreters that have started up and fork prepared ones, each into a jail of its own
// (jail/zygote.h). One for each command line and environment, started when first asked for. It is
// the agent's child, in its namespaces and with its privileges, and never sees a byte of a user's.
//
// What forks share they share only for a while: hash seed and address layout of a zygote are given
// up after ZYGOTE_FORKS forks or ZYGOTE_AGE_MS, whichever comes first, when the next one is ready.
//
// States of a family: none -> starting -> ready -> ready and starting (the next) -> ready. A
// zygote that fails leaves its family where it was, to be tried again later.
#ifndef CSB_AGENT_ZYGOTE_H
#define CSB_AGENT_ZYGOTE_H

#include "agent/agent.h"
#include "base/err.h"
#include "jail/jail.h"

#define ZYGOTE_FORKS        256
#define ZYGOTE_AGE_MS       10000
#define ZYGOTE_FAMILIES_MAX 8

// Spawns as `plan` says (argv and envp are its program's), by a zygote. 0, or -1 when there is none
// that can: the caller executes the interpreter instead, and one may be ready the next time. Blocks
// as jail_spawn() does.
int zygote_spawn(struct agent *agent, const struct jail_plan *plan, struct jail_child *ret);

// Ends them all; what they forked lives on.
void zygotes_free(struct agent *agent);

#endif
