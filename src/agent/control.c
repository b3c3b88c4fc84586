// SPDX-License-Identifier: Apache-2.0
#include "agent/control.h"

#include "agent/session.h"
#include "base/fd.h"
#include "base/log.h"
#include "channel/agent_wire.h"

#include <errno.h>
#include <string.h>

#define ROUNDS 16 // sessions begun before others have their turn

static void begin_session(struct control *c, int fd)
{
    int rc = session_open(c->agent, fd, SESSION_GOES);

    if (rc < 0)
        log_warn("a session was refused: %s", strerror(-rc));
}

static void on_message(void *arg, uint32_t events)
{
    struct control *c = arg;

    (void)events;
    for (int i = 0; i < ROUNDS; i++) {
        char word = 0;
        int fd = -1;
        size_t fds = 0;
        ssize_t n = fd_recv_msg(c->fd, &word, 1, &fd, 1, &fds);
        if (n == -EAGAIN || n == -EINTR)
            return;
        if (n == -EMSGSIZE)
            continue; // not ours to understand; nothing of it was kept
        if (n <= 0) {
            c->agent->loop.stop = true;
            return;
        }
        if (word == AGENT_CONTROL_SESSION && fds == 1)
            begin_session(c, fd);
        else
            fd_close(&fd);
    }
}

int control_init(struct control *c, struct agent *agent, int fd)
{
    int rc = fd_set_nonblock(fd, 1);

    *c = (struct control){.agent = agent, .fd = fd};
    return rc < 0 ? rc : loop_add(&agent->loop, &c->source, fd, EPOLLIN, on_message, c);
}

void control_release(struct control *c)
{
    if (c->agent != NULL)
        loop_del(&c->agent->loop, &c->source);
}
