// SPDX-License-Identifier: Apache-2.0
//
// Machines of all templates but `base`, where the driver clones machines: each of these templates
// is a frozen machine of its own, with a root file system of its own, or with the server of
// runtimes/contexts running in it with warm kernels. It is built, or loaded from disk, when the
// first of its machines is asked for, so it costs nothing where nobody does.
#ifndef CSB_SANDBOX_TEMPLATE_MACHINES_H
#define CSB_SANDBOX_TEMPLATE_MACHINES_H

#include "base/err.h"

#include <stdbool.h>

struct engine;
struct sandbox;
struct template;
struct template_machines;

// Does nothing yet. `e` is borrowed; its driver, pool and channels must be there by the first take.
// NULL when memory is out.
struct template_machines *template_machines_new(struct engine *e);

// Who waits in template_machines_take() gets ERR_CANCELLED, and nothing is begun any more. NULL
// allowed.
void template_machines_stop(struct template_machines *m);

// Blocks until the builders have ended. Their machines must be gone. NULL allowed.
void template_machines_free(struct template_machines *m);

// A machine for good, synced, that is ended with sandbox_free(). Asks `gone` (or NULL) every 250
// ms. While the template is being built, which begins once the service itself is ready, it waits up
// to 50 seconds. ERR_BUSY after that, or when very many templates are in use; ERR_CANCELLED; the
// builder's error, where the next call tries again; else as driver_ops.clone. Any thread.
int template_machines_take(struct template_machines *m, const struct template *is,
                           bool (*gone)(void *arg), void *gone_arg, struct sandbox **ret,
                           struct err *err);

#endif
