// SPDX-License-Identifier: Apache-2.0
//
// How it works: a call puts itself on a list, sends its request and waits for the reply with its
// serial number. Of the threads that wait, one at a time reads the socket and hands replies to
// whom they belong; when it has its own, another takes over.
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
#include <sys/socket.h>
#include <time.h>

// A start may take the launcher 10 s; to give it up sooner would end the launcher and all VMMs.
#define REPLY_DEADLINE_MS 20000

#define REPLY_FDS_MAX     LAUNCH_MEMORY_FD_COUNT

struct reply_fds {
    int fds[REPLY_FDS_MAX];
    size_t count;
};

static void close_fds(struct reply_fds *f)
{
    while (f->count > 0)
        fd_close(&f->fds[--f->count]);
}

// On the stack of the thread that waits.
struct call {
    uint32_t serial;
    struct launch_reply *reply;
    struct reply_fds fds; // that came with the reply
    bool done;            // the reply is here, or `err` says why there will be none
    struct err err;
    struct call *next;
};

struct launch_client {
    pthread_mutex_t send_lock; // held while a request is sent; taken before `lock`
    pthread_mutex_t lock;      // guards what follows
    pthread_cond_t changed;
    int sock;    // closed by replace() and free() alone, when nobody uses it
    bool broken; // the launcher is gone, or was given up
    uint64_t generation;
    uint32_t serial;
    struct call *calls;
    bool reading; // a thread reads the socket, which is not closed meanwhile
    bool stuck;   // to be told by the thread that found it out
    void (*on_stuck)(void *arg);
    void *on_stuck_arg;
};

int launch_client_new(int sock, struct launch_client **ret, struct err *err)
{
    struct launch_client *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        fd_close(&sock);
        return err_sys(err, ENOMEM, "make the launcher's client");
    }
    (void)pthread_mutex_init(&c->send_lock, NULL);
    (void)pthread_mutex_init(&c->lock, NULL);
    clock_cond_init(&c->changed);
    c->sock = sock;
    *ret = c;
    return 0;
}

void launch_client_free(struct launch_client *c)
{
    if (c == NULL)
        return;
    fd_close(&c->sock);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->send_lock);
    free(c);
}

void launch_client_on_stuck(struct launch_client *c, void (*fn)(void *arg), void *arg)
{
    c->on_stuck = fn;
    c->on_stuck_arg = arg;
}

// With the lock held: every call that waits fails. The shutdown wakes who reads or sends, and tells
// the launcher to end.
static void drop(struct launch_client *c, const struct err *why)
{
    c->broken = true;
    (void)shutdown(c->sock, SHUT_RDWR);
    for (struct call *k = c->calls; k != NULL; k = k->next) {
        if (k->done)
            continue;
        k->done = true;
        k->err = *why;
    }
    (void)pthread_cond_broadcast(&c->changed);
}

void launch_client_replace(struct launch_client *c, int sock)
{
    struct err gone = ERR_INIT;

    (void)err_set(&gone, ERR_GONE, "the launcher is gone");
    // First, so that a send that blocks ends and gives its lock back.
    (void)pthread_mutex_lock(&c->lock);
    drop(c, &gone);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_mutex_lock(&c->send_lock);
    (void)pthread_mutex_lock(&c->lock);
    drop(c, &gone);
    while (c->reading)
        (void)pthread_cond_wait(&c->changed, &c->lock);
    fd_close(&c->sock);
    c->sock = sock;
    c->broken = false;
    c->generation++;
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_mutex_unlock(&c->send_lock);
}

uint64_t launch_client_generation(struct launch_client *c)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&c->lock);
    generation = c->generation;
    (void)pthread_mutex_unlock(&c->lock);
    return generation;
}

// With the lock held: gives a reply to its call. One that nobody waits for any more is dropped.
static void deliver(struct launch_client *c, const struct launch_reply *reply,
                    struct reply_fds *fds)
{
    for (struct call *k = c->calls; k != NULL; k = k->next) {
        if (k->serial != reply->serial || k->done)
            continue;
        *k->reply = *reply;
        k->reply->message[sizeof(reply->message) - 1] = '\0';
        k->fds = *fds;
        fds->count = 0;
        k->done = true;
        return;
    }
}

// One reply, by the only thread that reads. *err says what is wrong with the launcher.
static int read_reply(int sock, struct launch_reply *ret, struct reply_fds *ret_fds,
                      struct err *err)
{
    ssize_t n = fd_recv_msg(sock, ret, sizeof(*ret), ret_fds->fds, REPLY_FDS_MAX, &ret_fds->count);

