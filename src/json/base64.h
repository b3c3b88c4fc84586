// SPDX-License-Identifier: Apache-2.0
//
// Strict base64 (RFC 4648 section 4): the standard alphabet, padding required, no line breaks,
// unused bits zero. Pure.
#ifndef CSB_JSON_BASE64_H
#define CSB_JSON_BASE64_H

#include <stddef.h>

struct buf;

// Appends the decoded bytes. 0, -EINVAL when `text` is not base64, or the error of buf_append().
int base64_decode(const char *text, size_t len, struct buf *out);

// As base64_decode() for the bytes of proto3 JSON: either alphabet, padded or not. 0, -EINVAL or
// -ENOMEM (also when the buffer's cap would be passed); nothing is appended then.
int base64_decode_any(const char *text, size_t len, struct buf *out);

// Appends the encoded text. 0, or the error of buf_append().
int base64_encode(const void *data, size_t len, struct buf *out);

#endif
