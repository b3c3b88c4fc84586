// SPDX-License-Identifier: Apache-2.0
//
// Where in a stream of Connect's messages an answer is, so that it can be ended by a word of ours
// when its sandbox ends with the service.
#ifndef CSB_API_PLANE_FRAMES_H
#define CSB_API_PLANE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLANE_FRAME_HEAD 5 // flags, u32be length

// All zero but `on` at the beginning of an answer.
struct plane_frames {
    bool on;    // the answer is such a stream
    bool ended; // its last message has begun
    uint8_t head[PLANE_FRAME_HEAD];
    size_t have;   // bytes of `head`
    uint64_t left; // bytes of the message
};

#define PLANE_FRAMES_TYPE "application/connect+json"

// The head of a stream's last message, which has `len` bytes.
void plane_frames_last(uint8_t ret[PLANE_FRAME_HEAD], size_t len);

// Takes notice of what is passed on.
void plane_frames_see(struct plane_frames *f, const void *data, size_t len);

// Writes the last message of a stream that the end of the service cuts, when it can follow what was
// passed on. Returns its bytes, 0 when it cannot.
size_t plane_frames_farewell(struct plane_frames *f, char *data, size_t max);

#endif
