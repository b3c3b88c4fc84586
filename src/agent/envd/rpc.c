// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/rpc.h"

#include "base/err.h"
#include "base/fd.h"
#include "base/parse.h"
#include "channel/agent_wire.h"
#include "json/base64.h"
#include "json/write.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
} codes[] = {
    [RPC_OK] = {"ok", 200},
    [RPC_UNKNOWN] = {"unknown", 500},
    [RPC_INVALID_ARGUMENT] = {"invalid_argument", 400},
    [RPC_DEADLINE_EXCEEDED] = {"deadline_exceeded", 504},
    [RPC_NOT_FOUND] = {"not_found", 404},
    [RPC_ALREADY_EXISTS] = {"already_exists", 409},
    [RPC_RESOURCE_EXHAUSTED] = {"resource_exhausted", 429},
    [RPC_UNIMPLEMENTED] = {"unimplemented", 501},
    [RPC_INTERNAL] = {"internal", 500},
    [RPC_UNAUTHENTICATED] = {"unauthenticated", 401},
};
_Static_assert(sizeof(codes) / sizeof(codes[0]) == RPC_CODE_COUNT, "a name per code");

int rpc_set(struct rpc_error *e, enum rpc_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(e->message, sizeof(e->message), fmt, ap);
    va_end(ap);
    e->code = code;
    return -1;
}

int rpc_set_sys(struct rpc_error *e, int sys, const char *fmt, ...)
{
    char what[CALL_TEXT_MAX - 80];
    va_list ap;
    enum rpc_code code = RPC_INTERNAL;

    if (sys < 0)
        sys = -sys;
    if (sys == ENOENT)
        code = RPC_NOT_FOUND;
    else if (sys == ENOTDIR || sys == ENAMETOOLONG || sys == EINVAL || sys == ELOOP)
        code = RPC_INVALID_ARGUMENT;
    else if (sys == EMFILE || sys == ENFILE || sys == EAGAIN || sys == ENOMEM || sys == ENOSPC)
        code = RPC_RESOURCE_EXHAUSTED;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return rpc_set(e, code, "%s: %s", what, strerror(sys));
}

void rpc_header(uint8_t ret[RPC_HEADER_BYTES], uint8_t flags, size_t len)
{
    ret[0] = flags;
    ret[1] = (uint8_t)(len >> 24);
    ret[2] = (uint8_t)(len >> 16);
    ret[3] = (uint8_t)(len >> 8);
    ret[4] = (uint8_t)len;
}

int rpc_append(struct buf *b, uint8_t flags, const void *json, size_t len)
{
    uint8_t header[RPC_HEADER_BYTES];
    int rc;

    rpc_header(header, flags, len);
    rc = buf_append(b, header, sizeof(header));
    return rc < 0 ? rc : buf_append(b, json, len);
}

void rpc_begin(struct call *c)
{
    call_begin(c,
               &(struct server_answer){.status = 200, .content_type = "application/connect+json"});
}

static void send_envelope(struct call *c, uint8_t flags, const void *json, size_t len)
{
    _cleanup_buf_ struct buf b = BUF_INIT;

    if (rpc_append(&b, flags, json, len) < 0)
        call_reset(c);
    else
        call_write(c, b.data, b.len);
}

void rpc_send(struct call *c, const char *json)
{
    send_envelope(c, 0, json, strlen(json));
}

void rpc_end(struct call *c)
{
    send_envelope(c, RPC_FLAG_END, "{}", 2);
    call_finish(c);
}

static void put_error(struct json_out *out, const char *key, const struct rpc_error *e)
{
    json_open(out, key, '{');
    json_put_str(out, "code", codes[e->code].name);
    json_put_str(out, "message", e->message);
    json_close(out, '}');
}

void rpc_fail(struct call *c, const struct rpc_error *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_out out = {.buf = &text};

    if (!c->is_stream) {
        put_error(&out, NULL, e);
        call_answer(c, codes[e->code].status, "application/json", text.data, text.len);
        return;
    }
    json_open(&out, NULL, '{');
    put_error(&out, "error", e);
    json_close(&out, '}');
    rpc_begin(c);
    send_envelope(c, RPC_FLAG_END, text.data, text.len);
    call_finish(c);
}

void rpc_reply(struct call *c, const struct buf *json)
{
    call_answer(c, 200, "application/json", json->data, json->len);
}

void rpc_reply_empty(struct call *c)
{
    call_answer(c, 200, "application/json", "{}", 2);
}

int rpc_parse_text(const void *text, size_t len, struct json_t **ret, struct rpc_error *e)
{
    struct err err = ERR_INIT;

    if (len == 0) {
        text = "{}";
        len = 2;
    }
    if (json_read("message", text, len, ret, &err) < 0)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "%s", err.message);
    return 0;
}

