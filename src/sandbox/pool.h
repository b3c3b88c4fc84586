// SPDX-License-Identifier: Apache-2.0
//
// Sandboxes that are ready before the request comes. How it works is told in pool.c.
#ifndef CSB_SANDBOX_POOL_H
#define CSB_SANDBOX_POOL_H

#include "base/err.h"
#include "sandbox/sandbox.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct runtime_table;
struct tenant;

struct pool_config {
    struct sandbox_origin origin;         // without the template: see pool_set_template
    const struct runtime_table *runtimes; // borrowed
    uint32_t ready;                       // POOL_SIZE
    uint32_t plain;                       // more of them, with no interpreter prepared
    uint32_t max;                         // sandboxes alive at once
    uint32_t queue_max;                   // waiters
    uint64_t queue_wait_ms;
    uint32_t workers; // threads that make sandboxes, 1..16
};

// What may change while it works; each as in struct pool_config.
struct pool_sizes {
    uint32_t ready, max, queue_max;
    uint64_t queue_wait_ms;
};

struct pool_status {
    uint32_t ready, target, running, queued, starting;
    uint64_t created, failed;
    uint64_t start_ns[SANDBOX_PHASE_COUNT]; // medians over the last 64 sandboxes made
    char last_error[256]; // of the last sandbox that could not be made, "" since the last success
};

struct pool_wait {
    bool (*gone)(void *arg); // polled every 250 ms while waiting; may be NULL
    void *arg;
    bool background;       // whoever is not goes first
    struct tenant *tenant; // whose; tenants are served by turns. NULL: nobody's
};

// Starts the threads; nothing is made before pool_set_template().
int pool_new(const struct pool_config *config, struct pool **ret, struct err *err);

// Destroys every sandbox. Those still held must have been released.
void pool_free(struct pool *p);

// The template is borrowed until pool_free.
void pool_set_template(struct pool *p, struct driver_template *t);

// A live sandbox, best one with an interpreter of `rt` prepared (NULL: any). Blocks up to
// queue_wait_ms. ERR_BUSY (the queue is full, or the wait was too long; a tenant's limit is named),
// ERR_CANCELLED (gone, or the pool closes).
int pool_acquire(struct pool *p, const struct runtime *rt, const struct pool_wait *wait,
                 struct sandbox **ret, struct err *err);

// Ends a sandbox that was acquired: it is destroyed in the background and replaced.
void pool_release(struct pool *p, struct sandbox *s);

// Gives a sandbox that was acquired to the caller for good: it no longer counts, is replaced, and
// is ended with sandbox_free().
void pool_give_away(struct pool *p, struct sandbox *s);

// A ready sandbox right now or NULL; give it back unchanged with pool_put_back, or release it.
struct sandbox *pool_borrow(struct pool *p);
void pool_put_back(struct pool *p, struct sandbox *s);

// Refuses further acquires and wakes the waiters with ERR_CANCELLED.
void pool_close(struct pool *p);

// From now on. Sandboxes beyond the new sizes go as they would after a crowd; waiters keep the wait
// they began with.
void pool_tune(struct pool *p, const struct pool_sizes *sizes);

void pool_status(struct pool *p, struct pool_status *ret);

#endif
