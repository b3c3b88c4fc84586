// SPDX-License-Identifier: Apache-2.0
//
// csb-agent as a whole, on this host: the program is started on one end of a socket pair and driven
// through the channel's client with the host's python3 and sh. Needs root. Arguments: the agent,
// the directory of shims; or the path of a unix socket behind which an agent is served, such as the
// port of a virtual machine.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"

#include "tap.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PYTHON      "/usr/bin/python3"
#define DEADLINE_MS 60000
#define MIB         (1024 * 1024)

static struct channel_loop *loop;
static struct channel *channel;
static pid_t agent_pid;

// What a test may change about a run.
struct job {
    const char *code; // content of main.py
    const char *input;
    const char *prepared;
    json_t *argv;                 // taken; NULL: python3 main.py
    json_t *args;                 // taken
    json_t *env;                  // taken
    json_t *compile;              // taken: argv of a compile step
    const char *path2, *content2; // a second file
    int wall_ms, cpu_ms, processes;
    json_int_t memory, output, disk;
    int cancel_ms;
    int stall_ms; // before the answer is read
};

struct outcome {
    int status;
    struct buf out, err, compile;
    json_t *result;
    uint64_t took_ms;
};

static json_t *limits_json(const struct job *j)
{
    return json_pack("{s:i, s:i, s:I, s:i, s:I, s:I}", "wall_ms", j->wall_ms ? j->wall_ms : 10000,
                     "cpu_ms", j->cpu_ms ? j->cpu_ms : 10000, "memory_bytes",
                     j->memory ? j->memory : (json_int_t)256 * MIB, "processes",
                     j->processes ? j->processes : 64, "output_bytes",
                     j->output ? j->output : (json_int_t)MIB, "disk_bytes",
                     j->disk ? j->disk : (json_int_t)64 * MIB);
}

static void build_body(const struct job *j, struct buf *body)
{
    const char *input = j->input ? j->input : "";
    json_t *files =
        json_pack("[{s:s, s:I}]", "path", "main.py", "size", (json_int_t)strlen(j->code));
    if (j->path2)
        json_array_append_new(files, json_pack("{s:s, s:I}", "path", j->path2, "size",
                                               (json_int_t)strlen(j->content2)));
    json_t *compile = json_null();
    if (j->compile)
        compile =
            json_pack("{s:o, s:{}, s:o}", "argv", j->compile, "env", "limits", limits_json(j));
    json_t *run = json_pack("{s:o, s:o, s:o, s:o}", "argv",
                            j->argv ? j->argv : json_pack("[s, s]", PYTHON, "main.py"), "args",
                            j->args ? j->args : json_array(), "env",
                            j->env ? j->env : json_object(), "limits", limits_json(j));
    json_t *head =
        json_pack("{s:s?, s:o, s:I, s:o, s:o}", "prepared", j->prepared, "files", files,
                  "stdin_size", (json_int_t)strlen(input), "compile", compile, "run", run);
    char *text = json_dumps(head, JSON_COMPACT);
    buf_append_be32(body, (uint32_t)strlen(text));
    buf_append(body, text, strlen(text));
    buf_append(body, j->code, strlen(j->code));
    if (j->path2)
        buf_append(body, j->content2, strlen(j->content2));
    buf_append(body, input, strlen(input));
    free(text);
    json_decref(head);
}

// Sorts the frames of a whole answer.
static void take_frames(const struct buf *all, struct outcome *o)
{
    size_t at = 0;

    while (at + 5 <= all->len) {
        const uint8_t *p = all->data + at;
        size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (len > all->len - at - 5)
            break;
        if (p[0] == AGENT_FRAME_STDOUT)
            buf_append(&o->out, p + 5, len);
        else if (p[0] == AGENT_FRAME_STDERR)
            buf_append(&o->err, p + 5, len);
        else if (p[0] == AGENT_FRAME_COMPILE_OUT)
            buf_append(&o->compile, p + 5, len);
        else if (p[0] == AGENT_FRAME_RESULT)
            o->result = json_loadb((const char *)p + 5, len, 0, NULL);
        at += 5 + len;
    }
}

