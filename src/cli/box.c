// SPDX-License-Identifier: Apache-2.0
#include "cli/box.h"

#include "base/parse.h"
#include "cli/cli.h"
#include "cli/envelope.h"
#include "cli/out.h"
#include "json/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXCHANGE_S  120
#define EXIT_ABSENT 1

static json_t *parse(const struct buf *b)
{
    json_error_t jerr;

    return json_loadb(b->len > 0 ? (const char *)b->data : "", b->len, 0, &jerr);
}

static int say_refusal(const char *who, long status, const json_t *answer)
{
    // One that starts has no message, but says what it is at.
    out_refusal(who, answer,
                json_string_value(json_object_get(answer, "state")) ?: "the service failed");
    if (status == 404)
        return EXIT_ABSENT;
    return status == 400 ? CLI_EXIT_USAGE : CLI_EXIT_SERVICE;
}

static int ask(const char *who, struct client_request *req, const json_t *body, json_t **ret)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    struct err err = ERR_INIT;
    long status = 0;
    int r;

    req->body = text;
    req->body_len = text == NULL ? 0 : strlen(text);
    req->timeout_s = EXCHANGE_S;
    r = client_call(req, &status, &answer, &err);
    free(text);
    if (r < 0) {
        out_error(who, "%s", err.message);
        return CLI_EXIT_SERVICE;
    }
    *ret = parse(&answer);
    if (status / 100 == 2)
        return 0;
    r = say_refusal(who, status, *ret);
    json_decref(*ret);
    *ret = NULL;
    return r;
}

int box_service(const char *who, const char *method, const char *path, const json_t *body,
                json_t **ret)
{
    return ask(who, &(struct client_request){.method = method, .path = path}, body, ret);
}

int box_list(const char *who, const char *path, json_t **ret)
{
    const char *how = strchr(path, '?') == NULL ? "?nextToken=" : "&nextToken=";
    struct client_header next = {.name = "X-Next-Token"};
    struct client_request req = {.method = "GET", .wanted = &next};
    json_t *all = json_array();
    int r;

    do {
        _cleanup_json_ json_t *page = NULL;
        char target[256];

        (void)snprintf(target, sizeof(target), "%s%s%s", path, next.value[0] == '\0' ? "" : how,
                       next.value);
        req.path = target;
        r = ask(who, &req, NULL, &page);
        (void)json_array_extend(all, page);
    } while (r == 0 && parse_is_name(next.value, sizeof(next.value) - 1));
    if (r == 0)
        *ret = all;
    else
        json_decref(all);
    return r;
}

bool box_is_id(const char *who, const char *id)
{
    if (parse_is_name(id, 40))
        return true;
    out_error(who, "'%.60s' is not an id of a sandbox", id);
    return false;
}

static long call_seconds(const struct box *b)
{
    if (b->cancel != NULL)
        return 0;
    return b->call_s > 0 ? b->call_s : EXCHANGE_S;
}

static void set_user(struct box *b, const char *user)
{
    _cleanup_buf_ struct buf plain = BUF_INIT;
    _cleanup_buf_ struct buf coded = BUF_INIT;

    if (buf_appendf(&plain, "%.64s:", user) == 0 &&
        base64_encode(plain.data, plain.len, &coded) == 0 && buf_cstr(&coded) != NULL)
        (void)snprintf(b->headers[3], sizeof(b->headers[3]), "Authorization: Basic %s",
                       (const char *)coded.data);
}

int box_open(const char *who, const char *id, const char *user, struct box *ret)
{
    _cleanup_json_ json_t *info = NULL;
    const char *token;
    char path[80];
    size_t n = 0;
    int r;

    if (!box_is_id(who, id))
        return CLI_EXIT_USAGE;
    (void)snprintf(path, sizeof(path), "/sandboxes/%s", id);
    r = box_service(who, "GET", path, NULL, &info);
    if (r != 0)
        return r;
    memset(ret, 0, sizeof(*ret));
    token = json_string_value(json_object_get(info, "envdAccessToken"));
    (void)snprintf(ret->id, sizeof(ret->id), "%s", id);
    (void)snprintf(ret->headers[0], sizeof(ret->headers[0]), "E2b-Sandbox-Id: %s", id);
    (void)snprintf(ret->headers[1], sizeof(ret->headers[1]), "E2b-Sandbox-Port: 49983");
    if (token != NULL)
        (void)snprintf(ret->headers[2], sizeof(ret->headers[2]), "X-Access-Token: %.100s", token);
    if (user != NULL)
        set_user(ret, user);
    for (size_t i = 0; i < 4; i++)
        if (ret->headers[i][0] != '\0')
            ret->lines[n++] = ret->headers[i];
    return 0;
}

