// SPDX-License-Identifier: Apache-2.0
//
// csb sandbox exec and shell: a process in a sandbox, over process.Process of its data plane.
//
// How it works: the main thread reads the stream of what the process writes; a second one waits for
// input, signals and the window's size, and sends each by a call of its own. Signals are blocked in
// both and read from a descriptor. A terminal is raw while a shell runs, and made what it was
// before anything is printed.
#include "base/fd.h"
#include "base/parse.h"
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "json/base64.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define INPUT_BLOCK 16384

struct session {
    const char *who;
    struct box box;
    char timeout[48]; // a header
    bool shell;
    bool input; // standard input is the process's
    bool json;
    json_t *request;
    json_t *said;   // with --json: {"stdout", "stderr"}
    atomic_int pid; // 0: not started
    atomic_bool interrupted;
    int signals, stop;
    pthread_t thread;
    bool thread_runs;
    struct termios before;
    bool raw;
    int exit_code;
    bool finished;
};

// ---- what the process writes ----

static void take_output(struct session *s, const json_t *data, const char *key, int fd)
{
    const char *text = json_string_value(json_object_get(data, key));
    _cleanup_buf_ struct buf bytes = BUF_INIT;

    if (text == NULL || base64_decode(text, strlen(text), &bytes) < 0)
        return;
    if (s->json) {
        json_t *all = json_object_get(s->said, key);
        char *joined = NULL;

        if (buf_cstr(&bytes) != NULL &&
            asprintf(&joined, "%s%s", json_string_value(all) ?: "", (const char *)bytes.data) >= 0)
            (void)json_object_set_new(s->said, key, json_string(joined) ?: json_null());
        free(joined);
    } else {
        (void)fd_write_all(fd, bytes.data, bytes.len);
    }
}

static int signal_number(const char *status)
{
    static const char prefix[] = "signal: ";
    const char *name = strncmp(status, prefix, sizeof(prefix) - 1) == 0 ? status + 8 : "";

    for (int i = 1; i < NSIG; i++)
        if (sigdescr_np(i) != NULL && strcasecmp(sigdescr_np(i), name) == 0)
            return i;
    return SIGKILL;
}

static void take_end(struct session *s, const json_t *end)
{
    const char *status = json_string_value(json_object_get(end, "status")) ?: "";

    s->finished = true;
    s->exit_code = (int)json_integer_value(json_object_get(end, "exitCode"));
    if (!json_is_true(json_object_get(end, "exited")))
        s->exit_code = CLI_EXIT_SIGNAL + signal_number(status);
}

static int on_message(void *arg, const json_t *message)
{
    struct session *s = arg;
    json_t *event = json_object_get(message, "event");
    json_t *data = json_object_get(event, "data");
    json_t *end = json_object_get(event, "end");
    json_t *pid = json_object_get(json_object_get(event, "start"), "pid");

    if (pid != NULL) {
        atomic_store(&s->pid, (int)json_integer_value(pid));
        (void)eventfd_write(s->stop, 1); // input may be sent from now on
    }
    take_output(s, data, "stdout", STDOUT_FILENO);
    take_output(s, data, "pty", STDOUT_FILENO);
    take_output(s, data, "stderr", STDERR_FILENO);
    if (end != NULL)
        take_end(s, end);
    return 0;
}

// ---- what is sent to it ----

static json_t *selector(struct session *s)
{
    return json_pack("{s:{s:i}}", "process", "pid", atomic_load(&s->pid));
}

static void send_call(struct session *s, const char *method, json_t *body)
{
    struct box_refusal quiet = {.quiet = true};

    (void)box_call(s->who, &s->box, method, body, NULL, &quiet); // it may have ended
    json_decref(body);
}

static void send_input(struct session *s, const void *data, size_t len)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    json_t *body = selector(s);

    if (base64_encode(data, len, &text) == 0 && buf_cstr(&text) != NULL)
        (void)json_object_set_new(
            body, "input", json_pack("{s:s}", s->shell ? "pty" : "stdin", (const char *)text.data));
    send_call(s, BOX_PROCESS "SendInput", body);
}

static json_t *window_size(void)
{
    struct winsize w = {.ws_row = 24, .ws_col = 80};

    (void)ioctl(STDIN_FILENO, TIOCGWINSZ, &w);
    return json_pack("{s:{s:i,s:i}}", "size", "cols", (int)w.ws_col, "rows", (int)w.ws_row);
}

