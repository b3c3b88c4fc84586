// SPDX-License-Identifier: Apache-2.0
//
// How it works
//
// A shelf for each kind, with a thread that makes what is missing on it, ends what died or is no
// longer wanted, and asks those that wait for some time whether they still answer. Whoever takes
// one leaves a place that is filled a moment later, so that it does not cost the new sandbox's
// owner his processors. Who finds the shelf empty does not wait for it: he has one made.
//
// One with contexts holds a kernel in memory, so none is made before the first was asked for, and
// those that wait go when nobody has asked for IDLE_NS. It is Python's alone: the other one takes
// as much memory again, and here nothing is shared with other sandboxes.
#include "sandbox/stock.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel/channel.h"
#include "sandbox/agent_client.h"
#include "sandbox/contexts_client.h"
#include "sandbox/engine_internal.h"
#include "sandbox/lasting.h"
#include "sandbox/sandbox.h"
#include "sandbox/templates.h"

#include <pthread.h>
#include <stdlib.h>

#define HEALTH_MS 10000
#define WARM_MS   240000
#define TICK_MS   500
#define ANSWER_MS 250 // that who takes one waits for another to answer; making one takes as long
#define CHECK_NS  (20 * NS_PER_S)
#define IDLE_NS   (600 * NS_PER_S)

// How long making another waits after one was taken, and at most where they are taken all the time.
static const struct {
    uint64_t calm_ms, most_ms;
} pace[STOCK_KIND_COUNT] = {
    [STOCK_PLAIN] = {50, 500}, [STOCK_CONTEXTS] = {3000, 10000}, // its kernel takes a processor for
                                                                 // seconds
};

struct shelf {
    struct stock *stock;
    enum stock_kind kind;
    pthread_t thread;
    bool runs; // the thread

    // Guarded by the stock's lock.
    struct sandbox *ready;  // the one that waits longest first
    struct sandbox *dead;   // to be ended
    uint32_t count;         // of `ready`
    bool checking;          // one is being asked, and comes back
    struct channel *making; // of the one that is warming up, or NULL
    uint64_t asked_ns;      // when one was last asked for; 0: never
    uint64_t hungry_ns;     // since when it lacks one; 0: it does not
    uint64_t next_try_ns;
    uint32_t fail_streak;
};

struct stock {
    struct engine *engine; // fixed

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t changed;
    uint32_t size; // of each shelf; 0 where this host has no lasting machines
    struct shelf shelves[STOCK_KIND_COUNT];
    bool begun, stopping;
    uint64_t taken, missed, failed;
};

static uint32_t target(const struct shelf *f, uint64_t now)
{
    if (f->kind == STOCK_CONTEXTS && (f->asked_ns == 0 || now - f->asked_ns > IDLE_NS))
        return 0;
    return f->stock->size;
}

static void push(struct shelf *f, struct sandbox *s)
{
    struct sandbox **at = &f->ready;

    while (*at != NULL)
        at = &(*at)->next;
    s->next = NULL;
    *at = s;
    f->count++;
}

static struct sandbox *pop(struct shelf *f)
{
    struct sandbox *s = f->ready;

    f->ready = s->next;
    s->next = NULL;
    f->count--;
    return s;
}

static void bury(struct shelf *f, struct sandbox *s)
{
    s->next = f->dead;
    f->dead = s;
}

// Waits for the one that is being asked, if there is no other: mostly it answers in a moment.
static void await_answer(struct shelf *f)
{
    struct stock *s = f->stock;
    struct timespec until = clock_to_timespec(clock_deadline_ms(ANSWER_MS));

    while (!s->stopping && f->ready == NULL && f->checking)
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0)
            return;
}

struct sandbox *stock_take(struct stock *s, const struct template *is)
{
    struct sandbox *found = NULL;
    uint64_t now = clock_mono_ns();
    struct shelf *f;

