// SPDX-License-Identifier: Apache-2.0
//
// The child's side of a spawn: from clone3(2) to execve(2), in stages. Each stage says what it
// should and must not do. Nothing user-controlled runs before the last one.
#include "jail/jail_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SETUP_FAILED 127

int jail_step_failed(struct jail_ctx *c, int error, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(c->what, sizeof(c->what), fmt, ap);
    va_end(ap);
    return error > 0 ? -error : error;
}

static _Noreturn void report_failure(struct jail_ctx *c, int error)
{
    struct jail_report msg = {.kind = JAIL_REPORT_FAILED, .error = -error};

    memcpy(msg.what, c->what, sizeof(msg.what));
    // Nobody is left to tell when this fails; the parent then sees the exit status.
    (void)fd_send_msg(c->report, &msg, sizeof(msg), NULL, 0);
    _exit(EXIT_SETUP_FAILED);
}

static int close_fds(unsigned first, unsigned last, unsigned flags)
{
    if (first > last)
        return 0;
    return syscall(SYS_close_range, first, last, flags) < 0 ? -errno : 0;
}

static int loopback_up(struct jail_ctx *c)
{
    _cleanup_fd_ int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};

    if (s < 0 || ioctl(s, SIOCSIFFLAGS, &req) < 0)
        return jail_step_failed(c, errno, "bring lo up");
    return 0;
}

// Stage 1: names and network of the new namespaces, then the private root.
// Should: leave the process in a root that holds only what the plan lists.
// Mustn't: touch a mount, a host name or an interface of the outer namespaces.
static int enter_namespaces(struct jail_ctx *c)
{
    const struct jail_plan *p = c->plan;

    if ((p->ns & JAIL_NS_UTS) && p->hostname != NULL &&
        sethostname(p->hostname, strlen(p->hostname)) < 0)
        return jail_step_failed(c, errno, "set host name");
    if ((p->ns & JAIL_NS_NET) && p->loopback_up) {
        int r = loopback_up(c);

        if (r < 0)
            return r;
    }
    return p->ns & JAIL_NS_MOUNT ? jail_enter_root(c) : 0;
}

// Stage 2: be in the control groups. v2 was joined by clone3 itself; into those of v1 the parent
// moves us while the root is built, because the first move in a while waits some 10 ms for other
// CPUs.
// Should: hold before anything of the program is read or run.
// Mustn't: be skipped when the parent failed; it then closes the socket without a word.
static int await_cgroups(struct jail_ctx *c)
{
    char go = 0;

    if (c->plan->cgroup_v1_procs != NULL && recv(c->report, &go, 1, 0) != 1)
        _exit(EXIT_SETUP_FAILED);
    // Made after joining: the groups joined become its root.
    if ((c->plan->ns & JAIL_NS_CGROUP) && unshare(CLONE_NEWCGROUP) < 0)
        return jail_step_failed(c, errno, "make a cgroup namespace");
    return 0;
}

// Stage 3: no way back to privileges.
// Should: hold for init and program alike.
// Mustn't: come before mounts are done; the filter denies them.
static int shut_privileges(struct jail_ctx *c)
{
    int r = 0;

    if (c->plan->no_new_privs) {
        r = jail_drop_bounding_set(c);
        if (r < 0)
            return r;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            return jail_step_failed(c, errno, "set no_new_privs");
    }
    if (c->filter.len != 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &c->filter) < 0)
        return jail_step_failed(c, errno, "load the seccomp filter");
    return 0;
}

// The signal that ends this process with its parent, and a check that the parent did not end just
// before. Changing credentials clears it, so it comes after them.
static int tie_to_parent(struct jail_ctx *c)
{
    struct pollfd p = {.fd = c->report, .events = POLLIN};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return jail_step_failed(c, errno, "set parent death signal");
    if (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP))
        _exit(EXIT_SETUP_FAILED);
    return 0;
}

