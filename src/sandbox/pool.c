// SPDX-License-Identifier: Apache-2.0
//
// How it works
//
// Sandboxes wait in buckets: bucket 0 holds plain ones, bucket i + 1 those with an interpreter of
// runtime i prepared. Each bucket has a target: its runtime's pool_ready in proportion to
// POOL_SIZE, plus a boost that grows by one whenever a request found the bucket empty, up to the
// number of requests at hand, and is halved every ten seconds. Worker threads make what is
// missing, first for requests that wait, then for the bucket that lacks most. A request takes from
// its own bucket, else a plain sandbox, else the spare of another runtime (its interpreter then
// starts cold); else it queues, in order of arrival. Where sandboxes share one agent, one of its
// own is made in less time than an interpreter starts cold or another is made in a spare's place,
// so it queues for that at once. What is made for later makes room for what runs now: must_wait().
//
// One sandbox serves one request: pool_release() hands it to the reaper thread, which destroys it.
// The keeper thread looks after those that wait: dead ones are replaced, and time and entropy are
// given anew every RESYNC_NS.
//
// `lock` guards everything in struct pool below it and each waiter.
#include "sandbox/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/runtime.h"
#include "sandbox/start_times.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET_MAX     (RUNTIME_COUNT_MAX + 1)
#define WORKERS_MAX    16
#define START_MS       60000
#define RESYNC_NS      (20 * NS_PER_S)
#define RESYNC_MS      5000
#define BOOST_DECAY_NS (10 * NS_PER_S)
#define KEEPER_TICK_MS 500
#define CALM_MS        1000
#define CALM_SHARED_MS 50 // where sandboxes share one agent
#define HUNGER_MAX_NS  (NS_PER_S / 2)
#define GONE_POLL_MS   250
#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000

struct bucket {
    const struct runtime *runtime; // NULL for bucket 0
    struct sandbox *ready;         // oldest first
    uint32_t ready_count;
    uint32_t starting;
    uint32_t base;
    uint32_t boost;
    uint64_t hungry_ns; // since when it lacks something, 0: it does not
};

struct waiter {
    size_t bucket;
    bool background; // behind all that are not
    pthread_cond_t cond;
    struct sandbox *given;
    struct waiter *next;
};

struct pool {
    struct pool_config config; // fixed
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
    struct waiter *waiters;
    uint32_t waiter_count;
    struct sandbox *corpses;
    uint32_t live; // ready, starting, running and not yet destroyed
    uint32_t running;
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

static int wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns)
{
    struct timespec ts = clock_to_timespec(deadline_ns);

    return pthread_cond_timedwait(cond, lock, &ts);
}

static int init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int r;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    r = pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    return -r;
}

// Buckets.

static void push_ready(struct bucket *b, struct sandbox *s)
{
    struct sandbox **at = &b->ready;

    while (*at != NULL)
        at = &(*at)->next;
    s->next = NULL;
    *at = s;
    if (++b->ready_count >= b->base + b->boost)
        b->hungry_ns = 0;
}

static struct sandbox *pop_ready(struct bucket *b)
{
    struct sandbox *s = b->ready;

    if (s == NULL)
        return NULL;
    b->ready = s->next;
    s->next = NULL;
    if (b->ready_count-- == b->base + b->boost)
        b->hungry_ns = clock_mono_ns();
    return s;
}

static bool is_shared(const struct pool *p)
{
    return (p->config.origin.ops->caps & DRIVER_CAP_SHARED) != 0;
}

static size_t bucket_of(const struct pool *p, const struct runtime *rt)
{
    for (size_t i = 1; i < p->bucket_count; i++)
        if (p->buckets[i].runtime == rt && rt != NULL && rt->prepare.argc > 0)
            return i;
    return 0;
}

// NULL is allowed.
static void bury(struct pool *p, struct sandbox *s)
{
    if (s == NULL)
        return;
    s->next = p->corpses;
    p->corpses = s;
    (void)pthread_cond_signal(&p->dead);
}

// Takes a live one out of the bucket; dead ones found on the way are buried.
static struct sandbox *take_from(struct pool *p, size_t i)
{
    struct sandbox *s;

    while ((s = pop_ready(&p->buckets[i])) != NULL) {
        if (sandbox_is_alive(s))
            return s;
        bury(p, s);
    }
    return NULL;
}

