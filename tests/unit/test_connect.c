// SPDX-License-Identifier: Apache-2.0
//
// CONNECT through the agent to services on this host's loopback.
#include "envd_harness.h"

#include "base/clock.h"
#include "base/fd.h"

#define SOON clock_deadline_ms(60000)

#include "channel_big.h"
#include "tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

// Listens on a free port of either loopback.
static int serve(int family, uint16_t *ret_port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *at = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t len = family == AF_INET ? sizeof(v4) : sizeof(v6);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, at, len) < 0 || listen(fd, 600) < 0 || getsockname(fd, at, &len) < 0) {
        fd_close(&fd);
        return -1;
    }
    *ret_port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
    return fd;
}

static struct channel_stream *dial(uint16_t port, int *ret_status)
{
    char target[32];
    const struct channel_request req = {.method = "CONNECT", .path = target};
    struct channel_stream *s = NULL;
    struct err err = ERR_INIT;

    (void)snprintf(target, sizeof(target), "localhost:%u", port);
    *ret_status = -1;
    if (channel_begin(envd_channel(), &req, &s, &err) < 0 ||
        channel_status(s, SOON, ret_status, &err) < 0)
        printf("# connect: %s\n", err.message);
    return s;
}

// ---- echo: one thread serves one connection, another writes ----

static void *echo_main(void *arg)
{
    int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);
    char data[40000];
    ssize_t n;

    while ((n = read(fd, data, sizeof(data))) > 0)
        if (fd_write_all(fd, data, (size_t)n) < 0)
            break;
    fd_close(&fd);
    return NULL;
}

static void test_echo(int family)
{
    uint16_t port = 0;
    int listener = serve(family, &port);
    struct err err = ERR_INIT;
    pthread_t server, writer;
    struct channel_stream *s;
    size_t at;
    bool same;
    int status;

    if (listener < 0) {
        printf("# no loopback of that family here\n");
        return;
    }
    (void)pthread_create(&server, NULL, echo_main, &listener);
    s = dial(port, &status);
    CHECK_INT(status, 200);
    (void)pthread_create(&writer, NULL, big_write, s);
    at = big_read(s, &same, &err);
    (void)pthread_join(writer, NULL);
    (void)pthread_join(server, NULL);
    CHECK_MSG(at == BIG_BYTES && same, "IPv%d: 20 MiB there and back, the end of either passed on",
              family == AF_INET ? 4 : 6);
    channel_stream_close(s);
    fd_close(&listener);
}

static void test_refused(void)
{
    static const struct {
        const char *target;
        int status;
    } rows[] = {{"127.0.0.1:80", 400}, {"localhost:0", 400},    {"localhost:65536", 400},
                {"localhost:", 400},   {"localhost:+80", 400},  {"example.org:80", 400},
                {"localhost", 400},    {"localhost:80:80", 400}};
    uint16_t port = 0;
    int listener = serve(AF_INET, &port);
    struct channel_stream *s;
    struct err err = ERR_INIT;
    int status;

    fd_close(&listener);
    s = dial(port, &status);
    CHECK_MSG(status == 502, "a port nobody listens on is 502");
    CHECK_MSG(channel_write(s, "late", 4, SOON, &err) <= 4, "what is written then is not missed");
    channel_stream_close(s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct channel_request req = {.method = "CONNECT", .path = rows[i].target};

        status = 0;
        if (channel_send(envd_channel(), &req, &s, &err) == 0)
            (void)channel_status(s, SOON, &status, &err);
        CHECK_MSG(status == rows[i].status, "CONNECT %s is %d (%d)", rows[i].target, rows[i].status,
                  status);
        channel_stream_close(s);
    }
}

// A service that reads nothing holds the writer back; one that is left hears of it.
static void test_held_back(void)
{
    static uint8_t chunk[100000];
    uint16_t port = 0;
    int listener = serve(AF_INET, &port);
    struct err err = ERR_INIT;
    int status, fd;
    struct channel_stream *s = dial(port, &status);
    size_t sum = 0;
    ssize_t n;

    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    do {
        n = channel_write(s, chunk, sizeof(chunk), clock_deadline_ms(500), &err);
        sum += n > 0 ? (size_t)n : 0;
    } while (n > 0 && sum < (64u << 20));
    CHECK_MSG(err.code == ERR_TIMEOUT && sum < (32u << 20),
              "a service that does not read stops the writer (after %zu bytes)", sum);
    channel_stream_close(s);
    do {
        n = read(fd, chunk, sizeof(chunk));
    } while (n > 0);
    CHECK_MSG(n <= 0, "the service sees the end of a tunnel that is reset");
    fd_close(&fd);

    // One that sends without end to who reads nothing.
    s = dial(port, &status);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    (void)fd_set_nonblock(fd, 1);
    sum = 0;
    while (fd_wait(fd, POLLOUT, clock_deadline_ms(500)) > 0 && sum < (64u << 20)) {
        n = write(fd, chunk, sizeof(chunk));
        sum += n > 0 ? (size_t)n : 0;
    }
    CHECK_MSG(sum < (32u << 20), "a client that does not read stops the service (after %zu bytes)",
              sum);
    fd_close(&fd);
    channel_stream_close(s);
    fd_close(&listener);
}

static void test_many(void)
{
    static struct channel_stream *s[392];
    uint16_t port = 0;
    int listener = serve(AF_INET, &port);
    int ok = 0, status;
    struct err err = ERR_INIT;
    uint8_t byte;

    for (int i = 0; i < 392; i++) {
        s[i] = dial(port, &status);
        ok += status == 200;
        if (status != 200)
            CHECK_MSG(i >= 384 && status == 503, "connection %d is refused (%d)", i, status);
    }
    CHECK_INT(ok, 384);
    for (int i = 0; i < 392; i++)
        channel_stream_close(s[i]);
    s[0] = dial(port, &status);
    CHECK_MSG(status == 200, "there is room again once they are closed");
    fd_close(&listener); // resets what was not accepted
    CHECK_MSG(channel_read(s[0], &byte, 1, SOON, &err) < 0 && err.code == ERR_GONE,
              "a connection that breaks breaks the stream off");
    channel_stream_close(s[0]);
}

int main(void)
{
    envd_begin();
    test_echo(AF_INET);
    test_echo(AF_INET6);
    test_refused();
    test_held_back();
    test_many();
    CHECK(envd_finish());
    return tap_done();
}