static void outcome_release(struct outcome *o)
{
    buf_release(&o->out);
    buf_release(&o->err);
    buf_release(&o->compile);
    json_decref(o->result);
    memset(o, 0, sizeof(*o));
}

static struct outcome run(struct job j)
{
    struct outcome o = {0};
    struct err err = ERR_INIT;
    _cleanup_buf_ struct buf body = BUF_INIT;
    _cleanup_buf_ struct buf all = BUF_INIT;
    struct channel_stream *s = NULL;
    uint64_t start = clock_mono_ns();
    char part[65536];
    ssize_t n = 0;

    build_body(&j, &body);
    struct channel_request req = {"POST", "/run", body.data, body.len};
    uint64_t deadline = clock_deadline_ms(j.cancel_ms ? (uint64_t)j.cancel_ms : DEADLINE_MS);
    if (channel_send(channel, &req, &s, &err) < 0 ||
        channel_status(s, clock_deadline_ms(DEADLINE_MS), &o.status, &err) < 0)
        printf("# %s\n", err.message);
    struct timespec stall = clock_to_timespec((unsigned)j.stall_ms * NS_PER_MS);
    nanosleep(&stall, NULL);
    while (s != NULL && (n = channel_read(s, part, sizeof(part), deadline, &err)) > 0)
        buf_append(&all, part, (size_t)n);
    channel_stream_close(s);
    o.took_ms = (clock_mono_ns() - start) / NS_PER_MS;
    if (o.status == 200)
        take_frames(&all, &o);
    return o;
}

static const char *text_of(struct buf *b)
{
    return b->len == 0 ? "" : buf_cstr(b);
}

static const char *reason(const struct outcome *o)
{
    const char *r = json_string_value(json_object_get(o->result, "reason"));

    return r ? r : "(no result)";
}

static long long number(const struct outcome *o, const char *key)
{
    return json_integer_value(json_object_get(o->result, key));
}

static int call(const char *method, const char *path, const char *body, char **ret)
{
    struct channel_request req = {method, path, (const uint8_t *)body, body ? strlen(body) : 0};
    struct err err = ERR_INIT;
    size_t len = 0;
    int status = -1;

    if (channel_call(channel, &req, AGENT_JSON_MAX, clock_deadline_ms(DEADLINE_MS), &status, ret,
                     &len, &err) < 0) {
        printf("# %s\n", err.message);
        *ret = NULL;
    }
    return status;
}

static void test_endpoints(void)
{
    _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL, *d = NULL, *e = NULL;

    CHECK_INT(call("GET", "/health", NULL, &a), 200);
    CHECK(a != NULL && strstr(a, "\"protocol\":1") != NULL);
    CHECK_INT(call("GET", "/stats", NULL, &b), 200);
    CHECK(b != NULL && strstr(b, "memory_total_bytes") != NULL);
    CHECK_INT(call("GET", "/nothing", NULL, &c), 404);
    CHECK_INT(call("POST", "/sync", "{\"time_ns\":1}", &d), 400);
    CHECK_INT(call("POST", "/run", "abc", &e), 400);
}

static void test_hello(void)
{
    struct outcome o = run((struct job){.code = "print('hello')"});

    CHECK_INT(o.status, 200);
    CHECK_STR(text_of(&o.out), "hello\n");
    CHECK_STR(text_of(&o.err), "");
    CHECK_STR(reason(&o), "exit");
    CHECK_INT(number(&o, "exit_code"), 0);
    CHECK_INT(number(&o, "stdout_bytes"), 6);
    outcome_release(&o);
}

static const char echo_code[] = "import sys, os\n"
                                "print(sys.argv[1:], os.environ['A'], sys.stdin.read())\n"
                                "print(open('sub/dir/data.txt').read(), os.getuid(), os.getcwd())\n"
                                "print('e', file=sys.stderr)\n"
                                "sys.exit(7)\n";

