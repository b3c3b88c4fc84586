// SPDX-License-Identifier: Apache-2.0
//
// Time inside the project: monotonic nanoseconds in uint64_t. A deadline is such a value;
// CLOCK_NEVER means none.
#ifndef CSB_BASE_CLOCK_H
#define CSB_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_NEVER UINT64_MAX
#define NS_PER_MS   1000000ull
#define NS_PER_S    1000000000ull

// CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds.
uint64_t clock_mono_ns(void);
uint64_t clock_real_ns(void);

// The deadline that lies `ms` milliseconds from now.
uint64_t clock_deadline_ms(uint64_t ms);

// Milliseconds until the deadline, rounded up, for poll(2) and epoll_wait(2): 0 when passed, -1 for
// CLOCK_NEVER, at most INT_MAX.
int clock_poll_ms(uint64_t deadline_ns);

struct timespec clock_to_timespec(uint64_t ns);

// Makes a condition variable on which pthread_cond_timedwait() waits for clock_to_timespec() of a
// deadline. It is ended with pthread_cond_destroy().
void clock_cond_init(pthread_cond_t *cond);

// Bytes of clock_format_utc()'s text, its NUL among them; years beyond 9999 have room as well.
#define CLOCK_UTC_BYTES 40

// A CLOCK_REALTIME as "2026-01-31T23:59:59.999Z" (RFC 3339, UTC, milliseconds).
void clock_format_utc(uint64_t real_ns, char ret[CLOCK_UTC_BYTES]);

#endif
