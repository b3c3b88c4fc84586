// SPDX-License-Identifier: Apache-2.0
//
// Where settings come from, and what must hold between them.
#include "config/config.h"

#include "base/fd.h"
#include "base/ini.h"
#include "base/parse.h"
#include "config/config_internal.h"
#include "webhook/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GROUP_NAME_MAX 40

// The first problem stops these; config_load() goes on.
static int on_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    return config_put(arg, key, value, CONFIG_FROM_FILE, line, err);
}

int config_load_file(struct config *c, const char *path, struct err *err)
{
    return ini_parse_file(AT_FDCWD, path, on_entry, c, err);
}

// The value of the variable; NULL when it is not set, or empty.
static const char *find_variable(char *const *environ_list, const char *name)
{
    size_t len = strlen(name);

    for (char *const *e = environ_list; *e != NULL; e++)
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=' && (*e)[len + 1] != '\0')
            return *e + len + 1;
    return NULL;
}

static int take_variable(struct config *c, const struct config_key *k, char *const *environ_list,
                         struct err *err)
{
    const char *value = find_variable(environ_list, k->name);
    char key[64];

    config_file_key(k, key);
    if (value != NULL && config_put(c, key, value, CONFIG_FROM_ENVIRONMENT, 0, err) < 0)
        return err_wrap(err, "environment");
    return 0;
}

int config_load_env(struct config *c, char *const *environ_list, struct err *err)
{
    for (const struct config_key *k = config_keys; k->name != NULL; k++)
        if (take_variable(c, k, environ_list, err) < 0)
            return -1;
    return 0;
}

int config_load_here(struct config *c, char *const *environ_list, struct err *err)
{
    config_init(c);
    if (access(CONFIG_DEFAULT_FILE, R_OK) == 0 && config_load_file(c, CONFIG_DEFAULT_FILE, err) < 0)
        return -1;
    return config_load_env(c, environ_list, err);
}

int config_load_option(struct config *c, const char *option, struct err *err)
{
    const char *eq = strchr(option, '=');
    char key[64];
    size_t len = eq == NULL ? strlen(option) : (size_t)(eq - option);

    if (strncmp(option, "--", 2) != 0 || len - 2 >= sizeof(key))
        return err_set(err, ERR_INVALID, "'%.60s' is not an option; see --help", option);
    len -= 2;
    for (size_t i = 0; i < len; i++)
        key[i] = option[2 + i] == '-' ? '_' : option[2 + i];
    key[len] = '\0';
    if (eq == NULL && config_find(key) != NULL)
        return err_set(err, ERR_INVALID, "command line: %s: the value is missing: %.60s=VALUE",
                       config_find(key)->name, option);
    if (eq == NULL)
        return err_set(err, ERR_INVALID, "'%.60s' is not an option; see --help", option);
    if (config_put(c, key, eq + 1, CONFIG_FROM_OPTION, 0, err) < 0)
        return err_wrap(err, "command line");
    return 0;
}

static int check_address(struct config *c, struct err *err)
{
    unsigned char any[sizeof(struct in6_addr)];

    if (strcmp(c->api_host, "localhost") != 0 && inet_pton(AF_INET, c->api_host, any) != 1 &&
        inet_pton(AF_INET6, c->api_host, any) != 1)
        return err_field(err, ERR_INVALID, "API_HOST",
                         "API_HOST: '%.60s' is not a numeric address or localhost", c->api_host);
    return 0;
}

