// SPDX-License-Identifier: Apache-2.0
//
// csb job: programs that the service queues, runs when there is room, and whose results it keeps.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/result.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHO           "job"
#define FILE_MAX      (8u << 20)
#define TOKEN_MAX     64 // bytes of the place of a page, the NUL among them
#define POLL_FIRST_MS 50
#define POLL_MAX_MS   2000

static int complain(const char *what)
{
    out_error(WHO, "%s", what);
    return CLI_EXIT_USAGE;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text == NULL ? "" : text;
}

// Putting one.

struct submit {
    json_t *body;
    bool wait;
    bool json;
};

static int read_file(const char *path, struct buf *ret)
{
    _cleanup_fd_ int opened = -1;
    int fd = STDIN_FILENO;
    int r;

    if (strcmp(path, "-") != 0)
        fd = opened = open(path, O_RDONLY | O_CLOEXEC);
    r = fd < 0 ? -errno : fd_read_to_buf(fd, ret);
    if (r == 0)
        return 0;
    out_error(WHO, "%s: %s", path, strerror(-r));
    return CLI_EXIT_USAGE;
}

// The language that has this file's extension.
static int add_language(json_t *body, const char *file)
{
    const char *dot = strrchr(file, '.');
    _cleanup_json_ json_t *answer = NULL;
    json_t *rt;
    size_t i;
    int r;

    if (json_object_get(body, "language") != NULL)
        return 0;
    r = dot == NULL ? 0 : box_service(WHO, "GET", "/languages", NULL, &answer);
    if (r != 0)
        return r;
    json_array_foreach(json_object_get(answer, "runtimes"), i, rt)
    {
        if (strcmp(text_of(rt, "extension"), dot + 1) == 0)
            return json_object_set_new(body, "language", json_string(text_of(rt, "id")));
    }
    return complain("which language? Name it with --language");
}

static int add_number(json_t *body, const char *key, const char *text, uint64_t max)
{
    uint64_t n;

    if (parse_u64(text, 0, max, &n) < 0) {
        out_error(WHO, "'%.40s' is no number for %s", text, key);
        return CLI_EXIT_USAGE;
    }
    return json_object_set_new(body, key, json_integer((json_int_t)n));
}

static int parse_submit(int argc, char **argv, struct submit *s)
{
    static const struct option longs[] = {
        {"language", required_argument, NULL, 'l'},
        {"timeout", required_argument, NULL, 't'},
        {"priority", required_argument, NULL, 'p'},
        {"attempts", required_argument, NULL, 'a'},
        {"key", required_argument, NULL, 'k'},
        {"callback", required_argument, NULL, 'c'},
        {"wait", no_argument, NULL, 'w'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, "+l:t:p:a:k:c:w", longs, NULL)) != -1) {
        if (c == 'l')
            r = json_object_set_new(s->body, "language", json_string(optarg));
        else if (c == 't')
            r = add_number(s->body, "timeout", optarg, INT32_MAX);
        else if (c == 'p')
            r = add_number(s->body, "priority", optarg, INT32_MAX);
        else if (c == 'a')
            r = add_number(s->body, "max_attempts", optarg, INT32_MAX);
        else if (c == 'k')
            r = json_object_set_new(s->body, "idempotency_key", json_string(optarg));
        else if (c == 'c')
            r = json_object_set_new(s->body, "callback_url", json_string(optarg));
        else if (c == 'w')
            s->wait = true;
        else if (c == 'j') {
            s->json = true;
            out_json_errors();
        } else
            r = CLI_EXIT_USAGE;
    }
    if (r == 0 && optind >= argc)
        r = complain("which file? (- is standard input)");
    return r < 0 ? complain("options take UTF-8 text") : r;
}

// The file and the program's arguments.
static int add_program(json_t *body, char **argv)
{
    _cleanup_buf_ struct buf code = BUF_CAPPED(FILE_MAX);
    int r = add_language(body, argv[0]);
    json_t *args;

    if (r != 0)
        return r;
    r = read_file(argv[0], &code);
    if (r != 0)
        return r;
    if (json_object_set_new(body, "code", out_string(code.data, code.len)) < 0)
        return complain("the program is not UTF-8 text");
    args = json_array();
    for (char **a = argv + 1; *a != NULL; a++)
        r = json_array_append_new(args, json_string(*a)) < 0 ? -1 : r;
    (void)json_object_set_new(body, "args", args);
    return r < 0 ? complain("arguments must be UTF-8 text") : 0;
}

