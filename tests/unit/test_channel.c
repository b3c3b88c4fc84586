// SPDX-License-Identifier: Apache-2.0
//
// The channel: client and server over a socketpair.
#include "channel/channel.h"
#include "channel/server.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"

#define SOON clock_deadline_ms(60000)

#include "channel_peer.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define BIG_BYTES    (20u << 20)
#define PARALLEL     24
#define PARALLEL_LEN (400u << 10)

// ---- a peer: a thread that serves one end of a socketpair ----

struct peer {
    int fd;
    int stop_fd;
    pthread_t thread;
    struct server *server;
    size_t body_max;
    bool kill; // the peer's thread: hang up at the next turn
    atomic_int requests;
    atomic_int closed;
    atomic_size_t produced; // bytes that /gen gave to the session
};

struct job {
    struct peer *peer;
    bool echo;
    bool gen;
    bool ended;
    bool half; // die after half
    uint8_t seed;
    size_t left; // of /gen
    size_t done;
    struct buf body; // of /echo
    size_t body_off;
};

static uint8_t pattern(uint8_t seed, size_t i)
{
    return (uint8_t)(seed * 31u + i + (i >> 8) * 7u + (i >> 16) * 3u);
}

static void pump_gen(struct server_stream *s, struct job *job)
{
    while (job->left > 0) {
        uint8_t chunk[8192];
        size_t n = job->left < sizeof(chunk) ? job->left : sizeof(chunk);

        for (size_t i = 0; i < n; i++)
            chunk[i] = pattern(job->seed, job->done + i);
        if (server_write(s, chunk, n) < 0)
            return;
        job->done += n;
        job->left -= n;
        atomic_fetch_add(&job->peer->produced, n);
        if (job->half && job->done >= 100000) {
            job->peer->kill = true;
            return;
        }
    }
    server_finish(s);
}

static void pump_echo(struct server_stream *s, struct job *job)
{
    while (job->body_off < job->body.len) {
        size_t n = job->body.len - job->body_off;

        if (n > 50000)
            n = 50000;
        if (server_write(s, job->body.data + job->body_off, n) < 0)
            return;
        job->body_off += n;
    }
    if (job->ended)
        server_finish(s);
}

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    struct peer *peer = arg;
    struct job *job = calloc(1, sizeof(*job));
    unsigned seed;
    unsigned long len;

    (void)method;
    atomic_fetch_add(&peer->requests, 1);
    job->peer = peer;
    server_stream_set_user(s, job);
    if (strcmp(path, "/health") == 0) {
        (void)server_respond(s, 200, "application/json", "{\"ok\":true}", 11, false);
    } else if (strcmp(path, "/late") == 0) {
        (void)server_respond(s, 200, "text/plain", NULL, 0, true);
    } else if (strcmp(path, "/echo") == 0) {
        job->echo = true;
        (void)server_respond(s, 200, "application/octet-stream", NULL, 0, true);
    } else if (sscanf(path, "/gen/%u/%lu", &seed, &len) == 2 ||
               sscanf(path, "/die/%u/%lu", &seed, &len) == 2) {
        job->gen = true;
        job->half = path[1] == 'd';
        job->seed = (uint8_t)seed;
        job->left = len;
        (void)server_respond(s, 200, "application/octet-stream", NULL, 0, true);
        pump_gen(s, job);
    } else if (strcmp(path, "/early") == 0) {
        (void)server_respond(s, 413, "text/plain", "no", 2, false);
    } else if (strcmp(path, "/hang") != 0 && strcmp(path, "/count") != 0) {
        (void)server_respond(s, 404, "text/plain", NULL, 0, false);
    }
}

static void on_body(void *arg, struct server_stream *s, const uint8_t *data, size_t len)
{
    struct job *job = server_stream_user(s);

    (void)arg;
    (void)buf_append(&job->body, data, len);
    if (job->echo)
        pump_echo(s, job);
}

