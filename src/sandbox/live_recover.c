// SPDX-License-Identifier: Apache-2.0
//
// What a former run left. Paused sandboxes are there again. Those that ran when the service stopped
// (live_keep.c) are so, too, but are told to be running, for they are brought back: by the first
// request to them, or by the threads of this file, which begin once the service is ready. Their
// time went on meanwhile. The others are lost, and images that nobody knows are removed.
#include "sandbox/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/engine_internal.h"
#include "sandbox/live_internal.h"
#include "store/store.h"
#include "json/read.h"

#include <stdlib.h>
#include <string.h>

#define TRIES     8   // to resume one whose failures may pass, which takes a quarter of a minute
#define LOOK_MS   250 // between two looks whether the engine is ready
#define STALE_MAX 64  // that are removed after one look

// ---- reading rows ----

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

// The ends of one that ran, on this run's clock. Where it was resumed, which no row tells, its
// longest life began no earlier than its end allows.
static void put_times(const struct live_table *t, struct live *l)
{
    uint64_t now_ms = clock_real_ns() / NS_PER_MS;
    uint64_t life_ms = t->config.life_max_ms;
    uint64_t last_ms = l->started_ms + life_ms > l->end_ms ? l->started_ms + life_ms : l->end_ms;

    if (l->end_ms > now_ms + life_ms) // the clock was set
        l->end_ms = now_ms + life_ms;
    if (last_ms > now_ms + life_ms)
        last_ms = now_ms + life_ms;
    l->end_ns = clock_deadline_ms(l->end_ms > now_ms ? l->end_ms - now_ms : 0);
    l->last_ns = clock_deadline_ms(last_ms > now_ms ? last_ms - now_ms : 0);
}

struct recovery {
    struct live_table *table;
    bool unread; // a row: of no image it is known that nobody wants it
    char stale[STALE_MAX][LIVE_ID_LEN + 1];
    size_t stale_count;
};

static int recover_row(void *arg, const struct store_sandbox *b)
{
    struct recovery *r = arg;
    struct live_table *t = r->table;
    bool returning = strcmp(b->state, LIVE_ROW_RETURNING) == 0;
    struct live *l;

    if ((!returning && strcmp(b->state, LIVE_ROW_PAUSED) != 0) || !live_stores_images(t)) {
        log_warn("sandbox %s of the former run is lost: it ended with the service", b->id);
        t->status.lost++;
        return 0;
    }
    l = from_row(t, b);
    if (l == NULL) {
        log_error("sandbox %s of the former run is paused, but its row cannot be read", b->id);
        r->unread = true;
        return 0;
    }
    l->returning = returning;
    if (returning)
        put_times(t, l);
    live_add(t, l);
    return 0;
}

// ---- images ----

static void note_image(void *arg, const char *id, uint64_t stored_bytes)
{
    struct recovery *s = arg;
    struct live *l = live_find(s->table, id);

    (void)stored_bytes;
    if (l != NULL)
        l->has_image = true;
    else if (strlen(id) == LIVE_ID_LEN && s->stale_count < STALE_MAX &&
             !live_snapshot_is_known(s->table, id))
        memcpy(s->stale[s->stale_count++], id, LIVE_ID_LEN + 1);
    live_unref(l);
}

// What the listing did not tell of may be there all the same: the directory could not be read.
static bool is_without_image(const struct live_table *t, const struct live *l)
{
    const struct driver_ops *ops = t->config.engine->config.driver;
    struct driver_image *image;
    struct err err = ERR_INIT;

    if (l->has_image)
        return false;
    if (ops->image_load(t->config.engine->driver, l->id, &image, &err) < 0)
        return err.code == ERR_GONE;
    ops->image_free(image);
    return false;
}

static void lose(struct live_table *t, struct live *l)
{
    log_error("sandbox %s of the former run is lost: its image is gone", l->id);
    (void)pthread_mutex_lock(&t->lock);
    t->status.lost++;
    live_end(t, l);
    (void)pthread_mutex_unlock(&t->lock);
}

// Without it there is nothing to resume, now or ever. Nobody else has the table yet.
static void end_without_image(struct live_table *t)
{
    for (size_t i = 0; i < LIVE_SLOTS; i++) {
        struct live *next;

        for (struct live *l = t->slots[i]; l != NULL; l = next) {
            next = l->next;
            if (is_without_image(t, l))
                lose(t, l);
        }
    }
}

// Those that were stored when the service ended before their rows were. True when there may be
// more.
static bool remove_stale(struct live_table *t, const struct recovery *s)
{
    size_t removed = 0;

    for (size_t i = 0; i < s->stale_count; i++) {
        struct err err = ERR_INIT;

        log_info("removing the image %s, which is of no sandbox and no snapshot", s->stale[i]);
        if (t->config.engine->config.driver->image_remove(t->config.engine->driver, s->stale[i],
                                                          &err) < 0)
            log_error("%s", err.message);
        else
            removed++;
    }
    return removed == STALE_MAX;
}

