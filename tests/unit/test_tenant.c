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

// Two slots: a tenant who sends many at once, and one who sends one now and then.
static void test_paces(void)
{
    static struct line_waiter w[10], one;
    struct line flood = {0}, polite = {0};
    struct lines l = {.slots = 2};
    uint64_t now = 100 * NS_PER_S;

    lines_set_now(&l, now);
    lines_note(&l, &flood);
    for (size_t i = 0; i < 10; i++)
        add(&l, &w[i], &flood, LINE_FOREGROUND, 0);
    for (size_t i = 0; i < 3; i++) { // alone he is not held back
        CHECK(!lines_is_greedy(&l, &flood, 0));
        CHECK(lines_serve(&l, take_any, NULL) == &w[i]);
        lines_begin(&l, &flood);
    }
    lines_note(&l, &polite);
    lines_set_now(&l, now);
    CHECK(lines_is_greedy(&l, &flood, 0) && !lines_is_greedy(&l, &polite, 1));
    CHECK(lines_has_room(&l, &polite, 1) && !lines_has_room(&l, &flood, 0));
    for (size_t i = 0; i < 3; i++)
        lines_settle(&l, &flood);
    CHECK(lines_has_room(&l, &flood, 0)); // the other has one slot and uses none
    CHECK(!lines_spares_somebody(&l));
    lines_begin(&l, &flood);
    lines_set_now(&l, now += 2000000);
    lines_settle(&l, &flood);
    CHECK(!lines_has_room(&l, &flood, 0)); // half as long as it took is for the other
    lines_set_now(&l, now += 999999);
    CHECK(!lines_has_room(&l, &flood, 0));
    lines_set_now(&l, now += 1);
    CHECK(lines_has_room(&l, &flood, 0));
    lines_begin(&l, &flood);
    lines_set_now(&l, now += 40000000);
    lines_settle(&l, &flood);
    lines_set_now(&l, now += LINE_REST_MAX_NS);
    CHECK(lines_has_room(&l, &flood, 0));
    flood.begun_ns = now;
    lines_begin(&l, &polite);
    lines_set_now(&l, now);
    CHECK(lines_spares_somebody(&l) && !lines_has_room(&l, &flood, 0));
    add(&l, &one, &polite, LINE_FOREGROUND, 0); // two at once are more than his part
    lines_set_now(&l, now);
    CHECK(lines_is_greedy(&l, &polite, 0) && !lines_spares_somebody(&l));
    CHECK(lines_has_room(&l, &flood, 0) && lines_has_room(&l, &polite, 0));
    lines_remove(&l, &one);
    lines_set_now(&l, now += LINE_PACE_NS - 1);
    CHECK(!lines_has_room(&l, &flood, 0));
    lines_set_now(&l, now += 1); // however long the other goes on
    CHECK(lines_has_room(&l, &flood, 0));
    lines_begin(&l, &flood);
    CHECK(!lines_has_room(&l, &flood, 0));
    lines_set_now(&l, now + LINE_ACTIVE_NS); // he is gone
    CHECK_INT(l.seen_count, 1);
    CHECK(l.seen == &flood && !polite.is_seen && lines_has_room(&l, &flood, 0));
    for (size_t i = 3; i < 10; i++)
        lines_remove(&l, &w[i]);
    lines_set_now(&l, now + LINE_ACTIVE_NS);
    CHECK_INT(l.seen_count, 0);
}

