// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server over real sockets: bodies taken as they come, streamed and broken-off answers,
// answers of other servers, upgraded connections.
#include "http/http.h"
#include "http/listen.h"
#include "http/router.h"
#include "http/server.h"

#include "base/clock.h"
#include "base/fd.h"

#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG_BYTES (20u << 20)

static uint16_t port;
static atomic_int dones;
static atomic_int gones;

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i + (i >> 8) * 7u + (i >> 16) * 3u);
}

// ---- what serves: /up counts, /down sends, /cut breaks off, /no wants nothing, /raw upgrades ----

struct job {
    struct http_exchange *exchange;
    size_t got;
    bool same;
    size_t sent;
    size_t most;
    size_t chunk;
};

static bool push(void *arg, const void *data, size_t len)
{
    struct job *j = arg;
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        j->same = j->same && bytes[i] == pattern(j->got + i);
    j->got += len;
    return j->got <= BIG_BYTES;
}

static ssize_t pull(void *arg, char *data, size_t max)
{
    struct job *j = arg;
    size_t n = j->most - j->sent;

    if (n == 0)
        return j->most == BIG_BYTES ? 0 : -1;
    n = n < max ? n : max;
    n = n < j->chunk ? n : j->chunk;
    for (size_t i = 0; i < n; i++)
        data[i] = (char)pattern(j->sent + i);
    j->sent += n;
    return (ssize_t)n;
}

static ssize_t pull_until_gone(void *arg, char *data, size_t max)
{
    struct job *j = arg;

    (void)max;
    if (j->sent++ == 0) {
        data[0] = 'x';
        return 1;
    }
    while (!http_client_gone(j->exchange))
        (void)poll(NULL, 0, 5);
    atomic_fetch_add(&gones, 1);
    return -1;
}

static void echo(void *arg, int socket, const void *extra, size_t extra_len)
{
    struct job *j = arg;
    char data[4096];
    ssize_t n = 1;

    if (extra_len > 0)
        (void)!write(socket, extra, extra_len);
    while (n != 0 && !http_client_gone(j->exchange)) {
        if (fd_wait(socket, POLLIN, clock_deadline_ms(50)) <= 0)
            continue;
        n = recv(socket, data, sizeof(data), MSG_DONTWAIT);
        if (n > 0)
            (void)fd_write_all(socket, data, (size_t)n);
        n = n < 0 ? 1 : n;
    }
    atomic_fetch_add(&gones, 1);
}

static void end(void *arg, const struct http_request *req, struct http_response *res)
{
    struct job *j = arg;
    bool sized = strstr(req->path, "sized") != NULL;

    res->status = 200;
    res->foreign = true;
    res->content_type = "application/x";
    http_set_header(res, "Set-Cookie", "a=1");
    http_set_header(res, "Set-Cookie", "b=2");
    if (strncmp(req->path, "/take/up", 8) == 0) {
        (void)buf_appendf(&res->body, "%zu %s", j->got, j->same ? "same" : "other");
    } else if (strncmp(req->path, "/take/down", 10) == 0 ||
               strncmp(req->path, "/take/cut", 9) == 0) {
        j->most = req->path[6] == 'd' ? BIG_BYTES : 100000;
        res->stream.pull = pull;
        res->stream.arg = j;
        res->sized = sized;
        res->size = BIG_BYTES;
    } else if (strcmp(req->path, "/take/raw") == 0) {
        res->status = 101;
        res->content_type = NULL;
        res->upgrade = echo;
        res->upgrade_arg = j;
        http_set_header(res, "Upgrade", "echo");
    } else if (strcmp(req->path, "/take/wait") == 0) {
        res->stream.pull = pull_until_gone;
        res->stream.arg = j;
    } else {
        res->status = 403;
    }
}

static void done(void *arg)
{
    free(arg);
    atomic_fetch_add(&dones, 1);
}

static bool take(void *app, const struct http_request *req, struct http_sink *ret)
{
    struct job *j;

    (void)app;
    if (strncmp(req->path, "/take/", 6) != 0)
        return false;
    j = calloc(1, sizeof(*j));
    *j = (struct job){.exchange = req->exchange, .same = true, .chunk = 30000};
    *ret = (struct http_sink){push, end, done, j};
    if (strcmp(req->path, "/take/no") == 0)
        ret->push = NULL;
    return true;
}

