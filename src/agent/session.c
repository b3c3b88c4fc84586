// SPDX-License-Identifier: Apache-2.0
//
// Sessions and their descriptors.
//
// A virtio port polls EPOLLHUP for as long as no host is connected. States:
//   waiting    no server; the port is watched edge-triggered, so that a host that is away costs
//              nothing and its coming is one event
//   connected  a server; watched level-triggered
// on_ready() makes both moves, drop() the one back. A socket is connected until its session ends.
#include "agent/session.h"

#include "agent/api.h"
#include "base/fd.h"
#include "base/log.h"
#include "channel/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAMS_MAX      16
#define ENVD_STREAMS_MAX 512 // the client's watches and processes are one each

static void session_close(struct session *s)
{
    struct agent *agent = s->agent;

    server_free(s->server);
    prepared_free_all(&s->prepared);
    loop_del(&agent->loop, &s->source);
    fd_close(&s->fd);
    for (struct session **at = &agent->sessions; *at != NULL; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            agent->session_count--;
            break;
        }
    }
    free(s);
}

// Ends the connection: what ran for it is killed, what was prepared for it is given up.
static void drop(struct session *s, int rc)
{
    if (s->server != NULL && rc != -EPIPE)
        log_warn("session ended: %s", strerror(-rc));
    if (s->end != SESSION_WAITS) {
        s->agent->loop.stop |= s->end == SESSION_STOPS;
        session_close(s);
        return;
    }
    server_free(s->server);
    s->server = NULL;
    prepared_free_all(&s->prepared);
    loop_mod(&s->agent->loop, &s->source, EPOLLIN | EPOLLOUT | EPOLLET);
}

static int connect_server(struct session *s)
{
    struct server_options options = {.callbacks = &api_callbacks,
                                     .arg = s,
                                     .body_max = AGENT_BODY_MAX,
                                     .streams_max =
                                         s->agent->config.envd ? ENVD_STREAMS_MAX : STREAMS_MAX,
                                     .port = s->end == SESSION_WAITS};
    int rc = server_new(s->fd, &options, &s->server);

    if (rc == 0)
        loop_mod(&s->agent->loop, &s->source, EPOLLIN);
    return rc;
}

static void on_ready(void *arg, uint32_t events)
{
    struct session *s = arg;
    int rc = 0;

    if ((events & EPOLLHUP) != 0 && s->end == SESSION_WAITS) {
        // Data of a new host may be here before the news that it is: that stays to be read.
        if (s->server != NULL)
            drop(s, -EPIPE);
        return;
    }
    if (s->server == NULL)
        rc = connect_server(s);
    if (rc == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        rc = server_readable(s->server);
    if (rc == -ECONNRESET) {
        // The host went and came again before we saw it gone.
        prepared_free_all(&s->prepared);
        rc = server_restart(s->server);
    }
    if (rc < 0)
        drop(s, rc);
}

// Sends what is queued, and watches for room when it was not taken.
static void flush(struct session *s)
{
    int rc = 0;

    if (s->server == NULL)
        return;
    if (server_wants_write(s->server))
        rc = server_writable(s->server);
    if (rc < 0) {
        drop(s, rc);
        return;
    }
    loop_mod(&s->agent->loop, &s->source,
             server_wants_write(s->server) ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void sessions_flush(void *arg)
{
    const struct agent *agent = arg;
    struct session *next = NULL;

    for (struct session *s = agent->sessions; s != NULL; s = next) {
        next = s->next;
        flush(s);
    }
}

int session_open(struct agent *agent, int fd, enum session_end end)
{
    struct session *s = NULL;
    int rc = agent->session_count >= AGENT_SESSIONS_MAX ? -EAGAIN : fd_set_nonblock(fd, 1);

    if (rc == 0 && (s = calloc(1, sizeof(*s))) == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        rc = loop_add(&agent->loop, &s->source, fd,
                      EPOLLIN | EPOLLOUT | (end == SESSION_WAITS ? EPOLLET : 0u), on_ready, s);
    if (rc < 0) {
        free(s);
        fd_close(&fd);
        return rc;
    }
    s->agent = agent;
    s->fd = fd;
    s->end = end;
    s->prepared.agent = agent;
    s->next = agent->sessions;
    agent->sessions = s;
    agent->session_count++;
    return 0;
}

void sessions_close(struct agent *agent)
{
    while (agent->sessions != NULL)
        session_close(agent->sessions);
}
