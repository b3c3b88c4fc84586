// SPDX-License-Identifier: Apache-2.0
//
// How it works. jail_spawn() checks the plan (jail_check.c), prepares what only the caller can
// (filter, mounts of descriptors), and makes the child with clone3(2) in all its namespaces and its
// cgroup at once. The child (jail_child.c) carries the plan out and reports over a socket that
// closes at execve(): its end without a message is the proof that the program runs. With a pid
// namespace the child stays as init and a second pipe tells how the program ended. jail_fork() is
// the same but for its end: the program closes the socket itself and returns.
#include "jail/jail_internal.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETUP_DEADLINE_MS 10000
#define PROGRAM           1 // in a forked program

static uint64_t clone_flags(const struct jail_plan *p)
{
    static const struct {
        uint32_t ns;
        uint64_t flag;
    } map[] = {
        {JAIL_NS_USER, CLONE_NEWUSER}, {JAIL_NS_PID, CLONE_NEWPID}, {JAIL_NS_MOUNT, CLONE_NEWNS},
        {JAIL_NS_NET, CLONE_NEWNET},   {JAIL_NS_IPC, CLONE_NEWIPC}, {JAIL_NS_UTS, CLONE_NEWUTS},
    };
    uint64_t flags = CLONE_PIDFD;

    // The cgroup namespace is made by the child after it joined its groups, which become its root.
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        if (p->ns & map[i].ns)
            flags |= map[i].flag;
    if (p->cgroup_fd >= 0)
        flags |= CLONE_INTO_CGROUP;
    return flags;
}

// Like fork(2): the child goes on here with a copy of this process, and 0. A forked program is its
// caller's sibling; the kernel then takes the signal of its end from the caller.
static pid_t clone_child(const struct jail_ctx *c, int *ret_pidfd)
{
    const struct jail_plan *p = c->plan;
    int pidfd = -1;
    struct clone_args args = {
        .flags = clone_flags(p) | (c->forking ? CLONE_PARENT : 0),
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = c->forking ? 0 : SIGCHLD,
    };
    long pid;

    if (p->cgroup_fd >= 0)
        args.cgroup = (unsigned)p->cgroup_fd;
    pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid < 0)
        return -errno;
    if (pid > 0)
        *ret_pidfd = pidfd;
    return (pid_t)pid;
}

static void reap(int pidfd)
{
    siginfo_t info;

    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
}

// Follows the child's reports until it runs the program or failed.
static int await_start(int report, struct jail_child *child, struct err *err)
{
    uint64_t deadline = clock_deadline_ms(SETUP_DEADLINE_MS);

    for (;;) {
        struct jail_report msg = {0};
        int fd = -1;
        size_t fds = 0;
        int r = fd_wait(report, POLLIN, deadline);
        ssize_t n;

        if (r == 0)
            return err_set(err, ERR_TIMEOUT, "jail: set-up took more than %d ms",
                           SETUP_DEADLINE_MS);
        n = r < 0 ? r : fd_recv_msg(report, &msg, sizeof(msg), &fd, 1, &fds);
        if (n == 0)
            return 0;
        if (n < 0)
            return err_sys(err, (int)n, "jail: read report");
        if (n != (ssize_t)sizeof(msg))
            return err_set(err, ERR_INTERNAL, "jail: report of the wrong size");
        if (msg.kind == JAIL_REPORT_SCRATCH && fds == 1) {
            fd_close(&child->scratch_fd);
            child->scratch_fd = fd;
            continue;
        }
        msg.what[sizeof(msg.what) - 1] = '\0';
        return err_sys(err, msg.error, "jail: %s", msg.what);
    }
}

// A child that was killed during the set-up also closes the socket; it never came to execve().
static int check_alive(const struct jail_child *child, struct err *err)
{
    siginfo_t info = {0};

    if (child->status_fd >= 0)
        return 0; // its end says it all
    if (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid != 0 && info.si_code != CLD_EXITED && info.si_status == SIGKILL)
        return err_set(err, ERR_SYSTEM, "jail: killed during set-up");
    return 0;
}

// Moves the child into its v1 groups and lets it go on. A child that ended already has reported
// why.
static int join_cgroups(const struct jail_plan *p, int report, pid_t pid, struct err *err)
{
    const char go = JAIL_GO_CGROUPS;

    char text[16];

    if (p->cgroup_v1_procs == NULL)
        return 0;
    (void)snprintf(text, sizeof(text), "%d", pid);
    for (const char *const *path = p->cgroup_v1_procs; *path != NULL; path++) {
        int r = fd_write_file(AT_FDCWD, *path, text);

        if (r == -ESRCH)
            return 0;
        if (r < 0)
            return err_sys(err, r, "jail: join cgroup by %.150s", *path);
    }
    (void)fd_send_msg(report, &go, 1, NULL, 0); // fails only when the child ended
    return 0;
}

static void close_trees(struct jail_ctx *c)
{
    for (size_t i = 0; i < JAIL_MOUNTS_MAX; i++)
        fd_close(&c->trees[i]);
}

// All lines of a map in one write, as the kernel wants them.
static int write_map(pid_t pid, const char *file, const struct jail_id_map *map, size_t count)
{
    char path[64];
    char text[JAIL_MAPS_MAX * 40];
    int len = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    for (size_t i = 0; i < count; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "%u %u %u\n", map[i].inside,
                        map[i].outside, map[i].count);
    return fd_write_file(AT_FDCWD, path, text);
}

