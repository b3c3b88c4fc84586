// SPDX-License-Identifier: Apache-2.0
//
// From clone3(2) to execve(2). The child is a copy of a single-threaded process, so that it may use
// the C library as its parent does.
#include "jail/spawn.h"

#include "base/fd.h"
#include "base/proc.h"
#include "jail/jail_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXIT_NOT_RUN     126
#define EXIT_NOT_FOUND   127
#define SAFE_FD          3
#define OPEN_FILES       65536
#define OPEN_FILES_LIMIT 524288

static _Noreturn void fail(const char *what, int error, int status)
{
    (void)dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(error));
    _exit(status);
}

// First up and out of the way, so that no target overwrites a source.
static void place_stdio(const struct spawn_plan *p)
{
    int high[3];

    for (int i = 0; i < 3; i++) {
        high[i] = fcntl(p->stdio[i], F_DUPFD_CLOEXEC, SAFE_FD);
        if (high[i] < 0)
            _exit(EXIT_NOT_RUN);
    }
    for (int i = 0; i < 3; i++)
        if (dup2(high[i], i) < 0)
            _exit(EXIT_NOT_RUN);
    if (p->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        fail("controlling terminal", errno, EXIT_NOT_RUN);
    if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
        fail("close descriptors", errno, EXIT_NOT_RUN);
}

static void join_groups(const struct spawn_plan *p)
{
    for (const char *const *path = p->cgroup_v1_procs; path != NULL && *path != NULL; path++) {
        int rc = fd_write_file(AT_FDCWD, *path, "0");
        if (rc < 0)
            fail("join control group", -rc, EXIT_NOT_RUN);
    }
}

// As many as programs expect on a common machine, where the kernel's own limit is low.
static void raise_open_files(void)
{
    struct rlimit l = {.rlim_cur = OPEN_FILES, .rlim_max = OPEN_FILES_LIMIT};

    (void)setrlimit(RLIMIT_NOFILE, &l); // an ordinary user may not, and keeps what he has
}

static void map_id(const char *file, unsigned inside)
{
    char line[32];
    int r;

    (void)snprintf(line, sizeof(line), "%u 0 1", inside);
    r = fd_write_file(AT_FDCWD, file, line);
    if (r < 0)
        fail("show as the user", -r, EXIT_NOT_RUN);
}

// The files of /proc are its own only where it may be traced. Privileges over the namespace, which
// owns nothing, end with execve().
static void show_as_user(const struct spawn_plan *p)
{
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || unshare(CLONE_NEWUSER) < 0)
        fail("make the user's namespace", errno, EXIT_NOT_RUN);
    (void)fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny"); // it may be so already
    map_id("/proc/self/uid_map", p->uid);
    map_id("/proc/self/gid_map", p->gid);
    if (geteuid() != p->uid || getegid() != p->gid)
        fail("show as the user", EPERM, EXIT_NOT_RUN);
}

static void become_user(const struct spawn_plan *p)
{
    uid_t u[3];

    if (geteuid() != 0)
        return;
    if (p->view) {
        if (p->uid != 0)
            show_as_user(p);
        return;
    }
    if (setgroups(p->group_count, p->groups) < 0 || setresgid(p->gid, p->gid, p->gid) < 0 ||
        setresuid(p->uid, p->uid, p->uid) < 0)
        fail("become the user", errno, EXIT_NOT_RUN);
    if (getresuid(&u[0], &u[1], &u[2]) < 0 || u[0] != p->uid || u[1] != p->uid || u[2] != p->uid)
        fail("become the user", EPERM, EXIT_NOT_RUN);
}

static const char *variable(const char *const *envp, const char *name)
{
    size_t len = strlen(name);

    for (; *envp != NULL; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

// A script without a first line that names its interpreter is the shell's.
static void run_shell(const struct spawn_plan *p, const char *path)
{
    size_t count = 0;

    while (p->argv[count] != NULL)
        count++;
    const char **argv = calloc(count + 3, sizeof(*argv));
    if (argv == NULL)
        return;
    argv[0] = "/bin/sh";
    argv[1] = path;
    for (size_t i = 1; i < count; i++)
        argv[i + 1] = p->argv[i];
    (void)execve(argv[0], (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)p->envp);
}

// Returns with errno when the file cannot be run.
static void run(const struct spawn_plan *p, const char *path)
{
    (void)execve(path, (char *const *)(uintptr_t)p->argv, (char *const *)(uintptr_t)p->envp);
    if (errno == ENOEXEC)
        run_shell(p, path);
}

static _Noreturn void search(const struct spawn_plan *p)
{
    const char *name = p->argv[0];
    const char *dirs = variable(p->envp, "PATH");
    int error = ENOENT;
    char path[PATH_MAX];

    if (strchr(name, '/') != NULL) {
        run(p, name);
        fail(name, errno, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
    }
    while (dirs != NULL && *dirs != '\0' && name[0] != '\0') {
        int len = (int)strcspn(dirs, ":");
        if (snprintf(path, sizeof(path), "%.*s%s%s", len, dirs, len > 0 ? "/" : "", name) <
            (int)sizeof(path)) {
            run(p, path);
            if (errno != ENOENT && errno != ENOTDIR)
                error = errno;
        }
        dirs += len + (dirs[len] == ':');
    }
    if (error == ENOENT) {
        (void)dprintf(STDERR_FILENO, "%s: command not found\n", name);
        _exit(EXIT_NOT_FOUND);
    }
    fail(name, error, EXIT_NOT_RUN);
}

static _Noreturn void child(const struct spawn_plan *p, const struct sock_fprog *filter)
{
    proc_reset_signals();
    (void)setsid(); // a new process is never a group's leader
    place_stdio(p);
    join_groups(p);
    (void)umask(022);
    if (p->ordinary) {
        (void)setpriority(PRIO_PROCESS, 0, 0);
        (void)fd_write_file(AT_FDCWD, "/proc/self/oom_score_adj", "0");
    }
    raise_open_files();
    become_user(p);
    if (chdir(p->cwd) < 0)
        fail(p->cwd, errno, EXIT_NOT_RUN);
    if (filter->len != 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) < 0)
        fail("seccomp filter", errno, EXIT_NOT_RUN);
    search(p);
}

int spawn_program(const struct spawn_plan *plan, pid_t *ret_pid, int *ret_pidfd)
{
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    struct sock_fprog filter;
    long pid;
    int r = jail_seccomp_get(plan->filtered ? JAIL_SECCOMP_SESSION : JAIL_SECCOMP_NONE, &filter);

    if (r < 0)
        return r;
    if (plan->cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)plan->cgroup_fd;
    }
    pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid < 0)
        return -errno;
    if (pid == 0)
        child(plan, &filter);
    *ret_pid = (pid_t)pid;
    *ret_pidfd = pidfd;
    return 0;
}
