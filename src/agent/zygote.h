// SPDX-License-Identifier: Apache-2.0
//
// Zygotes: interpreters that have started up and fork prepared ones, each into a jail of its own
// (jail/zygote.h). One for each command line and environment, started when first asked for. It is
// the agent's child, in its namespaces and with its privileges, and never sees a byte of a user's.
//
// What forks share they share only for a while: hash seed and address layout of a zygote are given
// up after ZYGOTE_FORKS forks or ZYGOTE_AGE_MS, whichever comes first, when the next one is ready.
//
// A zygote is asked and answers later: the agent does not wait for it.
//
// States of a family: none -> starting -> ready -> ready and starting (the next) -> ready. A
// zygote that fails leaves its family where it was, to be tried again later.
#ifndef CSB_AGENT_ZYGOTE_H
#define CSB_AGENT_ZYGOTE_H

#include "agent/agent.h"
#include "base/err.h"
#include "jail/jail.h"

// To start one takes as much processor as some ten runs, and beside it these are slow.
#define ZYGOTE_FORKS        4096
#define ZYGOTE_AGE_MS       10000
#define ZYGOTE_FAMILIES_MAX 8

#define ZYGOTE_ASKED_MAX    32 // requests under way to one

struct zygote_request;

// Asks a zygote to spawn as `plan` says (argv and envp are its program's; nothing of it is needed
// afterwards). NULL when there is none that can: the caller executes the interpreter instead, and
// one may be ready the next time. Else `done` is called from the loop, once, with the jail, which
// is the callee's then, or NULL when there is none.
struct zygote_request *zygote_ask(struct agent *agent, const struct jail_plan *plan,
                                  void (*done)(void *arg, const struct jail_child *child),
                                  void *arg);

// The asker is gone: `done` is not called any more, and what becomes of the request goes to
// `grave`.
void zygote_abandon(struct zygote_request *request, struct grave *grave);

// Ends them all; what they forked lives on.
void zygotes_free(struct agent *agent);

#endif
