// SPDX-License-Identifier: Apache-2.0
//
// What sandboxes use of the processors, counted against their tenants as runs are. Of each is kept
// what its machine had used when it was looked at last; what came since is its tenant's: every few
// seconds as long as it runs, when its machine is its owner's (what it took to start it is his,
// too), and before its machine is ended, be it because it is paused. A machine that was restored
// from an image is another one and begins at nothing.
//
// Only the thread that ends machines looks at one in the table, so that none is ended meanwhile.
#include "sandbox/live.h"

#include "base/clock.h"
#include "sandbox/live_internal.h"
#include "sandbox/sandbox.h"
#include "sandbox/tenant.h"

// What it used since the last look.
static uint64_t used_since(struct live *l, uint64_t now_ns)
{
    struct sandbox *s = l->machine;
    struct driver_usage usage;
    struct err err = ERR_INIT;
    uint64_t before_ns = l->cpu_ns;

    if (s->ops->usage(s->driver, &usage, &err) == 0) {
        if (usage.cpu_ns > before_ns)
            l->cpu_ns = usage.cpu_ns;
        return l->cpu_ns - before_ns;
    }
    // It died, and what no driver tells is counted as if it had run all the time: else whoever ends
    // it from within would pay nothing. Where nothing is ever told, nothing is counted.
    return before_ns > 0 ? (now_ns - l->cpu_look_ns) * l->cpus : 0;
}

void live_count_cpu(struct live_table *t, struct live *l)
{
    struct tenant *tenant = tenant_get(t->config.tenants, l->key);
    uint64_t now_ns = clock_mono_ns();
    bool counts = tenant_limit(t->config.tenants, l->key, STORE_LIMIT_CPU_SECONDS_PER_HOUR) > 0;
    uint64_t used_ns;

    if (tenant == NULL || l->machine == NULL || l->machine->driver == NULL)
        return;
    if (!counts) {
        l->cpu_unseen = true;
        return;
    }
    used_ns = used_since(l, now_ns);
    // What was used while there was no limit is not held against him once there is one.
    if (!l->cpu_unseen)
        tenant_use_cpu(tenant, now_ns, used_ns);
    l->cpu_unseen = false;
    l->cpu_look_ns = now_ns;
}

int live_check_cpu(struct live_table *t, const char *key, struct err *err)
{
    struct tenant *tenant = tenant_get(t->config.tenants, key);

    if (tenant == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return tenant_check_cpu(tenant, clock_mono_ns(), err);
}

uint64_t live_cpu_wait_ms(struct live_table *t, const struct live *l)
{
    const struct tenant *tenant = tenant_get(t->config.tenants, l->key);

    return tenant == NULL ? 0 : tenant_cpu_wait_ms(tenant, clock_mono_ns());
}
