// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <limits.h>
#include <stdio.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_real_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t clock_deadline_ms(uint64_t ms)
{
    return clock_mono_ns() + ms * NS_PER_MS;
}

int clock_poll_ms(uint64_t deadline_ns)
{
    uint64_t now;
    uint64_t left_ms;

    if (deadline_ns == CLOCK_NEVER)
        return -1;
    now = clock_mono_ns();
    if (deadline_ns <= now)
        return 0;
    left_ms = (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

struct timespec clock_to_timespec(uint64_t ns)
{
    return (struct timespec){
        .tv_sec = (time_t)(ns / NS_PER_S),
        .tv_nsec = (long)(ns % NS_PER_S),
    };
}

void clock_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    // These fail for a clock that there is not, and for nothing else.
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

void clock_format_utc(uint64_t real_ns, char ret[CLOCK_UTC_BYTES])
{
    struct timespec ts = clock_to_timespec(real_ns);
    struct tm tm = {0};
    size_t used;

    (void)gmtime_r(&ts.tv_sec, &tm);
    used = strftime(ret, CLOCK_UTC_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ret + used, CLOCK_UTC_BYTES - used, ".%03ldZ", ts.tv_nsec / (long)NS_PER_MS);
}
