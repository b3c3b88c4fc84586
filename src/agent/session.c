// SPDX-License-Identifier: Apache-2.0
//
// Sessions on the port, and what they mean for it.
//
// A virtio port polls EPOLLHUP for as long as no host is connected. States:
//   waiting    no server; the port is watched edge-triggered, so that a host that is away costs
//              nothing and its coming is one event
//   connected  a server; watched level-triggered
// on_port() makes both moves, drop() the one back.
#include "agent/session.h"

#include "agent/api.h"
#include "agent/prepared.h"
#include "base/fd.h"
#include "base/log.h"
#include "channel/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAMS_MAX 512 // a client's watches and processes are one each

struct session {
    struct agent *agent;
    int fd;
    bool port;
    struct loop_source source;
    struct server *server;
};

// Ends the connection: what ran for it is killed, what was prepared for it is given up.
static void drop(struct session *s, int rc)
{
    if (s->server != NULL) {
        if (rc != -EPIPE)
            log_warn("session ended: %s", strerror(-rc));
        server_free(s->server);
        s->server = NULL;
        prepared_free_all(s->agent);
    }
    if (!s->port) {
        s->agent->loop.stop = true;
        return;
    }
    loop_mod(&s->agent->loop, &s->source, EPOLLIN | EPOLLOUT | EPOLLET);
}

static int connect_server(struct session *s)
{
    struct server_options options = {.callbacks = &api_callbacks,
                                     .arg = s->agent,
                                     .body_max = AGENT_BODY_MAX,
                                     .streams_max = STREAMS_MAX,
                                     .port = s->port};
    int rc = server_new(s->fd, &options, &s->server);

    if (rc == 0)
        loop_mod(&s->agent->loop, &s->source, EPOLLIN);
    return rc;
}

static void on_port(void *arg, uint32_t events)
{
    struct session *s = arg;
    int rc = 0;

    if ((events & EPOLLHUP) != 0 && s->port) {
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
        prepared_free_all(s->agent);
        rc = server_restart(s->server);
    }
    if (rc < 0)
        drop(s, rc);
}

// After each batch: sends what the callbacks queued, and watches for room when it was not taken.
static void flush(void *arg)
{
    struct session *s = arg;
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

int session_new(struct agent *agent, int fd, bool port, struct session **ret)
{
    struct session *s = calloc(1, sizeof(*s));
    int rc = s == NULL ? -ENOMEM : fd_set_nonblock(fd, 1);

    if (rc == 0)
        rc = loop_add(&agent->loop, &s->source, fd, EPOLLIN | EPOLLOUT | (port ? EPOLLET : 0),
                      on_port, s);
    if (rc < 0) {
        free(s);
        fd_close(&fd);
        return rc;
    }
    s->agent = agent;
    s->fd = fd;
    s->port = port;
    agent->loop.after = flush;
    agent->loop.after_arg = s;
    *ret = s;
    return 0;
}

void session_free(struct session *s)
{
    if (s == NULL)
        return;
    if (s->server != NULL)
        server_free(s->server);
    prepared_free_all(s->agent);
    s->agent->loop.after = NULL;
    loop_del(&s->agent->loop, &s->source);
    fd_close(&s->fd);
    free(s);
}
