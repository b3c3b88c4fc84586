// SPDX-License-Identifier: Apache-2.0
//
// Tenants: whose requests, runs and processor time are counted as one. All have the same limits,
// but those that have some of their own. Any thread may call any function; none blocks.
#ifndef CSB_SANDBOX_TENANT_H
#define CSB_SANDBOX_TENANT_H

#include "base/err.h"
#include "sandbox/lines.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct tenant;
struct tenant_table;

#define TENANT_NAME_MAX 64 // bytes, its NUL among them

// The setting of each is the name in errors. 0: no limit.
struct tenant_limits {
    uint64_t requests_per_minute;  // TENANT_REQUESTS_PER_MINUTE
    uint64_t requests_burst;       // TENANT_REQUESTS_BURST: so many at once; at least 1
    uint32_t runs;                 // TENANT_RUNS: at once
    uint32_t queue;                // TENANT_QUEUE: waiting
    uint64_t cpu_seconds_per_hour; // TENANT_CPU_SECONDS_PER_HOUR
    uint32_t sandboxes;            // SANDBOX_MAX_PER_KEY: alive at once. Here 0 is none
    uint32_t jobs;                 // JOB_MAX_PER_KEY: that are not over. Here, too
};

int tenant_table_new(const struct tenant_limits *limits, struct tenant_table **ret,
                     struct err *err);
void tenant_table_free(struct tenant_table *t); // NULL is allowed

// The tenant of that name, made when it is not there. It lives as long as the table. NULL when
// memory is out.
struct tenant *tenant_get(struct tenant_table *t, const char *name);

// These are the limits that tenants have of their own from now on; of all others, and for all other
// tenants, it is what the table was made with. Where a rate changes, what was used before is
// forgotten. -1 with ERR_INTERNAL: some may be set, some not.
int tenant_table_set(struct tenant_table *t, const struct store_tenant_limit *limits, size_t count,
                     struct err *err);

// What the tenant of that name may have; who is not in the table has what all have.
uint64_t tenant_limit(struct tenant_table *t, const char *name, enum store_limit limit);

const char *tenant_name(const struct tenant *t); // lives as long as the tenant

// Counts a request at `now_ns` (monotonic). ERR_BUSY naming the limit; *ret_wait_ms is then how
// long until one more is taken.
int tenant_take_request(struct tenant *t, uint64_t now_ns, uint64_t *ret_wait_ms, struct err *err);

// Whether it may begin a run. ERR_BUSY naming the limit.
int tenant_check_cpu(struct tenant *t, uint64_t now_ns, struct err *err);

// How long until tenant_check_cpu() is content again; 0: it is.
uint64_t tenant_cpu_wait_ms(const struct tenant *t, uint64_t now_ns);

// A run used so much. What was not used in an hour is not kept.
void tenant_use_cpu(struct tenant *t, uint64_t now_ns, uint64_t cpu_ns);

// Where its runs wait, which the pool guards.
struct line *tenant_line(struct tenant *t);

#endif
