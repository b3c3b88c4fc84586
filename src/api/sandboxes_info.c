// SPDX-License-Identifier: Apache-2.0
//
// What else is told of sandboxes: what they use, their logs (of which there are none: what a
// program writes goes to who runs it), and the few templates.
#include "api/api.h"
#include "api/sandboxes_internal.h"
#include "base/clock.h"
#include "base/parse.h"
#include "config/config.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/live.h"
#include "sandbox/templates.h"
#include "json/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define METRICS_MS  5000
#define METRICS_MAX 100 // sandboxes of one question

static void put_metric(struct json_out *out, const char *key, const struct live_metrics *m)
{
    uint64_t now_ms = clock_real_ns() / NS_PER_MS;

    json_open(out, key, '{');
    e2b_put_time(out, "timestamp", now_ms);
    json_put_u64(out, "timestampUnix", now_ms / 1000);
    json_put_u64(out, "cpuCount", m->cpu_count);
    json_put_double(out, "cpuUsedPct", m->cpu_used_percent);
    json_put_u64(out, "memUsed", m->memory_used_bytes);
    json_put_u64(out, "memTotal", m->memory_total_bytes);
    json_put_u64(out, "memCache", m->memory_cache_bytes);
    json_put_u64(out, "diskUsed", m->disk_used_bytes);
    json_put_u64(out, "diskTotal", m->disk_total_bytes);
    json_close(out, '}');
}

// A bound in Unix seconds. False: the answer is filled.
static bool read_bound(const struct http_request *req, struct http_response *res, const char *name,
                       uint64_t *ret)
{
    char *text = NULL;
    char message[64];
    int r = http_query(req, name, &text);

    if (r == 0 && text != NULL)
        r = parse_u64(text, 0, UINT32_MAX, ret);
    free(text);
    if (r == 0)
        return true;
    (void)snprintf(message, sizeof(message), "%s must be a time in Unix seconds", name);
    e2b_fail(res, 400, "invalid", message);
    return false;
}

// Nothing is kept of the past: there is a value of now, if that is within the bounds.
void api_sandboxes_metrics(void *app, const struct http_request *req, struct http_response *res)
{
    struct json_out out = {.buf = &res->body};
    uint64_t start = 0, end = UINT64_MAX;
    struct live *l = e2b_sandbox(app, req, res, 1);
    struct live_metrics m;
    struct err err = ERR_INIT;
    uint64_t now = clock_real_ns() / NS_PER_S;

    if (l == NULL)
        return;
    if (read_bound(req, res, "start", &start) && read_bound(req, res, "end", &end)) {
        res->status = 200;
        json_open(&out, NULL, '[');
        if (start <= now + 1 && end >= now - 1 &&
            live_metrics(l, clock_deadline_ms(METRICS_MS), &m, &err) == 0)
            put_metric(&out, NULL, &m);
        json_close(&out, ']');
        if (err.code != ERR_NONE && err.code != ERR_GONE) // a paused one uses nothing
            e2b_fail_err(req, res, &err);
    }
    live_unref(l);
}

static void put_metric_of(struct json_out *out, const struct api *api, const char *id,
                          const char *key)
{
    struct live *l = live_find(api->live, id);
    struct live_metrics m;
    struct live_info info;
    struct err err = ERR_INIT;

    if (l == NULL)
        return;
    live_describe(api->live, l, &info);
    if (strcmp(info.key, key) == 0 && live_metrics(l, clock_deadline_ms(METRICS_MS), &m, &err) == 0)
        put_metric(out, id, &m);
    live_unref(l);
}

void api_sandboxes_metrics_all(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct json_out out = {.buf = &res->body};
    char key[LIVE_KEY_MAX];
    char *ids = NULL;
    char *rest = NULL;
    int count = 0;

    if (!e2b_authorize(api, req, res, key))
        return;
    if (http_query(req, "sandbox_ids", &ids) < 0 || ids == NULL) {
        e2b_fail(res, 400, "invalid", "sandbox_ids must be ids with commas between them");
        return;
    }
    json_open(&out, NULL, '{');
    json_open(&out, "sandboxes", '{');
    for (char *id = strtok_r(ids, ",", &rest); id != NULL && count < METRICS_MAX;
         id = strtok_r(NULL, ",", &rest), count++)
        put_metric_of(&out, api, id, key);
    json_close(&out, '}');
    json_close(&out, '}');
    res->status = 200;
    free(ids);
}

static void answer_raw(struct http_response *res, const char *json)
{
    res->status = buf_append(&res->body, json, strlen(json)) == 0 ? 200 : 500;
}

