// SPDX-License-Identifier: Apache-2.0
//
// Prepared interpreters: started, watched until they are ready, handed to a run.
#include "agent/prepared.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// What a waiting interpreter may use when /prepare gave no limits; the run's own come with /run.
static const struct spec_limits default_limits = {
    .memory_bytes = 512u << 20,
    .processes = 256,
    .disk_bytes = 256u << 20,
};

// A go message up to this size fits an ordinary socket buffer.
#define GO_SMALL 65536u

struct prepared {
    struct prepared_set *set;
    struct agent *agent;
    char id[65];
    struct prepare_spec spec; // until it is ready
    bool said_ready;          // it is, but its zygote has not told of it yet
    bool ready;
    struct step *step;
    struct space space;
    int control_fd;
    struct loop_source control;
    struct loop_timer timer;
    prepared_ready_fn on_ready; // NULL once told
    void *arg;
};

static void prepared_free(struct prepared *p)
{
    loop_del(&p->agent->loop, &p->control);
    loop_timer_clear(&p->agent->loop, &p->timer);
    for (size_t i = 0; i < AGENT_PREPARED_MAX; i++)
        if (p->set->all[i] == p)
            p->set->all[i] = NULL;
    step_free(p->step);
    space_free(&p->space);
    fd_close(&p->control_fd);
    prepare_spec_release(&p->spec);
    free(p);
}

static void tell(struct prepared *p, const struct err *err)
{
    prepared_ready_fn fn = p->on_ready;

    loop_timer_clear(&p->agent->loop, &p->timer);
    p->on_ready = NULL;
    if (fn != NULL)
        fn(p->arg, err);
}

static void start_again(struct prepared *p);

// Whether it never came to run, because its jail could not be set up.
static bool set_up_failed(struct prepared *p)
{
    struct jail_child *child = &p->step->child;
    struct err err = ERR_INIT;

    if (p->ready || child->report_fd < 0 || fd_wait(child->report_fd, POLLIN, 0) <= 0 ||
        jail_settle(child, &err) == 0)
        return false;
    log_warn("a fork of a zygote: %s", err.message);
    return true;
}

// The beginning of what a dying interpreter wrote, for the message.
static void died(struct prepared *p)
{
    char said[128] = "";
    struct err err = ERR_INIT;

    if (set_up_failed(p)) {
        start_again(p);
        return;
    }
    ssize_t n = read(p->step->out_fd[1], said, sizeof(said) - 1);

    for (ssize_t i = 0; i < n; i++)
        if (said[i] < ' ')
            said[i] = ' ';
    err_set(&err, ERR_GONE, "the interpreter ended before it was ready: %s", said);
    tell(p, &err);
    prepared_free(p);
}

static void become_ready(struct prepared *p)
{
    p->ready = true;
    fd_close(&p->step->child.report_fd);
    prepare_spec_release(&p->spec);
    tell(p, NULL);
}

static void on_control(void *arg, uint32_t events)
{
    struct prepared *p = arg;
    char byte = 0;
    ssize_t n = recv(p->control_fd, &byte, 1, MSG_DONTWAIT);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (!step_is_started(p->step)) {
        // Its zygote's word comes too, and may be another.
        p->said_ready = n == 1 && byte == 'R';
        loop_del(&p->agent->loop, &p->control);
        return;
    }
    if (n == 1 && byte == 'R' && !p->ready)
        become_ready(p);
    else
        died(p);
}

static void on_timeout(void *arg)
{
    struct prepared *p = arg;
    struct err err = ERR_INIT;

    err_set(&err, ERR_TIMEOUT, "the interpreter was not ready in time");
    tell(p, &err);
    prepared_free(p);
}

static void on_forked(void *arg, bool ok);

static int spawn(struct prepared *p, bool zygote, struct err *err)
{
    const struct spec_command *command = &p->spec.command;
    int sock[2];
    const struct spec_limits *limits =
        command->limits.memory_bytes != 0 ? &command->limits : &default_limits;
    struct step_spawn how = {.argv = command->argv,
                             .envp = (const char *const *)command->envp,
                             .limits = step_cgroup_limits(limits),
                             .space = &p->space,
                             .forked = zygote ? on_forked : NULL,
                             .arg = p};

    if (space_new(p->agent->config.spaces, &p->agent->slots, limits->disk_bytes, &p->space, err) <
        0)
        return -1;
    int rc = fd_socketpair(SOCK_STREAM, sock);
    if (rc < 0)
        return err_sys(err, rc, "control socket");
    p->control_fd = sock[0];
    how.control_fd = sock[1];
    rc = step_spawn(p->agent, &how, &p->step, err);
    fd_close(&sock[1]);
    if (rc == 0 &&
        (rc = loop_add(&p->agent->loop, &p->control, p->control_fd, EPOLLIN, on_control, p)) < 0)
        err_sys(err, rc, "watch the control socket");
    return rc < 0 ? -1 : 0;
}

