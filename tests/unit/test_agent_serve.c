// SPDX-License-Identifier: Apache-2.0
//
// csb-agent --serve on this host: many sessions, forks of zygotes, and what is left when runs are
// over: nothing. Needs root and python3. Arguments: the agent, the directory that is /csb to it.
#include "agent_harness.h"

#include "agent/zygote.h"

#include <dirent.h>
#include <limits.h>

#define GROUPS_KEPT 32 // by the agent, for runs to come
#define ARGV        "[\"" PYTHON "\",\"main.py\"]"

static int control = -1;

static struct channel *new_session(void)
{
    char word = AGENT_CONTROL_SESSION;
    int fds[2];

    if (fd_socketpair(SOCK_STREAM, fds) < 0)
        return NULL;
    int rc = fd_send_msg(control, &word, 1, &fds[1], 1);
    fd_close(&fds[1]);
    if (rc < 0 || !open_channel(fds[0]))
        return NULL;
    return channel;
}

// What is told to end may take its time.
static bool goes(const char *needle)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    uint64_t end = clock_deadline_ms(DEADLINE_MS);

    while (count_processes(needle) > 0) {
        if (clock_mono_ns() > end)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static void test_sessions(void)
{
    struct channel *a = new_session();
    struct channel *b = new_session();
    struct job job = {.code = "import sys, time\n"
                              "time.sleep(float(sys.argv[1]))\n"
                              "print(sys.argv[2])\n",
                      .prepared = "py"};

    // Prepared interpreters are a session's own, of whatever name.
    channel = a;
    CHECK_INT(prepare("py", ARGV, 20000), 200);
    channel = b;
    CHECK_INT(prepare("py", ARGV, 20000), 200);

    // Two at once, one of which goes away: the other does not notice.
    job.args = json_pack("[s, s]", "600", "cut-off-7d1e");
    channel = a;
    struct going lost = begin(job);
    job.args = json_pack("[s, s]", "0.5", "b");
    channel = b;
    struct going kept = begin(job);
    channel_close(a);
    struct outcome o = finish(&kept);
    CHECK_STR(text_of(&o.out), "b\n");
    CHECK_STR(reason(&o), "exit");
    CHECK(o.took_ms >= 500);
    outcome_release(&o);
    o = finish(&lost);
    CHECK(o.result == NULL);
    outcome_release(&o);
    CHECK(goes("cut-off-7d1[e]"));
    channel_close(b);
}

// What a program that is one of many can tell about itself.
static const char facts[] = "import random, uuid, secrets, os, ssl\n"
                            "print(random.random(), uuid.uuid4(), secrets.token_hex(8),\n"
                            "      ssl.RAND_bytes(8).hex(), os.urandom(8).hex(), sep='\\n')\n";
static const char hash_code[] = "print(hash('constant'))\n";

static char *prepared_run(const char *code)
{
    if (prepare_as("z", ARGV, 20000, true) != 200)
        return strdup("(not prepared)");
    struct outcome o = run((struct job){.code = code, .prepared = "z"});
    char *text = strdup(text_of(&o.out));
    if (o.err.len > 0)
        printf("# %s\n", text_of(&o.err));
    outcome_release(&o);
    return text;
}

// The first ask has one started; soon it forks.
static bool await_zygote(void)
{
    for (int i = 0; i < 600; i++) {
        struct timespec pause = {.tv_nsec = 100000000};
        _cleanup_free_ char *a = prepared_run(hash_code);
        _cleanup_free_ char *b = prepared_run(hash_code);
        if (strcmp(a, b) == 0)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

#define FORKS 5

static void test_fork_values(void)
{
    char *values[FORKS][5];
    char *texts[FORKS];
    bool differ = true, whole = true;

    for (int i = 0; i < FORKS; i++) {
        texts[i] = prepared_run(facts);
        char *at = texts[i];
        for (int k = 0; k < 5; k++) {
            values[i][k] = at;
            at += strcspn(at, "\n");
            whole = whole && *at == '\n';
            if (*at != '\0')
                *at++ = '\0';
        }
    }
    for (int i = 0; i < FORKS; i++)
        for (int j = 0; j < i; j++)
            for (int k = 0; k < 5; k++)
                differ = differ && strcmp(values[i][k], values[j][k]) != 0;
    CHECK_MSG(whole, "forks tell random numbers of five kinds (%s)", values[0][0]);
    CHECK_MSG(differ, "and no two of them the same");
    for (int i = 0; i < FORKS; i++)
        free(texts[i]);
}

// What tells a fork of a zygote from a process that was executed: only what docs/RUNTIMES.md says.
static const char likeness[] =
    "import sys, os, signal\n"
    "mods = sorted(sys.modules)\n"
    "fds = sorted(os.listdir('/proc/self/fd'), key=int)[:-1]\n"
    "print(mods, fds)\n"
    "import threading, ctypes, resource, time, site\n"
    "print(sys.argv, sys.orig_argv, sys.path, sys.flags, __name__, __file__, sys.warnoptions)\n"
    "print(sorted(os.environ.items()), os.getcwd(), os.getuid(), os.getgid(), os.getgroups())\n"
    "print(os.getppid(), os.getpid(), os.getsid(0) == os.getpid(), os.umask(0))\n"
    "print([signal.getsignal(s) for s in (2, 13, 15, 25)], signal.pthread_sigmask(0, []))\n"
    "print([s.split()[1] for s in open('/proc/self/status') if s[:3] in ('Sig', 'Cap', 'NoN')])\n"
    "print([resource.getrlimit(i) for i in range(16)])\n"
    "print(sys.stdin.isatty(), sys.stdout.line_buffering, sys.stdin.seekable(), sys.stdin)\n"
    "print(sys.stdout, sys.stdout.seekable(), sys.stderr, site.USER_SITE, site.ENABLE_USER_SITE)\n"
    "print(open('/proc/self/cmdline').read(), open('/proc/self/comm').read(), sys.executable)\n"
    "print(threading.main_thread(), threading.current_thread().native_id == os.getpid())\n"
    "print(ctypes.CDLL(None).getpid() == os.getpid(), time.process_time() < 1)\n"
    "t = threading.Thread(target=lambda: print('thread'))\n"
    "t.start(); t.join()\n"
    "print(os.waitstatus_to_exitcode(os.system('exit 3')), "
    "open('/proc/self/oom_score_adj').read())\n"
    "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
    "except KeyboardInterrupt: print('interrupted')\n"
    "1 / 0\n";

static void test_likeness(void)
{
    CHECK_INT(prepare_as("z", ARGV, 20000, true), 200);
    struct outcome forked = run((struct job){.code = likeness, .prepared = "z"});
    CHECK_INT(prepare_as("z", ARGV, 20000, false), 200);
    struct outcome executed = run((struct job){.code = likeness, .prepared = "z"});

    CHECK_STR(text_of(&forked.out), text_of(&executed.out));
    CHECK_STR(text_of(&forked.err), text_of(&executed.err));
    CHECK(strstr(text_of(&forked.err), "ZeroDivisionError") != NULL);
    CHECK_INT(number(&forked, "exit_code"), 1);
    outcome_release(&forked);
    outcome_release(&executed);
}

// The text without the digits of addresses.
static char *plain(struct buf *b)
{
    char *text = strdup(text_of(b));
    char *to = text;

    for (const char *from = text; *from != '\0';) {
        *to++ = *from++;
        if (to - text >= 2 && to[-2] == '0' && to[-1] == 'x')
            from += strspn(from, "0123456789abcdef");
    }
    *to = '\0';
    return text;
}

static bool same_text(struct buf *a, struct buf *b)
{
    _cleanup_free_ char *x = plain(a);
    _cleanup_free_ char *y = plain(b);

    return strcmp(x, y) == 0;
}

// The end of a fork is cut short where nobody can tell.
static void test_fork_ends(void)
{
    static const char *const ends[] = {
        "print(1)",
        "import sys; print(1); sys.exit(3)",
        "import sys; sys.exit('a message')",
        "raise SystemExit",
        "import os; print(1, flush=True); os._exit(4)",
        "1 / 0",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "raise KeyboardInterrupt",
        "def f(:",
        "import os; os.close(1); print(1)",
        "import sys; sys.stdout.close()",
        "import sys; sys.stdout = None",
        "import sys, io; sys.stdout = io.TextIOWrapper(open('/dev/full', 'wb')); print(1)",
        "import sys; sys.stderr.write('no newline'); print('x', end='')",
        "class D:\n    def __del__(self): print('gone', flush=True)\nd = D()",
        "import sys, builtins\n"
        "class D:\n    def __del__(self): print('gone')\n"
        "d = D(); d.d = d; sys.d = D(); builtins.d = D()",
        "class D:\n    def __del__(self): 1 / 0\nd = D()",
        // What the interpreter does with modules, builtins and the collector on the way.
        "class D:\n    def __init__(self): self.d = self\n    def __del__(self): print('gone')\n"
        "import sys\nd = D(); sys.main = sys.modules['__main__']; _e = D()",
        "class D:\n    def __init__(self): self.d = self\n    def __del__(self): print('gone')\n"
        "import builtins\nreal = print\nbuiltins.print = lambda *a: real('mine', *a)\nd = D()",
        "import gc\ngc.callbacks.append(lambda phase, info: print(phase, info['generation']))",
        "class D:\n    def __del__(self):\n        import sys, shlex\nd = D()",
        "class D:\n    def __init__(self): self.d = self\n"
        "    def __del__(self):\n        import sys, shlex\nd = D()",
        "import sys\nclass D:\n    def __del__(self): print('gone')\nd = D()\n"
        "for n in list(sys.modules):\n    if n not in ('sys', '__main__'): del sys.modules[n]\n"
        "import json",
        "import sys\nsys.modules = dict(sys.modules)\nimport textwrap",
        "import sys; del sys.modules['__main__']",
        "import weakref\nclass D: pass\nd = D(); weakref.finalize(d, print, 'finalized')",
        "def g():\n    try: yield 1\n    finally: print('closed')\nx = g(); next(x)",
        "import sys; print(sys.path, sys.path_hooks, sys.path_importer_cache.get(__file__, 0))",
        "import atexit\natexit.register(print, 'last')\natexit.register(lambda: 1 / 0)",
        "import atexit, sys\natexit.register(sys.exit, 5)",
        "f = open('out', 'w'); f.write('x')\n"
        "import atexit; atexit.register(lambda: print(open('out').read() == ''))",
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(1)",
        "import os, sys\nif os.fork() == 0: "
        "sys.exit(6)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
        "import os\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])\nelse: print('child')",
        "import ctypes; ctypes.CDLL(None).printf(b'by libc')",
        "import json, re, collections\n"
        "class C(collections.OrderedDict): pass\nc = C(a=1); print(json.dumps(c))",
        "import subprocess; print(subprocess.run(['echo', 'x']).returncode)",
        "import concurrent.futures as c\n"
        "with c.ThreadPoolExecutor() as p: print(list(p.map(abs, [-1, 2])))",
        "import multiprocessing as m\n"
        "p = m.Process(target=print, args=('process',)); p.start(); p.join(); print(p.exitcode)",
        "import asyncio\nasync def f(): print('async')\nasyncio.run(f())",
        "import tempfile, logging\nt = tempfile.TemporaryDirectory()\nlogging.warning('careful')",
        "import sys; del __file__; print(sys.argv)",
    };

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (prepare_as("z", ARGV, 20000, true) != 200)
            CHECK(false);
        struct outcome forked = run((struct job){.code = ends[i], .prepared = "z"});
        struct outcome executed = run((struct job){.code = ends[i]});
        bool same = same_text(&forked.out, &executed.out) &&
                    same_text(&forked.err, &executed.err) &&
                    strcmp(reason(&forked), reason(&executed)) == 0 &&
                    number(&forked, "exit_code") == number(&executed, "exit_code") &&
                    number(&forked, "signal") == number(&executed, "signal");
        CHECK_MSG(same, "end %zu: %s %lld", i, reason(&executed), number(&executed, "exit_code"));
        if (!same)
            printf("# %s\n# forked: %s %lld %s %s\n# executed: %s %s\n", ends[i], reason(&forked),
                   number(&forked, "exit_code"), text_of(&forked.out), text_of(&forked.err),
                   text_of(&executed.out), text_of(&executed.err));
        outcome_release(&forked);
        outcome_release(&executed);
    }
}

static void test_fork_limits(void)
{
    CHECK_INT(prepare_as("z", ARGV, 20000, true), 200);
    struct outcome o = run((struct job){
        .code = "x = bytearray(512 * 1024 * 1024)", .prepared = "z", .memory = 64 * MIB});
    CHECK_STR(reason(&o), "memory");
    outcome_release(&o);

    CHECK_INT(prepare_as("z", ARGV, 20000, true), 200);
    o = run((struct job){.code = "while True: pass", .prepared = "z", .wall_ms = 1000});
    CHECK_STR(reason(&o), "timeout");
    outcome_release(&o);

    // Children are counted, and one that outlives its parent is not waited for.
    CHECK_INT(prepare_as("z", ARGV, 20000, true), 200);
    o = run((struct job){.code = "import os, time\n"
                                 "pid = os.fork()\n"
                                 "if pid == 0:\n"
                                 "    while time.process_time() < 0.3: pass\n"
                                 "    os._exit(0)\n"
                                 "os.waitpid(pid, 0)\n"
                                 "if os.fork() == 0:\n"
                                 "    os.setsid()\n"
                                 "    os.execv('/bin/sleep', ['sleep', '601.125'])\n"
                                 "print('parent')\n",
                         .prepared = "z"});
    CHECK_STR(reason(&o), "exit");
    CHECK_STR(text_of(&o.out), "parent\n");
    CHECK(o.took_ms < 60000);
    const json_t *usage = json_object_get(o.result, "usage");
    CHECK(json_integer_value(json_object_get(usage, "cpu_user_ns")) +
              json_integer_value(json_object_get(usage, "cpu_system_ns")) >
          290000000);
    outcome_release(&o);
    CHECK(goes("601.12[5]"));
}

// The seed is the zygote's; there is another after ZYGOTE_FORKS or ZYGOTE_AGE_MS, whichever is
// first.
static void test_replacement(void)
{
    _cleanup_free_ char *first = prepared_run(hash_code);
    uint64_t end = clock_deadline_ms(ZYGOTE_AGE_MS + DEADLINE_MS);
    int i = 0;
    bool same;

    do {
        _cleanup_free_ char *now = prepared_run(hash_code);
        same = strcmp(now, first) == 0;
    } while (++i < 2 * ZYGOTE_FORKS && same && clock_mono_ns() < end);
    CHECK_MSG(i > 1 && !same, "another hash seed after %d forks", i);
}

struct world {
    int processes, groups, mounts, spaces, descriptors;
};

static int count_entries(const char *path, const char *prefix)
{
    DIR *dir = opendir(path);
    int n = 0;

    if (dir == NULL)
        return 0;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return n;
}

static int count_lines(const char *path)
{
    _cleanup_free_ char *text = NULL;
    int n = 0;

    if (fd_read_file(AT_FDCWD, path, 1 << 20, &text, NULL) < 0)
        return -1;
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        n++;
    return n;
}

static int count_children(void)
{
    char path[64];
    _cleanup_free_ char *text = NULL;
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)agent_pid, (int)agent_pid);
    if (fd_read_file(AT_FDCWD, path, 1 << 20, &text, NULL) < 0)
        return -1;
    for (const char *p = text; (p = strchr(p, ' ')) != NULL; p++)
        n++;
    return n;
}

