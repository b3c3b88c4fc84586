// SPDX-License-Identifier: Apache-2.0
#include "sandbox/agent_client.h"

#include "base/clock.h"
#include "base/id.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"
#include "sandbox/runtime.h"
#include "json/read.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPILE_CPUS_MAX  64
#define COMPILE_PROCESSES 64

static void free_text(char **s)
{
    free(*s);
}
#define _cleanup_text_ __attribute__((cleanup(free_text)))

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_INTERNAL, "out of memory");
}

// One exchange with a JSON answer. A status other than 200 becomes ERR_PROTOCOL with the agent's
// own words, which are for the operator's log, not for clients.
static int call(struct channel *ch, const char *method, const char *path, const char *body,
                uint64_t deadline_ns, json_t **ret, struct err *err)
{
    struct channel_request req = {
        .method = method,
        .path = path,
        .body = (const uint8_t *)body,
        .body_len = body == NULL ? 0 : strlen(body),
    };
    _cleanup_text_ char *text = NULL;
    struct err why = ERR_INIT;
    size_t len;
    int status;

    if (channel_call(ch, &req, AGENT_JSON_MAX, deadline_ns, &status, &text, &len, err) < 0)
        return err_wrap(err, "agent %s", path);
    if (status != 200)
        return err_set(err, ERR_PROTOCOL, "agent %s: status %d: %.120s", path, status, text);
    // By json_read(), which bounds the depth: jansson alone recurses as deep as the agent likes.
    if (json_read("answer", text, len, ret, &why) < 0)
        return err_set(err, ERR_PROTOCOL, "agent %s: %.120s", path, why.message);
    return 0;
}

int agent_wait_healthy(struct channel *ch, uint64_t deadline_ns, struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    json_int_t protocol;

    if (call(ch, "GET", "/health", NULL, deadline_ns, &answer, err) < 0)
        return -1;
    protocol = json_integer_value(json_object_get(answer, "protocol"));
    if (protocol != AGENT_PROTOCOL)
        return err_set(err, ERR_PROTOCOL, "the agent speaks protocol %lld, not %d",
                       (long long)protocol, AGENT_PROTOCOL);
    return 0;
}

int agent_sync(struct channel *ch, const char *hostname, uint64_t deadline_ns, struct err *err)
{
    char entropy[129];
    char machine_id[33];
    char body[512];
    _cleanup_json_ json_t *answer = NULL;

    id_hex(entropy, 64);
    id_hex(machine_id, 16);
    (void)snprintf(
        body, sizeof(body),
        "{\"time_ns\":%llu,\"entropy\":\"%s\",\"hostname\":\"%s\",\"machine_id\":\"%s\"}",
        (unsigned long long)clock_real_ns(), entropy, hostname, machine_id);
    explicit_bzero(entropy, sizeof(entropy));
    if (call(ch, "POST", "/sync", body, deadline_ns, &answer, err) < 0)
        return -1;
    if (!json_is_true(json_object_get(answer, "ok")))
        return err_set(err, ERR_PROTOCOL, "the agent did not confirm /sync");
    return 0;
}

int agent_stats(struct channel *ch, uint64_t deadline_ns, char **ret_json, struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    char *text;

    if (call(ch, "GET", "/stats", NULL, deadline_ns, &answer, err) < 0)
        return -1;
    text = json_dumps(answer, JSON_COMPACT);
    if (text == NULL)
        return out_of_memory(err);
    *ret_json = text;
    return 0;
}

static json_t *string_array(char *const *list, size_t count)
{
    json_t *a = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(a, json_string(list[i]));
    return a;
}

static json_t *args_array(const char *const *list)
{
    json_t *a = json_array();

    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        json_array_append_new(a, json_string(list[i]));
    return a;
}

