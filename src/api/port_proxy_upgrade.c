// SPDX-License-Identifier: Apache-2.0
//
// A connection that speaks another protocol than HTTP now: bytes both ways, until either side ends.
// The connection's thread sends to the client, a thread of its own receives from it; they share the
// stream on the channel, which one may write while another reads, and `stopped`.
#include "api/data_plane_internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "channel/channel.h"
#include "sandbox/live.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#define LOOK_MS    250 // between two looks whether it is over
#define LINGER_MAX 8   // looks that a client which sends no more waits for what is silent
#define PIECE      (16u << 10)

static void *receive_main(void *arg)
{
    struct plane *p = arg;
    uint8_t data[PIECE];

    while (!atomic_load(&p->stopped)) {
        int r = fd_wait(p->socket, POLLIN, clock_deadline_ms(LOOK_MS));
        ssize_t n = -1;

        if (r > 0)
            n = recv(p->socket, data, sizeof(data), MSG_DONTWAIT);
        if (r == 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
            continue;
        if (r < 0 || n <= 0 || !plane_write(p, data, (size_t)n))
            break;
    }
    // The service hears that nothing more comes; it may still have something to say.
    channel_finish(p->stream);
    return NULL;
}

// False when the client is gone.
static bool send_all(const struct plane *p, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(p->socket, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n < 0 && fd_wait(p->socket, POLLOUT, clock_deadline_ms(LOOK_MS)) == 0 &&
            http_client_gone(p->exchange))
            return false;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void send_on(struct plane *p)
{
    uint8_t data[PIECE];
    int gone = 0;

    while (gone < LINGER_MAX && !live_was_stopped(p->live)) {
        struct err err = ERR_INIT;
        ssize_t n = (ssize_t)port_take_early(p, data, sizeof(data));

        if (n == 0)
            n = channel_read(p->stream, data, sizeof(data), clock_deadline_ms(LOOK_MS), &err);
        if (n == 0 || (n < 0 && err.code != ERR_TIMEOUT))
            return;
        if (n > 0 && !send_all(p, data, (size_t)n))
            return;
        gone = n < 0 && http_client_gone(p->exchange) ? gone + 1 : 0;
    }
}

void port_upgraded(void *arg, int socket, const void *extra, size_t extra_len)
{
    struct plane *p = arg;
    pthread_attr_t attr;
    pthread_t receiver;
    int r;

    p->socket = socket;
    if (!plane_write(p, extra, extra_len))
        return;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, HTTP_STACK_BYTES);
    r = pthread_create(&receiver, &attr, receive_main, p);
    (void)pthread_attr_destroy(&attr);
    if (r != 0)
        return;
    send_on(p);
    (void)shutdown(socket, SHUT_WR);
    atomic_store(&p->stopped, true);
    (void)pthread_join(receiver, NULL);
}
