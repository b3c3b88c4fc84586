// SPDX-License-Identifier: Apache-2.0
//
// Requests to a port of a sandbox: HTTP/1.1 through a stream that the agent connects to the port.
// Each request has a connection of its own, so nothing one service says can be taken for the answer
// to another request. What goes in is written anew from checked parts; what comes out is read by
// http/h1.h. After 101 bytes go both ways as they are (port_proxy_upgrade.c).
#include "api/data_plane_internal.h"

#include "base/buf.h"
#include "base/parse.h"
#include "channel/channel.h"
#include "sandbox/live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX   (64u << 10) // bytes of the head we write
#define METHOD_MAX 32

struct head {
    struct buf text;
    const char *connection; // what the client says of its connection, or ""
    bool host;
    bool failed;
};

// Those that are between the client and us.
static bool is_ours(const struct head *h, const char *name)
{
    static const char *const ours[] = {"content-length", "expect", "e2b-sandbox-id",
                                       "e2b-sandbox-port", "e2b-traffic-access-token"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return true;
    return h1_is_hop(name) || h1_list_has(h->connection, name);
}

static bool write_header(void *arg, const char *name, const char *value)
{
    struct head *h = arg;

    if (strcasecmp(name, "host") == 0) {
        h->failed = h->failed || h->host;
        h->host = true;
    }
    if (is_ours(h, name))
        return true;
    h->failed = h->failed || !h1_is_name(name) || !h1_is_value(value) ||
                buf_appendf(&h->text, "%s: %s\r\n", name, value) < 0;
    return !h->failed;
}

// How the request's body is framed towards the port.
static bool write_framing(struct plane *p, const struct http_request *req, struct head *h)
{
    const char *upgrade = http_header(req, "Upgrade");
    const char *length = http_header(req, "Content-Length");
    uint64_t size = 0;

    p->chunked = http_header(req, "Transfer-Encoding") != NULL;
    if (!p->chunked && length != NULL && parse_u64(length, 0, INT64_MAX, &size) < 0)
        return false;
    if (p->chunked && buf_appendf(&h->text, "Transfer-Encoding: chunked\r\n") < 0)
        return false;
    if (!p->chunked && length != NULL &&
        buf_appendf(&h->text, "Content-Length: %llu\r\n", (unsigned long long)size) < 0)
        return false;
    p->upgrade = upgrade != NULL && h1_is_value(upgrade) && h1_list_has(h->connection, "upgrade") &&
                 !p->chunked && size == 0;
    if (p->upgrade)
        return buf_appendf(&h->text, "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n", upgrade) == 0;
    return buf_appendf(&h->text, "Connection: close\r\n\r\n") == 0;
}

static bool write_head(struct plane *p, const struct http_request *req, struct head *h)
{
    const char *connection = http_header(req, "Connection");

    h->connection = connection != NULL ? connection : "";
    if (!plane_target_is_clean(req) || !h1_is_name(req->method) || strlen(req->method) > METHOD_MAX)
        return false;
    if (buf_appendf(&h->text, "%s %s%s%s HTTP/1.1\r\n", req->method, req->path,
                    req->query[0] != '\0' ? "?" : "", req->query) < 0)
        return false;
    http_each_header(req, write_header, h);
    if (!h->host && buf_appendf(&h->text, "Host: localhost:%u\r\n", p->target.port) < 0)
        return false;
    return !h->failed && write_framing(p, req, h);
}

enum plane_refusal port_begin(struct plane *p, const struct http_request *req)
{
    struct head h = {.text = BUF_CAPPED(HEAD_MAX)};
    struct channel *ch = live_channel(p->live);
    struct channel_request out = {.method = "CONNECT"};
    struct err err = ERR_INIT;
    enum plane_refusal r = PLANE_FINE;
    char target[24];

    (void)snprintf(target, sizeof(target), "localhost:%u", p->target.port);
    out.path = target;
    if (!write_head(p, req, &h))
        r = PLANE_BAD_REQUEST;
    out.body = h.text.data;
    out.body_len = h.text.len;
    if (r == PLANE_FINE && (ch == NULL || channel_begin(ch, &out, &p->stream, &err) < 0))
        r = PLANE_NOT_FOUND;
    buf_release(&h.text);
    h1_init(&p->answer, strcmp(req->method, "HEAD") == 0, p->upgrade);
    return r;
}

bool port_push(void *arg, const void *data, size_t len)
{
    struct plane *p = arg;
    char size[24];
    int n;

    if (!p->chunked)
        return plane_write(p, data, len);
    n = snprintf(size, sizeof(size), "%zx\r\n", len);
    return plane_write(p, size, (size_t)n) && plane_write(p, data, len) &&
           plane_write(p, "\r\n", 2);
}

// Keeps what came after the head.
static bool keep_early(struct plane *p, const uint8_t *data, size_t len)
{
    if (len == 0)
        return true;
    p->early = malloc(len);
    if (p->early == NULL)
        return false;
    memcpy(p->early, data, len);
    p->early_len = len;
    return true;
}

static enum plane_refusal read_head(struct plane *p)
{
    enum plane_refusal r;
    int status = 0;

    r = plane_wait_status(p, &status);
    if (r == PLANE_FINE && status != 200)
        r = status == 502 ? PLANE_CLOSED_PORT : PLANE_BUSY;
    while (r == PLANE_FINE && !p->answer.complete) {
        uint8_t data[8192];
        ssize_t n = plane_read(p, data, sizeof(data));
        size_t used = 0;

        if (n <= 0 || h1_head(&p->answer, data, (size_t)n, &used) < 0)
            r = n < 0 && live_was_stopped(p->live) ? PLANE_BUSY
                : n < 0 && plane_is_cut(p)         ? PLANE_NOT_FOUND
                                                   : PLANE_BAD_ANSWER;
        else if (!keep_early(p, data + used, (size_t)n - used))
            r = PLANE_BUSY;
    }
    return r;
}

size_t port_take_early(struct plane *p, void *data, size_t max)
{
    size_t n = p->early_len - p->early_off;

    n = n < max ? n : max;
    if (n > 0)
        memcpy(data, p->early + p->early_off, n);
    p->early_off += n;
    return n;
}

static ssize_t port_pull(void *arg, char *data, size_t max)
{
    struct plane *p = arg;

    while (!p->answer.ended) {
        ssize_t n = (ssize_t)port_take_early(p, data, max);

        if (n == 0)
            n = plane_read(p, data, max);
        if (n == 0)
            return h1_close(&p->answer) ? 0 : -1;
        if (n > 0)
            n = h1_content(&p->answer, (uint8_t *)data, (size_t)n);
        if (n != 0)
            return n < 0 ? -1 : n;
    }
    return 0;
}

static void hand_on(struct plane *p, struct http_response *res)
{
    struct h1_answer *a = &p->answer;
    const char *name, *value;

    res->status = (unsigned)a->status;
    res->foreign = true;
    for (size_t at = 0; h1_next_header(a, &at, &name, &value);)
        http_set_header(res, name, value);
    if (a->body == H1_SWITCHED) {
        value = h1_header(a, "upgrade");
        if (value != NULL)
            http_set_header(res, "Upgrade", value);
        res->upgrade = port_upgraded;
        res->upgrade_arg = p;
        return;
    }
    // Of an answer to HEAD only the size is used.
    if (a->ended && !(a->head_only && a->has_size && a->size > 0))
        return;
    res->stream.pull = port_pull;
    res->stream.arg = p;
    res->sized = a->has_size;
    res->size = a->size;
}

void port_end(void *arg, const struct http_request *req, struct http_response *res)
{
    struct plane *p = arg;

    (void)req;
    // One that fails has ended already, and its answer may be there.
    if (p->chunked)
        (void)plane_write(p, "0\r\n\r\n", 5);
    p->refusal = read_head(p);
    if (p->refusal == PLANE_FINE)
        hand_on(p, res);
    else
        plane_refuse(p, p->refusal, res);
}

void port_release(struct plane *p)
{
    h1_release(&p->answer);
    free(p->early);
}
