// SPDX-License-Identifier: Apache-2.0
//
// Runs a runtime's `warm` program in a guest and throws its output away, so that what a real
// program will need is near: read files in the template, translated code in an emulated clone.
#ifndef CSB_SANDBOX_WARM_H
#define CSB_SANDBOX_WARM_H

#include "base/err.h"

#include <stdint.h>

struct channel;
struct runtime;

// Both block until the program has ended or the deadline (CLOCK_MONOTONIC, ns) has passed, leave no
// process behind, and do nothing for a runtime without a `warm` program. Not thread-safe per
// channel. A program that fails is ERR_INTERNAL with the beginning of what it wrote.

// As a run that finds nothing prepared.
int warm_cold(struct channel *ch, const struct runtime *rt, uint64_t deadline_ns, struct err *err);

// Through an interpreter or compiler that is prepared for it, and used up. Nothing for a runtime
// without a prepare step.
int warm_prepared(struct channel *ch, const struct runtime *rt, uint64_t deadline_ns,
                  struct err *err);

#endif
