// SPDX-License-Identifier: Apache-2.0
//
// The program csb-jail: plans as text carried out, endings passed on, and what is no plan refused.
// Argument: the program. As an ordinary user the jails get a user namespace.
#include "tap.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/proc.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLAN_FD   10
#define STATUS_FD 11

static const char *csb_jail;

struct outcome {
    int exit_code;
    struct buf out;    // standard output and error
    struct buf status; // the line of JSON
};

static int memfd_of(const char *text)
{
    int fd = memfd_create("plan", MFD_CLOEXEC);

    if (fd >= 0 && (fd_write_all(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0))
        fd_close(&fd);
    return fd;
}

static void outcome_release(struct outcome *o)
{
    buf_release(&o->out);
    buf_release(&o->status);
}

static void run(const char *plan, struct outcome *ret)
{
    char words[][16] = {"csb-jail", "--plan-fd", "10", "--json-status", "11"};
    char *argv[] = {words[0], words[1], words[2], words[3], words[4], NULL};
    _cleanup_fd_ int plan_fd = memfd_of(plan);
    int out[2];
    int status[2];
    pid_t pid = -1;
    int ws = 0;

    *ret = (struct outcome){.exit_code = -1};
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0)
        return;
    const struct proc_fd fds[] = {
        {plan_fd, PLAN_FD}, {status[1], STATUS_FD}, {out[1], 1}, {out[1], 2}};
    const struct proc_spec spec = {.path = csb_jail, .argv = argv, .fds = fds, .fd_count = 4};
    int r = proc_spawn(&spec, &pid);
    (void)close(out[1]);
    (void)close(status[1]);
    if (CHECK_MSG(r == 0, "csb-jail starts (%d)", r)) {
        (void)fd_read_to_buf(out[0], &ret->out);
        (void)fd_read_to_buf(status[0], &ret->status);
        if (waitpid(pid, &ws, 0) == pid && WIFEXITED(ws))
            ret->exit_code = WEXITSTATUS(ws);
    }
    (void)close(out[0]);
    (void)close(status[0]);
}

static const char base[] = "jail-plan 1\n"
                           "%s"
                           "mount bind /usr source=/usr read_only exec\n"
                           "mount symlink /bin source=usr/bin\n"
                           "mount symlink /lib source=usr/lib\n"
                           "mount symlink /lib64 source=usr/lib64\n"
                           "mount proc /proc\n"
                           "mount dev /dev\n"
                           "mount tmpfs /tmp size=65536 inodes=10 mode=1777\n"
                           "user 4321 4321\n"
                           "hostname box\n"
                           "cwd /tmp\n"
                           "rlimit nofile 32\n"
                           "fd 1 1\n"
                           "fd 2 2\n"
                           "seccomp run\n"
                           "set landlock no_new_privs new_session\n"
                           "arg /bin/sh\n"
                           "arg -c\n"
                           "env WHO=you%%20there\n"
                           "arg %s\n";

static void run_shell(const char *escaped, struct outcome *ret)
{
    char plan[2048];

    (void)snprintf(
        plan, sizeof(plan), base,
        geteuid() == 0 ? "ns pid mount net ipc uts\n" : "ns user pid mount net ipc uts\n", escaped);
    run(plan, ret);
}

static bool has(struct buf *b, const char *text)
{
    const char *s = buf_cstr(b);

    return s != NULL && strstr(s, text) != NULL;
}

static void test_runs(void)
{
    struct outcome o;

    run_shell("echo%20$WHO%20$(id%20-u)%20$(hostname)%20$(pwd)%20$$;exit%207", &o);
    CHECK_INT(o.exit_code, 7);
    CHECK_STR(buf_cstr(&o.out), "you there 4321 box /tmp 2\n");
    CHECK(has(&o.status, "{\"exit_code\": 7, \"signal\": 0, \"cpu_user_ns\": "));
    CHECK(has(&o.status, "\"max_rss_bytes\": ") && has(&o.status, "}\n"));
    outcome_release(&o);
    run_shell("kill%20-9%20$$", &o);
    CHECK_INT(o.exit_code, 128 + 9);
    CHECK(has(&o.status, "{\"exit_code\": -1, \"signal\": 9, "));
    outcome_release(&o);
    // Neither the plan nor the status descriptor is the program's.
    run_shell("echo%20/proc/self/fd/*%20>&2", &o);
    CHECK_MSG(!has(&o.out, "/10") && !has(&o.out, "/11"), "descriptors: %s", buf_cstr(&o.out));
    outcome_release(&o);
}

static void test_refuses(void)
{
    static const char *const bad[][2] = {
        {"", "empty"},
        {"jail-plan 2\n", "line 1"},
        {"jail-plan 1\nns pid mount\narg /bin/true\nx\n", "line 4"},
        {"jail-plan 1\nns pid\narg /none/such\n", "execute /none/such"},
        {"jail-plan 1\nfd 1 1000\nns pid mount\narg /bin/true\n", "take descriptor"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct outcome o;

        // The fourth needs privileges to get that far.
        if (geteuid() != 0 && i >= 3)
            continue;
        run(bad[i][0], &o);
        CHECK_INT(o.exit_code, 125);
        CHECK_MSG(has(&o.out, bad[i][1]), "says %s: %s", bad[i][1], buf_cstr(&o.out));
        CHECK_INT(o.status.len, 0);
        outcome_release(&o);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    csb_jail = argv[1];
    test_runs();
    test_refuses();
    return tap_done();
}
