// SPDX-License-Identifier: Apache-2.0
//
// The decoder of /run frames: every way to cut the bytes, and what it must refuse.
#include "channel/frames.h"

#include "base/buf.h"

#include "tap.h"

#include <errno.h>

static void put_run_frame(struct buf *b, enum agent_frame type, const void *data, uint32_t len)
{
    uint8_t header[FRAME_HEADER_BYTES];

    frame_encode_header(header, type, len);
    (void)buf_append(b, header, sizeof(header));
    (void)buf_append(b, data, len);
}

// Feeds `b` in pieces cut at the two places and writes down what was decoded, one letter a frame
// and its payload. Returns the decoder's last answer.
static int decode(const struct buf *b, size_t cut1, size_t cut2, struct buf *out, bool *finished)
{
    const size_t cuts[4] = {0, cut1, cut2, b->len};
    struct frames f = FRAMES_INIT;
    int r = 0;

    for (int i = 0; i < 3 && r == 0; i++) {
        const uint8_t *data = b->data + cuts[i];
        size_t len = cuts[i + 1] - cuts[i];
        struct frame frame;

        while ((r = frames_next(&f, &data, &len, &frame)) == 0 && frame.data != NULL) {
            (void)buf_append_u8(out, (uint8_t)('0' + frame.type));
            (void)buf_append(out, frame.data, frame.len);
        }
    }
    *finished = frames_finished(&f);
    frames_release(&f);
    return r;
}

static void test_frames_split(void)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    bool all = true;

    put_run_frame(&b, AGENT_FRAME_STDOUT, "hello", 5);
    put_run_frame(&b, AGENT_FRAME_STDERR, "", 0);
    put_run_frame(&b, AGENT_FRAME_COMPILE_OUT, "warn", 4);
    put_run_frame(&b, AGENT_FRAME_STDOUT, "x", 1);
    put_run_frame(&b, AGENT_FRAME_RESULT, "{\"a\":1}", 7);
    for (size_t i = 0; i <= b.len; i++) {
        for (size_t j = i; j <= b.len; j++) {
            _cleanup_buf_ struct buf out = BUF_INIT;
            bool finished;
            int r = decode(&b, i, j, &out, &finished);

            all = all && r == 0 && finished &&
                  strcmp(buf_cstr(&out), "1hello23warn1x9{\"a\":1}") == 0;
        }
    }
    CHECK_MSG(all, "frames are the same however the bytes are cut");
}

static void test_frames_bad(void)
{
    static const uint8_t big[AGENT_FRAME_MAX];
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    bool finished;

    put_run_frame(&b, AGENT_FRAME_STDOUT, big, sizeof(big));
    CHECK_MSG(decode(&b, 3, 9000, &out, &finished) == 0 && out.len == sizeof(big) + 1,
              "a frame of the largest size");
    CHECK_MSG(!finished, "is not the end");
    buf_clear(&b);
    (void)buf_append(&b, "\x01\x00\x01\x00\x01", 5);
    CHECK_INT(decode(&b, 0, 0, &out, &finished), -EPROTO);
    buf_clear(&b);
    (void)buf_append(&b, "\x09\xff\xff\xff\xff", 5);
    CHECK_INT(decode(&b, 1, 2, &out, &finished), -EPROTO);
    buf_clear(&b);
    (void)buf_append(&b, "\x05", 1);
    CHECK_INT(decode(&b, 0, 0, &out, &finished), -EPROTO);
    buf_clear(&b);
    (void)buf_append(&b, "\x00", 1);
    CHECK_INT(decode(&b, 0, 0, &out, &finished), -EPROTO);
    buf_clear(&b);
    put_run_frame(&b, AGENT_FRAME_RESULT, "{}", 2);
    (void)buf_append(&b, "\x01", 1);
    for (size_t i = 0; i <= b.len; i++)
        CHECK_INT(decode(&b, i, b.len, &out, &finished), -EPROTO);
}

static void test_frames_after_error(void)
{
    struct frames f;
    struct frame frame;
    const uint8_t *data = (const uint8_t *)"\x07";
    size_t len = 1;

    frames_init(&f);
    CHECK_INT(frames_next(&f, &data, &len, &frame), -EPROTO);
    data = (const uint8_t *)"\x01\0\0\0\0";
    len = 5;
    CHECK_INT(frames_next(&f, &data, &len, &frame), -EPROTO);
    CHECK(frame.data == NULL);
    frames_release(&f);
    CHECK_INT(frames_next(&f, &data, &len, &frame), 0);
    CHECK(frame.data != NULL && frame.len == 0);
    frames_release(&f);
}

int main(void)
{
    test_frames_split();
    test_frames_bad();
    test_frames_after_error();
    return tap_done();
}
