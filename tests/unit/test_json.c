// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"
#include "tap.h"
#include "json/base64.h"
#include "json/read.h"
#include "json/utf8.h"
#include "json/write.h"

#include <math.h>

static bool reads(const char *text, struct err *err)
{
    _cleanup_json_ struct json_t *tree = NULL;

    *err = (struct err)ERR_INIT;
    return json_read("body", text, strlen(text), &tree, err) == 0;
}

static void check_refused(const char *text, const char *hint)
{
    struct err err;
    bool ok = !reads(text, &err) && err.code == ERR_INVALID && strcmp(err.field, "body") == 0 &&
              strstr(err.message, hint) != NULL;

    CHECK_MSG(ok, "%.40s is refused with '%s'", text, hint);
    if (!ok)
        printf("# %s\n", err.message);
}

// An array of `count` values.
static void check_many(size_t count, bool taken)
{
    size_t len = 0;
    char *text = malloc(2 * count + 16);
    struct err err;

    if (!CHECK(text != NULL))
        return;
    memcpy(text, "{\"a\":[0", 7);
    len = 7;
    for (size_t i = 1; i < count; i++) {
        memcpy(text + len, ",0", 2);
        len += 2;
    }
    memcpy(text + len, "]}", 3);
    if (taken)
        CHECK(reads(text, &err));
    else
        check_refused(text, "values");
    free(text);
}

static void test_read(void)
{
    char deep[2 * JSON_DEPTH_MAX + 8];
    struct err err;

    CHECK(reads("{}", &err));
    CHECK(reads(" {\"a\":[1,2.5,\"x\",null,true]}\n", &err));
    check_refused("", "empty");
    check_refused("[]", "object");
    check_refused("5", "object");
    check_refused("{", "not valid");
    check_refused("{} x", "not valid");
    check_refused("{\"a\":1,\"a\":2}", "duplicate");
    check_refused("{\"a\":01}", "not valid");
    check_refused("{\"a\":\"\xff\"}", "not valid");
    check_refused("{\"a\":\"\\ud800\"}", "not valid");
    check_refused("{\"a\\u0000\":1}", "not valid");
    memset(deep, '[', sizeof(deep));
    deep[sizeof(deep) - 1] = '\0';
    check_refused(deep, "nested");
    check_many(JSON_COUNT_MAX - 8, true);
    check_many(JSON_COUNT_MAX + 8, false);
    CHECK(reads("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
                &err));
    CHECK(
        reads("{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
              &err));
}

static void test_get(void)
{
    static const char text[] = "{\"s\":\"a\\u0000b\",\"t\":\"text\",\"n\":7,\"r\":1.5,\"b\":true,"
                               "\"z\":null,\"o\":{\"x\":1},\"l\":[\"p\",5]}";
    static const char *const some[] = {"s", "t", NULL};
    static const char *const all[] = {"s", "t", "n", "r", "b", "z", "o", "l", NULL};
    _cleanup_json_ struct json_t *tree = NULL;
    struct err err = ERR_INIT;
    struct json_in top;
    struct json_in inner;
    struct json_str s = {"default", 7};
    uint64_t n = 99;
    double d = 0;
    bool b = false;

    CHECK_INT(json_read("body", text, sizeof(text) - 1, &tree, &err), 0);
    top = json_top(tree);
    CHECK_INT(json_known(&top, all, &err), 0);
    CHECK_INT(json_known(&top, some, &err), -1);
    CHECK_STR(err.field, "n");
    CHECK_INT(json_get_str(&top, "absent", &s, &err), 0);
    CHECK_STR(s.data, "default");
    CHECK_INT(json_get_str(&top, "z", &s, &err), 0);
    CHECK_STR(s.data, "default");
    CHECK(json_get_str(&top, "s", &s, &err) == 0 && s.len == 3);
    CHECK_INT(json_get_text(&top, "s", &s, &err), -1);
    CHECK_STR(err.field, "s");
    CHECK_INT(json_get_str(&top, "n", &s, &err), -1);
    CHECK_STR(err.message, "n must be a string");
    CHECK(json_get_u64(&top, "n", 1, 7, &n, &err) == 0 && n == 7);
    CHECK_INT(json_get_u64(&top, "n", 8, 9, &n, &err), -1);
    CHECK_STR(err.message, "n must be between 8 and 9");
    CHECK_INT(json_get_u64(&top, "r", 0, 9, &n, &err), -1);
    CHECK(json_get_positive(&top, "r", 2, &d, &err) == 0 && fabs(d - 1.5) < 1e-9);
    CHECK_INT(json_get_positive(&top, "r", 1, &d, &err), -1);
    CHECK(json_get_bool(&top, "b", &b, &err) == 0 && b);
    CHECK_INT(json_get_bool(&top, "n", &b, &err), -1);
    CHECK(json_get_object(&top, "o", &inner, &err) == 0 && inner.object != NULL);
    CHECK_INT(json_get_str(&inner, "x", &s, &err), -1);
    CHECK_STR(err.field, "o.x");
    CHECK(json_get_object(&top, "absent", &inner, &err) == 0 && inner.object == NULL);
    CHECK_INT(json_get_object(&top, "l", &inner, &err), -1);
    CHECK_INT(json_count(&top, "l"), 2);
    CHECK(json_item_text(&top, "l", 0, &s, &err) == 0 && strcmp(s.data, "p") == 0);
    CHECK_INT(json_item_text(&top, "l", 1, &s, &err), -1);
    CHECK_STR(err.field, "l[1]");
}

