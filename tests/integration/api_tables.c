// SPDX-License-Identifier: Apache-2.0
//
// Prints, as JSON, the tables that the service's HTTP API is made of: routes, the members that
// parsers take, limits, words. test_openapi.py compares them with src/api/openapi.yaml and
// docs/API.md.
#include "api/api.h"
#include "api/api_internal.h"
#include "api/auth.h"
#include "api/execute_parse.h"
#include "api/execute_result.h"
#include "api/jobs_parse.h"
#include "api/sandboxes_parse.h"
#include "base/fd.h"
#include "config/config.h"
#include "json/write.h"

#include <stdio.h>
#include <unistd.h>

static const struct {
    const char *schema;
    const char *const *fields;
} bodies[] = {
    {"ExecuteRequest", execute_fields},   {"ContentObject", execute_content_fields},
    {"Limits", execute_limit_fields},     {"Create", create_fields},
    {"Network", create_network_fields},   {"AutoResume", create_resume_fields},
    {"Timeout", seconds_timeout_fields},  {"NewTimeout", seconds_timeout_fields},
    {"Refresh", seconds_duration_fields}, {"Fork", fork_fields},
    {"JobBatch", jobs_batch_fields},      {"NewSnapshot", snapshot_fields},
};

static void put_routes(struct json_out *out)
{
    static const char *const access[] = {
        [API_KEY] = "key", [API_ADMIN] = "admin", [API_OPEN] = "open"};

    json_open(out, "routes", '[');
    for (const struct http_route *r = api_routes; r->method != NULL; r++) {
        json_open(out, NULL, '[');
        json_put_str(out, NULL, r->method);
        json_put_str(out, NULL, r->path);
        json_put_str(out, NULL, access[r->access]);
        json_close(out, ']');
    }
    json_close(out, ']');
}

static void put_names(struct json_out *out, const char *key, const char *const *names)
{
    json_open(out, key, '[');
    for (; *names != NULL; names++)
        json_put_str(out, NULL, *names);
    json_close(out, ']');
}

// A job's request has the members of a program's, and its own.
static void put_job_fields(struct json_out *out)
{
    json_open(out, "JobRequest", '[');
    for (const char *const *n = execute_fields; *n != NULL; n++)
        json_put_str(out, NULL, *n);
    for (const char *const *n = jobs_fields; *n != NULL; n++)
        json_put_str(out, NULL, *n);
    json_close(out, ']');
}

static void put_range(struct json_out *out, const char *field, uint64_t min, uint64_t max,
                      uint64_t def)
{
    json_open(out, field, '{');
    json_put_u64(out, "minimum", min);
    json_put_u64(out, "maximum", max);
    json_put_u64(out, "default", def);
    json_close(out, '}');
}

static void put_one(struct json_out *out, const char *field, const char *keyword, uint64_t value)
{
    json_open(out, field, '{');
    json_put_u64(out, keyword, value);
    json_close(out, '}');
}

// Those of a program, which a job has as well.
static void put_program_limits(struct json_out *out, const char *schema, const struct config *c)
{
    char field[64];

    (void)snprintf(field, sizeof(field), "%s.args", schema);
    put_one(out, field, "maxItems", EXECUTE_ARGS_MAX);
    (void)snprintf(field, sizeof(field), "%s.env", schema);
    put_one(out, field, "maxProperties", EXECUTE_ENV_MAX);
    (void)snprintf(field, sizeof(field), "%s.files", schema);
    put_one(out, field, "maxProperties", EXECUTE_FILES_MAX);
    (void)snprintf(field, sizeof(field), "%s.timeout", schema);
    json_open(out, field, '{');
    json_put_u64(out, "maximum", c->max_timeout_s);
    json_put_u64(out, "default", c->default_timeout_s);
    json_close(out, '}');
}

static void put_limits(struct json_out *out)
{
    static const char *const seconds[] = {"Timeout.timeout", "NewTimeout.timeout",
                                          "Refresh.duration"};
    struct config c;
    struct err err = ERR_INIT;

    config_init(&c);
    if (config_finish(&c, &err) < 0)
        out->failed = true;
    json_open(out, "limits", '{');
    for (size_t i = 0; i < CONFIG_LIMIT_COUNT; i++) {
        char field[64];

        (void)snprintf(field, sizeof(field), "Limits.%s", execute_limit_fields[i]);
        put_range(out, field, c.limits[i].min, c.limits[i].max, c.limits[i].def);
    }
    put_program_limits(out, "ExecuteRequest", &c);
    put_program_limits(out, "JobRequest", &c);
    put_range(out, "JobRequest.priority", 0, QUEUE_PRIORITY_MAX, JOBS_PRIORITY_DEFAULT);
    put_range(out, "JobRequest.max_attempts", 1, QUEUE_ATTEMPTS_MAX, 1);
    put_one(out, "JobRequest.idempotency_key", "maxLength", JOBS_KEY_BYTES_MAX);
    put_one(out, "JobRequest.callback_url", "maxLength", QUEUE_URL_MAX - 1);
    put_one(out, "JobBatch.jobs", "maxItems", QUEUE_PUT_COUNT_MAX);
    put_range(out, "Create.timeout", 1, c.sandbox_life_max_s, SANDBOXES_TIMEOUT_V2_S);
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        json_open(out, seconds[i], '{');
        json_put_i64(out, "minimum", SANDBOXES_SECONDS_MIN);
        json_put_i64(out, "maximum", SANDBOXES_SECONDS_MAX);
        json_close(out, '}');
    }
    put_one(out, "Pairs", "maxProperties", SANDBOXES_PAIRS_MAX);
    put_range(out, "Fork.count", 1, LIVE_FORK_MAX, 1);
    put_range(out, "Fork.timeout", 1, c.sandbox_life_max_s, SANDBOXES_TIMEOUT_V2_S);
    json_close(out, '}');
}

// The word for every way a step can end.
static void put_statuses(struct json_out *out)
{
    json_open(out, "statuses", '[');
    for (unsigned i = 0; i < 8u * RUN_INTERNAL; i++) {
        const struct run_step step = {.reason = (enum run_reason)(i / 8),
                                      .exit_code = (i & 1) != 0 ? 1 : 0,
                                      .signal = (i & 2) != 0 ? 9 : 0};
        const struct run_result result = {
            .compiled = true, .ran = (i & 4) != 0, .compile = step, .run = step};

        json_put_str(out, NULL, execute_status(&result));
    }
    json_close(out, ']');
    json_open(out, "reasons", '[');
    for (unsigned i = 0; i < RUN_REASON_COUNT; i++)
        json_put_str(out, NULL, run_reason_name((enum run_reason)i));
    json_close(out, ']');
    json_open(out, "errors", '[');
    for (unsigned i = ERR_NONE + 1; i < ERR_CODE_COUNT; i++) {
        json_open(out, NULL, '[');
        json_put_u64(out, NULL, api_error_status((enum err_code)i));
        json_put_str(out, NULL, api_error_word((enum err_code)i));
        json_close(out, ']');
    }
    json_close(out, ']');
}

int main(void)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    json_open(&out, NULL, '{');
    put_routes(&out);
    json_open(&out, "fields", '{');
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        put_names(&out, bodies[i].schema, bodies[i].fields);
    put_job_fields(&out);
    json_close(&out, '}');
    put_names(&out, "list_arguments", list_arguments);
    put_names(&out, "snapshot_arguments", snapshot_arguments);
    put_limits(&out);
    put_statuses(&out);
    json_close(&out, '}');
    return out.failed || fd_write_all(STDOUT_FILENO, text.data, text.len) < 0;
}
