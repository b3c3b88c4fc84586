// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is, and what a tenant may use.
#include "sandbox/tenant.h"

#include "base/clock.h"
#include "sandbox/lines.h"
#include "tap.h"

#define MANY 10000

static struct err err;

static bool take_any(void *arg, const struct line_waiter *w)
{
    (void)arg;
    (void)w;
    return true;
}

static bool take_bucket(void *arg, const struct line_waiter *w)
{
    return w->bucket == *(const size_t *)arg;
}

static void add(struct lines *l, struct line_waiter *w, struct line *line, enum line_class class,
                size_t bucket)
{
    *w = (struct line_waiter){.line = line, .class = class, .bucket = bucket};
    lines_add(l, w);
}

// One who sends ten thousand is followed by two who send three each: they wait for one of his
// before each of theirs, whenever they come.
static void test_turns(void)
{
    static struct line_waiter a[MANY], b[3], c[3];
    static struct line la, lb, lc;
    struct lines l = {0};
    char order[32] = "";
    struct line_waiter *w;

    for (size_t i = 0; i < MANY; i++)
        add(&l, &a[i], &la, LINE_FOREGROUND, 0);
    for (size_t i = 0; i < 3; i++) {
        add(&l, &b[i], &lb, LINE_FOREGROUND, 0);
        add(&l, &c[i], &lc, LINE_FOREGROUND, 0);
    }
    CHECK_INT(l.waiting, MANY + 6);
    for (size_t i = 0; i < 11; i++) {
        w = lines_serve(&l, take_any, NULL);
        order[i] = w == NULL ? '-' : w->line == &la ? 'a' : w->line == &lb ? 'b' : 'c';
        CHECK(w != NULL && (w->line != &la || w == &a[MANY - 1 - la.waiting]));
    }
    CHECK_STR(order, "abcabcabcaa");
    CHECK_INT(l.waiting, MANY - 5);
    CHECK_INT(lb.waiting + lc.waiting, 0);
    // Out of the middle, the beginning and the end.
    lines_remove(&l, &a[7000]);
    lines_remove(&l, &a[5]);
    lines_remove(&l, &a[MANY - 1]);
    while ((w = lines_serve(&l, take_any, NULL)) != NULL)
        continue;
    CHECK_INT(l.waiting, 0);
    CHECK(lines_serve(&l, take_any, NULL) == NULL);
    add(&l, &b[0], &lb, LINE_FOREGROUND, 0);
    CHECK(lines_serve(&l, take_any, NULL) == &b[0]);
}

static void test_buckets_and_classes(void)
{
    struct line_waiter w[5];
    struct line a = {0}, b = {0};
    struct lines l = {0};
    size_t second = 1, third = 2;

    add(&l, &w[0], &a, LINE_BACKGROUND, 1);
    add(&l, &w[1], &a, LINE_FOREGROUND, 0);
    add(&l, &w[2], &a, LINE_FOREGROUND, 1);
    add(&l, &w[3], &b, LINE_BACKGROUND, 1);
    add(&l, &w[4], &b, LINE_FOREGROUND, 0);
    CHECK(lines_serve(&l, take_bucket, &third) == NULL);
    CHECK(lines_serve(&l, take_bucket, &second) == &w[2]);
    CHECK(lines_serve(&l, take_bucket, &second) == &w[0]);
    CHECK(lines_serve(&l, take_any, NULL) == &w[4]);
    CHECK(lines_serve(&l, take_any, NULL) == &w[1]);
    CHECK(lines_serve(&l, take_any, NULL) == &w[3]);
    CHECK_INT(l.waiting, 0);
}

struct told {
    char text[32];
    size_t most;
};

static bool tell(void *arg, const struct line_waiter *w)
{
    struct told *t = arg;
    size_t used = strlen(t->text);

    t->text[used] = (char)('a' + w->bucket);
    return used + 1 < t->most;
}

static void test_limits(void)
{
    struct line_waiter w[6], *served;
    struct line a = {.running_max = 2}, b = {0};
    struct lines l = {0};
    struct told told = {.most = 30}, short_told = {.most = 2};

    for (size_t i = 0; i < 4; i++)
        add(&l, &w[i], &a, LINE_FOREGROUND, i);
    add(&l, &w[4], &b, LINE_FOREGROUND, 4);
    add(&l, &w[5], &b, LINE_BACKGROUND, 5);
    a.running = 1;
    lines_each(&l, tell, &told);
    CHECK_STR(told.text, "aef");
    lines_each(&l, tell, &short_told);
    CHECK_STR(short_told.text, "ae");
    served = lines_serve(&l, take_any, NULL);
    CHECK(served == &w[0]);
    a.running = 2;
    CHECK(lines_serve(&l, take_any, NULL) == &w[4]);
    CHECK(lines_serve(&l, take_any, NULL) == &w[5]);
    CHECK(lines_serve(&l, take_any, NULL) == NULL);
    a.running = 1;
    CHECK(lines_serve(&l, take_any, NULL) == &w[1]);
}

