// SPDX-License-Identifier: Apache-2.0
#include "agent/zygote.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "jail/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS     10000 // from the start to readiness
#define ANSWER_MS    10000 // from one answer to the next
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define ZYGOTE_FD    3
#define ZYGOTE_ENV   "CSB_ZYGOTE_FD=3"

struct zygote_request {
    struct grave *grave; // of an asker that is gone, or NULL
    void (*done)(void *arg, const struct jail_child *child);
    void *arg;
    struct zygote_request *next;
};

// One process.
struct process {
    struct zygote *family;
    struct zygote_request *asked; // in the order of their answers
    size_t asked_count;
    struct process *next_retired;
    struct grave *grave; // reaps it
    struct jail_child child;
    int sock;   // our end
    int log_fd; // what it wrote to its standard output and error
    uint64_t started_ns;
    unsigned forks;
    struct loop_source source;
    struct loop_timer timer;
};

struct zygote {
    struct agent *agent;
    char **argv;
    char **envp;
    struct process *ready;
    struct process *starting;
    struct process *retired; // others have their place; they end when they have answered
    uint64_t retry_ns;       // none is started before
    uint64_t retry_ms;       // the next pause after a failure
    struct zygote *next;
};

static void free_list(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++)
        free(*p);
    free(list);
}

// The agent sees the shims elsewhere than a jail does when the jails' root is made of the host's.
static char *copy_string(const struct agent *agent, const char *s)
{
    const char *value = strchr(s, '=');
    char *copy = NULL;

    if (agent->config.root != NULL || agent->config.shims == NULL || value == NULL ||
        strncmp(value, "=/csb/", 6) != 0)
        return strdup(s);
    if (asprintf(&copy, "%.*s=%s/%s", (int)(value - s), s, agent->config.shims, value + 6) < 0)
        return NULL;
    return copy;
}

static char **copy_list(const struct agent *agent, const char *const *list)
{
    size_t n = 0;

    while (list[n] != NULL)
        n++;
    char **copy = calloc(n + 1, sizeof(*copy));
    for (size_t i = 0; copy != NULL && i < n; i++) {
        copy[i] = copy_string(agent, list[i]);
        if (copy[i] == NULL) {
            free_list(copy);
            return NULL;
        }
    }
    return copy;
}

// Kills it without waiting for its end.
static void process_free(struct process *p)
{
    struct loop *loop = &p->family->agent->loop;

    for (struct process **at = &p->family->retired; *at != NULL; at = &(*at)->next_retired) {
        if (*at == p) {
            *at = p->next_retired;
            break;
        }
    }
    loop_del(loop, &p->source);
    loop_timer_clear(loop, &p->timer);
    if (p->grave != NULL) {
        p->grave->child = p->child;
        grave_bury(p->grave);
    }
    fd_close(&p->sock);
    fd_close(&p->log_fd);
    free(p);
}

// One request is over, with a jail or without.
static void conclude(struct zygote_request *r, const struct jail_child *child)
{
    if (r->grave == NULL) {
        r->done(r->arg, child);
    } else {
        if (child != NULL)
            r->grave->child = *child;
        grave_bury(r->grave);
    }
    free(r);
}

// It answers no more. What it was asked is told so; that may ask again.
static void process_failed(struct process *p, const char *why)
{
    struct zygote *z = p->family;
    struct zygote_request *r = p->asked;

    log_warn("a zygote of %s: %s", z->argv[0], why);
    if (z->ready == p)
        z->ready = NULL;
    process_free(p);
    while (r != NULL) {
        struct zygote_request *next = r->next;
        conclude(r, NULL);
        r = next;
    }
}

static void on_no_answer(void *arg)
{
    process_failed(arg, "no answer");
}

static void retire(struct process *p)
{
    if (p->asked == NULL) {
        process_free(p);
        return;
    }
    p->next_retired = p->family->retired;
    p->family->retired = p;
}

