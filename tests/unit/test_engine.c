// SPDX-License-Identifier: Apache-2.0
//
// Pool and runs over the fake driver: programs are its mini language (src/driver/fake.c).
#include "base/clock.h"
#include "base/fd.h"
#include "sandbox/engine.h"
#include "sandbox/runtime.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct runtime_table *runtimes;
static const struct runtime *fake_rt;
static const struct runtime *plain_rt;

struct outcome {
    int code;          // enum err_code of the failure, 0 for none
    bool may_have_run; // of a run_open that failed
    char out[4096];
    size_t out_len;
    struct run_result result;
};

static void put(int dir, const char *name, const char *text)
{
    _cleanup_fd_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)fd_write_all(fd, text, strlen(text));
}

static void load_runtimes(void)
{
    char path[] = "/tmp/csb-engine-XXXXXX";
    struct err err = ERR_INIT;
    int dir;

    if (mkdtemp(path) == NULL)
        abort();
    dir = open(path, O_DIRECTORY | O_CLOEXEC);
    put(dir, "fake.runtime",
        "extension = txt\nrun = /fake main.txt\nprepare = /fake main.txt\n"
        "pool_ready = 3\ncold_env = FAKE_*\nwarm = out warm\nwarm_clone = yes\n");
    put(dir, "plain.runtime",
        "extension = txt\nrun = /fake main.txt\n"
        "wrap.unless = fn main\nwrap.prefix = out wrapped\n"
        "wrap.suffix = out end\n");
    if (runtime_table_load(dir, &runtimes, &err) < 0)
        abort();
    fake_rt = runtime_find(runtimes, "fake");
    plain_rt = runtime_find(runtimes, "plain");
    (void)unlinkat(dir, "fake.runtime", 0);
    (void)unlinkat(dir, "plain.runtime", 0);
    (void)close(dir);
    (void)rmdir(path);
}

static struct engine *start(uint32_t ready, uint32_t max, uint32_t queue_max, uint64_t wait_ms)
{
    struct engine_config config = {
        .driver = &driver_fake,
        .driver_config = {.state_dir_fd = AT_FDCWD, .accel = "auto"},
        .runtimes = runtimes,
        .shape = {.memory_mib = 256, .cpus = 1},
        .pool_ready = ready,
        .pool_max = max,
        .queue_max = queue_max,
        .queue_wait_ms = wait_ms,
    };
    struct engine *e = NULL;
    struct err err = ERR_INIT;

