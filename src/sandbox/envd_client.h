// SPDX-License-Identifier: Apache-2.0
//
// What the daemon itself asks the data plane of a long-lived sandbox (/envd of
// channel/agent_wire.h). The answers are hostile. Any thread; calls block until their deadline.
#ifndef CSB_SANDBOX_ENVD_CLIENT_H
#define CSB_SANDBOX_ENVD_CLIENT_H

#include "base/err.h"
#include "sandbox/live.h"

#include <stddef.h>
#include <stdint.h>

struct channel;

#define ENVD_DEFAULT_USER "user"

// Makes the sandbox one of its owner's: gives it the variables of all its processes. A name that is
// there twice is its last. ERR_PROTOCOL also when its agent has no data plane.
int envd_init(struct channel *ch, const struct live_pair *env, size_t env_count,
              uint64_t deadline_ns, struct err *err);

int envd_metrics(struct channel *ch, uint64_t deadline_ns, struct live_metrics *ret,
                 struct err *err);

#endif
