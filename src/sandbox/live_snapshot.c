// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: images of sandboxes that are kept on disk until they are deleted, and sandboxes that
// begin as one. What is known of them is in the store alone. They are made one at a time: each
// freezes a sandbox and fills the disk, and so limits are exact. A row is written after its image
// and removed before it; images that nobody knows go when the service starts (live_recover.c).
#include "sandbox/live.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/engine_internal.h"
#include "sandbox/lasting.h"
#include "sandbox/live_internal.h"
#include "sandbox/templates.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#define TAG ":default" // what follows an id or a name, as E2B has it

static const struct driver_ops *ops_of(const struct live_table *t)
{
    return t->config.engine->config.driver;
}

static void put_snapshot(const struct store_snapshot *b, struct live_snapshot *ret)
{
    *ret = (struct live_snapshot){.created_ms = b->created_ms, .stored_bytes = b->bytes};
    (void)snprintf(ret->id, sizeof(ret->id), "%s", b->id);
    (void)snprintf(ret->name, sizeof(ret->name), "%s", b->name);
    (void)snprintf(ret->sandbox, sizeof(ret->sandbox), "%s", b->sandbox);
}

// Finding one.

struct search {
    char what[LIVE_REFERENCE_MAX];
    struct live_snapshot *ret;
    bool found;
};

// An id goes before a name, whatever the order.
static int look(void *arg, const struct store_snapshot *b)
{
    struct search *s = arg;
    bool is_id = strcmp(b->id, s->what) == 0;

    if (!is_id && (s->found || b->name[0] == '\0' || strcmp(b->name, s->what) != 0))
        return 0;
    s->found = true;
    put_snapshot(b, s->ret);
    return is_id ? 1 : 0;
}

int live_snapshot_find(struct live_table *t, const char *key, const char *reference,
                       struct live_snapshot *ret, bool *ret_found, struct err *err)
{
    struct search s = {.ret = ret};
    size_t len = strlen(reference);

    *ret_found = false;
    if (len > strlen(TAG) && strcmp(reference + len - strlen(TAG), TAG) == 0)
        len -= strlen(TAG);
    if (len == 0 || len >= sizeof(s.what))
        return 0;
    memcpy(s.what, reference, len);
    if (store_snapshot_each(t->config.store, key, look, &s, err) < 0)
        return -1;
    *ret_found = s.found;
    return 0;
}

struct listing {
    live_snapshot_fn fn;
    void *arg;
};

static int list_one(void *arg, const struct store_snapshot *b)
{
    const struct listing *l = arg;
    struct live_snapshot s;

    put_snapshot(b, &s);
    return l->fn(l->arg, &s);
}

int live_snapshot_each(struct live_table *t, const char *key, live_snapshot_fn fn, void *arg,
                       struct err *err)
{
    struct listing l = {fn, arg};

    return store_snapshot_each(t->config.store, key, list_one, &l, err) < 0 ? -1 : 0;
}

void live_snapshot_reference(const struct live_snapshot *s, char ret[LIVE_REFERENCE_MAX])
{
    (void)snprintf(ret, LIVE_REFERENCE_MAX, "%s" TAG, s->id);
}

static int is_it(void *arg, const struct store_snapshot *b)
{
    return strcmp(b->id, arg) == 0 ? 1 : 0;
}

bool live_snapshot_is_known(struct live_table *t, const char *id)
{
    struct err err = ERR_INIT;

    return store_snapshot_each(t->config.store, NULL, is_it, (void *)(uintptr_t)id, &err) != 0;
}

// Making one. All of this under the lock of snapshots.

struct sums {
    const char *key;
    const char *name; // of the one that will go, or ""
    char old[LIVE_ID_LEN + 1];
    uint64_t bytes; // of all that stay
    uint32_t count; // of the key's that stay
};

static int add_up(void *arg, const struct store_snapshot *b)
{
    struct sums *s = arg;
    bool mine = strcmp(b->key, s->key) == 0;

    if (mine && s->name[0] != '\0' && strcmp(b->name, s->name) == 0) {
        (void)snprintf(s->old, sizeof(s->old), "%s", b->id);
        return 0;
    }
    s->bytes += b->bytes;
    s->count += mine;
    return 0;
}

static int check_room(const struct live_table *t, const struct sums *s, uint64_t more,
                      struct err *err)
{
    if (s->count >= t->config.snapshots_per_key)
        return err_field(err, ERR_BUSY, "SNAPSHOT_MAX_PER_KEY",
                         "these keys have as many snapshots as they may have: %u", s->count);
    if (s->bytes + more >= t->config.snapshot_bytes)
        return err_field(err, ERR_BUSY, "SNAPSHOT_MAX_BYTES",
                         "snapshots have all the disk space that they may have");
    return 0;
}

static int freeze(struct live_table *t, struct live *l, struct driver_image **ret, struct err *err)
{
    struct live *now;
    int r;

    if (live_seize_running(t, l, &now, err) < 0)
        return -1;
    r = live_freeze(t, now, false, clock_deadline_ms(LIVE_FREEZE_MS), ret, err);
    live_let_go(t, now);
    return r;
}

static int store_row(struct live_table *t, const struct live *l, const struct live_snapshot *s,
                     struct err *err)
{
    _cleanup_buf_ struct buf env = BUF_INIT;
    struct store_snapshot row = {
        .id = s->id,
        .key = l->key,
        .name = s->name,
        .sandbox = s->sandbox,
        .created_ms = s->created_ms,
        .bytes = s->stored_bytes,
    };

