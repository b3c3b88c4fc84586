// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_store.h"

#include "base/err.h"
#include "config/config.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

// What the service makes when it starts, so that a service that is to be reached by others can have
// a key before.
static int make_dir(const struct config *c, const char *path, struct err *err)
{
    if ((mkdir(c->state_dir, 0755) < 0 && errno != EEXIST) || mkdir(path, 0700) < 0)
        return err_sys(err, errno, "%s (STATE_DIR says where)", path);
    if (geteuid() == 0 && chown(path, (uid_t)c->uid_base, (gid_t)c->uid_base) < 0)
        return err_sys(err, errno, "%s", path);
    return 0;
}

int operator_store_open(struct store **ret, struct err *err)
{
    static struct config config; // large
    char path[PATH_MAX];
    int dir; // the store's, until the process ends

    if (config_load_here(&config, environ, err) < 0)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/store", config.state_dir);
    if (access(path, F_OK) < 0 && errno == ENOENT && make_dir(&config, path, err) < 0)
        return -1;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, errno, "%s (STATE_DIR says where)", path);
    return store_open(dir, STORE_SYNC_POWER, ret, err);
}

void operator_limit_print(const struct store_tenant_limit *limit)
{
    printf("%s=%" PRIu64, store_limit_name(limit->limit), limit->value);
}

int operator_limit_put(json_t *object, const struct store_tenant_limit *limit)
{
    return json_object_set_new(object, store_limit_name(limit->limit),
                               json_integer((json_int_t)limit->value));
}