    if (engine_new(&config, &e, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    return e;
}

static bool reaches(struct engine *e, uint32_t ready)
{
    uint64_t deadline = clock_deadline_ms(60000);
    struct engine_status st;

    do {
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        engine_status(e, &st);
    } while (st.pool_ready < ready && clock_mono_ns() < deadline);
    return st.pool_ready >= ready;
}

static struct outcome run(struct engine *e, const struct runtime *rt, const char *code,
                          uint64_t wall_ms, bool (*gone)(void *), void *gone_arg)
{
    struct run_file file = {rt->source, (const uint8_t *)code, strlen(code)};
    struct run_request req = {
        .runtime = rt,
        .files = &file,
        .file_count = 1,
        .limits = {wall_ms, wall_ms, 64 << 20, 16, 1 << 20, 16 << 20},
        .gone = gone,
        .gone_arg = gone_arg,
    };
    struct outcome o = {0};
    struct err err = ERR_INIT;
    struct run *r = NULL;

    if (run_open(e, &req, &r, &o.may_have_run, &err) < 0) {
        o.code = (int)err.code;
        return o;
    }
    for (;;) {
        struct run_event event;

        if (run_next(r, &event, &err) < 0) {
            o.code = (int)err.code;
            break;
        }
        if (event.kind == RUN_EVENT_RESULT) {
            o.result = *event.result;
            break;
        }
        if (o.out_len + event.len < sizeof(o.out)) {
            memcpy(o.out + o.out_len, event.data, event.len);
            o.out_len += event.len;
        }
    }
    run_close(r);
    return o;
}

static void test_runs(void)
{
    struct engine *e = start(3, 16, 16, 5000);
    struct outcome o;
    struct engine_status st;
    char *json = NULL;
    struct err err = ERR_INIT;

    CHECK(reaches(e, 3));
    o = run(e, fake_rt, "out hello\nerr oops\nexit 3\n", 5000, NULL, NULL);
    CHECK_INT(o.code, 0);
    CHECK(o.result.ran && o.result.run.reason == RUN_EXIT);
    CHECK_INT(o.result.run.exit_code, 3);
    CHECK(strstr(o.out, "hello") != NULL && strstr(o.out, "oops") != NULL);
    o = run(e, plain_rt, "out body\n", 5000, NULL, NULL);
    CHECK(strstr(o.out, "wrapped") != NULL && strstr(o.out, "end") != NULL);
    CHECK_INT(engine_guest_stats(e, clock_deadline_ms(60000), &json, &err), 0);
    CHECK(json != NULL && json[0] == '{');
    free(json);
    engine_status(e, &st);
    CHECK(st.ready && st.runs_total == 2);
    CHECK(st.warm_ns > 0 && st.prepare_ns > 0);
    CHECK_STR(st.state, "ready");
    engine_free(e, 1000);
}

static void test_bad_agents(void)
{
    struct engine *e = start(3, 16, 16, 5000);
    struct outcome o;

    CHECK(reaches(e, 3));
    o = run(e, fake_rt, "out x\ndie\n", 5000, NULL, NULL);
    CHECK_MSG(o.code == ERR_GONE || o.code == ERR_PROTOCOL, "a sandbox that dies is an error: %d",
              o.code);
    o = run(e, fake_rt, "garbage\n", 5000, NULL, NULL);
    CHECK_MSG(o.code == ERR_GONE || o.code == ERR_PROTOCOL, "garbage is an error: %d", o.code);
    o = run(e, fake_rt, "spill 4000000\n", 5000, NULL, NULL);
    CHECK_INT(o.code, ERR_PROTOCOL);
    o = run(e, fake_rt, "flood 4000000\n", 5000, NULL, NULL);
    CHECK_INT(o.code, 0);
    CHECK_INT(o.result.run.reason, RUN_OUTPUT_LIMIT);
    o = run(e, fake_rt, "out fine\n", 5000, NULL, NULL);
    CHECK_INT(o.code, 0);
    engine_free(e, 1000);
}

static bool gone_after_three(void *arg)
{
    int *calls = arg;

    return ++*calls > 3;
}

static void test_cancel_and_busy(void)
{
    struct engine *e = start(1, 1, 0, 300);
    struct outcome o;
    int calls = 0;
    uint64_t before = clock_mono_ns();

    CHECK(reaches(e, 1));
    o = run(e, fake_rt, "sleep 200000\n", 300000, gone_after_three, &calls);
    CHECK_INT(o.code, ERR_CANCELLED);
    CHECK((clock_mono_ns() - before) / NS_PER_MS < 60000);
    engine_free(e, 1000);
}

struct client {
    struct engine *engine;
    atomic_int good;
    atomic_int busy;
    atomic_int other;
};

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct outcome o = run(c->engine, fake_rt, "sleep 100\nout ok\n", 60000, NULL, NULL);

    if (o.code == 0 && strstr(o.out, "ok") != NULL)
        c->good++;
    else if (o.code == ERR_BUSY)
        c->busy++;
    else
        c->other++;
    return NULL;
}

static void burst(struct client *c, size_t count)
{
    pthread_t threads[32];

    for (size_t i = 0; i < count; i++)
        (void)pthread_create(&threads[i], NULL, client_main, c);
    for (size_t i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
}

static void test_bursts(void)
{
    struct client c = {.engine = start(2, 4, 64, 60000)};

    burst(&c, 24);
    CHECK_INT(c.good, 24);
    engine_free(c.engine, 1000);
    c = (struct client){.engine = start(1, 1, 2, 60000)};
    CHECK(reaches(c.engine, 1));
    burst(&c, 12);
    CHECK_MSG(c.other == 0 && c.good >= 3 && c.busy >= 1,
              "past the queue: busy, not broken (%d/%d/%d)", c.good, c.busy, c.other);
    engine_free(c.engine, 1000);
}

// Runs of both kinds that wait for the same sandbox, and a word before the program is sent.
struct waiting {
    struct engine *engine;
    bool background;
    atomic_int *order;
    int place; // in which they came to their turn
};

static int note_turn(void *arg, struct err *err)
{
    struct waiting *w = arg;

    (void)err;
    w->place = ++*w->order;
    return 0;
}

static int refuse(void *arg, struct err *err)
{
    ++*(int *)arg;
    return err_set(err, ERR_CANCELLED, "not now");
}

static int open_short(struct engine *e, bool background, int (*on_handover)(void *, struct err *),
                      void *arg)
{
    static const char code[] = "sleep 50\n";
    struct run_file file = {fake_rt->source, (const uint8_t *)code, strlen(code)};
    struct run_request req = {
        .runtime = fake_rt,
        .files = &file,
        .file_count = 1,
        .limits = {5000, 5000, 64 << 20, 16, 1 << 20, 16 << 20},
        .background = background,
        .on_handover = on_handover,
        .handover_arg = arg,
    };
    struct err err = ERR_INIT;
    struct run *r = NULL;
    bool may_have_run = false;

    if (run_open(e, &req, &r, &may_have_run, &err) < 0)
        return (int)err.code + (may_have_run ? 100 : 0);
    run_close(r);
    return 0;
}

static void *waiting_main(void *arg)
{
    struct waiting *w = arg;

    (void)open_short(w->engine, w->background, note_turn, w);
    return NULL;
}

static bool queued(struct engine *e, uint32_t count)
{
    uint64_t deadline = clock_deadline_ms(60000);
    struct engine_status st;

    do {
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        engine_status(e, &st);
    } while (st.queued < count && clock_mono_ns() < deadline);
    return st.queued >= count;
}

// A run that goes on until it is let go.
struct holder {
    struct engine *engine;
    atomic_bool released;
};

static bool is_released(void *arg)
{
    return atomic_load(&((struct holder *)arg)->released);
}

static void *holder_main(void *arg)
{
    struct holder *h = arg;

    (void)run(h->engine, fake_rt, "sleep 200000\n", 300000, is_released, h);
    return NULL;
}

static void test_background(void)
{
    struct engine *e = start(1, 1, 8, 60000);
    struct holder holder = {.engine = e};
    atomic_int order = 0;
    struct waiting background = {.engine = e, .background = true, .order = &order};
    struct waiting front = {.engine = e, .order = &order};
    pthread_t threads[3];
    int asked = 0;

    CHECK(reaches(e, 1));
    CHECK_INT(open_short(e, true, refuse, &asked), ERR_CANCELLED);
    CHECK_INT(asked, 1);
    CHECK(reaches(e, 1));
    (void)pthread_create(&threads[0], NULL, holder_main, &holder);
    for (struct engine_status st = {0}; st.running == 0; engine_status(e, &st))
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    (void)pthread_create(&threads[1], NULL, waiting_main, &background);
    CHECK(queued(e, 1));
    (void)pthread_create(&threads[2], NULL, waiting_main, &front);
    CHECK(queued(e, 2));
    atomic_store(&holder.released, true);
    for (int i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_MSG(front.place == 1 && background.place == 2, "background goes last: %d, %d",
              front.place, background.place);
    engine_free(e, 1000);
}

int main(void)
{
    load_runtimes();
    test_runs();
    test_bad_agents();
    test_cancel_and_busy();
    test_bursts();
    test_background();
    runtime_table_free(runtimes);
    return tap_done();
}
