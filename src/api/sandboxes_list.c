// SPDX-License-Identifier: Apache-2.0
//
// Which sandboxes there are: those of the asking key alone, filtered and in pages.
#include "api/api.h"
#include "api/sandboxes_internal.h"
#include "api/sandboxes_parse.h"
#include "base/fd.h"
#include "http/http.h"
#include "sandbox/live.h"
#include "json/write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS 7

// True when every pair of the filter is a pair of the sandbox.
static bool has_metadata(const struct live_info *info, const struct pair_list *filter)
{
    for (size_t i = 0; i < filter->count; i++) {
        bool found = false;

        for (size_t j = 0; j < info->metadata_count && !found; j++)
            found = strcmp(info->metadata[j].name, filter->list[i].name) == 0 &&
                    strcmp(info->metadata[j].value, filter->list[i].value) == 0;
        if (!found)
            return false;
    }
    return true;
}

static bool is_asked_for(const struct live_info *info, const struct list_query *q)
{
    if (info->state == LIVE_ENDED || (info->state == LIVE_PAUSED ? !q->paused : !q->running))
        return false;
    if (q->template[0] != '\0' && strcmp(q->template, info->template) != 0)
        return false;
    if (q->started_after_ms > 0 && info->started_ms <= q->started_after_ms)
        return false;
    return has_metadata(info, &q->metadata);
}

static void put_page(const struct api *api, struct http_response *res, const struct list_query *q,
                     struct live *const *list, size_t count)
{
    struct json_out out = {.buf = &res->body};
    char token[LIST_TOKEN_MAX] = "";
    size_t listed = 0, running = 0;
    struct live_info last = {0};
    char number[24];

    json_open(&out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        struct live_info info;

        live_describe(api->live, list[q->ascending ? i : count - 1 - i], &info);
        if (!is_asked_for(&info, q))
            continue;
        running += info.state == LIVE_RUNNING;
        if (!list_is_after(&q->after, q->ascending, info.started_ms, info.id))
            continue;
        if (listed == q->limit && token[0] == '\0')
            list_token(q->ascending, last.started_ms, last.id, token);
        if (listed == q->limit)
            continue;
        json_open(&out, NULL, '{');
        e2b_put_listed(&out, &info);
        json_close(&out, '}');
        last = info;
        listed++;
    }
    json_close(&out, ']');
    res->status = 200;
    if (out.failed) {
        e2b_fail(res, 500, "internal", "out of memory");
        return;
    }
    if (token[0] != '\0')
        http_set_header(res, "X-Next-Token", token);
    (void)snprintf(number, sizeof(number), "%zu", running);
    if (q->running)
        http_set_header(res, "X-Total-Running", number);
}

static void list(const struct api *api, struct http_response *res, const struct list_query *q,
                 const char *key)
{
    size_t count = 0;
    struct live **all = live_list(api->live, key, &count);

    if (all == NULL) {
        e2b_fail(res, 500, "internal", "out of memory");
        return;
    }
    put_page(api, res, q, all, count);
    for (size_t i = 0; i < count; i++)
        live_unref(all[i]);
    free(all);
}

bool e2b_argument(const struct http_request *req, struct http_response *res, const char *name,
                  char **ret)
{
    char message[96];
    int r = http_query(req, name, ret);

    if (r == 0)
        return true;
    (void)snprintf(message, sizeof(message), "%s %s", name,
                   r == -EEXIST ? "is there twice" : "is not percent-encoded as it should be");
    e2b_fail(res, 400, "invalid", message);
    return false;
}

static void list_asked(const struct api *api, const struct http_request *req,
                       struct http_response *res, bool v2, const char *key)
{
    char *values[ARGS] = {NULL};
    struct list_query q;
    struct err err = ERR_INIT;
    bool good = true;

    for (size_t i = 0; good && i < (v2 ? ARGS : 1); i++)
        good = e2b_argument(req, res, list_arguments[i], &values[i]);
    const struct list_args args = {
        values[0], v2 ? values[1] : "running", values[2], values[3], values[4], values[5],
        values[6]};
    if (good && list_parse(&args, &q, &err) < 0) {
        e2b_fail_err(req, res, &err);
        good = false;
    }
    for (size_t i = 0; i < ARGS; i++)
        free(values[i]);
    if (!good)
        return;
    if (!v2)
        q.limit = SIZE_MAX;
    list(api, res, &q, key);
    list_query_release(&q);
}

void api_sandboxes_list_v1(void *app, const struct http_request *req, struct http_response *res)
{
    char key[LIVE_KEY_MAX];

    if (e2b_authorize(app, req, res, key))
        list_asked(app, req, res, false, key);
}

void api_sandboxes_list_v2(void *app, const struct http_request *req, struct http_response *res)
{
    char key[LIVE_KEY_MAX];

    if (e2b_authorize(app, req, res, key))
        list_asked(app, req, res, true, key);
}
