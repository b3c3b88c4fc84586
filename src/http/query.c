// SPDX-License-Identifier: Apache-2.0
//
// What a request's target says beyond its path.
#include "http/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int http_unescape(const char *text, size_t len, bool plus, char **ret)
{
    char *out = malloc(len + 1);
    size_t used = 0;

    if (out == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < len; i++) {
        int high, low;

        if (text[i] != '%') {
            out[used++] = plus && text[i] == '+' ? ' ' : text[i];
            continue;
        }
        high = len - i > 2 ? hex_value(text[i + 1]) : -1;
        low = len - i > 2 ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0)) {
            free(out);
            return -EINVAL;
        }
        out[used++] = (char)(high << 4 | low);
        i += 2;
    }
    out[used] = '\0';
    *ret = out;
    return 0;
}

int http_query(const struct http_request *req, const char *name, char **ret)
{
    size_t name_len = strlen(name);
    const char *found = NULL;
    size_t found_len = 0;

    for (const char *at = req->query; *at != '\0';) {
        size_t len = strcspn(at, "&");

        if (len >= name_len && strncmp(at, name, name_len) == 0 &&
            (len == name_len || at[name_len] == '=')) {
            size_t skip = len == name_len ? len : name_len + 1;

            if (found != NULL)
                return -EEXIST;
            found = at + skip;
            found_len = len - skip;
        }
        at += len;
        at += *at == '&';
    }
    if (found == NULL) {
        *ret = NULL;
        return 0;
    }
    return http_unescape(found, found_len, true, ret);
}

bool http_segment(const struct http_request *req, size_t index, char *ret, size_t size)
{
    const char *at = req->path;
    size_t len;

    for (size_t i = 0; *at == '/'; i++) {
        at++;
        len = strcspn(at, "/");
        if (i == index) {
            if (len >= size)
                return false;
            memcpy(ret, at, len);
            ret[len] = '\0';
            return true;
        }
        at += len;
    }
    return false;
}
