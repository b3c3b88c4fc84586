// SPDX-License-Identifier: Apache-2.0
//
// csb sandbox: long-lived sandboxes, made, listed and ended over the service's HTTP API.
#include "base/buf.h"
#include "base/err.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/client.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXCHANGE_S 120

static int usage(void)
{
    (void)fprintf(stderr, "usage: csb sandbox create [-T TEMPLATE] [-t SECONDS] [-m NAME=VALUE]... "
                          "[-e NAME=VALUE]...\n"
                          "       csb sandbox list\n"
                          "       csb sandbox kill ID...\n\n"
                          "  -T, --template    base (the default) or code-interpreter-v1\n"
                          "  -t, --timeout     seconds until it ends by itself, 300 by default\n"
                          "  -m, --metadata    for finding it again\n"
                          "  -e, --env         a variable of all its processes\n\n"
                          "The key is that of E2B_API_KEY.\n");
    return CLI_EXIT_USAGE;
}

// 0 with the JSON answer (NULL when it has no body), or an exit code after a message.
static int call(const char *method, const char *path, json_t *body, json_t **ret)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    const struct client_request req = {.method = method,
                                       .path = path,
                                       .body = text,
                                       .body_len = text == NULL ? 0 : strlen(text),
                                       .timeout_s = EXCHANGE_S};
    struct err err = ERR_INIT;
    json_error_t jerr;
    const char *message;
    long status = 0;
    int r = client_call(&req, &status, &answer, &err);

    free(text);
    if (r < 0) {
        (void)fprintf(stderr, "csb sandbox: %s\n", err.message);
        return CLI_EXIT_SERVICE;
    }
    *ret = json_loadb((const char *)answer.data, answer.len, 0, &jerr);
    if (status / 100 == 2)
        return 0;
    message = json_string_value(json_object_get(*ret, "message"));
    (void)fprintf(stderr, "csb sandbox: %s\n", message == NULL ? "the service failed" : message);
    json_decref(*ret);
    *ret = NULL;
    return status == 404 ? 1 : CLI_EXIT_SERVICE;
}

static int add_pair(json_t *o, const char *text)
{
    const char *eq = strchr(text, '=');
    char *name = eq == NULL ? NULL : strndup(text, (size_t)(eq - text));
    int r = name == NULL ? -1 : json_object_set_new(o, name, json_string(eq + 1));

    free(name);
    if (r < 0)
        (void)fprintf(stderr, "csb sandbox: '%s' is not NAME=VALUE\n", text);
    return r < 0 ? CLI_EXIT_USAGE : 0;
}

static int parse_create(int argc, char **argv, json_t *body)
{
    static const struct option longs[] = {
        {"template", required_argument, NULL, 'T'},
        {"timeout", required_argument, NULL, 't'},
        {"metadata", required_argument, NULL, 'm'},
        {"env", required_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    uint64_t seconds = 0;
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, "T:t:m:e:", longs, NULL)) != -1) {
        if (c == 'T')
            r = json_object_set_new(body, "templateID", json_string(optarg));
        else if (c == 'm')
            r = add_pair(json_object_get(body, "metadata"), optarg);
        else if (c == 'e')
            r = add_pair(json_object_get(body, "envVars"), optarg);
        else if (c == 't' && parse_u64(optarg, 1, INT32_MAX, &seconds) == 0)
            r = json_object_set_new(body, "timeout", json_integer((json_int_t)seconds));
        else
            r = usage();
    }
    return r == 0 && optind < argc ? usage() : r;
}

static int create(int argc, char **argv)
{
    json_t *body = json_pack("{s:s,s:{},s:{}}", "templateID", "base", "metadata", "envVars");
    json_t *answer = NULL;
    int r = parse_create(argc, argv, body);

    if (r == 0)
        r = call("POST", "/v2/sandboxes", body, &answer);
    if (r == 0)
        printf("%s\n", json_string_value(json_object_get(answer, "sandboxID")));
    json_decref(body);
    json_decref(answer);
    return r;
}

static int list(void)
{
    json_t *answer = NULL;
    int r = call("GET", "/v2/sandboxes?order=asc", NULL, &answer);
    json_t *o;
    size_t i;

    if (r != 0)
        return r;
    json_array_foreach(answer, i, o)
    {
        char *metadata = json_dumps(json_object_get(o, "metadata"), JSON_COMPACT);

        printf("%s  %-20s %-8s started %s  ends %s  %s\n",
               json_string_value(json_object_get(o, "sandboxID")),
               json_string_value(json_object_get(o, "templateID")),
               json_string_value(json_object_get(o, "state")),
               json_string_value(json_object_get(o, "startedAt")),
               json_string_value(json_object_get(o, "endAt")), metadata == NULL ? "" : metadata);
        free(metadata);
    }
    json_decref(answer);
    return 0;
}

static int kill_all(int count, char **ids)
{
    int r = 0;

    for (int i = 0; i < count; i++) {
        json_t *answer = NULL;
        char path[80];
        int one;

        if (!parse_is_name(ids[i], 40)) {
            (void)fprintf(stderr, "csb sandbox: '%.60s' is not an id\n", ids[i]);
            return CLI_EXIT_USAGE;
        }
        (void)snprintf(path, sizeof(path), "/sandboxes/%s", ids[i]);
        one = call("DELETE", path, NULL, &answer);
        json_decref(answer);
        r = one != 0 ? one : r;
    }
    return r;
}

int cmd_sandbox(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "create") == 0)
        return create(argc - 1, argv + 1);
    if (strcmp(what, "list") == 0 && argc == 2)
        return list();
    if (strcmp(what, "kill") == 0 && argc > 2)
        return kill_all(argc - 2, argv + 2);
    return usage();
}
