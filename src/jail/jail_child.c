// SPDX-License-Identifier: Apache-2.0
//
// The child's side of a spawn: from clone3(2) to execve(2), or to the return into a forked
// program's code, in stages. Each stage says what it should and must not do. Nothing
// user-controlled runs before the last one.
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

// The parent did its part, or else failed and closes the socket without a word.
static void await_go(struct jail_ctx *c, char what)
{
    char go = 0;

    if (recv(c->report, &go, 1, 0) != 1 || go != what)
        _exit(EXIT_SETUP_FAILED);
}

// Stage 1: the ids of an own user namespace.
// Should: be the first, all else is done with what it gives.
// Mustn't: happen for an identity, whose namespace must own nothing.
static int enter_user_namespace(struct jail_ctx *c)
{
    if (!(c->plan->ns & JAIL_NS_USER))
        return 0;
    if (c->plan->uid_map_count == 0)
        return jail_map_ids(c);
    await_go(c, JAIL_GO_MAPS);
    return 0;
}

// Stage 2: names and network of the new namespaces.
// Should: leave the process in the network the plan says.
// Mustn't: touch a host name or an interface of the outer namespaces.
static int enter_namespaces(struct jail_ctx *c)
{
    const struct jail_plan *p = c->plan;

    if ((p->ns & JAIL_NS_UTS) && p->hostname != NULL &&
        sethostname(p->hostname, strlen(p->hostname)) < 0)
        return jail_step_failed(c, errno, "set host name");
    if (p->net_fd >= 0 && setns(p->net_fd, CLONE_NEWNET) < 0)
        return jail_step_failed(c, errno, "enter the network namespace");
    if (p->loopback_up && (p->net_fd >= 0 || (p->ns & JAIL_NS_NET)))
        return loopback_up(c);
    return 0;
}

static int own_cgroups(struct jail_ctx *c)
{
    if ((c->plan->ns & JAIL_NS_CGROUP) && unshare(CLONE_NEWCGROUP) < 0)
        return jail_step_failed(c, errno, "make a cgroup namespace");
    return 0;
}

// Stage 3: the private root, and control groups. v2 was joined by clone3 itself; into those of v1
// the parent moves us while the root is built, because the first move in a while waits some 10 ms
// for other CPUs. The cgroup namespace comes after joining, for the groups joined become its root,
// and on v2 before the mounts, one of which may show it.
// Should: leave a root that holds only what the plan lists, and hold before anything of the program
// is read or run.
// Mustn't: touch a mount of the outer namespace.
static int enter_root(struct jail_ctx *c)
{
    bool v1 = c->plan->cgroup_v1_procs != NULL;
    int r = v1 ? 0 : own_cgroups(c);

    if (r == 0 && (c->plan->ns & JAIL_NS_MOUNT))
        r = jail_enter_root(c);
    if (r < 0 || !v1)
        return r;
    await_go(c, JAIL_GO_CGROUPS);
    return own_cgroups(c);
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
// the report socket is overwritten; all others close at execve(), in a forked program at once.
static int arrange_fds(struct jail_ctx *c)
{
    struct jail_fd fds[JAIL_FDS_MAX];
    size_t n = c->plan->fd_count;
    unsigned how = c->forking ? 0 : CLOSE_RANGE_CLOEXEC;
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
            r = close_fds(next, (unsigned)fds[i].target - 1, how);
        next = (unsigned)fds[i].target + 1;
    }
    if (r == 0 && c->forking)
        r = close_fds(next, (unsigned)c->report - 1, how);
    if (r == 0)
        r = close_fds(c->forking ? (unsigned)c->report + 1 : next, ~0u, how);
    return r < 0 ? jail_step_failed(c, r, "close descriptors") : 0;
}

// Stage 4: who the program is.
// Should: leave ids and limits exactly as the plan says, and be verified.
// Mustn't: leave a capability that the plan does not keep.
static int become_program(struct jail_ctx *c)
{
    const struct jail_plan *p = c->plan;
    int r = 0;

    // Dropping takes a capability that an identity has only in its own namespace, where the set is
    // full again, and everybody else only before they change user.
    if (p->no_new_privs && !p->identity)
        r = jail_drop_bounding_set(c);
    if (r == 0)
        r = jail_become_user(c);
    if (r == 0 && p->identity)
        r = jail_take_identity(c);
    if (r == 0 && p->no_new_privs && p->identity)
        r = jail_drop_bounding_set(c);
    // After the identity: its namespace then counts the processes of this jail alone.
    if (r == 0)
        r = jail_set_rlimits(c);
    if (r == 0)
        r = jail_keep_capabilities(c, p->keep_caps);
    return r;
}

