// SPDX-License-Identifier: Apache-2.0
//
// A histogram of durations with fixed bounds, which any thread adds to without a lock.
#ifndef CSB_METRICS_HISTOGRAM_H
#define CSB_METRICS_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 16

// Upper bounds in nanoseconds, inclusive, rising: 1 ms to 100 s, some 2 per octave of the range
// that a run's phases have. What is above the last only counts in `count`.
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BUCKETS];

// Zeroed is empty.
struct histogram {
    atomic_uint_fast64_t buckets[HISTOGRAM_BUCKETS]; // each for itself, not cumulative
    atomic_uint_fast64_t count;
    atomic_uint_fast64_t sum_ns;
};

// Never blocks.
void histogram_add(struct histogram *h, uint64_t ns);

// A reader while others add sees each number as of some moment of its call; buckets are read before
// the count, so that no cumulative bucket is above it.
struct histogram_view {
    uint64_t cumulative[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum_ns;
};
void histogram_read(const struct histogram *h, struct histogram_view *ret);

#endif
