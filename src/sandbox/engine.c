// SPDX-License-Identifier: Apache-2.0
//
// Glue: opens the driver, has the template built by a thread of its own, and owns the pool and the
// channel's I/O thread. One-shot runs are in run.c.
#include "sandbox/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel/channel.h"
#include "sandbox/agent_client.h"
#include "sandbox/engine_internal.h"
#include "sandbox/lasting.h"
#include "sandbox/runtime.h"
#include "sandbox/stock.h"
#include "sandbox/templates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUILD_MS       300000
#define BUILD_RETRY_MS 5000
#define STATS_MS       5000

static void set_note(struct engine *e, const char *text)
{
    (void)pthread_mutex_lock(&e->lock);
    (void)snprintf(e->build_note, sizeof(e->build_note), "%s", text);
    (void)pthread_mutex_unlock(&e->lock);
}

// What the warm-up does now: for the log, and /health meanwhile.
static void note_warming(void *arg, const char *id, size_t number, size_t count)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "building the template: warming up %s, %zu of %zu", id,
                   number, count);
    log_info("%s", text);
    set_note(arg, text);
}

static int build(struct engine *e, struct err *err)
{
    const struct driver_ops *ops = e->config.driver;
    struct driver_template_spec spec = {
        .shape = e->config.shape,
        .seed = runtime_table_hash(e->config.runtimes),
        .warm = template_warm,
        .warm_arg = &e->warm,
    };
    struct driver_template *t;
    uint64_t start = clock_mono_ns();
    bool built;

    if (ops->build_template(e->driver, &spec, clock_deadline_ms(BUILD_MS), &t, &built, err) < 0)
        return -1;
    log_info("template %.12s %s in %llu ms", ops->template_key(t), built ? "built" : "loaded",
             (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
    (void)pthread_mutex_lock(&e->lock);
    e->template = t;
    e->build_note[0] = '\0';
    (void)pthread_mutex_unlock(&e->lock);
    pool_set_template(e->pool, t);
    stock_begin(e->stock);
    return 0;
}

static bool is_stopping(struct engine *e)
{
    bool stop;

    (void)pthread_mutex_lock(&e->lock);
    stop = e->stopping;
    (void)pthread_mutex_unlock(&e->lock);
    return stop;
}

// True when the engine stops meanwhile.
static bool pause_or_stop(struct engine *e, uint64_t ms)
{
    struct timespec until = clock_to_timespec(clock_deadline_ms(ms));
    bool stop;

    (void)pthread_mutex_lock(&e->lock);
    if (!e->stopping)
        (void)pthread_cond_timedwait(&e->changed, &e->lock, &until);
    stop = e->stopping;
    (void)pthread_mutex_unlock(&e->lock);
    return stop;
}

static void *builder_main(void *arg)
{
    struct engine *e = arg;

    for (;;) {
        struct err err = ERR_INIT;

        set_note(e, "building the template");
        if (build(e, &err) == 0)
            return NULL;
        if (is_stopping(e)) // which is why it failed
            return NULL;
        log_error("cannot build the template, trying again in %d s: %s", BUILD_RETRY_MS / 1000,
                  err.message);
        set_note(e, err.message);
        if (pause_or_stop(e, BUILD_RETRY_MS))
            return NULL;
    }
}

static uint32_t pool_workers(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    return cpus <= 2 ? 1 : cpus > 9 ? 8 : (uint32_t)cpus - 1;
}

static int open_parts(struct engine *e, struct err *err)
{
    const struct engine_config *c = &e->config;
    struct pool_config pool = {
        .runtimes = c->runtimes,
        .ready = c->pool_ready,
        .plain = c->pool_plain,
        .max = c->pool_max,
        .queue_max = c->queue_max,
        .queue_wait_ms = c->queue_wait_ms,
        .workers = pool_workers(),
    };

    c->driver->probe(&c->driver_config, &e->probe);
    if (!e->probe.usable)
        return err_set(err, ERR_UNSUPPORTED, "%s", e->probe.note);
    if (c->driver->open(&c->driver_config, &e->driver, err) < 0)
        return -1;
    if (channel_loop_new(&e->loop, err) < 0 ||
        compile_cache_new(c->compile_cache_bytes, &e->compile_cache, err) < 0)
        return -1;
    e->warm = (struct template_warm){
        .loop = e->loop,
        .runtimes = c->runtimes,
        .progress = note_warming,
        .progress_arg = e,
    };
    pool.origin = (struct sandbox_origin){
        .ops = c->driver,
        .driver = e->driver,
        .loop = e->loop,
        .limits = c->limits,
    };
    if (c->driver->caps & DRIVER_CAP_SHARED) {
        pool.plain = 0; // those of the pool cannot be taken out of it
        // One is made in a few milliseconds, of which the agent works some and we wait the rest.
        pool.workers = 2 * (pool.workers + 1);
    } else if (strcmp(e->probe.accel, "kvm") != 0) {
        // A real processor runs code as fast the first time.
        pool.origin.warm = true;
        pool.workers++;
    }
    e->machines = template_machines_new(e);
    if (e->machines == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (pool_new(&pool, &e->pool, err) < 0)
        return -1;
    if (!(c->driver->caps & DRIVER_CAP_SHARED) || !(c->driver->caps & DRIVER_CAP_LASTING))
        return 0;
    return stock_new(e, c->pool_plain, &e->stock, err);
}

static void close_parts(struct engine *e)
{
    stock_free(e->stock);
    template_machines_free(e->machines);
    pool_free(e->pool);
    if (e->loop != NULL)
        channel_loop_free(e->loop);
    compile_cache_free(e->compile_cache);
    e->config.driver->template_free(e->template);
    e->config.driver->close(e->driver);
    (void)pthread_mutex_destroy(&e->lock);
    (void)pthread_cond_destroy(&e->changed);
    free(e);
}

int engine_new(const struct engine_config *config, struct engine **ret, struct err *err)
{
    struct engine *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    e->config = *config;
    (void)pthread_mutex_init(&e->lock, NULL);
    clock_cond_init(&e->changed);
    if (open_parts(e, err) < 0) {
        close_parts(e);
        return -1;
    }
    if (pthread_create(&e->builder, NULL, builder_main, e) != 0) {
        close_parts(e);
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    }
    *ret = e;
    return 0;
}

const char *engine_template_key(struct engine *e)
{
    const char *key = NULL;

    (void)pthread_mutex_lock(&e->lock);
    if (e->template != NULL)
        key = e->config.driver->template_key(e->template);
    (void)pthread_mutex_unlock(&e->lock);
    return key;
}

void engine_run_begin(struct engine *e)
{
    (void)pthread_mutex_lock(&e->lock);
    e->runs_open++;
    (void)pthread_mutex_unlock(&e->lock);
}

void engine_run_end(struct engine *e)
{
    (void)pthread_mutex_lock(&e->lock);
    e->runs_open--;
    (void)pthread_cond_broadcast(&e->changed);
    (void)pthread_mutex_unlock(&e->lock);
}

void engine_stop(struct engine *e)
{
    if (e == NULL)
        return;
    pool_close(e->pool);
    template_machines_stop(e->machines);
    stock_stop(e->stock);
    (void)pthread_mutex_lock(&e->lock);
    e->stopping = true;
    (void)pthread_cond_broadcast(&e->changed);
    (void)pthread_mutex_unlock(&e->lock);
}

void engine_free(struct engine *e, uint64_t drain_ms)
{
    struct timespec until = clock_to_timespec(clock_deadline_ms(drain_ms));

    if (e == NULL)
        return;
    engine_stop(e);
    (void)pthread_mutex_lock(&e->lock);
    while (e->runs_open > 0 && pthread_cond_timedwait(&e->changed, &e->lock, &until) == 0)
        continue;
    e->cut_runs = true;
    while (e->runs_open > 0)
        (void)pthread_cond_wait(&e->changed, &e->lock);
    (void)pthread_mutex_unlock(&e->lock);
    (void)pthread_join(e->builder, NULL);
    close_parts(e);
}

void engine_stock(struct engine *e, struct stock_status *ret)
{
    stock_status(e->stock, ret);
}

void engine_tune(struct engine *e, const struct pool_sizes *sizes)
{
    pool_tune(e->pool, sizes);
}

const struct runtime_table *engine_runtimes(const struct engine *e)
{
    return e->config.runtimes;
}

void engine_status(struct engine *e, struct engine_status *ret)
{
    struct engine_status st = {0};
    struct pool_status pool;
    struct stock_status stock;
    const char *trouble;

    pool_status(e->pool, &pool);
    stock_status(e->stock, &stock);
    memcpy(st.isolation, e->probe.isolation, sizeof(st.isolation));
    memcpy(st.accel, e->probe.accel, sizeof(st.accel));
    memcpy(st.note, e->probe.note, sizeof(st.note));
    st.pool_ready = pool.ready;
    st.pool_target = pool.target;
    // Those that are kept whatever is asked for.
    st.pool_ready += stock.ready[STOCK_PLAIN];
    st.pool_target += stock.target[STOCK_PLAIN];
    st.running = pool.running;
    st.queued = pool.queued;
    st.sandboxes_created = pool.created;
    st.sandboxes_failed = pool.failed;
    st.clone_ns = pool.start_ns[SANDBOX_PHASE_CLONE];
    st.sync_ns = pool.start_ns[SANDBOX_PHASE_SYNC];
    st.warm_ns = pool.start_ns[SANDBOX_PHASE_WARM];
    st.prepare_ns = pool.start_ns[SANDBOX_PHASE_PREPARE];
    st.runs_total = e->runs_total;
    compile_cache_status(e->compile_cache, &st.compile_cache);
    (void)pthread_mutex_lock(&e->lock);
    // Where none is to wait, the template is all there is to have.
    st.ready =
        e->template != NULL && (pool.created > 0 || pool.target == 0) && pool.last_error[0] == '\0';
    if (e->template != NULL)
        (void)snprintf(st.template_key, sizeof(st.template_key), "%s",
                       e->config.driver->template_key(e->template));
    trouble = e->template == NULL ? e->build_note : pool.last_error;
    if (!st.ready && trouble[0] == '\0')
        trouble = "filling the pool";
    (void)snprintf(st.state, sizeof(st.state), "%s", st.ready ? "ready" : trouble);
    (void)pthread_mutex_unlock(&e->lock);
    *ret = st;
}

int engine_guest_stats(struct engine *e, uint64_t deadline_ns, char **ret_json, struct err *err)
{
    struct sandbox *s = pool_borrow(e->pool);
    uint64_t limit;
    int r;

    if (s == NULL && pool_acquire(e->pool, NULL, NULL, &s, err) < 0)
        return -1;
    limit = clock_deadline_ms(STATS_MS); // the wait is not the guest's fault
    r = agent_stats(s->channel, deadline_ns < limit ? deadline_ns : limit, ret_json, err);
    if (r < 0)
        pool_release(e->pool, s);
    else
        pool_put_back(e->pool, s);
    return r;
}

bool engine_find_template(const struct engine *e, const char *name, struct template *ret)
{
    return template_find(e->config.templates_fd, name, ret);
}

size_t engine_list_templates(const struct engine *e, struct template *ret, size_t max)
{
    return template_list(e->config.templates_fd, ret, max);
}

void engine_each_template_part(const struct engine *e, const char *name,
                               void (*fn)(void *arg, const struct template_part *part), void *arg)
{
    template_each_part(e->config.templates_fd, name, fn, arg);
}

int engine_take(struct engine *e, const struct template *is, bool (*gone)(void *arg),
                void *gone_arg, struct sandbox **ret, struct err *err)
{
    const struct pool_wait wait = {.gone = gone, .arg = gone_arg};

    if (e->config.driver->caps & DRIVER_CAP_SHARED)
        return lasting_take(e, is, ret, err);
    if (is->root != 0 || is->contexts)
        return template_machines_take(e->machines, is, gone, gone_arg, ret, err);
    if (pool_acquire(e->pool, NULL, &wait, ret, err) < 0)
        return -1;
    pool_give_away(e->pool, *ret);
    return 0;
}
