// SPDX-License-Identifier: Apache-2.0
//
// Frames of the answer to /run (agent_wire.h): u8 type, u32be length, payload, the RESULT frame
// last. The decoder takes the answer in pieces of any size from an agent that may lie; the encoder
// is the agent's. Pure code: no I/O, no clock.
#ifndef CSB_CHANNEL_FRAMES_H
#define CSB_CHANNEL_FRAMES_H

#include "base/buf.h"
#include "channel/agent_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_BYTES 5

// Decoder. A frame's payload is held only when a piece ended inside it, so memory is at most
// AGENT_FRAME_MAX. One thread at a time.
struct frames {
    uint8_t header[FRAME_HEADER_BYTES];
    size_t header_len;
    struct buf payload; // of the frame that is arriving in pieces
    bool taken;         // `payload` was yielded: drop it at the next call
    bool finished;      // RESULT was yielded
    bool broken;        // -EPROTO or -ENOMEM was returned
};

struct frame {
    enum agent_frame type;
    const uint8_t *data; // borrowed until the next call; never NULL when a frame was yielded
    size_t len;
};

#define FRAMES_INIT {.payload = BUF_CAPPED(AGENT_FRAME_MAX)}

void frames_init(struct frames *f);
void frames_release(struct frames *f);

// Takes the next frame out of the piece `*data`, `*len`, both of which are moved past what was
// used. ret->data is NULL when the piece is used up without completing a frame. Returns 0; -EPROTO
// for an unknown type, a length above the cap of its type or any byte after RESULT; -ENOMEM. After
// an error every further call returns -EPROTO.
//
//     while ((r = frames_next(&f, &data, &len, &frame)) == 0 && frame.data != NULL)
//         ...
int frames_next(struct frames *f, const uint8_t **data, size_t *len, struct frame *ret);

// True once RESULT was yielded. An answer that ends earlier was cut off.
bool frames_finished(const struct frames *f);

// Writes the header of a frame whose payload has `len` bytes (at most AGENT_FRAME_MAX).
void frame_encode_header(uint8_t ret[FRAME_HEADER_BYTES], enum agent_frame type, uint32_t len);

#endif
