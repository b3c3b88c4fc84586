// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/proc.h"
#include "base/fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLES_MAX 4096
#define BASE_PATH     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct env {
    const char **vars; // NULL-terminated
    size_t count;
    struct rpc_error *err;
};

void proc_env_free(const char **env)
{
    if (env == NULL)
        return;
    for (size_t i = 0; env[i] != NULL; i++)
        free((char *)(uintptr_t)env[i]);
    free(env);
}

// Adds or replaces a variable.
static int put(struct env *env, const char *name, size_t name_len, const char *value)
{
    size_t i = 0;
    char *text;

    while (i < env->count &&
           (strncmp(env->vars[i], name, name_len) != 0 || env->vars[i][name_len] != '='))
        i++;
    if (i == VARIABLES_MAX)
        return rpc_set(env->err, RPC_INVALID_ARGUMENT, "more than %d variables", VARIABLES_MAX);
    if (asprintf(&text, "%.*s=%s", (int)name_len, name, value) < 0)
        return rpc_set(env->err, RPC_RESOURCE_EXHAUSTED, "out of memory");
    free((char *)(uintptr_t)env->vars[i]);
    env->vars[i] = text;
    env->count += i == env->count;
    return 0;
}

static int put_member(void *arg, const struct json_in *in, const char *key, struct err *err)
{
    struct env *env = arg;
    struct json_str value = {.data = ""};
    size_t len = strlen(key);

    if (len == 0 || len > 4096 || strchr(key, '=') != NULL)
        return rpc_set(env->err, RPC_INVALID_ARGUMENT, "'%.64s' is not a variable's name", key);
    if (json_get_text(in, key, &value, err) < 0)
        return rpc_set(env->err, RPC_INVALID_ARGUMENT, "%s", err->message);
    return put(env, key, len, value.data);
}

static int put_str(struct env *env, const char *name, const char *value)
{
    return put(env, name, strlen(name), value);
}

static int fill(struct env *env, const struct envd *e, const struct user *user,
                const struct json_in *envs)
{
    struct err err = ERR_INIT;

    if (put_str(env, "PATH", BASE_PATH) < 0 || put_str(env, "HOME", user->home) < 0 ||
        put_str(env, "USER", user->name) < 0 || put_str(env, "LOGNAME", user->name) < 0)
        return -1;
    for (char **v = e->env; v != NULL && *v != NULL; v++) {
        size_t len = strcspn(*v, "=");
        if (put(env, *v, len, *v + len + 1) < 0)
            return -1;
    }
    return envs->object == NULL ? 0 : json_each(envs, put_member, env, &err);
}

const char **proc_env_make(const struct envd *e, const struct user *user,
                           const struct json_in *envs, struct rpc_error *err)
{
    struct env env = {.vars = calloc(VARIABLES_MAX + 1, sizeof(const char *)), .err = err};

    if (env.vars == NULL) {
        (void)rpc_set(err, RPC_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    if (fill(&env, e, user, envs) < 0) {
        proc_env_free(env.vars);
        return NULL;
    }
    return env.vars;
}