    if (n <= 0 && n != -EMSGSIZE)
        return err_set(err, ERR_GONE, "the launcher is gone");
    if (n != (ssize_t)sizeof(*ret) || ret->magic != LAUNCH_MAGIC ||
        ret->version != LAUNCH_VERSION || ret->code >= ERR_CODE_COUNT)
        return err_set(err, ERR_PROTOCOL, "the launcher's answer makes no sense");
    return 0;
}

// With the lock held, which it drops meanwhile: waits for one reply, whose ever it is.
static void take_turn(struct launch_client *c, uint64_t deadline_ns)
{
    struct launch_reply reply;
    struct err err = ERR_INIT;
    struct reply_fds fds = {.count = 0};
    int sock = c->sock;
    int r;

    c->reading = true;
    (void)pthread_mutex_unlock(&c->lock);
    r = fd_wait(sock, POLLIN, deadline_ns);
    if (r > 0 && read_reply(sock, &reply, &fds, &err) < 0)
        r = -1;
    (void)pthread_mutex_lock(&c->lock);
    c->reading = false;
    if (r > 0)
        deliver(c, &reply, &fds);
    if (r < 0) {
        c->stuck = c->stuck || err.code == ERR_PROTOCOL;
        drop(c, &err);
    }
    close_fds(&fds);
    (void)pthread_cond_broadcast(&c->changed);
}

static void wait_reply(struct launch_client *c, struct call *k, uint64_t deadline_ns)
{
    struct timespec until = clock_to_timespec(deadline_ns);

    while (!k->done && clock_mono_ns() < deadline_ns) {
        if (c->reading)
            (void)pthread_cond_timedwait(&c->changed, &c->lock, &until);
        else
            take_turn(c, deadline_ns);
    }
}

static void unlink_call(struct launch_client *c, const struct call *k)
{
    struct call **at = &c->calls;

    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
}

static int send_request(struct launch_client *c, struct launch_request *q, const int *fds,
                        size_t fd_count, struct call *k, struct err *err)
{
    int sock, r;

    (void)pthread_mutex_lock(&c->send_lock);
    (void)pthread_mutex_lock(&c->lock);
    sock = c->broken ? -1 : c->sock;
    k->serial = q->serial = ++c->serial;
    k->next = c->calls;
    c->calls = k;
    (void)pthread_mutex_unlock(&c->lock);
    r = sock < 0 ? -EPIPE : fd_send_msg(sock, q, sizeof(*q), fds, fd_count);
    (void)pthread_mutex_unlock(&c->send_lock);
    return r < 0 ? err_set(err, ERR_GONE, "the launcher is gone: %s", strerror(-r)) : 0;
}

// One exchange. *ret_fds are the descriptors that came along. A launcher that does not answer
// is given up unless the caller is `patient`.
static int call_by(struct launch_client *c, struct launch_request *q, const int *fds,
                   size_t fd_count, uint64_t deadline_ns, bool patient, struct launch_reply *ret,
                   struct reply_fds *ret_fds, struct err *err)
{
    struct call k = {.reply = ret};
    bool stuck = false;
    int r;

    q->magic = LAUNCH_MAGIC;
    q->version = LAUNCH_VERSION;
    r = send_request(c, q, fds, fd_count, &k, err);
    (void)pthread_mutex_lock(&c->lock);
    if (r == 0)
        wait_reply(c, &k, deadline_ns);
    unlink_call(c, &k);
    if (r == 0 && !k.done) {
        r = err_set(&k.err, ERR_TIMEOUT, "the launcher did not answer in time");
        if (!patient) {
            c->stuck = true;
            drop(c, &k.err);
        }
    }
    stuck = c->stuck;
    c->stuck = false;
    (void)pthread_mutex_unlock(&c->lock);
    if (stuck && c->on_stuck != NULL)
        c->on_stuck(c->on_stuck_arg);
    *ret_fds = k.fds;
    if (k.err.code != ERR_NONE) {
        if (err != NULL)
            *err = k.err;
        return -1;
    }
    if (r == 0 && ret->code != ERR_NONE) {
        close_fds(ret_fds);
        r = err_set(err, (enum err_code)ret->code, "%s", ret->message);
        if (err != NULL)
            err->sys = ret->sys;
    }
    return r;
}

static int call(struct launch_client *c, struct launch_request *q, const int *fds, size_t fd_count,
                struct launch_reply *ret, struct reply_fds *ret_fds, struct err *err)
{
    return call_by(c, q, fds, fd_count, clock_deadline_ms(REPLY_DEADLINE_MS), false, ret, ret_fds,
                   err);
}

