// SPDX-License-Identifier: Apache-2.0
//
// How it works: all keys are kept in memory by their hashes and read again, with tenants' limits,
// when the store says that they have changed, which costs a request one load of a shared counter. A
// key is never forgotten, only marked, so who asked stays known for as long as his request takes.
// The hash of what a client sent is found by its first byte and compared in constant time; of a
// guess that tells nothing, since nobody can choose the hash of a key that is good.
#include "api/auth.h"

#include "api/api.h"
#include "api/sandboxes_internal.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/http.h"
#include "sandbox/tenant.h"

#include <nettle/memops.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SLOTS       256 // by the first byte of the hash
#define REREAD_NS   (10 * NS_PER_S)
#define BEARER      "Bearer "
#define HOW_TO_MAKE "`csb key create` makes one"

struct auth_key {
    uint8_t hash[STORE_KEY_HASH_BYTES]; // fixed
    struct api_caller caller;           // fixed
    bool good;
    uint64_t round; // of reading, in which it was last there
    struct auth_key *next;
};

struct api_auth {
    struct api_auth_config config; // fixed
    struct api_caller anonymous;   // fixed
    struct api_caller host;        // fixed; where no key is needed
    atomic_uint_fast64_t generation;
    atomic_uint_fast64_t read_ns;
    atomic_bool shared;
    pthread_mutex_t reading; // one reads
    pthread_rwlock_t lock;   // guards what follows
    uint64_t round;
    struct auth_key *slots[SLOTS];
    size_t good;
    bool any; // was ever made
};

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_INTERNAL, "out of memory");
}

static struct auth_key *find(const struct api_auth *a, const uint8_t *hash)
{
    struct auth_key *k = a->slots[hash[0]];

    while (k != NULL && memeql_sec(k->hash, hash, sizeof(k->hash)) == 0)
        k = k->next;
    return k;
}

static struct auth_key *add(struct api_auth *a, const struct store_key *key)
{
    struct auth_key *k = calloc(1, sizeof(*k));

    if (k == NULL)
        return NULL;
    memcpy(k->hash, key->hash, sizeof(k->hash));
    (void)snprintf(k->caller.key, sizeof(k->caller.key), "%s", key->id);
    k->caller.admin = key->admin;
    k->caller.tenant = tenant_get(a->config.tenants, key->tenant);
    if (k->caller.tenant == NULL) {
        free(k);
        return NULL;
    }
    k->next = a->slots[k->hash[0]];
    a->slots[k->hash[0]] = k;
    return k;
}

// With the lock held for writing.
static int take_key(struct api_auth *a, const struct store_key *key)
{
    struct auth_key *k = find(a, key->hash);

    if (k == NULL && (k = add(a, key)) == NULL)
        return -1;
    k->good = key->revoked_ms == 0;
    k->round = a->round;
    a->good += k->good;
    a->any = true;
    return 0;
}

static int on_limit(void *arg, const struct store_tenant_limit *limit)
{
    return buf_append(arg, limit, sizeof(*limit)) < 0 ? -1 : 0;
}

// What tenants have of their own.
static int read_limits(struct api_auth *a, struct err *err)
{
    _cleanup_buf_ struct buf limits = BUF_INIT;

    if (store_tenant_each(a->config.store, on_limit, &limits, err) < 0)
        return -1;
    return tenant_table_set(a->config.tenants, (const struct store_tenant_limit *)limits.data,
                            limits.len / sizeof(struct store_tenant_limit), err);
}

static int on_key(void *arg, const struct store_key *key)
{
    return buf_append(arg, key, sizeof(*key)) < 0 ? -1 : 0;
}

// Those that are not in the store any more are not good either.
static void drop_missing(struct api_auth *a)
{
    for (size_t i = 0; i < SLOTS; i++)
        for (struct auth_key *k = a->slots[i]; k != NULL; k = k->next)
            k->good = k->good && k->round == a->round;
}

