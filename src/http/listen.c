// SPDX-License-Identifier: Apache-2.0
#include "http/listen.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 1024

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

// 0 or -EINVAL.
static int to_address(const char *host, uint16_t port, union address *ret, socklen_t *ret_len)
{
    memset(ret, 0, sizeof(*ret));
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons(port);
        *ret_len = sizeof(ret->v4);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons(port);
        *ret_len = sizeof(ret->v6);
        return 0;
    }
    return -EINVAL;
}

bool listen_is_loopback(const char *host)
{
    union address a;
    socklen_t len;

    if (to_address(host, 0, &a, &len) < 0)
        return false;
    if (a.any.sa_family == AF_INET)
        return ntohl(a.v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
}

static int explain(const char *host, uint16_t port, int error, struct err *err)
{
    const char *hint = "";

    if (error == EADDRINUSE)
        hint = ": another program does; stop it, or choose another API_PORT";
    else if (error == EACCES)
        hint = ": ports below 1024 are for root; choose another API_PORT";
    else if (error == EADDRNOTAVAIL)
        hint = ": no interface of this host has that address (API_HOST)";
    return err_sys(err, error, "cannot listen on %s port %u%s", host, port, hint);
}

static void describe(int fd, char *text, size_t size)
{
    union address a;
    socklen_t len = sizeof(a);
    char host[INET6_ADDRSTRLEN] = "?";

    memset(&a, 0, sizeof(a));
    (void)getsockname(fd, &a.any, &len); // a bound socket always has a name
    if (a.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, size, "[%s]:%u", host, ntohs(a.v6.sin6_port));
    } else {
        (void)inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof(host));
        (void)snprintf(text, size, "%s:%u", host, ntohs(a.v4.sin_port));
    }
}

int listen_tcp(const char *host, uint16_t port, int *ret_fd, char *address, size_t size,
               struct err *err)
{
    union address a;
    socklen_t len;
    const int on = 1;
    _cleanup_fd_ int fd = -1;

    if (to_address(host, port, &a, &len) < 0)
        return err_set(err, ERR_INVALID, "'%s' is not a numeric address", host);
    fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "cannot make a socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); // only speeds up restarts
    if (bind(fd, &a.any, len) < 0 || listen(fd, BACKLOG) < 0)
        return explain(host, port, errno, err);
    describe(fd, address, size);
    *ret_fd = fd_steal(&fd);
    return 0;
}
