// SPDX-License-Identifier: Apache-2.0
//
// The answer of a service in a sandbox, fed in pieces. First byte: what was asked; second: the size
// of the pieces.
#include "http/h1.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_head(const struct h1_answer *a)
{
    const char *name, *value;

    if (a->status != 101 && (a->status < 200 || a->status > 599))
        abort();
    if (a->status == 101 && !a->may_switch)
        abort();
    for (size_t at = 0; h1_next_header(a, &at, &name, &value);) {
        if (name[0] == '\0' || strpbrk(name, "\r\n: ") != NULL || strpbrk(value, "\r\n") != NULL)
            abort();
        if (h1_is_hop(name) || strcasecmp(name, "content-length") == 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct h1_answer a;
    size_t piece, content = 0;

    if (len < 2)
        return 0;
    h1_init(&a, data[0] & 1, data[0] & 2);
    piece = (size_t)data[1] * data[1] + 1;
    for (size_t at = 2; at < len && !a.ended; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        size_t used = 0;
        ssize_t r = 0;

        memcpy(copy, data + at, n);
        if (!a.complete)
            r = h1_head(&a, copy, n, &used);
        if (used > n || (r == 0 && !a.complete && used != n))
            abort();
        if (r == 0 && a.complete) {
            check_head(&a);
            if (a.body != H1_SWITCHED)
                r = h1_content(&a, copy + used, n - used);
        }
        if (r > (ssize_t)(n - used))
            abort();
        content += r > 0 ? (size_t)r : 0;
        free(copy);
        if (r < 0)
            break;
    }
    if (h1_close(&a) && a.body == H1_SIZED && content != a.size)
        abort();
    if (a.body == H1_NONE && content > 0)
        abort();
    h1_release(&a);
    return 0;
}
