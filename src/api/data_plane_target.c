// SPDX-License-Identifier: Apache-2.0
//
// Which sandbox a request is for, and the signatures of links to its files.
#include "api/data_plane_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "sandbox/live.h"
#include "json/base64.h"

#include <errno.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE_PREFIX "v1_"

// Takes an id of [a-z0-9], up to `len` bytes.
static bool take_id(const char *text, size_t len, char ret[PLANE_ID_MAX + 1])
{
    if (len == 0 || len > PLANE_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return false;
        ret[i] = c;
    }
    ret[len] = '\0';
    return true;
}

static bool take_port(const char *text, uint16_t *ret)
{
    uint64_t port;

    if (parse_u64(text, 1, UINT16_MAX, &port) < 0)
        return false;
    *ret = (uint16_t)port;
    return true;
}

// "<port>-<id>.anything", or "<port>-<id>-<what former clients put there>.anything".
static bool find_in_host(const char *host, struct plane_target *ret)
{
    char label[PLANE_ID_MAX + 8];
    size_t len = strcspn(host, ".:");
    char *dash;

    if (len >= sizeof(label) || host[0] < '0' || host[0] > '9')
        return false;
    for (size_t i = 0; i < len; i++)
        label[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] | 0x20) : host[i];
    label[len] = '\0';
    dash = strchr(label, '-');
    if (dash == NULL)
        return false;
    *dash++ = '\0';
    return take_port(label, &ret->port) && take_id(dash, strcspn(dash, "-"), ret->id);
}

// Whether the query names the argument, whatever it says.
static bool asks_for(const char *query, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = query; at != NULL; at = strchr(at, '&')) {
        at += *at == '&';
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return true;
    }
    return false;
}

enum plane_target_kind plane_find_target(const struct http_request *req, struct plane_target *ret)
{
    const char *id = http_header(req, "E2b-Sandbox-Id");
    const char *port = http_header(req, "E2b-Sandbox-Port");
    const char *host = http_header(req, "Host");

    if (id != NULL && port != NULL)
        return take_id(id, strlen(id), ret->id) && take_port(port, &ret->port) ? PLANE_SANDBOX
                                                                               : PLANE_BAD;
    if (id != NULL || port != NULL)
        return PLANE_BAD;
    if (host != NULL && find_in_host(host, ret))
        return PLANE_SANDBOX;
    if (strcmp(req->path, "/files") == 0 && asks_for(req->query, "signature"))
        return PLANE_SIGNED;
    return PLANE_OTHER;
}

bool plane_same_secret(const char *a, const char *b)
{
    size_t len;

    if (a == NULL || b == NULL)
        return false;
    len = strlen(b);
    return strlen(a) == len && memeql_sec(a, b, len) != 0;
}

// What a request says of its signature; each freed with free().
struct signature {
    char *path;
    char *user;
    char *given;
    char *expires; // NULL: never
    const char *operation;
};

static void signature_release(struct signature *s)
{
    free(s->path);
    free(s->user);
    free(s->given);
    free(s->expires);
}

static int signature_read(const struct http_request *req, struct signature *ret)
{
    int r = http_query(req, "path", &ret->path);

    if (r == 0)
        r = http_query(req, "username", &ret->user);
    if (r == 0)
        r = http_query(req, "signature", &ret->given);
    if (r == 0)
        r = http_query(req, "signature_expiration", &ret->expires);
    ret->operation = strcmp(req->method, "POST") == 0 ? "write" : "read";
    return r;
}

static bool signature_is_of(const struct signature *s, const char *token)
{
    _cleanup_buf_ struct buf want = BUF_INIT;
    uint8_t digest[SHA256_DIGEST_SIZE];
    struct sha256_ctx hash;
    const char *const parts[] = {s->path, s->operation, s->user, token, s->expires};

    sha256_init(&hash);
    for (size_t i = 0; i < 5; i++) {
        const char *part = parts[i] != NULL ? parts[i] : "";

        if (i == 4 && s->expires == NULL)
            break;
        if (i > 0)
            sha256_update(&hash, 1, (const uint8_t *)":");
        sha256_update(&hash, strlen(part), (const uint8_t *)part);
    }
    sha256_digest(&hash, sizeof(digest), digest);
    if (buf_append(&want, SIGNATURE_PREFIX, strlen(SIGNATURE_PREFIX)) < 0 ||
        base64_encode(digest, sizeof(digest), &want) < 0)
        return false;
    while (want.len > 0 && want.data[want.len - 1] == '=')
        want.len--;
    return buf_cstr(&want) != NULL && plane_same_secret(s->given, (const char *)want.data);
}

enum plane_refusal plane_check_signature(const struct http_request *req, const char *token)
{
    __attribute__((cleanup(signature_release))) struct signature s = {0};
    uint64_t expires;

    if (signature_read(req, &s) < 0)
        return PLANE_BAD_REQUEST;
    if (s.given == NULL || s.given[0] == '\0')
        return PLANE_NO_SIGNATURE;
    if (!signature_is_of(&s, token))
        return PLANE_BAD_SIGNATURE;
    if (s.expires == NULL)
        return PLANE_FINE;
    if (parse_u64(s.expires, 0, UINT64_MAX, &expires) < 0)
        return PLANE_BAD_SIGNATURE;
    return expires < clock_real_ns() / NS_PER_S ? PLANE_EXPIRED : PLANE_FINE;
}

static bool matches(void *arg, const char *id, const char *token)
{
    (void)id;
    return signature_is_of(arg, token);
}

struct live *plane_find_signed(struct live_table *t, const struct http_request *req)
{
    __attribute__((cleanup(signature_release))) struct signature s = {0};

    if (signature_read(req, &s) < 0 || s.given == NULL)
        return NULL;
    return live_match_signature(t, matches, &s);
}
