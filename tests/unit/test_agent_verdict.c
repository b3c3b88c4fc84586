// SPDX-License-Identifier: Apache-2.0
//
// What csb-agent says of how programs ended and what they used, and what it hands over of a compile
// step. Runs on this host: needs root and python3. Arguments: the agent, the directory of shims.
#include "agent_harness.h"

static const json_t *member(const struct outcome *o, const char *step, const char *key)
{
    const json_t *at = step == NULL ? o->result : json_object_get(o->result, step);

    return json_object_get(at, key);
}

static double cpu_ms(const struct outcome *o)
{
    const json_t *usage = member(o, NULL, "usage");

    return (double)(json_integer_value(json_object_get(usage, "cpu_user_ns")) +
                    json_integer_value(json_object_get(usage, "cpu_system_ns"))) /
           NS_PER_MS;
}

static long long used(const struct outcome *o, const char *key)
{
    return json_integer_value(json_object_get(member(o, NULL, "usage"), key));
}

// The limits hit, with a space after each.
static const char *hits(const struct outcome *o)
{
    static char text[256];
    size_t i;
    json_t *word;

    text[0] = '\0';
    json_array_foreach(json_object_get(o->result, "limits_hit"), i, word)
    {
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof(text) - len, "%s ", json_string_value(word));
    }
    return text;
}

static void check_end(struct outcome *o, const char *why, long long code, long long sig,
                      const char *limits)
{
    CHECK_STR(reason(o), why);
    CHECK_INT(number(o, "exit_code"), code);
    CHECK_INT(number(o, "signal"), sig);
    CHECK_STR(hits(o), limits);
    outcome_release(o);
}

static const char fill_code[] = "f = open('fill', 'wb', buffering=0)\n"
                                "while True: f.write(bytes(1 << 16))\n";

static void test_disk(void)
{
    struct outcome o = run((struct job){.code = fill_code, .disk = 4 * MIB});
    CHECK(strstr(text_of(&o.err), "No space left") != NULL);
    check_end(&o, "disk", 1, 0, "disk ");

    o = run((struct job){.code = "try:\n"
                                 "    f = open('/dev/shm/fill', 'wb', buffering=0)\n"
                                 "    while True: f.write(bytes(1 << 16))\n"
                                 "except OSError as e: print(e.errno)\n",
                         .disk = 4 * MIB});
    CHECK_STR(text_of(&o.out), "28\n");
    check_end(&o, "exit", 0, 0, "disk ");

    o = run((struct job){.code = "for i in range(100000): open(f'/tmp/{i}', 'w').close()\n",
                         .disk = 4 * MIB});
    check_end(&o, "disk", 1, 0, "disk ");

    o = run((struct job){.code = "import mmap\n"
                                 "f = open('map', 'w+b')\n"
                                 "f.truncate(16 << 20)\n"
                                 "m = mmap.mmap(f.fileno(), 0)\n"
                                 "for i in range(0, 16 << 20, 4096): m[i] = 1\n",
                         .disk = 4 * MIB});
    check_end(&o, "disk", -1, SIGBUS, "disk ");

    // What has room again is no reason.
    o = run((struct job){.code = "import os, sys\n"
                                 "try:\n"
                                 "    f = open('fill', 'wb', buffering=0)\n"
                                 "    while True: f.write(bytes(1 << 16))\n"
                                 "except OSError: pass\n"
                                 "f.close(); os.unlink('fill')\n"
                                 "sys.exit(3)\n",
                         .disk = 4 * MIB});
    check_end(&o, "exit", 3, 0, "");
}

