// SPDX-License-Identifier: Apache-2.0
//
// How it works: one thread per sandbox polls the stream and a stop signal; the callbacks of
// channel/server.h gather a request's body, then answer it at once or, for /run, leave a struct
// fake_run in the list, which is driven from the loop.
#include "driver/fake_agent.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/server.h"
#include "driver/fake_run.h"
#include "json/read.h"
#include "json/write.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define STREAMS_MAX 64

struct request {
    struct fake_agent *agent;
    struct server_stream *stream;
    char method[8];
    char path[32];
    struct buf body;
    struct fake_run *run; // of a /run under way
    struct request *next; // in agent->requests
};

// All fields but the first six belong to the agent's thread once it runs.
struct fake_agent {
    pthread_t thread;
    int signal_fd, death_fd; // eventfds; the first says that one of these has changed:
    atomic_bool stopping;
    bool paused;
    pthread_mutex_t lock; // guards `paused`; held by the thread while it does anything but wait
    int fd;
    struct server *server;
    struct request *requests;
    bool synced;
    char prepared[AGENT_PREPARED_MAX][65]; // "" is free
    bool dying;                            // a program said `die`
};

static void respond(struct request *q, int status, const struct buf *text)
{
    (void)server_respond(q->stream, status, "application/json", text->data, text->len, false);
}

static void respond_error(struct request *q, int status, const char *word, const char *message)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    json_open(&out, NULL, '{');
    json_put_str(&out, "error", word);
    json_put_str(&out, "message", message);
    json_close(&out, '}');
    respond(q, status, &text);
}

static void answer_health(struct request *q)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    json_open(&out, NULL, '{');
    json_put_str(&out, "agent", CSB_VERSION);
    json_put_u64(&out, "protocol", AGENT_PROTOCOL);
    json_close(&out, '}');
    respond(q, 200, &text);
}

static void answer_stats(struct request *q)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    json_open(&out, NULL, '{');
    json_put_u64(&out, "cpu_count", 1);
    json_put_u64(&out, "memory_total_bytes", 1ull << 30);
    json_put_u64(&out, "memory_available_bytes", 1ull << 29);
    json_put_str(&out, "kernel", "fake");
    json_put_str(&out, "cmdline", "");
    json_put_u64(&out, "uptime_ms", clock_mono_ns() / NS_PER_MS);
    json_put_str(&out, "agent", CSB_VERSION);
    json_put_u64(&out, "protocol", AGENT_PROTOCOL);
    json_close(&out, '}');
    respond(q, 200, &text);
}

static void answer_sync(struct request *q)
{
    struct err err = ERR_INIT;
    _cleanup_json_ json_t *doc = NULL;
    const char *entropy;

    if (json_read("body", q->body.data, q->body.len, &doc, &err) < 0) {
        respond_error(q, 400, "invalid", err.message);
        return;
    }
    entropy = json_string_value(json_object_get(doc, "entropy"));
    if (entropy == NULL || strlen(entropy) != 128 ||
        json_integer_value(json_object_get(doc, "time_ns")) <= 0) {
        respond_error(q, 400, "invalid", "entropy and time_ns are needed");
        return;
    }
    q->agent->synced = true;
    (void)server_respond(q->stream, 200, "application/json", "{\"ok\":true}", 11, false);
}

static char *find_prepared(struct fake_agent *a, const char *id)
{
    for (size_t i = 0; i < AGENT_PREPARED_MAX; i++)
        if (strcmp(a->prepared[i], id) == 0)
            return a->prepared[i];
    return NULL;
}

static void answer_prepare(struct request *q)
{
    struct err err = ERR_INIT;
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    char *slot = find_prepared(q->agent, "");
    const char *id;

    if (json_read("body", q->body.data, q->body.len, &doc, &err) < 0) {
        respond_error(q, 400, "invalid", err.message);
        return;
    }
    id = json_string_value(json_object_get(doc, "id"));
    if (id == NULL || id[0] == '\0' || strlen(id) > 64) {
        respond_error(q, 400, "invalid", "id is needed");
        return;
    }
    if (slot == NULL) {
        respond_error(q, 429, "busy", "enough interpreters are prepared");
        return;
    }
    (void)snprintf(slot, sizeof(q->agent->prepared[0]), "%s", id);
    json_open(&out, NULL, '{');
    json_put_str(&out, "prepared", id);
    json_close(&out, '}');
    respond(q, 200, &text);
}

