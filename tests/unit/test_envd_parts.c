// SPDX-License-Identifier: Apache-2.0
//
// The pure parts of the agent's data plane.
#include "agent/envd/entry.h"
#include "agent/envd/multipart.h"
#include "agent/envd/path.h"
#include "agent/envd/user.h"
#include "base/fd.h"
#include "json/base64.h"

#include "tap.h"

#include <errno.h>
#include <sys/stat.h>

static void test_path(void)
{
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"", "/start"},
        {"~", "/home/u"},
        {"~/", "/home/u"},
        {"~/a", "/home/u/a"},
        {"a//b/./c", "/home/u/a/b/c"},
        {"../x", "/home/x"},
        {"/", "/"},
        {"/../..", "/"},
        {"/a/../b/", "/b"},
        {"...", "/home/u/..."},
        {"/a/..b", "/a/..b"},
        {"./~", "/home/u/~"},
    };
    struct user u = {.home = "/home/u"};
    char path[PATH_MAX], longest[2 * PATH_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_INT(path_resolve(&u, "/start", cases[i].path, path), 0);
        CHECK_STR(path, cases[i].want);
    }
    CHECK(path_resolve(&u, NULL, "", path) == 0 && strcmp(path, "/home/u") == 0);
    CHECK_INT(path_resolve(&u, NULL, "~root", path), -EINVAL);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    CHECK_INT(path_resolve(&u, NULL, longest, path), -ENAMETOOLONG);
    CHECK_STR(path_base("/a/b"), "b");
    CHECK_STR(path_base("/"), "/");
}

static void test_query(void)
{
    static const char *const bad[] = {"path=%00", "path=a%00b&x=1", "path=%4", "path=%zz&",
                                      "path=%"};
    _cleanup_free_ char *decoded = NULL;
    _cleanup_free_ char *absent = NULL;
    _cleanup_free_ char *empty = NULL;
    char *kept = NULL;

    CHECK_INT(path_query("x=1&path=a%20b+c%2Fd&path=2", "path", &decoded), 0);
    CHECK_STR(decoded, "a b c/d");
    CHECK_INT(path_query("apath=1", "path", &absent), 0);
    CHECK(absent == NULL);
    CHECK_INT(path_query("path=", "path", &empty), 0);
    CHECK_STR(empty, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(path_query(bad[i], "path", &kept), -EINVAL);
        CHECK(kept == NULL);
    }
}

static void test_permissions(void)
{
    static const struct {
        mode_t mode;
        const char *want;
    } cases[] = {
        {S_IFREG | 0644, "-rw-r--r--"},   {S_IFDIR | 01777, "dtrwxrwxrwx"},
        {S_IFLNK | 0777, "Lrwxrwxrwx"},   {S_IFREG | 04755, "urwxr-xr-x"},
        {S_IFCHR | 0666, "Dcrw-rw-rw-"},  {S_IFBLK | 0660, "Drw-rw----"},
        {S_IFIFO | 0600, "prw-------"},   {S_IFSOCK | 0755, "Srwxr-xr-x"},
        {S_IFDIR | 02750, "dgrwxr-x---"},
    };
    char text[ENTRY_PERMISSIONS_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        entry_permissions(cases[i].mode, text);
        CHECK_STR(text, cases[i].want);
    }
}

static void test_time(void)
{
    static const struct {
        struct timespec ts;
        const char *want;
    } cases[] = {
        {{1767225600, 0}, "2026-01-01T00:00:00Z"},
        {{1767225600, 500000000}, "2026-01-01T00:00:00.500Z"},
        {{1767225600, 123456000}, "2026-01-01T00:00:00.123456Z"},
        {{0, 1}, "1970-01-01T00:00:00.000000001Z"},
    };
    char text[ENTRY_TIME_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        entry_time(&cases[i].ts, text);
        CHECK_STR(text, cases[i].want);
    }
}

