// SPDX-License-Identifier: Apache-2.0
#include "http/http.h"
#include "http/router.h"
#include "tap.h"

#include <errno.h>

static const char *last;

static void one(void *app, const struct http_request *req, struct http_response *res)
{
    (void)app;
    (void)req;
    (void)res;
    last = "one";
}

static void two(void *app, const struct http_request *req, struct http_response *res)
{
    (void)app;
    (void)req;
    (void)res;
    last = "two";
}

static const struct http_route routes[] = {
    {"GET", "/things", one},
    {"GET", "/things/metrics", one},
    {"GET", "/things/*", two},
    {"POST", "/things/*/stop", one},
    {0},
};

static unsigned route(const char *method, const char *path)
{
    struct http_request req = {.method = method, .path = path, .query = ""};
    struct http_response res = {.status = 200};

    last = "none";
    http_route(routes, NULL, &req, &res);
    buf_release(&res.body);
    buf_release(&res.headers);
    return res.status;
}

static const char *query(const char *text, const char *name)
{
    static char shown[128];
    struct http_request req = {.query = text};
    char *value = NULL;
    int r = http_query(&req, name, &value);

    if (r < 0)
        (void)snprintf(shown, sizeof(shown), "%s", strerrorname_np(-r));
    else
        (void)snprintf(shown, sizeof(shown), "%s", value == NULL ? "(absent)" : value);
    free(value);
    return shown;
}

static void test_routes(void)
{
    CHECK_INT(route("GET", "/things"), 200);
    CHECK_STR(last, "one");
    CHECK_INT(route("GET", "/things/i1"), 200);
    CHECK_STR(last, "two");
    CHECK_INT(route("GET", "/things/metrics"), 200);
    CHECK_STR(last, "one");
    CHECK_INT(route("POST", "/things/i1/stop"), 200);
    CHECK_STR(last, "one");
    CHECK_INT(route("GET", "/things/i1/stop"), 405);
    CHECK_INT(route("GET", "/things/"), 404);
    CHECK_INT(route("GET", "/things/a/b"), 404);
    CHECK_INT(route("POST", "/things//stop"), 404);
    CHECK_INT(route("POST", "/things/i1/stop/"), 404);
    CHECK_INT(route("GET", "/thing"), 404);
}

static void test_query(void)
{
    CHECK_STR(query("a=1&b=x+y&c=%41%2b&d&=e", "a"), "1");
    CHECK_STR(query("a=1&b=x+y&c=%41%2b&d&=e", "b"), "x y");
    CHECK_STR(query("a=1&b=x+y&c=%41%2b&d&=e", "c"), "A+");
    CHECK_STR(query("a=1&b=x+y&c=%41%2b&d&=e", "d"), "");
    CHECK_STR(query("a=1&b=x+y", "e"), "(absent)");
    CHECK_STR(query("aa=1", "a"), "(absent)");
    CHECK_STR(query("a=1&a=2", "a"), "EEXIST");
    CHECK_STR(query("a=%4", "a"), "EINVAL");
    CHECK_STR(query("a=%zz", "a"), "EINVAL");
    CHECK_STR(query("a=%00", "a"), "EINVAL");
    CHECK_STR(query("a=%41", "a"), "A");
    CHECK_STR(query("metadata=a%3Db%252520c", "metadata"), "a=b%2520c");
    CHECK_STR(query("", "a"), "(absent)");
}

static void test_segments(void)
{
    struct http_request req = {.path = "/v2/sandboxes/i123/timeout"};
    char id[8];

    CHECK(http_segment(&req, 2, id, sizeof(id)));
    CHECK_STR(id, "i123");
    CHECK(!http_segment(&req, 1, id, sizeof(id)));
    CHECK(!http_segment(&req, 4, id, sizeof(id)));
}

int main(void)
{
    test_routes();
    test_query();
    test_segments();
    return tap_done();
}