static void test_inputs(const char *prepared)
{
    struct outcome o = run((struct job){.code = echo_code,
                                        .prepared = prepared,
                                        .input = "in\n",
                                        .args = json_pack("[s, s]", "x", "y z"),
                                        .env = json_pack("{s:s}", "A", "\xc3\xa9"),
                                        .path2 = "sub/dir/data.txt",
                                        .content2 = "data"});

    CHECK_STR(text_of(&o.out), "['x', 'y z'] \xc3\xa9 in\n\ndata 1000 /work\n");
    CHECK_STR(text_of(&o.err), "e\n");
    CHECK_STR(reason(&o), "exit");
    CHECK_INT(number(&o, "exit_code"), 7);
    outcome_release(&o);
}

static void test_endings(void)
{
    struct outcome o = run((struct job){.code = "import os; os.kill(os.getpid(), 11)"});
    CHECK_STR(reason(&o), "signal");
    CHECK_INT(number(&o, "signal"), 11);
    CHECK_INT(number(&o, "exit_code"), -1);
    outcome_release(&o);

    o = run((struct job){.code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
                                 "print('on', flush=True)\nwhile True: time.sleep(1)",
                         .wall_ms = 500});
    CHECK_STR(reason(&o), "timeout");
    CHECK_STR(text_of(&o.out), "on\n");
    CHECK_MSG(o.took_ms < 1500, "ended within a second of its limit (%llu ms)",
              (unsigned long long)o.took_ms);
    outcome_release(&o);

    o = run((struct job){.code = "import os, sys\n"
                                 "if os.fork() == 0:\n"
                                 "    os.setsid()\n"
                                 "    import time; time.sleep(60)\n"
                                 "print('parent')\n"});
    CHECK_STR(reason(&o), "exit");
    CHECK_STR(text_of(&o.out), "parent\n");
    CHECK_MSG(o.took_ms < 5000, "does not wait for a child that holds the pipe (%llu ms)",
              (unsigned long long)o.took_ms);
    outcome_release(&o);
}

static void test_limits(void)
{
    struct outcome o = run((struct job){.code = "while True: pass", .cpu_ms = 300});
    CHECK_STR(reason(&o), "cpu_timeout");
    CHECK(o.took_ms < 3000);
    outcome_release(&o);

    o = run((struct job){.code = "x = bytearray(512 * 1024 * 1024)\nprint(len(x))",
                         .memory = 64 * MIB});
    CHECK_STR(reason(&o), "memory");
    CHECK_STR(text_of(&o.out), "");
    outcome_release(&o);

    o = run((struct job){.code = "import sys\nwhile True: sys.stdout.write('x' * 10000)",
                         .output = 100000});
    CHECK_STR(reason(&o), "output_limit");
    CHECK_INT(o.out.len, 100000);
    CHECK(json_is_true(json_object_get(o.result, "truncated")));
    outcome_release(&o);

    o = run((struct job){.code = "import sys\nsys.stdout.write('x' * 100000)", .output = 100000});
    CHECK_STR(reason(&o), "exit");
    CHECK_INT(o.out.len, 100000);
    outcome_release(&o);

    o = run((struct job){.code = "import os\n"
                                 "n = 0\n"
                                 "try:\n"
                                 "    while True:\n"
                                 "        if os.fork() == 0:\n"
                                 "            import time; time.sleep(60)\n"
                                 "        n += 1\n"
                                 "except BlockingIOError:\n"
                                 "    print(n)\n",
                         .processes = 20});
    CHECK_STR(reason(&o), "exit");
    CHECK_STR(text_of(&o.out), "19\n");
    outcome_release(&o);

    o = run((struct job){.code = "try:\n"
                                 "    with open('/tmp/f', 'wb') as f:\n"
                                 "        for i in range(100): f.write(bytes(1 << 20))\n"
                                 "except OSError as e:\n"
                                 "    print(e.strerror)\n",
                         .disk = 8 * MIB});
    CHECK_STR(text_of(&o.out), "No space left on device\n");
    outcome_release(&o);
}

