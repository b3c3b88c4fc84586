// SPDX-License-Identifier: Apache-2.0
//
// Decoding of /run and /prepare. The daemon is trusted more than a program's output, yet every
// field is checked here: a slip of ours should be an answer, not a crash of PID 1.
#include "agent/spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const base_env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/home/user",
    "USER=user",
    "LOGNAME=user",
    "LANG=C.UTF-8",
    "TMPDIR=/tmp",
};
// AGENT_CONTROL_FD, for a prepared interpreter.
#define CONTROL_ENV "CSB_CONTROL_FD=3"
_Static_assert(AGENT_CONTROL_FD == 3, "CONTROL_ENV says so");
#define BASE_ENV_COUNT (sizeof(base_env) / sizeof(base_env[0]))

static int get_u64(const json_t *obj, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
                   struct err *err)
{
    const json_t *v = json_object_get(obj, key);

    if (!json_is_integer(v))
        return err_field(err, ERR_INVALID, key, "%s must be an integer", key);
    json_int_t n = json_integer_value(v);
    if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
        return err_field(err, ERR_INVALID, key, "%s is out of range", key);
    *ret = (uint64_t)n;
    return 0;
}

static int get_size(const json_t *obj, const char *key, size_t *ret, struct err *err)
{
    uint64_t v = 0;

    if (get_u64(obj, key, 0, AGENT_BODY_MAX, &v, err) < 0)
        return -1;
    *ret = (size_t)v;
    return 0;
}

// A JSON string without NUL bytes, which argv, environment and paths cannot carry.
static const char *plain_string(const json_t *v)
{
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return NULL;
    return json_string_value(v);
}

// The strings of `list`, then those of `more` (which may be NULL).
static int get_argv(const json_t *list, const json_t *more, struct spec_command *c, struct err *err)
{
    size_t n = json_array_size(list), m = json_array_size(more);

    if (!json_is_array(list) || n == 0 || (more != NULL && !json_is_array(more)))
        return err_field(err, ERR_INVALID, "argv", "argv must be a list with a program in it");
    if (n > SPEC_ARGV_MAX || m > SPEC_ARGV_MAX)
        return err_field(err, ERR_INVALID, "argv", "too many arguments");
    c->argv = calloc(n + m + 1, sizeof(*c->argv));
    if (c->argv == NULL)
        return err_sys(err, ENOMEM, "argv");
    for (size_t i = 0; i < n + m; i++) {
        c->argv[i] = plain_string(i < n ? json_array_get(list, i) : json_array_get(more, i - n));
        if (c->argv[i] == NULL)
            return err_field(err, ERR_INVALID, "argv", "an argument must be a string without NUL");
    }
    return 0;
}

// `more` is one further variable, or NULL.
static int get_env(json_t *env, const char *more, struct spec_command *c, struct err *err)
{
    size_t used = 0;
    const char *key = NULL;
    json_t *value = NULL;

    if (!json_is_object(env) || json_object_size(env) > SPEC_ENV_MAX)
        return err_field(err, ERR_INVALID, "env", "env must be an object of strings");
    c->envp = calloc(BASE_ENV_COUNT + json_object_size(env) + 2, sizeof(*c->envp));
    if (c->envp == NULL)
        return err_sys(err, ENOMEM, "env");
    for (size_t i = 0; i < BASE_ENV_COUNT; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(base_env[i], "="), base_env[i]);
        if (json_object_get(env, name) != NULL)
            continue;
        c->envp[used] = strdup(base_env[i]);
        if (c->envp[used++] == NULL)
            return err_sys(err, ENOMEM, "env");
    }
    json_object_foreach(env, key, value)
    {
        const char *text = plain_string(value);
        if (text == NULL || key[0] == '\0' || strchr(key, '=') != NULL)
            return err_field(err, ERR_INVALID, "env", "a variable is not NAME and a string");
        if (asprintf(&c->envp[used], "%s=%s", key, text) < 0) {
            c->envp[used] = NULL;
            return err_sys(err, ENOMEM, "env");
        }
        used++;
    }
    if (more != NULL && (c->envp[used] = strdup(more)) == NULL)
        return err_sys(err, ENOMEM, "env");
    return 0;
}

static int get_limits(const json_t *obj, struct spec_limits *l, struct err *err)
{
    const struct {
        const char *key;
        uint64_t *value;
    } table[] = {
        {"wall_ms", &l->wall_ms},           {"cpu_ms", &l->cpu_ms},
        {"memory_bytes", &l->memory_bytes}, {"processes", &l->processes},
        {"output_bytes", &l->output_bytes}, {"disk_bytes", &l->disk_bytes},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (get_u64(obj, table[i].key, 1, INT64_MAX / 1000000, table[i].value, err) < 0)
            return -1;
    return 0;
}

static int get_command(const json_t *obj, struct spec_command *c, struct err *err)
{
    if (!json_is_object(obj))
        return err_set(err, ERR_INVALID, "a step must be an object");
    if (get_argv(json_object_get(obj, "argv"), json_object_get(obj, "args"), c, err) < 0 ||
        get_env(json_object_get(obj, "env"), NULL, c, err) < 0)
        return -1;
    return get_limits(json_object_get(obj, "limits"), &c->limits, err);
}

static void command_release(struct spec_command *c)
{
    free(c->argv);
    for (char **p = c->envp; p != NULL && *p != NULL; p++)
        free(*p);
    free(c->envp);
    memset(c, 0, sizeof(*c));
}

// Relative, and every component a plain name.
static bool path_is_safe(const char *path)
{
    size_t len = strlen(path);

    if (len == 0 || len > AGENT_PATH_MAX || path[0] == '/' || path[len - 1] == '/')
        return false;
    for (const char *p = path; *p != '\0';) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n + (p[n] == '/');
    }
    return true;
}