// Stage 5: no way back.
// Should: be the last before the program.
// Mustn't: come before mounts and ids are done; the filter denies them.
static int shut(struct jail_ctx *c)
{
    int r = c->plan->landlock ? jail_landlock(c) : 0;

    if (r == 0 && c->filter.len != 0 &&
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &c->filter) < 0)
        r = jail_step_failed(c, errno, "load the seccomp filter");
    return r;
}

// Stages 4 to 6. The last: become the program.
// Should: leave signals and descriptors exactly as the plan says.
// Mustn't: return but in a forked program; let anything but the plan's descriptors live on.
static void run_program(struct jail_ctx *c, bool own_parent)
{
    const struct jail_plan *p = c->plan;
    int r = 0;

    if (!c->forking)
        reset_signals();
    if (p->new_session && setsid() < 0 && errno != EPERM)
        report_failure(c, jail_step_failed(c, errno, "start a session"));
    // The descriptors come before the limits: RLIMIT_NOFILE would refuse the high numbers they are
    // moved by.
    r = arrange_fds(c);
    if (r == 0 && !(p->ns & JAIL_NS_USER))
        give_pipes(c);
    if (r == 0)
        r = become_program(c);
    // Entered as the user it runs as: a directory it may not search is an error here, not later.
    if (r == 0 && p->cwd != NULL && chdir(p->cwd) < 0)
        r = jail_step_failed(c, errno, "enter directory %s", p->cwd);
    // What execve() does otherwise: the program's own files in /proc are its user's.
    if (r == 0 && c->forking && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        r = jail_step_failed(c, errno, "own the files of /proc");
    if (r == 0)
        r = shut(c);
    if (r == 0 && own_parent && p->die_with_parent)
        r = tie_to_parent(c);
    if (r < 0)
        report_failure(c, r);
    if (c->forking) {
        (void)close(c->report);
        return;
    }
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

static _Noreturn void tell_end(pid_t program)
{
    struct jail_status st = {.exit_code = -1};
    struct rusage usage = {0};
    int status = 0;

    reap_until(program, &status, &usage);
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

// From the program's start on.
// Should: keep nothing but the status pipe and the right to wait for children.
// Mustn't: hold a pipe of the program's, or its readers would wait for init too.
static _Noreturn void be_init(struct jail_ctx *c, pid_t program)
{
    int r = 0;

    if (c->forking)
        reset_signals();
    r = jail_keep_capabilities(c, 0);
    // Under an agent's filter, which init has from the start, this would cost more than it adds to
    // having no capabilities.
    if (r == 0 && c->plan->no_new_privs && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0 &&
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &c->init_filter) < 0)
        r = jail_step_failed(c, errno, "load init's filter");
    if (r < 0)
        report_failure(c, r);
    if (dup2(c->status, 0) < 0 || close_fds(1, ~0u, 0) < 0)
        _exit(EXIT_SETUP_FAILED);
    tell_end(program);
}

// Should: be untouchable from inside before the program exists. Returns only in a forked program.
static void run_init(struct jail_ctx *c)
{
    char name[16] = "";
    pid_t program;
    int r = 0;

    (void)prctl(PR_GET_NAME, name, 0, 0, 0);
    (void)prctl(PR_SET_NAME, "init", 0, 0, 0);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        report_failure(c, jail_step_failed(c, errno, "make init untraceable"));
    if (!c->forking)
        reset_signals();
    if (c->plan->die_with_parent)
        r = tie_to_parent(c);
    if (r < 0)
        report_failure(c, r);
    // By the C library, which thereby learns its process's new number: abort() uses it.
    program = fork();
    if (program < 0)
        report_failure(c, jail_step_failed(c, errno, "fork the program"));
    if (program > 0)
        be_init(c, program);
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    run_program(c, false);
}

void jail_child_main(struct jail_ctx *c)
{
    int r;

    // Of the root's directories and of the program alike.
    (void)umask(022);
    r = enter_user_namespace(c);
    if (r == 0)
        r = enter_namespaces(c);
    if (r == 0)
        r = enter_root(c);
    if (r == 0 && c->plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = jail_step_failed(c, errno, "set no_new_privs");
    if (r < 0)
        report_failure(c, r);
    if (c->status >= 0)
        run_init(c);
    else
        run_program(c, true);
}
