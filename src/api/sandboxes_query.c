// SPDX-License-Identifier: Apache-2.0
//
// The arguments of a listing.
#include "api/sandboxes_parse.h"
#include "base/fd.h"
#include "base/parse.h"
#include "http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const list_arguments[] = {"metadata", "state", "order",     "startedAfter",
                                      "template", "limit", "nextToken", NULL};

const char *const snapshot_arguments[SNAPSHOT_ARGS + 1] = {"sandboxID", "name", "limit",
                                                           "nextToken", NULL};

static int bad(struct err *err, const char *field, const char *why)
{
    return err_field(err, ERR_INVALID, field, "%s %s", field, why);
}

static int add_filter(struct pair_list *p, const char *text, size_t len, struct err *err)
{
    const char *eq = memchr(text, '=', len);
    _cleanup_free_ char *name = NULL;
    _cleanup_free_ char *value = NULL;
    size_t name_len;

    if (eq == NULL || memchr(eq + 1, '=', len - (size_t)(eq + 1 - text)) != NULL)
        return bad(err, "metadata", "must be name=value, joined by '&'");
    name_len = (size_t)(eq - text);
    if (http_unescape(text, name_len, true, &name) < 0 ||
        http_unescape(eq + 1, len - name_len - 1, true, &value) < 0)
        return bad(err, "metadata", "is not percent-encoded as it should be");
    if (p->count == SANDBOXES_PAIRS_MAX)
        return bad(err, "metadata", "has too many entries");
    p->list[p->count++] = (struct live_pair){name, value};
    name = value = NULL;
    return 0;
}

// The SDKs encode names and values before they encode the form, and the form as a whole again.
static int parse_metadata(const char *text, struct pair_list *ret, struct err *err)
{
    _cleanup_free_ char *form = NULL;

    if (text == NULL || text[0] == '\0')
        return 0;
    if (http_unescape(text, strlen(text), true, &form) < 0)
        return bad(err, "metadata", "is not percent-encoded as it should be");
    ret->list = calloc(SANDBOXES_PAIRS_MAX, sizeof(*ret->list));
    if (ret->list == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory");
    for (const char *at = form; *at != '\0';) {
        size_t len = strcspn(at, "&");

        if (add_filter(ret, at, len, err) < 0)
            return -1;
        at += len;
        at += *at == '&';
    }
    return 0;
}

static int parse_state(const char *text, struct list_query *q, struct err *err)
{
    q->running = q->paused = text == NULL || text[0] == '\0';
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, ",");

        if (len == 7 && strncmp(text, "running", len) == 0)
            q->running = true;
        else if (len == 6 && strncmp(text, "paused", len) == 0)
            q->paused = true;
        else
            return bad(err, "state", "must be running, paused, or both with a comma");
        text += len;
        text += *text == ',';
    }
    return 0;
}

// RFC 3339: "2026-01-02T03:04:05.678Z", or with an offset "+01:00".
static int parse_time(const char *text, uint64_t *ret_ms, struct err *err)
{
    struct tm tm = {0};
    const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0, scale = 100;
    int hours, minutes, used = 0;
    time_t t;

    if (at == NULL)
        return bad(err, "startedAfter", "must be a time of RFC 3339");
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++, scale /= 10)
            ms += scale * (*at - '0');
    t = timegm(&tm);
    ms += (int64_t)t * 1000;
    if ((*at == '+' || *at == '-') && sscanf(at + 1, "%2d:%2d%n", &hours, &minutes, &used) == 2 &&
        used == 5 && at[6] == '\0')
        ms += (*at == '+' ? -1 : 1) * (int64_t)(hours * 60 + minutes) * 60000;
    else if (strcmp(at, "Z") != 0 && strcmp(at, "z") != 0)
        return bad(err, "startedAfter", "must be a time of RFC 3339");
    *ret_ms = ms < 0 ? 0 : (uint64_t)ms;
    return 0;
}

static int parse_token(const char *text, bool ascending, struct list_place *ret, struct err *err)
{
    if (list_place_parse("nextToken", text, ascending, ret, err) < 0)
        return -1;
    if (ret->id[0] != '\0' && strlen(ret->id) != LIVE_ID_LEN)
        return bad(err, "nextToken", "is not one that a listing gave");
    return 0;
}

static int parse_all(const struct list_args *args, struct list_query *q, struct err *err)
{
    uint64_t limit = SANDBOXES_PAGE_MAX;

    if (args->order != NULL && strcmp(args->order, "asc") != 0 && strcmp(args->order, "desc") != 0)
        return bad(err, "order", "must be asc or desc");
    q->ascending = args->order != NULL && strcmp(args->order, "asc") == 0;
    if (args->limit != NULL && parse_u64(args->limit, 1, SANDBOXES_PAGE_MAX, &limit) < 0)
        return bad(err, "limit", "must be a whole number from 1 to 100");
    q->limit = limit;
    if (args->template != NULL && snprintf(q->template, sizeof(q->template), "%s",
                                           args->template) >= (int)sizeof(q->template))
        return bad(err, "template", "is too long");
    if (parse_metadata(args->metadata, &q->metadata, err) < 0 ||
        parse_state(args->state, q, err) < 0)
        return -1;
    if (args->started_after != NULL &&
        parse_time(args->started_after, &q->started_after_ms, err) < 0)
        return -1;
    return parse_token(args->next_token, q->ascending, &q->after, err);
}

int list_parse(const struct list_args *args, struct list_query *ret, struct err *err)
{
    memset(ret, 0, sizeof(*ret));
    if (parse_all(args, ret, err) == 0)
        return 0;
    list_query_release(ret);
    return -1;
}

void list_query_release(struct list_query *q)
{
    for (size_t i = 0; i < q->metadata.count; i++) {
        free((char *)(uintptr_t)q->metadata.list[i].name);
        free((char *)(uintptr_t)q->metadata.list[i].value);
    }
    free(q->metadata.list);
    memset(q, 0, sizeof(*q));
}

// A decoded argument as text of bounded length; absent is "".
static int copy_text(const char *text, const char *field, char *ret, size_t size, struct err *err)
{
    if (text == NULL)
        text = "";
    if (strlen(text) >= size)
        return bad(err, field, "is too long");
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

int snapshot_list_parse(const char *const values[SNAPSHOT_ARGS], struct snapshot_query *ret,
                        struct err *err)
{
    uint64_t limit = SANDBOXES_PAGE_MAX;

    *ret = (struct snapshot_query){0};
    if (copy_text(values[0], "sandboxID", ret->sandbox, sizeof(ret->sandbox), err) < 0 ||
        copy_text(values[1], "name", ret->name, sizeof(ret->name), err) < 0 ||
        parse_token(values[3], false, &ret->after, err) < 0)
        return -1;
    if (values[2] != NULL && parse_u64(values[2], 1, SANDBOXES_PAGE_MAX, &limit) < 0)
        return bad(err, "limit", "must be a whole number from 1 to 100");
    ret->limit = limit;
    return 0;
}
