// SPDX-License-Identifier: Apache-2.0
//
// process.Process of the agent's data plane.
#include "base/clock.h"
#include "envd_harness.h"

#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define P "process.Process/"

static int json_pid(const json_t *m)
{
    return (int)json_integer_value(
        json_object_get(json_object_get(json_object_get(m, "event"), "start"), "pid"));
}

static void connect_to(struct envd_stream *s, int pid)
{
    envd_open_stream(s, P "Connect", 0, NULL, "{\"process\":{\"pid\":%d}}", pid);
}

// What a script waits for with WAIT_FOR(name).
#define WAIT_FOR(name) "until [ -e " name " ]; do sleep 0.02; done; "

static void let(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", envd_dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        abort();
    close(fd);
}

static bool is_listed(int pid)
{
    _cleanup_reply_ struct reply r = envd_rpc(P "List", "{}");
    const json_t *p;
    size_t i;

    json_array_foreach(json_object_get(r.json, "processes"), i, p)
    {
        if (json_integer_value(json_object_get(p, "pid")) == pid)
            return true;
    }
    return false;
}

static void test_run(void)
{
    struct envd_stream s;
    int pid = envd_start(&s, 0, "echo out; echo err >&2; echo $FROM_INIT $BOTH $HOME; pwd; exit 3",
                         "\"stdin\":false");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    char want[512];

    CHECK(pid > 1);
    snprintf(want, sizeof(want), "out\nyes start %s\n%s\n", getenv("HOME") ? getenv("HOME") : "",
             envd_dir);
    CHECK(strncmp(text_of(&o.out), "out\nyes start ", 14) == 0);
    CHECK(strstr(text_of(&o.out), envd_dir) != NULL);
    CHECK_STR(text_of(&o.err), "err\n");
    CHECK_INT(o.exit_code, 3);
    CHECK(o.exited);
    CHECK_STR(o.status, "exit status 3");
    CHECK(s.ended && s.code[0] == '\0');
    envd_close_stream(&s);
}

static void test_refused(void)
{
    struct envd_stream s;

    envd_open_stream(&s, P "Start", 0, NULL, "{\"process\":{\"cmd\":\"sh\",\"cwd\":\"/none\"}}");
    CHECK(envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "invalid_argument");
    envd_close_stream(&s);

    static const struct channel_header who[] = {{"authorization", "Basic bm9ib2R5LWhlcmU6"}, {0}};
    envd_open_stream(&s, P "Start", 0, who, "{\"process\":{\"cmd\":\"sh\"}}");
    CHECK(envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "unauthenticated");
    envd_close_stream(&s);

    envd_open_stream(&s, P "Start", 0, NULL, "{\"process\":{\"args\":[\"x\"]}}");
    CHECK(envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "invalid_argument");
    envd_close_stream(&s);

    envd_open_stream(&s, P "Start", 0, NULL, "{\"process\":{\"cmd\":\"no-such-program\"}}");
    CHECK(json_pid(envd_next(&s, DEADLINE_MS)) > 1);
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK_INT(o.exit_code, 127);
    CHECK(strstr(text_of(&o.err), "not found") != NULL);
    envd_close_stream(&s);

    connect_to(&s, 999999);
    CHECK(envd_next(&s, DEADLINE_MS) == NULL);
    CHECK_STR(s.code, "not_found");
    envd_close_stream(&s);
}

static void test_input(void)
{
    struct envd_stream s;
    int pid = envd_start(&s, 0, "cat; echo end", "");

    // "a\n" padded, "b\n" not, "c\n" in the other alphabet would be the same.
    _cleanup_reply_ struct reply a =
        envd_rpc(P "SendInput", "{\"process\":{\"pid\":%d},\"input\":{\"stdin\":\"YQo=\"}}", pid);
    _cleanup_reply_ struct reply b = envd_rpc(
        P "SendInput", "{\"process\":{\"pid\":\"%d\"},\"input\":{\"stdin\":\"Ygo\"}}", pid);
    _cleanup_reply_ struct reply pty =
        envd_rpc(P "SendInput", "{\"process\":{\"pid\":%d},\"input\":{\"pty\":\"YQo=\"}}", pid);
    _cleanup_reply_ struct reply bad =
        envd_rpc(P "SendInput", "{\"process\":{\"pid\":%d},\"input\":{\"stdin\":\"%%\"}}", pid);
    _cleanup_reply_ struct reply c = envd_rpc(P "CloseStdin", "{\"process\":{\"pid\":%d}}", pid);
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK_STR(reply_code(&a), "ok");
    CHECK_STR(reply_code(&b), "ok");
    CHECK_STR(reply_code(&pty), "internal");
    CHECK_STR(reply_code(&bad), "invalid_argument");
    CHECK_STR(reply_code(&c), "ok");
    CHECK_STR(text_of(&o.out), "a\nb\nend\n");
    CHECK_INT(o.exit_code, 0);
    envd_close_stream(&s);

    _cleanup_reply_ struct reply gone =
        envd_rpc(P "SendInput", "{\"process\":{\"pid\":%d},\"input\":{\"stdin\":\"YQo=\"}}", pid);
    CHECK_STR(reply_code(&gone), "not_found");
}