// Adds "KEY=VALUE" entries to an object; a later one wins.
static void add_env(json_t *object, const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        const char *eq = strchr(list[i], '=');

        if (eq != NULL) {
            char key[256];

            (void)snprintf(key, sizeof(key), "%.*s", (int)(eq - list[i]), list[i]);
            json_object_set_new(object, key, json_string(eq + 1));
        }
    }
}

static const char *const *as_list(char *const *list)
{
    return (const char *const *)list;
}

static json_t *limits_object(const struct run_limits *l)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "wall_ms", (json_int_t)l->wall_ms, "cpu_ms",
                     (json_int_t)l->cpu_ms, "memory_bytes", (json_int_t)l->memory_bytes,
                     "processes", (json_int_t)l->processes, "output_bytes",
                     (json_int_t)l->output_bytes, "disk_bytes", (json_int_t)l->disk_bytes);
}

// The limits of the compile step of a run with limits `run`.
static struct run_limits compile_limits(const struct runtime *rt, const struct run_limits *run)
{
    struct run_limits limits = *run;

    limits.wall_ms = rt->compile_wall_ms;
    limits.cpu_ms = rt->compile_wall_ms * COMPILE_CPUS_MAX; // the wall clock bounds it
    limits.output_bytes = RUN_COMPILE_OUTPUT_BYTES;
    if (limits.processes < COMPILE_PROCESSES)
        limits.processes = COMPILE_PROCESSES;
    if (rt->compile_memory_bytes > limits.memory_bytes)
        limits.memory_bytes = rt->compile_memory_bytes;
    return limits;
}

int agent_prepare(struct channel *ch, const struct runtime *rt, const struct run_limits *limits,
                  uint64_t deadline_ns, struct err *err)
{
    _cleanup_json_ json_t *body = NULL;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_text_ char *text = NULL;
    struct run_limits first = rt->compile.argc > 0 ? compile_limits(rt, limits) : *limits;
    json_t *env;
    int left_ms = clock_poll_ms(deadline_ns);

    if (rt->prepare.argc == 0)
        return 0;
    env = json_object();
    add_env(env, as_list(rt->env));
    add_env(env, as_list(rt->prepare_env));
    body = json_pack("{s:s,s:o,s:o,s:o,s:i,s:b}", "id", rt->id, "argv",
                     string_array(rt->prepare.argv, rt->prepare.argc), "env", env, "limits",
                     limits_object(&first), "ready_ms", left_ms < 1 ? 1 : left_ms, "zygote",
                     rt->zygote);
    text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    if (text == NULL)
        return out_of_memory(err);
    return call(ch, "POST", "/prepare", text, deadline_ns, &answer, err);
}

static json_t *compile_object(const struct agent_run *how)
{
    const struct runtime *rt = how->req->runtime;
    struct run_limits limits;
    json_t *env;

    if (rt->compile.argc == 0 || how->artifact != NULL)
        return json_null();
    limits = compile_limits(rt, &how->req->limits);
    env = json_object();
    add_env(env, as_list(rt->env));
    return json_pack("{s:o,s:o,s:o}", "argv", string_array(rt->compile.argv, rt->compile.argc),
                     "env", env, "limits", limits_object(&limits));
}

static json_t *files_array(const struct agent_run *how)
{
    const struct run_request *req = how->req;
    json_t *files = json_array();

    for (size_t i = 0; i < req->file_count; i++)
        json_array_append_new(files, json_pack("{s:s,s:I}", "path", req->files[i].path, "size",
                                               (json_int_t)req->files[i].len));
    if (how->artifact != NULL)
        json_array_append_new(files,
                              json_pack("{s:s,s:I,s:b}", "path", req->runtime->compile_artifact,
                                        "size", (json_int_t)how->artifact_len, "executable", 1));
    return files;
}

static json_t *artifact_object(const struct agent_run *how)
{
    if (how->artifact != NULL || how->artifact_max == 0)
        return json_null();
    return json_pack("{s:s,s:I}", "path", how->req->runtime->compile_artifact, "max_bytes",
                     (json_int_t)how->artifact_max);
}

