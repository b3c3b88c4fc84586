// SPDX-License-Identifier: Apache-2.0
//
// csb top: what the service does now. On a terminal it is shown again and again until a key or a
// signal ends it; elsewhere it is printed once, or as often as was asked for.
#include "base/parse.h"
#include "cli/box.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHO        "top"
#define IDS_BYTES  4096
#define IDS_MAX    100 // that the service takes at once
#define SECONDS    2
#define MS_PER_S   1000
#define HOME_CLEAR "\033[H\033[J"

static int usage(void)
{
    (void)fprintf(stderr, "usage: csb top [-d SECONDS] [-n TIMES] [--json]\n");
    return CLI_EXIT_USAGE;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key)) ?: "";
}

// Of the sandboxes from `first` on, IDS_MAX of them.
static int add_some_metrics(json_t *sandboxes, size_t first)
{
    _cleanup_json_ json_t *answer = NULL;
    char path[IDS_BYTES] = "/sandboxes/metrics?sandbox_ids=";
    size_t used = strlen(path);
    int r;

    for (size_t i = first; i < json_array_size(sandboxes) && i < first + IDS_MAX; i++) {
        const char *id = text_of(json_array_get(sandboxes, i), "sandboxID");

        if (used + strlen(id) + 2 < sizeof(path))
            used += (size_t)snprintf(path + used, sizeof(path) - used, "%s%s", i > first ? "," : "",
                                     id);
    }
    r = box_service(WHO, "GET", path, NULL, &answer);
    for (size_t i = first; i < json_array_size(sandboxes) && i < first + IDS_MAX; i++) {
        json_t *o = json_array_get(sandboxes, i);
        json_t *m = json_object_get(json_object_get(answer, "sandboxes"), text_of(o, "sandboxID"));

        if (m != NULL)
            (void)json_object_set(o, "metrics", m);
    }
    return r;
}

// {"health", "sandboxes": [...with "metrics"...]}. 0 or an exit code after a message.
static int add_metrics(json_t *sandboxes)
{
    int r = 0;

    for (size_t first = 0; r == 0 && first < json_array_size(sandboxes); first += IDS_MAX)
        r = add_some_metrics(sandboxes, first);
    return r;
}

static int collect(json_t *now)
{
    _cleanup_json_ json_t *health = NULL;
    _cleanup_json_ json_t *sandboxes = NULL;
    int r = box_service(WHO, "GET", "/health", NULL, &health);

    if (r == 0)
        r = box_list(WHO, "/v2/sandboxes?order=asc", &sandboxes);
    if (r == 0)
        r = add_metrics(sandboxes);
    (void)json_object_set(now, "health", health);
    (void)json_object_set(now, "sandboxes", sandboxes);
    return r;
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static void show_sandbox(const json_t *o)
{
    const json_t *m = json_object_get(o, "metrics");
    const char *state = text_of(o, "state");
    char used[24], total[24];

    printf("%-22s %-20s ", text_of(o, "sandboxID"), text_of(o, "templateID"));
    out_put(stdout, strcmp(state, "running") == 0 ? OUT_GREEN : OUT_YELLOW, 8, state);
    out_bytes((uint64_t)number(m, "memUsed"), used);
    out_bytes((uint64_t)number(m, "memTotal"), total);
    if (m != NULL)
        printf(" %6.1f%% %10s of %-10s", json_number_value(json_object_get(m, "cpuUsedPct")), used,
               total);
    else
        printf(" %7s %24s", "-", "-");
    printf(" %s\n", text_of(o, "endAt"));
}

static void show(const json_t *collected)
{
    _cleanup_json_ json_t *now = out_plain(collected);
    const json_t *health = json_object_get(now, "health");
    const json_t *pool = json_object_get(health, "pool");
    const char *status = text_of(health, "status");
    json_t *o;
    size_t i;

    printf("codesandbox %s, %s, %s: ", text_of(health, "version"), text_of(health, "isolation"),
           text_of(health, "accel"));
    out_put(stdout, strcmp(status, "healthy") == 0 ? OUT_GREEN : OUT_RED, 0, status);
    printf("  %s\n", text_of(health, "time"));
    printf("programs: %lld running, %lld waiting, %lld run   sandboxes: %lld of %lld ready, %lld "
           "failed\n\n",
           number(pool, "running"), number(pool, "queued"), number(pool, "runs_total"),
           number(pool, "ready"), number(pool, "target"), number(pool, "sandboxes_failed"));
    out_put(stdout, OUT_BOLD, 0,
            "SANDBOX                TEMPLATE             STATE        CPU                   MEMORY"
            "  ENDS");
    printf("\n");
    json_array_foreach(json_object_get(now, "sandboxes"), i, o) show_sandbox(o);
}

// Until it is to be shown again. False: a key was pressed.
static bool await(uint64_t seconds, bool keys)
{
    struct pollfd p = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};

    return poll(&p, 1, (int)seconds * MS_PER_S) == 0;
}

static int watch(uint64_t times, uint64_t seconds, bool json)
{
    bool terminal = !json && isatty(STDOUT_FILENO) == 1;
    int r = 0;

    for (uint64_t n = 0; r == 0 && n < times; n++) {
        _cleanup_json_ json_t *now = json_object();

        if (n > 0 && !await(seconds, terminal && isatty(STDIN_FILENO) == 1))
            break;
        r = collect(now);
        if (r != 0)
            break;
        if (json)
            out_json(now);
        else if (terminal && times > 1)
            (void)fputs(HOME_CLEAR, stdout);
        if (!json)
            show(now);
        (void)fflush(stdout);
    }
    return r;
}

int cmd_top(int argc, char **argv)
{
    static const struct option longs[] = {{"delay", required_argument, NULL, 'd'},
                                          {"times", required_argument, NULL, 'n'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    uint64_t times = isatty(STDOUT_FILENO) == 1 ? UINT64_MAX : 1;
    uint64_t seconds = SECONDS;
    bool json = false;
    int c;

    while ((c = getopt_long(argc, argv, "d:n:", longs, NULL)) != -1) {
        if (c == 'j') {
            json = true;
            out_json_errors();
        } else if ((c != 'd' || parse_u64(optarg, 1, 3600, &seconds) < 0) &&
                   (c != 'n' || parse_u64(optarg, 1, 1000000, &times) < 0))
            return usage();
    }
    return optind < argc ? usage() : watch(times, seconds, json);
}
