// SPDX-License-Identifier: Apache-2.0
//
// What the API counts of the runs it answers, and GET /metrics, which tells it with the state of
// the pool and of the process (docs/OPERATIONS.md lists the names). Any thread; nothing blocks.
#ifndef CSB_API_METRICS_H
#define CSB_API_METRICS_H

#include "base/err.h"

#include <stdbool.h>

struct api_metrics;
struct run_result;
struct runtime;
struct runtime_table;

// `table` is borrowed. ERR_INTERNAL when memory is out.
int api_metrics_new(const struct runtime_table *table, struct api_metrics **ret, struct err *err);
void api_metrics_free(struct api_metrics *m); // NULL allowed

// A run ended with a result, or with an error instead of one; `cut`: which is that the service
// stopped. `m` may be NULL.
void api_metrics_result(struct api_metrics *m, const struct runtime *rt,
                        const struct run_result *result);
void api_metrics_error(struct api_metrics *m, const struct runtime *rt, const struct err *err,
                       bool cut);

#endif
