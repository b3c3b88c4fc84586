// SPDX-License-Identifier: Apache-2.0
//
// GET /debug/guest: what a live guest says about itself. The agent's answer is hostile input: only
// the known fields are passed on, each checked for its type.
#include "api/api.h"
#include "api/api_internal.h"
#include "base/clock.h"
#include "http/http.h"
#include "sandbox/engine.h"
#include "json/read.h"
#include "json/write.h"

#include <stdlib.h>
#include <string.h>

static const char *const numbers[] = {"cpu_count", "memory_total_bytes", "memory_available_bytes",
                                      "uptime_ms", "protocol"};
static const char *const texts[] = {"kernel", "cmdline", "agent"};

static int put_fields(struct json_out *out, const struct json_in *in, struct err *err)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t n = 0;

        if (json_get_u64(in, numbers[i], 0, INT64_MAX, &n, err) < 0)
            return -1;
        json_put_u64(out, numbers[i], n);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_str s = {"", 0};

        if (json_get_str(in, texts[i], &s, err) < 0)
            return -1;
        json_put_text(out, texts[i], s.data, s.len);
    }
    return 0;
}

static int write_stats(const struct api *api, const char *stats, struct buf *body, struct err *err)
{
    _cleanup_json_ struct json_t *tree = NULL;
    struct engine_status status;
    struct json_out out = {.buf = body};
    struct json_in in;

    if (json_read("guest", stats, strlen(stats), &tree, err) < 0)
        return -1;
    in = json_top(tree);
    engine_status(api->engine, &status);
    json_open(&out, NULL, '{');
    if (put_fields(&out, &in, err) < 0)
        return -1;
    json_put_str(&out, "isolation", status.isolation);
    json_put_str(&out, "accel", status.accel);
    json_close(&out, '}');
    return 0;
}

void api_debug_guest(void *app, const struct http_request *req, struct http_response *res)
{
    const struct api *api = app;
    struct err err = ERR_INIT;
    char *stats = NULL;

    if (engine_guest_stats(api->engine, CLOCK_NEVER, &stats, &err) < 0) {
        api_fail(req, res, &err);
        return;
    }
    res->status = 200;
    if (write_stats(api, stats, &res->body, &err) < 0) {
        err.code = ERR_PROTOCOL; // the guest's fault, not the client's
        err.field[0] = '\0';
        api_fail(req, res, &err);
    }
    free(stats);
}
