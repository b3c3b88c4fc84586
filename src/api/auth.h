// SPDX-License-Identifier: Apache-2.0
//
// Who asks: which API key a request carries, whose it is, and what he may. Keys are needed as soon
// as one was made, and always where others than this host reach the service, unless its operator
// says ALLOW_UNAUTHENTICATED.
#ifndef CSB_API_AUTH_H
#define CSB_API_AUTH_H

#include "base/err.h"
#include "store/store.h"

#include <stdbool.h>

struct api_auth;
struct http_request;
struct http_response;
struct http_route;
struct tenant;
struct tenant_table;

// http_route.access. ADMIN: a key of role admin. OPEN: anybody, also without a key.
enum api_access { API_KEY, API_ADMIN, API_OPEN };

struct api_auth_config {
    struct store *store;          // borrowed
    struct tenant_table *tenants; // borrowed
    bool loopback;                // only this host reaches the service
    bool allow_unauthenticated;   // ALLOW_UNAUTHENTICATED
};

// Reads the keys. ERR_INVALID naming API_HOST when keys are needed and there is none.
int api_auth_new(const struct api_auth_config *config, struct api_auth **ret, struct err *err);
void api_auth_free(struct api_auth *a); // NULL is allowed

// Whether there is more than one tenant: good keys of several, or keys, and requests without one
// all the same. As of the last request. Does not block.
bool api_auth_is_shared(const struct api_auth *a);

struct api_caller {
    struct tenant *tenant; // never NULL
    bool admin;
    char key[STORE_KEY_ID_MAX]; // id of the key; "" where none was needed
};

// For http_options.admit; `app` is a struct api. Counts the request against its tenant's rate.
// Blocks only when keys have changed since the last request, for the store.
bool api_admit(void *app, const struct http_route *route, const struct http_request *req,
               const void **ret_caller, struct http_response *res);

// Who asks, for handlers. NULL only on API_OPEN routes, when it is nobody with a key that is good.
const struct api_caller *api_caller(const struct http_request *req);

#endif
