// SPDX-License-Identifier: Apache-2.0
//
// Which Host and Origin values a server bound to loopback answers. A page in a browser can reach
// such a server by a name of its own that resolves to 127.0.0.1 (DNS rebinding), or by a plain
// cross-site form; both carry a foreign name in one of these headers. Pure.
#ifndef CSB_HTTP_ORIGIN_H
#define CSB_HTTP_ORIGIN_H

#include <stdbool.h>

// `host` is a Host value ("name", "name:port", "[v6]:port"). `allowed` is a comma-separated list of
// further names, or NULL.
bool origin_host_ok(const char *host, const char *allowed);

// `origin` is an Origin value ("http://name:port"); "null" is never accepted.
bool origin_ok(const char *origin, const char *allowed);

#endif
