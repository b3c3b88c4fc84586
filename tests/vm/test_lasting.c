// SPDX-License-Identifier: Apache-2.0
//
// Lasting sandboxes: what driver.h promises of clone_lasting(), and what their programs find:
// users, a root that can be written to, limits, and nothing of one another. The driver is the first
// argument: "process", "process-user" (the same as an ordinary user, which root becomes) or "qemu"
// (the default). Environment as for test_driver.c.
#include "agent_calls.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "channel/channel.h"
#include "driver/driver.h"
#include "launch/launch.h"
#include "launch_harness.h"
#include "tap.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define BUILD_MS 240000
#define CALL_MS  60000

static const struct driver_ops *ops;
static struct driver *driver;
static struct driver_template *template;
static struct driver_config config = {.state_dir_fd = -1};
static struct channel_loop *loop;
static struct launch_harness harness;
static bool is_process;
static bool one_id; // a sandbox has one id of the host's, the user's
static uint64_t patience = 1;

static uint64_t deadline_in(uint64_t ms)
{
    return clock_deadline_ms(ms * patience);
}

struct sandbox {
    struct driver_sandbox *s;
    struct channel *ch;
};

static void stop(struct sandbox *sb)
{
    channel_close(sb->ch);
    ops->destroy(sb->s);
    *sb = (struct sandbox){0};
}

static bool start_with(const struct driver_limits *limits, struct sandbox *ret)
{
    static const struct agent_body init = {"application/json", "{}", 2};
    struct err err = ERR_INIT;
    int fd;

    *ret = (struct sandbox){0};
    if (ops->clone_lasting(driver, template, limits, deadline_in(CALL_MS), &ret->s, &err) == 0 &&
        ops->channel(ret->s, &fd, &err) == 0 && channel_open(loop, fd, &ret->ch, &err) == 0 &&
        agent_synced(ret->ch, deadline_in(CALL_MS)) &&
        agent_call(ret->ch, "POST", "/envd/init", &init, deadline_in(CALL_MS), NULL, NULL) == 204)
        return true;
    printf("# sandbox: %s\n", err.message);
    stop(ret);
    return false;
}

static bool start(struct sandbox *ret)
{
    static const struct driver_limits limits = {
        .memory_mib = 256, .cpu_percent = 100, .processes = 64, .disk_mib = 32};

    return start_with(&limits, ret);
}

