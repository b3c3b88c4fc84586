// SPDX-License-Identifier: Apache-2.0
//
// A jail that makes jails, as the agent does outside of virtual machines: what its programs are,
// may and cannot, started and forked from a zygote alike. This executable is all of the programs:
// "agent" in the outer jail runs the checks, "inside" in the inner one looks around.
#include "jail/jail.h"
#include "jail/zygote.h"
#include "tap.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTER_BASE  300000u
#define SLOT_UID    10007u
#define VIEW_UID    1000u
#define PROGRAM_END 33

static char self_path[4096];
static const char *const no_env[] = {NULL};

// ---- In the inner jail -----------------------------------------------------------------------

static bool status_has(const char *file, const char *line)
{
    _cleanup_free_ char *text = NULL;
    char want[128];

    if (fd_read_file(AT_FDCWD, file, 65536, &text, NULL) < 0)
        return false;
    (void)snprintf(want, sizeof(want), "\n%s\n", line);
    return strstr(text, want) != NULL;
}

// Prints what is wrong, nothing when all is as it should be.
#define WANT(cond)                                                                                 \
    do {                                                                                           \
        errno = 0;                                                                                 \
        if (!(cond))                                                                               \
            printf("not so: %s (%s)\n", #cond, strerror(errno));                                   \
    } while (0)
#define DENIED(call) WANT((call) < 0 && errno == EPERM)

static void look_at_self(void)
{
    char host[16] = "";
    struct stat st;

    WANT(getuid() == VIEW_UID && geteuid() == VIEW_UID && getgid() == VIEW_UID);
    // An ordinary user cannot shed the groups it has; they are nobody's inside.
    (void)gethostname(host, sizeof(host) - 1);
    WANT(getgroups(0, NULL) == 0 || strcmp(host, "single") == 0);
    WANT(status_has("/proc/self/status", "CapPrm:\t0000000000000000"));
    WANT(status_has("/proc/self/status", "CapEff:\t0000000000000000"));
    WANT(status_has("/proc/self/status", "CapBnd:\t0000000000000000"));
    WANT(status_has("/proc/self/status", "NoNewPrivs:\t1"));
    WANT(status_has("/proc/self/status", "Seccomp:\t2"));
    WANT(stat("/proc/self/fd", &st) == 0 && st.st_uid == VIEW_UID);
    WANT(stat("/own", &st) == 0 && st.st_uid == VIEW_UID);
    WANT(open("/own/x", O_CREAT | O_RDWR | O_CLOEXEC, 0600) >= 0);
    WANT(fcntl(2, F_GETFD) == 0 && fcntl(4, F_GETFD) < 0 && fcntl(60, F_GETFD) < 0);
}

// The devices are there, with terminals of this jail's own.
static void look_at_devices(void)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    WANT(open("/dev/null", O_WRONLY | O_CLOEXEC) >= 0);
    WANT(open("/dev/urandom", O_RDONLY | O_CLOEXEC) >= 0);
    WANT(open("/dev/x", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0);
    WANT(fd >= 0 && unlockpt(fd) == 0 && strcmp(ptsname(fd), "/dev/pts/0") == 0);
    WANT(open("/dev/pts/0", O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0);
}

static void look_at_init(void)
{
    WANT(getppid() == 1 && getpid() == 2);
    WANT(status_has("/proc/1/status", "NoNewPrivs:\t1"));
    WANT(status_has("/proc/1/status", "Seccomp:\t2"));
    WANT(status_has("/proc/1/status", "CapEff:\t0000000000000000"));
    WANT(status_has("/proc/1/status", "CapPrm:\t0000000000000000"));
    DENIED(ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    WANT(open("/proc/1/mem", O_RDONLY | O_CLOEXEC) < 0);
    WANT(open("/proc/1/root", O_RDONLY | O_CLOEXEC) < 0);
    (void)kill(1, SIGKILL);
    (void)kill(-1, SIGCONT);
    WANT(getppid() == 1);
}

static void look_for_power(void)
{
    WANT(setresuid(0, 0, 0) < 0);
    DENIED(setgroups(0, NULL));
    DENIED(sethostname("x", 1));
    DENIED(mount("none", "/own", "tmpfs", 0, NULL));
    DENIED(umount2("/proc", MNT_DETACH));
    DENIED(unshare(CLONE_NEWUSER));
    DENIED(unshare(CLONE_NEWNS));
    DENIED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
    DENIED(socket(AF_NETLINK, SOCK_RAW, 9));
    WANT(socket(AF_INET, SOCK_STREAM, 132) < 0 && errno == EPROTONOSUPPORT);
    WANT(syscall(470) < 0 && errno == ENOSYS);
    WANT(open("/proc/sys/kernel/hostname", O_WRONLY | O_CLOEXEC) < 0);
    WANT(open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC) < 0 ||
         access("/proc/sysrq-trigger", R_OK) == 0);
    WANT(open("/self", O_WRONLY | O_CLOEXEC) < 0);
}

// No dump is made, and none can be asked for.
static void look_at_limits(void)
{
    struct rlimit l = {0, 0};
    struct rlimit was;

    WANT(getrlimit(RLIMIT_CORE, &l) == 0 && l.rlim_cur == 1 && l.rlim_max == 1);
    l = (struct rlimit){0, 0};
    WANT(setrlimit(RLIMIT_CORE, &l) == 0);
    DENIED(prlimit(0, RLIMIT_CORE, &l, &was));
    WANT(getrlimit(RLIMIT_CORE, &l) == 0 && l.rlim_cur == 1);
    WANT(getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur == 64);
}

// RLIMIT_NPROC counts this jail's processes, init's neighbours not among them.
static void look_at_count(void)
{
    int made = 0;

    for (; made < 20; made++) {
        pid_t pid = fork();

        if (pid < 0)
            break;
        if (pid == 0) {
            (void)poll(NULL, 0, 60000);
            _exit(0);
        }
    }
    WANT(made == 7);
}

static void inside(void)
{
    look_at_self();
    look_at_devices();
    look_at_init();
    look_for_power();
    look_at_limits();
    look_at_count();
    printf("looked\n");
    (void)fflush(stdout);
}

// ---- In the outer jail -----------------------------------------------------------------------

static const struct jail_mount inner_mounts[] = {
    {.kind = JAIL_MOUNT_BIND, .source = "/self", .target = "/self", .read_only = 1, .exec = 1},
    {.kind = JAIL_MOUNT_BIND, .source = "/usr", .target = "/usr", .read_only = 1, .exec = 1},
    {.kind = JAIL_MOUNT_SYMLINK, .source = "usr/lib", .target = "/lib"},
    {.kind = JAIL_MOUNT_SYMLINK, .source = "usr/lib64", .target = "/lib64"},
    {.kind = JAIL_MOUNT_PROC, .target = "/proc"},
    {.kind = JAIL_MOUNT_DEV, .target = "/dev", .reuse = 1},
    {.kind = JAIL_MOUNT_TMPFS, .target = "/own", .size_bytes = 65536, .inodes = 16},
};

static const struct jail_rlimit inner_limits[] = {
    {RLIMIT_CORE, 0}, {RLIMIT_NOFILE, 64}, {RLIMIT_NPROC, 8}};

static struct jail_plan inner_plan(bool single)
{
    struct jail_plan p = JAIL_PLAN_INIT;

    p.ns = JAIL_NS_PID | JAIL_NS_MOUNT | JAIL_NS_IPC | JAIL_NS_UTS | JAIL_NS_CGROUP;
    p.mounts = inner_mounts;
    p.mount_count = sizeof(inner_mounts) / sizeof(inner_mounts[0]);
    p.uid = single ? 0 : SLOT_UID;
    p.gid = p.uid;
    p.identity = 1;
    p.view_uid = VIEW_UID;
    p.view_gid = VIEW_UID;
    p.hostname = single ? "single" : "mapped";
    p.cwd = "/own";
    p.rlimits = inner_limits;
    p.rlimit_count = 3;
    p.seccomp = JAIL_SECCOMP_RUN;
    p.landlock = 1;
    p.no_new_privs = 1;
    p.die_with_parent = 1;
    p.new_session = 1;
    p.envp = no_env;
    return p;
}

typedef int (*spawner)(void *arg, struct jail_plan *p, struct jail_child *child, struct err *err);

static int by_exec(void *arg, struct jail_plan *p, struct jail_child *child, struct err *err)
{
    static const char *const argv[] = {"/self", "inside", NULL};

    (void)arg;
    p->argv = argv;
    return jail_spawn(p, child, err);
}

static int by_zygote(void *arg, struct jail_plan *p, struct jail_child *child, struct err *err)
{
    return jail_zygote_spawn(*(int *)arg, p, child, err);
}

// An empty network namespace to be entered; this process goes back to its own.
static int make_network(void)
{
    _cleanup_fd_ int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd;

    if (own < 0 || unshare(CLONE_NEWNET) < 0)
        return -1;
    fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (setns(own, CLONE_NEWNET) < 0)
        fd_close(&fd);
    return fd;
}

static void run_inside(const char *how, struct jail_plan *p, spawner spawn, void *arg, char go)
{
    _cleanup_buf_ struct buf out = BUF_CAPPED(65536);
    struct jail_child child = JAIL_CHILD_INIT;
    struct jail_status st = {0};
    struct err err = ERR_INIT;
    struct jail_fd fds[3];
    int control[2];
    int pipes[2];

    if (pipe2(pipes, O_CLOEXEC) < 0 || fd_socketpair(SOCK_STREAM, control) < 0)
        return;
    fds[0] = (struct jail_fd){pipes[1], 1};
    fds[1] = (struct jail_fd){pipes[1], 2};
    fds[2] = (struct jail_fd){control[1], JAIL_CONTROL_FD};
    p->fds = fds;
    p->fd_count = 3;
    if (!CHECK_MSG(spawn(arg, p, &child, &err) == 0, "%s: starts: %s", how, err.message))
        return;
    (void)close(pipes[1]);
    (void)close(control[1]);
    CHECK_INT(send(control[0], &go, 1, MSG_NOSIGNAL), 1);
    (void)fd_read_to_buf(pipes[0], &out);
    CHECK_MSG(buf_cstr(&out) != NULL && strcmp(buf_cstr(&out), go == 'l' ? "looked\n" : "") == 0,
              "%s: %s", how, buf_cstr(&out));
    CHECK_INT(jail_read_status(child.status_fd, &st), 0);
    if (go == 'l')
        CHECK_MSG(st.exit_code == PROGRAM_END, "%s: ends as told: %d", how, st.exit_code);
    else
        CHECK_MSG(st.signal == SIGABRT, "%s: aborts: signal %d", how, st.signal);
    jail_child_release(&child);
    (void)close(pipes[0]);
    (void)close(control[0]);
}

// What both ways of starting lead to.
static _Noreturn void program(void)
{
    char go = 0;

    if (recv(JAIL_CONTROL_FD, &go, 1, 0) != 1)
        _exit(1);
    if (go == 'a')
        abort();
    inside();
    _exit(PROGRAM_END);
}

static int start_zygote(pid_t *ret_pid)
{
    int sock[2];
    pid_t pid;

    if (fd_socketpair(SOCK_SEQPACKET, sock) < 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        (void)close(sock[0]);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)prctl(PR_SET_NAME, "zygote", 0, 0, 0);
        if (csb_zygote(sock[1]) < 0)
            _exit(0);
        // Neither of the two is the new process's own affair.
        if (signal(SIGPIPE, SIG_IGN) != SIG_IGN || !status_has("/proc/self/status", "Umask:\t0022"))
            _exit(2);
        program();
    }
    (void)close(sock[1]);
    *ret_pid = pid;
    return sock[0];
}

static void test_failure(int zygote, struct jail_plan p)
{
    struct jail_child child = JAIL_CHILD_INIT;
    struct err err = ERR_INIT;

    p.fd_count = 0;
    p.cwd = "/none";
    CHECK(jail_zygote_spawn(zygote, &p, &child, &err) < 0 && err.code == ERR_SYSTEM);
    CHECK_MSG(strstr(err.message, "enter directory /none") != NULL, "says: %s", err.message);
    p.net_fd = 0;
    p.ns |= JAIL_NS_NET;
    CHECK(jail_zygote_spawn(zygote, &p, &child, &err) < 0 && err.code == ERR_INVALID);
}

static void report_time(const char *how, struct jail_plan *p, spawner spawn, void *arg)
{
    struct err err = ERR_INIT;
    struct rusage before;
    struct rusage after;
    uint64_t t0 = clock_mono_ns();
    uint64_t cpu;
    const unsigned rounds = 200;

    p->fd_count = 0;
    (void)getrusage(RUSAGE_CHILDREN, &before);
    for (unsigned i = 0; i < rounds; i++) {
        struct jail_child child = JAIL_CHILD_INIT;

        if (spawn(arg, p, &child, &err) < 0)
            return;
        jail_child_release(&child);
    }
    (void)getrusage(RUSAGE_CHILDREN, &after);
    cpu = (uint64_t)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000u +
          (uint64_t)after.ru_stime.tv_usec - (uint64_t)before.ru_stime.tv_usec;
    printf("# %s: %llu us from start to reaped, %llu us of them system time in the jail\n", how,
           (unsigned long long)(clock_mono_ns() - t0) / 1000u / rounds,
           (unsigned long long)cpu / rounds);
}

static int agent(bool single)
{
    struct jail_plan p = inner_plan(single);
    pid_t pid = -1;
    int zygote;

    WANT(getuid() == 0 && status_has("/proc/self/status", "CapEff:\t00000000802011eb") &&
         status_has("/proc/self/status", "CapBnd:\t00000000802011eb"));
    DENIED(syscall(SYS_bpf, 9999, NULL, 0));
    p.net_fd = make_network();
    CHECK_MSG(p.net_fd >= 0, "a network namespace: %s", strerror(errno));
    p.loopback_up = 1;
    run_inside("started", &p, by_exec, NULL, 'l');
    zygote = start_zygote(&pid);
    for (int i = 0; i < 3; i++)
        run_inside("forked", &p, by_zygote, &zygote, i == 1 ? 'a' : 'l');
    test_failure(zygote, p);
    run_inside("forked after a failure", &p, by_zygote, &zygote, 'l');
    report_time("started", &p, by_exec, NULL);
    report_time("forked", &p, by_zygote, &zygote);
    (void)close(zygote);
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    return tap_failed;
}

// ---- Outside ---------------------------------------------------------------------------------

static const struct jail_mount outer_mounts[] = {
    {.kind = JAIL_MOUNT_BIND, .source = self_path, .target = "/self", .read_only = 1, .exec = 1},
    {.kind = JAIL_MOUNT_BIND, .source = "/usr", .target = "/usr", .read_only = 1, .exec = 1},
    {.kind = JAIL_MOUNT_SYMLINK, .source = "usr/lib", .target = "/lib"},
    {.kind = JAIL_MOUNT_SYMLINK, .source = "usr/lib64", .target = "/lib64"},
    {.kind = JAIL_MOUNT_PROC, .target = "/proc", .unmasked = 1},
    {.kind = JAIL_MOUNT_DEV, .target = "/dev"},
    {.kind = JAIL_MOUNT_TMPFS, .target = "/tmp", .size_bytes = 65536},
};

// The agent prints its checks; they are counted as ours.
static void test_nested(bool single)
{
    const struct jail_id_map map = {0, OUTER_BASE, 65536};
    const char *const argv[] = {"/self", "agent", single ? "single" : "mapped", NULL};
    const struct jail_fd fds[] = {{1, 1}, {2, 2}};
    struct jail_plan p = JAIL_PLAN_INIT;
    struct jail_child child = JAIL_CHILD_INIT;
    struct jail_status st = {0};
    struct err err = ERR_INIT;

    p.ns = JAIL_NS_USER | JAIL_NS_PID | JAIL_NS_MOUNT | JAIL_NS_NET | JAIL_NS_IPC | JAIL_NS_UTS |
           JAIL_NS_CGROUP;
    p.mounts = outer_mounts;
    p.mount_count = sizeof(outer_mounts) / sizeof(outer_mounts[0]);
    if (!single) {
        p.uid_map = p.gid_map = &map;
        p.uid_map_count = p.gid_map_count = 1;
    }
    p.keep_caps = JAIL_CAPS_NESTED;
    p.seccomp = JAIL_SECCOMP_AGENT;
    p.no_new_privs = 1;
    p.die_with_parent = 1;
    p.new_session = 1;
    p.fds = fds;
    p.fd_count = 2;
    p.argv = argv;
    p.envp = no_env;
    if (jail_spawn(&p, &child, &err) < 0) {
        tap_skip("jail", err.message);
        return;
    }
    if (CHECK_INT(jail_read_status(child.status_fd, &st), 0))
        CHECK_INT(st.exit_code, 0);
    jail_child_release(&child);
}

int main(int argc, char **argv)
{
    ssize_t n;

    if (argc == 2 && strcmp(argv[1], "inside") == 0)
        program();
    tap_prefix = argc == 3 ? "# " : "";
    if (argc == 3 && strcmp(argv[1], "agent") == 0)
        return agent(strcmp(argv[2], "single") == 0) == 0 ? 0 : 1;
    n = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);
    if (n < 0)
        return 1;
    // Limits by user, which this looks at too, do not hold for the host's root.
    test_nested(geteuid() != 0);
    return tap_done();
}
