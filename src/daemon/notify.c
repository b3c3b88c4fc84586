// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WATCHDOG_MAX_US ((uint64_t)3600 * 1000000)

static uint64_t watchdog_beat_ns(void)
{
    const char *period = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t us;
    uint64_t whose;

    if (period == NULL || parse_u64(period, 1, WATCHDOG_MAX_US, &us) < 0)
        return 0;
    if (pid != NULL && (parse_u64(pid, 1, INT32_MAX, &whose) < 0 || (pid_t)whose != getpid()))
        return 0;
    return us * 1000 / 2;
}

void notify_open(struct notify *n)
{
    const char *path = getenv("NOTIFY_SOCKET");
    const struct timeval send_wait = {.tv_sec = 1};

    *n = (struct notify){.fd = -1};
    if (path != NULL && (path[0] == '/' || path[0] == '@') && strlen(path) < sizeof(n->address)) {
        size_t len = strlen(path);

        memcpy(n->address, path, len);
        if (path[0] == '@') // the abstract name space
            n->address[0] = '\0';
        n->address_len = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + len);
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        (void)setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &send_wait, sizeof(send_wait));
        n->beat_ns = n->fd >= 0 ? watchdog_beat_ns() : 0;
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *n)
{
    fd_close(&n->fd);
}

void notify_send(const struct notify *n, const char *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[256];
    int flags = MSG_NOSIGNAL, len;

    if (n->fd < 0)
        return;
    memcpy(address.sun_path, n->address, sizeof(address.sun_path));
    // A reload needs the time it began at, or the manager takes it for one long over.
    if (strcmp(state, "RELOADING=1") == 0)
        len = snprintf(text, sizeof(text), "%s\nMONOTONIC_USEC=%" PRIu64, state,
                       clock_mono_ns() / 1000);
    else
        len = snprintf(text, sizeof(text), "%s", state);
    // A sign of life is followed by another; any other state is told once, so it waits for room.
    if (strcmp(state, "WATCHDOG=1") == 0)
        flags |= MSG_DONTWAIT;
    (void)sendto(n->fd, text, (size_t)len, flags, (const struct sockaddr *)(const void *)&address,
                 n->address_len);
}
