// SPDX-License-Identifier: Apache-2.0
//
// How it works: every template has a maker. The first who asks for one of its machines starts a
// thread that builds the template, after the base template, so that /execute is ready as soon as
// ever. All wait for it with deadlines of their own; who gives up leaves it building. Then every
// machine is a clone, made when it is asked for, a few at a time.
#include "sandbox/template_machines.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel/channel.h"
#include "sandbox/agent_client.h"
#include "sandbox/contexts_client.h"
#include "sandbox/engine_internal.h"
#include "sandbox/runtime.h"
#include "sandbox/templates.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUILD_MS     300000
#define WARM_MS      240000
#define TAKE_MS      50000 // E2B's SDKs wait 60 s for an answer
#define START_MS     60000
#define LOOK_MS      250
#define STARTING_MAX 4  // machines being made at once
#define MAKERS_MAX   64 // templates built since the service began
#define SEED_SIZE    128

struct maker {
    struct engine *engine; // fixed
    struct template is;    // fixed
    struct maker *next;    // fixed

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t changed;
    pthread_t builder;
    bool joinable; // there was a builder
    bool building;
    bool stopping;
    uint64_t begun_ns;
    uint64_t failures;
    struct err failure; // the last one
    struct driver_template *template;
    uint32_t starting;
};

struct template_machines {
    struct engine *engine; // fixed
    pthread_mutex_t lock;  // guards what follows; taken before those of makers
    struct maker *makers;  // of templates that were asked for; one that was built again has two
    size_t count;
    bool stopping;
};

struct template_machines *template_machines_new(struct engine *e)
{
    struct template_machines *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->engine = e;
    (void)pthread_mutex_init(&m->lock, NULL);
    return m;
}

static struct maker *maker_new(struct engine *e, const struct template *is)
{
    struct maker *i = calloc(1, sizeof(*i));

    if (i == NULL)
        return NULL;
    i->engine = e;
    i->is = *is;
    (void)pthread_mutex_init(&i->lock, NULL);
    clock_cond_init(&i->changed);
    return i;
}

static void maker_stop(struct maker *i)
{
    (void)pthread_mutex_lock(&i->lock);
    i->stopping = true;
    (void)pthread_cond_broadcast(&i->changed);
    (void)pthread_mutex_unlock(&i->lock);
}

static void maker_free(struct maker *i)
{
    maker_stop(i);
    if (i->joinable)
        (void)pthread_join(i->builder, NULL);
    i->engine->config.driver->template_free(i->template);
    (void)pthread_mutex_destroy(&i->lock);
    (void)pthread_cond_destroy(&i->changed);
    free(i);
}

void template_machines_stop(struct template_machines *m)
{
    if (m == NULL)
        return;
    (void)pthread_mutex_lock(&m->lock);
    m->stopping = true;
    for (struct maker *i = m->makers; i != NULL; i = i->next)
        maker_stop(i);
    (void)pthread_mutex_unlock(&m->lock);
}

