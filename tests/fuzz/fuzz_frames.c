// SPDX-License-Identifier: Apache-2.0
//
// The decoder of /run frames: whatever the bytes and however they are cut, it must decode the same.
// First byte: the size of the pieces; then the answer.
#include "channel/frames.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct summary {
    uint64_t hash;
    size_t count;
    int result;
    bool finished;
};

static void add(struct summary *s, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ data[i]) * 1099511628211ull;
}

static struct summary decode(const uint8_t *data, size_t len, size_t piece)
{
    struct summary s = {.hash = 14695981039346656037ull};
    struct frames f = FRAMES_INIT;

    while (len > 0 && s.result == 0) {
        size_t n = piece == 0 || piece > len ? len : piece;
        const uint8_t *at = data;
        size_t left = n;
        struct frame frame;

        while ((s.result = frames_next(&f, &at, &left, &frame)) == 0 && frame.data != NULL) {
            const uint8_t type = (uint8_t)frame.type;

            if (frame.len > AGENT_FRAME_MAX)
                abort();
            add(&s, &type, 1);
            add(&s, frame.data, frame.len);
            s.count++;
        }
        if (s.result == 0 && left != 0)
            abort();
        data += n;
        len -= n;
    }
    s.finished = frames_finished(&f);
    frames_release(&f);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct summary whole;
    struct summary pieces;

    if (len < 1)
        return 0;
    whole = decode(data + 1, len - 1, 0);
    pieces = decode(data + 1, len - 1, (size_t)data[0] + 1);
    if (whole.hash != pieces.hash || whole.count != pieces.count || whole.result != pieces.result ||
        whole.finished != pieces.finished)
        abort();
    return 0;
}