static void on_end(void *arg, struct server_stream *s)
{
    struct job *job = server_stream_user(s);

    (void)arg;
    job->ended = true;
    if (job->echo)
        pump_echo(s, job);
}

static void on_close(void *arg, struct server_stream *s)
{
    struct job *job = server_stream_user(s);
    struct peer *peer = arg;

    atomic_fetch_add(&peer->closed, 1);
    buf_release(&job->body);
    free(job);
}

static void on_drain(void *arg, struct server_stream *s)
{
    struct job *job = server_stream_user(s);

    (void)arg;
    if (job->gen)
        pump_gen(s, job);
    else if (job->echo)
        pump_echo(s, job);
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

    peer_serve(peer->server, &peer->fd, peer->stop_fd, &peer->kill);
    return NULL;
}

static void peer_start(struct peer *peer, int fd, size_t body_max)
{
    const struct server_options options = {
        .callbacks = &callbacks,
        .arg = peer,
        .body_max = body_max,
        .streams_max = 64,
    };

    *peer = (struct peer){.fd = fd, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    (void)fd_set_nonblock(fd, 1);
    if (server_new(fd, &options, &peer->server) < 0 ||
        pthread_create(&peer->thread, NULL, peer_main, peer) != 0)
        abort();
}

static void peer_stop(struct peer *peer)
{
    peer_end(peer->thread, &peer->stop_fd);
}

// ---- shared ----

static struct channel_loop *loop;

static struct channel *open_peer(struct peer *peer)
{
    int fd;
    struct channel *ch = peer_pair(loop, &fd);

    peer_start(peer, fd, BIG_BYTES);
    return ch;
}

static struct channel_stream *get(struct channel *ch, const char *path)
{
    const struct channel_request req = {.method = "GET", .path = path};
    struct channel_stream *s = NULL;
    struct err err = ERR_INIT;

    if (channel_send(ch, &req, &s, &err) < 0)
        printf("# send %s: %s\n", path, err.message);
    return s;
}

static struct channel_stream *post(struct channel *ch, const char *path, const uint8_t *body,
                                   size_t len)
{
    const struct channel_request req = {
        .method = "POST", .path = path, .body = body, .body_len = len};
    struct channel_stream *s = NULL;
    struct err err = ERR_INIT;

    if (channel_send(ch, &req, &s, &err) < 0)
        printf("# send %s: %s\n", path, err.message);
    return s;
}

// Reads the body to its end, checking the pattern. Bytes read, or -1 when the content or the read
// was wrong.
static long long read_pattern(struct channel_stream *s, uint8_t seed, size_t chunk_len,
                              struct err *err)
{
    size_t at = 0;

    for (;;) {
        uint8_t chunk[16384];
        ssize_t n = channel_read(s, chunk, chunk_len, SOON, err);

        if (n <= 0)
            return n < 0 ? -1 : (long long)at;
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] != pattern(seed, at + (size_t)i))
                return -1;
        }
        at += (size_t)n;
    }
}

static int call_health(struct channel *ch, struct err *err)
{
    const struct channel_request req = {.method = "GET", .path = "/health"};
    char *body = NULL;
    size_t len;
    int status = 0;

    if (channel_call(ch, &req, 100, SOON, &status, &body, &len, err) < 0)
        return -1;
    if (len != 11 || strcmp(body, "{\"ok\":true}") != 0)
        status = 0;
    free(body);
    return status;
}

// ---- client and server ----

