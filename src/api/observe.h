// SPDX-License-Identifier: Apache-2.0
//
// What is counted and logged of every HTTP request, whatever it asked for.
#ifndef CSB_API_OBSERVE_H
#define CSB_API_OBSERVE_H

#include "base/err.h"
#include "metrics/exposition.h"

struct api_http_metrics;
struct http_seen;

// Counters for the routes of the table. ERR_INTERNAL when memory is out.
int api_http_metrics_new(struct api_http_metrics **ret, struct err *err);
void api_http_metrics_free(struct api_http_metrics *m); // NULL allowed

// For http_options.observe; `app` is a struct api.
void api_observe(void *app, const struct http_seen *seen);

void api_http_metrics_put(struct exposition *x, const struct api_http_metrics *m);

#endif
