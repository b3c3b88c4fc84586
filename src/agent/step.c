// SPDX-License-Identifier: Apache-2.0
//
// Running one program under its limits.
#include "agent/step.h"

#include "agent/fallback.h"
#include "agent/plan.h"
#include "agent/zygote.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU_POLL_MIN_NS (20 * NS_PER_MS)
#define CPU_POLL_MAX_NS (100 * NS_PER_MS)
#define PUMP_ROUNDS     8 // reads of one stream before the others have their turn

static const char *const reason_names[] = {
    [STEP_EXIT] = "exit",         [STEP_SIGNAL] = "signal",
    [STEP_TIMEOUT] = "timeout",   [STEP_CPU] = "cpu_timeout",
    [STEP_MEMORY] = "memory",     [STEP_OUTPUT_LIMIT] = "output_limit",
    [STEP_DISK] = "disk",         [STEP_PROCESSES] = "processes",
    [STEP_INTERNAL] = "internal",
};
_Static_assert(sizeof(reason_names) / sizeof(reason_names[0]) == STEP_REASON_COUNT,
               "a name per reason");

const char *step_reason_name(enum step_reason reason)
{
    return reason_names[reason];
}

struct cgroup_limits step_cgroup_limits(const struct spec_limits *limits)
{
    // The jail's init is a process too.
    return (struct cgroup_limits){.memory_bytes = limits->memory_bytes,
                                  .processes = limits->processes + 1};
}

static bool same_limits(const struct cgroup_limits *a, const struct cgroup_limits *b)
{
    return a->memory_bytes == b->memory_bytes && a->processes == b->processes &&
           a->cpu_quota_us == b->cpu_quota_us;
}

static void cut(struct step *s, enum step_reason reason)
{
    if (s->cut || s->exited)
        return;
    s->cut = true;
    s->result.reason = reason;
    s->result.limits_hit |= STEP_BIT(reason);
    jail_kill(&s->child);
}

static void close_input(struct step *s)
{
    loop_del(&s->agent->loop, &s->in);
    fd_close(&s->in_fd);
}

static void close_output(struct step *s, int stream)
{
    loop_del(&s->agent->loop, &s->out[stream]);
    fd_close(&s->out_fd[stream]);
}

// Writes what the pipe takes. A program that closed its input is no error.
static void feed_input(void *arg, uint32_t events)
{
    struct step *s = arg;

    (void)events;
    while (s->input_len > 0) {
        ssize_t n = write(s->in_fd, s->input, s->input_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (s->in.ready == NULL)
                loop_add(&s->agent->loop, &s->in, s->in_fd, EPOLLOUT, feed_input, s);
            return;
        }
        if (n < 0)
            break;
        s->input += n;
        s->input_len -= (size_t)n;
    }
    close_input(s);
}

static bool has_groups(const struct step *s)
{
    return s->cgroup != NULL && cgroup_root_version(s->agent->cgroups) != CGROUP_NONE;
}

// What the jail has used up to now, as far as can be told while it lives.
static void usage_now(struct step *s, unsigned parts, struct cgroup_usage *ret)
{
    *ret = (struct cgroup_usage){0};
    if (has_groups(s)) {
        (void)cgroup_usage(s->cgroup, parts, ret);
        return;
    }
    if (s->program <= 0)
        s->program = fallback_program(s->child.pid);
    ret->cpu_user_ns = fallback_cpu_ns(s->program);
}

// What the program used is known without control groups too, but with what it used before.
static void take_cpu(struct step *s, const struct jail_status *status)
{
    uint64_t before = s->base.cpu_user_ns;
    struct step_result *r = &s->result;

    r->cpu_user_ns = status->cpu_user_ns > before ? status->cpu_user_ns - before : 0;
    r->cpu_system_ns = status->cpu_system_ns;
}