// `spare` is how many a foreign bucket must hold before it gives one away.
static struct sandbox *take_foreign(struct pool *p, uint32_t spare)
{
    size_t best = 0;

    for (size_t i = 1; i < p->bucket_count; i++)
        if (p->buckets[i].ready_count > p->buckets[best].ready_count)
            best = i;
    return p->buckets[best].ready_count >= spare ? take_from(p, best) : NULL;
}

static struct sandbox *take_for(struct pool *p, size_t bucket)
{
    // One of its own may not come soon.
    bool any = p->live >= p->config.max || p->fail_streak > 0;
    struct sandbox *s = take_from(p, bucket);

    if (s != NULL || (is_shared(p) && !any))
        return s;
    s = take_from(p, 0);
    return s != NULL ? s : take_foreign(p, any ? 1 : 2);
}

static void serve_waiters(struct pool *p)
{
    struct waiter **at = &p->waiters;

    while (*at != NULL) {
        struct waiter *w = *at;

        w->given = take_for(p, w->bucket);
        if (w->given == NULL) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        p->waiter_count--;
        p->running++;
        (void)pthread_cond_signal(&w->cond);
    }
}

// Workers.

static bool pick_for_waiters(const struct pool *p, size_t *ret)
{
    uint32_t wanted[BUCKET_MAX] = {0};

    for (const struct waiter *w = p->waiters; w != NULL; w = w->next) {
        wanted[w->bucket]++;
        if (wanted[w->bucket] > p->buckets[w->bucket].starting) {
            *ret = w->bucket;
            return true;
        }
    }
    return false;
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
    // A fork is cheap, but a lone program has more of two processors without.
    if (is_shared(p) && b->runtime->zygote)
        return b->ready_count > 0 && p->running == 1;
    if (is_shared(p))
        return now - b->hungry_ns < HUNGER_MAX_NS;
    return p->config.origin.warm && b->runtime->warm_clone;
}

static bool pick(const struct pool *p, size_t *ret)
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
    uint64_t wait_ms = BACKOFF_MIN_MS << (p->fail_streak < 6 ? p->fail_streak : 6);

    p->failed++;
    if (p->fail_streak++ == 0 && !p->closed) // once, not with every try
        log_error("cannot make a sandbox, trying again: %s", err->message);
    p->next_try_ns = clock_deadline_ms(wait_ms < BACKOFF_MAX_MS ? wait_ms : BACKOFF_MAX_MS);
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
    if (p->waiters != NULL)
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
        serve_waiters(p);
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
    push_ready(b, s);
    serve_waiters(p);
}