// With the lock held.
static bool has_tenants(const struct api_auth *a)
{
    const struct tenant *one = a->config.allow_unauthenticated ? a->anonymous.tenant : NULL;

    for (size_t i = 0; i < SLOTS; i++)
        for (const struct auth_key *k = a->slots[i]; k != NULL; k = k->next) {
            if (!k->good)
                continue;
            if (one != NULL && one != k->caller.tenant)
                return true;
            one = k->caller.tenant;
        }
    return false;
}

// With the lock held for writing.
static int take_keys(struct api_auth *a, const struct buf *keys)
{
    a->round++;
    a->good = 0;
    for (size_t at = 0; at < keys->len; at += sizeof(struct store_key)) {
        struct store_key key;

        memcpy(&key, keys->data + at, sizeof(key));
        if (take_key(a, &key) < 0)
            return -1;
    }
    drop_missing(a);
    atomic_store(&a->shared, has_tenants(a));
    return 0;
}

bool api_auth_is_shared(const struct api_auth *a)
{
    return atomic_load(&a->shared);
}

// With `reading` held. Who asks meanwhile is told by what was read before: the store may be slow.
static int read_keys(struct api_auth *a, struct err *err)
{
    _cleanup_buf_ struct buf keys = BUF_INIT;
    uint64_t generation = store_key_generation(a->config.store);
    int r;

    *err = (struct err)ERR_INIT;
    r = store_key_each(a->config.store, on_key, &keys, err);
    if (r == 0)
        r = read_limits(a, err);
    atomic_store(&a->read_ns, clock_mono_ns());
    if (r == 0) {
        (void)pthread_rwlock_wrlock(&a->lock);
        r = take_keys(a, &keys);
        (void)pthread_rwlock_unlock(&a->lock);
    }
    if (r < 0)
        return err->code == ERR_NONE ? out_of_memory(err) : -1;
    atomic_store(&a->generation, generation);
    return 0;
}

static bool has_changed(const struct api_auth *a)
{
    return store_key_generation(a->config.store) != atomic_load(&a->generation);
}

// Now and then they are read anyway, by one request while others go on, for changes that nothing
// told of; that it fails then changes nothing.
static int refresh(struct api_auth *a, struct err *err)
{
    int r = 0;

    if (has_changed(a)) {
        (void)pthread_mutex_lock(&a->reading);
        if (has_changed(a))
            r = read_keys(a, err);
        (void)pthread_mutex_unlock(&a->reading);
    } else if (clock_mono_ns() - atomic_load(&a->read_ns) > REREAD_NS &&
               pthread_mutex_trylock(&a->reading) == 0) {
        if (read_keys(a, err) < 0)
            log_warn("%s", err->message);
        (void)pthread_mutex_unlock(&a->reading);
    }
    return r;
}

static int check_needed(const struct api_auth *a, struct err *err)
{
    if (a->config.loopback || a->config.allow_unauthenticated || a->good > 0)
        return 0;
    return err_field(err, ERR_INVALID, "API_HOST",
                     "API_HOST: this address can be reached by others, and there is no API key: "
                     "anyone could run code. " HOW_TO_MAKE
                     "; ALLOW_UNAUTHENTICATED=1 if that is meant");
}

int api_auth_new(const struct api_auth_config *config, struct api_auth **ret, struct err *err)
{
    struct api_auth *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return out_of_memory(err);
    a->config = *config;
    (void)pthread_mutex_init(&a->reading, NULL);
    (void)pthread_rwlock_init(&a->lock, NULL);
    a->anonymous.tenant = tenant_get(config->tenants, "");
    a->host = a->anonymous;
    a->host.admin = true;
    if (a->anonymous.tenant == NULL)
        (void)out_of_memory(err);
    if (a->anonymous.tenant == NULL || read_keys(a, err) < 0 || check_needed(a, err) < 0) {
        api_auth_free(a);
        return -1;
    }
    *ret = a;
    return 0;
}

void api_auth_free(struct api_auth *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        while (a->slots[i] != NULL) {
            struct auth_key *next = a->slots[i]->next;

            free(a->slots[i]);
            a->slots[i] = next;
        }
    (void)pthread_rwlock_destroy(&a->lock);
    (void)pthread_mutex_destroy(&a->reading);
    free(a);
}