static void answer_run(struct request *q)
{
    struct err err = ERR_INIT;
    const char *prepared;
    char *slot;

    if (!q->agent->synced) {
        respond_error(q, 409, "gone", "nothing runs before /sync");
        return;
    }
    if (fake_run_new(q->stream, &q->body, &q->run, &prepared, &err) < 0) {
        respond_error(q, 400, "invalid", err.message);
        return;
    }
    if (prepared[0] == '\0')
        return;
    slot = find_prepared(q->agent, prepared);
    if (slot != NULL) {
        slot[0] = '\0';
        return;
    }
    respond_error(q, 409, "gone", "no such interpreter is prepared");
    fake_run_free(q->run);
    q->run = NULL;
}

// Of the data plane there is what the daemon itself asks for.
static void answer_envd_init(struct request *q)
{
    struct err err = ERR_INIT;
    _cleanup_json_ json_t *doc = NULL;

    if (json_read("body", q->body.data, q->body.len, &doc, &err) < 0)
        respond_error(q, 400, "invalid", err.message);
    else
        (void)server_respond(q->stream, 204, NULL, NULL, 0, false);
}

static void answer_envd_metrics(struct request *q)
{
    static const char text[] =
        "{\"ts\":1,\"cpu_count\":1,\"cpu_used_pct\":12.5,\"mem_total\":1000,"
        "\"mem_used\":600,\"mem_cache\":50,\"disk_used\":7,\"disk_total\":400}";

    (void)server_respond(q->stream, 200, "application/json", text, sizeof(text) - 1, false);
}

// What is started ends at once, well.
static void answer_envd_start(struct request *q)
{
    static const char text[] = "{\"event\":{\"end\":{\"exitCode\":0,\"exited\":true}}}";
    char body[5 + sizeof(text) - 1] = {0, 0, 0, 0, sizeof(text) - 1};

    memcpy(body + 5, text, sizeof(text) - 1);
    (void)server_respond(q->stream, 200, "application/connect+json", body, sizeof(body), false);
}

// For tests: the sandbox dies by itself.
static void answer_envd_die(struct request *q)
{
    q->agent->dying = true;
}

static const struct route {
    const char *method;
    const char *path;
    void (*answer)(struct request *q);
} routes[] = {
    {"GET", "/health", answer_health},
    {"GET", "/stats", answer_stats},
    {"POST", "/sync", answer_sync},
    {"POST", "/prepare", answer_prepare},
    {"POST", "/run", answer_run},
    {"POST", "/envd/init", answer_envd_init},
    {"GET", "/envd/metrics", answer_envd_metrics},
    {"POST", "/envd/process.Process/Start", answer_envd_start},
    {"POST", "/envd/die", answer_envd_die},
};

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    struct fake_agent *a = arg;
    struct request *q = calloc(1, sizeof(*q));

    if (q == NULL)
        return;
    q->agent = a;
    q->stream = s;
    q->body = (struct buf)BUF_CAPPED(AGENT_BODY_MAX);
    (void)snprintf(q->method, sizeof(q->method), "%s", method);
    (void)snprintf(q->path, sizeof(q->path), "%s", path);
    q->next = a->requests;
    a->requests = q;
    server_stream_set_user(s, q);
}

static void on_body(void *arg, struct server_stream *s, const uint8_t *data, size_t len)
{
    struct request *q = server_stream_user(s);

    (void)arg;
    // The session resets a stream whose body is larger than the cap, so only memory can be missing,
    // and then the body is found too short.
    if (q != NULL)
        (void)buf_append(&q->body, data, len);
}

static void on_end(void *arg, struct server_stream *s)
{
    struct request *q = server_stream_user(s);

    (void)arg;
    if (q == NULL) {
        (void)server_respond(s, 500, "application/json", "{}", 2, false);
        return;
    }
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(routes[i].method, q->method) == 0 && strcmp(routes[i].path, q->path) == 0) {
            routes[i].answer(q);
            return;
        }
    }
    respond_error(q, 404, "not_found", "there is no such endpoint");
}

static void on_close(void *arg, struct server_stream *s)
{
    struct fake_agent *a = arg;
    struct request *q = server_stream_user(s);
    struct request **p = &a->requests;

    if (q == NULL)
        return;
    while (*p != q)
        p = &(*p)->next;
    *p = q->next;
    fake_run_free(q->run);
    buf_release(&q->body);
    free(q);
}

static void on_drain(void *arg, struct server_stream *s)
{
    (void)arg; // the loop drives every run after each event
    (void)s;
}

static const struct server_callbacks callbacks = {
    .on_request = on_request,
    .on_body = on_body,
    .on_end = on_end,
    .on_close = on_close,
    .on_drain = on_drain,
};

static void send_garbage(struct fake_agent *a)
{
    char junk[256];

    memset(junk, 0xA5, sizeof(junk));
    (void)send(a->fd, junk, sizeof(junk), MSG_NOSIGNAL); // the peer may be gone already
}

