// SPDX-License-Identifier: Apache-2.0
#include "metrics/exposition.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put(struct exposition *x, const char *text, size_t len)
{
    if (!x->failed && buf_append(x->buf, text, len) < 0)
        x->failed = true;
}

static void put_str(struct exposition *x, const char *text)
{
    put(x, text, strlen(text));
}

// Backslash, double quote and line feed are what the format escapes in a label's value.
static void put_value(struct exposition *x, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n')
            put(x, "\\n", 2);
        else if (*c == '"' || *c == '\\')
            put(x, (char[]){'\\', *c}, 2);
        else
            put(x, c, 1);
    }
}

static void put_label(struct exposition *x, char *separator, const char *name, const char *value)
{
    put(x, separator, 1);
    put_str(x, name);
    put(x, "=\"", 2);
    put_value(x, value);
    put(x, "\"", 1);
    *separator = ',';
}

// Up to the value. `le` is one more label, or NULL.
static void put_head(struct exposition *x, const char *suffix,
                     const struct exposition_label *labels, const char *le)
{
    char separator = '{';

    put_str(x, x->name);
    put_str(x, suffix);
    for (const struct exposition_label *l = labels; l != NULL && l->name != NULL; l++)
        put_label(x, &separator, l->name, l->value);
    if (le != NULL)
        put_label(x, &separator, "le", le);
    put_str(x, separator == ',' ? "} " : " ");
}

static void put_u64(struct exposition *x, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64 "\n", value);
    put_str(x, text);
}

static void put_double(struct exposition *x, double value)
{
    char text[40];

    (void)snprintf(text, sizeof(text), "%.15g\n", value);
    put_str(x, text);
}

void exposition_metric(struct exposition *x, const char *name, const char *type, const char *help)
{
    x->name = name;
    put_str(x, "# HELP ");
    put_str(x, name);
    put(x, " ", 1);
    put_str(x, help);
    put_str(x, "\n# TYPE ");
    put_str(x, name);
    put(x, " ", 1);
    put_str(x, type);
    put(x, "\n", 1);
}

void exposition_u64(struct exposition *x, const struct exposition_label *labels, uint64_t value)
{
    put_head(x, "", labels, NULL);
    put_u64(x, value);
}

void exposition_double(struct exposition *x, const struct exposition_label *labels, double value)
{
    put_head(x, "", labels, NULL);
    put_double(x, value);
}

void exposition_summary(struct exposition *x, const char *name, const char *help, uint64_t count,
                        double sum)
{
    exposition_metric(x, name, "summary", help);
    put_head(x, "_sum", NULL, NULL);
    put_double(x, sum);
    put_head(x, "_count", NULL, NULL);
    put_u64(x, count);
}

void exposition_histogram(struct exposition *x, const struct exposition_label *labels,
                          const struct histogram *h)
{
    struct histogram_view view;
    char le[32];

    histogram_read(h, &view);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        (void)snprintf(le, sizeof(le), "%g", (double)histogram_bounds_ns[i] / NS_PER_S);
        put_head(x, "_bucket", labels, le);
        put_u64(x, view.cumulative[i]);
    }
    put_head(x, "_bucket", labels, "+Inf");
    put_u64(x, view.count);
    put_head(x, "_sum", labels, NULL);
    put_double(x, (double)view.sum_ns / NS_PER_S);
    put_head(x, "_count", labels, NULL);
    put_u64(x, view.count);
}
