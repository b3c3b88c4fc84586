// SPDX-License-Identifier: Apache-2.0
#include "metrics/histogram.h"

#include "base/clock.h"

#define MS NS_PER_MS

const uint64_t histogram_bounds_ns[HISTOGRAM_BUCKETS] = {
    1 * MS,   2 * MS,   5 * MS,    10 * MS,   20 * MS,   35 * MS,    50 * MS,    100 * MS,
    200 * MS, 500 * MS, 1000 * MS, 2000 * MS, 5000 * MS, 10000 * MS, 30000 * MS, 100000 * MS,
};

void histogram_add(struct histogram *h, uint64_t ns)
{
    size_t i = 0;

    // First the count: whoever sees the bucket sees it counted.
    atomic_fetch_add(&h->count, 1);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
    while (i < HISTOGRAM_BUCKETS && ns > histogram_bounds_ns[i])
        i++;
    if (i < HISTOGRAM_BUCKETS)
        atomic_fetch_add(&h->buckets[i], 1);
}

void histogram_read(const struct histogram *h, struct histogram_view *ret)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum += atomic_load(&h->buckets[i]);
        ret->cumulative[i] = sum;
    }
    ret->sum_ns = atomic_load(&h->sum_ns);
    ret->count = atomic_load(&h->count);
}
