// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/proc.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int input_fd(const struct proc *p)
{
    return p->terminal ? p->out_fd[0] : p->in_fd;
}

// Takes the first input off the queue and tells its call.
static void done(struct proc *p, const struct rpc_error *e)
{
    struct proc_input *i = p->inputs;

    p->inputs = i->next;
    p->input_bytes -= i->data.len;
    if (i->owner != NULL)
        i->done(i->owner, e);
    buf_release(&i->data);
    free(i);
}

static void close_now(struct proc *p)
{
    loop_del(p->envd->loop, &p->in);
    fd_close(&p->in_fd);
}

// The write end of a pipe, and the master of a terminal, on which output is watched apart: the loop
// has one source per descriptor, so that a terminal's is a duplicate.
static void watch_room(struct proc *p, void (*ready)(void *arg, uint32_t events))
{
    if (p->in.ready != NULL)
        return;
    if (p->terminal && p->in_fd < 0)
        p->in_fd = fcntl(p->out_fd[0], F_DUPFD_CLOEXEC, 3);
    if (p->in_fd >= 0)
        (void)loop_add(p->envd->loop, &p->in, p->in_fd, EPOLLOUT, ready, p);
}

// Writes what is taken.
static void flush(void *arg, uint32_t events)
{
    struct proc *p = arg;
    struct rpc_error e = RPC_ERROR_INIT;

    (void)events;
    while (p->inputs != NULL) {
        struct proc_input *i = p->inputs;
        ssize_t n = i->off == i->data.len
                        ? 0
                        : write(input_fd(p), i->data.data + i->off, i->data.len - i->off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            watch_room(p, flush);
            return;
        }
        if (n < 0) {
            (void)rpc_set(&e, RPC_INTERNAL, "the process does not read its input any more");
            done(p, &e);
            continue;
        }
        i->off += (size_t)n;
        if (i->off == i->data.len)
            done(p, NULL);
    }
    loop_del(p->envd->loop, &p->in);
    if (p->close_input)
        close_now(p);
}

void proc_input_forget(const struct envd *e, const void *owner)
{
    for (struct proc *p = e->procs; p != NULL; p = p->next)
        for (struct proc_input *i = p->inputs; i != NULL; i = i->next)
            if (i->owner == owner)
                i->owner = NULL;
}

void proc_input_write(struct proc *p, void *owner, struct buf *data,
                      void (*on_done)(void *owner, const struct rpc_error *e))
{
    struct rpc_error e = RPC_ERROR_INIT;
    struct proc_input **end = &p->inputs;
    struct proc_input *i;

    if (input_fd(p) < 0 || p->close_input)
        (void)rpc_set(&e, RPC_INTERNAL, "the process has no open input");
    else if (data->len > PROC_INPUT_BYTES - p->input_bytes)
        (void)rpc_set(&e, RPC_RESOURCE_EXHAUSTED, "more than %u bytes of input wait",
                      PROC_INPUT_BYTES);
    i = e.code == RPC_OK ? calloc(1, sizeof(*i)) : NULL;
    if (i == NULL) {
        if (e.code == RPC_OK)
            (void)rpc_set(&e, RPC_RESOURCE_EXHAUSTED, "out of memory");
        on_done(owner, &e);
        return;
    }
    i->owner = owner;
    i->done = on_done;
    i->data = *data;
    *data = (struct buf)BUF_INIT;
    p->input_bytes += i->data.len;
    while (*end != NULL)
        end = &(*end)->next;
    *end = i;
    if (p->inputs == i)
        flush(p, 0);
}

void proc_input_close(struct proc *p)
{
    p->close_input = true;
    if (p->inputs == NULL)
        close_now(p);
}

void proc_input_end(struct proc *p)
{
    struct rpc_error e = RPC_ERROR_INIT;

    (void)rpc_set(&e, RPC_INTERNAL, "the process ended");
    p->close_input = true;
    while (p->inputs != NULL)
        done(p, &e);
    close_now(p);
}
