// SPDX-License-Identifier: Apache-2.0
//
// Machines that wait for sandboxes to come, over the fake driver as if its machines shared a
// kernel. What real ones are like is in tests/service/test_ready.py.
#include "sandbox/stock.h"

#include "base/clock.h"
#include "base/fd.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "sandbox/sandbox.h"
#include "sandbox/templates.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define READY    2
#define ASKED_NS (21 * NS_PER_S)

static const struct template base = {.name = "base"};
static char dir[] = "/tmp/csb-stock-XXXXXX";
static struct driver_ops ops; // the fake's, with another capability
static struct runtime_table *runtimes;

static struct engine *start_engine(uint32_t ready)
{
    struct engine_config config = {
        .driver = &ops,
        .driver_config = {.state_dir_fd = AT_FDCWD, .accel = "auto"},
        .runtimes = runtimes,
        .templates_fd = -1,
        .shape = {.memory_mib = 256, .cpus = 1},
        .pool_plain = ready,
        .pool_max = 4,
        .queue_max = 16,
        .queue_wait_ms = 5000,
    };
    struct engine *e = NULL;
    struct err err = ERR_INIT;

    if (engine_new(&config, &e, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    return e;
}

static struct stock_status status_of(struct engine *e)
{
    struct stock_status s;

    engine_stock(e, &s);
    return s;
}

static const struct timespec step = {.tv_nsec = 10000000};

// True when as many wait within a minute.
static bool comes(struct engine *e, uint32_t ready)
{
    for (int i = 0; i < 6000; i++) {
        if (status_of(e).ready[STOCK_PLAIN] == ready)
            return true;
        (void)nanosleep(&step, NULL);
    }
    return false;
}

static struct sandbox *take(struct engine *e)
{
    struct sandbox *s = NULL;
    struct err err = ERR_INIT;

    if (engine_take(e, &base, NULL, NULL, &s, &err) < 0)
        printf("# %s\n", err.message);
    return s;
}

static void taken(void)
{
    struct engine *e = start_engine(READY);
    struct sandbox *s[READY + 1];
    struct stock_status st;
    struct engine_status es;

    CHECK(comes(e, READY));
    engine_status(e, &es);
    CHECK(es.pool_ready == READY && es.pool_target == READY);
    s[0] = take(e);
    CHECK(s[0] != NULL && sandbox_is_alive(s[0]));
    CHECK(status_of(e).taken == 1 && status_of(e).missed == 0);
    CHECK(comes(e, READY)); // another is in its place
    s[1] = take(e);
    s[2] = take(e);
    st = status_of(e);
    CHECK(s[1] != NULL && s[2] != NULL && s[1] != s[2] && st.taken == 3 && st.missed == 0);
    CHECK(st.ready[STOCK_CONTEXTS] == 0 && st.target[STOCK_CONTEXTS] == 0 && st.failed == 0);
    for (int i = 0; i < READY + 1; i++)
        sandbox_free(s[i]);
    engine_free(e, 1000); // with some that wait, or are being made
}

static void *take_many(void *arg)
{
    for (int i = 0; i < 10; i++)
        sandbox_free(take(arg));
    return NULL;
}

static void crowd(void)
{
    struct engine *e = start_engine(READY);
    struct stock_status st;
    pthread_t t[4];

    CHECK(comes(e, READY));
    for (int i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, take_many, e) != 0)
            abort();
    for (int i = 0; i < 4; i++)
        (void)pthread_join(t[i], NULL);
    st = status_of(e);
    CHECK_MSG(st.taken + st.missed == 40, "%llu and %llu", (unsigned long long)st.taken,
              (unsigned long long)st.missed);
    CHECK(comes(e, READY));
    engine_free(e, 1000);
}

static void none(void)
{
    struct engine *e = start_engine(0);
    struct sandbox *s;
    struct engine_status es;

    for (engine_status(e, &es); !es.ready; engine_status(e, &es))
        (void)nanosleep(&step, NULL);
    s = take(e);
    CHECK(s != NULL && status_of(e).taken == 0 && status_of(e).missed == 1);
    CHECK(es.pool_target == 0 && status_of(e).ready[STOCK_PLAIN] == 0);
    sandbox_free(s);
    engine_free(e, 1000);
}

static struct driver_sandbox *last; // that was made
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static int make_lasting(struct driver *d, struct driver_template *t,
                        const struct driver_limits *limits, uint64_t deadline_ns,
                        struct driver_sandbox **ret, struct err *err)
{
    int r = driver_fake.clone_lasting(d, t, limits, deadline_ns, ret, err);

    (void)pthread_mutex_lock(&last_lock);
    last = r == 0 ? *ret : NULL;
    (void)pthread_mutex_unlock(&last_lock);
    return r;
}

// Whoever wants one while the only one that waits is asked and does not answer gets another at
// once. It is asked when it has waited for ASKED_NS.
static void hung(void)
{
    struct engine *e = start_engine(1);
    const struct timespec asked = {.tv_sec = ASKED_NS / NS_PER_S};
    struct err err = ERR_INIT;
    struct sandbox *s;
    uint64_t since;

    CHECK(comes(e, 1));
    (void)pthread_mutex_lock(&last_lock);
    CHECK(driver_fake.pause(last, clock_deadline_ms(1000), &err) == 0);
    (void)pthread_mutex_unlock(&last_lock);
    (void)nanosleep(&asked, NULL);
    CHECK(status_of(e).ready[STOCK_PLAIN] == 1); // not given up yet
    since = clock_mono_ns();
    s = take(e);
    CHECK(s != NULL && sandbox_is_alive(s));
    CHECK_MSG(clock_mono_ns() - since < 5 * NS_PER_S, "it took %llu ms",
              (unsigned long long)((clock_mono_ns() - since) / NS_PER_MS));
    CHECK(status_of(e).missed == 1 && status_of(e).taken == 0);
    sandbox_free(s);
    engine_free(e, 1000);
}

int main(void)
{
    int dir_fd = mkdtemp(dir) == NULL ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = openat(dir_fd, "x.runtime", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct err err = ERR_INIT;

    (void)fd_write_all(file, "extension = txt\nrun = /fake main.txt\n", 37);
    (void)close(file);
    if (runtime_table_load(dir_fd, &runtimes, &err) < 0) {
        printf("# %s\n", err.message);
        return 1;
    }
    ops = driver_fake;
    ops.caps |= DRIVER_CAP_SHARED;
    ops.clone_lasting = make_lasting;
    taken();
    crowd();
    none();
    hung();
    runtime_table_free(runtimes);
    (void)unlinkat(dir_fd, "x.runtime", 0);
    (void)close(dir_fd);
    (void)rmdir(dir);
    return tap_done();
}
