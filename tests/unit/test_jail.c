// SPDX-License-Identifier: Apache-2.0
//
// The jail from outside: what a program in it is, may and cannot, and how its end is told. The
// program under test is this executable itself ("probe NAME"), bound into the jail, so that nothing
// but the kernel's answers is looked at. As root it uses an own uid; as an ordinary user a user
// namespace.
#include "cgroup/cgroup.h"
#include "jail/jail.h"
#include "jail_probes.h"
#include "tap.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define JAIL_UID 54321

static char self_path[4096];
static bool rootless;
static int fds_at_start;

// ---- Outside ---------------------------------------------------------------------------------

struct run {
    struct jail_child child;
    int in;
    int out;
};

static const struct jail_mount mounts[] = {
    {.kind = JAIL_MOUNT_BIND, .source = self_path, .target = "/self", .read_only = 1, .exec = 1},
    {.kind = JAIL_MOUNT_BIND, .source = "/usr", .target = "/usr", .read_only = 1, .exec = 1},
    {.kind = JAIL_MOUNT_SYMLINK, .source = "usr/lib", .target = "/lib"},
    {.kind = JAIL_MOUNT_SYMLINK, .source = "usr/lib64", .target = "/lib64"},
    {.kind = JAIL_MOUNT_PROC, .target = "/proc"},
    {.kind = JAIL_MOUNT_DEV, .target = "/dev"},
    {.kind = JAIL_MOUNT_SCRATCH, .source = "work", .target = "/work"},
    {.kind = JAIL_MOUNT_SCRATCH, .source = "shm", .target = "/dev/shm", .mode = 01777},
};

static const char *const no_env[] = {NULL};

static struct jail_plan base_plan(void)
{
    static const struct jail_rlimit limits[] = {{RLIMIT_CORE, 0}, {RLIMIT_NOFILE, 64}};
    struct jail_plan p = JAIL_PLAN_INIT;

    p.ns = JAIL_NS_PID | JAIL_NS_MOUNT | JAIL_NS_NET | JAIL_NS_IPC | JAIL_NS_UTS;
    p.uid = JAIL_UID;
    p.gid = JAIL_UID;
    if (rootless)
        p.ns |= JAIL_NS_USER;
    p.mounts = mounts;
    p.mount_count = sizeof(mounts) / sizeof(mounts[0]);
    p.scratch_bytes = 1u << 20;
    p.scratch_inodes = 100;
    p.hostname = "jail";
    p.cwd = "/work";
    p.rlimits = limits;
    p.rlimit_count = 2;
    p.seccomp = JAIL_SECCOMP_RUN;
    p.no_new_privs = 1;
    p.die_with_parent = 1;
    p.new_session = 1;
    p.want_scratch_fd = 1;
    p.envp = no_env;
    return p;
}

static bool start(struct jail_plan *p, const char *name, struct run *run, struct err *err)
{
    const char *argv[] = {"/self", "probe", name, NULL};
    int in[2];
    int out[2];
    struct jail_fd fds[3];
    int r;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return false;
    fds[0] = (struct jail_fd){in[0], 0};
    fds[1] = (struct jail_fd){out[1], 1};
    fds[2] = (struct jail_fd){out[1], 2};
    p->fds = fds;
    p->fd_count = 3;
    if (p->argv == NULL)
        p->argv = argv;
    r = jail_spawn(p, &run->child, err);
    p->argv = NULL;
    (void)close(in[0]);
    (void)close(out[1]);
    run->in = in[1];
    run->out = out[0];
    if (r < 0) {
        (void)close(run->in);
        (void)close(run->out);
        return false;
    }
    return true;
}

static void finish(struct run *run)
{
    jail_child_release(&run->child);
    (void)close(run->in);
    (void)close(run->out);
}

// The output of a probe that ends by itself. Freed by the caller of buf_release().
static bool probe(struct jail_plan *p, const char *name, struct buf *out, struct jail_status *st)
{
    struct err err = ERR_INIT;
    struct run run;
    int r;

    if (!start(p, name, &run, &err)) {
        tap_ok(false, "%s starts: %s", name, err.message);
        return false;
    }
    buf_clear(out);
    (void)fd_read_to_buf(run.out, out);
    r = jail_read_status(run.child.status_fd, st);
    finish(&run);
    return tap_ok(r == 0, "%s reports a status (%d)", name, r);
}

static bool has(struct buf *out, const char *text)
{
    const char *s = buf_cstr(out);

    return s != NULL && strstr(s, text) != NULL;
}

