// SPDX-License-Identifier: Apache-2.0
//
// The resources of the HTTP API: routes in one table (routes.c), one file per resource.
// docs/API.md is what clients are promised.
#ifndef CSB_API_API_H
#define CSB_API_API_H

#include "http/router.h"

#include <stdbool.h>
#include <stdint.h>

struct config;
struct engine;

// What holds each virtual machine on this host, for /health.
struct api_confinement {
    bool known; // false: there are no virtual machines
    bool uid;
    bool network;
    bool root;
    bool seccomp;
    bool cgroup;
    bool pid;
    uint32_t cgroup_version;
    char cgroup_note[160];
    char vmm[64];
};

// What handlers work with. Const while requests are served.
struct api {
    struct engine *engine;       // borrowed
    const struct config *config; // borrowed
    struct api_confinement confinement;
};

// Handlers take a `struct api *` as their app.
extern const struct http_route api_routes[];

#endif