// Many who are not greedy leave room for each other, and those who are have turns.
static void test_parts(void)
{
    static struct line_waiter w[4][20];
    struct line lines[4] = {0};
    struct lines l = {.slots = 16}, none = {0};

    lines_set_now(&l, NS_PER_S);
    for (size_t i = 0; i < 4; i++)
        lines_note(&l, &lines[i]);
    for (size_t n = 0; n < 20; n++)
        add(&l, &w[0][n], &lines[0], LINE_FOREGROUND, 0);
    for (size_t i = 1; i < 4; i++)
        lines_begin(&l, &lines[i]);
    lines_set_now(&l, NS_PER_S);
    CHECK(lines_is_greedy(&l, &lines[0], 0) && !lines_is_greedy(&l, &lines[1], 3));
    CHECK(lines_is_greedy(&l, &lines[1], 4));
    CHECK_INT(l.kept, 3);
    for (size_t n = 0; n < 10; n++) {
        CHECK(lines_has_room(&l, &lines[0], 0));
        lines_begin(&l, &lines[0]);
    }
    CHECK(!lines_has_room(&l, &lines[0], 0)); // 13 are young, 3 are kept
    for (size_t i = 1; i < 4; i++)
        for (size_t n = 0; n < 20; n++)
            add(&l, &w[i][n], &lines[i], LINE_FOREGROUND, 0);
    lines_set_now(&l, NS_PER_S);
    CHECK_INT(l.kept, 0);
    for (size_t n = 13; n < 16; n++) {
        CHECK(lines_has_room(&l, &lines[0], 0));
        lines_begin(&l, &lines[0]);
    }
    CHECK(!lines_has_room(&l, &lines[0], 0) && lines_has_room(&l, &lines[1], 0));
    lines[0] = lines[1] = (struct line){.waiting = 1000};
    lines_note(&none, &lines[0]);
    lines_note(&none, &lines[1]);
    lines_set_now(&none, NS_PER_S);
    CHECK(!lines_spares_somebody(&none));
    CHECK(!lines_is_greedy(&none, &lines[0], 0) && lines_has_room(&none, &lines[0], 0));
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

static void test_own_limits(void)
{
    const struct tenant_limits all = {.runs = 2, .queue = 3, .sandboxes = 5};
    struct store_tenant_limit own[] = {
        {"a", STORE_LIMIT_RUNS, 7},
        {"a", STORE_LIMIT_REQUESTS_PER_MINUTE, 60},
        {"a", STORE_LIMIT_REQUESTS_BURST, 1},
        {"late", STORE_LIMIT_SANDBOXES, 0},
        {"late", STORE_LIMIT_QUEUE, (uint64_t)UINT32_MAX + 1},
    };
    struct tenant_table *table;
    struct tenant *a, *b, *late;
    uint64_t now = 100 * NS_PER_S, wait_ms = 0;

    CHECK(tenant_table_new(&all, &table, &err) == 0);
    a = tenant_get(table, "a");
    b = tenant_get(table, "b");
    CHECK(tenant_table_set(table, own, 5, &err) == 0);
    late = tenant_get(table, "late");
    CHECK_INT(tenant_line(a)->running_max, 7);
    CHECK_INT(tenant_line(a)->waiting_max, 3);
    CHECK_INT(tenant_line(b)->running_max, 2);
    CHECK_INT(tenant_line(late)->running_max, 2);
    CHECK(tenant_line(late)->waiting_max == UINT32_MAX);
    CHECK_INT(tenant_limit(table, "late", STORE_LIMIT_SANDBOXES), 0);
    CHECK_INT(tenant_limit(table, "a", STORE_LIMIT_SANDBOXES), 5);
    CHECK_INT(tenant_limit(table, "unknown", STORE_LIMIT_SANDBOXES), 5);
    CHECK(tenant_take_request(a, now, &wait_ms, &err) == 0);
    CHECK(tenant_take_request(a, now, &wait_ms, &err) < 0);
    CHECK(tenant_take_request(b, now, &wait_ms, &err) == 0);
    CHECK(tenant_table_set(table, own, 1, &err) == 0); // the others are gone
    CHECK(tenant_take_request(a, now, &wait_ms, &err) == 0);
    CHECK_INT(tenant_line(a)->running_max, 7);
    CHECK_INT(tenant_line(late)->waiting_max, 3);
    CHECK(tenant_table_set(table, NULL, 0, &err) == 0);
    CHECK_INT(tenant_line(a)->running_max, 2);
    tenant_table_free(table);
}

int main(void)
{
    test_turns();
    test_buckets_and_classes();
    test_limits();
    test_surplus();
    test_paces();
    test_parts();
    test_requests();
    test_cpu();
    test_own_limits();
    return tap_done();
}