// By its own name, as errors have it. NULL when it is none.
static const struct config_key *find_named(const char *name)
{
    for (const struct config_key *k = config_keys; k->name != NULL; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

static bool is_default(const struct config *c, const char *name)
{
    const struct config_key *k = find_named(name);

    return k == NULL || c->origin[config_index(k)] == CONFIG_FROM_DEFAULT;
}

// Two settings that do not go together. At fault is the one that somebody set.
static int contradiction(const struct config *c, const char *smaller, const char *larger,
                         struct err *err)
{
    const char *fault = is_default(c, smaller) && !is_default(c, larger) ? larger : smaller;

    return err_field(err, ERR_INVALID, fault, "%s: %s is above %s", fault, smaller, larger);
}

static int check_pool(struct config *c, struct err *err)
{
    return c->pool_max < c->pool_size ? contradiction(c, "POOL_SIZE", "POOL_MAX", err) : 0;
}

static int check_limit(struct config *c, enum config_limit i, struct err *err)
{
    static const char *const names[CONFIG_LIMIT_COUNT][2] = {
        [CONFIG_LIMIT_WALL_MS] = {"DEFAULT_TIMEOUT", "MAX_TIMEOUT"},
        [CONFIG_LIMIT_CPU_MS] = {"LIMIT_CPU_MS", "LIMIT_CPU_MS_MAX"},
        [CONFIG_LIMIT_MEMORY_BYTES] = {"LIMIT_MEMORY_BYTES", "LIMIT_MEMORY_BYTES_MAX"},
        [CONFIG_LIMIT_PROCESSES] = {"LIMIT_PROCESSES", "LIMIT_PROCESSES_MAX"},
        [CONFIG_LIMIT_OUTPUT_BYTES] = {"LIMIT_OUTPUT_BYTES", "LIMIT_OUTPUT_BYTES_MAX"},
        [CONFIG_LIMIT_DISK_BYTES] = {"LIMIT_DISK_BYTES", "LIMIT_DISK_BYTES_MAX"},
    };

    return c->limits[i].def > c->limits[i].max ? contradiction(c, names[i][0], names[i][1], err)
                                               : 0;
}

static int check_guest(struct config *c, struct err *err)
{
    if (strcmp(c->isolation, "process") != 0 &&
        c->limits[CONFIG_LIMIT_MEMORY_BYTES].max > c->vm_memory_mb << 20)
        return contradiction(c, "LIMIT_MEMORY_BYTES_MAX", "VM_MEMORY_MB", err);
    return 0;
}

// csb-launch, which makes directories of it, takes no other.
static int check_group(struct config *c, struct err *err)
{
    if (!parse_is_name(c->cgroup_name, GROUP_NAME_MAX))
        return err_field(
            err, ERR_INVALID, "CGROUP_NAME",
            "CGROUP_NAME: '%.60s' is not a plain name: 1 to %d letters, digits, '.', '_' "
            "and '-', the first no '.' or '-'",
            c->cgroup_name, GROUP_NAME_MAX);
    return 0;
}

// How long the host name at the start of `text` is; an IPv6 address stands in brackets.
static size_t host_len(const char *text)
{
    size_t n = 0;

    if (text[0] == '[') {
        n = strspn(text + 1, "0123456789abcdefABCDEF:.");
        return n > 0 && text[1 + n] == ']' ? n + 2 : 0;
    }
    while (isalnum((unsigned char)text[n]) || (text[n] != '\0' && strchr("-._", text[n]) != NULL))
        n++;
    return n;
}

// One that can never match would be told by nothing but 403s.
static int check_allowed_hosts(struct config *c, struct err *err)
{
    const char *at = c->allowed_hosts;

    for (at += strspn(at, ", "); *at != '\0'; at += strspn(at, ", ")) {
        size_t len = strcspn(at, ", ");

        if (host_len(at) != len)
            return err_field(err, ERR_INVALID, "ALLOWED_HOSTS",
                             "ALLOWED_HOSTS: '%.*s' is not a host name or [IPv6 address] without "
                             "scheme, port and pattern",
                             (int)(len < 60 ? len : 60), at);
        at += len;
    }
    return 0;
}

static int check_domain(struct config *c, struct err *err)
{
    const char *domain = c->sandbox_domain;
    size_t len = host_len(domain);
    const char *port = domain[len] == ':' ? domain + len + 1 : domain + len;

    if (domain[0] == '\0')
        return 0;
    if (len == 0 || domain[0] == '[' || strlen(domain) > CONFIG_DOMAIN_MAX ||
        (domain[len] != '\0' && (*port == '\0' || port[strspn(port, "0123456789")] != '\0')))
        return err_field(err, ERR_INVALID, "SANDBOX_DOMAIN",
                         "SANDBOX_DOMAIN: '%.60s' is not a host name of at most %d bytes, a colon "
                         "and a port behind it if need be",
                         domain, CONFIG_DOMAIN_MAX);
    return 0;
}

static int check_webhooks(struct config *c, struct err *err)
{
    size_t len = strlen(c->webhook_secret);
    struct address_rules rules;

    if (address_rules_parse(c->webhook_allow, &rules, err) < 0) {
        (void)err_wrap(err, "WEBHOOK_ALLOW");
        (void)snprintf(err->field, sizeof(err->field), "WEBHOOK_ALLOW");
        return -1;
    }
    if (len > 0 && len < 16)
        return err_field(err, ERR_INVALID, "WEBHOOK_SECRET",
                         "WEBHOOK_SECRET: shorter than 16 bytes");
    return 0;
}

static int derive_beside(const struct config *c, const char *name, char path[CONFIG_TEXT_MAX],
                         struct err *err)
{
    const char *slash = strrchr(c->rootfs_path, '/');
    int dir_len = slash == NULL ? 0 : (int)(slash - c->rootfs_path) + 1;

    if (path[0] != '\0')
        return 0;
    if (snprintf(path, CONFIG_TEXT_MAX, "%.*s%s", dir_len, c->rootfs_path, name) >= CONFIG_TEXT_MAX)
        return err_field(err, ERR_INVALID, "ROOTFS_PATH", "ROOTFS_PATH: too long");
    return 0;
}

static int derive_directories(struct config *c, struct err *err)
{
    if (derive_beside(c, "rootfs", c->rootfs_tree, err) < 0)
        return -1;
    return derive_beside(c, "templates", c->templates_dir, err);
}

// Each is run whatever the others found. Returns how many problems there were.
static size_t check_all(struct config *c, config_problem_cb problem, void *arg)
{
    static int (*const checks[])(struct config *, struct err *) = {
        check_pool,          check_address, check_guest,    check_group,
        check_allowed_hosts, check_domain,  check_webhooks, derive_directories,
    };
    size_t count = 0;

    c->limits[CONFIG_LIMIT_WALL_MS].def = c->default_timeout_s * 1000;
    c->limits[CONFIG_LIMIT_WALL_MS].max = c->max_timeout_s * 1000;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) + CONFIG_LIMIT_COUNT; i++) {
        struct err err = ERR_INIT;
        int r = i < CONFIG_LIMIT_COUNT ? check_limit(c, (enum config_limit)i, &err)
                                       : checks[i - CONFIG_LIMIT_COUNT](c, &err);

        if (r == 0)
            continue;
        problem(arg, &err);
        count++;
    }
    return count;
}