// A call is answered when the process took its bytes, or never will.
static void test_input_waits(void)
{
    struct envd_stream s;
    struct buf big = BUF_INIT;
    int pid = envd_start(&s, 0, "sleep 0.5; head -c 10 >/dev/null; exec 0<&-; sleep 0.3", "");
    uint64_t start = clock_mono_ns();

    for (int i = 0; i < 300000; i++)
        (void)buf_append(&big, "AAAA", 4);
    _cleanup_reply_ struct reply r =
        envd_rpc(P "SendInput", "{\"process\":{\"pid\":%d},\"input\":{\"stdin\":\"%s\"}}", pid,
                 buf_cstr(&big));
    CHECK_STR(reply_code(&r), "internal");
    CHECK(clock_mono_ns() - start > 300 * NS_PER_MS);
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK_INT(o.exit_code, 0);
    buf_release(&big);
    envd_close_stream(&s);
}

static void put(struct buf *b, const char *text)
{
    (void)buf_append_u8(b, 0);
    (void)buf_append_be32(b, (uint32_t)strlen(text));
    (void)buf_append(b, text, strlen(text));
}

static void test_stream_input(void)
{
    static const struct channel_header type[] = {{"content-type", "application/connect+json"}, {0}};
    struct envd_stream s;
    struct buf body = BUF_INIT;
    char text[128];
    int pid = envd_start(&s, 0, "wc -l", "");

    snprintf(text, sizeof(text), "{\"start\":{\"process\":{\"pid\":%d}}}", pid);
    put(&body, text);
    put(&body, "{\"keepalive\":{}}");
    for (int i = 0; i < 50000; i++)
        put(&body, "{\"data\":{\"input\":{\"stdin\":\"eHh4eHh4eHh4eHh4eHh4Cg==\"}}}");
    _cleanup_reply_ struct reply r =
        envd_call("POST", "/envd/" P "StreamInput", type, body.data, body.len);
    CHECK_INT(r.status, 200);
    CHECK(r.body.len == 14 && memcmp(r.body.data, "\0\0\0\0\2{}\2\0\0\0\2{}", 14) == 0);
    _cleanup_reply_ struct reply c = envd_rpc(P "CloseStdin", "{\"process\":{\"pid\":%d}}", pid);
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK(strstr(text_of(&o.out), "50000") != NULL);
    buf_release(&body);
    envd_close_stream(&s);
}

static void test_kill_and_remember(void)
{
    struct envd_stream s, t, u;
    int pid = envd_start(&s, 0, "echo first; sleep 8 & sleep 1000", "\"tag\":\"mine\"");

    CHECK(is_listed(pid));
    envd_open_stream(&t, P "Connect", 0, NULL, "{\"process\":{\"tag\":\"mine\"}}");
    CHECK_INT(json_pid(envd_next(&t, DEADLINE_MS)), pid);
    _cleanup_reply_ struct reply odd =
        envd_rpc(P "SendSignal", "{\"process\":{\"pid\":%d},\"signal\":\"SIGNAL_SIGHUP\"}", pid);
    CHECK_STR(reply_code(&odd), "unimplemented");
    _cleanup_reply_ struct reply k =
        envd_rpc(P "SendSignal", "{\"process\":{\"pid\":%d},\"signal\":\"SIGNAL_SIGKILL\"}", pid);
    CHECK_STR(reply_code(&k), "ok");
    uint64_t start = clock_mono_ns();
    _cleanup_outcome_ struct outcome a = envd_wait(&s);
    _cleanup_outcome_ struct outcome b = envd_wait(&t);
    CHECK_MSG(clock_mono_ns() - start < 5 * NS_PER_S, "who holds the pipes is not waited for");
    CHECK_STR(a.status, "signal: killed");
    CHECK_STR(b.status, "signal: killed");
    CHECK_INT(a.exit_code, -1);
    CHECK(!a.exited);
    CHECK(!is_listed(pid));
    connect_to(&u, pid);
    CHECK_INT(json_pid(envd_next(&u, DEADLINE_MS)), pid);
    _cleanup_outcome_ struct outcome c = envd_wait(&u);
    CHECK_STR(c.status, "signal: killed");
    _cleanup_reply_ struct reply again =
        envd_rpc(P "SendSignal", "{\"process\":{\"pid\":%d},\"signal\":9}", pid);
    CHECK_STR(reply_code(&again), "not_found");
    envd_close_stream(&s);
    envd_close_stream(&t);
    envd_close_stream(&u);
}

