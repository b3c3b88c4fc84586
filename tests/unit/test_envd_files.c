// SPDX-License-Identifier: Apache-2.0
//
// The plain endpoints and /files of the agent's data plane.
#include "base/fd.h"
#include "envd_harness.h"

#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MIB (1u << 20)

static struct reply get(const char *path, const char *name, const char *value)
{
    const struct channel_header headers[] = {{name, value}, {0}};
    char text[512];

    snprintf(text, sizeof(text), "/envd/files?path=%s", path);
    return envd_call("GET", text, headers, NULL, 0);
}

static struct reply put_raw(const char *query, const void *data, size_t len,
                            const struct channel_header *more)
{
    struct channel_header headers[6] = {{"content-type", "application/octet-stream"}};
    char text[512];

    for (size_t i = 0; more != NULL && more[i].name != NULL; i++)
        headers[i + 1] = more[i];
    snprintf(text, sizeof(text), "/envd/files%s", query);
    return envd_call("POST", text, headers, data, len);
}

static struct reply put_form(const char *query, const char *body)
{
    static const struct channel_header headers[] = {
        {"content-type", "multipart/form-data; boundary=\"b-1\""}, {0}};
    char text[512];

    snprintf(text, sizeof(text), "/envd/files%s", query);
    return envd_call("POST", text, headers, body, strlen(body));
}

static const char *item(const struct reply *r, size_t i, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(r->json, i), key));

    return text == NULL ? "" : text;
}

static const char *below(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", envd_dir, name);
    return path;
}

static void test_plain(void)
{
    _cleanup_reply_ struct reply h = envd_call("GET", "/envd/health", NULL, NULL, 0);
    _cleanup_reply_ struct reply e = envd_call("GET", "/envd/envs", NULL, NULL, 0);
    _cleanup_reply_ struct reply m = envd_call("GET", "/envd/metrics", NULL, NULL, 0);
    _cleanup_reply_ struct reply n = envd_call("GET", "/envd/nothing", NULL, NULL, 0);
    _cleanup_reply_ struct reply w = envd_call("POST", "/envd/health", NULL, NULL, 0);
    _cleanup_reply_ struct reply t = envd_call("POST", "/envd/process.Process/List", NULL, "{}", 2);
    _cleanup_reply_ struct reply i = envd_call("POST", "/envd/init", NULL, "{\"envVars\":1}", 13);

    CHECK_INT(h.status, 204);
    CHECK_INT(h.body.len, 0);
    CHECK_STR(json_string_value(json_object_get(e.json, "FROM_INIT")), "yes");
    CHECK(json_integer_value(json_object_get(m.json, "mem_total")) > 0);
    CHECK(json_integer_value(json_object_get(m.json, "cpu_count")) > 0);
    CHECK_INT(n.status, 404);
    CHECK_INT(w.status, 405);
    CHECK_INT(t.status, 415);
    CHECK_INT(i.status, 400);
}

static void test_raw(void)
{
    struct stat st;
    _cleanup_reply_ struct reply w = put_raw("?path=/%74mp/../tmp//csb", "x", 1, NULL);
    char query[160];

    CHECK_INT(w.status, 200);
    CHECK_STR(item(&w, 0, "path"), "/tmp/csb");
    unlink("/tmp/csb");
    snprintf(query, sizeof(query), "?path=%s/new/deep/a+b%%2Bc.txt", envd_dir);
    _cleanup_reply_ struct reply a = put_raw(query, "hello", 5, NULL);
    CHECK_INT(a.status, 200);
    CHECK_STR(item(&a, 0, "name"), "a b+c.txt");
    CHECK_STR(item(&a, 0, "type"), "file");
    CHECK(stat(below("new/deep/a b+c.txt"), &st) == 0 && st.st_size == 5);
    CHECK_INT(st.st_mode & 0777, 0644);
    CHECK(stat(below("new/deep"), &st) == 0 && (st.st_mode & 0777) == 0755);
    // Shorter content leaves nothing of the longer.
    _cleanup_reply_ struct reply b = put_raw(query, "h", 1, NULL);
    CHECK(b.status == 200 && stat(below("new/deep/a b+c.txt"), &st) == 0 && st.st_size == 1);
    _cleanup_reply_ struct reply c = put_raw(query, "", 0, NULL);
    CHECK(c.status == 200 && stat(below("new/deep/a b+c.txt"), &st) == 0 && st.st_size == 0);
    _cleanup_reply_ struct reply r = get(strchr(query, '/'), "accept", "*/*");
    CHECK_INT(r.status, 200);
    CHECK_INT(r.body.len, 0);
}

