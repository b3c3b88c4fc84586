// SPDX-License-Identifier: Apache-2.0
//
// The channel against peers that break the rules, their bytes written by hand.
#include "channel/channel.h"
#include "channel/server.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"

#define SOON clock_deadline_ms(60000)

#include "channel_peer.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct channel_loop *loop;

static struct channel_stream *get(struct channel *ch, const char *path)
{
    const struct channel_request req = {.method = "GET", .path = path};
    struct channel_stream *s = NULL;
    struct err err = ERR_INIT;

    if (channel_send(ch, &req, &s, &err) < 0)
        printf("# send %s: %s\n", path, err.message);
    return s;
}

static void put_frame(struct buf *b, size_t len, uint8_t type, uint8_t flags, uint32_t id,
                      const void *payload, size_t payload_len)
{
    (void)buf_append_u8(b, (uint8_t)(len >> 16));
    (void)buf_append_u8(b, (uint8_t)(len >> 8));
    (void)buf_append_u8(b, (uint8_t)len);
    (void)buf_append_u8(b, type);
    (void)buf_append_u8(b, flags);
    (void)buf_append_be32(b, id);
    (void)buf_append(b, payload, payload_len);
}

static void put_settings(struct buf *b)
{
    put_frame(b, 0, 4, 0, 0, NULL, 0);
}

// One header block: :status 200 (indexed) and then `count` fields of 1 + `value_len` bytes.
static void put_headers(struct buf *b, uint8_t flags, size_t count, size_t value_len)
{
    _cleanup_buf_ struct buf block = BUF_INIT;

    (void)buf_append_u8(&block, 0x88);
    for (size_t i = 0; i < count; i++) {
        (void)buf_append_u8(&block, 0x00);
        (void)buf_append(&block, "\x01x", 2);
        if (value_len < 127) {
            (void)buf_append_u8(&block, (uint8_t)value_len);
        } else {
            (void)buf_append_u8(&block, 127);
            size_t rest = value_len - 127;

            for (; rest >= 128; rest >>= 7)
                (void)buf_append_u8(&block, (uint8_t)(rest | 128));
            (void)buf_append_u8(&block, (uint8_t)rest);
        }
        for (size_t j = 0; j < value_len; j++)
            (void)buf_append_u8(&block, 'v');
    }
    put_frame(b, block.len, 1, flags, 1, block.data, block.len);
}

// Sends `bytes` to a client with one request open and returns what that ends with. The peer then
// stays silent, so only the client can end it.
static enum err_code hostile(const struct buf *bytes)
{
    struct err err = ERR_INIT;
    int fd;
    struct channel *ch = peer_pair(loop, &fd);
    struct channel_stream *s = get(ch, "/x");
    size_t at = 0;
    int status;

    (void)fd_set_nonblock(fd, 1);
    while (at < bytes->len) {
        uint8_t drop[16384];
        ssize_t n = send(fd, bytes->data + at, bytes->len - at, MSG_NOSIGNAL);

        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN)
            break;
        while (read(fd, drop, sizeof(drop)) > 0)
            ;
    }
    if (channel_status(s, SOON, &status, &err) == 0) {
        uint8_t chunk[16384];

        while (channel_read(s, chunk, sizeof(chunk), SOON, &err) > 0)
            ;
    }
    channel_stream_close(s);
    channel_close(ch);
    fd_close(&fd);
    return err.code;
}

static void test_hostile_headers(void)
{
    _cleanup_buf_ struct buf b = BUF_INIT;

    put_settings(&b);
    put_headers(&b, 5, 3, 10);
    CHECK_MSG(hostile(&b) == ERR_NONE, "an honest answer written by hand is taken");
    buf_clear(&b);
    put_settings(&b);
    put_headers(&b, 5, 1, 16000);
    CHECK_MSG(hostile(&b) == ERR_NONE, "a header of 16000 bytes is taken");
    buf_clear(&b);
    put_settings(&b);
    put_headers(&b, 5, 2, 8180);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "headers of more than 16 KiB are not");
    buf_clear(&b);
    put_settings(&b);
    put_headers(&b, 5, 70, 1);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "more than 64 headers are not");
    buf_clear(&b);
    put_settings(&b);
    for (int i = 0; i < 8; i++)
        put_headers(&b, 4, 1, 1);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "header blocks without end are not");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 1, 1, 5, 1, "\x80", 1);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a broken header block ends the session");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 6, 1, 5, 1,
              "\x08\x04"
              "1234",
              6);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a status of four digits ends it");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 5, 1, 5, 1,
              "\x08\x03"
              "999",
              5);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "so does status 999");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 1, 1, 4, 3, "\x88", 1);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "and an answer to what was not asked");
}

