// SPDX-License-Identifier: Apache-2.0
#include "jail/zygote.h"

#include "jail/jail_internal.h"
#include "jail/plan_text.h"
#include "jail/zygote_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define REPLY_DEADLINE_MS 10000

int jail_zygote_send(int zygote_fd, const struct jail_plan *plan, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_CAPPED(JAIL_PLAN_TEXT_MAX);
    struct jail_plan p = *plan;
    int fds[FD_PASS_MAX];
    size_t fd_count = FD_PASS_MAX;
    int r;

    p.argv = NULL;
    p.envp = NULL;
    if (jail_check_plan(&p, true, err) < 0)
        return -1;
    r = jail_plan_write(&p, &text, fds, &fd_count, err);
    if (r < 0)
        return r;
    r = fd_send_msg(zygote_fd, text.data, text.len, fds, fd_count);
    if (r == -EPIPE || r == -ECONNRESET)
        return err_set(err, ERR_GONE, "the zygote is gone");
    return r < 0 ? err_sys(err, r, "send a plan to the zygote") : 0;
}

// Sorts the descriptors of a reply into *ret. False when they are not what the flags say.
static bool take_fds(const struct zygote_reply *reply, int *fds, size_t count,
                     struct jail_child *ret)
{
    const struct {
        uint32_t flag;
        int *place;
    } order[ZYGOTE_REPLY_FDS] = {{ZYGOTE_REPLY_PIDFD, &ret->pidfd},
                                 {ZYGOTE_REPLY_STATUS, &ret->status_fd},
                                 {ZYGOTE_REPLY_SCRATCH, &ret->scratch_fd},
                                 {ZYGOTE_REPLY_REPORT, &ret->report_fd}};
    size_t next = 0;

    for (size_t i = 0; i < ZYGOTE_REPLY_FDS; i++) {
        if ((reply->flags & order[i].flag) == 0)
            continue;
        if (next == count)
            return false;
        *order[i].place = fd_steal(&fds[next++]);
    }
    ret->pid = reply->pid;
    return next == count;
}

static int take_reply(const struct zygote_reply *reply, int *fds, size_t fd_count,
                      struct jail_child *ret, struct err *err)
{
    const uint32_t started = ZYGOTE_REPLY_PIDFD | ZYGOTE_REPLY_STATUS;
    struct jail_child child = JAIL_CHILD_INIT;
    bool good = take_fds(reply, fds, fd_count, &child);

    if (good && (reply->flags & ZYGOTE_REPLY_FAILED)) {
        struct err error = reply->error;

        jail_child_release(&child);
        error.message[sizeof(error.message) - 1] = '\0';
        if (error.sys != 0)
            return err_set(err, ERR_SYSTEM, "%s", error.message);
        return err_set(err, ERR_INTERNAL, "zygote: %s", error.message);
    }
    if (!good || (reply->flags & started) != started) {
        jail_child_release(&child);
        return err_set(err, ERR_PROTOCOL, "the zygote gave a reply that cannot be");
    }
    *ret = child;
    return 0;
}

int jail_zygote_receive(int zygote_fd, struct jail_child *ret, struct err *err)
{
    struct zygote_reply reply = {0};
    int fds[ZYGOTE_REPLY_FDS] = {-1, -1, -1, -1};
    size_t fd_count = 0;
    ssize_t n = fd_recv_msg(zygote_fd, &reply, sizeof(reply), fds, ZYGOTE_REPLY_FDS, &fd_count);
    int r;

    if (n == 0 || n == -ECONNRESET)
        return err_set(err, ERR_GONE, "the zygote ended");
    if (n < 0)
        return err_sys(err, (int)n, "read the zygote's reply");
    if (n == (ssize_t)sizeof(reply))
        r = take_reply(&reply, fds, fd_count, ret, err);
    else
        r = err_set(err, ERR_PROTOCOL, "the zygote's reply has %zd bytes", n);
    for (size_t i = 0; i < ZYGOTE_REPLY_FDS; i++)
        fd_close(&fds[i]);
    return r;
}

int jail_zygote_spawn(int zygote_fd, const struct jail_plan *plan, struct jail_child *ret,
                      struct err *err)
{
    int r = jail_zygote_send(zygote_fd, plan, err);

    if (r < 0)
        return r;
    r = fd_wait(zygote_fd, POLLIN, clock_deadline_ms(REPLY_DEADLINE_MS));
    if (r == 0)
        return err_set(err, ERR_TIMEOUT, "the zygote did not reply in time");
    r = r < 0 ? err_sys(err, r, "wait for the zygote") : jail_zygote_receive(zygote_fd, ret, err);
    if (r == 0 && (r = jail_settle(ret, err)) < 0)
        jail_child_release(ret);
    return r;
}
