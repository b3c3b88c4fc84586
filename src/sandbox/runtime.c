// SPDX-License-Identifier: Apache-2.0
//
// Loads the runtime files. One table maps each key to the function that takes its value, so a new
// key is one row and one short function.
#include "sandbox/runtime.h"

#include "base/fd.h"
#include "base/ini.h"
#include "base/parse.h"
#include "sandbox/engine.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_SUFFIX    ".runtime"
#define FILE_MAX_BYTES (256 * 1024)

struct runtime_table {
    struct runtime runtimes[RUNTIME_COUNT_MAX];
    size_t count;
    char hash[65];
};

struct key_row {
    const char *key; // a trailing '.' takes every key with that prefix
    int (*set)(struct runtime *rt, const char *rest, const char *value, struct err *err);
};

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_INTERNAL, "out of memory");
}

static int set_string(char *dst, size_t size, const char *value, struct err *err)
{
    size_t len = strlen(value);

    if (len == 0 || len >= size)
        return err_set(err, ERR_INVALID, "the value must have 1 to %zu bytes", size - 1);
    memcpy(dst, value, len + 1);
    return 0;
}

static int set_owned(char **dst, const char *value, struct err *err)
{
    free(*dst);
    *dst = strdup(value);
    return *dst == NULL ? out_of_memory(err) : 0;
}

// Splits at spaces into a NULL-terminated list that has room for `max` words.
static int set_words(char **list, size_t *count, size_t max, const char *value, struct err *err)
{
    _cleanup_free_ char *copy = strdup(value);
    char *save = NULL;

    if (copy == NULL)
        return out_of_memory(err);
    for (char *w = strtok_r(copy, " \t", &save); w != NULL; w = strtok_r(NULL, " \t", &save)) {
        if (*count >= max)
            return err_set(err, ERR_INVALID, "more than %zu words", max);
        list[*count] = strdup(w);
        if (list[*count] == NULL)
            return out_of_memory(err);
        (*count)++;
    }
    if (*count == 0)
        return err_set(err, ERR_INVALID, "the value is empty");
    return 0;
}

static int add_env(char **list, size_t *count, const char *key, const char *value, struct err *err)
{
    char *entry;

    if (*count >= RUNTIME_ENV_MAX)
        return err_set(err, ERR_INVALID, "more than %d variables", RUNTIME_ENV_MAX);
    if (asprintf(&entry, "%s=%s", key, value) < 0)
        return out_of_memory(err);
    list[(*count)++] = entry;
    return 0;
}

#define UNUSED_REST (void)rest

static int key_name(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_string(rt->name, sizeof(rt->name), value, err);
}

static int key_version(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_string(rt->version, sizeof(rt->version), value, err);
}

static int key_extension(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    if (!parse_is_name(value, sizeof(rt->extension) - 1))
        return err_set(err, ERR_INVALID, "'%.20s' is not an extension", value);
    return set_string(rt->extension, sizeof(rt->extension), value, err);
}

static int key_aliases(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_words(rt->aliases, &rt->alias_count, RUNTIME_ALIASES_MAX, value, err);
}

static int key_compile(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_words(rt->compile.argv, &rt->compile.argc, RUNTIME_ARGS_MAX, value, err);
}

static int key_compile_artifact(struct runtime *rt, const char *rest, const char *value,
                                struct err *err)
{
    UNUSED_REST;
    if (run_path_check(value, err) < 0)
        return -1;
    return set_owned(&rt->compile_artifact, value, err);
}

static int key_run(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_words(rt->run.argv, &rt->run.argc, RUNTIME_ARGS_MAX, value, err);
}

static int key_prepare(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_words(rt->prepare.argv, &rt->prepare.argc, RUNTIME_ARGS_MAX, value, err);
}