static const struct {
    const char *in, *out;
    bool lossy;
} repairs[] = {
    {"plain", "plain", false},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", false},
    {"a\xff"
     "b",
     "a\xef\xbf\xbd"
     "b",
     true},
    {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd", true},                 // overlong
    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", true}, // surrogate
    {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", true},
    {"\xe2\x82", "\xef\xbf\xbd", true}, // cut: one maximal subpart
    {"\xf0\x9f\x98"
     "A",
     "\xef\xbf\xbd"
     "A",
     true},
    {"\xf1\x80\x80\xe1\x80\xc2"
     "b",
     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
     "b",
     true},
    {"\x80\xbf", "\xef\xbf\xbd\xef\xbf\xbd", true},
    {"\xc3\xc3\xa9", "\xef\xbf\xbd\xc3\xa9", true},
};

// Each text whole, and in pieces of every size: the result must not depend on the cut.
static void test_utf8(void)
{
    for (size_t i = 0; i < sizeof(repairs) / sizeof(repairs[0]); i++) {
        size_t len = strlen(repairs[i].in);
        bool ok = utf8_is_valid(repairs[i].in, len) == !repairs[i].lossy;

        for (size_t piece = 1; piece <= len; piece++) {
            _cleanup_buf_ struct buf out = BUF_INIT;
            struct utf8_fix fix = UTF8_FIX_INIT;

            for (size_t at = 0; at < len; at += piece)
                (void)utf8_fix_feed(&fix, repairs[i].in + at, len - at < piece ? len - at : piece,
                                    &out);
            (void)utf8_fix_end(&fix, &out);
            ok = ok && strcmp(buf_cstr(&out), repairs[i].out) == 0 && fix.lossy == repairs[i].lossy;
        }
        CHECK_MSG(ok, "repair %zu, in pieces of every size", i);
    }
}

static void test_write(void)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct json_out out = {.buf = &b};

    json_open(&out, NULL, '{');
    json_put_str(&out, "s", "q\"\\\n\x01/\x7f");
    CHECK(json_put_text(&out, "bad", "\xff", 1));
    CHECK(!json_put_text(&out, "nul", "a\0b", 3));
    json_put_str(&out, "none", NULL);
    json_open(&out, "a", '[');
    json_put_u64(&out, NULL, UINT64_MAX);
    json_put_i64(&out, NULL, -5);
    json_open(&out, NULL, '{');
    json_close(&out, '}');
    json_close(&out, ']');
    json_put_double(&out, "d", 0.25);
    json_put_double(&out, "zero", 0);
    json_put_double(&out, "nan", NAN);
    json_put_bool(&out, "t", true);
    json_close(&out, '}');
    CHECK(!out.failed);
    CHECK_STR(buf_cstr(&b), "{\"s\":\"q\\\"\\\\\\n\\u0001/\x7f\",\"bad\":\"\xef\xbf\xbd\","
                            "\"nul\":\"a\\u0000b\",\"none\":null,"
                            "\"a\":[18446744073709551615,-5,{}],\"d\":0.25,\"zero\":0.0,"
                            "\"nan\":null,\"t\":true}");
}

static void test_write_full(void)
{
    _cleanup_buf_ struct buf b = BUF_CAPPED(10);
    struct json_out out = {.buf = &b};

    json_put_str(&out, NULL, "more than ten bytes");
    CHECK(out.failed);
}

static void test_base64(void)
{
    static const struct {
        const char *text, *bytes;
    } good[] = {{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYmFy", "foobar"}};
    static const char *const bad[] = {"Z",
                                      "Zg",
                                      "Zg=",
                                      "Zh==",
                                      "Zm9=",
                                      "Zg==Zg==",
                                      "====",
                                      "Z===",
                                      "Zm 9v",
                                      "Zm9v\n",
                                      "_-__",
                                      "Zm9vY=Fy",
                                      "=Zm9",
                                      "Zm=v",
                                      "Zm9v=",
                                      "Zm9v====",
                                      "\xff\xff\xff\xff"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT;

        CHECK_INT(base64_decode(good[i].text, strlen(good[i].text), &out), 0);
        CHECK_STR(buf_cstr(&out), good[i].bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT;

        CHECK_MSG(base64_decode(bad[i], strlen(bad[i]), &out) < 0, "'%zu' is not base64", i);
    }
}

int main(void)
{
    test_read();
    test_get();
    test_utf8();
    test_write();
    test_write_full();
    test_base64();
    return tap_done();
}
