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
#include "json/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct driver_ops *ops_of(const struct live_table *t)
{
    return t->config.engine->config.driver;
}

static bool stores_images(const struct live_table *t)
{
    return (ops_of(t)->caps & DRIVER_CAP_IMAGE_DISK) != 0;
}

void live_drop_image(struct live_table *t, struct live *l)
{
    struct err err = ERR_INIT;

    if (l->image != NULL)
        ops_of(t)->image_free(l->image);
    else if (l->machine == NULL && stores_images(t) &&
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

static void put_in_place(struct live_table *t, struct live *l, struct live *next)
{
    (void)pthread_mutex_lock(&t->lock);
    live_replace(t, l, next);
    (void)pthread_mutex_unlock(&t->lock);
    live_unref(l);
}

// Freezes the machine and puts the image where it is to be. On failure it runs on if it can.
static int freeze(struct live_table *t, struct live *l, struct live *paused, struct err *err)
{
    const struct driver_ops *ops = ops_of(t);
    struct driver_sandbox *s = l->machine->driver;
    struct driver_image *image;
    struct err why = ERR_INIT;

    if (ops->snapshot(s, true, clock_deadline_ms(LIVE_FREEZE_MS), &image, err) < 0)
        return -1;
    if (!stores_images(t)) {
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

static int pause_seized(struct live_table *t, struct live *l, struct live **ret, struct err *err)
{
    struct live *paused = live_copy(l);
    struct err why = ERR_INIT;

    if (paused == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (freeze(t, l, paused, err) < 0) {
        live_unref(paused);
        return -1;
    }
    if (live_remember(t, paused, err) < 0 || store_sync(t->config.store, err) < 0) {
        live_drop_image(t, paused);
        live_unref(paused);
        if (ops_of(t)->resume(l->machine->driver, clock_deadline_ms(LIVE_FREEZE_MS), &why) < 0)
            log_error("sandbox %s: %s", l->id, why.message);
        return -1;
    }
    *ret = paused;
    return 0;
}

int live_pause(struct live_table *t, struct live *l, struct err *err)
{
    struct live *paused;
    struct live *now;

    if (!(ops_of(t)->caps & DRIVER_CAP_SNAPSHOT))
        return err_set(err, ERR_UNSUPPORTED, "with this isolation sandboxes cannot be paused");
    now = live_seize(t, l);
    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    if (now->state == LIVE_PAUSED) {
        live_let_go(t, now);
        return err_set(err, ERR_INVALID, "the sandbox is paused already");
    }
    (void)pthread_mutex_lock(&t->lock);
    now->pausing = true;
    (void)pthread_mutex_unlock(&t->lock);
    if (pause_seized(t, now, &paused, err) < 0) {
        live_let_go(t, now);
        return -1;
    }
    put_in_place(t, now, paused);
    return 0;
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
    struct live *now = live_seize(t, l);
    struct live *next;

    if (now == NULL)
        return err_set(err, ERR_GONE, "the sandbox has ended");
    if (now->state == LIVE_RUNNING) {
        *ret = live_ref(now);
        *ret_resumed = false;
        live_let_go(t, now);
        (void)live_set_timeout(t, *ret, timeout_ms, true);
        return 0;
    }
    if (resume_seized(t, now, timeout_ms, &next, err) < 0) {
        live_let_go(t, now);
        return -1;
    }
    live_drop_image(t, now);
    *ret = live_ref(next);
    *ret_resumed = true;
    put_in_place(t, now, next);
    return 0;
}

bool live_auto_resumes(const struct live *l)
{
    return l->auto_resume_ms > 0;
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
    r = live_resume(t, now, now->auto_resume_ms, ret, &unused, err);
    live_unref(now);
    return r;
}

// What a former run left.

struct recovery {
    struct live_table *table;
    uint32_t lost;
};

static int count_pair(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    struct live_pairs *p = arg;
    struct json_str value = {.data = ""};

    if (json_get_text(in, key, &value, err) < 0)
        return -1;
    p->list[p->count].name = strdup(key);
    p->list[p->count].value = strdup(value.data);
    p->count++;
    return 0;
}

int live_read_pairs(const char *text, struct live_pairs *ret)
{
    _cleanup_json_ struct json_t *tree = NULL;
    struct err err = ERR_INIT;
    struct json_in top;

    if (json_read("row", text, strlen(text), &tree, &err) < 0)
        return -1;
    top = json_top(tree);
    ret->list = calloc(strlen(text) / 5 + 1, sizeof(*ret->list)); // a pair is "":"",
    return ret->list == NULL ? -1 : json_each(&top, count_pair, ret, &err);
}

static struct live *from_row(const struct live_table *t, const struct store_sandbox *b)
{
    struct live_fields f = {
        .state = LIVE_PAUSED,
        .id = b->id,
        .key = b->key,
        .template = b->template,
        .token = b->token == NULL ? "" : b->token,
        .traffic_token = b->traffic_token == NULL ? "" : b->traffic_token,
        .on_timeout = b->pause_on_timeout ? LIVE_PAUSE : LIVE_KILL,
        .auto_resume_ms = b->auto_resume_ms,
        .started_ms = b->started_ms,
        .end_ms = b->end_ms,
    };
    struct live *l = NULL;

    live_put_shape(t, &f);
    if (live_read_pairs(b->metadata, &f.metadata) == 0 && live_read_pairs(b->env, &f.env) == 0)
        l = live_make(&f);
    live_free_pairs(&f.metadata);
    live_free_pairs(&f.env);
    return l;
}

static int recover_row(void *arg, const struct store_sandbox *b)
{
    struct recovery *r = arg;
    struct live_table *t = r->table;
    struct live *l;

    if (strcmp(b->state, "paused") != 0 || !stores_images(t)) {
        log_warn("sandbox %s of the former run is lost: it ended with the service", b->id);
        r->lost++;
        return 0;
    }
    l = from_row(t, b);
    if (l == NULL) {
        log_error("sandbox %s of the former run is paused, but its row is broken", b->id);
        return 0;
    }
    live_add(t, l);
    return 0;
}

#define STALE_MAX 64 // at one start

struct stale {
    struct live_table *table;
    char ids[STALE_MAX][LIVE_ID_LEN + 1];
    size_t count;
};

static void note_stale(void *arg, const char *id, uint64_t stored_bytes)
{
    struct stale *s = arg;
    struct live *l = live_find(s->table, id);

    (void)stored_bytes;
    if (l == NULL && strlen(id) == LIVE_ID_LEN && s->count < STALE_MAX &&
        !live_snapshot_is_known(s->table, id))
        memcpy(s->ids[s->count++], id, LIVE_ID_LEN + 1);
    live_unref(l);
}

// Images that were stored when the service ended before their rows were.
static void remove_stale(struct live_table *t)
{
    struct stale s = {.table = t};
    struct driver *d = t->config.engine->driver;

    if (!stores_images(t))
        return;
    ops_of(t)->image_each(d, note_stale, &s);
    for (size_t i = 0; i < s.count; i++) {
        struct err err = ERR_INIT;

        log_info("removing the image %s, which is of no sandbox and no snapshot", s.ids[i]);
        if (ops_of(t)->image_remove(d, s.ids[i], &err) < 0)
            log_error("%s", err.message);
    }
}

int live_recover(struct live_table *t, struct err *err)
{
    struct recovery r = {.table = t};

    if (store_sandbox_each(t->config.store, recover_row, &r, err) < 0)
        return -1;
    remove_stale(t);
    return store_sandbox_keep(t->config.store, stores_images(t) ? "paused" : "", err);
}