static void take_usage(struct step *s, const struct jail_status *status)
{
    struct cgroup_usage now = {0};
    struct step_result *r = &s->result;

    take_cpu(s, status);
    r->memory_peak_bytes = status->max_rss_bytes;
    if (!has_groups(s))
        return;
    usage_now(s, CGROUP_PEAKS, &now);
    if (now.cpu_user_ns + now.cpu_system_ns > 0) {
        r->cpu_user_ns = now.cpu_user_ns - s->base.cpu_user_ns;
        r->cpu_system_ns = now.cpu_system_ns - s->base.cpu_system_ns;
    }
    if (now.memory_peak_bytes > 0)
        r->memory_peak_bytes = now.memory_peak_bytes;
    r->processes_peak = now.processes_peak > 1 ? now.processes_peak - 1 : now.processes_peak;
    if (now.oom_kills > s->base.oom_kills)
        r->limits_hit |= STEP_BIT(STEP_MEMORY);
    if (now.pids_refused > s->base.pids_refused)
        r->limits_hit |= STEP_BIT(STEP_PROCESSES);
}

static void fill_result(struct step *s)
{
    struct jail_status status = {.exit_code = -1, .signal = SIGKILL};
    struct step_result *r = &s->result;

    // No status: the jail's init was killed, by us or by the memory limit of the whole group.
    if (jail_read_status(s->child.status_fd, &status) < 0)
        status = (struct jail_status){.exit_code = -1, .signal = SIGKILL};
    take_usage(s, &status);
    r->exit_code = -1;
    if (s->cut)
        return;
    r->reason = status.signal != 0 ? STEP_SIGNAL : STEP_EXIT;
    r->signal = status.signal;
    r->exit_code = status.signal != 0 ? -1 : status.exit_code;
}

static void check_done(struct step *s)
{
    if (s->done || !s->exited || s->out_fd[0] >= 0 || s->out_fd[1] >= 0)
        return;
    s->done = true;
    s->sink.done(s->sink.arg);
}

// Hands `n` fresh bytes on, within the output limit. False: no more for now.
static bool deliver(struct step *s, int stream, size_t n)
{
    struct step_result *r = &s->result;
    uint64_t left = s->limits.output_bytes - (r->stdout_bytes + r->stderr_bytes);
    bool over = n > left;

    if (over)
        n = (size_t)left;
    *(stream == 0 ? &r->stdout_bytes : &r->stderr_bytes) += n;
    bool more =
        n == 0 || s->sink.output(s->sink.arg, stream, s->agent->frame + FRAME_HEADER_BYTES, n);
    if (over) {
        r->truncated = true;
        cut(s, STEP_OUTPUT_LIMIT);
        if (!s->cut) { // it had ended already
            r->reason = STEP_OUTPUT_LIMIT;
            r->limits_hit |= STEP_BIT(STEP_OUTPUT_LIMIT);
            r->exit_code = -1;
            r->signal = 0;
        }
        close_output(s, 0);
        close_output(s, 1);
        return false;
    }
    return more;
}

static void pause_output(struct step *s)
{
    s->paused = true;
    loop_del(&s->agent->loop, &s->out[0]);
    loop_del(&s->agent->loop, &s->out[1]);
}

// Reads one stream until it has nothing, ends, or the sink has enough.
static void pump(struct step *s, int stream)
{
    for (int i = 0; s->out_fd[stream] >= 0 && (i < PUMP_ROUNDS || s->exited); i++) {
        ssize_t n = read(s->out_fd[stream], s->agent->frame + FRAME_HEADER_BYTES, AGENT_FRAME_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_output(s, stream);
            return;
        }
        if (!deliver(s, stream, (size_t)n)) {
            if (s->out_fd[stream] >= 0)
                pause_output(s);
            return;
        }
        if (n < AGENT_FRAME_MAX && !s->exited)
            return; // most likely all there is; the loop tells if not
    }
}

static void on_stdout(void *arg, uint32_t events)
{
    struct step *s = arg;

    (void)events;
    pump(s, 0);
    check_done(s);
}

static void on_stderr(void *arg, uint32_t events)
{
    struct step *s = arg;

    (void)events;
    pump(s, 1);
    check_done(s);
}

