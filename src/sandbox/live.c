// SPDX-License-Identifier: Apache-2.0
//
// How it works
//
// A sandbox is in the table from the moment its machine belongs to its owner until it ends: by its
// owner, at the end of its time, or because its machine died. live_create.c makes them. Whoever
// ends one takes it out of the table, shuts its channel, so that every stream through it fails at
// once, and leaves it in `dead`, from where a thread ends the machine and removes the row in the
// store. The channel itself is closed with the last reference, since who still streams uses it.
// Another thread looks every TICK_MS whether a machine died and whose time is over. It waits for
// nothing but the lock: whom to pause it leaves to others (live_keep.c). The thread that ends
// machines also looks every COUNT_MS what those that run have used (live_cpu.c).
#include "sandbox/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "channel/channel.h"
#include "sandbox/envd_client.h"
#include "sandbox/live_internal.h"
#include "sandbox/tenant.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS  250
#define COUNT_MS 5000

static size_t slot_of(const char *id)
{
    uint32_t h = 2166136261u; // FNV-1a

    for (; *id != '\0'; id++)
        h = (h ^ (uint8_t)*id) * 16777619u;
    return h % LIVE_SLOTS;
}

// References.

struct live *live_ref(struct live *l)
{
    atomic_fetch_add(&l->refs, 1);
    return l;
}

void live_free_pairs(struct live_pairs *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free((char *)(uintptr_t)p->list[i].name);
        free((char *)(uintptr_t)p->list[i].value);
    }
    free(p->list);
    *p = (struct live_pairs){0};
}

void live_unref(struct live *l)
{
    if (l == NULL || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    sandbox_free(l->machine);
    live_free_pairs(&l->metadata);
    live_free_pairs(&l->env);
    explicit_bzero(l->token, sizeof(l->token));
    explicit_bzero(l->traffic_token, sizeof(l->traffic_token));
    free(l);
}

struct live *live_find(struct live_table *t, const char *id)
{
    struct live *l;

    (void)pthread_mutex_lock(&t->lock);
    l = t->slots[slot_of(id)];
    while (l != NULL && strcmp(l->id, id) != 0)
        l = l->next;
    if (l != NULL)
        (void)live_ref(l);
    (void)pthread_mutex_unlock(&t->lock);
    return l;
}

struct live *live_match_signature(struct live_table *t, live_match_fn matches, void *arg)
{
    struct live *found = NULL;

    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < LIVE_SLOTS && found == NULL; i++)
        for (struct live *l = t->slots[i]; l != NULL && found == NULL; l = l->next)
            if (l->token[0] != '\0' && (l->state == LIVE_RUNNING || live_wakes(l)) &&
                matches(arg, l->id, l->token))
                found = live_ref(l);
    (void)pthread_mutex_unlock(&t->lock);
    return found;
}

struct channel *live_channel(struct live *l)
{
    return l->state == LIVE_RUNNING ? l->machine->channel : NULL;
}

const char *live_id(const struct live *l)
{
    return l->id;
}

const char *live_token(const struct live *l)
{
    return l->token[0] == '\0' ? NULL : l->token;
}

const char *live_traffic_token(const struct live *l)
{
    return l->traffic_token[0] == '\0' ? NULL : l->traffic_token;
}

// Beginning and end. All of this under the lock.

static uint32_t count_of(const struct live_table *t, const char *key)
{
    uint32_t n = 0;

    for (const struct live_pending *p = t->pending; p != NULL; p = p->next)
        n += key == NULL || strcmp(p->key, key) == 0;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (const struct live *l = t->slots[i]; l != NULL; l = l->next)
            n += key == NULL || strcmp(l->key, key) == 0;
    return n;
}

void live_end(struct live_table *t, struct live *l)
{
    struct live **at = &t->slots[slot_of(l->id)];
    uint64_t now_ms = clock_real_ns() / NS_PER_MS;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->next = NULL;
    if (l->state == LIVE_RUNNING)
        t->status.running--;
    if (!l->replaced) {
        t->status.ended++;
        if (now_ms > l->started_ms) // the clock may have been set back
            t->status.life_ms += now_ms - l->started_ms;
    }
    l->state = LIVE_ENDED;
    if (l->machine != NULL)
        channel_shut(l->machine->channel);
    l->next_dead = t->dead; // with the table's reference
    t->dead = l;
    (void)pthread_cond_broadcast(&t->changed);
}