static void test_hostile_floods(void)
{
    static const uint8_t zeros[16384];
    _cleanup_buf_ struct buf b = BUF_INIT;

    put_settings(&b);
    for (int i = 0; i < 5000; i++)
        put_frame(&b, 8, 6, 0, 0, "pingping", 8);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a flood of PING ends the session");
    buf_clear(&b);
    for (int i = 0; i < 5000; i++)
        put_settings(&b);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a flood of SETTINGS");
    buf_clear(&b);
    put_settings(&b);
    put_headers(&b, 4, 1, 1);
    for (int i = 0; i < 5000; i++)
        put_frame(&b, 0, 0, 0, 1, NULL, 0);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a flood of empty DATA");
    buf_clear(&b);
    put_settings(&b);
    put_headers(&b, 4, 1, 1);
    for (int i = 0; i < 5000; i++)
        put_frame(&b, 101, 0, 8, 1,
                  "\x64"
                  "0123456789",
                  11),
            (void)buf_append(&b, zeros, 90);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a flood of padding");
    buf_clear(&b);
    put_settings(&b);
    for (int i = 0; i < 300; i++)
        put_frame(&b, sizeof(zeros), 0x77, 0, 0, zeros, sizeof(zeros));
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a flood of frames of unknown type");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 5, 5, 4, 1, "\x00\x00\x00\x02\x88", 5);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "PUSH_PROMISE ends the session");
}

static void test_hostile_garbage(void)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    int fd;
    struct channel *ch;
    struct channel_stream *s;
    int status;
    enum err_code code;

    for (int i = 0; i < 100000; i++)
        (void)buf_append_u8(&b, (uint8_t)(i * 7 + (i >> 5)));
    code = hostile(&b);
    CHECK_MSG(code == ERR_PROTOCOL || code == ERR_GONE, "garbage ends the session");
    buf_clear(&b);
    (void)buf_append(&b, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    code = hostile(&b);
    CHECK_MSG(code == ERR_PROTOCOL || code == ERR_GONE, "HTTP/1.1 ends the session");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 1u << 20, 0, 0, 1, NULL, 0);
    CHECK_MSG(hostile(&b) == ERR_PROTOCOL, "a frame that is too long");
    buf_clear(&b);
    put_settings(&b);
    put_frame(&b, 8, 7, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    CHECK_MSG(hostile(&b) == ERR_GONE, "GOAWAY ends the request");
    ch = peer_pair(loop, &fd);
    s = get(ch, "/x");
    fd_close(&fd);
    CHECK_INT(channel_status(s, SOON, &status, &err), -1);
    CHECK_MSG(err.code == ERR_GONE, "a peer that hangs up");
    channel_stream_close(s);
    channel_close(ch);
}

// More body than the window allows: the client must not take it in.
static void test_hostile_window(void)
{
    static const uint8_t zeros[16384];
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    int fd;
    struct channel *ch = peer_pair(loop, &fd);
    struct channel_stream *s = get(ch, "/x");
    uint8_t chunk[16384];
    ssize_t n;
    int status;

    put_settings(&b);
    put_frame(&b, 0, 4, 1, 0, NULL, 0); // takes the client's window
    put_headers(&b, 4, 1, 1);
    for (int i = 0; i < 20; i++)
        put_frame(&b, sizeof(zeros), 0, 0, 1, zeros, sizeof(zeros));
    (void)fd_write_all(fd, b.data, b.len);
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    for (int i = 0; i < 10000 && !channel_is_dead(ch); i++)
        (void)poll(NULL, 0, 1);
    while ((n = channel_read(s, chunk, sizeof(chunk), SOON, &err)) > 0)
        ;
    CHECK_MSG(n < 0 && (err.code == ERR_PROTOCOL || err.code == ERR_GONE),
              "a peer that ignores the window is cut off");
    channel_stream_close(s);
    channel_close(ch);
    fd_close(&fd);
}

