// SPDX-License-Identifier: Apache-2.0
//
// The client side of the channel.
//
// How it works
//
//   One I/O thread waits on the descriptors of all channels, reads, and feeds the sessions; what
//   they then have to say (answers to PING, windows) it writes at once. A caller that sends or
//   reads writes by itself under the channel's lock, so a request costs no hop to the I/O thread;
//   only what the descriptor would not take is left to it (EPOLLOUT). A channel that fails or is
//   closed leaves the epoll set first and is let go after the batch of events that may name it.
#include "channel/channel_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX   64
#define READ_BYTES   (64u << 10)
#define READ_ROUNDS  4  // reads from one channel before others get their turn
#define FLUSH_ROUNDS 16 // writes to one channel, likewise

struct channel_loop {
    pthread_t thread;
    int epoll_fd;
    int wake_fd;

    pthread_mutex_t lock;
    struct channel *detached; // lock; the loop drops its reference of each
    bool stop;                // lock

    uint8_t in[READ_BYTES]; // the I/O thread's
};

void channel_put(struct channel *ch)
{
    if (atomic_fetch_sub(&ch->refs, 1) != 1)
        return;
    nghttp2_session_del(ch->session);
    fd_close(&ch->fd);
    (void)pthread_mutex_destroy(&ch->lock);
    free(ch);
}

static void loop_wake(struct channel_loop *loop)
{
    const uint64_t one = 1;

    // Fails only when the counter is full, and then the thread is awake anyway.
    (void)!write(loop->wake_fd, &one, sizeof(one));
}

// Takes the channel out of the epoll set and hands the loop's reference to the loop. Needs
// channel.lock.
static void detach(struct channel *ch)
{
    struct channel_loop *loop = ch->loop;

    if (!ch->registered)
        return;
    ch->registered = false;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, ch->fd, NULL);
    (void)pthread_mutex_lock(&loop->lock);
    ch->next_detached = loop->detached;
    loop->detached = ch;
    // Under the lock, so that the loop is not freed in between.
    loop_wake(loop);
    (void)pthread_mutex_unlock(&loop->lock);
}

void channel_fail(struct channel *ch, enum err_code code, const char *message)
{
    channel_session_end(ch, code, message);
    detach(ch);
    fd_close(&ch->fd);
}

static void want_out(struct channel *ch, bool want)
{
    struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0u), .data.ptr = ch};

    if (ch->want_out == want || !ch->registered)
        return;
    ch->want_out = want;
    (void)epoll_ctl(ch->loop->epoll_fd, EPOLL_CTL_MOD, ch->fd, &ev);
}

// Writes part of the output buffer. 0, or -errno (-EAGAIN: not now).
static int write_some(struct channel *ch)
{
    const uint8_t *data = ch->out + ch->out_off;
    size_t len = ch->out_len - ch->out_off;
    ssize_t n;

    // Fed by hand, or beyond help: what we say is heard by nobody.
    if (ch->fd < 0 || ch->write_broken) {
        ch->out_off = ch->out_len;
        return 0;
    }
    do {
        n = ch->is_socket ? send(ch->fd, data, len, MSG_NOSIGNAL) : write(ch->fd, data, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    ch->out_off += (size_t)n;
    return 0;
}

// Sends until nothing is left (true) or the descriptor is full or others should get their turn.
// -errno when the session cannot go on.
static int send_rounds(struct channel *ch, bool *ret_all)
{
    *ret_all = false;
    for (int i = 0; i < FLUSH_ROUNDS; i++) {
        int r;

        if (ch->out_off == ch->out_len && channel_collect(ch) < 0)
            return -ENOMEM;
        if (ch->out_len == 0) {
            *ret_all = true;
            return 0;
        }
        r = write_some(ch);
        if (r == -EAGAIN)
            return 0;
        // The peer is gone, but its last words may wait to be read: the I/O thread meets the end.
        if (r < 0)
            ch->write_broken = true;
    }
    return 0;
}

void channel_flush(struct channel *ch)
{
    bool all;

    if (ch->session == NULL)
        return;
    if (send_rounds(ch, &all) < 0) {
        channel_fail(ch, ERR_INTERNAL, "out of memory in a channel");
        return;
    }
    want_out(ch, !all);
    if (!all || nghttp2_session_want_read(ch->session) || nghttp2_session_want_write(ch->session))
        return;
    if (ch->goaway)
        channel_fail(ch, ERR_GONE, "the agent shut the channel down");
    else
        channel_fail(ch, ERR_PROTOCOL, "the agent broke the rules of the channel");
}

// Reads what the peer sent. Needs channel.lock.
static void receive(struct channel_loop *loop, struct channel *ch)
{
    for (int i = 0; i < READ_ROUNDS && ch->session != NULL; i++) {
        ssize_t n = read(ch->fd, loop->in, sizeof(loop->in));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            channel_fail(ch, ERR_GONE, "the agent hung up");
            return;
        }
        channel_feed(ch, loop->in, (size_t)n);
        if ((size_t)n < sizeof(loop->in))
            return;
    }
}

static void serve(struct channel_loop *loop, struct channel *ch, uint32_t events)
{
    (void)pthread_mutex_lock(&ch->lock);
    if (ch->session != NULL && (events & EPOLLOUT))
        channel_flush(ch);
    if (ch->session != NULL && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(loop, ch);
    (void)pthread_mutex_unlock(&ch->lock);
}

// Lets go of the detached channels. Returns true when the loop shall end.
static bool release_detached(struct channel_loop *loop)
{
    struct channel *ch;
    bool stop;

    (void)pthread_mutex_lock(&loop->lock);
    ch = loop->detached;
    loop->detached = NULL;
    stop = loop->stop;
    (void)pthread_mutex_unlock(&loop->lock);
    while (ch != NULL) {
        struct channel *next = ch->next_detached;

        channel_put(ch);
        ch = next;
    }
    return stop;
}

static void *loop_main(void *arg)
{
    struct channel_loop *loop = arg;

    do {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            uint64_t count;

            if (events[i].data.ptr != NULL)
                serve(loop, events[i].data.ptr, events[i].events);
            else
                (void)!read(loop->wake_fd, &count, sizeof(count));
        }
    } while (!release_detached(loop));
    return NULL;
}

// Signals are the business of other threads.
static int start_thread(struct channel_loop *loop)
{
    sigset_t all;
    sigset_t old;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&loop->thread, NULL, loop_main, loop);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        (void)pthread_setname_np(loop->thread, "channel");
    return -r;
}

