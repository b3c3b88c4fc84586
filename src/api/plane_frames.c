// SPDX-License-Identifier: Apache-2.0
#include "api/plane_frames.h"

#include <string.h>

#define LAST 2u // flag of the last message

// Text and length go together.
static const char farewell[] =
    "{\"error\":{\"code\":\"unavailable\",\"message\":\"the service is shutting down\"}}";

void plane_frames_last(uint8_t ret[PLANE_FRAME_HEAD], size_t len)
{
    ret[0] = LAST;
    for (size_t i = 1; i < PLANE_FRAME_HEAD; i++)
        ret[i] = (uint8_t)(len >> (8 * (PLANE_FRAME_HEAD - 1 - i)));
}

static void begin_message(struct plane_frames *f)
{
    f->left = (uint64_t)f->head[1] << 24 | (uint64_t)f->head[2] << 16 | (uint64_t)f->head[3] << 8 |
              f->head[4];
    f->ended = f->ended || (f->head[0] & LAST) != 0;
    f->have = 0;
}

void plane_frames_see(struct plane_frames *f, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    while (f->on && len > 0) {
        size_t n = f->left > 0 ? (f->left < len ? (size_t)f->left : len) : 1;

        if (f->left > 0)
            f->left -= n;
        else
            f->head[f->have++] = *bytes;
        if (f->have == PLANE_FRAME_HEAD)
            begin_message(f);
        bytes += n;
        len -= n;
    }
}

size_t plane_frames_farewell(struct plane_frames *f, char *data, size_t max)
{
    const size_t len = sizeof(farewell) - 1;

    if (!f->on || f->ended || f->have > 0 || f->left > 0 || max < PLANE_FRAME_HEAD + len)
        return 0;
    plane_frames_last((uint8_t *)data, len);
    memcpy(data + PLANE_FRAME_HEAD, farewell, len);
    f->ended = true;
    return PLANE_FRAME_HEAD + len;
}
