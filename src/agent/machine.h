// SPDX-License-Identifier: Apache-2.0
//
// What the daemon asks of the machine as a whole: /sync gives a clone its own randomness, clock and
// identity, /stats describes it.
#ifndef CSB_AGENT_MACHINE_H
#define CSB_AGENT_MACHINE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

// Applies the JSON body of /sync. `own` is true where the machine is ours to change; elsewhere (the
// agent on a host) the body is only checked.
int machine_sync(const char *text, size_t len, bool own, struct err *err);

// The JSON of /stats, freed by the caller, or NULL when memory is out.
char *machine_stats(void);

#endif
