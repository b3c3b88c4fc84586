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
// starts cold); else it queues, in the line of its tenant (lines.h). Where sandboxes share one
// agent, one of its own is made in less time than an interpreter starts cold or another is made in
// a spare's place, so it queues for that at once. What is made for later makes room for what runs
// now: must_wait().
//
// While several tenants send, one who sends more than his part (lines_is_greedy()) leaves what the
// others need: processors, by beginning runs at a pace, and one sandbox of each bucket that is
// ready. Only runs that are young count, since one that goes on may as well be asleep.
//
// One sandbox serves one request: pool_release() hands it to the reaper thread, which destroys it.
// The keeper thread looks after those that wait: dead ones are replaced, and time and entropy are
// given anew every RESYNC_NS.
//
// `lock` guards everything in struct pool below it and each waiter.
#include "sandbox/pool_internal.h"

#include "base/clock.h"
#include "sandbox/runtime.h"
#include "sandbox/tenant.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALM_MS        1000
#define CALM_SHARED_MS 50 // where sandboxes share one agent
#define GONE_POLL_MS   250

int pool_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns)
{
    struct timespec ts = clock_to_timespec(deadline_ns);

    return pthread_cond_timedwait(cond, lock, &ts);
}

// Buckets.

void pool_push_ready(struct bucket *b, struct sandbox *s)
{
    struct sandbox **at = &b->ready;

    while (*at != NULL)
        at = &(*at)->next;
    s->next = NULL;
    *at = s;
    if (++b->ready_count >= b->base + b->boost)
        b->hungry_ns = 0;
}

struct sandbox *pool_pop_ready(struct bucket *b)
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

bool pool_is_shared(const struct pool *p)
{
    return (p->config.origin.ops->caps & DRIVER_CAP_SHARED) != 0;
}

size_t pool_bucket_of(const struct pool *p, const struct runtime *rt)
{
    for (size_t i = 1; i < p->bucket_count; i++)
        if (p->buckets[i].runtime == rt && rt != NULL && rt->prepare.argc > 0)
            return i;
    return 0;
}

// NULL is allowed.
void pool_bury(struct pool *p, struct sandbox *s)
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

    while ((s = pool_pop_ready(&p->buckets[i])) != NULL) {
        if (sandbox_is_alive(s))
            return s;
        pool_bury(p, s);
    }
    return NULL;
}

// Takes one, but leaves `keep`.
static struct sandbox *take_beyond(struct pool *p, size_t i, uint32_t keep)
{
    return p->buckets[i].ready_count > keep ? take_from(p, i) : NULL;
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

// How many that are ready one of the line leaves to other tenants: the greedy wait for what is made
// for them, so that who is not finds one. `more`: see lines.h.
static uint32_t kept_from(const struct pool *p, const struct line *line, uint32_t more)
{
    bool more_can_come = p->fail_streak == 0 && (p->live < p->config.max || line->running > 0);

    return more_can_come && lines_is_greedy(&p->lines, line, more) ? 1 : 0;
}

static struct sandbox *take_for(struct pool *p, size_t bucket, uint32_t keep)
{
    // One of its own may not come soon.
    bool any = p->live >= p->config.max || p->fail_streak > 0;
    struct sandbox *s = take_beyond(p, bucket, keep);