    live_put_pairs(&env, &l->env);
    row.env = buf_cstr(&env);
    if (row.env == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (store_snapshot_put(t->config.store, &row, err) < 0)
        return -1;
    return store_sync(t->config.store, err);
}

// Without its row it is gone. An image that stays behind goes when the service starts.
static int forget(struct live_table *t, const char *id, struct err *err)
{
    struct err why = ERR_INIT;

    if (store_snapshot_remove(t->config.store, id, err) < 0 || store_sync(t->config.store, err) < 0)
        return -1;
    if (ops_of(t)->image_remove(t->config.engine->driver, id, &why) < 0)
        log_error("snapshot %s: %s", id, why.message);
    return 0;
}

static void drop(struct live_table *t, const char *id)
{
    struct err err = ERR_INIT;

    if (forget(t, id, &err) < 0)
        log_error("snapshot %s: %s", id, err.message);
}

// Stores the image and what is known of it, or neither.
static int keep(struct live_table *t, const struct live *l, const struct sums *sums,
                struct driver_image *image, struct live_snapshot *s, struct err *err)
{
    struct driver_image_info info;

    if (ops_of(t)->image_store(t->config.engine->driver, image, s->id, err) < 0)
        return -1;
    ops_of(t)->image_info(image, &info);
    s->stored_bytes = info.stored_bytes;
    if (check_room(t, sums, s->stored_bytes, err) == 0 && store_row(t, l, s, err) == 0)
        return 0;
    drop(t, s->id);
    return -1;
}

static int make(struct live_table *t, struct live *l, struct live_snapshot *s, struct err *err)
{
    struct sums sums = {.key = l->key, .name = s->name};
    struct driver_image *image;
    int r;

    if (store_snapshot_each(t->config.store, NULL, add_up, &sums, err) < 0 ||
        check_room(t, &sums, 0, err) < 0 || freeze(t, l, &image, err) < 0)
        return -1;
    s->created_ms = clock_real_ns() / NS_PER_MS;
    r = keep(t, l, &sums, image, s, err);
    ops_of(t)->image_free(image);
    if (r == 0 && sums.old[0] != '\0')
        drop(t, sums.old);
    return r;
}

static bool can_keep(const struct live_table *t)
{
    const uint32_t needed = DRIVER_CAP_SNAPSHOT | DRIVER_CAP_IMAGE_DISK;

    return (ops_of(t)->caps & needed) == needed;
}

int live_snapshot(struct live_table *t, struct live *l, const char *name, struct live_snapshot *ret,
                  struct err *err)
{
    struct live_snapshot s = {0};
    struct template is;
    int r;

    if (!can_keep(t))
        return err_set(err, ERR_UNSUPPORTED,
                       "with this isolation there are no snapshots of sandboxes");
    if (engine_find_template(t->config.engine, name, &is))
        return err_field(err, ERR_INVALID, "name", "name is a template's of the service");
    if (live_check_cpu(t, l->key, err) < 0)
        return -1;
    live_make_id('s', s.id);
    (void)snprintf(s.name, sizeof(s.name), "%s", name);
    (void)snprintf(s.sandbox, sizeof(s.sandbox), "%s", l->id);
    (void)pthread_mutex_lock(&t->snapshot_lock);
    r = make(t, l, &s, err);
    (void)pthread_mutex_unlock(&t->snapshot_lock);
    if (r == 0)
        *ret = s;
    return r;
}

int live_snapshot_remove(struct live_table *t, const char *key, const char *reference,
                         bool *ret_found, struct err *err)
{
    struct live_snapshot s;
    int r;

    (void)pthread_mutex_lock(&t->snapshot_lock);
    r = live_snapshot_find(t, key, reference, &s, ret_found, err);
    if (r == 0 && *ret_found)
        r = forget(t, s.id, err);
    (void)pthread_mutex_unlock(&t->snapshot_lock);
    return r;
}

// Beginning as one.

struct reading {
    const char *id;
    struct live_pairs env;
    bool found;
    int r;
};

static int read_env(void *arg, const struct store_snapshot *b)
{
    struct reading *reading = arg;

    if (strcmp(b->id, reading->id) != 0)
        return 0;
    reading->found = true;
    reading->r = live_read_pairs(b->env, &reading->env);
    return 1;
}

// The snapshot's variables, and those of the request, which go before.
static int join_env(struct live_table *t, struct live *l, const char *id, struct err *err)
{
    struct reading reading = {.id = id};
    int r = store_snapshot_each(t->config.store, l->key, read_env, &reading, err) < 0 ? -1 : 0;

    if (r == 0 && !reading.found)
        r = err_set(err, ERR_GONE, "the snapshot was deleted");
    else if (r == 0 && (reading.r < 0 || live_join_pairs(&reading.env, &l->env) < 0))
        r = err_set(err, ERR_INTERNAL, "the snapshot's variables cannot be read");
    if (r == 0 && l->env.count > LIVE_ENV_MAX)
        r = err_field(err, ERR_INVALID, "envVars",
                      "envVars and the snapshot's variables are together more than %d",
                      LIVE_ENV_MAX);
    live_free_pairs(&reading.env);
    return r;
}

int live_thaw_snapshot(struct live_table *t, struct live *l, const char *id, struct err *err)
{
    struct engine *e = t->config.engine;
    struct driver_image *image;
    int r;

    if (!can_keep(t))
        return err_set(err, ERR_UNSUPPORTED,
                       "with this isolation there are no snapshots of sandboxes");
    if (join_env(t, l, id, err) < 0 || ops_of(t)->image_load(e->driver, id, &image, err) < 0)
        return -1;
    r = live_bring_up(t, l, image, err);
    ops_of(t)->image_free(image);
    return r;
}
