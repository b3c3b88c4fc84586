// SPDX-License-Identifier: Apache-2.0
#include "agent/netns.h"

#include "base/buf.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// Opened inside a namespace these go on to speak of it from anywhere. Packets of the loopback; what
// was sent nowhere, by either protocol; unix sockets.
static const char *const proof_paths[] = {
    "/proc/self/net/dev",
    "/proc/self/net/snmp",
    "/proc/self/net/snmp6",
    "/proc/self/net/unix",
};
#define PROOFS     (sizeof(proof_paths) / sizeof(proof_paths[0]))
#define PROOFS_MAX 32768u // bytes of them all

struct netns {
    int fd;
    int proofs[PROOFS]; // -1: this kernel has no such file
    struct buf pristine;
    struct netns *next;
};

static void netns_free(struct netns *n)
{
    fd_close(&n->fd);
    for (size_t i = 0; i < PROOFS; i++)
        fd_close(&n->proofs[i]);
    buf_release(&n->pristine);
    free(n);
}

static int read_proofs(struct netns *n, struct buf *ret)
{
    int rc = 0;

    for (size_t i = 0; i < PROOFS && rc == 0; i++) {
        if (n->proofs[i] < 0)
            continue;
        if (lseek(n->proofs[i], 0, SEEK_SET) < 0)
            return -errno;
        rc = fd_read_to_buf(n->proofs[i], ret);
    }
    return rc;
}

// Runs inside the new namespace.
static int furnish(struct netns *n)
{
    struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    _cleanup_fd_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &req) < 0)
        return -errno;
    n->fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (n->fd < 0)
        return -errno;
    for (size_t i = 0; i < PROOFS; i++) {
        n->proofs[i] = open(proof_paths[i], O_RDONLY | O_CLOEXEC);
        if (n->proofs[i] < 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

// The agent itself goes into a new namespace for a moment: it has one thread.
static struct netns *make(struct netns_pool *pool, struct err *err)
{
    struct netns *n = calloc(1, sizeof(*n));
    int rc = 0;

    if (n == NULL) {
        err_sys(err, ENOMEM, "network namespace");
        return NULL;
    }
    n->fd = -1;
    n->pristine = (struct buf)BUF_CAPPED(PROOFS_MAX);
    for (size_t i = 0; i < PROOFS; i++)
        n->proofs[i] = -1;
    if (unshare(CLONE_NEWNET) < 0) {
        rc = -errno;
    } else {
        rc = furnish(n);
        // Without a way back nothing of what follows would be where it belongs.
        if (setns(pool->own_fd, CLONE_NEWNET) < 0)
            abort();
    }
    if (rc == 0)
        rc = read_proofs(n, &n->pristine);
    if (rc < 0) {
        err_sys(err, rc, "make a network namespace");
        netns_free(n);
        return NULL;
    }
    return n;
}

static void keep(struct netns_pool *pool, struct netns *n)
{
    n->next = pool->idle;
    pool->idle = n;
    pool->idle_count++;
}

int netns_pool_init(struct netns_pool *pool, struct err *err)
{
    *pool = (struct netns_pool){.own_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (pool->own_fd < 0)
        return err_sys(err, errno, "open the network namespace");
    for (int i = 0; i < NETNS_AHEAD; i++) {
        struct netns *n = make(pool, err);
        if (n == NULL)
            return -1;
        keep(pool, n);
    }
    return 0;
}

void netns_pool_release(struct netns_pool *pool)
{
    while (pool->idle != NULL) {
        struct netns *n = pool->idle;
        pool->idle = n->next;
        netns_free(n);
    }
    pool->idle_count = 0;
    fd_close(&pool->own_fd);
}

struct netns *netns_take(struct netns_pool *pool, struct err *err)
{
    struct netns *n = pool->idle;

    if (n == NULL)
        return make(pool, err);
    pool->idle = n->next;
    pool->idle_count--;
    return n;
}

int netns_fd(const struct netns *n)
{
    return n->fd;
}

static bool is_pristine(struct netns *n)
{
    _cleanup_buf_ struct buf now = BUF_CAPPED(PROOFS_MAX);

    return read_proofs(n, &now) == 0 && now.len == n->pristine.len &&
           memcmp(now.data, n->pristine.data, now.len) == 0;
}

void netns_give(struct netns_pool *pool, struct netns *n)
{
    if (n == NULL)
        return;
    if (pool->idle_count >= NETNS_KEPT) {
        netns_free(n);
    } else if (is_pristine(n)) {
        keep(pool, n);
    } else {
        netns_free(n);
        n = make(pool, NULL); // without it the next jail makes its own
        if (n != NULL)
            keep(pool, n);
    }
}