static void expect(struct jail_plan *p, const char *name, const char *want)
{
    _cleanup_buf_ struct buf out = BUF_CAPPED(65536);
    struct jail_status st;

    if (!probe(p, name, &out, &st))
        return;
    CHECK_STR(buf_cstr(&out), want);
    CHECK_INT(st.exit_code, 0);
}

static void test_identity(void)
{
    struct jail_plan p = base_plan();
    _cleanup_buf_ struct buf out = BUF_CAPPED(65536);
    struct jail_status st;

    if (!probe(&p, "status", &out, &st))
        return;
    CHECK(has(&out, "Uid:\t54321\t54321\t54321\t54321\n"));
    CHECK(has(&out, "Gid:\t54321\t54321\t54321\t54321\n"));
    CHECK(rootless || has(&out, "Groups:\t \n"));
    CHECK(has(&out, "CapInh:\t0000000000000000"));
    CHECK(has(&out, "CapPrm:\t0000000000000000"));
    CHECK(has(&out, "CapEff:\t0000000000000000"));
    CHECK(has(&out, "CapBnd:\t0000000000000000"));
    CHECK(has(&out, "CapAmb:\t0000000000000000"));
    CHECK(has(&out, "NoNewPrivs:\t1"));
    CHECK(has(&out, "Seccomp:\t2"));
    CHECK(has(&out, "fds 3\n"));
}

static void test_contents(void)
{
    struct jail_plan p = base_plan();
    _cleanup_buf_ struct buf out = BUF_CAPPED(65536);
    struct jail_status st;

    expect(&p, "denied", "checked\n");
    expect(&p, "allowed", "checked\n");
    expect(&p, "files", "checked\n");
    expect(&p, "init", "pid 2 parent 1\nchecked\n");
    expect(&p, "orphans", "2 processes\n");
    expect(&p, "terminal", "checked\n");
    if (probe(&p, "network", &out, &st)) {
        const char *lo = strstr(buf_cstr(&out), "lo:");

        CHECK(lo != NULL && strchr(lo + 3, ':') == NULL);
    }
}

static void test_mount_kinds(void)
{
    struct jail_mount more[10];
    struct jail_plan p = base_plan();
    int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);

    memcpy(more, mounts, sizeof(mounts));
    more[p.mount_count] = (struct jail_mount){
        .kind = JAIL_MOUNT_TMPFS, .target = "/own", .size_bytes = 65536, .inodes = 10};
    more[p.mount_count + 1] = (struct jail_mount){
        .kind = JAIL_MOUNT_BIND_FD, .fd = etc, .target = "/given", .read_only = 1};
    p.mounts = more;
    p.mount_count += 2;
    if (rootless) {
        struct err err = ERR_INIT;
        struct run run;

        CHECK(!start(&p, "mounts", &run, &err) && err.code == ERR_UNSUPPORTED);
    } else {
        expect(&p, "mounts", "checked\n");
    }
    fd_close(&etc);
}

