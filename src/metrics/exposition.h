// SPDX-License-Identifier: Apache-2.0
//
// Writes the text exposition format 0.0.4 that Prometheus scrapes
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Pure.
#ifndef CSB_METRICS_EXPOSITION_H
#define CSB_METRICS_EXPOSITION_H

#include "base/buf.h"
#include "metrics/histogram.h"

#include <stdbool.h>
#include <stdint.h>

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct exposition {
    struct buf *buf;  // borrowed
    const char *name; // of the metric under way
    bool failed;      // memory is out: what was written is not whole
};

// Labels of a sample. Values are escaped, names are static and ours.
struct exposition_label {
    const char *name; // NULL ends a list
    const char *value;
};

// Begins a metric: `type` is "counter", "gauge", "summary" or "histogram", `help` one sentence. All
// are borrowed until the next one begins. A counter's name ends with _total, a duration's in
// _seconds.
void exposition_metric(struct exposition *x, const char *name, const char *type, const char *help);

// One sample of the metric under way. `labels` may be NULL.
void exposition_u64(struct exposition *x, const struct exposition_label *labels, uint64_t value);
void exposition_double(struct exposition *x, const struct exposition_label *labels, double value);

// A metric of its own: how often, and how long in sum. `name` ends with _seconds.
void exposition_summary(struct exposition *x, const char *name, const char *help, uint64_t count,
                        double sum);

// A whole histogram, durations in seconds.
void exposition_histogram(struct exposition *x, const struct exposition_label *labels,
                          const struct histogram *h);

#endif
