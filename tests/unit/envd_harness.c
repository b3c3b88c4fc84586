// SPDX-License-Identifier: Apache-2.0
#include "envd_harness.h"

#include "agent/agent.h"
#include "agent/connect.h"
#include "agent/envd/envd.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/server.h"
#include "json/base64.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

char envd_dir[64];
char envd_user[64];

static struct channel_loop *loop;
static struct channel *channel;
static pid_t child;

// The agent's side: what session.c does, for this one service.

static struct agent agent;
static struct server *server;
static struct loop_source source;

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    if (strcmp(method, "CONNECT") == 0)
        connect_open(arg, s, path);
    else
        envd_open(arg, s, method, path);
}

static const struct server_callbacks callbacks = {.on_request = on_request};

static void on_socket(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
    if (server_readable(server) < 0)
        agent.loop.stop = true;
}

static void flush(void *arg)
{
    (void)arg;
    if (server_wants_write(server) && server_writable(server) < 0)
        agent.loop.stop = true;
    loop_mod(&agent.loop, &source, server_wants_write(server) ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int serve(int fd)
{
    struct server_options options = {
        .callbacks = &callbacks, .arg = &agent, .body_max = 1, .streams_max = 600};

    signal(SIGPIPE, SIG_IGN);
    umask(0);
    if (fd_set_nonblock(fd, 1) < 0 || loop_init(&agent.loop) < 0 ||
        server_new(fd, &options, &server) < 0 ||
        loop_add(&agent.loop, &source, fd, EPOLLIN, on_socket, NULL) < 0)
        return 1;
    agent.loop.after = flush;
    int rc = loop_run(&agent.loop);
    server_free(server);
    envd_free(agent.envd);
    loop_release(&agent.loop);
    close(fd);
    return rc < 0;
}

void envd_begin(void)
{
    struct err err = ERR_INIT;
    const struct passwd *pw = getpwuid(geteuid());
    char text[256];
    int fds[2];

    snprintf(envd_dir, sizeof(envd_dir), "/tmp/csb-envd-XXXXXX");
    snprintf(envd_user, sizeof(envd_user), "%s", pw == NULL ? "root" : pw->pw_name);
    if (mkdtemp(envd_dir) == NULL || fd_socketpair(SOCK_STREAM, fds) < 0)
        abort();
    child = fork();
    if (child == 0) {
        close(fds[0]);
        exit(serve(fds[1]));
    }
    close(fds[1]);
    if (channel_loop_new(&loop, &err) < 0 || channel_open(loop, fds[0], &channel, &err) < 0)
        abort();
    snprintf(text, sizeof(text),
             "{\"defaultUser\":\"%s\",\"defaultWorkdir\":\"%s\","
             "\"envVars\":{\"FROM_INIT\":\"yes\",\"BOTH\":\"init\"}}",
             envd_user, envd_dir);
    _cleanup_reply_ struct reply r = envd_call("POST", "/envd/init", NULL, text, strlen(text));
    if (r.status != 204)
        abort();
}

struct channel *envd_channel(void)
{
    return channel;
}

bool envd_finish(void)
{
    char command[96];
    int status = -1;

    channel_close(channel);
    channel_loop_free(loop);
    waitpid(child, &status, 0);
    snprintf(command, sizeof(command), "/bin/rm");
    if (fork() == 0)
        execl(command, "rm", "-rf", envd_dir, (char *)NULL);
    wait(NULL);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void reply_release(struct reply *r)
{
    buf_release(&r->body);
    json_decref(r->json);
    r->json = NULL;
}

static size_t count_headers(const struct channel_header *headers)
{
    size_t n = 0;

    while (headers != NULL && headers[n].name != NULL)
        n++;
    return n;
}

struct reply envd_call(const char *method, const char *path, const struct channel_header *headers,
                       const void *body, size_t len)
{
    struct channel_request req = {method, path, body, len, headers, count_headers(headers)};
    struct reply r = {.status = -1};
    struct err err = ERR_INIT;
    struct channel_stream *s;
    uint64_t deadline = clock_deadline_ms(DEADLINE_MS);
    char part[16384];
    ssize_t n;

    if (channel_send(channel, &req, &s, &err) < 0)
        return r;
    if (channel_status(s, deadline, &r.status, &err) == 0) {
        while ((n = channel_read(s, part, sizeof(part), deadline, &err)) > 0)
            (void)buf_append(&r.body, part, (size_t)n);
        if (n < 0)
            r.status = -2;
    }
    channel_stream_close(s);
    if (r.body.len > 0)
        r.json = json_loadb((const char *)r.body.data, r.body.len, JSON_DECODE_ANY, NULL);
    return r;
}

struct reply envd_rpc(const char *name, const char *format, ...)
{
    static const struct channel_header headers[] = {{"content-type", "application/json"}, {0}};
    char path[128], *text;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0)
        abort();
    snprintf(path, sizeof(path), "/envd/%s", name);
    struct reply r = envd_call("POST", path, headers, text, (size_t)n);
    free(text);
    return r;
}

const char *reply_code(const struct reply *r)
{
    const char *code = json_string_value(json_object_get(r->json, "code"));

    return code != NULL ? code : r->status == 200 ? "ok" : "(no code)";
}

static void put_envelope(struct buf *b, const char *text)
{
    (void)buf_append_u8(b, 0);
    (void)buf_append_be32(b, (uint32_t)strlen(text));
    (void)buf_append(b, text, strlen(text));
}

void envd_open_stream(struct envd_stream *s, const char *name, int timeout_ms,
                      const struct channel_header *extra, const char *format, ...)
{
    struct channel_header headers[8] = {{"content-type", "application/connect+json"}};
    _cleanup_buf_ struct buf body = BUF_INIT;
    struct err err = ERR_INIT;
    char path[128], number[16], *text;
    size_t count = 1;
    va_list ap;
    int n;

    *s = (struct envd_stream){0};
    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0)
        abort();
    put_envelope(&body, text);
    free(text);
    snprintf(path, sizeof(path), "/envd/%s", name);
    snprintf(number, sizeof(number), "%d", timeout_ms);
    if (timeout_ms > 0)
        headers[count++] = (struct channel_header){"connect-timeout-ms", number};
    for (size_t i = 0; i < count_headers(extra); i++)
        headers[count++] = extra[i];
    struct channel_request req = {"POST", path, body.data, body.len, headers, count};
    if (channel_send(channel, &req, &s->stream, &err) < 0)
        abort();
}

// Takes a whole envelope out of what was read.
static bool take(struct envd_stream *s)
{
    const uint8_t *p = s->in.data;
    size_t len;

    if (s->in.len < 5)
        return false;
    len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (s->in.len - 5 < len)
        return false;
    json_decref(s->last);
    s->last = json_loadb((const char *)p + 5, len, 0, NULL);
    if (p[0] & 2) {
        const char *code =
            json_string_value(json_object_get(json_object_get(s->last, "error"), "code"));
        snprintf(s->code, sizeof(s->code), "%s", code == NULL ? "" : code);
        s->ended = true;
    }
    buf_consume(&s->in, 5 + len);
    return true;
}

json_t *envd_next(struct envd_stream *s, int wait_ms)
{
    struct err err = ERR_INIT;
    uint64_t deadline = clock_deadline_ms((uint64_t)wait_ms);
    char part[16384];
    int status;

    while (!s->ended && !take(s)) {
        ssize_t n = channel_status(s->stream, deadline, &status, &err);
        if (n == 0)
            n = channel_read(s->stream, part, sizeof(part), deadline, &err);
        if (n <= 0) {
            s->broken = n == 0 || err.code != ERR_TIMEOUT;
            return NULL;
        }
        (void)buf_append(&s->in, part, (size_t)n);
    }
    return s->ended ? NULL : s->last;
}

void envd_close_stream(struct envd_stream *s)
{
    channel_stream_close(s->stream);
    buf_release(&s->in);
    json_decref(s->last);
    s->stream = NULL;
    s->last = NULL;
}

int envd_start(struct envd_stream *s, int timeout_ms, const char *script, const char *more)
{
    json_t *text = json_string(script);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    const json_t *m;

    envd_open_stream(s, "process.Process/Start", timeout_ms, NULL,
                     "{\"process\":{\"cmd\":\"/bin/sh\",\"args\":[\"-c\",%s],"
                     "\"envs\":{\"BOTH\":\"start\"}}%s%s}",
                     quoted, more[0] == '\0' ? "" : ",", more);
    free(quoted);
    json_decref(text);
    m = json_object_get(json_object_get(envd_next(s, DEADLINE_MS), "event"), "start");
    return (int)json_integer_value(json_object_get(m, "pid"));
}

static void take_bytes(const json_t *data, const char *key, struct buf *out)
{
    const char *text = json_string_value(json_object_get(data, key));

    if (text != NULL && base64_decode(text, strlen(text), out) < 0)
        abort();
}

struct outcome envd_wait(struct envd_stream *s)
{
    struct outcome o = {.exit_code = -99};
    const json_t *m;

    while ((m = envd_next(s, DEADLINE_MS)) != NULL) {
        const json_t *event = json_object_get(m, "event");
        const json_t *data = json_object_get(event, "data");
        const json_t *end = json_object_get(event, "end");
        take_bytes(data, "stdout", &o.out);
        take_bytes(data, "stderr", &o.err);
        take_bytes(data, "pty", &o.pty);
        if (end == NULL)
            continue;
        const char *status = json_string_value(json_object_get(end, "status"));
        o.has_end = true;
        o.exited = json_is_true(json_object_get(end, "exited"));
        o.exit_code = (int)json_integer_value(json_object_get(end, "exitCode"));
        snprintf(o.status, sizeof(o.status), "%s", status == NULL ? "" : status);
    }
    return o;
}

void outcome_release(struct outcome *o)
{
    buf_release(&o->out);
    buf_release(&o->err);
    buf_release(&o->pty);
}

const char *text_of(struct buf *b)
{
    return b->len == 0 ? "" : buf_cstr(b);
}

void sleep_ms(int ms)
{
    struct timespec ts = clock_to_timespec((unsigned)ms * NS_PER_MS);

    nanosleep(&ts, NULL);
}
