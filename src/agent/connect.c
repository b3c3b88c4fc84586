// SPDX-License-Identifier: Apache-2.0
//
// How it works. What the peer sends goes into `out` as far as the socket does not take it, and the
// stream is held while anything is there; what the service sends is read into `in`, at most once as
// much as the stream's queue takes, and the socket is not watched while it is there. A descriptor
// of which nothing is wanted leaves the loop: its hanging up would be told without end.
#include "agent/connect.h"

#include "agent/agent.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/parse.h"
#include "channel/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUNNELS_MAX 384        // fewer than streams: a call must find one
#define OUT_MAX     (4u << 20) // a held stream gets 1 MiB more; as much may have gone already
#define IN_BYTES    (32u << 10)
#define READ_ROUNDS 8 // reads from one service before others get their turn

struct tunnel {
    struct agent *agent;
    struct server_stream *stream;
    struct loop_source source;
    int fd;
    uint16_t port;
    bool second;    // ::1 is being tried
    bool connected; // 200 was answered
    bool ended;     // the peer sends no more
    bool shut;      // the service was told so
    bool over;      // nothing more comes of the service
    struct buf out; // from out_off on
    size_t out_off;
    size_t in_len; // read, but not yet taken by the stream
    uint8_t in[IN_BYTES];
};

static void on_ready(void *arg, uint32_t events);

static uint32_t wanted(const struct tunnel *t)
{
    uint32_t events = 0;

    if (t->fd < 0)
        return 0;
    if (!t->connected)
        return EPOLLOUT;
    if (!t->over && t->in_len == 0)
        events |= EPOLLIN;
    if (t->out.len > t->out_off)
        events |= EPOLLOUT;
    return events;
}

// Watches what is wanted now.
static void watch(struct tunnel *t)
{
    struct loop *loop = &t->agent->loop;
    uint32_t events = wanted(t);

    if (events == 0)
        loop_del(loop, &t->source);
    else if (t->source.ready != NULL)
        loop_mod(loop, &t->source, events);
    else if (loop_add(loop, &t->source, t->fd, events, on_ready, t) < 0)
        server_stream_reset(t->stream);
}

static void hang_up(struct tunnel *t)
{
    loop_del(&t->agent->loop, &t->source);
    fd_close(&t->fd);
}

static void refuse(struct tunnel *t, int status, const char *message)
{
    hang_up(t);
    server_stream_hold(t->stream, false);
    (void)server_respond(t->stream, status, "text/plain", message, strlen(message), false);
}

static void break_off(struct tunnel *t)
{
    hang_up(t);
    server_stream_reset(t->stream);
}

// Begins to connect. 0 (also when it is under way) or -errno.
static int dial(struct tunnel *t)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_port = htons(t->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(t->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr *to =
        t->second ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
    socklen_t len = t->second ? sizeof(v6) : sizeof(v4);
    int on = 1;
    int r;

    t->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0)
        return -errno;
    (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    do {
        r = connect(t->fd, to, len);
    } while (r < 0 && errno == EINTR);
    if (r == 0 || errno == EINPROGRESS)
        return loop_add(&t->agent->loop, &t->source, t->fd, EPOLLOUT, on_ready, t);
    return -errno;
}

static void try_next(struct tunnel *t)
{
    for (;;) {
        hang_up(t);
        if (t->second)
            break;
        t->second = true;
        if (dial(t) == 0)
            return;
    }
    refuse(t, 502, "nobody listens on that port");
}

// Sends the service what waits for it.
static void send_out(struct tunnel *t)
{
    while (t->out_off < t->out.len) {
        ssize_t n = send(t->fd, t->out.data + t->out_off, t->out.len - t->out_off, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            // It reads no more, but may have said something that is still to be read.
            t->out_off = t->out.len;
            t->ended = true;
            t->shut = true;
            break;
        }
        t->out_off += (size_t)n;
    }
    buf_release(&t->out);
    t->out_off = 0;
    server_stream_hold(t->stream, false);
    if (t->ended && !t->shut) {
        t->shut = true;
        (void)shutdown(t->fd, SHUT_WR);
    }
}

// Gives the stream what was read. False when it does not take it now.
static bool pass_in(struct tunnel *t)
{
    if (t->in_len > 0 && server_write(t->stream, t->in, t->in_len) < 0)
        return false;
    t->in_len = 0;
    return true;
}

static void receive(struct tunnel *t)
{
    // Ends with nothing in `in`, or with a write refused, after which on_drain comes.
    for (int i = 0; i < READ_ROUNDS && t->in_len == 0 && !t->over; i++) {
        ssize_t n = read(t->fd, t->in, sizeof(t->in));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            break_off(t);
            return;
        }
        t->in_len = (size_t)n;
        t->over = n == 0;
        (void)pass_in(t);
    }
    if (t->over && t->in_len == 0)
        server_finish(t->stream);
}

