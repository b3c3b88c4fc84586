// SPDX-License-Identifier: Apache-2.0
//
// How it works: what a tenant uses fills a bucket that leaks at the rate it may use. Of a bucket
// only the moment at which it will be empty is kept; it is full when that is as far away as the
// whole of it takes to leak.
#include "sandbox/tenant.h"

#include "base/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS       64
#define MINUTE_NS   (60 * NS_PER_S)
#define HOUR_NS     (3600 * NS_PER_S)
#define CPU_MOST_NS (24 * HOUR_NS) // that one run may count

struct tenant {
    char name[TENANT_NAME_MAX];                     // fixed
    struct tenant *next;                            // of its slot; under the table's lock
    uint64_t wanted[STORE_LIMIT_COUNT];             // of tenant_table_set(); likewise
    atomic_uint_fast64_t limits[STORE_LIMIT_COUNT]; // what holds
    atomic_uint_fast64_t requests_ns;               // when the bucket of each is empty
    atomic_uint_fast64_t cpu_ns;
    struct line line; // under the pool's lock, but for its limits
};

struct tenant_table {
    uint64_t limits[STORE_LIMIT_COUNT]; // fixed: what all have
    pthread_mutex_t lock;               // guards the slots
    struct tenant *slots[SLOTS];
};

static uint64_t limit_of(const struct tenant *t, enum store_limit limit)
{
    return atomic_load(&t->limits[limit]);
}

int tenant_table_new(const struct tenant_limits *limits, struct tenant_table **ret, struct err *err)
{
    struct tenant_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    t->limits[STORE_LIMIT_REQUESTS_PER_MINUTE] = limits->requests_per_minute;
    t->limits[STORE_LIMIT_REQUESTS_BURST] = limits->requests_burst;
    t->limits[STORE_LIMIT_RUNS] = limits->runs;
    t->limits[STORE_LIMIT_QUEUE] = limits->queue;
    t->limits[STORE_LIMIT_CPU_SECONDS_PER_HOUR] = limits->cpu_seconds_per_hour;
    t->limits[STORE_LIMIT_SANDBOXES] = limits->sandboxes;
    t->limits[STORE_LIMIT_JOBS] = limits->jobs;
    (void)pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return 0;
}

