// SPDX-License-Identifier: Apache-2.0
//
// csb run: sends a file to POST /execute, streams what it writes, exits as it exits.
#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/out.h"
#include "cli/result.h"
#include "cli/sse.h"
#include "json/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX (8u << 20)

struct options {
    const char *language; // NULL: by the file's extension
    const char *file;
    char **args;
    double timeout; // 0: the service's default
    json_t *env;
    json_t *files;
    bool json; // the answer as it is, not what the program wrote
};

struct outcome {
    int exit_code;
    int finished;
};

static int complain(const char *what)
{
    out_error("run", "%s", what);
    return CLI_EXIT_USAGE;
}

static int read_path(const char *path, struct buf *ret)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : fd_read_to_buf(fd, ret);

    if (r < 0)
        out_error("run", "%s: %s", path, strerror(-r));
    return r;
}

// Text as it is, other bytes as base64: the form that /execute takes for files and stdin.
static json_t *content_value(const struct buf *b)
{
    json_t *text = out_string(b->data, b->len);
    struct buf out = BUF_INIT;
    json_t *value;

    if (text != NULL)
        return text;
    if (base64_encode(b->data, b->len, &out) < 0)
        return NULL;
    value =
        json_pack("{s:s#,s:s}", "content", (const char *)out.data, out.len, "encoding", "base64");
    buf_release(&out);
    return value;
}

// Asks the service which language has this extension.
static int find_language(const char *file, char *ret, size_t size)
{
    const char *dot = strrchr(file, '.');
    _cleanup_buf_ struct buf answer = BUF_INIT;
    _cleanup_json_ json_t *o = NULL;
    struct err err = ERR_INIT;
    json_error_t jerr;
    long status = 0;
    size_t i;
    json_t *rt;

    if (dot == NULL || dot[1] == '\0')
        return complain("the file has no extension; name the language with --language");
    if (client_call(
            &(struct client_request){.method = "GET", .path = "/languages", .timeout_s = 10},
            &status, &answer, &err) < 0) {
        out_error("run", "%s", err.message);
        return CLI_EXIT_SERVICE;
    }
    o = json_loadb((const char *)answer.data, answer.len, 0, &jerr);
    if (status != 200) {
        out_refusal("run", o, "the service answers strangely");
        return CLI_EXIT_SERVICE;
    }
    json_array_foreach(json_object_get(o, "runtimes"), i, rt)
    {
        const char *ext = json_string_value(json_object_get(rt, "extension"));
        const char *id = json_string_value(json_object_get(rt, "id"));

        if (ext != NULL && id != NULL && strcmp(ext, dot + 1) == 0) {
            (void)snprintf(ret, size, "%s", id);
            return 0;
        }
    }
    return complain("no language has this extension; name it with --language");
}

static int add_env(struct options *o, const char *text)
{
    const char *eq = strchr(text, '=');
    char key[256];

    if (eq == NULL || eq == text || (size_t)(eq - text) >= sizeof(key))
        return complain("--env takes NAME=VALUE");
    memcpy(key, text, (size_t)(eq - text));
    key[eq - text] = '\0';
    return json_object_set_new(o->env, key, json_string(eq + 1)) == 0
               ? 0
               : complain("--env takes UTF-8 text");
}

static int add_file(struct options *o, const char *path)
{
    _cleanup_buf_ struct buf b = BUF_CAPPED(FILE_BYTES_MAX);

    if (read_path(path, &b) < 0)
        return CLI_EXIT_USAGE;
    return json_object_set_new(o->files, path, content_value(&b)) == 0
               ? 0
               : complain("file names must be UTF-8");
}

