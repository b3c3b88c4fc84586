// SPDX-License-Identifier: Apache-2.0
//
// The end of a service, which its sandboxes outlive where their images are stored on disk: each
// that runs is paused as its owner would, several at a time, but under another word, by which the
// next service knows to bring it back (live_recover.c). The machine stands still from the moment
// its image is made, so nothing that happened in it is forgotten. What cannot be stored in time
// ends with the service, and the log says so.
#include "sandbox/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/engine_internal.h"
#include "sandbox/live_internal.h"

void live_threads_start(struct live_threads *threads, size_t count, void *(*fn)(void *),
                        struct live_table *t)
{
    while (threads->count < count &&
           pthread_create(&threads->list[threads->count], NULL, fn, t) == 0)
        threads->count++;
}

void live_threads_join(struct live_threads *threads)
{
    while (threads->count > 0)
        (void)pthread_join(threads->list[--threads->count], NULL);
}

static bool can_keep(const struct live_table *t)
{
    return (t->config.engine->config.driver->caps & DRIVER_CAP_SNAPSHOT) && live_stores_images(t);
}

// One that runs and that no thread has yet, or NULL. *ret_resuming: one may come to run still.
static struct live *pick(const struct live_table *t, bool *ret_resuming)
{
    *ret_resuming = false;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next) {
            if (l->state == LIVE_RUNNING && !l->in_hand)
                return l;
            *ret_resuming = *ret_resuming || (l->state == LIVE_PAUSED && l->busy);
        }
    return NULL;
}

static bool has_time(const struct live_table *t)
{
    return clock_mono_ns() < t->keep_until_ns;
}

// Waits for a change as long as sandboxes are stored.
static void wait_change(struct live_table *t)
{
    struct timespec until = clock_to_timespec(t->keep_until_ns);

    (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

// Pauses it if it still runs. Called with the lock held; drops it meanwhile.
static int keep(struct live_table *t, struct live *l, struct err *err)
{
    uint64_t until = clock_deadline_ms(LIVE_FREEZE_MS);
    int r;

    while (live_current(t, l) == l && l->busy && has_time(t))
        wait_change(t);
    if (live_current(t, l) != l)
        return 0;
    if (!can_keep(t))
        return err_set(err, ERR_UNSUPPORTED, "with this isolation it cannot be stored");
    if (l->busy || !has_time(t))
        return err_set(err, ERR_TIMEOUT, "there was no time to store it");
    l->busy = true;
    (void)live_ref(l);
    until = until < t->keep_until_ns ? until : t->keep_until_ns;
    (void)pthread_mutex_unlock(&t->lock);
    r = live_pause_seized(t, l, true, until, err);
    (void)pthread_mutex_lock(&t->lock);
    if (r == 0)
        log_info("sandbox %s: it is stored, for the next service to resume", l->id);
    return r;
}

// One that another thread just pauses or resumes is left to live_table_free().
static void keep_or_end(struct live_table *t, struct live *l)
{
    struct err err = ERR_INIT;

    if (keep(t, l, &err) == 0 || live_current(t, l) != l || l->busy)
        return;
    log_warn("sandbox %s: it ends with the service: %s", l->id, err.message);
    live_end(t, l);
}

static void *keep_main(void *arg)
{
    struct live_table *t = arg;
    bool resuming;

    (void)pthread_mutex_lock(&t->lock);
    for (;;) {
        struct live *l = pick(t, &resuming);

        if (l == NULL && resuming && has_time(t)) {
            wait_change(t);
            continue;
        }
        if (l == NULL)
            break;
        l->in_hand = true;
        (void)live_ref(l);
        keep_or_end(t, l);
        live_unref(l);
    }
    t->at_work--;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

void live_table_stop(struct live_table *t, uint64_t keep_ms)
{
    size_t count = 0;

    (void)pthread_mutex_lock(&t->lock);
    t->closed = true;
    t->keep_until_ns = can_keep(t) && keep_ms > 0 ? clock_deadline_ms(keep_ms) : 0;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next) {
            l->stopped = true; // before its streams fail
            count += l->state == LIVE_RUNNING || l->busy;
        }
    count = count < LIVE_THREADS ? count : LIVE_THREADS;
    count = t->keep_until_ns != 0 ? count : 0;
    t->at_work = (uint32_t)count;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    live_threads_start(&t->keepers, count, keep_main, t);
    (void)pthread_mutex_lock(&t->lock);
    t->at_work -= (uint32_t)(count - t->keepers.count);
    if (t->keepers.count == 0)
        t->at_work++;
    (void)pthread_mutex_unlock(&t->lock);
    if (t->keepers.count == 0) // there is nothing to wait for, or no thread to be had
        (void)keep_main(t);
}

void live_table_cut(struct live_table *t)
{
    (void)pthread_mutex_lock(&t->lock);
    t->keep_until_ns = 0;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

bool live_table_wait(struct live_table *t, uint64_t deadline_ns)
{
    struct timespec until = clock_to_timespec(deadline_ns);
    bool done;

    (void)pthread_mutex_lock(&t->lock);
    while (t->at_work > 0 && pthread_cond_timedwait(&t->changed, &t->lock, &until) == 0)
        continue;
    done = t->at_work == 0;
    (void)pthread_mutex_unlock(&t->lock);
    return done;
}

bool live_was_stopped(const struct live *l)
{
    return l->stopped;
}