static struct world look(void)
{
    struct world w = {.processes = count_children()};
    char path[128];

    snprintf(path, sizeof(path), "/sys/fs/cgroup/memory/csb-agent.%d", (int)agent_pid);
    w.groups = count_entries(path, "step-");
    snprintf(path, sizeof(path), "/run/csb-agent.%d", (int)agent_pid);
    w.spaces = count_entries(path, "");
    snprintf(path, sizeof(path), "/proc/%d/mounts", (int)agent_pid);
    w.mounts = count_lines(path);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)agent_pid);
    w.descriptors = count_entries(path, "");
    return w;
}

// Looks until nothing is on its way out any more, and there are no more mounts than these.
static struct world settled(int mounts)
{
    struct world w = look();

    for (int i = 0; i < 3000 && (w.processes > 1 || w.spaces > 0 || w.mounts > mounts); i++) {
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
        w = look();
    }
    return w;
}

static void test_nothing_left(void)
{
    // One warm zygote, all else at rest.
    CHECK(await_zygote());
    struct world before = settled(INT_MAX);

    for (int i = 0; i < 100; i++) {
        // Half of them use the network, which makes their namespaces unfit for others.
        const char *code = i % 2 == 0 ? "print(1)"
                                      : "import socket\n"
                                        "s = socket.create_server(('127.0.0.1', 8080))\n"
                                        "c = socket.create_connection(('127.0.0.1', 8080))\n"
                                        "c.close()\n"
                                        "print(open('/proc/net/dev').read().split()[20] == '0')\n";
        if (prepare_as("z", ARGV, 20000, i % 3 != 0) != 200)
            CHECK(false);
        struct outcome o = run((struct job){.code = code, .prepared = "z"});
        if (strcmp(text_of(&o.out), i % 2 == 0 ? "1\n" : "False\n") != 0)
            CHECK_STR(text_of(&o.out), i % 2 == 0 ? "1\n" : "False\n");
        outcome_release(&o);
    }
    struct world after = settled(before.mounts);
    CHECK_INT(after.processes, before.processes);
    CHECK(after.groups <= GROUPS_KEPT);
    CHECK_INT(after.spaces, 0);
    // Mounts of others on this host come and go in its sight.
    CHECK_MSG(after.mounts <= before.mounts, "mounts: %d, before %d", after.mounts, before.mounts);
    // A kept group has up to five.
    CHECK_MSG(after.descriptors - 5 * after.groups <= before.descriptors + 5 &&
                  after.descriptors >= before.descriptors - 5 - 5 * before.groups,
              "descriptors: %d, before %d", after.descriptors, before.descriptors);
}