void live_replace(struct live_table *t, struct live *l, struct live *next)
{
    struct live **slot = &t->slots[slot_of(l->id)];

    if (l->returning || next->returning) { // its owner may have changed its time meanwhile
        next->end_ms = l->end_ms;
        next->end_ns = l->end_ns;
        next->last_ns = l->last_ns;
        t->status.returned_total += next->state == LIVE_RUNNING;
    } else {
        t->status.paused_total += next->state == LIVE_PAUSED;
        t->status.resumed_total += next->state == LIVE_RUNNING;
    }
    l->replaced = true;
    l->busy = false;
    live_end(t, l);
    next->next = *slot;
    *slot = next;
    t->status.running += next->state == LIVE_RUNNING;
    (void)pthread_cond_broadcast(&t->changed);
}

struct live *live_current(struct live_table *t, const struct live *l)
{
    struct live *at = t->slots[slot_of(l->id)];

    while (at != NULL && strcmp(at->id, l->id) != 0)
        at = at->next;
    return at;
}

int live_admit(struct live_table *t, struct live_pending *p, struct err *err)
{
    uint64_t key_max = tenant_limit(t->config.tenants, p->key, STORE_LIMIT_SANDBOXES);
    int r = 0;

    (void)pthread_mutex_lock(&t->lock);
    if (t->closed)
        r = err_set(err, ERR_CANCELLED, "the service is shutting down");
    else if (count_of(t, p->key) >= key_max)
        r = err_field(err, ERR_BUSY, "SANDBOX_MAX_PER_KEY",
                      "these keys have %u of the %" PRIu64 " sandboxes that they may have",
                      count_of(t, p->key), key_max);
    else if (count_of(t, NULL) >= t->config.max)
        r = err_field(err, ERR_BUSY, "SANDBOX_MAX",
                      "as many sandboxes are alive as there may be: %u", t->config.max);
    if (r == 0) {
        p->next = t->pending;
        t->pending = p;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return r;
}

static void drop_pending(struct live_table *t, struct live_pending *p)
{
    struct live_pending **at = &t->pending;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
}

void live_withdraw(struct live_table *t, struct live_pending *p)
{
    (void)pthread_mutex_lock(&t->lock);
    drop_pending(t, p);
    (void)pthread_mutex_unlock(&t->lock);
}

// Its row goes before its owner hears of the end, and before its image: a service that dies then
// must neither bring a paused one back nor tell that a running one was lost.
static void forget_row(struct live_table *t, const struct live *l, bool paused)
{
    struct err err = ERR_INIT;

    if (store_sandbox_remove(t->config.store, l->id, &err) < 0 ||
        (paused && store_sync(t->config.store, &err) < 0))
        log_error("sandbox %s: %s", l->id, err.message);
}

int live_insert(struct live_table *t, struct live *l, struct live_pending *p, struct err *err)
{
    struct live **slot = &t->slots[slot_of(l->id)];
    int r = live_remember(t, l, err);
    bool closed;

    live_count_cpu(t, l);
    (void)pthread_mutex_lock(&t->lock);
    drop_pending(t, p);
    closed = t->closed;
    if (r == 0 && !closed) {
        l->next = *slot;
        *slot = l;
        t->status.running++;
        t->status.created++;
        (void)pthread_cond_broadcast(&t->changed);
    }
    (void)pthread_mutex_unlock(&t->lock);
    if (r < 0 || !closed)
        return r;
    forget_row(t, l, false);
    return err_set(err, ERR_CANCELLED, "the service is shutting down");
}

void live_add(struct live_table *t, struct live *l)
{
    struct live **slot = &t->slots[slot_of(l->id)];

    (void)pthread_mutex_lock(&t->lock);
    l->next = *slot;
    *slot = l;
    (void)pthread_mutex_unlock(&t->lock);
}

void live_put_end(const struct live_table *t, struct live *l, uint64_t ms)
{
    if (ms > t->config.life_max_ms)
        ms = t->config.life_max_ms;
    l->end_ms = clock_real_ns() / NS_PER_MS + ms;
    l->end_ns = clock_deadline_ms(ms);
    if (l->last_ns == 0)
        l->last_ns = clock_deadline_ms(t->config.life_max_ms);
}

bool live_kill(struct live_table *t, struct live *l)
{
    bool paused = false;
    struct live *now;

    (void)pthread_mutex_lock(&t->lock);
    while ((now = live_current(t, l)) != NULL && now->busy)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    if (now != NULL) {
        paused = now->state == LIVE_PAUSED;
        live_end(t, now);
        t->status.killed++;
    }
    (void)pthread_mutex_unlock(&t->lock);
    if (now != NULL)
        forget_row(t, l, paused);
    return now != NULL;
}

bool live_set_timeout(struct live_table *t, struct live *l, uint64_t ms, bool extend_only)
{
    uint64_t now_ns = clock_mono_ns();
    uint64_t end_ms = 0;
    struct err err = ERR_INIT;
    struct live *now;
    bool ended;

    if (ms > t->config.life_max_ms)
        ms = t->config.life_max_ms;
    (void)pthread_mutex_lock(&t->lock);
    while ((now = live_current(t, l)) != NULL && now->pausing)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    ended = now == NULL || (now->state != LIVE_RUNNING && !now->returning);
    if (!ended) {
        uint64_t most_ms = now->last_ns > now_ns ? (now->last_ns - now_ns) / NS_PER_MS : 0;

        ms = ms < most_ms ? ms : most_ms;
        if (!extend_only || now_ns + ms * NS_PER_MS > now->end_ns)
            live_put_end(t, now, ms);
        end_ms = now->end_ms;
    }
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    // What the store says matters to the next service only, and this one runs on.
    if (!ended && store_sandbox_set_end(t->config.store, l->id, end_ms, &err) < 0)
        log_error("%s", err.message);
    return !ended;
}

// Telling.

void live_describe(struct live_table *t, struct live *l, struct live_info *ret)
{
    const struct live *now;

    *ret = (struct live_info){
        .id = l->id,
        .key = l->key,
        .template = l->template,
        .metadata = l->metadata.list,
        .metadata_count = l->metadata.count,
        .state = LIVE_ENDED,
        .on_timeout = l->on_timeout,
        .auto_resume = live_auto_resumes(l),
        .started_ms = l->started_ms,
        .cpus = l->cpus,
        .memory_mib = l->memory_mib,
        .disk_mib = l->disk_mib,
    };
    (void)pthread_mutex_lock(&t->lock);
    now = live_current(t, l);
    ret->end_ms = (now == NULL ? l : now)->end_ms;
    if (now != NULL)
        ret->state = now->returning ? LIVE_RUNNING : (enum live_state)now->state;
    (void)pthread_mutex_unlock(&t->lock);
}

static int compare_age(const void *a, const void *b)
{
    const struct live *x = *(struct live *const *)a;
    const struct live *y = *(struct live *const *)b;

    if (x->started_ms != y->started_ms)
        return x->started_ms < y->started_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

struct live **live_list(struct live_table *t, const char *key, size_t *ret_count)
{
    struct live **list;
    size_t n = 0;

    (void)pthread_mutex_lock(&t->lock);
    list = calloc(count_of(t, key) + 1, sizeof(struct live *));
    for (size_t i = 0; i < LIVE_SLOTS && list != NULL; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next)
            if (strcmp(l->key, key) == 0)
                list[n++] = live_ref(l);
    (void)pthread_mutex_unlock(&t->lock);
    if (list == NULL)
        return NULL;
    qsort(list, n, sizeof(list[0]), compare_age);
    *ret_count = n;
    return list;
}

int live_metrics(struct live *l, uint64_t deadline_ns, struct live_metrics *ret, struct err *err)
{
    struct channel *ch = live_channel(l);

    if (ch == NULL)
        return err_set(err, ERR_GONE, "the sandbox does not run");
    return envd_metrics(ch, deadline_ns, ret, err);
}

void live_status(struct live_table *t, struct live_status *ret)
{
    (void)pthread_mutex_lock(&t->lock);
    *ret = t->status;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        for (const struct live *l = t->slots[i]; l != NULL; l = l->next) {
            ret->paused += l->state == LIVE_PAUSED && !l->returning;
            ret->returning += l->returning;
        }
    (void)pthread_mutex_unlock(&t->lock);
}

// The table's own threads. What follows is called with the lock held.

// Drops the lock meanwhile.
static void bury(struct live_table *t, struct live *l)
{
    (void)pthread_mutex_unlock(&t->lock);
    if (l->machine != NULL) {
        live_count_cpu(t, l);
        sandbox_end(l->machine);
    }
    if (!l->replaced) {
        forget_row(t, l, l->machine == NULL);
        live_drop_image(t, l);
    }
    live_unref(l);
    (void)pthread_mutex_lock(&t->lock);
}

static void bury_dead(struct live_table *t)
{
    struct live *l;

    while ((l = t->dead) != NULL) {
        t->dead = l->next_dead;
        bury(t, l);
    }
}

// References to those that run. NULL when there are none, or memory is out: then the next look sees
// what this one does not.
static struct live **list_running(struct live_table *t, size_t *ret_count)
{
    struct live **list = t->status.running > 0 ? calloc(t->status.running, sizeof(*list)) : NULL;
    size_t n = 0;

    for (size_t i = 0; i < LIVE_SLOTS && list != NULL; i++)
        for (struct live *l = t->slots[i]; l != NULL; l = l->next)
            if (l->state == LIVE_RUNNING && n < t->status.running)
                list[n++] = live_ref(l);
    *ret_count = n;
    return list;
}

// Drops the lock meanwhile, and ends machines in between: nobody waits for all to be counted.
static void count_running(struct live_table *t)
{
    size_t count;
    struct live **list = list_running(t, &count);

    for (size_t i = 0; i < count; i++) {
        (void)pthread_mutex_unlock(&t->lock);
        live_count_cpu(t, list[i]);
        live_unref(list[i]);
        (void)pthread_mutex_lock(&t->lock);
        bury_dead(t);
    }
    free(list);
}

// Until there is something to end, to count, or to stop for.
static void wait_change(struct live_table *t, uint64_t count_ns)
{
    struct timespec until = clock_to_timespec(count_ns);

    if (t->status.running > 0)
        (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
    else
        (void)pthread_cond_wait(&t->changed, &t->lock);
}

static void *bury_main(void *arg)
{
    struct live_table *t = arg;
    uint64_t count_ns = clock_deadline_ms(COUNT_MS);

    (void)pthread_mutex_lock(&t->lock);
    while (!t->stopping) {
        bury_dead(t);
        if (t->stopping)
            break;
        if (clock_mono_ns() < count_ns) {
            wait_change(t, count_ns);
            continue;
        }
        count_running(t);
        count_ns = clock_deadline_ms(COUNT_MS);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void look_at(struct live_table *t, struct live *l, uint64_t now)
{
    if ((l->state != LIVE_RUNNING && !l->returning) || l->busy)
        return;
    if (!l->returning && !sandbox_is_alive(l->machine)) {
        live_end(t, l);
        t->status.lost++;
        log_warn("sandbox %s: its machine died", l->id);
    } else if (live_is_due(l, now)) {
        (void)pthread_cond_broadcast(&t->due);
    } else if (now >= l->end_ns && l->on_timeout == LIVE_KILL) {
        live_end(t, l);
        t->status.expired++;
        log_info("sandbox %s: its time is over", l->id);
    }
}

// True when any is left that has to be looked at.
static bool look_after(struct live_table *t)
{
    uint64_t now = clock_mono_ns();
    bool any = false;

    for (size_t i = 0; i < LIVE_SLOTS; i++) {
        struct live *next;

        for (struct live *l = t->slots[i]; l != NULL; l = next) {
            next = l->next;
            any = any || l->state == LIVE_RUNNING || l->returning;
            look_at(t, l, now);
        }
    }
    return any;
}

static void *look_main(void *arg)
{
    struct live_table *t = arg;

    (void)pthread_mutex_lock(&t->lock);
    while (!t->stopping) {
        struct timespec until = clock_to_timespec(clock_deadline_ms(TICK_MS));

        if (look_after(t))
            (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
        else
            (void)pthread_cond_wait(&t->changed, &t->lock);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int start_threads(struct live_table *t, struct err *err)
{
    live_threads_start(&t->own, 1, look_main, t);
    live_threads_start(&t->own, 2, bury_main, t);
    if (t->own.count < 2)
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    return live_keepers_start(t, err);
}

int live_table_new(const struct live_config *config, struct live_table **ret, struct err *err)
{
    struct live_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    t->config = *config;
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_mutex_init(&t->snapshot_lock, NULL);
    clock_cond_init(&t->changed);
    clock_cond_init(&t->due);
    if (live_recover(t, err) < 0 || start_threads(t, err) < 0) {
        live_table_free(t);
        return -1;
    }
    live_begin_return(t);
    *ret = t;
    return 0;
}

void live_table_free(struct live_table *t)
{
    if (t == NULL)
        return;
    (void)pthread_mutex_lock(&t->lock);
    t->closed = true;
    t->keep_until_ns = 0;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_cond_broadcast(&t->due);
    (void)pthread_mutex_unlock(&t->lock);
    live_threads_join(&t->keepers);
    live_threads_join(&t->returners);
    (void)pthread_mutex_lock(&t->lock);
    t->stopping = true;
    for (size_t i = 0; i < LIVE_SLOTS; i++)
        while (t->slots[i] != NULL) {
            struct live *l = t->slots[i];

            // What is on disk is there for the next service.
            l->replaced = l->state == LIVE_PAUSED && l->image == NULL;
            if (!l->replaced)
                log_warn("sandbox %s: it ends with the service", l->id);
            live_end(t, l);
        }
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    live_threads_join(&t->own);
    (void)pthread_mutex_lock(&t->lock);
    bury_dead(t);
    (void)pthread_mutex_unlock(&t->lock);
    (void)pthread_mutex_destroy(&t->lock);
    (void)pthread_mutex_destroy(&t->snapshot_lock);
    (void)pthread_cond_destroy(&t->changed);
    (void)pthread_cond_destroy(&t->due);
    free(t);
}
