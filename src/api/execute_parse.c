// SPDX-License-Identifier: Apache-2.0
#include "api/execute_parse.h"

#include "base/buf.h"
#include "config/config.h"
#include "sandbox/runtime.h"
#include "json/base64.h"
#include "json/read.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_PAGE_BYTES 4096u

const char *const execute_fields[] = {
    "language", "code",   "version", "timeout",   "files",  "stdin", "args",
    "env",      "limits", "network", "artifacts", "stream", NULL,
};
const char *const execute_content_fields[] = {"content", "encoding", NULL};
const char *const execute_limit_fields[] = {
    "wall_ms", "cpu_ms", "memory_bytes", "processes", "output_bytes", "disk_bytes", NULL};

struct parser {
    const struct config *config;
    const struct runtime_table *runtimes;
    struct execute_request *out;
    struct json_in top;
    size_t args_env_bytes;
};

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_INTERNAL, "out of memory");
}

// True when `version` is `prefix`, or continues it at a dot.
static bool version_matches(const char *version, const char *prefix)
{
    size_t len = strlen(prefix);

    return len > 0 && strncmp(version, prefix, len) == 0 &&
           (version[len] == '\0' || version[len] == '.');
}

static void list_languages(const struct runtime_table *t, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < runtime_count(t) && used < size; i++)
        used += (size_t)snprintf(ret + used, size - used, "%s%s", i > 0 ? ", " : "",
                                 runtime_at(t, i)->id);
}

static int parse_language(struct parser *p, struct err *err)
{
    struct json_str language = {NULL, 0};
    struct json_str version = {NULL, 0};
    const struct runtime *runtime;
    char known[128];

    if (json_get_text(&p->top, "language", &language, err) < 0 ||
        json_get_text(&p->top, "version", &version, err) < 0)
        return -1;
    if (language.data == NULL)
        return json_fail(&p->top, "language", err, "is required");
    runtime = runtime_find(p->runtimes, language.data);
    if (runtime == NULL) {
        list_languages(p->runtimes, known, sizeof(known));
        return json_fail(&p->top, "language", err, "'%.32s' is unknown; known are %s",
                         language.data, known);
    }
    if (version.data != NULL && !version_matches(runtime->version, version.data))
        return json_fail(&p->top, "version", err, "'%.32s' is not available; %s is at %s",
                         version.data, runtime->id, runtime->version);
    p->out->run.runtime = runtime;
    return 0;
}

static int parse_code(struct parser *p, struct err *err)
{
    struct json_str code = {NULL, 0};

    if (json_get_text(&p->top, "code", &code, err) < 0)
        return -1;
    if (code.data == NULL)
        return json_fail(&p->top, "code", err, "is required");
    if (strspn(code.data, " \t\r\n") == code.len)
        return json_fail(&p->top, "code", err, "must not be empty");
    p->out->files[0] = (struct run_file){
        .path = p->out->run.runtime->source,
        .data = (const uint8_t *)code.data,
        .len = code.len,
    };
    p->out->run.file_count = 1;
    return 0;
}

// A string, or {"content": string, "encoding": "utf8" | "base64"}. `decoded` takes the bytes when
// they are not in the tree.
static int parse_content(const struct json_in *in, const char *key, struct buf *decoded,
                         const uint8_t **ret_data, size_t *ret_len, struct err *err)
{
    struct json_str content = {NULL, 0};
    struct json_str encoding = {"utf8", 4};
    struct json_in object;

    if (json_kind(in, key) == JSON_KIND_STRING) {
        if (json_get_str(in, key, &content, err) < 0)
            return -1;
    } else if (json_kind(in, key) != JSON_KIND_OBJECT) {
        return json_fail(in, key, err, "must be a string, or an object with content and encoding");
    } else {
        if (json_get_object(in, key, &object, err) < 0 ||
            json_known(&object, execute_content_fields, err) < 0 ||
            json_get_str(&object, "content", &content, err) < 0 ||
            json_get_text(&object, "encoding", &encoding, err) < 0)
            return -1;
        if (content.data == NULL)
            return json_fail(&object, "content", err, "is required");
        if (strcmp(encoding.data, "base64") == 0) {
            if (base64_decode(content.data, content.len, decoded) < 0)
                return json_fail(&object, "content", err, "is not base64");
            *ret_data = decoded->data;
            *ret_len = decoded->len;
            return 0;
        }
        if (strcmp(encoding.data, "utf8") != 0)
            return json_fail(&object, "encoding", err, "must be utf8 or base64");
    }
    *ret_data = (const uint8_t *)content.data;
    *ret_len = content.len;
    return 0;
}