// The program ended, or the jail's init was killed: either way the kernel kills what is left in the
// jail and so closes the pipes' other ends. What the program itself wrote is in the pipes already,
// and mostly their end too; waiting for the init's own end would add the time the kernel takes to
// undo its namespaces.
static void on_exit_event(void *arg, uint32_t events)
{
    struct step *s = arg;

    (void)events;
    s->exited = true;
    s->result.wall_ns = clock_mono_ns() - s->started_ns;
    loop_del(&s->agent->loop, &s->exit);
    loop_timer_clear(&s->agent->loop, &s->wall);
    loop_timer_clear(&s->agent->loop, &s->cpu);
    fill_result(s);
    close_input(s);
    for (int i = 0; i < 2 && !s->paused; i++)
        pump(s, i);
    check_done(s);
}

static void on_wall_limit(void *arg)
{
    cut(arg, STEP_TIMEOUT);
}

static void poll_cpu(void *arg);

static void arm_cpu_poll(struct step *s, uint64_t left_ns)
{
    uint64_t wait = left_ns;

    if (wait < CPU_POLL_MIN_NS)
        wait = CPU_POLL_MIN_NS;
    if (wait > CPU_POLL_MAX_NS)
        wait = CPU_POLL_MAX_NS;
    loop_timer_set(&s->agent->loop, &s->cpu, clock_mono_ns() + wait, poll_cpu, s);
}

static void poll_cpu(void *arg)
{
    struct step *s = arg;
    struct cgroup_usage now = {0};

    usage_now(s, 0, &now);
    uint64_t used =
        now.cpu_user_ns + now.cpu_system_ns - s->base.cpu_user_ns - s->base.cpu_system_ns;
    uint64_t limit = s->limits.cpu_ms * NS_PER_MS;
    if (used >= limit)
        cut(s, STEP_CPU);
    else
        arm_cpu_poll(s, limit - used);
}

// Pipes: the ends of the program in `theirs`, ours in the step, not blocking.
static int make_pipes(struct step *s, int theirs[3], struct err *err)
{
    for (int i = 0; i < 3; i++) {
        int p[2];
        if (pipe2(p, O_CLOEXEC) < 0)
            return err_sys(err, errno, "pipe");
        int ours = i == 0 ? p[1] : p[0];
        theirs[i] = i == 0 ? p[0] : p[1];
        *(i == 0 ? &s->in_fd : &s->out_fd[i - 1]) = ours;
        int rc = fd_set_nonblock(ours, 1);
        if (rc < 0)
            return err_sys(err, rc, "pipe");
    }
    return 0;
}

static int make_cgroup(struct step *s, const struct cgroup_limits *limits, struct err *err)
{
    char name[32];

    if (s->agent->cgroups == NULL)
        return 0;
    snprintf(name, sizeof(name), "step-%llu", (unsigned long long)++s->agent->groups_made);
    s->cgroup_limits = *limits;
    return cgroup_new(s->agent->cgroups, name, limits, &s->cgroup, err);
}

// What the jail holds beside its process.
static int furnish(struct step *s, const struct step_spawn *how, struct err *err)
{
    struct agent *agent = s->agent;

    if (agent->graveyard.count >= AGENT_JAILS_MAX)
        return err_set(err, ERR_BUSY, "%d jails are there already", AGENT_JAILS_MAX);
    s->grave = grave_new(&agent->graveyard, how->space->uid);
    if (s->grave == NULL)
        return err_sys(err, ENOMEM, "step");
    // Without one the jail makes its own.
    if (!agent->config.vm)
        s->netns = netns_take(&agent->netns, NULL);
    return make_cgroup(s, &how->limits, err);
}

static void on_forked(void *arg, const struct jail_child *child)
{
    struct step *s = arg;

    s->request = NULL;
    if (child != NULL)
        s->child = *child;
    s->forked(s->forked_arg, child != NULL);
}

static int start_jail(struct step *s, const struct jail_plan *plan, const struct step_spawn *how,
                      struct err *err)
{
    if (how->forked != NULL) {
        s->forked = how->forked;
        s->forked_arg = how->arg;
        s->request = zygote_ask(s->agent, plan, on_forked, s);
        if (s->request != NULL)
            return 0;
    }
    return jail_spawn(plan, &s->child, err);
}