static void test_big(void)
{
    size_t size = 3u << 20;
    char *input = malloc(size + 1);

    memset(input, 'i', size);
    input[size] = '\0';
    struct outcome o = run((struct job){.code = "import sys\n"
                                                "d = sys.stdin.read()\n"
                                                "sys.stdout.write(d + d)\n"
                                                "sys.stderr.write(d)\n",
                                        .input = input,
                                        .output = 16 * MIB});
    CHECK_STR(reason(&o), "exit");
    CHECK_INT(o.out.len, 2 * size);
    CHECK_INT(o.err.len, size);
    outcome_release(&o);
    // A program that never reads its input.
    o = run((struct job){.code = "print('done')", .input = input});
    CHECK_STR(reason(&o), "exit");
    CHECK_STR(text_of(&o.out), "done\n");
    outcome_release(&o);
    free(input);
}

// A reader that is slow holds the program back, and loses nothing; its limits hold all the same.
static void test_slow_reader(void)
{
    struct outcome o = run((struct job){.code = "import sys\n"
                                                "for i in range(200000): print(i, 'x' * 30)\n"
                                                "print('end', file=sys.stderr)\n",
                                        .output = 64 * MIB,
                                        .stall_ms = 1500});
    CHECK_STR(reason(&o), "exit");
    CHECK_INT(o.out.len, number(&o, "stdout_bytes"));
    CHECK(o.out.len > 7000000 && memcmp(o.out.data + o.out.len - 4, "xxx\n", 4) == 0);
    CHECK_STR(text_of(&o.err), "end\n");
    outcome_release(&o);

    o = run((struct job){.code = "while True: print('x' * 1000)",
                         .output = 512 * (json_int_t)MIB,
                         .wall_ms = 500,
                         .stall_ms = 1500});
    CHECK_STR(reason(&o), "timeout");
    CHECK_MSG(o.out.len < 2 * MIB, "held back (%zu bytes)", o.out.len);
    outcome_release(&o);
}

static void test_compile(void)
{
    struct outcome o =
        run((struct job){.code = "print('built')",
                         .compile = json_pack("[s, s, s]", "/bin/sh", "-c",
                                              "cp main.py out.py; echo compiling; cat; ls / >&2"),
                         .input = "for the program",
                         .argv = json_pack("[s, s]", PYTHON, "out.py")});
    CHECK_STR(text_of(&o.out), "built\n");
    CHECK(strncmp(text_of(&o.compile), "compiling\n", 10) == 0);
    CHECK(strstr(text_of(&o.compile), "for the") == NULL);
    CHECK_STR(reason(&o), "exit");
    CHECK(json_is_object(json_object_get(o.result, "compile")));
    outcome_release(&o);

    o = run(
        (struct job){.code = "print('built')",
                     .compile = json_pack("[s, s, s]", "/bin/sh", "-c", "echo bad >&2; exit 3")});
    CHECK_STR(text_of(&o.compile), "bad\n");
    CHECK_STR(text_of(&o.out), "");
    CHECK_STR(json_string_value(json_object_get(o.result, "phase")), "compile");
    CHECK_INT(number(&o, "exit_code"), 3);
    outcome_release(&o);

    // What was compiled may be executed.
    o = run((struct job){.code = "#!/bin/sh\necho ran\n",
                         .compile = json_pack("[s, s, s]", "/bin/chmod", "755", "main.py"),
                         .argv = json_pack("[s]", "/work/main.py")});
    CHECK_STR(text_of(&o.out), "ran\n");
    outcome_release(&o);

    o = run((struct job){.code = "", .argv = json_pack("[s]", "/no/such/program")});
    CHECK_INT(o.status, 500);
    outcome_release(&o);
}

