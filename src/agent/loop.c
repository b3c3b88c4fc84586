// SPDX-License-Identifier: Apache-2.0
//
// The epoll loop of the agent.
#include "agent/loop.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int loop_init(struct loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_release(struct loop *loop)
{
    fd_close(&loop->epoll_fd);
}

int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events,
             void (*ready)(void *arg, uint32_t events), void *arg)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};

    src->fd = fd;
    src->events = events;
    src->ready = ready;
    src->arg = arg;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        src->ready = NULL;
        return -errno;
    }
    return 0;
}

void loop_mod(struct loop *loop, struct loop_source *src, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};

    if (src->ready == NULL || (events == src->events && (events & EPOLLET) == 0))
        return;
    src->events = events;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, src->fd, &ev);
}

void loop_del(struct loop *loop, struct loop_source *src)
{
    if (src->ready == NULL)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
    src->ready = NULL;
    // Events of this source that were already fetched must not reach it any more.
    for (int i = 0; i < loop->batch_len; i++)
        if (loop->batch[i].data.ptr == src)
            loop->batch[i].data.ptr = NULL;
}

void loop_timer_clear(struct loop *loop, struct loop_timer *t)
{
    if (!t->armed)
        return;
    for (struct loop_timer **p = &loop->timers; *p != NULL; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            break;
        }
    }
    t->armed = false;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns,
                    void (*fire)(void *arg), void *arg)
{
    loop_timer_clear(loop, t);
    t->deadline_ns = deadline_ns;
    t->fire = fire;
    t->arg = arg;
    t->armed = true;
    t->next = loop->timers;
    loop->timers = t;
}

static uint64_t next_deadline(const struct loop *loop)
{
    uint64_t min = CLOCK_NEVER;

    for (const struct loop_timer *t = loop->timers; t != NULL; t = t->next)
        if (t->deadline_ns < min)
            min = t->deadline_ns;
    return min;
}

// The list may change under a callback, so it is searched anew after each.
static void fire_timers(struct loop *loop)
{
    if (loop->timers == NULL)
        return;
    uint64_t now = clock_mono_ns();
    struct loop_timer *t = loop->timers;
    while (t != NULL) {
        if (t->deadline_ns > now) {
            t = t->next;
            continue;
        }
        loop_timer_clear(loop, t);
        t->fire(t->arg);
        t = loop->timers;
    }
}

int loop_run(struct loop *loop)
{
    while (!loop->stop) {
        int n =
            epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, clock_poll_ms(next_deadline(loop)));
        if (n < 0 && errno != EINTR)
            return -errno;
        loop->batch_len = n < 0 ? 0 : n;
        for (int i = 0; i < loop->batch_len; i++) {
            struct loop_source *src = loop->batch[i].data.ptr;
            if (src != NULL && src->ready != NULL)
                src->ready(src->arg, loop->batch[i].events);
        }
        loop->batch_len = 0;
        fire_timers(loop);
        if (loop->after != NULL)
            loop->after(loop->after_arg);
    }
    return 0;
}