// Is `dir` a file that `path` needs as a directory?
static bool is_parent(const char *dir, const char *path)
{
    size_t len = strlen(dir);

    return strncmp(dir, path, len) == 0 && path[len] == '/';
}

static int parse_file(void *arg, const struct json_in *in, const char *path, struct err *err)
{
    struct parser *p = arg;
    struct execute_request *out = p->out;
    struct run_file *f = &out->files[out->run.file_count];
    struct err path_err = ERR_INIT;

    if (run_path_check(path, &path_err) < 0)
        return json_fail(in, path, err, "is not a usable name: %s", path_err.message);
    for (size_t i = 0; i < out->run.file_count; i++) {
        const char *other = out->files[i].path;

        if (strcmp(other, path) == 0)
            return json_fail(in, path, err, "is the program itself; it is given in code");
        if (is_parent(other, path) || is_parent(path, other))
            return json_fail(in, path, err,
                             "cannot be beside %.60s: one is a file, the other "
                             "its directory",
                             other);
    }
    if (parse_content(in, path, &out->decoded[out->run.file_count], &f->data, &f->len, err) < 0)
        return -1;
    f->path = path;
    out->run.file_count++;
    return 0;
}

static int parse_files(struct parser *p, struct err *err)
{
    struct json_in files;

    if (json_get_object(&p->top, "files", &files, err) < 0)
        return -1;
    if (files.object == NULL)
        return 0;
    return json_each(&files, parse_file, p, err);
}

static int parse_stdin(struct parser *p, struct err *err)
{
    struct execute_request *out = p->out;

    if (json_kind(&p->top, "stdin") == JSON_KIND_NONE)
        return 0;
    return parse_content(&p->top, "stdin", &out->decoded[out->decoded_count - 1],
                         &out->run.stdin_data, &out->run.stdin_len, err);
}

static int count_bytes(struct parser *p, const struct json_in *in, const char *key, size_t len,
                       struct err *err)
{
    p->args_env_bytes += len + 1;
    if (p->args_env_bytes > EXECUTE_ARGS_ENV_BYTES)
        return json_fail(in, key, err, "is too long: args and env may have %zu bytes together",
                         EXECUTE_ARGS_ENV_BYTES);
    return 0;
}

static int parse_args(struct parser *p, struct err *err)
{
    size_t count = json_count(&p->top, "args");
    enum json_kind kind = json_kind(&p->top, "args");

    if (kind == JSON_KIND_NONE)
        return 0;
    if (kind != JSON_KIND_ARRAY)
        return json_fail(&p->top, "args", err, "must be an array of strings");
    if (count > EXECUTE_ARGS_MAX)
        return json_fail(&p->top, "args", err, "may have at most %d entries", EXECUTE_ARGS_MAX);
    p->out->args = calloc(count + 1, sizeof(*p->out->args));
    if (p->out->args == NULL)
        return out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct json_str s;

        if (json_item_text(&p->top, "args", i, &s, err) < 0 ||
            count_bytes(p, &p->top, "args", s.len, err) < 0)
            return -1;
        p->out->args[i] = s.data;
    }
    p->out->run.args = p->out->args;
    return 0;
}

static bool is_env_name(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    size_t len = strlen(name);

    return len > 0 && len <= 128 && strchr(letters, name[0]) != NULL &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789") == len;
}

