// SPDX-License-Identifier: Apache-2.0
//
// Histograms and the exposition format.
#include "base/clock.h"
#include "metrics/exposition.h"
#include "metrics/histogram.h"
#include "tap.h"

#include <pthread.h>

#define THREADS 4
#define ADDS    20000

static struct histogram shared;

static void test_bounds(void)
{
    struct histogram h = {0};
    struct histogram_view v;

    for (size_t i = 1; i < HISTOGRAM_BUCKETS; i++)
        if (histogram_bounds_ns[i] <= histogram_bounds_ns[i - 1])
            tap_ok(false, "bound %zu rises", i);
    histogram_add(&h, 0);
    histogram_add(&h, NS_PER_MS);     // a bound is inclusive
    histogram_add(&h, NS_PER_MS + 1); // the next one's
    histogram_add(&h, 500 * NS_PER_S);
    histogram_read(&h, &v);
    CHECK_INT(v.cumulative[0], 2);
    CHECK_INT(v.cumulative[1], 3);
    CHECK_INT(v.cumulative[HISTOGRAM_BUCKETS - 1], 3);
    CHECK_INT(v.count, 4);
    CHECK_INT(v.sum_ns, 500 * NS_PER_S + 2 * NS_PER_MS + 1);
}

static void *add_many(void *arg)
{
    for (uint64_t i = 0; i < ADDS; i++)
        histogram_add(&shared, i % 64 * NS_PER_MS);
    return arg;
}

static void test_threads(void)
{
    pthread_t threads[THREADS];
    struct histogram_view v;
    int started = 0;

    while (started < THREADS && pthread_create(&threads[started], NULL, add_many, NULL) == 0)
        started++;
    CHECK_INT(started, THREADS);
    for (int i = 0; i < 1000; i++) {
        histogram_read(&shared, &v);
        if (v.cumulative[HISTOGRAM_BUCKETS - 1] > v.count) {
            tap_ok(false, "a bucket is never above the count");
            break;
        }
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    histogram_read(&shared, &v);
    CHECK_INT(v.count, THREADS * ADDS);
    CHECK_INT(v.cumulative[HISTOGRAM_BUCKETS - 1], THREADS * ADDS);
}

static void test_text(void)
{
    const struct exposition_label labels[] = {{"a", "x\"y\\z\n"}, {"b", ""}, {0}};
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct exposition x = {.buf = &text};

    exposition_metric(&x, "runs_total", "counter", "Runs.");
    exposition_u64(&x, NULL, UINT64_MAX);
    exposition_double(&x, labels, 0.25);
    CHECK(!x.failed);
    CHECK_STR(buf_cstr(&text), "# HELP runs_total Runs.\n# TYPE runs_total counter\n"
                               "runs_total 18446744073709551615\n"
                               "runs_total{a=\"x\\\"y\\\\z\\n\",b=\"\"} 0.25\n");
}

static void test_histogram_text(void)
{
    const struct exposition_label labels[] = {{"k", "v"}, {0}};
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct exposition x = {.buf = &text};
    struct histogram h = {0};
    const char *s;

    histogram_add(&h, 35 * NS_PER_MS);
    exposition_metric(&x, "t_seconds", "histogram", "T.");
    exposition_histogram(&x, labels, &h);
    s = buf_cstr(&text);
    CHECK(!x.failed && s != NULL);
    if (s == NULL)
        return;
    CHECK(strstr(s, "\nt_seconds_bucket{k=\"v\",le=\"0.02\"} 0\n") != NULL);
    CHECK(strstr(s, "\nt_seconds_bucket{k=\"v\",le=\"0.035\"} 1\n") != NULL);
    CHECK(strstr(s, "\nt_seconds_bucket{k=\"v\",le=\"+Inf\"} 1\n") != NULL);
    CHECK(strstr(s, "\nt_seconds_sum{k=\"v\"} 0.035\n") != NULL);
    CHECK(strstr(s, "\nt_seconds_count{k=\"v\"} 1\n") != NULL);
}

static void test_no_memory(void)
{
    _cleanup_buf_ struct buf text = BUF_CAPPED(40);
    struct exposition x = {.buf = &text};

    exposition_metric(&x, "runs_total", "counter", "Runs.");
    exposition_u64(&x, NULL, 1);
    CHECK(x.failed);
}

int main(void)
{
    test_bounds();
    test_threads();
    test_text();
    test_histogram_text();
    test_no_memory();
    return tap_done();
}