// Keys are lower case in the file; variables are upper case by custom, so env.home sets HOME.
static int upper_key(char *out, size_t size, const char *rest, struct err *err)
{
    size_t len = strlen(rest);

    if (len == 0 || len >= size || strchr(rest, '.') != NULL)
        return err_set(err, ERR_INVALID, "expected env.<variable>");
    for (size_t i = 0; i <= len; i++)
        out[i] = rest[i] >= 'a' && rest[i] <= 'z' ? (char)(rest[i] - 'a' + 'A') : rest[i];
    return 0;
}

static int key_env(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    char name[65];

    if (upper_key(name, sizeof(name), rest, err) < 0)
        return -1;
    return add_env(rt->env, &rt->env_count, name, value, err);
}

static int key_prepare_env(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    char name[65];

    if (upper_key(name, sizeof(name), rest, err) < 0)
        return -1;
    return add_env(rt->prepare_env, &rt->prepare_env_count, name, value, err);
}

static int key_cold_env(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_words(rt->cold_env, &rt->cold_env_count, RUNTIME_ENV_MAX, value, err);
}

static int key_cold_files(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_words(rt->cold_files, &rt->cold_files_count, RUNTIME_ENV_MAX, value, err);
}

static int key_wrap_unless(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_owned(&rt->wrap_unless, value, err);
}

static int key_wrap_prefix(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_owned(&rt->wrap_prefix, value, err);
}

static int key_wrap_suffix(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_owned(&rt->wrap_suffix, value, err);
}

static int key_warm(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_owned(&rt->warm_code, value, err);
}

static int set_yes(bool *ret, const char *value, struct err *err)
{
    *ret = strcmp(value, "yes") == 0;
    if (!*ret && strcmp(value, "no") != 0)
        return err_set(err, ERR_INVALID, "expected yes or no");
    return 0;
}

static int key_warm_clone(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_yes(&rt->warm_clone, value, err);
}

static int key_zygote(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    UNUSED_REST;
    return set_yes(&rt->zygote, value, err);
}

static int set_number(uint64_t min, uint64_t max, const char *value, uint64_t *ret, struct err *err)
{
    if (parse_bytes(value, min, max, ret) < 0)
        return err_set(err, ERR_INVALID, "expected a number from %llu to %llu",
                       (unsigned long long)min, (unsigned long long)max);
    return 0;
}

static int key_pool_ready(struct runtime *rt, const char *rest, const char *value, struct err *err)
{
    uint64_t v;

    UNUSED_REST;
    if (set_number(0, 256, value, &v, err) < 0)
        return -1;
    rt->pool_ready = (uint32_t)v;
    return 0;
}

static int key_compile_wall(struct runtime *rt, const char *rest, const char *value,
                            struct err *err)
{
    UNUSED_REST;
    return set_number(1, 600000, value, &rt->compile_wall_ms, err);
}

static int key_compile_memory(struct runtime *rt, const char *rest, const char *value,
                              struct err *err)
{
    UNUSED_REST;
    return set_number(1 << 20, 1ull << 40, value, &rt->compile_memory_bytes, err);
}

static const struct key_row key_rows[] = {
    {"name", key_name},
    {"version", key_version},
    {"extension", key_extension},
    {"aliases", key_aliases},
    {"compile", key_compile},
    {"compile_artifact", key_compile_artifact},
    {"run", key_run},
    {"prepare", key_prepare},
    {"env.", key_env},
    {"prepare_env.", key_prepare_env},
    {"cold_env", key_cold_env},
    {"cold_files", key_cold_files},
    {"wrap.unless", key_wrap_unless},
    {"wrap.prefix", key_wrap_prefix},
    {"wrap.suffix", key_wrap_suffix},
    {"warm", key_warm},
    {"warm_clone", key_warm_clone},
    {"zygote", key_zygote},
    {"pool_ready", key_pool_ready},
    {"compile_wall_ms", key_compile_wall},
    {"compile_memory_bytes", key_compile_memory},
};

