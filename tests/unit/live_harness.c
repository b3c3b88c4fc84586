// SPDX-License-Identifier: Apache-2.0
#include "live_harness.h"

#include "base/clock.h"
#include "base/fd.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "sandbox/tenant.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/csb-live-XXXXXX";
static int dir_fd = -1;
static struct runtime_table *runtimes;
static struct engine *engine;
struct store *store;
static struct tenant_table *tenants; // of the last table

void start_engine(const struct driver_ops *driver)
{
    struct engine_config config = {
        .driver = driver,
        .driver_config = {.state_dir_fd = AT_FDCWD, .accel = "auto"},
        .shape = {.memory_mib = 256, .cpus = 1},
        .pool_plain = 1,
        .pool_max = 4,
        .queue_max = 16,
        .queue_wait_ms = 60000,
    };
    struct err err = ERR_INIT;

    if (mkdtemp(dir) == NULL)
        abort();
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    _cleanup_fd_ int file = openat(dir_fd, "x.runtime", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)fd_write_all(file, "extension = txt\nrun = /fake main.txt\n", 37);
    if (runtime_table_load(dir_fd, &runtimes, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }

    (void)unlinkat(dir_fd, "x.runtime", 0);
    config.runtimes = runtimes;
    if (engine_new(&config, &engine, &err) < 0 ||
        store_open(dir_fd, STORE_SYNC_PROCESS, &store, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
}

struct live_table *start_table(uint32_t max, uint32_t per_key)
{
    const struct tenant_limits limits = {.sandboxes = per_key};
    struct live_config config = {
        .engine = engine,
        .store = store,
        .max = max,
        .life_max_ms = LIFE_MS,
        .cpus = 1,
        .memory_mib = 256,
    };
    struct live_table *t = NULL;
    struct err err = ERR_INIT;

    tenant_table_free(tenants);
    if (tenant_table_new(&limits, &tenants, &err) < 0)
        abort();
    config.tenants = tenants;
    if (live_table_new(&config, &t, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    return t;
}

const struct live_pair metadata[2] = {{"a", "1"}, {"b", "zwei"}};

struct live *create(struct live_table *t, const char *key, uint64_t timeout_ms, struct err *err)
{
    const struct live_spec spec = {
        .key = key,
        .template = "base",
        .metadata = metadata,
        .metadata_count = 2,
        .env = metadata,
        .env_count = 2,
        .timeout_ms = timeout_ms,
        .secure = true,
        .private_traffic = true,
    };
    struct live *l = NULL;

    *err = (struct err)ERR_INIT;
    (void)live_create(t, &spec, &l, err);
    return l;
}

bool comes(bool (*is)(struct live_table *t, void *arg), struct live_table *t, void *arg)
{
    const struct timespec step = {.tv_nsec = 10000000};

    for (int i = 0; i < 6000; i++) {
        if (is(t, arg))
            return true;
        (void)nanosleep(&step, NULL);
    }
    return false;
}

bool is_gone(struct live_table *t, void *id)
{
    struct live *l = live_find(t, id);

    live_unref(l);
    return l == NULL;
}

static int count_row(void *arg, const struct store_sandbox *b)
{
    (void)b;
    (*(int *)arg)++;
    return 0;
}

int count_rows(void)
{
    struct err err = ERR_INIT;
    int rows = 0;

    return store_sandbox_each(store, count_row, &rows, &err) < 0 ? -1 : rows;
}

bool is_empty(struct live_table *t, void *arg)
{
    (void)t;
    (void)arg;
    return count_rows() == 0;
}

void end_engine(void)
{
    tenant_table_free(tenants);
    engine_free(engine, 0);
    runtime_table_free(runtimes);
    store_close(store);
    (void)unlinkat(dir_fd, "codesandbox.db", 0);
    (void)unlinkat(dir_fd, "keys.generation", 0);
    fd_close(&dir_fd);
    (void)rmdir(dir);
}