static const struct http_route routes[] = {{0}};

static struct http_server *server_start(void)
{
    struct http_options o = {.routes = routes,
                             .take = take,
                             .body_max_bytes = 1000,
                             .connections_max = 50,
                             .idle_ms = 5000,
                             .body_ms = 1000,
                             .write_ms = 5000,
                             .allowed_hosts = "nobody"};
    struct http_server *s = NULL;
    struct err err = ERR_INIT;
    char address[64];

    if (listen_tcp("127.0.0.1", 0, &o.listen_fd, address, sizeof(address), &err) < 0 ||
        http_server_new(&o, &s, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
    return s;
}

// ---- a client ----

static int dial(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        printf("# connect: %s\n", strerror(errno));
    return fd;
}

static void say(int fd, const char *text)
{
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static char *read_all(int fd, size_t *ret_len)
{
    struct buf b = BUF_INIT;
    char data[65536];
    ssize_t n;

    while ((n = read(fd, data, sizeof(data))) > 0)
        (void)buf_append(&b, data, (size_t)n);
    fd_close(&fd);
    *ret_len = b.len;
    return (char *)(buf_cstr(&b) == NULL ? NULL : b.data);
}

static char *ask(const char *text)
{
    int fd = dial();
    size_t len;

    say(fd, text);
    return read_all(fd, &len);
}

#define HEAD " HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n"

static void test_upload(bool chunked)
{
    static uint8_t piece[70001];
    char line[64];
    int fd = dial();
    size_t len;
    char *answer;

    say(fd, "POST /take/up" HEAD "Content-Encoding: gzip\r\n");
    (void)snprintf(line, sizeof(line), "Content-Length: %u\r\n\r\n", BIG_BYTES);
    say(fd, chunked ? "Transfer-Encoding: chunked\r\n\r\n" : line);
    for (size_t at = 0; at < BIG_BYTES;) {
        size_t n = BIG_BYTES - at < sizeof(piece) ? BIG_BYTES - at : sizeof(piece);

        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(at + i);
        (void)snprintf(line, sizeof(line), "%zx\r\n", n);
        if (chunked)
            say(fd, line);
        if (fd_write_all(fd, piece, n) < 0)
            break;
        if (chunked)
            say(fd, "\r\n");
        at += n;
    }
    if (chunked)
        say(fd, "0\r\n\r\n");
    answer = read_all(fd, &len);
    CHECK_MSG(strstr(answer, "\r\n\r\n20971520 same") != NULL, "20 MiB up, %s",
              chunked ? "chunked" : "of known length");
    free(answer);
}

// The body of a chunked answer, put together; *ret_whole: the last chunk came.
static size_t unchunk(char *body, size_t len, bool *ret_whole)
{
    size_t at = 0, used = 0;

    *ret_whole = false;
    while (at < len) {
        char *rest;
        size_t n = strtoul(body + at, &rest, 16);

        at = (size_t)(rest - body) + 2;
        if (n == 0) {
            *ret_whole = true;
            break;
        }
        if (at + n > len)
            break;
        memmove(body + used, body + at, n);
        used += n;
        at += n + 2;
    }
    return used;
}

static void test_download(const char *path, bool sized, size_t want, bool want_whole)
{
    char text[200];
    int fd = dial();
    size_t len, head;
    bool same = true, whole;
    char *answer, *body;

    (void)snprintf(text, sizeof(text), "GET %s" HEAD "\r\n", path);
    say(fd, text);
    answer = read_all(fd, &len);
    body = strstr(answer, "\r\n\r\n") + 4;
    head = (size_t)(body - answer);
    len -= head;
    body[-1] = '\0';
    CHECK_MSG((strstr(answer, "Content-Length: 20971520") != NULL) == sized &&
                  (strstr(answer, "chunked") == NULL) == sized,
              "%s: its length is told or not", path);
    CHECK_MSG(strstr(answer, "X-Request-Id") == NULL && strstr(answer, "nosniff") == NULL &&
                  strstr(answer, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n") != NULL,
              "%s: the headers of the other server and no other", path);
    if (!sized)
        len = unchunk(body, len, &whole);
    else
        whole = len == BIG_BYTES;
    for (size_t i = 0; i < len; i++)
        same = same && (uint8_t)body[i] == pattern(i);
    CHECK_MSG(len == want && same && whole == want_whole, "%s: %zu bytes, %s", path, len,
              whole ? "whole" : "broken off");
    free(answer);
}

static void test_refused(void)
{
    char *answer = ask("POST /take/no" HEAD "Content-Length: 5\r\n\r\nhello");

    CHECK_MSG(strncmp(answer, "HTTP/1.1 403", 12) == 0, "nothing wanted: answered after the body");
    free(answer);
    answer = ask("POST /take/no" HEAD "Content-Length: 99999999999\r\n\r\nhello");
    CHECK_MSG(strncmp(answer, "HTTP/1.1 403", 12) == 0, "nothing wanted of much: answered at once");
    free(answer);
    answer = ask("POST /take/no" HEAD "Expect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    CHECK_MSG(strncmp(answer, "HTTP/1.1 403", 12) == 0, "nor when asked whether to send");
    free(answer);
    answer = ask("POST /other" HEAD "Content-Length: 0\r\n\r\n");
    CHECK_MSG(strncmp(answer, "HTTP/1.1 403", 12) == 0 && strstr(answer, "host_not_allowed"),
              "what is not taken is checked as ever");
    free(answer);
    answer = ask("POST /take/up" HEAD "Content-Length: 9\r\n\r\nhell");
    CHECK_MSG(answer == NULL || answer[0] == '\0', "a body that stops coming is cut off");
    free(answer);
}

static void wait_for(atomic_int *value, int want)
{
    uint64_t deadline = clock_deadline_ms(60000);

    while (atomic_load(value) < want && clock_mono_ns() < deadline)
        (void)poll(NULL, 0, 5);
}

static void test_gone(void)
{
    int before = atomic_load(&gones);
    char data[1024];
    int fd = dial();

    say(fd, "GET /take/wait" HEAD "\r\n");
    (void)fd_wait(fd, POLLIN, clock_deadline_ms(60000));
    CHECK_MSG(read(fd, data, sizeof(data)) > 0,
              "the first byte comes while the rest is waited for");
    fd_close(&fd);
    wait_for(&gones, before + 1);
    CHECK_INT(atomic_load(&gones), before + 1);
}

static int upgrade(void)
{
    char head[1024] = "";
    size_t len = 0;
    int fd = dial();

    say(fd,
        "GET /take/raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
    while (len < sizeof(head) - 1 && strstr(head, "early") == NULL) {
        ssize_t n = read(fd, head + len, sizeof(head) - 1 - len);

        if (n <= 0)
            break;
        len += (size_t)n;
    }
    CHECK_MSG(strncmp(head, "HTTP/1.1 101", 12) == 0 && strstr(head, "Upgrade: echo\r\n") &&
                  strstr(head, "\r\n\r\nearly"),
              "101, then what came early");
    return fd;
}

static void test_upgrade(struct http_server *s)
{
    int before = atomic_load(&gones);
    char data[16] = "";
    int fd = upgrade();
    int other;

    say(fd, "hello");
    CHECK_INT(read(fd, data, sizeof(data)), 5);
    fd_close(&fd);
    wait_for(&gones, before + 1);
    CHECK_INT(atomic_load(&gones), before + 1);
    other = upgrade();
    http_server_free(s);
    CHECK_MSG(atomic_load(&gones) == before + 2, "the server ends upgraded connections");
    CHECK_MSG(read(other, data, sizeof(data)) <= 0, "the client sees the end");
    fd_close(&other);
}

int main(void)
{
    struct http_server *s = server_start();

    test_upload(true);
    test_upload(false);
    test_download("/take/down", false, BIG_BYTES, true);
    test_download("/take/down-sized", true, BIG_BYTES, true);
    test_download("/take/cut", false, 100000, false);
    test_download("/take/cut-sized", true, 100000, false);
    test_refused();
    test_gone();
    test_upgrade(s);
    CHECK_MSG(atomic_load(&dones) == 13, "every request was let go of (%d)", atomic_load(&dones));
    return tap_done();
}
