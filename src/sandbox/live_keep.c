// SPDX-License-Identifier: Apache-2.0
//
// The keepers: threads that pause what nobody asked to be paused. As long as the service runs that
// is whose time is over and who is then to be paused; a pause may take as long as the disk, so the
// thread that looks whose time it is (live.c) does none, and there are never more of them at a time
// than keepers.
//
// At the end of the service, which its sandboxes outlive where their images are stored on disk, it
// is each that runs: paused as its owner would, but under another word, by which the next service
// knows to bring it back (live_recover.c). The machine stands still from the moment its image is
// made, so nothing that happened in it is forgotten. What cannot be stored in time ends with the
// service, and the log says so.
#include "sandbox/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/engine_internal.h"
#include "sandbox/live_internal.h"

#define PAUSE_TRY_NS (60 * NS_PER_S)

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

static bool can_pause(const struct live_table *t)
{
    return (t->config.engine->config.driver->caps & DRIVER_CAP_SNAPSHOT) != 0;
}

static bool can_keep(const struct live_table *t)
{
    return can_pause(t) && live_stores_images(t);
}

// ---- those whose time is over ----

bool live_is_due(const struct live *l, uint64_t now_ns)
{
    return (l->state == LIVE_RUNNING || l->returning) && !l->busy && !l->in_hand &&
           l->on_timeout == LIVE_PAUSE && now_ns >= l->end_ns && now_ns >= l->retry_ns;
}

static struct live *pick_due(const struct live_table *t)
{
    uint64_t now = clock_mono_ns();

    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next)
            if (live_is_due(l, now))
                return l;
    return NULL;
}

// One that the disk does not take now may be taken later: what is in it is not given up as long as
// it might have lived anyway, and for PAUSE_TRY_NS.
static void put_off(struct live_table *t, struct live *l, const struct err *why)
{
    uint64_t now = clock_mono_ns();

    if (now < l->end_ns) // its owner gave it more time meanwhile
        return;
    if (why->code == ERR_SYSTEM && (now < l->last_ns || now < l->end_ns + PAUSE_TRY_NS)) {
        l->retry_ns = now + sandbox_retry_ms(l->failures) * NS_PER_MS;
        if (l->failures++ == 0)
            log_error("sandbox %s: its time is over, but it cannot be paused, trying again: %s",
                      l->id, why->message);
        return;
    }
    log_error("sandbox %s: its time is over, but it cannot be paused and ends: %s", l->id,
              why->message);
    live_end(t, l);
    t->status.expired++;
}

// Called with the lock held; drops it meanwhile.
static void pause_due(struct live_table *t, struct live *l)
{
    struct err err = ERR_INIT;
    int r;

    live_seize_to_pause(l);
    (void)live_ref(l); // past the one that goes with the seizure
    (void)pthread_mutex_unlock(&t->lock);
    r = live_pause_seized(t, l, false, clock_deadline_ms(LIVE_FREEZE_MS), &err);
    (void)pthread_mutex_lock(&t->lock);
    if (r == 0)
        log_info("sandbox %s: its time is over, it is paused", l->id);
    else if (live_current(t, l) == l && !l->busy)
        put_off(t, l, &err);
    live_unref(l);
}

// ---- the end of the service ----

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
    live_seize_to_pause(l);
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

// Called with the lock held; drops it meanwhile.
static void keep_all(struct live_table *t)
{
    bool resuming;

    for (;;) {
        struct live *l = pick(t, &resuming);

        if (l == NULL && resuming && has_time(t)) {
            wait_change(t);
            continue;
        }
        if (l == NULL)
            return;
        l->in_hand = true;
        (void)live_ref(l);
        keep_or_end(t, l);
        live_unref(l);
    }
}

static void *keep_main(void *arg)
{
    struct live_table *t = arg;

    (void)pthread_mutex_lock(&t->lock);
    while (!t->closed) {
        struct live *l = pick_due(t);

        if (l != NULL)
            pause_due(t, l);
        else
            (void)pthread_cond_wait(&t->due, &t->lock);
    }
    keep_all(t);
    t->keepers_done++;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

int live_keepers_start(struct live_table *t, struct err *err)
{
    if (!can_pause(t))
        return 0;
    live_threads_start(&t->keepers, LIVE_THREADS, keep_main, t);
    return t->keepers.count > 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot start a thread");
}

void live_table_stop(struct live_table *t, uint64_t keep_ms)
{
    (void)pthread_mutex_lock(&t->lock);
    t->closed = true;
    t->keep_until_ns = can_keep(t) && keep_ms > 0 ? clock_deadline_ms(keep_ms) : 0;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next)
            l->stopped = true; // before its streams fail
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_cond_broadcast(&t->due);
    if (t->keepers.count == 0) // nothing can be stored, so this waits for nothing
        keep_all(t);
    (void)pthread_mutex_unlock(&t->lock);
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
    while (t->keepers_done < t->keepers.count &&
           pthread_cond_timedwait(&t->changed, &t->lock, &until) == 0)
        continue;
    done = t->keepers_done == t->keepers.count;
    (void)pthread_mutex_unlock(&t->lock);
    return done;
}

bool live_was_stopped(const struct live *l)
{
    return l->stopped;
}
