// SPDX-License-Identifier: Apache-2.0
//
// Machines of the template `code-interpreter-v1`, where the driver clones machines: a template of
// its own, in which the server of runtimes/contexts runs with warm kernels. It is built, or loaded
// from disk, when the first of its machines is asked for, so it costs nothing where nobody does.
#ifndef CSB_SANDBOX_INTERPRETER_H
#define CSB_SANDBOX_INTERPRETER_H

#include "base/err.h"

#include <stdbool.h>

struct engine;
struct interpreter;
struct sandbox;

// Does nothing yet. `e` is borrowed; its driver, pool and channels must be there by the first take.
// NULL when memory is out.
struct interpreter *interpreter_new(struct engine *e);

// Who waits in interpreter_take() gets ERR_CANCELLED, and nothing is begun any more. NULL allowed.
void interpreter_stop(struct interpreter *i);

// Blocks until the builder has ended. Its machines must be gone. NULL allowed.
void interpreter_free(struct interpreter *i);

// A machine for good, synced, that is ended with sandbox_free(). Asks `gone` (or NULL) every 250
// ms. While the template is being built, which begins once the service itself is ready, it waits up
// to 50 seconds. ERR_BUSY after that; ERR_CANCELLED; the builder's error, where the next call tries
// again; else as driver_ops.clone.
int interpreter_take(struct interpreter *i, bool (*gone)(void *arg), void *gone_arg,
                     struct sandbox **ret, struct err *err);

#endif
