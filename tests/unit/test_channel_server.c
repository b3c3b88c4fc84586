// SPDX-License-Identifier: Apache-2.0
//
// What a handler of the agent's side may do with its stream: headers, a body that is held back,
// callbacks of its own, an answer broken off.
#include "channel/channel.h"
#include "channel/server.h"

#include "base/clock.h"
#include "base/fd.h"

#include "tap.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOON       clock_deadline_ms(60000)
#define BODY_BYTES (5u << 20)
#define WINDOW     (1u << 20)

static struct server *server;
static struct server_stream *held;
static size_t held_bytes;
static int closed_own;

static void answer_text(struct server_stream *s, const char *text)
{
    (void)server_respond(s, 200, "text/plain", text, strlen(text), false);
}

static void held_body(void *arg, struct server_stream *s, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)s;
    (void)data;
    held_bytes += len;
}

static void held_end(void *arg, struct server_stream *s)
{
    char text[32];

    snprintf(text, sizeof(text), "%s %zu", (const char *)arg, held_bytes);
    answer_text(s, text);
}

static void held_close(void *arg, struct server_stream *s)
{
    (void)arg;
    (void)s;
    closed_own++;
}

static const struct server_callbacks held_callbacks = {
    .on_body = held_body, .on_end = held_end, .on_close = held_close};

// "name=value;" of all that begin with x-.
static void answer_headers(struct server_stream *s)
{
    const char *name, *value;
    char text[512] = "";
    size_t len = 0;

    for (size_t at = 0; server_stream_header_at(s, &at, &name, &value);)
        if (strncmp(name, "x-", 2) == 0)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s=%s;", name, value);
    if (server_stream_header(s, "x-none") != NULL || server_stream_header(s, ":path") != NULL)
        answer_text(s, "wrong");
    answer_text(s, text);
}

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    static char word[] = "held";
    char text[32];

    (void)arg;
    (void)method;
    if (strcmp(path, "/headers") == 0) {
        answer_headers(s);
    } else if (strncmp(path, "/long", 5) == 0) {
        snprintf(text, sizeof(text), "%zu", strlen(path));
        answer_text(s, text);
    } else if (strcmp(path, "/hold") == 0) {
        held = s;
        server_stream_set_callbacks(s, &held_callbacks, word);
        server_stream_set_body_max(s, UINT64_MAX);
        server_stream_hold(s, true);
    } else if (strcmp(path, "/held") == 0) {
        snprintf(text, sizeof(text), "%zu", held_bytes);
        answer_text(s, text);
    } else if (strcmp(path, "/release") == 0) {
        server_stream_hold(held, false);
        answer_text(s, "ok");
    } else if (strcmp(path, "/break") == 0) {
        (void)server_respond(s, 200, "text/plain", "some", 4, true);
        server_stream_reset(s);
    }
}

static const struct server_callbacks callbacks = {.on_request = on_request};

static void *serve(void *arg)
{
    int fd = *(int *)arg;
    int rc = 0;

    while (rc == 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (server_wants_write(server))
            p.events |= POLLOUT;
        (void)poll(&p, 1, -1);
        rc = server_readable(server);
        if (rc == 0)
            rc = server_writable(server);
    }
    server_free(server);
    return NULL;
}

static char *text_of(struct channel *ch, const char *path, const struct channel_header *headers,
                     size_t count)
{
    struct channel_request req = {"GET", path, NULL, 0, headers, count};
    struct err err = ERR_INIT;
    char *text = NULL;
    size_t len;
    int status;

    if (channel_call(ch, &req, 1024, SOON, &status, &text, &len, &err) < 0)
        printf("# %s\n", err.message);
    return text;
}

static void test_headers(struct channel *ch)
{
    static const struct channel_header headers[] = {{"x-a", "1"}, {"y", "2"}, {"x-b", "3 4"}};
    _cleanup_free_ char *text = text_of(ch, "/headers", headers, 3);
    static char path[9001] = "/long";
    _cleanup_free_ char *len = NULL;

    CHECK_STR(text, "x-a=1;x-b=3 4;");
    memset(path + 5, 'x', sizeof(path) - 6);
    len = text_of(ch, path, NULL, 0);
    CHECK_STR(len, "9000");
}

static void test_hold(struct channel *ch)
{
    uint8_t *body = calloc(1, BODY_BYTES);
    struct channel_request req = {"POST", "/hold", body, BODY_BYTES, NULL, 0};
    struct channel_stream *s;
    struct err err = ERR_INIT;
    const struct timespec while_it_comes = clock_to_timespec(300 * NS_PER_MS);
    uint64_t deadline = SOON;
    char text[64] = "";
    int status;

    CHECK(channel_send(ch, &req, &s, &err) == 0);
    nanosleep(&while_it_comes, NULL);
    _cleanup_free_ char *before = text_of(ch, "/held", NULL, 0);
    while (before != NULL && strtoul(before, NULL, 10) == 0 && clock_mono_ns() < deadline) {
        free(before);
        before = text_of(ch, "/held", NULL, 0);
    }
    CHECK_MSG(before != NULL && strtoul(before, NULL, 10) > 0 &&
                  strtoul(before, NULL, 10) <= WINDOW,
              "others are answered, and it got %s", before);
    _cleanup_free_ char *ok = text_of(ch, "/release", NULL, 0);
    CHECK_STR(ok, "ok");
    CHECK(channel_status(s, SOON, &status, &err) == 0 && status == 200);
    CHECK(channel_read(s, text, sizeof(text) - 1, SOON, &err) > 0);
    CHECK_STR(text, "held 5242880");
    channel_stream_close(s);
    free(body);
}

static void test_break(struct channel *ch)
{
    struct channel_request req = {"GET", "/break", NULL, 0, NULL, 0};
    struct channel_stream *s;
    struct err err = ERR_INIT;
    char text[16];
    ssize_t n;

    CHECK(channel_send(ch, &req, &s, &err) == 0);
    while ((n = channel_read(s, text, sizeof(text), SOON, &err)) > 0)
        ;
    CHECK_MSG(n < 0 && err.code != ERR_TIMEOUT, "no end that looks good: %s", err.message);
    channel_stream_close(s);
}

int main(void)
{
    struct server_options options = {.callbacks = &callbacks, .body_max = 10, .streams_max = 8};
    struct channel_loop *loop = NULL;
    struct channel *ch = NULL;
    struct err err = ERR_INIT;
    pthread_t thread;
    int fds[2];

    if (fd_socketpair(SOCK_STREAM, fds) < 0 || fd_set_nonblock(fds[1], 1) < 0 ||
        server_new(fds[1], &options, &server) < 0 || channel_loop_new(&loop, &err) < 0 ||
        channel_open(loop, fds[0], &ch, &err) < 0)
        abort();
    (void)pthread_create(&thread, NULL, serve, &fds[1]);
    test_headers(ch);
    test_hold(ch);
    test_break(ch);
    channel_close(ch);
    (void)pthread_join(thread, NULL);
    CHECK_INT(closed_own, 1);
    channel_loop_free(loop);
    close(fds[1]);
    return tap_done();
}
