// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"

#include "api/api_internal.h"
#include "api/auth.h"
#include "api/jobs_internal.h"
#include "api/sandboxes_internal.h"
#include "http/router.h"

const struct http_route api_routes[] = {
    {"POST", "/execute", api_execute},
    {"GET", "/health", api_health, API_OPEN},
    {"GET", "/ready", api_ready, API_OPEN},
    {"GET", "/metrics", api_metrics, API_ADMIN},
    {"GET", "/openapi.yaml", api_openapi, API_OPEN},
    {"GET", "/languages", api_languages},
    {"GET", "/debug/guest", api_debug_guest, API_ADMIN},
    {"POST", "/jobs", api_jobs_create},
    {"POST", "/jobs/batch", api_jobs_create_batch},
    {"GET", "/jobs", api_jobs_list},
    {"GET", "/jobs/webhook-secret", api_jobs_webhook_secret},
    {"GET", "/jobs/*", api_jobs_get},
    {"DELETE", "/jobs/*", api_jobs_cancel},
    // What E2B's SDKs and command line ask for: docs/E2B.md.
    {"POST", "/sandboxes", api_sandboxes_create_v1},
    {"POST", "/v2/sandboxes", api_sandboxes_create_v2},
    {"GET", "/sandboxes", api_sandboxes_list_v1},
    {"GET", "/v2/sandboxes", api_sandboxes_list_v2},
    {"GET", "/sandboxes/metrics", api_sandboxes_metrics_all},
    {"GET", "/sandboxes/*", api_sandboxes_get},
    {"DELETE", "/sandboxes/*", api_sandboxes_kill},
    {"POST", "/sandboxes/*/timeout", api_sandboxes_timeout},
    {"POST", "/sandboxes/*/refreshes", api_sandboxes_refresh},
    {"POST", "/sandboxes/*/connect", api_sandboxes_connect_v1},
    {"POST", "/v2/sandboxes/*/connect", api_sandboxes_connect_v2},
    {"POST", "/sandboxes/*/resume", api_sandboxes_resume},
    {"GET", "/sandboxes/*/metrics", api_sandboxes_metrics},
    {"GET", "/sandboxes/*/logs", api_sandboxes_logs_v1},
    {"GET", "/v2/sandboxes/*/logs", api_sandboxes_logs_v2},
    {"POST", "/sandboxes/*/pause", api_sandboxes_pause},
    {"POST", "/sandboxes/*/fork", api_sandboxes_fork},
    {"POST", "/sandboxes/*/snapshots", api_snapshots_create},
    {"PUT", "/sandboxes/*/network", api_sandboxes_network},
    {"GET", "/snapshots", api_snapshots_list},
    {"GET", "/templates", api_templates_list},
    {"GET", "/templates/aliases/*", api_templates_alias},
    {"DELETE", "/templates/*", api_templates_delete},
    {0},
};