int box_call(const char *who, const struct box *b, const char *method, const json_t *body,
             json_t **ret, struct box_refusal *refusal)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    _cleanup_json_ json_t *o = NULL;
    char *text = json_dumps(body, JSON_COMPACT);
    char path[96];
    struct err err = ERR_INIT;
    long status = 0;
    int r;

    (void)snprintf(path, sizeof(path), "/%s", method);
    r = text == NULL ? -1
                     : client_call(&(struct client_request){.method = "POST",
                                                            .path = path,
                                                            .body = text,
                                                            .body_len = strlen(text),
                                                            .headers = b->lines,
                                                            .cancel = b->cancel,
                                                            .timeout_s = call_seconds(b)},
                                   &status, &answer, &err);
    free(text);
    if (r < 0) {
        if (b->cancel == NULL || !atomic_load(b->cancel))
            out_error(who, "%s", err.message);
        return CLI_EXIT_SERVICE;
    }
    o = parse(&answer);
    if (status / 100 == 2) {
        if (ret != NULL)
            *ret = json_incref(o);
        return 0;
    }
    if (refusal != NULL)
        (void)snprintf(refusal->code, sizeof(refusal->code), "%s",
                       json_string_value(json_object_get(o, "code")) ?: "");
    if (refusal != NULL && refusal->quiet)
        return EXIT_ABSENT;
    return say_refusal(who, status, o);
}

struct streaming {
    const char *who;
    struct envelopes envelopes;
    box_message_fn on_message;
    void *arg;
    bool ended;
    bool stopped;
    int exit_code;
};

static int on_envelope(void *arg, const char *message, size_t len, bool last)
{
    struct streaming *s = arg;
    json_error_t jerr;
    _cleanup_json_ json_t *o = json_loadb(message, len, 0, &jerr);

    if (last) {
        json_t *error = json_object_get(o, "error");

        s->ended = true;
        if (error != NULL)
            s->exit_code = say_refusal(s->who, 0, error);
        if (strcmp(json_string_value(json_object_get(error, "code")) ?: "", "deadline_exceeded") ==
            0)
            s->exit_code = CLI_EXIT_TIMEOUT;
        return 0;
    }
    s->stopped = s->on_message(s->arg, o) != 0;
    return s->stopped ? -1 : 0;
}

static int feed(void *arg, const char *data, size_t len)
{
    struct streaming *s = arg;

    return envelopes_feed(&s->envelopes, data, len);
}

int box_stream(const char *who, const struct box *b, const char *method, const json_t *body,
               box_message_fn on_message, void *arg)
{
    _cleanup_buf_ struct buf answer = BUF_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    _cleanup_json_ json_t *o = NULL;
    struct streaming s = {.who = who, .on_message = on_message, .arg = arg};
    char *text = json_dumps(body, JSON_COMPACT);
    char path[96];
    struct err err = ERR_INIT;
    long status = 0;
    int r = text == NULL ? -1 : envelope_write(&out, text, strlen(text));

    free(text);
    if (r < 0)
        return CLI_EXIT_SERVICE;
    (void)snprintf(path, sizeof(path), "/%s", method);
    envelopes_init(&s.envelopes, on_envelope, &s);
    r = client_call(&(struct client_request){.method = "POST",
                                             .path = path,
                                             .accept = "application/connect+json",
                                             .type = "application/connect+json",
                                             .body = (const char *)out.data,
                                             .body_len = out.len,
                                             .headers = b->lines,
                                             .on_body = feed,
                                             .arg = &s},
                    &status, &answer, &err);
    envelopes_release(&s.envelopes);
    if (s.ended || s.stopped)
        return s.exit_code;
    if (r < 0 || status / 100 == 2) {
        out_error(who, "%s", r < 0 ? err.message : "the stream was cut off");
        return CLI_EXIT_SERVICE;
    }
    o = parse(&answer);
    return say_refusal(who, status, o);
}

char *box_escape(const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    _cleanup_buf_ struct buf out = BUF_INIT;
    const char *done;
    int r = 0;

    for (const char *c = text; *c != '\0' && r == 0; c++)
        r = strchr(plain, *c) != NULL ? buf_append(&out, c, 1)
                                      : buf_appendf(&out, "%%%02X", (unsigned)(unsigned char)*c);
    done = r == 0 ? buf_cstr(&out) : NULL;
    return done == NULL ? NULL : strdup(done);
}
