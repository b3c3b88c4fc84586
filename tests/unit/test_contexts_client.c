// SPDX-License-Identifier: Apache-2.0
//
// What the daemon makes of an agent's answers when it starts the code interpreter, true and
// hostile.
#include "sandbox/contexts_client.h"

#include "channel/channel.h"

#include "base/clock.h"
#include "base/fd.h"

#define SOON clock_deadline_ms(60000)

#include "channel_peer.h"
#include "tap.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

// One answer for every request, and what the last request was.
struct peer {
    int fd;
    int stop_fd;
    pthread_t thread;
    struct server *server;
    int status;
    const uint8_t *answer;
    size_t len;
    char asked[1024];
    size_t asked_len;
};

static void on_request(void *arg, struct server_stream *s, const char *method, const char *path)
{
    struct peer *p = arg;
    const char *user = server_stream_header(s, "authorization");

    p->asked_len = (size_t)snprintf(p->asked, sizeof(p->asked), "%s %s %s ", method, path,
                                    user == NULL ? "" : user);
}

static void on_body(void *arg, struct server_stream *s, const uint8_t *data, size_t len)
{
    struct peer *p = arg;

    (void)s;
    for (size_t i = 0; i < len && p->asked_len + 1 < sizeof(p->asked); i++)
        p->asked[p->asked_len++] = data[i] < ' ' ? '.' : (char)data[i];
    p->asked[p->asked_len] = '\0';
}

static void on_end(void *arg, struct server_stream *s)
{
    const struct peer *p = arg;

    (void)server_respond(s, p->status, "application/connect+json", p->answer, p->len, false);
}

static void on_close(void *arg, struct server_stream *s)
{
    (void)arg;
    (void)s;
}

static void *serve(void *arg)
{
    static const bool never;
    struct peer *p = arg;

    peer_serve(p->server, &p->fd, p->stop_fd, &never);
    return NULL;
}

static const struct server_callbacks callbacks = {
    .on_request = on_request, .on_body = on_body, .on_end = on_end, .on_close = on_close};

// Starts it at a peer that answers so.
static int start(int status, const void *answer, size_t len, enum contexts_warm warm, char *asked,
                 struct err *err)
{
    struct peer p = {.status = status, .answer = answer, .len = len};
    const struct server_options options = {
        .callbacks = &callbacks, .arg = &p, .body_max = 4096, .streams_max = 4};
    struct channel_loop *loop;
    struct channel *ch;
    int pair[2];
    int r;

    *err = (struct err)ERR_INIT;
    if (fd_socketpair(SOCK_STREAM, pair) < 0 || fd_set_nonblock(pair[1], 1) < 0 ||
        channel_loop_new(&loop, err) < 0 || channel_open(loop, pair[0], &ch, err) < 0 ||
        server_new(pair[1], &options, &p.server) < 0)
        abort();
    p.fd = pair[1];
    p.stop_fd = eventfd(0, EFD_CLOEXEC);
    if (pthread_create(&p.thread, NULL, serve, &p) != 0)
        abort();
    r = contexts_start(ch, warm, SOON, err);
    channel_close(ch);
    peer_end(p.thread, &p.stop_fd);
    channel_loop_free(loop);
    if (asked != NULL)
        (void)snprintf(asked, sizeof(p.asked), "%s", p.asked);
    return r;
}

struct text {
    uint8_t data[70000];
    size_t len;
};

static void put(struct text *t, const char *message)
{
    size_t n = strlen(message);

    memcpy(t->data + t->len,
           (uint8_t[]){0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n},
           5);
    memcpy(t->data + t->len + 5, message, n);
    t->len += 5 + n;
}

