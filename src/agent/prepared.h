// SPDX-License-Identifier: Apache-2.0
//
// Interpreters and compilers that were started ahead, each in its jail, and wait for their program
// (channel/agent_wire.h). Their descriptors, cgroup, space and jail are the run's own later, so all
// of that is off the path of /run. Each session has its own set of them.
#ifndef CSB_AGENT_PREPARED_H
#define CSB_AGENT_PREPARED_H

#include "agent/agent.h"
#include "agent/space.h"
#include "agent/spec.h"
#include "agent/step.h"

struct prepared;

struct prepared_set {
    struct agent *agent;
    struct prepared *all[AGENT_PREPARED_MAX];
};

// Told once: err NULL when the interpreter is ready, else why it never will be (ERR_TIMEOUT,
// ERR_GONE); it is freed then.
typedef void (*prepared_ready_fn)(void *arg, const struct err *err);

// Starts one; the content of `spec` is taken once its id is known to be free. `ready` is called
// from the loop, not before this returns. ERR_BUSY when there are AGENT_PREPARED_MAX, ERR_INVALID
// when the id is taken.
int prepared_start(struct prepared_set *set, struct prepare_spec *spec, prepared_ready_fn ready,
                   void *arg, struct err *err);

// The asker went away: its callback is not called any more and the interpreter is given up.
void prepared_forget(struct prepared_set *set, void *arg);

// Gives the interpreter `id` to a run: ERR_GONE when there is none that is ready. *ret_control is
// the agent's end of its control socket. All is owned by the caller.
int prepared_take(struct prepared_set *set, const char *id, struct step **ret_step,
                  struct space *ret_space, int *ret_control, struct err *err);

// Tells a taken interpreter to go on, with the run's arguments and environment. NULL: none.
int prepared_go(int control_fd, const json_t *args, const json_t *env, struct err *err);

// Ends them all.
void prepared_free_all(struct prepared_set *set);

#endif
