// SPDX-License-Identifier: Apache-2.0
//
// The parts of GET /metrics.
#ifndef CSB_API_METRICS_INTERNAL_H
#define CSB_API_METRICS_INTERNAL_H

#include "metrics/exposition.h"

struct api;
struct api_metrics;

void api_metrics_put_errors(struct exposition *x, const struct api_metrics *m);
void api_metrics_put_live(struct exposition *x, const struct api *api);
void api_metrics_put_machines(struct exposition *x);

#endif