// The zygote could not: all is made anew, without one.
static void start_again(struct prepared *p)
{
    struct err err = ERR_INIT;

    loop_del(&p->agent->loop, &p->control);
    step_free(p->step);
    p->step = NULL;
    space_free(&p->space);
    fd_close(&p->control_fd);
    if (spawn(p, false, &err) < 0) {
        tell(p, &err);
        prepared_free(p);
    }
}

static void on_forked(void *arg, bool ok)
{
    struct prepared *p = arg;
    int rc = 0;

    if (!ok) {
        start_again(p);
        return;
    }
    if (p->control.ready == NULL)
        rc = loop_add(&p->agent->loop, &p->control, p->control_fd, EPOLLIN, on_control, p);
    if (rc < 0)
        died(p);
    else if (p->said_ready)
        become_ready(p);
}

static struct prepared **find(struct prepared_set *set, const char *id)
{
    for (size_t i = 0; i < AGENT_PREPARED_MAX; i++)
        if (set->all[i] != NULL && strcmp(set->all[i]->id, id) == 0)
            return &set->all[i];
    return NULL;
}

static struct prepared **free_slot(struct prepared_set *set)
{
    for (size_t i = 0; i < AGENT_PREPARED_MAX; i++)
        if (set->all[i] == NULL)
            return &set->all[i];
    return NULL;
}

int prepared_start(struct prepared_set *set, struct prepare_spec *spec, prepared_ready_fn ready,
                   void *arg, struct err *err)
{
    struct prepared **slot = free_slot(set);

    if (find(set, spec->id) != NULL)
        return err_field(err, ERR_INVALID, "id", "%s is prepared already", spec->id);
    if (slot == NULL)
        return err_set(err, ERR_BUSY, "%d interpreters are prepared already", AGENT_PREPARED_MAX);
    struct prepared *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return err_sys(err, ENOMEM, "prepare");
    p->set = set;
    p->agent = set->agent;
    p->control_fd = -1;
    p->space = (struct space)SPACE_INIT;
    snprintf(p->id, sizeof(p->id), "%s", spec->id);
    p->spec = *spec;
    *spec = (struct prepare_spec){0};
    if (spawn(p, p->spec.zygote, err) < 0) {
        prepared_free(p);
        return -1;
    }
    p->on_ready = ready;
    p->arg = arg;
    loop_timer_set(&p->agent->loop, &p->timer, clock_deadline_ms(p->spec.ready_ms), on_timeout, p);
    *slot = p;
    return 0;
}

void prepared_forget(struct prepared_set *set, void *arg)
{
    for (size_t i = 0; i < AGENT_PREPARED_MAX; i++) {
        struct prepared *p = set->all[i];
        if (p != NULL && p->on_ready != NULL && p->arg == arg) {
            p->on_ready = NULL;
            prepared_free(p);
        }
    }
}

int prepared_take(struct prepared_set *set, const char *id, struct step **ret_step,
                  struct space *ret_space, int *ret_control, struct err *err)
{
    struct prepared **slot = find(set, id);

    if (slot == NULL || !(*slot)->ready)
        return err_set(err, ERR_GONE, "no interpreter %s is ready", id);
    struct prepared *p = *slot;
    *ret_step = p->step;
    *ret_space = p->space;
    loop_del(&p->agent->loop, &p->control);
    *ret_control = fd_steal(&p->control_fd);
    p->step = NULL;
    p->space = (struct space)SPACE_INIT;
    prepared_free(p);
    return 0;
}

int prepared_go(int control_fd, const json_t *args, const json_t *env, struct err *err)
{
    json_t *no_args = json_array();
    json_t *no_env = json_object();
    json_t *msg = json_pack("{s:O, s:O}", "args", args != NULL ? args : no_args, "env",
                            env != NULL ? env : no_env);
    char *text = msg == NULL ? NULL : json_dumps(msg, JSON_COMPACT);
    size_t len = text == NULL ? 0 : strlen(text);
    uint32_t be = htonl((uint32_t)len);
    struct iovec iov[2] = {{.iov_base = &be, .iov_len = sizeof(be)},
                           {.iov_base = text, .iov_len = len}};
    struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};
    int rc = 0;

    json_decref(no_args);
    json_decref(no_env);
    json_decref(msg);
    if (text == NULL)
        return err_sys(err, ENOMEM, "go message");
    if (len > GO_SMALL) {
        int size = 8 << 20;
        (void)setsockopt(control_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    }
    ssize_t n = sendmsg(control_fd, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        rc = err_sys(err, errno, "tell the prepared interpreter to go");
    else if ((size_t)n != len + sizeof(be))
        rc = err_set(err, ERR_INTERNAL, "the prepared interpreter did not take its message whole");
    free(text);
    return rc;
}

void prepared_free_all(struct prepared_set *set)
{
    for (size_t i = 0; i < AGENT_PREPARED_MAX; i++) {
        if (set->all[i] == NULL)
            continue;
        set->all[i]->on_ready = NULL;
        prepared_free(set->all[i]);
    }
}
