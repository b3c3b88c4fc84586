// SPDX-License-Identifier: Apache-2.0
#include "launch/tsc.h"

#include <time.h>

#if defined(__x86_64__)

struct sample {
    uint64_t tsc;
    uint64_t ns;
};

static uint64_t raw_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Of several readings the one with the least between counter and clock: an interrupt or another
// process in the middle would spoil it.
static struct sample take(void)
{
    struct sample best = {0};
    uint64_t best_width = UINT64_MAX;

    for (int i = 0; i < 32; i++) {
        uint64_t before = __builtin_ia32_rdtsc();
        uint64_t ns = raw_ns();
        uint64_t width = __builtin_ia32_rdtsc() - before;

        if (width < best_width) {
            best_width = width;
            best = (struct sample){before + width / 2, ns};
        }
    }
    return best;
}

uint64_t tsc_measure_khz(void)
{
    const struct timespec pause = {.tv_nsec = 60000000};
    struct sample a = take();
    struct sample b;

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    b = take();
    if (b.tsc <= a.tsc || b.ns <= a.ns)
        return 0;
    return (uint64_t)((__uint128_t)(b.tsc - a.tsc) * 1000000u / (b.ns - a.ns));
}

#else

uint64_t tsc_measure_khz(void)
{
    return 0;
}

#endif
