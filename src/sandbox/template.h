// SPDX-License-Identifier: Apache-2.0
//
// Warming a freshly booted agent before it is frozen as the template.
#ifndef CSB_SANDBOX_TEMPLATE_H
#define CSB_SANDBOX_TEMPLATE_H

#include "base/err.h"

#include <stddef.h>

struct channel_loop;
struct runtime_table;

struct template_warm {
    struct channel_loop *loop;            // borrowed
    const struct runtime_table *runtimes; // borrowed
    // Told before each runtime that has something to warm: its id, and which of how many. May be
    // NULL.
    void (*progress)(void *arg, const char *id, size_t number, size_t count);
    void *progress_arg;
};

// A driver_warm_fn; `arg` is a struct template_warm. Waits for the agent, then runs each runtime's
// `warm` program cold and once through its prepared interpreter, so that what they read is in the
// page cache that every clone inherits. No process of theirs is left in the template. Takes
// channel_fd. Blocks for up to three minutes.
int template_warm(void *arg, int channel_fd, struct err *err);

#endif
