// SPDX-License-Identifier: Apache-2.0
#include "api/plane_frames.h"

#include <string.h>

#define LAST 2u // flag of the last message

// Text and length go together.
static const char farewell[] =
    "{\"error\":{\"code\":\"unavailable\",\"message\":\"the service is shutting down\"}}";

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
    memset(data, 0, PLANE_FRAME_HEAD);
    data[0] = (char)LAST;
    data[4] = (char)len;
    memcpy(data + PLANE_FRAME_HEAD, farewell, len);
    f->ended = true;
    return PLANE_FRAME_HEAD + len;
}
