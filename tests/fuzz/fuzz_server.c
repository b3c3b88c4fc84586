// SPDX-License-Identifier: Apache-2.0
//
// The agent's session fed by any client. First byte: what the handlers do, and whether the opening
// of HTTP/2 is put before the bytes; second: the size of the pieces; then the client's bytes.
#include "channel/server.h"

#include "base/fd.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    DO_MAGIC = 1,  // send the connection preface first
    DO_ECHO = 2,   // answers are what was sent; else short
    DO_EARLY = 4,  // answers begin with the request, else after its end
    DO_LARGE = 8,  // answers are larger than the queue
    DO_HOLD = 16,  // bodies are held back until another comes, or they end
    DO_RESET = 32, // answers are broken off
};

#define BODY_MAX 10000

struct counters {
    uint8_t what;
    size_t requests;
    size_t closes;
};

struct job {
    size_t body;
    size_t left;
};

static void pump(struct server_stream *s)
{
    static const uint8_t zeros[30000];
    struct job *job = server_stream_user(s);

    while (job->left > 0) {
        size_t n = job->left < sizeof(zeros) ? job->left : sizeof(zeros);

        if (server_write(s, zeros, n) < 0)
            return;
        job->left -= n;
    }
    server_finish(s);
}

static void answer(struct counters *c, struct server_stream *s)
{
    struct job *job = server_stream_user(s);

    if (c->what & DO_LARGE) {
        job->left = 2 * SERVER_QUEUE_BYTES;
        if (server_respond(s, 200, "text/plain", NULL, 0, true) == 0)
            pump(s);
    } else if (c->what & DO_ECHO) {
        (void)server_respond(s, 200, "text/plain", NULL, 0, true);
    } else {
        (void)server_respond(s, 404, "text/plain", "no", 2, false);
    }
}

static void look_at_headers(const struct server_stream *s)
{
    const char *name, *value;
    size_t total = 0;

    for (size_t at = 0; server_stream_header_at(s, &at, &name, &value);) {
        if (server_stream_header(s, name) == NULL)
            abort();
        total += strlen(name) + strlen(value);
    }
    if (total > (16u << 10))
        abort();
}

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    struct counters *c = arg;
    struct job *job = calloc(1, sizeof(*job));

    if (job == NULL || strlen(method) > 100 || strlen(path) > (16u << 10))
        abort();
    server_stream_set_user(s, job);
    c->requests++;
    look_at_headers(s);
    if (c->what & DO_HOLD)
        server_stream_hold(s, true);
    if (c->what & DO_EARLY)
        answer(c, s);
}

static void on_body(void *arg, struct server_stream *s, const uint8_t *data, size_t len)
{
    struct counters *c = arg;
    struct job *job = server_stream_user(s);

    job->body += len;
    if (c->what & DO_HOLD)
        server_stream_hold(s, job->body % 2 == 0);
    if (job->body > BODY_MAX)
        abort();
    if (c->what & DO_ECHO)
        (void)server_write(s, data, len);
}

static void on_end(void *arg, struct server_stream *s)
{
    struct counters *c = arg;

    if (!(c->what & DO_EARLY))
        answer(c, s);
    if (c->what & DO_HOLD)
        server_stream_hold(s, false);
    if (c->what & DO_RESET)
        server_stream_reset(s);
    if ((c->what & (DO_ECHO | DO_LARGE)) == DO_ECHO)
        server_finish(s);
}

static void on_close(void *arg, struct server_stream *s)
{
    struct counters *c = arg;

    c->closes++;
    free(server_stream_user(s));
}

static void on_drain(void *arg, struct server_stream *s)
{
    struct counters *c = arg;

    if (c->what & DO_LARGE)
        pump(s);
}

static const struct server_callbacks callbacks = {
    .on_request = on_request,
    .on_body = on_body,
    .on_end = on_end,
    .on_close = on_close,
    .on_drain = on_drain,
};

// Gives the server one piece and takes what it says. False when the session is over.
static bool turn(struct server *server, int fd, const uint8_t *data, size_t len)
{
    static uint8_t drop[65536];

    if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        return false;
    if (server_readable(server) < 0)
        return false;
    for (int i = 0; i < 100 && server_wants_write(server); i++) {
        while (read(fd, drop, sizeof(drop)) > 0)
            ;
        if (server_writable(server) < 0)
            return false;
    }
    while (read(fd, drop, sizeof(drop)) > 0)
        ;
    return true;
}

static void run(struct server *server, int fd, const uint8_t *data, size_t len)
{
    static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                "\0\0\0\4\0\0\0\0\0";
    const size_t piece = (size_t)data[1] * data[1] + 1;

    if ((data[0] & DO_MAGIC) && !turn(server, fd, (const uint8_t *)magic, sizeof(magic) - 1))
        return;
    for (size_t at = 2; at < len; at += piece) {
        if (!turn(server, fd, data + at, len - at < piece ? len - at : piece))
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct counters c = {0};
    const struct server_options options = {
        .callbacks = &callbacks, .arg = &c, .body_max = BODY_MAX, .streams_max = 8};
    struct server *server;
    int fds[2];

    if (len < 2)
        return 0;
    c.what = data[0];
    if (fd_socketpair(SOCK_STREAM, fds) < 0 || fd_set_nonblock(fds[0], 1) < 0 ||
        fd_set_nonblock(fds[1], 1) < 0 || server_new(fds[1], &options, &server) < 0)
        abort();
    run(server, fds[0], data, len);
    server_free(server);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    if (c.requests != c.closes)
        abort();
    return 0;
}
