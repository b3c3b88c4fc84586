// SPDX-License-Identifier: Apache-2.0
//
// A header as nghttp2 takes it.
#ifndef CSB_CHANNEL_NV_H
#define CSB_CHANNEL_NV_H

#include <nghttp2/nghttp2.h>
#include <stdint.h>
#include <string.h>

// nghttp2 copies names and values, so borrowed strings will do.
static inline nghttp2_nv nv_header(const char *name, const char *value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {name}, v = {value};

    return (nghttp2_nv){
        .name = n.out, .value = v.out, .namelen = strlen(name), .valuelen = strlen(value)};
}

#endif
