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
    char name[TENANT_NAME_MAX];         // fixed
    const struct tenant_limits *limits; // fixed
    struct tenant *next;                // of its slot; under the table's lock
    atomic_uint_fast64_t requests_ns;   // when the bucket of each is empty
    atomic_uint_fast64_t cpu_ns;
    struct line line; // under the pool's lock
};

struct tenant_table {
    struct tenant_limits limits; // fixed
    pthread_mutex_t lock;        // guards the slots
    struct tenant *slots[SLOTS];
};

int tenant_table_new(const struct tenant_limits *limits, struct tenant_table **ret, struct err *err)
{
    struct tenant_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    t->limits = *limits;
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

static struct tenant *make(struct tenant_table *t, const char *name)
{
    struct tenant *made = calloc(1, sizeof(*made));

    if (made == NULL)
        return NULL;
    (void)snprintf(made->name, sizeof(made->name), "%s", name);
    made->limits = &t->limits;
    made->line.running_max = t->limits.runs;
    made->line.waiting_max = t->limits.queue;
    return made;
}

struct tenant *tenant_get(struct tenant_table *t, const char *name)
{
    struct tenant **slot = slot_of(t, name);
    struct tenant *found;

    (void)pthread_mutex_lock(&t->lock);
    found = *slot;
    while (found != NULL && strcmp(found->name, name) != 0)
        found = found->next;
    if (found == NULL && (found = make(t, name)) != NULL) {
        found->next = *slot;
        *slot = found;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return found;
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
    const struct tenant_limits *l = t->limits;
    uint64_t each_ns, room_ns;
    uint_fast64_t empty_ns = atomic_load(&t->requests_ns);

    if (l->requests_per_minute == 0)
        return 0;
    each_ns = MINUTE_NS / l->requests_per_minute;
    room_ns = each_ns * (l->requests_burst > 0 ? l->requests_burst - 1 : 0);
    for (;;) {
        uint64_t from_ns = empty_ns > now_ns ? empty_ns : now_ns;

        if (from_ns - now_ns > room_ns) {
            *ret_wait_ms = (from_ns - now_ns - room_ns) / NS_PER_MS + 1;
            return err_field(err, ERR_BUSY, "TENANT_REQUESTS_PER_MINUTE",
                             "these keys may send %" PRIu64 " requests a minute",
                             l->requests_per_minute);
        }
        if (atomic_compare_exchange_weak(&t->requests_ns, &empty_ns, from_ns + each_ns))
            return 0;
    }
}

uint64_t tenant_cpu_wait_ms(const struct tenant *t, uint64_t now_ns)
{
    uint64_t empty_ns = atomic_load(&t->cpu_ns);

    if (t->limits->cpu_seconds_per_hour == 0 || empty_ns < now_ns + HOUR_NS)
        return 0;
    return (empty_ns - now_ns - HOUR_NS) / NS_PER_MS + 1;
}

int tenant_check_cpu(struct tenant *t, uint64_t now_ns, struct err *err)
{
    if (tenant_cpu_wait_ms(t, now_ns) == 0)
        return 0;
    return err_field(err, ERR_BUSY, "TENANT_CPU_SECONDS_PER_HOUR",
                     "these keys may use %" PRIu64 " seconds of processor time an hour",
                     t->limits->cpu_seconds_per_hour);
}

void tenant_use_cpu(struct tenant *t, uint64_t now_ns, uint64_t cpu_ns)
{
    uint64_t seconds = t->limits->cpu_seconds_per_hour;
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