static json_t *head_object(const struct agent_run *how)
{
    const struct run_request *req = how->req;
    const struct runtime *rt = req->runtime;
    json_t *env = json_object();
    json_t *run;

    // A prepared interpreter has these; after a prepared compiler the run still starts anew.
    if (!how->prepared || rt->compile.argc > 0)
        add_env(env, as_list(rt->env));
    add_env(env, req->env);
    run = json_pack("{s:o,s:o,s:o,s:o}", "argv", string_array(rt->run.argv, rt->run.argc), "args",
                    args_array(req->args), "env", env, "limits", limits_object(&req->limits));
    return json_pack("{s:o,s:o,s:I,s:o,s:o,s:o}", "prepared",
                     how->prepared ? json_string(rt->id) : json_null(), "files", files_array(how),
                     "stdin_size", (json_int_t)req->stdin_len, "artifact", artifact_object(how),
                     "compile", compile_object(how), "run", run);
}

static size_t content_bytes(const struct agent_run *how)
{
    size_t n = how->req->stdin_len + how->artifact_len;

    for (size_t i = 0; i < how->req->file_count; i++)
        n += how->req->files[i].len;
    return n;
}

int agent_encode_run(const struct agent_run *how, struct buf *ret, struct err *err)
{
    const struct run_request *req = how->req;
    _cleanup_json_ json_t *head = head_object(how);
    _cleanup_text_ char *text = head == NULL ? NULL : json_dumps(head, JSON_COMPACT);
    size_t len;
    int r;

    if (text == NULL)
        return out_of_memory(err);
    len = strlen(text);
    if (len > AGENT_HEAD_MAX)
        return err_set(err, ERR_TOO_LARGE, "arguments and environment are too large");
    if (4 + len + content_bytes(how) > AGENT_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "the program and its files are too large");
    if (buf_reserve(ret, 4 + len + content_bytes(how)) == NULL)
        return out_of_memory(err);
    r = buf_append_be32(ret, (uint32_t)len);
    if (r == 0)
        r = buf_append(ret, text, len);
    for (size_t i = 0; r == 0 && i < req->file_count; i++)
        r = buf_append(ret, req->files[i].data, req->files[i].len);
    if (r == 0)
        r = buf_append(ret, how->artifact, how->artifact_len);
    if (r == 0)
        r = buf_append(ret, req->stdin_data, req->stdin_len);
    return r == 0 ? 0 : out_of_memory(err);
}

static const char *const reason_names[RUN_REASON_COUNT] = {
    [RUN_EXIT] = "exit",       [RUN_SIGNAL] = "signal",       [RUN_TIMEOUT] = "timeout",
    [RUN_CPU] = "cpu_timeout", [RUN_MEMORY] = "memory",       [RUN_OUTPUT_LIMIT] = "output_limit",
    [RUN_DISK] = "disk",       [RUN_PROCESSES] = "processes", [RUN_INTERNAL] = "internal",
};

// The reasons that are limits.
#define RUN_LIMITS                                                                                 \
    (RUN_BIT(RUN_TIMEOUT) | RUN_BIT(RUN_CPU) | RUN_BIT(RUN_MEMORY) | RUN_BIT(RUN_OUTPUT_LIMIT) |   \
     RUN_BIT(RUN_DISK) | RUN_BIT(RUN_PROCESSES))

const char *run_reason_name(enum run_reason reason)
{
    return (unsigned)reason < RUN_REASON_COUNT ? reason_names[reason] : "internal";
}

static int decode_u64(const json_t *o, const char *key, uint64_t *ret)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return -1;
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

static int decode_reason(const char *s, enum run_reason *ret)
{
    for (int i = 0; s != NULL && i < RUN_REASON_COUNT; i++)
        if (strcmp(s, reason_names[i]) == 0) {
            *ret = (enum run_reason)i;
            return 0;
        }
    return -1;
}

