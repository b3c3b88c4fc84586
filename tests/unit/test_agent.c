// SPDX-License-Identifier: Apache-2.0
//
// csb-agent as a whole, on this host: the program is started on one end of a socket pair and driven
// through the channel's client with the host's python3 and sh. Needs root. Arguments: the agent,
// the directory of shims; or the path of a unix socket behind which an agent is served, such as the
// port of a virtual machine.
#include "agent_harness.h"

static void test_endpoints(void)
{
    _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL, *d = NULL, *e = NULL, *f = NULL;

    CHECK_INT(call("GET", "/health", NULL, &a), 200);
    CHECK(a != NULL && strstr(a, "\"protocol\":1") != NULL);
    CHECK_INT(call("GET", "/stats", NULL, &b), 200);
    CHECK(b != NULL && strstr(b, "memory_total_bytes") != NULL);
    CHECK_INT(call("GET", "/nothing", NULL, &c), 404);
    CHECK_INT(call("GET", "/envd/health", NULL, &f), 404); // not without being told so
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
                         .wall_ms = 4000});
    CHECK_STR(reason(&o), "timeout");
    CHECK_STR(text_of(&o.out), "on\n");
    CHECK_MSG(o.took_ms < 30000, "ended soon after its limit (%llu ms)",
              (unsigned long long)o.took_ms);
    outcome_release(&o);

    o = run((struct job){.code = "import os, sys\n"
                                 "if os.fork() == 0:\n"
                                 "    os.setsid()\n"
                                 "    import time; time.sleep(600)\n"
                                 "print('parent')\n"});
    CHECK_STR(reason(&o), "exit");
    CHECK_STR(text_of(&o.out), "parent\n");
    CHECK_MSG(o.took_ms < 60000, "does not wait for a child that holds the pipe (%llu ms)",
              (unsigned long long)o.took_ms);
    outcome_release(&o);
}

static void test_limits(void)
{
    struct outcome o = run((struct job){.code = "while True: pass", .cpu_ms = 300});
    CHECK_STR(reason(&o), "cpu_timeout");
    CHECK(o.took_ms < 9000); // before the limit of its wall-clock time
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
                                 "            import time; time.sleep(600)\n"
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

static void test_cancel(void)
{
    struct outcome o =
        run((struct job){.code = "import time\ntime.sleep(600)",
                         .argv = json_pack("[s, s, s]", PYTHON, "main.py", "cancel-me-1f3b"),
                         .wall_ms = 300000,
                         .cancel_ms = 700});
    CHECK(o.took_ms < 60000);
    outcome_release(&o);
    o = run((struct job){.code = "print('next')"});
    CHECK_STR(text_of(&o.out), "next\n");
    outcome_release(&o);
    // The grep and its shell carry the word too, in one command line each.
    CHECK(count_processes("cancel-me-1f3[b]") <= 0);
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
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return false;
    return open_channel(fd);
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
    if (!CHECK(argc == 2 ? connect_agent(argv[1])
                         : open_channel(spawn_agent(argv[1], "--fd", SOCK_STREAM, argv[2]))))
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
