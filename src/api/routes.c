// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"

#include "api/api_internal.h"
#include "http/router.h"

const struct http_route api_routes[] = {
    {"POST", "/execute", api_execute},
    {"GET", "/health", api_health},
    {"GET", "/ready", api_ready},
    {"GET", "/metrics", api_metrics},
    {"GET", "/languages", api_languages},
    {"GET", "/debug/guest", api_debug_guest},
    {0},
};