static void print_usage(void)
{
    printf(
        "usage: csb run [options] FILE [ARGUMENT...]\n\n"
        "  -l, --language ID    language; by default that of the file's extension\n"
        "  -t, --timeout SECS   wall-clock limit\n"
        "  -e, --env NAME=VALUE set a variable; may be repeated\n"
        "  -f, --file PATH      send a further file, under the same relative path\n"
        "      --json           print the service's answer, when the program has ended\n\n"
        "FILE may be - for standard input. Otherwise standard input goes to the program, unless\n"
        "it is a terminal. The exit code is the program's; 128+N when signal N killed it, 124\n"
        "when it ran out of time, 125 when the service failed.\n");
}

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"language", required_argument, NULL, 'l'},
        {"timeout", required_argument, NULL, 't'},
        {"env", required_argument, NULL, 'e'},
        {"file", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    int c;
    int r = 0;
    char *end;

    while (r == 0 && (c = getopt_long(argc, argv, "+l:t:e:f:h", longs, NULL)) != -1) {
        switch (c) {
        case 'l':
            o->language = optarg;
            break;
        case 't':
            o->timeout = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !(o->timeout > 0))
                r = complain("--timeout takes a number of seconds above 0");
            break;
        case 'e':
            r = add_env(o, optarg);
            break;
        case 'f':
            r = add_file(o, optarg);
            break;
        case 'j':
            o->json = true;
            out_json_errors();
            break;
        case 'h':
            print_usage();
            exit(0);
        default:
            r = CLI_EXIT_USAGE;
        }
    }
    if (r == 0 && optind >= argc)
        r = complain("which file? Try 'csb run --help'");
    if (r == 0) {
        o->file = argv[optind];
        o->args = argv + optind + 1;
    }
    return r;
}

static int read_program(const char *file, struct buf *ret)
{
    int r;

    if (strcmp(file, "-") != 0)
        return read_path(file, ret);
    r = fd_read_to_buf(STDIN_FILENO, ret);
    if (r < 0)
        out_error("run", "standard input: %s", strerror(-r));
    return r;
}

// What the program is to have as its standard input, which is none where that is a terminal, or
// closed.
static int read_input(const struct options *o, struct buf *ret)
{
    int r;

    if (strcmp(o->file, "-") == 0 || isatty(STDIN_FILENO) == 1)
        return 0;
    r = fd_read_to_buf(STDIN_FILENO, ret);
    if (r == 0 || r == -EBADF)
        return 0;
    out_error("run", "standard input: %s", strerror(-r));
    return -1;
}

static json_t *make_request(const struct options *o, const char *language, const struct buf *code,
                            const struct buf *input)
{
    json_t *args = json_array();
    json_t *text = out_string(code->data, code->len);
    json_t *req;

    for (char **a = o->args; *a != NULL; a++)
        json_array_append_new(args, json_string(*a));
    req = json_pack("{s:s,s:o*,s:o,s:O,s:O}", "language", language, "code", text, "args", args,
                    "env", o->env, "files", o->files);
    if (req == NULL || text == NULL) {
        json_decref(req);
        return NULL;
    }
    if (o->timeout > 0)
        json_object_set_new(req, "timeout", json_real(o->timeout));
    if (input->len > 0)
        json_object_set_new(req, "stdin", content_value(input));
    return req;
}

// Says what the exit code does not: a limit, a signal, a compiler that refused.
static void explain(const json_t *whole)
{
    _cleanup_json_ json_t *result = out_plain(whole);
    const char *status = json_string_value(json_object_get(result, "status"));
    const char *reason = json_string_value(json_object_get(result, "reason"));
    bool limit = reason != NULL && strcmp(reason, "exit") != 0 && strcmp(reason, "signal") != 0 &&
                 (status == NULL || strcmp(reason, status) != 0);

    if (status == NULL || strcmp(status, "ok") == 0)
        return;
    if (strcmp(status, "error") == 0)
        status = limit ? reason : NULL;
    if (status != NULL && limit && status != reason)
        (void)fprintf(stderr, "csb run: %s: %s\n", status, reason);
    else if (status != NULL)
        (void)fprintf(stderr, "csb run: %s\n", status);
}

// What cannot be written ends the run: the service cancels one whose client leaves.
static int pass_on(struct outcome *outcome, int fd, const char *text, size_t len)
{
    int r = fd_write_all(fd, text, len);

    if (r == 0)
        return 0;
    out_error("run", "standard %s: %s", fd == STDOUT_FILENO ? "output" : "error", strerror(-r));
    outcome->exit_code = CLI_EXIT_SERVICE;
    outcome->finished = 1;
    return r;
}