static void test_base64(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},      {"aGk=", "hi"}, {"aGk", "hi"},        {"aGkK", "hi\n"},
        {"aA==", "h"}, {"aA", "h"},    {"+/8=", "\xfb\xff"}, {"-_8", "\xfb\xff"},
    };
    static const char *const bad[] = {"a", "aaaaa", "a===", "aG k", "aGk==="};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        CHECK_INT(base64_decode_any(cases[i].text, strlen(cases[i].text), &b), 0);
        CHECK(b.len == strlen(cases[i].want) &&
              (b.len == 0 || memcmp(b.data, cases[i].want, b.len) == 0));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        CHECK_MSG(base64_decode_any(bad[i], strlen(bad[i]), &b) == -EINVAL && b.len == 0, "%s",
                  bad[i]);
    }
}

static int begin(void *arg, const char *name, const char *filename)
{
    return buf_appendf(arg, "<%s|%s>", name, filename == NULL ? "(none)" : filename);
}

static int data(void *arg, const void *text, size_t len)
{
    return buf_append(arg, text, len);
}

static int end(void *arg)
{
    return buf_append(arg, ";", 1);
}

static int parse(const char *type, const char *body, size_t piece, struct buf *out)
{
    static const struct multipart_callbacks callbacks = {begin, data, end};
    struct multipart m;
    size_t len = strlen(body);
    int rc = multipart_init(&m, type, &callbacks, out);

    for (size_t i = 0; i < len && rc == 0; i += piece)
        rc = multipart_feed(&m, body + i, len - i < piece ? len - i : piece);
    if (rc == 0 && !multipart_complete(&m))
        rc = -ENODATA;
    multipart_release(&m);
    return rc;
}

#define DISPOSITION "Content-Disposition: form-data; "

static void test_multipart(void)
{
    static const char type[] = "multipart/form-data; boundary=B";
    static const char body[] =
        "preamble\r\n--B\r\n" DISPOSITION "name=\"file\"; filename=\"a \\\"q\\\" \\x\"\r\n"
        "X: y\r\n\r\none\r\n--\r\n--Bee\r\n--B \t\r\n" DISPOSITION
        "name=n; filename*=UTF-8''%C3%A9; filename=x\r\n\r\n\r\n--B\r\n\r\nbare\r\n--B--\r\nend";

    // A line that begins with the boundary is one, whatever follows: then it is an error.
    for (size_t piece = 1; piece < 40; piece += 6) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        CHECK_INT(parse(type, body, piece, &b), -EBADMSG);
    }
    static const char good[] =
        "preamble\r\n--B\r\n" DISPOSITION "name=\"file\"; filename=\"a \\\"q\\\" \\x\"\r\n"
        "X: y\r\n\r\none\r\n--\r\n-B\r\n--B \t\r\n" DISPOSITION
        "name=n; filename*=UTF-8''%C3%A9; filename=x\r\n\r\n\r\n--B\r\n\r\nbare\r\n--B--\r\nend";
    for (size_t piece = 1; piece < 40; piece += 6) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        CHECK_INT(parse(type, good, piece, &b), 0);
        CHECK_STR(buf_cstr(&b), "<file|a \"q\" \\x>one\r\n--\r\n-B;<n|\xc3\xa9>;<|(none)>bare;");
    }
    _cleanup_buf_ struct buf b = BUF_INIT;
    CHECK_INT(parse("multipart/form-data", "", 1, &b), -EINVAL);
    CHECK_INT(parse("text/plain; boundary=B", "", 1, &b), -EINVAL);
    CHECK_INT(parse("multipart/form-data; boundary=\"B\"; x=y", "--B--", 1, &b), 0);
    CHECK_INT(parse(type, "--B\r\n\r\nnot ended", 1, &b), -ENODATA);
}

static void test_user(void)
{
    struct user u;
    struct user_names names = {0};

    CHECK_INT(user_find("root", &u), 0);
    CHECK(u.uid == 0 && u.gid == 0 && u.group_count >= 1 && u.groups[0] == 0);
    CHECK_STR(u.home, "/root");
    CHECK_INT(user_find("no-such-user", &u), -ENOENT);
    CHECK_INT(user_find("", &u), -ENOENT);
    CHECK_INT(user_find("root:x", &u), -ENOENT);
    CHECK_STR(user_name(&names, 0), "root");
    CHECK_STR(user_name(&names, 4000000000u), "4000000000");
    CHECK_STR(user_group_name(&names, 0), "root");
    user_names_release(&names);
}

int main(void)
{
    test_path();
    test_query();
    test_permissions();
    test_time();
    test_base64();
    test_multipart();
    test_user();
    return tap_done();
}