static int take_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    struct runtime *rt = arg;

    (void)line;
    for (size_t i = 0; i < sizeof(key_rows) / sizeof(key_rows[0]); i++) {
        const struct key_row *row = &key_rows[i];
        size_t len = strlen(row->key);

        if (row->key[len - 1] == '.' && strncmp(key, row->key, len) == 0)
            return row->set(rt, key + len, value, err);
        if (strcmp(key, row->key) == 0)
            return row->set(rt, "", value, err);
    }
    return err_set(err, ERR_INVALID, "unknown key '%s'", key);
}

// Nothing searches PATH in the guest: a command names its program.
static int check_command(const struct runtime *rt, const char *key, const struct runtime_command *c,
                         struct err *err)
{
    if (c->argc == 0 || strchr(c->argv[0], '/') != NULL)
        return 0;
    return err_set(err, ERR_INVALID, "%s%s: '%s' must begin with the program's path", rt->id,
                   FILE_SUFFIX, key);
}

static int check_complete(struct runtime *rt, struct err *err)
{
    static const char stem[] = "main.";

    if (rt->extension[0] == '\0')
        return err_set(err, ERR_INVALID, "%s%s: 'extension' is missing", rt->id, FILE_SUFFIX);
    if (rt->run.argc == 0)
        return err_set(err, ERR_INVALID, "%s%s: 'run' is missing", rt->id, FILE_SUFFIX);
    if (check_command(rt, "compile", &rt->compile, err) < 0 ||
        check_command(rt, "run", &rt->run, err) < 0 ||
        check_command(rt, "prepare", &rt->prepare, err) < 0)
        return -1;
    if (rt->compile_artifact != NULL && rt->compile.argc == 0)
        return err_set(err, ERR_INVALID, "%s%s: compile_artifact needs compile", rt->id,
                       FILE_SUFFIX);
    if (rt->wrap_unless != NULL && (rt->wrap_prefix == NULL || rt->wrap_suffix == NULL))
        return err_set(err, ERR_INVALID, "%s%s: wrap.unless needs wrap.prefix and wrap.suffix",
                       rt->id, FILE_SUFFIX);
    if (rt->warm_clone && (rt->warm_code == NULL || rt->prepare.argc == 0))
        return err_set(err, ERR_INVALID, "%s%s: warm_clone needs warm and prepare", rt->id,
                       FILE_SUFFIX);
    if (rt->zygote && rt->prepare.argc == 0)
        return err_set(err, ERR_INVALID, "%s%s: zygote needs prepare", rt->id, FILE_SUFFIX);
    if (rt->name[0] == '\0')
        memcpy(rt->name, rt->id, sizeof(rt->id));
    static_assert(sizeof(stem) + sizeof(rt->extension) <= sizeof(rt->source), "fits");
    memcpy(rt->source, stem, sizeof(stem));
    memcpy(rt->source + sizeof(stem) - 1, rt->extension, sizeof(rt->extension));
    return 0;
}

static int load_one(struct runtime_table *t, int dirfd, const char *file, size_t id_len,
                    struct sha256_ctx *hash, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct runtime *rt = &t->runtimes[t->count];
    size_t len;
    int r;

    if (t->count >= RUNTIME_COUNT_MAX)
        return err_set(err, ERR_INVALID, "more than %d runtimes", RUNTIME_COUNT_MAX);
    if (id_len >= sizeof(rt->id))
        return err_set(err, ERR_INVALID, "%s: the name is too long", file);
    r = fd_read_file(dirfd, file, FILE_MAX_BYTES, &text, &len);
    if (r < 0)
        return err_sys(err, r, "cannot read %s", file);
    t->count++;
    rt->compile_wall_ms = 60000;
    memcpy(rt->id, file, id_len);
    if (!parse_is_name(rt->id, sizeof(rt->id) - 1))
        return err_set(err, ERR_INVALID, "%s: not a runtime name", file);
    if (strlen(text) != len)
        return err_set(err, ERR_INVALID, "%s holds a NUL byte", file);
    sha256_update(hash, strlen(file) + 1, (const uint8_t *)file);
    sha256_update(hash, len + 1, (const uint8_t *)text);
    if (ini_parse(file, text, take_entry, rt, err) < 0)
        return -1;
    return check_complete(rt, err);
}