static void take_signal(struct session *s)
{
    struct signalfd_siginfo info;
    json_t *body;

    if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH && !s->shell)
        return;
    body = selector(s);
    if (info.ssi_signo == SIGWINCH) {
        (void)json_object_set_new(body, "pty", window_size());
        send_call(s, BOX_PROCESS "Update", body);
        return;
    }
    // The second one does not ask.
    (void)json_object_set_new(
        body, "signal",
        json_string(atomic_exchange(&s->interrupted, true) ? "SIGNAL_SIGKILL" : "SIGNAL_SIGTERM"));
    send_call(s, BOX_PROCESS "SendSignal", body);
}

// False at the end of input.
static bool take_input(struct session *s)
{
    char data[INPUT_BLOCK];
    ssize_t n = read(STDIN_FILENO, data, sizeof(data));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n > 0) {
        send_input(s, data, (size_t)n);
        return true;
    }
    if (!s->shell)
        send_call(s, BOX_PROCESS "CloseStdin", selector(s));
    return false;
}

static void *input_main(void *arg)
{
    struct session *s = arg;
    bool input = s->input;
    eventfd_t count;

    // Until it has started, and until it ended: both are told by the same descriptor.
    (void)eventfd_read(s->stop, &count);
    while (atomic_load(&s->pid) > 0) {
        struct pollfd fds[] = {{.fd = s->stop, .events = POLLIN},
                               {.fd = s->signals, .events = POLLIN},
                               {.fd = input ? STDIN_FILENO : -1, .events = POLLIN}};

        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents != 0)
            break;
        if (fds[1].revents != 0)
            take_signal(s);
        if (fds[2].revents != 0)
            input = take_input(s);
    }
    return NULL;
}

// ---- both ----

static int begin(struct session *s)
{
    sigset_t set;

    s->stop = eventfd(0, EFD_CLOEXEC);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGWINCH);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (s->stop < 0 || s->signals < 0 || pthread_create(&s->thread, NULL, input_main, s) != 0)
        return CLI_EXIT_SERVICE;
    s->thread_runs = true;
    if (s->shell && tcgetattr(STDIN_FILENO, &s->before) == 0) {
        struct termios raw = s->before;

        cfmakeraw(&raw);
        s->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    return 0;
}

static void finish(struct session *s)
{
    if (s->thread_runs) {
        atomic_store(&s->pid, 0);
        (void)eventfd_write(s->stop, 1);
        (void)pthread_join(s->thread, NULL);
    }
    if (s->raw)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &s->before);
    fd_close(&s->stop);
    fd_close(&s->signals);
}

static int run(struct session *s)
{
    size_t n = 0;
    int r = begin(s);

    while (s->box.lines[n] != NULL)
        n++;
    if (s->timeout[0] != '\0' && n < 4)
        s->box.lines[n] = s->timeout;
    if (r == 0)
        r = box_stream(s->who, &s->box, BOX_PROCESS "Start", s->request, on_message, s);
    finish(s);
    if (r != 0)
        return r;
    if (!s->finished) {
        (void)fprintf(stderr, "csb %s: the sandbox did not say how it ended\n", s->who);
        return CLI_EXIT_SERVICE;
    }
    if (s->json) {
        (void)json_object_set_new(s->said, "exitCode", json_integer(s->exit_code));
        out_json(s->said);
    }
    return s->exit_code;
}

// ---- options ----