static int decode_limits_hit(const json_t *list, unsigned *ret)
{
    unsigned hit = 0;

    if (!json_is_array(list))
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        enum run_reason reason;

        if (decode_reason(json_string_value(json_array_get(list, i)), &reason) < 0 ||
            (RUN_BIT(reason) & RUN_LIMITS) == 0)
            return -1;
        hit |= RUN_BIT(reason);
    }
    *ret = hit;
    return 0;
}

static int decode_usage(const json_t *usage, struct run_step *ret)
{
    const json_t *processes = json_object_get(usage, "processes_peak");

    if (decode_u64(usage, "wall_ns", &ret->wall_ns) < 0 ||
        decode_u64(usage, "cpu_user_ns", &ret->cpu_user_ns) < 0 ||
        decode_u64(usage, "cpu_system_ns", &ret->cpu_system_ns) < 0 ||
        decode_u64(usage, "memory_peak_bytes", &ret->memory_peak_bytes) < 0)
        return -1;
    if (json_is_null(processes))
        return 0;
    return decode_u64(usage, "processes_peak", &ret->processes_peak);
}

// A STEP of agent_wire.h: the RESULT itself, or its "compile" member.
static int decode_step(const json_t *o, struct run_step *ret)
{
    const json_t *code = json_object_get(o, "exit_code");
    const json_t *sig = json_object_get(o, "signal");

    if (decode_reason(json_string_value(json_object_get(o, "reason")), &ret->reason) < 0 ||
        decode_limits_hit(json_object_get(o, "limits_hit"), &ret->limits_hit) < 0 ||
        !json_is_integer(code) || !json_is_integer(sig))
        return -1;
    if (json_integer_value(code) < -1 || json_integer_value(code) > 255 ||
        json_integer_value(sig) < 0 || json_integer_value(sig) > 64)
        return -1;
    ret->exit_code = (int)json_integer_value(code);
    ret->signal = (int)json_integer_value(sig);
    if ((ret->reason == RUN_EXIT && ret->exit_code < 0) ||
        (ret->reason == RUN_SIGNAL && ret->signal == 0))
        return -1;
    ret->truncated = json_is_true(json_object_get(o, "truncated"));
    if (decode_u64(o, "stdout_bytes", &ret->stdout_bytes) < 0 ||
        decode_u64(o, "stderr_bytes", &ret->stderr_bytes) < 0)
        return -1;
    return decode_usage(json_object_get(o, "usage"), ret);
}

static int decode_object(const json_t *o, struct run_result *ret)
{
    const char *phase = json_string_value(json_object_get(o, "phase"));
    const char *message = json_string_value(json_object_get(o, "message"));
    const json_t *compile = json_object_get(o, "compile");
    struct run_step last = {0};

    if (phase == NULL || decode_step(o, &last) < 0 ||
        decode_u64(o, "artifact_bytes", &ret->artifact_bytes) < 0)
        return -1;
    err_copy_text(ret->message, sizeof(ret->message), message == NULL ? "" : message);
    ret->compiled = json_is_object(compile);
    if (ret->compiled && decode_step(compile, &ret->compile) < 0)
        return -1;
    ret->ran = strcmp(phase, "run") == 0;
    if (ret->ran) {
        ret->run = last;
        return 0;
    }
    ret->compiled = true;
    ret->compile = last;
    return strcmp(phase, "compile") == 0 ? 0 : -1;
}

int agent_decode_result(const uint8_t *data, size_t len, struct run_result *ret, struct err *err)
{
    _cleanup_json_ json_t *o = NULL;
    struct run_result decoded = {0};
    struct err why = ERR_INIT;

    if (json_read("result", data, len, &o, &why) < 0 || decode_object(o, &decoded) < 0)
        return err_set(err, ERR_PROTOCOL, "the agent's result is malformed");
    *ret = decoded;
    return 0;
}