static void on_answer(void *arg, uint32_t events)
{
    struct process *p = arg;
    struct loop *loop = &p->family->agent->loop;
    struct zygote_request *r = p->asked;
    struct jail_child child = JAIL_CHILD_INIT;
    struct err err = ERR_INIT;

    (void)events;
    if (r == NULL) { // nothing was asked: it ended
        process_failed(p, "it ended");
        return;
    }
    int rc = jail_zygote_receive(p->sock, &child, &err);
    if (rc < 0 && (err.code == ERR_GONE || err.code == ERR_PROTOCOL || err.sys == EMSGSIZE)) {
        process_failed(p, err.message);
        return;
    }
    if (rc < 0)
        log_warn("a zygote of %s: %s", p->family->argv[0], err.message);
    p->asked = r->next;
    p->asked_count--;
    if (p->asked == NULL)
        loop_timer_clear(loop, &p->timer);
    else
        loop_timer_set(loop, &p->timer, clock_deadline_ms(ANSWER_MS), on_no_answer, p);
    if (p != p->family->ready && p->asked == NULL)
        process_free(p);
    conclude(r, rc < 0 ? NULL : &child);
}

static void start_failed(struct process *p, const char *why)
{
    struct zygote *z = p->family;
    char said[256] = "";
    ssize_t n = read(p->log_fd, said, sizeof(said) - 1);

    for (ssize_t i = 0; i < n; i++)
        if (said[i] < ' ')
            said[i] = ' ';
    z->retry_ms = z->retry_ms == 0 ? RETRY_MIN_MS : z->retry_ms * 2;
    if (z->retry_ms > RETRY_MAX_MS)
        z->retry_ms = RETRY_MAX_MS;
    z->retry_ns = clock_deadline_ms(z->retry_ms);
    log_warn("a zygote of %s %s: %s", z->argv[0], why, said);
    z->starting = NULL;
    process_free(p);
}

static void on_start_timeout(void *arg)
{
    start_failed(arg, "was not ready in time");
}

// It is ready, and takes the place of the one before.
static void on_word(void *arg, uint32_t events)
{
    struct process *p = arg;
    struct zygote *z = p->family;
    char word = 0;
    ssize_t n = recv(p->sock, &word, 1, MSG_DONTWAIT);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != 1 || word != 'R') {
        start_failed(p, "ended before it was ready");
        return;
    }
    p->source.ready = on_answer;
    loop_timer_clear(&z->agent->loop, &p->timer);
    p->started_ns = clock_mono_ns();
    z->retry_ms = 0;
    z->starting = NULL;
    if (z->ready != NULL)
        retire(z->ready);
    z->ready = p;
}

// Its standard streams are pipes, as a program's are: an interpreter looks at them when it starts.
static int execute(struct process *p, int sock)
{
    const struct zygote *z = p->family;
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    pid_t pid = -1;
    int rc = pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ? -errno : 0;
    struct proc_fd fds[] = {{in[0], 0}, {out[1], 1}, {out[1], 2}, {sock, ZYGOTE_FD}};
    struct proc_spec spec = {.path = z->argv[0],
                             .argv = z->argv,
                             .envp = z->envp,
                             .fds = fds,
                             .fd_count = sizeof(fds) / sizeof(fds[0]),
                             .death_signal = SIGKILL};

    if (rc == 0)
        rc = proc_spawn(&spec, &pid);
    if (rc == 0) {
        p->child.pid = pid;
        p->child.pidfd = pidfd_open(pid, 0); // ours to reap, so it is this process still
        rc = p->child.pidfd < 0 ? -errno : fd_set_nonblock(out[0], 1);
        p->log_fd = fd_steal(&out[0]);
    }
    for (int i = 0; i < 2; i++) {
        fd_close(&in[i]);
        fd_close(&out[i]);
    }
    return rc;
}

static int launch(struct process *p)
{
    struct agent *agent = p->family->agent;
    int sock[2];

    p->grave = grave_new(&agent->graveyard, SLOTS_NO_UID);
    if (p->grave == NULL)
        return -ENOMEM;
    int rc = fd_socketpair(SOCK_SEQPACKET, sock);
    if (rc < 0)
        return rc;
    p->sock = sock[0];
    rc = execute(p, sock[1]);
    fd_close(&sock[1]);
    return rc < 0 ? rc : loop_add(&agent->loop, &p->source, p->sock, EPOLLIN, on_word, p);
}

static void start(struct zygote *z)
{
    struct process *p = NULL;

    if (z->starting != NULL || clock_mono_ns() < z->retry_ns || (p = calloc(1, sizeof(*p))) == NULL)
        return;
    p->family = z;
    p->child = (struct jail_child)JAIL_CHILD_INIT;
    p->sock = p->log_fd = -1;
    z->starting = p;
    int rc = launch(p);
    if (rc < 0)
        start_failed(p, strerror(-rc));
    else
        loop_timer_set(&z->agent->loop, &p->timer, clock_deadline_ms(START_MS), on_start_timeout,
                       p);
}