// What a script wrote, without its last newline; "" when it could not be run.
static const char *output(struct sandbox *sb, const char *user, const char *script)
{
    static char text[4096];
    char *all = agent_output(sb->ch, user, script, deadline_in(CALL_MS));
    size_t len;

    (void)snprintf(text, sizeof(text), "%s", all == NULL ? "" : all);
    free(all);
    len = strlen(text);
    if (len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0';
    return text;
}

static void test_users(void)
{
    uint64_t begin = clock_mono_ns();
    struct sandbox sb;

    if (!CHECK(start(&sb)))
        return;
    printf("# a lasting sandbox was ready after %llu us\n",
           (unsigned long long)((clock_mono_ns() - begin) / 1000));
    begin = clock_mono_ns();
    CHECK_STR(output(&sb, "user", "id -un; id -u; pwd"), "user\n1000\n/home/user");
    printf("# a command took %llu us\n", (unsigned long long)((clock_mono_ns() - begin) / 1000));
    CHECK_STR(output(&sb, "root", "id -u; id -g"), "0\n0");
    CHECK_STR(output(&sb, "user", "echo mine > /home/user/f && cat f && rm f"), "mine");
    CHECK_STR(output(&sb, "root",
                     "echo x > /etc/new && cat /etc/new && rm /etc/hostname && "
                     "mkdir /opt/d && echo done"),
              "x\ndone");
    CHECK_STR(output(&sb, "root", "echo 1 >> /etc/hosts && tail -n 1 /etc/hosts"), "1");
    CHECK_STR(output(&sb, "root", "echo 1 > /root/f && ls /root && cat /root/f"), "f\n1");
    CHECK_STR(output(&sb, "root", "rm /usr/bin/env && cp /bin/true /usr/bin/env && env"), "");
    CHECK_STR(output(&sb, "user", "touch /etc/no 2>/dev/null || echo refused"),
              one_id ? "" : "refused");
    CHECK_STR(output(&sb, "user", "touch /tmp/a /dev/shm/b && ls /tmp/a /dev/shm/b"),
              "/dev/shm/b\n/tmp/a");
    CHECK_STR(output(&sb, "user", "stat -c %U /home/user /etc/passwd /usr/bin/dash"),
              one_id ? "user\nuser\nnobody" : "user\nroot\nroot");
    CHECK_STR(output(&sb, "user",
                     "cat /sys/class/net/lo/operstate 2>/dev/null; "
                     "python3 -c 'import socket as s;l=s.create_server((chr(49)+chr(50)"
                     "+chr(55)+str(chr(46))+str(0)+chr(46)+str(0)+chr(46)+str(1),0));"
                     "print(l.getsockname()[0])'"
                     " | tail -n 1"),
              is_process ? "127.0.0.1" : "unknown\n127.0.0.1");
    stop(&sb);
}

// On a terminal, as script(1) makes one, a shell; what the host has is not to be seen.
static void test_terminals(void)
{
    struct sandbox sb;

    if (!CHECK(start(&sb)))
        return;
    CHECK_STR(output(&sb, "user",
                     "script -qc 'tty; stat -c %U:%a $(tty); echo ok > /dev/tty' /dev/null"
                     " < /dev/null | tr -d '\\r'"),
              is_process ? "/dev/pts/0\nuser:600\nok" : "/dev/pts/0\nuser:620\nok");
    CHECK_STR(output(&sb, "root", "ls -A /dev/pts; test -e /dev/console || echo no console"),
              is_process ? "ptmx\nno console" : "ptmx");
    CHECK_STR(output(&sb, "root",
                     "python3 -c 'import os\\ntry:\\n for n in range(200): os.openpty()\\n"
                     "except OSError as e: print(n)\\nelse: print(n)'"),
              is_process ? "128" : "199");
    CHECK_STR(output(&sb, "root", "ls -A /dev/pts"), "ptmx");
    stop(&sb);
}

static void test_apart(void)
{
    struct sandbox a, b;
    struct err err = ERR_INIT;
    int fd;

    if (!CHECK(start(&a)) || !CHECK(start(&b)))
        return;
    CHECK_STR(output(&a, "user", "echo a > /tmp/who; echo a > ~/who; cat /tmp/who"), "a");
    CHECK_STR(output(&b, "user", "ls /tmp/who ~/who 2>/dev/null; echo nothing"), "nothing");
    channel_stream_close(agent_run(a.ch, "user", "exec tail -f /dev/null", deadline_in(CALL_MS)));
    CHECK_STR(output(&a, "user", "until pgrep tail >/dev/null; do true; done; pgrep -c tail"), "1");
    CHECK_STR(output(&b, "root", "pgrep -c tail"), "0");
    if (is_process && !one_id) {
        static const char ids[] = "tr -s ' ' < /proc/self/uid_map | cut -d ' ' -f 2-4";
        char of_a[64];

        // Its own range of the host's, whole.
        (void)snprintf(of_a, sizeof(of_a), "%s", output(&a, "root", ids));
        CHECK(strncmp(of_a, "0 ", 2) == 0 && strstr(of_a, " 65536") != NULL);
        CHECK(strcmp(of_a, output(&b, "root", ids)) != 0);
        CHECK_STR(output(&b, "root", "stat -c %u:%g /etc/passwd /home/user"), "0:0\n1000:1000");
    }
    CHECK(ops->channel(a.s, &fd, &err) < 0);
    CHECK_INT(err.code, ERR_INVALID);
    stop(&a);
    CHECK_STR(output(&b, "user", "echo still here"), "still here");
    CHECK_INT(fd_wait(ops->death_fd(b.s), POLLIN, 0), 0);
    stop(&b);
}

// What only a sandbox with limits of its own has; a VM's are its size.
static void test_limits(void)
{
    struct sandbox sb;

    if (!is_process || !CHECK(start(&sb)))
        return;
    CHECK_STR(output(&sb, "user",
                     "dd if=/dev/zero of=/home/user/big bs=1M count=64 2>/dev/null; "
                     "test $(stat -c %s /home/user/big) -lt 34000000 && r=full; rm big; echo $r"),
              "full");
    // What is refused its processes harms nobody for longer than it lives.
    CHECK_STR(output(&sb, "user",
                     "sh -c 'i=0; while [ $i -lt 80 ]; do i=$((i+1)); sleep 3 & done' 2>&1 | "
                     "grep -o -m 1 'Cannot fork'"),
              "Cannot fork");
    CHECK_STR(output(&sb, "user", "echo alive"), "alive");
    // Without a control group it is bounded by address space, process by process.
    CHECK_STR(output(&sb, "user",
                     one_id ? "python3 -c 'b=bytearray(2048*1024*1024)' 2>&1 | tail -n 1"
                            : "python3 -c 'b=bytearray(400*1024*1024)' || echo killed"),
              one_id ? "MemoryError" : "Killed\nkilled");
    CHECK_STR(output(&sb, "user", "echo alive"), "alive");
    stop(&sb);
}

// What programs must not be able to do to the host's kernel, root of the sandbox or not.
static void test_refused(void)
{
    struct sandbox sb;

    if (!is_process || !CHECK(start(&sb)))
        return;
    CHECK_STR(output(&sb, "root", "mount -t tmpfs t /mnt 2>/dev/null || echo refused"), "refused");
    CHECK_STR(output(&sb, "root", "unshare -m true 2>/dev/null || echo refused"), "refused");
    CHECK_STR(output(&sb, "user", "unshare -U true 2>/dev/null || echo refused"), "refused");
    CHECK_STR(output(&sb, "root", "chroot / true 2>/dev/null || echo refused"), "refused");
    CHECK_STR(output(&sb, "root", "mknod /tmp/m c 1 1 2>/dev/null || echo refused"), "refused");
    CHECK_STR(output(&sb, "root", "ls /csb | grep -c agent; echo > /csb/csb-agent || echo refused"),
              "1\n/bin/sh: 1: cannot create /csb/csb-agent: Read-only file system\nrefused");
    CHECK_STR(output(&sb, "root",
                     "grep -c . /proc/self/uid_map; cut -c 1-50 /proc/self/status |"
                     " grep -E '^(NoNewPrivs|Seccomp):' | tr -d '[:space:]'"),
              "1\nNoNewPrivs:1Seccomp:2");
    stop(&sb);
}

static void test_bad_limits(void)
{
    static const struct driver_limits bad[] = {
        {.memory_mib = 1}, {.memory_mib = 1u << 20}, {.memory_mib = 256, .disk_mib = 257},
        {.processes = 1},  {.processes = 1u << 20},  {.cpu_percent = 1u << 20}};

    for (size_t i = 0; is_process && i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct driver_sandbox *s = NULL;
        struct err err = ERR_INIT;

        CHECK(ops->clone_lasting(driver, template, &bad[i], deadline_in(CALL_MS), &s, &err) < 0);
        CHECK_INT(err.code, ERR_INVALID);
    }
}

// All that runs in it counts, also what left its parent; it tells nothing where there is no group.
static void test_usage(void)
{
    static const char burn[] = "setsid timeout 1 sh -c 'while :; do :; done' & wait; echo burnt";
    struct driver_usage before = {0}, after = {0};
    struct launch_info info = {0};
    struct err err = ERR_INIT;
    struct sandbox sb;
    uint64_t more_ms;

    CHECK_INT(launch_hello(harness.client, &info, &err), 0);
    if (!CHECK(start(&sb)))
        return;
    CHECK(ops->usage(sb.s, &before, &err) == 0);
    CHECK_STR(output(&sb, "user", burn), "burnt");
    CHECK(ops->usage(sb.s, &after, &err) == 0);
    more_ms = (after.cpu_ns - before.cpu_ns) / NS_PER_MS;
    printf("# %llu ms of processor time, %llu at first\n", (unsigned long long)more_ms,
           (unsigned long long)(before.cpu_ns / NS_PER_MS));
    if (!is_process || (info.agent_confinement & LAUNCH_CONFINED_CGROUP))
        CHECK(after.cpu_ns > before.cpu_ns && more_ms >= 200);
    else
        CHECK(before.cpu_ns == 0 && after.cpu_ns == 0);
    stop(&sb);
}

static void test_death(void)
{
    struct driver_usage usage;
    struct err err = ERR_INIT;
    struct sandbox sb;
    int processes = launch_harness_processes(&harness);

    if (!CHECK(start(&sb)))
        return;
    CHECK(launch_harness_processes(&harness) > processes);
    channel_close(sb.ch); // as when the daemon dies
    sb.ch = NULL;
    CHECK(!is_process || fd_wait(ops->death_fd(sb.s), POLLIN, deadline_in(5000)) > 0);
    CHECK(!is_process || (ops->usage(sb.s, &usage, &err) < 0 && err.code == ERR_GONE));
    stop(&sb);
    CHECK_INT(launch_harness_processes(&harness), processes);
}

static const char *suite(void)
{
    const char *name = getenv("CSB_TEST_SUITE");

    return name != NULL ? name : is_process ? "process" : "vm";
}

static bool use_launcher(void)
{
    struct err err = ERR_INIT;

    ops = is_process ? &driver_process : &driver_qemu;
    if (launch_harness_start(&harness, is_process, &err) < 0) {
        if (err.code == ERR_UNSUPPORTED)
            tap_skip(suite(), err.message);
        else
            tap_ok(false, "the launcher starts: %s", err.message);
        return false;
    }
    config = launch_harness_config(&harness);
    return true;
}

static bool can_last(void)
{
    struct launch_info info = {0};
    struct err err = ERR_INIT;

    CHECK_INT(launch_hello(harness.client, &info, &err), 0);
    return CHECK_MSG(!is_process || info.lasting != 0, "lasting sandboxes: %s", info.lasting_note);
}

// A template is frozen once its agent is up.
static int warm(void *arg, int channel_fd, struct err *err)
{
    struct channel *ch;
    int status;

    (void)arg;
    if (channel_open(loop, channel_fd, &ch, err) < 0)
        return -1;
    status = agent_call(ch, "GET", "/health", NULL, deadline_in(BUILD_MS), NULL, NULL);
    channel_close(ch);
    return status == 200 ? 0 : err_set(err, ERR_PROTOCOL, "the agent is not healthy");
}

static void run_suite(void)
{
    static void (*const tests[])(void) = {test_users,   test_terminals,  test_apart, test_limits,
                                          test_refused, test_bad_limits, test_usage, test_death};
    struct driver_template_spec spec = {
        .shape = {.memory_mib = 512, .cpus = 1}, .seed = "lasting", .warm = warm};
    struct err err = ERR_INIT;
    bool built;

    if (!can_last())
        return;
    CHECK(ops->open(&config, &driver, &err) == 0);
    if (driver != NULL && CHECK_MSG(ops->build_template(driver, &spec, deadline_in(BUILD_MS),
                                                        &template, &built, &err) == 0,
                                    "template %s", err.message))
        for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
            tests[i]();
    ops->template_free(template);
    ops->close(driver);
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;

    (void)signal(SIGPIPE, SIG_IGN);
    if (getenv("CSB_TIMEOUT_MULTIPLIER") != NULL)
        (void)parse_u64(getenv("CSB_TIMEOUT_MULTIPLIER"), 1, 100, &patience); // stays 1
    is_process = argc > 1 && strncmp(argv[1], "process", 7) == 0;
    if (argc > 1 && strcmp(argv[1], "process-user") == 0 && !CHECK(launch_harness_be_ordinary()))
        return tap_done();
    one_id = is_process && geteuid() != 0;
    // Before any thread: csb-launch is forked.
    if (use_launcher()) {
        if (!CHECK(channel_loop_new(&loop, &err) == 0))
            return tap_done();
        run_suite();
        channel_loop_free(loop);
        CHECK_INT(launch_harness_processes(&harness), 0);
    }
    (void)launch_harness_stop(&harness);
    return tap_done();
}
