// SPDX-License-Identifier: Apache-2.0
//
// What /metrics tells of long-lived sandboxes, and of the machines that all sandboxes are.
#include "api/api.h"
#include "api/metrics_internal.h"
#include "base/clock.h"
#include "sandbox/engine.h"
#include "sandbox/live.h"
#include "sandbox/sandbox.h"
#include "sandbox/stock.h"

static void put_states(struct exposition *x, const struct live_status *s)
{
    exposition_metric(x, "codesandbox_live_sandboxes", "gauge",
                      "Long-lived sandboxes that there are, by state.");
    exposition_u64(x, (struct exposition_label[]){{"state", "running"}, {0}}, s->running);
    exposition_u64(x, (struct exposition_label[]){{"state", "paused"}, {0}}, s->paused);
    exposition_u64(x, (struct exposition_label[]){{"state", "returning"}, {0}}, s->returning);
}

static void put_counts(struct exposition *x, const struct live_status *s)
{
    const struct {
        const char *name, *help;
        uint64_t value;
    } rows[] = {
        {"codesandbox_live_created_total", "Long-lived sandboxes made, forks among them.",
         s->created},
        {"codesandbox_live_paused_total", "Times that one was paused.", s->paused_total},
        {"codesandbox_live_resumed_total", "Times that a paused one was resumed.",
         s->resumed_total},
    };
    const struct {
        const char *cause;
        uint64_t value;
    } ends[] = {{"killed", s->killed}, {"expired", s->expired}, {"lost", s->lost}};

    exposition_metric(x, "codesandbox_live_returned_total", "counter",
                      "Long-lived sandboxes that a restart of the service found stored, by what "
                      "became of them.");
    exposition_u64(x, (struct exposition_label[]){{"outcome", "resumed"}, {0}}, s->returned_total);
    exposition_u64(x, (struct exposition_label[]){{"outcome", "paused"}, {0}},
                   s->not_returned_total);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        exposition_metric(x, rows[i].name, "counter", rows[i].help);
        exposition_u64(x, NULL, rows[i].value);
    }
    exposition_metric(x, "codesandbox_live_ended_total", "counter",
                      "Long-lived sandboxes that ended, by cause.");
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        exposition_u64(x, (struct exposition_label[]){{"cause", ends[i].cause}, {0}},
                       ends[i].value);
    exposition_summary(x, "codesandbox_live_lifetime_seconds",
                       "From making to ending of the long-lived sandboxes that ended.", s->ended,
                       (double)s->life_ms / 1000);
}

static void put_stock(struct exposition *x, const struct stock_status *s)
{
    exposition_metric(x, "codesandbox_live_ready", "gauge",
                      "Agents that wait for long-lived sandboxes to come, by template.");
    exposition_u64(x, (struct exposition_label[]){{"template", "base"}, {0}},
                   s->ready[STOCK_PLAIN]);
    exposition_u64(x, (struct exposition_label[]){{"template", "code-interpreter-v1"}, {0}},
                   s->ready[STOCK_CONTEXTS]);
    exposition_metric(x, "codesandbox_live_taken_total", "counter",
                      "Agents that long-lived sandboxes got: ready, or made when asked for.");
    exposition_u64(x, (struct exposition_label[]){{"from", "ready"}, {0}}, s->taken);
    exposition_u64(x, (struct exposition_label[]){{"from", "made"}, {0}}, s->missed);
}

void api_metrics_put_live(struct exposition *x, const struct api *api)
{
    struct live_status status = {0};
    struct stock_status stock;

    if (api->live != NULL)
        live_status(api->live, &status);
    put_states(x, &status);
    put_counts(x, &status);
    engine_stock(api->engine, &stock);
    put_stock(x, &stock);
}

void api_metrics_put_machines(struct exposition *x)
{
    struct sandbox_totals totals;

    sandbox_totals(&totals);
    exposition_metric(x, "codesandbox_machine_restores_total", "counter",
                      "Machines, or sessions of the agent, cloned from the template.");
    exposition_u64(x, NULL, totals.restored);
    exposition_summary(x, "codesandbox_machine_lifetime_seconds",
                       "From cloning to ending of the machines that ended.", totals.ended,
                       (double)totals.life_ns / NS_PER_S);
}
