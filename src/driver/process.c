// SPDX-License-Identifier: Apache-2.0
//
// How it works: one agent in a jail on this host, started and confined by csb-launch, serves all
// sandboxes. A sandbox is one session with it: a stream whose other end is sent to the agent, which
// makes a jail of its own for every program. Closing the stream ends all that ran behind it. When
// the agent dies, its sandboxes die with it, and the next clone starts another. A lasting sandbox
// is an agent of its own, in a jail and with limits of its own, whose one session is its stream.
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "driver/driver.h"
#include "driver/last_words.h"
#include "driver/process_key.h"
#include "launch/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOG_TAIL_BYTES 160
#define BLAME_WAIT_MS  200 // for an agent's last words
#define OLD_KILL_MS    100
// Limits of a lasting sandbox that nobody gave.
#define LASTING_MEMORY_MIB  512
#define LASTING_CPU_PERCENT 100
#define LASTING_PROCESSES   1024

#define TAKE_MS             15000 // an agent that takes no session for so long does nothing else either

// One agent process. It lives as long as it is the current one or a sandbox refers to it; `refs` is
// guarded by the driver's lock, the rest is constant.
struct agent {
    uint64_t id;
    int pidfd;
    int control; // non-blocking: sessions are sent here; -1: it has the one of its sandbox
    int log;     // what it printed
    uint32_t refs;
};

struct driver {
    struct driver_config config;
    pthread_mutex_t lock; // guards what follows; held while an agent is started
    struct agent *agent;  // the current one, or NULL
    uint64_t next_id;
};

struct driver_template {
    char key[PROCESS_KEY_LEN + 1];
    uint64_t root; // of lasting sandboxes
};

// One thread at a time.
struct driver_sandbox {
    struct driver *driver;
    struct agent *agent;
    int channel_fd; // -1 once given away
};

static void process_probe(const struct driver_config *config, struct driver_probe *ret)
{
    struct launch_info info;
    struct err err = ERR_INIT;

    *ret = (struct driver_probe){.isolation = "process", .accel = "none"};
    if (config->launch == NULL)
        (void)snprintf(ret->note, sizeof(ret->note), "the launcher of agents is not running");
    else if (launch_hello(config->launch, &info, &err) < 0)
        (void)snprintf(ret->note, sizeof(ret->note), "the launcher of agents: %.180s", err.message);
    else if (info.agent_confinement == 0)
        (void)snprintf(ret->note, sizeof(ret->note), "process isolation cannot work here: %.160s",
                       info.agent_note[0] != '\0' ? info.agent_note : "no agent was set up");
    else
        ret->usable = true;
    if (!ret->usable)
        return;
    (void)snprintf(ret->note, sizeof(ret->note),
                   "programs run on the kernel of this host, at its full speed: a weaker boundary "
                   "than a microVM%s%.100s",
                   info.agent_note[0] != '\0' ? "; " : "", info.agent_note);
}

static int process_open(const struct driver_config *config, struct driver **ret, struct err *err)
{
    struct driver_probe probe;
    struct driver *d;
    uint32_t seed;

    process_probe(config, &probe);
    if (!probe.usable)
        return err_set(err, ERR_UNSUPPORTED, "%s", probe.note);
    d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    d->config = *config;
    (void)pthread_mutex_init(&d->lock, NULL); // default attributes: cannot fail on Linux
    // Ids of a former daemon, whose agent the launcher may still be ending, are not met again.
    id_random(&seed, sizeof(seed));
    d->next_id = (uint64_t)seed << 24 | 1;
    *ret = d;
    return 0;
}

// With no lock held, for it may block for seconds.
static void end_agent(struct driver *d, struct agent *a)
{
    if (a == NULL)
        return;
    fd_close(&a->control); // its end of the socket: it ends by itself
    if (a->pidfd >= 0) {
        (void)fd_wait(a->pidfd, POLLIN, clock_deadline_ms(OLD_KILL_MS));
        (void)launch_kill(d->config.launch, a->id, NULL);
    }
    fd_close(&a->pidfd);
    fd_close(&a->log);
    free(a);
}

// With the lock held. Returns the agent when this was the last reference: for end_agent().
static struct agent *unref(struct agent *a)
{
    return a != NULL && --a->refs == 0 ? a : NULL;
}

static void process_close(struct driver *d)
{
    if (d == NULL)
        return;
    end_agent(d, unref(d->agent));
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
}

static bool is_alive(const struct agent *a)
{
    return a != NULL && fd_wait(a->pidfd, POLLIN, 0) == 0;
}

// The last thing the agent printed, as an explanation of *err.
static void blame(const struct agent *a, struct err *err)
{
    char text[LAST_WORDS_BYTES + 1];
    const char *said;

    (void)fd_wait(a->pidfd, POLLIN, clock_deadline_ms(BLAME_WAIT_MS));
    said = last_words(a->log, LOG_TAIL_BYTES, text);
    if (said != NULL)
        (void)err_set(err, ERR_GONE, "the agent ended; its last words: %s", said);
}

