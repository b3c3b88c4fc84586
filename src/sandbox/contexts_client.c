// SPDX-License-Identifier: Apache-2.0
//
// How it works: the server is a process like those of the sandbox's owner, begun by the agent's
// Start. With --background the process that was started ends when the port is open, and leaves the
// server alone; so the end of Start's stream is what is waited for, and nobody finds the server in
// the list of processes.
#include "sandbox/contexts_client.h"

#include "base/buf.h"
#include "base/fd.h"
#include "channel/agent_wire.h"
#include "channel/channel.h"
#include "json/base64.h"
#include "json/read.h"
#include "json/write.h"

#include <stdlib.h>
#include <string.h>

#define SERVER        "/csb/contexts/server.py"
#define ENVELOPE_HEAD 5 // flags, u32be length

struct outcome {
    bool ended;
    int64_t code;
    struct buf said; // on its error output
};

static int encode(enum contexts_warm warm, struct buf *ret, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};
    uint8_t head[ENVELOPE_HEAD] = {0};

    json_open(&out, NULL, '{');
    json_open(&out, "process", '{');
    json_put_str(&out, "cmd", "/usr/bin/python3");
    json_open(&out, "args", '[');
    json_put_str(&out, NULL, "-sP");
    json_put_str(&out, NULL, SERVER);
    json_put_str(&out, NULL, "--background");
    if (warm != CONTEXTS_COLD)
        json_put_str(&out, NULL, warm == CONTEXTS_WARM ? "--warm" : "--warm=python");
    json_close(&out, ']');
    json_put_str(&out, "cwd", "/");
    json_close(&out, '}');
    json_put_bool(&out, "stdin", false);
    json_close(&out, '}');
    for (int i = 0; i < 4; i++)
        head[1 + i] = (uint8_t)(text.len >> (24 - 8 * i));
    if (out.failed || buf_append(ret, head, sizeof(head)) < 0 ||
        buf_append(ret, text.data, text.len) < 0)
        return err_set(err, ERR_INTERNAL, "out of memory");
    return 0;
}

static int take_event(const struct json_in *event, struct outcome *ret, struct err *err)
{
    struct json_in data = {0}, end = {0};
    struct json_str text = {0};

    if (json_get_object(event, "data", &data, err) < 0 ||
        json_get_object(event, "end", &end, err) < 0)
        return -1;
    if (data.object != NULL && json_get_str(&data, "stderr", &text, err) < 0)
        return -1;
    if (text.data != NULL && base64_decode_any(text.data, text.len, &ret->said) < 0)
        return err_set(err, ERR_PROTOCOL, "output is not base64");
    if (end.object == NULL)
        return 0;
    ret->ended = true;
    return json_get_i64(&end, "exitCode", -1, 255, &ret->code, err);
}

static int take_message(const char *text, size_t len, struct outcome *ret, struct err *err)
{
    _cleanup_json_ struct json_t *tree = NULL;
    struct json_in top, event = {0};

    if (json_read("answer", text, len, &tree, err) < 0)
        return -1;
    top = json_top(tree);
    if (json_get_object(&top, "event", &event, err) < 0)
        return -1;
    return event.object == NULL ? 0 : take_event(&event, ret, err);
}

// Reads the whole stream's messages.
static int decode(const char *data, size_t len, struct outcome *ret, struct err *err)
{
    while (len > 0) {
        const uint8_t *p = (const uint8_t *)data;
        size_t n;

        if (len < ENVELOPE_HEAD)
            return err_set(err, ERR_PROTOCOL, "it is cut");
        n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (n > len - ENVELOPE_HEAD)
            return err_set(err, ERR_PROTOCOL, "it is cut");
        if (take_message(data + ENVELOPE_HEAD, n, ret, err) < 0)
            return -1;
        data += ENVELOPE_HEAD + n;
        len -= ENVELOPE_HEAD + n;
    }
    return 0;
}

// The last line, which of a traceback is what matters.
static const char *last_line(struct buf *said)
{
    char *text = (char *)(uintptr_t)buf_cstr(said);
    char *at;

    if (text == NULL || text[0] == '\0')
        return "it said nothing";
    for (at = text + strlen(text); at > text && at[-1] == '\n';)
        *--at = '\0';
    at = strrchr(text, '\n');
    return at == NULL ? text : at + 1;
}

static int judge(struct outcome *o, struct err *err)
{
    if (!o->ended)
        return err_set(err, ERR_PROTOCOL, "the agent did not tell how it ended");
    if (o->code != 0)
        return err_set(err, ERR_INTERNAL, "%.150s", last_line(&o->said));
    return 0;
}

int contexts_start(struct channel *ch, enum contexts_warm warm, uint64_t deadline_ns,
                   struct err *err)
{
    static const struct channel_header headers[] = {
        {"content-type", "application/connect+json"},
        {"authorization", "Basic cm9vdDo="}, // "root:"
        {AGENT_HEADER_APART, "1"},
    };
    _cleanup_buf_ struct buf body = BUF_INIT;
    _cleanup_free_ char *answer = NULL;
    struct outcome outcome = {.said = BUF_CAPPED(AGENT_JSON_MAX)};
    struct err why = ERR_INIT;
    size_t len;
    int status;
    int r;

    if (encode(warm, &body, err) < 0)
        return -1;
    const struct channel_request req = {.method = "POST",
                                        .path = "/envd/process.Process/Start",
                                        .body = body.data,
                                        .body_len = body.len,
                                        .headers = headers,
                                        .header_count = sizeof(headers) / sizeof(headers[0])};
    if (channel_call(ch, &req, AGENT_JSON_MAX, deadline_ns, &status, &answer, &len, err) < 0)
        return err_wrap(err, "the code interpreter's server");
    if (status != 200)
        r = err_set(&why, ERR_PROTOCOL, "the agent answered %d", status);
    else
        r = decode(answer, len, &outcome, &why) < 0 ? -1 : judge(&outcome, &why);
    buf_release(&outcome.said);
    if (r < 0)
        return err_set(err, why.code == ERR_INVALID ? ERR_PROTOCOL : why.code,
                       "the code interpreter's server: %.180s", why.message);
    return 0;
}
