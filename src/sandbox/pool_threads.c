// SPDX-License-Identifier: Apache-2.0
//
// The pool's threads: workers make sandboxes, the reaper destroys them, the keeper looks after
// those that wait.
#include "sandbox/pool_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/runtime.h"

#include <stdio.h>

#define START_MS       60000
#define RESYNC_NS      (20 * NS_PER_S)
#define RESYNC_MS      5000
#define BOOST_DECAY_NS (10 * NS_PER_S)
#define KEEPER_TICK_MS 500
#define HUNGER_MAX_NS  (NS_PER_S / 2)
#define LOOK_NS        (NS_PER_S / 2000) // how exact a rest is

// Workers.

struct picking {
    const struct pool *pool;
    uint32_t wanted[BUCKET_MAX];
    size_t bucket;
    bool found;
};

static bool pick_turn(void *arg, const struct line_waiter *w)
{
    struct picking *v = arg;

    v->bucket = w->bucket;
    v->found = ++v->wanted[w->bucket] > v->pool->buckets[w->bucket].starting;
    return !v->found;
}

static bool pick_for_waiters(struct pool *p, size_t *ret)
{
    struct picking v = {.pool = p};

    lines_each(&p->lines, pick_turn, &v);
    if (v.found)
        *ret = v.bucket;
    return v.found;
}

static uint32_t starting_now(const struct pool *p)
{
    uint32_t n = 0;

    for (size_t i = 0; i < p->bucket_count; i++)
        n += p->buckets[i].starting;
    return n;
}

// Warming a clone takes a processor for seconds, starting an interpreter that no zygote forks tens
// of milliseconds: not beside a program that has just begun, as long as nobody waits for it. Where
// programs begin all the time, that is put off only so long.
static bool must_wait(const struct pool *p, const struct bucket *b)
{
    uint64_t now = clock_mono_ns();

    if (b->runtime == NULL || p->running == 0 || now >= p->calm_ns)
        return false;
    // A fork is cheap, but a lone program has more of two processors without, and so has that of a
    // tenant who sends little beside one who sends much.
    if (pool_is_shared(p) && b->runtime->zygote)
        return b->ready_count > 0 && (p->running == 1 || lines_spares_somebody(&p->lines));
    if (pool_is_shared(p))
        return now - b->hungry_ns < HUNGER_MAX_NS;
    return p->config.origin.warm && b->runtime->warm_clone;
}

static bool pick(struct pool *p, size_t *ret)
{
    uint32_t worst = 0;

    if (p->live >= p->config.max)
        return false;
    if (pick_for_waiters(p, ret))
        return true;
    // While clones are being warmed, a worker is left for requests that come to wait.
    if (p->config.origin.warm && p->config.workers > 1 && starting_now(p) + 1 >= p->config.workers)
        return false;
    for (size_t i = 0; i < p->bucket_count; i++) {
        const struct bucket *b = &p->buckets[i];
        uint32_t have = b->ready_count + b->starting;
        uint32_t want = b->base + b->boost;

        if (want > have && want - have > worst && !must_wait(p, b)) {
            worst = want - have;
            *ret = i;
        }
    }
    return worst > 0;
}

static void note_failure(struct pool *p, const struct err *err)
{
    p->next_try_ns = clock_deadline_ms(sandbox_retry_ms(p->fail_streak));
    p->failed++;
    if (p->fail_streak++ == 0 && !p->closed) // once, not with every try
        log_error("cannot make a sandbox, trying again: %s", err->message);
    (void)snprintf(p->last_error, sizeof(p->last_error), "%s", err->message);
}

// Called with the lock held; drops it while the sandbox is made.
static void make_one(struct pool *p, size_t bucket)
{
    struct bucket *b = &p->buckets[bucket];
    struct sandbox_origin origin = p->config.origin;
    struct sandbox *s = NULL;
    struct err err = ERR_INIT;
    int r;

    // Who waits already gains nothing by it.
    if (p->lines.waiting > 0)
        origin.warm = false;
    b->starting++;
    p->live++;
    if (pick(p, &(size_t){0}))
        (void)pthread_cond_signal(&p->work); // there is work for another
    (void)pthread_mutex_unlock(&p->lock);
    r = sandbox_start(&origin, b->runtime, clock_deadline_ms(START_MS), &s, &err);
    (void)pthread_mutex_lock(&p->lock);
    b->starting--;
    if (r < 0) {
        p->live--;
        note_failure(p, &err);
        pool_serve_waiters(p);
        return;
    }
    start_times_add(&p->starts, s->start_ns);
    if (p->fail_streak > 0)
        log_info("sandboxes can be made again");
    else if (p->created == 0)
        log_info("ready: the first sandbox is made, the pool is being filled");
    p->created++;
    p->fail_streak = 0;
    p->last_error[0] = '\0';
    pool_push_ready(b, s);
    pool_serve_waiters(p);
}