static void look_for_images(struct live_table *t, struct recovery *r)
{
    r->stale_count = 0;
    t->config.engine->config.driver->image_each(t->config.engine->driver, note_image, r);
}

int live_recover(struct live_table *t, struct err *err)
{
    struct recovery r = {.table = t};
    bool stored = live_stores_images(t);

    if (store_sandbox_each(t->config.store, recover_row, &r, err) < 0)
        return -1;
    if (stored) {
        look_for_images(t, &r);
        end_without_image(t);
        while (!r.unread && remove_stale(t, &r))
            look_for_images(t, &r);
    }
    return store_sandbox_keep(t->config.store, stored ? LIVE_ROW_PAUSED : "",
                              stored ? LIVE_ROW_RETURNING : "", err);
}

// ---- bringing back ----

// `given_up`: its owner did not ask for it.
static int stay_paused(struct live_table *t, struct live *l, bool given_up, struct err *err)
{
    if (live_remember_as(t, l, LIVE_ROW_PAUSED, err) < 0 || store_sync(t->config.store, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&t->lock);
    l->returning = false;
    t->status.paused_total++;
    t->status.not_returned_total += given_up;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    return 0;
}

int live_stay_paused(struct live_table *t, struct live *l, struct err *err)
{
    return stay_paused(t, l, false, err);
}

static void give_up(struct live_table *t, struct live *l, const struct err *why)
{
    struct err err = ERR_INIT;

    log_error("sandbox %s: it cannot be resumed and stays paused: %s", l->id, why->message);
    if (stay_paused(t, l, true, &err) < 0) // it is tried again, to be resumed or this
        log_error("sandbox %s: %s", l->id, err.message);
}

static bool may_pass(enum err_code code)
{
    return code != ERR_UNSUPPORTED && code != ERR_PROTOCOL && code != ERR_INVALID;
}

void live_note_failure(struct live_table *t, struct live *l, const struct err *why)
{
    bool again;

    if (why->code == ERR_CANCELLED) // the next service brings it back
        return;
    (void)pthread_mutex_lock(&t->lock);
    l->retry_ns = clock_deadline_ms(sandbox_retry_ms(l->failures));
    l->failures++;
    again = may_pass(why->code) && l->failures < TRIES;
    (void)pthread_mutex_unlock(&t->lock);
    if (again)
        log_warn("sandbox %s: cannot resume it, trying again: %s", l->id, why->message);
    else
        give_up(t, l, why);
}

// A reference to one whose turn it is and that nobody else brings back. *ret_next_ns: when to look
// again, CLOCK_NEVER when none is left.
static struct live *pick(struct live_table *t, uint64_t *ret_next_ns)
{
    uint64_t now = clock_mono_ns();

    *ret_next_ns = CLOCK_NEVER;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next) {
            bool due = live_is_due(l, now); // then the keepers pause it, unless its time is changed

            if (!l->returning)
                continue;
            if (!due && !l->in_hand && !l->busy && l->retry_ns <= now) {
                l->in_hand = true;
                return live_ref(l);
            }
            if (!due && !l->in_hand && !l->busy && l->retry_ns < *ret_next_ns)
                *ret_next_ns = l->retry_ns;
            else if (*ret_next_ns > now + LOOK_MS * NS_PER_MS)
                *ret_next_ns = now + LOOK_MS * NS_PER_MS;
        }
    return NULL;
}

// False when the service stops first. Called with the lock held; drops it meanwhile.
static bool await_engine(struct live_table *t)
{
    struct engine_status status = {0};

    while (!t->closed && !status.ready) {
        struct timespec until = clock_to_timespec(clock_deadline_ms(LOOK_MS));

        (void)pthread_mutex_unlock(&t->lock);
        engine_status(t->config.engine, &status);
        (void)pthread_mutex_lock(&t->lock);
        if (!t->closed && !status.ready)
            (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
    }
    return !t->closed;
}

// Called with the lock held; drops it meanwhile.
static void bring_back(struct live_table *t, struct live *l)
{
    struct err err = ERR_INIT;
    struct live *now;
    bool unused;

    (void)pthread_mutex_unlock(&t->lock);
    if (live_resume(t, l, 0, &now, &unused, &err) == 0)
        live_unref(now);
    (void)pthread_mutex_lock(&t->lock);
    l->in_hand = false;
}

static void *return_main(void *arg)
{
    struct live_table *t = arg;
    uint64_t next_ns = 0;

    (void)pthread_mutex_lock(&t->lock);
    if (!await_engine(t))
        next_ns = CLOCK_NEVER;
    while (!t->closed && next_ns != CLOCK_NEVER) {
        struct live *l = pick(t, &next_ns);
        struct timespec until = clock_to_timespec(next_ns);

        if (l != NULL) {
            bring_back(t, l);
            live_unref(l);
            next_ns = 0;
        } else if (next_ns != CLOCK_NEVER) {
            (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

void live_begin_return(struct live_table *t)
{
    struct live_status status;

    live_status(t, &status);
    if (status.returning > 0)
        live_threads_start(&t->returners, LIVE_THREADS / 2, return_main, t);
}