    if (s != NULL || (pool_is_shared(p) && !any))
        return s;
    s = take_beyond(p, 0, keep);
    return s != NULL ? s : take_foreign(p, keep + (any ? 1 : 2));
}

static void add_young(struct pool *p, struct sandbox *s)
{
    s->held_ns = p->lines.now_ns;
    s->young = true;
    s->next_young = NULL;
    if (p->young == NULL)
        p->young = s;
    else
        p->last_young->next_young = s;
    p->last_young = s;
    lines_begin(&p->lines, s->line);
}

static void drop_young(struct pool *p, struct sandbox *s)
{
    struct sandbox *before = NULL;

    if (!s->young)
        return;
    for (struct sandbox *at = p->young; at != s; at = at->next_young)
        before = at;
    if (before == NULL)
        p->young = s->next_young;
    else
        before->next_young = s->next_young;
    if (p->last_young == s)
        p->last_young = before;
    s->young = false;
    lines_settle(&p->lines, s->line);
}

void pool_set_now(struct pool *p)
{
    uint64_t now_ns = clock_mono_ns();

    lines_set_now(&p->lines, now_ns);
    while (p->young != NULL && p->young->held_ns + YOUNG_NS <= now_ns)
        drop_young(p, p->young);
}

static void hold(struct pool *p, struct sandbox *s, struct line *line)
{
    p->running++;
    line->running++;
    s->line = line;
    add_young(p, s);
}

static void let_go(struct pool *p, struct sandbox *s)
{
    p->running--;
    s->line->running--;
    drop_young(p, s);
    s->line = NULL;
}

// A try to serve those that wait: what one bucket cannot give, it cannot give the next either, of
// those that leave as many to others.
struct serving {
    struct pool *pool;
    struct sandbox *got;
    bool empty[BUCKET_MAX][2];
};

static bool take_turn(void *arg, const struct line_waiter *w)
{
    struct serving *v = arg;
    uint32_t keep = kept_from(v->pool, w->line, 0);

    if (v->empty[w->bucket][keep])
        return false;
    v->got = take_for(v->pool, w->bucket, keep);
    v->empty[w->bucket][keep] = v->got == NULL;
    return v->got != NULL;
}

static bool has_ready(const struct pool *p)
{
    for (size_t i = 0; i < p->bucket_count; i++)
        if (p->buckets[i].ready != NULL)
            return true;
    return false;
}

void pool_serve_waiters(struct pool *p)
{
    struct serving v = {.pool = p};
    struct line_waiter *at;

    if (p->lines.waiting == 0 || !has_ready(p))
        return;
    pool_set_now(p);
    while ((at = lines_serve(&p->lines, take_turn, &v)) != NULL) {
        struct waiter *w = (struct waiter *)at;

        w->given = v.got;
        hold(p, w->given, at->line);
        (void)pthread_cond_signal(&w->cond);
    }
    // Some may have to wait only for time to pass.
    if (p->lines.waiting > 0 && !p->keeper_counts)
        (void)pthread_cond_signal(&p->tick);
}

// Life.

// Before there are threads: they read this without the lock.
static void make_buckets(struct pool *p)
{
    p->bucket_count = 1 + runtime_count(p->config.runtimes);
    for (size_t i = 1; i < p->bucket_count; i++)
        p->buckets[i].runtime = runtime_at(p->config.runtimes, i - 1);
}

static void share_out(struct pool *p)
{
    for (size_t i = 0; i < p->bucket_count; i++)
        p->buckets[i].base = i == 0 ? p->config.plain : 0;
    for (size_t i = 1; i < p->bucket_count; i++) {
        const struct runtime *rt = p->buckets[i].runtime;
        size_t home = rt->prepare.argc > 0 ? i : 0;

        p->buckets[home].base += (rt->pool_ready * p->config.ready + 2) / 3;
    }
}

static int start_threads(struct pool *p)
{
    int r = pthread_create(&p->keeper, NULL, pool_keeper_main, p);

    if (r != 0)
        return -r;
    r = pthread_create(&p->reaper, NULL, pool_reaper_main, p);
    if (r != 0)
        return -r;
    for (; p->worker_count < p->config.workers; p->worker_count++) {
        r = pthread_create(&p->workers[p->worker_count], NULL, pool_worker_main, p);
        if (r != 0)
            return -r;
    }
    return 0;
}

// A run takes somewhat more than a processor, with what is done for it beside it; of one processor
// tenants can only have turns.
static uint32_t slots_of_host(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    return cpus > 2 ? (uint32_t)cpus : 2;
}

int pool_new(const struct pool_config *config, struct pool **ret, struct err *err)
{
    struct pool *p = calloc(1, sizeof(*p));
    int r;

    if (p == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    p->config = *config;
    p->lines.slots = slots_of_host();
    if (p->config.workers < 1)
        p->config.workers = 1;
    if (p->config.workers > WORKERS_MAX)
        p->config.workers = WORKERS_MAX;
    (void)pthread_mutex_init(&p->lock, NULL);
    clock_cond_init(&p->work);
    clock_cond_init(&p->dead);
    clock_cond_init(&p->tick);
    make_buckets(p);
    share_out(p);
    r = start_threads(p);
    if (r < 0) // threads that did start hold the pool: this is start-up, the caller exits
        return err_sys(err, r, "cannot start the pool's threads");
    p->threads_started = true;
    *ret = p;
    return 0;
}

static bool wake(void *arg, const struct line_waiter *w)
{
    (void)arg;
    (void)pthread_cond_signal(&((struct waiter *)(uintptr_t)w)->cond);
    return true;
}

void pool_close(struct pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->closed = true;
    lines_each(&p->lines, wake, NULL); // whom this does not tell looks by himself soon
    (void)pthread_mutex_unlock(&p->lock);
}

static void bury_ready(struct pool *p)
{
    for (size_t i = 0; i < p->bucket_count; i++) {
        struct sandbox *s;

        while ((s = pool_pop_ready(&p->buckets[i])) != NULL)
            pool_bury(p, s);
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

// Waits with the lock held until served, too late, or not wanted any more.
static int wait_served(struct pool *p, struct waiter *w, const struct pool_wait *wait,
                       struct err *err)
{
    uint64_t deadline = clock_deadline_ms(p->config.queue_wait_ms);

    while (w->given == NULL) {
        uint32_t running_max = w->at.line->running_max;
        uint64_t now = clock_mono_ns();
        uint64_t slice = now + GONE_POLL_MS * NS_PER_MS;
        bool gone;

        if (p->closed)
            return err_set(err, ERR_CANCELLED, "the service is shutting down");
        if (w->turned_away)
            return err_set(err, ERR_BUSY,
                           "too many requests are waiting, most of them of this key");
        if (now >= deadline && p->config.origin.template == NULL)
            return err_set(err, ERR_BUSY, "the service is still starting, see /health");
        if (now >= deadline && running_max != 0 && w->at.line->running >= running_max)
            return err_field(err, ERR_BUSY, "TENANT_RUNS", "%u runs of these keys are under way",
                             w->at.line->running);
        if (now >= deadline)
            return err_set(err, ERR_BUSY, "no sandbox became free within %llu ms",
                           (unsigned long long)p->config.queue_wait_ms);
        (void)pool_wait_until(&w->cond, &p->lock, slice < deadline ? slice : deadline);
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

// Sees to it that one more of the line may wait.
static int make_room(struct pool *p, const struct line *line, struct err *err)
{
    uint32_t waiting_max = line->waiting_max;
    struct line_waiter *at;

    if (waiting_max != 0 && line->waiting >= waiting_max)
        return err_field(err, ERR_BUSY, "TENANT_QUEUE", "%u requests of this key are waiting",
                         line->waiting);
    if (p->lines.waiting < p->config.queue_max)
        return 0;
    at = lines_surplus(&p->lines, line);
    if (at == NULL)
        return err_set(err, ERR_BUSY, "%u requests are already waiting", p->lines.waiting);
    lines_remove(&p->lines, at);
    ((struct waiter *)at)->turned_away = true;
    (void)pthread_cond_signal(&((struct waiter *)at)->cond);
    return 0;
}

static int queue_up(struct pool *p, struct waiter *w, const struct pool_wait *wait,
                    struct sandbox **ret, struct err *err)
{
    int r;

    if (make_room(p, w->at.line, err) < 0)
        return -1;
    clock_cond_init(&w->cond);
    lines_add(&p->lines, &w->at);
    pool_serve_waiters(p);
    (void)pthread_cond_signal(&p->work);
    r = wait_served(p, w, wait, err);
    if (r < 0 && !w->turned_away)
        lines_remove(&p->lines, &w->at);
    (void)pthread_cond_destroy(&w->cond);
    if (r == 0)
        *ret = w->given;
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

// What nobody who waits can have, because of his limits or what he waits for.
static bool take_at_once(struct pool *p, const struct waiter *w, struct sandbox **ret)
{
    struct line *line = w->at.line;
    struct sandbox *s;

    pool_serve_waiters(p);
    if (!lines_has_room(&p->lines, line, 1))
        return false;
    s = take_for(p, w->at.bucket, kept_from(p, line, 1));
    if (s == NULL)
        return false;
    hold(p, s, line);
    *ret = s;
    return true;
}

// A request that finds its bucket empty makes it grow.
static void note_demand(struct pool *p, struct bucket *b)
{
    if (b->ready_count == 0 && b->boost < p->running + p->lines.waiting + 1 &&
        wanted(p) < p->config.max)
        b->boost++;
}

int pool_acquire(struct pool *p, const struct runtime *rt, const struct pool_wait *wait,
                 struct sandbox **ret, struct err *err)
{
    struct waiter w = {.at.line = &p->own};
    int r;

    if (wait != NULL && wait->tenant != NULL)
        w.at.line = tenant_line(wait->tenant);
    if (wait != NULL && wait->background)
        w.at.class = LINE_BACKGROUND;
    (void)pthread_mutex_lock(&p->lock);
    w.at.bucket = pool_bucket_of(p, rt);
    p->calm_ns = clock_deadline_ms(pool_is_shared(p) ? CALM_SHARED_MS : CALM_MS);
    if (p->closed) {
        r = err_set(err, ERR_CANCELLED, "the service is shutting down");
    } else {
        pool_set_now(p);
        if (w.at.class == LINE_FOREGROUND)
            lines_note(&p->lines, w.at.line);
        if (rt != NULL)
            note_demand(p, &p->buckets[w.at.bucket]);
        r = take_at_once(p, &w, ret) ? 0 : queue_up(p, &w, wait, ret, err);
        (void)pthread_cond_signal(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return r;
}

void pool_release(struct pool *p, struct sandbox *s)
{
    (void)pthread_mutex_lock(&p->lock);
    pool_set_now(p);
    let_go(p, s);
    pool_bury(p, s);
    pool_serve_waiters(p);                       // another of its tenant's may run now
    if (p->running == 0 || p->lines.waiting > 0) // or what had to wait for it
        (void)pthread_cond_signal(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
}

void pool_give_away(struct pool *p, struct sandbox *s)
{
    (void)pthread_mutex_lock(&p->lock);
    let_go(p, s);
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
        hold(p, s, &p->own);
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

void pool_put_back(struct pool *p, struct sandbox *s)
{
    (void)pthread_mutex_lock(&p->lock);
    let_go(p, s);
    if (p->stopping)
        pool_bury(p, s);
    else
        pool_push_ready(&p->buckets[pool_bucket_of(p, s->prepared)], s);
    pool_serve_waiters(p);
    (void)pthread_mutex_unlock(&p->lock);
}

void pool_tune(struct pool *p, const struct pool_sizes *sizes)
{
    (void)pthread_mutex_lock(&p->lock);
    p->config.ready = sizes->ready;
    p->config.max = sizes->max;
    p->config.queue_max = sizes->queue_max;
    p->config.queue_wait_ms = sizes->queue_wait_ms;
    share_out(p);
    (void)pthread_cond_broadcast(&p->work);
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
    st.queued = p->lines.waiting;
    st.created = p->created;
    st.failed = p->failed;
    start_times_medians(&p->starts, st.start_ns);
    memcpy(st.last_error, p->last_error, sizeof(st.last_error));
    (void)pthread_mutex_unlock(&p->lock);
    *ret = st;
}
