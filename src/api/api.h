// SPDX-License-Identifier: Apache-2.0
//
// The resources of the HTTP API: routes in one table (routes.c), one file per resource.
// docs/API.md is what clients are promised.
#ifndef CSB_API_API_H
#define CSB_API_API_H

#include "http/router.h"

#include <stdbool.h>
#include <stdint.h>

struct api_auth;
struct api_http_metrics;
struct api_metrics;
struct config;
struct engine;
struct jobs;
struct live_table;
struct store;
struct tenant_table;

// What holds each virtual machine, or each program with process isolation, on this host.
struct api_confinement {
    bool known;   // false: nothing is confined, or it cannot be said right now
    bool process; // of programs on the host's own kernel, not of virtual machines
    bool uid;
    bool network;
    bool root;
    bool seccomp;
    bool cgroup;
    bool pid;
    bool user_namespace;
    bool landlock;
    uint32_t uid_first, uid_count; // that programs have; a count of 1: all share the service's
    uint32_t cgroup_version;
    char cgroup_note[160];
    char note[640]; // what is weaker than it could be, in words, or ""
    char vmm[64];
};

// What handlers work with. Const while requests are served.
struct api {
    struct engine *engine; // borrowed
    // Borrowed. Replaced whole by a reload; what was read of it stays readable.
    const struct config *_Atomic config;
    struct live_table *live;               // borrowed
    struct store *store;                   // borrowed
    struct jobs *jobs;                     // borrowed; api/jobs.h
    struct api_auth *auth;                 // borrowed; api/auth.h
    struct tenant_table *tenants;          // borrowed
    bool loopback;                         // only this host reaches the service
    char domain[128];                      // <port>-<id>.DOMAIN is a sandbox's port; "" for none
    struct api_metrics *metrics;           // borrowed; api/metrics.h
    struct api_http_metrics *http_metrics; // borrowed; api/observe.h
    // For /health, asked each time; blocks for half a second at most.
    void (*confinement)(void *arg, struct api_confinement *ret);
    void *confinement_arg;
};

// Handlers take a `struct api *` as their app.
extern const struct http_route api_routes[];

#endif