void api_sandboxes_logs_v1(void *app, const struct http_request *req, struct http_response *res)
{
    struct live *l = e2b_sandbox(app, req, res, 1);

    if (l != NULL)
        answer_raw(res, "{\"logs\":[],\"logEntries\":[]}");
    live_unref(l);
}

void api_sandboxes_logs_v2(void *app, const struct http_request *req, struct http_response *res)
{
    struct live *l = e2b_sandbox(app, req, res, 2);

    if (l != NULL)
        answer_raw(res, "{\"logs\":[]}");
    live_unref(l);
}

void api_templates_alias(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct json_out out = {.buf = &res->body};
    char key[LIVE_KEY_MAX];
    char name[64] = "";
    struct template template;

    if (!e2b_authorize(api, req, res, key))
        return;
    (void)http_segment(req, 2, name, sizeof(name));
    if (!engine_find_template(api->engine, name, &template)) {
        e2b_fail(res, 404, "template_not_found", "There is no such template.");
        return;
    }
    res->status = 200;
    json_open(&out, NULL, '{');
    json_put_str(&out, "templateID", template.name);
    json_put_bool(&out, "public", true);
    json_close(&out, '}');
}

static void put_part(void *arg, const struct template_part *part)
{
    struct json_out *out = arg;

    json_open(out, NULL, '{');
    json_put_str(out, "kind", part->kind);
    json_put_str(out, "name", part->name);
    json_put_str(out, "version", part->version);
    json_close(out, '}');
}

// A list of one, as what has one name has it.
static void put_names(struct json_out *out, const char *key, const char *name)
{
    json_open(out, key, '[');
    json_put_str(out, NULL, name);
    json_close(out, ']');
}

// Since 1970; 0: not known. The service's own are as old as the image they are in.
static uint64_t built_ms(const struct api *api, const struct template *t)
{
    const struct config *config = api->config;
    bool process = strcmp(config->isolation, "process") == 0;
    struct stat st;

    if (t->root != 0)
        return t->built_ms;
    if (stat(process ? config->rootfs_tree : config->rootfs_path, &st) < 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * 1000;
}

// What a sandbox of it has, and since when it is there: `e2b template list` shows it.
static void put_shape(const struct api *api, struct json_out *out, const struct template *t)
{
    uint32_t cpus, memory_mib, disk_mib;
    uint64_t ms = built_ms(api, t);

    live_shape(api->live, &cpus, &memory_mib, &disk_mib);
    json_put_u64(out, "cpuCount", cpus);
    json_put_u64(out, "memoryMB", memory_mib);
    json_put_u64(out, "diskSizeMB", disk_mib);
    json_put_str(out, "envdVersion", E2B_ENVD_VERSION);
    json_put_str(out, "buildStatus", "ready");
    if (ms == 0)
        return;
    e2b_put_time(out, "createdAt", ms);
    e2b_put_time(out, "updatedAt", ms);
}

static void put_template(const struct api *api, struct json_out *out, const struct template *t)
{
    json_open(out, NULL, '{');
    json_put_str(out, "templateID", t->name);
    put_names(out, "aliases", t->name);
    put_names(out, "names", t->name);
    json_put_bool(out, "public", true);
    put_shape(api, out, t);
    json_put_bool(out, "codeInterpreter", t->contexts);
    if (t->root == 0)
        json_put_str(out, "kind", "built-in");
    else
        json_put_str(out, "kind", "recipe");
    if (t->bytes > 0)
        json_put_u64(out, "sizeBytes", t->bytes);
    if (t->root != 0) {
        json_open(out, "packages", '[');
        engine_each_template_part(api->engine, t->name, put_part, out);
        json_close(out, ']');
    }
    json_close(out, '}');
}

void api_templates_list(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct json_out out = {.buf = &res->body};
    char key[LIVE_KEY_MAX];
    struct template *list;
    size_t count;

    if (!e2b_authorize(api, req, res, key))
        return;
    list = calloc(TEMPLATES_LIST_MAX, sizeof(*list));
    if (list == NULL) {
        e2b_fail(res, 500, "internal", "out of memory");
        return;
    }
    count = engine_list_templates(api->engine, list, TEMPLATES_LIST_MAX);
    res->status = 200;
    json_open(&out, NULL, '[');
    for (size_t i = 0; i < count; i++)
        put_template(api, &out, &list[i]);
    json_close(&out, ']');
    free(list);
    if (out.failed)
        e2b_fail(res, 500, "internal", "out of memory");
}
