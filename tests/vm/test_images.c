// SPDX-License-Identifier: Apache-2.0
//
// What driver.h promises of images, checked against the driver named by the first argument ("fake",
// or "qemu", the default): freezing, restoring, storing; and in VMs that nothing is lost: programs
// that were running run on, what they wrote is there, over many rounds and restarts of launcher and
// driver. Environment as for test_driver.c; IMAGE_ROUNDS is the number of rounds (20
// with CSB_TEST_FULL, else 8).
#include "agent_calls.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/parse.h"
#include "channel/channel.h"
#include "driver/driver.h"
#include "launch/launch.h"
#include "launch_harness.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUILD_MS     240000
#define CALL_MS      60000
#define ROUNDS       20
#define BRIEF_ROUNDS 8
#define FORKS        5
#define FILE_BYTES   65536u
#define ANSWER_MAX   (4u << 20)

static const struct driver_ops *ops;
static struct driver *driver;
static struct driver_template *template;
static struct driver_config config = {.state_dir_fd = -1};
static struct channel_loop *loop;
static struct launch_harness harness;
static bool is_vm;
static uint64_t patience = 1;
static uint64_t rounds = ROUNDS;

static uint64_t deadline_in(uint64_t ms)
{
    return clock_deadline_ms(ms * patience);
}

// Processor time of this process so far.
static uint64_t own_cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static unsigned long long ms_since(uint64_t begin_ns)
{
    return (clock_mono_ns() - begin_ns) / NS_PER_MS;
}

struct sandbox {
    struct driver_sandbox *s;
    struct channel *ch;
};

static int call(struct channel *ch, const char *method, const char *path, const char *type,
                const void *body, size_t body_len, char **ret_text, size_t *ret_len)
{
    const struct agent_body b = {type, body, body_len};

    return agent_call(ch, method, path, &b, deadline_in(CALL_MS), ret_text, ret_len);
}

static bool synced(struct channel *ch)
{
    return agent_synced(ch, deadline_in(CALL_MS));
}

static void stop(struct sandbox *sb)
{
    channel_close(sb->ch);
    ops->destroy(sb->s);
    *sb = (struct sandbox){0};
}

static bool connect_to(struct sandbox *sb)
{
    struct err err = ERR_INIT;
    int fd;

    if (ops->channel(sb->s, &fd, &err) == 0 && channel_open(loop, fd, &sb->ch, &err) == 0 &&
        synced(sb->ch))
        return true;
    printf("# sandbox: %s\n", err.message);
    stop(sb);
    return false;
}

static bool start(struct sandbox *ret)
{
    static const struct driver_limits limits = {.memory_mib = 512};
    struct err err = ERR_INIT;

    *ret = (struct sandbox){0};
    if (ops->clone_lasting(driver, template, &limits, deadline_in(CALL_MS), &ret->s, &err) < 0) {
        printf("# clone_lasting: %s\n", err.message);
        return false;
    }
    return connect_to(ret);
}

static bool restore(struct driver_image *image, struct sandbox *ret)
{
    struct err err = ERR_INIT;

    *ret = (struct sandbox){0};
    if (ops->restore(driver, image, deadline_in(CALL_MS), &ret->s, &err) < 0) {
        printf("# restore: %s\n", err.message);
        return false;
    }
    return connect_to(ret);
}

static struct driver_image *snapshot(struct sandbox *sb, bool leave_paused)
{
    struct driver_image *image = NULL;
    struct err err = ERR_INIT;

    if (ops->snapshot(sb->s, leave_paused, deadline_in(CALL_MS), &image, &err) < 0)
        printf("# snapshot: %s\n", err.message);
    return image;
}

static int warm(void *arg, int channel_fd, struct err *err)
{
    struct channel *ch;
    int status;

    if (channel_open(arg, channel_fd, &ch, err) < 0)
        return -1;
    status = call(ch, "GET", "/health", NULL, NULL, 0, NULL, NULL);
    channel_close(ch);
    return status == 200 ? 0 : err_set(err, ERR_PROTOCOL, "the agent is not healthy");
}

