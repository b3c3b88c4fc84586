// SPDX-License-Identifier: Apache-2.0
#include "channel/frames.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

// Stands for an empty payload, so that a yielded frame's data is never NULL.
static const uint8_t nothing[1];

void frames_init(struct frames *f)
{
    *f = (struct frames)FRAMES_INIT;
}

void frames_release(struct frames *f)
{
    buf_release(&f->payload);
    frames_init(f);
}

bool frames_finished(const struct frames *f)
{
    return f->finished;
}

// The largest payload of a type, or -1 for a type that does not exist.
static int64_t type_max(uint8_t type)
{
    switch (type) {
    case AGENT_FRAME_STDOUT:
    case AGENT_FRAME_STDERR:
    case AGENT_FRAME_COMPILE_OUT:
    case AGENT_FRAME_ARTIFACT:
        return AGENT_FRAME_MAX;
    case AGENT_FRAME_RESULT:
        return AGENT_JSON_MAX;
    default:
        return -1;
    }
}

static int broke(struct frames *f, int error)
{
    f->broken = true;
    buf_release(&f->payload);
    return error;
}

static void take_header(struct frames *f, const uint8_t **data, size_t *len)
{
    size_t n = FRAME_HEADER_BYTES - f->header_len;

    if (n > *len)
        n = *len;
    if (n > 0)
        memcpy(f->header + f->header_len, *data, n);
    f->header_len += n;
    *data += n;
    *len -= n;
}

// Takes the payload of `want` bytes: from the piece itself when it holds all of it, else by way of
// f->payload. *ret stays NULL while bytes are missing.
static int take_payload(struct frames *f, size_t want, const uint8_t **data, size_t *len,
                        const uint8_t **ret)
{
    size_t n = want - f->payload.len;

    if (n > *len)
        n = *len;
    if (f->payload.len == 0 && n == want) {
        *ret = want == 0 ? nothing : *data;
    } else if (n > 0) {
        int r = buf_append(&f->payload, *data, n);

        if (r < 0)
            return r;
    }
    *data += n;
    *len -= n;
    if (*ret == NULL && f->payload.len == want) {
        *ret = f->payload.data;
        f->taken = true;
    }
    return 0;
}

int frames_next(struct frames *f, const uint8_t **data, size_t *len, struct frame *ret)
{
    const uint8_t *payload = NULL;
    uint32_t want;
    int64_t max;
    int r;

    ret->data = NULL;
    ret->len = 0;
    if (f->broken)
        return -EPROTO;
    if (f->taken) {
        buf_clear(&f->payload);
        f->taken = false;
    }
    if (*len == 0)
        return 0;
    if (f->finished)
        return broke(f, -EPROTO);
    take_header(f, data, len);
    max = type_max(f->header[0]);
    if (max < 0)
        return broke(f, -EPROTO);
    if (f->header_len < FRAME_HEADER_BYTES)
        return 0;
    want = (uint32_t)f->header[1] << 24 | (uint32_t)f->header[2] << 16 |
           (uint32_t)f->header[3] << 8 | (uint32_t)f->header[4];
    if (want > max)
        return broke(f, -EPROTO);
    r = take_payload(f, want, data, len, &payload);
    if (r < 0)
        return broke(f, r);
    if (payload == NULL)
        return 0;
    f->header_len = 0;
    f->finished = f->header[0] == AGENT_FRAME_RESULT;
    ret->type = (enum agent_frame)f->header[0];
    ret->data = payload;
    ret->len = want;
    return 0;
}

void frame_encode_header(uint8_t ret[FRAME_HEADER_BYTES], enum agent_frame type, uint32_t len)
{
    assert(len <= AGENT_FRAME_MAX);
    ret[0] = (uint8_t)type;
    ret[1] = (uint8_t)(len >> 24);
    ret[2] = (uint8_t)(len >> 16);
    ret[3] = (uint8_t)(len >> 8);
    ret[4] = (uint8_t)len;
}
