// SPDX-License-Identifier: Apache-2.0
//
// How it works: a row of counters per entry of the table of routes, one for requests that matched
// none, and one for those that were a sandbox's own. So labels have as many values as there are
// routes, whatever clients send. A route that nobody asked for yet has no samples. The log names
// the route, not the path: paths and queries hold what is a client's own.
#include "api/observe.h"

#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_COUNT 5 // 1xx to 5xx

struct row {
    atomic_uint_fast64_t answers[CLASS_COUNT];
    struct histogram seconds;
};

struct api_http_metrics {
    size_t routes;
    struct row rows[]; // one per route, then ROW_OTHER and ROW_PLANE
};

enum { ROW_OTHER, ROW_PLANE, ROWS_MORE };

int api_http_metrics_new(struct api_http_metrics **ret, struct err *err)
{
    struct api_http_metrics *m;
    size_t routes = 0;

    while (api_routes[routes].method != NULL)
        routes++;
    m = calloc(1, sizeof(*m) + (routes + ROWS_MORE) * sizeof(struct row));
    if (m == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    m->routes = routes;
    *ret = m;
    return 0;
}

void api_http_metrics_free(struct api_http_metrics *m)
{
    free(m);
}

static size_t row_index(const struct api_http_metrics *m, const struct http_seen *seen)
{
    if (seen->taken)
        return m->routes + ROW_PLANE;
    return seen->route == NULL ? m->routes + ROW_OTHER : (size_t)(seen->route - api_routes);
}

static const char *route_name(const struct api_http_metrics *m, size_t row)
{
    if (row < m->routes)
        return api_routes[row].path;
    return row == m->routes + ROW_PLANE ? "sandbox" : "other";
}

static const char *method_name(const struct api_http_metrics *m, size_t row)
{
    return row < m->routes ? api_routes[row].method : "any";
}

// Probes are told by 503 that the service starts or stops, which the log says by itself.
static bool is_probe(const struct http_route *route)
{
    return route != NULL &&
           (strcmp(route->path, "/ready") == 0 || strcmp(route->path, "/health") == 0);
}

// What a sandbox answers is its owner's affair, an unknown sandbox or a closed port the caller's,
// and 501 what somebody asked for that this installation cannot do: whoever may send requests could
// fill the log with them.
static bool is_failure(const struct http_seen *seen)
{
    return seen->status / 100 == 5 && seen->status != 501 && !seen->taken && !is_probe(seen->route);
}

void api_observe(void *app, const struct http_seen *seen)
{
    const struct api *api = app;
    struct api_http_metrics *m = api->http_metrics;
    size_t row = row_index(m, seen);
    unsigned class = seen->status / 100 - 1;
    double ms = (double)seen->took_ns / NS_PER_MS;

    if (class < CLASS_COUNT)
        atomic_fetch_add(&m->rows[row].answers[class], 1);
    histogram_add(&m->rows[row].seconds, seen->took_ns);
    if (is_failure(seen))
        log_warn("%s %s: answered %u after %.1f ms", method_name(m, row), route_name(m, row),
                 seen->status, ms);
    else
        log_debug("%s %s: answered %u after %.1f ms", method_name(m, row), route_name(m, row),
                  seen->status, ms);
}

void api_http_metrics_put(struct exposition *x, const struct api_http_metrics *m)
{
    static const char *const classes[CLASS_COUNT] = {"1xx", "2xx", "3xx", "4xx", "5xx"};

    exposition_metric(x, "codesandbox_http_requests_total", "counter",
                      "HTTP requests that were answered.");
    for (size_t i = 0; i < m->routes + ROWS_MORE; i++)
        for (size_t k = 0; k < CLASS_COUNT; k++)
            if (m->rows[i].answers[k] > 0)
                exposition_u64(x,
                               (struct exposition_label[]){{"route", route_name(m, i)},
                                                           {"method", method_name(m, i)},
                                                           {"status", classes[k]},
                                                           {0}},
                               m->rows[i].answers[k]);
    exposition_metric(x, "codesandbox_http_request_seconds", "histogram",
                      "Time from a request's head to the end of its answer.");
    for (size_t i = 0; i < m->routes + ROWS_MORE; i++)
        if (m->rows[i].seconds.count > 0)
            exposition_histogram(x,
                                 (struct exposition_label[]){{"route", route_name(m, i)},
                                                             {"method", method_name(m, i)},
                                                             {0}},
                                 &m->rows[i].seconds);
}