static int spawn(struct step *s, const struct step_spawn *how, struct err *err)
{
    struct step_plan plan;
    struct plan_parts parts = {.space = how->space,
                               .cgroup = NULL,
                               .control_fd = how->control_fd,
                               .argv = how->argv,
                               .envp = how->envp};
    int theirs[3] = {-1, -1, -1};
    int rc = -1;

    if (make_pipes(s, theirs, err) == 0 && furnish(s, how, err) == 0) {
        memcpy(parts.fds, theirs, sizeof(theirs));
        parts.cgroup = s->cgroup;
        parts.netns = s->netns;
        // One that waits is limited when it has its program.
        if (!has_groups(s) && how->control_fd < 0)
            parts.fallback = &how->limits;
        plan_make(s->agent, &parts, &plan);
        s->started_ns = clock_mono_ns();
        rc = start_jail(s, &plan.jail, how, err);
    }
    for (int i = 0; i < 3; i++)
        fd_close(&theirs[i]);
    return rc;
}

int step_spawn(struct agent *agent, const struct step_spawn *how, struct step **ret,
               struct err *err)
{
    struct step *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return err_sys(err, ENOMEM, "step");
    s->agent = agent;
    s->child = (struct jail_child)JAIL_CHILD_INIT;
    s->in_fd = s->out_fd[0] = s->out_fd[1] = -1;
    if (spawn(s, how, err) < 0) {
        step_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

// The descriptors the loop watches from now on.
static int watch(struct step *s)
{
    struct loop *loop = &s->agent->loop;
    int rc = loop_add(loop, &s->exit, s->child.status_fd, EPOLLIN, on_exit_event, s);

    if (rc == 0)
        rc = loop_add(loop, &s->out[0], s->out_fd[0], EPOLLIN, on_stdout, s);
    if (rc == 0)
        rc = loop_add(loop, &s->out[1], s->out_fd[1], EPOLLIN, on_stderr, s);
    return rc;
}

int step_arm(struct step *s, const struct spec_limits *limits, const uint8_t *input,
             size_t input_len, const struct step_sink *sink, struct err *err)
{
    struct cgroup_limits wanted = step_cgroup_limits(limits);

    if (s->base_taken)
        s->started_ns = clock_mono_ns();
    s->limits = *limits;
    s->sink = *sink;
    s->input = input;
    s->input_len = input_len;
    if (s->cgroup != NULL && !same_limits(&wanted, &s->cgroup_limits)) {
        if (cgroup_set_limits(s->cgroup, &wanted, err) < 0)
            return -1;
        s->cgroup_limits = wanted;
    }
    if (!has_groups(s) && s->base_taken)
        fallback_limit(s->program, &wanted);
    int rc = watch(s);
    if (rc < 0)
        return err_sys(err, rc, "watch the program");
    s->armed = true;
    loop_timer_set(&s->agent->loop, &s->wall, s->started_ns + limits->wall_ms * NS_PER_MS,
                   on_wall_limit, s);
    if (limits->cpu_ms < limits->wall_ms * s->agent->cpus)
        arm_cpu_poll(s, limits->cpu_ms * NS_PER_MS);
    feed_input(s, 0);
    return 0;
}

void step_rebase(struct step *s)
{
    s->base_taken = true;
    usage_now(s, 0, &s->base);
}

bool step_is_started(const struct step *s)
{
    return s->request == NULL;
}

void step_resume(struct step *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    for (int i = 0; i < 2; i++)
        if (s->out_fd[i] >= 0)
            loop_add(&s->agent->loop, &s->out[i], s->out_fd[i], EPOLLIN,
                     i == 0 ? on_stdout : on_stderr, s);
}

void step_free(struct step *s)
{
    if (s == NULL)
        return;
    loop_timer_clear(&s->agent->loop, &s->wall);
    loop_timer_clear(&s->agent->loop, &s->cpu);
    loop_del(&s->agent->loop, &s->exit);
    close_input(s);
    close_output(s, 0);
    close_output(s, 1);
    if (s->grave != NULL) {
        s->grave->child = s->child;
        s->grave->cgroup = s->cgroup;
        s->grave->netns = s->netns;
        if (s->request != NULL)
            zygote_abandon(s->request, s->grave);
        else
            grave_bury(s->grave);
    }
    free(s);
}