static int get_files(const json_t *list, struct run_spec *spec, struct err *err)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n == 0 || n > AGENT_FILES_MAX)
        return err_field(err, ERR_INVALID, "files", "files must be a list of 1 to %d entries",
                         AGENT_FILES_MAX);
    spec->files = calloc(n, sizeof(*spec->files));
    if (spec->files == NULL)
        return err_sys(err, ENOMEM, "files");
    spec->file_count = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *f = json_array_get(list, i);
        struct spec_file *file = &spec->files[i];
        file->path = plain_string(json_object_get(f, "path"));
        if (file->path == NULL || !path_is_safe(file->path))
            return err_field(err, ERR_INVALID, "files", "file %zu has no usable path", i);
        if (get_size(f, "size", &file->size, err) < 0)
            return -1;
        file->executable = json_is_true(json_object_get(f, "executable"));
        spec->files_bytes += file->size;
    }
    return 0;
}

static int get_artifact(const json_t *artifact, struct run_spec *spec, struct err *err)
{
    uint64_t max = 0;

    if (artifact == NULL || json_is_null(artifact))
        return 0;
    spec->artifact = plain_string(json_object_get(artifact, "path"));
    if (spec->artifact == NULL || !path_is_safe(spec->artifact))
        return err_field(err, ERR_INVALID, "artifact", "the artifact has no usable path");
    if (get_u64(artifact, "max_bytes", 1, AGENT_ARTIFACT_MAX, &max, err) < 0)
        return -1;
    spec->artifact_max = (size_t)max;
    return 0;
}

static json_t *parse_object(const char *text, size_t len, struct err *err)
{
    json_error_t jerr;
    json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &jerr);

    if (!json_is_object(doc)) {
        err_set(err, ERR_INVALID, "not a JSON object: %s",
                doc == NULL ? jerr.text : "another type");
        json_decref(doc);
        return NULL;
    }
    return doc;
}

static int run_spec_fill(struct run_spec *spec, size_t body_len, struct err *err)
{
    const json_t *prepared = json_object_get(spec->doc, "prepared");
    const json_t *compile = json_object_get(spec->doc, "compile");
    const json_t *run = json_object_get(spec->doc, "run");

    if (prepared != NULL && !json_is_null(prepared)) {
        spec->prepared = plain_string(prepared);
        if (spec->prepared == NULL)
            return err_field(err, ERR_INVALID, "prepared", "prepared must be a string or null");
    }
    if (get_files(json_object_get(spec->doc, "files"), spec, err) < 0 ||
        get_size(spec->doc, "stdin_size", &spec->stdin_size, err) < 0 ||
        get_artifact(json_object_get(spec->doc, "artifact"), spec, err) < 0)
        return -1;
    if (spec->files_bytes + spec->stdin_size != body_len)
        return err_set(err, ERR_INVALID, "the body's size is not what its head says");
    if (compile != NULL && !json_is_null(compile)) {
        spec->has_compile = true;
        if (get_command(compile, &spec->compile, err) < 0)
            return err_wrap(err, "compile");
    }
    if (get_command(run, &spec->run, err) < 0)
        return err_wrap(err, "run");
    spec->args = json_object_get(run, "args");
    spec->env = json_object_get(run, "env");
    return 0;
}

int run_spec_parse(const char *head, size_t len, size_t body_len, struct run_spec *ret,
                   struct err *err)
{
    memset(ret, 0, sizeof(*ret));
    ret->doc = parse_object(head, len, err);
    if (ret->doc == NULL)
        return -1;
    if (run_spec_fill(ret, body_len, err) < 0) {
        run_spec_release(ret);
        return -1;
    }
    return 0;
}

void run_spec_release(struct run_spec *spec)
{
    free(spec->files);
    command_release(&spec->compile);
    command_release(&spec->run);
    json_decref(spec->doc);
    memset(spec, 0, sizeof(*spec));
}

static int prepare_spec_fill(struct prepare_spec *spec, struct err *err)
{
    spec->id = plain_string(json_object_get(spec->doc, "id"));
    if (spec->id == NULL || spec->id[0] == '\0' || strlen(spec->id) > 64)
        return err_field(err, ERR_INVALID, "id", "id must be a string of 1 to 64 bytes");
    if (get_argv(json_object_get(spec->doc, "argv"), NULL, &spec->command, err) < 0 ||
        get_env(json_object_get(spec->doc, "env"), CONTROL_ENV, &spec->command, err) < 0)
        return -1;
    spec->zygote = json_is_true(json_object_get(spec->doc, "zygote"));
    const json_t *limits = json_object_get(spec->doc, "limits");
    if (limits != NULL && !json_is_null(limits) &&
        get_limits(limits, &spec->command.limits, err) < 0)
        return -1;
    return get_u64(spec->doc, "ready_ms", 1, 600000, &spec->ready_ms, err);
}

int prepare_spec_parse(const char *text, size_t len, struct prepare_spec *ret, struct err *err)
{
    memset(ret, 0, sizeof(*ret));
    ret->doc = parse_object(text, len, err);
    if (ret->doc == NULL)
        return -1;
    if (prepare_spec_fill(ret, err) < 0) {
        prepare_spec_release(ret);
        return -1;
    }
    return 0;
}

void prepare_spec_release(struct prepare_spec *spec)
{
    command_release(&spec->command);
    json_decref(spec->doc);
    memset(spec, 0, sizeof(*spec));
}
