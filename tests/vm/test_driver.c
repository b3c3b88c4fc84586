// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite of drivers: what driver.h promises, checked against the driver named by the
// first argument, "fake", "process", "process-user" (the same as an ordinary user, which root
// becomes for it) or "qemu" (the default). ACCEL in the environment ("auto",
// "kvm", "tcg") is the qemu driver's accelerator, default "tcg"; CSB_TEST_SUITE is the suite's name
// for skips; CSB_TIMEOUT_MULTIPLIER stretches the deadlines for a slow machine.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/parse.h"
#include "channel/channel.h"
#include "driver/driver.h"
#include "launch/launch.h"
#include "launch_harness.h"
#include "tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUILD_MS       240000
#define CLONE_MS       30000
#define CALL_MS        10000
#define CLONES         20
#define CLONES_IF_SLOW 5 // on a machine where each takes seconds

static const struct driver_ops *ops;
static struct driver *driver;
static struct driver_config config = {.state_dir_fd = -1};
static struct channel_loop *loop;
static struct launch_harness harness;
static int warmed; // times the warm-up was called
static bool is_vm; // sandboxes are, or are in, processes below the launcher
static uint64_t patience = 1;

static uint64_t deadline_in(uint64_t ms)
{
    return clock_deadline_ms(ms * patience);
}

struct sandbox {
    struct driver_sandbox *s;
    struct channel *ch;
};

// The answer to a call, or 0 and *err.
static int call(struct channel *ch, const char *method, const char *path, const char *body,
                uint64_t deadline_ns, struct err *err)
{
    struct channel_request req = {
        .method = method, .path = path, .body = (const uint8_t *)body, .body_len = strlen(body)};
    char *text = NULL;
    size_t len;
    int status = 0;

    if (channel_call(ch, &req, 65536, deadline_ns, &status, &text, &len, err) < 0)
        return 0;
    if (status != 200)
        printf("# %s %s: %d %.200s\n", method, path, status, text);
    free(text);
    return status;
}

static bool healthy(struct channel *ch)
{
    struct err err = ERR_INIT;
    int status = call(ch, "GET", "/health", "", deadline_in(CALL_MS), &err);

    if (status == 0)
        printf("# /health: %s\n", err.message);
    return status == 200;
}

static int warm(void *arg, int channel_fd, struct err *err)
{
    struct channel *ch;
    int status;

    warmed++;
    if (channel_open(arg, channel_fd, &ch, err) < 0)
        return -1;
    status = call(ch, "GET", "/health", "", deadline_in(BUILD_MS), err);
    channel_close(ch);
    if (status == 0)
        return -1;
    return status == 200 ? 0 : err_set(err, ERR_PROTOCOL, "the agent is not healthy");
}

static int warm_badly(void *arg, int channel_fd, struct err *err)
{
    (void)arg;
    fd_close(&channel_fd);
    return err_set(err, ERR_CANCELLED, "no template today");
}

static struct driver_template *build(const char *seed, bool rebuild, bool *ret_built)
{
    struct driver_template_spec spec = {
        .shape = {.memory_mib = 512, .cpus = 1},
        .seed = seed,
        .warm = warm,
        .warm_arg = loop,
        .rebuild = rebuild,
    };
    struct driver_template *t = NULL;
    struct err err = ERR_INIT;
    uint64_t start = clock_mono_ns();