static void test_deadline(void)
{
    struct envd_stream s, t, left;
    int pid = envd_start(&s, 3000, "sleep 1000", "");
    // The deadline holds though nobody listens any more.
    int pid_left = envd_start(&left, 4000, "sleep 1000", "");

    envd_close_stream(&left);
    CHECK(is_listed(pid_left));
    connect_to(&t, pid);
    _cleanup_outcome_ struct outcome a = envd_wait(&s);
    CHECK(!a.has_end);
    CHECK_STR(s.code, "deadline_exceeded");
    _cleanup_outcome_ struct outcome b = envd_wait(&t);
    CHECK_STR(b.status, "signal: killed");
    envd_close_stream(&s);
    envd_close_stream(&t);
    bool listed = true;
    for (uint64_t end = clock_deadline_ms(DEADLINE_MS); listed && clock_mono_ns() < end;) {
        sleep_ms(20);
        listed = is_listed(pid_left);
    }
    CHECK(!listed);
}

static void test_outlives_client(void)
{
    struct envd_stream s, t;
    int pid = envd_start(&s, 0, "echo 1; " WAIT_FOR("joined") "echo 6", "");

    CHECK(envd_next(&s, DEADLINE_MS) != NULL); // what was said before is not told again
    envd_close_stream(&s);
    sleep_ms(300);
    CHECK(is_listed(pid));
    connect_to(&t, pid);
    CHECK_INT(json_pid(envd_next(&t, DEADLINE_MS)), pid);
    let("joined");
    _cleanup_outcome_ struct outcome o = envd_wait(&t);
    CHECK(o.out.len > 0 && strstr(text_of(&o.out), "6") != NULL);
    CHECK(strstr(text_of(&o.out), "1") == NULL);
    CHECK_INT(o.exit_code, 0);
    envd_close_stream(&t);
}

static void test_waits_for_pipes(void)
{
    struct envd_stream s;

    envd_start(&s, 0, "(sleep 0.4; echo late) & echo early", "");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK_STR(text_of(&o.out), "early\nlate\n");
    envd_close_stream(&s);
}

// With one subscriber that does not read, the process waits and nothing is lost.
static void test_back_pressure(void)
{
    struct envd_stream s;
    char name[128];

    snprintf(name, sizeof(name), "%s/done", envd_dir);
    envd_start(&s, 0, "head -c 5000000 /dev/zero; echo x > done", "");
    sleep_ms(700);
    CHECK_MSG(access(name, F_OK) < 0, "the process waits for its reader");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK_INT(o.out.len, 5000000);
    CHECK(access(name, F_OK) == 0);
    envd_close_stream(&s);
}

// One of two does not read: it is cut off, the other gets all.
static void test_slow_subscriber(void)
{
    struct envd_stream s, slow;
    int pid = envd_start(&s, 0, WAIT_FOR("both") "head -c 8000000 /dev/zero; sleep 0.2", "");

    connect_to(&slow, pid);
    CHECK_INT(json_pid(envd_next(&slow, DEADLINE_MS)), pid);
    let("both");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    CHECK_INT(o.out.len, 8000000);
    CHECK_INT(o.exit_code, 0);
    _cleanup_outcome_ struct outcome lost = envd_wait(&slow);
    CHECK_STR(slow.code, "resource_exhausted");
    CHECK(!lost.has_end && lost.out.len > 0);
    envd_close_stream(&s);
    envd_close_stream(&slow);
}

