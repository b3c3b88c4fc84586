// SPDX-License-Identifier: Apache-2.0
//
// The far side of a channel in a test: a thread that serves a session until it is told to stop.
// SOON, a deadline, is the test's.
#ifndef CSB_TESTS_CHANNEL_PEER_H
#define CSB_TESTS_CHANNEL_PEER_H

#include "channel/channel.h"
#include "channel/server.h"

#include "base/clock.h"
#include "base/fd.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// A channel of `loop`, and at *ret_fd its far side.
__attribute__((unused)) static struct channel *peer_pair(struct channel_loop *loop, int *ret_fd)
{
    struct channel *ch;
    struct err err = ERR_INIT;
    int fds[2];

    if (fd_socketpair(SOCK_STREAM, fds) < 0 || channel_open(loop, fds[0], &ch, &err) < 0)
        abort();
    *ret_fd = fds[1];
    return ch;
}

// Serves until the session ends, `stop_fd` is readable or *hang_up, which a handler of the server
// may set. Frees the server and closes *fd.
__attribute__((unused)) static void peer_serve(struct server *server, int *fd, int stop_fd,
                                               const bool *hang_up)
{
    int r = 0;

    while (r == 0 && !*hang_up) {
        struct pollfd p[2] = {
            {.fd = *fd, .events = (short)(POLLIN | (server_wants_write(server) ? POLLOUT : 0))},
            {.fd = stop_fd, .events = POLLIN},
        };

        (void)poll(p, 2, -1);
        if (p[1].revents != 0)
            break;
        if (p[0].revents & POLLOUT)
            r = server_writable(server);
        if (r == 0 && (p[0].revents & (POLLIN | POLLHUP)))
            r = server_readable(server);
    }
    server_free(server);
    fd_close(fd);
}

// Stops a thread in peer_serve() and closes its eventfd.
__attribute__((unused)) static void peer_end(pthread_t thread, int *stop_fd)
{
    const uint64_t one = 1;

    (void)!write(*stop_fd, &one, sizeof(one));
    (void)pthread_join(thread, NULL);
    fd_close(stop_fd);
}

__attribute__((unused)) static void wait_for(atomic_int *value, int want)
{
    uint64_t deadline = SOON;

    while (atomic_load(value) < want && clock_mono_ns() < deadline)
        (void)poll(NULL, 0, 1);
}

#endif