    if (s == NULL || is->root != 0)
        return NULL;
    (void)pthread_mutex_lock(&s->lock);
    f = &s->shelves[is->contexts ? STOCK_CONTEXTS : STOCK_PLAIN];
    f->asked_ns = now;
    await_answer(f);
    while (!s->stopping && found == NULL && f->ready != NULL) {
        struct sandbox *next = pop(f);

        if (sandbox_is_alive(next))
            found = next;
        else
            bury(f, next);
    }
    s->taken += found != NULL;
    s->missed += found == NULL;
    if (f->hungry_ns == 0)
        f->hungry_ns = now;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

// A shelf's thread. What follows is called with the lock held; what blocks drops it meanwhile.

static void clear_up(struct shelf *f)
{
    struct sandbox *s = f->dead;

    f->dead = NULL;
    (void)pthread_mutex_unlock(&f->stock->lock);
    while (s != NULL) {
        struct sandbox *next = s->next;

        sandbox_free(s);
        s = next;
    }
    (void)pthread_mutex_lock(&f->stock->lock);
}

// Puts aside what died, and one of too many.
static void sort_out(struct shelf *f, uint64_t now)
{
    for (struct sandbox **at = &f->ready; *at != NULL;) {
        struct sandbox *s = *at;

        if (sandbox_is_alive(s)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        f->count--;
        bury(f, s);
    }
    if (f->count > target(f, now))
        bury(f, pop(f));
}

static int warm_up(struct shelf *f, struct sandbox *s, struct err *err)
{
    struct stock *k = f->stock;
    int r = 0;

    if (f->kind != STOCK_CONTEXTS)
        return 0;
    (void)pthread_mutex_lock(&k->lock);
    if (k->stopping)
        r = err_set(err, ERR_CANCELLED, "the service is shutting down");
    else
        f->making = s->channel;
    (void)pthread_mutex_unlock(&k->lock);
    if (r == 0)
        r = contexts_start(s->channel, CONTEXTS_WARM_PYTHON, clock_deadline_ms(WARM_MS), err);
    (void)pthread_mutex_lock(&k->lock);
    f->making = NULL;
    (void)pthread_mutex_unlock(&k->lock);
    return r;
}

// Without the lock.
static int make(struct shelf *f, struct sandbox **ret, struct err *err)
{
    const struct template is = {.contexts = f->kind == STOCK_CONTEXTS}; // of the service's own root
    struct sandbox *s;

    if (lasting_start(f->stock->engine, &is, &s, err) < 0)
        return -1;
    if (agent_wait_healthy(s->channel, clock_deadline_ms(HEALTH_MS), err) < 0 ||
        warm_up(f, s, err) < 0) {
        sandbox_free(s);
        return -1;
    }
    s->synced_ns = clock_mono_ns();
    *ret = s;
    return 0;
}

static void note_failure(struct shelf *f, const struct err *err)
{
    f->next_try_ns = clock_deadline_ms(sandbox_retry_ms(f->fail_streak));
    if (f->stock->stopping) // which is why it failed
        return;
    if (err->code == ERR_UNSUPPORTED) { // nor will it ever be
        f->stock->size = 0;
        return;
    }
    f->stock->failed++;
    if (f->fail_streak++ == 0) // once, not with every try
        log_error("cannot make a machine for a sandbox to come, trying again: %s", err->message);
}

static void make_one(struct shelf *f, uint64_t now)
{
    struct stock *k = f->stock;
    struct err err = ERR_INIT;
    struct sandbox *s = NULL;
    int r;

    (void)pthread_mutex_unlock(&k->lock);
    r = make(f, &s, &err);
    (void)pthread_mutex_lock(&k->lock);
    if (r < 0) {
        note_failure(f, &err);
        return;
    }
    f->fail_streak = 0;
    push(f, s);
    if (f->count >= target(f, now))
        f->hungry_ns = 0;
    (void)pthread_cond_broadcast(&k->changed);
}

// When the next one is to be made; CLOCK_NEVER where none is missing.
static uint64_t due_ns(const struct shelf *f, uint64_t now)
{
    uint64_t calm_ns = f->asked_ns + pace[f->kind].calm_ms * NS_PER_MS;
    uint64_t most_ns = f->hungry_ns + pace[f->kind].most_ms * NS_PER_MS;
    uint64_t due = calm_ns < most_ns ? calm_ns : most_ns;

    if (f->count >= target(f, now))
        return CLOCK_NEVER;
    if (f->asked_ns == 0 || f->hungry_ns == 0)
        due = 0;
    return due > f->next_try_ns ? due : f->next_try_ns;
}

// Asks the first one whose last answer is old. False when there is none.
static bool check_one(struct shelf *f, uint64_t now)
{
    struct stock *k = f->stock;
    struct err err = ERR_INIT;
    struct sandbox *s;
    int r;

    if (f->ready == NULL || now - f->ready->synced_ns < CHECK_NS)
        return false;
    s = pop(f);
    f->checking = true;
    (void)pthread_mutex_unlock(&k->lock);
    r = agent_wait_healthy(s->channel, clock_deadline_ms(HEALTH_MS), &err);
    (void)pthread_mutex_lock(&k->lock);
    f->checking = false;
    s->synced_ns = clock_mono_ns();
    if (r == 0)
        push(f, s); // behind all that were asked before
    else
        bury(f, s);
    (void)pthread_cond_broadcast(&k->changed);
    return true;
}

static void wait_until(struct stock *s, uint64_t at_ns)
{
    struct timespec until = clock_to_timespec(at_ns);

    (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

static void *shelf_main(void *arg)
{
    struct shelf *f = arg;
    struct stock *k = f->stock;

    (void)pthread_mutex_lock(&k->lock);
    while (!k->stopping) {
        uint64_t now = clock_mono_ns();
        uint64_t tick = now + TICK_MS * NS_PER_MS;
        uint64_t due;

        sort_out(f, now);
        due = k->begun ? due_ns(f, now) : CLOCK_NEVER;
        if (f->dead != NULL)
            clear_up(f);
        else if (due <= now)
            make_one(f, now);
        else if (check_one(f, now))
            continue;
        else if (f->count == 0 && due == CLOCK_NEVER)
            (void)pthread_cond_wait(&k->changed, &k->lock);
        else
            wait_until(k, due < tick ? due : tick);
    }
    (void)pthread_mutex_unlock(&k->lock);
    return NULL;
}

int stock_new(struct engine *e, uint32_t ready, struct stock **ret, struct err *err)
{
    struct stock *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->engine = e;
    s->size = ready;
    (void)pthread_mutex_init(&s->lock, NULL);
    clock_cond_init(&s->changed);
    for (int i = 0; i < STOCK_KIND_COUNT; i++) {
        struct shelf *f = &s->shelves[i];

        f->stock = s;
        f->kind = (enum stock_kind)i;
        f->runs = pthread_create(&f->thread, NULL, shelf_main, f) == 0;
        if (!f->runs) {
            stock_free(s);
            return err_set(err, ERR_INTERNAL, "cannot start a thread");
        }
    }
    *ret = s;
    return 0;
}

void stock_begin(struct stock *s)
{
    if (s == NULL)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->begun = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

void stock_stop(struct stock *s)
{
    if (s == NULL)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (int i = 0; i < STOCK_KIND_COUNT; i++)
        if (s->shelves[i].making != NULL)
            channel_shut(s->shelves[i].making);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

void stock_free(struct stock *s)
{
    if (s == NULL)
        return;
    stock_stop(s);
    for (int i = 0; i < STOCK_KIND_COUNT; i++)
        if (s->shelves[i].runs)
            (void)pthread_join(s->shelves[i].thread, NULL);
    (void)pthread_mutex_lock(&s->lock);
    for (int i = 0; i < STOCK_KIND_COUNT; i++) {
        struct shelf *f = &s->shelves[i];

        while (f->ready != NULL)
            bury(f, pop(f));
        clear_up(f);
    }
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->changed);
    free(s);
}

// One that died a moment ago is no use to anybody.
static uint32_t count_alive(const struct shelf *f)
{
    uint32_t n = 0;

    for (struct sandbox *s = f->ready; s != NULL; s = s->next)
        n += sandbox_is_alive(s);
    return n;
}

void stock_status(struct stock *s, struct stock_status *ret)
{
    *ret = (struct stock_status){0};
    if (s == NULL)
        return;
    (void)pthread_mutex_lock(&s->lock);
    for (int i = 0; i < STOCK_KIND_COUNT; i++) {
        ret->ready[i] = count_alive(&s->shelves[i]) + s->shelves[i].checking;
        ret->target[i] = s->begun ? target(&s->shelves[i], clock_mono_ns()) : 0;
    }
    ret->taken = s->taken;
    ret->missed = s->missed;
    ret->failed = s->failed;
    (void)pthread_mutex_unlock(&s->lock);
}