static bool same_list(char **a, char **b)
{
    size_t i = 0;

    while (a[i] != NULL && b[i] != NULL && strcmp(a[i], b[i]) == 0)
        i++;
    return a[i] == NULL && b[i] == NULL;
}

// What it was still asked belongs to graves: who asked is gone.
static void end_process(struct process *p)
{
    struct zygote_request *r = p == NULL ? NULL : p->asked;

    if (p != NULL)
        process_free(p);
    while (r != NULL) {
        struct zygote_request *next = r->next;
        conclude(r, NULL);
        r = next;
    }
}

static void family_free(struct zygote *z)
{
    end_process(z->starting);
    end_process(z->ready);
    while (z->retired != NULL)
        end_process(z->retired);
    free_list(z->argv);
    free_list(z->envp);
    free(z);
}

// The environment of a waiting interpreter, with another way to wait.
static char **zygote_env(const struct agent *agent, const char *const *envp)
{
    char **copy = copy_list(agent, envp);

    for (char **p = copy; p != NULL && *p != NULL; p++) {
        if (strncmp(*p, "CSB_CONTROL_FD=", strlen("CSB_CONTROL_FD=")) != 0)
            continue;
        free(*p);
        *p = strdup(ZYGOTE_ENV);
        if (*p == NULL) { // the rest is out of free_list's sight then
            for (char **rest = p + 1; *rest != NULL; rest++)
                free(*rest);
            free_list(copy);
            return NULL;
        }
    }
    return copy;
}

// The family of the plan's program; made when there is none, as long as there are few.
static struct zygote *find(struct agent *agent, const struct jail_plan *plan)
{
    struct zygote *made = calloc(1, sizeof(*made));
    struct zygote **at = &agent->zygotes;
    size_t count = 0;

    if (made == NULL)
        return NULL;
    made->agent = agent;
    made->argv = copy_list(agent, plan->argv);
    made->envp = zygote_env(agent, plan->envp);
    bool usable = made->argv != NULL && made->envp != NULL;
    for (; usable && *at != NULL; at = &(*at)->next, count++)
        if (same_list((*at)->argv, made->argv) && same_list((*at)->envp, made->envp))
            break;
    if (usable && *at == NULL && count < ZYGOTE_FAMILIES_MAX) {
        *at = made;
        return made;
    }
    struct zygote *found = usable ? *at : NULL;
    family_free(made);
    return found;
}

static int send_request(struct process *p, const struct jail_plan *plan)
{
    struct err err = ERR_INIT;

    if (p->asked_count >= ZYGOTE_ASKED_MAX)
        return -1;
    if (jail_zygote_send(p->sock, plan, &err) == 0)
        return 0;
    if (err.code == ERR_GONE)
        process_failed(p, err.message);
    else
        log_warn("a zygote of %s: %s", p->family->argv[0], err.message);
    return -1;
}

struct zygote_request *zygote_ask(struct agent *agent, const struct jail_plan *plan,
                                  void (*done)(void *arg, const struct jail_child *child),
                                  void *arg)
{
    struct zygote *z = agent->can_zygote ? find(agent, plan) : NULL;
    struct zygote_request *r = NULL;

    if (z == NULL)
        return NULL;
    struct process *p = z->ready;
    if (p == NULL || p->forks >= ZYGOTE_FORKS ||
        clock_mono_ns() - p->started_ns >= ZYGOTE_AGE_MS * NS_PER_MS)
        start(z);
    if (p == NULL || (r = calloc(1, sizeof(*r))) == NULL)
        return NULL;
    if (send_request(p, plan) < 0) {
        free(r);
        return NULL;
    }
    p->forks++;
    r->done = done;
    r->arg = arg;
    struct zygote_request **last = &p->asked;
    while (*last != NULL)
        last = &(*last)->next;
    *last = r;
    if (p->asked_count++ == 0)
        loop_timer_set(&agent->loop, &p->timer, clock_deadline_ms(ANSWER_MS), on_no_answer, p);
    return r;
}

void zygote_abandon(struct zygote_request *request, struct grave *grave)
{
    request->grave = grave;
}

void zygotes_free(struct agent *agent)
{
    while (agent->zygotes != NULL) {
        struct zygote *z = agent->zygotes;
        agent->zygotes = z->next;
        family_free(z);
    }
}