// Landlock shows where nothing else does: in a shared network namespace, at a socket outside.
static void test_landlock(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct jail_plan p = base_plan();
    _cleanup_fd_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

    p.ns &= ~(uint32_t)JAIL_NS_NET;
    memcpy(addr.sun_path + 1, ABSTRACT_NAME, sizeof(ABSTRACT_NAME));
    CHECK(bind(s, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(s, 5) == 0);
    expect(&p, "abstract", "connected\n");
    p.landlock = 1;
    expect(&p, "files", "checked\n");
    expect(&p, "terminal", "checked\n");
    expect(&p, "rename", "checked\n");
    // Versions before 6 only hold files.
    expect(&p, "abstract", abi >= 6 ? "Operation not permitted\n" : "connected\n");
}

// The limits of a control group hold for the program and all it starts, and a kill is counted.
static void test_cgroup_limits(void)
{
    const struct cgroup_limits limits = {.memory_bytes = 16u << 20, .processes = 8};
    struct cgroup_root *root = NULL;
    struct cgroup *cg = NULL;
    struct cgroup_usage usage;
    struct jail_plan p = base_plan();
    _cleanup_buf_ struct buf out = BUF_CAPPED(65536);
    struct jail_status st = {0};
    struct err err = ERR_INIT;
    char note[160];
    char name[32];
    struct run run;

    (void)snprintf(name, sizeof(name), "csb-jail-test-%d", getpid());
    if (cgroup_root_open(NULL, name, &root, note, &err) < 0 ||
        cgroup_root_version(root) == CGROUP_NONE) {
        tap_skip("jail", note);
        cgroup_root_close(root);
        return;
    }
    CHECK_INT(cgroup_new(root, "run", &limits, &cg, &err), 0);
    p.cgroup_fd = cgroup_dirfd(cg);
    p.cgroup_v1_procs = cgroup_procs_paths(cg);
    if (CHECK_MSG(start(&p, "hog", &run, &err), "starts in a group: %s", err.message)) {
        int r = jail_read_status(run.child.status_fd, &st);

        // With memory.oom.group the jail's init goes too, and there is no status.
        CHECK(r == -ENODATA || (r == 0 && st.signal == SIGKILL));
        finish(&run);
        CHECK(cgroup_usage(cg, CGROUP_PEAKS | CGROUP_NOW, &usage) == 0 && usage.oom_kills >= 1);
    }
    // Eight less init and the program.
    if (probe(&p, "forks", &out, &st))
        CHECK_STR(buf_cstr(&out), "6 Resource temporarily unavailable\n");
    CHECK(cgroup_is_empty(cg));
    cgroup_free(cg);
    cgroup_root_close(root);
}

static void test_endings(void)
{
    struct jail_plan p = base_plan();
    _cleanup_buf_ struct buf out = BUF_CAPPED(65536);
    struct jail_status st;

    if (probe(&p, "exit42", &out, &st))
        CHECK(st.exit_code == 42 && st.signal == 0);
    if (probe(&p, "abort", &out, &st))
        CHECK(st.exit_code == -1 && st.signal == SIGABRT);
    if (probe(&p, "term", &out, &st))
        CHECK(st.signal == SIGTERM);
    // Reading to the end of the output proves that the descendant, which holds it, is gone.
    if (probe(&p, "family", &out, &st))
        CHECK_STR(buf_cstr(&out), "left\n");
}

static void test_kill(void)
{
    struct jail_plan p = base_plan();
    struct jail_status st;
    struct err err = ERR_INIT;
    struct run run;
    siginfo_t info = {0};

    if (!start(&p, "sleep", &run, &err)) {
        tap_ok(false, "sleep starts: %s", err.message);
        return;
    }
    CHECK_INT(jail_kill(&run.child), 0);
    CHECK_INT(jail_read_status(run.child.status_fd, &st), -ENODATA);
    CHECK_INT(waitid(P_PIDFD, (id_t)run.child.pidfd, &info, WEXITED), 0);
    CHECK_INT(info.si_status, SIGKILL);
    finish(&run);
}

static void test_scratch(void)
{
    struct jail_plan p = base_plan();
    struct err err = ERR_INIT;
    struct run run;
    char line[64] = "";
    int fd;

    if (!start(&p, "fill", &run, &err)) {
        tap_ok(false, "fill starts: %s", err.message);
        return;
    }
    fd = openat(run.child.scratch_fd, "work/given", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CHECK_MSG(fd >= 0, "the caller writes into the scratch: %s", strerror(errno));
    fd_close(&fd);
    CHECK(read(run.out, line, sizeof(line) - 1) > 0);
    CHECK_STR(line, "1048576 ENOSPC\n");
    if (rootless) {
        CHECK_INT(jail_scratch_resize(run.child.scratch_fd, 2u << 20), -EPERM);
    } else {
        CHECK_INT(jail_scratch_resize(run.child.scratch_fd, 2u << 20), 0);
        CHECK_INT(fd_write_all(run.in, "x", 1), 0);
        memset(line, 0, sizeof(line));
        CHECK(read(run.out, line, sizeof(line) - 1) > 0);
        CHECK_STR(line, "2097152 ENOSPC\n");
    }
    finish(&run);
}

static void expect_failure(struct jail_plan *p, const char *stage)
{
    struct err err = ERR_INIT;
    struct run run;

    if (start(p, "exit42", &run, &err)) {
        finish(&run);
        tap_ok(false, "fails: %s", stage);
        return;
    }
    CHECK_MSG(strstr(err.message, stage) != NULL, "fails with \"%s\": %s", stage, err.message);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void test_failures(void)
{
    const struct jail_mount bad = {.kind = JAIL_MOUNT_BIND, .source = "/none", .target = "/none"};
    const struct jail_mount up = {.kind = JAIL_MOUNT_BIND, .source = "/usr", .target = "/a/../b"};
    const char *none_argv[] = {"/none", NULL};
    const char *bad_procs[] = {"/none/cgroup.procs", NULL};
    struct jail_plan p = base_plan();

    p.cwd = "/none";
    expect_failure(&p, "enter directory /none");
    p = base_plan();
    p.mounts = &bad;
    p.mount_count = 1;
    expect_failure(&p, "open mount source /none");
    p.mounts = &up;
    expect_failure(&p, "no usable target");
    p = base_plan();
    p.cgroup_v1_procs = bad_procs;
    expect_failure(&p, "join cgroup");
    p = base_plan();
    p.root = "/none";
    expect_failure(&p, "open the root");
    p = base_plan();
    p.argv = none_argv;
    expect_failure(&p, "execute /none");
    CHECK_INT(fd_count(), fds_at_start);
}

static void test_exec_as_init(void)
{
    struct jail_plan p = base_plan();
    struct err err = ERR_INIT;
    struct run run;
    siginfo_t info = {0};

    p.exec_as_init = 1;
    p.seccomp = JAIL_SECCOMP_VMM;
    if (!start(&p, "exit42", &run, &err)) {
        tap_ok(false, "starts: %s", err.message);
        return;
    }
    CHECK_INT(run.child.status_fd, -1);
    CHECK_INT(waitid(P_PIDFD, (id_t)run.child.pidfd, &info, WEXITED | WNOWAIT), 0);
    CHECK(info.si_code == CLD_EXITED && info.si_status == 42);
    finish(&run);
}

// The caller is killed; its jail must go too, which the end of the output shows: the jail alone
// holds the pipe by then.
static void test_parent_death(uint8_t exec_as_init)
{
    int fds[2];
    char buf[16] = "";
    pid_t pid;

    if (fd_socketpair(SOCK_STREAM, fds) < 0)
        return;
    pid = fork();
    if (pid == 0) {
        struct jail_plan p = base_plan();
        struct err err = ERR_INIT;
        struct run run;

        p.exec_as_init = exec_as_init;
        if (!start(&p, "sleep", &run, &err) || fd_send_msg(fds[1], "x", 1, &run.out, 1) < 0)
            _exit(1);
        (void)poll(NULL, 0, 60000);
        _exit(0);
    } else {
        int out = -1;
        size_t n = 0;

        CHECK_INT(fd_recv_msg(fds[0], buf, 1, &out, 1, &n), 1);
        CHECK_INT(fd_wait(out, POLLIN, clock_deadline_ms(50)), 0);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        CHECK(fd_wait(out, POLLIN, clock_deadline_ms(55000)) > 0 && read(out, buf, 1) == 0);
        fd_close(&out);
    }
    fd_close(&fds[0]);
    fd_close(&fds[1]);
}

static void report_time(void)
{
    struct jail_plan p = base_plan();
    struct err err = ERR_INIT;
    struct jail_status st;
    uint64_t spawn_ns = 0;
    uint64_t end_ns = 0;
    struct run run;

    for (int i = 0; i < 50; i++) {
        uint64_t t0 = clock_mono_ns();
        uint64_t t1;

        if (!start(&p, "exit42", &run, &err))
            return;
        t1 = clock_mono_ns();
        (void)jail_read_status(run.child.status_fd, &st);
        spawn_ns += t1 - t0;
        end_ns += clock_mono_ns() - t1;
        finish(&run);
    }
    printf("# spawn %llu us, then to status %llu us\n", (unsigned long long)spawn_ns / 50000u,
           (unsigned long long)end_ns / 50000u);
}

static bool can_jail(void)
{
    struct jail_plan p = base_plan();
    struct err err = ERR_INIT;
    struct run run;

    if (!start(&p, "exit42", &run, &err)) {
        tap_skip("jail", err.message);
        return false;
    }
    finish(&run);
    return true;
}

int main(int argc, char **argv)
{
    ssize_t n;

    if (argc == 3 && strcmp(argv[1], "probe") == 0)
        return probe_main(argv[2]);
    n = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);
    if (n < 0)
        return 1;
    fds_at_start = fd_count();
    rootless = geteuid() != 0;
    if (can_jail()) {
        test_identity();
        test_contents();
        test_mount_kinds();
        test_landlock();
        test_cgroup_limits();
        test_endings();
        test_kill();
        test_scratch();
        test_failures();
        test_exec_as_init();
        test_parent_death(0);
        test_parent_death(1);
        report_time();
    }
    return tap_done();
}