// Names the ids of the child's user namespace and lets it go on.
static int map_ids(const struct jail_plan *p, int report, pid_t pid, struct err *err)
{
    const char go = JAIL_GO_MAPS;
    int r;

    if (p->uid_map_count == 0)
        return 0;
    r = write_map(pid, "uid_map", p->uid_map, p->uid_map_count);
    if (r < 0)
        return err_sys(err, r, "jail: map users");
    r = write_map(pid, "gid_map", p->gid_map, p->gid_map_count);
    if (r < 0)
        return err_sys(err, r, "jail: map groups");
    (void)fd_send_msg(report, &go, 1, NULL, 0); // fails only when the child ended
    return 0;
}

// 0 in the caller; PROGRAM in a forked program, where no descriptor of this process is left.
static int start_child(struct jail_ctx *c, struct jail_child *child, struct err *err)
{
    int report[2];
    int r = fd_socketpair(SOCK_SEQPACKET, report);

    if (r < 0)
        return err_sys(err, r, "jail: make the report socket");
    c->report = report[1];
    child->pid = clone_child(c, &child->pidfd);
    if (child->pid == 0) {
        (void)close(report[0]);
        jail_child_main(c);
        return PROGRAM;
    }
    fd_close(&report[1]);
    if (child->pid < 0) {
        fd_close(&report[0]);
        return err_sys(err, child->pid, "jail: clone");
    }
    r = map_ids(c->plan, report[0], child->pid, err);
    if (r == 0)
        r = join_cgroups(c->plan, report[0], child->pid, err);
    if (r == 0 && c->forking && !c->plan->want_scratch_fd) {
        child->report_fd = report[0];
        return 0;
    }
    if (r == 0)
        r = await_start(report[0], child, err);
    fd_close(&report[0]);
    if (r == 0)
        r = check_alive(child, err);
    return r;
}

int jail_settle(struct jail_child *child, struct err *err)
{
    int r = child->report_fd < 0 ? 0 : await_start(child->report_fd, child, err);

    fd_close(&child->report_fd);
    return r;
}

static int make_status_pipe(struct jail_ctx *c, struct jail_child *child, struct err *err)
{
    int fds[2];

    if (!(c->plan->ns & JAIL_NS_PID) || c->plan->exec_as_init)
        return 0;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, errno, "jail: make the status pipe");
    child->status_fd = fds[0];
    c->status = fds[1];
    return 0;
}

static int spawn(const struct jail_plan *plan, bool forking, struct jail_child *ret,
                 struct err *err)
{
    struct jail_ctx c = {.plan = plan,
                         .forking = forking,
                         .reuse_dev = jail_dev_is_ours(),
                         .outer_uid = geteuid(),
                         .outer_gid = getegid(),
                         .report = -1,
                         .status = -1,
                         .root = -1,
                         .scratch = -1};
    struct jail_child child = JAIL_CHILD_INIT;
    int r = jail_check_plan(plan, forking, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < JAIL_MOUNTS_MAX; i++)
        c.trees[i] = -1;
    r = jail_seccomp_get(plan->seccomp, &c.filter);
    if (r == 0)
        r = jail_seccomp_init(&c.init_filter);
    if (r < 0)
        return err_sys(err, r, "jail: build the seccomp filter");
    r = jail_clone_fd_trees(&c);
    if (r < 0)
        r = err_sys(err, r, "jail: %s", c.what);
    else
        r = make_status_pipe(&c, &child, err);
    if (r == 0)
        r = start_child(&c, &child, err);
    if (r == PROGRAM)
        return r;
    fd_close(&c.status);
    close_trees(&c);
    if (r < 0 && forking && child.pidfd >= 0) {
        (void)jail_kill(&child);
        ret->pidfd = fd_steal(&child.pidfd);
        ret->pid = child.pid;
    }
    if (r < 0) {
        jail_child_release(&child);
        return r;
    }
    *ret = child;
    return 0;
}

int jail_spawn(const struct jail_plan *plan, struct jail_child *ret, struct err *err)
{
    return spawn(plan, false, ret, err);
}

int jail_fork(const struct jail_plan *plan, struct jail_child *ret, struct err *err)
{
    int r;

    *ret = (struct jail_child)JAIL_CHILD_INIT;
    r = spawn(plan, true, ret, err);
    if (r < 0)
        return r;
    return r == PROGRAM ? 0 : 1;
}

int jail_read_status(int status_fd, struct jail_status *ret)
{
    struct jail_status st;
    int r = fd_read_all(status_fd, &st, sizeof(st));

    if (r < 0)
        return r;
    *ret = st;
    return 0;
}

int jail_kill(const struct jail_child *child)
{
    if (child->pidfd < 0)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

void jail_child_release(struct jail_child *child)
{
    if (child->pidfd >= 0) {
        (void)jail_kill(child);
        reap(child->pidfd);
    }
    fd_close(&child->pidfd);
    fd_close(&child->status_fd);
    fd_close(&child->scratch_fd);
    fd_close(&child->report_fd);
    child->pid = -1;
}
