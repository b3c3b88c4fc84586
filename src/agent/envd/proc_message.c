// SPDX-License-Identifier: Apache-2.0
#include "agent/envd/proc.h"
#include "json/base64.h"

#include <string.h>

#define CUT_MIN     4096    // bytes of a string that is worth it
#define PLACEHOLDER "=cut=" // stands for it: base64 that nothing decodes

// Whether the quote at `end` ends the string that begins at `start`.
static bool is_end(const char *start, const char *end)
{
    size_t slashes = 0;

    while (end - slashes > start && end[-1 - (ptrdiff_t)slashes] == '\\')
        slashes++;
    return slashes % 2 == 0;
}

// Finds the first long string without escapes. False when there is none.
static bool find_long(const char *text, size_t len, const char **ret, size_t *ret_len)
{
    const char *stop = text + len;
    const char *start = memchr(text, '"', len);

    while (start != NULL) {
        const char *end = ++start;
        do {
            end = memchr(end, '"', (size_t)(stop - end));
            if (end == NULL)
                return false;
        } while (!is_end(start, end++));
        size_t n = (size_t)(end - 1 - start);
        if (n >= CUT_MIN && memchr(start, '\\', n) == NULL) {
            *ret = start;
            *ret_len = n;
            return true;
        }
        start = memchr(end, '"', (size_t)(stop - end));
    }
    return false;
}

int proc_message_read(const void *text, size_t len, struct proc_message *ret, struct rpc_error *err)
{
    _cleanup_buf_ struct buf rest = BUF_INIT;
    const char *from = text;
    const char *after;

    *ret = (struct proc_message){0};
    if (len < CUT_MIN || !find_long(from, len, &ret->cut, &ret->cut_len))
        return rpc_parse_text(text, len, &ret->tree, err);
    after = ret->cut + ret->cut_len;
    if (buf_append(&rest, from, (size_t)(ret->cut - from)) < 0 ||
        buf_append(&rest, PLACEHOLDER, sizeof(PLACEHOLDER) - 1) < 0 ||
        buf_append(&rest, after, len - (size_t)(after - from)) < 0)
        return rpc_set(err, RPC_RESOURCE_EXHAUSTED, "out of memory");
    return rpc_parse_text(rest.data, rest.len, &ret->tree, err);
}

// Appends the bytes of a field that is there.
static int get_bytes(const struct proc_message *m, const struct json_in *in, const char *key,
                     struct buf *out, bool *ret_present, struct rpc_error *err)
{
    const char *text;

    if (m->cut == NULL || rpc_get_text(in, key, NULL, &text, err) < 0 ||
        strcmp(text, PLACEHOLDER) != 0)
        return rpc_get_bytes(in, key, out, ret_present, err);
    *ret_present = true;
    if (base64_decode_any(m->cut, m->cut_len, out) < 0)
        return rpc_set(err, RPC_INVALID_ARGUMENT, "%s is not base64", key);
    return 0;
}

int proc_message_input(const struct proc_message *m, const struct proc *p, const struct json_in *in,
                       struct buf *ret, struct rpc_error *err)
{
    struct json_in input = {0};
    bool has_stdin = false, has_pty = false;

    if (rpc_get_object(in, "input", &input, err) < 0)
        return -1;
    if (input.object == NULL)
        return rpc_set(err, RPC_INVALID_ARGUMENT, "input is missing");
    if (get_bytes(m, &input, "stdin", ret, &has_stdin, err) < 0 ||
        get_bytes(m, &input, "pty", ret, &has_pty, err) < 0)
        return -1;
    if (has_stdin == has_pty)
        return rpc_set(err, RPC_INVALID_ARGUMENT, "input must be one of stdin and pty");
    if (has_pty != p->terminal)
        return rpc_set(err, RPC_INTERNAL,
                       p->terminal ? "the process has a terminal, not stdin"
                                   : "the process has no terminal");
    return 0;
}