// Lets every run go on. Returns when the first of them wants to be called again.
static uint64_t drive_runs(struct fake_agent *a)
{
    uint64_t wake_ns = CLOCK_NEVER;

    for (struct request *q = a->requests; q != NULL; q = q->next) {
        enum fake_run_wish wish;

        if (q->run == NULL)
            continue;
        wish = fake_run_go(q->run);
        if (wish == FAKE_RUN_WAIT) {
            uint64_t t = fake_run_wake_ns(q->run);

            wake_ns = t < wake_ns ? t : wake_ns;
            continue;
        }
        if (wish == FAKE_RUN_GARBAGE)
            send_garbage(a);
        a->dying = a->dying || wish == FAKE_RUN_DIE;
        fake_run_free(q->run);
        q->run = NULL;
    }
    return wake_ns;
}

// What is to be done for the stream's `events`. False when the session is over.
static bool work(struct fake_agent *a, short events)
{
    int r = 0;

    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0)
        r = server_readable(a->server);
    if (r == 0 && server_wants_write(a->server))
        r = server_writable(a->server);
    return r == 0;
}

// Serves until the session or the sandbox ends. While paused only signals are waited for.
static void serve(struct fake_agent *a)
{
    struct pollfd p[2] = {{.fd = a->signal_fd, .events = POLLIN}, {.fd = a->fd}};
    bool open = true;
    eventfd_t count;

    while (open && !a->dying && !atomic_load(&a->stopping)) {
        uint64_t wake_ns = CLOCK_NEVER;
        bool paused;

        (void)pthread_mutex_lock(&a->lock);
        paused = a->paused;
        if (!paused) {
            open = work(a, p[1].revents);
            wake_ns = drive_runs(a);
        }
        p[1].events = (short)(POLLIN | (server_wants_write(a->server) ? POLLOUT : 0));
        (void)pthread_mutex_unlock(&a->lock);
        if (!open || a->dying)
            return;
        p[1].revents = 0;
        if (poll(p, paused ? 1 : 2, clock_poll_ms(wake_ns)) < 0 && errno != EINTR)
            return;
        (void)eventfd_read(a->signal_fd, &count); // may have none
    }
}

static void *agent_main(void *arg)
{
    struct fake_agent *a = arg;
    eventfd_t count;

    serve(a);
    server_free(a->server);
    a->server = NULL;
    fd_close(&a->fd);
    // A real VM outlives its stream; only `die` ends it.
    if (a->dying)
        (void)eventfd_write(a->death_fd, 1);
    while (!a->dying && !atomic_load(&a->stopping)) {
        (void)fd_wait(a->signal_fd, POLLIN, CLOCK_NEVER);
        (void)eventfd_read(a->signal_fd, &count);
    }
    return NULL;
}

static void agent_free(struct fake_agent *a)
{
    server_free(a->server);
    fd_close(&a->fd);
    fd_close(&a->signal_fd);
    fd_close(&a->death_fd);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
}

// Signals are for the program's own threads.
static int start_thread(struct fake_agent *a)
{
    sigset_t all, old;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&a->thread, NULL, agent_main, a);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

int fake_agent_start(int fd, struct fake_agent **ret, struct err *err)
{
    struct fake_agent *a = calloc(1, sizeof(*a));
    struct server_options options = {
        .callbacks = &callbacks,
        .arg = a,
        .body_max = AGENT_BODY_MAX,
        .streams_max = STREAMS_MAX,
    };
    int r;

    if (a == NULL) {
        fd_close(&fd);
        return err_set(err, ERR_INTERNAL, "out of memory");
    }
    a->fd = fd;
    (void)pthread_mutex_init(&a->lock, NULL); // default attributes: cannot fail on Linux
    a->signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->death_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = a->signal_fd < 0 || a->death_fd < 0 ? -errno : server_new(fd, &options, &a->server);
    if (r == 0)
        r = -start_thread(a);
    if (r < 0) {
        agent_free(a);
        return err_sys(err, r, "cannot start a fake agent");
    }
    *ret = a;
    return 0;
}

int fake_agent_death_fd(const struct fake_agent *a)
{
    return a->death_fd;
}

void fake_agent_pause(struct fake_agent *a, bool paused)
{
    (void)pthread_mutex_lock(&a->lock);
    a->paused = paused;
    (void)pthread_mutex_unlock(&a->lock);
    (void)eventfd_write(a->signal_fd, 1);
}

void fake_agent_stop(struct fake_agent *a)
{
    if (a == NULL)
        return;
    atomic_store(&a->stopping, true);
    (void)eventfd_write(a->signal_fd, 1);
    (void)pthread_join(a->thread, NULL);
    agent_free(a);
}