static void test_raw_refused(void)
{
    static const struct channel_header coding[] = {{"content-encoding", "br"}, {0}};
    static const struct channel_header type[] = {{"content-type", "text/plain"}, {0}};
    _cleanup_reply_ struct reply none = put_raw("", "x", 1, NULL);
    _cleanup_reply_ struct reply dir = put_raw("?path=/tmp", "x", 1, NULL);
    _cleanup_reply_ struct reply file = put_raw("?path=/etc/passwd/x", "x", 1, NULL);
    _cleanup_reply_ struct reply who = put_raw("?path=a&username=nobody-here", "x", 1, NULL);
    _cleanup_reply_ struct reply home = put_raw("?path=~root/x", "x", 1, NULL);
    _cleanup_reply_ struct reply br = put_raw("?path=a", "x", 1, coding);
    _cleanup_reply_ struct reply text = envd_call("POST", "/envd/files?path=a", type, "x", 1);

    CHECK_INT(none.status, 400);
    CHECK_INT(dir.status, 400);
    CHECK_INT(file.status, 400);
    CHECK_INT(who.status, 401);
    CHECK_INT(home.status, 400);
    CHECK_INT(br.status, 400);
    CHECK_INT(text.status, 400);
    CHECK_INT(json_integer_value(json_object_get(text.json, "code")), 400);
}

// A pipe must neither be waited for nor read.
// What cannot be decoded is not taken for what is not there: a name would be that of the part, a
// user the default one.
static void test_undecodable(void)
{
    _cleanup_reply_ struct reply path = put_raw("?path=a%00b", "x", 1, NULL);
    _cleanup_reply_ struct reply form = put_form(
        "?path=%zz",
        "--b-1\r\ncontent-disposition: form-data; name=\"file\"; filename=\"/tmp/part\"\r\n\r\n"
        "x\r\n--b-1--");
    _cleanup_reply_ struct reply user = get("/etc/passwd&username=%00root", "accept", "*/*");
    const char *message = json_string_value(json_object_get(path.json, "message"));

    CHECK_INT(path.status, 400);
    CHECK(message != NULL && strstr(message, "path is not percent-encoded") != NULL);
    CHECK_INT(form.status, 400);
    CHECK_INT(user.status, 400);
}

static void test_not_files(void)
{
    char query[160];

    CHECK(mkfifo(below("pipe"), 0600) == 0);
    snprintf(query, sizeof(query), "?path=%s", below("pipe"));
    _cleanup_reply_ struct reply w = put_raw(query, "x", 1, NULL);
    _cleanup_reply_ struct reply r = get(below("pipe"), "accept", "*/*");
    _cleanup_reply_ struct reply z = get("/dev/zero", "accept", "*/*");
    _cleanup_reply_ struct reply d = get("/tmp", "accept", "*/*");
    _cleanup_reply_ struct reply n = get("/tmp/csb-none-such", "accept", "*/*");
    _cleanup_reply_ struct reply v = get("/proc/version", "accept", "*/*");
    _cleanup_reply_ struct reply s = get("/sys/kernel/mm/transparent_hugepage/enabled", "x", "y");

    CHECK_INT(w.status, 400);
    CHECK_INT(r.status, 400);
    CHECK_INT(z.status, 400);
    CHECK_INT(d.status, 400);
    CHECK_INT(n.status, 404);
    CHECK(n.body.len > 0 && strstr(buf_cstr(&n.body), "does not exist") != NULL);
    CHECK(v.status == 200 && v.body.len > 10);
    CHECK_MSG(s.status == 404 || (s.status == 200 && s.body.len > 5), "less than it says");
}

static void test_form(void)
{
    char form[1024];

    snprintf(form, sizeof(form),
             "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s/f/1\"\r\n"
             "Content-Type: text/plain\r\n\r\none\r\n"
             "--b-1\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nskipped\r\n"
             "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s/f/2\"\r\n"
             "\r\n\r\n--b-1--\r\n",
             envd_dir, envd_dir);
    _cleanup_reply_ struct reply a = put_form("", form);
    _cleanup_free_ char *one = NULL, *two = NULL;
    size_t len = 9;
    CHECK_INT(a.status, 200);
    CHECK_INT(json_array_size(a.json), 2);
    CHECK_STR(item(&a, 1, "path"), below("f/2"));
    CHECK(fd_read_file(AT_FDCWD, below("f/1"), 100, &one, &len) == 0 && strcmp(one, "one") == 0);
    CHECK(fd_read_file(AT_FDCWD, below("f/2"), 100, &two, &len) == 0 && len == 0);

    char query[160];
    snprintf(query, sizeof(query), "?path=%s", below("f/3"));
    _cleanup_reply_ struct reply b = put_form(
        query, "--b-1\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b-1--");
    CHECK_STR(item(&b, 0, "path"), below("f/3"));
    _cleanup_reply_ struct reply twice = put_form(
        query, "--b-1\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n"
               "--b-1\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b-1--");
    CHECK_INT(twice.status, 400);
    _cleanup_reply_ struct reply cut =
        put_form(query, "--b-1\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b-");
    CHECK_INT(cut.status, 400);
    _cleanup_reply_ struct reply nameless =
        put_form("", "--b-1\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b-1--");
    CHECK_INT(nameless.status, 400);
}