void *pool_worker_main(void *arg)
{
    struct pool *p = arg;
    size_t bucket;

    (void)pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        uint64_t now = clock_mono_ns();

        if (p->config.origin.template == NULL || !pick(p, &bucket))
            (void)pthread_cond_wait(&p->work, &p->lock);
        else if (p->next_try_ns > now)
            (void)pool_wait_until(&p->work, &p->lock, p->next_try_ns);
        else
            make_one(p, bucket);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

void *pool_reaper_main(void *arg)
{
    struct pool *p = arg;

    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        struct sandbox *s = p->corpses;
        uint32_t count = 0;

        if (s == NULL && p->all_buried)
            break;
        if (s == NULL) {
            (void)pthread_cond_wait(&p->dead, &p->lock);
            continue;
        }
        // Where ending one takes long, others need not wait for all.
        p->corpses = pool_is_shared(p) ? NULL : s->next;
        (void)pthread_mutex_unlock(&p->lock);
        while (s != NULL) {
            struct sandbox *next = pool_is_shared(p) ? s->next : NULL;

            sandbox_free(s);
            count++;
            s = next;
        }
        (void)pthread_mutex_lock(&p->lock);
        p->live -= count;
        (void)pthread_cond_signal(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

// The keeper.

static void bury_dead(struct pool *p)
{
    for (size_t i = 0; i < p->bucket_count; i++) {
        struct bucket *b = &p->buckets[i];
        struct sandbox **at = &b->ready;

        while (*at != NULL) {
            struct sandbox *s = *at;

            if (sandbox_is_alive(s)) {
                at = &s->next;
                continue;
            }
            *at = s->next;
            b->ready_count--;
            pool_bury(p, s);
        }
    }
}

// One that was borrowed goes back to the end of its bucket, so any of them may be stale.
static struct sandbox *take_stale(struct pool *p, uint64_t now)
{
    for (size_t i = 0; i < p->bucket_count; i++) {
        struct bucket *b = &p->buckets[i];

        for (struct sandbox **at = &b->ready; *at != NULL; at = &(*at)->next) {
            struct sandbox *s = *at;

            if (now - s->synced_ns <= RESYNC_NS)
                continue;
            *at = s->next;
            s->next = NULL;
            b->ready_count--;
            return s;
        }
    }
    return NULL;
}

// Called with the lock held; drops it while it talks to agents.
static void resync_stale(struct pool *p)
{
    struct sandbox *s;

    while (!p->stopping && (s = take_stale(p, clock_mono_ns())) != NULL) {
        struct bucket *b = &p->buckets[pool_bucket_of(p, s->prepared)];
        struct err err = ERR_INIT;
        int r;

        b->starting++; // it comes back: nobody needs to make another
        (void)pthread_mutex_unlock(&p->lock);
        r = sandbox_resync(s, clock_deadline_ms(RESYNC_MS), &err);
        (void)pthread_mutex_lock(&p->lock);
        b->starting--;
        if (r < 0)
            pool_bury(p, s);
        else
            pool_push_ready(b, s);
        pool_serve_waiters(p);
    }
}

// One that is ready beyond its bucket's target goes per tick: demand that has passed gives its
// memory back slowly.
static void bury_surplus(struct pool *p)
{
    for (size_t i = 0; i < p->bucket_count; i++) {
        struct bucket *b = &p->buckets[i];

        if (b->ready_count <= b->base + b->boost)
            continue;
        pool_bury(p, pool_pop_ready(b));
        return;
    }
}

static void decay_boosts(struct pool *p)
{
    uint64_t now = clock_mono_ns();

    if (now < p->next_decay_ns)
        return;
    p->next_decay_ns = now + BOOST_DECAY_NS;
    for (size_t i = 0; i < p->bucket_count; i++)
        p->buckets[i].boost /= 2;
}

// Until it is time to look after all that is ready, or whoever waits may begin because time passed.
static void keeper_wait(struct pool *p, uint64_t until_ns)
{
    uint64_t soon_ns = clock_mono_ns() + (p->lines.kept > 0 ? LOOK_NS : YOUNG_NS);

    p->keeper_counts = p->lines.waiting > 0;
    if (p->keeper_counts && soon_ns < until_ns)
        until_ns = soon_ns;
    (void)pool_wait_until(&p->tick, &p->lock, until_ns);
    p->keeper_counts = true;
    pool_serve_waiters(p);
}

void *pool_keeper_main(void *arg)
{
    struct pool *p = arg;
    uint64_t next_ns = clock_deadline_ms(KEEPER_TICK_MS);

    (void)pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        keeper_wait(p, next_ns);
        if (clock_mono_ns() < next_ns)
            continue;
        next_ns = clock_deadline_ms(KEEPER_TICK_MS);
        p->keeper_counts = false;
        bury_dead(p);
        decay_boosts(p);
        bury_surplus(p);
        resync_stale(p);
        (void)pthread_cond_broadcast(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}