static bool established(struct tunnel *t)
{
    socklen_t len = sizeof(int);
    int error = 0;

    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0)
        return false;
    t->connected = true;
    (void)server_respond(t->stream, 200, NULL, NULL, 0, true);
    return true;
}

static void on_ready(void *arg, uint32_t events)
{
    struct tunnel *t = arg;

    if (!t->connected && !established(t)) {
        try_next(t);
        return;
    }
    if (t->out.len > t->out_off || (t->ended && !t->shut) || (events & EPOLLOUT) != 0)
        send_out(t);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        receive(t);
    if (t->fd >= 0)
        watch(t);
}

static void on_body(void *arg, struct server_stream *stream, const uint8_t *data, size_t len)
{
    struct tunnel *t = server_stream_user(stream);

    (void)arg;
    if (t == NULL || t->fd < 0 || t->shut)
        return;
    if (t->out_off > t->out.len / 2) {
        buf_consume(&t->out, t->out_off);
        t->out_off = 0;
    }
    if (buf_append(&t->out, data, len) < 0) {
        break_off(t);
        return;
    }
    server_stream_hold(stream, true);
    if (t->connected) {
        send_out(t);
        watch(t);
    }
}

static void on_end(void *arg, struct server_stream *stream)
{
    struct tunnel *t = server_stream_user(stream);

    (void)arg;
    if (t == NULL || t->fd < 0)
        return;
    t->ended = true;
    if (t->connected && t->out.len == t->out_off)
        send_out(t);
}

static void on_drain(void *arg, struct server_stream *stream)
{
    struct tunnel *t = server_stream_user(stream);

    (void)arg;
    if (t == NULL || t->fd < 0)
        return;
    if (pass_in(t) && t->over)
        server_finish(stream);
    watch(t);
}

static void on_close(void *arg, struct server_stream *stream)
{
    struct tunnel *t = server_stream_user(stream);

    (void)arg;
    if (t == NULL)
        return;
    hang_up(t);
    buf_release(&t->out);
    t->agent->tunnel_count--;
    free(t);
}

static const struct server_callbacks callbacks = {
    .on_body = on_body,
    .on_end = on_end,
    .on_close = on_close,
    .on_drain = on_drain,
};

static int parse_target(const char *target, uint16_t *ret)
{
    static const char host[] = "localhost:";
    uint64_t port;

    if (strncmp(target, host, sizeof(host) - 1) != 0 ||
        parse_u64(target + sizeof(host) - 1, 1, UINT16_MAX, &port) < 0)
        return -EINVAL;
    *ret = (uint16_t)port;
    return 0;
}

static struct tunnel *tunnel_new(struct agent *agent, struct server_stream *stream)
{
    struct tunnel *t = NULL;

    if (agent->tunnel_count < TUNNELS_MAX)
        t = calloc(1, sizeof(*t));
    server_stream_set_user(stream, t);
    if (t == NULL)
        return NULL;
    agent->tunnel_count++;
    t->agent = agent;
    t->stream = stream;
    t->fd = -1;
    t->out.cap = OUT_MAX;
    return t;
}

void connect_open(struct agent *agent, struct server_stream *stream, const char *target)
{
    struct tunnel *t = tunnel_new(agent, stream);

    server_stream_set_callbacks(stream, &callbacks, agent);
    server_stream_set_body_max(stream, UINT64_MAX);
    if (t == NULL)
        (void)server_respond(stream, 503, "text/plain", "too many connections", 20, false);
    else if (parse_target(target, &t->port) < 0)
        refuse(t, 400, "no such target");
    else if (dial(t) < 0)
        try_next(t);
}