    *ret_built = false;
    if (ops->build_template(driver, &spec, deadline_in(BUILD_MS), &t, ret_built, &err) < 0)
        printf("# build_template: %s\n", err.message);
    else
        printf("# template %s in %llu ms\n", *ret_built ? "built" : "loaded",
               (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
    return t;
}

static bool start(struct driver_template *t, struct sandbox *ret)
{
    struct err err = ERR_INIT;
    int fd;

    *ret = (struct sandbox){0};
    if (ops->clone(driver, t, deadline_in(CLONE_MS), &ret->s, &err) == 0 &&
        ops->channel(ret->s, &fd, &err) == 0 && channel_open(loop, fd, &ret->ch, &err) == 0)
        return true;
    printf("# sandbox: %s\n", err.message);
    return false;
}

static void stop(struct sandbox *sb)
{
    channel_close(sb->ch);
    ops->destroy(sb->s);
}

static bool shared(void)
{
    return (ops->caps & DRIVER_CAP_SHARED) != 0;
}

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static bool died(struct driver_sandbox *s, uint64_t ms)
{
    return fd_wait(ops->death_fd(s), POLLIN, deadline_in(ms)) > 0;
}

static void test_probe(void)
{
    struct driver_probe probe;

    ops->probe(&config, &probe);
    CHECK(probe.usable);
    CHECK(probe.isolation[0] != '\0' && probe.accel[0] != '\0');
    CHECK_MSG(strlen(probe.note) > 20, "a sentence was found: %s", probe.note);
}

// What a driver says it can do is there, and nothing else.
static void test_caps(void)
{
    bool pause = (ops->caps & DRIVER_CAP_PAUSE) != 0;
    bool snapshot = (ops->caps & DRIVER_CAP_SNAPSHOT) != 0;

    CHECK((ops->pause != NULL) == pause && (ops->resume != NULL) == pause);
    CHECK((ops->snapshot != NULL) == snapshot && (ops->restore != NULL) == snapshot);
    CHECK((ops->image_store != NULL) == snapshot && (ops->image_load != NULL) == snapshot &&
          (ops->image_remove != NULL) == snapshot && (ops->image_each != NULL) == snapshot &&
          (ops->image_info != NULL) == snapshot && (ops->image_free != NULL) == snapshot);
    CHECK(snapshot || (ops->caps & DRIVER_CAP_IMAGE_DISK) == 0);
    CHECK((ops->clone_lasting != NULL) == ((ops->caps & DRIVER_CAP_LASTING) != 0));
}

// Flips a byte in the middle of a file of the only template on disk.
static bool corrupt(const char *key, const char *name)
{
    char path[256];
    _cleanup_fd_ int fd = -1;
    struct stat st;
    uint8_t byte;

    (void)snprintf(path, sizeof(path), "templates/%s/%s", key, name);
    fd = openat(config.state_dir_fd, path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || pread(fd, &byte, 1, st.st_size / 2) != 1)
        return false;
    byte ^= 0x40;
    return pwrite(fd, &byte, 1, st.st_size / 2) == 1;
}

static struct driver_template *test_templates(void)
{
    bool disk = (ops->caps & DRIVER_CAP_TEMPLATE_DISK) != 0;
    struct driver_template *first, *second;
    char key[65] = "";
    bool built;

    first = build("one", true, &built);
    if (!CHECK(first != NULL && built) || first == NULL)
        return NULL;
    CHECK_INT(warmed, 1);
    (void)snprintf(key, sizeof(key), "%s", ops->template_key(first));
    CHECK_INT(strspn(key, "0123456789abcdef"), 64);

    second = build("one", false, &built);
    CHECK(second != NULL && built == !disk);
    CHECK_STR(second == NULL ? "" : ops->template_key(second), key);
    ops->template_free(second);
    if (!disk)
        return first;

    CHECK(corrupt(key, "ram.zst"));
    second = build("one", false, &built);
    CHECK(second != NULL && built);
    ops->template_free(first);
    return second;
}

static void test_failed_warm_up(void)
{
    struct driver_template_spec spec = {
        .shape = {.memory_mib = 256, .cpus = 1}, .seed = "bad", .warm = warm_badly};
    struct driver_template *t = NULL;
    struct err err = ERR_INIT;
    bool built;

    CHECK(ops->build_template(driver, &spec, deadline_in(BUILD_MS), &t, &built, &err) < 0);
    CHECK_INT(err.code, ERR_CANCELLED);
}

static void test_clone(struct driver_template *t)
{
    uint64_t begin = clock_mono_ns();
    struct sandbox sb;
    struct err err = ERR_INIT;
    struct driver_usage usage = {0};
    uint64_t cloned;
    int fd;

    if (!CHECK(start(t, &sb)))
        return;
    cloned = clock_mono_ns();
    CHECK(healthy(sb.ch));
    printf("# cloned in %llu us, first answer after %llu us\n",
           (unsigned long long)((cloned - begin) / 1000),
           (unsigned long long)((clock_mono_ns() - begin) / 1000));
    CHECK(ops->channel(sb.s, &fd, &err) < 0);
    CHECK_INT(err.code, ERR_INVALID);
    CHECK(!died(sb.s, 0));
    CHECK(ops->usage(sb.s, &usage, &err) == 0);
    // What all share is nobody's own.
    CHECK_MSG(shared() ? usage.private_bytes == 0
                       : usage.private_bytes > 1 << 10 && usage.private_bytes < 512 << 20,
              "private memory is %llu KiB", (unsigned long long)usage.private_bytes >> 10);
    CHECK_MSG(shared() || usage.cpu_ns > 0, "CPU time is %llu us",
              (unsigned long long)usage.cpu_ns / 1000);
    stop(&sb);
}

static void test_independence(struct driver_template *t)
{
    struct sandbox a, b;

    if (!CHECK(start(t, &a)) || !CHECK(start(t, &b)))
        return;
    CHECK(healthy(a.ch));
    CHECK(healthy(b.ch));
    stop(&a);
    CHECK(healthy(b.ch));
    CHECK(!died(b.s, 0));
    stop(&b);
}

static void test_destroy_while_busy(struct driver_template *t)
{
    struct channel_request req = {.method = "GET", .path = "/stats"};
    struct channel_stream *stream = NULL;
    struct err err = ERR_INIT;
    struct sandbox sb;
    int status;

    ops->destroy(NULL);
    if (!CHECK(start(t, &sb)))
        return;
    CHECK(channel_send(sb.ch, &req, &stream, &err) == 0);
    ops->destroy(sb.s);
    // The answer may have come before; what matters is that nobody waits for ever.
    if (channel_status(stream, deadline_in(CALL_MS), &status, &err) < 0)
        CHECK_MSG(err.code == ERR_GONE, "the stream ended: %s", err.message);
    else
        CHECK_INT(status, 200);
    channel_stream_close(stream);
    channel_close(sb.ch);
}

// A program for the fake agent.
static void send_die(struct channel *ch)
{
    static const char head[] =
        "{\"prepared\":null,\"files\":[{\"path\":\"main\",\"size\":3}],\"stdin_size\":0,"
        "\"compile\":null,\"run\":{\"limits\":{\"wall_ms\":1000,\"output_bytes\":1}}}";
    char sync[256];
    char entropy[129];
    _cleanup_buf_ struct buf body = BUF_INIT;
    struct channel_request req = {.method = "POST", .path = "/run"};
    struct channel_stream *stream = NULL;
    struct err err = ERR_INIT;

    id_hex(entropy, 64);
    (void)snprintf(sync, sizeof(sync), "{\"time_ns\":1,\"entropy\":\"%s\"}", entropy);
    (void)call(ch, "POST", "/sync", sync, deadline_in(CALL_MS), &err);
    (void)buf_append_be32(&body, sizeof(head) - 1);
    (void)buf_append(&body, head, sizeof(head) - 1);
    (void)buf_append(&body, "die", 3);
    req.body = body.data;
    req.body_len = body.len;
    if (channel_send(ch, &req, &stream, &err) == 0)
        (void)channel_status(stream, deadline_in(CALL_MS), &(int){0}, &err);
    channel_stream_close(stream);
}

static long pid_of_vm(struct driver_sandbox *s)
{
    char path[64];
    char *text;
    const char *line;
    size_t len;
    long pid = 0;

    (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", ops->death_fd(s));
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
        return 0;
    line = strstr(text, "\nPid:");
    if (line != NULL)
        pid = strtol(line + 5, NULL, 10);
    free(text);
    return pid;
}

static void test_death(struct driver_template *t)
{
    struct err err = ERR_INIT;
    struct driver_usage usage;
    struct sandbox sb;

    if (!CHECK(start(t, &sb)))
        return;
    CHECK(healthy(sb.ch));
    if (is_vm)
        CHECK(pid_of_vm(sb.s) > 1 && kill((pid_t)pid_of_vm(sb.s), SIGKILL) == 0);
    else
        send_die(sb.ch);
    CHECK(died(sb.s, 5000));
    CHECK_INT(call(sb.ch, "GET", "/health", "", deadline_in(CALL_MS), &err), 0);
    CHECK_INT(err.code, ERR_GONE);
    if (is_vm)
        CHECK(ops->usage(sb.s, &usage, &err) < 0);
    stop(&sb);
}

// The agent proper: the child of its jail's init.
static long pid_of_agent(struct driver_sandbox *s)
{
    long init = pid_of_vm(s);
    char path[64];
    char *text;
    size_t len;
    long pid = 0;

    (void)snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", init, init);
    if (fd_read_file(AT_FDCWD, path, 4096, &text, &len) < 0)
        return 0;
    pid = strtol(text, NULL, 10);
    free(text);
    return pid;
}

#define STUCK_CLONES 16

// One that hangs is found out and replaced.
static void test_stuck_agent(struct driver_template *t)
{
    struct sandbox taken[STUCK_CLONES];
    struct sandbox next;
    struct err err = ERR_INIT;
    int n = 0;

    if (!shared() || !CHECK(start(t, &taken[n++])))
        return;
    if (pid_of_agent(taken[0].s) <= 1) {
        printf("# the kernel does not tell the agent's pid\n");
    } else {
        CHECK(healthy(taken[0].ch));
        CHECK(kill((pid_t)pid_of_agent(taken[0].s), SIGSTOP) == 0);
        for (; n < STUCK_CLONES; n++) {
            taken[n] = (struct sandbox){0};
            if (ops->clone(driver, t, deadline_in(CLONE_MS), &taken[n].s, &err) < 0)
                break;
        }
        CHECK_INT(err.code, ERR_TIMEOUT);
        CHECK(died(taken[0].s, 5000));
        if (CHECK(start(t, &next))) {
            CHECK(healthy(next.ch));
            stop(&next);
        }
    }
    for (int i = 0; i < n; i++)
        stop(&taken[i]);
}

// What a launcher of agents refuses, and what it says of a second agent of an id.
static void test_launcher(struct driver_template *t)
{
    int log[2] = {-1, -1}, control[2] = {-1, -1};
    struct launch_vm vm = {
        .id = 5, .accel = LAUNCH_ACCEL_TCG, .mode = LAUNCH_MODE_BOOT, .memory_mib = 128, .cpus = 1};
    struct launch_agent agent = {.id = 6};
    struct launch_info info;
    struct err err = ERR_INIT;
    int pidfd = -1, other = -1;

    (void)t;
    if (!shared() || !CHECK(pipe2(log, O_CLOEXEC) == 0) ||
        !CHECK(fd_socketpair(SOCK_SEQPACKET, control) == 0))
        return;
    CHECK_INT(launch_hello(config.launch, &info, &err), 0);
    printf("# confinement of agents %#x, cgroup v%u; %s\n", info.agent_confinement,
           info.cgroup_version, info.agent_note);
    CHECK(info.confinement == 0 && (info.agent_confinement & LAUNCH_CONFINED_USER) != 0);
    CHECK(geteuid() != 0 || (info.agent_confinement & LAUNCH_CONFINED_RANGE) != 0);
    for (int i = 0; i < LAUNCH_FD_COUNT; i++)
        vm.fds[i] = control[1];
    CHECK(launch_spawn(config.launch, &vm, &pidfd, &err) < 0 && pidfd < 0);
    agent.fds[LAUNCH_AGENT_FD_CONTROL] = log[1]; // no socket
    agent.fds[LAUNCH_AGENT_FD_LOG] = log[1];
    CHECK(launch_spawn_agent(config.launch, &agent, &pidfd, &err) < 0);
    CHECK_INT(err.code, ERR_INVALID);
    agent.fds[LAUNCH_AGENT_FD_CONTROL] = control[1];
    agent.memory_mib = 1;
    CHECK(launch_spawn_agent(config.launch, &agent, &pidfd, &err) < 0);
    CHECK_INT(err.code, ERR_INVALID);
    agent.memory_mib = 1024;
    CHECK_INT(launch_spawn_agent(config.launch, &agent, &pidfd, &err), 0);
    CHECK(launch_spawn_agent(config.launch, &agent, &other, &err) < 0 && other < 0);
    CHECK_INT(err.code, ERR_INVALID);
    CHECK_INT(fd_wait(pidfd, POLLIN, 0), 0);
    CHECK_INT(launch_kill(config.launch, 6, &err), 0);
    CHECK(fd_wait(pidfd, POLLIN, 0) > 0);
    fd_close(&pidfd);
    for (int i = 0; i < 2; i++) {
        fd_close(&log[i]);
        fd_close(&control[i]);
    }
}

// When one dies, all that shared its agent have, and the next is as good as new.
static void test_shared_death(struct driver_template *t)
{
    struct sandbox a, b, next;

    if (!shared() || !CHECK(start(t, &a)) || !CHECK(start(t, &b)))
        return;
    CHECK(healthy(a.ch) && healthy(b.ch));
    CHECK(pid_of_vm(a.s) > 1 && kill((pid_t)pid_of_vm(a.s), SIGKILL) == 0);
    CHECK(died(a.s, 5000) && died(b.s, 5000));
    if (CHECK(start(t, &next))) {
        CHECK(healthy(next.ch) && !died(next.s, 0));
        stop(&b);
        CHECK(healthy(next.ch));
        stop(&next);
    } else {
        stop(&b);
    }
    stop(&a);
}

static void test_pause(struct driver_template *t)
{
    struct err err = ERR_INIT;
    struct sandbox sb;

    if ((ops->caps & DRIVER_CAP_PAUSE) == 0) {
        CHECK(ops->pause == NULL && ops->resume == NULL);
        return;
    }
    if (!CHECK(start(t, &sb)))
        return;
    CHECK(healthy(sb.ch));
    CHECK(ops->pause(sb.s, deadline_in(CALL_MS), &err) == 0);
    CHECK_INT(call(sb.ch, "GET", "/health", "", deadline_in(400), &err), 0);
    CHECK_INT(err.code, ERR_TIMEOUT);
    CHECK(ops->resume(sb.s, deadline_in(CALL_MS), &err) == 0);
    CHECK(healthy(sb.ch));
    stop(&sb);
}

static void test_no_leaks(struct driver_template *t)
{
    int fds = count_fds();
    int processes = is_vm ? launch_harness_processes(&harness) : 0;
    uint64_t begin = clock_mono_ns();
    int clones = patience > 1 ? CLONES_IF_SLOW : CLONES;
    int answered = 0;

    for (int i = 0; i < clones; i++) {
        struct sandbox sb;

        if (start(t, &sb) && healthy(sb.ch))
            answered++;
        stop(&sb);
    }
    CHECK_INT(answered, clones);
    printf("# %d clones one after the other: %llu ms each\n", clones,
           (unsigned long long)((clock_mono_ns() - begin) / NS_PER_MS / (unsigned)clones));
    CHECK_INT(count_fds(), fds);
    if (is_vm)
        CHECK_INT(launch_harness_processes(&harness), processes);
}

// What is tried with a template, in this order.
static const struct {
    const char *name;
    void (*run)(struct driver_template *t);
} tests[] = {
    {"clone", test_clone},
    {"independence", test_independence},
    {"destroy while busy", test_destroy_while_busy},
    {"death", test_death},
    {"shared death", test_shared_death},
    {"stuck agent", test_stuck_agent},
    {"launcher", test_launcher},
    {"pause", test_pause},
    {"no leaks", test_no_leaks},
};

static void tell(const char *what, uint64_t *since_ns)
{
    uint64_t now = clock_mono_ns();

    printf("# %s: %llu ms\n", what, (unsigned long long)((now - *since_ns) / NS_PER_MS));
    *since_ns = now;
}

static void run_suite(void)
{
    uint64_t since = clock_mono_ns();
    struct err err = ERR_INIT;
    struct driver_template *t;

    test_probe();
    test_caps();
    if (!CHECK_MSG(ops->open(&config, &driver, &err) == 0, "open %s", err.message))
        return;
    tell("open", &since);
    t = test_templates();
    tell("templates", &since);
    for (size_t i = 0; t != NULL && i < sizeof(tests) / sizeof(tests[0]); i++) {
        tests[i].run(t);
        tell(tests[i].name, &since);
    }
    test_failed_warm_up();
    ops->template_free(t);
    ops->close(driver);
    tell("failed warm-up and close", &since);
}

static bool use_launcher(bool process)
{
    const char *suite = getenv("CSB_TEST_SUITE");
    struct err err = ERR_INIT;

    ops = process ? &driver_process : &driver_qemu;
    is_vm = true;
    if (launch_harness_start(&harness, process, &err) < 0) {
        if (err.code == ERR_UNSUPPORTED)
            tap_skip(suite != NULL ? suite : process ? "process" : "vm", err.message);
        else
            tap_ok(false, "the launcher starts: %s", err.message);
        return false;
    }
    config = launch_harness_config(&harness);
    return true;
}

int main(int argc, char **argv)
{
    const char *what = argc < 2 ? "qemu" : argv[1];
    struct err err = ERR_INIT;
    bool real = strcmp(what, "fake") != 0;

    (void)signal(SIGPIPE, SIG_IGN);
    if (getenv("CSB_TIMEOUT_MULTIPLIER") != NULL)
        (void)parse_u64(getenv("CSB_TIMEOUT_MULTIPLIER"), 1, 100, &patience); // stays 1
    if (strcmp(what, "process-user") == 0 && !CHECK(launch_harness_be_ordinary()))
        return tap_done();
    ops = &driver_fake;
    // Before any thread: csb-launch is forked.
    if (!real || use_launcher(strncmp(what, "process", 7) == 0)) {
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