static int usage(const struct session *s)
{
    const char *name = s->shell ? "shell" : "exec";

    for (const struct cli_command *c = sandbox_commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            (void)fprintf(stderr, "usage: csb sandbox %s %s\n", c->name, c->usage);
    return CLI_EXIT_USAGE;
}

static int add_env(const struct session *s, const char *text)
{
    json_t *envs = json_object_get(json_object_get(s->request, "process"), "envs");
    const char *eq = strchr(text, '=');
    char *name = eq == NULL ? NULL : strndup(text, (size_t)(eq - text));
    int r = name == NULL ? -1 : json_object_set_new(envs, name, json_string(eq + 1));

    free(name);
    if (r < 0)
        (void)fprintf(stderr, "csb %s: '%s' is not NAME=VALUE\n", s->who, text);
    return r < 0 ? CLI_EXIT_USAGE : 0;
}

static int parse_options(struct session *s, int argc, char **argv, const char **ret_user)
{
    static const struct option longs[] = {
        {"stdin", no_argument, NULL, 'i'},
        {"user", required_argument, NULL, 'u'},
        {"cwd", required_argument, NULL, 'C'},
        {"env", required_argument, NULL, 'e'},
        {"timeout", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    json_t *process = json_object_get(s->request, "process");
    uint64_t seconds = 0;
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, "+iu:C:e:t:", longs, NULL)) != -1) {
        if (c == 'i' && !s->shell)
            s->input = true;
        else if (c == 'u')
            *ret_user = optarg;
        else if (c == 'C')
            r = json_object_set_new(process, "cwd", json_string(optarg));
        else if (c == 'e')
            r = add_env(s, optarg);
        else if (c == 'j' && !s->shell)
            s->json = true;
        else if (c == 't' && !s->shell && parse_u64(optarg, 1, 1000000, &seconds) == 0)
            (void)snprintf(s->timeout, sizeof(s->timeout), "Connect-Timeout-Ms: %llu000",
                           (unsigned long long)seconds);
        else if (c == 't' && !s->shell) {
            (void)fprintf(stderr, "%s: --timeout takes a number of seconds above 0\n", argv[0]);
            r = CLI_EXIT_USAGE;
        } else
            r = usage(s);
    }
    return r;
}

// A login shell that becomes the command, so that it has the user's environment; for a shell
// without a command it stays.
static void set_command(struct session *s, int argc, char **argv)
{
    json_t *args = json_object_get(json_object_get(s->request, "process"), "args");

    if (s->shell)
        (void)json_array_append_new(args, json_string("-i"));
    (void)json_array_append_new(args, json_string("-l"));
    if (argc == 0)
        return;
    (void)json_array_append_new(args, json_string("-c"));
    (void)json_array_append_new(args, json_string("exec \"$@\""));
    (void)json_array_append_new(args, json_string("csb"));
    for (int i = 0; i < argc; i++)
        (void)json_array_append_new(args, json_string(argv[i]));
}

static int prepare_and_run(struct session *s, int argc, char **argv)
{
    const char *user = NULL;
    int r;

    s->request = json_pack("{s:{s:s,s:[],s:{}}}", "process", "cmd", "/bin/bash", "args", "envs");
    s->said = json_pack("{s:s,s:s}", "stdout", "", "stderr", "");
    r = parse_options(s, argc, argv, &user);
    if (r == 0 && (argc - optind < 1 || (!s->shell && argc - optind < 2)))
        r = usage(s);
    if (r == 0 && s->shell && isatty(STDIN_FILENO) != 1) {
        (void)fprintf(stderr, "csb %s: standard input is no terminal; see `csb sandbox exec -i`\n",
                      s->who);
        r = CLI_EXIT_USAGE;
    }
    if (r == 0)
        r = box_open(s->who, argv[optind], user, &s->box);
    if (r != 0)
        return r;
    set_command(s, argc - optind - 1, argv + optind + 1);
    if (s->shell) {
        (void)add_env(s, "LANG=C.UTF-8");
        (void)json_object_set_new(
            json_object_get(json_object_get(s->request, "process"), "envs"), "TERM",
            json_string(getenv("TERM") != NULL ? getenv("TERM") : "xterm-256color"));
        (void)json_object_set_new(s->request, "pty", window_size());
    } else {
        (void)json_object_set_new(s->request, "stdin", json_boolean(s->input));
    }
    return run(s);
}

static int run_session(struct session *s, int argc, char **argv)
{
    int r = prepare_and_run(s, argc, argv);

    json_decref(s->request);
    json_decref(s->said);
    return r;
}

int cmd_sandbox_exec(int argc, char **argv)
{
    struct session s = {.who = "sandbox exec", .stop = -1, .signals = -1};

    return run_session(&s, argc, argv);
}

int cmd_sandbox_shell(int argc, char **argv)
{
    struct session s = {
        .who = "sandbox shell", .shell = true, .input = true, .stop = -1, .signals = -1};

    return run_session(&s, argc, argv);
}
