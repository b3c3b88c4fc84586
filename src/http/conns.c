// SPDX-License-Identifier: Apache-2.0
#include "http/conns.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#define REAP_EVERY_MS 500

struct http_conn {
    struct http_conn *prev; // list: under http_conns.lock
    struct http_conn *next;
    int socket;
    _Atomic uint64_t since_ns; // written by the connection's thread, read by the reaper
    _Atomic int state;
};

struct http_conns {
    pthread_mutex_t lock; // guards the list, `stop` and `cut_ns`
    pthread_cond_t wake;
    pthread_t reaper;
    struct http_conn *first;
    bool stop;
    uint64_t cut_ns; // CLOCK_NEVER: not yet known
    uint64_t limits_ms[HTTP_CONN_STATES];
};

static bool overdue(const struct http_conns *c, const struct http_conn *conn, uint64_t now)
{
    uint64_t since = atomic_load(&conn->since_ns);
    int state = atomic_load(&conn->state);
    uint64_t limit_ms = c->limits_ms[state];

    if (now >= c->cut_ns && (state == HTTP_CONN_HEAD || state == HTTP_CONN_BODY))
        return true;
    return limit_ms != 0 && now > since && now - since > limit_ms * NS_PER_MS;
}

static void reap(struct http_conns *c)
{
    uint64_t now = clock_mono_ns();

    for (struct http_conn *conn = c->first; conn != NULL; conn = conn->next)
        if (overdue(c, conn, now))
            (void)shutdown(conn->socket, SHUT_RDWR); // it may be closed by the peer already
}

static void *reaper_main(void *arg)
{
    struct http_conns *c = arg;

    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        uint64_t next_ns = clock_deadline_ms(REAP_EVERY_MS);
        struct timespec until;

        if (c->cut_ns > clock_mono_ns() && c->cut_ns < next_ns)
            next_ns = c->cut_ns;
        until = clock_to_timespec(next_ns);
        (void)pthread_cond_timedwait(&c->wake, &c->lock, &until);
        reap(c);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int http_conns_new(const uint64_t limits_ms[HTTP_CONN_STATES], struct http_conns **ret,
                   struct err *err)
{
    struct http_conns *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    c->cut_ns = CLOCK_NEVER;
    for (int i = 0; i < HTTP_CONN_STATES; i++)
        c->limits_ms[i] = limits_ms[i];
    pthread_mutex_init(&c->lock, NULL);
    clock_cond_init(&c->wake);
    r = pthread_create(&c->reaper, NULL, reaper_main, c);
    if (r != 0) {
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return err_sys(err, r, "cannot start a thread");
    }
    *ret = c;
    return 0;
}

void http_conns_free(struct http_conns *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->reaper, NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct http_conn *http_conns_add(struct http_conns *c, int socket)
{
    struct http_conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    conn->socket = socket;
    http_conn_enter(conn, HTTP_CONN_HEAD);
    pthread_mutex_lock(&c->lock);
    conn->next = c->first;
    if (c->first != NULL)
        c->first->prev = conn;
    c->first = conn;
    pthread_mutex_unlock(&c->lock);
    return conn;
}

void http_conns_remove(struct http_conns *c, struct http_conn *conn)
{
    if (conn == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        c->first = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    pthread_mutex_unlock(&c->lock);
    free(conn);
}

void http_conn_enter(struct http_conn *conn, enum http_conn_state state)
{
    // Time first: a reader between the two sees the old state as just begun, never the new as old.
    atomic_store(&conn->since_ns, clock_mono_ns());
    atomic_store(&conn->state, state);
}

int http_conn_socket(const struct http_conn *conn)
{
    return conn->socket;
}

void http_conns_cut(struct http_conns *c, uint64_t deadline_ns)
{
    pthread_mutex_lock(&c->lock);
    if (deadline_ns < c->cut_ns)
        c->cut_ns = deadline_ns;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}
