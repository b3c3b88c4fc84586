// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: made of a running sandbox, listed, deleted. They are named as templates are where a
// sandbox is made.
#include "api/api.h"
#include "api/sandboxes_internal.h"
#include "api/sandboxes_parse.h"
#include "base/fd.h"
#include "base/log.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/live.h"
#include "sandbox/templates.h"
#include "json/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_snapshot(struct json_out *out, const struct live_snapshot *s)
{
    char reference[LIVE_REFERENCE_MAX];
    char name[LIVE_REFERENCE_MAX];

    live_snapshot_reference(s, reference);
    json_open(out, NULL, '{');
    json_put_str(out, "snapshotID", reference);
    json_open(out, "names", '[');
    if (s->name[0] != '\0') {
        (void)snprintf(name, sizeof(name), "%s:default", s->name);
        json_put_str(out, NULL, name);
    }
    json_close(out, ']');
    json_close(out, '}');
}

static void make(const struct api *api, const struct http_request *req, struct http_response *res,
                 struct live *l)
{
    struct json_out out = {.buf = &res->body};
    char name[LIVE_KEY_MAX];
    struct live_snapshot s;
    struct err err = ERR_INIT;

    if (snapshot_parse(req->body, req->body_len, name, &err) < 0) {
        e2b_fail_err(req, res, &err);
    } else if (live_snapshot(api->live, l, name, &s, &err) == 0) {
        res->status = 201;
        put_snapshot(&out, &s);
        if (out.failed)
            e2b_fail(res, 500, "internal", "out of memory");
    } else if (err.code == ERR_INVALID && err.field[0] == '\0') {
        e2b_fail(res, 409, "paused", "The sandbox is paused.");
    } else if (err.code == ERR_GONE) {
        e2b_fail(res, 404, "not_found", "The sandbox has just ended.");
    } else {
        if (err.code == ERR_SYSTEM || err.code == ERR_PROTOCOL || err.code == ERR_TIMEOUT)
            log_error("cannot make a snapshot: %s", err.message);
        e2b_fail_err(req, res, &err);
    }
}

void api_snapshots_create(void *app, const struct http_request *req, struct http_response *res)
{
    struct live *l = e2b_sandbox(app, req, res, 1);

    if (l == NULL)
        return;
    make(app, req, res, l);
    live_unref(l);
}

// Listing.

struct page {
    struct json_out out;
    const struct snapshot_query *query;
    struct live_snapshot only; // the one that `name` names
    bool has_only;
    size_t listed;
    struct live_snapshot last;
    bool more;
};

static int list_one(void *arg, const struct live_snapshot *s)
{
    struct page *p = arg;
    const struct snapshot_query *q = p->query;

    if (!list_is_after(&q->after, false, s->created_ms, s->id) ||
        (q->sandbox[0] != '\0' && strcmp(q->sandbox, s->sandbox) != 0) ||
        (q->name[0] != '\0' && (!p->has_only || strcmp(p->only.id, s->id) != 0)))
        return 0;
    if (p->listed == q->limit) {
        p->more = true;
        return 1;
    }
    put_snapshot(&p->out, s);
    p->last = *s;
    p->listed++;
    return 0;
}

static void list(const struct api *api, const struct http_request *req, struct http_response *res,
                 const char *key, const struct snapshot_query *q)
{
    struct page p = {.out = {.buf = &res->body}, .query = q};
    char token[LIST_TOKEN_MAX];
    struct err err = ERR_INIT;

    json_open(&p.out, NULL, '[');
    if (live_snapshot_find(api->live, key, q->name, &p.only, &p.has_only, &err) < 0 ||
        live_snapshot_each(api->live, key, list_one, &p, &err) < 0) {
        e2b_fail_err(req, res, &err);
        return;
    }
    json_close(&p.out, ']');
    res->status = 200;
    if (p.out.failed) {
        e2b_fail(res, 500, "internal", "out of memory");
    } else if (p.more) {
        list_token(false, p.last.created_ms, p.last.id, token);
        http_set_header(res, "X-Next-Token", token);
    }
}

void api_snapshots_list(void *app, const struct http_request *req, struct http_response *res)
{
    char *values[SNAPSHOT_ARGS] = {NULL};
    char key[LIVE_KEY_MAX];
    struct snapshot_query q;
    struct err err = ERR_INIT;
    bool good = e2b_authorize(app, req, res, key);

    for (size_t i = 0; good && i < SNAPSHOT_ARGS; i++)
        good = e2b_argument(req, res, snapshot_arguments[i], &values[i]);
    if (good && snapshot_list_parse((const char *const *)values, &q, &err) < 0) {
        e2b_fail_err(req, res, &err);
        good = false;
    }
    if (good)
        list(app, req, res, key, &q);
    for (size_t i = 0; i < SNAPSHOT_ARGS; i++)
        free(values[i]);
}

// The name in the path, of which the SDKs encode the colon; "" when it is none.
static void read_name(const struct http_request *req, char ret[LIVE_REFERENCE_MAX])
{
    char encoded[3 * LIVE_REFERENCE_MAX];
    _cleanup_free_ char *name = NULL;

    ret[0] = '\0';
    if (http_segment(req, 1, encoded, sizeof(encoded)) &&
        http_unescape(encoded, strlen(encoded), false, &name) == 0 &&
        strlen(name) < LIVE_REFERENCE_MAX)
        memcpy(ret, name, strlen(name) + 1);
}

// The service's own templates stay.
void api_templates_delete(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    char key[LIVE_KEY_MAX];
    char name[LIVE_REFERENCE_MAX];
    struct template template;
    struct err err = ERR_INIT;
    bool found = false;

    if (!e2b_authorize(api, req, res, key))
        return;
    read_name(req, name);
    if (engine_find_template(api->engine, name, &template))
        e2b_fail(res, 403, "forbidden", "The service's own templates cannot be deleted.");
    else if (live_snapshot_remove(api->live, key, name, &found, &err) < 0)
        e2b_fail_err(req, res, &err);
    else if (found)
        res->status = 204;
    else
        e2b_fail(res, 404, "template_not_found", "There is no such template or snapshot.");
}
