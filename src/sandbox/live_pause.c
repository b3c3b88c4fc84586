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

void live_seize_to_pause(struct live *l)
{
    l->busy = true;
    l->pausing = true;
    (void)live_ref(l);
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

// One that the caller seized and whose machine is good for nothing any more. Returns -1.
static int lose(struct live_table *t, struct live *l, const struct err *why, struct err *err)
{
    (void)pthread_mutex_lock(&t->lock);
    live_end(t, l);
    t->status.lost++;
    (void)pthread_mutex_unlock(&t->lock);
    log_error("sandbox %s: its machine cannot go on, it ends: %s", l->id, why->message);
    return err_set(err, ERR_GONE, "the sandbox's machine could not go on, and it has ended");
}

int live_freeze(struct live_table *t, struct live *l, bool leave_paused, uint64_t deadline_ns,
                struct driver_image **ret, struct err *err)
{
    struct err why = ERR_INIT;

    if (ops_of(t)->snapshot(l->machine->driver, leave_paused, deadline_ns, ret, &why) == 0)
        return 0;
    if (why.code == ERR_GONE || why.code == ERR_TIMEOUT) // it is left fit for its end only
        return lose(t, l, &why, err);
    if (err != NULL)
        *err = why;
    return -1;
}

// One that was to be paused and cannot be, for the reason in *err. Returns -1.
static int run_on(struct live_table *t, struct live *l, struct err *err)
{
    struct err why = ERR_INIT;

    if (ops_of(t)->resume(l->machine->driver, clock_deadline_ms(LIVE_FREEZE_MS), &why) < 0)
        return lose(t, l, &why, err);
    return -1;
}

// Where images cannot be stored `paused` keeps it.
static int put_image(struct live_table *t, struct live *paused, struct driver_image *image,
                     struct err *err)
{
    int r;

    if (!live_stores_images(t)) {
        paused->image = image;
        return 0;
    }
    r = ops_of(t)->image_store(t->config.engine->driver, image, paused->id, err);
    ops_of(t)->image_free(image);
    return r;
}

// The row is on disk when this returns: an image is stored before it and removed after it, so that
// a service that dies between the two leaves a paused one with its image, or one that ran, which is
// lost, and an image of nobody, which the next service removes.
static int write_row(struct live_table *t, const struct live *l, struct err *err)
{
    return live_remember(t, l, err) < 0 ? -1 : store_sync(t->config.store, err);
}

// After another row of it that was not to be. Its owner is told why; the row is for the next
// service.
static void rewrite_row(struct live_table *t, const struct live *l)
{
    struct err why = ERR_INIT;

    if (live_remember(t, l, &why) < 0)
        log_error("sandbox %s: %s", l->id, why.message);
}

static int make_paused(struct live_table *t, struct live *l, struct live *paused,
                       uint64_t deadline_ns, struct err *err)
{
    struct driver_image *image;
    int r;

    if (live_freeze(t, l, true, deadline_ns, &image, err) < 0)
        return -1;
    r = put_image(t, paused, image, err);
    if (r == 0) {
        r = write_row(t, paused, err);
        if (r < 0)
            rewrite_row(t, l);
    }
    if (r == 0)
        return 0;
    live_drop_image(t, paused);
    return run_on(t, l, err);
}

int live_pause_seized(struct live_table *t, struct live *now, bool returning, uint64_t deadline_ns,
                      struct err *err)
{
    struct live *paused;
    int r;

    if (now->returning) { // its image is there already
        r = live_stay_paused(t, now, err);
        live_let_go(t, now);
        return r;
    }
    (void)pthread_mutex_lock(&t->lock);
    now->pausing = true;
    (void)pthread_mutex_unlock(&t->lock);
    paused = live_copy(now);
    if (paused == NULL) {
        live_let_go(t, now);
        return err_set(err, ERR_INTERNAL, "out of memory");
    }
    paused->returning = returning;
    copy_times(t, now, paused);
    r = make_paused(t, now, paused, deadline_ns, err);
    if (r == 0) {
        put_in_place(t, now, paused);
    } else {
        live_unref(paused);
        live_let_go(t, now);
    }
    return r;
}

int live_pause(struct live_table *t, struct live *l, struct err *err)
{
    struct live *now;

    if (!(ops_of(t)->caps & DRIVER_CAP_SNAPSHOT))
        return err_set(err, ERR_UNSUPPORTED, "with this isolation sandboxes cannot be paused");
    now = live_seize(t, l);
    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    if (now->state == LIVE_RUNNING || now->returning)
        return live_pause_seized(t, now, false, clock_deadline_ms(LIVE_FREEZE_MS), err);
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

// Whether its time, of one that is to return, ended while no service ran, and it is to be paused
// then: it is as good as paused, and who wakes it gives it fresh time, whether it already is or
// not. With the lock held.
static bool is_overdue(const struct live *l)
{
    return l->returning && l->on_timeout == LIVE_PAUSE && clock_mono_ns() >= l->end_ns;
}

// One that is to return is running to its owner, and what runs goes on.
static int may_resume(struct live_table *t, const struct live *l, struct err *err)
{
    return l->returning ? 0 : live_check_cpu(t, l->key, err);
}

static int resume_seized(struct live_table *t, struct live *l, uint64_t timeout_ms,
                         struct live **ret, struct err *err)
{
    struct live *next = live_copy(l);

    if (next == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (may_resume(t, l, err) < 0 || check_open(t, err) < 0 || thaw(t, l, next, err) < 0 ||
        check_open(t, err) < 0) {
        live_unref(next);
        return -1;
    }
    next->state = LIVE_RUNNING;
    live_count_cpu(t, next);
    if (l->returning)
        copy_times(t, l, next);
    else
        live_put_end(t, next, timeout_ms);
    if (write_row(t, next, err) < 0) {
        rewrite_row(t, l);
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
    (void)pthread_mutex_lock(&t->lock);
    if (timeout_ms > 0 && is_overdue(now)) {
        now->last_ns = 0; // as one that was paused begins anew
        live_put_end(t, now, timeout_ms);
    }
    (void)pthread_mutex_unlock(&t->lock);
    ran = now->state == LIVE_RUNNING || now->returning;
    if (ran) // before its time may be over, and be it paused
        (void)live_set_timeout(t, now, timeout_ms, true);
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
    uint64_t time_ms = 0;
    bool unused;
    int r;

    (void)pthread_mutex_lock(&t->lock);
    // One that runs answers while it is forked or kept as a snapshot.
    while ((now = live_current(t, l)) != NULL && now->busy &&
           (now->pausing || now->state != LIVE_RUNNING))
        (void)pthread_cond_wait(&t->changed, &t->lock);
    if (now != NULL) {
        (void)live_ref(now);
        time_ms = now->returning && !is_overdue(now) ? 0 : now->auto_resume_ms;
    }
    (void)pthread_mutex_unlock(&t->lock);
    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    if (now->state == LIVE_RUNNING) {
        *ret = now;
        return 0;
    }
    r = live_resume(t, now, time_ms, ret, &unused, err);
    live_unref(now);
    return r;
}
