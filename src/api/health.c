// SPDX-License-Identifier: Apache-2.0
//
// GET /health: is the service able to run code, behind which boundary, and how full is it. Made
// for being asked often: one look at the engine, one question to the launcher.
#include "api/api.h"
#include "api/api_internal.h"
#include "api/auth.h"
#include "base/clock.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "json/write.h"

#include <stdio.h>
#include <time.h>

static void put_time(struct json_out *out)
{
    char text[CLOCK_UTC_BYTES];

    clock_format_utc(clock_real_ns(), text);
    json_put_str(out, "time", text);
}

// How long the making of a sandbox took of late: medians, milliseconds.
static void put_start_times(struct json_out *out, const struct engine_status *s)
{
    json_open(out, "start_ms", '{');
    json_put_double(out, "clone", (double)s->clone_ns / NS_PER_MS);
    json_put_double(out, "sync", (double)s->sync_ns / NS_PER_MS);
    json_put_double(out, "warm", (double)s->warm_ns / NS_PER_MS);
    json_put_double(out, "prepare", (double)s->prepare_ns / NS_PER_MS);
    json_close(out, '}');
}

static void put_compile_cache(struct json_out *out, const struct engine_cache_status *c)
{
    json_open(out, "compile_cache", '{');
    json_put_u64(out, "bytes", c->bytes);
    json_put_u64(out, "max_bytes", c->max_bytes);
    json_put_u64(out, "entries", c->entries);
    json_put_u64(out, "hits", c->hits);
    json_put_u64(out, "misses", c->misses);
    json_close(out, '}');
}

static void put_pool(struct json_out *out, const struct engine_status *s)
{
    json_open(out, "pool", '{');
    json_put_u64(out, "ready", s->pool_ready);
    json_put_u64(out, "target", s->pool_target);
    json_put_u64(out, "running", s->running);
    json_put_u64(out, "queued", s->queued);
    json_put_u64(out, "runs_total", s->runs_total);
    json_put_u64(out, "sandboxes_created", s->sandboxes_created);
    json_put_u64(out, "sandboxes_failed", s->sandboxes_failed);
    put_start_times(out, s);
    json_close(out, '}');
}

// What could hold a program and does not.
static void put_missing(struct json_out *out, const struct api_confinement *c)
{
    const struct {
        const char *name;
        bool there;
    } walls[] = {
        {"uid", c->uid},
        {"network", c->network},
        {"root", c->root},
        {"seccomp", c->seccomp},
        {"cgroup", c->cgroup},
        {"pid", c->pid},
        {"user_namespace", c->user_namespace || !c->process},
        {"landlock", c->landlock || !c->process},
    };

    json_open(out, "missing", '[');
    for (size_t i = 0; i < sizeof(walls) / sizeof(walls[0]); i++)
        if (!walls[i].there)
            json_put_str(out, NULL, walls[i].name);
    json_close(out, ']');
}

static void put_process(struct json_out *out, const struct api_confinement *c)
{
    json_put_bool(out, "user_namespace", c->user_namespace);
    json_put_bool(out, "landlock", c->landlock);
    json_open(out, "uids", '{');
    json_put_u64(out, "first", c->uid_first);
    json_put_u64(out, "count", c->uid_count);
    json_close(out, '}');
}

static void put_confinement(struct json_out *out, const struct api *api)
{
    struct api_confinement now = {0};
    const struct api_confinement *c = &now;

    if (api->confinement != NULL)
        api->confinement(api->confinement_arg, &now);
    if (!c->known) {
        json_put_null(out, "confinement");
        return;
    }
    json_open(out, "confinement", '{');
    json_put_bool(out, "uid", c->uid);
    json_put_bool(out, "network", c->network);
    json_put_bool(out, "root", c->root);
    json_put_bool(out, "seccomp", c->seccomp);
    json_put_bool(out, "cgroup", c->cgroup);
    json_put_bool(out, "pid", c->pid);
    json_put_u64(out, "cgroup_version", c->cgroup_version);
    json_put_str(out, "cgroup_note", c->cgroup_note);
    if (c->process)
        put_process(out, c);
    else
        json_put_str(out, "vmm", c->vmm);
    put_missing(out, c);
    json_put_str(out, "note", c->note);
    json_close(out, '}');
}

static const char *status_word(const struct engine_status *s)
{
    if (s->ready)
        return "healthy";
    return s->template_key[0] != '\0' && s->sandboxes_failed > 0 ? "degraded" : "starting";
}

// For what sends traffic only where it can be served: asked often, so the body says no more.
void api_ready(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct engine_status status;
    struct json_out out = {.buf = &res->body};

    engine_status(api->engine, &status);
    res->status = status.ready ? 200 : 503;
    json_open(&out, NULL, '{');
    json_put_bool(&out, "ready", status.ready);
    if (api_caller(req) != NULL)
        json_put_str(&out, "state", status.state);
    json_close(&out, '}');
}

// Who has no key where keys are needed learns whether it works and what would run his code.
void api_health(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct engine_status status;
    struct json_out out = {.buf = &res->body};

    engine_status(api->engine, &status);
    res->status = status.ready ? 200 : 503;
    (void)buf_reserve(&res->body, 2048); // one allocation; without it the writer grows in steps
    json_open(&out, NULL, '{');
    json_put_str(&out, "status", status_word(&status));
    put_time(&out);
    json_put_str(&out, "isolation", status.isolation);
    json_put_str(&out, "accel", status.accel);
    if (api_caller(req) == NULL) {
        json_close(&out, '}');
        return;
    }
    json_put_str(&out, "note", status.note);
    json_put_str(&out, "state", status.state);
    json_put_str(&out, "version", CSB_VERSION);
    json_put_str(&out, "template", status.template_key);
    put_pool(&out, &status);
    put_compile_cache(&out, &status.compile_cache);
    put_confinement(&out, api);
    json_close(&out, '}');
}
