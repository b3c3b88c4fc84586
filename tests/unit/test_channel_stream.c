// SPDX-License-Identifier: Apache-2.0
//
// The channel: requests whose body is streamed, CONNECT, headers of answers, channel_shut().
#include "channel/channel.h"
#include "channel/server.h"

#include "base/clock.h"
#include "base/fd.h"

#define SOON clock_deadline_ms(60000)

#include "channel_big.h"
#include "channel_peer.h"
#include "tap.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- a peer: echoes with back pressure; /hold takes nothing; /early answers at once ----

struct peer {
    int fd;
    int stop_fd;
    pthread_t thread;
    struct server *server;
    atomic_size_t got;
    atomic_int ends;
    atomic_int closes;
};

struct job {
    bool echo;
    uint8_t kept[2u << 20]; // what the answer's queue did not take
    size_t kept_len;
    bool ended;
};

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    static const struct server_header headers[] = {
        {"x-one", "1"}, {"x-one", "second"}, {"x-empty", ""}, {"content-length", "2"}};
    struct job *job = calloc(1, sizeof(*job));

    (void)arg;
    server_stream_set_user(s, job);
    server_stream_set_body_max(s, UINT64_MAX);
    job->echo = strcmp(path, "/echo") == 0 ||
                (strcmp(method, "CONNECT") == 0 && strcmp(path, "127.0.0.1:80") == 0);
    if (job->echo)
        (void)server_respond(s, 200, NULL, NULL, 0, true);
    else if (strcmp(path, "/hold") == 0)
        server_stream_hold(s, true);
    else if (strcmp(path, "/headers") == 0)
        (void)server_answer(s, &(struct server_answer){.status = 206,
                                                       .content_type = "text/x",
                                                       .headers = headers,
                                                       .header_count = 4,
                                                       .data = "ok",
                                                       .len = 2});
    else
        (void)server_respond(s, strcmp(path, "/early") == 0 ? 413 : 502, "text/plain", "no", 2,
                             false);
}

static void pump(struct server_stream *s, struct job *job)
{
    while (job->kept_len > 0) {
        size_t n = job->kept_len < 60000 ? job->kept_len : 60000;

        if (server_write(s, job->kept, n) < 0)
            break;
        job->kept_len -= n;
        memmove(job->kept, job->kept + n, job->kept_len);
    }
    server_stream_hold(s, job->kept_len > 0);
    if (job->ended && job->kept_len == 0)
        server_finish(s);
}

static void on_body(void *arg, struct server_stream *s, const uint8_t *data, size_t len)
{
    struct peer *peer = arg;
    struct job *job = server_stream_user(s);

    atomic_fetch_add(&peer->got, len);
    if (!job->echo)
        return;
    if (len > sizeof(job->kept) - job->kept_len)
        abort();
    memcpy(job->kept + job->kept_len, data, len);
    job->kept_len += len;
    pump(s, job);
}

static void on_end(void *arg, struct server_stream *s)
{
    struct peer *peer = arg;
    struct job *job = server_stream_user(s);

    atomic_fetch_add(&peer->ends, 1);
    job->ended = true;
    if (job->echo)
        pump(s, job);
}

static void on_drain(void *arg, struct server_stream *s)
{
    (void)arg;
    pump(s, server_stream_user(s));
}

static void on_close(void *arg, struct server_stream *s)
{
    struct peer *peer = arg;

    free(server_stream_user(s));
    atomic_fetch_add(&peer->closes, 1);
}

static const struct server_callbacks callbacks = {
    .on_request = on_request,
    .on_body = on_body,
    .on_end = on_end,
    .on_close = on_close,
    .on_drain = on_drain,
};

static void *peer_main(void *arg)
{
    struct peer *peer = arg;

    peer_serve(peer->server, &peer->fd, peer->stop_fd, &(const bool){false});
    return NULL;
}

static struct channel_loop *loop;

static struct channel *open_peer(struct peer *peer)
{
    const struct server_options options = {
        .callbacks = &callbacks, .arg = peer, .body_max = 1000, .streams_max = 64};
    int fd;
    struct channel *ch = peer_pair(loop, &fd);

    *peer = (struct peer){.fd = fd, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    (void)fd_set_nonblock(fd, 1);
    if (server_new(fd, &options, &peer->server) < 0 ||
        pthread_create(&peer->thread, NULL, peer_main, peer) != 0)
        abort();
    return ch;
}

static void peer_stop(struct peer *peer)
{
    peer_end(peer->thread, &peer->stop_fd);
}

static struct channel_stream *begin(struct channel *ch, const char *method, const char *path,
                                    struct err *err)
{
    const struct channel_request req = {.method = method, .path = path};
    struct channel_stream *s = NULL;

