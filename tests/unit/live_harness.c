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
#include <string.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/csb-live-XXXXXX";
static int dir_fd = -1;
static struct runtime_table *runtimes;
static struct engine *engine;
struct store *store;
struct tenant_table *tenants;
uint64_t cpu_seconds_per_hour;

void start_engine(const struct driver_ops *ops)
{
    struct engine_config config = {
        .driver = ops,
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
    const struct tenant_limits limits = {.sandboxes = per_key,
                                         .cpu_seconds_per_hour = cpu_seconds_per_hour};
    struct live_config config = {
        .engine = engine,
        .store = store,
        .max = max,
        .life_max_ms = LIFE_MS,
        .snapshots_per_key = 4,
        .snapshot_bytes = 1 << 30,
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

bool kill_one(struct live_table *t, const char *id)
{
    struct live *l = live_find(t, id);
    bool killed = l != NULL && live_kill(t, l);

    live_unref(l);
    return killed;
}

struct live *make(struct live_table *t, enum live_on_timeout on_timeout, char id[32])
{
    const struct live_spec spec = {.key = "k",
                                   .template = "base",
                                   .metadata = metadata,
                                   .metadata_count = 2,
                                   .timeout_ms = 600000,
                                   .on_timeout = on_timeout,
                                   .secure = true};
    struct err err = ERR_INIT;
    struct live *l = NULL;

    if (live_create(t, &spec, &l, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    (void)snprintf(id, 32, "%s", live_id(l));
    return l;
}

void make_one(struct live_table *t, enum live_on_timeout on_timeout, char id[32])
{
    live_unref(make(t, on_timeout, id));
}

bool runs(struct live_table *t, void *id)
{
    struct live *l = live_find(t, id);
    bool r = l != NULL && live_channel(l) != NULL;

    live_unref(l);
    return r;
}

bool is_told(struct live_table *t, const char *id, enum live_state state)
{
    struct live *l = live_find(t, id);
    struct live_info info = {.state = LIVE_ENDED};

    if (l != NULL)
        live_describe(t, l, &info);
    live_unref(l);
    return info.state == state;
}

bool is_paused(struct live_table *t, void *id)
{
    return is_told(t, id, LIVE_PAUSED);
}

// ---- the driver ----

struct driver *driver;
atomic_int load_fault, store_fault, freeze_fault, go_on_fault, usage_fault;
atomic_uint_fast64_t cpu_told;
atomic_bool hold, power_is_off;
atomic_int held;
void (*on_image)(enum image_step step);

static int fail(int fault, struct err *err)
{
    return err_set(err, (enum err_code)fault, "as the test wants it");
}

static int open_driver(const struct driver_config *config, struct driver **ret, struct err *err)
{
    int r = driver_fake.open(config, ret, err);

    driver = *ret;
    return r;
}

static int freeze(struct driver_sandbox *s, bool leave_paused, uint64_t deadline_ns,
                  struct driver_image **ret, struct err *err)
{
    return freeze_fault != ERR_NONE ? fail(freeze_fault, err)
                                    : driver_fake.snapshot(s, leave_paused, deadline_ns, ret, err);
}

static int go_on(struct driver_sandbox *s, uint64_t deadline_ns, struct err *err)
{
    return go_on_fault != ERR_NONE ? fail(go_on_fault, err)
                                   : driver_fake.resume(s, deadline_ns, err);
}

static int tell_usage(struct driver_sandbox *s, struct driver_usage *ret, struct err *err)
{
    (void)s;
    *ret = (struct driver_usage){.cpu_ns = cpu_told};
    return usage_fault != ERR_NONE ? fail(usage_fault, err) : 0;
}

static int load(struct driver *d, const char *id, struct driver_image **ret, struct err *err)
{
    return load_fault != ERR_NONE ? fail(load_fault, err) : driver_fake.image_load(d, id, ret, err);
}

static void tell_step(enum image_step step)
{
    if (on_image != NULL && !power_is_off)
        on_image(step);
}

static int save(struct driver *d, struct driver_image *image, const char *id, struct err *err)
{
    const struct timespec some = {.tv_nsec = 5000000};
    int r;

    atomic_fetch_add(&held, 1);
    while (hold)
        (void)nanosleep(&some, NULL);
    if (store_fault != ERR_NONE)
        return fail(store_fault, err);
    tell_step(BEFORE_STORE);
    r = power_is_off ? fail(ERR_SYSTEM, err) : driver_fake.image_store(d, image, id, err);
    tell_step(AFTER_STORE);
    return r;
}

static int drop(struct driver *d, const char *id, struct err *err)
{
    int r;

    tell_step(BEFORE_REMOVE);
    r = power_is_off ? fail(ERR_SYSTEM, err) : driver_fake.image_remove(d, id, err);
    tell_step(AFTER_REMOVE);
    return r;
}

const struct driver_ops *disk_driver(void)
{
    static struct driver_ops disk;

    disk = driver_fake;
    disk.caps |= DRIVER_CAP_IMAGE_DISK;
    disk.open = open_driver;
    disk.snapshot = freeze;
    disk.resume = go_on;
    disk.usage = tell_usage;
    disk.image_load = load;
    disk.image_store = save;
    disk.image_remove = drop;
    return &disk;
}

static void count_image(void *arg, const char *id, uint64_t stored_bytes)
{
    (void)id;
    (void)stored_bytes;
    (*(int *)arg)++;
}

int count_images(void)
{
    int n = 0;

    driver_fake.image_each(driver, count_image, &n);
    return n;
}

bool is_imageless(struct live_table *t, void *arg)
{
    (void)t;
    (void)arg;
    return count_images() == 0;
}

static int count_state(void *arg, const struct store_sandbox *b)
{
    void **to = arg;

    *(int *)to[1] += strcmp(b->state, to[0]) == 0;
    return 0;
}

int count_in_state(const char *state)
{
    int n = 0;
    void *arg[] = {(void *)(uintptr_t)state, &n};
    struct err err = ERR_INIT;

    (void)store_sandbox_each(store, count_state, arg, &err);
    return n;
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