// Only the headers of the answer itself are kept: none of those before it or after its body.
static void test_hostile_blocks(void)
{
    static const uint8_t early[] = {0x08, 3, '1', '0', '3', 0, 1, 'e', 2, 'n', 'o'};
    static const uint8_t answer[] = {0x88, 0, 1,   'a', 3,   'o', 'n', 'e',
                                     0,    1, 'a', 3,   't', 'w', 'o'};
    static const uint8_t late[] = {0, 1, 'l', 2, 'n', 'o', 0, 1, 'a', 5, 't', 'h', 'r', 'e', 'e'};
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    int fd;
    struct channel *ch = peer_pair(loop, &fd);
    struct channel_stream *s = get(ch, "/x");
    uint8_t chunk[16];
    int status = 0;

    put_settings(&b);
    put_frame(&b, sizeof(early), 1, 4, 1, early, sizeof(early));
    put_frame(&b, sizeof(answer), 1, 4, 1, answer, sizeof(answer));
    put_frame(&b, 2, 0, 0, 1, "ok", 2);
    put_frame(&b, sizeof(late), 1, 5, 1, late, sizeof(late));
    (void)fd_write_all(fd, b.data, b.len);
    CHECK_INT(channel_status(s, SOON, &status, &err), 0);
    CHECK_INT(status, 200);
    CHECK_INT(channel_read(s, chunk, sizeof(chunk), SOON, &err), 2);
    CHECK_INT(channel_read(s, chunk, sizeof(chunk), SOON, &err), 0);
    CHECK_STR(channel_header(s, "a"), "one");
    CHECK(channel_header(s, "e") == NULL && channel_header(s, "l") == NULL);
    channel_stream_close(s);
    channel_close(ch);
    fd_close(&fd);
}

// A peer that never opens its window, then breaks the rules: the writer is told.
static void test_hostile_writer(void)
{
    static const struct channel_request req = {.method = "POST", .path = "/x"};
    static uint8_t chunk[100000];
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    int fd;
    struct channel *ch = peer_pair(loop, &fd);
    struct channel_stream *s = NULL;
    size_t sum = 0;
    ssize_t n;

    CHECK_INT(channel_begin(ch, &req, &s, &err), 0);
    while ((n = channel_write(s, chunk, sizeof(chunk), clock_deadline_ms(100), &err)) > 0)
        sum += (size_t)n;
    CHECK_MSG(err.code == ERR_TIMEOUT && sum <= CHANNEL_WINDOW_BYTES + 65535,
              "a closed window stops the writer (after %zu bytes)", sum);
    put_settings(&b);
    put_frame(&b, 4, 8, 0, 1, "\0\0\0\0", 4); // a window of nothing more
    (void)fd_write_all(fd, b.data, b.len);
    CHECK_INT(channel_write(s, chunk, sizeof(chunk), SOON, &err), -1);
    CHECK_MSG(err.code == ERR_PROTOCOL || err.code == ERR_GONE, "a broken rule ends the writing");
    channel_finish(s);
    channel_stream_close(s);
    channel_close(ch);
    fd_close(&fd);
}

static void test_hostile_client(void)
{
    static const struct server_callbacks none = {0};
    const struct server_options options = {.callbacks = &none, .body_max = 1000, .streams_max = 4};
    struct server *server = NULL;
    int fds[2];

    if (fd_socketpair(SOCK_STREAM, fds) < 0 || fd_set_nonblock(fds[1], 1) < 0)
        abort();
    CHECK_INT(server_new(fds[1], &options, &server), 0);
    CHECK_INT(server_readable(server), 0);
    (void)fd_write_all(fds[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n........", 35);
    CHECK_INT(server_readable(server), -EPROTO);
    CHECK_INT(server_writable(server), -EPROTO);
    CHECK(!server_wants_write(server));
    server_free(server);
    CHECK_INT(server_new(fds[1], &options, &server), 0);
    fd_close(&fds[0]);
    CHECK_INT(server_readable(server), -EPIPE);
    server_free(server);
    server_free(NULL);
    fd_close(&fds[1]);
}

int main(void)
{
    struct err err = ERR_INIT;

    if (channel_loop_new(&loop, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    test_hostile_headers();
    test_hostile_floods();
    test_hostile_garbage();
    test_hostile_window();
    test_hostile_blocks();
    test_hostile_writer();
    test_hostile_client();
    channel_loop_free(loop);
    return tap_done();
}