// Runs leave nothing to the next one.
static void test_fresh(void)
{
    struct outcome o = run(
        (struct job){.code = "for d in ('/tmp', '/work', '/home/user', '/var/tmp', '/dev/shm'):\n"
                             "    open(d + '/left', 'w').write('x')\n"});
    CHECK_STR(reason(&o), "exit");
    outcome_release(&o);
    o = run((struct job){.code =
                             "import os\n"
                             "for d in ('/tmp', '/work', '/home/user', '/var/tmp', '/dev/shm'):\n"
                             "    print(os.listdir(d))\n"
                             "for d in ('/', '/usr', '/etc', '/dev', '/csb'):\n"
                             "    try: open(d + '/left', 'w'); print('wrote', d)\n"
                             "    except OSError: pass\n"
                             "print(os.listdir('/proc/self/fd').__len__())\n"});
    CHECK_STR(text_of(&o.out), "[]\n['main.py']\n[]\n[]\n[]\n4\n");
    outcome_release(&o);
}

static int count_processes(const char *needle)
{
    char command[128];
    char line[64] = "";
    int fds[2], status;
    pid_t pid;
    char *argv[] = {(char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", command, NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;

    snprintf(command, sizeof(command), "cat /proc/[0-9]*/cmdline 2>/dev/null | grep -a -c %s",
             needle);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    if (posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, envp) != 0)
        return -1;
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    ssize_t n = read(fds[0], line, sizeof(line) - 1);
    close(fds[0]);
    waitpid(pid, &status, 0);
    return n > 0 ? (int)strtol(line, NULL, 10) : -1;
}

static void test_cancel(void)
{
    struct outcome o =
        run((struct job){.code = "import time\ntime.sleep(60)",
                         .argv = json_pack("[s, s, s]", PYTHON, "main.py", "cancel-me-1f3b"),
                         .wall_ms = 60000,
                         .cancel_ms = 700});
    CHECK(o.took_ms < 5000);
    outcome_release(&o);
    o = run((struct job){.code = "print('next')"});
    CHECK_STR(text_of(&o.out), "next\n");
    outcome_release(&o);
    // The grep and its shell carry the word too, in one command line each.
    CHECK(count_processes("cancel-me-1f3[b]") <= 0);
}

static int prepare(const char *id, const char *argv, int ready_ms)
{
    char body[512];
    _cleanup_free_ char *answer = NULL;

    snprintf(body, sizeof(body),
             "{\"id\":\"%s\",\"argv\":%s,\"env\":{\"PYTHONPATH\":\"/csb/python\"},"
             "\"ready_ms\":%d}",
             id, argv, ready_ms);
    int status = call("POST", "/prepare", body, &answer);
    if (status != 200)
        printf("# %s\n", answer ? answer : "");
    return status;
}

static const char trace_code[] = "import sys\n"
                                 "def f():\n"
                                 "    raise ValueError('x')\n"
                                 "print(sys.path, sorted(k for k in __import__('os').environ))\n"
                                 "f()\n";

static void test_prepared(void)
{
    const char *argv = "[\"" PYTHON "\",\"main.py\"]";

    CHECK_INT(prepare("py", argv, 20000), 200);
    CHECK_INT(prepare("py", argv, 20000), 400);
    test_inputs("py");
    struct outcome o = run((struct job){.code = "", .prepared = "py"});
    CHECK_INT(o.status, 409);
    outcome_release(&o);

    // A prepared run looks like a cold one.
    CHECK_INT(prepare("py", argv, 20000), 200);
    struct outcome warm = run((struct job){.code = trace_code, .prepared = "py"});
    struct outcome cold = run((struct job){.code = trace_code});
    CHECK_STR(text_of(&warm.out), text_of(&cold.out));
    CHECK_STR(text_of(&warm.err), text_of(&cold.err));
    CHECK(strstr(text_of(&warm.err), "File \"/work/main.py\", line 3, in f") != NULL);
    CHECK_INT(number(&warm, "exit_code"), 1);
    outcome_release(&warm);
    outcome_release(&cold);

    CHECK_INT(prepare("py", argv, 20000), 200);
    o = run((struct job){
        .code = "x = bytearray(512 * 1024 * 1024)", .prepared = "py", .memory = 64 * MIB});
    CHECK_STR(reason(&o), "memory");
    outcome_release(&o);

    CHECK_INT(prepare("bad", "[\"/bin/false\"]", 20000), 500);
    CHECK_INT(prepare("slow", "[\"/bin/sleep\",\"60\"]", 300), 504);
    CHECK_INT(prepare("absent", "[\"/no/such\"]", 300), 500);
}

// The compiler is prepared, the program is not: arguments, environment and input are its alone.
static void test_prepared_compiler(void)
{
    static const char code[] =
        "import os, sys\n"
        "print(len(sys.argv), 'A' in os.environ, repr(sys.stdin.read()))\n"
        "if os.path.exists('fail'): sys.exit(3)\n"
        "out = open('out.py', 'w')\n"
        "out.write('import os, sys\\n')\n"
        "out.write('print(sys.argv[1:], os.environ[\"A\"], sys.stdin.read())\\n')\n";
    const char *argv = "[\"" PYTHON "\",\"main.py\"]";
    struct job job = {.code = code, .prepared = "cc", .input = "in"};

    CHECK_INT(prepare("cc", argv, 20000), 200);
    job.compile = json_pack("[s, s]", PYTHON, "main.py");
    job.argv = json_pack("[s, s]", PYTHON, "out.py");
    job.args = json_pack("[s]", "x");
    job.env = json_pack("{s:s}", "A", "a");
    struct outcome o = run(job);
    CHECK_STR(text_of(&o.compile), "1 False ''\n");
    CHECK_STR(text_of(&o.out), "['x'] a in\n");
    CHECK_STR(json_string_value(json_object_get(o.result, "phase")), "run");
    CHECK(json_is_object(json_object_get(o.result, "compile")));
    outcome_release(&o);

    CHECK_INT(prepare("cc", argv, 20000), 200);
    job.compile = json_pack("[s, s]", PYTHON, "main.py");
    job.argv = job.args = job.env = NULL;
    job.path2 = "fail";
    job.content2 = "";
    o = run(job);
    CHECK_STR(json_string_value(json_object_get(o.result, "phase")), "compile");
    CHECK_INT(number(&o, "exit_code"), 3);
    outcome_release(&o);
}

static bool connect_agent(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct err err = ERR_INIT;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return false;
    (void)fd_set_nonblock(fd, 1);
    return channel_loop_new(&loop, &err) == 0 && channel_open(loop, fd, &channel, &err) == 0;
}

static bool start_agent(char *agent, char *shims)
{
    struct err err = ERR_INIT;
    int fds[2];
    char *argv[] = {agent,
                    (char *)(uintptr_t)"--fd",
                    (char *)(uintptr_t)"9",
                    (char *)(uintptr_t)"--shims",
                    shims,
                    NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;

    if (fd_socketpair(SOCK_STREAM, fds) < 0)
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 9);
    int rc = posix_spawn(&agent_pid, agent, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    fd_close(&fds[1]);
    (void)fd_set_nonblock(fds[0], 1);
    return rc == 0 && channel_loop_new(&loop, &err) == 0 &&
           channel_open(loop, fds[0], &channel, &err) == 0;
}

int main(int argc, char **argv)
{
    int status = -1;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: test_agent AGENT SHIMS | SOCKET\n");
        return 2;
    }
    if (argc == 3 && (geteuid() != 0 || access(PYTHON, X_OK) != 0)) {
        tap_skip("jail", "needs root and " PYTHON);
        return tap_done();
    }
    if (!CHECK(argc == 2 ? connect_agent(argv[1]) : start_agent(argv[1], argv[2])))
        return tap_done();
    test_endpoints();
    test_hello();
    test_inputs(NULL);
    test_endings();
    test_limits();
    test_big();
    test_slow_reader();
    test_compile();
    test_fresh();
    test_cancel();
    test_prepared();
    test_prepared_compiler();
    channel_close(channel);
    channel_loop_free(loop);
    if (argc == 2)
        return tap_done();
    CHECK(waitpid(agent_pid, &status, 0) == agent_pid);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the agent ends with its peer");
    return tap_done();
}