static size_t gzip(const void *data, size_t len, uint8_t *out, size_t room)
{
    z_stream z = {0};

    if (deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    (void)deflateEnd(&z);
    return room - z.avail_out;
}

// 48 MiB out of 48 KiB: inflated in slices, and the agent answers others meanwhile.
static void test_gzip(void)
{
    static const struct channel_header coding[] = {{"content-encoding", "gzip"}, {0}};
    const size_t size = 48 * MIB;
    uint8_t *big = calloc(1, size), *small = malloc(MIB);
    size_t len = gzip(big, size, small, MIB);
    struct stat st;
    char query[160];

    snprintf(query, sizeof(query), "?path=%s", below("big"));
    _cleanup_reply_ struct reply w = put_raw(query, small, len, coding);
    CHECK_INT(w.status, 200);
    CHECK(stat(below("big"), &st) == 0 && st.st_size == (off_t)size);
    _cleanup_reply_ struct reply cut = put_raw(query, small, len / 2, coding);
    CHECK_INT(cut.status, 400);
    _cleanup_reply_ struct reply bad = put_raw(query, "not gzip at all", 15, coding);
    CHECK_INT(bad.status, 400);
    // Two members are one file.
    len = gzip("abc", 3, small, MIB);
    len += gzip("def", 3, small + len, MIB - len);
    _cleanup_reply_ struct reply two = put_raw(query, small, len, coding);
    CHECK(two.status == 200 && stat(below("big"), &st) == 0 && st.st_size == 6);
    _cleanup_reply_ struct reply zipped = get(below("big"), "accept-encoding", "gzip");
    CHECK(zipped.status == 200 && zipped.body.len > 6 && zipped.body.data[0] == 0x1f);
    _cleanup_reply_ struct reply plain = get(below("big"), "accept-encoding", "gzip, deflate");
    CHECK(plain.body.len == 6 && memcmp(plain.body.data, "abcdef", 6) == 0);
    free(big);
    free(small);
}

static void test_range(void)
{
    static const struct {
        const char *range, *want;
        int status;
    } cases[] = {
        {"bytes=2-3", "cd", 206},      {"bytes=4-", "ef", 206},    {"bytes=-2", "ef", 206},
        {"bytes=0-99", "abcdef", 206}, {"bytes=6-", "", 416},      {"bytes=-0", "", 416},
        {"bytes=3-2", "abcdef", 200},  {"lines=1", "abcdef", 200}, {"bytes=0-0,2-2", "abcdef", 200},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_reply_ struct reply r = get(below("big"), "range", cases[i].range);
        CHECK_MSG(r.status == cases[i].status && strcmp(text_of(&r.body), cases[i].want) == 0, "%s",
                  cases[i].range);
    }
}

static void test_large(void)
{
    const size_t size = 64 * MIB;
    uint8_t *data = malloc(size);
    uint32_t x = 1;
    char query[160];

    for (size_t i = 0; i < size; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
    snprintf(query, sizeof(query), "?path=%s", below("large"));
    _cleanup_reply_ struct reply w = put_raw(query, data, size, NULL);
    CHECK_INT(w.status, 200);
    _cleanup_reply_ struct reply r = get(below("large"), "accept", "*/*");
    CHECK(r.body.len == size && memcmp(r.body.data, data, size) == 0);
    unlink(below("large"));
    free(data);
}

static void test_metadata(void)
{
    static const struct channel_header good[] = {
        {"x-metadata-author", "me"}, {"x-metadata-a-b", "c d"}, {0}};
    static const struct channel_header bad[] = {{"x-metadata-author", "m\xc3\xa9"}, {0}};
    char query[160];

    snprintf(query, sizeof(query), "?path=%s", below("meta"));
    _cleanup_reply_ struct reply w = put_raw(query, "x", 1, good);
    if (w.status == 500) {
        CHECK_MSG(true, "# no extended attributes on this file system");
        return;
    }
    const json_t *m = json_object_get(json_array_get(w.json, 0), "metadata");
    CHECK_STR(json_string_value(json_object_get(m, "author")), "me");
    CHECK_STR(json_string_value(json_object_get(m, "a-b")), "c d");
    _cleanup_reply_ struct reply s =
        envd_rpc("filesystem.Filesystem/Stat", "{\"path\":\"%s\"}", below("meta"));
    CHECK_INT(json_object_size(json_object_get(json_object_get(s.json, "entry"), "metadata")), 2);
    _cleanup_reply_ struct reply again = put_raw(query, "x", 1, NULL);
    _cleanup_reply_ struct reply t =
        envd_rpc("filesystem.Filesystem/Stat", "{\"path\":\"%s\"}", below("meta"));
    CHECK(json_object_get(json_object_get(t.json, "entry"), "metadata") == NULL);
    _cleanup_reply_ struct reply b = put_raw(query, "x", 1, bad);
    CHECK_INT(b.status, 400);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    envd_begin();
    test_plain();
    test_raw();
    test_raw_refused();
    test_undecodable();
    test_not_files();
    test_form();
    test_gzip();
    test_range();
    test_large();
    test_metadata();
    CHECK_MSG(envd_finish(), "the agent ended well");
    return tap_done();
}
