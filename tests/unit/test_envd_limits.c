// SPDX-License-Identifier: Apache-2.0
//
// The limits of the agent's data plane on what its clients set: at each all is well, one beyond it
// is refused. docs/API.md lists them.
#include "envd_harness.h"

#include "tap.h"

#include <sys/stat.h>

#define P           "process.Process/"
#define F           "filesystem.Filesystem/"
#define TAG         256
#define VARIABLES   4096
#define SUBSCRIBERS 64
#define WATCHERS    100
#define LEVELS      64
#define MESSAGE     (8u << 20)

static char *filled(size_t len)
{
    char *text = malloc(len + 1);

    if (text == NULL)
        abort();
    memset(text, 'x', len);
    text[len] = '\0';
    return text;
}

// How a stream ends that says nothing of use.
static void check_end(struct envd_stream *s, const char *code)
{
    while (envd_next(s, DEADLINE_MS) != NULL)
        continue;
    CHECK_STR(s->code, code);
    envd_close_stream(s);
}

static void test_tag(void)
{
    for (int more = 0; more < 2; more++) {
        char *tag = filled((size_t)(TAG + more));
        struct envd_stream s;

        envd_open_stream(&s, P "Start", 0, NULL, "{\"process\":{\"cmd\":\"true\"},\"tag\":\"%s\"}",
                         tag);
        check_end(&s, more == 0 ? "" : "invalid_argument");
        free(tag);
    }
}

// PATH and the like are counted, too.
static void test_variables(void)
{
    static const int counts[] = {VARIABLES - 32, VARIABLES + 1};

    for (size_t n = 0; n < 2; n++) {
        struct buf envs = BUF_INIT;
        struct envd_stream s;

        for (int i = 0; i < counts[n]; i++)
            (void)buf_appendf(&envs, "%s\"V%d\":\"\"", i == 0 ? "" : ",", i);
        envd_open_stream(&s, P "Start", 0, NULL,
                         "{\"process\":{\"cmd\":\"/bin/true\",\"envs\":{%s}}}", text_of(&envs));
        check_end(&s, n == 0 ? "" : "invalid_argument");
        buf_release(&envs);
    }
}

static void test_subscribers(void)
{
    static struct envd_stream others[SUBSCRIBERS];
    struct envd_stream s;
    int pid = envd_start(&s, 0, "read line", "\"stdin\":true");

    for (int i = 0; i < SUBSCRIBERS; i++) {
        envd_open_stream(&others[i], P "Connect", 0, NULL, "{\"process\":{\"pid\":%d}}", pid);
        if (i < SUBSCRIBERS - 1) // who started it is one
            CHECK(envd_next(&others[i], DEADLINE_MS) != NULL);
        else
            check_end(&others[i], "resource_exhausted");
    }
    for (int i = 0; i < SUBSCRIBERS - 1; i++)
        envd_close_stream(&others[i]);
    _cleanup_reply_ struct reply r =
        envd_rpc(P "SendSignal", "{\"process\":{\"pid\":%d},\"signal\":\"SIGNAL_SIGKILL\"}", pid);
    CHECK_STR(reply_code(&r), "ok");
    check_end(&s, "");
}

static void test_watchers(void)
{
    for (int i = 0; i <= WATCHERS; i++) {
        _cleanup_reply_ struct reply r = envd_rpc(F "CreateWatcher", "{\"path\":\"%s\"}", envd_dir);

        if (i >= WATCHERS - 1)
            CHECK_STR(reply_code(&r), i < WATCHERS ? "ok" : "resource_exhausted");
    }
}

static void test_levels(void)
{
    char path[64 + 2 * (LEVELS + 2)];
    size_t len = (size_t)snprintf(path, sizeof(path), "%s", envd_dir);

    for (int i = 0; i <= LEVELS; i++) {
        len += (size_t)snprintf(path + len, sizeof(path) - len, "/d");
        if (mkdir(path, 0755) < 0)
            abort();
    }
    _cleanup_reply_ struct reply most =
        envd_rpc(F "ListDir", "{\"path\":\"%s\",\"depth\":%d}", envd_dir, LEVELS);
    CHECK_STR(reply_code(&most), "ok");
    _cleanup_reply_ struct reply more =
        envd_rpc(F "ListDir", "{\"path\":\"%s\",\"depth\":%d}", envd_dir, LEVELS + 1);
    CHECK_STR(reply_code(&more), "resource_exhausted");
}

static void test_terminal(void)
{
    struct envd_stream s;

    envd_start(&s, 0, "stty size", "\"pty\":{\"size\":{\"rows\":4294967295,\"cols\":80}}");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    envd_close_stream(&s);
    CHECK(strncmp(text_of(&o.pty), "4096 80", 7) == 0);
}

static void test_message(void)
{
    char *name = filled(MESSAGE);
    _cleanup_reply_ struct reply r = envd_rpc(F "Stat", "{\"path\":\"%s\"}", name);

    CHECK_STR(reply_code(&r), "resource_exhausted");
    free(name);
}

int main(void)
{
    envd_begin();
    test_tag();
    test_variables();
    test_subscribers();
    test_watchers();
    test_levels();
    test_terminal();
    test_message();
    CHECK(envd_finish());
    return tap_done();
}