static int hello(struct launch_client *c, uint64_t deadline_ns, bool patient,
                 struct launch_info *ret, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_HELLO};
    struct launch_reply reply;
    struct reply_fds fds;
    int r = call_by(c, &q, NULL, 0, deadline_ns, patient, &reply, &fds, err);

    close_fds(&fds);
    if (r < 0)
        return r;
    *ret = reply.u.info;
    ret->qemu_version[sizeof(ret->qemu_version) - 1] = '\0';
    ret->cgroup_note[sizeof(ret->cgroup_note) - 1] = '\0';
    ret->vmm_note[sizeof(ret->vmm_note) - 1] = '\0';
    ret->agent_note[sizeof(ret->agent_note) - 1] = '\0';
    ret->lasting_note[sizeof(ret->lasting_note) - 1] = '\0';
    return 0;
}

int launch_hello(struct launch_client *c, struct launch_info *ret, struct err *err)
{
    return hello(c, clock_deadline_ms(REPLY_DEADLINE_MS), false, ret, err);
}

int launch_hello_by(struct launch_client *c, uint64_t deadline_ns, struct launch_info *ret,
                    struct err *err)
{
    return hello(c, deadline_ns, true, ret, err);
}

int launch_probe_kvm(struct launch_client *c, struct launch_kvm *ret, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_PROBE_KVM};
    struct launch_reply reply;
    struct reply_fds fds;
    int r = call(c, &q, NULL, 0, &reply, &fds, err);

    close_fds(&fds);
    if (r < 0)
        return r;
    *ret = reply.u.kvm;
    ret->note[sizeof(ret->note) - 1] = '\0';
    return 0;
}

static int spawn(struct launch_client *c, struct launch_request *q, const int *fds, size_t fd_count,
                 int *ret_pidfd, struct err *err)
{
    struct launch_reply reply;
    struct reply_fds reply_fds;
    int r = call(c, q, fds, fd_count, &reply, &reply_fds, err);

    if (r < 0)
        return r;
    if (reply_fds.count != 1) {
        close_fds(&reply_fds);
        return err_set(err, ERR_PROTOCOL, "the launcher's answer has no pidfd");
    }
    *ret_pidfd = reply_fds.fds[0];
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
        .root = vm->root,
    };

    return spawn(c, &q, vm->fds, LAUNCH_FD_COUNT, ret_pidfd, err);
}

int launch_spawn_agent(struct launch_client *c, const struct launch_agent *agent, int *ret_pidfd,
                       struct err *err)
{
    struct launch_request q = {
        .op = LAUNCH_OP_SPAWN_AGENT,
        .mode = agent->mode,
        .memory_mib = agent->memory_mib,
        .id = agent->id,
        .cpu_percent = agent->cpu_percent,
        .processes = agent->processes,
        .disk_mib = agent->disk_mib,
        .root = agent->root,
    };

    return spawn(c, &q, agent->fds, LAUNCH_AGENT_FD_COUNT, ret_pidfd, err);
}

int launch_open_memory(struct launch_client *c, uint64_t id, int ret_fds[LAUNCH_MEMORY_FD_COUNT],
                       struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_OPEN_MEMORY, .id = id};
    struct launch_reply reply;
    struct reply_fds fds;

    if (call(c, &q, NULL, 0, &reply, &fds, err) < 0)
        return -1;
    if (fds.count != LAUNCH_MEMORY_FD_COUNT) {
        close_fds(&fds);
        return err_set(err, ERR_PROTOCOL, "the launcher's answer lacks descriptors");
    }
    memcpy(ret_fds, fds.fds, sizeof(fds.fds));
    return 0;
}

int launch_usage(struct launch_client *c, uint64_t id, struct launch_usage *ret, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_USAGE, .id = id};
    struct launch_reply reply;
    struct reply_fds fds;
    int r = call(c, &q, NULL, 0, &reply, &fds, err);

    close_fds(&fds);
    if (r == 0)
        *ret = reply.u.usage;
    return r;
}

int launch_kill(struct launch_client *c, uint64_t id, struct err *err)
{
    struct launch_request q = {.op = LAUNCH_OP_KILL, .id = id};
    struct launch_reply reply;
    struct err mine = ERR_INIT;
    struct reply_fds fds;
    int r = call(c, &q, NULL, 0, &reply, &fds, &mine);

    close_fds(&fds);
    if (r < 0 && mine.code == ERR_GONE)
        return 0;
    if (r < 0 && err != NULL)
        *err = mine;
    return r;
}