    (void)channel_begin(ch, &req, &s, err);
    return s;
}

// ---- tests ----

// Both ways at once, more than all queues hold: a thread writes, this one reads.
static void test_both_ways(const char *method, const char *path)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = begin(ch, method, path, &err);
    pthread_t writer;
    size_t at;
    bool same;
    int status = 0;

    (void)pthread_create(&writer, NULL, big_write, s);
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    CHECK_INT(status, 200);
    at = big_read(s, &same, &err);
    (void)pthread_join(writer, NULL);
    CHECK_MSG(at == BIG_BYTES && same, "%s: 20 MiB go there and back intact", method);
    channel_stream_close(s);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_held_back(void)
{
    static uint8_t chunk[100000];
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = begin(ch, "POST", "/hold", &err);
    size_t sum = 0;
    ssize_t n;

    (void)channel_write(s, chunk, 1, SOON, &err);
    while (atomic_load(&peer.got) == 0)
        (void)poll(NULL, 0, 1);
    do {
        n = channel_write(s, chunk, sizeof(chunk), clock_deadline_ms(300), &err);
        sum += n > 0 ? (size_t)n : 0;
    } while (n > 0 && sum < BIG_BYTES);
    CHECK_INT(err.code, ERR_TIMEOUT);
    CHECK_MSG(sum <= (1u << 20) + CHANNEL_WINDOW_BYTES,
              "a peer that takes nothing stops the writer (after %zu bytes)", sum);
    CHECK_MSG(atomic_load(&peer.got) <= sum, "the peer got no more than was written");
    channel_stream_close(s);
    wait_for(&peer.closes, 1);
    CHECK_MSG(atomic_load(&peer.closes) == 1 && atomic_load(&peer.ends) == 0,
              "closing an unfinished request resets it: it never ends");
    channel_close(ch);
    peer_stop(&peer);
}

static void test_early_answer(void)
{
    static uint8_t chunk[100000];
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = begin(ch, "POST", "/early", &err);
    char body[8] = "";
    int status = 0;
    ssize_t n;

    do {
        n = channel_write(s, chunk, sizeof(chunk), SOON, &err);
    } while (n > 0);
    CHECK_INT(err.code, ERR_GONE);
    err.code = ERR_NONE;
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    CHECK_INT(status, 413);
    CHECK_INT(channel_read(s, body, sizeof(body), SOON, &err), 2);
    CHECK_INT(channel_read(s, body, sizeof(body), SOON, &err), 0);
    channel_finish(s);
    channel_stream_close(s);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_headers(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = begin(ch, "GET", "/headers", &err);
    int status = 0;

    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    CHECK_INT(status, 206);
    CHECK_STR(channel_header(s, "content-type"), "text/x");
    CHECK_STR(channel_header(s, "x-one"), "1");
    CHECK_STR(channel_header(s, "x-empty"), "");
    CHECK(channel_header(s, ":status") == NULL && channel_header(s, "x-two") == NULL);
    channel_stream_close(s);
    s = begin(ch, "CONNECT", "127.0.0.1:81", &err);
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    CHECK_INT(status, 502);
    channel_stream_close(s);
    channel_close(ch);
    peer_stop(&peer);
}

static void *write_on(void *arg)
{
    static uint8_t chunk[100000];
    static struct err err;
    struct channel_stream *s = arg;

    err.code = ERR_NONE;
    while (channel_write(s, chunk, sizeof(chunk), CLOCK_NEVER, &err) > 0)
        ;
    return &err;
}

static void test_shut(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = begin(ch, "POST", "/hold", &err);
    pthread_t writer;
    void *werr = NULL;
    uint8_t byte = 0;

    (void)pthread_create(&writer, NULL, write_on, s);
    while (atomic_load(&peer.got) == 0)
        (void)poll(NULL, 0, 1);
    CHECK_INT(channel_is_dead(ch), 0);
    channel_shut(ch);
    (void)pthread_join(writer, &werr);
    CHECK_MSG(((struct err *)werr)->code == ERR_GONE, "a blocked writer gets ERR_GONE");
    CHECK_INT(channel_is_dead(ch), 1);
    CHECK_INT(channel_read(s, &byte, 1, SOON, &err), -1);
    CHECK_INT(err.code, ERR_GONE);
    CHECK_INT(channel_write(s, &byte, 1, SOON, &err), -1);
    channel_finish(s);
    CHECK(begin(ch, "GET", "/headers", &err) == NULL);
    CHECK_INT(err.code, ERR_GONE);
    channel_shut(ch);
    channel_close(ch);
    CHECK_INT(channel_read(s, &byte, 1, SOON, &err), -1);
    channel_stream_close(s);
    peer_stop(&peer);
}

int main(void)
{
    struct err err = ERR_INIT;

    if (channel_loop_new(&loop, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    test_both_ways("POST", "/echo");
    test_both_ways("CONNECT", "127.0.0.1:80");
    test_held_back();
    test_early_answer();
    test_headers();
    test_shut();
    channel_loop_free(loop);
    return tap_done();
}