static int parse_variable(void *arg, const struct json_in *in, const char *name, struct err *err)
{
    struct parser *p = arg;
    struct json_str value = {NULL, 0};
    char *text;

    if (!is_env_name(name))
        return json_fail(in, name, err, "is not a name for a variable");
    if (strncmp(name, "CSB_", 4) == 0)
        return json_fail(in, name, err, "is reserved: names with CSB_ belong to the service");
    if (json_get_text(in, name, &value, err) < 0)
        return -1;
    if (value.data == NULL)
        return json_fail(in, name, err, "must be a string");
    if (count_bytes(p, in, name, strlen(name) + 1 + value.len, err) < 0)
        return -1;
    if (asprintf(&text, "%s=%s", name, value.data) < 0)
        return out_of_memory(err);
    p->out->env[p->out->env_count++] = text;
    return 0;
}

static int parse_env(struct parser *p, struct err *err)
{
    size_t count = json_count(&p->top, "env");
    struct json_in env;

    if (json_get_object(&p->top, "env", &env, err) < 0)
        return -1;
    if (env.object == NULL)
        return 0;
    if (count > EXECUTE_ENV_MAX)
        return json_fail(&p->top, "env", err, "may have at most %d entries", EXECUTE_ENV_MAX);
    p->out->env = calloc(count + 1, sizeof(*p->out->env));
    if (p->out->env == NULL)
        return out_of_memory(err);
    p->out->run.env = (const char *const *)p->out->env;
    return json_each(&env, parse_variable, p, err);
}

static const struct {
    const char *name;
    size_t offset; // in struct run_limits
} limit_fields[CONFIG_LIMIT_COUNT] = {
    [CONFIG_LIMIT_WALL_MS] = {"wall_ms", offsetof(struct run_limits, wall_ms)},
    [CONFIG_LIMIT_CPU_MS] = {"cpu_ms", offsetof(struct run_limits, cpu_ms)},
    [CONFIG_LIMIT_MEMORY_BYTES] = {"memory_bytes", offsetof(struct run_limits, memory_bytes)},
    [CONFIG_LIMIT_PROCESSES] = {"processes", offsetof(struct run_limits, processes)},
    [CONFIG_LIMIT_OUTPUT_BYTES] = {"output_bytes", offsetof(struct run_limits, output_bytes)},
    [CONFIG_LIMIT_DISK_BYTES] = {"disk_bytes", offsetof(struct run_limits, disk_bytes)},
};

static int parse_limits(struct parser *p, struct err *err)
{
    struct run_limits *limits = &p->out->run.limits;
    struct json_in in;

    if (json_get_object(&p->top, "limits", &in, err) < 0)
        return -1;
    if (in.object != NULL && json_known(&in, execute_limit_fields, err) < 0)
        return -1;
    for (size_t i = 0; i < CONFIG_LIMIT_COUNT; i++) {
        const struct config_range *range = &p->config->limits[i];
        uint64_t n = range->def;

        if (in.object != NULL &&
            json_get_u64(&in, limit_fields[i].name, range->min, range->max, &n, err) < 0)
            return -1;
        memcpy((char *)limits + limit_fields[i].offset, &n, sizeof(n));
    }
    if (in.object != NULL && json_kind(&in, "wall_ms") != JSON_KIND_NONE &&
        json_kind(&p->top, "timeout") != JSON_KIND_NONE)
        return json_fail(&in, "wall_ms", err, "and timeout are the same limit; give one of them");
    return 0;
}

// The files lie on the disk that the limit is of, in whole pages.
static int check_disk(struct parser *p, struct err *err)
{
    const struct execute_request *out = p->out;
    uint64_t need = 0;

    for (size_t i = 0; i < out->run.file_count; i++)
        need += (out->files[i].len + DISK_PAGE_BYTES - 1) / DISK_PAGE_BYTES * DISK_PAGE_BYTES;
    if (need <= out->run.limits.disk_bytes)
        return 0;
    return err_field(err, ERR_INVALID, "limits.disk_bytes",
                     "limits.disk_bytes is too small: the files need %llu bytes",
                     (unsigned long long)need);
}

// How many CPUs a program has at most. The agent's are those of the daemon, which both have from
// whoever started the service; the C library would read files of /sys.
static uint64_t cpus_of(const struct config *config)
{
    cpu_set_t own;
    long host;

    if (strcmp(config->isolation, "process") != 0)
        return config->vm_cpus;
    if (sched_getaffinity(0, sizeof(own), &own) == 0)
        return (uint64_t)CPU_COUNT(&own);
    host = sysconf(_SC_NPROCESSORS_ONLN); // more than the set has room for
    return host < 1 ? 1 : (uint64_t)host;
}

