// SPDX-License-Identifier: Apache-2.0
//
// csb key: the API keys of a service, straight in its store. Whoever may write the state directory
// is its operator, which no key could show better; the service may run meanwhile and knows at once.
#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "config/config.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "csb key: %s\n", err->message);
    return CLI_EXIT_SERVICE;
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: csb key create [NAME]\n"
                  "       csb key list\n"
                  "       csb key revoke ID\n\n"
                  "The service is that of STATE_DIR: of the environment, else of "
                  "%s, else build/state.\n",
                  CONFIG_DEFAULT_FILE);
    return CLI_EXIT_USAGE;
}

static int open_store(struct store **ret, struct err *err)
{
    static struct config config; // large
    char path[PATH_MAX];
    int dir; // the store's, until the process ends

    config_init(&config);
    if ((access(CONFIG_DEFAULT_FILE, R_OK) == 0 &&
         config_load_file(&config, CONFIG_DEFAULT_FILE, err) < 0) ||
        config_load_env(&config, environ, err) < 0)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/store", config.state_dir);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, errno,
                       "%s (the service makes it when it first starts; STATE_DIR says where)",
                       path);
    return store_open(dir, STORE_SYNC_POWER, ret, err);
}

static int create(struct store *s, const char *name)
{
    char text[STORE_KEY_TEXT_LEN + 1];
    struct store_key key;
    struct err err = ERR_INIT;

    if (store_key_add(s, name, text, &key, &err) < 0)
        return fail(&err);
    printf("%s\n", text);
    (void)fprintf(stderr, "key %s: it is shown only now. `csb key revoke %s` ends it.\n", key.id,
                  key.id);
    return 0;
}

static int print_key(void *arg, const struct store_key *key)
{
    time_t made = (time_t)(key->created_ms / 1000);
    struct tm tm;
    char date[32];

    (void)arg;
    (void)gmtime_r(&made, &tm);
    (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm);
    printf("%-15s %s...  %s  %-8s %s\n", key->id, key->hint, date,
           key->revoked_ms != 0 ? "revoked" : "good", key->name);
    return 0;
}

static int list(struct store *s)
{
    struct err err = ERR_INIT;

    return store_key_each(s, print_key, NULL, &err) < 0 ? fail(&err) : 0;
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
    struct err err = ERR_INIT;
    int r;

    if (!((strcmp(what, "create") == 0 && argc <= 3) || (strcmp(what, "list") == 0 && argc == 2) ||
          (strcmp(what, "revoke") == 0 && argc == 3)))
        return usage();
    if (open_store(&s, &err) < 0)
        return fail(&err);
    if (what[0] == 'c')
        r = create(s, argc == 3 ? argv[2] : "");
    else if (what[0] == 'l')
        r = list(s);
    else
        r = revoke_key(s, argv[2]);
    store_close(s);
    return r;
}
