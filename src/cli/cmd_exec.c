// SPDX-License-Identifier: Apache-2.0
//
// csb sandbox exec and shell: a process in a sandbox, over process.Process of its data plane.
//
// How it works: the main thread reads the stream of what the process writes; a second one waits for
// signals, the window's size among them, a third for input, and each sends by calls of its own: one
// with input takes until the process has read it, which may be never. Signals are blocked in all
// and read from a descriptor. A terminal is raw while a shell runs, and made what it was before
// anything is printed.
#include "base/buf.h"
#include "base/fd.h"
#include "base/parse.h"
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "json/base64.h"
#include "json/utf8.h"

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

#define INPUT_BLOCK   65536
#define SIGNAL_CALL_S 10

// With --json: what it wrote, as the text that the API makes of bytes.
struct said {
    struct buf text;
    struct utf8_fix fix;
};

struct session {
    const char *who;
    struct box box;
    char timeout[48]; // a header
    bool shell;
    bool input; // standard input is the process's
    bool json;
    json_t *request;
    struct said out, err;
    atomic_int pid;   // 0: not started
    atomic_bool over; // nothing is to be sent any more
    int signals, started, stop;
    pthread_t threads[2];
    size_t thread_count;
    struct termios before;
    bool raw;
    int exit_code;
    bool finished;
    int write_error; // errno of what could not be passed on
};

// ---- what the process writes ----

static void take_output(struct session *s, const json_t *data, const char *key, int fd)
{
    const char *text = json_string_value(json_object_get(data, key));
    struct said *said = fd == STDERR_FILENO ? &s->err : &s->out;
    _cleanup_buf_ struct buf bytes = BUF_INIT;
    int r;

    if (text == NULL || base64_decode(text, strlen(text), &bytes) < 0)
        return;
    r = s->json ? utf8_fix_feed(&said->fix, bytes.data, bytes.len, &said->text)
                : fd_write_all(fd, bytes.data, bytes.len);
    if (r < 0)
        s->write_error = -r;
}

static json_t *said_value(struct said *said)
{
    (void)utf8_fix_end(&said->fix, &said->text);
    return out_string(said->text.data, said->text.len);
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
        (void)eventfd_write(s->started, 1);
    }
    take_output(s, data, "stdout", STDOUT_FILENO);
    take_output(s, data, "pty", STDOUT_FILENO);
    take_output(s, data, "stderr", STDERR_FILENO);
    if (end != NULL)
        take_end(s, end);
    return s->write_error;
}

// ---- what is sent to it ----

static json_t *selector(struct session *s)
{
    return json_pack("{s:{s:i}}", "process", "pid", atomic_load(&s->pid));
}

static void send_call(struct session *s, const struct box *box, const char *method, json_t *body)
{
    struct box_refusal quiet = {.quiet = true};

    (void)box_call(s->who, box, method, body, NULL, &quiet); // it may have ended
    json_decref(body);
}

static struct box box_for_signals(const struct session *s)
{
    struct box box = s->box;

    box.call_s = SIGNAL_CALL_S;
    return box;
}

static struct box box_for_input(const struct session *s)
{
    struct box box = s->box;

    box.cancel = &s->over;
    return box;
}

static void send_input(struct session *s, const void *data, size_t len)
{
    struct box box = box_for_input(s);
    _cleanup_buf_ struct buf text = BUF_INIT;
    json_t *body = selector(s);

    if (base64_encode(data, len, &text) == 0 && buf_cstr(&text) != NULL)
        (void)json_object_set_new(
            body, "input", json_pack("{s:s}", s->shell ? "pty" : "stdin", (const char *)text.data));
    send_call(s, &box, BOX_PROCESS "SendInput", body);
}

static json_t *window_size(void)
{
    struct winsize w = {.ws_row = 24, .ws_col = 80};

    (void)ioctl(STDIN_FILENO, TIOCGWINSZ, &w);
    return json_pack("{s:{s:i,s:i}}", "size", "cols", (int)w.ws_col, "rows", (int)w.ws_row);
}

static void send_signal(struct session *s, const char *name)
{
    struct box box = box_for_signals(s);
    json_t *body = selector(s);

    (void)json_object_set_new(body, "signal", json_string(name));
    send_call(s, &box, BOX_PROCESS "SendSignal", body);
}

static void send_size(struct session *s)
{
    struct box box = box_for_signals(s);
    json_t *body = selector(s);

    (void)json_object_set_new(body, "pty", window_size());
    send_call(s, &box, BOX_PROCESS "Update", body);
}

static void restore_terminal(struct session *s)
{
    if (s->raw)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &s->before);
}

// As if it had not been blocked.
static void die_of(struct session *s, int number)
{
    sigset_t set;

    restore_terminal(s);
    sigemptyset(&set);
    sigaddset(&set, number);
    (void)signal(number, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(number);
}

// `count`: which interrupt it is. The first one asks, the second does not, the third, and one
// before anything has started, is for csb itself.
static void take_signal(struct session *s, unsigned *count)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH) {
        if (s->shell && atomic_load(&s->pid) > 0)
            send_size(s);
        return;
    }
    if (atomic_load(&s->pid) == 0 || *count == 2)
        die_of(s, (int)info.ssi_signo);
    send_signal(s, (*count)++ == 0 ? "SIGNAL_SIGTERM" : "SIGNAL_SIGKILL");
}