// After parse_limits(): the older name of limits.wall_ms, in seconds.
static int parse_timeout(struct parser *p, struct err *err)
{
    struct run_limits *limits = &p->out->run.limits;
    double seconds = 0;

    if (json_get_positive(&p->top, "timeout", (double)p->config->max_timeout_s, &seconds, err) < 0)
        return -1;
    if (seconds > 0)
        limits->wall_ms = (uint64_t)ceil(seconds * 1000);
    if (limits->cpu_ms == 0)
        limits->cpu_ms = limits->wall_ms * cpus_of(p->config);
    return 0;
}

// Fields that have a place in the API but nothing behind them yet: only the value that asks for
// nothing is taken.
static int parse_reserved(struct parser *p, struct err *err)
{
    struct json_str network = {"none", 4};
    bool on = false;
    enum json_kind artifacts = json_kind(&p->top, "artifacts");

    if (json_kind(&p->top, "network") == JSON_KIND_STRING) {
        if (json_get_str(&p->top, "network", &network, err) < 0)
            return -1;
        on = strcmp(network.data, "none") != 0;
    } else if (json_kind(&p->top, "network") == JSON_KIND_BOOL) {
        if (json_get_bool(&p->top, "network", &on, err) < 0)
            return -1;
    } else {
        on = json_kind(&p->top, "network") != JSON_KIND_NONE;
    }
    if (on)
        return json_fail(&p->top, "network", err,
                         "is not available: programs run without any; leave it out or say false");
    if (artifacts != JSON_KIND_NONE && artifacts != JSON_KIND_ARRAY)
        return json_fail(&p->top, "artifacts", err, "must be an array");
    if (json_count(&p->top, "artifacts") > 0)
        return json_fail(&p->top, "artifacts", err, "are not supported yet; leave it out");
    return json_get_bool(&p->top, "stream", &p->out->stream, err);
}

static int allocate(struct parser *p, struct err *err)
{
    size_t files =
        json_kind(&p->top, "files") == JSON_KIND_OBJECT ? json_count(&p->top, "files") : 0;

    if (files > EXECUTE_FILES_MAX)
        return json_fail(&p->top, "files", err, "may have at most %d entries", EXECUTE_FILES_MAX);
    p->out->decoded_count = files + 2;
    p->out->files = calloc(files + 1, sizeof(*p->out->files));
    p->out->decoded = calloc(p->out->decoded_count, sizeof(*p->out->decoded));
    if (p->out->files == NULL || p->out->decoded == NULL)
        return out_of_memory(err);
    p->out->run.files = p->out->files;
    return 0;
}

static int parse_all(struct parser *p, struct err *err)
{
    static int (*const steps[])(struct parser *, struct err *) = {
        allocate,  parse_language, parse_code, parse_files,   parse_stdin,    parse_args,
        parse_env, parse_limits,   check_disk, parse_timeout, parse_reserved,
    };

    if (json_known(&p->top, execute_fields, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (steps[i](p, err) < 0)
            return -1;
    return 0;
}

int execute_parse(const struct config *config, const struct runtime_table *runtimes,
                  const void *body, size_t len, struct execute_request *ret, struct err *err)
{
    struct parser p = {.config = config, .runtimes = runtimes, .out = ret};

    memset(ret, 0, sizeof(*ret));
    if (json_read("body", body, len, &ret->tree, err) < 0)
        return -1;
    p.top = json_top(ret->tree);
    if (parse_all(&p, err) < 0) {
        execute_request_release(ret);
        return -1;
    }
    return 0;
}

void execute_request_release(struct execute_request *r)
{
    for (size_t i = 0; r->decoded != NULL && i < r->decoded_count; i++)
        buf_release(&r->decoded[i]);
    for (size_t i = 0; i < r->env_count; i++)
        free(r->env[i]);
    free(r->decoded);
    free(r->files);
    free(r->args);
    free(r->env);
    json_free(&r->tree);
    memset(r, 0, sizeof(*r));
}