static void test_surplus(void)
{
    struct line_waiter w[6];
    struct line a = {0}, b = {0}, c = {0};
    struct lines l = {0};

    CHECK(lines_surplus(&l, &a) == NULL);
    for (size_t i = 0; i < 3; i++)
        add(&l, &w[i], &a, LINE_FOREGROUND, 0);
    CHECK(lines_surplus(&l, &a) == NULL);
    CHECK(lines_surplus(&l, &b) == &w[2]);
    add(&l, &w[3], &b, LINE_FOREGROUND, 0);
    CHECK(lines_surplus(&l, &b) == &w[2]);
    CHECK(lines_surplus(&l, &c) == &w[2]);
    add(&l, &w[4], &b, LINE_FOREGROUND, 0);
    CHECK(lines_surplus(&l, &b) == NULL);
    add(&l, &w[5], &a, LINE_BACKGROUND, 0);
    CHECK(lines_surplus(&l, &b) == &w[5]);
}

static void test_requests(void)
{
    struct tenant_limits limits = {.requests_per_minute = 60, .requests_burst = 3};
    struct tenant_table *table = NULL;
    struct tenant *t, *other;
    uint64_t now = 1000 * NS_PER_S, wait_ms = 0;

    CHECK(tenant_table_new(&limits, &table, &err) == 0);
    t = tenant_get(table, "acme");
    other = tenant_get(table, "other");
    CHECK(t != NULL && other != NULL && t != other && tenant_get(table, "acme") == t);
    CHECK_STR(tenant_name(t), "acme");
    for (int i = 0; i < 3; i++)
        CHECK_INT(tenant_take_request(t, now, &wait_ms, &err), 0);
    CHECK(tenant_take_request(t, now, &wait_ms, &err) < 0 && err.code == ERR_BUSY);
    CHECK_STR(err.field, "TENANT_REQUESTS_PER_MINUTE");
    CHECK(wait_ms >= 1000 && wait_ms <= 1001);
    CHECK_INT(tenant_take_request(other, now, &wait_ms, &err), 0);
    now += wait_ms * NS_PER_MS;
    CHECK_INT(tenant_take_request(t, now, &wait_ms, &err), 0);
    CHECK(tenant_take_request(t, now, &wait_ms, &err) < 0);
    now += 3600 * NS_PER_S; // a pause saves up the burst, no more
    for (int i = 0; i < 3; i++)
        CHECK_INT(tenant_take_request(t, now, &wait_ms, &err), 0);
    CHECK(tenant_take_request(t, now, &wait_ms, &err) < 0);
    CHECK(tenant_check_cpu(t, now, &err) == 0);
    tenant_use_cpu(t, now, UINT64_MAX);
    CHECK(tenant_check_cpu(t, now, &err) == 0);
    tenant_table_free(table);
    tenant_table_free(NULL);
}

static void test_cpu(void)
{
    struct tenant_limits limits = {.cpu_seconds_per_hour = 100};
    struct tenant_table *table = NULL;
    struct tenant *t;
    uint64_t now = 1000 * NS_PER_S, wait_ms = 0;
    int taken = 0;

    CHECK(tenant_table_new(&limits, &table, &err) == 0);
    t = tenant_get(table, "");
    for (int i = 0; i < 1000; i++)
        taken += tenant_take_request(t, now, &wait_ms, &err) == 0;
    CHECK_INT(taken, 1000);
    tenant_use_cpu(t, now, 99 * NS_PER_S);
    CHECK(tenant_check_cpu(t, now, &err) == 0 && tenant_cpu_wait_ms(t, now) == 0);
    tenant_use_cpu(t, now, 11 * NS_PER_S);
    err = (struct err)ERR_INIT;
    CHECK(tenant_check_cpu(t, now, &err) < 0 && err.code == ERR_BUSY);
    CHECK_STR(err.field, "TENANT_CPU_SECONDS_PER_HOUR");
    CHECK(tenant_cpu_wait_ms(t, now) >= 360000 && tenant_cpu_wait_ms(t, now) <= 360002);
    now += 361 * NS_PER_S; // ten seconds of it are back
    CHECK(tenant_check_cpu(t, now, &err) == 0);
    tenant_use_cpu(t, now, UINT64_MAX); // is cut
    CHECK(tenant_check_cpu(t, now + 365ull * 24 * 3600 * NS_PER_S, &err) == 0);
    tenant_table_free(table);
}

int main(void)
{
    test_turns();
    test_buckets_and_classes();
    test_limits();
    test_surplus();
    test_requests();
    test_cpu();
    return tap_done();
}