static void reset_signals(void)
{
    sigset_t none;
    struct sigaction dfl = {.sa_handler = SIG_DFL};

    for (int sig = 1; sig < 32; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            (void)sigaction(sig, &dfl, NULL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

// A pipe belongs to who made it; without this, opening /dev/stdout or /proc/self/fd/1 would be
// refused to the program. Best effort: only the opening by path is lost.
static void give_pipes(struct jail_ctx *c)
{
    for (size_t i = 0; i < c->plan->fd_count; i++) {
        struct stat st;

        if (fstat(c->plan->fds[i].target, &st) == 0 && S_ISFIFO(st.st_mode) &&
            fchown(c->plan->fds[i].target, c->plan->uid, c->plan->gid) < 0)
            return;
    }
}

static int by_target(const void *a, const void *b)
{
    const struct jail_fd *x = a;
    const struct jail_fd *y = b;

    return (x->target > y->target) - (x->target < y->target);
}

// Moves the plan's descriptors to their numbers by way of high ones, so that neither a source nor
// the report socket is overwritten; all others close at execve().
static int arrange_fds(struct jail_ctx *c)
{
    struct jail_fd fds[JAIL_FDS_MAX];
    size_t n = c->plan->fd_count;
    unsigned next = 0;
    int above = 0;
    int r = 0;

    if (n > 0)
        memcpy(fds, c->plan->fds, n * sizeof(fds[0]));
    qsort(fds, n, sizeof(fds[0]), by_target);
    above = n > 0 ? fds[n - 1].target + 1 : 3;
    for (size_t i = 0; i < n; i++) {
        fds[i].fd = fcntl(fds[i].fd, F_DUPFD_CLOEXEC, above);
        if (fds[i].fd < 0)
            return jail_step_failed(c, errno, "take descriptor for %d", fds[i].target);
    }
    c->report = fcntl(c->report, F_DUPFD_CLOEXEC, above);
    if (c->report < 0)
        return jail_step_failed(c, errno, "keep the report socket");
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (dup2(fds[i].fd, fds[i].target) < 0)
            return jail_step_failed(c, errno, "place descriptor %d", fds[i].target);
        if (fds[i].target > 0)
            r = close_fds(next, (unsigned)fds[i].target - 1, CLOSE_RANGE_CLOEXEC);
        next = (unsigned)fds[i].target + 1;
    }
    if (r == 0)
        r = close_fds(next, ~0u, CLOSE_RANGE_CLOEXEC);
    return r < 0 ? jail_step_failed(c, r, "close descriptors") : 0;
}

// Stage 4: become the program.
// Should: leave ids, limits, signals and descriptors exactly as the plan says.
// Mustn't: return; let anything but the plan's descriptors cross execve().
static _Noreturn void run_program(struct jail_ctx *c, bool own_parent)
{
    const struct jail_plan *p = c->plan;
    int r = 0;

    reset_signals();
    if (p->new_session && setsid() < 0 && errno != EPERM)
        report_failure(c, jail_step_failed(c, errno, "start a session"));
    // The descriptors come before the limits: RLIMIT_NOFILE would refuse the high numbers they are
    // moved by.
    r = arrange_fds(c);
    if (r == 0 && !(p->ns & JAIL_NS_USER))
        give_pipes(c);
    if (r == 0)
        r = jail_set_rlimits(c);
    if (r == 0)
        r = jail_become_user(c);
    if (r == 0)
        r = jail_drop_capabilities(c);
    if (r == 0 && own_parent && p->die_with_parent)
        r = tie_to_parent(c);
    if (r < 0)
        report_failure(c, r);
    // Entered as the user it runs as: a directory it may not search is an error here, not later.
    if (p->cwd != NULL && chdir(p->cwd) < 0)
        report_failure(c, jail_step_failed(c, errno, "enter directory %s", p->cwd));
    (void)execve(p->argv[0], (char *const *)(uintptr_t)p->argv, (char *const *)(uintptr_t)p->envp);
    report_failure(c, jail_step_failed(c, errno, "execute %s", p->argv[0]));
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

// Reaps whatever ends, until the program does.
static void reap_until(pid_t program, int *ret_status, struct rusage *ret_usage)
{
    for (;;) {
        pid_t pid = wait4(-1, ret_status, 0, ret_usage);

        if (pid == program)
            return;
        if (pid < 0 && errno != EINTR)
            _exit(EXIT_SETUP_FAILED);
    }
}

// Should: be untouchable from inside before the program exists, and then keep nothing but the
// status pipe. Mustn't: hold a pipe of the program's, or its readers would wait for init too.
static _Noreturn void run_init(struct jail_ctx *c)
{
    struct jail_status st = {.exit_code = -1};
    struct rusage usage = {0};
    int status = 0;
    long program;
    int r = 0;

    (void)prctl(PR_SET_NAME, "init", 0, 0, 0);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        report_failure(c, jail_step_failed(c, errno, "make init untraceable"));
    reset_signals();
    if (c->plan->die_with_parent)
        r = tie_to_parent(c);
    if (r < 0)
        report_failure(c, r);
    program = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (program < 0)
        report_failure(c, jail_step_failed(c, errno, "fork the program"));
    if (program == 0)
        run_program(c, false);
    r = jail_drop_capabilities(c);
    if (r < 0)
        report_failure(c, r);
    if (dup2(c->status, 0) < 0 || close_fds(1, ~0u, 0) < 0)
        _exit(EXIT_SETUP_FAILED);
    reap_until((pid_t)program, &status, &usage);
    if (WIFEXITED(status))
        st.exit_code = WEXITSTATUS(status);
    else
        st.signal = WTERMSIG(status);
    st.cpu_user_ns = timeval_ns(usage.ru_utime);
    st.cpu_system_ns = timeval_ns(usage.ru_stime);
    st.max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024u;
    (void)fd_write_all(0, &st, sizeof(st));
    _exit(st.signal != 0 ? 128 + st.signal : st.exit_code);
}

_Noreturn void jail_child_main(struct jail_ctx *c)
{
    int r = 0;

    // Of the root's directories and of the program alike.
    (void)umask(022);
    if (c->plan->ns & JAIL_NS_USER)
        r = jail_map_ids(c);
    if (r == 0)
        r = enter_namespaces(c);
    if (r == 0)
        r = await_cgroups(c);
    if (r == 0)
        r = shut_privileges(c);
    if (r < 0)
        report_failure(c, r);
    if (c->status >= 0)
        run_init(c);
    run_program(c, true);
}
