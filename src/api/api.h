// SPDX-License-Identifier: Apache-2.0
//
// The resources of the HTTP API: routes in one table (routes.c), one file per resource.
// docs/API.md is what clients are promised.
#ifndef CSB_API_API_H
#define CSB_API_API_H

#include "http/router.h"
#include "launch/launch.h"

#include <stdbool.h>

struct config;
struct engine;

// What handlers work with. Const while requests are served.
struct api {
    struct engine *engine;       // borrowed
    const struct config *config; // borrowed
    struct launch_info launch;   // confinement of the VMMs
    bool launched;               // `launch` is filled
};

// Handlers take a `struct api *` as their app.
extern const struct http_route api_routes[];

#endif