// Starts an agent as `request` says, with its end of a socket (borrowed). The log is a pipe that
// does not block the agent when it is full: what does not fit is lost.
static int launch_agent(struct driver *d, struct launch_agent request, int socket,
                        struct agent **ret, struct err *err)
{
    struct agent *a = calloc(1, sizeof(*a));
    int log[2] = {-1, -1};
    int r;

    if (a == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    *a = (struct agent){.id = request.id, .pidfd = -1, .control = -1, .refs = 1};
    if (pipe2(log, O_CLOEXEC | O_NONBLOCK) < 0) {
        r = err_sys(err, errno, "cannot make the log of an agent");
    } else {
        request.fds[LAUNCH_AGENT_FD_CONTROL] = socket;
        request.fds[LAUNCH_AGENT_FD_LOG] = log[1];
        r = launch_spawn_agent(d->config.launch, &request, &a->pidfd, err);
    }
    a->log = log[0];
    fd_close(&log[1]);
    if (r < 0) {
        end_agent(d, a);
        return -1;
    }
    *ret = a;
    return 0;
}

// With the lock held.
static int start_agent(struct driver *d, struct agent **ret, struct err *err)
{
    struct launch_agent request = {.id = d->next_id++, .memory_mib = d->config.agent_memory_mib};
    int control[2] = {-1, -1};
    int r = fd_socketpair(SOCK_SEQPACKET, control);

    if (r == 0)
        r = fd_set_nonblock(control[0], 1);
    if (r == 0 && setsockopt(control[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)) < 0)
        r = -errno; // the kernel makes it the least it can
    r = r < 0 ? err_sys(err, r, "cannot make the socket of an agent")
              : launch_agent(d, request, control[1], ret, err);
    if (r == 0)
        (*ret)->control = fd_steal(&control[0]);
    fd_close(&control[0]);
    fd_close(&control[1]);
    return r;
}

// A reference to an agent that lives, started if need be. *ret_old is a former one that is left to
// end.
static int get_agent(struct driver *d, struct agent **ret, struct agent **ret_old, struct err *err)
{
    struct err why = ERR_INIT;
    int r = 0;

    *ret_old = NULL;
    (void)pthread_mutex_lock(&d->lock);
    if (!is_alive(d->agent)) {
        if (d->agent != NULL) {
            (void)err_set(&why, ERR_GONE, "the agent ended without a word");
            blame(d->agent, &why);
            log_warn("%s; starting another, the sandboxes of this one are gone", why.message);
        }
        *ret_old = unref(d->agent);
        d->agent = NULL;
        r = start_agent(d, &d->agent, err);
    }
    if (r == 0) {
        d->agent->refs++;
        *ret = d->agent;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return r;
}

static void put_agent(struct driver *d, struct agent *a)
{
    struct agent *last;

    (void)pthread_mutex_lock(&d->lock);
    last = unref(a);
    (void)pthread_mutex_unlock(&d->lock);
    end_agent(d, last);
}

// Gives the agent one end of a new stream. It takes sessions as they come; its socket holds only a
// few until then, so one that hangs is found out, and ended: the next clone starts another.
static int send_session(struct driver *d, struct agent *a, int fd, uint64_t deadline_ns,
                        struct err *err)
{
    uint64_t limit_ns = clock_deadline_ms(TAKE_MS);
    uint64_t until_ns = deadline_ns < limit_ns ? deadline_ns : limit_ns;
    int r;

    while ((r = fd_send_msg(a->control, "S", 1, &fd, 1)) == -EAGAIN) {
        r = fd_wait(a->control, POLLOUT, until_ns);
        if (r == 0 && until_ns == limit_ns) {
            log_warn("the agent takes no sessions; ending it");
            (void)launch_kill(d->config.launch, a->id, NULL);
        }
        if (r == 0)
            return err_set(err, ERR_TIMEOUT, "the agent takes no sessions");
        if (r < 0)
            break;
    }
    if (r < 0) {
        (void)err_set(err, ERR_GONE, "the agent ended: %s", strerror(-r));
        blame(a, err);
        return -1;
    }
    return 0;
}

static int open_session(struct driver *d, struct agent *a, uint64_t deadline_ns, int *ret_fd,
                        struct err *err)
{
    int fds[2] = {-1, -1};
    int r = fd_socketpair(SOCK_STREAM, fds);

    for (int i = 0; r == 0 && i < 2; i++)
        r = fd_set_nonblock(fds[i], 1);
    r = r < 0 ? err_sys(err, r, "cannot make a stream")
              : send_session(d, a, fds[1], deadline_ns, err);
    fd_close(&fds[1]);
    if (r < 0) {
        fd_close(&fds[0]);
        return -1;
    }
    *ret_fd = fds[0];
    return 0;
}

static int process_clone(struct driver *d, struct driver_template *t, uint64_t deadline_ns,
                         struct driver_sandbox **ret, struct err *err)
{
    struct driver_sandbox *s = calloc(1, sizeof(*s));
    struct agent *old;
    int r;

    (void)t; // what makes it is in the agent
    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->driver = d;
    r = get_agent(d, &s->agent, &old, err);
    end_agent(d, old);
    if (r == 0) {
        r = open_session(d, s->agent, deadline_ns, &s->channel_fd, err);
        if (r < 0)
            put_agent(d, s->agent);
    }
    if (r < 0) {
        free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

static uint32_t or_default(uint32_t asked, uint32_t value)
{
    return asked == 0 ? value : asked;
}

static int launch_lasting(struct driver *d, uint64_t root, const struct driver_limits *limits,
                          int socket, struct agent **ret, struct err *err)
{
    uint32_t memory_mib = or_default(limits->memory_mib, LASTING_MEMORY_MIB);
    struct launch_agent request = {
        .mode = LAUNCH_AGENT_LASTING,
        .memory_mib = memory_mib,
        .cpu_percent = or_default(limits->cpu_percent, LASTING_CPU_PERCENT),
        .processes = or_default(limits->processes, LASTING_PROCESSES),
        .disk_mib = or_default(limits->disk_mib, memory_mib / 2),
        .root = root,
    };

    (void)pthread_mutex_lock(&d->lock);
    request.id = d->next_id++;
    (void)pthread_mutex_unlock(&d->lock);
    return launch_agent(d, request, socket, ret, err);
}

static int process_clone_lasting(struct driver *d, struct driver_template *t,
                                 const struct driver_limits *limits, uint64_t deadline_ns,
                                 struct driver_sandbox **ret, struct err *err)
{
    struct driver_sandbox *s = calloc(1, sizeof(*s));
    int fds[2] = {-1, -1};
    int r;

    (void)deadline_ns; // the launcher's own is short
    if (s == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    s->driver = d;
    r = fd_socketpair(SOCK_STREAM, fds);
    for (int i = 0; r == 0 && i < 2; i++)
        r = fd_set_nonblock(fds[i], 1);
    r = r < 0 ? err_sys(err, r, "cannot make a stream")
              : launch_lasting(d, t->root, limits, fds[1], &s->agent, err);
    fd_close(&fds[1]);
    if (r < 0) {
        fd_close(&fds[0]);
        free(s);
        return -1;
    }
    s->channel_fd = fds[0];
    *ret = s;
    return 0;
}

static int process_channel(struct driver_sandbox *s, int *ret_fd, struct err *err)
{
    if (s->channel_fd < 0)
        return err_set(err, ERR_INVALID, "the sandbox's stream was handed out before");
    *ret_fd = fd_steal(&s->channel_fd);
    return 0;
}

static int process_death_fd(struct driver_sandbox *s)
{
    return s->agent->pidfd;
}

// The agent's group is not ours to read: the launcher tells what a lasting one has used. What the
// agent that all others share costs is told with each run.
static int process_usage(struct driver_sandbox *s, struct driver_usage *ret, struct err *err)
{
    struct launch_usage used = {0};
    bool lasting = s->agent->control < 0;

    if (!is_alive(s->agent))
        return err_set(err, ERR_GONE, "the agent ended");
    if (lasting && launch_usage(s->driver->config.launch, s->agent->id, &used, err) < 0)
        return -1;
    *ret = (struct driver_usage){.cpu_ns = used.cpu_ns};
    return 0;
}

static void process_destroy(struct driver_sandbox *s)
{
    if (s == NULL)
        return;
    fd_close(&s->channel_fd);
    put_agent(s->driver, s->agent);
    free(s);
}

static int warm_up(struct driver *d, const struct driver_template_spec *spec, uint64_t deadline_ns,
                   struct err *err)
{
    struct driver_sandbox *s;
    int r, fd;

    if (process_clone(d, NULL, deadline_ns, &s, err) < 0)
        return -1;
    r = process_channel(s, &fd, err);
    if (r == 0)
        r = spec->warm(spec->warm_arg, fd, err);
    if (r < 0 && !is_alive(s->agent))
        blame(s->agent, err);
    process_destroy(s);
    return r;
}

// Nothing is frozen: warming brings the files of the runtimes into the host's page cache, and
// proves that the agent works.
static int process_build_template(struct driver *d, const struct driver_template_spec *spec,
                                  uint64_t deadline_ns, struct driver_template **ret,
                                  bool *ret_built, struct err *err)
{
    struct driver_template *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    t->root = spec->root;
    if (process_key(&d->config, spec, t->key, err) < 0 ||
        (spec->warm != NULL && warm_up(d, spec, deadline_ns, err) < 0)) {
        free(t);
        return -1;
    }
    *ret = t;
    *ret_built = true;
    return 0;
}

static const char *process_template_key(const struct driver_template *t)
{
    return t->key;
}

static void process_template_free(struct driver_template *t)
{
    free(t);
}

const struct driver_ops driver_process = {
    .name = "process",
    .caps = DRIVER_CAP_SHARED | DRIVER_CAP_LASTING,
    .probe = process_probe,
    .open = process_open,
    .close = process_close,
    .build_template = process_build_template,
    .template_key = process_template_key,
    .template_free = process_template_free,
    .clone = process_clone,
    .clone_lasting = process_clone_lasting,
    .channel = process_channel,
    .death_fd = process_death_fd,
    .usage = process_usage,
    .destroy = process_destroy,
};
