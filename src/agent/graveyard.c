// SPDX-License-Identifier: Apache-2.0
#include "agent/graveyard.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

#define AGAIN_MIN_NS (1 * NS_PER_MS)
#define AGAIN_MAX_NS (250 * NS_PER_MS)

void graveyard_init(struct graveyard *yard, struct loop *loop, struct slots *slots,
                    struct netns_pool *netns)
{
    *yard = (struct graveyard){.loop = loop, .slots = slots, .netns = netns};
}

struct grave *grave_new(struct graveyard *yard, uid_t uid)
{
    struct grave *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return NULL;
    g->yard = yard;
    g->child = (struct jail_child)JAIL_CHILD_INIT;
    g->uid = uid;
    slots_hold(yard->slots, uid);
    yard->count++;
    return g;
}

// The jail is certainly empty.
static void leave(struct grave *g)
{
    struct graveyard *yard = g->yard;

    netns_give(yard->netns, g->netns);
    slots_drop(yard->slots, g->uid);
    free(g);
    yard->count--;
    if (yard->draining && yard->count == 0)
        yard->loop->stop = true;
}

static void retry(void *arg);

static void linger(struct grave *g)
{
    struct graveyard *yard = g->yard;

    if (yard->lingering == NULL) {
        yard->again_ns = AGAIN_MIN_NS;
        loop_timer_set(yard->loop, &yard->again, clock_mono_ns() + yard->again_ns, retry, yard);
    }
    g->next = yard->lingering;
    yard->lingering = g;
}

// The kernel tells nobody when a control group has become removable.
static void retry(void *arg)
{
    struct graveyard *yard = arg;

    for (struct grave **at = &yard->lingering; *at != NULL;) {
        struct grave *g = *at;
        if (cgroup_try_free(&g->cgroup) < 0) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        leave(g);
    }
    if (yard->lingering == NULL)
        return;
    yard->again_ns = yard->again_ns * 2 < AGAIN_MAX_NS ? yard->again_ns * 2 : AGAIN_MAX_NS;
    loop_timer_set(yard->loop, &yard->again, clock_mono_ns() + yard->again_ns, retry, yard);
}

static void empty(struct grave *g)
{
    if (cgroup_try_free(&g->cgroup) < 0)
        linger(g);
    else
        leave(g);
}

static void on_gone(void *arg, uint32_t events)
{
    struct grave *g = arg;
    siginfo_t info = {0};
    int rc = waitid(P_PIDFD, (id_t)g->child.pidfd, &info, WEXITED | WNOHANG);

    (void)events;
    if (rc < 0 && errno == EINTR)
        return;
    if (rc == 0 && info.si_pid == 0)
        return; // not yet
    loop_del(g->yard->loop, &g->gone);
    fd_close(&g->child.pidfd);
    empty(g);
}

void grave_bury(struct grave *g)
{
    if (g == NULL)
        return;
    fd_close(&g->child.status_fd);
    fd_close(&g->child.scratch_fd);
    fd_close(&g->child.report_fd);
    if (g->child.pidfd < 0) {
        empty(g);
        return;
    }
    (void)jail_kill(&g->child);
    int rc = loop_add(g->yard->loop, &g->gone, g->child.pidfd, EPOLLIN, on_gone, g);
    if (rc == 0)
        return;
    log_warn("cannot watch the end of a jail: errno %d", -rc);
    jail_child_release(&g->child); // waits for it
    empty(g);
}

static void on_drain_end(void *arg)
{
    struct graveyard *yard = arg;

    yard->loop->stop = true;
}

bool graveyard_drain(struct graveyard *yard, uint64_t ms)
{
    struct loop_timer end = {0};

    if (yard->count > 0) {
        yard->draining = true;
        yard->loop->stop = false;
        loop_timer_set(yard->loop, &end, clock_deadline_ms(ms), on_drain_end, yard);
        (void)loop_run(yard->loop);
        loop_timer_clear(yard->loop, &end);
        yard->draining = false;
    }
    return yard->count == 0;
}
