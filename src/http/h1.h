// SPDX-License-Identifier: Apache-2.0
//
// Reads the answer of an HTTP/1.x server to one request, fed in pieces of any size. The server is
// hostile: everything is capped, and what is not plainly right is refused. Pure.
#ifndef CSB_HTTP_H1_H
#define CSB_HTTP_H1_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define H1_HEAD_MAX    (16u << 10) // bytes of a head, and of the trailers
#define H1_HEADERS_MAX 128
#define H1_INTERIM_MAX 8   // answers before the answer
#define H1_LINE_MAX    256 // bytes of the line before a chunk

enum h1_body {
    H1_NONE,      // no body
    H1_SIZED,     // `left` bytes
    H1_CHUNKED,   // its end is told
    H1_UNTIL_END, // until the server closes the connection
    H1_SWITCHED,  // after 101: no HTTP any more
};

struct h1_answer {
    // Set by h1_init().
    bool head_only;  // the request was HEAD
    bool may_switch; // the request asked for another protocol

    // Of the answer, once `complete`: its head is there.
    bool complete;
    int status; // 200..599, or 101
    enum h1_body body;
    uint64_t size; // of a sized body; also told to HEAD
    bool has_size;

    // Within.
    struct buf head; // as it came; once complete: name, NUL, value, NUL, and so on
    unsigned interim;
    uint64_t left; // of the body or the chunk
    int state;     // of a chunked body
    struct buf line;
    bool ended;
};

void h1_init(struct h1_answer *a, bool head_only, bool may_switch);
void h1_release(struct h1_answer *a);

// Takes bytes up to the end of the head and says how many in *ret_used; what is after it is body.
// 0, -EPROTO when the answer breaks the rules, -EMSGSIZE when the head is too large, -ENOMEM.
int h1_head(struct h1_answer *a, const void *data, size_t len, size_t *ret_used);

// Takes bytes of the body and moves those that are content to the front of `data`. Returns how many
// they are, or -EPROTO. Once a->ended nothing is taken. Not for H1_SWITCHED.
ssize_t h1_content(struct h1_answer *a, uint8_t *data, size_t len);

// The server closed the connection. True when the answer is complete.
bool h1_close(struct h1_answer *a);

// Steps through the headers that are the client's: none that are about the connection or the
// framing of the body. *at begins with 0. Borrowed.
bool h1_next_header(const struct h1_answer *a, size_t *at, const char **ret_name,
                    const char **ret_value);

// The first value of a header, or NULL; any case.
const char *h1_header(const struct h1_answer *a, const char *name);

// Whether `list` (comma-separated, as of Connection) has `word`, in any case. For requests too.
bool h1_list_has(const char *list, const char *word);

// Whether a header may have this name (or a request this method), and this value. For requests too.
bool h1_is_name(const char *text);
bool h1_is_value(const char *text);

// Whether `name` is of those that are about one connection only. For requests too.
bool h1_is_hop(const char *name);

#endif
