// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/proc.h"

#include "base/clock.h"
#include "base/fd.h"
#include "jail/spawn.h"
#include "json/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define TTY_GROUP      5 // Debian's, as pseudo terminals are given to it elsewhere
#define MEMORY_RESERVE (64ull << 20)
#define TASK_BYTES     (1ull << 20) // of a small one

// Of a virtual machine's memory an eighth is left for the kernel and the agent, and as many tasks
// may be as it can hold: a program that forks without end is to meet its limit before the machine
// does. Elsewhere whoever made the surroundings has set the limits.
static struct cgroup_limits group_limits(const struct envd *e)
{
    struct cgroup_limits limits = {.processes = PROC_TASKS_MAX};
    struct sysinfo info;

    if (!e->agent->config.vm || sysinfo(&info) < 0)
        return limits;
    uint64_t total = (uint64_t)info.totalram * info.mem_unit;
    uint64_t reserve = total / 8 > MEMORY_RESERVE ? total / 8 : MEMORY_RESERVE;
    if (total > 2 * reserve)
        limits.memory_bytes = total - reserve;
    if (total / TASK_BYTES < PROC_TASKS_MAX)
        limits.processes = total / TASK_BYTES;
    return limits;
}

static int open_group(struct envd *e, struct rpc_error *err)
{
    struct cgroup_limits limits = group_limits(e);
    struct err why = ERR_INIT;

    if (e->cgroup != NULL || e->agent->cgroups == NULL)
        return 0;
    // Into one of version 1 a program has to be moved, for which the kernel waits 10 ms and more if
    // nobody did so just before. Who is jailed is in a group with limits already, and its jail ends
    // with it.
    if (e->agent->config.jailed && cgroup_root_version(e->agent->cgroups) == CGROUP_V1)
        return 0;
    if (cgroup_new(e->agent->cgroups, "envd", &limits, &e->cgroup, &why) < 0)
        return rpc_set(err, RPC_INTERNAL, "%s", why.message);
    // These are many programs: one that takes too much memory goes alone.
    if (cgroup_dirfd(e->cgroup) >= 0)
        (void)fd_write_file(cgroup_dirfd(e->cgroup), "memory.oom.group", "0");
    return 0;
}

// Our ends do not block.
static int make_pipe(int *ret_ours, int *ret_theirs, bool input)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = input ? p[1] : p[0];
    *ret_theirs = input ? p[0] : p[1];
    return fd_set_nonblock(*ret_ours, 1);
}

