// SPDX-License-Identifier: Apache-2.0
#include "sandbox/envd_client.h"

#include "base/buf.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"
#include "json/read.h"
#include "json/write.h"

#include <jansson.h>
#include <string.h>

static int call(struct channel *ch, const struct channel_request *req, int want,
                uint64_t deadline_ns, char **ret_text, size_t *ret_len, struct err *err)
{
    int status;

    if (channel_call(ch, req, AGENT_JSON_MAX, deadline_ns, &status, ret_text, ret_len, err) < 0)
        return err_wrap(err, "agent %s", req->path);
    if (status != want)
        return err_set(err, ERR_PROTOCOL, "agent %s: status %d: %.120s", req->path, status,
                       *ret_text);
    return 0;
}

// True when a later pair has the same name.
static bool is_overridden(const struct live_pair *env, size_t count, size_t at)
{
    for (size_t i = at + 1; i < count; i++)
        if (strcmp(env[i].name, env[at].name) == 0)
            return true;
    return false;
}

int envd_init(struct channel *ch, const struct live_pair *env, size_t env_count,
              uint64_t deadline_ns, struct err *err)
{
    static const struct channel_header json_type[] = {{"content-type", "application/json"}};
    _cleanup_buf_ struct buf body = BUF_INIT;
    _cleanup_free_ char *answer = NULL;
    struct json_out out = {.buf = &body};
    size_t len;

    json_open(&out, NULL, '{');
    json_open(&out, "envVars", '{');
    for (size_t i = 0; i < env_count; i++)
        if (!is_overridden(env, env_count, i))
            json_put_str(&out, env[i].name, env[i].value);
    json_close(&out, '}');
    json_put_str(&out, "defaultUser", ENVD_DEFAULT_USER);
    json_close(&out, '}');
    if (out.failed)
        return err_set(err, ERR_INTERNAL, "out of memory");
    const struct channel_request req = {.method = "POST",
                                        .path = "/envd/init",
                                        .body = body.data,
                                        .body_len = body.len,
                                        .headers = json_type,
                                        .header_count = 1};
    return call(ch, &req, 204, deadline_ns, &answer, &len, err);
}

static int get_u64(const json_t *o, const char *key, uint64_t *ret)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return -1;
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

int envd_metrics(struct channel *ch, uint64_t deadline_ns, struct live_metrics *ret,
                 struct err *err)
{
    const struct channel_request req = {.method = "GET", .path = "/envd/metrics"};
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_t *o = NULL;
    struct live_metrics m = {0};
    struct err why = ERR_INIT;
    const json_t *used;
    size_t len;

    if (call(ch, &req, 200, deadline_ns, &text, &len, err) < 0)
        return -1;
    if (json_read("metrics", text, len, &o, &why) < 0)
        return err_set(err, ERR_PROTOCOL, "agent /envd/metrics: %.120s", why.message);
    used = json_object_get(o, "cpu_used_pct");
    if (!json_is_number(used) || get_u64(o, "cpu_count", &m.cpu_count) < 0 ||
        get_u64(o, "mem_total", &m.memory_total_bytes) < 0 ||
        get_u64(o, "mem_used", &m.memory_used_bytes) < 0 ||
        get_u64(o, "mem_cache", &m.memory_cache_bytes) < 0 ||
        get_u64(o, "disk_total", &m.disk_total_bytes) < 0 ||
        get_u64(o, "disk_used", &m.disk_used_bytes) < 0)
        return err_set(err, ERR_PROTOCOL, "the agent's metrics are malformed");
    m.cpu_used_percent = json_number_value(used);
    *ret = m;
    return 0;
}
