// SPDX-License-Identifier: Apache-2.0
//
// A body larger than all queues of a channel together, which no piece of another place can pass
// for. SOON, a deadline, is the test's.
#ifndef CSB_TESTS_CHANNEL_BIG_H
#define CSB_TESTS_CHANNEL_BIG_H

#include "channel/channel.h"

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BIG_BYTES (20u << 20)

static uint8_t big_byte(size_t i)
{
    return (uint8_t)(i + (i >> 8) * 7u + (i >> 16) * 3u);
}

// A thread: writes it all to the stream `arg` and finishes it, or cancels it.
static void *big_write(void *arg)
{
    struct channel_stream *s = arg;
    struct err err = ERR_INIT;

    for (size_t at = 0; at < BIG_BYTES;) {
        uint8_t chunk[50000];
        size_t n = BIG_BYTES - at < sizeof(chunk) ? BIG_BYTES - at : sizeof(chunk);
        ssize_t put;

        for (size_t i = 0; i < n; i++)
            chunk[i] = big_byte(at + i);
        put = channel_write(s, chunk, n, SOON, &err);
        if (put <= 0) {
            printf("# write: %s\n", err.message);
            channel_stream_cancel(s);
            return NULL;
        }
        at += (size_t)put;
    }
    channel_finish(s);
    return NULL;
}

// Reads to the end of the answer's body. *ret_same tells whether what came is the beginning of it.
static size_t big_read(struct channel_stream *s, bool *ret_same, struct err *err)
{
    size_t at = 0;
    ssize_t n;

    *ret_same = true;
    do {
        uint8_t chunk[20000];

        n = channel_read(s, chunk, sizeof(chunk), SOON, err);
        for (ssize_t i = 0; i < n; i++)
            *ret_same = *ret_same && chunk[i] == big_byte(at + (size_t)i);
        at += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    *ret_same = *ret_same && n == 0;
    return at;
}

#endif