static bool open_driver(void)
{
    struct driver_template_spec spec = {
        .shape = {.memory_mib = 512, .cpus = 1}, .seed = "images", .warm = warm, .warm_arg = loop};
    struct err err = ERR_INIT;
    bool built;

    if (ops->open(&config, &driver, &err) == 0 &&
        ops->build_template(driver, &spec, deadline_in(BUILD_MS), &template, &built, &err) == 0)
        return true;
    printf("# %s\n", err.message);
    return false;
}

static void close_driver(void)
{
    ops->template_free(template);
    ops->close(driver);
    template = NULL;
    driver = NULL;
}

// As when the machine was started again.
static bool restart(void)
{
    struct err err = ERR_INIT;

    close_driver();
    if (is_vm && launch_harness_restart(&harness, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    config.launch = harness.client;
    return open_driver();
}

struct found {
    const char *id;
    int count;
    uint64_t bytes;
};

static void find(void *arg, const char *id, uint64_t stored_bytes)
{
    struct found *f = arg;

    if (strcmp(id, f->id) != 0)
        return;
    f->count++;
    f->bytes = stored_bytes;
}

static struct found find_stored(const char *id)
{
    struct found f = {.id = id};

    ops->image_each(driver, find, &f);
    return f;
}

static void test_contract(void)
{
    struct driver_image *image, *loaded = NULL;
    struct driver_image_info info;
    struct sandbox a, b;
    struct err err = ERR_INIT;

    if (!CHECK(start(&a)))
        return;
    image = snapshot(&a, false);
    if (!CHECK(image != NULL))
        return;
    CHECK(synced(a.ch)); // it runs on, its stream too
    ops->image_info(image, &info);
    CHECK_INT(info.stored_bytes, 0);
    CHECK_STR(info.template_key, ops->template_key(template));
    CHECK_INT(info.shape.memory_mib, 512);
    CHECK(restore(image, &b));
    stop(&a);
    CHECK(synced(b.ch));
    CHECK(ops->image_store(driver, image, "one-1", &err) == 0);
    ops->image_info(image, &info);
    printf("# an image is %llu KiB, %llu KiB stored\n", (unsigned long long)info.image_bytes >> 10,
           (unsigned long long)info.stored_bytes >> 10);
    CHECK(!is_vm || (info.stored_bytes > 0 && info.stored_bytes < info.image_bytes));
    ops->image_free(image);
    CHECK(ops->image_load(driver, "one-1", &loaded, &err) == 0);
    stop(&b);
    CHECK(loaded != NULL && restore(loaded, &a));
    stop(&a);
    ops->image_free(loaded);
    CHECK_INT(find_stored("one-1").count, 1);
    CHECK(ops->image_remove(driver, "one-1", &err) == 0);
    CHECK_INT(find_stored("one-1").count, 0);
    CHECK(ops->image_load(driver, "one-1", &loaded, &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    CHECK(ops->image_remove(driver, "one-1", &err) == 0);
}

static void test_ids(void)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a/b",
                                      "../x",
                                      "-a",
                                      "A",
                                      "a.b",
                                      "a b",
                                      "aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbb"
                                      "aaaaa"};
    struct driver_image *image = NULL;
    struct sandbox sb;
    struct err err = ERR_INIT;

    if (!CHECK(start(&sb)))
        return;
    image = snapshot(&sb, true);
    stop(&sb);
    for (size_t i = 0; image != NULL && i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct driver_image *none = NULL;

        err.code = ERR_NONE;
        CHECK_MSG(ops->image_store(driver, image, bad[i], &err) < 0 && err.code == ERR_INVALID,
                  "no image is stored as \"%s\"", bad[i]);
        CHECK(ops->image_load(driver, bad[i], &none, &err) < 0 && err.code == ERR_INVALID);
        CHECK(ops->image_remove(driver, bad[i], &err) < 0 && err.code == ERR_INVALID);
    }
    ops->image_free(image);
}

static void test_paused(void)
{
    struct driver_image *image, *again;
    struct sandbox sb, back;
    struct err err = ERR_INIT;

    if (!CHECK(start(&sb)))
        return;
    image = snapshot(&sb, true);
    CHECK(image != NULL);
    again = snapshot(&sb, false); // it was paused and stays so
    CHECK(again != NULL);
    CHECK(again != NULL && restore(again, &back));
    stop(&back);
    CHECK(ops->resume(sb.s, deadline_in(CALL_MS), &err) == 0);
    CHECK(synced(sb.ch));
    stop(&sb);
    ops->image_free(image);
    ops->image_free(again);
}

// Work that goes on in a VM, and what is known of it.
struct work {
    uint8_t files[ROUNDS * 4][FILE_BYTES];
    size_t file_count;
    long counted; // the last number that the writer is known to have written
};
static struct work work;

#define WRITER "i=0; while :; do i=$((i+1)); echo $i >> /home/user/log; echo $i; sleep 0.02; done"

static struct channel_stream *run(struct channel *ch, const char *script)
{
    return agent_run(ch, "user", script, deadline_in(CALL_MS));
}

static bool more_output(struct channel_stream *stream)
{
    uint8_t data[65536];
    struct err err = ERR_INIT;

    for (int i = 0; i < 5; i++) {
        if (channel_read(stream, data, sizeof(data), deadline_in(CALL_MS), &err) <= 0) {
            printf("# the writer's output: %s\n", err.message);
            return false;
        }
    }
    return true;
}

static bool put_file(struct sandbox *sb)
{
    char path[128];
    uint8_t *data = work.files[work.file_count];

    id_random(data, FILE_BYTES);
    (void)snprintf(path, sizeof(path), "/envd/files?path=/home/user/f%zu", work.file_count);
    if (call(sb->ch, "POST", path, "application/octet-stream", data, FILE_BYTES, NULL, NULL) != 200)
        return false;
    work.file_count++;
    return true;
}

static bool files_are_whole(struct sandbox *sb)
{
    size_t whole = 0;

    for (size_t i = 0; i < work.file_count; i++) {
        char path[128];
        char *text = NULL;
        size_t len = 0;

        (void)snprintf(path, sizeof(path), "/envd/files?path=/home/user/f%zu", i);
        if (call(sb->ch, "GET", path, NULL, NULL, 0, &text, &len) == 200 && len == FILE_BYTES &&
            memcmp(text, work.files[i], len) == 0)
            whole++;
        free(text);
    }
    if (whole != work.file_count)
        printf("# %zu of %zu files are whole\n", whole, work.file_count);
    return whole == work.file_count;
}

// The last number of the log, in which each line is one more than that before; -1 when it is not.
static long read_log(struct sandbox *sb)
{
    char *text = NULL;
    size_t len = 0;
    long last = 0;

    if (call(sb->ch, "GET", "/envd/files?path=/home/user/log", NULL, NULL, 0, &text, &len) == 200) {
        const char *at = text;

        for (char *end; *at != '\0' && strchr(at, '\n') != NULL; at = end + 1) {
            long n = strtol(at, &end, 10);

            if (n != last + 1) {
                printf("# after %ld the log has %ld\n", last, n);
                free(text);
                return -1;
            }
            last = n;
        }
    }
    free(text);
    return last;
}

// Whether the writer goes on from where it was, and has written more than `than`.
static bool log_goes_on(struct sandbox *sb, long than)
{
    uint64_t deadline = deadline_in(CALL_MS);
    long n;

    do {
        n = read_log(sb);
    } while (n >= 0 && n <= than && clock_mono_ns() < deadline);
    work.counted = n;
    return n > than;
}

static bool set_up(struct sandbox *sb)
{
    return call(sb->ch, "POST", "/envd/init", "application/json", "{}", 2, NULL, NULL) == 204;
}

// What bringing back cost: on a busy machine time alone says little.
struct cost {
    uint64_t ms, worst_ms, own_cpu_ns, vm_cpu_ns;
};

// Freezes, ends and brings back a sandbox, by way of the disk.
static bool go_round(struct sandbox *sb, bool restarted, struct cost *cost)
{
    struct driver_image *image = snapshot(sb, true);
    struct err err = ERR_INIT;
    struct driver_usage usage = {0};
    uint64_t begin, cpu_ns, ms;
    bool ok = image != NULL && ops->image_store(driver, image, "round", &err) == 0;

    ops->image_free(image);
    image = NULL;
    stop(sb);
    if (restarted && !restart())
        return false;
    begin = clock_mono_ns();
    cpu_ns = own_cpu_ns();
    ok = ok && ops->image_load(driver, "round", &image, &err) == 0 && restore(image, sb) &&
         ops->usage(sb->s, &usage, &err) == 0;
    ms = ms_since(begin);
    cost->ms += ms;
    cost->worst_ms = ms > cost->worst_ms ? ms : cost->worst_ms;
    cost->own_cpu_ns += own_cpu_ns() - cpu_ns;
    cost->vm_cpu_ns += usage.cpu_ns;
    ops->image_free(image);
    if (!ok)
        printf("# round: %s\n", err.message);
    return ok;
}

static void test_rounds(void)
{
    struct channel_stream *stream;
    struct cost cost = {0};
    struct sandbox sb;

    if (!is_vm || !CHECK(start(&sb)) || !CHECK(set_up(&sb)))
        return;
    stream = run(sb.ch, WRITER);
    CHECK(more_output(stream));
    for (uint64_t i = 0; i < rounds; i++) {
        bool last = i + 1 == rounds;

        CHECK(put_file(&sb));
        CHECK(log_goes_on(&sb, work.counted));
        if (i > 0)
            stream = run(sb.ch, "while :; do echo still here; sleep 0.01; done"); // left open
        if (!CHECK_MSG(go_round(&sb, i % 8 == 4 || last, &cost), "round %llu",
                       (unsigned long long)i)) {
            channel_stream_close(stream);
            return;
        }
        channel_stream_close(stream);
        CHECK(log_goes_on(&sb, work.counted));
        CHECK(files_are_whole(&sb));
    }
    printf("# resumed from disk in %llu ms on average, %llu at most, with %llu ms of processor "
           "time here and %llu in QEMU; %llu KiB stored\n",
           (unsigned long long)(cost.ms / rounds), (unsigned long long)cost.worst_ms,
           (unsigned long long)(cost.own_cpu_ns / rounds / NS_PER_MS),
           (unsigned long long)(cost.vm_cpu_ns / rounds / NS_PER_MS),
           (unsigned long long)find_stored("round").bytes >> 10);
    stop(&sb);
}

#define LARGE_MIB "64"

// Much that was written and does not compress.
static void test_large(void)
{
    struct driver_image *image;
    struct driver_image_info info;
    struct cost cost = {0};
    struct sandbox sb;
    char *before, *after;

    if (!is_vm || !CHECK(start(&sb)) || !CHECK(set_up(&sb)))
        return;
    before = agent_output(sb.ch, "user",
                          "dd if=/dev/urandom of=/tmp/large bs=1M count=" LARGE_MIB " 2>/dev/null; "
                          "cksum /tmp/large",
                          deadline_in(CALL_MS));
    CHECK(before != NULL && strstr(before, "/tmp/large") != NULL);
    image = snapshot(&sb, false);
    if (CHECK(image != NULL)) {
        ops->image_info(image, &info);
        CHECK(info.image_bytes > 64u << 20);
        ops->image_free(image);
    }
    if (CHECK(go_round(&sb, false, &cost))) {
        printf("# with " LARGE_MIB " MiB more resumed in %llu ms, with %llu ms of processor time "
               "here and %llu in QEMU; %llu KiB stored\n",
               (unsigned long long)cost.ms, (unsigned long long)(cost.own_cpu_ns / NS_PER_MS),
               (unsigned long long)(cost.vm_cpu_ns / NS_PER_MS),
               (unsigned long long)find_stored("round").bytes >> 10);
        after = agent_output(sb.ch, "user", "cksum /tmp/large", deadline_in(CALL_MS));
        CHECK(before != NULL && after != NULL && strcmp(before, after) == 0);
        free(after);
        stop(&sb);
    }
    free(before);
}

struct fork {
    pthread_t thread;
    struct driver_image *image;
    struct sandbox sb;
    bool ok;
};

static void *fork_one(void *arg)
{
    struct fork *f = arg;

    f->ok = restore(f->image, &f->sb);
    return NULL;
}

// Each goes its own way, and the source never noticed.
static void check_forks(struct sandbox *source, struct fork *forks)
{
    for (int i = 0; i < FORKS; i++) {
        char text[16];

        (void)snprintf(text, sizeof(text), "%d", i);
        CHECK_INT(call(forks[i].sb.ch, "POST", "/envd/files?path=/home/user/mine",
                       "application/octet-stream", text, strlen(text), NULL, NULL),
                  200);
    }
    for (int i = 0; i < FORKS; i++) {
        char *text = NULL;
        size_t len = 0;

        CHECK(log_goes_on(&forks[i].sb, 0));
        CHECK(files_are_whole(&forks[i].sb));
        CHECK(call(forks[i].sb.ch, "GET", "/envd/files?path=/home/user/mine", NULL, NULL, 0, &text,
                   &len) == 200 &&
              len == 1 && text[0] == '0' + i);
        free(text);
    }
    CHECK_INT(call(source->ch, "GET", "/envd/files?path=/home/user/mine", NULL, NULL, 0,
                   &(char *){NULL}, &(size_t){0}),
              404);
    CHECK(log_goes_on(source, work.counted) && files_are_whole(source));
}

static void test_fork(void)
{
    struct fork forks[FORKS] = {0};
    struct channel_stream *stream;
    struct driver_image *image;
    struct driver_usage usage = {0};
    struct err err = ERR_INIT;
    struct sandbox sb;
    uint64_t begin;

    work.file_count = 0;
    work.counted = 0;
    if (!is_vm || !CHECK(start(&sb)) || !CHECK(set_up(&sb)) || !CHECK(put_file(&sb)))
        return;
    stream = run(sb.ch, WRITER);
    CHECK(more_output(stream));
    begin = clock_mono_ns();
    image = snapshot(&sb, false);
    printf("# snapshot while running: %llu ms\n", ms_since(begin));
    if (!CHECK(image != NULL))
        return;
    for (int i = 0; i < FORKS; i++) {
        forks[i].image = image;
        CHECK(pthread_create(&forks[i].thread, NULL, fork_one, &forks[i]) == 0);
    }
    for (int i = 0; i < FORKS; i++) {
        (void)pthread_join(forks[i].thread, NULL);
        CHECK(forks[i].ok);
    }
    printf("# fork of a running sandbox into %d: %llu ms\n", FORKS, ms_since(begin));
    ops->image_free(image);
    CHECK(ops->usage(forks[0].sb.s, &usage, &err) == 0);
    printf("# a fork took %llu ms of processor time\n",
           (unsigned long long)(usage.cpu_ns / NS_PER_MS));
    printf("# a fork has %llu KiB of its own\n", (unsigned long long)usage.private_bytes >> 10);
    CHECK(more_output(stream));
    check_forks(&sb, forks);
    channel_stream_close(stream);
    for (int i = 0; i < FORKS; i++)
        stop(&forks[i].sb);
    stop(&sb);
}

// A file of the stored image "round" with one byte changed, or cut; NULL when that worked not.
static bool damage(const char *name, off_t at, bool cut)
{
    char path[128];
    _cleanup_fd_ int fd = -1;
    struct stat st;
    uint8_t byte;

    (void)snprintf(path, sizeof(path), "images/round/%s", name);
    fd = openat(config.state_dir_fd, path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return false;
    if (cut)
        return ftruncate(fd, st.st_size / 2) == 0;
    at = at < 0 ? st.st_size + at : at;
    if (pread(fd, &byte, 1, at) != 1)
        return false;
    byte ^= 0x04;
    return pwrite(fd, &byte, 1, at) == 1;
}

static void test_damage(void)
{
    static const struct {
        const char *name;
        off_t at;
        bool cut;
    } ways[] = {
        {"stream.zst", 2000, false}, {"stream.zst", -2, false}, {"stream.zst", -5000, false},
        {"stream.zst", 0, true},     {"manifest", 3, false},    {"manifest", 60, false},
        {"manifest", 0, true},
    };
    struct driver_image *image, *none = NULL;
    struct sandbox sb;
    struct err err = ERR_INIT;

    if ((ops->caps & DRIVER_CAP_IMAGE_DISK) == 0 || !CHECK(start(&sb)))
        return;
    image = snapshot(&sb, true);
    stop(&sb);
    if (!CHECK(image != NULL))
        return;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        err = (struct err)ERR_INIT;
        CHECK(ops->image_store(driver, image, "round", &err) == 0);
        CHECK(damage(ways[i].name, ways[i].at, ways[i].cut));
        CHECK_MSG(ops->image_load(driver, "round", &none, &err) < 0 && err.code == ERR_PROTOCOL,
                  "%s damaged at %lld: %s", ways[i].name, (long long)ways[i].at, err.message);
    }
    CHECK(ops->image_store(driver, image, "round", &err) == 0);
    ops->image_free(image);
    image = NULL;
    CHECK(ops->image_load(driver, "round", &image, &err) == 0 && restore(image, &sb));
    stop(&sb);
    ops->image_free(image);
    // What an interrupted save left is gone with the next start.
    CHECK(mkdirat(config.state_dir_fd, "images/.tmp-0123", 0700) == 0);
    CHECK(restart());
    CHECK(faccessat(config.state_dir_fd, "images/.tmp-0123", F_OK, 0) < 0);
    CHECK_INT(find_stored("round").count, 1);
}

static bool use_launcher(void)
{
    struct err err = ERR_INIT;

    ops = &driver_qemu;
    is_vm = true;
    if (launch_harness_start(&harness, false, &err) < 0) {
        if (err.code == ERR_UNSUPPORTED)
            tap_skip("vm", err.message);
        else
            tap_ok(false, "the launcher starts: %s", err.message);
        return false;
    }
    config = launch_harness_config(&harness);
    return true;
}

static void run_suite(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"contract", test_contract}, {"ids", test_ids},     {"paused", test_paused},
                 {"rounds", test_rounds},     {"large", test_large}, {"fork", test_fork},
                 {"damage", test_damage}};

    if (!CHECK(open_driver()))
        return;
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        uint64_t begin = clock_mono_ns();

        tests[i].run();
        printf("# %s: %llu ms\n", tests[i].name, ms_since(begin));
    }
    close_driver();
}

int main(int argc, char **argv)
{
    bool real = argc < 2 || strcmp(argv[1], "fake") != 0;
    struct err err = ERR_INIT;

    (void)signal(SIGPIPE, SIG_IGN);
    if (getenv("CSB_TIMEOUT_MULTIPLIER") != NULL)
        (void)parse_u64(getenv("CSB_TIMEOUT_MULTIPLIER"), 1, 100, &patience); // stays 1
    if (getenv("CSB_TEST_FULL") == NULL)
        rounds = BRIEF_ROUNDS;
    if (getenv("IMAGE_ROUNDS") != NULL)
        (void)parse_u64(getenv("IMAGE_ROUNDS"), 1, 4 * ROUNDS, &rounds);
    ops = &driver_fake;
    // Before any thread: csb-launch is forked.
    if (!real || use_launcher()) {
        if (!CHECK(channel_loop_new(&loop, &err) == 0))
            return tap_done();
        run_suite();
        channel_loop_free(loop);
    }
    if (real && harness.pid > 0)
        CHECK_INT(launch_harness_processes(&harness), 0);
    (void)launch_harness_stop(&harness);
    return tap_done();
}
