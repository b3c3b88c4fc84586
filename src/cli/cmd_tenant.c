// SPDX-License-Identifier: Apache-2.0
//
// csb tenant: limits of a tenant's own, straight in the store of a service on this host, which are
// named and checked as the settings that say them for all; and what signs a tenant's callbacks.
#include "base/err.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/operator_store.h"
#include "cli/out.h"
#include "config/config.h"
#include "store/store.h"
#include "webhook/sign.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64
#define ALL_HAVE       "default" // what takes a limit of its own away again

struct change {
    enum store_limit limit;
    bool own;
    uint64_t value;
};

static int fail(const struct err *err)
{
    out_error("tenant", "%s", err->message);
    return err->code == ERR_INVALID ? CLI_EXIT_USAGE : CLI_EXIT_SERVICE;
}

static int usage(FILE *out, int code)
{
    (void)fprintf(out,
                  "usage: csb tenant set [--new] TENANT SETTING=NUMBER|" ALL_HAVE "...\n"
                  "       csb tenant list [--json]\n"
                  "       csb tenant webhook-secret [TENANT]\n\n"
                  "webhook-secret tells what signs the callbacks of a tenant's jobs, or of "
                  "those who send\nno key.\n"
                  "A tenant is who has a key, or limits of its own; set --new takes one who has "
                  "neither yet.\n\n"
                  "A limit of a tenant's own holds from its next request on. Settings:\n");
    for (int i = 0; i < STORE_LIMIT_COUNT; i++)
        (void)fprintf(out, "  %s\n", store_limit_name((enum store_limit)i));
    return code;
}

// The range is that of the setting.
static int check(const char *name, const char *value, uint64_t *ret, struct err *err)
{
    static struct config config; // large
    char key[NAME_MAX_BYTES];
    size_t len = strlen(name);

    for (size_t i = 0; i <= len; i++)
        key[i] = (char)tolower((unsigned char)name[i]);
    config_init(&config);
    if (config_set(&config, key, value, err) < 0)
        return -1;
    if (parse_u64(value, 0, UINT32_MAX, ret) < 0)
        return err_field(err, ERR_INVALID, name, "%s: '%.40s' is not a number", name, value);
    return 0;
}

// Of "TENANT_RUNS=4".
static int parse_change(const char *text, struct change *ret, struct err *err)
{
    const char *equals = strchr(text, '=');
    size_t len = equals == NULL ? 0 : (size_t)(equals - text);
    char name[NAME_MAX_BYTES];

    if (len == 0 || len >= sizeof(name))
        return err_set(err, ERR_INVALID, "'%.60s' is not SETTING=NUMBER", text);
    memcpy(name, text, len);
    name[len] = '\0';
    if (!store_limit_find(name, &ret->limit))
        return err_field(err, ERR_INVALID, "SETTING", "%s is not a limit of a tenant", name);
    ret->own = strcmp(equals + 1, ALL_HAVE) != 0;
    return ret->own ? check(name, equals + 1, &ret->value, err) : 0;
}

// Whoever is nobody yet was most likely meant to be somebody.
static int check_known(struct store *s, const char *tenant)
{
    struct err err = ERR_INIT;
    bool known = false;

    if (store_tenant_known(s, tenant, &known, &err) < 0)
        return fail(&err);
    if (known)
        return 0;
    out_error("tenant", "no key was made for a tenant '%s', nor has it limits", tenant);
    return 1;
}

static int set(struct store *s, const char *tenant, const struct change *changes, size_t count)
{
    struct err err = ERR_INIT;

    for (size_t i = 0; i < count; i++)
        if (store_tenant_set(s, tenant, changes[i].limit, changes[i].own ? &changes[i].value : NULL,
                             &err) < 0)
            return fail(&err);
    return 0;
}