static int job_path(const char *id, char *ret, size_t size)
{
    if (!parse_is_name(id, 40)) {
        out_error(WHO, "'%.60s' is not an id", id);
        return CLI_EXIT_USAGE;
    }
    (void)snprintf(ret, size, "/jobs/%s", id);
    return 0;
}

// Telling.

static bool is_over(const json_t *job)
{
    const char *state = text_of(job, "state");

    return strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
}

// As the program exited; what is none of the program's is the service's.
static int exit_code(const json_t *job)
{
    const json_t *result = json_object_get(job, "result");

    return json_is_object(result) ? result_exit_code(result) : CLI_EXIT_SERVICE;
}

// The program's output as it is; of all else nothing that a terminal would take for more than text.
static void print_job(const json_t *whole)
{
    _cleanup_json_ json_t *job = out_plain(whole);
    const json_t *result = json_object_get(whole, "result");
    const json_t *error = json_object_get(job, "error");
    const json_t *callback = json_object_get(job, "callback");

    (void)fprintf(stderr, "%s %s, begun %lld of %lld times\n", text_of(job, "id"),
                  text_of(job, "state"), json_integer_value(json_object_get(job, "attempts")),
                  json_integer_value(json_object_get(job, "max_attempts")));
    if (json_is_object(callback))
        (void)fprintf(stderr, "callback %s %s\n", text_of(callback, "state"),
                      text_of(callback, "last_error"));
    if (json_is_object(error))
        (void)fprintf(stderr, "%s\n", text_of(error, "message"));
    if (json_is_object(result))
        (void)fwrite(text_of(result, "output"), 1,
                     json_string_length(json_object_get(result, "output")), stdout);
}

static int show(const char *id, bool json, json_t **ret)
{
    char path[64];
    int r = job_path(id, path, sizeof(path));

    if (r == 0)
        r = box_service(WHO, "GET", path, NULL, ret);
    if (r == 0 && json)
        out_json(*ret);
    else if (r == 0)
        print_job(*ret);
    return r;
}

// Asks now and then, less often the longer it takes. `deadline_ns`: of the waiting alone.
static int wait_for(const char *id, uint64_t deadline_ns, bool json)
{
    uint64_t ms = POLL_FIRST_MS;
    char path[64];
    int r = job_path(id, path, sizeof(path));

    while (r == 0) {
        _cleanup_json_ json_t *job = NULL;
        struct timespec pause = clock_to_timespec(ms * NS_PER_MS);

        r = box_service(WHO, "GET", path, NULL, &job);
        if (r == 0 && is_over(job)) {
            if (json)
                out_json(job);
            else
                print_job(job);
            return exit_code(job);
        }
        if (r == 0 && clock_mono_ns() >= deadline_ns) {
            out_error(WHO, "%s is %s", id, text_of(job, "state"));
            return CLI_EXIT_TIMEOUT;
        }
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        ms = ms * 3 / 2 < POLL_MAX_MS ? ms * 3 / 2 : POLL_MAX_MS;
    }
    return r;
}

// The commands.

static int cmd_submit(int argc, char **argv)
{
    _cleanup_json_ json_t *body = json_object();
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_json_ json_t *plain = NULL;
    struct submit s = {.body = body};
    int r = parse_submit(argc, argv, &s);

    if (r == 0)
        r = add_program(body, argv + optind);
    if (r == 0)
        r = box_service(WHO, "POST", "/jobs", body, &answer);
    if (r != 0)
        return r;
    plain = out_plain(answer);
    if (s.wait)
        return wait_for(text_of(answer, "id"), CLOCK_NEVER, s.json);
    if (s.json)
        out_json(answer);
    else
        printf("%s\n", text_of(plain, "id"));
    return 0;
}

// --json, --state and --timeout, as far as the command has them.
struct asked {
    bool json;
    const char *state;
    uint64_t deadline_ns;
};

static int parse_asked(int argc, char **argv, const char *shorts, struct asked *ret)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'},
        {"state", required_argument, NULL, 's'},
        {"timeout", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    uint64_t seconds;
    int c;

    *ret = (struct asked){.deadline_ns = CLOCK_NEVER};
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == 'j') {
            ret->json = true;
            out_json_errors();
        } else if (c == 's' && strchr(shorts, 's') != NULL && parse_is_name(optarg, 20))
            ret->state = optarg;
        else if (c == 't' && strchr(shorts, 't') != NULL &&
                 parse_u64(optarg, 0, INT32_MAX, &seconds) == 0)
            ret->deadline_ns = clock_deadline_ms(seconds * 1000);
        else if (c == 't' && strchr(shorts, 't') != NULL)
            return complain("--timeout takes a number of seconds");
        else if (c == '?')
            return CLI_EXIT_USAGE; // getopt() has said why
        else
            return complain("this option is not taken here");
    }
    return 0;
}

