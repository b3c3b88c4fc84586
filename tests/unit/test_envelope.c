// SPDX-License-Identifier: Apache-2.0
#include "cli/envelope.h"
#include "tap.h"

#include <errno.h>

static char seen[256];

static int note(void *arg, const char *message, size_t len, bool last)
{
    size_t used = strlen(seen);

    (void)snprintf(seen + used, sizeof(seen) - used, "%s%.*s|", last ? "END" : "", (int)len,
                   message);
    return arg != NULL && strncmp(message, "stop", 4) == 0 ? -ECANCELED : 0;
}

static int feed(const void *bytes, size_t len, size_t piece, void *arg)
{
    struct envelopes e;
    int r = 0;

    seen[0] = '\0';
    envelopes_init(&e, note, arg);
    for (size_t at = 0; at < len && r == 0; at += piece)
        r = envelopes_feed(&e, (const char *)bytes + at, len - at < piece ? len - at : piece);
    envelopes_release(&e);
    return r;
}

static void test_good(void)
{
    static const char stream[] = "\0\0\0\0\2{}"
                                 "\0\0\0\0\0"
                                 "\0\0\0\0\5hello"
                                 "\2\0\0\0\2{}"
                                 "\0\0\0\0\7half";

    for (size_t piece = 1; piece < sizeof(stream); piece += 3) {
        CHECK(feed(stream, sizeof(stream) - 1, piece, NULL) == 0);
        CHECK_STR(seen, "{}||hello|END{}|");
    }
}

static void test_bad(void)
{
    CHECK(feed("\1\0\0\0\0", 5, 5, NULL) == -EPROTO);
    CHECK(feed("\0\xff\xff\xff\xff", 5, 1, NULL) == -EPROTO);
    CHECK(feed("\0\0\0\0\4stop\0\0\0\0\1x", 15, 15, seen) == -ECANCELED);
    CHECK_STR(seen, "stop|");
}

static void test_write(void)
{
    struct buf b = BUF_INIT;

    CHECK(envelope_write(&b, "hello", 5) == 0 && b.len == 10);
    CHECK(memcmp(b.data, "\0\0\0\0\5hello", 10) == 0);
    CHECK(feed(b.data, b.len, 4, NULL) == 0);
    CHECK_STR(seen, "hello|");
    buf_release(&b);
}

int main(void)
{
    test_good();
    test_bad();
    test_write();
    return tap_done();
}