static void keep_first(void *arg, const struct err *e)
{
    struct err *first = arg;

    if (first->code == ERR_NONE)
        *first = *e;
}

int config_finish(struct config *c, struct err *err)
{
    struct err first = ERR_INIT;

    if (check_all(c, keep_first, &first) == 0)
        return 0;
    if (err != NULL)
        *err = first;
    return -1;
}

struct loading {
    struct config *config;
    const char *file; // "" without
    config_problem_cb problem;
    void *arg;
};

static int load_entry(void *arg, unsigned line, const char *key, const char *value, struct err *err)
{
    struct loading *l = arg;

    return config_put(l->config, key, value, CONFIG_FROM_FILE, line, err);
}

static void load_problem(void *arg, const struct err *e)
{
    const struct loading *l = arg;

    l->problem(l->arg, e);
}

// Says where the setting came from.
static void check_problem(void *arg, const struct err *e)
{
    const struct loading *l = arg;
    const struct config_key *k = find_named(e->field);
    enum config_origin origin = CONFIG_FROM_DEFAULT;
    struct err err = *e;

    if (k != NULL)
        origin = l->config->origin[config_index(k)];
    if (origin == CONFIG_FROM_FILE)
        (void)err_wrap(&err, "%s:%u", l->file, l->config->origin_line[config_index(k)]);
    else if (origin == CONFIG_FROM_ENVIRONMENT)
        (void)err_wrap(&err, "environment");
    else if (origin == CONFIG_FROM_OPTION)
        (void)err_wrap(&err, "command line");
    l->problem(l->arg, &err);
}

static size_t load_file(struct loading *l)
{
    _cleanup_free_ char *text = NULL;
    struct err err = ERR_INIT;

    if (ini_read(AT_FDCWD, l->file, &text, &err) < 0) {
        l->problem(l->arg, &err);
        return 1;
    }
    return ini_parse_all(l->file, text, load_entry, load_problem, l);
}

size_t config_load(struct config *c, const struct config_sources *sources,
                   config_problem_cb problem, void *arg)
{
    struct loading l = {.config = c, .file = sources->file, .problem = problem, .arg = arg};
    struct err err = ERR_INIT;
    size_t count = 0;

    config_init(c);
    if (l.file == NULL && access(CONFIG_DEFAULT_FILE, F_OK) == 0)
        l.file = CONFIG_DEFAULT_FILE;
    if (l.file != NULL)
        count += load_file(&l);
    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        if (take_variable(c, k, sources->environment, &err) == 0)
            continue;
        problem(arg, &err);
        count++;
    }
    for (char *const *option = sources->options; *option != NULL; option++) {
        if (config_load_option(c, *option, &err) == 0)
            continue;
        problem(arg, &err);
        count++;
    }
    return count + check_all(c, check_problem, &l);
}

void config_diff(const struct config *before, const struct config *after, config_change_cb change,
                 void *arg)
{
    for (const struct config_key *k = config_keys; k->name != NULL; k++) {
        char old[CONFIG_TEXT_MAX];
        char new[CONFIG_TEXT_MAX];

        config_value_text(before, k, old, sizeof(old));
        config_value_text(after, k, new, sizeof(new));
        if (strcmp(old, new) != 0)
            change(arg, k->name, old, new, (k->flags & CONFIG_RELOAD) != 0);
    }
}