// What the client says of itself: "" when it says nothing.
static const char *given_key(const struct http_request *req)
{
    const char *key = http_header(req, "X-API-KEY");
    const char *authorization = http_header(req, "Authorization");

    if (key != NULL && key[0] != '\0')
        return key;
    if (authorization == NULL || strncasecmp(authorization, BEARER, strlen(BEARER)) != 0)
        return "";
    return authorization + strlen(BEARER) + strspn(authorization + strlen(BEARER), " ");
}

// NULL: he may not, without saying more.
static const struct api_caller *identify(struct api_auth *a, const char *given)
{
    const struct api_caller *caller = NULL;
    uint8_t hash[STORE_KEY_HASH_BYTES];
    const struct auth_key *k = NULL;
    bool any;

    if (strlen(given) == STORE_KEY_TEXT_LEN)
        store_key_hash(given, hash);
    (void)pthread_rwlock_rdlock(&a->lock);
    any = a->any;
    if (any && strlen(given) == STORE_KEY_TEXT_LEN)
        k = find(a, hash);
    if (k != NULL && k->good)
        caller = &k->caller;
    (void)pthread_rwlock_unlock(&a->lock);
    if (caller == NULL && !any)
        return a->config.loopback || a->config.allow_unauthenticated ? &a->host : NULL;
    if (caller == NULL && given[0] == '\0' && a->config.allow_unauthenticated)
        return &a->anonymous;
    return caller;
}

// Those of the sandbox API are read by E2B's SDKs.
static void e2b_or_http_fail(const struct http_request *req, struct http_response *res,
                             unsigned status, const char *word, const char *field,
                             const char *message)
{
    static const char *const theirs[] = {"/sandboxes", "/v2/sandboxes", "/snapshots", "/templates"};

    for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++)
        if (strncmp(req->path, theirs[i], strlen(theirs[i])) == 0) {
            e2b_fail(res, status, word, message);
            return;
        }
    http_fail(req, res, status, word, field, message);
}

static void deny(const struct http_request *req, struct http_response *res, const char *given)
{
    e2b_or_http_fail(
        req, res, 401, "unauthorized", NULL,
        given[0] == '\0'
            ? "An API key is needed: send it as X-API-KEY or as Authorization: Bearer. "
              "On the service's host " HOW_TO_MAKE "."
            : "The API key is not known, or was revoked.");
    http_set_header(res, "WWW-Authenticate", "Bearer");
}

static bool take_request(const struct http_request *req, struct http_response *res,
                         struct tenant *tenant)
{
    struct err err = ERR_INIT;
    uint64_t wait_ms;

    if (tenant_take_request(tenant, clock_mono_ns(), &wait_ms, &err) == 0)
        return true;
    e2b_or_http_fail(req, res, 429, "limit", err.field, err.message);
    http_set_retry_after(res, wait_ms);
    return false;
}

bool api_admit(void *app, const struct http_route *route, const struct http_request *req,
               const void **ret_caller, struct http_response *res)
{
    const struct api *api = app;
    const char *given = given_key(req);
    const struct api_caller *caller;
    struct err err = ERR_INIT;

    if (refresh(api->auth, &err) < 0) {
        log_error("%s", err.message);
        e2b_or_http_fail(req, res, 500, "internal", NULL, "The keys cannot be read.");
        return false;
    }
    caller = identify(api->auth, given);
    *ret_caller = caller;
    if (route->access == API_OPEN)
        return true;
    if (caller == NULL) {
        deny(req, res, given);
        return false;
    }
    if (route->access == API_ADMIN && !caller->admin) {
        e2b_or_http_fail(req, res, 403, "admin_only", NULL,
                         "This needs an API key of the role admin.");
        return false;
    }
    return take_request(req, res, caller->tenant);
}

const struct api_caller *api_caller(const struct http_request *req)
{
    return req->caller;
}
