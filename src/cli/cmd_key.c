// SPDX-License-Identifier: Apache-2.0
//
// csb key: the API keys of a service, straight in its store. Whoever may write the state directory
// is its operator, which no key could show better; the service may run meanwhile and knows at once.
#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "cli/operator_store.h"
#include "config/config.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "csb key: %s\n", err->message);
    return CLI_EXIT_SERVICE;
}

static int usage(void)
{
    (void)fprintf(
        stderr,
        "usage: csb key create [--tenant=TENANT] [--role=run|admin] [NAME]\n"
        "       csb key list\n"
        "       csb key revoke ID\n\n"
        "A key belongs to a tenant, who is limited as one; without --tenant it is a tenant "
        "of its own.\n"
        "admin may also read /metrics and /debug/guest.\n"
        "The service is that of STATE_DIR: of the environment, else of "
        "%s, else build/state.\n",
        CONFIG_DEFAULT_FILE);
    return CLI_EXIT_USAGE;
}

struct new_key {
    const char *name;
    const char *tenant; // NULL: its own
    bool admin;
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
        else if (i == argc - 1 && argv[i][0] != '-')
            ret->name = argv[i];
        else
            return false;
    }
    return true;
}

static int create(struct store *s, const struct new_key *k)
{
    char text[STORE_KEY_TEXT_LEN + 1];
    struct store_key key;
    struct err err = ERR_INIT;

    if (store_key_add(s, k->name, k->tenant, k->admin, text, &key, &err) < 0)
        return fail(&err);
    printf("%s\n", text);
    (void)fprintf(stderr, "key %s: it is shown only now. `csb key revoke %s` ends it.\n", key.id,
                  key.id);
    return 0;
}

static int on_limit(void *arg, const struct store_tenant_limit *limit)
{
    return buf_append(arg, limit, sizeof(*limit)) < 0 ? -1 : 0;
}

static int print_key(void *arg, const struct store_key *key)
{
    const struct buf *limits = arg;
    time_t made = (time_t)(key->created_ms / 1000);
    struct tm tm;
    char date[32];

    (void)gmtime_r(&made, &tm);
    (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm);
    printf("%-15s %s...  %s  %-8s %-6s %-15s %s", key->id, key->hint, date,
           key->revoked_ms != 0 ? "revoked" : "good", key->admin ? "admin" : "run", key->tenant,
           key->name);
    for (size_t at = 0; at < limits->len; at += sizeof(struct store_tenant_limit)) {
        struct store_tenant_limit limit;

        memcpy(&limit, limits->data + at, sizeof(limit));
        if (strcmp(limit.tenant, key->tenant) == 0)
            printf("  %s=%" PRIu64, store_limit_name(limit.limit), limit.value);
    }
    printf("\n");
    return 0;
}

static int list(struct store *s)
{
    _cleanup_buf_ struct buf limits = BUF_INIT;
    struct err err = ERR_INIT;

    if (store_tenant_each(s, on_limit, &limits, &err) != 0 ||
        store_key_each(s, print_key, &limits, &err) != 0)
        return fail(&err);
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
    (void)fprintf(stderr, "csb key: no good key has the id '%.40s'\n", id);
    return 1;
}

int cmd_key(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    struct store *s = NULL;
    struct new_key new_key = {.name = ""};
    struct err err = ERR_INIT;
    int r;

    if (!((strcmp(what, "create") == 0 && parse_new(argc - 2, argv + 2, &new_key)) ||
          (strcmp(what, "list") == 0 && argc == 2) || (strcmp(what, "revoke") == 0 && argc == 3)))
        return usage();
    if (operator_store_open(&s, &err) < 0)
        return fail(&err);
    if (what[0] == 'c')
        r = create(s, &new_key);
    else if (what[0] == 'l')
        r = list(s);
    else
        r = revoke_key(s, argv[2]);
    store_close(s);
    return r;
}