static void loop_release(struct channel_loop *loop)
{
    fd_close(&loop->epoll_fd);
    fd_close(&loop->wake_fd);
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop);
}

int channel_loop_new(struct channel_loop **ret, struct err *err)
{
    struct channel_loop *loop = calloc(1, sizeof(*loop));
    struct epoll_event ev = {.events = EPOLLIN};
    int r;

    if (loop == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory for the channel thread");
    (void)pthread_mutex_init(&loop->lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = loop->epoll_fd < 0 || loop->wake_fd < 0 ||
                epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0
            ? -errno
            : start_thread(loop);
    if (r < 0) {
        loop_release(loop);
        return err_sys(err, r, "cannot start the channel thread");
    }
    *ret = loop;
    return 0;
}

void channel_loop_free(struct channel_loop *loop)
{
    if (loop == NULL)
        return;
    (void)pthread_mutex_lock(&loop->lock);
    loop->stop = true;
    loop_wake(loop);
    (void)pthread_mutex_unlock(&loop->lock);
    (void)pthread_join(loop->thread, NULL);
    loop_release(loop);
}

static bool is_socket(int fd)
{
    socklen_t len = sizeof(int);
    int type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

int channel_open(struct channel_loop *loop, int fd, struct channel **ret, struct err *err)
{
    _cleanup_fd_ int own = fd;
    struct epoll_event ev = {.events = EPOLLIN};
    struct channel *ch;
    int r = fd_set_nonblock(own, 1);

    if (r < 0)
        return err_sys(err, r, "cannot make a channel non-blocking");
    ch = channel_new();
    if (ch == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory for a channel");
    (void)pthread_mutex_lock(&ch->lock);
    ch->loop = loop;
    ch->is_socket = is_socket(own);
    ch->fd = fd_steal(&own);
    ev.data.ptr = ch;
    r = epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, ch->fd, &ev) < 0 ? -errno : 0;
    if (r == 0) {
        ch->registered = true;
        atomic_fetch_add(&ch->refs, 1);
    }
    (void)pthread_mutex_unlock(&ch->lock);
    if (r < 0) {
        channel_put(ch);
        return err_sys(err, r, "cannot watch a channel");
    }
    *ret = ch;
    return 0;
}

void channel_shut(struct channel *ch)
{
    (void)pthread_mutex_lock(&ch->lock);
    if (ch->session != NULL)
        channel_fail(ch, ERR_GONE, "the channel was closed");
    (void)pthread_mutex_unlock(&ch->lock);
}

void channel_close(struct channel *ch)
{
    if (ch == NULL)
        return;
    channel_shut(ch);
    channel_put(ch);
}

int channel_is_dead(struct channel *ch)
{
    return atomic_load(&ch->dead) ? 1 : 0;
}