void tenant_table_free(struct tenant_table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        while (t->slots[i] != NULL) {
            struct tenant *next = t->slots[i]->next;

            free(t->slots[i]);
            t->slots[i] = next;
        }
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

static struct tenant **slot_of(struct tenant_table *t, const char *name)
{
    uint32_t h = 2166136261u; // FNV-1a

    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return &t->slots[h % SLOTS];
}

static uint32_t as_u32(uint64_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

// What a bucket holds was measured by the rate at which it leaked.
static void apply(struct tenant *t)
{
    if (t->wanted[STORE_LIMIT_REQUESTS_PER_MINUTE] != limit_of(t, STORE_LIMIT_REQUESTS_PER_MINUTE))
        atomic_store(&t->requests_ns, 0);
    if (t->wanted[STORE_LIMIT_CPU_SECONDS_PER_HOUR] !=
        limit_of(t, STORE_LIMIT_CPU_SECONDS_PER_HOUR))
        atomic_store(&t->cpu_ns, 0);
    for (size_t i = 0; i < STORE_LIMIT_COUNT; i++)
        atomic_store(&t->limits[i], t->wanted[i]);
    atomic_store(&t->line.running_max, as_u32(t->wanted[STORE_LIMIT_RUNS]));
    atomic_store(&t->line.waiting_max, as_u32(t->wanted[STORE_LIMIT_QUEUE]));
}

static struct tenant *make(struct tenant_table *t, const char *name)
{
    struct tenant *made = calloc(1, sizeof(*made));

    if (made == NULL)
        return NULL;
    (void)snprintf(made->name, sizeof(made->name), "%s", name);
    memcpy(made->wanted, t->limits, sizeof(made->wanted));
    apply(made);
    return made;
}

// With the lock held. NULL: it is not there.
static struct tenant *find(struct tenant_table *t, const char *name)
{
    struct tenant *found = *slot_of(t, name);

    while (found != NULL && strcmp(found->name, name) != 0)
        found = found->next;
    return found;
}

// With the lock held. NULL: memory is out.
static struct tenant *find_or_make(struct tenant_table *t, const char *name)
{
    struct tenant **slot = slot_of(t, name);
    struct tenant *found = find(t, name);

    if (found == NULL && (found = make(t, name)) != NULL) {
        found->next = *slot;
        *slot = found;
    }
    return found;
}

struct tenant *tenant_get(struct tenant_table *t, const char *name)
{
    struct tenant *found;

    (void)pthread_mutex_lock(&t->lock);
    found = find_or_make(t, name);
    (void)pthread_mutex_unlock(&t->lock);
    return found;
}

int tenant_table_set(struct tenant_table *t, const struct store_tenant_limit *limits, size_t count,
                     struct err *err)
{
    int r = 0;

    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < SLOTS; i++)
        for (struct tenant *at = t->slots[i]; at != NULL; at = at->next)
            memcpy(at->wanted, t->limits, sizeof(at->wanted));
    for (size_t i = 0; i < count; i++) {
        struct tenant *at = find_or_make(t, limits[i].tenant);

        if (at == NULL)
            r = err_set(err, ERR_INTERNAL, "out of memory");
        else
            at->wanted[limits[i].limit] = limits[i].value;
    }
    for (size_t i = 0; i < SLOTS; i++)
        for (struct tenant *at = t->slots[i]; at != NULL; at = at->next)
            apply(at);
    (void)pthread_mutex_unlock(&t->lock);
    return r;
}

uint64_t tenant_limit(struct tenant_table *t, const char *name, enum store_limit limit)
{
    const struct tenant *found;
    uint64_t value;

    (void)pthread_mutex_lock(&t->lock);
    found = find(t, name);
    value = found == NULL ? t->limits[limit] : limit_of(found, limit);
    (void)pthread_mutex_unlock(&t->lock);
    return value;
}

const char *tenant_name(const struct tenant *t)
{
    return t->name;
}

struct line *tenant_line(struct tenant *t)
{
    return &t->line;
}

int tenant_take_request(struct tenant *t, uint64_t now_ns, uint64_t *ret_wait_ms, struct err *err)
{
    uint64_t per_minute = limit_of(t, STORE_LIMIT_REQUESTS_PER_MINUTE);
    uint64_t burst = limit_of(t, STORE_LIMIT_REQUESTS_BURST);
    uint64_t each_ns, room_ns;
    uint_fast64_t empty_ns = atomic_load(&t->requests_ns);

    if (per_minute == 0)
        return 0;
    each_ns = MINUTE_NS / per_minute;
    room_ns = each_ns * (burst > 0 ? burst - 1 : 0);
    for (;;) {
        uint64_t from_ns = empty_ns > now_ns ? empty_ns : now_ns;

        if (from_ns - now_ns > room_ns) {
            *ret_wait_ms = (from_ns - now_ns - room_ns) / NS_PER_MS + 1;
            return err_field(err, ERR_BUSY, "TENANT_REQUESTS_PER_MINUTE",
                             "these keys may send %" PRIu64 " requests a minute", per_minute);
        }
        if (atomic_compare_exchange_weak(&t->requests_ns, &empty_ns, from_ns + each_ns))
            return 0;
    }
}

uint64_t tenant_cpu_wait_ms(const struct tenant *t, uint64_t now_ns)
{
    uint64_t empty_ns = atomic_load(&t->cpu_ns);

    if (limit_of(t, STORE_LIMIT_CPU_SECONDS_PER_HOUR) == 0 || empty_ns < now_ns + HOUR_NS)
        return 0;
    return (empty_ns - now_ns - HOUR_NS) / NS_PER_MS + 1;
}

int tenant_check_cpu(struct tenant *t, uint64_t now_ns, struct err *err)
{
    if (tenant_cpu_wait_ms(t, now_ns) == 0)
        return 0;
    return err_field(err, ERR_BUSY, "TENANT_CPU_SECONDS_PER_HOUR",
                     "these keys may use %" PRIu64 " seconds of processor time an hour",
                     limit_of(t, STORE_LIMIT_CPU_SECONDS_PER_HOUR));
}

void tenant_use_cpu(struct tenant *t, uint64_t now_ns, uint64_t cpu_ns)
{
    uint64_t seconds = limit_of(t, STORE_LIMIT_CPU_SECONDS_PER_HOUR);
    uint_fast64_t empty_ns = atomic_load(&t->cpu_ns);
    uint64_t more_ns, from_ns;

    if (seconds == 0)
        return;
    if (cpu_ns > CPU_MOST_NS)
        cpu_ns = CPU_MOST_NS;
    more_ns = (uint64_t)((double)cpu_ns * 3600 / (double)seconds);
    do
        from_ns = empty_ns > now_ns ? empty_ns : now_ns;
    while (!atomic_compare_exchange_weak(&t->cpu_ns, &empty_ns, from_ns + more_ns));
}
