// SPDX-License-Identifier: Apache-2.0
#include "sandbox/start_times.h"

#include <stdlib.h>

void start_times_add(struct start_times *t, const uint64_t ns[SANDBOX_PHASE_COUNT])
{
    for (int i = 0; i < SANDBOX_PHASE_COUNT; i++)
        t->ns[i][t->next] = ns[i];
    t->next = (t->next + 1) % START_TIMES_KEPT;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t median(const uint64_t values[START_TIMES_KEPT])
{
    uint64_t sorted[START_TIMES_KEPT];
    size_t count = 0;

    for (size_t i = 0; i < START_TIMES_KEPT; i++)
        if (values[i] > 0)
            sorted[count++] = values[i];
    qsort(sorted, count, sizeof(sorted[0]), compare_u64);
    return count == 0 ? 0 : sorted[count / 2];
}

void start_times_medians(const struct start_times *t, uint64_t ret[SANDBOX_PHASE_COUNT])
{
    for (int i = 0; i < SANDBOX_PHASE_COUNT; i++)
        ret[i] = median(t->ns[i]);
}
