// SPDX-License-Identifier: Apache-2.0
//
// What clients of the sandbox API send: first byte 0 to 3 is a body of creation (version 1 or 2),
// of a timeout, of a fork; any other, the arguments of a listing, one a line.
#include "api/sandboxes_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIFE_MAX_S 86400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_pairs(const struct pair_list *p)
{
    size_t bytes = 0;

    if (p->count > SANDBOXES_PAIRS_MAX)
        abort();
    for (size_t i = 0; i < p->count; i++) {
        if (p->list[i].name == NULL || p->list[i].value == NULL)
            abort();
        bytes += strlen(p->list[i].name) + strlen(p->list[i].value);
    }
    if (bytes > SANDBOXES_PAIRS_BYTES)
        abort();
}

static void create(const uint8_t *data, size_t len, int version)
{
    struct create_request r;
    struct err err = ERR_INIT;

    if (create_parse(data, len, version, LIFE_MAX_S, &r, &err) < 0) {
        if (err.code == ERR_NONE || err.message[0] == '\0')
            abort();
        return;
    }
    if (r.template == NULL || r.timeout_s < 1 || r.timeout_s > LIFE_MAX_S ||
        (version == 2 && !r.secure) || (r.auto_resume && !r.auto_pause))
        abort();
    check_pairs(&r.metadata);
    check_pairs(&r.env);
    for (size_t i = 0; i < r.env.count; i++)
        if (r.env.list[i].name[0] == '\0' || strchr(r.env.list[i].name, '=') != NULL)
            abort();
    create_request_release(&r);
}

static void listing(const uint8_t *data, size_t len)
{
    char *text = strndup((const char *)data, len);
    char *parts[7] = {NULL};
    struct list_query q;
    struct err err = ERR_INIT;
    char token[LIST_TOKEN_MAX];
    char *rest = text;

    for (size_t i = 0; i < 7 && rest != NULL; i++) {
        parts[i] = strsep(&rest, "\n");
        if (parts[i][0] == '-')
            parts[i] = NULL;
    }
    const struct list_args args = {parts[0], parts[1], parts[2], parts[3],
                                   parts[4], parts[5], parts[6]};
    if (list_parse(&args, &q, &err) == 0) {
        if (q.limit < 1 || q.limit > SANDBOXES_PAGE_MAX)
            abort();
        list_token(q.ascending, UINT64_MAX, "i01234567890123456789", token);
        list_query_release(&q);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = ERR_INIT;
    uint64_t count = 1, seconds = 1;

    if (len == 0)
        return 0;
    if (data[0] == '0' || data[0] == '1') {
        create(data + 1, len - 1, data[0] - '0' + 1);
    } else if (data[0] == '2') {
        (void)seconds_parse(data + 1, len - 1, "timeout", true, &seconds, &err);
    } else if (data[0] == '3') {
        if (fork_parse(data + 1, len - 1, LIFE_MAX_S, &count, &seconds, &err) == 0 &&
            (count < 1 || count > LIVE_FORK_MAX || seconds < 1 || seconds > LIFE_MAX_S))
            abort();
    } else {
        listing(data + 1, len - 1);
    }
    return 0;
}
