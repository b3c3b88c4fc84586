// SPDX-License-Identifier: Apache-2.0
//
// Copies of a running sandbox: one image, restored once for each, several at a time.
#include "sandbox/live.h"

#include "base/clock.h"
#include "channel/channel.h"
#include "sandbox/engine_internal.h"
#include "sandbox/envd_client.h"
#include "sandbox/lasting.h"
#include "sandbox/live_internal.h"

#define WORKERS_MAX 6 // copies that are made at a time; more would only wait for the processors

// What the threads that make the copies of one call share.
struct forking {
    struct live_table *table;
    const struct live *source;
    struct driver_image *image;
    uint64_t timeout_ms;
    struct live_forked *ret;
    uint32_t count;
    atomic_uint next; // index of the copy that nobody makes yet
};

int live_bring_up(struct live_table *t, struct live *l, struct driver_image *image, struct err *err)
{
    if (lasting_restore(t->config.engine, image, &l->machine, err) < 0)
        return -1;
    return envd_init(l->machine->channel, l->env.list, l->env.count,
                     clock_deadline_ms(LIVE_INIT_MS), err);
}

static struct live *make_copy(struct live_table *t, const struct live *l,
                              struct driver_image *image, uint64_t timeout_ms, struct err *err)
{
    struct live_pending pending = {.key = l->key};
    struct live *copy;

    if (live_admit(t, &pending, err) < 0)
        return NULL;
    copy = live_copy(l);
    if (copy == NULL || live_rename(copy) < 0) {
        (void)err_set(err, ERR_INTERNAL, "out of memory");
        goto fail;
    }
    if (live_bring_up(t, copy, image, err) < 0)
        goto fail;
    copy->state = LIVE_RUNNING;
    copy->started_ms = clock_real_ns() / NS_PER_MS;
    live_put_end(t, copy, timeout_ms);
    (void)live_ref(copy);
    if (live_insert(t, copy, &pending, err) == 0)
        return copy;
    live_unref(copy);
    live_unref(copy);
    return NULL;

fail:
    live_withdraw(t, &pending);
    live_unref(copy);
    return NULL;
}

static void *make_copies(void *arg)
{
    struct forking *f = arg;
    uint32_t i;

    while ((i = atomic_fetch_add(&f->next, 1)) < f->count) {
        f->ret[i] = (struct live_forked){.err = ERR_INIT};
        f->ret[i].live = make_copy(f->table, f->source, f->image, f->timeout_ms, &f->ret[i].err);
    }
    return NULL;
}

// The caller's thread is one of them; that no other can be had makes it slower only.
static void make_all(struct forking *f)
{
    pthread_t threads[WORKERS_MAX - 1];
    uint32_t n = 0;

    while (n < WORKERS_MAX - 1 && n + 1 < f->count &&
           pthread_create(&threads[n], NULL, make_copies, f) == 0)
        n++;
    (void)make_copies(f);
    while (n > 0)
        (void)pthread_join(threads[--n], NULL);
}

int live_fork(struct live_table *t, struct live *l, uint32_t count, uint64_t timeout_ms,
              struct live_forked *ret, struct err *err)
{
    const struct driver_ops *ops = t->config.engine->config.driver;
    struct driver_image *image = NULL;
    struct live *now;
    int r;

    if (!(ops->caps & DRIVER_CAP_SNAPSHOT))
        return err_set(err, ERR_UNSUPPORTED, "with this isolation sandboxes cannot be forked");
    if (live_check_cpu(t, l->key, err) < 0 || live_seize_running(t, l, &now, err) < 0)
        return -1;
    r = live_freeze(t, now, false, clock_deadline_ms(LIVE_FREEZE_MS), &image, err);
    live_let_go(t, now);
    if (r < 0)
        return -1;
    make_all(&(struct forking){.table = t,
                               .source = l,
                               .image = image,
                               .timeout_ms = timeout_ms,
                               .ret = ret,
                               .count = count});
    ops->image_free(image);
    return 0;
}
