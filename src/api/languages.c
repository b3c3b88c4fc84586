// SPDX-License-Identifier: Apache-2.0
//
// GET /languages: the runtime table, and the boundary that its programs run behind.
#include "api/api.h"
#include "api/api_internal.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "json/write.h"

static void put_runtime(struct json_out *out, const struct runtime *r)
{
    json_open(out, NULL, '{');
    json_put_str(out, "id", r->id);
    json_put_str(out, "name", r->name);
    json_put_str(out, "version", r->version);
    json_put_str(out, "extension", r->extension);
    json_put_str(out, "source", r->source);
    json_open(out, "aliases", '[');
    for (char *const *alias = r->aliases; *alias != NULL; alias++)
        json_put_str(out, NULL, *alias);
    json_close(out, ']');
    json_put_bool(out, "compiled", r->compile.argc > 0);
    json_put_bool(out, "prepared", r->prepare.argc > 0);
    json_close(out, '}');
}

void api_languages(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    const struct runtime_table *table = engine_runtimes(api->engine);
    struct engine_status status;
    struct json_out out = {.buf = &res->body};

    (void)req;
    engine_status(api->engine, &status);
    res->status = 200;
    json_open(&out, NULL, '{');
    json_open(&out, "languages", '[');
    for (size_t i = 0; i < runtime_count(table); i++)
        json_put_str(&out, NULL, runtime_at(table, i)->id);
    json_close(&out, ']');
    json_open(&out, "runtimes", '[');
    for (size_t i = 0; i < runtime_count(table); i++)
        put_runtime(&out, runtime_at(table, i));
    json_close(&out, ']');
    json_put_str(&out, "isolation", status.isolation);
    json_put_str(&out, "accel", status.accel);
    json_close(&out, '}');
}