static pid_t find_zygote(void)
{
    char path[64];
    _cleanup_free_ char *children = NULL;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)agent_pid, (int)agent_pid);
    if (fd_read_file(AT_FDCWD, path, 1 << 20, &children, NULL) < 0)
        return -1;
    for (char *p = children; *p != '\0';) {
        _cleanup_free_ char *name = NULL;
        long pid = strtol(p, &p, 10);
        p += *p == ' ';
        snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
        if (fd_read_file(AT_FDCWD, path, 64, &name, NULL) == 0 && strcmp(name, "python3\n") == 0)
            return (pid_t)pid;
    }
    return -1;
}

// A zygote that is killed, or does not answer, fails no request.
static void test_zygote_lost(void)
{
    pid_t pid = find_zygote();

    CHECK(pid > 0 && kill(pid, SIGKILL) == 0);
    for (int i = 0; i < 3; i++) {
        _cleanup_free_ char *text = prepared_run("print('still here')");
        CHECK_STR(text, "still here\n");
    }
    CHECK_MSG(await_zygote(), "there is another zygote");
}

// A run finds its network as no run has ever been there, and no one else's user id.
static void test_slots(void)
{
    static const char look_code[] =
        "import socket, os, time\n"
        "print([l.split()[1:3] for l in open('/proc/net/dev').readlines()[2:]])\n"
        "print(open('/proc/net/unix').read().count('\\n'), "
        "open('/proc/net/tcp').read().count('\\n'))\n"
        "print(open('/proc/self/uid_map').read().split()[1])\n"
        "s = socket.socket(socket.AF_UNIX); s.bind('\\0name')\n"
        "t = socket.create_server(('127.0.0.1', 80 if os.getuid() == 0 else 8080))\n"
        "c = socket.create_connection(t.getsockname()); t.accept()[0].close(); c.close()\n"
        "time.sleep(0.05)\n";
    _cleanup_free_ char *first = prepared_run(look_code);
    _cleanup_free_ char *second = prepared_run(look_code);
    const char *uid1 = strrchr(first, ' '), *uid2 = strrchr(second, ' ');

    CHECK(strncmp(first, "[['0', '0']]\n1 1\n", 17) == 0);
    CHECK(strncmp(second, "[['0', '0']]\n1 1\n", 17) == 0);
    CHECK(uid1 != NULL && uid2 != NULL);
    CHECK_MSG(strcmp(first, second) != 0, "and each has a user id of its own");
}

