// SPDX-License-Identifier: Apache-2.0
#include "http/trace.h"
#include "tap.h"

#include <string.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static void test_good(void)
{
    static const char *const good[] = {
        "00-" TRACE "-" SPAN "-01",  "00-" TRACE "-" SPAN "-ff",
        "01-" TRACE "-" SPAN "-00",  "cc-" TRACE "-" SPAN "-01-what-the-future-brings",
        "01-" TRACE "-" SPAN "-01-",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct http_trace t;
        char out[TRACE_PARENT_LEN + 1];
        bool read = trace_read(good[i], &t);

        CHECK_MSG(read && strcmp(t.trace_id, TRACE) == 0, "'%s' is taken", good[i]);
        trace_write(&t, out);
        CHECK_MSG(strlen(out) == TRACE_PARENT_LEN && strncmp(out, "00-" TRACE "-", 36) == 0 &&
                      strstr(out, SPAN) == NULL && strncmp(out + 53, good[i] + 53, 2) == 0,
                  "and goes on with a span of ours: %s", out);
        CHECK_MSG(trace_read(out, &t), "which is well-formed itself");
    }
}

static void test_bad(void)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-012",
        "00-" TRACE "-" SPAN "-01-more",
        "ff-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE "-" SPAN "-0x",
        " 00-" TRACE "-" SPAN "-01",
        "01-" TRACE "-" SPAN "-01.more",
    };
    struct http_trace t;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_MSG(!trace_read(bad[i], &t) && t.trace_id[0] == '\0', "'%s' is ignored", bad[i]);
    CHECK_MSG(!trace_read(NULL, &t) && t.trace_id[0] == '\0', "so is none");
}

int main(void)
{
    test_good();
    test_bad();
    return tap_done();
}
