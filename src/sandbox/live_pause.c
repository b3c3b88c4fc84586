// SPDX-License-Identifier: Apache-2.0
//
// A sandbox's pauses. A paused one has no machine: what was in it is an image, stored under the
// sandbox's id where the driver can, so that it outlives the service; else held in memory. It is
// another `struct live` than the one that ran, and the one that runs on a third.
#include "sandbox/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/engine_internal.h"
#include "sandbox/lasting.h"
#include "sandbox/live_internal.h"
#include "store/store.h"

static const struct driver_ops *ops_of(const struct live_table *t)
{
    return t->config.engine->config.driver;
}

bool live_stores_images(const struct live_table *t)
{
    return (ops_of(t)->caps & DRIVER_CAP_IMAGE_DISK) != 0;
}

void live_drop_image(struct live_table *t, struct live *l)
{
    struct err err = ERR_INIT;

    if (l->image != NULL)
        ops_of(t)->image_free(l->image);
    else if (l->machine == NULL && live_stores_images(t) &&
             ops_of(t)->image_remove(t->config.engine->driver, l->id, &err) < 0)
        log_error("sandbox %s: %s", l->id, err.message);
    l->image = NULL;
}

struct live *live_seize(struct live_table *t, struct live *l)
{
    struct live *now;

    (void)pthread_mutex_lock(&t->lock);
    while ((now = live_current(t, l)) != NULL && now->busy)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    if (now != NULL) {
        now->busy = true;
        (void)live_ref(now);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return now;
}

void live_let_go(struct live_table *t, struct live *l)
{
    (void)pthread_mutex_lock(&t->lock);
    l->busy = false;
    l->pausing = false;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    live_unref(l);
}

int live_seize_running(struct live_table *t, struct live *l, struct live **ret, struct err *err)
{
    for (;;) {
        struct live *now = live_seize(t, l);
        bool returning, unused;

        if (now == NULL)
            return err_set(err, ERR_GONE, "the sandbox has ended");
        if (now->state == LIVE_RUNNING) {
            *ret = now;
            return 0;
        }
        returning = now->returning;
        live_let_go(t, now);
        if (!returning)
            return err_set(err, ERR_INVALID, "the sandbox is paused");
        if (live_resume(t, l, 0, &now, &unused, err) < 0)
            return -1;
        live_unref(now);
    }
}

static void copy_times(struct live_table *t, const struct live *from, struct live *to)
{
    (void)pthread_mutex_lock(&t->lock);
    to->end_ms = from->end_ms;
    to->end_ns = from->end_ns;
    to->last_ns = from->last_ns;
    (void)pthread_mutex_unlock(&t->lock);
}

static void put_in_place(struct live_table *t, struct live *l, struct live *next)
{
    (void)pthread_mutex_lock(&t->lock);
    live_replace(t, l, next);
    (void)pthread_mutex_unlock(&t->lock);
    live_unref(l);
}

// Freezes the machine and puts the image where it is to be. On failure it runs on if it can.
static int freeze(struct live_table *t, struct live *l, struct live *paused, uint64_t deadline_ns,
                  struct err *err)
{
    const struct driver_ops *ops = ops_of(t);
    struct driver_sandbox *s = l->machine->driver;
    struct driver_image *image;
    struct err why = ERR_INIT;

    if (ops->snapshot(s, true, deadline_ns, &image, err) < 0)
        return -1;
    if (!live_stores_images(t)) {
        paused->image = image;
        return 0;
    }
    if (ops->image_store(t->config.engine->driver, image, l->id, err) < 0) {
        if (ops->resume(s, clock_deadline_ms(LIVE_FREEZE_MS), &why) < 0)
            log_error("sandbox %s: %s", l->id, why.message);
        ops->image_free(image);
        return -1;
    }
    ops->image_free(image);
    return 0;
}

static int make_paused(struct live_table *t, struct live *l, bool returning, uint64_t deadline_ns,
                       struct live **ret, struct err *err)
{
    struct live *paused = live_copy(l);
    struct err why = ERR_INIT;

    if (paused == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    paused->returning = returning;
    copy_times(t, l, paused);
    if (freeze(t, l, paused, deadline_ns, err) < 0) {
        live_unref(paused);
        return -1;
    }
    if (live_remember(t, paused, err) < 0 || store_sync(t->config.store, err) < 0) {
        live_drop_image(t, paused);
        live_unref(paused);
        if (ops_of(t)->resume(l->machine->driver, clock_deadline_ms(LIVE_FREEZE_MS), &why) < 0)
            log_error("sandbox %s: %s", l->id, why.message);
        if (live_remember(t, l, &why) < 0) // the row may say that it is paused
            log_error("sandbox %s: %s", l->id, why.message);
        return -1;
    }
    *ret = paused;
    return 0;
}

int live_pause_seized(struct live_table *t, struct live *now, bool returning, uint64_t deadline_ns,
                      struct err *err)
{
    struct live *paused;

