// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/ini.h"
#include "base/log.h"
#include "base/parse.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_buf(void)
{
    _cleanup_buf_ struct buf b = BUF_CAPPED(10);

    CHECK_INT(buf_append(&b, "12345", 5), 0);
    CHECK_INT(buf_append(&b, "123456", 6), -EFBIG);
    CHECK_INT(b.len, 5);
    CHECK_INT(buf_append(&b, "67890", 5), 0);
    CHECK_STR(buf_cstr(&b), "1234567890");
    buf_consume(&b, 8);
    CHECK_STR(buf_cstr(&b), "90");
    buf_clear(&b);
    CHECK_INT(buf_append_be32(&b, 0x01020304), 0);
    CHECK(b.data[0] == 1 && b.data[3] == 4);
    b.cap = 0;
    CHECK_INT(buf_appendf(&b, "%s-%d", "x", 7), 0);
    CHECK(memcmp(b.data + 4, "x-7", 3) == 0);
}

static void test_parse(void)
{
    uint64_t v = 99;
    bool on = false;

    CHECK_INT(parse_u64("42", 0, 100, &v), 0);
    CHECK_INT(v, 42);
    CHECK_INT(parse_u64("", 0, 100, &v), -EINVAL);
    CHECK_INT(parse_u64("-1", 0, 100, &v), -EINVAL);
    CHECK_INT(parse_u64("4 ", 0, 100, &v), -EINVAL);
    CHECK_INT(parse_u64("101", 0, 100, &v), -ERANGE);
    CHECK_INT(parse_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
    CHECK_INT(v, 42);
    CHECK_INT(parse_bytes("4K", 0, UINT64_MAX, &v), 0);
    CHECK_INT(v, 4096);
    CHECK_INT(parse_bytes("K", 0, UINT64_MAX, &v), -EINVAL);
    CHECK_INT(parse_bool("yes", &on), 0);
    CHECK(on);
    CHECK_INT(parse_bool("maybe", &on), -EINVAL);
    CHECK(parse_is_name("python3.11", 20));
    CHECK(!parse_is_name("../x", 20));
    CHECK(parse_has_control("a\nb") && parse_has_control("\x7f"));
    CHECK(!parse_has_control("") && !parse_has_control("a b\xc3\xa4~"));
    CHECK(!parse_is_name("-x", 20));
    CHECK(!parse_is_name("", 20));
    CHECK(!parse_is_name("abcdef", 5));
}

static void test_err(void)
{
    struct err e = ERR_INIT;

    CHECK_INT(err_field(&e, ERR_INVALID, "timeout", "must be at most %d", 5), -1);
    CHECK_STR(e.field, "timeout");
    CHECK_STR(e.message, "must be at most 5");
    CHECK_INT(err_wrap(&e, "request"), -1);
    CHECK_STR(e.message, "request: must be at most 5");
    CHECK_INT(err_sys(&e, -ENOENT, "open"), -1);
    CHECK_STR(e.message, "open: No such file or directory");
    CHECK_INT(e.sys, ENOENT);
    CHECK_STR(err_code_name(ERR_GONE), "gone");
    CHECK_INT(err_set(NULL, ERR_BUSY, "x"), -1);

    // What is too long is cut between characters.
    char text[6];
    err_copy_text(text, sizeof(text), "abc\xc3\xa9z");
    CHECK_STR(text, "abc\xc3\xa9");
    err_copy_text(text, sizeof(text), "abcd\xc3\xa9");
    CHECK_STR(text, "abcd");
    err_copy_text(text, sizeof(text), "ab\xf0\x9f\x98\x80");
    CHECK_STR(text, "ab");
    err_copy_text(text, sizeof(text), "");
    CHECK_STR(text, "");
    for (int shift = 0; shift < 2; shift++) {
        char long_text[300];
        (void)snprintf(long_text, sizeof(long_text), "%.*s", shift, "x");
        for (size_t i = strlen(long_text); i + 3 < sizeof(long_text); i += 2)
            memcpy(long_text + i, "\xc3\xa9", 3);
        (void)err_set(&e, ERR_INVALID, "%s", long_text);
        CHECK_INT(strlen(e.message), shift == 0 ? 254 : 255);
        CHECK((unsigned char)e.message[strlen(e.message) - 1] == 0xa9);
    }
}

static int count_entry(void *arg, unsigned line, const char *key, const char *value,
                       struct err *err)
{
    int *count = arg;

    (void)line;
    if (strcmp(key, "bad") == 0)
        return err_set(err, ERR_INVALID, "no such key");
    if (strcmp(key, "b.c") == 0)
        CHECK_STR(value, "two = three");
    (*count)++;
    return 0;
}

static void test_ini(void)
{
    struct err e = ERR_INIT;
    int count = 0;

    CHECK_INT(ini_parse("f", "# c\n\na = 1\n  b.c =  two = three \r\n", count_entry, &count, &e),
              0);
    CHECK_INT(count, 2);
    CHECK_INT(ini_parse("f", "a = 1\nnonsense\n", count_entry, &count, &e), -1);
    CHECK_STR(e.message, "f:2: expected 'key = value'");
    CHECK_INT(ini_parse("f", "bad = 1\n", count_entry, &count, &e), -1);
    CHECK_STR(e.message, "f:1: no such key");
    CHECK_INT(ini_parse("f", "A = 1\n", count_entry, &count, &e), -1);
}

static void test_id(void)
{
    char a[ID_UUID_LEN + 1];
    char b[ID_UUID_LEN + 1];
    char hex[9];

    id_uuid4(a);
    id_uuid4(b);
    CHECK_INT(strlen(a), ID_UUID_LEN);
    CHECK(a[14] == '4' && strchr("89ab", a[19]) != NULL && a[8] == '-' && a[23] == '-');
    CHECK(strcmp(a, b) != 0);
    id_hex(hex, 4);
    CHECK_INT(strspn(hex, "0123456789abcdef"), 8);
}

static void test_fd_passing(void)
{
    int pair[2];
    int got[2] = {-1, -1};
    int pipes[2];
    size_t n = 0;
    char text[8] = "";

    CHECK_INT(fd_socketpair(SOCK_SEQPACKET, pair), 0);
    CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
    CHECK_INT(fd_send_msg(pair[0], "hi", 2, pipes, 2), 0);
    CHECK_INT(fd_recv_msg(pair[1], text, sizeof(text), got, 2, &n), 2);
    CHECK_INT(n, 2);
    CHECK(fcntl(got[0], F_GETFD) == FD_CLOEXEC);
    fd_close(&got[0]);
    fd_close(&got[1]);
    CHECK_INT(fd_send_msg(pair[0], "hi", 2, pipes, 2), 0);
    CHECK_INT(fd_recv_msg(pair[1], text, sizeof(text), got, 1, &n), -EMSGSIZE);
    CHECK_INT(fd_send_msg(pair[0], "0123456789", 10, NULL, 0), 0);
    CHECK_INT(fd_recv_msg(pair[1], text, sizeof(text), got, 1, &n), -EMSGSIZE);
    CHECK_INT(fd_wait(pair[1], POLLIN, clock_deadline_ms(1)), 0);
    for (int i = 0; i < 2; i++) {
        fd_close(&pair[i]);
        fd_close(&pipes[i]);
    }
}

// The line of the log that `message` becomes, from the program's name on.
static void logged(const char *message, char *ret, size_t size)
{
    int pipes[2], kept = dup(STDERR_FILENO);
    const char *at;
    ssize_t n;

    CHECK(kept >= 0 && pipe(pipes) == 0 && dup2(pipes[1], STDERR_FILENO) >= 0);
    log_error("%s", message);
    CHECK(dup2(kept, STDERR_FILENO) >= 0);
    n = read(pipes[0], ret, size - 1);
    ret[n < 0 ? 0 : n] = '\0';
    at = strstr(ret, ": ");
    if (CHECK(at != NULL))
        memmove(ret, at + 2, strlen(at + 2) + 1);
    (void)close(kept);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void test_log(void)
{
    static const char *const lines[][2] = {
        {"a\nb\r\033[2Jc\x7f", "a?b??[2Jc?\n"},
        {"\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80 \xe0\xa0\x80",
         "\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80 \xe0\xa0\x80\n"},
        {"\xc2\x9b"
         "31m \xc2\xa0",
         "??31m \xc2\xa0\n"}, // U+009B, and one that is none
        {"\x9b"
         "31m \x80\xff\xc0\x9b",
         "?31m ????\n"},
        {"\xe2\x82"
         "a\xc3\xbc\x9b",
         "\xe2\x82"
         "a\xc3\xbc?\n"},
    };
    char line[256];

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        logged(lines[i][0], line, sizeof(line));
        CHECK_STR(line, lines[i][1]);
    }
}

int main(void)
{
    test_buf();
    test_log();
    test_parse();
    test_err();
    test_ini();
    test_id();
    test_fd_passing();
    CHECK_INT(clock_poll_ms(CLOCK_NEVER), -1);
    CHECK_INT(clock_poll_ms(0), 0);
    {
        char text[CLOCK_UTC_BYTES];

        clock_format_utc(0, text);
        CHECK_STR(text, "1970-01-01T00:00:00.000Z");
        clock_format_utc(951868799ull * NS_PER_S + 999999999, text);
        CHECK_STR(text, "2000-02-29T23:59:59.999Z");
        clock_format_utc(UINT64_MAX, text);
        CHECK_STR(text, "2554-07-21T23:34:33.709Z");
    }
    return tap_done();
}