int rpc_check_size(const struct call *c, struct rpc_error *e)
{
    if (!c->too_large)
        return 0;
    return rpc_set(e, RPC_RESOURCE_EXHAUSTED, "the message is larger than %u bytes", ENVD_BODY_MAX);
}

int rpc_parse(const struct call *c, struct json_t **ret, struct rpc_error *e)
{
    const uint8_t *p = c->body.data;
    size_t len;

    if (rpc_check_size(c, e) < 0)
        return -1;
    if (!c->is_stream)
        return rpc_parse_text(p, c->body.len, ret, e);
    if (c->body.len < RPC_HEADER_BYTES)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "the envelope is cut off");
    len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (p[0] != 0)
        return rpc_set(e, RPC_UNIMPLEMENTED, "compressed messages are not supported");
    if (len != c->body.len - RPC_HEADER_BYTES)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "the request must be one envelope");
    return rpc_parse_text(p + RPC_HEADER_BYTES, len, ret, e);
}

static int invalid(struct rpc_error *e, const struct err *err)
{
    return rpc_set(e, RPC_INVALID_ARGUMENT, "%s", err->message);
}

int rpc_get_u32(const struct json_in *in, const char *key, uint32_t *ret, struct rpc_error *e)
{
    struct err err = ERR_INIT;
    struct json_str text = {0};
    uint64_t value = *ret;
    int rc;

    if (json_kind(in, key) != JSON_KIND_STRING) {
        rc = json_get_u64(in, key, 0, UINT32_MAX, &value, &err);
    } else {
        rc = json_get_text(in, key, &text, &err);
        if (rc == 0 && parse_u64(text.data, 0, UINT32_MAX, &value) < 0)
            rc = json_fail(in, key, &err, "must be a number");
    }
    if (rc < 0)
        return invalid(e, &err);
    *ret = (uint32_t)value;
    return 0;
}

int rpc_get_bool(const struct json_in *in, const char *key, const char *snake, bool *ret,
                 struct rpc_error *e)
{
    struct err err = ERR_INIT;

    if (json_get_bool(in, key, ret, &err) < 0 ||
        (snake != NULL && json_get_bool(in, snake, ret, &err) < 0))
        return invalid(e, &err);
    return 0;
}

int rpc_get_text(const struct json_in *in, const char *key, const char *snake, const char **ret,
                 struct rpc_error *e)
{
    struct err err = ERR_INIT;
    struct json_str text = {.data = ""};

    if (json_get_text(in, key, &text, &err) < 0 ||
        (snake != NULL && json_get_text(in, snake, &text, &err) < 0))
        return invalid(e, &err);
    *ret = text.data;
    return 0;
}

int rpc_get_object(const struct json_in *in, const char *key, struct json_in *ret,
                   struct rpc_error *e)
{
    struct err err = ERR_INIT;

    return json_get_object(in, key, ret, &err) < 0 ? invalid(e, &err) : 0;
}

int rpc_get_bytes(const struct json_in *in, const char *key, struct buf *out, bool *ret_present,
                  struct rpc_error *e)
{
    struct err err = ERR_INIT;
    struct json_str text = {0};

    if (json_get_text(in, key, &text, &err) < 0)
        return invalid(e, &err);
    *ret_present = text.data != NULL;
    if (text.data != NULL && base64_decode_any(text.data, text.len, out) < 0)
        return rpc_set(e, RPC_INVALID_ARGUMENT, "%s is not base64", key);
    return 0;
}

// The name in "Basic base64(name:password)"; "" when there is none.
static int basic_name(const char *header, char ret[USER_NAME_MAX + 1])
{
    _cleanup_buf_ struct buf text = BUF_CAPPED(1024);
    size_t len;

    ret[0] = '\0';
    if (header == NULL || strncasecmp(header, "basic ", 6) != 0)
        return 0;
    if (base64_decode_any(header + 6, strlen(header + 6), &text) < 0 || buf_cstr(&text) == NULL)
        return -EINVAL;
    len = strcspn((const char *)text.data, ":");
    if (len > USER_NAME_MAX)
        return -EINVAL;
    memcpy(ret, text.data, len);
    ret[len] = '\0';
    return 0;
}

int rpc_user(const struct call *c, struct user *ret, struct rpc_error *e)
{
    char name[USER_NAME_MAX + 1];

    if (basic_name(server_stream_header(c->stream, "authorization"), name) < 0)
        return rpc_set(e, RPC_UNAUTHENTICATED, "invalid authorization");
    if (user_one_id() && server_stream_header(c->stream, AGENT_HEADER_APART) != NULL)
        name[0] = '\0';
    if (user_find(name[0] != '\0' ? name : c->envd->user, ret) < 0)
        return rpc_set(e, RPC_UNAUTHENTICATED, "invalid username: '%s'",
                       name[0] != '\0' ? name : c->envd->user);
    return 0;
}
