// SPDX-License-Identifier: Apache-2.0
#include "cli/envelope.h"

#include <errno.h>
#include <stdint.h>

#define FLAG_COMPRESSED 1u
#define FLAG_LAST       2u

void envelopes_init(struct envelopes *e, envelope_fn on_message, void *arg)
{
    *e = (struct envelopes){.data = BUF_CAPPED(2 * (ENVELOPE_MAX + ENVELOPE_HEAD)),
                            .on_message = on_message,
                            .arg = arg};
}

void envelopes_release(struct envelopes *e)
{
    buf_release(&e->data);
}

static uint32_t read_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int envelopes_feed(struct envelopes *e, const void *bytes, size_t len)
{
    size_t at = 0;
    int r = buf_append(&e->data, bytes, len);

    while (r == 0 && e->data.len - at >= ENVELOPE_HEAD) {
        const uint8_t *head = e->data.data + at;
        uint32_t size = read_be32(head + 1);

        if ((head[0] & FLAG_COMPRESSED) != 0 || size > ENVELOPE_MAX)
            return -EPROTO;
        if (e->data.len - at - ENVELOPE_HEAD < size)
            break;
        at += ENVELOPE_HEAD + size;
        r = e->on_message(e->arg, (const char *)head + ENVELOPE_HEAD, size,
                          (head[0] & FLAG_LAST) != 0);
    }
    if (at > 0)
        buf_consume(&e->data, at);
    return r;
}

int envelope_write(struct buf *out, const char *message, size_t len)
{
    int r = buf_append_u8(out, 0);

    if (r == 0)
        r = buf_append_be32(out, (uint32_t)len);
    return r == 0 ? buf_append(out, message, len) : r;
}