static void test_keepalive(void)
{
    static const struct channel_header every[] = {{"keepalive-ping-interval", "1"}, {0}};
    struct envd_stream s;
    uint64_t start = clock_mono_ns();
    int beats = 0;
    const json_t *m;

    envd_open_stream(&s, P "Start", 0, every,
                     "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"1000\"]}}");
    int pid = json_pid(envd_next(&s, DEADLINE_MS));
    while (beats < 2 && (m = envd_next(&s, DEADLINE_MS)) != NULL)
        beats += json_object_get(json_object_get(m, "event"), "keepalive") != NULL;
    CHECK_INT(beats, 2);
    CHECK_MSG(clock_mono_ns() - start > 1900 * NS_PER_MS, "no more than one in a second");
    _cleanup_reply_ struct reply r =
        envd_rpc(P "SendSignal", "{\"process\":{\"pid\":%d},\"signal\":9}", pid);
    CHECK_STR(reply_code(&r), "ok");
    envd_close_stream(&s);
}

static void test_terminal(void)
{
    struct envd_stream s;
    int pid = envd_start(&s, 0, "stty size; tty; read x; echo got $x; stty size; exit 4",
                         "\"pty\":{\"size\":{\"cols\":90,\"rows\":30}}");

    _cleanup_reply_ struct reply r =
        envd_rpc(P "Update",
                 "{\"process\":{\"pid\":%d},\"pty\":{\"size\":{\"cols\":120,\"rows\":50}}}", pid);
    CHECK_STR(reply_code(&r), "ok");
    _cleanup_reply_ struct reply i =
        envd_rpc(P "SendInput", "{\"process\":{\"pid\":%d},\"input\":{\"pty\":\"aGVsbG8K\"}}", pid);
    CHECK_STR(reply_code(&i), "ok");
    _cleanup_reply_ struct reply c = envd_rpc(P "CloseStdin", "{\"process\":{\"pid\":%d}}", pid);
    CHECK_STR(reply_code(&c), "unknown");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    const char *text = text_of(&o.pty);
    CHECK(strstr(text, "/dev/pts/") != NULL);
    CHECK(strstr(text, "got hello") != NULL);
    CHECK(strstr(text, "50 120") != NULL);
    CHECK_INT(o.out.len, 0);
    CHECK_INT(o.exit_code, 4);
    envd_close_stream(&s);

    pid = envd_start(&s, 0, "read x", "");
    _cleanup_reply_ struct reply u =
        envd_rpc(P "Update", "{\"process\":{\"pid\":%d},\"pty\":{\"size\":{\"cols\":1}}}", pid);
    CHECK_STR(reply_code(&u), "internal");
    envd_close_stream(&s);
}

// Nothing of the agent's is open in a program, and it leads a session.
static void test_clean_start(void)
{
    struct envd_stream s;

    envd_start(&s, 0, "ls /proc/self/fd | wc -l; ps -o sid= -p $$ | tr -d ' '; echo $$; umask", "");
    _cleanup_outcome_ struct outcome o = envd_wait(&s);
    int fds = 0, sid = 0, pid = 1;
    char mask[16] = "";
    sscanf(text_of(&o.out), "%d %d %d %15s", &fds, &sid, &pid, mask);
    CHECK_INT(fds, 4); // 0, 1, 2 and the directory
    CHECK_INT(sid, pid);
    CHECK_STR(mask, "0022");
    envd_close_stream(&s);
}

static void test_many(void)
{
    enum { COUNT = 100 };
    static struct envd_stream s[COUNT];
    int good = 0;

    for (int i = 0; i < COUNT; i++)
        envd_open_stream(&s[i], P "Start", 0, NULL,
                         "{\"process\":{\"cmd\":\"sh\",\"args\":[\"-c\",\"echo %d; echo %d\"]}}", i,
                         i);
    for (int i = 0; i < COUNT; i++) {
        char want[32];
        snprintf(want, sizeof(want), "%d\n%d\n", i, i);
        _cleanup_outcome_ struct outcome o = envd_wait(&s[i]);
        good += strcmp(text_of(&o.out), want) == 0 && o.exit_code == 0;
        envd_close_stream(&s[i]);
    }
    CHECK_INT(good, COUNT);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    envd_begin();
    test_run();
    test_refused();
    test_input();
    test_input_waits();
    test_stream_input();
    test_kill_and_remember();
    test_deadline();
    test_outlives_client();
    test_waits_for_pipes();
    test_back_pressure();
    test_slow_subscriber();
    test_keepalive();
    test_terminal();
    test_clean_start();
    test_many();
    // One is left running: it ends with the agent.
    struct envd_stream s;
    int pid = envd_start(&s, 0, "exec sleep 1000", "");
    envd_close_stream(&s);
    CHECK_MSG(envd_finish(), "the agent ended well");
    CHECK(pid > 1 && kill(pid, 0) < 0);
    return tap_done();
}
