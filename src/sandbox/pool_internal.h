// SPDX-License-Identifier: Apache-2.0
//
// What the files of the pool share: pool.c gives sandboxes away and takes them back, pool_threads.c
// makes them, looks after them and ends them.
#ifndef CSB_SANDBOX_POOL_INTERNAL_H
#define CSB_SANDBOX_POOL_INTERNAL_H

#include "base/clock.h"
#include "sandbox/lines.h"
#include "sandbox/pool.h"
#include "sandbox/runtime.h"
#include "sandbox/start_times.h"

#include <pthread.h>

#define BUCKET_MAX  (RUNTIME_COUNT_MAX + 1)
#define WORKERS_MAX 16
#define YOUNG_NS    LINE_PACE_NS

struct bucket {
    const struct runtime *runtime; // NULL for bucket 0
    struct sandbox *ready;         // oldest first
    uint32_t ready_count;
    uint32_t starting;
    uint32_t base;
    uint32_t boost;
    uint64_t hungry_ns; // since when it lacks something, 0: it does not
};

// One request that waits.
struct waiter {
    struct line_waiter at; // first: lines.h knows it by this
    pthread_cond_t cond;
    struct sandbox *given;
    bool turned_away; // another's line is shorter
};

struct pool {
    struct pool_config config; // fixed but for pool_tune()'s sizes, which the lock guards
    size_t bucket_count;       // fixed
    pthread_t workers[WORKERS_MAX];
    uint32_t worker_count;
    pthread_t keeper;
    pthread_t reaper;
    bool threads_started;

    pthread_mutex_t lock;
    pthread_cond_t work; // workers wait here
    pthread_cond_t dead; // the reaper
    pthread_cond_t tick; // the keeper
    struct bucket buckets[BUCKET_MAX];
    struct lines lines;
    struct line own; // of those that belong to no tenant
    struct sandbox *corpses;
    uint32_t live; // ready, starting, running and not yet destroyed
    uint32_t running;
    struct sandbox *young; // those that were taken YOUNG_NS ago at most, the first of them first
    struct sandbox *last_young;
    bool keeper_counts; // the keeper wakes up soon to look who may begin
    bool closed;
    bool stopping;
    bool all_buried; // no more corpses will come: the reaper may end
    uint64_t next_try_ns;
    uint32_t fail_streak;
    uint64_t next_decay_ns;
    uint64_t calm_ns; // until then the last program to begin is not disturbed
    uint64_t created;
    uint64_t failed;
    struct start_times starts;
    char last_error[256];
};

// All of these with the lock held.

int pool_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns);
void pool_push_ready(struct bucket *b, struct sandbox *s);
struct sandbox *pool_pop_ready(struct bucket *b);
// Whether all sandboxes share one agent.
bool pool_is_shared(const struct pool *p);
size_t pool_bucket_of(const struct pool *p, const struct runtime *rt);
// Leaves it to the reaper. NULL is allowed.
void pool_bury(struct pool *p, struct sandbox *s);
// Tells the lines what time it is, and takes those that began long enough ago off the young ones.
void pool_set_now(struct pool *p);
// Gives what is ready to those that wait.
void pool_serve_waiters(struct pool *p);

// The threads; each takes a struct pool.
void *pool_worker_main(void *arg);
void *pool_reaper_main(void *arg);
void *pool_keeper_main(void *arg);

#endif