static int on_event(void *arg, const char *event, const char *data)
{
    struct outcome *outcome = arg;
    json_error_t jerr;
    _cleanup_json_ json_t *o = json_loads(data, 0, &jerr);
    const char *text = json_string_value(json_object_get(o, "text"));
    size_t len = json_string_length(json_object_get(o, "text"));

    if (strcmp(event, "stdout") == 0 && text != NULL)
        return pass_on(outcome, STDOUT_FILENO, text, len);
    if ((strcmp(event, "stderr") == 0 || strcmp(event, "compile") == 0) && text != NULL)
        return pass_on(outcome, STDERR_FILENO, text, len);
    if (strcmp(event, "error") == 0) {
        out_refusal("run", o, data);
        outcome->exit_code = CLI_EXIT_SERVICE;
        outcome->finished = 1;
    }
    if (strcmp(event, "result") == 0) {
        explain(o);
        outcome->exit_code = result_exit_code(o);
        outcome->finished = 1;
    }
    return 0;
}

static int feed(void *arg, const char *data, size_t len)
{
    return sse_feed(arg, data, len);
}

// A wrong field is named, where the message does not begin with it.
static int explain_refusal(long status, struct buf *answer)
{
    json_error_t jerr;
    _cleanup_json_ json_t *o = json_loadb((const char *)answer->data, answer->len, 0, &jerr);
    const char *message = json_string_value(json_object_get(o, "message")) ?: "the service refused";
    const char *field = json_string_value(json_object_get(o, "field")) ?: "";
    char text[512];

    if (strncmp(message, field, strlen(field)) == 0)
        field = "";
    (void)snprintf(text, sizeof(text), "%.60s%s%.400s (HTTP %ld)", field,
                   *field == '\0' ? "" : ": ", message, status);
    if (json_is_object(o))
        (void)json_object_set_new(o, "message", json_string(text));
    out_refusal("run", o, text);
    return status == 400 || status == 413 ? CLI_EXIT_USAGE : CLI_EXIT_SERVICE;
}

static int execute(const char *body)
{
    struct outcome outcome = {0};
    struct sse sse;
    _cleanup_buf_ struct buf answer = BUF_INIT;
    struct err err = ERR_INIT;
    long status = 0;
    int r;

    sse_init(&sse, on_event, &outcome);
    r = client_call(&(struct client_request){.method = "POST",
                                             .path = "/execute",
                                             .accept = "text/event-stream",
                                             .body = body,
                                             .body_len = strlen(body),
                                             .on_body = feed,
                                             .arg = &sse},
                    &status, &answer, &err);
    sse_release(&sse);
    if (outcome.finished)
        return outcome.exit_code;
    if (r == 0 && status / 100 != 2)
        return explain_refusal(status, &answer);
    out_error("run", "%s", r < 0 ? err.message : "the answer was cut off");
    return CLI_EXIT_SERVICE;
}

// Without a stream: the answer is printed as it came.
static int execute_json(const char *body)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    _cleanup_json_ json_t *o = NULL;
    struct err err = ERR_INIT;
    json_error_t jerr;
    long status = 0;

    if (client_call(
            &(struct client_request){
                .method = "POST", .path = "/execute", .body = body, .body_len = strlen(body)},
            &status, &answer, &err) < 0) {
        out_error("run", "%s", err.message);
        return CLI_EXIT_SERVICE;
    }
    if (status / 100 != 2)
        return explain_refusal(status, &answer);
    o = json_loadb((const char *)answer.data, answer.len, 0, &jerr);
    out_json(o);
    return result_exit_code(o);
}

static int run_file(const struct options *o)
{
    _cleanup_buf_ struct buf code = BUF_CAPPED(FILE_BYTES_MAX);
    _cleanup_buf_ struct buf input = BUF_CAPPED(FILE_BYTES_MAX);
    _cleanup_json_ json_t *req = NULL;
    char language[64];
    char *body;
    int r = 0;

    if (o->language != NULL)
        (void)snprintf(language, sizeof(language), "%s", o->language);
    else
        r = find_language(o->file, language, sizeof(language));
    if (r != 0)
        return r;
    if (read_program(o->file, &code) < 0 || read_input(o, &input) < 0)
        return CLI_EXIT_USAGE;
    req = make_request(o, language, &code, &input);
    body = req == NULL ? NULL : json_dumps(req, JSON_COMPACT);
    if (body == NULL)
        return complain("the program and its arguments must be UTF-8 text");
    r = o->json ? execute_json(body) : execute(body);
    free(body);
    return r;
}

int cmd_run(int argc, char **argv)
{
    struct options o = {.env = json_object(), .files = json_object()};
    int r = parse_options(argc, argv, &o);

    if (r == 0)
        r = run_file(&o);
    json_decref(o.env);
    json_decref(o.files);
    return r;
}
