// SPDX-License-Identifier: Apache-2.0
//
// Arbitrary bytes to valid UTF-8. The rule, which docs/API.md promises: every maximal subpart of an
// ill-formed sequence (Unicode 15, section 3.9, table 3-8) becomes one U+FFFD; everything else is
// kept byte by byte. It works on a stream: a character cut between two chunks is put together
// again. Pure; not thread-safe per object.
#ifndef CSB_JSON_UTF8_H
#define CSB_JSON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

struct utf8_fix {
    uint8_t pending[4]; // a character not complete yet
    uint8_t pending_len;
    bool lossy; // a byte was replaced so far
};

#define UTF8_FIX_INIT {.pending_len = 0}

// Appends the valid form of `data` to `out`; the start of an unfinished character is kept back.
// 0, or the error of buf_append().
int utf8_fix_feed(struct utf8_fix *fix, const void *data, size_t len, struct buf *out);

// Ends the text: what was kept back is ill-formed. The object is ready for another text; `lossy`
// stays.
int utf8_fix_end(struct utf8_fix *fix, struct buf *out);

bool utf8_is_valid(const void *data, size_t len);

#endif