static void *signals_main(void *arg)
{
    struct session *s = arg;
    unsigned count = 0;

    while (!atomic_load(&s->over)) {
        struct pollfd fds[] = {{.fd = s->stop, .events = POLLIN},
                               {.fd = s->signals, .events = POLLIN}};

        if (poll(fds, 2, -1) > 0 && fds[0].revents == 0)
            take_signal(s, &count);
    }
    return NULL;
}

// False at the end of input.
static bool take_input(struct session *s)
{
    struct box box = box_for_input(s);
    char data[INPUT_BLOCK];
    ssize_t n = read(STDIN_FILENO, data, sizeof(data));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n > 0) {
        send_input(s, data, (size_t)n);
        return true;
    }
    if (!s->shell)
        send_call(s, &box, BOX_PROCESS "CloseStdin", selector(s));
    return false;
}

static void *input_main(void *arg)
{
    struct session *s = arg;
    bool more = true;

    while (more && !atomic_load(&s->over)) {
        int source = atomic_load(&s->pid) > 0 ? STDIN_FILENO : s->started;
        struct pollfd fds[] = {{.fd = s->stop, .events = POLLIN}, {.fd = source, .events = POLLIN}};

        if (poll(fds, 2, -1) > 0 && fds[0].revents == 0 && source == STDIN_FILENO)
            more = take_input(s);
    }
    return NULL;
}

// ---- all of it ----

static int start_thread(struct session *s, void *(*main_of)(void *))
{
    if (pthread_create(&s->threads[s->thread_count], NULL, main_of, s) != 0)
        return CLI_EXIT_SERVICE;
    s->thread_count++;
    return 0;
}

static int begin(struct session *s)
{
    sigset_t set;

    s->stop = eventfd(0, EFD_CLOEXEC);
    s->started = eventfd(0, EFD_CLOEXEC);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGWINCH);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN); // the process is to hear of it first
    s->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (s->shell && tcgetattr(STDIN_FILENO, &s->before) == 0) {
        struct termios raw = s->before;

        cfmakeraw(&raw);
        s->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    if (s->stop < 0 || s->started < 0 || s->signals < 0 || start_thread(s, signals_main) != 0 ||
        (s->input && start_thread(s, input_main) != 0)) {
        out_error(s->who, "cannot begin: %s", strerror(errno));
        return CLI_EXIT_SERVICE;
    }
    return 0;
}

static void finish(struct session *s)
{
    atomic_store(&s->over, true);
    (void)eventfd_write(s->stop, 1);
    for (size_t i = 0; i < s->thread_count; i++)
        (void)pthread_join(s->threads[i], NULL);
    restore_terminal(s);
    fd_close(&s->stop);
    fd_close(&s->started);
    fd_close(&s->signals);
}

// Nobody reads what the process writes: it is ended, as by a pipe that broke.
static int not_passed_on(struct session *s)
{
    if (!s->finished)
        send_signal(s, "SIGNAL_SIGTERM");
    if (s->write_error == EPIPE)
        die_of(s, SIGPIPE);
    out_error(s->who, "standard output: %s", strerror(s->write_error));
    return CLI_EXIT_SERVICE;
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
    if (s->write_error != 0)
        return not_passed_on(s);
    if (r != 0)
        return r;
    if (!s->finished) {
        out_error(s->who, "the sandbox did not say how it ended");
        return CLI_EXIT_SERVICE;
    }
    if (s->json) {
        _cleanup_json_ json_t *said =
            json_pack("{s:o,s:o,s:i}", "stdout", said_value(&s->out), "stderr", said_value(&s->err),
                      "exitCode", s->exit_code);

        out_json(said);
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
        out_error(s->who, "'%s' is not NAME=VALUE", text);
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
        else if (c == 'j' && !s->shell) {
            s->json = true;
            out_json_errors();
        } else if (c == 't' && !s->shell && parse_u64(optarg, 1, 1000000, &seconds) == 0)
            (void)snprintf(s->timeout, sizeof(s->timeout), "Connect-Timeout-Ms: %llu000",
                           (unsigned long long)seconds);
        else if (c == 't' && !s->shell) {
            out_error(s->who, "--timeout takes a number of seconds above 0");
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
    r = parse_options(s, argc, argv, &user);
    if (r == 0 && (argc - optind < 1 || (!s->shell && argc - optind < 2)))
        r = usage(s);
    if (r == 0 && s->shell && isatty(STDIN_FILENO) != 1) {
        out_error(s->who, "standard input is no terminal; see `csb sandbox exec -i`");
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
    buf_release(&s->out.text);
    buf_release(&s->err.text);
    return r;
}

int cmd_sandbox_exec(int argc, char **argv)
{
    struct session s = {.who = "sandbox exec", .started = -1, .stop = -1, .signals = -1};

    return run_session(&s, argc, argv);
}

int cmd_sandbox_shell(int argc, char **argv)
{
    struct session s = {.who = "sandbox shell",
                        .shell = true,
                        .input = true,
                        .started = -1,
                        .stop = -1,
                        .signals = -1};

    return run_session(&s, argc, argv);
}
