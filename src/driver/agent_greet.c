// SPDX-License-Identifier: Apache-2.0
//
// How it works: the agent takes the opening of an HTTP/2 connection, which no open connection
// repeats, for a new peer (channel/server.h), ends the former session and starts another. This is
// such an opening with a PING of random bytes in it. Whatever comes before the answer to that PING
// was meant for the former peer; after it the agent is silent until it is spoken to, and takes the
// opening of whoever has the stream next for one more new peer.
#include "driver/agent_greet.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define MAGIC        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define MAGIC_BYTES  (sizeof(MAGIC) - 1)
#define FRAME_BYTES  9u // the head of a frame
#define PING_BYTES   (FRAME_BYTES + 8u)
#define READ_BYTES   16384u
#define FLAGS_OFFSET 4u
#define FLAG_ACK     1u

static const uint8_t settings[FRAME_BYTES] = {0, 0, 0, 4};

// Writes all at once: what was never written to fits a socket's buffer.
static int send_opening(int fd, const uint8_t ping[PING_BYTES], struct err *err)
{
    uint8_t text[MAGIC_BYTES + FRAME_BYTES + PING_BYTES];

    memcpy(text, MAGIC, MAGIC_BYTES);
    memcpy(text + MAGIC_BYTES, settings, FRAME_BYTES);
    memcpy(text + MAGIC_BYTES + FRAME_BYTES, ping, PING_BYTES);
    if (write(fd, text, sizeof(text)) != (ssize_t)sizeof(text))
        return err_set(err, ERR_GONE, "the restored machine's stream takes nothing");
    return 0;
}

// Reads until `wanted` came. Of what was read its last bytes are kept, for it may come in pieces.
static int read_until(int fd, const uint8_t wanted[PING_BYTES], uint64_t deadline_ns,
                      struct err *err)
{
    uint8_t text[PING_BYTES + READ_BYTES];
    size_t kept = 0;

    for (;;) {
        int r = fd_wait(fd, POLLIN, deadline_ns);
        size_t len;
        ssize_t n;

        if (r == 0 || clock_mono_ns() >= deadline_ns)
            return err_set(err, ERR_TIMEOUT, "the restored agent did not answer in time");
        n = r < 0 ? -1 : read(fd, text + kept, READ_BYTES);
        if (n < 0 && r > 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return err_set(err, ERR_GONE, "the restored machine ended");
        len = kept + (size_t)n;
        if (memmem(text, len, wanted, PING_BYTES) != NULL)
            return 0;
        kept = len < PING_BYTES - 1 ? len : PING_BYTES - 1;
        memmove(text, text + len - kept, kept);
    }
}

int agent_greet(int fd, uint64_t deadline_ns, struct err *err)
{
    uint8_t ping[PING_BYTES] = {0, 0, 8, 6};

    id_random(ping + FRAME_BYTES, PING_BYTES - FRAME_BYTES);
    if (send_opening(fd, ping, err) < 0)
        return -1;
    ping[FLAGS_OFFSET] = FLAG_ACK;
    return read_until(fd, ping, deadline_ns, err);
}