static void test_processes(void)
{
    struct outcome o = run((struct job){.code = "import os, time\n"
                                                "while True:\n"
                                                "    if os.fork() == 0: time.sleep(600)\n",
                                        .processes = 20});
    long long peak = used(&o, "processes_peak");
    CHECK_MSG(peak == 20 || peak == 0, "a peak of 20 processes (%lld)", peak);
    check_end(&o, "processes", 1, 0, "processes ");

    o = run((struct job){.code = "import threading, time\n"
                                 "def f(): time.sleep(600)\n"
                                 "while True: threading.Thread(target=f, daemon=True).start()\n",
                         .processes = 10});
    check_end(&o, "processes", 1, 0, "processes ");

    o = run((struct job){.code = "import os, time\n"
                                 "try:\n"
                                 "    while True:\n"
                                 "        if os.fork() == 0: time.sleep(600)\n"
                                 "except BlockingIOError: pass\n",
                         .processes = 10});
    check_end(&o, "exit", 0, 0, "processes ");

    o = run((struct job){.code = "import os\n"
                                 "while True:\n"
                                 "    try: os.fork()\n"
                                 "    except OSError: pass\n",
                         .processes = 10,
                         .wall_ms = 3000});
    check_end(&o, "timeout", -1, 0, "timeout processes ");

    o = run((struct job){.code = "import os; os.wait() if os.fork() else None"});
    peak = used(&o, "processes_peak");
    CHECK_MSG(peak == 2 || peak == 0, "a peak of two processes (%lld)", peak);
    check_end(&o, "exit", 0, 0, "");
}