// The end of the control socket ends the agent, whatever runs.
static void test_end(void)
{
    int status = -1;

    CHECK(new_session() != NULL);
    struct going g = begin((struct job){.code = "import time; time.sleep(600)", .wall_ms = 300000});
    uint64_t start = clock_mono_ns();
    fd_close(&control);
    CHECK(waitpid(agent_pid, &status, 0) == agent_pid);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the agent ends with its host");
    CHECK(clock_mono_ns() - start < 60 * NS_PER_S);
    struct outcome o = finish(&g);
    CHECK(o.result == NULL);
    outcome_release(&o);
    struct world w = look();
    CHECK(w.groups == 0 && w.spaces == 0);
    channel_close(channel);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: test_agent_serve AGENT SHIMS\n");
        return 2;
    }
    if (geteuid() != 0 || access(PYTHON, X_OK) != 0) {
        tap_skip("jail", "needs root and " PYTHON);
        return tap_done();
    }
    // Relative to the build's directory when the build runs this.
    char *shims = realpath(argv[2], NULL);
    if (!CHECK(shims != NULL))
        return tap_done();
    control = spawn_agent(argv[1], "--serve", SOCK_SEQPACKET, shims);
    free(shims);
    if (!CHECK(control >= 0))
        return tap_done();
    test_sessions();
    struct channel *session = new_session();
    if (access("/work", X_OK) < 0)
        tap_skip("jail", "a zygote needs the directory /work");
    else if (CHECK(session != NULL) && CHECK_MSG(await_zygote(), "there is a zygote")) {
        test_fork_values();
        test_likeness();
        test_fork_ends();
        test_fork_limits();
        test_slots();
        test_nothing_left();
        test_replacement();
        test_zygote_lost();
    }
    channel_close(session);
    test_end();
    channel_loop_free(loop);
    return tap_done();
}
