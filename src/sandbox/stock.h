// SPDX-License-Identifier: Apache-2.0
//
// Machines that wait for sandboxes to come where each machine is an agent of its own, which takes
// longer to start than a client should wait. How it works is told in stock.c. All but stock_new()
// and stock_status() do nothing with a stock of NULL: there is none where clones are machines.
#ifndef CSB_SANDBOX_STOCK_H
#define CSB_SANDBOX_STOCK_H

#include "base/err.h"

#include <stdint.h>

struct engine;
struct sandbox;
struct stock;
struct template;

enum stock_kind {
    STOCK_PLAIN,
    STOCK_CONTEXTS, // with the server of runtimes/contexts and warm kernels
    STOCK_KIND_COUNT
};

// Keeps up to `ready` of each of the service's own templates, but of those with contexts only while
// they are asked for. Its threads make nothing before stock_begin(). `e` is borrowed; its driver
// and channels must be there until stock_free().
int stock_new(struct engine *e, uint32_t ready, struct stock **ret, struct err *err);

// There is a template now.
void stock_begin(struct stock *s);

// Nothing is begun any more, and what is being made is given up. Any thread.
void stock_stop(struct stock *s);

// stock_stop(); blocks until the threads have ended, and ends what waits.
void stock_free(struct stock *s);

// A machine of that template for good, synced, with all that the template offers, that is ended
// with sandbox_free(); NULL when none is ready. Blocks only while the last one is just being looked
// at, and then for a quarter of a second.
struct sandbox *stock_take(struct stock *s, const struct template *is);

struct stock_status {
    uint32_t ready[STOCK_KIND_COUNT];
    uint32_t target[STOCK_KIND_COUNT];
    uint64_t taken;  // that were ready
    uint64_t missed; // that were asked for while none was
    uint64_t failed; // that could not be made ahead
};
void stock_status(struct stock *s, struct stock_status *ret);

#endif
