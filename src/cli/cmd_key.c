// SPDX-License-Identifier: Apache-2.0
//
// csb key: the API keys of a service, straight in its store. Whoever may write the state directory
// is its operator, which no key could show better; the service may run meanwhile and knows at once.
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/cli.h"
#include "cli/operator_store.h"
#include "cli/out.h"
#include "config/config.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

static int fail(const struct err *err)
{
    out_error("key", "%s", err->message);
    return err->code == ERR_INVALID ? CLI_EXIT_USAGE : CLI_EXIT_SERVICE;
}

static int usage(FILE *out, int code)
{
    (void)fprintf(
        out,
        "usage: csb key create [--tenant=TENANT] [--role=run|admin] [--json] [NAME]\n"
        "       csb key list [--json]\n"
        "       csb key revoke ID\n\n"
        "A key belongs to a tenant, who is limited as one; without --tenant it is a tenant "
        "of its own.\n"
        "admin may also read /metrics and /debug/guest.\n"
        "The service is that of STATE_DIR: of the environment, else of "
        "%s, else build/state.\n",
        CONFIG_DEFAULT_FILE);
    return code;
}

struct new_key {
    const char *name;
    const char *tenant; // NULL: its own
    bool admin;
    bool json;
};

// False: it is not said right.
static bool parse_new(int argc, char **argv, struct new_key *ret)
{
    *ret = (struct new_key){.name = ""};
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--tenant=", 9) == 0)
            ret->tenant = argv[i] + 9;
        else if (strcmp(argv[i], "--role=admin") == 0)
            ret->admin = true;
        else if (strcmp(argv[i], "--role=run") == 0)
            ret->admin = false;
        else if (strcmp(argv[i], "--json") == 0)
            ret->json = true;
        else if (i == argc - 1 && argv[i][0] != '-')
            ret->name = argv[i];
        else
            return false;
    }
    return true;
}

// All but the key itself, which is not stored.
static json_t *as_json(const struct store_key *key)
{
    char date[CLOCK_UTC_BYTES];

    clock_format_utc(key->created_ms * NS_PER_MS, date);
    return json_pack("{s:s,s:s,s:s,s:b,s:s,s:s,s:s}", "id", key->id, "hint", key->hint,
                     "created_at", date, "revoked", key->revoked_ms != 0, "role",
                     key->admin ? "admin" : "run", "tenant", key->tenant, "name", key->name);
}

static int create(struct store *s, const struct new_key *k)
{
    char text[STORE_KEY_TEXT_LEN + 1];
    struct store_key key;
    struct err err = ERR_INIT;

    if (store_key_add(s, k->name, k->tenant, k->admin, text, &key, &err) < 0)
        return fail(&err);
    if (k->json) {
        _cleanup_json_ json_t *o = as_json(&key);

        (void)json_object_set_new(o, "key", json_string(text));
        out_json(o);
        return 0;
    }
    printf("%s\n", text);
    (void)fprintf(stderr,
                  "key %s: it is shown only now. csb sends it where E2B_API_KEY has it; `csb key "
                  "revoke %s` ends it.\n",
                  key.id, key.id);
    return 0;
}

static int on_limit(void *arg, const struct store_tenant_limit *limit)
{
    return buf_append(arg, limit, sizeof(*limit)) < 0 ? -1 : 0;
}

struct listing {
    struct buf limits; // struct store_tenant_limit, one after the other
    json_t *json;      // a list, or NULL: as text
};

// Calls `fn` with each limit that is the tenant's own.
static void each_limit(const struct listing *l, const char *tenant,
                       void (*fn)(void *arg, const struct store_tenant_limit *limit), void *arg)
{
    for (size_t at = 0; at < l->limits.len; at += sizeof(struct store_tenant_limit)) {
        struct store_tenant_limit limit;

        memcpy(&limit, l->limits.data + at, sizeof(limit));
        if (strcmp(limit.tenant, tenant) == 0)
            fn(arg, &limit);
    }
}

static void print_limit(void *arg, const struct store_tenant_limit *limit)
{
    (void)arg;
    printf("  ");
    operator_limit_print(limit);
}

static void set_limit(void *arg, const struct store_tenant_limit *limit)
{
    (void)operator_limit_put(arg, limit);
}

static int add_key(void *arg, const struct store_key *key)
{
    const struct listing *l = arg;
    json_t *limits = json_object();
    json_t *o = as_json(key);

    each_limit(l, key->tenant, set_limit, limits);
    (void)json_object_set_new(o, "limits", limits);
    return json_array_append_new(l->json, o);
}

static int print_key(void *arg, const struct store_key *key)
{
    const struct listing *l = arg;
    char date[CLOCK_UTC_BYTES];

    clock_format_utc(key->created_ms * NS_PER_MS, date);
    printf("%-15s %s...  %.10s %.5s  %-8s %-6s %-15s %s", key->id, key->hint, date, date + 11,
           key->revoked_ms != 0 ? "revoked" : "good", key->admin ? "admin" : "run", key->tenant,
           key->name);
    each_limit(l, key->tenant, print_limit, NULL);
    printf("\n");
    return 0;
}

static int list(struct store *s, bool json)
{
    _cleanup_json_ json_t *keys = json ? json_array() : NULL;
    struct listing l = {.limits = BUF_INIT, .json = keys};
    struct err err = ERR_INIT;
    int r = store_tenant_each(s, on_limit, &l.limits, &err);

    if (r == 0)
        r = store_key_each(s, json ? add_key : print_key, &l, &err);
    buf_release(&l.limits);
    if (r != 0)
        return fail(&err);
    if (json)
        out_json(keys);
    return 0;
}

static int revoke_key(struct store *s, const char *id)
{
    struct err err = ERR_INIT;
    bool found;

    if (store_key_revoke(s, id, &found, &err) < 0)
        return fail(&err);
    if (found)
        return 0;
    out_error("key", "no good key has the id '%.40s'", id);
    return 1;
}

int cmd_key(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    struct store *s = NULL;
    struct new_key new_key = {.name = ""};
    struct err err = ERR_INIT;
    bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
    int r;

    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0)
        return usage(stdout, 0);
    if (!((strcmp(what, "create") == 0 && parse_new(argc - 2, argv + 2, &new_key)) ||
          (strcmp(what, "list") == 0 && (argc == 2 || json)) ||
          (strcmp(what, "revoke") == 0 && argc == 3)))
        return usage(stderr, CLI_EXIT_USAGE);
    if (json || new_key.json)
        out_json_errors();
    if (operator_store_open(&s, &err) < 0)
        return fail(&err);
    if (what[0] == 'c')
        r = create(s, &new_key);
    else if (what[0] == 'l')
        r = list(s, json);
    else
        r = revoke_key(s, argv[2]);
    store_close(s);
    return r;
}