static void test_good(void)
{
    static struct text t;
    struct err err;
    char asked[1024];

    put(&t, "{\"event\":{\"start\":{\"pid\":7}}}");
    put(&t, "{\"event\":{\"keepalive\":{}}}");
    put(&t, "{\"event\":{\"data\":{\"stdout\":\"cg==\"}}}");
    put(&t, "{\"event\":{\"end\":{\"exitCode\":0,\"exited\":true,\"status\":\"exit status 0\"}}}");
    put(&t, "{}");
    CHECK(start(200, t.data, t.len, CONTEXTS_WARM, asked, &err) == 0);
    CHECK(strstr(asked, "POST /envd/process.Process/Start Basic cm9vdDo= ") == asked);
    CHECK(strstr(asked, "\"/csb/contexts/server.py\",\"--background\",\"--warm\"]") != NULL);
    CHECK(start(200, t.data, t.len, CONTEXTS_WARM_PYTHON, asked, &err) == 0);
    CHECK(strstr(asked, "\"--background\",\"--warm=python\"]") != NULL);
    CHECK(start(200, t.data, t.len, CONTEXTS_COLD, asked, &err) == 0);
    CHECK(strstr(asked, "\"--background\"]") != NULL);
}

static void test_failed(void)
{
    static struct text t;
    struct err err;

    // "Traceback\nImport" and "Error: no\n"
    put(&t, "{\"event\":{\"data\":{\"stderr\":\"VHJhY2ViYWNrCkltcG9ydA==\"}}}");
    put(&t, "{\"event\":{\"data\":{\"stderr\":\"RXJyb3I6IG5vCg==\"}}}");
    put(&t, "{\"event\":{\"end\":{\"exitCode\":1,\"exited\":true}}}");
    CHECK(start(200, t.data, t.len, CONTEXTS_WARM, NULL, &err) < 0 && err.code == ERR_INTERNAL);
    CHECK_STR(err.message, "the code interpreter's server: ImportError: no");
    t.len = 0;
    put(&t, "{\"event\":{\"end\":{\"exitCode\":-1}}}");
    CHECK(start(200, t.data, t.len, CONTEXTS_WARM, NULL, &err) < 0 &&
          strstr(err.message, "nothing") != NULL);
}

static void test_hostile(void)
{
    static const char *const messages[] = {
        "{}",
        "{\"event\":{}}",
        "{\"event\":1}",
        "{\"event\":{\"end\":[]}}",
        "{\"event\":{\"end\":{\"exitCode\":\"0\"}}}",
        "{\"event\":{\"end\":{\"exitCode\":256}}}",
        "{\"event\":{\"data\":{\"stderr\":\"*\"}}}",
        "{\"event\":{\"data\":{\"stderr\":3}}}",
        "{\"a\":1,\"a\":2}",
        "x",
        "",
    };
    static struct text t;
    struct err err;

    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        t.len = 0;
        put(&t, messages[i]);
        CHECK_MSG(start(200, t.data, t.len, CONTEXTS_WARM, NULL, &err) < 0 &&
                      err.code == ERR_PROTOCOL,
                  "refused: '%s'", messages[i]);
    }
    CHECK(start(200, "", 0, CONTEXTS_WARM, NULL, &err) < 0 && err.code == ERR_PROTOCOL);
    CHECK(start(200, "\0\0", 2, CONTEXTS_WARM, NULL, &err) < 0 && err.code == ERR_PROTOCOL);
    CHECK(start(200, "\0\xff\xff\xff\xff{}", 7, CONTEXTS_WARM, NULL, &err) < 0 &&
          err.code == ERR_PROTOCOL);
    CHECK(start(404, "no", 2, CONTEXTS_WARM, NULL, &err) < 0 && err.code == ERR_PROTOCOL);
    memset(t.data, 0, sizeof(t.data));
    CHECK(start(200, t.data, sizeof(t.data), CONTEXTS_WARM, NULL, &err) < 0 &&
          err.code == ERR_PROTOCOL);
}

int main(void)
{
    test_good();
    test_failed();
    test_hostile();
    return tap_done();
}
