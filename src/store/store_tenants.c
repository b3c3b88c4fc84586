// SPDX-License-Identifier: Apache-2.0
//
// Limits that are a tenant's own. A change of them counts as one of the keys: whoever keeps keys
// in memory reads both again.
#include "store/store_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [STORE_LIMIT_REQUESTS_PER_MINUTE] = "TENANT_REQUESTS_PER_MINUTE",
    [STORE_LIMIT_REQUESTS_BURST] = "TENANT_REQUESTS_BURST",
    [STORE_LIMIT_RUNS] = "TENANT_RUNS",
    [STORE_LIMIT_QUEUE] = "TENANT_QUEUE",
    [STORE_LIMIT_CPU_SECONDS_PER_HOUR] = "TENANT_CPU_SECONDS_PER_HOUR",
    [STORE_LIMIT_SANDBOXES] = "SANDBOX_MAX_PER_KEY",
    [STORE_LIMIT_JOBS] = "JOB_MAX_PER_KEY",
};

static_assert(sizeof(names) / sizeof(names[0]) == STORE_LIMIT_COUNT, "every limit has a name");

const char *store_limit_name(enum store_limit limit)
{
    return names[limit];
}

bool store_limit_find(const char *name, enum store_limit *ret)
{
    for (size_t i = 0; i < STORE_LIMIT_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *ret = (enum store_limit)i;
            return true;
        }
    return false;
}

int store_tenant_set(struct store *s, const char *tenant, enum store_limit limit,
                     const uint64_t *value, struct err *err)
{
    struct sql_statement st;
    int r;

    if (store_check_tenant(tenant, err) < 0)
        return -1;
    store_note_change(s);
    st = store_begin(s, value == NULL
                            ? "DELETE FROM tenant_limits WHERE tenant = ? AND name = ?"
                            : "INSERT INTO tenant_limits(tenant, name, value) VALUES(?, ?, ?)"
                              " ON CONFLICT(tenant, name) DO UPDATE SET value = excluded.value");
    sql_bind_text(&st, tenant);
    sql_bind_text(&st, names[limit]);
    if (value != NULL)
        sql_bind_u64(&st, *value);
    r = store_end(s, &st, NULL, err);
    store_note_change(s);
    return r;
}

int store_tenant_known(struct store *s, const char *tenant, bool *ret, struct err *err)
{
    struct sql_statement st;
    bool known;

    if (store_check_tenant(tenant, err) < 0)
        return -1;
    st = store_begin(s, "SELECT 1 FROM keys WHERE tenant = ?1"
                        " UNION ALL SELECT 1 FROM tenant_limits WHERE tenant = ?1 LIMIT 1");
    sql_bind_text(&st, tenant);
    known = sql_step(&st);
    if (store_end(s, &st, NULL, err) < 0)
        return -1;
    *ret = known;
    return 0;
}

int store_tenant_each(struct store *s, store_tenant_fn fn, void *arg, struct err *err)
{
    struct sql_statement st =
        store_begin(s, "SELECT tenant, name, value FROM tenant_limits ORDER BY tenant, name");
    int r = 0;

    while (r == 0 && sql_step(&st)) {
        struct store_tenant_limit l = {.value = sql_u64(&st, 2)};

        if (!store_limit_find(sql_text(&st, 1), &l.limit))
            continue; // of a later version
        (void)snprintf(l.tenant, sizeof(l.tenant), "%s", sql_text(&st, 0));
        r = fn(arg, &l);
    }
    if (store_end(s, &st, NULL, err) < 0)
        return -1;
    return r;
}