static int make_pipes(struct proc *p, bool input, int theirs[3])
{
    int rc = make_pipe(&p->out_fd[0], &theirs[1], false);

    if (rc == 0)
        rc = make_pipe(&p->out_fd[1], &theirs[2], false);
    if (rc < 0)
        return rc;
    if (input)
        return make_pipe(&p->in_fd, &theirs[0], true);
    theirs[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
    return theirs[0] < 0 ? -errno : 0;
}

// The master is ours; all three of the program's descriptors are the other side.
static int make_terminal(struct proc *p, const struct proc_spec *spec, int theirs[3])
{
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    int unlock = 0;

    if (master < 0)
        return -errno;
    p->out_fd[0] = master;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return -errno;
    theirs[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (theirs[0] < 0)
        return -errno;
    // An agent that is not root, or has one id, has it as its own already.
    if (geteuid() == 0 && !user_one_id() &&
        (fchown(theirs[0], spec->user->uid, TTY_GROUP) < 0 || fchmod(theirs[0], 0620) < 0))
        return -errno;
    for (int i = 1; i < 3; i++) {
        theirs[i] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
        if (theirs[i] < 0)
            return -errno;
    }
    return proc_resize(p, spec->columns, spec->rows);
}

static int spawn(struct proc *p, const struct proc_spec *spec)
{
    const struct cgroup *group = p->envd->cgroup;
    struct spawn_plan plan = {
        .argv = spec->argv,
        .envp = spec->envp,
        .cwd = spec->cwd,
        .uid = spec->user->uid,
        .gid = spec->user->gid,
        .view = user_one_id(),
        .groups = spec->user->groups,
        .group_count = spec->user->group_count,
        .stdio = {-1, -1, -1},
        .terminal = spec->terminal,
        .cgroup_fd = group == NULL ? -1 : cgroup_dirfd(group),
        .ordinary = p->envd->agent->config.vm,
        .filtered = p->envd->agent->config.jailed,
        .cgroup_v1_procs = group == NULL ? NULL : cgroup_procs_paths(group),
    };
    int rc = spec->terminal ? make_terminal(p, spec, plan.stdio)
                            : make_pipes(p, spec->input, plan.stdio);

    if (rc == 0)
        rc = spawn_program(&plan, &p->pid, &p->pidfd);
    for (int i = 0; i < 3; i++)
        fd_close(&plan.stdio[i]);
    return rc;
}

static struct proc *oldest_ended(const struct envd *e)
{
    struct proc *oldest = NULL;

    for (struct proc *p = e->procs; p != NULL; p = p->next)
        if (p->state == PROC_ENDED && p->subscribers == NULL &&
            (oldest == NULL || p->forget.deadline_ns < oldest->forget.deadline_ns))
            oldest = p;
    return oldest;
}

static void on_forget(void *arg)
{
    struct proc *p = arg;

    if (p->subscribers == NULL)
        proc_free(p);
    else
        loop_timer_set(p->envd->loop, &p->forget, clock_deadline_ms(PROC_REMEMBER_S * 1000),
                       on_forget, p);
}

// What Go's ProcessState says, which clients compare.
static void describe(const siginfo_t *status, int *ret_code, char *ret, size_t size)
{
    static const char *const names[] = {
        [SIGHUP] = "hangup",
        [SIGINT] = "interrupt",
        [SIGQUIT] = "quit",
        [SIGILL] = "illegal instruction",
        [SIGTRAP] = "trace/breakpoint trap",
        [SIGABRT] = "aborted",
        [SIGBUS] = "bus error",
        [SIGFPE] = "floating point exception",
        [SIGKILL] = "killed",
        [SIGUSR1] = "user defined signal 1",
        [SIGSEGV] = "segmentation fault",
        [SIGUSR2] = "user defined signal 2",
        [SIGPIPE] = "broken pipe",
        [SIGALRM] = "alarm clock",
        [SIGTERM] = "terminated",
    };
    int n = status->si_status;

    *ret_code = n;
    if (status->si_code == CLD_EXITED) {
        (void)snprintf(ret, size, "exit status %d", n);
        return;
    }
    *ret_code = -1;
    const char *core = status->si_code == CLD_DUMPED ? " (core dumped)" : "";
    if (n > 0 && n < (int)(sizeof(names) / sizeof(names[0])) && names[n] != NULL)
        (void)snprintf(ret, size, "signal: %s%s", names[n], core);
    else
        (void)snprintf(ret, size, "signal: signal %d%s", n, core);
}

static char *end_event(const siginfo_t *status)
{
    struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    char what[64];
    int code;

    describe(status, &code, what, sizeof(what));
    json_open(&out, NULL, '{');
    json_open(&out, "event", '{');
    json_open(&out, "end", '{');
    json_put_i64(&out, "exitCode", code);
    json_put_bool(&out, "exited", status->si_code == CLD_EXITED);
    json_put_str(&out, "status", what);
    if (code != 0)
        json_put_str(&out, "error", what);
    json_close(&out, '}');
    json_close(&out, '}');
    json_close(&out, '}');
    return out.failed || buf_cstr(&text) == NULL ? NULL : (char *)text.data;
}

static void end(struct proc *p)
{
    struct envd *e = p->envd;

    p->state = PROC_ENDED;
    e->proc_count--;
    e->ended_count++;
    loop_timer_clear(e->loop, &p->deadline);
    p->end = end_event(&p->status);
    proc_end_output(p);
    loop_timer_set(e->loop, &p->forget, clock_deadline_ms(PROC_REMEMBER_S * 1000), on_forget, p);
    if (e->ended_count > PROCS_ENDED_MAX)
        proc_free(oldest_ended(e));
}

// After any change: the process and its output may be over.
static void check_end(struct proc *p)
{
    if (p->state != PROC_EXITED)
        return;
    if (p->killed) {
        proc_read_output(p, true);
        proc_close_output(p, 0);
        proc_close_output(p, 1);
    }
    if (p->out_fd[0] < 0 && p->out_fd[1] < 0)
        end(p);
}

static void on_exit_event(void *arg, uint32_t events)
{
    struct proc *p = arg;

    (void)events;
    if (waitid(P_PIDFD, (id_t)p->pidfd, &p->status, WEXITED | WNOHANG) < 0 || p->status.si_pid == 0)
        return;
    loop_del(p->envd->loop, &p->exit);
    fd_close(&p->pidfd);
    p->state = PROC_EXITED;
    proc_input_end(p);
    if (!p->paused)
        proc_read_output(p, false);
    check_end(p);
}

static void on_output(void *arg, uint32_t events)
{
    struct proc *p = arg;

    (void)events;
    proc_read_output(p, false);
    check_end(p);
}

static struct proc *proc_new(struct envd *e)
{
    struct proc *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->envd = e;
    p->serial = ++e->serials;
    p->pidfd = p->in_fd = p->out_fd[0] = p->out_fd[1] = -1;
    p->next = e->procs;
    e->procs = p;
    e->proc_count++;
    return p;
}

int proc_start(struct envd *e, const struct proc_spec *spec, struct proc **ret,
               struct rpc_error *err)
{
    struct proc *p, *old;
    int rc;

    if (e->proc_count >= PROCS_MAX)
        return rpc_set(err, RPC_RESOURCE_EXHAUSTED, "more than %d processes", PROCS_MAX);
    if (open_group(e, err) < 0)
        return -1;
    p = proc_new(e);
    if (p == NULL)
        return rpc_set(err, RPC_RESOURCE_EXHAUSTED, "out of memory");
    p->terminal = spec->terminal;
    rc = spawn(p, spec);
    if (rc == 0)
        rc = loop_add(e->loop, &p->exit, p->pidfd, EPOLLIN, on_exit_event, p);
    if (rc < 0) {
        proc_free(p);
        return rpc_set_sys(err, rc, "start a process");
    }
    // The number may be that of one which is still remembered.
    for (old = p->next; old != NULL && (old->pid != p->pid || old->state != PROC_ENDED);)
        old = old->next;
    if (old != NULL)
        old->pid = 0;
    *ret = p;
    return 0;
}

void proc_listen(struct proc *p)
{
    p->paused = false;
    for (int i = 0; i < 2; i++)
        if (p->out_fd[i] >= 0 && p->out[i].ready == NULL)
            (void)loop_add(p->envd->loop, &p->out[i], p->out_fd[i], EPOLLIN, on_output, p);
}

static void reap(struct proc *p)
{
    siginfo_t info;

    if (p->pidfd < 0)
        return;
    (void)proc_signal(p, SIGKILL);
    while (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    fd_close(&p->pidfd);
}

void proc_free(struct proc *p)
{
    struct envd *e;

    if (p == NULL)
        return;
    e = p->envd;
    for (struct proc **at = &e->procs; *at != NULL; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    if (p->state == PROC_ENDED)
        e->ended_count--;
    else
        e->proc_count--;
    while (p->subscribers != NULL) {
        call_reset(p->subscribers->call);
        proc_unsubscribe(p->subscribers);
    }
    loop_timer_clear(e->loop, &p->deadline);
    loop_timer_clear(e->loop, &p->forget);
    loop_timer_clear(e->loop, &p->lag);
    loop_del(e->loop, &p->exit);
    proc_input_end(p);
    proc_close_output(p, 0);
    proc_close_output(p, 1);
    reap(p);
    e->output_bytes -= p->log.len;
    buf_release(&p->log);
    free(p->config);
    free(p->tag);
    free(p->end);
    free(p);
}

void proc_free_all(struct envd *e)
{
    if (e->cgroup != NULL)
        (void)cgroup_kill(e->cgroup);
    while (e->procs != NULL)
        proc_free(e->procs);
}

struct proc *proc_find_pid(const struct envd *e, pid_t pid)
{
    struct proc *p = e->procs;

    while (p != NULL && (pid == 0 || p->pid != pid))
        p = p->next;
    return p;
}

struct proc *proc_find_tag(const struct envd *e, const char *tag)
{
    struct proc *p = e->procs;

    while (p != NULL && (p->tag == NULL || strcmp(p->tag, tag) != 0))
        p = p->next;
    return p;
}

struct proc *proc_find_serial(const struct envd *e, uint64_t serial)
{
    struct proc *p = e->procs;

    while (p != NULL && p->serial != serial)
        p = p->next;
    return p;
}

int proc_signal(struct proc *p, int sig)
{
    if (sig == SIGKILL)
        p->killed = true;
    if (p->pidfd >= 0)
        return syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
    check_end(p);
    return 0;
}

static void on_deadline(void *arg)
{
    struct proc *p = arg;

    if (p->starter != NULL) {
        (void)rpc_set(&p->starter->error, RPC_DEADLINE_EXCEEDED,
                      "the process did not end within its time and was killed");
        proc_stop_subscriber(p->starter);
    }
    (void)proc_signal(p, SIGKILL);
}

void proc_set_deadline(struct proc *p, uint64_t timeout_ms)
{
    if (timeout_ms > 0)
        loop_timer_set(p->envd->loop, &p->deadline, clock_deadline_ms(timeout_ms), on_deadline, p);
}

int proc_resize(struct proc *p, uint16_t columns, uint16_t rows)
{
    struct winsize size = {.ws_col = columns, .ws_row = rows};

    return ioctl(p->out_fd[0], TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