static void test_memory(void)
{
    struct outcome o = run((struct job){.code = "x = bytearray(512 << 20)", .memory = 64 * MIB});
    CHECK(used(&o, "memory_peak_bytes") > 32 * MIB && used(&o, "memory_peak_bytes") <= 64 * MIB);
    check_end(&o, "memory", -1, 0, "memory ");

    // Where groups are killed as one, its parent goes with the child.
    o = run((struct job){.code = "import os, sys\n"
                                 "pid = os.fork()\n"
                                 "if pid == 0: x = bytearray(512 << 20)\n"
                                 "_, status = os.waitpid(pid, 0)\n"
                                 "sys.exit(os.WTERMSIG(status))\n",
                         .memory = 64 * MIB});
    CHECK(number(&o, "exit_code") == SIGKILL || number(&o, "exit_code") == -1);
    CHECK_STR(reason(&o), "memory");
    CHECK_STR(hits(&o), "memory ");
    outcome_release(&o);

    // A limit of another kind comes too late to be blamed.
    o = run((struct job){.code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"});
    check_end(&o, "signal", -1, SIGKILL, "");
}

static void test_usage(void)
{
    struct outcome o =
        run((struct job){.code = "import time\n"
                                 "x = b'x' * (64 << 20)\n"
                                 "while time.process_time() < 0.3: sum(range(9999))\n"
                                 "time.sleep(0.3)\n"});
    CHECK_STR(reason(&o), "exit");
    CHECK_MSG(cpu_ms(&o) >= 290 && cpu_ms(&o) < 2000, "%.1f ms of CPU time", cpu_ms(&o));
    CHECK(used(&o, "cpu_user_ns") > 0);
    CHECK(used(&o, "wall_ns") >= 600 * (long long)NS_PER_MS);
    CHECK(used(&o, "memory_peak_bytes") > 64 * MIB);
    outcome_release(&o);

    // Nobody waits for these children: one ends by itself, one is killed with the jail.
    o = run((struct job){.code = "import os, time\n"
                                 "r, w = os.pipe()\n"
                                 "for stays in (0, 1):\n"
                                 "    if os.fork() == 0:\n"
                                 "        os.setsid()\n"
                                 "        while time.process_time() < 0.3: sum(range(9999))\n"
                                 "        os.write(w, b'x')\n"
                                 "        while stays: sum(range(9999))\n"
                                 "        os._exit(0)\n"
                                 "for i in range(2): os.read(r, 1)\n"});
    CHECK_STR(reason(&o), "exit");
    CHECK_MSG(cpu_ms(&o) >= 550, "the CPU time of children is counted: %.1f ms", cpu_ms(&o));
    outcome_release(&o);
}

// It keeps nothing of the program's open, minds no signal and has no parent.
static void test_daemon(void)
{
    struct outcome o =
        run((struct job){.code = "import os, signal, time\n"
                                 "if os.fork() == 0:\n"
                                 "    os.setsid()\n"
                                 "    if os.fork() != 0: os._exit(0)\n"
                                 "    for s in range(1, 65):\n"
                                 "        try: signal.signal(s, signal.SIG_IGN)\n"
                                 "        except (OSError, ValueError): pass\n"
                                 "    for fd in range(3): os.close(fd)\n"
                                 "    time.sleep(600)\n"
                                 "print('parent')\n",
                         .argv = json_pack("[s, s, s]", PYTHON, "main.py", "stay-5c2e")});
    CHECK_STR(text_of(&o.out), "parent\n");
    CHECK_MSG(o.took_ms < 60000, "the answer does not wait for it (%llu ms)",
              (unsigned long long)o.took_ms);
    check_end(&o, "exit", 0, 0, "");
    o = run((struct job){.code = "print('next')"});
    outcome_release(&o);
    CHECK_MSG(count_processes("stay-5c2[e]") <= 0, "and it is gone");
}

static json_t *shell(const char *script)
{
    return json_pack("[s, s, s]", "/bin/sh", "-c", script);
}

// The compile step is judged as the run is.
static void test_compile(void)
{
    struct outcome o = run((struct job){.code = "print('ran')", .compile = shell("echo 12345")});
    CHECK_STR(json_string_value(member(&o, "compile", "reason")), "exit");
    CHECK_INT(json_integer_value(member(&o, "compile", "stdout_bytes")), 6);
    CHECK_INT(json_array_size(member(&o, "compile", "limits_hit")), 0);
    CHECK(json_integer_value(json_object_get(member(&o, "compile", "usage"), "wall_ns")) > 0);
    CHECK_INT(number(&o, "stdout_bytes"), 4);
    CHECK_INT(number(&o, "artifact_bytes"), 0);
    outcome_release(&o);

    o = run((struct job){
        .code = fill_code, .compile = json_pack("[s, s]", PYTHON, "main.py"), .disk = 4 * MIB});
    CHECK_STR(json_string_value(member(&o, NULL, "phase")), "compile");
    CHECK_STR(json_string_value(member(&o, "compile", "reason")), "disk");
    check_end(&o, "disk", 1, 0, "disk ");

    o = run((struct job){.code = "", .compile = shell("sleep 60"), .wall_ms = 300});
    CHECK_STR(json_string_value(member(&o, NULL, "phase")), "compile");
    check_end(&o, "timeout", -1, 0, "timeout ");

    o = run((struct job){.code = "", .compile = shell("yes"), .output = 10000});
    CHECK_INT(o.compile.len, 10000);
    CHECK(json_is_true(member(&o, "compile", "truncated")));
    check_end(&o, "output_limit", -1, 0, "output_limit ");

    // Two limits, not one: the compiler's output leaves the program all of its own.
    o = run((struct job){
        .code = "print('x' * 9999)", .compile = shell("printf %9000d 1"), .output = 10000});
    CHECK_INT(o.compile.len, 9000);
    CHECK_INT(o.out.len, 10000);
    check_end(&o, "exit", 0, 0, "");
}

#define MAKE_MAIN "printf '#!/bin/sh\\necho made\\n' >main; chmod 755 main"

static struct outcome build(const char *script, const char *code, int max)
{
    return run((struct job){.code = code,
                            .compile = shell(script),
                            .artifact = "main",
                            .artifact_max = max,
                            .output = 16 * MIB});
}

static void test_artifact(void)
{
    struct outcome o = build(MAKE_MAIN, "print('ran')", 0);
    CHECK_STR(text_of(&o.artifact), "#!/bin/sh\necho made\n");
    CHECK_INT(number(&o, "artifact_bytes"), 20);
    CHECK_STR(text_of(&o.out), "ran\n");
    outcome_release(&o);

    // The run cannot change what is sent, whenever that is.
    o = build(MAKE_MAIN,
              "open('main', 'w').write('evil')\n"
              "import os; os.unlink('main'); open('main', 'w').write('evil')\n",
              0);
    CHECK_STR(text_of(&o.artifact), "#!/bin/sh\necho made\n");
    CHECK_STR(reason(&o), "exit");
    outcome_release(&o);

    // It can be larger than the stream's queue, and all of it comes, beside the output.
    o = build("head -c 5000000 /dev/zero >main",
              "for i in range(100): print('x' * 9999)\nimport sys; sys.exit(4)", 0);
    CHECK_INT(o.artifact.len, 5000000);
    CHECK_INT(number(&o, "artifact_bytes"), 5000000);
    CHECK_INT(o.out.len, 1000000);
    check_end(&o, "exit", 4, 0, "");

    static const char *const none[] = {
        "true",                                  // not made
        ": >main",                               // empty
        "ln -s /etc/passwd main",                // elsewhere
        "echo x >real; ln -s real main",         // even if here
        "mkfifo main",                           // never to be read
        "mkdir main",                            // no file
        "head -c 4097 /dev/zero >main",          // too large
        "ln -s /proc/self/environ main; exit 0", // the agent's
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        o = build(none[i], "print('ran')", 4096);
        CHECK_MSG(o.artifact.len == 0 && number(&o, "artifact_bytes") == 0 &&
                      strcmp(text_of(&o.out), "ran\n") == 0,
                  "nothing is sent after: %s", none[i]);
        outcome_release(&o);
    }
    o = build(MAKE_MAIN "; exit 1", "", 0);
    CHECK_INT(o.artifact.len, 0);
    outcome_release(&o);
    // Unasked, it is not sent.
    o = run((struct job){.code = "", .compile = shell(MAKE_MAIN)});
    CHECK_INT(o.artifact.len, 0);
    outcome_release(&o);
}

static void test_executable(void)
{
    struct outcome o = run((struct job){.code = "",
                                        .path2 = "main",
                                        .content2 = "#!/bin/sh\necho hit\n",
                                        .executable2 = true,
                                        .argv = json_pack("[s]", "/work/main")});
    CHECK_STR(text_of(&o.out), "hit\n");
    check_end(&o, "exit", 0, 0, "");
    o = run((struct job){.code = "import os; print(oct(os.stat('main').st_mode & 0o777))",
                         .path2 = "main",
                         .content2 = ""});
    CHECK_STR(text_of(&o.out), "0o644\n");
    outcome_release(&o);
}

// What is wrong is told in whole characters, however long its name.
static void test_message(void)
{
    for (int shift = 0; shift < 2; shift++) {
        char path[400] = "/no";

        for (int i = 0; i < 150; i++)
            memcpy(path + 2 + shift + 2 * i, "\xc3\xa9", 3);
        struct outcome o =
            run((struct job){.code = "", .compile = shell("true"), .argv = json_pack("[s]", path)});
        CHECK_STR(reason(&o), "internal");
        CHECK(json_string_length(member(&o, NULL, "message")) > 20);
        outcome_release(&o);
    }
}

int main(int argc, char **argv)
{
    int status = -1;

    if (argc != 3) {
        fprintf(stderr, "usage: test_agent_verdict AGENT SHIMS\n");
        return 2;
    }
    if (geteuid() != 0 || access(PYTHON, X_OK) != 0) {
        tap_skip("jail", "needs root and " PYTHON);
        return tap_done();
    }
    if (!CHECK(open_channel(spawn_agent(argv[1], "--fd", SOCK_STREAM, argv[2]))))
        return tap_done();
    test_disk();
    test_processes();
    test_memory();
    test_usage();
    test_daemon();
    test_compile();
    test_artifact();
    test_executable();
    test_message();
    channel_close(channel);
    channel_loop_free(loop);
    CHECK(waitpid(agent_pid, &status, 0) == agent_pid);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the agent ends with its peer");
    return tap_done();
}
