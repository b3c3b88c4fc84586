// SPDX-License-Identifier: Apache-2.0
//
// How long the last sandboxes took to make, phase by phase. Not thread-safe: the holder's lock.
#ifndef CSB_SANDBOX_START_TIMES_H
#define CSB_SANDBOX_START_TIMES_H

#include "sandbox/sandbox.h"

#include <stdint.h>

#define START_TIMES_KEPT 64

// Zeroed is empty.
struct start_times {
    uint64_t ns[SANDBOX_PHASE_COUNT][START_TIMES_KEPT]; // a ring each; 0: the phase was left out
    unsigned next;
};

// `ns` is sandbox.start_ns.
void start_times_add(struct start_times *t, const uint64_t ns[SANDBOX_PHASE_COUNT]);

// Of each phase the median of those that had it, 0 when none had.
void start_times_medians(const struct start_times *t, uint64_t ret[SANDBOX_PHASE_COUNT]);

#endif