static int is_runtime_file(const struct dirent *d)
{
    size_t len = strlen(d->d_name);
    size_t suffix = strlen(FILE_SUFFIX);

    return len > suffix && strcmp(d->d_name + len - suffix, FILE_SUFFIX) == 0;
}

static int check_ids_unique(const struct runtime_table *t, struct err *err)
{
    for (size_t i = 0; i < t->count; i++) {
        if (runtime_find(t, t->runtimes[i].id) != &t->runtimes[i])
            return err_set(err, ERR_INVALID, "'%s' is also an alias of another runtime",
                           t->runtimes[i].id);
        for (size_t a = 0; a < t->runtimes[i].alias_count; a++)
            if (runtime_find(t, t->runtimes[i].aliases[a]) != &t->runtimes[i])
                return err_set(err, ERR_INVALID, "alias '%s' of %s is taken",
                               t->runtimes[i].aliases[a], t->runtimes[i].id);
    }
    return 0;
}

static int load_all(struct runtime_table *t, int dirfd, struct err *err)
{
    struct dirent **names = NULL;
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    int count = scandirat(dirfd, ".", &names, is_runtime_file, alphasort);
    int r = 0;

    if (count < 0)
        return err_sys(err, errno, "cannot list the runtimes directory");
    sha256_init(&hash);
    for (int i = 0; i < count; i++) {
        size_t id_len = strlen(names[i]->d_name) - strlen(FILE_SUFFIX);

        if (r == 0)
            r = load_one(t, dirfd, names[i]->d_name, id_len, &hash, err);
        free(names[i]);
    }
    free(names);
    if (r < 0)
        return -1;
    if (t->count == 0)
        return err_set(err, ERR_INVALID, "the runtimes directory holds no *%s file", FILE_SUFFIX);
    sha256_digest(&hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(t->hash + 2 * i, 3, "%02x", digest[i]);
    return check_ids_unique(t, err);
}

int runtime_table_load(int dirfd, struct runtime_table **ret, struct err *err)
{
    struct runtime_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return out_of_memory(err);
    if (load_all(t, dirfd, err) < 0) {
        runtime_table_free(t);
        return -1;
    }
    *ret = t;
    return 0;
}

static void free_list(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i]);
}

void runtime_table_free(struct runtime_table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->count; i++) {
        struct runtime *rt = &t->runtimes[i];

        free_list(rt->aliases, rt->alias_count);
        free_list(rt->compile.argv, rt->compile.argc);
        free_list(rt->run.argv, rt->run.argc);
        free_list(rt->prepare.argv, rt->prepare.argc);
        free_list(rt->env, rt->env_count);
        free_list(rt->prepare_env, rt->prepare_env_count);
        free_list(rt->cold_env, rt->cold_env_count);
        free_list(rt->cold_files, rt->cold_files_count);
        free(rt->compile_artifact);
        free(rt->wrap_unless);
        free(rt->wrap_prefix);
        free(rt->wrap_suffix);
        free(rt->warm_code);
    }
    free(t);
}

size_t runtime_count(const struct runtime_table *t)
{
    return t->count;
}

const struct runtime *runtime_at(const struct runtime_table *t, size_t i)
{
    return &t->runtimes[i];
}

const struct runtime *runtime_find(const struct runtime_table *t, const char *id)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct runtime *rt = &t->runtimes[i];

        if (strcmp(rt->id, id) == 0)
            return rt;
        for (size_t a = 0; a < rt->alias_count; a++)
            if (strcmp(rt->aliases[a], id) == 0)
                return rt;
    }
    return NULL;
}

const char *runtime_table_hash(const struct runtime_table *t)
{
    return t->hash;
}
