// SPDX-License-Identifier: Apache-2.0
//
// multipart/form-data (RFC 7578) read from a stream of pieces of any size. Memory is bounded: a
// part's content is handed on as it comes. Pure code.
#ifndef CSB_AGENT_ENVD_MULTIPART_H
#define CSB_AGENT_ENVD_MULTIPART_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define MULTIPART_BOUNDARY_MAX 70
#define MULTIPART_HEAD_MAX     (16u << 10) // of one part
#define MULTIPART_PARTS_MAX    20000

// Each returns 0, or a negative value that multipart_feed() returns in turn.
struct multipart_callbacks {
    // `name` and `filename` (NULL: none) are borrowed for the call.
    int (*begin)(void *arg, const char *name, const char *filename);
    int (*data)(void *arg, const void *data, size_t len);
    int (*end)(void *arg);
};

enum multipart_state {
    MULTIPART_BEFORE, // before the first boundary
    MULTIPART_BREAK,  // after a boundary: another part, or the end
    MULTIPART_HEAD,
    MULTIPART_CONTENT,
    MULTIPART_DONE,   // what follows is dropped
    MULTIPART_BROKEN, // every call fails
};

struct multipart {
    const struct multipart_callbacks *callbacks;
    void *arg;
    enum multipart_state state;
    char delimiter[MULTIPART_BOUNDARY_MAX + 5]; // CRLF, two dashes, boundary
    size_t delimiter_len;
    struct buf held; // what could not be decided yet
    unsigned parts;
};

// Takes the boundary from the value of a content-type header. 0, or -EINVAL when it is none of
// multipart/form-data. Release in any case.
int multipart_init(struct multipart *m, const char *content_type,
                   const struct multipart_callbacks *callbacks, void *arg);
void multipart_release(struct multipart *m);

// 0; -EBADMSG when the text breaks the rules, -EMSGSIZE when a part's head or the number of parts
// is above its cap; -ENOMEM; or what a callback returned.
int multipart_feed(struct multipart *m, const void *data, size_t len);

// Whether the closing boundary was seen.
bool multipart_complete(const struct multipart *m);

#endif
