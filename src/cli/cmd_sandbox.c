// SPDX-License-Identifier: Apache-2.0
//
// csb sandbox: long-lived sandboxes over the service's HTTP API. What is done inside of one is in
// cmd_exec.c and cmd_files.c.
#include "base/parse.h"
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHO "sandbox"

static int usage(const char *name)
{
    for (const struct cli_command *c = sandbox_commands; c->name != NULL; c++)
        if (strcmp(c->name, cli_word(name)) == 0)
            (void)fprintf(stderr, "usage: csb sandbox %s %s\n", c->name, c->usage);
    return CLI_EXIT_USAGE;
}

static int add_pair(json_t *o, const char *text)
{
    const char *eq = strchr(text, '=');
    char *name = eq == NULL ? NULL : strndup(text, (size_t)(eq - text));
    int r = name == NULL ? -1 : json_object_set_new(o, name, json_string(eq + 1));

    free(name);
    if (r < 0)
        out_error(WHO, "'%s' is not NAME=VALUE", text);
    return r < 0 ? CLI_EXIT_USAGE : 0;
}

// `key` is also what the option is called.
static int set_number(json_t *body, const char *key, const char *text)
{
    uint64_t n = 0;

    if (parse_u64(text, 1, INT32_MAX, &n) == 0)
        return json_object_set_new(body, key, json_integer((json_int_t)n));
    out_error(WHO, "--%s: '%.40s' is not a number above 0", key, text);
    return CLI_EXIT_USAGE;
}

static int parse_create(int argc, char **argv, json_t *body, bool *ret_json)
{
    static const struct option longs[] = {
        {"template", required_argument, NULL, 'T'}, {"timeout", required_argument, NULL, 't'},
        {"metadata", required_argument, NULL, 'm'}, {"env", required_argument, NULL, 'e'},
        {"json", no_argument, NULL, 'j'},           {NULL, 0, NULL, 0},
    };
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, "T:t:m:e:", longs, NULL)) != -1) {
        if (c == 'T')
            r = json_object_set_new(body, "templateID", json_string(optarg));
        else if (c == 'm')
            r = add_pair(json_object_get(body, "metadata"), optarg);
        else if (c == 'e')
            r = add_pair(json_object_get(body, "envVars"), optarg);
        else if (c == 't')
            r = set_number(body, "timeout", optarg);
        else if (c == 'j') {
            *ret_json = true;
            out_json_errors();
        } else
            r = usage(argv[0]);
    }
    return r == 0 && optind < argc ? usage(argv[0]) : r;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text == NULL ? "" : text;
}

static void show_plain(void (*show)(const json_t *answer), const json_t *answer)
{
    _cleanup_json_ json_t *plain = out_plain(answer);

    show(plain);
}

static void show_id(const json_t *answer)
{
    printf("%s\n", text_of(answer, "sandboxID"));
}

static int cmd_create(int argc, char **argv)
{
    _cleanup_json_ json_t *body =
        json_pack("{s:s,s:{},s:{}}", "templateID", "base", "metadata", "envVars");
    _cleanup_json_ json_t *answer = NULL;
    bool json = false;
    int r = parse_create(argc, argv, body, &json);

    if (r == 0)
        r = box_service(WHO, "POST", "/v2/sandboxes", body, &answer);
    if (r != 0)
        return r;
    if (json)
        out_json(answer);
    else
        show_plain(show_id, answer);
    return 0;
}

// The few options of the commands that take ids. 0, or an exit code.
struct simple {
    bool json, quiet, detailed;
    json_t *body; // what the service is asked with
};

static int parse_simple(int argc, char **argv, const char *shorts, struct simple *s)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},
        {"timeout", required_argument, NULL, 't'},
        {"count", required_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == 'j') {
            s->json = true;
            out_json_errors();
        } else if (c == '?' || strchr(shorts, c) == NULL)
            r = usage(argv[0]);
        else if (c == 'q')
            s->quiet = true;
        else
            r = set_number(s->body, c == 't' ? "timeout" : "count", optarg);
    }
    return r;
}

static void print_row(const json_t *o)
{
    const char *state = text_of(o, "state");
    char *metadata = json_dumps(json_object_get(o, "metadata"), JSON_COMPACT);

    printf("%s  %-20s ", text_of(o, "sandboxID"), text_of(o, "templateID"));
    out_put(stdout, strcmp(state, "running") == 0 ? OUT_GREEN : OUT_YELLOW, 8, state);
    printf(" started %s  ends %s  %s\n", text_of(o, "startedAt"), text_of(o, "endAt"),
           metadata == NULL ? "" : metadata);
    free(metadata);
}

static int cmd_list(int argc, char **argv)
{
    struct simple s = {0};
    _cleanup_json_ json_t *answer = NULL;
    json_t *o;
    size_t i;
    _cleanup_json_ json_t *plain = NULL;
    int r = parse_simple(argc, argv, "q", &s);

    if (r == 0 && optind < argc)
        r = usage(argv[0]);
    if (r == 0)
        r = box_list(WHO, "/v2/sandboxes?order=asc", &answer);
    if (r == 0 && s.json)
        out_json(answer);
    if (r != 0 || s.json)
        return r;
    plain = out_plain(answer);
    json_array_foreach(plain, i, o)
    {
        if (s.quiet)
            printf("%s\n", text_of(o, "sandboxID"));
        else
            print_row(o);
    }
    return 0;
}