static void test_small(void)
{
    const struct channel_request req = {.method = "GET", .path = "/health"};
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    char *body = NULL;
    size_t len;
    int status;
    bool all = true;

    CHECK_INT(call_health(ch, &err), 200);
    for (int i = 0; i < 200; i++)
        all = all && call_health(ch, &err) == 200;
    CHECK_MSG(all, "200 requests one after the other");
    CHECK_INT(channel_call(ch, &req, 10, SOON, &status, &body, &len, &err), -1);
    CHECK_INT(err.code, ERR_PROTOCOL);
    CHECK_MSG(body == NULL, "nothing is returned with an answer that is too large");
    CHECK_INT(channel_call(ch, &(struct channel_request){.method = "GET", .path = "/nowhere"}, 10,
                           SOON, &status, &body, &len, &err),
              0);
    CHECK_INT(status, 404);
    CHECK_INT(len, 0);
    CHECK_STR(body, "");
    free(body);
    CHECK_INT(channel_is_dead(ch), 0);
    channel_close(ch);
    peer_stop(&peer);
    CHECK_INT(atomic_load(&peer.requests), atomic_load(&peer.closed));
}

static void test_big(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    uint8_t *body = malloc(BIG_BYTES);
    struct channel_stream *s;
    uint64_t start;
    int status = 0;

    for (size_t i = 0; i < BIG_BYTES; i++)
        body[i] = pattern(5, i);
    start = clock_mono_ns();
    s = post(ch, "/echo", body, BIG_BYTES);
    free(body);
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    CHECK_INT(status, 200);
    CHECK_INT(read_pattern(s, 5, 16384, &err), BIG_BYTES);
    channel_stream_close(s);
    printf("# 20 MiB there and back: %llu ms\n",
           (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
    s = get(ch, "/gen/9/3000000");
    CHECK_INT(read_pattern(s, 9, 777, &err), 3000000);
    channel_stream_close(s);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_body_max(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    int fd;
    struct channel *ch = peer_pair(loop, &fd);
    uint8_t *body = calloc(1, 200000);
    struct channel_stream *s;
    int status = 0;

    peer_start(&peer, fd, 100000);
    s = post(ch, "/count", body, 200000);
    CHECK_INT(channel_status(s, SOON, &status, &err), -1);
    CHECK_INT(err.code, ERR_GONE);
    channel_stream_close(s);
    s = post(ch, "/echo", body, 100000);
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    channel_stream_close(s);
    s = post(ch, "/early", body, 200000);
    CHECK_MSG(channel_status(s, SOON, &status, &err) == 0 && status == 413,
              "an answer that does not wait for its request arrives");
    channel_stream_close(s);
    CHECK_INT(call_health(ch, &err), 200);
    free(body);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_back_pressure(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = get(ch, "/gen/3/10000000");
    size_t held;
    int status;

    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    (void)poll(NULL, 0, 200);
    held = atomic_load(&peer.produced);
    CHECK_MSG(held <= CHANNEL_WINDOW_BYTES + SERVER_QUEUE_BYTES,
              "a reader that sleeps holds the peer back: %zu bytes", held);
    CHECK_MSG(call_health(ch, &err) == 200, "and another stream goes on");
    CHECK_INT(read_pattern(s, 3, 16384, &err), 10000000);
    channel_stream_close(s);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_many_slow(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s[20];
    int status;
    bool all = true;

    for (int i = 0; i < 20; i++) {
        s[i] = get(ch, "/gen/3/1000000");
        all = all && channel_status(s[i], SOON, &status, &err) == 0;
    }
    (void)poll(NULL, 0, 100);
    CHECK_MSG(all && call_health(ch, &err) == 200, "twenty unread answers do not stop another");
    for (int i = 0; i < 20; i++)
        channel_stream_close(s[i]);
    wait_for(&peer.closed, 21);
    CHECK_INT(atomic_load(&peer.closed), 21);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_cancel(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = get(ch, "/hang");
    uint8_t byte;
    int status;

    wait_for(&peer.requests, 1);
    CHECK_INT(channel_status(s, clock_deadline_ms(20), &status, &err), -1);
    CHECK_INT(err.code, ERR_TIMEOUT);
    CHECK_INT(atomic_load(&peer.closed), 0);
    channel_stream_close(s);
    wait_for(&peer.closed, 1);
    CHECK_MSG(atomic_load(&peer.closed) == 1, "the server hears of a closed stream");
    s = get(ch, "/late");
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    channel_stream_cancel(s);
    err = (struct err)ERR_INIT;
    CHECK_INT(channel_read(s, &byte, 1, SOON, &err), -1);
    CHECK_INT(err.code, ERR_CANCELLED);
    wait_for(&peer.closed, 2);
    CHECK_INT(atomic_load(&peer.closed), 2);
    channel_stream_cancel(s);
    channel_stream_close(s);
    // Closed before it was ever sent in full.
    uint8_t *body = calloc(1, BIG_BYTES);

    s = post(ch, "/count", body, BIG_BYTES);
    free(body);
    channel_stream_close(s);
    CHECK_INT(call_health(ch, &err), 200);
    channel_close(ch);
    peer_stop(&peer);
}

static void test_deadline(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = get(ch, "/late");
    uint64_t start;
    uint8_t byte;
    int status;

    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    start = clock_mono_ns();
    CHECK_INT(channel_read(s, &byte, 1, clock_deadline_ms(50), &err), -1);
    CHECK_INT(err.code, ERR_TIMEOUT);
    CHECK(clock_mono_ns() - start >= 50 * NS_PER_MS);
    CHECK_INT(channel_read(s, &byte, 1, 0, &err), -1);
    CHECK_MSG(call_health(ch, &err) == 200, "the channel goes on after a deadline");
    CHECK_INT(channel_status(s, 0, &status, &err), 0);
    channel_stream_close(s);
    channel_close(ch);
    peer_stop(&peer);
}

// A descriptor that is no socket: both ends of a terminal in raw mode.
static void test_terminal(void)
{
    struct err err = ERR_INIT;
    struct channel *ch = NULL;
    struct channel_stream *s;
    struct peer peer;
    struct termios raw;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    int slave = -1;

    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || tcgetattr(slave, &raw) < 0) {
        fd_close(&master);
        tap_skip("unit", "no pseudo-terminals here");
        return;
    }
    cfmakeraw(&raw);
    (void)tcsetattr(slave, TCSANOW, &raw);
    CHECK_INT(channel_open(loop, master, &ch, &err), 0);
    peer_start(&peer, slave, BIG_BYTES);
    CHECK_INT(call_health(ch, &err), 200);
    s = get(ch, "/gen/4/1000000");
    CHECK_INT(read_pattern(s, 4, 16384, &err), 1000000);
    channel_stream_close(s);
    peer_stop(&peer);
    CHECK_INT(call_health(ch, &err), -1);
    CHECK_INT(err.code, ERR_GONE);
    channel_close(ch);
}

struct worker {
    pthread_t thread;
    struct channel *ch;
    uint8_t seed;
    bool ok;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct err err = ERR_INIT;
    char path[64];
    uint8_t *body = malloc(PARALLEL_LEN);
    struct channel_stream *s;

    w->ok = true;
    for (int round = 0; round < 3; round++) {
        (void)snprintf(path, sizeof(path), "/gen/%u/%u", w->seed, PARALLEL_LEN);
        s = get(w->ch, path);
        w->ok = w->ok && read_pattern(s, w->seed, 5000, &err) == PARALLEL_LEN;
        channel_stream_close(s);
        for (size_t i = 0; i < PARALLEL_LEN; i++)
            body[i] = pattern(w->seed, i);
        s = post(w->ch, "/echo", body, PARALLEL_LEN);
        w->ok = w->ok && read_pattern(s, w->seed, 16000, &err) == PARALLEL_LEN;
        channel_stream_close(s);
        for (int i = 0; i < 20; i++)
            w->ok = w->ok && call_health(w->ch, &err) == 200;
    }
    free(body);
    return NULL;
}

static void test_parallel(void)
{
    struct worker workers[PARALLEL];
    struct peer peers[2];
    struct channel *chs[2] = {open_peer(&peers[0]), open_peer(&peers[1])};
    bool all = true;

    for (unsigned i = 0; i < PARALLEL; i++) {
        workers[i] = (struct worker){.ch = chs[i % 2], .seed = (uint8_t)(i + 1)};
        (void)pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
    }
    for (unsigned i = 0; i < PARALLEL; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        all = all && workers[i].ok;
    }
    CHECK_MSG(all, "%d threads on two channels get their own bytes", PARALLEL);
    for (int i = 0; i < 2; i++) {
        channel_close(chs[i]);
        peer_stop(&peers[i]);
        CHECK_INT(atomic_load(&peers[i].requests), atomic_load(&peers[i].closed));
    }
}

static void test_killed(void)
{
    struct err err = ERR_INIT;
    struct peer peer;
    struct channel *ch = open_peer(&peer);
    struct channel_stream *s = get(ch, "/die/7/10000000");
    struct channel_stream *other = get(ch, "/hang");
    int status;

    CHECK_INT(read_pattern(s, 7, 16384, &err), -1);
    CHECK_INT(err.code, ERR_GONE);
    CHECK_INT(channel_status(other, SOON, &status, &err), -1);
    CHECK_INT(err.code, ERR_GONE);
    CHECK_INT(channel_is_dead(ch), 1);
    CHECK_INT(call_health(ch, &err), -1);
    CHECK_INT(err.code, ERR_GONE);
    channel_stream_close(s);
    channel_close(ch);
    channel_stream_close(other);
    peer_stop(&peer);
}

struct blocked {
    pthread_t thread;
    struct channel_stream *s;
    bool read;
    enum err_code code;
};

static void *blocked_main(void *arg)
{
    struct blocked *b = arg;
    struct err err = ERR_INIT;
    uint8_t byte;
    int status;

    if (b->read)
        (void)channel_read(b->s, &byte, 1, CLOCK_NEVER, &err);
    else
        (void)channel_status(b->s, CLOCK_NEVER, &status, &err);
    channel_stream_close(b->s);
    b->code = err.code;
    return NULL;
}

static void test_close_while_blocked(void)
{
    bool all = true;

    for (int round = 0; round < 20; round++) {
        struct blocked b[4];
        struct peer peer;
        struct channel *ch = open_peer(&peer);

        for (int i = 0; i < 4; i++) {
            b[i] = (struct blocked){.s = get(ch, i % 2 ? "/late" : "/hang"), .read = i % 2};
            (void)pthread_create(&b[i].thread, NULL, blocked_main, &b[i]);
        }
        if (round % 2)
            wait_for(&peer.requests, 4);
        channel_close(ch);
        for (int i = 0; i < 4; i++) {
            (void)pthread_join(b[i].thread, NULL);
            all = all && b[i].code == ERR_GONE;
        }
        peer_stop(&peer);
    }
    CHECK_MSG(all, "threads blocked in a channel that is closed get ERR_GONE");
}

static void test_fd_closed(void)
{
    int fd;
    struct channel *ch = peer_pair(loop, &fd);
    struct channel *again;
    struct err err = ERR_INIT;
    uint8_t byte;

    channel_close(ch);
    CHECK_MSG(read(fd, &byte, 1) == 0, "the descriptor is closed when channel_close returns");
    fd_close(&fd);
    CHECK_INT(channel_open(loop, -1, &again, &err), -1);
    CHECK_INT(err.code, ERR_SYSTEM);
    channel_close(NULL);
    channel_stream_close(NULL);
    channel_loop_free(NULL);
}

int main(void)
{
    struct err err = ERR_INIT;

    if (channel_loop_new(&loop, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    test_small();
    test_big();
    test_body_max();
    test_back_pressure();
    test_many_slow();
    test_cancel();
    test_deadline();
    test_terminal();
    test_parallel();
    test_killed();
    test_close_while_blocked();
    test_fd_closed();
    channel_loop_free(loop);
    return tap_done();
}
