// SPDX-License-Identifier: Apache-2.0
//
// What sandboxes use of the processors, as their driver tells it, and what it keeps their tenant
// from. A tenant may use 3600 s an hour here: what counts beyond these is how long he has to wait,
// as it falls by a second each second.
#include "sandbox/live.h"

#include "base/clock.h"
#include "live_harness.h"
#include "sandbox/tenant.h"
#include "tap.h"

#include <time.h>

#define ALL_S      3600
#define SECONDS(s) ((uint64_t)(s) * NS_PER_S)

static void sleep_ms(long ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

static struct tenant *tenant(void)
{
    return tenant_get(tenants, "k");
}

static uint64_t wait_ms(void)
{
    return tenant_cpu_wait_ms(tenant(), clock_mono_ns());
}

// What is left to wait, of `s` seconds `begin_ns` ago, within a second.
static bool left_of(uint64_t s, uint64_t begin_ns)
{
    uint64_t left = wait_ms() + (clock_mono_ns() - begin_ns) / NS_PER_MS;
    bool good = left + 1000 >= s * 1000 && left <= s * 1000 + 1000;

    if (!good)
        printf("# %llu ms of %llu s\n", (unsigned long long)left, (unsigned long long)s);
    return good;
}

static bool has_to_wait(struct live_table *t, void *unused)
{
    (void)t;
    (void)unused;
    return wait_ms() > 0;
}

static bool refused(int r, const struct err *err)
{
    return r < 0 && err->code == ERR_BUSY && strcmp(err->field, "TENANT_CPU_SECONDS_PER_HOUR") == 0;
}

static struct live_table *begin(uint64_t limit_s, uint64_t told_s)
{
    cpu_seconds_per_hour = limit_s;
    cpu_told = SECONDS(told_s);
    usage_fault = ERR_NONE;
    return start_table(8, 8);
}

// All is counted when this returns.
static void end(struct live_table *t, struct live *l)
{
    CHECK(live_kill(t, l));
    live_unref(l);
    CHECK(comes(is_empty, t, NULL));
    live_table_free(t);
}

// What nobody begins any more, and what goes on.
static void check_refusals(struct live_table *t, struct live *l)
{
    struct live_forked forked[2];
    struct live_snapshot snapshot;
    struct live *other = NULL;
    struct err err = ERR_INIT;
    bool resumed;

    CHECK(create(t, "k", 60000, &err) == NULL && refused(-1, &err));
    CHECK(refused(live_fork(t, l, 2, 1000, forked, &err), &err));
    CHECK(refused(live_snapshot(t, l, "", &snapshot, &err), &err));
    CHECK(live_cpu_wait_ms(t, l) > 0);
    other = create(t, "another", 60000, &err);
    if (CHECK(other != NULL))
        CHECK(live_kill(t, other));
    live_unref(other);
    CHECK(live_channel(l) != NULL && live_set_timeout(t, l, 60000, false));
    CHECK(live_resume(t, l, 90000, &other, &resumed, &err) == 0 && !resumed && other == l);
    live_unref(other);
    CHECK(live_pause(t, l, &err) == 0);
    CHECK(refused(live_resume(t, l, 60000, &other, &resumed, &err), &err));
    CHECK(refused(live_wake(t, l, &other, &err), &err));
    CHECK(is_told(t, live_id(l), LIVE_PAUSED) && count_images() == 1);
}

// It is seen while it runs, and counted once.
static void test_looks(void)
{
    struct live_table *t = begin(ALL_S, 1);
    struct live *l, *now;
    struct err err = ERR_INIT;
    uint64_t begin_ns;
    char id[32];
    bool resumed;

    l = make(t, LIVE_KILL, id);
    CHECK(wait_ms() == 0);
    cpu_told = SECONDS(ALL_S + 101); // of which the first was counted
    CHECK(comes(has_to_wait, t, NULL));
    begin_ns = clock_mono_ns();
    CHECK(left_of(100, begin_ns));
    check_refusals(t, l);
    CHECK(left_of(100, begin_ns));
    CHECK(tenant_table_set(tenants,
                           &(struct store_tenant_limit){.tenant = "k",
                                                        .limit = STORE_LIMIT_CPU_SECONDS_PER_HOUR,
                                                        .value = ALL_S * 2},
                           1, &err) == 0); // which forgets what was used
    cpu_told = SECONDS(1);
    if (CHECK(live_resume(t, l, 60000, &now, &resumed, &err) == 0 && resumed))
        live_unref(now);
    end(t, l);
}

// A machine that was restored has used nothing; the one before it is counted to its end.
static void test_restored(void)
{
    struct live_table *t = begin(ALL_S, 3000);
    uint64_t begin_ns = clock_mono_ns();
    struct live_forked forked[1];
    struct err err = ERR_INIT;
    struct live *l, *now;
    char id[32];
    bool resumed;

    l = make(t, LIVE_KILL, id);
    CHECK(live_pause(t, l, &err) == 0 && wait_ms() == 0);
    cpu_told = SECONDS(5);
    if (!CHECK(live_resume(t, l, 60000, &now, &resumed, &err) == 0)) {
        end(t, l);
        return;
    }
    live_unref(now);
    CHECK(wait_ms() == 0);
    CHECK(live_fork(t, l, 1, 60000, forked, &err) == 0 && forked[0].live != NULL);
    cpu_told = SECONDS(355);
    CHECK(live_pause(t, l, &err) == 0);
    if (forked[0].live != NULL)
        CHECK(live_kill(t, forked[0].live));
    live_unref(forked[0].live);
    CHECK(comes(has_to_wait, t, NULL));
    CHECK(left_of(3000 + 2 * 355 - ALL_S, begin_ns));
    end(t, l);
}

// What no driver tells any more counts as if it had run all the time, if it was ever told.
static void test_death(bool told)
{
    struct live_table *t = begin(ALL_S, told ? ALL_S + 60 : 0);
    uint64_t begin_ns = clock_mono_ns();
    struct live *l;
    char id[32];

    l = make(t, LIVE_KILL, id);
    if (!told)
        tenant_use_cpu(tenant(), clock_mono_ns(), SECONDS(ALL_S + 60));
    sleep_ms(3000);
    usage_fault = ERR_GONE;
    end(t, l);
    CHECK(left_of(told ? 63 : 60, begin_ns));
}

// Who gets a limit begins anew.
static void test_limit_comes(void)
{
    struct live_table *t = begin(0, ALL_S + 100);
    const struct store_tenant_limit limit = {
        .tenant = "k", .limit = STORE_LIMIT_CPU_SECONDS_PER_HOUR, .value = ALL_S};
    struct err err = ERR_INIT;
    struct live *l;
    char id[32];

    l = make(t, LIVE_KILL, id);
    CHECK(tenant_table_set(tenants, &limit, 1, &err) == 0);
    end(t, l);
    CHECK(wait_ms() == 0);
}

int main(void)
{
    start_engine(disk_driver());
    test_looks();
    test_restored();
    test_death(true);
    test_death(false);
    test_limit_comes();
    end_engine();
    return tap_done();
}
