// SPDX-License-Identifier: Apache-2.0
//
// The QMP client against a peer that says what each test wants, hostile words included.
#include "base/clock.h"
#include "base/fd.h"
#include "driver/qmp.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": []}}\r\n"
#define WAIT_MS  60000

struct pair {
    struct qmp *q;
    int peer;
};

static struct pair open_pair(const char *said)
{
    struct pair p = {0};
    struct err err = ERR_INIT;
    int fds[2];

    if (fd_socketpair(SOCK_STREAM, fds) < 0 || qmp_new(fds[0], &p.q, &err) < 0) {
        printf("Bail out! no sockets\n");
        exit(1);
    }
    p.peer = fds[1];
    (void)fd_write_all(p.peer, said, strlen(said));
    return p;
}

static void close_pair(struct pair *p)
{
    qmp_free(p->q);
    fd_close(&p->peer);
}

static void test_commands(void)
{
    struct pair p = open_pair(GREETING "{\"event\": \"STOP\", \"data\": {}}\r\n"
                                       "{\"return\": {}}\r\n{\"return\": {\"x\": [1]}}\r\n"
                                       "{\"error\": {\"class\": \"GenericError\", "
                                       "\"desc\": \"no\\nsuch \\u001b[31mthing\"}}\r\n");
    struct err err = ERR_INIT;
    char said[512] = "";

    CHECK(qmp_send(p.q, "qmp_capabilities", NULL, -1, &err) == 0);
    CHECK(qmp_send(p.q, "stop", "{\"a\":1}", -1, &err) == 0);
    CHECK(read(p.peer, said, sizeof(said) - 1) > 0);
    CHECK_STR(
        said,
        "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"stop\",\"arguments\":{\"a\":1}}\n");
    CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) == 0);
    CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) == 0);
    CHECK(qmp_execute(p.q, "cont", NULL, clock_deadline_ms(WAIT_MS), &err) < 0);
    CHECK_INT(err.code, ERR_INTERNAL);
    CHECK_STR(err.message, "cont: QEMU refused a command: no?such ?[31mthing");
    CHECK(qmp_reply(p.q, clock_deadline_ms(20), &err) < 0);
    CHECK_INT(err.code, ERR_TIMEOUT);
    fd_close(&p.peer);
    CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    CHECK(qmp_send(p.q, "stop", NULL, -1, &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    close_pair(&p);
}

static void test_passes_descriptor(void)
{
    struct pair p = open_pair("");
    struct err err = ERR_INIT;
    char said[128];
    int fds[2] = {-1, -1};
    size_t count = 0;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK(qmp_send(p.q, "getfd", "{\"fdname\":\"state\"}", null, &err) == 0);
    CHECK(fd_recv_msg(p.peer, said, sizeof(said), fds, 2, &count) > 0);
    CHECK_INT(count, 1);
    fd_close(&fds[0]);
    fd_close(&null);
    close_pair(&p);
}

static void test_migration(void)
{
    struct err err = ERR_INIT;
    // The event may come before the reply to the command that began it.
    struct pair p =
        open_pair(GREETING "{\"event\":\"MIGRATION\",\"data\":{\"status\":\"setup\"}}\n"
                           "{\"event\":\"MIGRATION\",\"data\":{\"status\":\"completed\"}}\n"
                           "{\"return\": {}}\n");

    CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) == 0);
    CHECK(qmp_wait_migration(p.q, clock_deadline_ms(WAIT_MS), &err) == 0);
    CHECK(qmp_wait_migration(p.q, clock_deadline_ms(20), &err) < 0);
    CHECK_INT(err.code, ERR_TIMEOUT);
    close_pair(&p);
    p = open_pair("{\"event\":\"MIGRATION\"}\n{\"event\":\"MIGRATION\",\"data\":[]}\n"
                  "{\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}\n");
    CHECK(qmp_wait_migration(p.q, clock_deadline_ms(WAIT_MS), &err) < 0);
    CHECK_INT(err.code, ERR_INTERNAL);
    close_pair(&p);
}

static void test_hostile_messages(void)
{
    static const char *const messages[] = {
        "\n",
        "nonsense\n",
        "[]\n",
        "{\"return\":\n",
        "{}{}\n",
        "\"return\"\n",
        "{\"a\":\"\xff\"}\n",
        "{\"return\":1,\"return\":2}\n",
    };

    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct pair p = open_pair(messages[i]);
        struct err err = ERR_INIT;

        CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) < 0);
        CHECK_INT(err.code, ERR_PROTOCOL);
        close_pair(&p);
    }
}

static void *say_much(void *arg)
{
    char piece[4096];

    memset(piece, '[', sizeof(piece));
    while (send(*(int *)arg, piece, sizeof(piece), MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

static void test_endless_message(void)
{
    struct pair p = open_pair("");
    struct err err = ERR_INIT;
    pthread_t thread;

    if (!CHECK(pthread_create(&thread, NULL, say_much, &p.peer) == 0))
        return;
    CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) < 0);
    CHECK_INT(err.code, ERR_PROTOCOL);
    qmp_free(p.q);
    (void)pthread_join(thread, NULL);
    fd_close(&p.peer);
}

static void *say_events(void *arg)
{
    static const char event[] = "{\"event\": \"RTC_CHANGE\"}\n";

    while (send(*(int *)arg, event, sizeof(event) - 1, MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

static void test_endless_events(void)
{
    struct pair p = open_pair("");
    struct err err = ERR_INIT;
    pthread_t thread;

    if (!CHECK(pthread_create(&thread, NULL, say_events, &p.peer) == 0))
        return;
    CHECK(qmp_reply(p.q, clock_deadline_ms(200), &err) < 0);
    CHECK_INT(err.code, ERR_TIMEOUT);
    qmp_free(p.q);
    (void)pthread_join(thread, NULL);
    fd_close(&p.peer);
}

static void *cut_later(void *arg)
{
    struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};

    (void)nanosleep(&pause, NULL);
    qmp_cut(arg);
    return NULL;
}

static void test_cut(void)
{
    struct pair p = open_pair(GREETING);
    struct err err = ERR_INIT;
    pthread_t thread;

    if (!CHECK(pthread_create(&thread, NULL, cut_later, p.q) == 0))
        return;
    CHECK(qmp_reply(p.q, clock_deadline_ms(WAIT_MS), &err) < 0);
    CHECK_INT(err.code, ERR_GONE);
    (void)pthread_join(thread, NULL);
    close_pair(&p);
}

static void test_peer_that_does_not_read(void)
{
    struct pair p = open_pair("");
    struct err err = ERR_INIT;
    int sent = 0;

    while (sent < 100000 && qmp_send(p.q, "stop", NULL, -1, &err) == 0)
        sent++;
    CHECK(sent > 10 && sent < 100000);
    CHECK_INT(err.code, ERR_BUSY);
    close_pair(&p);
}

int main(void)
{
    test_commands();
    test_passes_descriptor();
    test_migration();
    test_hostile_messages();
    test_endless_message();
    test_endless_events();
    test_cut();
    test_peer_that_does_not_read();
    return tap_done();
}