static int print_limit(void *arg, const struct store_tenant_limit *limit)
{
    (void)arg;
    printf("%-15s ", limit->tenant);
    operator_limit_print(limit);
    printf("\n");
    return 0;
}

// {"TENANT": {"SETTING": NUMBER}}
static int add_limit(void *arg, const struct store_tenant_limit *limit)
{
    json_t *o = json_object_get(arg, limit->tenant);

    if (o == NULL) {
        o = json_object();
        if (json_object_set_new(arg, limit->tenant, o) < 0)
            return -1;
    }
    return operator_limit_put(o, limit);
}

static int list(struct store *s, bool json)
{
    _cleanup_json_ json_t *all = json ? json_object() : NULL;
    struct err err = ERR_INIT;

    if (store_tenant_each(s, json ? add_limit : print_limit, all, &err) != 0)
        return fail(&err);
    if (json)
        out_json(all);
    return 0;
}

// Made of the same WEBHOOK_SECRET as the service's, or it is not the tenant's. `tenant` "": of
// those without a key.
static int print_secret(struct store *s, const char *tenant)
{
    static struct config config; // large
    char secret[WEBHOOK_SECRET_LEN + 1];
    struct err err = ERR_INIT;
    int r = tenant[0] == '\0' ? 0 : check_known(s, tenant);

    if (r != 0)
        return r;
    if (config_load_here(&config, environ, &err) < 0)
        return fail(&err);
    if (config.webhook_secret[0] == '\0') {
        out_error("tenant", "there is no WEBHOOK_SECRET, neither in the environment nor in %s",
                  CONFIG_DEFAULT_FILE);
        return 1;
    }
    webhook_secret_of(config.webhook_secret, tenant, secret);
    printf("%s\n", secret);
    return 0;
}

// What is asked for.
struct request {
    char what; // its first letter; 0: it is not said right
    bool json;
    bool is_new; // it may be a tenant that nobody knows
    const char *tenant;
    struct change changes[STORE_LIMIT_COUNT];
    size_t count;
};

// After "set".
static int parse_set(int argc, char **argv, struct request *r, struct err *err)
{
    r->is_new = argc > 0 && strcmp(argv[0], "--new") == 0;
    argc -= r->is_new;
    argv += r->is_new;
    if (argc < 2 || argc > 1 + STORE_LIMIT_COUNT)
        return 0;
    r->what = 's';
    r->tenant = argv[0];
    for (int i = 1; i < argc; i++)
        if (parse_change(argv[i], &r->changes[r->count++], err) < 0)
            return -1;
    return 0;
}

static int parse(int argc, char **argv, struct request *r, struct err *err)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "set") == 0)
        return parse_set(argc - 2, argv + 2, r, err);
    r->json = argc == 3 && strcmp(argv[2], "--json") == 0;
    if (r->json)
        out_json_errors();
    r->tenant = argc > 2 ? argv[2] : "";
    if ((strcmp(what, "list") == 0 && (argc == 2 || r->json)) ||
        (strcmp(what, "webhook-secret") == 0 && argc <= 3))
        r->what = what[0];
    return 0;
}

static int answer(struct store *s, const struct request *r)
{
    int rc;

    if (r->what == 'l')
        return list(s, r->json);
    if (r->what == 'w')
        return print_secret(s, r->tenant);
    rc = r->is_new ? 0 : check_known(s, r->tenant);
    return rc != 0 ? rc : set(s, r->tenant, r->changes, r->count);
}

int cmd_tenant(int argc, char **argv)
{
    struct request request = {0};
    struct store *s = NULL;
    struct err err = ERR_INIT;
    int r;

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return usage(stdout, 0);
    if (parse(argc, argv, &request, &err) < 0)
        return fail(&err);
    if (request.what == '\0')
        return usage(stderr, CLI_EXIT_USAGE);
    if (operator_store_open(&s, &err) < 0)
        return fail(&err);
    r = answer(s, &request);
    store_close(s);
    return r;
}
