// SPDX-License-Identifier: Apache-2.0
#include "base/proc.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAFE_FD 64 // above every target number

void proc_reset_signals(void)
{
    sigset_t none;

    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL); // fails for those that have no other disposition
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

// First everything up and out of the way, so that no target overwrites a source. 0 or -errno.
static int place_fds(const struct proc_spec *spec, int *status_fd)
{
    int high[PROC_FDS_MAX];
    int moved = fcntl(*status_fd, F_DUPFD_CLOEXEC, SAFE_FD);

    if (moved < 0)
        return -errno;
    *status_fd = moved;
    for (size_t i = 0; i < spec->fd_count; i++) {
        high[i] = fcntl(spec->fds[i].from, F_DUPFD_CLOEXEC, SAFE_FD);
        if (high[i] < 0)
            return -errno;
    }
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    for (size_t i = 0; i < spec->fd_count; i++)
        if (dup2(high[i], spec->fds[i].to) < 0)
            return -errno;
    return 0;
}

static _Noreturn void child(const struct proc_spec *spec, pid_t parent, int status_fd)
{
    int r;

    proc_reset_signals();
    r = place_fds(spec, &status_fd);
    if (r == 0 && spec->own_group && setpgid(0, 0) < 0)
        r = -errno;
    if (r == 0 && spec->death_signal != 0) {
        if (prctl(PR_SET_PDEATHSIG, spec->death_signal) < 0)
            r = -errno;
        else if (getppid() != parent) // it died before the signal was asked for
            r = -ESRCH;
    }
    if (r == 0) {
        (void)execve(spec->path, spec->argv, spec->envp != NULL ? spec->envp : environ);
        r = -errno;
    }
    (void)fd_write_all(status_fd, &r, sizeof(r)); // nobody else to tell
    _exit(127);
}

int proc_spawn(const struct proc_spec *spec, pid_t *ret_pid)
{
    _cleanup_fd_ int reader = -1;
    _cleanup_fd_ int writer = -1;
    int pipe_fds[2];
    int failure = 0;
    pid_t parent = getpid();
    pid_t pid;
    int r;

    if (spec->fd_count > PROC_FDS_MAX)
        return -EINVAL;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    reader = pipe_fds[0];
    writer = pipe_fds[1];
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        child(spec, parent, writer);
    fd_close(&writer);
    r = fd_read_all(reader, &failure, sizeof(failure)); // -ENODATA: the exec closed the pipe
    if (r == 0) {
        (void)waitpid(pid, NULL, 0); // it is on its way out
        return failure;
    }
    *ret_pid = pid;
    return 0;
}

int proc_leave_init(void)
{
    pid_t child_pid = fork();

    if (child_pid <= 0)
        return child_pid < 0 ? -errno : 0;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, 0);
        if (pid == child_pid || (pid < 0 && errno != EINTR))
            return 1;
    }
}
