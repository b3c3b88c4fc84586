// SPDX-License-Identifier: Apache-2.0
#include "launch/launch.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A start may take the launcher 10 s; to give it up sooner would end the launcher and all VMMs.
#define REPLY_DEADLINE_MS 20000

struct launch_client {
    pthread_mutex_t lock; // guards all below, and is held for a whole exchange
    int sock;             // -1: the launcher is gone
    uint64_t generation;
};

int launch_client_new(int sock, struct launch_client **ret, struct err *err)
{
    struct launch_client *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        fd_close(&sock);
        return err_sys(err, ENOMEM, "make the launcher's client");
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    c->sock = sock;
    *ret = c;
    return 0;
}

void launch_client_free(struct launch_client *c)
{
    if (c == NULL)
        return;
    fd_close(&c->sock);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

void launch_client_replace(struct launch_client *c, int sock)
{
    (void)pthread_mutex_lock(&c->lock);
    fd_close(&c->sock);
    c->sock = sock;
    c->generation++;
    (void)pthread_mutex_unlock(&c->lock);
}

uint64_t launch_client_generation(struct launch_client *c)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&c->lock);
    generation = c->generation;
    (void)pthread_mutex_unlock(&c->lock);
    return generation;
}

// Sends and receives on an open socket. An error here leaves the two sides out of step, so the
// caller drops the socket.
static int exchange(int sock, const struct launch_request *q, const int *fds, size_t fd_count,
                    struct launch_reply *ret, int *ret_fd, struct err *err)
{
    size_t got = 0;
    int r = fd_send_msg(sock, q, sizeof(*q), fds, fd_count);
    ssize_t n;

    if (r < 0)
        return err_set(err, ERR_GONE, "the launcher is gone: %s", strerror(-r));
    r = fd_wait(sock, POLLIN, clock_deadline_ms(REPLY_DEADLINE_MS));
    if (r <= 0)
        return err_set(err, ERR_TIMEOUT, "the launcher did not answer in %d ms", REPLY_DEADLINE_MS);
    n = fd_recv_msg(sock, ret, sizeof(*ret), ret_fd, 1, &got);
    if (n <= 0)
        return err_set(err, ERR_GONE, "the launcher is gone");
    if (got == 0)
        *ret_fd = -1;
    if (n != (ssize_t)sizeof(*ret) || ret->magic != LAUNCH_MAGIC ||
        ret->version != LAUNCH_VERSION || ret->id != q->id || ret->code >= ERR_CODE_COUNT) {
        fd_close(ret_fd);
        return err_set(err, ERR_PROTOCOL, "the launcher's answer makes no sense");
    }
    ret->message[sizeof(ret->message) - 1] = '\0';
    return 0;
}

// One exchange. *ret_fd is the descriptor that came along, or -1.
static int call(struct launch_client *c, struct launch_request *q, const int *fds, size_t fd_count,
                struct launch_reply *ret, int *ret_fd, struct err *err)
{
    int r;

    q->magic = LAUNCH_MAGIC;
    q->version = LAUNCH_VERSION;
    *ret_fd = -1;
    (void)pthread_mutex_lock(&c->lock);
    if (c->sock < 0) {
        r = err_set(err, ERR_GONE, "the launcher is gone");
    } else {
        r = exchange(c->sock, q, fds, fd_count, ret, ret_fd, err);
        if (r < 0)
            fd_close(&c->sock);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (r == 0 && ret->code != ERR_NONE) {
        fd_close(ret_fd);
        r = err_set(err, (enum err_code)ret->code, "%s", ret->message);
        if (err != NULL)
            err->sys = ret->sys;
    }
    return r;
}

int launch_hello(struct launch_client *c, struct launch_info *ret, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_HELLO};
    struct launch_reply reply;
    int fd;
    int r = call(c, &q, NULL, 0, &reply, &fd, err);

    fd_close(&fd);
    if (r < 0)
        return r;
    *ret = reply.u.info;
    ret->qemu_version[sizeof(ret->qemu_version) - 1] = '\0';
    ret->cgroup_note[sizeof(ret->cgroup_note) - 1] = '\0';
    return 0;
}

int launch_probe_kvm(struct launch_client *c, struct launch_kvm *ret, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_PROBE_KVM};
    struct launch_reply reply;
    int fd;
    int r = call(c, &q, NULL, 0, &reply, &fd, err);

    fd_close(&fd);
    if (r < 0)
        return r;
    *ret = reply.u.kvm;
    ret->note[sizeof(ret->note) - 1] = '\0';
    return 0;
}

int launch_spawn(struct launch_client *c, const struct launch_vm *vm, int *ret_pidfd,
                 struct err *err)
{
    struct launch_request q = {
        .op = LAUNCH_OP_SPAWN,
        .accel = vm->accel,
        .mode = vm->mode,
        .memory_mib = vm->memory_mib,
        .cpus = vm->cpus,
        .id = vm->id,
    };
    struct launch_reply reply;
    int fd;
    int r = call(c, &q, vm->fds, LAUNCH_FD_COUNT, &reply, &fd, err);

    if (r < 0)
        return r;
    if (fd < 0)
        return err_set(err, ERR_PROTOCOL, "the launcher's answer has no pidfd");
    *ret_pidfd = fd;
    return 0;
}

int launch_kill(struct launch_client *c, uint64_t id, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_KILL, .id = id};
    struct launch_reply reply;
    struct err mine = ERR_INIT;
    int fd;
    int r = call(c, &q, NULL, 0, &reply, &fd, &mine);

    fd_close(&fd);
    if (r < 0 && mine.code == ERR_GONE)
        return 0;
    if (r < 0 && err != NULL)
        *err = mine;
    return r;
}