    (void)pthread_mutex_lock(&t->lock);
    now->pausing = true;
    (void)pthread_mutex_unlock(&t->lock);
    if (make_paused(t, now, returning, deadline_ns, &paused, err) < 0) {
        live_let_go(t, now);
        return -1;
    }
    put_in_place(t, now, paused);
    return 0;
}

int live_pause(struct live_table *t, struct live *l, struct err *err)
{
    struct live *now;

    if (!(ops_of(t)->caps & DRIVER_CAP_SNAPSHOT))
        return err_set(err, ERR_UNSUPPORTED, "with this isolation sandboxes cannot be paused");
    now = live_seize(t, l);
    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    if (now->state == LIVE_RUNNING)
        return live_pause_seized(t, now, false, clock_deadline_ms(LIVE_FREEZE_MS), err);
    if (now->returning) {
        live_stay_paused(t, now);
        live_let_go(t, now);
        return 0;
    }
    live_let_go(t, now);
    return err_set(err, ERR_INVALID, "the sandbox is paused already");
}

static int thaw(struct live_table *t, struct live *l, struct live *next, struct err *err)
{
    const struct driver_ops *ops = ops_of(t);
    struct engine *e = t->config.engine;
    struct driver_image *loaded = NULL;
    int r;

    if (l->image == NULL && ops->image_load(e->driver, l->id, &loaded, err) < 0)
        return -1;
    r = lasting_restore(e, l->image != NULL ? l->image : loaded, &next->machine, err);
    ops->image_free(loaded);
    return r;
}

// What comes to run once running ones are ended would be lost: it stays paused.
static int check_open(struct live_table *t, struct err *err)
{
    bool closed;

    (void)pthread_mutex_lock(&t->lock);
    closed = t->closed;
    (void)pthread_mutex_unlock(&t->lock);
    return closed ? err_set(err, ERR_CANCELLED, "the service is shutting down") : 0;
}

static int resume_seized(struct live_table *t, struct live *l, uint64_t timeout_ms,
                         struct live **ret, struct err *err)
{
    struct live *next = live_copy(l);

    if (next == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (check_open(t, err) < 0 || thaw(t, l, next, err) < 0 || check_open(t, err) < 0) {
        live_unref(next);
        return -1;
    }
    next->state = LIVE_RUNNING;
    if (l->returning)
        copy_times(t, l, next);
    else
        live_put_end(t, next, timeout_ms);
    if (live_remember(t, next, err) < 0) {
        live_unref(next);
        return -1;
    }
    *ret = next;
    return 0;
}

int live_resume(struct live_table *t, struct live *l, uint64_t timeout_ms, struct live **ret,
                bool *ret_resumed, struct err *err)
{
    struct err why = ERR_INIT;
    struct live *now = live_seize(t, l);
    struct live *next = NULL;
    bool ran;

    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    ran = now->state == LIVE_RUNNING || now->returning;
    if (now->state == LIVE_RUNNING) {
        next = live_ref(now);
        live_let_go(t, now);
    } else if (resume_seized(t, now, timeout_ms, &next, &why) == 0) {
        live_drop_image(t, now);
        if (now->returning)
            log_info("sandbox %s: it runs again after the service's restart", now->id);
        (void)live_ref(next);
        put_in_place(t, now, next);
    } else {
        if (now->returning)
            live_note_failure(t, now, &why);
        live_let_go(t, now);
        if (err != NULL)
            *err = why;
        return -1;
    }
    if (ran)
        (void)live_set_timeout(t, next, timeout_ms, true);
    *ret = next;
    *ret_resumed = !ran;
    return 0;
}

bool live_auto_resumes(const struct live *l)
{
    return l->auto_resume_ms > 0;
}

bool live_wakes(const struct live *l)
{
    return l->returning || live_auto_resumes(l);
}

int live_wake(struct live_table *t, struct live *l, struct live **ret, struct err *err)
{
    struct live *now;
    bool unused;
    int r;

    (void)pthread_mutex_lock(&t->lock);
    // One that runs answers while it is forked or kept as a snapshot.
    while ((now = live_current(t, l)) != NULL && now->busy &&
           (now->pausing || now->state != LIVE_RUNNING))
        (void)pthread_cond_wait(&t->changed, &t->lock);
    if (now != NULL)
        (void)live_ref(now);
    (void)pthread_mutex_unlock(&t->lock);
    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    if (now->state == LIVE_RUNNING) {
        *ret = now;
        return 0;
    }
    r = live_resume(t, now, now->returning ? 0 : now->auto_resume_ms, ret, &unused, err);
    live_unref(now);
    return r;
}