static int cmd_get(int argc, char **argv)
{
    _cleanup_json_ json_t *job = NULL;
    struct asked asked;

    if (parse_asked(argc, argv, "j", &asked) != 0)
        return CLI_EXIT_USAGE;
    return optind + 1 == argc ? show(argv[optind], asked.json, &job) : complain("which job?");
}

static int cmd_wait(int argc, char **argv)
{
    struct asked asked;

    if (parse_asked(argc, argv, "jt:", &asked) != 0)
        return CLI_EXIT_USAGE;
    return optind + 1 == argc ? wait_for(argv[optind], asked.deadline_ns, asked.json)
                              : complain("which job?");
}

static void print_listed(const json_t *listed)
{
    _cleanup_json_ json_t *jobs = out_plain(listed);
    json_t *o;
    size_t i;

    json_array_foreach(jobs, i, o)
    {
        printf("%s  %-12s %-12s priority %lld  begun %lld/%lld  %s\n", text_of(o, "id"),
               text_of(o, "state"), text_of(o, "language"),
               json_integer_value(json_object_get(o, "priority")),
               json_integer_value(json_object_get(o, "attempts")),
               json_integer_value(json_object_get(o, "max_attempts")), text_of(o, "created_at"));
    }
}

// All pages; as JSON, one array.
static int cmd_list(int argc, char **argv)
{
    _cleanup_json_ json_t *all = json_array();
    char after[TOKEN_MAX] = "";
    struct asked asked;
    bool more = true;

    if (parse_asked(argc, argv, "js:", &asked) != 0 || optind != argc)
        return CLI_EXIT_USAGE;
    while (more) {
        _cleanup_json_ json_t *page = NULL;
        char path[160];
        int r;

        (void)snprintf(path, sizeof(path), "/jobs?limit=100%s%s%s%s",
                       asked.state == NULL ? "" : "&state=", asked.state == NULL ? "" : asked.state,
                       after[0] == '\0' ? "" : "&after=", after);
        r = box_service(WHO, "GET", path, NULL, &page);
        if (r != 0)
            return r;
        if (asked.json)
            (void)json_array_extend(all, json_object_get(page, "jobs"));
        else
            print_listed(json_object_get(page, "jobs"));
        (void)snprintf(after, sizeof(after), "%s", text_of(page, "next"));
        more = parse_is_name(after, sizeof(after) - 1);
    }
    if (asked.json)
        out_json(all);
    return 0;
}

static int cmd_cancel(int argc, char **argv)
{
    struct asked a;
    int r = parse_asked(argc, argv, "", &a);

    if (r == 0 && optind == argc)
        r = complain("which job?");
    for (int i = optind; (r == 0 || i > optind) && i < argc; i++) {
        _cleanup_json_ json_t *job = NULL;
        char path[64];
        int one = job_path(argv[i], path, sizeof(path));

        if (one == 0)
            one = box_service(WHO, "DELETE", path, NULL, &job);
        if (one == 0 && a.json)
            out_json(job);
        r = one != 0 ? one : r;
    }
    return r;
}

const struct cli_command job_commands[] = {
    {"submit",
     "[-l LANGUAGE] [-t SECONDS] [-p PRIORITY] [-a ATTEMPTS] [-k KEY] [-c URL] [-w] [--json]"
     " FILE|- [ARGUMENT...]",
     "put a program into the queue; prints its id", cmd_submit,
     "--language --timeout --priority --attempts --key --callback --wait --json"},
    {"get", "[--json] ID", "tell about a job, with what its program wrote", cmd_get, "--json"},
    {"list", "[-s STATE] [--json]", "one's own jobs, newest first", cmd_list, "--state --json"},
    {"cancel", "[--json] ID...", "cancel jobs", cmd_cancel, "--json"},
    {"wait", "[-t SECONDS] [--json] ID", "wait until a job is over; exits as its program did",
     cmd_wait, "--timeout --json"},
    {0},
};

int cmd_job(int argc, char **argv)
{
    return cli_run_sub(WHO, job_commands, argc, argv);
}
