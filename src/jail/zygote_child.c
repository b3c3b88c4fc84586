// SPDX-License-Identifier: Apache-2.0
//
// The zygote's side: csb_zygote(), which zygote.so exports. It runs inside a foreign program (an
// interpreter), so it touches nothing of it but the descriptors.
#include "jail/plan_text.h"
#include "jail/zygote_internal.h"

#include "base/fd.h"

#include <stdbool.h>
#include <stddef.h>

#define PLAN_BYTES (3u * JAIL_PLAN_TEXT_MAX)
#define EXPORT     __attribute__((visibility("default")))

EXPORT int csb_zygote(int fd);

static int answer(int fd, struct zygote_reply *reply, struct jail_child *child)
{
    int fds[ZYGOTE_REPLY_FDS];
    size_t count = 0;
    int r;

    reply->pid = child->pid;
    if (child->pidfd >= 0) {
        reply->flags |= ZYGOTE_REPLY_PIDFD;
        fds[count++] = child->pidfd;
    }
    if (child->status_fd >= 0) {
        reply->flags |= ZYGOTE_REPLY_STATUS;
        fds[count++] = child->status_fd;
    }
    if (child->scratch_fd >= 0) {
        reply->flags |= ZYGOTE_REPLY_SCRATCH;
        fds[count++] = child->scratch_fd;
    }
    if (child->report_fd >= 0) {
        reply->flags |= ZYGOTE_REPLY_REPORT;
        fds[count++] = child->report_fd;
    }
    r = fd_send_msg(fd, reply, sizeof(*reply), fds, count);
    // The jail stays: it is the agent's.
    fd_close(&child->pidfd);
    fd_close(&child->status_fd);
    fd_close(&child->scratch_fd);
    fd_close(&child->report_fd);
    return r;
}

enum served { SERVED, SERVED_PROGRAM, SERVED_END };

// Where a request is read to: not the heap, which what runs here has in a state that its programs
// are to find as the example did (zygote_pages.c), and of which all that is written after a fork is
// copied.
struct request {
    char text[JAIL_PLAN_TEXT_MAX];
    _Alignas(max_align_t) char plan[PLAN_BYTES];
};

static bool has_control(const struct jail_plan *plan)
{
    for (size_t i = 0; i < plan->fd_count; i++)
        if (plan->fds[i].target == JAIL_CONTROL_FD)
            return true;
    return false;
}

// One request. In the program it returns SERVED_PROGRAM, and whether it has a control descriptor.
static enum served serve(int fd, struct request *q, bool *ret_control)
{
    struct zygote_reply reply = {0};
    struct jail_child child = JAIL_CHILD_INIT;
    struct jail_plan *plan = NULL;
    int fds[FD_PASS_MAX];
    size_t fd_count = 0;
    ssize_t n = fd_recv_msg(fd, q->text, sizeof(q->text), fds, FD_PASS_MAX, &fd_count);
    struct jail_plan_text from = {.text = q->text, .fds = fds};
    int r;

    if (n <= 0)
        return SERVED_END;
    from.len = (size_t)n;
    from.fd_count = fd_count;
    r = jail_plan_read_in(q->plan, sizeof(q->plan), &from, &plan, &reply.error);
    if (r == 0)
        r = jail_fork(plan, &child, &reply.error);
    if (r == 0) {
        *ret_control = has_control(plan);
        return SERVED_PROGRAM;
    }
    if (r < 0)
        reply.flags = ZYGOTE_REPLY_FAILED;
    for (size_t i = 0; i < fd_count; i++)
        fd_close(&fds[i]);
    return answer(fd, &reply, &child) < 0 ? SERVED_END : SERVED;
}

int csb_zygote(int fd)
{
    static struct request request;
    enum served s = SERVED;
    bool control = false;

    zygote_pages_learned();
    while (s == SERVED)
        s = serve(fd, &request, &control);
    if (s == SERVED_END)
        return -1;
    zygote_pages_copy();
    return control ? JAIL_CONTROL_FD : 0;
}
