// SPDX-License-Identifier: Apache-2.0
#include "http/h1.h"
#include "tap.h"

#include <errno.h>
#include <strings.h>

#define OK      "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

// What becomes of an answer fed in pieces of `piece` bytes, then closed: "STATUS BODY", with a '+'
// when it is complete; or the error.
static const char *read_answer(const char *text, size_t piece, bool head_only, bool may_switch)
{
    static char shown[256];
    struct h1_answer a;
    char body[128] = "";
    size_t len = strlen(text), body_len = 0;
    ssize_t r = 0;

    h1_init(&a, head_only, may_switch);
    for (size_t at = 0; at < len && r >= 0; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t data[256];
        size_t used = 0;

        memcpy(data, text + at, n);
        if (!a.complete)
            r = h1_head(&a, data, n, &used);
        if (r < 0 || !a.complete || a.body == H1_SWITCHED)
            continue;
        r = h1_content(&a, data + used, n - used);
        if (r > 0) {
            memcpy(body + body_len, data + used, (size_t)r);
            body_len += (size_t)r;
        }
    }
    body[body_len] = '\0';
    if (r < 0)
        (void)snprintf(shown, sizeof(shown), "%s", strerrorname_np((int)-r));
    else
        (void)snprintf(shown, sizeof(shown), "%d %s%s", a.complete ? a.status : 0, body,
                       h1_close(&a) ? "+" : "");
    h1_release(&a);
    return shown;
}

static void test_answers(void)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {OK "Content-Length: 3\r\n\r\nabcd", "200 abc+"},
        {OK "Content-Length: 3\r\n\r\nab", "200 ab"},
        {OK "Content-Length: 0\r\n\r\n", "200 +"},
        {OK "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "200 abc+"},
        {OK "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "EPROTO"},
        {OK "Content-Length: -3\r\n\r\nabc", "EPROTO"},
        {OK "Content-Length: +3\r\n\r\nabc", "EPROTO"},
        {OK "Content-Length: 3, 3\r\n\r\nabc", "EPROTO"},
        {OK "Content-Length:\r\n\r\nabc", "EPROTO"},
        {OK "Content-Length: 99999999999999999999999\r\n\r\nabc", "EPROTO"},
        {OK "\r\nto the end", "200 to the end+"},
        {"HTTP/1.0 404 Not Found\nA: b\n\nx", "404 x+"},
        {"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", "204 +"},
        {"HTTP/1.1 304\r\n\r\n", "304 +"},
        {"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nA: b\r\n\r\n" OK "\r\nx", "200 x+"},
        {CHUNKED "3\r\nabc\r\n0\r\n\r\n", "200 abc+"},
        {CHUNKED "3;a=b\r\nabc\r\n1 \r\nd\r\n0\r\nTrailer: x\r\n\r\nmore", "200 abcd+"},
        {CHUNKED "A\r\n0123456789\r\n0\r\n\r\n", "200 0123456789+"},
        {CHUNKED "3\r\nabc\r\n", "200 abc"},
        {CHUNKED "3\r\nabcX\r\n", "EPROTO"},
        {CHUNKED "g\r\n", "EPROTO"},
        {CHUNKED "\r\n", "EPROTO"},
        {CHUNKED "-3\r\n", "EPROTO"},
        {CHUNKED "0x3\r\nabc\r\n", "EPROTO"},
        {CHUNKED "fffffffffffffffff\r\n", "EPROTO"},
        {OK "Transfer-Encoding: gzip, chunked\r\n\r\n", "EPROTO"},
        {OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "EPROTO"},
        {OK "Content-Length: 9\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "200 a+"},
        {OK "A : b\r\n\r\n", "EPROTO"},
        {OK "A: b\r\n c\r\n\r\n", "EPROTO"},
        {OK "A: b\rc\r\n\r\n", "EPROTO"},
        {OK "A: \x01\r\n\r\n", "EPROTO"},
        {OK ": b\r\n\r\n", "EPROTO"},
        {OK "no colon\r\n\r\n", "EPROTO"},
        {"HTTP/2 200 OK\r\n\r\n", "EPROTO"},
        {"HTTP/1.1 99 x\r\n\r\n", "EPROTO"},
        {"HTTP/1.1 2000 x\r\n\r\n", "EPROTO"},
        {"HTTP/1.1 600 x\r\n\r\n", "EPROTO"},
        {"HTTP/1.1 101 x\r\n\r\n", "EPROTO"},
        {"SSH-2.0", "EPROTO"},
        {"HTTP/1.1 200", "0 "},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t piece = 1; piece < 200; piece += 66) {
            const char *got = read_answer(rows[i].text, piece, false, false);

            if (strcmp(got, rows[i].want) == 0 && piece < 133)
                continue;
            CHECK_MSG(strcmp(got, rows[i].want) == 0, "answer %zu is %s (%s)", i, rows[i].want,
                      got);
            break;
        }
    }
    CHECK_STR(read_answer(OK "Content-Length: 5\r\n\r\n", 9, true, false), "200 +");
    CHECK_STR(read_answer("HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nraw", 9, false, true), "101 ");
}

static void test_headers(void)
{
    static const char text[] =
        OK "A: 1\r\nConnection: close, X-Hop\r\nx-hop: 2\r\nKeep-Alive: 3\r\n"
           "Content-Length: 0\r\nUpgrade: u\r\na:  two \r\nEmpty:\r\n\r\n";
    struct h1_answer a;
    const char *name, *value;
    char all[128] = "";
    size_t used;

    h1_init(&a, false, false);
    CHECK_INT(h1_head(&a, text, sizeof(text) - 1, &used), 0);
    CHECK_INT((long long)used, (long long)sizeof(text) - 1);
    for (size_t at = 0; h1_next_header(&a, &at, &name, &value);) {
        size_t len = strlen(all);

        (void)snprintf(all + len, sizeof(all) - len, "%s=%s;", name, value);
    }
    CHECK_STR(all, "A=1;a=two;Empty=;");
    CHECK_STR(h1_header(&a, "UPGRADE"), "u");
    CHECK(h1_header(&a, "none") == NULL);
    h1_release(&a);
    CHECK(h1_list_has("keep-alive, Upgrade", "upgrade") && h1_list_has("x", "x") &&
          h1_list_has(" a , b ", "a") && !h1_list_has("upgrades", "upgrade") &&
          !h1_list_has("", "a"));
}

static void test_caps(void)
{
    struct h1_answer a;
    size_t used = 0;
    int r = 0;

    h1_init(&a, false, false);
    (void)h1_head(&a, OK, strlen(OK), &used);
    for (int i = 0; i < 40000 && r == 0; i++)
        r = h1_head(&a, "a", 1, &used);
    CHECK_INT(r, -EMSGSIZE);
    CHECK(a.head.len <= H1_HEAD_MAX);
    h1_release(&a);
    h1_init(&a, false, false);
    (void)h1_head(&a, OK, strlen(OK), &used);
    for (int i = 0; i <= H1_HEADERS_MAX; i++)
        (void)h1_head(&a, "a:b\n", 4, &used);
    CHECK_INT(h1_head(&a, "\n", 1, &used), -EMSGSIZE);
    h1_release(&a);
    h1_init(&a, false, false);
    for (int i = 0; i <= H1_INTERIM_MAX; i++)
        r = h1_head(&a, "HTTP/1.1 102 x\r\n\r\n", 18, &used);
    CHECK_INT(r, -EPROTO);
    h1_release(&a);
}

int main(void)
{
    test_answers();
    test_headers();
    test_caps();
    return tap_done();
}