void template_machines_free(struct template_machines *m)
{
    if (m == NULL)
        return;
    while (m->makers != NULL) {
        struct maker *i = m->makers;

        m->makers = i->next;
        maker_free(i);
    }
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

// Waits with the lock held until something changed, or a moment has passed.
static void wait_a_moment(struct maker *i)
{
    struct timespec until = clock_to_timespec(clock_deadline_ms(LOOK_MS));

    (void)pthread_cond_timedwait(&i->changed, &i->lock, &until);
}

static int warm_up(const struct maker *i, struct channel *ch, struct err *err)
{
    uint64_t deadline = clock_deadline_ms(WARM_MS);

    if (agent_wait_healthy(ch, deadline, err) < 0 || agent_sync(ch, "template", deadline, err) < 0)
        return -1;
    return i->is.contexts ? contexts_start(ch, CONTEXTS_WARM, deadline, err) : 0;
}

// A driver_warm_fn.
static int warm(void *arg, int channel_fd, struct err *err)
{
    const struct maker *i = arg;
    struct channel *ch;
    int r;

    if (channel_open(i->engine->loop, channel_fd, &ch, err) < 0)
        return -1;
    r = warm_up(i, ch, err);
    channel_close(ch);
    return r;
}

// Whether runs have what they need.
static bool service_is_up(struct engine *e)
{
    struct pool_status pool;

    pool_status(e->pool, &pool);
    return engine_template_key(e) != NULL && (pool.created > 0 || pool.target == 0);
}

static bool wait_for_service(struct maker *i)
{
    bool stopping;

    (void)pthread_mutex_lock(&i->lock);
    while (!i->stopping && !service_is_up(i->engine))
        wait_a_moment(i);
    stopping = i->stopping;
    (void)pthread_mutex_unlock(&i->lock);
    return !stopping;
}

static int build(struct maker *i, struct driver_template **ret, struct err *err)
{
    const struct engine_config *c = &i->engine->config;
    char seed[SEED_SIZE];
    struct driver_template_spec spec = {
        .shape = c->shape, .root = i->is.root, .seed = seed, .warm = warm, .warm_arg = i};
    uint64_t start;
    bool built;

    if (!wait_for_service(i))
        return err_set(err, ERR_CANCELLED, "the service is shutting down");
    start = clock_mono_ns();
    log_info("template %s: building or loading it, since a sandbox of it is wanted", i->is.name);
    (void)snprintf(seed, sizeof(seed), "%.64s %s", runtime_table_hash(c->runtimes), i->is.name);
    if (c->driver->build_template(i->engine->driver, &spec, clock_deadline_ms(BUILD_MS), ret,
                                  &built, err) < 0)
        return -1;
    log_info("template %s: %.12s %s in %llu ms", i->is.name, c->driver->template_key(*ret),
             built ? "built" : "loaded",
             (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
    return 0;
}

static void *builder_main(void *arg)
{
    struct maker *i = arg;
    struct driver_template *t = NULL;
    struct err err = ERR_INIT;
    int r = build(i, &t, &err);

    (void)pthread_mutex_lock(&i->lock);
    i->building = false;
    i->template = t;
    if (r < 0) {
        (void)err_wrap(&err, "template %s", i->is.name);
        i->failure = err;
        i->failures++;
        if (!i->stopping) // which is why it failed
            log_error("%s", err.message);
    }
    (void)pthread_cond_broadcast(&i->changed);
    (void)pthread_mutex_unlock(&i->lock);
    return NULL;
}

// Under the lock.
static int start_builder(struct maker *i, struct err *err)
{
    if (i->joinable) // it has nothing to do any more
        (void)pthread_join(i->builder, NULL);
    i->joinable = pthread_create(&i->builder, NULL, builder_main, i) == 0;
    if (!i->joinable)
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    i->building = true;
    i->begun_ns = clock_mono_ns();
    return 0;
}

static int too_late(const struct maker *i, struct err *err)
{
    if (i->template != NULL)
        return err_set(err, ERR_BUSY, "too many sandboxes of template %s are being made",
                       i->is.name);
    return err_set(err, ERR_BUSY,
                   "template %s is being built, for %llu s so far; try again in a minute",
                   i->is.name, (unsigned long long)((clock_mono_ns() - i->begun_ns) / NS_PER_S));
}

// Under the lock, which `gone` is asked without.
static bool is_gone(struct maker *i, bool (*gone)(void *arg), void *arg)
{
    bool yes;

    if (gone == NULL)
        return false;
    (void)pthread_mutex_unlock(&i->lock);
    yes = gone(arg);
    (void)pthread_mutex_lock(&i->lock);
    return yes;
}

// Waits with the lock held until there is a template and one more may be made of it.
static int wait_turn(struct maker *i, bool (*gone)(void *arg), void *gone_arg, struct err *err)
{
    uint64_t deadline = clock_deadline_ms(TAKE_MS);
    uint64_t failures = i->failures;

    for (;;) {
        if (i->stopping)
            return err_set(err, ERR_CANCELLED, "the service is shutting down");
        if (i->template != NULL && i->starting < STARTING_MAX)
            return 0;
        if (i->template == NULL && i->failures != failures) {
            *err = i->failure;
            return -1;
        }
        if (i->template == NULL && !i->building && start_builder(i, err) < 0)
            return -1;
        if (clock_mono_ns() >= deadline)
            return too_late(i, err);
        wait_a_moment(i);
        if (is_gone(i, gone, gone_arg))
            return err_set(err, ERR_CANCELLED, "the client went away");
    }
}

// The template's maker, made if need be; they are few, for each holds a machine's memory.
static struct maker *find_maker(struct template_machines *m, const struct template *is,
                                struct err *err)
{
    struct maker *i;

    (void)pthread_mutex_lock(&m->lock);
    for (i = m->makers; i != NULL; i = i->next)
        if (i->is.root == is->root && strcmp(i->is.name, is->name) == 0)
            break;
    if (m->stopping) {
        (void)err_set(err, ERR_CANCELLED, "the service is shutting down");
        i = NULL;
    } else if (i == NULL && m->count == MAKERS_MAX) {
        (void)err_set(err, ERR_BUSY, "%d templates are in use; restart the service", MAKERS_MAX);
    } else if (i == NULL) {
        i = maker_new(m->engine, is);
        if (i == NULL) {
            (void)err_set(err, ERR_INTERNAL, "out of memory");
        } else {
            i->next = m->makers;
            m->makers = i;
            m->count++;
        }
    }
    (void)pthread_mutex_unlock(&m->lock);
    return i;
}

int template_machines_take(struct template_machines *m, const struct template *is,
                           bool (*gone)(void *arg), void *gone_arg, struct sandbox **ret,
                           struct err *err)
{
    struct sandbox_origin origin = {
        .ops = m->engine->config.driver,
        .driver = m->engine->driver,
        .loop = m->engine->loop,
    };
    struct maker *i = find_maker(m, is, err);
    int r;

    if (i == NULL)
        return -1;
    (void)pthread_mutex_lock(&i->lock);
    r = wait_turn(i, gone, gone_arg, err);
    origin.template = i->template;
    i->starting += r == 0;
    (void)pthread_mutex_unlock(&i->lock);
    if (r < 0)
        return -1;
    r = sandbox_start(&origin, NULL, clock_deadline_ms(START_MS), ret, err);
    (void)pthread_mutex_lock(&i->lock);
    i->starting--;
    (void)pthread_cond_broadcast(&i->changed);
    (void)pthread_mutex_unlock(&i->lock);
    return r;
}