static void *worker_main(void *arg)
{
    struct pool *p = arg;
    size_t bucket;

    (void)pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        uint64_t now = clock_mono_ns();

        if (p->config.origin.template == NULL || !pick(p, &bucket))
            (void)pthread_cond_wait(&p->work, &p->lock);
        else if (p->next_try_ns > now)
            (void)wait_until(&p->work, &p->lock, p->next_try_ns);
        else
            make_one(p, bucket);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void *reaper_main(void *arg)
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
        p->corpses = is_shared(p) ? NULL : s->next;
        (void)pthread_mutex_unlock(&p->lock);
        while (s != NULL) {
            struct sandbox *next = is_shared(p) ? s->next : NULL;

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
            bury(p, s);
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
        struct bucket *b = &p->buckets[bucket_of(p, s->prepared)];
        struct err err = ERR_INIT;
        int r;

        b->starting++; // it comes back: nobody needs to make another
        (void)pthread_mutex_unlock(&p->lock);
        r = sandbox_resync(s, clock_deadline_ms(RESYNC_MS), &err);
        (void)pthread_mutex_lock(&p->lock);
        b->starting--;
        if (r < 0)
            bury(p, s);
        else
            push_ready(b, s);
        serve_waiters(p);
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
        bury(p, pop_ready(b));
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

static void *keeper_main(void *arg)
{
    struct pool *p = arg;

    (void)pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        (void)wait_until(&p->tick, &p->lock, clock_deadline_ms(KEEPER_TICK_MS));
        bury_dead(p);
        decay_boosts(p);
        bury_surplus(p);
        resync_stale(p);
        (void)pthread_cond_broadcast(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

// Life.

static void init_buckets(struct pool *p)
{
    p->bucket_count = 1 + runtime_count(p->config.runtimes);
    p->buckets[0].base = p->config.plain;
    for (size_t i = 1; i < p->bucket_count; i++) {
        const struct runtime *rt = runtime_at(p->config.runtimes, i - 1);
        size_t home = rt->prepare.argc > 0 ? i : 0;
        uint32_t share = (rt->pool_ready * p->config.ready + 2) / 3;

        p->buckets[i].runtime = rt;
        p->buckets[home].base += share;
    }
}

static int start_threads(struct pool *p)
{
    int r = pthread_create(&p->keeper, NULL, keeper_main, p);

    if (r != 0)
        return -r;
    r = pthread_create(&p->reaper, NULL, reaper_main, p);
    if (r != 0)
        return -r;
    for (; p->worker_count < p->config.workers; p->worker_count++) {
        r = pthread_create(&p->workers[p->worker_count], NULL, worker_main, p);
        if (r != 0)
            return -r;
    }
    return 0;
}

int pool_new(const struct pool_config *config, struct pool **ret, struct err *err)
{
    struct pool *p = calloc(1, sizeof(*p));
    int r;

    if (p == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    p->config = *config;
    if (p->config.workers < 1)
        p->config.workers = 1;
    if (p->config.workers > WORKERS_MAX)
        p->config.workers = WORKERS_MAX;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)init_cond(&p->work);
    (void)init_cond(&p->dead);
    (void)init_cond(&p->tick);
    init_buckets(p);
    r = start_threads(p);
    if (r < 0) // threads that did start hold the pool: this is start-up, the caller exits
        return err_sys(err, r, "cannot start the pool's threads");
    p->threads_started = true;
    *ret = p;
    return 0;
}

void pool_close(struct pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->closed = true;
    for (struct waiter *w = p->waiters; w != NULL; w = w->next)
        (void)pthread_cond_signal(&w->cond);
    (void)pthread_mutex_unlock(&p->lock);
}

static void bury_ready(struct pool *p)
{
    for (size_t i = 0; i < p->bucket_count; i++) {
        struct sandbox *s;

        while ((s = pop_ready(&p->buckets[i])) != NULL)
            bury(p, s);
    }
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    pool_close(p);
    (void)pthread_mutex_lock(&p->lock);
    p->stopping = true;
    bury_ready(p);
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_cond_broadcast(&p->tick);
    (void)pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->worker_count; i++)
        (void)pthread_join(p->workers[i], NULL);
    (void)pthread_join(p->keeper, NULL);
    (void)pthread_mutex_lock(&p->lock);
    bury_ready(p); // what the workers and the keeper had in hand
    p->all_buried = true;
    (void)pthread_cond_broadcast(&p->dead);
    (void)pthread_mutex_unlock(&p->lock);
    (void)pthread_join(p->reaper, NULL);
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_cond_destroy(&p->dead);
    (void)pthread_cond_destroy(&p->tick);
    free(p);
}

void pool_set_template(struct pool *p, struct driver_template *t)
{
    (void)pthread_mutex_lock(&p->lock);
    p->config.origin.template = t;
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
}

// Acquire and release.

static void enqueue(struct pool *p, struct waiter *w)
{
    struct waiter **at = &p->waiters;

    while (*at != NULL && (w->background || !(*at)->background))
        at = &(*at)->next;
    w->next = *at;
    *at = w;
    p->waiter_count++;
}

static void dequeue(struct pool *p, struct waiter *w)
{
    for (struct waiter **at = &p->waiters; *at != NULL; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            p->waiter_count--;
            return;
        }
}

// Waits with the lock held until served, too late, or not wanted any more.
static int wait_served(struct pool *p, struct waiter *w, const struct pool_wait *wait,
                       struct err *err)
{
    uint64_t deadline = clock_deadline_ms(p->config.queue_wait_ms);

    while (w->given == NULL) {
        uint64_t now = clock_mono_ns();
        uint64_t slice = now + GONE_POLL_MS * NS_PER_MS;
        bool gone;

        if (p->closed)
            return err_set(err, ERR_CANCELLED, "the service is shutting down");
        if (now >= deadline && p->config.origin.template == NULL)
            return err_set(err, ERR_BUSY, "the service is still starting, see /health");
        if (now >= deadline)
            return err_set(err, ERR_BUSY, "no sandbox became free within %llu ms",
                           (unsigned long long)p->config.queue_wait_ms);
        (void)wait_until(&w->cond, &p->lock, slice < deadline ? slice : deadline);
        if (w->given != NULL || wait == NULL || wait->gone == NULL)
            continue;
        (void)pthread_mutex_unlock(&p->lock);
        gone = wait->gone(wait->arg);
        (void)pthread_mutex_lock(&p->lock);
        if (gone && w->given == NULL)
            return err_set(err, ERR_CANCELLED, "the client went away");
    }
    return 0;
}

static int queue_up(struct pool *p, size_t bucket, const struct pool_wait *wait,
                    struct sandbox **ret, struct err *err)
{
    struct waiter w = {.bucket = bucket, .background = wait != NULL && wait->background};
    int r;

    if (p->waiter_count >= p->config.queue_max)
        return err_set(err, ERR_BUSY, "%u requests are already waiting", p->waiter_count);
    (void)init_cond(&w.cond);
    enqueue(p, &w);
    (void)pthread_cond_signal(&p->work);
    r = wait_served(p, &w, wait, err);
    if (r < 0)
        dequeue(p, &w);
    (void)pthread_cond_destroy(&w.cond);
    if (r == 0)
        *ret = w.given;
    return r;
}

// How many are to be ready in all. Never more than may live: a crowd's demand beyond that would be
// decaying for minutes.
static uint32_t wanted(const struct pool *p)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < p->bucket_count; i++)
        sum += p->buckets[i].base + p->buckets[i].boost;
    return sum;
}

int pool_acquire(struct pool *p, const struct runtime *rt, const struct pool_wait *wait,
                 struct sandbox **ret, struct err *err)
{
    size_t bucket;
    struct sandbox *s = NULL;
    int r = 0;

    (void)pthread_mutex_lock(&p->lock);
    bucket = bucket_of(p, rt);
    p->calm_ns = clock_deadline_ms(is_shared(p) ? CALM_SHARED_MS : CALM_MS);
    if (p->closed) {
        r = err_set(err, ERR_CANCELLED, "the service is shutting down");
    } else {
        if (rt != NULL && p->buckets[bucket].ready_count == 0 &&
            p->buckets[bucket].boost < p->running + p->waiter_count + 1 &&
            wanted(p) < p->config.max)
            p->buckets[bucket].boost++;
        if (p->waiters == NULL || (p->waiters->background && !(wait != NULL && wait->background)))
            s = take_for(p, bucket);
        if (s != NULL)
            p->running++;
        else
            r = queue_up(p, bucket, wait, &s, err);
        (void)pthread_cond_signal(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (r == 0)
        *ret = s;
    return r;
}

void pool_release(struct pool *p, struct sandbox *s)
{
    (void)pthread_mutex_lock(&p->lock);
    p->running--;
    bury(p, s);
    if (p->running == 0)
        (void)pthread_cond_signal(&p->work); // what had to wait for it
    (void)pthread_mutex_unlock(&p->lock);
}

void pool_give_away(struct pool *p, struct sandbox *s)
{
    (void)s;
    (void)pthread_mutex_lock(&p->lock);
    p->running--;
    p->live--;
    (void)pthread_cond_signal(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
}

struct sandbox *pool_borrow(struct pool *p)
{
    struct sandbox *s = NULL;

    (void)pthread_mutex_lock(&p->lock);
    if (!p->closed)
        s = take_foreign(p, 1);
    if (s != NULL)
        p->running++;
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

void pool_put_back(struct pool *p, struct sandbox *s)
{
    (void)pthread_mutex_lock(&p->lock);
    p->running--;
    if (p->stopping)
        bury(p, s);
    else
        push_ready(&p->buckets[bucket_of(p, s->prepared)], s);
    serve_waiters(p);
    (void)pthread_mutex_unlock(&p->lock);
}

void pool_status(struct pool *p, struct pool_status *ret)
{
    struct pool_status st = {0};

    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->bucket_count; i++) {
        st.ready += p->buckets[i].ready_count;
        st.starting += p->buckets[i].starting;
    }
    st.target = wanted(p) < p->config.max ? wanted(p) : p->config.max;
    st.running = p->running;
    st.queued = p->waiter_count;
    st.created = p->created;
    st.failed = p->failed;
    start_times_medians(&p->starts, st.start_ns);
    memcpy(st.last_error, p->last_error, sizeof(st.last_error));
    (void)pthread_mutex_unlock(&p->lock);
    *ret = st;
}