// Asks once for each id. `show` prints what was answered, unless it is to be JSON; NULL: nothing.
static int for_each(int argc, char **argv, struct simple *s, const char *method, const char *format,
                    void (*show)(const json_t *answer))
{
    int r = 0;

    if (optind == argc)
        return usage(argv[0]);
    for (int i = optind; i < argc; i++) {
        _cleanup_json_ json_t *answer = NULL;
        char path[96];
        int one;

        if (!box_is_id(WHO, argv[i]))
            return CLI_EXIT_USAGE;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(path, sizeof(path), format, argv[i]);
#pragma GCC diagnostic pop
        one = box_service(WHO, method, path, s->body, &answer);
        if (one != 0) {
            r = one;
            continue;
        }
        if (answer == NULL)
            answer = json_pack("{s:s}", "sandboxID", argv[i]);
        if (s->json)
            out_json(answer);
        else if (show != NULL)
            show_plain(show, answer);
    }
    return r;
}

static void show_detail(const json_t *answer)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)answer, key, value)
    {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        if (strcmp(key, "envdAccessToken") != 0) // for who asks with --json
            printf("%-20s %s\n", key, json_is_string(value) ? json_string_value(value) : text);
        free(text);
    }
}

static int cmd_info(int argc, char **argv)
{
    struct simple s = {0};
    int r = parse_simple(argc, argv, "", &s);

    return r != 0 ? r : for_each(argc, argv, &s, "GET", "/sandboxes/%s", show_detail);
}

static int cmd_kill(int argc, char **argv)
{
    struct simple s = {0};
    int r = parse_simple(argc, argv, "", &s);

    return r != 0 ? r : for_each(argc, argv, &s, "DELETE", "/sandboxes/%s", NULL);
}

static int cmd_pause(int argc, char **argv)
{
    _cleanup_json_ json_t *body = json_object();
    struct simple s = {.body = body};
    int r = parse_simple(argc, argv, "", &s);

    return r != 0 ? r : for_each(argc, argv, &s, "POST", "/sandboxes/%s/pause", NULL);
}

static int cmd_resume(int argc, char **argv)
{
    _cleanup_json_ json_t *body = json_object();
    struct simple s = {.body = body};
    int r = parse_simple(argc, argv, "t:", &s);

    return r != 0 ? r : for_each(argc, argv, &s, "POST", "/v2/sandboxes/%s/connect", NULL);
}

static void show_forked(const json_t *answer)
{
    json_t *o;
    size_t i;

    json_array_foreach(answer, i, o)
    {
        json_t *made = json_object_get(o, "sandbox");

        if (made != NULL)
            printf("%s\n", text_of(made, "sandboxID"));
        else
            out_error(WHO, "a copy failed: %s", text_of(json_object_get(o, "error"), "message"));
    }
}

static int cmd_fork(int argc, char **argv)
{
    _cleanup_json_ json_t *body = json_object();
    struct simple s = {.body = body};
    int r = parse_simple(argc, argv, "n:t:", &s);

    return r != 0 ? r : for_each(argc, argv, &s, "POST", "/sandboxes/%s/fork", show_forked);
}

static void show_logs(const json_t *answer)
{
    json_t *o;
    size_t i;

    json_array_foreach(json_object_get(answer, "logs"), i, o)
        printf("%s %s\n", text_of(o, "timestamp"), text_of(o, "message"));
}

static int cmd_logs(int argc, char **argv)
{
    struct simple s = {0};
    int r = parse_simple(argc, argv, "", &s);

    return r != 0 ? r : for_each(argc, argv, &s, "GET", "/v2/sandboxes/%s/logs", show_logs);
}

const struct cli_command sandbox_commands[] = {
    {"create", "[-T TEMPLATE] [-t SECONDS] [-m NAME=VALUE]... [-e NAME=VALUE]... [--json]",
     "make one", cmd_create, "--template --timeout --metadata --env --json"},
    {"list", "[-q] [--json]", "list one's own; -q: their ids alone", cmd_list, "--quiet --json"},
    {"info", "[--json] ID...", "tell about some", cmd_info, "--json", .ids = true},
    {"kill", "[--json] ID...", "end some", cmd_kill, "--json", .ids = true},
    {"exec", "[-i] [-u USER] [-C DIR] [-e NAME=VALUE]... [-t SECONDS] [--json] ID COMMAND...",
     "run a command in one, and exit as it does", cmd_sandbox_exec,
     "--stdin --user --cwd --env --timeout --json", .ids = true},
    {"shell", "[-u USER] [-C DIR] ID [COMMAND...]", "a terminal in one", cmd_sandbox_shell,
     "--user --cwd", .ids = true},
    {"cp", "[-u USER] [--json] FROM TO", "copy a file; ID:PATH is in a sandbox, - is a stream",
     cmd_sandbox_cp, "--user --json", .ids = true},
    {"ls", "[-u USER] [--json] ID [PATH]", "list a directory in one", cmd_sandbox_ls,
     "--user --json", .ids = true},
    {"rm", "[-f] [-u USER] [--json] ID PATH...", "remove files and directories in one",
     cmd_sandbox_rm, "--force --user --json", .ids = true},
    {"pause", "[--json] ID...", "freeze some, until they are resumed", cmd_pause, "--json",
     .ids = true},
    {"resume", "[-t SECONDS] [--json] ID...", "let paused ones run on", cmd_resume,
     "--timeout --json", .ids = true},
    {"fork", "[-n COUNT] [-t SECONDS] [--json] ID...", "copy some as they run", cmd_fork,
     "--count --timeout --json", .ids = true},
    {"logs", "[--json] ID...", "what the service keeps of their output", cmd_logs, "--json",
     .ids = true},
    {0},
};

int cmd_sandbox(int argc, char **argv)
{
    return cli_run_sub("sandbox", sandbox_commands, argc, argv);
}
